"""Hold everything of a run that changes while it trains, and restore an earlier state."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from scaling_law.files import record as records
from scaling_law.files.layout import RunDir
from scaling_law.files.record import CurvePoint
from scaling_law.train import checkpoint
from scaling_law.train.forward import Trainable
from scaling_law.train.measure import Meter
from scaling_law.train.parallel import Spread
from scaling_law.train.spikes import SpikeDetector, cloned
from scaling_law.train.weighing import Weighing
from scaling_law.train.writer import Writer


@dataclass(kw_only=True)
class State:
    """Everything that changes while training.

    ``model`` holds the weights;
    ``trainable`` is the model with its objective;
    ``meter`` measures it between steps;
    ``optimizer`` holds the moments;
    ``scaler`` holds fp16's loss scale;
    ``micro_seqs`` is the number of examples in one forward and backward pass;
    ``guard`` watches for loss spikes where the spec asks for it;
    ``weighing`` weighs the targets of each batch where the objective does;
    ``writer`` puts states on the disk;
    ``spread`` trains the model on this device, alone or with others;
    ``curve`` holds the points so far, as the file has them;
    ``step`` is the number of steps done;
    ``saved_step`` is the step of the newest checkpoint, -1 for none;
    ``seconds`` is this run's share of the time so far, in seconds;
    ``loss_sum`` is the sum of the training losses since the last point of the curve, in the
    objective's unit;
    ``loss_count`` is the number of these losses;
    ``last_norm`` is the gradient's norm in the last step;
    ``last_saved`` is the clock's time of the newest checkpoint, in seconds;
    ``resharded`` says where the run went on with another number of devices.
    """

    model: nn.Module
    trainable: Trainable
    meter: Meter
    optimizer: torch.optim.Optimizer
    scaler: torch.amp.GradScaler
    micro_seqs: int
    spread: Spread
    guard: SpikeDetector | None = None
    weighing: Weighing | None = None
    writer: Writer = field(default_factory=Writer)
    curve: list[CurvePoint] = field(default_factory=list)
    step: int = 0
    saved_step: int = -1
    seconds: float = 0.0
    loss_sum: float = 0.0
    loss_count: int = 0
    last_norm: float = 0.0
    last_saved: float = field(default_factory=time.monotonic)
    resharded: list[str] = field(default_factory=list)

    def count_step(self, loss: float, norm: float) -> None:
        """Count one more step."""
        self.step += 1
        self.loss_sum += loss
        self.loss_count += 1
        self.last_norm = norm
        if self.guard is not None:
            self.guard.losses.append(loss)

    @contextlib.contextmanager
    def clock(self, share: float = 1.0) -> Iterator[None]:
        """Add ``share`` of the time spent inside to ``seconds``."""
        began = time.monotonic()
        yield
        self.seconds += share * (time.monotonic() - began)


def load(state: State, saved: dict[str, Any]) -> None:
    """Restore the state from ``saved``, which ``trained`` made."""
    state.model.load_state_dict(saved["model"])
    state.optimizer.load_state_dict(saved["optimizer"])
    if state.scaler.is_enabled():
        state.scaler.load_state_dict(saved["scaler"])
    if state.weighing is not None:
        state.weighing.load_state_dict(saved["weighing"])
    state.step = saved["step"]


def trained(state: State) -> dict[str, Any]:
    """Return what ``load`` and a resumed run need: the state's own tensors, which still change."""
    return {
        "model": dict(state.model.state_dict()),
        "optimizer": state.optimizer.state_dict(),
        "scaler": state.scaler.state_dict(),
        "step": state.step,
        "loss_sum": state.loss_sum,
        "loss_count": state.loss_count,
        "last_norm": state.last_norm,
        **({"weighing": state.weighing.state_dict()} if state.weighing is not None else {}),
    }


def keep_snapshot(state: State) -> None:
    """Take a state to go back to, where one is due before the next step."""
    guard = state.guard
    if guard is not None and guard.is_due(state.step):
        guard.snapshots.append({**cloned(trained(state)), "losses": list(guard.losses)})


def went_back(state: State, problem: str, run_dir: RunDir, log: Callable[[str], None]) -> bool:
    """Go back to an earlier state because of ``problem``; return whether there is one."""
    guard = state.guard
    snapshot = guard.back_from(state.step) if guard is not None else None
    if guard is None or snapshot is None:
        return False
    state.writer.settle()
    state.saved_step = -1
    state.optimizer.zero_grad(set_to_none=True)
    # the optimiser would continue in the tensors it is given
    load(state, cloned(snapshot))
    state.loss_sum, state.loss_count = snapshot["loss_sum"], snapshot["loss_count"]
    state.curve = [point for point in state.curve if point.step <= state.step]
    records.write_curve(run_dir, state.curve)
    checkpoint.remove_after(run_dir, state.step)
    log(f"{problem}: back to step {state.step}, another batch at {guard.replaced[-1]}")
    return True
