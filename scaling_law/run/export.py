"""Runs ``slaw export``: finds a run's weights and writes them in a process that loads torch."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from scaling_law.errors import ConfigError, install_extra
from scaling_law.files.record import read_record, short_unit
from scaling_law.run.saved_runs import run_called
from scaling_law.run.torch_process import run_module
from scaling_law.units import format_bytes


def export_run(source: Path, wanted: str | None, to: Path, form: str) -> str:
    """Write the weights of ``wanted`` (a run id or label) to ``to``; returns a line about them.

    ``source`` is the run's own folder, a sweep, or a folder of sweeps. Raises ``ConfigError`` if
    the run, its weights or the library are missing, or the model cannot be written in ``form``.
    """
    run_dir = run_called(source, wanted)
    record = read_record(run_dir.record)
    if importlib.util.find_spec("safetensors") is None:
        raise ConfigError(f"export needs safetensors: {install_extra('export')}")
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
