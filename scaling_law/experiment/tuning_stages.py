"""Say which learning rates to train next, so that every cell gets a bounded best one.

An experiment's ``propose`` gives what ``next_stage`` returns: a grid of further multiples of the
rule's learning rate (``optim.lr_mult``), for each size and batch those that it lacks.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

from scaling_law.config.strict_yaml import read_value
from scaling_law.experiment.evidence import Run
from scaling_law.experiment.tuning import FEWEST, Optimum, Trial, Trunk, trials_of, trunk_of, tuned
from scaling_law.spec.architectures import architecture_of
from scaling_law.spec.values import Number

MULTIPLE = "optim.lr_mult"
_CLOSE = 1.2  # rates closer than this factor need no third between them


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Settings of the search for the best learning rates.

    ``within`` is the factor between the ends of a rate's interval that is narrow enough;
    ``step`` is the factor between neighbouring rates;
    ``seeds`` is the most seeds at a rate;
    ``most`` is the most stages.
    """

    within: Annotated[float, Number("upper over lower end to stop at", above=1, high=100)] = 1.5
    step: Annotated[float, Number("factor between rates", low=1.1, high=10)] = 2.0
    seeds: Annotated[int, Number("most seeds at a rate", low=1, high=100)] = 2
    most: Annotated[int, Number("most stages", low=1, high=20)] = 5


@dataclass(frozen=True)
class _More:
    """What a trunk lacks: multiples of the rule's rate, each with these seeds."""

    multiples: tuple[float, ...]
    seeds: tuple[int, ...]


def arm_of_rates(run: Run) -> tuple[tuple[str, str], ...]:
    """The values of a run's axes but the multiple: rates are compared where these are equal.

    A value ``null`` is left out: it stands for a setting that another arm's part has, or for the
    default.
    """
    pairs = sorted(run.arm.items())
    return tuple((key, value) for key, value in pairs if key != MULTIPLE and value != "null")


def other_axes(run: Run) -> str:
    """The values of axes that a cell does not hold, such as ``name=lion``; "" without any."""
    held = ("optim.batch_tokens", "optim.weight_decay")
    pairs = (pair for pair in arm_of_rates(run) if pair[0] not in held)
    return ", ".join(f"{key.rpartition('.')[2]}={value}" for key, value in pairs)


def next_stage(runs: Iterable[Run], settings: Settings, stage: int) -> dict[str, Any] | None:
    """Return the changes to the config for the stage after ``stage``; None where none is needed.

    Every trunk is trained to all of its horizons.
    """
    if stage >= settings.most:
        return None
    every = list(runs)
    own: dict[Trunk, list[Run]] = {}
    for run in every:
        own.setdefault(trunk_of(run, other_axes), []).append(run)
    tuning = tuned(trials_of(every, other_axes))
    optima: dict[Trunk, list[Optimum]] = {}
    for best in tuning.optima:
        optima.setdefault(best.cell.trunk, []).append(best)
    entries: dict[str, dict[str, Any]] = {}
    for trunk, cells in optima.items():
        several = own[trunk]
        more = _lacking(cells, several, settings, stage)
        if more is None:
            continue
        axes = {key: [read_value(value)] for key, value in arm_of_rates(several[0])}
        entry = {
            "tokens": sorted({best.cell.tokens for best in cells}),
            "seeds": list(more.seeds),
            "axes": {MULTIPLE: list(more.multiples), **axes},
        }
        same = entries.setdefault(json.dumps(entry), {"sizes": [], **entry})
        same["sizes"].append(_spelled(several[0]))
    return {"axes": {}, "grid": list(entries.values())} if entries else None


def _spelled(run: Run) -> Any:
    """A size as a config gives it: the name of a scale, or the keys of its shape."""
    name = dict(run.spec.tags).get("size", "")
    model = run.spec.model
    return name if name in architecture_of(model).scales else model.dimensions


def _lacking(
    optima: Sequence[Optimum], runs: Sequence[Run], settings: Settings, stage: int
) -> _More | None:
    """What the horizons of one trunk lack: rates first, then a seed near their minima."""
    multiple_of = {run.spec.optim.lr: run.spec.optim.overrides.lr_mult or 1.0 for run in runs}
    seeds = sorted({run.spec.seed for run in runs})
    rates = {rate for best in optima for rate in _further(best, settings, stage)}
    if rates:
        multiples = {_multiple(rate, multiple_of) for rate in rates} - {*multiple_of.values()}
        if multiples:  # else they were tried, and gave this horizon no loss
            return _More(tuple(sorted(multiples)), tuple(seeds))
    ended = [best for best in optima if best.lowest is not None and not best.edge]
    wide = [best for best in ended if best.factor > settings.within]
    if not wide or len(seeds) >= settings.seeds:
        return None
    return _More(_nearest(optima, multiple_of), (seeds[-1] + 1,))


def _multiple(rate: float, known: Mapping[float, float]) -> float:
    """The multiple of the rule's rate that gives a rate."""
    lr, multiple = next(iter(known.items()))
    return float(f"{multiple * rate / lr:.4g}")


def _further(best: Optimum, settings: Settings, stage: int) -> set[float]:
    """The rates that a horizon lacks on the way to a minimum, more of them in later stages."""
    steps = [settings.step**count for count in range(1, (stage + 1) // 2 + 1)]
    tried = best.rates
    if best.lowest is None:
        return {tried[0] / step for step in steps}
    if best.edge == "low":
        return {best.lowest / step for step in steps} - set(tried)
    if best.edge == "high":
        beyond = [rate for rate in best.diverged if rate > best.lowest]
        if not beyond:
            return {best.lowest * step for step in steps}
        between = math.sqrt(best.lowest * beyond[0])
        return {between} if between > _CLOSE * best.lowest else set()
    return set()


def _ended(trials: Iterable[Trial]) -> set[float]:
    return {trial.lr for trial in trials if trial.loss is not None}


def _nearest(optima: Sequence[Optimum], multiple_of: Mapping[float, float]) -> tuple[float, ...]:
    """The multiples nearest to the minima of all horizons: those that a further seed trains."""
    chosen = set()
    for best in optima:
        middle = best.lr or best.lowest
        if middle is None:
            continue
        ended = sorted(_ended(best.trials), key=lambda rate: abs(math.log(rate / middle)))
        chosen |= set(ended[:FEWEST])
    return tuple(sorted(multiple_of[rate] for rate in chosen))
