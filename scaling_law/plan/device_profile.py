"""What a device can do, measured once and cached, so that plans need no torch.

``train.device.calibrate`` measures; this module keeps and reads the result.
"""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import math
import os
import platform
import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from scaling_law.errors import ConfigError
from scaling_law.files import checksum, layout
from scaling_law.spec.counts import count_params, flops_per_token
from scaling_law.spec.run import Model, to_json
from scaling_law.units import format_count
from scaling_law.versions import PROFILE


@dataclass(frozen=True, kw_only=True)
class SpeedPoint:
    """One measured training step: ``params_matmul`` of the model and FLOP/s reached."""

    params_matmul: int
    flops_per_second: float


@dataclass(frozen=True, kw_only=True)
class DeviceProfile:
    """A device as measured.

    ``kind`` cuda, mps or cpu; ``slots`` runs at once (one single-thread worker per core on a
    CPU); ``memory_bytes`` for all slots together; ``precision`` and ``precision_reason`` as
    chosen by measuring; ``speed`` in that precision, rising in ``params_matmul``, and
    ``speed_fp32`` in fp32 where that is another; ``runtime_bytes`` a worker's footprint before
    any model.
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

    def at(self, precision: str) -> DeviceProfile:
        """The profile with the speed of ``precision``, where it was measured."""
        if precision != "fp32" or not self.speed_fp32:
            return self
        return dataclasses.replace(self, speed=self.speed_fp32)

    @cached_property
    def _speeds(self) -> list[tuple[float, float]]:
        return [(math.log(p.params_matmul), p.flops_per_second) for p in self.speed]

    @cached_property
    def _rates(self) -> dict[int, float]:
        return {}

    def flops_per_second(self, model: Model) -> float:
        """Training FLOP/s of one slot for ``model``: log-linear between the measured sizes."""
        params = count_params(model).matmul
        if params not in self._rates:  # a plan asks for the same few with every run
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
        """Estimated seconds of training on one slot."""
        return flops_per_token(model) * tokens / self.flops_per_second(model)


def shared_by(profile: DeviceProfile, slots: int | None) -> DeviceProfile:
    """``profile`` with ``slots`` runs at once; None leaves it as it is.

    A plan divides the memory by the slots. Runs on one GPU are each thought to go at their share
    of its speed: small ones leave it idle and gain by company, how much is unmeasured. Raises
    ``ConfigError`` for more than a CPU's cores.
    """
    if slots is None or slots == profile.slots:
        return profile
    if profile.kind == "cpu":
        if slots > profile.slots:
            raise ConfigError(f"limits.slots: {slots}, this machine has {profile.slots} cores")
        return dataclasses.replace(profile, slots=slots)
    share = profile.slots / slots
    speed = tuple(
        dataclasses.replace(p, flops_per_second=p.flops_per_second * share) for p in profile.speed
    )
    return dataclasses.replace(profile, slots=slots, speed=speed)


def profile_path(requested: str) -> Path:
    """Where this host's profile of a device (``auto``, ``cuda``, ``mps``, ``cpu``) is cached."""
    # a home folder may be shared by the hosts of a cluster
    host = re.sub(r"[^A-Za-z0-9.-]", "_", platform.node()) or "host"
    return layout.cache_dir() / f"device-{host}-{requested}.json"


def save_profile(profile: DeviceProfile, requested: str) -> None:
    """Cache ``profile`` under its kind and under what was ``requested`` (``auto``, say)."""
    for name in {profile.kind, requested}:
        checksum.write(profile_path(name), PROFILE.stamp(to_json(profile)))


def profile_from_json(data: dict[str, Any]) -> DeviceProfile:
    """The inverse of ``to_json``. Raises ``KeyError``/``TypeError`` on another shape."""
    fields = {key: value for key, value in data.items() if key != "schema_version"}
    for name in ("speed", "speed_fp32"):
        fields[name] = tuple(SpeedPoint(**point) for point in fields[name])
    return DeviceProfile(**fields)


def load_profile(requested: str) -> DeviceProfile | None:
    """The cached profile, or None when there is none that this version can read."""
    path = profile_path(requested)
    if not path.is_file():
        return None
    try:
        data = checksum.read(path, "it is measured again")
        PROFILE.check(data.get("schema_version"))
        return profile_from_json(data)
    except (ConfigError, KeyError, TypeError, ValueError, AttributeError):
        return None  # a cache: measured again rather than mourned


def format_profiles() -> str:
    """Every calibration of this host, with where it is kept; how to make one if there is none."""
    lines = []
    for requested in ("cuda", "mps", "cpu"):
        profile = load_profile(requested)
        if profile is None:
            continue
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
            f"  kept in {profile_path(requested)}; delete it to measure again",
        ]
    return "\n".join(lines) or "this machine: not measured yet; the first `slaw plan` does it"


def _speed_words(points: tuple[SpeedPoint, ...]) -> str:
    return ", ".join(
        f"{p.flops_per_second / 1e9:.3g} at {format_count(p.params_matmul)}" for p in points
    )


def usable_cores() -> int:
    """Cores this process may run on, honouring an affinity mask."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def available_memory_bytes() -> int:
    """Memory that programs may still take now; all of it where only that is known."""
    with contextlib.suppress(OSError), Path("/proc/meminfo").open() as lines:
        for line in lines:
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    return int(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))


def refreshed(profile: DeviceProfile) -> DeviceProfile:
    """``profile`` with what may have changed since it was measured: cores and free memory."""
    if profile.kind == "cuda":
        return profile  # the card's memory is asked of torch, at calibration
    slots = usable_cores() if profile.kind == "cpu" else profile.slots
    return dataclasses.replace(profile, slots=slots, memory_bytes=available_memory_bytes())
