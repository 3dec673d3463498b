"""What it means: fitted laws and predictions, as values only (JSON in and out)."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

from scaling_law.spec.run import to_json

_SAME = 0.005  # in log params: below what three digits show

STATUS_REMEDY = {
    "converged": "",
    "at_bound": "a parameter ended at its bound: widen the range of sizes or tokens",
    "not_converged": "no start reached an optimum: check the points for outliers",
    "too_few_points": "add sizes or horizons",
    "ill_conditioned": "the points do not separate the parameters: vary size and tokens more",
}


@dataclass(frozen=True, kw_only=True)
class FitResult:
    """One fitted law.

    ``params`` and ``intervals`` by parameter name (full precision; intervals at ``level``; an end
    is -inf or inf where only the solver's bound ended it: the data set none);
    ``convention`` names which parameters and which FLOPs the law's variables count;
    ``data_range`` maps variable -> (low, high) of the points fitted; ``samples`` are bootstrap
    parameter vectors in the order of ``params``; ``residual_scatter_log`` is the residual
    standard deviation of log loss, degrees of freedom corrected; ``rollout_rms_log`` the root
    mean square error on runs held out by ``fit.checks.select_law``; ``clusters`` are trunks.
    """

    law: str
    params: dict[str, float]
    status: str
    message: str
    objective: float
    n_points: int
    n_clusters: int
    n_starts: int
    n_starts_agreeing: int
    convention: dict[str, str]
    data_range: dict[str, tuple[float, float]]
    intervals: dict[str, tuple[float, float]] = field(default_factory=dict)
    level: float = 0.9
    interval_method: str = ""
    huber_delta: float | None = None
    rms_log_residual: float = math.nan
    residual_scatter_log: float = math.nan
    rollout_rms_log: float = math.nan
    condition_number: float | None = None
    optimum: dict[str, float] = field(default_factory=dict)
    optimum_intervals: dict[str, tuple[float, float]] = field(default_factory=dict)
    samples: tuple[tuple[float, ...], ...] = ()
    dropped: tuple[tuple[str, str], ...] = ()
    notes: tuple[str, ...] = ()
    seed: int = 0
    source: str = "fitted"

    @property
    def usable(self) -> bool:
        """Whether a prediction may rest on this fit."""
        return self.status in ("converged", "at_bound") and bool(self.params)


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """A loss forecast in nats per token with its interval at ``level``.

    ``law`` is the name the user has for it, ``form`` the formula's (a published law's differ).
    ``params``, ``tokens``, ``flops`` are the target; None where a law of one variable leaves
    them open. ``loss_nats`` is the law's value, ``low_nats`` to ``high_nats`` a new run's
    interval, None without bootstrap samples; ``interval_parts`` are its half-widths in log
    loss by cause. ``params_optimal``, ``tokens_optimal`` spend the same FLOPs best, and
    ``_interval`` holds each under the fit's samples at the level asked for;
    ``tokens_for_params`` are the tokens for which this size is optimal; ``params_exponent`` is
    a in params ~ flops^a. ``beyond_data`` maps ``params``/``tokens``/``flops`` to target /
    largest fitted value, ``below_data`` to smallest / target where that is above 1.
    ``tokens_unique``: the different ones of ``tokens``, where they were asked about.
    ``flops_interval``: the compute that reaches a target loss, over the fit's samples (inf where
    some never do). ``refused`` says why only the range, and no figure, may be quoted.
    """

    law: str
    params: float | None
    tokens: float | None
    flops: float | None
    loss_nats: float
    low_nats: float | None
    high_nats: float | None
    level: float | None
    params_optimal: float | None
    tokens_optimal: float | None
    beyond_data: dict[str, float]
    convention: dict[str, str]
    tokens_for_params: float | None = None
    tokens_for_params_interval: tuple[float, float] | None = None
    params_optimal_interval: tuple[float, float] | None = None
    tokens_optimal_interval: tuple[float, float] | None = None
    params_exponent: float | None = None
    params_exponent_interval: tuple[float, float] | None = None
    interval_parts: dict[str, tuple[float, float]] = field(default_factory=dict)
    source: str = "fitted"
    form: str = ""
    tokens_unique: float | None = None
    below_data: dict[str, float] = field(default_factory=dict)
    flops_interval: tuple[float, float] | None = None
    warnings: tuple[str, ...] = ()
    refused: str = ""

    @property
    def is_best_split(self) -> bool:
        """Whether the target is the compute-optimal split itself, to what rounding leaves."""
        if not self.params or not self.params_optimal:
            return False
        return abs(math.log(self.params / self.params_optimal)) < _SAME


def bound_words(end: float | None, digits: str = ".4g") -> str:
    """An end of a parameter's interval: ``no bound`` where the data set none."""
    return format(end, digits) if end is not None and math.isfinite(end) else "no bound"


def finite_json(value: Any) -> Any:
    """``to_json`` with NaN and infinities as null, which JSON can hold."""
    plain = to_json(value)
    return _finite(plain)


def _finite(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, list):
        return [_finite(item) for item in value]
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    return value


def status_words(status: str) -> str:
    """A fit's status as people say it: ``too few points``."""
    return status.replace("_", " ")


def fit_result_from_json(data: dict[str, Any]) -> FitResult:
    """The inverse of ``finite_json`` for a ``FitResult``. Raises ``TypeError``, ``KeyError``."""
    fields = dict(data)
    for name in ("objective", "rms_log_residual", "residual_scatter_log", "rollout_rms_log"):
        fields[name] = _real(fields[name])
    for name in ("params", "optimum"):
        fields[name] = {key: _real(value) for key, value in fields[name].items()}
    for name in ("data_range", "optimum_intervals"):
        fields[name] = {key: tuple(map(_real, pair)) for key, pair in fields[name].items()}
    fields["intervals"] = {key: _ends(*pair) for key, pair in fields["intervals"].items()}
    fields["samples"] = tuple(tuple(map(_real, row)) for row in fields["samples"])
    fields["dropped"] = tuple((str(a), str(b)) for a, b in fields["dropped"])
    fields["notes"] = tuple(fields["notes"])
    return FitResult(**fields)


def _ends(low: float | None, high: float | None) -> tuple[float, float]:
    return -math.inf if low is None else low, math.inf if high is None else high


def _real(value: float | None) -> float:
    """What ``finite_json`` made of it, undone as far as can be: null was NaN or infinite."""
    return math.nan if value is None else value
