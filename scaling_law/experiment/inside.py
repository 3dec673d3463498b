"""Decide whether numbers over seeds lie between two limits, by their intervals."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from scaling_law.experiment.answer import Decision, need
from scaling_law.experiment.findings import AGAIN
from scaling_law.experiment.seeds import Mean, mean_over, no_error


def text_of(mean: Mean) -> str:
    """``1.23 (1.1 to 1.36, 3 seeds)``."""
    return mean.text


def all_inside(
    each: Mapping[str, Sequence[float]],
    low: float,
    high: float,
    words: str = "",
    *,
    show: Callable[[Mean], str] = text_of,
) -> Decision:
    """Return the decision of a claim that the mean of every case lies from ``low`` to ``high``.

    ``each`` has the values of each case, one a seed, by its name, such as ``at d = 3``. It holds
    where every interval is inside, and does not where one is outside: that one is picked out of
    all of them, so that its interval is wider (Bonferroni).
    """
    means = {name: mean_over(values) for name, values in each.items()}
    few = [name for name, mean in means.items() if mean is None or mean.interval is None]
    need(bool(each) and not few, f"fewer than two seeds {' and '.join(few)}", AGAIN)
    known = {name: mean for name, mean in means.items() if mean is not None}
    said = f"{words} {', '.join(f'{show(mean)} {name}' for name, mean in known.items())}".strip()
    why = next((reason for values in each.values() if (reason := no_error(values))), "")
    need(not why, f"{said}: {why}", "more seeds")

    def ends(mean: Mean, of: int) -> tuple[float, float]:
        interval = mean.wider(of).interval
        assert interval is not None, "it has two seeds"
        return interval

    within = all(low <= ends(mean, 1)[0] and ends(mean, 1)[1] <= high for mean in known.values())
    outside = (ends(mean, len(known)) for mean in known.values())
    beyond = any(last < low or first > high for first, last in outside)
    need(within or beyond, f"{said}: an interval includes a limit", "more seeds")
    return within, said
