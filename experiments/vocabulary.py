"""Vocabulary: which number of tokens is best at equal compute, from single bytes to 32,768.

    slaw run vocabulary
    slaw report results/vocabulary

One text is cut by byte-level BPE with vocabularies of several sizes; 257 ids are the bytes and the
separator. A larger vocabulary makes fewer tokens of the text and costs a larger embedding and head.
All runs of a budget train for the same exact FLOPs, the head counted, and are scored on the same
validation text, in bits per byte. For each model size and budget a parabola through the
vocabularies near the lowest loss gives the best one.

Tao 2024 (arXiv 2407.13623) finds that it grows with compute: the parameters of one vocabulary
matrix, ids times width, go as the power .83 of the other parameters, and so, where these go as the
root of compute, as its power .42. Here each model keeps its width, so that the best number of ids
itself is compared with that power.

Learning rates are a multiple of the rule's. Some runs have other multiples, so that what the rate
does to the best vocabulary can be said.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from statistics import fmean

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
from scaling_law.experiment.evidence import Evidence
from scaling_law.experiment.figures import figure, log_axis, mean_series, number
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
from scaling_law.experiment.minimum import Minimum
from scaling_law.experiment.seeds import Mean, mean_over, mean_text, paired
from scaling_law.experiment.vocabularies import Bests, Seen, Size, seen_in, setting_of
from scaling_law.spec.counts import train_flops
from scaling_law.spec.run import RunSpec
from scaling_law.units import count_of, format_count

BYTES = 257  # ids of the vocabulary without a merge
TAO = 0.83 * 0.5  # the power of compute in the parameters of the best vocabulary
SAME = 2.0  # factor within which two best vocabularies are the same
SOURCE = "Tao 2024, arXiv 2407.13623"
_LEFT_OUT = "without bits per byte or of another recipe"


def name_of(vocab: float) -> str:
    """``bytes``, ``1.02K``: a vocabulary in words."""
    return "bytes" if vocab == BYTES else format_count(vocab)


def flops_text(budget: float) -> str:
    """``3.2e9``: a budget in words."""
    return number(budget).replace("e0", "e")


def mean_bits(levels: Mapping[int, float]) -> float:
    """The bits per byte of log levels by seed, their geometric mean."""
    return math.exp(fmean(levels.values()))


def power_of(bests: Bests) -> Mean | None:
    """The power of compute in the best vocabulary, a mean over sizes; None without any.

    It is that between the lowest and the highest budget of a size whose best vocabulary the losses
    bound. Sizes share seeds, so that a seed gives one number. The interval is the wider one of that
    of seeds and of what the best vocabularies' own intervals give.
    """
    by_seed: dict[int, list[float]] = {}
    reaches = []
    for of_budget in bests.values():
        ends = {budget: best.interval for budget, best in of_budget.items() if best.interval}
        if len(ends) < 2:
            continue
        first, last = min(ends), max(ends)
        low, high = of_budget[first].by_seed, of_budget[last].by_seed
        span = math.log(last / first)
        for seed in sorted(low.keys() & high.keys()):
            by_seed.setdefault(seed, []).append(math.log(high[seed] / low[seed]) / span)
        widths = [math.log(ends[budget][1] / ends[budget][0]) / 2 for budget in (first, last)]
        reaches.append(math.hypot(*widths) / span)
    mean = mean_over([fmean(values) for values in by_seed.values()])
    if mean is None or mean.interval is None:
        return mean
    reach = max((mean.interval[1] - mean.interval[0]) / 2, math.hypot(*reaches) / len(reaches))
    return replace(mean, interval=(mean.value - reach, mean.value + reach))


def analyse(evidence: Evidence) -> Findings:
    """Return the best vocabulary by model size and compute, and what the others cost."""
    seen = seen_in(evidence)
    bests = seen.bests
    claims = (
        _beats_bytes(seen, bests),
        _bracketed(seen, bests),
        _grows(seen, bests),
        _taos(seen, bests),
        _wider_takes_fewer(seen, bests),
        _rate(seen),
    )
    return answer(
        claims,
        lambda: _verdict(seen, bests),
        measures=_measures(seen, bests),
        tables=(_best_table(bests), _split_table(seen)),
        figures=(_figure(seen, bests),),
        literature=_literature(bests),
        notes=[
            *_notes(seen),
            *left_out(evidence, seen.used, "without bits per byte or of another recipe"),
        ],
        units={"bits": "bits per byte", "best": "ids", "bytes_per_token": "bytes"},
    )


def _need_runs(seen: Seen, bests: Bests) -> None:
    lines = [seen.line(size, budget) for size, of in bests.items() for budget in of]
    need(bool(lines), "no run near a budget has finished", AGAIN)
    few = min(len(levels) for line in lines for levels in line.values())
    need(few > 1, "one seed has finished of some vocabulary", AGAIN)


def _need_bracket(size: Size, budget: float, best: Minimum) -> None:
    need(
        not best.why,
        f"{size.name}, {flops_text(budget)} FLOPs: {best.why}",
        "vocabularies on both sides of it",
    )


def _need_bound(size: Size, budget: float, best: Minimum) -> None:
    _need_bracket(size, budget, best)
    where = f"{size.name}, {flops_text(budget)} FLOPs"
    need(best.interval is not None, f"{where}: {best.text}", "more seeds")


def _listed(of_budget: Mapping[float, Minimum]) -> str:
    return ", ".join(f"{best.text} at {flops_text(budget)}" for budget, best in of_budget.items())


def _all_listed(bests: Bests) -> str:
    return "; ".join(
        f"{size.name}: {_listed(of_budget)} FLOPs" for size, of_budget in bests.items()
    )


def _beats_bytes(seen: Seen, bests: Bests) -> Claim:
    def decide() -> Decision:
        _need_runs(seen, bests)
        each, words, tried = {}, [], 1
        for size, of_budget in bests.items():
            budget = max(of_budget)
            line, lowest = seen.line(size, budget), of_budget[budget].lowest
            where = f"{size.name}, {flops_text(budget)} FLOPs"
            need(BYTES in line, f"{where}: no run on bytes", AGAIN)
            need(lowest != BYTES, f"{where}: bytes have the lowest loss", "a higher budget")
            each[f"at {size.name}"] = paired(line[BYTES], line[lowest])
            tried = max(tried, len(line) - 1)
            ours, theirs = mean_bits(line[lowest]), mean_bits(line[BYTES])
            words.append(f"{where}: {name_of(lowest)} {ours:.3f}, bytes {theirs:.3f} bits per byte")
        said = f"{'; '.join(words)}, the best of {tried}; lower by a factor of"
        return all_decided(each, said, show=lambda mean: mean.factor.text, of=tried)

    return claim(
        "tokens_beat_bytes",
        "at the highest budget some vocabulary has a lower loss per byte than single bytes",
        decide,
    )


def _bracketed(seen: Seen, bests: Bests) -> Claim:
    def decide() -> Decision:
        _need_runs(seen, bests)
        for size, of_budget in bests.items():
            for budget, best in of_budget.items():
                _need_bracket(size, budget, best)
        bounded = all(best.interval for of in bests.values() for best in of.values())
        need(bounded, f"{_all_listed(bests)}: not all are bounded", "more seeds")
        return True, _all_listed(bests)

    return claim(
        "best_is_bracketed",
        "at every model size and budget the best vocabulary lies between those tried, and the"
        " losses bound it",
        decide,
    )


def _grows(seen: Seen, bests: Bests) -> Claim:
    def decide() -> Decision:
        _need_runs(seen, bests)
        each = {}
        for size, of_budget in bests.items():
            known = [budget for budget, best in of_budget.items() if best.interval]
            why = "; ".join(
                f"{flops_text(budget)} FLOPs: {best.text}"
                for budget, best in of_budget.items()
                if not best.interval
            )
            need(
                len(known) > 1,
                f"{size.name}: {len(known)} budgets have a best vocabulary that the losses bound"
                + (f" ({why})" if why else ""),
                "vocabularies on both sides of it, or more seeds",
            )
            first, last = min(known), max(known)
            low, high = of_budget[first].by_seed, of_budget[last].by_seed
            logs = [math.log(high[seed] / low[seed]) for seed in sorted(low.keys() & high.keys())]
            need(len(logs) > 1, f"{size.name}: {len(logs)} seeds have a best vocabulary",
                 "more seeds")  # fmt: skip
            each[f"over {last / first:.3g} times at {size.name}"] = logs
        return all_decided(each, "by a factor of", show=lambda mean: mean.factor.text)

    return claim(
        "best_grows_with_compute",
        "at every model size the best vocabulary grows with compute, between budgets where the"
        " losses bound it",
        decide,
    )


def _taos(seen: Seen, bests: Bests) -> Claim:
    def decide() -> Decision:
        _need_runs(seen, bests)
        power = power_of(bests)
        need(
            power is not None,
            "no size has a bounded best vocabulary at two budgets",
            "vocabularies on both sides of it, or more seeds",
        )
        assert power is not None
        need(power.interval is not None, f"one power: {power.value:.2f}", "more seeds")
        low, high = power.interval or (0, 0)
        words = f"{_power_text(power)} of {count_of(power.seeds, 'seed')}"
        inside = low <= TAO <= high
        need(
            not inside or high - low < TAO,
            f"{words} holds it, and is too wide to tell",
            "more seeds, or a wider range of budgets",
        )
        return inside, words

    return claim("taos_power", f"its power of compute is Tao's {TAO:.2f}, within error", decide)


def _wider_takes_fewer(seen: Seen, bests: Bests) -> Claim:
    def decide() -> Decision:
        _need_runs(seen, bests)
        need(len(bests) > 1, "one model size has finished", AGAIN)
        small, large = min(bests), max(bests)
        shared = sorted(bests[small].keys() & bests[large].keys())
        need(bool(shared), "no budget has two sizes", AGAIN)
        budget = shared[-1]
        for size in (small, large):
            _need_bound(size, budget, bests[size][budget])
        ours, theirs = bests[small][budget].by_seed, bests[large][budget].by_seed
        logs = [math.log(ours[seed] / theirs[seed]) for seed in sorted(ours.keys() & theirs.keys())]
        need(len(logs) > 1, f"{len(logs)} seeds have both", "more seeds")
        words = (
            f"at {flops_text(budget)} FLOPs {bests[small][budget].text} at {small.name},"
            f" {bests[large][budget].text} at {large.name}: larger by a factor of"
        )
        return decided(logs, words, show=lambda mean: mean.factor.text)

    return claim(
        "wider_takes_fewer",
        "at equal compute the wider model, whose head costs more, has the smaller best vocabulary",
        decide,
    )


def _rate(seen: Seen) -> Claim:
    def decide() -> Decision:
        by_rate = seen.by_rate
        need(len(by_rate) > 1, "no size has several learning rates at one budget", AGAIN)
        words = "; ".join(f"{rate:g} times the rule's rate: {best.text}"
                          for rate, best in by_rate.items())  # fmt: skip
        known = [best.x for best in by_rate.values() if best.x is not None]
        need(len(known) == len(by_rate), words, "vocabularies on both sides of it")
        return max(known) / min(known) <= SAME, words

    return claim(
        "rate_decides_little",
        f"at other learning rates the best vocabulary is the same within a factor of {SAME:g}",
        decide,
    )


def _verdict(seen: Seen, bests: Bests) -> str:
    words = f"Best vocabulary at equal compute: {_all_listed(bests)}"
    power = power_of(bests)
    if power is not None:
        words += f". It goes as the power {_power_text(power)} of compute"
    words += (
        f". All of this is at {seen.rate:g} times the rule's learning rate, which is not tuned for"
        " each vocabulary"
    )
    tuned = seen.at_best_rates
    if tuned is not None:
        rates = ", ".join(f"{best.text} at {rate:g}" for rate, best in seen.by_rate.items())
        words += (
            f": where other multiples were tried, the best is {rates}, and {tuned.text} with the"
            " best of these for each vocabulary"
        )
    return f"{words}."


def _power_text(power: Mean) -> str:
    low, high = power.interval or (power.value, power.value)
    return f"{power.value:.2f} ({low:.2f} to {high:.2f})"


def _measures(seen: Seen, bests: Bests) -> dict[str, float | None]:
    power = power_of(bests)
    low, high = power.interval if power and power.interval else (None, None)
    measures: dict[str, float | None] = {
        "power": power.value if power else None,
        "power.low": low,
        "power.high": high,
    }
    for size, of_budget in bests.items():
        for budget, best in of_budget.items():
            at = f"w{size.width}.c{flops_text(budget)}"
            measures[f"best.{at}"] = best.x
            for vocab, levels in sorted(seen.line(size, budget).items()):
                measures[f"bits.{at}.v{vocab:.0f}"] = mean_bits(levels)
    for rate, best in seen.by_rate.items():
        measures[f"best.rate{rate:g}"] = best.x
    tuned = seen.at_best_rates
    measures["best.rate_of_each"] = tuned.x if tuned else None
    for vocab, value in seen.bytes_per_token.items():
        measures[f"bytes_per_token.v{vocab}"] = value
    return measures


def _best_table(bests: Bests) -> Table | None:
    rows = [
        (
            size.name,
            flops_text(budget),
            best.text,
            format_count(best.x * size.width) if best.x else "-",
            format_count(size.body),
            f"{mean_bits(best.levels):.3f}",
        )
        for size, of_budget in bests.items()
        for budget, best in of_budget.items()
    ]
    if not rows:
        return None
    return Table(
        caption="The best vocabulary by model size and compute: ids, parameters of one vocabulary"
        " matrix and of the body, and bits per byte",
        head=("model", "FLOPs", "best vocabulary", "matrix", "body", "bits per byte"),
        rows=tuple(rows),
        text_columns=3,
    )


def _split_table(seen: Seen) -> Table | None:
    """What each vocabulary has at the largest model and the highest budget."""
    lines = [(size, budget) for size in seen.sizes for budget in seen.budgets]
    if not lines or not (line := seen.line(*lines[-1])):
        return None
    size, budget = lines[-1]
    rows = []
    for vocab, levels in sorted(line.items()):
        matrix, own = vocab * size.width, seen.bytes_per_token[round(vocab)]
        share = matrix / (2 * matrix + size.body)
        rows.append(
            (
                name_of(vocab),
                f"{own:.2f}",
                f"{share:.0%}, {share:.0%}, {1 - 2 * share:.0%}",
                format_count(budget / (6 * (matrix + size.body)) * own),
                f"{seen.untrained(vocab):.2f}",
                mean_text(math.exp(level) for level in levels.values()),
            )
        )
    return Table(
        caption=f"Vocabularies at {size.name} and {flops_text(budget)} FLOPs: bytes of text a"
        " token; what embedding, head and body have of all parameters; about how many bytes of"
        " text the budget pays for; bits per byte before training and after it",
        head=("ids", "bytes a token", "embedding, head, body", "text", "not trained", "trained"),
        rows=tuple(rows),
    )


def _figure(seen: Seen, bests: Bests) -> Figure | None:
    panels = []
    vocabs = [float(vocab) for vocab in seen.bytes_per_token]
    rest = tuple((vocab, seen.untrained(vocab)) for vocab in vocabs if vocab != BYTES)
    for size, of_budget in bests.items():
        series = [
            mean_series(
                f"{flops_text(budget)} FLOPs",
                {vocab: [math.exp(level) for level in levels.values()]
                 for vocab, levels in sorted(seen.line(size, budget).items())},
            )
            for budget in of_budget
        ]  # fmt: skip
        points = tuple((best.x, mean_bits(best.levels)) for best in of_budget.values() if best.x)
        series.append(Series(label="best vocabulary", points=points, line=False))
        series.append(Series(label="not trained", points=rest, marks=False, dashed=True))
        panels.append(
            Panel(
                title=f"{size.name}, {format_count(size.body)} parameters in the body",
                x=log_axis("ids of the vocabulary", vocabs),
                y=Axis(label="bits per byte"),
                series=tuple(series),
            )
        )
    caption = "Intervals over seeds. Broken: all ids equally likely (8 bits per byte for bytes)."
    title = "Loss at equal compute by vocabulary"
    return figure("vocabulary", title, caption, panels) if panels else None


def _literature(bests: Bests) -> tuple[Published, ...]:
    power = power_of(bests)
    return (
        beside(
            "the power of compute in the parameters of the best vocabulary",
            theirs=f"{TAO:.2f}, the best size growing with compute",
            ours=f"{_power_text(power)}, at a fixed size" if power else None,
            source=SOURCE,
        ),
    )


def _notes(seen: Seen) -> list[str]:
    notes = [
        "bits per byte count what the tokenizer knows: before any training they are log2(ids) over"
        " the bytes of a token, fewer with a larger vocabulary",
        "context and batch have as many tokens for every vocabulary, which are more bytes of a"
        " larger one",
        "FLOPs leave out the tokenizer; slaw run prints the time of its training, and slaw data"
        " inspect shows it",
    ]
    rates = sorted({setting.rate for setting in seen.points})
    if rates:
        notes.append(
            f"all settings have {seen.rate:g} times the rule's learning rate, which is not tuned"
            " for each vocabulary and budget"
        )
    return notes


_BUDGET, _VOCAB, _POWER = 8e8, 5000.0, 0.3  # the planted best vocabulary at a budget, its power


def _planted_outcome(spec: RunSpec) -> Outcome:
    """A valley whose floor moves with compute, farther left for wider models."""
    setting = setting_of(spec)
    assert setting is not None, "all runs are of a GPT"
    grown = math.log(train_flops(spec.model, spec.tokens) / _BUDGET)
    best = math.log(_VOCAB) + _POWER * grown - 0.3 * math.log(setting.size.width / 8)
    wobble = 2e-4 * math.sin(5 * spec.seed + 3 * setting.vocab + setting.size.body)
    away = math.log(setting.vocab) - best
    bits = math.exp(1 - 0.03 * grown + 0.02 * away**2 + 0.002 * spec.seed + wobble)
    bytes_per_token = 0.4 * math.log(setting.vocab)
    nats = bits * math.log(2) * bytes_per_token
    return Outcome(val_loss_nats=nats, val_bits_per_byte=bits)


EXPERIMENT = Experiment(
    question="Which vocabulary has the lowest loss per byte at equal compute, and does it grow with"
    " compute?",
    reproduces="Tao 2024 (larger models deserve larger vocabularies)",
    analyse=analyse,
    planted=Planted(
        outcome=_planted_outcome,
        measures={"power": (_POWER - 0.06, _POWER + 0.06)},
        claims={
            "tokens_beat_bytes": True,
            "best_is_bracketed": True,
            "best_grows_with_compute": True,
            "taos_power": False,
            "wider_takes_fewer": True,
            "rate_decides_little": True,
        },
    ),
)
