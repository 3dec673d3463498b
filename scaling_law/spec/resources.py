"""Specify how a run is executed: device, threads, micro-batch, checkpoints.

Resources change the speed of a run and at most the last bits of its losses. They are recorded but
are not part of its identity.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from scaling_law.decode import build, build_shared
from scaling_law.spec.fields import OMIT_EMPTY
from scaling_law.spec.kernels import Kernels, kernels_from_json
from scaling_law.spec.parallel import ONE_DEVICE, Parallel
from scaling_law.spec.run import RunSpec
from scaling_law.versions import RESOURCES


@dataclass(frozen=True, kw_only=True)
class Resources:
    """How a run is executed; recorded, never part of its identity.

    ``save_steps``: the steps whose state is saved for branches.
    ``micro_seqs``: the micro-batch in sequences; None for the whole batch, halved when memory runs
    out.
    ``precision_reason``: why the spec's precision is chosen.
    ``checkpoint_every_seconds``, ``checkpoint_every_steps``: a state is written this often.
    ``keep_checkpoints``: of the states that no branch needs, the newest so many stay.
    ``stack``: runs of one stack train in step by one program (``train.stack``), whose rounding
    differs from that of a single run; None for a run that trains alone.
    ``keep_weights``: whether the final weights are saved in the run's folder.
    ``compiled``: whether the training loss goes through torch.compile.
    ``kernels``: the operators of the step on a CPU, as measured; None for those that the thresholds
    of ``train.kernels`` choose.
    ``resume_on``: the devices that the run resumes on instead of its spec's, after which its bits
    are others; None for those of the spec.
    ``silent_seconds``: a user's own command that neither prints nor writes a point for so long is
    ended; None waits for ever.
    """

    device: str = "cpu"
    threads: int = 1
    micro_seqs: int | None = None
    gradient_checkpointing: bool = False
    checkpoint_every_seconds: float = 60.0
    checkpoint_every_steps: int | None = None
    keep_checkpoints: int = 2
    precision_reason: str = ""
    save_steps: tuple[int, ...] = ()
    stack: str | None = None
    keep_weights: bool = False
    compiled: bool = False
    kernels: Kernels | None = field(default=None, metadata=OMIT_EMPTY)
    resume_on: Parallel | None = field(default=None, metadata=OMIT_EMPTY)
    silent_seconds: float | None = field(default=None, metadata=OMIT_EMPTY)

    def devices_of(self, spec: RunSpec) -> Parallel:
        """The devices that train the run ``spec``."""
        return self.resume_on or spec.parallel or ONE_DEVICE


def resources_from_json(data: dict[str, Any]) -> Resources:
    """Build ``Resources`` from their JSON. Raises ``ValueError``."""
    fields = dict(data)
    RESOURCES.check(fields.pop("schema_version", 1))
    if "kernels" in fields:
        fields["kernels"] = kernels_from_json(fields["kernels"])
    if "resume_on" in fields:
        fields["resume_on"] = build(Parallel, fields["resume_on"])
    return build_shared(Resources, {**fields, "save_steps": tuple(fields.get("save_steps", ()))})
