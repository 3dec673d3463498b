"""Synthetic text: what a model's own text does to the models that learn from it.

    slaw run synthetic_text
    slaw report results/synthetic_text   # loss on real text by share and by generation; one figure

The first generation reads a small real text several times. Texts drawn from it are then mixed with
the same real text, in several shares at equal tokens: the more is synthetic, the fewer times the
real text is read. Two chains go on from there. In one, each generation learns only from text of the
one before it: Shumailov 2023 (arXiv 2305.17493) finds that such models collapse. In the other,
synthetic text is added to the real one and to that of all generations before (Gerstgrasser 2024,
arXiv 2404.01413: the loss stays bounded). Here tokens are equal in every generation, so that the
real text's share falls.

All losses are on held-out real text. A model of the next generation starts from other random
weights, and its seed is that of its chain plus a thousand a generation.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import PurePath
from statistics import fmean
from typing import Annotated, Any, TypeAlias

from scaling_law.experiment import Experiment, Outcome, Planted
from scaling_law.experiment.answer import (
    Decision,
    all_decided,
    answer,
    beside,
    claim,
    decided,
    need,
)
from scaling_law.experiment.evidence import Evidence, Run
from scaling_law.experiment.figures import figure, mean_series
from scaling_law.experiment.findings import (
    AGAIN,
    Axis,
    Claim,
    Figure,
    Findings,
    Panel,
    Published,
    Table,
)
from scaling_law.experiment.groups import left_out, of_commonest, of_one_recipe, of_one_size
from scaling_law.experiment.seeds import Mean, mean_over
from scaling_law.spec.data import DataSpec, SourceSpec
from scaling_law.spec.run import RunSpec
from scaling_law.spec.sampling import Draw
from scaling_law.spec.to_json import to_json
from scaling_law.spec.values import Number

REAL = "real"  # the source of real text
SYNTHETIC = "generation"  # and a number: the source of text for this generation
_OF_GENERATION = 1000  # what a generation adds to the seed of its chain
SHARES = (0.25, 0.5, 0.75, 1.0)  # of synthetic text, beside none
REPLACE, ACCUMULATE = "replace", "accumulate"
BOUNDED = 0.5  # share of the other chain's rise up to which a rise counts as bounded
FEWEST = 3  # generations from which a chain says something


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Settings of the later stages.

    ``generations`` are those that learn from synthetic text;
    ``texts`` is how many texts are drawn from a model;
    ``temperature`` divides the logits when they are drawn.
    """

    generations: Annotated[int, Number("generations on synthetic text", low=1, high=50)] = 4
    texts: Annotated[int, Number("texts drawn from a model", low=50, high=10**6)] = 1000
    temperature: Annotated[float, Number("divisor of logits", low=0.01, high=100)] = 1.0


@dataclass(frozen=True)
class Place:
    """Where a run stands.

    ``generation`` counts from 0, which learns from real text alone;
    ``share`` is the share of synthetic text;
    ``chain`` is the seed of the first generation that its text descends from.
    """

    generation: int
    share: float
    chain: int


def place_of(spec: RunSpec) -> Place | None:
    """Where a run stands; None for a run that is of no chain, or that reads no mixture.

    Its generation is one more than that of the latest model whose text it reads.
    """
    if spec.mix is None or spec.mix.phases[0].shares is None:
        return None
    shares = dict(spec.mix.phases[0].shares)
    real = shares.pop(REAL, 0.0)
    numbers = [name.removeprefix(SYNTHETIC) for name, share in shares.items() if share]
    if not all(number.isdecimal() for number in numbers):
        return None
    generation = max(map(int, numbers), default=0)
    chain = spec.seed - _OF_GENERATION * generation
    return Place(generation, round(1 - real, 6), chain) if chain >= 0 else None


ByChain: TypeAlias = Mapping[int, Run]


@dataclass(frozen=True)
class Seen:
    """What the runs show.

    ``runs`` are they by where they stand: generation and share, then chain;
    ``has_real`` says whether the config has a source of real text.
    """

    runs: Mapping[tuple[int, float], ByChain]
    has_real: bool

    @property
    def shares(self) -> dict[float, ByChain]:
        """The first two generations by share of synthetic text, 0 for the first one."""
        return {
            share: chains
            for (generation, share), chains in sorted(self.runs.items(), key=lambda i: i[0][1])
            if generation == (1 if share else 0)
        }

    def chain(self, kind: str) -> dict[int, ByChain]:
        """The generations of a kind of chain, the first on real text; they end where one lacks."""
        line: dict[int, ByChain] = {}
        generation = 0
        while chains := self.runs.get((generation, share_of(kind, generation))):
            line[generation] = chains
            generation += 1
        return line


def share_of(kind: str, generation: int) -> float:
    """The share of synthetic text in a generation of a chain."""
    if generation == 0:
        return 0.0
    return 1.0 if kind == REPLACE else round(generation / (generation + 1), 6)


def seen_in(evidence: Evidence) -> Seen:
    """Sort the runs of one recipe, of training and of drawing, by where they stand."""
    settings = evidence.settings if isinstance(evidence.settings, Settings) else Settings()
    runs: dict[tuple[int, float], dict[int, Run]] = {}
    otherwise: set[str] = set()  # runs on text that was drawn with other settings
    for run in sorted(_alike(evidence), key=lambda run: _place(run).generation):
        place = _place(run)
        if _drawn_otherwise(run, settings, otherwise):
            otherwise.add(run.record.run_id)
        else:
            runs.setdefault((place.generation, place.share), {})[place.chain] = run
    data = evidence.config.get("data", {})
    return Seen(runs, REAL in (data.get("sources") or {}))


def _alike(evidence: Evidence) -> list[Run]:
    """The runs with a place that have one recipe, size, tokens and real text."""
    placed = [
        run for run in evidence.ended if place_of(run.spec) and _metric(run, REAL) is not None
    ]
    runs = of_one_size(of_one_recipe(placed, "data.corpus", "data.sources", "data.mix"))
    return of_commonest(runs, [(run.spec.tokens, _real_source(run.spec)) for run in runs])


def _place(run: Run) -> Place:
    place = place_of(run.spec)
    assert place is not None, "runs of one recipe have a place"
    return place


def _draw(run_id: str, n_ctx: int, chain: int, generation: int, settings: Settings) -> Draw:
    """The texts that a generation of a chain learns from, which the one before it draws."""
    return Draw(
        run=run_id,
        count=settings.texts,
        tokens=n_ctx,
        temperature=settings.temperature,
        seed=chain + _OF_GENERATION * generation,
    )


def _drawn_otherwise(run: Run, settings: Settings, others: Collection[str]) -> bool:
    """Whether some text of a run was drawn with other settings, or from one of the runs ``others``.

    The name of a folder of drawn texts tells both. Of other corpora neither is known.
    """
    sources = (run.spec.data.sources or ()) if isinstance(run.spec.data, DataSpec) else ()
    for source in sources:
        number, folder = source.name.removeprefix(SYNTHETIC), PurePath(source.corpus)
        if not number.isdecimal() or folder.parent.name != "samples":
            continue
        run_id = folder.name.rpartition("-")[0]
        draw = _draw(run_id, run.spec.model.n_ctx, _place(run).chain, int(number), settings)
        if draw.name != folder.name or run_id in others:
            return True
    return False


def _real_source(spec: RunSpec) -> SourceSpec | None:
    sources = (spec.data.sources or ()) if isinstance(spec.data, DataSpec) else ()
    return next((source for source in sources if source.name == REAL), None)


def _metric(run: Run, source: str) -> float | None:
    return run.record.metrics.get(f"loss.val:{source}")


def losses(chains: ByChain, source: str = REAL) -> dict[int, float]:
    """The loss on held-out text of a source, by chain."""
    values = {chain: _metric(run, source) for chain, run in sorted(chains.items())}
    return {chain: value for chain, value in values.items() if value is not None}


def propose(evidence: Evidence) -> Mapping[str, Any] | None:
    """Train the next generation of each chain on text drawn from the one before it."""
    settings: Settings = evidence.settings
    seen, generation = seen_in(evidence), evidence.stage
    if generation > settings.generations:
        return None
    grid = []
    for kind in (REPLACE, ACCUMULATE):
        last = seen.chain(kind).get(generation - 1, {})
        for chain, run in sorted(last.items()):
            if generation == 1 and kind == ACCUMULATE:
                continue  # both chains learn from the first generation: one entry has all shares
            grid.append(
                {
                    "sizes": [run.spec.model.dimensions],
                    "tokens": [run.spec.tokens],
                    "seeds": [chain + _OF_GENERATION * generation],
                    "axes": {
                        **_corpora(seen, kind, chain, generation, settings),
                        "data.mix": _mixtures(kind, generation),
                    },
                }
            )
    return {"grid": grid} if grid else None


def _corpora(
    seen: Seen, kind: str, chain: int, generation: int, settings: Settings
) -> dict[str, list[Any]]:
    """The corpora that a generation of a chain reads beside the real text, as axes."""
    line = seen.chain(kind)
    first = generation if kind == REPLACE else 1
    corpora = {}
    for number in range(first, generation + 1):
        run = line[number - 1][chain]
        draw = _draw(run.record.run_id, run.spec.model.n_ctx, chain, number, settings)
        corpora[f"data.sources.{SYNTHETIC}{number}.corpus"] = [{"samples": to_json(draw)}]
    return corpora


def _mixtures(kind: str, generation: int) -> list[dict[str, float]]:
    """The mixtures of a generation: every share in the first one, one in the later ones."""
    own = f"{SYNTHETIC}{generation}"
    if generation == 1:
        shares = sorted({*SHARES, share_of(ACCUMULATE, 1)})
        return [{REAL: 1 - share, own: share} if share < 1 else {own: 1} for share in shares]
    if kind == REPLACE:
        return [{own: 1}]
    each = 1 / (generation + 1)
    names = (REAL, *(f"{SYNTHETIC}{number}" for number in range(1, generation + 1)))
    return [dict.fromkeys(names, each)]


def analyse(evidence: Evidence) -> Findings:
    """Return what the share of synthetic text and the generations do to the loss on real text."""
    seen = seen_in(evidence)
    claims = (
        _collapses(seen),
        _rises_on(seen),
        _avoided(seen),
        _share_costs(seen),
        _repeats(seen),
        _narrows(seen),
    )
    used = sum(map(len, seen.runs.values()))
    return answer(
        claims,
        lambda: _words(seen),
        measures=_measures(seen),
        tables=(_share_table(seen), _chain_table(seen)),
        figures=(_figure(seen),),
        literature=_literature(seen),
        notes=[
            "tokens are equal in all runs: Gerstgrasser 2024 trains on all that has accumulated,"
            " so that its later generations also train for longer",
            *left_out(
                evidence,
                used,
                "without the loss on real text, of no chain, or of another recipe of training or"
                " of drawing",
            ),
        ],
        units={"loss": "nats per token", "rise": "nats per token", "own_loss": "nats per token"},
    )


def rises(seen: Seen, kind: str, first: int = 0) -> dict[int, float]:
    """By how much the loss on real text rises from a generation of a chain to its last one."""
    line = seen.chain(kind)
    start, end = losses(line.get(first, {})), losses(line[max(line)]) if line else {}
    return {chain: end[chain] - start[chain] for chain in sorted(start.keys() & end.keys())}


def _need_real(seen: Seen) -> None:
    need(seen.has_real, f"no source of the config is called {REAL}", f"data.sources.{REAL}")


def _need_chain(seen: Seen, kind: str) -> int:
    """The last generation of a chain, which needs ``FEWEST`` generations and two seeds."""
    _need_real(seen)
    line = seen.chain(kind)
    last = max(line, default=0)
    need(bool(line), "no run on real text has finished", AGAIN)
    need(last >= FEWEST, f"the chain that {kind}s has {last} generations", AGAIN)
    need(len(rises(seen, kind)) > 1, f"one seed of the chain that {kind}s has finished", AGAIN)
    return last


def _path(seen: Seen, kind: str) -> str:
    values = [fmean(losses(chains).values()) for chains in seen.chain(kind).values()]
    return ", ".join(f"{value:.3f}" for value in values)


def _collapses(seen: Seen) -> Claim:
    def decide() -> Decision:
        last = _need_chain(seen, REPLACE)
        words = f"nats by generation 0 to {last}: {_path(seen, REPLACE)}; it rises by"
        return decided(list(rises(seen, REPLACE).values()), words)

    return claim(
        "replacing_harms",
        "a chain that learns only from its own text ends above the model of the real text",
        decide,
    )


def _rises_on(seen: Seen) -> Claim:
    def decide() -> Decision:
        last = _need_chain(seen, REPLACE)
        each = rises(seen, REPLACE, first=1)
        return decided(list(each.values()), f"from generation 1 to {last} by")

    return claim(
        "replacing_collapses",
        "its loss goes on rising from the first generation on synthetic text to the last one",
        decide,
    )


def _avoided(seen: Seen) -> Claim:
    def decide() -> Decision:
        last = min(_need_chain(seen, kind) for kind in (REPLACE, ACCUMULATE))
        ours, theirs = rises(seen, ACCUMULATE), rises(seen, REPLACE)
        need(
            fmean(theirs.values()) > 0,
            "the chain that replaces does not rise",
            "longer chains, or fewer texts",
        )
        both = sorted(ours.keys() & theirs.keys())
        rest = [BOUNDED * theirs[chain] - ours[chain] for chain in both]
        words = (
            f"to generation {last} it rises by {fmean(ours.values()):.3f} nats, the chain that"
            f" replaces by {fmean(theirs.values()):.3f}"
        )
        return decided(rest, f"{words}: below {BOUNDED:g} times that by")

    return claim(
        "accumulating_avoids_it",
        "a chain that adds its text to the real one rises by less than half as much",
        decide,
    )


def _share_costs(seen: Seen) -> Claim:
    def decide() -> Decision:
        _need_real(seen)
        by_share = {share: losses(chains) for share, chains in seen.shares.items()}
        need(0.0 in by_share and len(by_share) > 2, f"{len(by_share)} shares have finished", AGAIN)
        words = _by_share_words(seen)
        real = by_share.pop(0.0)
        gaps = {
            f"at {share:.0%}": [
                own[chain] - real[chain] for chain in sorted(real.keys() & own.keys())
            ]
            for share, own in by_share.items()
        }
        need(min(map(len, gaps.values())) > 1, "one seed has finished of some share", AGAIN)
        return all_decided(gaps, f"{words}; above 0% by")

    return claim(
        "real_text_is_best",
        "at equal tokens and equal unique real text, every share of synthetic text costs loss"
        " against reading the real text again",
        decide,
    )


def _by_share_words(seen: Seen) -> str:
    return "nats by share: " + ", ".join(
        f"{share:.0%} {fmean(losses(chains).values()):.3f}" for share, chains in seen.shares.items()
    )


def _repeats(seen: Seen) -> Claim:
    def decide() -> Decision:
        _need_real(seen)
        by_share = seen.shares
        mixed = [share for share in by_share if 0 < share < 1]
        need(1.0 in by_share and bool(mixed), "no mixture or no run without real text", AGAIN)
        most = max(mixed)
        pure, some = losses(by_share[1.0]), losses(by_share[most])
        gaps = [pure[chain] - some[chain] for chain in sorted(pure.keys() & some.keys())]
        need(len(gaps) > 1, "one seed has finished", AGAIN)
        words = (
            f"with {1 - most:.0%} of real text {fmean(some.values()):.3f} nats, with none"
            f" {fmean(pure.values()):.3f}"
        )
        return decided(gaps, f"{words}: lower by")

    return claim(
        "some_real_text_helps",
        "the smallest share of real text that was tried lowers the loss below that without any",
        decide,
    )


def own_losses(seen: Seen) -> dict[int, dict[int, float]]:
    """The loss of a chain that replaces on held-out text of its own source, by generation."""
    return {
        generation: losses(chains, f"{SYNTHETIC}{generation}" if generation else REAL)
        for generation, chains in seen.chain(REPLACE).items()
    }


def _narrows(seen: Seen) -> Claim:
    def decide() -> Decision:
        last = _need_chain(seen, REPLACE)
        own = own_losses(seen)
        need(len(own[1]) > 1 and len(own[last]) > 1, "no loss on its own text", AGAIN)
        gaps = [own[1][chain] - own[last][chain] for chain in own[1].keys() & own[last].keys()]
        listed = ", ".join(f"{fmean(by.values()):.3f}" for by in own.values() if by)
        words = f"nats on held-out text of its own source by generation: {listed}; from 1 to {last}"
        return decided(gaps, f"{words} it falls by")

    return claim(
        "text_becomes_easier",
        "the text of a chain that replaces becomes easier to predict for the models that learn it",
        decide,
    )


def _mean(values: Mapping[int, float]) -> Mean | None:
    return mean_over(list(values.values()))


def _words(seen: Seen) -> str:
    ours, theirs = (_mean(rises(seen, kind)) for kind in (ACCUMULATE, REPLACE))
    last = max(seen.chain(REPLACE))
    words = (
        f"After {last} generations on nothing but its own text a model's loss on real text is"
        f" higher by {theirs.text if theirs else 'an unknown amount of'} nats"
    )
    if ours is not None:
        words += f"; where the text is added to the real one, by {ours.text}"
    return f"{words}. {_by_share_words(seen).capitalize()}."


def _measures(seen: Seen) -> dict[str, float | None]:
    measures: dict[str, float | None] = {}
    for kind in (REPLACE, ACCUMULATE):
        rise = _mean(rises(seen, kind))
        measures[f"rise.{kind}"] = rise.value if rise else None
    for share, chains in seen.shares.items():
        measures[f"loss.share{share:g}"] = fmean(losses(chains).values())
    for kind in (REPLACE, ACCUMULATE):
        for generation, chains in seen.chain(kind).items():
            measures[f"loss.{kind}.g{generation}"] = fmean(losses(chains).values())
    for generation, by_chain in own_losses(seen).items():
        if by_chain:
            measures[f"own_loss.g{generation}"] = fmean(by_chain.values())
    return measures


def _share_table(seen: Seen) -> Table | None:
    rows = []
    for share, chains in seen.shares.items():
        epochs = [run.record.metrics.get(f"epochs.{REAL}", 0.0) for run in chains.values()]
        loss = _mean(losses(chains))
        rows.append((f"{share:.0%}", f"{fmean(epochs):.2g}", loss.text if loss else "-"))
    if not rows:
        return None
    return Table(
        caption="Loss on real text in nats per token by the share of synthetic text, at equal"
        " tokens, and how often the real text is read",
        head=("synthetic", "passes over real text", "loss"),
        rows=tuple(rows),
    )


def _chain_table(seen: Seen) -> Table | None:
    lines = {kind: seen.chain(kind) for kind in (REPLACE, ACCUMULATE)}
    count = max(map(len, lines.values()))
    if not count:
        return None

    def cell(chains: ByChain | None) -> str:
        loss = _mean(losses(chains)) if chains else None
        return loss.text if loss else "-"

    own = own_losses(seen)
    rows = [
        (
            str(generation),
            *(cell(lines[kind].get(generation)) for kind in (REPLACE, ACCUMULATE)),
            f"{fmean(own[generation].values()):.3f}" if own.get(generation) else "-",
        )
        for generation in range(count)
    ]
    return Table(
        caption="Loss on real text in nats per token by generation, and on held-out text of the"
        " source that a chain that replaces learned from",
        head=("generation", "its own text alone", "added to the real text", "own text"),
        rows=tuple(rows),
    )


def _figure(seen: Seen) -> Figure | None:
    if not seen.runs:
        return None
    words = {REPLACE: "its own text alone", ACCUMULATE: "added to the real text"}
    chains = [
        mean_series(
            words[kind],
            {float(g): list(losses(one).values()) for g, one in seen.chain(kind).items()},
        )
        for kind in words
    ]
    shares = mean_series(
        "mixtures", {share: list(losses(one).values()) for share, one in seen.shares.items()}
    )
    y = Axis(label="loss on real text, nats per token")
    generations = {str(number): float(number) for number in seen.chain(REPLACE)}
    return figure(
        "synthetic_text",
        "Learning from a model's own text",
        "Held-out real text; intervals over seeds. All runs have as many tokens.",
        [
            Panel(
                title="over generations",
                x=Axis(label="generation", values=generations),
                y=y,
                series=tuple(chains),
            ),
            Panel(
                title="one generation, by share",
                x=Axis(label="share of synthetic text"),
                y=y,
                series=(shares,),
            ),
        ],
    )


def _literature(seen: Seen) -> tuple[Published, ...]:
    def ours(kind: str) -> str | None:
        rise = _mean(rises(seen, kind))
        return f"changes by {rise.text} nats" if rise else None

    return (
        beside(
            "the loss over generations on their own text alone",
            theirs="rises with every generation",
            ours=ours(REPLACE),
            source="Shumailov 2023, arXiv 2305.17493",
        ),
        beside(
            "the loss where synthetic text is added to the real one",
            theirs="does not rise",
            ours=ours(ACCUMULATE),
            source="Gerstgrasser 2024, arXiv 2404.01413",
        ),
    )


def _planted_outcome(spec: RunSpec) -> Outcome:
    """A loss that rises with the share, and by .1 nats a generation without real text."""
    place = place_of(spec)
    assert place is not None, "all runs have a mixture"
    loss = 2.5 + 0.01 * place.chain + 0.05 * place.share
    if place.share == 1:
        loss += 0.1 * place.generation
    own = {f"loss.val:{SYNTHETIC}{place.generation}": 2.4 - 0.05 * place.generation}
    return Outcome(
        val_loss_nats=loss,
        metrics={f"loss.val:{REAL}": loss, **(own if place.generation else {})},
    )


EXPERIMENT = Experiment(
    question="Does text drawn from a model help the next one, and does it collapse over"
    " generations?",
    reproduces="Shumailov 2023, Gerstgrasser 2024 (model collapse, and how real text avoids it)",
    settings=Settings,
    propose=propose,
    reads_mixture=True,
    analyse=analyse,
    planted=Planted(
        outcome=_planted_outcome,
        measures={"rise.replace": (0.449, 0.451), "rise.accumulate": (0.039, 0.041)},
        claims={
            "replacing_harms": True,
            "replacing_collapses": True,
            "accumulating_avoids_it": True,
            "real_text_is_best": True,
            "some_real_text_helps": True,
            "text_becomes_easier": True,
        },
    ),
)
