"""Draw texts from runs' final weights: ``python -m scaling_law.train.sample ASKED``.

``ASKED`` is a JSON list; each item has the folder of a run (``run_dir``), the folder of its texts
(``to``) and a ``Draw`` (``draw``). Equal weights and an equal ``Draw`` give equal texts on one kind
of machine. A text ends where the model ends the document.
"""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

from torch import nn

from scaling_law.decode import build
from scaling_law.errors import EXIT_OK, ConfigError, SlawError, one_line
from scaling_law.files import layout
from scaling_law.files.layout import RunDir
from scaling_law.spec.sampling import Draw
from scaling_law.train import rounding
from scaling_law.train.generate import generate
from scaling_law.train.saved_model import next_token_model


def write_samples(run_dir: RunDir, to: Path, draw: Draw) -> None:
    """Write the folder ``to`` with a text file for each sample, all of it or nothing.

    Raises ``ConfigError`` where the weights cannot be read, or give no text.
    """
    saved, model = next_token_model(run_dir)
    if saved.tokenizer is None:
        raise ConfigError(
            f"{run_dir.run_id}: trained on the task {saved.record.spec.data.name}, which has no"
            " text to draw"
        )
    spec = saved.record.spec
    with rounding.of_run(spec)():
        texts = sample_ids(model, saved.tokenizer.separator, spec.model.n_ctx, draw)
    to.parent.mkdir(parents=True, exist_ok=True)
    work = layout.temporary_folder(to)
    try:
        for number, ids in enumerate(texts):
            (work / f"{number:06d}.txt").write_text(saved.tokenizer.decode(ids))
        work.replace(to)
    finally:
        shutil.rmtree(work, ignore_errors=True)


def sample_ids(model: nn.Module, separator: int, n_ctx: int, draw: Draw) -> list[tuple[int, ...]]:
    """Draw ``draw.count`` texts of at most ``draw.tokens`` token ids, each a document.

    A text has no separator; one that ends at once is empty.
    """
    starts = [[separator]] * draw.count
    texts = generate(model, starts, draw, n_ctx=n_ctx, stop=(separator,))
    return [text.ids[:-1] if text.stopped else text.ids for text in texts]


def main(arguments: list[str]) -> int:
    """Write the samples. Exit code 0, or 2 with one line on standard error for bad input."""
    (asked,) = arguments
    try:
        for one in json.loads(asked):
            write_samples(RunDir(Path(one["run_dir"])), Path(one["to"]), build(Draw, one["draw"]))
    except SlawError as problem:
        print(one_line(str(problem)), file=sys.stderr)
        return problem.exit_code
    return EXIT_OK


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
