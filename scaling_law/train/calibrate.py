"""Measure a device's speed with real training steps; ``python -m`` prints its profile."""

from __future__ import annotations

import json
import statistics
import sys
import time
from collections.abc import Callable

import torch

from scaling_law.errors import DeviceError
from scaling_law.files.process import end_with
from scaling_law.plan.device_profile import DeviceProfile, SpeedPoint, usable_cores
from scaling_law.spec.counts import count_params, flops_per_token
from scaling_law.spec.model import ModelSpec
from scaling_law.spec.optim import OptimSpec
from scaling_law.spec.to_json import to_json
from scaling_law.train.architectures.gpt import GPT
from scaling_law.train.device import (
    autocast,
    choose_device,
    device_memory_bytes,
    device_name,
    peak_memory_bytes,
    prepare_process,
    synchronize,
)
from scaling_law.train.optim import make_optimizer

# (n_layer, d_model) measured by the calibration, smallest first
_CPU_SHAPES = ((2, 8), (2, 24), (2, 32), (2, 64), (2, 128), (4, 256), (6, 512))
_GPU_SHAPES = ((2, 128), (4, 256), (6, 512), (8, 768), (16, 1280))
# Below this gain a lower precision is not worth its rounding.
_WORTHWHILE_GAIN = 1.1


def _calibration_shape(n_layer: int, d_model: int, kind: str) -> ModelSpec:
    heads = max(1, d_model // 64) if d_model >= 64 else 2
    on_gpu = kind != "cpu"
    return ModelSpec(
        vocab_size=4096 if on_gpu else 1024,
        n_ctx=256 if on_gpu else 128,
        n_layer=n_layer,
        d_model=d_model,
        n_head=heads,
        n_kv_head=heads,
        d_ff=4 * d_model,
    )


def _step_seconds(model_spec: ModelSpec, kind: str, precision: str, budget: float) -> float:
    """Measure one training step of 8 sequences for about ``budget`` seconds; return the median.

    On a CPU these are processor seconds.
    """
    model = GPT(model_spec, seed=0).to(kind)
    optimizer = make_optimizer(model, OptimSpec(lr=1e-3, rule="calibration"), kind)
    generator = torch.Generator().manual_seed(0)
    shape = (8, model_spec.n_ctx + 1)
    ids = torch.randint(0, model_spec.vocab_size, shape, generator=generator).to(kind)
    context = autocast(kind, precision)
    # one thread's CPU seconds: other work on the machine must not change the measured speed
    clock = time.process_time if kind == "cpu" else time.perf_counter
    times: list[float] = []
    began = time.perf_counter()
    while len(times) < 4 or (time.perf_counter() - began < budget and len(times) < 60):
        start = clock()
        with context():
            loss = model.loss(ids[:, :-1], ids[:, 1:])
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        synchronize(kind)
        times.append(clock() - start)
    return statistics.median(times[2:])


def choose_precision(kind: str, requested: str = "auto") -> tuple[str, str]:
    """Return the precision and the reason: the requested one, or the faster as measured."""
    if requested != "auto":
        return requested, "asked for in the config"
    if kind == "cuda":
        if torch.cuda.is_bf16_supported(including_emulation=False):
            return "bf16", "this card multiplies bf16 in hardware; no loss scaling needed"
        if torch.cuda.get_device_capability() >= (7, 0):
            return "fp16", "this card has fp16 tensor cores but no bf16; loss is scaled"
        return "fp32", "this card has no 16-bit matrix units"
    if kind == "mps":
        return "fp32", "bf16 on MPS saves memory but is slower (nanochat #685)"
    model = _calibration_shape(2, 128, kind)
    # alternate, and take the best of each: another job must not decide the precision
    pairs = [[_step_seconds(model, kind, p, 0.3) for p in ("fp32", "bf16")] for _ in range(3)]
    full, half = (min(times) for times in zip(*pairs, strict=True))
    gain = full / half
    if gain > _WORTHWHILE_GAIN:
        return "bf16", f"measured {gain:.2f}x the speed of fp32 on this CPU"
    return "fp32", f"bf16 measured {gain:.2f}x the speed of fp32 on this CPU"


def calibrate(requested: str, say: Callable[[str], None] | None = None) -> DeviceProfile:
    """Measure the device with real training steps (some seconds). Raises ``DeviceError``."""
    kind = choose_device(requested)
    prepare_process(kind, threads=1)
    if say:
        say(f"calibrating {kind} ({device_name(kind)}) with a few training steps")
    smallest = _calibration_shape(*(_CPU_SHAPES if kind == "cpu" else _GPU_SHAPES)[0], kind)
    _step_seconds(smallest, kind, "fp32", 0.2)
    # torch is warm: kernels, thread pools and allocator have their memory
    footprint = peak_memory_bytes("cpu")
    precision, reason = choose_precision(kind)
    speed = _measured_speed(kind, precision)
    return DeviceProfile(
        kind=kind,
        name=device_name(kind),
        slots=usable_cores() if kind == "cpu" else 1,
        devices=torch.cuda.device_count() if kind == "cuda" else None,
        memory_bytes=device_memory_bytes(kind),
        precision=precision,
        precision_reason=reason,
        runtime_bytes=footprint,
        speed=speed,
        # a config may ask for fp32, which is faster for small models and slower for large ones
        speed_fp32=() if precision == "fp32" or kind != "cpu" else _measured_speed(kind, "fp32"),
        torch_version=torch.__version__,
    )


def _measured_speed(kind: str, precision: str) -> tuple[SpeedPoint, ...]:
    """Measure FLOP/s by size, smallest first, until a step takes long or does not fit."""
    speed: list[SpeedPoint] = []
    for n_layer, d_model in _CPU_SHAPES if kind == "cpu" else _GPU_SHAPES:
        model = _calibration_shape(n_layer, d_model, kind)
        try:
            seconds = _step_seconds(model, kind, precision, 1.0)
        except torch.OutOfMemoryError:
            break
        flops = flops_per_token(model) * 8 * model.n_ctx
        point = SpeedPoint(
            params_matmul=count_params(model).matmul, flops_per_second=flops / seconds
        )
        speed.append(point)
        if seconds > 2.0:
            break
    return tuple(speed)


def main(arguments: list[str]) -> int:
    """Measure a device and print its profile as JSON; exit code 2 where there is no such device.

    ``arguments`` are the device and, optionally, the pid of the process with which to end.
    """
    requested = arguments[0] if arguments else ""
    if len(arguments) > 1:
        end_with(int(arguments[1]))
    try:
        profile = calibrate(requested, say=lambda line: print(line, file=sys.stderr))
    except DeviceError as problem:
        print(problem, file=sys.stderr)
        return problem.exit_code
    print(json.dumps(to_json(profile)))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
