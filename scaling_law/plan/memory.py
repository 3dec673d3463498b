"""Fit a model into the memory of one slot: whole batches, smaller ones, or recomputing."""

from __future__ import annotations

from dataclasses import dataclass

from scaling_law.spec.model import Model
from scaling_law.spec.parallel import ONE_DEVICE, Parallel
from scaling_law.spec.sharding import device_bytes
from scaling_law.units import format_bytes

# The system caches as much of a large corpus as it has room for; the estimate counts this much.
_MAPPED_BYTES = 64 * 2**20
_SHUFFLE_BYTES_PER_SEQ = 40  # five words of 8 bytes


@dataclass(frozen=True, kw_only=True)
class SlotFit:
    """How a size plan fits the memory of one slot.

    ``micro_seqs`` are the sequences of a micro-batch, None for the whole batch;
    ``gradient_checkpointing`` says whether activations are computed again in the backward pass;
    ``memory_bytes`` is the peak, the runtime included.
    """

    micro_seqs: int | None
    gradient_checkpointing: bool
    memory_bytes: int


def data_bytes(model: Model, train_tokens: int | None) -> int:
    """Estimate the bytes of the tokens mapped from disk and of an epoch's shuffle."""
    tokens = train_tokens or 0
    width = 2 if model.vocab_size <= 2**16 else 4
    mapped = min(tokens * width, _MAPPED_BYTES)
    return mapped + tokens // model.n_ctx * _SHUFFLE_BYTES_PER_SEQ


def fit_slot(
    model: Model,
    batch_seqs: int,
    precision: str,
    *,
    parallel: Parallel = ONE_DEVICE,
    gradient_checkpointing: bool,
    fixed_bytes: int,
    slot_bytes: int,
) -> SlotFit | str:
    """Return the largest micro-batch that fits ``slot_bytes`` beside ``fixed_bytes``.

    ``batch_seqs`` are those of one device, ``slot_bytes`` its memory, and ``parallel`` the devices
    that train the model together.

    Where none fits, return the reason as text.

    Recomputing activations is tried last, unless ``gradient_checkpointing`` asks for it.
    """
    needed = 0
    for checkpointing in (True,) if gradient_checkpointing else (False, True):
        micro = batch_seqs
        while True:
            needed = fixed_bytes + device_bytes(model, micro, precision, checkpointing, parallel)
            if needed <= slot_bytes:
                return SlotFit(
                    micro_seqs=None if micro == batch_seqs else micro,
                    gradient_checkpointing=checkpointing,
                    memory_bytes=needed,
                )
            if micro == 1:
                break
            micro = (micro + 1) // 2
    each = f" on each of {parallel.devices} devices" if parallel.devices > 1 else ""
    return (
        f"needs {format_bytes(needed)}{each} even with one sequence at a time and gradient"
        f" checkpointing; a slot has {format_bytes(slot_bytes)}"
    )
