"""The processes that train one run together, one a device: their ranks, and what they agree on.

Each decides on its own what all can know (the batch, the learning rate, the points of the curve).
What only one can know (a signal, the clock, the disk) they agree on here, so that all take the same
steps and call each other in the same order.
"""

from __future__ import annotations

import contextlib
import datetime
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist

from scaling_law.errors import DeviceError
from scaling_law.units import count_of


@dataclass(frozen=True, kw_only=True)
class Group:
    """The processes of one run, as one of them sees it.

    ``rank`` is its own number, from 0;
    ``size`` is how many there are.
    """

    rank: int = 0
    size: int = 1

    @property
    def is_first(self) -> bool:
        """Whether this is the process that writes the run's files."""
        return self.rank == 0

    def any(self, flag: bool) -> bool:
        """Whether ``flag`` is true in any process."""
        return flag if self.size == 1 else self.sum(float(flag)) > 0

    def sum(self, number: float) -> float:
        """The sum of every process's ``number``, the same bits in all."""
        if self.size == 1:
            return number
        total = torch.tensor(number, dtype=torch.float64)
        dist.all_reduce(total)
        return float(total)

    def of_first(self, value: Any) -> Any:
        """The first process's ``value``, of plain JSON values."""
        return value if self.size == 1 else self._of(0, value)

    def each(self, value: Any) -> list[Any]:
        """Every process's ``value``, of plain JSON values, by rank."""
        if self.size == 1:
            return [value]
        return [self._of(rank, value) for rank in range(self.size)]

    def _of(self, rank: int, value: Any) -> Any:
        content = json.dumps(value).encode() if rank == self.rank else b""
        length = torch.tensor(len(content))
        dist.broadcast(length, rank)
        sent = torch.empty(int(length), dtype=torch.uint8)
        if rank == self.rank:
            sent.copy_(torch.frombuffer(bytearray(content), dtype=torch.uint8))
        dist.broadcast(sent, rank)
        return json.loads(bytes(sent.tolist()))


ALONE = Group()


@contextlib.contextmanager
def joined(kind: str, patience_seconds: float) -> Iterator[Group]:
    """Join the group that ``torchrun`` started this process in; leave it when all is done.

    ``kind`` is the kind of device; a call that waits longer than ``patience_seconds`` for another
    process raises. Raises ``DeviceError`` where this process has no device of its own.
    """
    number = int(os.environ.get("LOCAL_RANK", "0"))
    if kind == "cuda":
        there = torch.cuda.device_count()
        if number >= there:
            wanted = count_of(int(os.environ["LOCAL_WORLD_SIZE"]), "GPU")
            raise DeviceError(f"{wanted} asked for on one machine, torch sees {there} there")
        torch.cuda.set_device(number)
    dist.init_process_group(
        "cpu:gloo,cuda:nccl" if kind == "cuda" else "gloo",
        timeout=datetime.timedelta(seconds=patience_seconds),
    )
    yield Group(rank=dist.get_rank(), size=dist.get_world_size())
    # after an error the others may be gone: then the process ends without waiting for them
    dist.destroy_process_group()


def is_broken(problem: BaseException) -> bool:
    """Whether ``problem`` says that another process of the group has ended or does not answer."""
    if isinstance(problem, dist.DistError):
        return True
    text = str(problem)
    # gloo raises a plain RuntimeError that names the file of its own code
    return isinstance(problem, RuntimeError) and any(word in text for word in ("gloo", "NCCL"))
