"""Draws texts from runs' final weights, in a process that loads torch.

A stage's changes ask for texts wherever a corpus may stand: ``{"samples": {"run": ID, "count": 100,
"tokens": 64}}`` becomes the folder of these texts. As a key of the changes, ``samples`` stands for
``data.corpus``.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from scaling_law.decode import build
from scaling_law.errors import ConfigError
from scaling_law.files.layout import SweepDir
from scaling_law.run.starts import weights_file
from scaling_law.run.torch_process import run_module
from scaling_law.spec.sampling import Draw
from scaling_law.spec.to_json import to_json

# The key that asks for texts drawn from a run.
SAMPLES = "samples"
_CORPUS = "data.corpus"


def with_samples(sweep: SweepDir, stage: int, changes: Mapping[str, Any]) -> dict[str, Any]:
    """Return the changes of a stage with the folders of the texts that they ask for, drawn.

    Raises ``ConfigError`` for a draw that cannot be read, and where a run or its weights are
    missing.
    """
    asked = dict(changes)
    if SAMPLES in asked:
        asked[_CORPUS] = {SAMPLES: asked.pop(SAMPLES)}
    folders: dict[Path, Draw] = {}

    def resolved(value: Any) -> Any:
        if isinstance(value, list):
            return [resolved(one) for one in value]
        if not isinstance(value, dict):
            return value
        if value.keys() != {SAMPLES} or not isinstance(value[SAMPLES], dict):  # a part's setting
            return {key: resolved(one) for key, one in value.items()}
        draw = _draw(value[SAMPLES], f"stage {stage} of {sweep.path}")
        folder = folder_of(draw, sweep)
        folders[folder] = draw
        return str(folder)

    rest = {key: resolved(value) for key, value in asked.items()}
    _draw_all(folders, sweep)
    return rest


def folder_of(draw: Draw, sweep: SweepDir) -> Path:
    """The folder of the texts of a draw: stages that ask for the same one share it."""
    return sweep.samples(draw.name)


def _draw(values: Any, where: str) -> Draw:
    try:
        return build(Draw, values)
    except (TypeError, ValueError, KeyError) as problem:
        raise ConfigError(
            f"{where}: samples: {problem}; expected run, count, tokens,"
            " and temperature, top_k, top_p and seed where they are not 1, off, off and 0"
        ) from None


def _draw_all(folders: Mapping[Path, Draw], sweep: SweepDir) -> None:
    """Write the folders that are not there already, all in one process."""
    missing = [
        {"run_dir": str(weights_file(draw.run, sweep).parent), "to": str(to), "draw": to_json(draw)}
        for to, draw in folders.items()
        if not to.is_dir()
    ]
    if missing:
        named = ", ".join(sorted({one["draw"]["run"] for one in missing}))
        run_module(
            "scaling_law.train.sample", json.dumps(missing), doing=f"drawing samples of {named}"
        )
