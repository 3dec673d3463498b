"""Runs ``slaw export``: finds a run's weights and writes them in a process that loads torch."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from scaling_law.errors import ConfigError, quoted
from scaling_law.files.layout import RunDir
from scaling_law.files.record import find_sweeps, read_record, short_unit
from scaling_law.run.torch_process import run_module
from scaling_law.units import format_bytes


def export_run(source: Path, wanted: str | None, to: Path, form: str) -> str:
    """Write the weights of ``wanted`` (a run id or label) to ``to``; returns a line about them.

    ``source`` is the run's own folder, a sweep, or a folder of sweeps. Raises ``ConfigError`` if
    the run, its weights or the library are missing, or the model cannot be written in ``form``.
    """
    run_dir = _find(source, wanted)
    record = read_record(run_dir.record)
    if not run_dir.weights.is_file():
        raise ConfigError(
            f"{run_dir.path}: its weights were not saved; set keep_weights: all (or largest),"
            " delete this folder and run the sweep again: it trains to the same bits"
        )
    if importlib.util.find_spec("safetensors") is None:
        raise ConfigError("export needs safetensors: pip install 'scaling-law[export]'")
    run_module(
        "scaling_law.train.export",
        str(run_dir.path),
        str(to),
        form,
        doing=f"exporting {record.spec.label}",
    )
    loss = ""
    if record.val_loss_nats is not None:
        loss = f", {record.val_loss_nats:.4f} {short_unit(record.loss_unit)}"
    size = sum(path.stat().st_size for path in to.iterdir())
    return (
        f"{to}: {record.spec.label}{loss}, {record.params_total:,} parameters in fp32,"
        f" {format_bytes(size)}"
    )


def _find(source: Path, wanted: str | None) -> RunDir:
    if wanted is None and RunDir(source).record.is_file():
        return RunDir(source)
    finished = [d for s in find_sweeps(source) for d in s.run_dirs() if d.record.is_file()]
    saved = [d for d in finished if d.weights.is_file()]
    if wanted is None:
        if len(saved) == 1:
            return saved[0]
        names = ", ".join(d.path.name for d in saved[:4]) + (", ..." if len(saved) > 4 else "")
        raise ConfigError(
            f"{source}: {len(saved)} runs with saved weights"
            + (
                f" ({names}); choose one with --run"
                if saved
                else "; set keep_weights: all (or largest) before running a sweep"
            )
        )
    matches = [d for d in finished if wanted in (d.path.name, read_record(d.record).spec.label)]
    if len(matches) != 1:
        which = "no finished run" if not matches else f"{len(matches)} runs are called"
        raise ConfigError(f"{source}: {which} {quoted(wanted)}; expected a run id or a label")
    return matches[0]
