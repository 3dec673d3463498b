"""Runs ``slaw sample``: finds a run's weights and continues a prompt in a process with torch."""

from __future__ import annotations

import json
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scaling_law.files.layout import RunDir
from scaling_law.files.record import read_record, short_unit
from scaling_law.run.saved_runs import best_run, run_called
from scaling_law.run.torch_process import lines_of
from scaling_law.spec.sampling import Prompted
from scaling_law.spec.to_json import to_json


@dataclass(frozen=True, kw_only=True)
class Sampled:
    """The run that continues a prompt.

    ``run_dir``: its folder.
    ``label``: its label.
    ``loss``: its final loss in the objective's unit; None where it has none.
    ``about``: a line about it, and how it was chosen.
    """

    run_dir: RunDir
    label: str
    loss: float | None
    about: str


def chosen_run(source: Path, wanted: str | None) -> Sampled:
    """The run ``wanted`` (an id or label), or the best of the sweep ``source``.

    ``source`` may also be the run's own folder. Raises ``ConfigError`` where the run or its weights
    are missing.
    """
    if wanted is None and not RunDir(source).record.is_file():
        run_dir, how = best_run(source)
    else:
        run_dir, how = run_called(source, wanted), ""
    record = read_record(run_dir.record)
    if not how and record.val_loss_nats is not None:
        how = f"{record.val_loss_nats:.4f} {short_unit(record.loss_unit)}"
    return Sampled(
        run_dir=run_dir,
        label=record.spec.label,
        loss=record.val_loss_nats,
        about=f"{run_dir.path}: {how or 'no final loss'}",
    )


def continued(run: Sampled, asked: Prompted) -> Generator[dict[str, Any], None, None]:
    """Yield what ``train.prompt`` says of the continuations, as it says it.

    Raises ``ConfigError`` where the run cannot continue the prompt, and ``EngineError`` where its
    process fails.
    """
    lines = lines_of(
        "scaling_law.train.prompt",
        str(run.run_dir.path),
        asked=json.dumps(to_json(asked)),
        doing=f"sampling {run.run_dir.run_id}",
    )
    yield from map(json.loads, lines)
