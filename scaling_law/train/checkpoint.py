"""Write and read training states: a file is written completely or not at all, and has a checksum.

A file is one header line (magic, SHA-256 and length of the payload) and the payload that
``torch.save`` made. The checksum is our own because ``torch.load`` accepts flipped bits.

A state holds no random generator, because training draws from none: the run's seed and the step
decide the first weights and the order of batches (``spec.run.derive_seed``); there is no dropout.
"""

from __future__ import annotations

import hashlib
import io
import re
from collections.abc import Callable
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch

from scaling_law.errors import ConfigError, quoted
from scaling_law.files import layout
from scaling_law.files.layout import RunDir
from scaling_law.versions import CHECKPOINT, NewerVersion

_RUN = "run_id"  # the key of the run that a state belongs to
_WORD = b"SLAWCKPT"
MAGIC = _WORD + str(CHECKPOINT.current).encode()


class DamagedCheckpoint(Exception):  # noqa: N818 - a finding, handled by the caller
    """A checkpoint that does not match its own checksum or header."""


def save_checkpoint(run_dir: RunDir, step: int, state: dict[str, Any]) -> Path:
    """Write ``state`` (tensors and plain values) as the state before ``step``.

    The state is serialised to memory first, so that a full disk fails before a file is replaced.
    """
    return _written(run_dir, run_dir.checkpoint(step), state)


def save_weights(run_dir: RunDir, state: dict[str, Any]) -> Path:
    """Write the final weights, and the rest that ``slaw export`` needs, in the same form."""
    return _written(run_dir, run_dir.weights, state)


def _written(run_dir: RunDir, path: Path, state: dict[str, Any]) -> Path:
    owned = {**state, _RUN: run_dir.run_id}
    return _write(path, owned, run_dir.guard) if run_dir.writes else path


def _write(path: Path, state: dict[str, Any], guard: Callable[[], None]) -> Path:
    buffer = io.BytesIO()
    torch.save(state, buffer)
    payload = buffer.getbuffer()
    digest = hashlib.sha256(payload).hexdigest()
    header = b"%s %s %d\n" % (MAGIC, digest.encode(), len(payload))
    with layout.atomic_file(path, guard) as temporary, temporary.open("wb") as file:
        file.write(header)
        file.write(payload)
    return path


def load_checkpoint(path: Path, run_id: str | None = None) -> dict[str, Any]:
    """Load the state in ``path``, which the run ``run_id`` wrote (None: any), to the CPU.

    Raises ``DamagedCheckpoint``, also for the state of another run, ``OSError``, or ``ConfigError``
    for a file of a later slaw: skipping such a file would throw training away.
    """
    if not path.is_file() and path.exists():  # a pipe may never end
        raise DamagedCheckpoint(f"{path}: not a file")
    with path.open("rb") as file:
        header = file.readline(256).split()
        payload = file.read()
    word = re.fullmatch(_WORD + rb"(\d{1,9})", header[0]) if len(header) == 3 else None
    try:
        CHECKPOINT.check(int(word[1]) if word else None)
    except NewerVersion as problem:
        raise ConfigError(f"{path}: {problem}") from None
    except ValueError:  # a flipped bit
        raise DamagedCheckpoint(f"{path}: not a checkpoint of this version") from None
    if str(len(payload)).encode() != header[2]:
        raise DamagedCheckpoint(f"{path}: {len(payload)} bytes, header says {header[2].decode()}")
    if hashlib.sha256(payload).hexdigest().encode() != header[1]:
        raise DamagedCheckpoint(f"{path}: content does not match its checksum")
    try:
        state = torch.load(io.BytesIO(payload), map_location="cpu", weights_only=True)
    except (
        UnpicklingError
    ):  # header and hash can be forged; a payload that would run code is not loaded
        raise DamagedCheckpoint(f"{path}: holds more than tensors and plain values") from None
    if not isinstance(state, dict):
        raise DamagedCheckpoint(f"{path}: holds a {type(state).__name__}, expected a dict")
    owner = state.get(_RUN, run_id)  # absent from older files
    if run_id not in (None, owner):
        raise DamagedCheckpoint(f"{path}: of the run {quoted(owner)}, not of {quoted(run_id)}")
    return state


def checkpoint_steps(run_dir: RunDir) -> list[int]:
    """Return the steps with a checkpoint file, newest first."""
    return run_dir.checkpoint_steps()


def newest_valid(
    run_dir: RunDir, warn: Callable[[str], None], last: int | None = None
) -> tuple[int, dict[str, Any]] | None:
    """Return the newest checkpoint, of step ``last`` at most, that loads.

    A damaged one is reported through ``warn`` and skipped.
    """
    for step in checkpoint_steps(run_dir):
        if last is not None and step > last:
            continue
        try:
            return step, load_checkpoint(run_dir.checkpoint(step), run_dir.run_id)
        except (DamagedCheckpoint, OSError) as damage:
            warn(f"{damage}; using an older one")
    return None


def prune_checkpoints(run_dir: RunDir, keep: set[int], last: int = 1) -> None:
    """Remove all but the ``last`` newest and the steps in ``keep``."""
    if not run_dir.writes:
        return
    for step in [s for s in checkpoint_steps(run_dir) if s not in keep][last:]:
        discard(run_dir, step)
    there = {run_dir.shares(step) for step in checkpoint_steps(run_dir)}
    for folder in run_dir.checkpoints.glob("*.shares"):
        if folder not in there:  # a killed group had not finished the state
            layout.discard(folder)


def discard(run_dir: RunDir, step: int) -> None:
    """Remove a state: its file, or what is in its place, then what that file certifies."""
    layout.discard(run_dir.checkpoint(step))
    layout.discard(run_dir.shares(step))


def remove_after(run_dir: RunDir, step: int) -> None:
    """Remove the states later than ``step``, which the resumed run has not reached."""
    for later in checkpoint_steps(run_dir):
        if later > step and run_dir.writes:
            discard(run_dir, later)
