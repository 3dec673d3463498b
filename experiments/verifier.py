"""Verifier: what a learned judge of answers is worth, by the labels that it learned from.

    slaw run verifier                 # 3-digit sums; outcome labels and labels for each step
    slaw report results/verifier      # how well each judges, and how often its best of n is right

All claims are about runs that are learning: some of their answers are right and some are wrong. The
config's seeds and steps are chosen for that.
A small network reads the model's state before each token of an answer, and the token. It learns
from answers that the model drew to training questions: from whether an answer is right (Cobbe 2021,
arXiv 2110.14168), or from where it goes wrong (Lightman 2023, arXiv 2305.20050). It then chooses
among answers to questions that it has not seen, as in ``best_of_n``.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
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
from scaling_law.experiment.attempts import Drawn, drawn, need_learning, planted_metrics
from scaling_law.experiment.evidence import Evidence
from scaling_law.experiment.figures import figure, log_axis, mean_series
from scaling_law.experiment.findings import (
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
from scaling_law.spec.run import RunSpec
from scaling_law.units import count_of

CHOSEN_OF = 64
KINDS = {"outcome": "outcome labels", "steps": "labels for each step"}


def analyse(evidence: Evidence) -> Findings:
    """Return how well verifiers judge, and how often their choice is right."""
    ones = [one for run in evidence.ended if (one := drawn(run)) is not None and _counts(one)]
    learning = [one for one in ones if one.learning]
    claims = (_beats(ones), _more_labels(ones), _steps_judge(ones), _few_labels(ones))
    return answer(
        claims,
        lambda: _words(claims, learning),
        measures=_measures(learning),
        tables=(_table(learning),) if learning else (),
        figures=(_drawn(learning),),
        literature=_literature(learning),
        notes=[
            *_settled(len(ones) - len(learning)),
            *left_out(evidence, len(ones), "without verifiers"),
        ],
    )


def _counts(one: Drawn) -> list[int]:
    """The numbers of labelled answers that verifiers of both kinds learned from."""
    by_kind = [
        {labels for k, labels in one.judged.keys() & one.verified.keys() if k == kind}
        for kind in KINDS
    ]
    return sorted(set.intersection(*by_kind))


def _common(learning: Sequence[Drawn]) -> list[int]:
    """The numbers of labelled answers that all runs have."""
    return sorted(set.intersection(*(set(_counts(one)) for one in learning)))


def _need_counts(ones: Sequence[Drawn], least: int) -> tuple[list[Drawn], list[int]]:
    """The runs that are learning, and the numbers of labelled answers that all of them have."""
    learning = need_learning(ones)
    counts = _common(learning)
    need(
        len(counts) >= least,
        f"all runs have verifiers of {count_of(len(counts), 'number')} of labels",
        f"it needs {least} (labels of the probe best_of_n)",
    )
    return learning, counts


def _choice(one: Drawn, kind: str, labels: int) -> float:
    return one.verified[kind, labels][CHOSEN_OF]


def _more(pairs: Sequence[tuple[float, float]], words: str) -> Decision:
    """Whether the first is higher, run by run."""
    wins = sum(ours > theirs for ours, theirs in pairs)
    ours, theirs = (fmean(values) for values in zip(*pairs, strict=True))
    said = f"{words} {ours:.2f} against {theirs:.2f}, higher in {wins} of {len(pairs)} runs: by"
    each = [ours - theirs for ours, theirs in pairs]
    return decided(each, said, show=lambda mean: mean.text.replace("seeds", "runs"))


def _beats(ones: Sequence[Drawn]) -> Claim:
    def decide() -> Decision:
        learning, counts = _need_counts(ones, 1)
        pairs = [
            (_choice(one, "steps", counts[-1]), one.chosen["log_prob"][CHOSEN_OF])
            for one in learning
        ]
        return _more(pairs, f"from {counts[-1]:,} labelled answers")

    return claim(
        "verifier_beats_own_log_probability",
        f"the best of {CHOSEN_OF} answers by a verifier with labels for each step is right more"
        " often than the likeliest by the model itself, in runs that are learning",
        decide,
    )


def _more_labels(ones: Sequence[Drawn]) -> Claim:
    def decide() -> Decision:
        learning, counts = _need_counts(ones, 2)
        rises, words = {}, []
        for kind, name in KINDS.items():
            means = [fmean(one.judged[kind, labels] for one in learning) for labels in counts]
            words.append(f"{', '.join(f'{mean:.2f}' for mean in means)} with {name}")
            for fewer, more in itertools.pairwise(counts):
                rises[f"from {fewer:,} to {more:,} {name}"] = [
                    one.judged[kind, more] - one.judged[kind, fewer] for one in learning
                ]
        numbers = ", ".join(f"{labels:,}" for labels in counts)
        said = f"{'; '.join(words)}, from {numbers} answers; more by"
        return all_decided(rises, said, show=lambda mean: mean.text.replace("seeds", "runs"))

    return claim(
        "more_labels_judge_better",
        "the more labelled answers, the more often a verifier judges rightly (mean over runs, right"
        " and wrong answers weighing the same)",
        decide,
    )


def _steps_judge(ones: Sequence[Drawn]) -> Claim:
    def decide() -> Decision:
        learning, counts = _need_counts(ones, 1)
        pairs = [
            tuple(
                fmean(one.judged[kind, labels] for one in learning) for kind in ("steps", "outcome")
            )
            for labels in counts
        ]
        words = ", ".join(
            f"{ours:.2f} against {theirs:.2f} from {labels:,}"
            for labels, (ours, theirs) in zip(counts, pairs, strict=True)
        )
        each = {
            f"from {labels:,}": [
                one.judged["steps", labels] - one.judged["outcome", labels] for one in learning
            ]
            for labels in counts
        }
        return all_decided(
            each, f"{words} answers; more by", show=lambda mean: mean.text.replace("seeds", "runs")
        )

    return claim(
        "step_labels_judge_better",
        "from the same labelled answers a verifier with labels for each step judges rightly more"
        " often than one with outcome labels, at every number of them (mean over runs)",
        decide,
    )


def _few_labels(ones: Sequence[Drawn]) -> Claim:
    def decide() -> Decision:
        learning, counts = _need_counts(ones, 1)
        pairs = [
            (one.chosen["log_prob"][CHOSEN_OF], _choice(one, "outcome", counts[0]))
            for one in learning
        ]
        return _more(pairs, f"from {counts[0]:,} labelled answers")

    return claim(
        "few_labels_mislead",
        f"with the fewest outcome labels a verifier's best of {CHOSEN_OF} is right less often than"
        " the likeliest by the model itself, in runs that are learning",
        decide,
    )


def _words(claims: Sequence[Claim], learning: Sequence[Drawn]) -> str:
    counts = _common(learning)
    own = fmean(one.chosen["log_prob"][CHOSEN_OF] for one in learning)
    best = {
        labels: fmean(_choice(one, "steps", labels) for one in learning)
        for labels in (counts[0], counts[-1])
    }
    listed = " and ".join(f"{share:.2f} from {labels:,}" for labels, share in best.items())
    words = (
        f"In runs that are learning the best of {CHOSEN_OF} answers by a verifier with labels for"
        f" each step is right for a share of {listed} labelled answers, the one that the model"
        f" itself finds likeliest for {own:.2f}"
    )
    standing = {one.name: one.established for one in claims}
    if (better := standing["step_labels_judge_better"]) is not None:
        words += f"; labels for each step {'judge' if better else 'do not always judge'} better"
    return f"{words} than outcome labels." if better is not None else f"{words}."


def _measures(learning: Sequence[Drawn]) -> dict[str, float | None]:
    if not learning:
        return {}
    measures: dict[str, float | None] = {
        f"{name}.n{CHOSEN_OF}": fmean(values)
        for name, values in (
            ("pass", [one.passed[CHOSEN_OF] for one in learning]),
            ("log_prob", [one.chosen["log_prob"][CHOSEN_OF] for one in learning]),
            ("majority", [one.chosen["majority"][CHOSEN_OF] for one in learning]),
        )
    }
    for labels in _common(learning):
        for kind in KINDS:
            name = f"{kind}.labels{labels}"
            measures[f"judged.{name}"] = fmean(one.judged[kind, labels] for one in learning)
            measures[f"best.{name}"] = fmean(_choice(one, kind, labels) for one in learning)
    return measures


def _table(learning: Sequence[Drawn]) -> Table:
    def cell(values: Sequence[float]) -> str:
        return f"{fmean(values):.3f}"

    ns = (1, 8, CHOSEN_OF)
    rows: list[tuple[object, ...]] = [
        ("any (pass@n)", "–", "–", *(cell([one.passed[n] for one in learning]) for n in ns)),
    ]
    for way, words in (("majority", "majority"), ("log_prob", "own log-probability")):
        cells = (cell([one.chosen[way][n] for one in learning]) for n in ns)
        rows.append((words, "–", "–", *cells))
    for kind, words in KINDS.items():
        for labels in _common(learning):
            verified = [one.verified[kind, labels] for one in learning]
            judged = cell([one.judged[kind, labels] for one in learning])
            rows.append(
                (
                    f"verifier, {words}",
                    f"{labels:,}",
                    judged,
                    *(cell([v[n] for v in verified]) for n in ns),
                )
            )
    return Table(
        caption=f"How often the chosen one of n answers is right, by way of choosing: means over"
        f" {len(learning)} runs that are learning; and how often verifiers judge an answer rightly,"
        " right and wrong ones weighing the same",
        head=("chosen by", "labelled answers", "judged rightly", *(f"n {n}" for n in ns)),
        rows=tuple(rows),
    )


def _drawn(learning: Sequence[Drawn]) -> Figure | None:
    """Judgement against labels, and the choice's share of right answers against n."""
    if not learning:
        return None
    counts = _common(learning)

    def by_n(label: str, many: Sequence[Mapping[int, float]], **looks: bool) -> Series:
        return mean_series(label, {float(n): [one[n] for one in many] for n in many[0]}, **looks)

    choice = [
        by_n("any (pass@n)", [one.passed for one in learning], dashed=True),
        by_n("own log-probability", [one.chosen["log_prob"] for one in learning]),
        *(
            by_n(
                f"verifier, labels for each step of {labels:,} answers",
                [one.verified["steps", labels] for one in learning],
            )
            for labels in counts
        ),
    ]
    judged = [
        mean_series(words, {float(n): [one.judged[kind, n] for one in learning] for n in counts})
        for kind, words in KINDS.items()
    ]
    return figure(
        "verifier",
        "What a verifier's judgement is worth",
        "Means over the runs that are learning, with 90% intervals.",
        (
            Panel(
                title="how well it judges",
                x=log_axis("labelled answers", counts),
                y=Axis(label="answers judged rightly (1/2 by chance)"),
                series=tuple(judged),
            ),
            Panel(
                title="how often its choice is right",
                x=log_axis("answers drawn", (1, 2, 4, 8, 16, 32, 64)),
                y=Axis(label="questions answered rightly", low=-0.03, high=1.03),
                series=tuple(choice),
            ),
        ),
    )


def _literature(learning: Sequence[Drawn]) -> tuple[Published, ...]:
    best = None
    if learning:
        most = _common(learning)[-1]
        steps, outcome = (
            fmean(_choice(one, kind, most) for one in learning) for kind in ("steps", "outcome")
        )
        best = f"{steps:.2f} against {outcome:.2f} (best of {CHOSEN_OF}, {most:,} answers labelled)"
    return (
        beside(
            "best of n by labels for each step against outcome labels",
            theirs="78.2% against 72.4% (mathematics, best of 1,860)",
            ours=best,
            source="Lightman 2023, arXiv 2305.20050",
        ),
    )


def _settled(count: int) -> list[str]:
    return [f"runs left out, with next to all or no answers right: {count}"] if count else []


def _planted(spec: RunSpec) -> Outcome:
    """Verifiers that are better with more labels, and with labels for each step."""
    mean = 0.3 + 0.02 * spec.seed
    metrics = planted_metrics(mean, strength=2.0)
    for place, labels in enumerate((64, 512, 4096)):
        for kind, more in (("outcome", 0.0), ("steps", 0.05)):
            name = f"best_of_n.{kind}-{labels}"
            metrics[f"{name}.accuracy"] = 0.55 + 0.1 * place + more
            for power in range(7):
                gain = 0.03 * (place - 0.5) + more / 10
                metrics[f"{name}.best-{2**power}"] = mean + gain * power
    return Outcome(metrics=metrics)


EXPERIMENT = Experiment(
    question=(
        "How many labels does a judge of answers need, and are labels for each step worth more?"
    ),
    reproduces="Cobbe 2021 (verifiers), Lightman 2023",
    parts={"source": ("addition",), "probe": ("answers", "best_of_n")},
    analyse=analyse,
    planted=Planted(
        outcome=_planted,
        measures={"judged.steps.labels512": (0.69, 0.71), "judged.outcome.labels64": (0.54, 0.56)},
        claims={
            "verifier_beats_own_log_probability": True,
            "more_labels_judge_better": True,
            "step_labels_judge_better": True,
            "few_labels_mislead": True,
        },
    ),
)
