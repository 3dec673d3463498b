"""A small real sweep in this process: text, plan, and runs trained inline."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from scaling_law.config.sweep_config import SweepConfig
from scaling_law.files.layout import RunDir, SweepDir
from scaling_law.files.record import RunRecord, load_records, read_curve
from scaling_law.plan.make import make_plan
from scaling_law.plan.plan import Plan
from scaling_law.plan.stacking import with_stacks
from scaling_law.run import worker
from scaling_law.run.pinned import keep_plan
from scaling_law.run.runner import Runner, SweepOutcome
from tests.fakes import config_of, cpu_profile, pinned_text
from tests.inline_engine import InlineExecutor

CONFIG = """
name: small
data: {{corpus: {text}, tokenizer: bytes, vocab_size: 257, val_fraction: 0.2, max_epochs: 50}}
model: {{n_ctx: 16}}
grid:
  - sizes: [{{n_layer: 1, d_model: 8, n_head: 2}}]
    tokens: [1k, 2k]
optim: {{rule: slaw_small, lr: 0.01, batch_tokens: 32}}
eval: {{val_tokens: 128, curve_tokens: 64, curve_points: 4}}
precision: fp32
stacking: off
{more}
"""
# fields of a record that depend on time or machine
_CLOCK = (
    "seconds",
    "tokens_per_second",
    "peak_memory_bytes",
    "finished_at",
    "git_commit",
    "environment",
)


def write_text(folder: Path) -> Path:
    """Sixty small documents."""
    folder.mkdir(parents=True, exist_ok=True)
    for index in range(60):
        words = " ".join(f"w{(index * 7 + k * k) % 97} is {k % 13}." for k in range(40))
        (folder / f"{index}.txt").write_text(words)
    return folder


@dataclasses.dataclass
class Sweep:
    """A sweep folder and its plan."""

    config: SweepConfig
    plan: Plan
    dir: SweepDir

    def run(self, executor: InlineExecutor | None = None) -> SweepOutcome:
        """Resume it as ``slaw run`` does."""
        worker._open_data.cache_clear()
        pinned_text(self.config, self.dir, lambda line: None)
        return Runner(self.plan, self.dir, executor or InlineExecutor(self.dir)).run()

    @property
    def trunk(self) -> RunDir:
        """The first trunk's folder."""
        return self.dir.run(next(r.run_id for r in self.plan.runs if r.spec.kind == "trunk"))

    @property
    def branches(self) -> list[RunDir]:
        """The branches' folders, shortest first."""
        return [self.dir.run(r.run_id) for r in self.plan.runs if r.spec.branch]


def begin_sweep(folder: Path, text: Path, more: str = "", config_text: str = CONFIG) -> Sweep:
    """A sweep, of one trunk and two branches by default, planned and its text prepared."""
    config = config_of(config_text.format(text=text, more=more))
    plan = make_plan(config, cpu_profile(), train_tokens=None)
    if config.stacking == "auto":
        plan = with_stacks(plan)
    sweep = SweepDir(folder)
    folder.mkdir(parents=True, exist_ok=True)
    pinned_text(config, sweep, lambda line: None)
    keep_plan(plan, config, sweep)
    return Sweep(config, plan, sweep)


def without_clock(record: RunRecord) -> RunRecord:
    """The record without the fields that depend on time or machine."""
    blank = dict.fromkeys(_CLOCK)
    return dataclasses.replace(record, **blank)  # type: ignore[arg-type]


def results(sweep: SweepDir) -> dict[str, tuple[RunRecord, list[Any]]]:
    """Every record and curve without times; these must not change at all."""
    return {
        r.run_id: (
            without_clock(r),
            [dataclasses.replace(p, seconds=0.0) for p in read_curve(sweep.run(r.run_id), r)],
        )
        for r in load_records(sweep)
    }
