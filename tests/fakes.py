"""Small stand-ins shared by the tests."""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np

from scaling_law.config.load import load_config
from scaling_law.config.sweep_config import SweepConfig
from scaling_law.data.text import TextDataset
from scaling_law.experiment import Experiment
from scaling_law.experiment.evidence import Run
from scaling_law.files.layout import SweepDir
from scaling_law.files.record import RunRecord, write_record
from scaling_law.fit.laws import load_law
from scaling_law.plan.device_profile import DeviceProfile, SpeedPoint
from scaling_law.plan.make import make_plan
from scaling_law.plan.plan import Plan
from scaling_law.run.pins import pinned_datasets
from scaling_law.spec.counts import count_params, train_flops
from scaling_law.spec.data import DataSpec
from scaling_law.spec.model import ModelSpec
from scaling_law.spec.optim import OptimSpec
from scaling_law.spec.run import EvalSpec, RunSpec
from scaling_law.spec.schedule import ScheduleSpec


def write_text(folder: Path, words: int = 80) -> Path:
    """60 small files of regular text, a few kilobytes in all; returns ``folder``."""
    folder.mkdir(parents=True, exist_ok=True)
    for index in range(60):
        lines = " ".join(f"w{(index * 7 + k * k) % 97} is {k % 13}." for k in range(words))
        (folder / f"{index}.txt").write_text(lines)
    return folder


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


def config_of(text: str, *overrides: str) -> SweepConfig:
    """A config from its YAML, as it applies to a CPU; ``overrides`` as for ``--set``."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "fake.yaml"
        path.write_text(text)
        return load_config(path, overrides=overrides, device_kind="cpu")


ONE_SIZE = """
name: test
data: {corpus: installed, tokenizer: bytes, vocab_size: 257}
model: {n_ctx: 64}
grid:
  - sizes: [nano14k]
    tokens: [500K, 1M]
"""


def plan_of(text: str, *overrides: str) -> Plan:
    """The plan of a config on a CPU, where nothing is known of its data."""
    return make_plan(config_of(text, *overrides), cpu_profile(), train_tokens=None)


def on_disk(saved: dict[str, Any]) -> Callable[[str], Any]:
    """For ``Plan.ready``: the steps whose states trunks have, by run id."""
    return lambda trunk_id: saved.get(trunk_id, ())


def text_spec(config: SweepConfig) -> DataSpec:
    """The text of a config that has one."""
    spec = config.data_spec
    assert isinstance(spec, DataSpec)
    return spec


def pinned_text(config: SweepConfig, sweep: SweepDir, say: Callable[[str], None]) -> TextDataset:
    """The text that a sweep's folder pins, prepared and pinned on the first call."""
    spec = text_spec(config)
    dataset = pinned_datasets([spec], sweep, say)[spec]
    assert isinstance(dataset, TextDataset)
    return dataset


def small_config() -> SweepConfig:
    """Two sizes, three horizons each, from one trunk a size."""
    return config_of("""
name: small
data: {corpus: installed, tokenizer: bytes, vocab_size: 257}
model: {n_ctx: 16}
grid:
  - sizes: [{n_layer: 1, d_model: 16, n_head: 2}, {n_layer: 2, d_model: 16, n_head: 2}]
    tokens: [2k, 4k, 8k]
optim: {rule: slaw_small, lr: 0.01, batch_tokens: 64}
eval: {val_tokens: 512, curve_tokens: 256, curve_points: 8}
precision: fp32
limits: {time: 1h}
""")


def ladder_config(*overrides: str) -> SweepConfig:
    """The quick sweep's shape: six sizes, four horizons in equal-compute cells, three seeds."""
    return config_of(
        """
name: ladder
data: {corpus: installed, tokenizer: bpe, vocab_size: 1024}
model: {n_ctx: 64}
grid:
  - sizes: [nano14k, nano25k, nano55k, nano98k, nano220k, nano440k]
    flops_ladder: {base_flops: 1.09e11, ratio: 2, count: 4, tokens_near: 500K}
    seeds: {nano55k: [0, 1, 2]}
optim: {rule: slaw_small, batch_tokens: 512}
precision: fp32
limits: {time: 2h}
""",
        *overrides,
    )


def record_of(spec: RunSpec, *, status: str = "done", loss_nats: float = 4.0) -> RunRecord:
    """The record of a run that ended with ``loss_nats``."""
    params = count_params(spec.model)
    return RunRecord(
        run_id=spec.run_id,
        spec=spec,
        status=status,
        kind=spec.kind,
        params_total=params.total,
        params_non_embedding=params.non_embedding,
        params_matmul=params.matmul,
        tokens=spec.tokens,
        tokens_unique=spec.tokens,
        flops_exact=train_flops(spec.model, spec.tokens),
        flops_6nd=6.0 * params.total * spec.tokens,
        flops_spent=train_flops(spec.model, spec.tokens - spec.start_step * spec.batch_tokens),
        val_loss_nats=loss_nats if status == "done" else None,
        val_loss_sem_nats=0.01 if status == "done" else None,
        val_bits_per_byte=2.0 if status == "done" else None,
        seconds=1.0,
        tokens_per_second=1000.0,
        peak_memory_bytes=10**8,
        device="cpu: a fake CPU",
        precision_reason="asked for",
        threads=1,
        micro_seqs=spec.batch_seqs,
        corpus_fingerprint="0123456789abcdef",
        versions={"torch": "0"},
        git_commit=None,
        finished_at="2026-01-01T00:00:00+00:00",
    )


SEED_NOISE = 1e-4
"""Deviation, as a share of the value, of what every planted run measures: seeds never agree."""


def planted_runs(experiment: Experiment, specs: Iterable[RunSpec]) -> tuple[Run, ...]:
    """The runs that an experiment plants, as its analysis sees them: each with some noise."""
    runs = []
    for spec in specs:
        outcome = experiment.planted.outcome(spec)
        noise = Noise(spec.run_id)
        record = dataclasses.replace(
            record_of(spec),
            val_loss_nats=noise.on(outcome.val_loss_nats),
            val_bits_per_byte=noise.on(outcome.val_bits_per_byte),
            metrics={name: noise.on(value) for name, value in outcome.metrics.items()},
        )
        curve = tuple(
            dataclasses.replace(
                point,
                train_loss_nats=noise.on(point.train_loss_nats),
                val_loss_nats=point.val_loss_nats and noise.on(point.val_loss_nats),
                metrics={name: noise.on(value) for name, value in point.metrics.items()},
            )
            for point in outcome.curve
        )
        runs.append(Run(record=record, curve=curve))
    return tuple(runs)


class Noise:
    """The noise of a planted run, which its id fixes."""

    def __init__(self, run_id: str) -> None:
        self._generator = np.random.default_rng(list(run_id.encode()))

    def on(self, value: float) -> float:
        """The value with noise; whole numbers, which count something, are exact."""
        if value == int(value):
            return value
        return value * (1 + SEED_NOISE * float(self._generator.standard_normal()))


PLANTED = {"E": 1.8, "A": 60.0, "B": 200.0, "alpha": 0.34, "beta": 0.37}
"""Chinchilla's law behind ``planted_records``."""


def planted_records(noise: float = 0.002, config: SweepConfig | None = None) -> list[RunRecord]:
    """The quick grid's shape with losses on Chinchilla's surface (matmul parameters)."""
    plan = make_plan(config or ladder_config(), cpu_profile(), train_tokens=10**9)
    generator = np.random.default_rng(0)
    records = []
    for run in plan.runs:
        blank = record_of(run.spec)
        variables = {
            "params": np.array([blank.params_matmul]),
            "tokens": np.array([blank.tokens]),
        }
        loss = float(load_law("chinchilla").predict(PLANTED, variables)[0])
        loss *= float(np.exp(noise * generator.normal()))
        records.append(dataclasses.replace(blank, val_loss_nats=loss))
    return records


def planted_arms(text: str, is_better: Callable[[RunSpec], bool]) -> list[RunRecord]:
    """Planted runs of a config, of which the better are 3% nearer to the irreducible loss."""
    records = []
    for record in planted_records(0.002, config_of(text)):
        assert record.val_loss_nats is not None
        share = 0.97 if is_better(record.spec) else 1.0
        loss = PLANTED["E"] + share * (record.val_loss_nats - PLANTED["E"])
        records.append(dataclasses.replace(record, val_loss_nats=loss))
    return records


def planted_sweep(folder: Path) -> int:
    """Write a sweep of 198 planted records into ``folder``; returns how many."""
    config = config_of("""
name: large
data: {corpus: installed, tokenizer: bpe, vocab_size: 1024}
model: {n_ctx: 64}
grid:
  - sizes: [nano14k, nano25k, nano55k, nano98k, nano220k, nano440k, nano750k, nano1.8m]
    flops_ladder: {base_flops: 1.09e11, ratio: 2, count: 5, tokens_near: 500K}
    seeds: {nano14k: [0, 1, 2, 3], nano25k: [0, 1, 2, 3], nano55k: [0, 1, 2, 3, 4],
            nano98k: [0, 1, 2, 3], nano220k: [0, 1, 2, 3], nano440k: [0, 1, 2, 3],
            nano750k: [0, 1, 2, 3], nano1.8m: [0, 1, 2, 3]}
optim: {rule: slaw_small, batch_tokens: 512}
precision: fp32
limits: {time: 20h}
""")
    records = planted_records(0.003, config)
    for record in records:
        write_record(SweepDir(folder).run(record.run_id), record)
    return len(records)
