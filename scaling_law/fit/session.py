"""What ``slaw fit`` does: gather runs, fit, save the result beside them or where asked."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from scaling_law.errors import ConfigError, FitError, quoted
from scaling_law.files import checksum, layout
from scaling_law.files.layout import SweepDir
from scaling_law.files.record import find_sweeps, load_records, only_sweep
from scaling_law.fit.approaches.parametric import fit_law
from scaling_law.fit.checks.select_law import best_law, score_laws
from scaling_law.fit.checks.validate import Validation, validate, warning_off
from scaling_law.fit.numerics import numerical_failures
from scaling_law.fit.points.dataset import gather_fit_data, refuse_table_settings, source_key
from scaling_law.fit.points.points import FitPoints
from scaling_law.fit.points.table_settings import TableSettings
from scaling_law.fit.result import FitResult
from scaling_law.fit.suite import FitSettings, FitSuite, fit_data, save_suite
from scaling_law.fit.summary import format_brief, format_suite
from scaling_law.fit.worlds import Worlds, worlds_of
from scaling_law.versions import FIT, NewerVersion

_VALIDATION_RESAMPLES = 200
_OLD_VERSIONS = range(1, FIT.oldest)

__all__ = [
    "KnownLaws",
    "fit_sources",
    "format_brief",
    "format_suite",
    "known_laws",
    "stored_laws",
    "stored_or_fitted",
    "validate_sources",
]


def fit_sources(
    sources: Sequence[Path],
    settings: FitSettings | None = None,
    *,
    table: TableSettings | None = None,
    out: Path | None = None,
) -> tuple[FitSuite, Path | None]:
    """Fit the runs of one table, or of one or several sweeps.

    The suite is saved in ``fits/fit.json`` of ``out``, or else of the only sweep. Returns the suite
    and where it was saved: None for a table, several sweeps or a choice of runs without ``out``, or
    when the sweep's folder cannot be written (a colleague's results, say). Raises ``ConfigError``
    or ``FitError``.
    """
    settings = settings or FitSettings()
    if out is not None and settings.metric is not None:
        raise ConfigError(
            "--metric with --out: forecasts read a saved fit as one of the loss; use --json"
        )
    if out is not None:
        check_out(out)
    data = gather_fit_data(
        sources,
        table=table,
        convention=settings.convention,
        flops=settings.flops,
        keep=settings.keep,
        metric=settings.metric,
    )
    suite = fit_data(data, settings)
    if out is not None:
        try:
            return suite, save_suite(suite, out)
        except OSError as problem:
            raise ConfigError(f"{out}: cannot be written ({problem.strerror})") from None
    # a fit saved in a sweep is one of the losses of all its runs
    chosen = settings.metric is not None or (table is not None and bool(table.where))
    if len(sources) != 1 or sources[0].is_file() or chosen:
        return suite, None
    try:
        return suite, save_suite(suite, only_sweep(sources[0]).path)
    except OSError:
        return suite, None


def check_out(out: Path) -> None:
    """Raises ``ConfigError`` where nothing can be saved, or where no command would look for it."""
    layout.check_folder(out)
    if not SweepDir(out).runs.is_dir() and _holds_sweeps(out):
        raise ConfigError(
            f"--out {out}: a folder of sweeps, whose own fits are read; choose another folder"
        )


def _holds_sweeps(folder: Path) -> bool:
    try:
        return bool(find_sweeps(folder))
    except ConfigError:
        return False


def validate_sources(
    sources: Sequence[Path],
    settings: FitSettings | None = None,
    *,
    table: TableSettings | None = None,
    law: str | None = None,
) -> tuple[Validation, FitPoints]:
    """Run every check of ``law`` (None: the one that ``slaw fit`` shows).

    Raises ``FitError`` for runs that do not identify the law: holding some out then shows nothing.
    """
    settings = settings or FitSettings(resamples=_VALIDATION_RESAMPLES)
    data = gather_fit_data(
        sources,
        table=table,
        convention=settings.convention,
        flops=settings.flops,
        keep=settings.keep,
    )
    points = data.points
    with numerical_failures(points):
        name = law or best_law(score_laws(points, settings.objective)[0]) or "chinchilla"
        whole = fit_law(points, name, objective=settings.objective, resamples=0)
        if not whole.params:
            raise FitError(f"law {name} cannot be fitted: {whole.message}")
        check = validate(
            points,
            objective=settings.objective,
            law=name,
            resamples=min(settings.resamples, _VALIDATION_RESAMPLES),
            level=settings.level,
            full=True,
        )
    return check, points


@dataclass(frozen=True, kw_only=True)
class KnownLaws:
    """The fitted laws of a sweep or table, as forecasts use them.

    ``laws``: the fits by the law's name.
    ``worlds``: what forecasts are made over; None: ``best_law`` alone.
    ``best_law``: name of the joint law to forecast with; empty where none could be fitted.
    ``seed_noise_log``: standard deviation of log loss between seeds; None: not measured.
    ``trust_flops_factor``: how many times beyond the largest FLOPs held-out runs support that law;
        None: not at all.
    ``missed``: the verdict on that law where its held-out runs say not to extrapolate; else empty.
    ``unread``: laws of users' own files that were fitted too -> why they are not in ``laws``.
    """

    laws: dict[str, FitResult]
    best_law: str
    seed_noise_log: float | None
    trust_flops_factor: float | None
    worlds: Worlds | None = None
    missed: str = ""
    unread: Mapping[str, str] = field(default_factory=dict)

    @property
    def joint_law(self) -> FitResult | None:
        """The law of params and tokens to forecast with; None where none was fitted."""
        best = self.laws.get(self.best_law)
        return best if best is not None and best.params else None

    @property
    def beside(self) -> dict[str, Any]:
        """What a forecast rests on beside the best law, as ``forecast.extrapolate`` takes it."""
        return {"worlds": self.worlds, **self.beside_one}

    @property
    def beside_one(self) -> dict[str, Any]:
        """The same for a forecast with one law alone."""
        return {
            "seed_noise_log": self.seed_noise_log,
            "trust_flops_factor": self.trust_flops_factor,
            "missed": self.missed,
        }


def laws_of(suite: FitSuite) -> KnownLaws:
    """A new suite's laws, with as many samples as a stored one has."""
    return KnownLaws(
        laws=suite.stored_laws,
        worlds=suite.worlds,
        best_law=suite.best_law,
        seed_noise_log=suite.validation.seed_noise_log,
        trust_flops_factor=suite.validation.trust_flops_factor,
        missed=warning_off(suite.validation.verdict),
    )


def known_laws(
    source: Path, table: TableSettings | None = None, extra: Sequence[str] = ()
) -> KnownLaws:
    """The laws of a sweep, of a folder that ``slaw fit --out`` made, or of a table.

    With conditions (``table.where``) they are fitted again, to the chosen runs. What is fitted here
    has the laws ``extra`` too.
    """
    settings = FitSettings(laws=tuple(extra))
    stored = SweepDir(source).fits / "fit.json"
    if source.is_dir() and stored.is_file() and not _holds_sweeps(source):
        if table is not None and table.where:
            raise ConfigError(f"{source}: holds a fit and no runs to choose from with --where")
        return _read_laws(stored, layout.read_json(stored))
    if source.is_file():
        return laws_of(fit_sources([source], settings, table=table)[0])
    refuse_table_settings(str(source), table)
    sweep = only_sweep(source, "name one with --results")
    if table is not None and table.where:
        return laws_of(fit_sources([sweep.path], settings, table=table)[0])
    return stored_or_fitted(sweep, settings)


def stored_or_fitted(sweep: SweepDir, settings: FitSettings | None = None) -> KnownLaws:
    """The laws in ``fits/fit.json``, or fitted now if there are none or the runs have changed.

    ``settings`` are those of a fit made now.
    """
    return stored_laws(sweep) or laws_of(fit_sources([sweep.path], settings)[0])


def stored_laws(sweep: SweepDir) -> KnownLaws | None:
    """The laws in ``fits/fit.json``; None if there are none, or the runs have changed since."""
    path = sweep.fits / "fit.json"
    if not path.is_file():
        return None
    content = layout.read_json(path)
    now = source_key((r.run_id, r.val_loss_nats) for r in load_records(sweep))
    if isinstance(content, dict) and content.get("schema_version") in _OLD_VERSIONS:
        return None
    known = _read_laws(path, content)
    return known if content["source_key"] == now else None


def _read_laws(path: Path, content: Any) -> KnownLaws:
    """The laws in ``fit.json``. Raises ``ConfigError`` unless it is as it was written."""
    try:
        if not isinstance(content, dict):
            raise ValueError(f"found {quoted(content)}, expected keys and values")
        FIT.check(content.get("schema_version"))
        content = checksum.opened(content, required=True)
        laws, unread = {}, {}
        for name, fit in content["laws"].items():
            try:
                laws[name] = FitResult.from_json(fit)
            except ConfigError as problem:
                if "law_sha256" not in fit:
                    raise
                unread[name] = str(problem)
        return KnownLaws(
            laws=laws,
            worlds=_worlds(content, laws),
            unread=unread,
            best_law=content["best_law"],
            seed_noise_log=content["seed_noise_log"],
            trust_flops_factor=content["trust_flops_factor"],
            missed=_missed(content),
        )
    except (NewerVersion, ConfigError) as problem:
        raise ConfigError(f"{path}: {problem}") from None
    except (KeyError, TypeError, ValueError, AttributeError) as problem:
        why = problem if isinstance(problem, ValueError) else repr(problem)
        raise ConfigError(f"{path}: damaged ({why}); run `slaw fit` again") from None


def _missed(content: Mapping[str, Any]) -> str:
    """The verdict in ``fit.json`` that says not to extrapolate; empty where it says otherwise."""
    check = content.get("summary", {}).get("validation", {})
    return warning_off(check.get("verdict", ""))


def _worlds(content: Mapping[str, Any], laws: Mapping[str, FitResult]) -> Worlds | None:
    """The worlds in ``fit.json``; of a fit that was saved before there were any, its best law's."""
    if "worlds" in content:
        stored = content["worlds"]
        return None if stored is None else Worlds.from_json(stored)
    best = laws.get(content["best_law"])
    if best is None or best.status != "converged" or not best.samples:
        return None
    noises = [best.residual_scatter_log, content["seed_noise_log"] or 0.0]
    note = (
        f"one law only, {best.law.name}: the fit was saved by an earlier slaw; run `slaw fit` again"
        " to forecast over several"
    )
    noise = max(noise for noise in noises if math.isfinite(noise))
    return worlds_of({best.law.name: best}, noise_log=noise, notes=(note,))
