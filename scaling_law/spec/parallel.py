"""Specify the devices that train one run together, and how its state lies on them.

A stage is ZeRO's (Rajbhandari 2020, arXiv 1910.02054, figure 1): 0 has everything on every device,
1 splits the optimizer's state, 2 the gradients as well, 3 the weights too.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from scaling_law.spec.fields import at_least, of_axis, one_of
from scaling_law.spec.to_json import SpecPart

# Each kind is one file in ``train/parallel``, which trains at this stage.
STAGES: Mapping[str, int] = MappingProxyType({"ddp": 0, "fsdp": 3})
MOST_DEVICES = 100_000


@dataclass(frozen=True, kw_only=True)
class Parallel(SpecPart):
    """The devices of one run.

    Every device takes the same share of each batch, so the losses are those of one device but for
    rounding.

    ``kind``: how weights, gradients and the optimizer's state lie on the devices.
    ``devices``: how many there are.
    """

    kind: str = field(metadata=of_axis("label"))
    devices: int = field(metadata=of_axis("label"))

    def __post_init__(self) -> None:
        one_of("parallel.kind", self.kind, tuple(STAGES))
        at_least(1, devices=self.devices)

    @property
    def stage(self) -> int:
        """The stage of ZeRO."""
        return STAGES[self.kind]

    @property
    def shards(self) -> bool:
        """Whether a device holds only a part of the weights."""
        return self.stage == 3 and self.devices > 1

    def __str__(self) -> str:
        """``fsdp on 2 devices``."""
        return f"{self.kind} on {self.devices} device{'' if self.devices == 1 else 's'}"


ONE_DEVICE = Parallel(kind="ddp", devices=1)
