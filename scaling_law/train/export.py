"""Export saved weights to a folder: ``python -m scaling_law.train.export RUN_DIR TO FORMAT``.

``safetensors`` writes our own tensor names, and the run in ``slaw.json``. ``hf`` writes a folder
that ``transformers.AutoModelForCausalLM.from_pretrained`` and ``AutoTokenizer`` load.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import Any

from safetensors.torch import save_file

from scaling_law import __version__
from scaling_law.data.hf_tokenizer import tokenizer_config, tokenizer_json
from scaling_law.errors import EXIT_OK, ConfigError, SlawError, one_line
from scaling_law.files import layout
from scaling_law.files.layout import ExportDir, RunDir
from scaling_law.files.record import RunRecord
from scaling_law.spec.to_json import to_json
from scaling_law.train.architectures import Module, module_of
from scaling_law.train.saved_model import SavedWeights, read_weights
from scaling_law.versions import EXPORT


def export(run_dir: RunDir, to: Path, form: str) -> None:
    """Write the folder ``to``, all of it or nothing; ``form`` is ``safetensors`` or ``hf``.

    Raises ``ConfigError`` when the weights cannot be read or are not the run's, when ``to`` is not
    empty, or when the architecture has no counterpart.
    """
    saved = read_weights(run_dir)
    if to.exists() and not (to.is_dir() and not any(to.iterdir())):
        raise ConfigError(f"{to}: exists and is not an empty folder; choose another with --out")
    to.parent.mkdir(parents=True, exist_ok=True)
    work = layout.temporary_folder(to)
    try:
        _write(ExportDir(work), saved, form)
        work.replace(to)
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _write(folder: ExportDir, saved: SavedWeights, form: str) -> None:
    record, state, tokenizer = saved.record, saved.state, saved.tokenizer
    spec = record.spec.model
    own_file = spec.architecture.source_sha256 is not None  # its code is not executed here
    module: Module | None = None if own_file else module_of(spec)
    if form == "hf":
        if tokenizer is None:
            raise ConfigError(
                f"{record.spec.label}: trained on the task {record.spec.data.name}, which has no"
                " tokenizer, and --format hf needs one; export it as safetensors"
            )
        if (rounds := record.spec.number_format) is not None:
            raise ConfigError(
                f"{record.spec.label}: trained with the number format {rounds.name}, which Hugging"
                " Face's transformers do not apply; use --format safetensors, which has the weights"
                " before they are rounded"
            )
        if module is None or module.to_hf is None:
            raise ConfigError(
                f"the architecture {spec.architecture.name} has no counterpart in Hugging Face's"
                " transformers; use --format safetensors, which takes any model"
            )
        config, tensors = module.to_hf(spec, state)
        layout.write_json(folder.config, config)
        ends = {"bos_token_id": tokenizer.separator, "eos_token_id": tokenizer.separator}
        layout.write_json(folder.generation_config, ends)
        layout.write_json(folder.tokenizer, tokenizer_json(tokenizer))
        layout.write_json(folder.tokenizer_config, tokenizer_config(tokenizer, spec.n_ctx))
    else:
        repeated = module.repeated(spec) if module else ()
        tensors = {name: tensor for name, tensor in state.items() if name not in repeated}
        layout.write_json(folder.config, to_json(spec))
        if tokenizer is not None:
            layout.write_json(folder.tokenizer, tokenizer.to_json())
    layout.write_json(folder.about, _about(record))
    with layout.atomic_file(folder.weights) as temporary:
        whole = {name: tensor.contiguous() for name, tensor in tensors.items()}
        save_file(whole, temporary, metadata={"format": "pt"})


def _about(record: RunRecord) -> dict[str, Any]:
    """Describe the run that the weights are from."""
    return {
        "schema_version": EXPORT.current,
        "made_by": f"slaw {__version__}",
        "run_id": record.run_id,
        "val_loss_nats": record.val_loss_nats,
        "val_bits_per_byte": record.val_bits_per_byte,
        "tokens": record.tokens,
        "corpus_fingerprint": record.corpus_fingerprint,
        "versions": record.versions,
        "spec": to_json(record.spec),
    }


def main(arguments: list[str]) -> int:
    """Export the weights. Exit code 0, or 2 with one line on standard error for bad input."""
    run_dir, to, form = arguments
    try:
        export(RunDir(Path(run_dir)), Path(to), form)
    except SlawError as problem:
        print(one_line(str(problem)), file=sys.stderr)
        return problem.exit_code
    except OSError as problem:
        print(one_line(f"{to}: cannot be written ({problem.strerror})"), file=sys.stderr)
        return ConfigError.exit_code
    return EXIT_OK


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
