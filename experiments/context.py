"""What a longer context gains: by position, at equal tokens and compute, and across documents.

    slaw run context
    slaw report results/context

The probe ``position_loss`` gives the loss by position in the context, which Kaplan 2020 (arXiv
2001.08361, appendix D.5) finds to be a power law that larger models make more of. Contexts of 16 to
256 bytes are compared at equal tokens and, by lines between the losses of their horizons, at equal
compute: exact FLOPs count attention, which grows with the context. The loss against the context
length is fitted by a power law with a floor (Xiong 2023, arXiv 2309.16039).

On paragraphs that have nothing to do with each other, several of which fill a sequence, attention
is masked at the borders of documents or not (``model.documents``; Zhao 2024, arXiv 2402.13991,
intra-document causal masking); the probe ``document_loss`` gives the loss by place in the document.

All runs have one learning rate and one batch of tokens.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import fmean
from typing import TypeAlias

from scaling_law.experiment import Experiment, Outcome, Planted
from scaling_law.experiment.answer import (
    Decision,
    all_decided,
    answer,
    beside,
    claim,
    decided,
    decided_between,
    need,
)
from scaling_law.experiment.evidence import Evidence, Run
from scaling_law.experiment.figures import figure, law_series, log_axis, mean_series
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
from scaling_law.experiment.groups import left_out
from scaling_law.experiment.power_law import PowerLaw, fit_power_law_with_floor
from scaling_law.experiment.seeds import Mean, mean_over
from scaling_law.spec.counts import count_params, flops_per_token
from scaling_law.spec.model import ModelSpec
from scaling_law.spec.run import RunSpec
from scaling_law.units import format_count

SHORT_TEXT = "paragraphs"  # the corpus whose documents are shorter than the context
FIT = 0.02  # root mean square of relative distances up to which a law fits
_NOISE = " (not established)"
EARLY = 8  # position up to which the context is short
_KEY = re.compile(r"(position|document)_loss\.val\.(\d+)(?:-(\d+))?")
BySeed: TypeAlias = Mapping[int, Run]


@dataclass(frozen=True, order=True)
class Setting:
    """What the seeds of a setting share.

    ``params`` are the parameters in matrices; ``n_ctx`` is the context in tokens;
    ``tokens`` are those trained on; ``is_short`` says that documents are short;
    ``is_masked`` says that attention does not cross them.
    """

    params: int
    n_ctx: int
    tokens: int
    is_short: bool
    is_masked: bool


@dataclass(frozen=True)
class Seen:
    """The runs of each setting, by seed."""

    runs: Mapping[Setting, BySeed]

    @property
    def tokens(self) -> int:
        """The longest horizon."""
        return max((one.tokens for one in self.runs), default=0)

    @property
    def base(self) -> int:
        """The size, in parameters, that was trained at most contexts."""
        sizes = sorted({one.params for one in self.runs})
        return max(sizes, key=lambda size: len(self._contexts(size)), default=0)

    def _contexts(self, params: int) -> set[int]:
        return {s.n_ctx for s in self.runs if s.params == params and not s.is_short}

    @property
    def contexts(self) -> list[int]:
        """The contexts of that size, rising."""
        return sorted(self._contexts(self.base))

    def at(self, n_ctx: int, tokens: int, params: int | None = None) -> BySeed:
        """The runs on long documents at a context and horizon."""
        size = self.base if params is None else params
        return self.runs.get(Setting(size, n_ctx, tokens, False, False), {})

    @property
    def longest(self) -> dict[int, BySeed]:
        """The runs at the longest context and horizon, by parameters."""
        last = max((s.n_ctx for s in self.runs if not s.is_short), default=0)
        sizes = sorted({s.params for s in self.runs})
        return {size: runs for size in sizes if (runs := self.at(last, self.tokens, size))}

    @property
    def short(self) -> dict[bool, BySeed]:
        """The runs on short documents at the longest horizon, by whether they are masked."""
        own = (s for s in self.runs if s.is_short and s.tokens == self.tokens)
        return {setting.is_masked: self.runs[setting] for setting in own}


def setting_of(spec: RunSpec) -> Setting | None:
    """The setting that a run is a seed of; None where it is not of a GPT."""
    if not isinstance(spec.model, ModelSpec):
        return None
    model = spec.model
    return Setting(
        params=count_params(model).matmul,
        n_ctx=model.n_ctx,
        tokens=spec.tokens,
        is_short=spec.data.name == SHORT_TEXT,
        is_masked=model.documents is not None,
    )


def seen_in(evidence: Evidence) -> Seen:
    """Sort the runs by setting and seed."""
    runs: dict[Setting, dict[int, Run]] = {}
    for run in evidence.ended:
        setting = setting_of(run.spec)
        if setting is not None and run.record.val_loss_nats:
            runs.setdefault(setting, {})[run.spec.seed] = run
    return Seen(dict(sorted(runs.items())))


def loss_of(run: Run) -> float:
    """The loss at the end."""
    assert run.record.val_loss_nats is not None, "asked when runs are sorted"
    return run.record.val_loss_nats


def by_place(run: Run, what: str) -> dict[float, float]:
    """The loss by position or by place in the document, each block at its geometric middle."""
    blocks: dict[float, float] = {}
    for name, value in run.record.metrics.items():
        key = _KEY.fullmatch(name)
        if key is not None and key[1] == what:
            first = int(key[2])
            blocks[math.sqrt(first * int(key[3] or first))] = value
    return dict(sorted(blocks.items()))


def places_of(runs: BySeed, what: str) -> dict[float, list[float]]:
    """The losses by position of several seeds."""
    each = [by_place(run, what) for run in runs.values()]
    common = set.intersection(*map(set, each)) if each else set()
    return {x: [one[x] for one in each] for x in sorted(common)}


def at_compute(seen: Seen, n_ctx: int, flops: float) -> dict[int, float]:
    """The loss at so many FLOPs, by seed: the line between horizons, in logarithms.

    Seeds that were trained at fewer than two horizons, or not to these FLOPs, have none.
    """
    horizons = sorted({s.tokens for s in seen.runs if s.n_ctx == n_ctx and not s.is_short})
    points: dict[int, list[tuple[float, float]]] = {}
    for tokens in horizons:
        for seed, run in seen.at(n_ctx, tokens).items():
            spent = flops_per_token(run.spec.model) * tokens
            points.setdefault(seed, []).append((math.log(spent), math.log(loss_of(run))))
    at, losses = math.log(flops), {}
    for seed, own in points.items():
        for (x0, y0), (x1, y1) in pairwise(own):
            if x0 <= at <= x1 + 1e-9:
                losses[seed] = math.exp(y0 + (at - x0) / (x1 - x0) * (y1 - y0))
    return losses


def common_flops(seen: Seen) -> float | None:
    """The largest compute that every context was trained to; None where there is none."""
    spent = [
        max((flops_per_token(run.spec.model) * seen.tokens for run in runs.values()), default=0.0)
        for n_ctx in seen.contexts
        if (runs := seen.at(n_ctx, seen.tokens))
    ]
    return min(spent) if len(spent) > 1 and len(spent) == len(seen.contexts) else None


def equal_compute(seen: Seen) -> dict[int, dict[int, float]]:
    """The losses by context and seed at the largest compute that all contexts have."""
    flops = common_flops(seen)
    if flops is None:
        return {}
    return {n_ctx: at_compute(seen, n_ctx, flops) for n_ctx in seen.contexts}


def analyse(evidence: Evidence) -> Findings:
    """Return what the context gains, and what masking does."""
    seen = seen_in(evidence)
    laws = {
        params: fit_power_law_with_floor(places_of(runs, "position"))
        for params, runs in seen.longest.items()
    }
    by_context = fit_power_law_with_floor(_equal_tokens(seen))
    claims = (
        _by_position(seen, laws),
        _predicts_last(seen),
        _larger_gains_more(seen),
        _longer_is_lower(seen),
        _context_law(by_context),
        _longest_at_equal_compute(seen),
        _short_learns_faster(seen),
        _masking_helps(seen, "whole"),
        _masking_helps(seen, "late"),
    )
    used = sum(map(len, seen.runs.values()))
    return answer(
        claims,
        lambda: _words(seen, laws, claims),
        measures=_measures(seen, laws, by_context),
        tables=(_context_table(seen), _size_table(seen, laws), _document_table(seen)),
        figures=(_position_figure(seen, laws), _context_figure(seen)),
        literature=_literature(seen, laws, by_context),
        notes=[
            *left_out(evidence, used, "without a loss or of another architecture"),
            "losses of different contexts are each a mean over the positions of its own context,"
            " and every run has the same learning rate and tokens in a batch: the shorter the"
            " context, the more sequences a batch has",
        ],
        units={
            "position_exponent": "",
            "floor": "nats per token",
            "loss": "nats per token",
            "equal_flops_loss": "nats per token",
            "matched_loss": "nats per token",
            "masking_gain": "nats per token",
        },
    )


def _equal_tokens(seen: Seen) -> dict[float, list[float]]:
    return {
        float(n_ctx): [loss_of(run) for run in seen.at(n_ctx, seen.tokens).values()]
        for n_ctx in seen.contexts
    }


def _largest_context(seen: Seen) -> BySeed:
    runs = seen.longest.get(seen.base, {})
    need(len(runs) > 1, f"{len(runs)} seeds of the longest context have finished", AGAIN)
    need(
        bool(places_of(runs, "position")),
        "no run measured the loss by position",
        "probes: [position_loss]",
    )
    return runs


def _by_position(seen: Seen, laws: Mapping[int, PowerLaw | str]) -> Claim:
    def decide() -> Decision:
        _largest_context(seen)
        why = next((law for law in laws.values() if isinstance(law, str)), "")
        need(not why, why, "a longer context or more seeds")
        words = "; ".join(
            f"{format_count(size)}: {law.formula('p')}, exponent {law.exponent_text}, misfit"
            f" {law.misfit:.2%}"
            for size, law in laws.items()
            if isinstance(law, PowerLaw)
        )
        worst = max(law.misfit for law in laws.values() if isinstance(law, PowerLaw))
        return worst <= FIT, words

    return claim(
        "power_law_in_position",
        f"the loss falls along the context as a power law with a floor, within {FIT:.0%} (root mean"
        " square)",
        decide,
    )


def _predicts_last(seen: Seen) -> Claim:
    def decide() -> Decision:
        own = places_of(_largest_context(seen), "position")
        *known, last = own
        fell = fmean(own[known[-1]]) / fmean(own[last]) - 1
        need(
            fell > FIT,
            f"from the block before it to the last one the loss changes by {-fell:+.1%}, so that"
            " there is nothing to predict",
            "longer training, with which the loss still falls there",
        )
        law = fit_power_law_with_floor({x: own[x] for x in known})
        need(isinstance(law, PowerLaw), str(law), "a longer context or more seeds")
        assert isinstance(law, PowerLaw), "needed above"
        off = law.at(last) / fmean(own[last]) - 1
        return abs(off) <= FIT, f"predicted {law.at(last):.3f}, seen {fmean(own[last]):.3f}"

    return claim(
        "predicts_later_positions",
        "the law of the first half of the context predicts the loss of the second half within"
        f" {FIT:.0%}",
        decide,
    )


def _gain_along(run: Run) -> float:
    """By how much the loss of the last block is below that of the first long enough one."""
    own = by_place(run, "position")
    early = next(value for x, value in own.items() if x >= EARLY)
    return early - list(own.values())[-1]


def _larger_gains_more(seen: Seen) -> Claim:
    def decide() -> Decision:
        _largest_context(seen)
        sizes = sorted(seen.longest)
        need(len(sizes) > 1, "one size has finished at the longest context", AGAIN)
        small, large = seen.longest[sizes[0]], seen.longest[sizes[-1]]
        both = sorted(small.keys() & large.keys())
        need(len(both) > 1, f"{len(both)} seeds have both ends of the sizes", AGAIN)
        each = [_gain_along(large[seed]) - _gain_along(small[seed]) for seed in both]
        words = "; ".join(
            f"{format_count(size)} {fmean(map(_gain_along, runs.values())):+.3f} nats"
            for size, runs in seen.longest.items()
        )
        need(
            fmean(map(_gain_along, large.values())) > 0,
            f"no loss falls beyond position {EARLY} ({words})",
            "longer training, with which models use more of the context",
        )
        words = (
            f"from positions beyond {EARLY} to the last ones: {words}; the largest gains more by"
        )
        return decided(each, words)

    return claim(
        "larger_gains_more",
        "a larger model gains more from the later part of the context",
        decide,
    )


def _longer_is_lower(seen: Seen) -> Claim:
    def decide() -> Decision:
        groups = _equal_tokens(seen)
        need(len(groups) > 1, f"{len(groups)} contexts have finished", AGAIN)
        need(min(map(len, groups.values())) > 1, "a context has one seed", "2 seeds: " + AGAIN)
        means = {n_ctx: fmean(own) for n_ctx, own in groups.items()}
        words = ", ".join(f"{n_ctx:g}: {mean:.3f}" for n_ctx, mean in means.items())
        first, last = (seen.at(n, seen.tokens) for n in (seen.contexts[0], seen.contexts[-1]))
        both = sorted(first.keys() & last.keys())
        need(len(both) > 1, f"{len(both)} seeds have both ends", AGAIN)
        each = [loss_of(first[seed]) - loss_of(last[seed]) for seed in both]
        return decided(each, f"nats by context: {words}; the longest is lower by")

    return claim(
        "longer_is_lower_at_equal_tokens",
        "at equal tokens the longest context ends with a lower loss than the shortest",
        decide,
    )


def _context_law(law: PowerLaw | str) -> Claim:
    def decide() -> Decision:
        need(isinstance(law, PowerLaw), str(law), "more contexts or seeds")
        assert isinstance(law, PowerLaw), "needed above"
        words = f"{law.formula('c')}, exponent {law.exponent_text}, misfit {law.misfit:.2%}"
        return law.misfit <= FIT, words

    return claim(
        "power_law_in_context_length",
        f"at equal tokens the loss is a power law of the context length with a floor, within"
        f" {FIT:.0%}",
        decide,
    )


def _matched(seen: Seen) -> dict[int, list[float]]:
    """The losses by context in the last block of positions that the shortest context has."""
    contexts = seen.contexts
    if not contexts:
        return {}
    own = {n: places_of(seen.at(n, seen.tokens), "position") for n in contexts}
    at = max(own[contexts[0]], default=0.0)
    return {n: places[at] for n, places in own.items() if at in places}


def _short_learns_faster(seen: Seen) -> Claim:
    def decide() -> Decision:
        losses = _matched(seen)
        need(len(losses) > 1, f"{len(losses)} contexts measured the same positions", AGAIN)
        need(min(map(len, losses.values())) > 1, "a context has one seed", "2 seeds: " + AGAIN)
        words = ", ".join(f"{n}: {fmean(own):.3f}" for n, own in losses.items())
        words = f"nats by context: {words}; the shortest is lower by"
        return decided_between(losses[max(losses)], losses[min(losses)], words)

    return claim(
        "short_context_learns_faster",
        "at the same positions, the last ones of the shortest context, the model of the shortest"
        " context has a lower loss than that of the longest: what it gains is not from its context",
        decide,
    )


def _longest_at_equal_compute(seen: Seen) -> Claim:
    def decide() -> Decision:
        losses = equal_compute(seen)
        need(bool(losses), "contexts have no compute in common", AGAIN)
        need(min(map(len, losses.values())) > 1, "a context has fewer than 2 seeds there", AGAIN)
        words = ", ".join(f"{n_ctx}: {fmean(own.values()):.3f}" for n_ctx, own in losses.items())
        longest = losses[max(losses)]
        each = {
            f"than {n_ctx}": [own[seed] - longest[seed] for seed in sorted(own.keys() & longest)]
            for n_ctx, own in losses.items()
            if n_ctx < max(losses)
        }
        return all_decided(each, f"nats by context: {words}; the longest is lower by")

    return claim(
        "longest_wins_at_equal_compute",
        "at equal compute the longest context ends lowest",
        decide,
    )


def _masking(seen: Seen, part: str) -> list[float]:
    """By how much masked runs end below packed ones, seed by seed: of all tokens, or of late ones.

    Late tokens are those beyond the place ``EARLY`` of their document.
    """
    packed, masked = (seen.short.get(kind, {}) for kind in (False, True))

    def value(run: Run) -> float | None:
        if part == "whole":
            return loss_of(run)
        late = [loss for x, loss in by_place(run, "document").items() if x > EARLY]
        return fmean(late) if late else None

    pairs = [(value(packed[s]), value(masked[s])) for s in sorted(packed.keys() & masked.keys())]
    return [theirs - ours for theirs, ours in pairs if theirs is not None and ours is not None]


def _masking_helps(seen: Seen, part: str) -> Claim:
    def decide() -> Decision:
        gains = _masking(seen, part)
        need(len(gains) > 1, f"{len(gains)} seeds have both masked and packed documents", AGAIN)
        return decided(gains, "by", show=_nats)

    says = "on short documents that are packed, masking attention at their borders lowers the loss"
    if part == "whole":
        return claim("masking_helps", says, decide)
    return claim("masking_helps_late", f"{says} beyond the place {EARLY} of a document", decide)


def _nats(mean: Mean) -> str:
    return f"{mean.text.replace('seeds', 'seeds, paired')} nats"


def _words(seen: Seen, laws: Mapping[int, PowerLaw | str], claims: Sequence[Claim]) -> str:
    standing = {one.name: one for one in claims}
    law = laws[seen.base]
    fits = standing["power_law_in_position"].established
    first = f"Along the context the loss {'falls as' if fits else 'is not'} a power law"
    if isinstance(law, PowerLaw):
        first += f" ({law.formula('p')} at {format_count(seen.base)} parameters)"
    parts = [first + "."]
    tokens = _equal_tokens(seen)
    if len(tokens) > 1:
        best = min(tokens, key=lambda n_ctx: fmean(tokens[n_ctx]))
        unsure = standing["longer_is_lower_at_equal_tokens"].established is None
        said = f"At equal tokens the context of {best:g} ends lowest{_NOISE if unsure else ''}"
        compute = {n: own for n, own in equal_compute(seen).items() if own}
        if compute:
            best = min(compute, key=lambda n_ctx: fmean(compute[n_ctx].values()))
            unsure = standing["longest_wins_at_equal_compute"].established is None
            said += f", at equal compute that of {best:g}{_NOISE if unsure else ''}"
        parts.append(f"{said}.")
        if standing["short_context_learns_faster"].established:
            parts.append("At the same positions it is lower too: short contexts learn faster here.")
    masking = standing["masking_helps"]
    if masking.established is None:
        parts.append("What masking does is not established.")
    else:
        verb = "lowers" if masking.established else "does not lower"
        parts.append(f"Masking short documents {verb} the loss ({masking.because}).")
    return " ".join(parts)


def _measures(
    seen: Seen, laws: Mapping[int, PowerLaw | str], by_context: PowerLaw | str
) -> dict[str, float | None]:
    measures: dict[str, float | None] = {}
    for params, law in laws.items():
        known = law if isinstance(law, PowerLaw) else None
        measures[f"position_exponent.n{params}"] = known.exponent if known else None
        measures[f"floor.n{params}"] = known.floor if known else None
    context = by_context if isinstance(by_context, PowerLaw) else None
    measures["context_exponent"] = context.exponent if context else None
    for n_ctx, own in _equal_tokens(seen).items():
        measures[f"loss.ctx{n_ctx:g}"] = fmean(own) if own else None
    for n_ctx, seeds in equal_compute(seen).items():
        measures[f"equal_flops_loss.ctx{n_ctx}"] = fmean(seeds.values()) if seeds else None
    for n_ctx, own in _matched(seen).items():
        measures[f"matched_loss.ctx{n_ctx}"] = fmean(own)
    for part in ("whole", "late"):
        gains = _masking(seen, part)
        measures[f"masking_gain.{part}"] = fmean(gains) if gains else None
    return measures


def _context_table(seen: Seen) -> Table | None:
    compute, rows = equal_compute(seen), []
    for n_ctx in seen.contexts:
        runs = seen.at(n_ctx, seen.tokens)
        if not runs:
            continue
        equal = mean_over(list(compute.get(n_ctx, {}).values()))
        mean = mean_over([loss_of(run) for run in runs.values()])
        cost = flops_per_token(next(iter(runs.values())).spec.model)
        speed = fmean(run.record.tokens_per_second for run in runs.values())
        errors = [run.record.val_loss_sem_nats or 0.0 for run in runs.values()]
        rows.append(
            (
                n_ctx,
                f"{cost:.3g}",
                format_count(speed),
                mean.text if mean else "–",
                f"{fmean(errors):.3f}",
                equal.text if equal else "–",
            )
        )
    if not rows:
        return None
    flops = common_flops(seen)
    return Table(
        caption=f"Contexts of {format_count(seen.base)} parameters: FLOPs of a token, tokens a"
        f" second as measured here, loss in nats per token after {format_count(seen.tokens)} tokens"
        " with the error that the sample of validation text leaves,"
        + (f" and the loss after {flops:.2e} FLOPs" if flops else ""),
        head=("context", "FLOPs", "tokens/s", "equal tokens", "error", "equal compute"),
        rows=tuple(rows),
        text_columns=0,
    )


def _size_table(seen: Seen, laws: Mapping[int, PowerLaw | str]) -> Table | None:
    rows = []
    for params, runs in seen.longest.items():
        law, places = laws[params], places_of(runs, "position")
        if not places:
            continue
        ends = [fmean(places[x]) for x in (min(places), max(places))]
        fitted = law.formula("p") if isinstance(law, PowerLaw) else law
        rows.append((format_count(params), f"{ends[0]:.3f}", f"{ends[1]:.3f}", fitted))
    if not rows:
        return None
    return Table(
        caption="Loss by position p at the longest context, in nats per token",
        head=("params", "first position", "last positions", "law"),
        rows=tuple(rows),
    )


def _document_table(seen: Seen) -> Table | None:
    packed, masked = (places_of(seen.short.get(kind, {}), "document") for kind in (False, True))
    rows = [
        (f"{x:.3g}", f"{fmean(packed[x]):.3f}", f"{fmean(masked[x]):.3f}")
        for x in packed
        if x in masked and x >= 1
    ]
    if not rows:
        return None
    return Table(
        caption="Short documents: loss in nats per token by place in the document (the middle of"
        " each block), where attention crosses their borders and where it is masked",
        head=("place", "packed", "masked"),
        rows=tuple(rows),
        text_columns=0,
    )


def _position_figure(seen: Seen, laws: Mapping[int, PowerLaw | str]) -> Figure | None:
    series, documents = [], []
    for params, runs in seen.longest.items():
        label, places = f"{format_count(params)} parameters", places_of(runs, "position")
        if not places:
            continue
        series.append(mean_series(label, places, line=False))
        law = laws[params]
        if isinstance(law, PowerLaw):
            series.append(law_series(label, law, places))
    for kind, label in ((False, "packed"), (True, "masked")):
        places = places_of(seen.short.get(kind, {}), "document")
        if places:
            documents.append(mean_series(label, {x: own for x, own in places.items() if x >= 1}))
    loss = Axis(label="loss, nats per token")
    panels = [
        Panel(x=log_axis(label), y=loss, series=tuple(own), title=title)
        for label, own, title in (
            ("position in the context", series, "long documents"),
            ("place in the document", documents, "short documents"),
        )
        if own
    ]
    return figure(
        "context_position",
        "Loss along the context",
        "Means over seeds with their intervals; broken lines are fitted power laws with a floor."
        " On the right, by place in short documents, packed and masked.",
        panels,
    )


def _context_figure(seen: Seen) -> Figure | None:
    tokens = {n_ctx: own for n_ctx, own in _equal_tokens(seen).items() if own}
    compute = {
        float(n_ctx): list(own.values()) for n_ctx, own in equal_compute(seen).items() if own
    }
    series = [
        mean_series(label, groups)
        for label, groups in (("equal tokens", tokens), ("equal compute", compute))
        if groups
    ]
    return figure(
        "context_length",
        "Loss by context length",
        "Means over seeds with their intervals, after equal tokens and after equal FLOPs.",
        [
            Panel(
                x=log_axis("context, tokens", seen.contexts),
                y=Axis(label="loss, nats per token"),
                series=tuple(series),
            )
        ],
    )


def _literature(
    seen: Seen, laws: Mapping[int, PowerLaw | str], by_context: PowerLaw | str
) -> list[Published]:
    fitted = [law for law in laws.values() if isinstance(law, PowerLaw)]
    gains = mean_over(_masking(seen, "whole"))
    return [
        beside(
            "loss by position in the context",
            theirs="a power law in the position; larger models gain more from later positions",
            ours="; ".join(law.formula("p") for law in fitted) or None,
            source="Kaplan 2020, arXiv 2001.08361, appendix D.5",
        ),
        beside(
            "loss against the context length",
            theirs="a power law with a constant, exponents of 0.45 to 0.51 (7B to 70B parameters)",
            ours=by_context.formula("c") if isinstance(by_context, PowerLaw) else None,
            source="Xiong 2023, arXiv 2309.16039, figure 1",
        ),
        beside(
            "shorter contexts in training",
            theirs="train faster; beginning with short ones ends lower too",
            ours="; ".join(
                f"{n}: {fmean(own):.3f} nats at the same positions"
                for n, own in _matched(seen).items()
                if n in (seen.contexts[0], seen.contexts[-1])
            )
            or None,
            source="Press 2021 (Shortformer), arXiv 2012.15832",
        ),
        beside(
            "masking attention between packed documents",
            theirs="lower perplexity, better in-context learning (1.3B parameters)",
            ours=f"lower by {_nats(gains)}" if gains else None,
            source="Zhao 2024, arXiv 2402.13991",
        ),
    ]


def _blocks(n_ctx: int) -> list[tuple[int, int]]:
    ends = [1]
    while ends[-1] < n_ctx:
        ends.append(min(2 * ends[-1], n_ctx))
    return [(before + 1, end) for before, end in pairwise([0, *ends])]


def _planted(spec: RunSpec) -> Outcome:
    """By position 1.5 + 2 p^-0.5, more of it at larger sizes; masking saves 0.03 nats."""
    setting = setting_of(spec)
    assert setting is not None, "the config has GPTs only"
    noise = 1 + 0.0005 * spec.seed
    level = 1 + 0.1 * math.log10(setting.params / 1e4)

    def at(position: float) -> float:
        return (1.5 + 2 * level / math.sqrt(position)) * noise

    def blocks(law: Callable[[float], float], name: str) -> dict[str, float]:
        return {
            f"{name}.val.{first}" + (f"-{last}" if last > first else ""): law(
                math.sqrt(first * last)
            )
            for first, last in _blocks(setting.n_ctx)
        }

    loss = at(setting.n_ctx / 4) * (setting.tokens / 262144) ** -0.02
    gain = 0.03 if setting.is_masked else 0.0
    metrics = blocks(at, "position_loss") | blocks(lambda x: at(x) - gain, "document_loss")
    return Outcome(val_loss_nats=loss - gain, metrics=metrics)


EXPERIMENT = Experiment(
    question="How does the loss fall along the context, which context is best at equal compute,"
    " and does masking documents help?",
    reproduces="Kaplan 2020 (loss by position); Xiong 2023 (context length); Zhao 2024 (masking)",
    parts={"probe": ("position_loss", "document_loss"), "corpus": ("paragraphs",)},
    analyse=analyse,
    planted=Planted(
        outcome=_planted,
        measures={"context_exponent": (-0.52, -0.48), "masking_gain.whole": (0.029, 0.031)},
        claims={
            "power_law_in_position": True,
            "predicts_later_positions": True,
            "larger_gains_more": True,
            "longer_is_lower_at_equal_tokens": True,
            "power_law_in_context_length": True,
            "masking_helps": True,
            "masking_helps_late": True,
        },
    ),
)
