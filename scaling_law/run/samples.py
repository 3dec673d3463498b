"""Draws texts from a run's final weights, in a process that loads torch."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from scaling_law.errors import EXIT_USAGE, ConfigError, EngineError
from scaling_law.files.layout import SweepDir
from scaling_law.run.engines import worker_environment
from scaling_law.run.starts import weights_file
from scaling_law.spec.sampling import Draw
from scaling_law.spec.to_json import to_json


def draw_samples(draw: Draw, sweep: SweepDir, to: Path) -> None:
    """Write the folder ``to`` with the texts, unless it is there already.

    Raises ``ConfigError`` where the run or its weights are missing.
    """
    if to.is_dir():
        return
    run_dir = weights_file(draw.run, sweep).parent
    command = [sys.executable, "-m", "scaling_law.train.sample", str(run_dir), str(to)]
    done = subprocess.run(
        [*command, json.dumps(to_json(draw))],
        stderr=subprocess.PIPE,
        text=True,
        check=False,
        env=worker_environment(),
    )
    message = (done.stderr.strip().splitlines() or ["no message"])[-1]
    if done.returncode == EXIT_USAGE:
        raise ConfigError(message)
    if done.returncode:
        raise EngineError(f"drawing samples of {draw.run} failed: {message}")
