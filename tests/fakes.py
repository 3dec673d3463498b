"""Small stand-ins shared by the tests."""

from __future__ import annotations

from typing import Any

from scaling_law.profile import DeviceProfile, SpeedPoint
from scaling_law.spec import DataSpec, EvalSpec, ModelSpec, OptimSpec, RunSpec, ScheduleSpec


def tiny_model(**changes: Any) -> ModelSpec:
    """A model that takes a step in a millisecond."""
    shape: dict[str, Any] = {
        "vocab_size": 257,
        "n_ctx": 16,
        "n_layer": 1,
        "d_model": 16,
        "n_head": 2,
        "n_kv_head": 2,
        "d_ff": 32,
    }
    return ModelSpec(**{**shape, **changes})


def tiny_spec(**changes: Any) -> RunSpec:
    """A 40-step run of ``tiny_model``."""
    fields: dict[str, Any] = {
        "label": "tiny",
        "model": tiny_model(),
        "data": DataSpec(corpus="installed", tokenizer="bytes", vocab_size=257),
        "schedule": ScheduleSpec(warmup_steps=4, decay_steps=8),
        "optim": OptimSpec(lr=0.01, rule="test"),
        "eval": EvalSpec(val_tokens=512, curve_tokens=256, curve_points=8),
        "batch_tokens": 32,
        "total_steps": 40,
        "precision": "fp32",
        "seed": 0,
    }
    return RunSpec(**{**fields, **changes})


def cpu_profile(**changes: Any) -> DeviceProfile:
    """Two slots at 10 to 40 GFLOP/s in 8 GB."""
    fields: dict[str, Any] = {
        "kind": "cpu",
        "name": "a fake CPU",
        "slots": 2,
        "memory_bytes": 8 * 10**9,
        "precision": "fp32",
        "precision_reason": "measured fastest",
        "runtime_bytes": 300 * 10**6,
        "speed": (
            SpeedPoint(params_matmul=10**4, flops_per_second=1e10),
            SpeedPoint(params_matmul=10**6, flops_per_second=4e10),
        ),
    }
    return DeviceProfile(**{**fields, **changes})
