"""Fit a power law to the best learning rates of cells, and say how far it may be extrapolated.

    lr = factor * params^a * tokens^b * batch^c * weight_decay^d

with a term for each variable that the cells vary. A cell weighs by its own error and by the scatter
of all cells about the law. Intervals come from jackknifes. Horizons of one trunk share its noise:
the first jackknife leaves out whole trunks. Cells of one size share how far it lies off the law:
the second leaves out whole sizes for the exponent of size, whole horizons for that of tokens, whole
batches for that of the batch. The wider interval counts. The largest size and the longest horizon
are predicted by the law of the others: where the interval of what that misses says that it
succeeds, the law may be used as far beyond the cells as these lie beyond the others.
"""

from __future__ import annotations

import bisect
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import TYPE_CHECKING, Any

from scaling_law.experiment.seeds import LEVEL
from scaling_law.experiment.standard_error import StandardError, summed
from scaling_law.experiment.tuning import Cell, Optimum
from scaling_law.parts import NoSettings
from scaling_law.spec.hyperparams import Sizing, load_rule
from scaling_law.units import count_of, format_count

if TYPE_CHECKING:
    from numpy.typing import NDArray

VARIABLES = ("params", "tokens", "batch_tokens", "weight_decay")
SYMBOLS = dict(zip(VARIABLES, ("N", "D", "B", "wd"), strict=True))
EXTRAPOLATED = ("params", "tokens")
HELD_OUT_WITHIN = 1.5  # factor by which held-out rates may be missed
_DISTINCT = 1.05  # values within this factor are one
_EXACT = 1e-6  # the least error of a log rate: one without any would outweigh all others
_FEWEST_VALUES = 3  # of a variable, to leave one out and have an exponent by the others


@dataclass(frozen=True, kw_only=True)
class HeldOut:
    """How the law of the other cells predicts those of the largest value of a variable.

    ``variable`` is the one of ``EXTRAPOLATED`` whose largest value is held out;
    ``beyond`` is that value over the next one;
    ``missed`` is the factor by which their rates are missed (root mean square of the logarithm);
    ``interval`` is its (low, high) at ``LEVEL``, None where the cells are too few to give one;
    ``picked`` is the same for the worst of all checks (Bonferroni);
    ``cells`` is how many they are.
    """

    variable: str
    beyond: float
    missed: float
    interval: tuple[float, float] | None
    picked: tuple[float, float] | None
    cells: int

    @property
    def holds(self) -> bool | None:
        """Whether the rates are missed by ``HELD_OUT_WITHIN`` at most; None where that is open.

        All checks must hold, and any contradicts: that one is picked from them.
        """
        if self.interval is not None and self.interval[1] <= HELD_OUT_WITHIN:
            return True
        return False if self.picked is not None and self.picked[0] > HELD_OUT_WITHIN else None

    @property
    def supports(self) -> bool:
        """Whether the law may be extrapolated as far."""
        return self.holds is True

    @property
    def text(self) -> str:
        """``the largest size, 4x the next, is missed by a factor of 1.12 (1.05 to 1.2, 6 cells)``.

        An interval that is None is called unbounded.
        """
        what = "the largest size" if self.variable == "params" else "the longest horizon"
        ends = "unbounded" if self.interval is None else "{:.2f} to {:.2f}".format(*self.interval)
        return (
            f"{what}, {self.beyond:.2g}x the next, is missed by a factor of {self.missed:.2f}"
            f" ({ends}, {count_of(self.cells, 'cell')})"
        )


@dataclass(frozen=True, kw_only=True)
class LrLaw:
    """A law of the best learning rate.

    ``lr`` is its value at ``centre``, the geometric means of the variables that it has a term for;
    ``exponents`` are theirs, and ``intervals`` the (low, high) of each at ``LEVEL``: with three
    values and more the scatter from value to value counts, with two it cannot be known;
    ``scatter`` is the standard deviation of the cells' log rates about it, beyond their own errors;
    ``scatter_interval`` is its (low, high) at ``LEVEL``;
    ``cells`` and ``trunks`` are how many it was fitted to;
    ``ranges`` are the least and the largest value of every variable among them;
    ``held_out`` are its checks, () where a variable has too few values.
    """

    lr: float
    centre: Mapping[str, float]
    exponents: Mapping[str, float]
    intervals: Mapping[str, tuple[float, float]]
    scatter: float
    scatter_interval: tuple[float, float]
    cells: int
    trunks: int
    ranges: Mapping[str, tuple[float, float]]
    held_out: tuple[HeldOut, ...] = ()

    def at(self, **values: float) -> float:
        """The best learning rate at these values of the variables."""
        powers = (
            exponent * math.log(values[name] / self.centre[name])
            for name, exponent in self.exponents.items()
        )
        return self.lr * math.exp(sum(powers))

    def at_cell(self, cell: Cell) -> float:
        """The best learning rate of a cell."""
        return self.at(**{name: float(getattr(cell, name)) for name in self.exponents})

    def trusted(self, variable: str) -> tuple[float, float]:
        """The least and the largest value up to which the law may be used."""
        low, high = self.ranges[variable]
        beyond = [one.beyond for one in self.held_out if one.variable == variable and one.supports]
        return low, high * max(beyond, default=1.0)

    def exponent_text(self, variable: str) -> str:
        """``-0.41 (-0.52 to -0.30)``, or that it was not varied."""
        if variable not in self.exponents:
            return "not varied"
        low, high = self.intervals[variable]
        return f"{self.exponents[variable]:.2f} ({low:.2f} to {high:.2f})"

    @property
    def text(self) -> str:
        """The law as a formula."""
        powers = (
            f" ({SYMBOLS[name]} / {format_count(self.centre[name])})^{exponent:.2f}"
            for name, exponent in self.exponents.items()
        )
        return f"lr = {self.lr:.3g}{''.join(powers)}"


def law_cells(optima: Sequence[Optimum]) -> list[Optimum]:
    """Return the cells that a law can hold for: those with weight decay, where any has it.

    A power of weight decay says nothing at 0.
    """
    return [best for best in optima if best.cell.weight_decay > 0] or list(optima)


def fit_lr_law(optima: Sequence[Optimum], *, checked: bool = True) -> LrLaw | str:
    """Return the law of the cells with a bounded best learning rate, or why they give none.

    It is that of ``law_cells``. ``checked`` holds the largest size and the longest horizon out.
    """
    cells = [best for best in law_cells(optima) if best.interval is not None]
    recipes = {best.cell.recipe for best in cells}
    assert len(recipes) < 2, "cells of several recipes have a law each"
    terms = [name for name in VARIABLES if len(_values(cells, name)) > 1]
    sizes = len(_values(cells, "params"))
    if not cells:
        return "no cell has a bounded best learning rate"
    if len(cells) < len(terms) + 2 or sizes < 2:
        return (
            f"{count_of(len(cells), 'cell')} with a bounded best learning rate, of"
            f" {count_of(sizes, 'size')}: a law of {count_of(len(terms), 'variable')} needs"
            f" {max(len(terms) + 2, 4)} cells of at least 2 sizes"
        )
    fit = _Fit.of(cells, terms)
    if fit is None:
        return f"the cells do not tell {' from '.join(terms)}: vary each of them by itself"
    return LrLaw(
        lr=math.exp(fit.solved[0]),
        centre=dict(zip(terms, map(math.exp, fit.centre), strict=True)),
        exponents=dict(zip(terms, map(float, fit.solved[1:]), strict=True)),
        intervals=dict(zip(terms, fit.intervals(), strict=True)),
        scatter=fit.scatter,
        scatter_interval=fit.scatter_interval(),
        cells=len(cells),
        trunks=len({best.cell.trunk for best in cells}),
        ranges={name: _range(cells, name) for name in VARIABLES},
        held_out=_held_out(cells) if checked else (),
    )


def _value(best: Optimum, name: str) -> float:
    return float(getattr(best.cell, name))


def _range(cells: Sequence[Optimum], name: str) -> tuple[float, float]:
    values = [_value(best, name) for best in cells]
    return min(values), max(values)


def _values(cells: Sequence[Optimum], name: str) -> list[float]:
    """The distinct values of a variable, rising; those of horizons differ by whole steps."""
    distinct: list[float] = []
    for value in sorted({_value(best, name) for best in cells}):
        if not distinct or value > _DISTINCT * distinct[-1]:
            distinct.append(value)
    return distinct


def _places(cells: Sequence[Optimum], name: str) -> tuple[int, ...]:
    """Which of the distinct values of a variable each cell has."""
    distinct = _values(cells, name)
    return tuple(bisect.bisect_right(distinct, _value(best, name)) - 1 for best in cells)


def _held_out(cells: Sequence[Optimum]) -> tuple[HeldOut, ...]:
    """Predict the cells of the largest size, and of the longest horizon, from the others."""
    checks = []
    for name in EXTRAPOLATED:
        values = _values(cells, name)
        if len(values) < _FEWEST_VALUES:
            continue
        least = values[-1] / math.sqrt(_DISTINCT)
        rest = [best for best in cells if _value(best, name) < least]
        out = [best for best in cells if _value(best, name) >= least]
        law = fit_lr_law(rest, checked=False)
        if isinstance(law, str) or name not in law.exponents:
            continue
        known = [best for best in out if _within(best, law)]
        if known:
            missed = _missed(law.at_cell, known)
            error = _missed_error(tuple(law.exponents), rest, known)
            own, picked = (_missed_between(missed, error, of) for of in (1, len(EXTRAPOLATED)))
            checks.append(
                HeldOut(
                    variable=name,
                    beyond=values[-1] / values[-2],
                    missed=math.exp(missed),
                    interval=own,
                    picked=picked,
                    cells=len(known),
                )
            )
    return tuple(checks)


def _missed(rate: Callable[[Cell], float], cells: Sequence[Optimum]) -> float:
    """How far predicted rates miss the log rates of cells, root mean square."""
    misses = [math.log(rate(best.cell) / (best.lr or math.nan)) for best in cells]
    return math.sqrt(sum(miss**2 for miss in misses) / len(misses))


def _missed_error(
    terms: Sequence[str], rest: Sequence[Optimum], out: Sequence[Optimum]
) -> tuple[float, int] | None:
    """The standard error of how far the law of some cells misses others, and its freedom.

    Both groups are jackknifed by trunk, whose horizons share its noise, or by cell where they are
    of one trunk; their variances add up.
    None where the held-out cells are one, or some law of the rest cannot be had.
    """
    fit = _Fit.of(rest, terms)
    refits = [_Fit.of(few, terms) for few in _without_each(rest)]
    if fit is None or None in refits:
        return None
    parts = [
        _jackknife([_missed(fit.rate, few) for few in _without_each(out)]),
        _jackknife([_missed(one.rate, out) for one in refits if one is not None]),
    ]
    if min(free for _, free in parts) < 1:
        return None
    error = summed(StandardError(math.sqrt(variance), free) for variance, free in parts)
    return error.value, error.freedom


def _missed_between(
    missed: float, error: tuple[float, int] | None, of: int
) -> tuple[float, float] | None:
    """The interval of the factor whose logarithm ``missed`` is; ``of`` as in ``mean_over``."""
    from scaling_law.fit.solver.student import t_reach

    if error is None:
        return None
    reach = t_reach(error[1], 1 - (1 - LEVEL) / of) * error[0]
    return math.exp(max(0.0, missed - reach)), math.exp(missed + reach)


def _without_each(cells: Sequence[Optimum]) -> list[list[Optimum]]:
    """The cells without each trunk in turn; without each cell where all are of one trunk."""
    trunks = list(dict.fromkeys(best.cell.trunk for best in cells))
    if len(trunks) > 1:
        return [[best for best in cells if best.cell.trunk != trunk] for trunk in trunks]
    return [[best for best in cells if best is not one] for one in cells if len(cells) > 1]


def _jackknife(without: Sequence[float]) -> tuple[float, int]:
    """The variance of a number, by what it is without each of its groups, and its freedom."""
    count = len(without)
    if not count:
        return 0.0, 0
    middle = sum(without) / count
    return (count - 1) / count * sum((one - middle) ** 2 for one in without), count - 1


def _within(best: Optimum, law: LrLaw) -> bool:
    """Whether a cell has the values of variables that the law has no term for."""
    others = [name for name in VARIABLES if name not in law.exponents]
    return all(
        law.ranges[name][0] / _DISTINCT <= _value(best, name) <= law.ranges[name][1] * _DISTINCT
        for name in others
        if name not in EXTRAPOLATED
    )


@dataclass(frozen=True)
class _Fit:
    """Weighted least squares of log rates over the logarithms of the variables about ``centre``.

    ``terms`` are the names of the variables;
    ``design``, ``rates``, ``weights`` and ``trunks`` have an entry for each cell;
    ``values`` has an entry for each variable: which of its distinct values each cell has;
    ``errors`` are the variances of the log rates, by cell;
    ``solved`` are the log rate at the centre and the exponents;
    ``scatter`` is the standard deviation of the log rates beyond their own errors.
    """

    terms: tuple[str, ...]
    centre: NDArray[Any]
    design: NDArray[Any]
    rates: NDArray[Any]
    weights: NDArray[Any]
    trunks: tuple[object, ...]
    values: tuple[tuple[int, ...], ...]
    errors: NDArray[Any]
    solved: NDArray[Any]
    scatter: float

    @classmethod
    def of(cls, cells: Sequence[Optimum], terms: Sequence[str]) -> _Fit | None:
        """Return the fit; None where the variables vary together."""
        import numpy as np

        logs = np.log([[_value(best, name) for name in terms] for best in cells])
        centre = logs.mean(axis=0)
        design = np.column_stack([np.ones(len(cells)), logs - centre])
        if np.linalg.matrix_rank(design) < design.shape[1]:
            return None
        rates = np.log([best.lr or math.nan for best in cells])
        errors = np.maximum(np.array([best.log_error for best in cells]), _EXACT) ** 2
        spread = _spread(design, rates, errors)
        weights = 1 / (errors + spread)
        return cls(
            terms=tuple(terms),
            centre=centre,
            design=design,
            rates=rates,
            weights=weights,
            trunks=tuple(best.cell.trunk for best in cells),
            values=tuple(_places(cells, name) for name in terms),
            errors=errors,
            solved=_solve(design, rates, weights),
            scatter=math.sqrt(spread),
        )

    def rate(self, cell: Cell) -> float:
        """The best learning rate of a cell."""
        logs = [math.log(float(getattr(cell, name))) for name in self.terms]
        return math.exp(float(self.solved[0] + (logs - self.centre) @ self.solved[1:]))

    def scatter_interval(self) -> tuple[float, float]:
        """The interval of ``scatter``: the spreads at which the residuals are not unlikely.

        That is the Q-profile of a meta-analysis (Viechtbauer 2007). Cells of one trunk count as
        independent.
        """
        away = (1 - LEVEL) / 2
        low, high = (
            math.sqrt(_spread(self.design, self.rates, self.errors, chance))
            for chance in (1 - away, away)
        )
        return low, high

    def intervals(self) -> list[tuple[float, float]]:
        """The interval of each exponent: the wider of that by trunks and that by its values."""
        import numpy as np

        from scaling_law.fit.solver.student import t_reach

        count = len(set(self.trunks))
        variances = self._variances_without(self.trunks)
        if variances is None:  # some trunk alone determines an exponent
            weighted = self.design * self.weights[:, np.newaxis]
            variances = np.diag(np.linalg.inv(self.design.T @ weighted))
        reaches = t_reach(max(1, count - self.design.shape[1]), LEVEL) * np.sqrt(variances)
        intervals = []
        for term, values in enumerate(self.values, start=1):
            reach = reaches[term]
            distinct = len(set(values))
            by_value = self._variances_without(values) if distinct >= _FEWEST_VALUES else None
            if by_value is not None:
                # with this t, 89 to 91% of the intervals of 3 to 7 scattered values hold the slope
                reach = max(reach, t_reach(distinct - 1, LEVEL) * math.sqrt(by_value[term]))
            value = self.solved[term]
            intervals.append((float(value - reach), float(value + reach)))
        return intervals

    def _variances_without(self, groups: Sequence[object]) -> NDArray[Any] | None:
        """The variance of what is solved, by leaving out one group of cells after another.

        None where the cells without some group determine no law.
        """
        import numpy as np

        names = list(dict.fromkeys(groups))
        without = []
        for name in names:
            rest = np.array([group != name for group in groups])
            design = self.design[rest]
            if np.linalg.matrix_rank(design) < design.shape[1]:
                return None
            without.append(_solve(design, self.rates[rest], self.weights[rest]))
        away = np.array(without) - np.mean(without, axis=0)
        squares: NDArray[Any] = (away**2).sum(axis=0)
        return (len(names) - 1) / len(names) * squares


def _solve(design: NDArray[Any], rates: NDArray[Any], weights: NDArray[Any]) -> NDArray[Any]:
    import numpy as np

    weighted = design * weights[:, np.newaxis]
    return np.linalg.solve(design.T @ weighted, weighted.T @ rates)


def _spread(
    design: NDArray[Any], rates: NDArray[Any], errors: NDArray[Any], chance: float | None = None
) -> float:
    """The variance about the law beyond the cells' own (Paule and Mandel 1982); at least 0.

    With ``chance`` it is the variance at which smaller residuals are so likely, by chi-squared.
    """
    free = len(rates) - design.shape[1]
    expected = float(free)
    if chance is not None:  # Wilson and Hilferty 1931
        part = 2 / (9 * free)
        expected *= max(0.0, 1 - part + NormalDist().inv_cdf(chance) * math.sqrt(part)) ** 3

    def too_small(spread: float) -> bool:
        weights = 1 / (errors + spread)
        rest = rates - design @ _solve(design, rates, weights)
        return bool(float(weights @ rest**2) > expected)

    if not too_small(0.0):
        return 0.0
    low, high = 0.0, 1.0
    while too_small(high):
        high *= 4
    for _ in range(60):
        middle = 0.5 * (low + high)
        low, high = (middle, high) if too_small(middle) else (low, middle)
    return high


@dataclass(frozen=True, kw_only=True)
class PublishedRates:
    """A published rule at the cells.

    ``name`` is what it is called, and ``source`` where it was published;
    ``rates`` are its learning rates, by cell; no cell that it says nothing of.
    """

    name: str
    source: str
    rates: Mapping[Cell, float]

    def error(self, optima: Sequence[Optimum]) -> tuple[float, float, int] | None:
        """The factor by which it misses the cells, that of its bias, and how many they are.

        The first is the root mean square of the logarithm, the second the mean.
        """
        misses = [
            math.log(self.rates[best.cell] / best.lr)
            for best in optima
            if best.lr is not None and best.cell in self.rates
        ]
        if not misses:
            return None
        square = sum(miss**2 for miss in misses) / len(misses)
        return math.exp(math.sqrt(square)), math.exp(sum(misses) / len(misses)), len(misses)


def published_rates(cells: Sequence[Cell], *, shares_trunk: bool) -> tuple[PublishedRates, ...]:
    """Return the learning rates of published rules at the cells."""

    def rule(name: str, *, hot: bool) -> dict[Cell, float]:
        part = load_rule(name)
        rates = {}
        for cell in cells:
            tokens = float(cell.tokens)
            sizing = Sizing(
                model=cell.model, shortest_tokens=tokens, longest_tokens=tokens, shares_trunk=hot
            )
            rates[cell] = float(part.choose(sizing, NoSettings()).lr)
        return rates

    by_source = (
        ("Step Law", "arXiv 2503.04715", rule("steplaw", hot=shares_trunk)),
        ("Porian", "arXiv 2406.19146", rule("olmo_ladder", hot=False)),
        ("OLMo ladder", "arXiv 2412.04403", rule("olmo_ladder", hot=shares_trunk)),
        ("Power Lines", "arXiv 2505.13738", power_lines(cells)),
    )
    return tuple(
        PublishedRates(name=name, source=source, rates=rates) for name, source, rates in by_source
    )


def power_lines(cells: Sequence[Cell]) -> dict[Cell, float]:
    """The rates at which AdamW's timescale, batch / (lr weight_decay tokens), is Power Lines' best.

    That is 1.084 (tokens / params)^-.527 (arXiv 2505.13738, figure 1). It says nothing without
    weight decay.
    """
    return {
        cell: cell.batch_tokens
        / (1.084 * (cell.tokens / cell.params) ** -0.527 * cell.weight_decay * cell.tokens)
        for cell in cells
        if cell.weight_decay > 0
    }
