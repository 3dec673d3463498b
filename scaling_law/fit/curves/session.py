"""``slaw curves``: read curves, fit the law, score what is held out, predict other schedules."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from scaling_law.errors import ConfigError, FitError, did_you_mean, listed
from scaling_law.files.record import find_sweeps
from scaling_law.fit.curves.curve import Curve, Rate
from scaling_law.fit.curves.fit_curves import CurveFit, Predicted, fit_curves, too_few
from scaling_law.fit.curves.law import LAWS, OWN, PROGRESS, SHARED, CurveLaw
from scaling_law.fit.curves.planned import asked
from scaling_law.fit.curves.read_sweep import read_sweep
from scaling_law.fit.curves.table import Curves, read_curve_table
from scaling_law.fit.result import finite_json

LONGEST = "longest"  # --hold-out: the longest run of each group
_TABLES = (".csv", ".tsv", ".json", ".jsonl", ".parquet")


@dataclass(frozen=True, kw_only=True)
class Question:
    """What is asked of curves.

    ``law`` is the name of a law; ``level`` that of intervals;
    ``groups`` are the groups to use, all where empty;
    ``hold_out`` are names of curves, or ``LONGEST``, to predict instead of to fit;
    ``schedules`` are those whose curves are predicted, as texts;
    ``columns`` says which column of a table has which role; ``warmup_steps`` is a table's warm-up.
    """

    law: str = PROGRESS.name
    level: float = 0.9
    groups: tuple[str, ...] = ()
    hold_out: tuple[str, ...] = ()
    schedules: tuple[str, ...] = ()
    columns: Mapping[str, str] = field(default_factory=dict)
    warmup_steps: float | None = None


@dataclass(frozen=True, kw_only=True)
class HeldOut:
    """A curve that was predicted, not fitted: what was measured, and what the fit predicts."""

    curve: Curve
    predicted: Predicted

    @property
    def error(self) -> float:
        """The mean absolute error."""
        return float(np.abs(self.predicted.losses - self.curve.losses).mean())

    @property
    def end_error(self) -> float:
        """Predicted minus measured loss at the last point."""
        return float(self.predicted.losses[-1] - self.curve.losses[-1])

    @property
    def covered(self) -> float:
        """The share of points inside their interval."""
        inside = (self.predicted.low <= self.curve.losses) & (
            self.curve.losses <= self.predicted.high
        )
        return float(inside.mean())


@dataclass(frozen=True, kw_only=True)
class Scheduled:
    """A schedule that was asked for, in one group.

    ``text`` is what the user wrote; ``rate`` is its learning rate; ``predicted`` is its curve.
    """

    text: str
    group: str
    rate: Rate
    predicted: Predicted


@dataclass(frozen=True, kw_only=True)
class CurveAnswer:
    """The answer of ``slaw curves``.

    ``curves`` were fitted; ``left_out`` are (run, reason);
    ``held_out`` were predicted and scored; ``scheduled`` are the schedules asked for, by group;
    ``loss_unit`` is that of all losses.
    """

    fit: CurveFit
    curves: tuple[Curve, ...]
    held_out: tuple[HeldOut, ...]
    scheduled: tuple[Scheduled, ...]
    left_out: tuple[tuple[str, str], ...]
    loss_unit: str

    def ranked(self, group: str) -> list[Scheduled]:
        """The schedules of a group, the lowest end first."""
        own = [one for one in self.scheduled if one.group == group]
        return sorted(own, key=lambda one: float(one.predicted.losses[-1]))

    def highest_rate(self, group: str) -> float:
        """The highest learning rate of the fitted curves of a group."""
        return max(one.rate.peak for one in self.curves if one.group == group)

    def too_high(self, group: str) -> list[str]:
        """The schedules whose rate is higher than that of any fitted curve of a group.

        The law has no rate that is too high: progress only grows with it.
        """
        most = 1.01 * self.highest_rate(group)
        return [one.text for one in self.scheduled if one.group == group and one.rate.peak > most]

    @property
    def guessed(self) -> list[str]:
        """The schedules that fall throughout, where every fitted curve falls only at the end."""
        if self.fit.knows_p:
            return []
        texts = (one.text for one in self.scheduled if not one.rate.falls_at_once)
        return list(dict.fromkeys(texts))

    def compares(self, group: str) -> bool:
        """Whether the law compares the schedules of a group: it knows no rate that is too high."""
        return not self.too_high(group)

    def chance_lowest(self, group: str) -> float | None:
        """The probability that the lowest schedule ends below the next one.

        None of one, and where they do not compare.
        """
        ranked = self.ranked(group)
        if len(ranked) < 2 or not self.compares(group):
            return None
        first, *others = ranked
        return self.fit.chance_below((group, first.rate), (group, others[0].rate))

    def cautions(self) -> list[str]:
        """What the predicted schedules have that no fitted curve has, or that does not compare."""
        lines = []
        for group in self.fit.groups:
            if high := self.too_high(group):
                lines.append(
                    f"{group}: {listed(high)}: the rate is higher than in any fitted curve (at most"
                    f" {self.highest_rate(group):.3g}): the law does not know which rate is too"
                    " high, so schedules are not ranked; train a curve at that rate"
                )
            if len({one.rate.length for one in self.ranked(group)}) > 1:
                lines.append(
                    f"{group}: the schedules have different lengths: compare those of equal steps"
                )
        lowest = min(float(one.rate.lr[-1]) / one.rate.peak for one in self.curves)
        below = [
            one.text
            for one in self.scheduled
            if float(one.rate.lr[-1]) / one.rate.peak < 0.5 * lowest - 1e-3
        ]
        if below:
            lines.append(
                f"{listed(list(dict.fromkeys(below)))}: the rate ends lower than in any fitted"
                f" curve ({lowest:.0%} of the peak): the law is less sure there than its interval"
                " says"
            )
        longest = max(one.end for one in self.curves)
        long = [one.text for one in self.scheduled if one.rate.length > 1.01 * longest]
        if long:
            lines.append(
                f"{listed(list(dict.fromkeys(long)))}: longer than any fitted curve"
                f" ({longest:,.0f} steps)"
            )
        if self.guessed:
            lines.append(
                f"{listed(self.guessed)}: the rate falls throughout, and in every fitted curve only"
                " at the end: how far progress slows with it is not known from them, and the"
                " intervals are as wide as that; a curve that falls throughout makes them narrower"
            )
        return lines

    def to_json(self) -> dict[str, Any]:
        """The document of ``slaw curves --json``."""
        fit = self.fit
        plain: dict[str, Any] = {
            "law": fit.law.name,
            "source": fit.law.source,
            "loss_unit": self.loss_unit,
            "level": fit.level,
            "points": fit.points,
            "independent_points": fit.independent,
            "autocorrelation_points": fit.noise.correlation,
            "noise_sd": fit.noise.sd,
            "shift_sd_steps": fit.noise.shift * fit.length,
            "mean_absolute_residual": fit.mean_error,
            "converged": fit.converged,
            "at_bound": fit.at_bound,
            "peak_lr": fit.peak,
            "unit_steps": fit.length,
            "groups": {
                group: {name: dict(zip(("value", "low", "high"), fit.interval(group, name),
                                       strict=True)) for name in (*OWN, *SHARED)}
                for group in fit.groups
            },
            "held_out": [
                {
                    "curve": one.curve.name,
                    "group": one.curve.group,
                    "points": len(one.curve),
                    "mean_absolute_error": one.error,
                    "end_error": one.end_error,
                    "covered": one.covered,
                }
                for one in self.held_out
            ],
            "schedules": [
                {
                    "schedule": one.text,
                    "group": one.group,
                    "steps": one.predicted.steps.tolist(),
                    "losses": one.predicted.losses.tolist(),
                    "low": one.predicted.low.tolist(),
                    "high": one.predicted.high.tolist(),
                }
                for one in self.scheduled
            ],
            "lowest": {
                group: {
                    "schedule": self.ranked(group)[0].text,
                    "chance_below_next": self.chance_lowest(group),
                }
                for group in fit.groups
                if self.ranked(group) and self.compares(group)
            },
            "cautions": self.cautions(),
            "left_out": [{"name": name, "why": why} for name, why in self.left_out],
        }  # fmt: skip
        finite: dict[str, Any] = finite_json(plain)
        return finite


def read_curves(sources: Sequence[Path], question: Question) -> Curves:
    """The curves of sweeps, tables and folders of tables. Raises ``ConfigError``."""
    each = [curves for source in sources for curves in _read(source, question)]
    units = list(dict.fromkeys(one.loss_unit for one in each))
    if len(units) > 1:
        raise ConfigError(f"losses in {' and '.join(units)}: they do not compare")
    curves = tuple(curve for one in each for curve in one.curves)
    left_out = tuple(pair for one in each for pair in one.left_out)
    groups = list(dict.fromkeys(one.group for one in curves))
    for name in question.groups:
        if name not in groups:
            raise ConfigError(
                f"--group {name}{did_you_mean(name, groups)}: expected one of {listed(groups, 12)}"
            )
    if question.groups:
        curves = tuple(one for one in curves if one.group in question.groups)
    return Curves(curves=curves, left_out=left_out, loss_unit=units[0])


def _read(source: Path, question: Question) -> list[Curves]:
    if not source.is_dir():
        return [_table(source, source.resolve().parent.name, question)]
    tables = sorted(path for path in source.iterdir() if path.suffix.lower() in _TABLES)
    if (source / "runs").is_dir() or not tables:
        sweeps = find_sweeps(source)
        if len(sweeps) > 1:
            names = ", ".join(str(sweep.path) for sweep in sweeps)
            raise ConfigError(f"{source}: {len(sweeps)} sweeps there; name those to use: {names}")
        if question.columns or question.warmup_steps is not None:
            raise ConfigError(f"--columns and --warmup-steps are for tables; {source} is a sweep")
        return [read_sweep(sweeps[0])]
    return [_table(path, source.resolve().name, question) for path in tables]


def _table(path: Path, group: str, question: Question) -> Curves:
    if not path.exists():
        raise ConfigError(f"{path}: no such file or folder; expected a sweep or a table of curves")
    return read_curve_table(path, question.columns, group=group, warmup_steps=question.warmup_steps)


def answer(sources: Sequence[Path], question: Question) -> CurveAnswer:
    """Fit the curves of ``sources`` and answer. Raises ``ConfigError`` and ``FitError``."""
    read = read_curves(sources, question)
    fitted, held = _split(read.curves, question.hold_out)
    few = too_few(fitted)
    if few and len(few) < len({one.group for one in fitted}):
        fitted = [one for one in fitted if one.group not in few]
        held = [one for one in held if one.group not in few]
    else:
        few = {}  # the fit says so itself
    law = _law(question.law)
    fit = fit_with_other(fitted, law, level=question.level)
    strange = [one.name for one in held if one.group not in fit.groups]
    if strange:
        raise FitError(f"{listed(strange)}: held out, and no other curve of that group is left")
    scheduled = []
    for text in question.schedules:
        for group in fit.groups:
            own = [one for one in fitted if one.group == group]
            wanted = asked(text, own)
            predicted = fit.predict(group, wanted.rate, wanted.steps)
            scheduled.append(
                Scheduled(text=text, group=group, rate=wanted.rate, predicted=predicted)
            )
    return CurveAnswer(
        fit=fit,
        curves=tuple(fitted),
        held_out=tuple(
            HeldOut(curve=one, predicted=fit.predict(one.group, one.rate, one.steps))
            for one in held
        ),
        scheduled=tuple(scheduled),
        left_out=(*read.left_out, *few.items()),
        loss_unit=read.loss_unit,
    )


def fit_with_other(curves: Sequence[Curve], law: CurveLaw, *, level: float = 0.9) -> CurveFit:
    """Fit ``law``, and the other one to widen intervals by the difference of the two."""
    other = next(one for one in LAWS if one is not law)
    beside = fit_curves(curves, other, level=level)
    return dataclasses.replace(fit_curves(curves, law, level=level), beside=beside)


def _law(name: str) -> CurveLaw:
    return next(law for law in LAWS if law.name == name)


def _split(curves: Sequence[Curve], hold_out: Sequence[str]) -> tuple[list[Curve], list[Curve]]:
    """The curves to fit and those to predict."""
    names = {one.name for one in curves}
    wanted = set()
    for name in hold_out:
        if name == LONGEST:
            for group in dict.fromkeys(one.group for one in curves):
                own = [one for one in curves if one.group == group]
                length = max(one.rate.length for one in own)
                longest = {one.name for one in own if one.rate.length == length}
                if len(longest) < len(own):  # else nothing would be left of the group
                    wanted |= longest
        elif name in names:
            wanted.add(name)
        else:
            raise ConfigError(
                f"--hold-out {name}{did_you_mean(name, names)}: expected {LONGEST} or the name of a"
                f" curve: {listed(sorted(names), 8)}"
            )
    fitted = [one for one in curves if one.name not in wanted]
    if not fitted:
        raise FitError("every curve is held out: nothing is left to fit")
    return fitted, [one for one in curves if one.name in wanted]
