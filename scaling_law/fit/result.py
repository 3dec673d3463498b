"""The results of the analysis: fitted laws and predictions, as values that JSON can hold."""

from __future__ import annotations

import contextlib
import dataclasses
import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

from scaling_law.errors import ConfigError
from scaling_law.fit.split import Split
from scaling_law.spec.to_json import to_json
from scaling_law.units import NOT_DETERMINED, is_determined

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from scaling_law.fit.laws import Law

FIXED_EXPONENT = "fixed by the law's form, whatever the runs"
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
    """One law fitted to points, or a published one.

    JSON holds the law's name, the hash of the user's own file that it comes from (``law_sha256``),
    and the split as ``Split.figures``.

    ``law``: the law.
    ``params``: its parameters by name, as published, in full precision; empty when refused.
    ``status``: a key of ``STATUS_REMEDY``.
    ``message``: what is wrong and what to do; empty when converged.
    ``objective``: the least value of the objective.
    ``n_points``: number of points; 0 for a published law.
    ``n_clusters``: number of independent trunks among them.
    ``n_starts``: number of starts of the search.
    ``n_starts_agreeing``: those that ended at this optimum.
    ``convention``: which parameters and which FLOPs the law's variables count, and the loss's unit.
    ``data_range``: variable -> (low, high) of the points.
    ``flops_over_6nd``: (params, FLOPs / 6ND) of the points, by size, where only a table or trainer
        counts them (``fit.flops_count``); () where they are 6ND or counted exactly.
    ``intervals``: parameter -> (low, high) at ``level``; an end is -inf or inf where the data set
        no bound.
    ``level``: confidence level of the intervals.
    ``interval_method``: how they were made, in words.
    ``huber_delta``: Huber's threshold in log loss; None for another loss.
    ``rms_log_residual``: root mean square residual of log loss.
    ``residual_scatter_log``: the same with the fit's degrees of freedom taken off.
    ``rollout_rms_log``: root mean square error in log loss on runs held out by
        ``fit.checks.select_law``.
    ``condition_number``: of the centred normal matrix.
    ``optimum``: the compute-optimal split; None where the law has none.
    ``optimum_intervals``: figure of the split -> (low, high) at ``level``.
    ``samples``: bootstrap parameter vectors in the order of ``params``.
    ``dropped``: (run_id, reason) of the runs left out.
    ``notes``: what a reader should know.
    ``seed``: of the bootstrap.
    ``source``: where the law comes from.
    """

    law: Law
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
    optimum: Split | None = None
    optimum_intervals: dict[str, tuple[float, float]] = field(default_factory=dict)
    samples: tuple[tuple[float, ...], ...] = field(default=(), repr=False)
    dropped: tuple[tuple[str, str], ...] = ()
    notes: tuple[str, ...] = ()
    seed: int = 0
    source: str = "fitted"
    flops_over_6nd: tuple[tuple[float, float], ...] = ()

    @property
    def usable(self) -> bool:
        """Whether a prediction may rest on this fit."""
        return self.status in ("converged", "at_bound") and bool(self.params)

    def sampled_params(self) -> Iterator[dict[str, float]]:
        """The parameters of each bootstrap sample, by name."""
        return (dict(zip(self.params, values, strict=True)) for values in self.samples)

    @cached_property
    def internal_samples(self) -> NDArray[np.float64]:
        """The bootstrap samples as internal vectors of the law [R, k]; NaN where one overflows."""
        import numpy as np  # a reader of JSON may not need it

        rows = np.full((len(self.samples), len(self.law.names)), math.nan)
        for row, params in zip(rows, self.sampled_params(), strict=True):
            with contextlib.suppress(OverflowError, ZeroDivisionError):
                row[:] = self.law.internal(params)
        return rows

    def to_json(self) -> dict[str, Any]:
        """Plain values, non-finite numbers as null."""
        fields = {one.name: getattr(self, one.name) for one in dataclasses.fields(self)}
        fields["law"] = self.law.name
        if self.law.file_sha256 is not None:
            fields["law_sha256"] = self.law.file_sha256
        fields["optimum"] = self.optimum.figures if self.optimum else {}
        if not self.flops_over_6nd:
            del fields["flops_over_6nd"]
        plain: dict[str, Any] = finite_json(fields)
        return plain

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> FitResult:
        """The inverse of ``to_json``.

        Raises ``ConfigError`` for a law that is not there, ``TypeError``, ``KeyError`` or
        ``ValueError`` for damaged data.
        """
        from scaling_law.fit.laws import (
            load_law,  # loads numpy, which a reader of JSON may not need
        )

        fields = dict(data)
        digest = fields.pop("law_sha256", None)
        fields["law"] = law = load_law(fields["law"])
        if law.file_sha256 != digest:
            raise ConfigError(
                f"the law {law.name} was fitted with another file (SHA-256 {str(digest)[:12]}...,"
                f" now {str(law.file_sha256)[:12]}...); run `slaw fit` with --law again"
            )
        for name in ("objective", "rms_log_residual", "residual_scatter_log", "rollout_rms_log"):
            fields[name] = _real(fields[name])
        fields["params"] = {key: _real(value) for key, value in fields["params"].items()}
        fields["optimum"] = Split.from_figures(fields["optimum"]) if fields["optimum"] else None
        for name in ("data_range", "optimum_intervals"):
            fields[name] = {key: tuple(map(_real, pair)) for key, pair in fields[name].items()}
        fields["intervals"] = {key: _ends(*pair) for key, pair in fields["intervals"].items()}
        fields["samples"] = tuple(tuple(map(_real, row)) for row in fields["samples"])
        fields["dropped"] = tuple((str(a), str(b)) for a, b in fields["dropped"])
        fields["notes"] = tuple(fields["notes"])
        if "flops_over_6nd" in fields:
            fields["flops_over_6nd"] = tuple(
                (_real(size), _real(factor)) for size, factor in fields["flops_over_6nd"]
            )
        return cls(**fields)


@dataclass(frozen=True, kw_only=True)
class LawShare:
    """What one law says of a target.

    ``law``: its name.
    ``weight``: how much it counts, 0 to 1.
    ``loss_nats``: its forecast, in nats per token.
    """

    law: str
    weight: float
    loss_nats: float


@dataclass(frozen=True, kw_only=True, repr=False)
class Prediction:
    """A loss forecast at a target.

    ``law``: the name the user has for the law; of a forecast over several, the one whose parameters
        ``slaw fit`` shows.
    ``params``: parameters of the target; None where a law of one variable leaves them open.
    ``tokens``: its training tokens; None likewise.
    ``flops``: its training FLOPs; None likewise.
    ``loss_nats``: the forecast, in nats per token.
    ``low_nats``: lower end of a new run's interval; None without bootstrap samples.
    ``high_nats``: upper end of it; None likewise.
    ``level``: confidence level of the interval; None without one.
    ``params_optimal``: parameters of the best split of the same FLOPs.
    ``tokens_optimal``: tokens of that split.
    ``beyond_data``: variable -> target / largest fitted value.
    ``convention``: what the variables count.
    ``tokens_for_params``: the tokens for which this size is compute-optimal.
    ``tokens_for_params_interval``: their interval over the fit's samples, at the level asked for.
    ``params_optimal_interval``: interval of ``params_optimal``, likewise.
    ``tokens_optimal_interval``: interval of ``tokens_optimal``, likewise.
    ``params_exponent``: a in params ~ flops^a.
    ``params_exponent_interval``: interval of a.
    ``interval_parts``: cause -> half-widths (below, above) of the interval in log loss; their
        squares add up to its own.
    ``by_law``: of a forecast over several laws, what each of them says; empty: of one law.
    ``variance_shares``: cause -> share of the variance of a new run's log loss; of such a forecast.
    ``source``: where the law comes from.
    ``form``: the name of the law's formula, which several published laws may share.
    ``tokens_unique``: the different ones of ``tokens``, where they were asked about.
    ``below_data``: variable -> smallest fitted value / target, where that is above 1.
    ``flops_interval``: the compute that reaches a target loss, inf where it may never be
        reached.
    ``warnings``: what a reader should know.
    ``refused``: why only the range, and no figure, may be quoted: the target is too far beyond the
        data, or held-out runs speak against extrapolating the law; empty where a figure may.
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
    by_law: tuple[LawShare, ...] = ()
    variance_shares: dict[str, float] = field(default_factory=dict)
    source: str = "fitted"
    form: str = ""
    tokens_unique: float | None = None
    below_data: dict[str, float] = field(default_factory=dict)
    flops_interval: tuple[float, float] | None = None
    warnings: tuple[str, ...] = ()
    refused: str = ""

    def __str__(self) -> str:
        from scaling_law.fit.prediction_text import three_lines

        return three_lines(self)

    __repr__ = __str__

    @property
    def over_laws(self) -> bool:
        """Whether several laws count in it."""
        return len(self.by_law) > 1

    @property
    def figures_refused(self) -> tuple[str, ...]:
        """The fields whose figures may not be quoted, so far beyond the data: only their ranges."""
        if not self.refused or self.level is None:
            return ()
        names = ("loss_nats", "tokens_for_params", "params_optimal", "tokens_optimal")
        return tuple(name for name in names if getattr(self, name) is not None)

    @property
    def is_best_split(self) -> bool:
        """Whether the target is the compute-optimal split itself, to three digits."""
        if not self.params or not self.params_optimal:
            return False
        return abs(math.log(self.params / self.params_optimal)) < _SAME


def bound_words(end: float | None, digits: str = ".4g") -> str:
    """An end of a parameter's interval: ``no bound`` where the data set none."""
    return format(end, digits) if end is not None and math.isfinite(end) else "no bound"


def interval_words(low: float | None, high: float | None, digits: str = ".4g") -> str:
    """A parameter's interval: ``[1.2, 3.4]``, or that its order of magnitude is not known."""
    if low is not None and high is not None and not is_determined(low, high):
        return f"[{NOT_DETERMINED}]"
    return f"[{bound_words(low, digits)}, {bound_words(high, digits)}]"


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
    """A fit's status in words: ``too few points``."""
    return status.replace("_", " ")


def exponent_words(row: dict[str, Any]) -> str:
    """The status of a row of ``FitSuite.by_convention`` in words."""
    return FIXED_EXPONENT if row.get("a_fixed") else status_words(row["status"])


def _ends(low: float | None, high: float | None) -> tuple[float, float]:
    return -math.inf if low is None else low, math.inf if high is None else high


def _real(value: float | None) -> float:
    """A number as ``finite_json`` wrote it; null, which was NaN or infinite, becomes NaN."""
    return math.nan if value is None else value
