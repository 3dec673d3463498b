"""What ``slaw fit`` does: gather records, fit, keep the result beside them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from scaling_law import layout
from scaling_law.errors import ConfigError
from scaling_law.fit.suite import (
    SCHEMA_VERSION,
    FitSettings,
    FitSuite,
    fit_suite,
    gather,
    save_suite,
    source_key,
)
from scaling_law.fit.summary import format_suite
from scaling_law.layout import SweepDir
from scaling_law.outcome import FitResult, fit_result_from_json
from scaling_law.record import find_sweeps

__all__ = ["fit_folders", "format_suite", "stored_or_fitted"]


def fit_folders(
    folders: Sequence[Path], settings: FitSettings | None = None
) -> tuple[FitSuite, Path | None]:
    """Fit all records at or below ``folders``; kept in the only folder's ``fits/fit.json``.

    Returns the suite and where it was kept: None for several folders, or when the folder
    cannot be written (a colleague's results, say). Raises ``ConfigError`` or ``FitError``.
    """
    suite = fit_suite(gather(folders), settings)
    if len(folders) != 1:
        return suite, None
    sweeps = find_sweeps(folders[0])
    home = sweeps[0].path if len(sweeps) == 1 else folders[0]
    try:
        return suite, save_suite(suite, home)
    except OSError:
        return suite, None


@dataclass(frozen=True, kw_only=True)
class KnownLaws:
    """A sweep's fitted laws by name, the one to forecast with, and the seed noise (log loss)."""

    laws: dict[str, FitResult]
    best_law: str
    seed_noise_log: float | None


def stored_or_fitted(sweep: SweepDir) -> KnownLaws:
    """The laws kept in ``fits/fit.json``, or fitted now if there are none or they are stale."""
    done = source_key(d.path.name for d in sweep.run_dirs() if d.record.is_file())
    path = sweep.fits / "fit.json"
    if path.is_file():
        content = layout.read_json(path)
        if content.get("schema_version") == SCHEMA_VERSION and content["source_key"] == done:
            try:
                laws = {n: fit_result_from_json(fit) for n, fit in content["laws"].items()}
            except (KeyError, TypeError, ValueError) as problem:
                raise ConfigError(f"{path}: damaged ({problem!r}); run `slaw fit` again") from None
            return KnownLaws(
                laws=laws,
                best_law=content["best_law"],
                seed_noise_log=content["seed_noise_log"],
            )
    suite, _ = fit_folders([sweep.path])
    return KnownLaws(
        laws=suite.laws,
        best_law=suite.best_law,
        seed_noise_log=suite.validation.seed_noise_log,
    )
