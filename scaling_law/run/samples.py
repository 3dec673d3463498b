"""Draws texts from a run's final weights, in a process that loads torch."""

from __future__ import annotations

import json
from pathlib import Path

from scaling_law.files.layout import SweepDir
from scaling_law.run.starts import weights_file
from scaling_law.run.torch_process import run_module
from scaling_law.spec.sampling import Draw
from scaling_law.spec.to_json import to_json


def draw_samples(draw: Draw, sweep: SweepDir, to: Path) -> None:
    """Write the folder ``to`` with the texts, unless it is there already.

    Raises ``ConfigError`` where the run or its weights are missing.
    """
    if to.is_dir():
        return
    run_dir = weights_file(draw.run, sweep).parent
    run_module(
        "scaling_law.train.sample",
        str(run_dir),
        str(to),
        json.dumps(to_json(draw)),
        doing=f"drawing samples of {draw.run}",
    )
