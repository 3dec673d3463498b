"""The names of a config's keys, for messages that say where a misplaced key belongs."""

from __future__ import annotations

import dataclasses
import functools
import typing

from scaling_law.config.schema import SweepFile
from scaling_law.config.slots import PART_SECTIONS


def sections() -> list[str]:
    """The keys at the top of a config."""
    return [*(field.name for field in dataclasses.fields(SweepFile)), *PART_SECTIONS]


@functools.cache
def config_keys() -> tuple[str, ...]:
    """Every key of a config, without those of parts' settings and of grid entries."""
    keys: list[str] = sections()
    for name, hint in typing.get_type_hints(SweepFile).items():
        if dataclasses.is_dataclass(hint):
            keys += [f"{name}.{field.name}" for field in dataclasses.fields(hint)]
    return tuple(keys)


# What other trainers call a key.
_CALLED_HERE = {
    "learning_rate": "optim.lr",
    "max_lr": "optim.lr",
    "batch_size": "optim.batch_tokens",
    "block_size": "model.n_ctx",
    "seq_len": "model.n_ctx",
    "warmup_iters": "optim.warmup_tokens",
    "dtype": "precision",
}


def key_called(word: str) -> str:
    """The key of a config that alone ends in ``word``, or that others call so; "" for none."""
    last = [key for key in config_keys() if key.split(".")[-1] == word]
    return last[0] if len(last) == 1 else _CALLED_HERE.get(word, "")
