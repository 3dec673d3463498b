"""Draw texts from a run's final weights: ``python -m scaling_law.train.sample RUN_DIR TO WHAT``.

``WHAT`` is the JSON of a ``Draw``. Equal weights and an equal ``Draw`` give equal texts on one
kind of machine.
"""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import torch
from torch import nn

from scaling_law.data.tokenizer import tokenizer_from_json
from scaling_law.decode import build
from scaling_law.errors import EXIT_OK, ConfigError, SlawError, one_line
from scaling_law.files import layout
from scaling_law.files.layout import RunDir
from scaling_law.files.record import read_record
from scaling_law.spec.run import derive_seed
from scaling_law.spec.sampling import Draw
from scaling_law.train import architectures, checkpoint

_AT_ONCE = 256  # texts


def write_samples(run_dir: RunDir, to: Path, draw: Draw) -> None:
    """Write the folder ``to`` with a text file for each sample, all of it or nothing.

    Raises ``ConfigError`` where the weights cannot be read.
    """
    record = read_record(run_dir.record)
    try:
        saved = checkpoint.load_checkpoint(run_dir.weights, run_dir.run_id)
        tokenizer = tokenizer_from_json(saved["tokenizer"])
        model = architectures.build(record.spec.model)
        model.load_state_dict(saved["model"])
    except (checkpoint.DamagedCheckpoint, OSError, KeyError, TypeError, ValueError) as problem:
        raise ConfigError(
            f"{run_dir.weights}: no text can be drawn from it ({one_line(str(problem))})"
        ) from None
    ids = sample_ids(model, tokenizer.separator, record.spec.model.n_ctx, draw)
    to.parent.mkdir(parents=True, exist_ok=True)
    work = layout.temporary_folder(to)
    try:
        for number, row in enumerate(ids.tolist()):
            (work / f"{number:06d}.txt").write_text(tokenizer.decode(row))
        work.replace(to)
    finally:
        shutil.rmtree(work, ignore_errors=True)


@torch.no_grad()
def sample_ids(model: nn.Module, separator: int, n_ctx: int, draw: Draw) -> torch.Tensor:
    """Draw token ids [count, tokens], each row a separate text."""
    generator = torch.Generator().manual_seed(derive_seed(draw.seed, "samples"))
    model.eval()
    rows = []
    for first in range(0, draw.count, _AT_ONCE):
        ids = torch.full((min(_AT_ONCE, draw.count - first), 1), separator)
        for _ in range(draw.tokens):
            logits = model(ids[:, -n_ctx:])[:, -1].float() / draw.temperature
            following = torch.multinomial(logits.softmax(-1), 1, generator=generator)
            ids = torch.cat((ids, following), dim=1)
        rows.append(ids[:, 1:])
    return torch.cat(rows)


def main(arguments: list[str]) -> int:
    """Write the samples. Exit code 0, or 2 with one line on standard error for bad input."""
    run_dir, to, what = arguments
    try:
        write_samples(RunDir(Path(run_dir)), Path(to), build(Draw, json.loads(what)))
    except SlawError as problem:
        print(one_line(str(problem)), file=sys.stderr)
        return problem.exit_code
    return EXIT_OK


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
