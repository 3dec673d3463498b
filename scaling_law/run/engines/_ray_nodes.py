"""Knows the nodes of a Ray cluster that will train: how many there are, and their speed."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from scaling_law.console import Say
from scaling_law.errors import DeviceError, EngineError
from scaling_law.parts import NoSettings
from scaling_law.plan.device_profile import (
    DeviceProfile,
    load_profile,
    profile_from_json,
    save_profile,
)
from scaling_law.plan.steps import JointShape, JointStep, joint_step_from_json
from scaling_law.run.engines import _joint_steps, installed_torch, local, worker_variables
from scaling_law.run.engines._ray_client import Connection, require
from scaling_law.run.engines._ray_executor import carried, places
from scaling_law.spec.to_json import to_json

if TYPE_CHECKING:
    from scaling_law.run.engines.ray import Settings

# A measurement takes about 20 seconds, and may have to wait for a place.
_MEASURE_SECONDS = 1800.0
_GIB = 2**30


def profile(settings: Settings, device: str, say: Say) -> DeviceProfile:
    """The device of a node of the kind that will train: cached, or measured there by a task now.

    Raises ``DeviceError`` for a device that no node has, and ``EngineError`` when it cannot be
    measured.
    """
    require()
    if settings.start:
        measured = local.profile(NoSettings(), device, say)
        largest = measured.slots if measured.kind == "cpu" else measured.devices
        return _at_once(measured, measured.slots, largest, settings)
    connection = Connection(settings, None, None)
    try:
        connection.heard()
        nodes = connection.nodes
        on_gpus = _on_gpus(device, nodes)
        chosen = _chosen(nodes, on_gpus)
        kind = _kind(chosen[0], on_gpus)
        known = load_profile(device, kind)
        if known is None or known.torch_version != installed_torch(known.torch_version):
            known = _measured(connection, device, chosen, on_gpus, say)
            save_profile(known, device, kind)
    finally:
        connection.close()
    largest = max(places([node], on_gpus) for node in nodes)
    return _at_once(known, places(nodes, on_gpus), largest, settings)


def joint_profile(
    settings: Settings, device: str, known: DeviceProfile, shapes: Sequence[JointShape], say: Say
) -> DeviceProfile:
    """``known`` with steps of several devices measured by a task, which has the devices of a run.

    Where that is not possible the plan assumes ideal scaling; a line says so.
    """
    if settings.start:
        return local.measure_joint_steps(NoSettings(), device, known, shapes, say)
    missing = _joint_steps.missing_of(known, shapes)
    if not missing:
        return known
    say(_joint_steps.announced(missing))
    devices = missing[0].parallel.devices  # all runs of a sweep have the same
    connection = Connection(settings, None, None)
    try:
        connection.heard()
        nodes, on_gpus = connection.nodes, _on_gpus(device, connection.nodes)
        wide = [node for node in nodes if places([node], on_gpus) >= devices]
        steps, why = _together(connection, missing, wide, on_gpus)
    finally:
        connection.close()
    _joint_steps.say_results(steps, why, say)
    kind = _kind(_chosen(nodes, on_gpus)[0], on_gpus)
    cached = load_profile(device, kind)
    if steps and cached is not None:
        save_profile(_joint_steps.with_steps(cached, steps), device, kind)
    return _joint_steps.with_steps(known, steps)


def _together(
    connection: Connection,
    shapes: Sequence[JointShape],
    nodes: Sequence[dict[str, Any]],
    on_gpus: bool,
) -> tuple[list[JointStep], str]:
    """The steps of ``shapes`` on one of ``nodes``, and why not all could be measured."""
    devices = shapes[0].parallel.devices
    if not nodes:
        return [], f"no node with {devices} devices is there now"
    own = _largest_kind(nodes, on_gpus)
    connection.send(
        do="together", shapes=json.dumps([to_json(shape) for shape in shapes]),
        nodes=[node["id"] for node in own], cpus=devices, gpus=float(devices) if on_gpus else 0.0,
        variables={**worker_variables(), **carried()},
    )  # fmt: skip
    answer = connection.wait_for("together", _MEASURE_SECONDS)
    if "error" in answer:
        return [], f"on {own[0]['host']} of the Ray cluster: {answer['error']}"
    return [joint_step_from_json(step) for step in answer["steps"]], answer["why"]


def _at_once(
    one: DeviceProfile, there: int, largest: int | None, settings: Settings
) -> DeviceProfile:
    """Return the profile of as many runs as are handed out at once.

    ``there`` are the places, and ``largest`` those of the largest node. A cluster that grows on
    demand (``concurrent``) may get larger nodes than it has now.
    """
    slots = settings.concurrent or there
    if settings.start:
        slots = min(slots, there)
    memory = one.memory_bytes // one.slots * slots
    devices = None if settings.concurrent else largest
    return dataclasses.replace(one, slots=slots, memory_bytes=memory, devices=devices)


def _on_gpus(device: str, nodes: Sequence[dict[str, Any]]) -> bool:
    """Whether runs train on GPUs. Raises ``DeviceError`` for a device that no node has."""
    has_gpus = places(nodes, True) > 0
    if device == "mps" or (device == "cuda" and not has_gpus):
        raise DeviceError(f"device {device}: no node of the Ray cluster has one")
    on_gpus = has_gpus and device != "cpu"
    if not places(nodes, on_gpus):
        raise EngineError("engine ray: no node of the cluster has a CPU for runs")
    return on_gpus


def _kind(node: dict[str, Any], on_gpus: bool) -> str:
    """A name for nodes like this one, for the cache."""
    has = [node["cpus"], node["gpus"], round(node["memory_bytes"] / _GIB), node["accelerators"]]
    digest = hashlib.sha256(json.dumps([*has, on_gpus]).encode()).hexdigest()[:12]
    return f"ray-{digest}"


def _chosen(nodes: Sequence[dict[str, Any]], on_gpus: bool) -> list[dict[str, Any]]:
    """The nodes whose profile stands for the cluster."""
    return _largest_kind([node for node in nodes if not on_gpus or node["gpus"]], on_gpus)


def _largest_kind(nodes: Sequence[dict[str, Any]], on_gpus: bool) -> list[dict[str, Any]]:
    """The nodes of the kind that has the most room."""
    kinds: dict[str, list[dict[str, Any]]] = {}
    for node in nodes:
        kinds.setdefault(_kind(node, on_gpus), []).append(node)
    return max(kinds.values(), key=lambda own: places(own, on_gpus))


def _measured(
    connection: Connection,
    device: str,
    nodes: Sequence[dict[str, Any]],
    on_gpus: bool,
    say: Say,
) -> DeviceProfile:
    """Measure ``device`` on one of ``nodes``; slots and memory are those of one run."""
    say(f"measuring a node of the Ray cluster once ({nodes[0]['host']})")
    connection.send(
        do="profile", device=device, nodes=[node["id"] for node in nodes],
        gpus=1.0 if on_gpus else 0.0, variables={**worker_variables(), **carried()},
    )  # fmt: skip
    answer = connection.wait_for("profile", _MEASURE_SECONDS)
    if "error" in answer:
        problem = DeviceError if answer["kind"] == DeviceError.__name__ else EngineError
        raise problem(f"on {nodes[0]['host']} of the Ray cluster: {answer['error']}")
    measured = profile_from_json(answer["profile"])
    if measured.kind != "cpu":
        return dataclasses.replace(measured, slots=1)
    memory = nodes[0]["memory_bytes"] // max(nodes[0]["cpus"], 1)
    return dataclasses.replace(measured, slots=1, memory_bytes=memory or measured.memory_bytes)
