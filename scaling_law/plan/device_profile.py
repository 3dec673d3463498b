"""Save and read what a device can do, so that plans need no torch.

``train.calibrate`` measures the device once; this module caches the result.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
import os
import platform
import re
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from scaling_law.errors import ConfigError
from scaling_law.files import checksum, layout
from scaling_law.plan.steps import (
    JointShape,
    JointStep,
    MeasuredStep,
    StepShape,
    joint_step_from_json,
    step_from_json,
)
from scaling_law.spec.architectures import architecture_of
from scaling_law.spec.counts import count_params, flops_per_token, is_solved, train_flops
from scaling_law.spec.fields import OMIT_EMPTY
from scaling_law.spec.model import Model
from scaling_law.spec.run import EVAL_SEQS
from scaling_law.spec.to_json import to_json
from scaling_law.spec.work import Work
from scaling_law.units import format_count
from scaling_law.versions import PROFILE

_SMALLEST_STEP_TOKENS = 1024  # of the smallest step that the calibration measures
# Measured on two cores of an AMD EPYC, where that step takes 11 ms: a tiny GPT's forward pass takes
# 1.5 ms and its step 6.7 ms, a step of three small matrices 2 ms; drawing a token takes 10 us.
_FORWARD_FRAC = 1 / 4
_PLAIN_STEP_FRAC = 1 / 6
_DRAWN_TOKEN_FRAC = 1e-3


@dataclass(frozen=True, kw_only=True)
class SpeedPoint:
    """The speed of one measured training step.

    ``params_matmul`` are the model's parameters in matrix products;
    ``flops_per_second`` is the speed reached, in FLOP/s.
    """

    params_matmul: int
    flops_per_second: float


@dataclass(frozen=True, kw_only=True)
class DeviceProfile:
    """A device as measured.

    ``kind`` is cuda, mps or cpu;
    ``name`` is the device's own name;
    ``slots`` are the runs at once (on a CPU one single-thread worker a core);
    ``memory_bytes`` is the memory of all slots together;
    ``precision`` is the faster precision, as measured, and ``precision_reason`` says why;
    ``runtime_bytes`` is a worker's memory before it has a model;
    ``speed`` is the speed in ``precision``, rising in ``params_matmul``;
    ``torch_version`` is the version of torch that measured it, "" for unknown;
    ``speed_fp32`` is the speed in fp32, empty where ``precision`` is fp32;
    ``steps`` are the steps of planned runs that were measured since;
    ``joint_steps`` are those of runs on several devices;
    ``devices`` are the GPUs of the machine, None for a CPU and where they were not counted; of a
    Ray cluster they are the GPUs or CPUs of its largest node, of SLURM those of the largest job.
    """

    kind: str
    name: str
    slots: int
    memory_bytes: int
    precision: str
    precision_reason: str
    runtime_bytes: int
    speed: tuple[SpeedPoint, ...]
    torch_version: str = ""
    speed_fp32: tuple[SpeedPoint, ...] = ()
    steps: tuple[MeasuredStep, ...] = ()
    joint_steps: tuple[JointStep, ...] = ()
    devices: int | None = field(default=None, metadata=OMIT_EMPTY)

    def at(self, precision: str) -> DeviceProfile:
        """Return the profile with the speed of ``precision``, where it was measured."""
        if precision != "fp32" or not self.speed_fp32:
            return self
        return dataclasses.replace(self, speed=self.speed_fp32)

    @cached_property
    def step_of(self) -> dict[StepShape, MeasuredStep]:
        """The measured steps, by shape."""
        return {step.shape: step for step in self.steps}

    @cached_property
    def speedup_of(self) -> dict[JointShape, float]:
        """How much faster several devices are than one, as measured, by shape."""
        return {
            step.shape: min(step.speedup, float(step.shape.parallel.devices))
            for step in self.joint_steps
        }

    @cached_property
    def _speeds(self) -> list[tuple[float, float]]:
        return [(math.log(p.params_matmul), p.flops_per_second) for p in self.speed]

    @cached_property
    def _rates(self) -> dict[int, float]:
        return {}

    def flops_per_second(self, model: Model) -> float:
        """Return the training FLOP/s of one slot for ``model``.

        It is log-linear between the measured sizes.
        """
        params = count_params(model).matmul
        if params not in self._rates:  # every run of a plan asks for the same few
            self._rates[params] = self._rate(math.log(params))
        return self._rates[params]

    def _rate(self, size: float) -> float:
        points = self._speeds
        if size <= points[0][0]:
            return points[0][1]
        for (low, slow), (high, fast) in itertools.pairwise(points):
            if size <= high:
                return slow + (fast - slow) * (size - low) / (high - low)
        return points[-1][1]

    def seconds(self, model: Model, tokens: float) -> float:
        """Estimate the seconds of training ``tokens`` on one slot."""
        return train_flops(model, tokens) / self.flops_per_second(model)

    def training_seconds(self, model: Model, tokens: float, steps: int) -> float:
        """Estimate the seconds of training ``tokens`` in ``steps`` steps on one slot.

        In a step of a model smaller than those measured, starting its operations takes longer than
        its products.
        """
        dispatch = self._dispatch_frac(model)
        products = (1 - dispatch) * self.seconds(model, tokens)
        return products + steps * dispatch * self._smallest_step_seconds

    def forward_seconds(self, model: Model, tokens: float) -> float:
        """Estimate the seconds of forward passes, a third of a training step, over ``tokens``."""
        products = flops_per_token(model) * tokens / self.flops_per_second(model) / 3
        dispatch = self._dispatch_frac(model)
        passes = tokens / (EVAL_SEQS * model.n_ctx)
        starting = passes * _FORWARD_FRAC * dispatch * self._smallest_step_seconds
        return (1 - dispatch) * products + starting

    def work_seconds(self, model: Model, work: Work) -> float:
        """Estimate the seconds of what a probe has to do beside the evaluation."""
        fastest = max(point.flops_per_second for point in self.speed)
        dispatched = _PLAIN_STEP_FRAC * work.own_steps + _DRAWN_TOKEN_FRAC * work.drawn_tokens
        return (
            self.forward_seconds(model, work.read_tokens)
            + dispatched * self._smallest_step_seconds
            + work.own_flops / fastest
        )

    @cached_property
    def _smallest_step_seconds(self) -> float:
        """The seconds of the smallest step that was measured."""
        smallest = self.speed[0]
        return 6 * smallest.params_matmul * _SMALLEST_STEP_TOKENS / smallest.flops_per_second

    def _dispatch_frac(self, model: Model) -> float:
        """The time of starting a step's operations over that of the smallest measured step.

        0 for models of the measured sizes, whose speed includes it, and for those solved in closed
        form, which have no steps.
        """
        measured = count_params(model).matmul >= self.speed[0].params_matmul
        return 0.0 if measured or is_solved(model) else architecture_of(model).dispatch_frac


def shared_by(
    profile: DeviceProfile, slots: int | None, where: str = "limits.slots"
) -> DeviceProfile:
    """Return ``profile`` with ``slots`` runs at once; None leaves it as it is.

    ``where`` is the place of ``slots`` in the config, for the message.

    A plan divides the memory by the slots. Each run on a GPU is estimated at its share of the
    GPU's speed; small runs leave it partly idle and may go faster together, which is unmeasured.
    Raises ``ConfigError`` for more slots than a CPU has cores.
    """
    if slots is None or slots == profile.slots:
        return profile
    if profile.kind == "cpu":
        if slots > profile.slots:
            raise ConfigError(f"{where}: {slots}, this machine has {profile.slots} cores")
        return dataclasses.replace(profile, slots=slots)
    share = profile.slots / slots
    speed = tuple(
        dataclasses.replace(p, flops_per_second=p.flops_per_second * share) for p in profile.speed
    )
    return dataclasses.replace(profile, slots=slots, speed=speed)


def profile_path(requested: str, place: str | None = None) -> Path:
    """Return the cache path of the profile of ``requested`` (``auto``, ``cuda``, ``mps``, ``cpu``).

    ``place`` is the kind of machine that was measured; None is this host.
    """
    # the hosts of a cluster may share a home folder
    host = re.sub(r"[^A-Za-z0-9.-]", "_", place or platform.node()) or "host"
    return layout.cache_dir() / f"device-{host}-{requested}.json"


def save_profile(profile: DeviceProfile, requested: str, place: str | None = None) -> None:
    """Cache ``profile`` under its kind and under what was ``requested`` (``auto``, say)."""
    for name in {profile.kind, requested}:
        checksum.write(profile_path(name, place), PROFILE.stamp(to_json(profile)))


def profile_from_json(data: dict[str, Any]) -> DeviceProfile:
    """Build a profile from its JSON. Raises ``KeyError`` or ``TypeError`` for another shape."""
    fields = {key: value for key, value in data.items() if key != "schema_version"}
    for name in ("speed", "speed_fp32"):
        fields[name] = tuple(SpeedPoint(**point) for point in fields[name])
    fields["steps"] = tuple(step_from_json(step) for step in fields.get("steps", ()))
    fields["joint_steps"] = tuple(map(joint_step_from_json, fields.get("joint_steps", ())))
    return DeviceProfile(**fields)


def load_profile(requested: str, place: str | None = None) -> DeviceProfile | None:
    """Return the cached profile, or None where this version can read none."""
    try:
        path = profile_path(requested, place)
        if not layout.is_file(path):
            return None
        data = checksum.read(path, "it is measured again")
        PROFILE.check(data.get("schema_version"))
        return profile_from_json(data)
    except (ConfigError, KeyError, TypeError, ValueError, AttributeError):
        return None  # a cache that cannot be read is measured again


def saved_profiles() -> dict[str, DeviceProfile]:
    """Return this host's profiles by kind of device."""
    profiles = {kind: load_profile(kind) for kind in ("cuda", "mps", "cpu")}
    return {kind: profile for kind, profile in profiles.items() if profile is not None}


def format_profiles() -> str:
    """List this host's profiles with their files; without any, say how to measure one."""
    lines = []
    for requested, profile in saved_profiles().items():
        lines += [
            f"this machine: {profile.name} ({profile.kind}), {profile.slots} at once,"
            f" {profile.precision} ({profile.precision_reason})",
            *(
                f"  GFLOP/s of one slot in {precision}, by params (matmul): {_speed_words(points)}"
                for precision, points in (
                    (profile.precision, profile.speed),
                    ("fp32", profile.speed_fp32),
                )
                if points
            ),
            *(f"  step of {step}" for step in profile.steps),
            *(f"  step of {step}" for step in profile.joint_steps),
            f"  saved in {profile_path(requested)}; delete it to measure again",
        ]
    return "\n".join(lines) or "this machine: not measured yet; the first `slaw plan` does it"


def _speed_words(points: tuple[SpeedPoint, ...]) -> str:
    return ", ".join(
        f"{p.flops_per_second / 1e9:.3g} at {format_count(p.params_matmul)}" for p in points
    )


def usable_cores() -> int:
    """Return the cores that this process may run on, as its affinity mask says."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def available_memory_bytes() -> int:
    """Return the bytes of memory that programs may still take without swapping."""
    import psutil  # only plans ask

    return int(psutil.virtual_memory().available)


def refreshed(profile: DeviceProfile) -> DeviceProfile:
    """Return ``profile`` with what changes after it was measured: cores and free memory."""
    if profile.kind == "cuda":
        return profile  # calibration reads the GPU's memory from torch
    slots = usable_cores() if profile.kind == "cpu" else profile.slots
    return dataclasses.replace(profile, slots=slots, memory_bytes=available_memory_bytes())
