"""Small exports as the programs write them, made by hand from their published formats."""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

NANOGPT = """\
Overriding: max_iters = 2000
tokens per iteration will be: 491,520
number of parameters: {params}
step 0: train loss 10.9000, val loss 10.9100
iter 0: loss 10.9001, time 32000.11ms, mfu -100.00%
iter 10: loss 9.9001, time 320.11ms, mfu 38.10%
step 1000: train loss 4.1000, val loss 4.2000
step 2000: train loss 3.9000, val loss {loss}
"""
NANOCHAT = """\
Vocab size: 65,536
Parameter counts:
wte                     : 50,331,648
lm_head                 : 50,331,648
transformer_matrices    : 84,934,656
total                   : 185,597,952
Estimated FLOPs per token: 7.945e+08
Calculated number of iterations from target data:param ratio: 2,000
Total number of training tokens: 1,048,576,000
Total batch size 524,288 => gradient accumulation steps: 1
Step 00000 | Validation bpb: 3.272311
step 00000/02000 (0.00%) | loss: 11.090355 | lrm: 0.03 | dt: 30123.11ms | tok/sec: 17,404 | bf16_mfu: 1.40 | epoch: 1 pq: 0 rg: 0 | total time: 0.00m
Step 01000 | Validation bpb: 1.012345
step 01999/02000 (99.95%) | loss: 3.010355 | lrm: 0.03 | dt: 301.11ms | tok/sec: 1,741,184 | bf16_mfu: 44.10 | epoch: 1 pq: 9 rg: 0 | total time: 9.91m | eta: 0.0m
Step 02000 | Validation bpb: 0.912345
Step 02000 | CORE metric: 0.1234
"""  # noqa: E501


def varint(value: int) -> bytes:
    out = b""
    while value > 0x7F:
        out += bytes([value & 0x7F | 0x80])
        value >>= 7
    return out + bytes([value])


def field(number: int, value: int | bytes | str) -> bytes:
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    content = value.encode() if isinstance(value, str) else value
    return varint(number << 3 | 2) + varint(len(content)) + content


def _items(number: int, values: Mapping[str, Any]) -> bytes:
    return b"".join(
        field(number, field(1, key) + field(16, json.dumps(value))) for key, value in values.items()
    )


def wandb_log(
    run_id: str,
    name: str,
    config: Mapping[str, Any],
    history: Sequence[Mapping[str, Any]],
    exit_code: int | None = 0,
) -> bytes:
    """A log of Weights & Biases: blocks of records, as ``wandb_internal.proto`` has them."""
    records = [field(17, field(1, run_id) + field(8, name) + field(4, _items(1, config)))]
    records += [field(2, _items(1, row)) for row in history]
    if exit_code is not None:
        records.append(field(18, field(1, exit_code)))
    log = b":W&B" + struct.pack("<HB", 0xBEE1, 0)
    for record in records:
        kind, rest = 1, record
        while True:
            room = 32768 - len(log) % 32768
            if room < 7:
                log += bytes(room)
                continue
            part, rest = rest[: room - 7], rest[room - 7 :]
            last = not rest
            kind = {(1, True): 1, (1, False): 2, (3, True): 4, (3, False): 3}[kind, last]
            log += struct.pack("<IHB", 0, len(part), kind) + part
            kind = 3
            if last:
                break
    return log


def wandb_folder(
    place: Path,
    run_id: str,
    *,
    name: str = "",
    config: Mapping[str, Any] | None = None,
    summary: Mapping[str, Any] | None = None,
    log: bytes | None = None,
    time: str = "20261130_120000",
) -> Path:
    """A run's folder as ``wandb offline`` leaves it."""
    folder = place / "wandb" / f"offline-run-{time}-{run_id}"
    (folder / "files").mkdir(parents=True)
    (folder / "files" / "wandb-metadata.json").write_text('{"os": "Linux"}')
    if config is not None:
        text = "wandb_version: 1\n\n_wandb:\n  desc: null\n  value:\n    python_version: 3.11\n"
        for key, value in config.items():
            text += f"{key}:\n  desc: null\n  value: {json.dumps(value)}\n"
        (folder / "files" / "config.yaml").write_text(text)
    if summary is not None:
        (folder / "files" / "wandb-summary.json").write_text(json.dumps(summary))
    if log is not None:
        (folder / f"run-{run_id}.wandb").write_bytes(log)
    return folder


def event_file(scalars: Sequence[tuple[int, str, float]]) -> bytes:
    """An event file of TensorBoard: records of ``Event`` messages, with checksums of zero."""
    events = [field(3, "brain.Event:2")]
    for step, tag, value in scalars:
        number = varint(2 << 3 | 5) + struct.pack("<f", value)
        events.append(field(2, step) + field(5, field(1, field(1, tag) + number)))
    return b"".join(struct.pack("<Q", len(e)) + bytes(4) + e + bytes(4) for e in events)
