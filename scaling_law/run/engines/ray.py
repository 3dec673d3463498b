"""Runs as tasks of a Ray cluster (Ray Core, the extra ``ray``), handed out from this process."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

from scaling_law.console import Say
from scaling_law.files.layout import SweepDir
from scaling_law.plan.device_profile import DeviceProfile
from scaling_law.plan.steps import JointShape
from scaling_law.run.engines import EnginePart, Executor, Queue, Workplace
from scaling_law.spec.values import Number, Text


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Which cluster trains, and how many runs at once.

    ``address`` is that of its head node, as ``ray start`` prints it; "" for ``$RAY_ADDRESS``, else
    the cluster that runs on this machine;
    ``start`` starts a cluster on this machine instead, which ends with the ``slaw run``;
    ``concurrent`` is how many runs are handed out at once, for a cluster that grows on demand;
    None for as many as the nodes have room for.
    """

    address: Annotated[str, Text("address of the head node, such as 10.0.0.1:6379")] = ""
    start: bool = False
    concurrent: Annotated[
        int | None, Number("runs at once; as many as the nodes have room for", low=1, high=100_000)
    ] = None

    def __post_init__(self) -> None:
        if self.start and self.address:
            raise ValueError(
                f"start: true starts a cluster, and address: {self.address!r:.60} names one; leave"
                " one of them out"
            )
        if self.address and (why := address_problem(self.address)):
            raise ValueError(f"address: {why}")


def address_problem(address: str) -> str:
    """Say why this is no address of a cluster that Ray attaches to, "" where it is one."""
    host, _, port = address.rpartition(":")
    if address == "auto" or ("://" not in address and host and port.isdecimal()):
        return ""
    remedy = "run slaw on a node of the cluster" if "://" in address else "add the port"
    return (
        f"{address!r:.60}: expected host and port of a head node, such as 10.0.0.1:6379, as"
        f" `ray start --head` prints them; {remedy}"
    )


def _start(settings: Settings, workplace: Workplace) -> Executor:
    from scaling_law.run.engines._ray_executor import RayExecutor

    return RayExecutor(settings, workplace)


def _profile(settings: Settings, device: str, say: Say) -> DeviceProfile:
    from scaling_law.run.engines._ray_nodes import profile

    return profile(settings, device, say)


def _joint_profile(
    settings: Settings, device: str, known: DeviceProfile, shapes: Sequence[JointShape], say: Say
) -> DeviceProfile:
    from scaling_law.run.engines._ray_nodes import joint_profile

    return joint_profile(settings, device, known, shapes, say)


def environment() -> dict[str, str]:
    """The machine and the node of this worker."""
    from scaling_law.run.engines._ray_node import host_name, node_id

    return {"host": host_name(), "ray_node": node_id()}


def _queue(sweep: SweepDir) -> Queue:
    from scaling_law.run.engines._ray_files import queue

    return queue(sweep)


ENGINE = EnginePart(
    start=_start,
    profile=_profile,
    environment=environment,
    measure_joint_steps=_joint_profile,
    settings=Settings,
    own_devices=True,
    slot_is_device=True,
    shares_gpus=True,
    queue=_queue,
)
