"""The fitter for notebooks: columns in, a result that prints, predicts and allocates."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from scaling_law.errors import ConfigError
from scaling_law.fit.checks.validate import warning_off
from scaling_law.fit.points.column_units import parse_units
from scaling_law.fit.points.dataset import from_points
from scaling_law.fit.points.table import points_from_columns, read_table
from scaling_law.fit.points.table_settings import TableSettings, parse_columns
from scaling_law.fit.result import FitResult, Prediction
from scaling_law.fit.suite import FitSettings, FitSuite, fit_data
from scaling_law.fit.summary import format_suite
from scaling_law.forecast.extrapolate import extrapolate
from scaling_law.forecast.target import Target
from scaling_law.units import count_of

_ROLES = ("params", "tokens", "loss", "flops", "cluster", "seed", "sem", "size", "run_id")


class Laws:
    """Every law fitted to the runs, the one to forecast with, and how far it may be trusted."""

    def __init__(self, suite: FitSuite) -> None:
        self.suite = suite

    def __str__(self) -> str:
        return format_suite(self.suite)

    def __repr__(self) -> str:
        best = self.suite.laws.get(self.suite.best_law)
        words = ", ".join(f"{k}={v:.4g}" for k, v in best.params.items()) if best else "none"
        count, trunks = len(self.suite.points), self.suite.points.n_clusters
        of = f"{count_of(count, 'run')}, {count_of(trunks, 'trunk')}"
        return f"<Laws of {of}; best {self.suite.best_law}: {words}>"

    def __getitem__(self, law: str) -> FitResult:
        """The fit of one law. Raises ``ConfigError`` naming the laws that were fitted."""
        if law not in self.suite.laws:
            raise ConfigError(f"law {law!r}: expected one of {', '.join(self.suite.laws)}")
        return self.suite.laws[law]

    @property
    def best(self) -> FitResult:
        """The joint law that no other beats clearly at predicting held-out runs."""
        return self[self.suite.best_law]

    def predict(
        self,
        *,
        params: float | None = None,
        tokens: float | None = None,
        flops: float | None = None,
        law: str | None = None,
        level: float | None = None,
    ) -> Prediction:
        """The loss of a new run, with its interval; a variable not given is compute-optimal.

        It is forecast over all laws by their weights, or with ``law`` by that one alone. Raises
        ``ConfigError`` for a target that cannot be read, ``FitError`` where there is no answer.
        """
        return extrapolate(
            self[law or self.suite.best_law],
            Target(params=params, tokens=tokens, flops=flops),
            worlds=None if law else self.suite.worlds,
            level=level or self.suite.settings.level,
            seed_noise_log=self.suite.validation.seed_noise_log,
            trust_flops_factor=self.suite.validation.trust_flops_factor,
            missed=warning_off(self.suite.validation.verdict),
        )

    def optimal(self, *, flops: float, law: str | None = None) -> Prediction:
        """The compute-optimal split of ``flops``: its params, tokens and loss.

        FLOPs are counted as the fitted points count them.
        """
        return self.predict(flops=flops, law=law)

    def to_json(self, path: str | Path | None = None) -> str:
        """The document of ``slaw fit --json``; also written to ``path`` if given."""
        text = json.dumps(self.suite.to_json(), indent=1, allow_nan=False)
        if path is not None:
            Path(path).write_text(text + "\n")
        return text


def fit(
    data: Any = None,
    *,
    columns: str | Mapping[str, str] | None = None,
    params_are: str = "",
    loss_unit: str = "",
    units: str | Mapping[str, str] | None = None,
    history: str = "",
    settings: FitSettings | None = None,
    resamples: int | None = None,
    **arrays: Sequence[Any] | None,
) -> Laws:
    """Fit every law to runs given as arrays, a DataFrame (or dict of columns), or a file.

    Arrays by role: ``params``, ``tokens``, ``loss`` and optionally ``flops``, ``cluster`` (the
    trunk of each run), ``seed``, ``sem``, ``size``, ``run_id``. ``columns`` maps roles to the
    data's columns, as ``"params=N,tokens=D,loss=val_loss"`` or a mapping. ``params_are`` says
    what the parameters count (total, non_embedding, matmul), ``loss_unit`` the loss's unit
    (nats, bits, bits-per-byte, perplexity), ``units`` those of the counts, as
    ``"params=M,tokens=B,flops=PF-days"``; ``history`` takes the ``last`` row of each run, or
    ``all``. Raises ``ConfigError`` for columns that cannot be read,
    ``FitError`` when the runs support no law.
    """
    roles = parse_columns(columns) if isinstance(columns, str) else dict(columns or {})
    table = TableSettings(
        columns=roles,
        params_are=params_are.replace("-", "_"),
        loss_unit=loss_unit,
        units=parse_units(units) if isinstance(units, str) else dict(units or {}),
        history=history,
    )
    given = {name: values for name, values in arrays.items() if values is not None}
    unknown = set(given) - {*_ROLES, "unique_tokens", "batch"}
    if unknown:
        raise ConfigError(f"{', '.join(sorted(unknown))}: expected columns {', '.join(_ROLES)}")
    if (data is None) == (not given):
        raise ConfigError("give arrays (params=..., tokens=..., loss=...) or one table, not both")
    if isinstance(data, str | Path):
        points = read_table(Path(data), table)
    else:
        cells = given if data is None else {str(name): list(data[name]) for name in data}
        points = points_from_columns(cells, table, origin="columns")
    chosen = settings or FitSettings()
    if resamples is not None:
        chosen = FitSettings(**{**vars(chosen), "resamples": resamples})
    return Laws(fit_data(from_points(points, keep=chosen.keep), chosen))
