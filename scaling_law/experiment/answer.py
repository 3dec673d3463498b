"""Build an experiment's findings: claims behind their preconditions, and the verdict they give.

A claim is stated only where its precondition is met. Where it is not, the claim says why, and what
would meet it: an experiment that has shown nothing must not read as one that has shown something.

    def decide() -> Decision:
        need(len(losses) > 1, "one seed has finished", AGAIN)
        return losses[0] < losses[1], f"{losses[0]:.3f} against {losses[1]:.3f}"

    claims = (claim("wider_is_better", "the wider model has the lower loss", decide),)

``findings.AGAIN`` stands for the command that trains the missing runs, which depends on the folder.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from statistics import fmean
from typing import Any, TypeAlias

from scaling_law.experiment.findings import (
    AGAIN,
    Claim,
    Figure,
    Findings,
    Multiplier,
    Published,
    Table,
)
from scaling_law.experiment.proportion import Counted, exact_interval
from scaling_law.experiment.seeds import (
    Mean,
    SeedNoise,
    all_beyond_error,
    beyond_error,
    difference,
    mean_over,
    no_error,
)
from scaling_law.units import count_of

Decision: TypeAlias = tuple[bool, str]  # whether it holds, and the figures it rests on


class PreconditionError(Exception):
    """A claim's precondition is not met.

    ``why``: what is the case instead. ``needs``: what would meet it.
    """

    def __init__(self, why: str, needs: str) -> None:
        super().__init__(f"{why}; {needs}")
        self.why, self.needs = why, needs


def need(met: bool, why: str, needs: str) -> None:
    """Raise ``PreconditionError`` unless a precondition is met."""
    if not met:
        raise PreconditionError(why, needs)


def claim(name: str, says: str, decide: Callable[[], Decision]) -> Claim:
    """Return what ``decide`` says of a claim, or why it can say nothing.

    ``decide`` calls ``need`` for each of its preconditions, then returns its ``Decision``.
    """
    established: bool | None
    try:
        established, because = decide()
    except PreconditionError as refused:
        established, because = None, str(refused)
    return Claim(name=name, says=says, established=established, because=because)


MOST_LISTED = 6  # cases of a claim that are listed one by one
_OPEN = "the interval includes no difference"
_EXACT = 1e-12  # width of an interval, as a share of the value, that rounding alone gives


def nats(mean: Mean) -> str:
    """``0.0123 (0.0022 to 0.0224, 3 seeds) nats``."""
    return f"{mean.text} nats"


def _noise_text(noise: SeedNoise | None) -> str:
    if noise is None or not noise.freedom:
        return ""
    return f", by noise of {noise.freedom} degrees of freedom"


def _equal(values: Sequence[float]) -> bool:
    """Whether several values are all the same, so that they say nothing of their error."""
    return len(values) > 1 and min(values) == max(values)


def decided(
    values: Sequence[float],
    words: str,
    *,
    show: Callable[[Mean], str] = nats,
    noise: SeedNoise | None = None,
    of: int = 1,
    counted: Counted | None = None,
) -> Decision:
    """Return the decision of a claim that values, one a seed, lie above 0: see ``beyond_error``.

    ``words`` say what the values are; their mean follows, as ``show`` writes it. Of values that are
    all equal the interval is ``counted``, the exact one of what they count; without it few equal
    values decide nothing.
    """
    if counted is not None and _equal(values):
        alike = Mean(value=values[0], interval=(counted.low, counted.high), seeds=len(values))
        said = f"{words} {show(alike)}, {counted.text}"
        need(not counted.low <= 0 <= counted.high, f"{said}: {_OPEN}", "more items, or more seeds")
        return counted.low > 0, said
    mean = mean_over(values, noise, of=of)
    need(
        mean is not None and mean.interval is not None,
        f"it has {count_of(len(values), 'seed')}",
        AGAIN,
    )
    assert mean is not None and mean.interval is not None
    said = f"{words} {show(mean)}{_noise_text(noise)}"
    above = beyond_error(values, noise, of=of)
    need(above is not None, f"{said}: {no_error(values, noise) or _OPEN}", "more seeds")
    low, high = mean.interval
    if low <= 0 <= high:
        side, most = "above" if above else "below", exact_interval(mean.seeds, mean.seeds)[0]
        said += (
            f", {side} no difference in all {mean.seeds} seeds, so in {most:.0%} of seeds or more"
        )
    return bool(above), said


def decided_by(mean: Mean | None, words: str, *, show: Callable[[Mean], str] = nats) -> Decision:
    """Return the decision of a claim that a mean with its interval lies above 0.

    It is for means whose interval has more in it than the seeds, such as ``mean_at_best``.
    """
    need(mean is not None and mean.interval is not None, "fewer than two seeds have both", AGAIN)
    assert mean is not None and mean.interval is not None
    low, high = mean.interval
    said = f"{words} {show(mean)}"
    none = high - low <= _EXACT * abs(mean.value)
    need(not none, f"{said}: which says nothing of its error", AGAIN)
    need(low > 0 or high < 0, f"{said}: {_OPEN}", "more seeds")
    return low > 0, said


def all_decided(
    each: Mapping[str, Sequence[float]],
    words: str,
    *,
    show: Callable[[Mean], str] = nats,
    noise: SeedNoise | None = None,
    of: int = 1,
) -> Decision:
    """Return the decision of a claim that values, one a seed, lie above 0 in every case.

    ``each`` has the values of each case by its name, such as ``at 20%``; see ``all_beyond_error``.
    Of many cases the lowest and the highest mean are listed.
    """
    means = {name: mean_over(values, noise, of=of) for name, values in each.items()}
    known = {name: mean for name, mean in means.items() if mean is not None and mean.interval}
    few = [name for name in each if name not in known]
    need(bool(known) and not few, f"fewer than two seeds {' and '.join(few)}", AGAIN)
    listed = list(known)
    if len(listed) > MOST_LISTED:
        by_value = sorted(known, key=lambda name: known[name].value)
        listed = [by_value[0], by_value[-1]]
    said = f"{words} {', '.join(f'{show(known[name])} {name}' for name in listed)}"
    said += f" (the lowest and the highest of {len(known)})" if len(listed) < len(known) else ""
    said += _noise_text(noise)
    above = all_beyond_error(each.values(), noise, of=of)
    signs = [beyond_error(values, noise, of=of) for values in each.values()]
    why = f"in {signs.count(None)} of {len(signs)} cases {_OPEN}"
    equal = [reason for values in each.values() if (reason := no_error(values, noise))]
    if equal:
        why = f"in {len(equal)} of {len(signs)} cases {equal[0]}"
    if False in signs:
        why = f"one of {len(signs)} may lie below by chance"
    need(above is not None, f"{said}: {why}", "more seeds")
    return bool(above), said


def decided_between(
    ours: Sequence[float],
    theirs: Sequence[float],
    words: str,
    *,
    show: Callable[[Mean], str] = nats,
) -> Decision:
    """Return the decision of a claim that the mean of one group of seeds lies above another's.

    The groups need not have the same seeds; of the same seeds ``decided`` sees smaller differences.
    """
    mean = difference(ours, theirs)
    need(mean is not None and mean.interval is not None, "one seed of either has finished", AGAIN)
    assert mean is not None and mean.interval is not None
    said = f"{words} {show(mean)}"
    low, high = mean.interval
    equal = no_error(ours) and no_error(theirs)
    need(not equal and (low > 0 or high < 0), f"{said}: {equal or _OPEN}", "more seeds")
    return low > 0, said


def _apart(ours: Sequence[float], theirs: Sequence[float], *, of: int) -> tuple[float, float]:
    """The interval of how far two groups of two seeds or more are apart, whichever is higher."""
    mean = difference(ours, theirs, of=of)
    assert mean is not None and mean.interval is not None, "both have two seeds"
    low, high = mean.interval
    return (low, high) if mean.value >= 0 else (-high, -low)


def all_within(
    values: Mapping[Any, Sequence[float]], most: float, cases: str, needs: str
) -> Decision:
    """Return the decision of a claim that the means of all cases are within ``most`` of each other.

    ``values`` are one a seed, by case; ``cases`` names these; ``needs`` is what would decide it. It
    holds where the interval of every difference of two cases is within ``most``, and does not where
    one is beyond, which is picked out of all pairs (Bonferroni). Each pair has the noise of its own
    two cases (``difference``).
    """
    pairs = list(itertools.combinations(values, 2))
    few = min(map(len, values.values()), default=0) < 2
    need(bool(pairs) and not few, f"fewer than two {cases}, or than two seeds", AGAIN)
    equal = [no_error(values[one]) for one, other in pairs if no_error(values[other])]
    need(not any(equal), f"of two {cases} {next(filter(None, equal), '')}", needs)
    means = {case: fmean(own) for case, own in values.items()}
    ends, picked = (
        [_apart(values[one], values[other], of=of) for one, other in pairs]
        for of in (1, len(pairs))
    )
    beyond, within = max(low for low, _ in picked) > most, max(high for _, high in ends) <= most
    low, high = max(picked) if beyond else max(ends, key=lambda end: end[1])
    words = (
        f"from {min(means.values()):.3f} to {max(means.values()):.3f} over the {cases}; of"
        f" {count_of(len(pairs), 'pair')} two differ by {low:.3f} to {high:.3f}"
    )
    need(within or beyond, words, needs)
    return within, words


def beside(what: str, *, theirs: str, ours: str | None, source: str) -> Published:
    """Return a published figure with ours next to it, or with ``not measured``."""
    return Published(what=what, theirs=theirs, ours=ours or "not measured", source=source)


def answer(
    claims: Sequence[Claim],
    words: Callable[[], str],
    *,
    measures: Mapping[str, float | None],
    tables: Iterable[Table | None] = (),
    figures: Iterable[Figure | None] = (),
    literature: Sequence[Published] = (),
    notes: Iterable[str] = (),
    units: Mapping[str, str] | None = None,
    multipliers: Iterable[Multiplier] = (),
) -> Findings:
    """Return the findings, without the tables and figures that are None.

    The verdict is what ``words`` returns. It rests on the first claim: where that one is not
    established, the verdict is the reason instead.
    """
    first = claims[0]
    return Findings(
        verdict=f"Not established: {first.because}." if first.established is None else words(),
        claims=tuple(claims),
        measures=measures,
        tables=tuple(table for table in tables if table is not None),
        figures=tuple(figure for figure in figures if figure is not None),
        literature=tuple(literature),
        notes=tuple(notes),
        units=units or {},
        multipliers=tuple(multipliers),
    )
