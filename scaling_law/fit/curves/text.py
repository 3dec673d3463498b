"""The answer of ``slaw curves`` as lines."""

from __future__ import annotations

from statistics import fmean

from scaling_law import text_columns
from scaling_law.fit.curves.law import OWN, SHARED
from scaling_law.fit.curves.session import CurveAnswer
from scaling_law.units import count_of, format_count

_SHOWN = {"L0": "L0", "log_A": "A", "log_alpha": "alpha", "log_B": "B", "log_C": "C",
          "log_beta": "beta", "gamma": "gamma", "p": "p", "q": "q"}  # fmt: skip
_MOST = 12  # held-out curves listed one by one


def format_curves(answer: CurveAnswer) -> str:
    """What was read and fitted, what was predicted, and which schedule ends lowest."""
    fit = answer.fit
    lines = [
        f"{count_of(len(answer.curves), 'curve')} of {count_of(len(fit.groups), 'model')},"
        f" {count_of(fit.points, 'point')}; residuals are correlated along a curve: as"
        f" {fit.independent:.0f} independent points",
        f"law {fit.law.name} ({fit.law.source}), intervals at {fit.level:.0%}; it misses its own"
        f" points by {fit.mean_error:.4f} {answer.loss_unit.partition(' per ')[0]} on average",
    ]
    if fit.repeated:
        lines.append(f"{count_of(fit.repeated, 'point')} that several curves share count once")
    if not fit.converged:
        lines.append("the solver did not meet its tolerance: do not use these numbers")
    if fit.at_bound:
        lines.append(
            f"{' and '.join(fit.at_bound)} at the end of its range: the law does not describe these"
            " curves; fit fewer models (--group)"
        )
    lines += ["", *_parameters(answer)]
    if answer.held_out:
        lines += ["", *_held_out(answer)]
    if answer.scheduled:
        lines += ["", *_scheduled(answer)]
    if answer.left_out:
        lines += ["", f"left out: {count_of(len(answer.left_out), 'curve or row')}"]
        lines += [f"    {name}: {why}" for name, why in answer.left_out[:_MOST]]
        if len(answer.left_out) > _MOST:
            lines.append(f"    and {len(answer.left_out) - _MOST} more; --json lists all")
    return "\n".join(lines)


def _parameters(answer: CurveAnswer) -> list[str]:
    fit = answer.fit
    rows = [("model", *(_SHOWN[name] for name in OWN))]
    for group in fit.groups:
        cells = [_interval(*fit.interval(group, name)) for name in OWN]
        rows.append((group, *cells))
    shared = []
    for name, spread in zip(SHARED, fit.law.spread, strict=True):
        values = fit.interval(fit.groups[0], name)
        shared.append(f"{_SHOWN[name]} = {_interval(*values) if spread else f'{values[0]:g}'}")
    return [
        *text_columns.left(rows),
        f"shared: {', '.join(shared)}; time in units of {format_count(fit.length)} steps, rate in"
        f" units of {fit.peak:.3g}",
    ]


def _interval(value: float, low: float, high: float) -> str:
    return f"{value:.4g} [{low:.4g}, {high:.4g}]"


def _held_out(answer: CurveAnswer) -> list[str]:
    held = answer.held_out
    rows = [("held out", "points", "mean error", "error at the end", "inside")]
    rows += [
        (one.curve.name, str(len(one.curve)), f"{one.error:.4f}", f"{one.end_error:+.4f}",
         f"{one.covered:.0%}")
        for one in held[:_MOST]
    ]  # fmt: skip
    lines = text_columns.left(rows)
    if len(held) > _MOST:
        lines.append(f"and {len(held) - _MOST} more; --json lists all")
    error, inside = fmean(one.error for one in held), fmean(one.covered for one in held)
    end = fmean(abs(one.end_error) for one in held)
    lines.append(
        f"held-out curves: mean error {error:.4f}, {end:.4f} at the end; {inside:.0%} of points"
        f" inside their {answer.fit.level:.0%} interval"
    )
    return lines


def _scheduled(answer: CurveAnswer) -> list[str]:
    rows = [("schedule", "model", "steps", f"loss at the end ({answer.loss_unit})")]
    lines = []
    for group in answer.fit.groups:
        ranked = answer.ranked(group)
        for one in ranked:
            curve = one.predicted
            rows.append(
                (one.text, group, format_count(curve.steps[-1]),
                 f"{curve.losses[-1]:.4f} [{curve.low[-1]:.4f}, {curve.high[-1]:.4f}]")
            )  # fmt: skip
        chance = answer.chance_lowest(group)
        if chance is not None:
            gap = ranked[1].predicted.losses[-1] - ranked[0].predicted.losses[-1]
            lines.append(
                f"{group}: {ranked[0].text} ends lowest, by {gap:.4f} below {ranked[1].text}"
                f" (probability {min(max(chance, 0.01), 0.99):.0%} over both laws; seeds differ by"
                f" about {answer.fit.noise.sd:.4f})"
            )
    lines += answer.cautions()
    return [*text_columns.left(rows), *lines]
