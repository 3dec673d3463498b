"""Write and read the state of a model that several processes hold in shares.

The shares lie in a folder that torch's distributed checkpoints write, each process its own files.
The state's usual file (``train.checkpoint``) is written after them: it has the SHA-256 of each, so
that without it, or with other files, there is no state.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from scaling_law.files import layout
from scaling_law.files.layout import RunDir
from scaling_law.train.checkpoint import DamagedCheckpoint
from scaling_law.train.group import Group
from scaling_law.train.state import State

# What of a state says that it lies in shares.
SHARES = "shares"


def write(run_dir: RunDir, step: int, content: dict[str, Any], group: Group) -> dict[str, Any]:
    """Write the shares of a state; return the rest of ``content``, with the hashes, to be written.

    All processes of the group call it together.
    """
    tensors, rest = _apart(content)
    folder = run_dir.shares(step)
    # made by one process under a name that all know, so that a half-written folder has no name
    beside = Path(group.of_first(str(_fresh(folder)) if group.is_first else None))
    from scaling_law.train import shares_folder

    description = shares_folder.write(tensors, beside, alone=group.size == 1)
    group.any(False)  # all have removed torch's own description
    files = sorted(path.name for path in beside.iterdir())
    hashes = group.each({name: _sha256(beside / name) for name in _own(files, group)})
    if group.is_first:
        run_dir.guard()
        layout.discard(folder)
        beside.rename(folder)
    merged = {name: digest for some in hashes for name, digest in some.items()}
    return {**rest, SHARES: {"files": merged, **description}}


def problem(run_dir: RunDir, saved: Mapping[str, Any], group: Group) -> str:
    """Why the shares of a state cannot be used; "" where they can, or it has none.

    All processes of the group call it together, and each reads some of the files.
    """
    if SHARES not in saved:
        return ""
    folder, files = run_dir.shares(saved["step"]), saved[SHARES]["files"]
    bad = ""
    for name in _own(sorted(files), group):
        try:
            if Path(name).name != name or _sha256(folder / name) != files[name]:
                bad = f"{folder / name}: content does not match its checksum"
        except OSError as missing:
            bad = f"{folder / name}: cannot be read ({missing.strerror})"
    return next(filter(None, group.each(bad)), "")


def read(run_dir: RunDir, saved: dict[str, Any], state: State, group: Group) -> dict[str, Any]:
    """Return a state as ``state.load`` takes it, in the shares of the state's model.

    ``problem`` has found none. Raises ``DamagedCheckpoint``.
    """
    model = state.model.state_dict()
    weights = [weight for own in state.optimizer.param_groups for weight in own["params"]]
    if SHARES not in saved:
        return _shared_out(saved, state, model, weights)
    shapes = {name: one["size"] for name, one in saved[SHARES]["tensors"].items()}
    targets: dict[str, Tensor] = {f"model.{name}": tensor for name, tensor in model.items()}
    moments: dict[int, dict[str, Any]] = {
        number: dict(values) for number, values in saved["optimizer"]["state"].items()
    }
    for name, shape in shapes.items():
        kind, _, rest = name.partition(".")
        if kind == "optimizer":
            number, _, key = rest.partition(".")
            like = weights[int(number)]
            zeros = torch.zeros_like if shape == list(like.shape) else None
            targets[name] = zeros(like.detach()) if zeros else torch.zeros(shape)
            moments.setdefault(int(number), {})[key] = targets[name]
    if set(targets) != set(shapes):
        raise DamagedCheckpoint(f"{run_dir.shares(saved['step'])}: the state of another model")
    from scaling_law.train import shares_folder

    folder = run_dir.shares(saved["step"])
    shares_folder.read_into(targets, folder, saved[SHARES], alone=group.size == 1)
    return {
        **saved,
        "model": model,
        "optimizer": {**saved["optimizer"], "state": moments},
    }


def _shared_out(
    saved: dict[str, Any], state: State, model: Mapping[str, Tensor], weights: list[Tensor]
) -> dict[str, Any]:
    """A state that one process wrote whole, in the shares of the state's model."""
    if not state.spread.shards:
        return saved
    moments = {
        number: {
            key: state.spread.share_of(value, weights[number])
            if isinstance(value, Tensor)
            else value
            for key, value in values.items()
        }
        for number, values in saved["optimizer"]["state"].items()
    }
    shares = {n: state.spread.share_of(w, model[n]) for n, w in saved["model"].items()}
    return {**saved, "model": shares, "optimizer": {**saved["optimizer"], "state": moments}}


def _apart(content: dict[str, Any]) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The tensors of model and optimizer by a name, and the rest without them."""
    tensors = {f"model.{name}": tensor for name, tensor in content["model"].items()}
    rest: dict[int, dict[str, Any]] = {}
    for number, values in content["optimizer"]["state"].items():
        rest[number] = {}
        for key, value in values.items():
            if isinstance(value, Tensor):
                tensors[f"optimizer.{number}.{key}"] = value
            else:
                rest[number][key] = value
    return tensors, {
        **content,
        "model": {},
        "optimizer": {**content["optimizer"], "state": rest},
    }


def _fresh(folder: Path) -> Path:
    folder.parent.mkdir(parents=True, exist_ok=True)
    return layout.temporary_folder(folder)


def _own(files: list[str], group: Group) -> list[str]:
    """The files that this process hashes: all processes together hash each once."""
    return files[group.rank :: group.size]


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
