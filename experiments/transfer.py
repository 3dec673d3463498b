"""Transfer: how much text of one domain pre-training on another is worth.

    slaw run transfer
    slaw report results/transfer     # effective data transferred, its exponents; two figures

Hernandez 2021 (arXiv 2102.01293): a model of N parameters that is pre-trained and then fine-tuned
on D_F tokens ends at a loss for which training from scratch needs D_E tokens. The effective data
transferred is D_T = D_E - D_F, and they find D_T = k D_F^alpha N^beta. Here every run reads its
tokens again and again at one constant rate, and the lowest validation loss of its curve counts (its
best checkpoint). D_E is read off the losses from scratch of the same size and seed, by straight
lines in logarithms, only where they lie on both sides. A run and its counterpart from scratch read
the same sequences.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from statistics import fmean
from typing import Annotated, Any

from scaling_law.experiment import Experiment, Outcome, Planted, planted_point
from scaling_law.experiment.answer import Decision, all_decided, answer, beside, claim, need
from scaling_law.experiment.best_epoch import Ended, ended
from scaling_law.experiment.evidence import Evidence, Run
from scaling_law.experiment.figures import figure, log_axis, mean_series
from scaling_law.experiment.findings import (
    AGAIN,
    Axis,
    Claim,
    Figure,
    Findings,
    Panel,
    Published,
    Series,
    Table,
)
from scaling_law.experiment.groups import left_out
from scaling_law.experiment.seeds import Mean, geometric_mean, mean_over, with_ends
from scaling_law.experiment.text_amounts import amount_of, amount_read
from scaling_law.spec.counts import count_params
from scaling_law.spec.data import DataSpec
from scaling_law.spec.run import RunSpec
from scaling_law.spec.values import Number
from scaling_law.units import format_count

ALPHA, BETA = 0.18, 0.38  # Hernandez 2021, text to Python
LEAST = 6  # settings with effective data, from which two exponents are fitted
WIDE = 1.0  # an exponent whose interval is wider is not determined


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Settings of the second stage.

    ``beyond`` is how many of the largest amounts of text only training from scratch gets, so that
    its losses reach those of the fine-tuned models.
    """

    beyond: Annotated[int, Number("largest amounts for scratch alone", low=0, high=20)] = 2


Losses = dict[tuple[int, int, int], Ended]  # by parameters, seed and amount of text


@dataclass(frozen=True)
class Seen:
    """What the runs show.

    ``scratch`` and ``tuned`` are runs on the target's text from random and from pre-trained
    weights; ``pretrained`` are those on the source;
    ``source`` and ``target`` are the domains, in words.
    """

    scratch: Losses = field(default_factory=dict)
    tuned: Losses = field(default_factory=dict)
    pretrained: tuple[Run, ...] = ()
    source: str = ""
    target: str = ""

    @property
    def sizes(self) -> list[int]:
        """The sizes of fine-tuned models, in non-embedding parameters."""
        return sorted({params for params, _, _ in self.tuned})

    def seeds(self, losses: Losses, params: int, amount: int) -> list[float]:
        """The losses of a size and an amount, by seed."""
        return [one.loss for (n, _, d), one in losses.items() if (n, d) == (params, amount)]

    def effective(self, params: int, seed: int, amount: int) -> float | str:
        """The tokens from scratch that a fine-tuned model's loss needs, or why unknown."""
        loss = self.tuned[params, seed, amount].loss
        curve = sorted(
            (d, one.loss) for (n, s, d), one in self.scratch.items() if (n, s) == (params, seed)
        )
        if len(curve) < 2:
            return "fewer than two amounts from scratch"
        if loss < min(level for _, level in curve):
            return "its loss is below all from scratch"
        if loss > curve[0][1]:
            return "its loss is above all from scratch"
        for (less, above), (more, below) in itertools.pairwise(curve):
            if above >= loss >= below:
                share = math.log(above / loss) / math.log(above / below) if above > below else 0.0
                return float(less * (more / less) ** share)
        return "the losses from scratch do not fall with the text"

    @property
    def transferred(self) -> dict[tuple[int, int, int], float | str]:
        """The effective data transferred in tokens, or why there is none, by fine-tuned run."""
        values: dict[tuple[int, int, int], float | str] = {}
        for key in sorted(self.tuned):
            effective = self.effective(*key)
            if isinstance(effective, str):
                values[key] = effective
            elif effective <= key[2]:
                values[key] = "no more than training from scratch"
            else:
                values[key] = effective - key[2]
        return values

    @property
    def known(self) -> dict[tuple[int, int, int], float]:
        """The effective data transferred where it is known."""
        return {key: v for key, v in self.transferred.items() if not isinstance(v, str)}


def read(evidence: Evidence) -> Seen:
    """Return what the runs show; the target is the text of the config's section ``data``."""
    data = evidence.config.get("data", {})
    target = tuple(data.get("domains", ())) if isinstance(data, Mapping) else ()
    texts = [run for run in evidence.ended if isinstance(run.spec.data, DataSpec)]
    scratch: Losses = {}
    tuned: Losses = {}
    sources: list[Run] = []
    for run in texts:
        amount, one = amount_read(run), ended(run)
        if _domains(run) != target and run.spec.start_from is None:
            sources.append(run)
        elif _domains(run) == target and amount is not None and one is not None:
            kind = scratch if run.spec.start_from is None else tuned
            kind[count_params(run.spec.model).non_embedding, run.spec.seed, amount] = one
    names = sorted({", ".join(_domains(run)) or "all" for run in sources})
    return Seen(scratch, tuned, tuple(sources), " or ".join(names), ", ".join(target) or "all")


def _domains(run: Run) -> tuple[str, ...]:
    assert isinstance(run.spec.data, DataSpec), "asked only of text"
    return run.spec.data.domains


def propose(evidence: Evidence) -> Mapping[str, Any] | None:
    """Fine-tune each pre-trained model on the smaller amounts of text that scratch has."""
    seen = read(evidence)
    if evidence.stage > 1 or not seen.pretrained:
        return None
    steps = {
        run.spec.data.unique_tokens: run.spec.total_steps
        for run in evidence.ended
        if isinstance(run.spec.data, DataSpec) and run.spec.data.unique_tokens is not None
    }
    amounts = sorted(steps)[: max(0, len(steps) - evidence.settings.beyond)]
    grid = [
        {
            "sizes": [run.spec.model.dimensions],
            "steps": [steps[amount]],
            "seeds": [run.spec.seed],
            "start_from": {"run": run.record.run_id},
            "axes": {"data.unique_tokens": [amount]},
        }
        for run in seen.pretrained
        for amount in amounts
    ]
    return {"grid": grid} if grid else None


@dataclass(frozen=True, kw_only=True)
class TransferLaw:
    """D_T = k D_F^alpha N^beta, fitted to each seed's runs: values by seed.

    ``alphas`` and ``betas`` are the exponents; ``logs`` are the logarithms of k in tokens;
    ``misfit`` is the root mean square distance of log D_T from the laws; ``points`` are the
    fine-tuned runs that it rests on.
    """

    alphas: tuple[float, ...]
    betas: tuple[float, ...]
    logs: tuple[float, ...]
    misfit: float
    points: int

    def at(self, amount: float, params: float) -> float:
        """The law's D_T with the means over seeds."""
        log = fmean(self.logs) + fmean(self.alphas) * math.log(amount)
        return math.exp(log + fmean(self.betas) * math.log(params))


def fit_law(known: Mapping[tuple[int, int, int], float]) -> TransferLaw | str:
    """Return the law of effective data transferred, or why the runs give none."""
    import numpy as np

    seeds = sorted({seed for _, seed, _ in known})
    fits, squares, points = [], 0.0, 0
    for seed in seeds:
        own = {(n, d): value for (n, s, d), value in known.items() if s == seed}
        sizes, amounts = {n for n, _ in own}, {d for _, d in own}
        if len(own) < LEAST or len(sizes) < 2 or len(amounts) < 2:
            return (
                f"seed {seed} has effective data at {len(own)} settings of {len(sizes)} sizes and"
                f" {len(amounts)} amounts, and {LEAST} of 2 and 2 are needed"
            )
        design = np.array([[1.0, math.log(d), math.log(n)] for n, d in own])
        y = np.log(list(own.values()))
        solved = np.linalg.lstsq(design, y, rcond=None)[0]
        squares += float(((y - design @ solved) ** 2).sum())
        points += len(own)
        fits.append(solved)
    if not fits:
        return "no fine-tuned model has a loss between those from scratch"
    logs, alphas, betas = (tuple(float(fit[place]) for fit in fits) for place in range(3))
    return TransferLaw(alphas=alphas, betas=betas, logs=logs,
                       misfit=math.sqrt(squares / points), points=points)  # fmt: skip


def analyse(evidence: Evidence) -> Findings:
    """Return the effective data transferred and its law."""
    seen = read(evidence)
    law = fit_law(seen.known)
    claims = (
        _positive(seen),
        _exponent(seen, law, "shrinks_relative_to_text", "alpha", below=1.0),
        _exponent(seen, law, "grows_with_size", "beta", above=0.0),
        _theirs(seen, law, "hernandez_alpha", "alpha", ALPHA),
        _theirs(seen, law, "hernandez_beta", "beta", BETA),
        _limited(seen),
    )
    used = len(seen.scratch) + len(seen.tuned) + len(seen.pretrained)
    notes = [*_notes(seen), *left_out(evidence, used, "on other text or without a curve")]
    return answer(
        claims,
        lambda: _words(seen, law),
        measures=_measures(seen, law),
        tables=(_table(seen),),
        figures=(_loss_figure(seen), _transfer_figure(seen, law)),
        literature=_literature(law),
        notes=notes,
        units={"transferred": "tokens", "gain": "nats per token", "misfit": "of a logarithm"},
    )


def _need_runs(seen: Seen) -> None:
    need(bool(seen.scratch), "no run from scratch has finished", AGAIN)
    need(bool(seen.pretrained), "no pre-training has finished", AGAIN)
    need(bool(seen.tuned), "no fine-tuning has finished", AGAIN)


def gains_of(seen: Seen) -> dict[tuple[int, int], dict[int, float]]:
    """By size and amount, how far below scratch fine-tuning ends, in nats, by seed."""
    gains: dict[tuple[int, int], dict[int, float]] = {}
    for (params, seed, amount), one in sorted(seen.tuned.items()):
        if (twin := seen.scratch.get((params, seed, amount))) is not None:
            gains.setdefault((params, amount), {})[seed] = twin.loss - one.loss
    return gains


def _positive(seen: Seen) -> Claim:
    def decide() -> Decision:
        _need_runs(seen)
        gains = gains_of(seen)
        need(bool(gains), "no amount has both runs of a seed", AGAIN)
        need(min(map(len, gains.values())) > 1, "one seed has finished of some setting", AGAIN)
        each = {
            f"at {format_count(params)} parameters and {format_count(amount)} tokens": list(
                by.values()
            )
            for (params, amount), by in gains.items()
        }
        return all_decided(each, "by")

    return claim(
        "pretraining_helps",
        "a pre-trained model ends lower than one from scratch at every size and amount of text",
        decide,
    )


def _need_law(seen: Seen, law: TransferLaw | str) -> TransferLaw:
    _need_runs(seen)
    need(not isinstance(law, str), str(law), "amounts from scratch on both sides, or longer runs")
    assert isinstance(law, TransferLaw)
    need(len(law.alphas) > 1, "one seed has finished", AGAIN)
    return law


def _mean(law: TransferLaw, name: str) -> Mean:
    mean = mean_over(law.alphas if name == "alpha" else law.betas)
    assert mean is not None, "a law has a seed"
    return mean


def _exponent(
    seen: Seen,
    law: TransferLaw | str,
    name: str,
    exponent: str,
    *,
    above: float = -math.inf,
    below: float = math.inf,
) -> Claim:
    """The claim that an exponent lies on one side of a number."""

    def decide() -> Decision:
        mean = _mean(_need_law(seen, law), exponent)
        assert mean.interval is not None, "there are two seeds"
        low, high = mean.interval
        words = f"{exponent} {mean.text}"
        limit = above if math.isfinite(above) else below
        need(not low <= limit <= high, f"{words}: {limit:g} lies in it", "more seeds")
        return (low > above) and (high < below), words

    says = {
        "shrinks_relative_to_text": "effective data transferred grow slower than the text that a"
        " model is fine-tuned on (alpha below 1)",
        "grows_with_size": "larger models transfer more (beta above 0)",
    }[name]
    return claim(name, says, decide)


def _theirs(
    seen: Seen, law: TransferLaw | str, name: str, exponent: str, published: float
) -> Claim:
    def decide() -> Decision:
        mean = _mean(_need_law(seen, law), exponent)
        assert mean.interval is not None, "there are two seeds"
        low, high = mean.interval
        inside = low <= published <= high
        words = f"{exponent} {mean.text}"
        need(
            not inside or high - low < WIDE,
            f"{words} holds it, and is too wide to tell",
            "more seeds, or a wider range",
        )
        return inside, words

    return claim(
        name, f"{exponent} is Hernandez's {published:g} for text to Python, within error", decide
    )


def _limited(seen: Seen) -> Claim:
    def decide() -> Decision:
        _need_runs(seen)
        scratch, tuned = (
            f"{sum(not one.rises for one in losses.values())} of {len(losses)}"
            for losses in (seen.scratch, seen.tuned)
        )
        words = f"the loss still fell at the end of {scratch} from scratch, {tuned} fine-tuned"
        if short := _short_by_amount(seen):
            words += f"; from scratch by tokens: {short}"
        return all(one.rises for one in (*seen.scratch.values(), *seen.tuned.values())), words

    return claim(
        "text_is_the_limit", "every run passes its lowest loss, so that its text limits it", decide
    )


def _short_by_amount(seen: Seen) -> str:
    """At how many runs from scratch the loss still fell at the end, by amount of text."""
    counts: dict[int, list[int]] = {}
    for (_, _, amount), one in sorted(seen.scratch.items(), key=lambda item: item[0][2]):
        counts.setdefault(amount, []).append(not one.rises)
    return ", ".join(
        f"{format_count(amount)} ({sum(short)} of {len(short)})"
        for amount, short in counts.items()
        if any(short)
    )


def _unknown(seen: Seen) -> dict[str, int]:
    counts: dict[str, int] = {}
    for value in seen.transferred.values():
        if isinstance(value, str):
            counts[value] = counts.get(value, 0) + 1
    return counts


def _notes(seen: Seen) -> list[str]:
    read = sorted({format_count(run.spec.tokens) for run in seen.pretrained})
    notes = [
        f"{count} of {len(seen.tuned)} fine-tuned models have no effective data: {why}"
        for why, count in sorted(_unknown(seen).items())
    ]
    open_ = sum(not one.rises for key, one in seen.scratch.items() if key in seen.tuned)
    if open_:
        notes.append(
            f"{open_} of {len(seen.tuned)} gains are over a loss from scratch that still"
            " fell at the end, and so are too large"
        )
    if read:
        words = f"pre-training reads {' or '.join(read)} tokens of {seen.source}"
        notes.append(f"{words}; longer pre-training may be worth more")
    return notes


def _words(seen: Seen, law: TransferLaw | str) -> str:
    by_setting = _by_setting(seen)
    values = [(key, geometric_mean([math.log(v) for v in by])) for key, by in by_setting.items()]
    words = f"Pre-training on {seen.source} before {seen.target} is worth"
    if values:
        (low_key, low), (high_key, high) = (
            pick(values, key=lambda one: one[1].value / one[0][1]) for pick in (min, max)
        )
        words += (
            f" {high.value / high_key[1]:.1f} times the {format_count(high_key[1])} tokens that a"
            f" model of {format_count(high_key[0])} parameters is fine-tuned on, and"
            f" {low.value / low_key[1]:.1f} times {format_count(low_key[1])} at"
            f" {format_count(low_key[0])}"
        )
    else:
        words += " an amount of text that is not known"
    if isinstance(law, TransferLaw):
        words += (
            f"; D_T ~ D_F^{_mean(law, 'alpha').text} N^{_mean(law, 'beta').text}, within"
            f" {math.expm1(law.misfit):.0%}"
        )
    return f"{words}."


def _by_setting(seen: Seen) -> dict[tuple[int, int], list[float]]:
    """The effective data transferred by size and amount, of each seed that has them."""
    values: dict[tuple[int, int], list[float]] = {}
    for (params, _, amount), value in seen.known.items():
        values.setdefault((params, amount), []).append(value)
    return values


def _measures(seen: Seen, law: TransferLaw | str) -> dict[str, float | None]:
    measures: dict[str, float | None] = {}
    for name in ("alpha", "beta"):
        mean = _mean(law, name) if isinstance(law, TransferLaw) else None
        measures |= with_ends(name, mean)
    measures["misfit"] = law.misfit if isinstance(law, TransferLaw) else None
    by_setting = _by_setting(seen)
    for (params, amount), gains in gains_of(seen).items():
        name = f"n{params}.d{amount}"
        measures[f"gain.{name}"] = fmean(gains.values())
        values = by_setting.get((params, amount))
        measures[f"transferred.{name}"] = (
            geometric_mean([math.log(v) for v in values]).value if values else None
        )
    return measures


def _table(seen: Seen) -> Table | None:
    by_setting = _by_setting(seen)
    rows = []
    for (params, amount), gains in gains_of(seen).items():
        scratch, tuned = (mean_over(seen.seeds(losses, params, amount))
                          for losses in (seen.scratch, seen.tuned))  # fmt: skip
        values = by_setting.get((params, amount), [])
        rows.append(
            (
                format_count(params),
                format_count(amount),
                scratch.text if scratch else "-",
                tuned.text if tuned else "-",
                format_count(geometric_mean([math.log(v) for v in values]).value)
                if values
                else "-",
                f"{len(values)} of {len(gains)}",
            )
        )
    if not rows:
        return None
    return Table(
        caption="Lowest validation loss in nats per token from scratch and fine-tuned, and the"
        " effective data transferred in tokens, of the seeds that have them",
        head=("parameters", "tokens", "scratch", "fine-tuned", "transferred", "seeds"),
        rows=tuple(rows),
        text_columns=2,
    )


def _loss_figure(seen: Seen) -> Figure | None:
    panels = []
    for params in seen.sizes:
        series = []
        for label, losses in (("from scratch", seen.scratch), ("fine-tuned", seen.tuned)):
            amounts = sorted({d for n, _, d in losses if n == params})
            by_amount = {float(d): seen.seeds(losses, params, d) for d in amounts}
            series.append(mean_series(label, by_amount))
        panels.append(
            Panel(
                title=f"{format_count(params)} parameters",
                x=log_axis(f"tokens of {seen.target}"),
                y=Axis(label="lowest loss, nats per token"),
                series=tuple(series),
            )
        )
    title = "The loss from scratch and after pre-training"
    caption = "The distance to the right, at one loss, is the effective data transferred."
    return figure("transfer_loss", title, caption, panels) if panels else None


def _transfer_figure(seen: Seen, law: TransferLaw | str) -> Figure | None:
    by_setting = _by_setting(seen)
    series: list[Series] = []
    for params in seen.sizes:
        values = {float(d): by for (n, d), by in by_setting.items() if n == params}
        if not values:
            continue
        label = f"{format_count(params)} parameters"
        series.append(mean_series(label, values, geometric=True, line=False))
        if isinstance(law, TransferLaw):
            points = tuple((d, law.at(d, params)) for d in values)
            series.append(Series(label=label, points=points, marks=False, dashed=True))
    panel = Panel(
        x=log_axis(f"tokens of {seen.target} fine-tuned on"),
        y=log_axis("effective data transferred, tokens"),
        series=tuple(series),
    )
    caption = "Means over the seeds that have them; broken: D_T = k D_F^alpha N^beta."
    return figure("transfer", "What pre-training is worth", caption, [panel])


def _literature(law: TransferLaw | str) -> tuple[Published, ...]:
    fitted = law if isinstance(law, TransferLaw) else None
    return tuple(
        beside(
            f"{name}, the power of {what} in effective data transferred",
            theirs=f"{theirs:g}, English text to Python",
            ours=_mean(fitted, name).text if fitted else None,
            source="Hernandez 2021, arXiv 2102.01293, section 3.1",
        )
        for name, what, theirs in (
            ("alpha", "the text fine-tuned on", ALPHA),
            ("beta", "the parameters", BETA),
        )
    )


_FACTOR, _ALPHA, _BETA = 8.0, 0.3, 0.6


def _planted_outcome(spec: RunSpec) -> Outcome:
    """A power of the text; fine-tuning counts as if it had D_T tokens more."""
    params = count_params(spec.model).non_embedding
    amount = amount_of(spec) or 1e6
    wave = math.sin(1 + 5 * spec.seed + amount + params)
    if spec.start_from is not None:
        amount += _FACTOR * amount**_ALPHA * params**_BETA * math.exp(0.02 * wave)
    loss = 12 * amount**-0.12 * params**-0.02 * (1 + 1e-3 * spec.seed)
    points = ((spec.total_steps // 2, loss), (spec.total_steps, 1.01 * loss))
    return Outcome(
        val_loss_nats=1.01 * loss,
        curve=tuple(planted_point(spec, step, {}, val=value) for step, value in points),
    )


EXPERIMENT = Experiment(
    question="How much text of one domain is pre-training on another worth?",
    reproduces="Hernandez 2021 (effective data transferred)",
    settings=Settings,
    propose=propose,
    analyse=analyse,
    planted=Planted(
        outcome=_planted_outcome,
        measures={"alpha": (_ALPHA - 0.05, _ALPHA + 0.05), "beta": (_BETA - 0.05, _BETA + 0.05)},
        claims={
            "pretraining_helps": True,
            "shrinks_relative_to_text": True,
            "grows_with_size": True,
            "hernandez_alpha": False,
            "hernandez_beta": False,
            "text_is_the_limit": True,
        },
    ),
)
