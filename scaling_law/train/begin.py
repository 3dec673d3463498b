"""Begin a run: from random weights, a branch point, a smaller trunk, or the weights of another run.

A checkpoint of the run itself goes before everything else.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from scaling_law import parts
from scaling_law.data.dataset import Dataset
from scaling_law.errors import RunFailed, one_line
from scaling_law.files import record as records
from scaling_law.files.layout import RunDir
from scaling_law.files.record import CurvePoint
from scaling_law.spec.resources import Resources
from scaling_law.spec.run import RunSpec, derive_seed
from scaling_law.spec.start import Growth, StartFrom
from scaling_law.train import checkpoint, device
from scaling_law.train.architectures import build, init_seed, module_of
from scaling_law.train.compiled import Loss, compiled_loss
from scaling_law.train.evaluate import Examples
from scaling_law.train.forward import Trainable
from scaling_law.train.learning_curve import Forecast
from scaling_law.train.measure import Meter
from scaling_law.train.objectives import Objective
from scaling_law.train.optim import make_optimizer
from scaling_law.train.spikes import SpikeDetector
from scaling_law.train.state import State, load
from scaling_law.train.writer import Writer


@dataclass(kw_only=True)
class Job:
    """The input of one call of ``train_run``.

    ``spec`` is the run;
    ``resources`` say how it is executed;
    ``run_dir`` takes its files;
    ``dataset`` gives its examples;
    ``trunk`` is the folder of the run that a branch or a grown run starts from, else None;
    ``first_weights`` is the file of final weights that the run starts from, None for fresh ones;
    ``should_stop`` is called after every step, and before every batch of the final measurement and
    of every probe; each call also shows that the run is alive;
    ``progress(step, tokens_per_second)`` is called now and then;
    ``log`` takes one line;
    ``known_enough`` is called after every measurement but the last, to stop the run early.
    """

    spec: RunSpec
    resources: Resources
    run_dir: RunDir
    dataset: Dataset
    trunk: RunDir | None = None
    first_weights: Path | None = None
    should_stop: Callable[[], bool] = lambda: False
    progress: Callable[[int, float], None] = lambda step, rate: None
    log: Callable[[str], None] = lambda line: None
    known_enough: Callable[[], Forecast | None] = lambda: None


def begin(job: Job) -> State:
    """Return a fresh, branched, grown or resumed state; cut the curve back to its step."""
    spec, kind = job.spec, job.resources.device
    model = build(spec.model, init_seed(spec), job.resources.gradient_checkpointing).to(kind)
    context = device.autocast(kind, spec.precision)
    # a probe's model is not compiled, because its batches have other shapes
    trainable = trainable_of(spec, model)
    examples = Examples(spec=spec, dataset=job.dataset, trainable=trainable)
    state = State(
        model=model,
        trainable=trainable,
        meter=Meter(examples, kind, context, job.log),
        optimizer=make_optimizer(model, spec.optim, kind),
        scaler=torch.amp.GradScaler(kind, enabled=spec.precision == "fp16"),
        micro_seqs=min(job.resources.micro_seqs or spec.batch_seqs, spec.batch_seqs),
        step=spec.start_step,
        guard=SpikeDetector(spec.spikes) if spec.spikes else None,
        writer=Writer(beside=writes_beside(kind)),
    )
    if job.resources.compiled:
        loss, state.micro_seqs = compiled_loss(
            model, spec.batch_seqs, state.micro_seqs, context, job.log
        )
        state.trainable = trainable_of(spec, model, loss)
    # a missing branch-point checkpoint: resume from before it, so that it is written again
    lost = [s for s in job.resources.save_steps if not job.run_dir.checkpoint(s).is_file()]
    resumed = checkpoint.newest_valid(job.run_dir, job.log, min(lost, default=None))
    if resumed is not None:
        _resume(job, state, resumed[1])
        return state
    if spec.branch is not None:
        _start_from_trunk(job, state, spec.branch.at_step)
    elif spec.growth is not None:
        _grow(job, state, spec.growth)
    elif spec.start_from is not None:
        _start_from_weights(job, state, spec.start_from)
    records.write_curve(job.run_dir, [])
    return state


def trainable_of(spec: RunSpec, model: nn.Module, compiled: Loss | None = None) -> Trainable:
    """Return the model with its run's objective; ``compiled`` replaces the model's own loss."""
    component = spec.objective_component
    objective: Objective = parts.load("objective", component.reference)
    settings: Any = component.settings_as(objective.settings)
    return Trainable(model, objective, settings, compiled)


def writes_beside(kind: str) -> bool:
    """Say whether states are written while training continues, on hosts with time for it."""
    return kind != "cpu"


def _resume(job: Job, state: State, saved: dict[str, Any]) -> None:
    _restore(job, state, saved)
    state.seconds = saved["seconds"]
    state.loss_sum, state.loss_count = saved["loss_sum"], saved["loss_count"]
    state.last_norm = saved.get("last_norm", 0.0)  # absent from the first version
    state.meter.failures.update(saved.get("failures", {}))
    if "before_step" in saved:
        kind = job.resources.device
        state.meter.before_step = {n: w.to(kind) for n, w in saved["before_step"].items()}
    if state.guard is not None:
        state.guard.load(saved["guard"])
    if "curve" in saved:  # the file may be torn, or damaged; the state is checked
        state.curve = [CurvePoint(**point) for point in saved["curve"]]
        records.write_curve(job.run_dir, state.curve)
    else:
        # the last point is that of the final evaluation, which comes after any state
        state.curve = records.cut_curve(job.run_dir, min(state.step, job.spec.total_steps - 1))
    job.log(f"resumed at step {state.step}")


def _start_from_trunk(job: Job, state: State, at_step: int) -> None:
    saved = _parents_state(job, at_step)
    _restore(job, state, saved)
    if state.guard is not None:
        state.guard.inherit(saved["guard"])


def _parents_state(job: Job, step: int) -> dict[str, Any]:
    """Load the parent's state; remove one that cannot be read, so that it is written again."""
    assert job.trunk is not None, "a branch or grown run needs its parent's folder"
    path = job.trunk.checkpoint(step)
    try:
        return checkpoint.load_checkpoint(path, job.trunk.run_id)
    except (OSError, checkpoint.DamagedCheckpoint) as problem:
        with contextlib.suppress(OSError):
            checkpoint.discard(path)
        raise RunFailed(f"{path}: the trunk's state cannot be read ({problem})") from None


def _grow(job: Job, state: State, growth: Growth) -> None:
    """Start from the parent's weights, enlarged; moments and steps begin at zero."""
    saved = _parents_state(job, growth.at_step)
    _check_corpus(job, saved)
    seed = derive_seed(job.spec.seed, "grow")
    grow = module_of(job.spec.model).grow
    if grow is None:
        raise RunFailed(
            f"{job.spec.label}: a model of the architecture {job.spec.model.architecture.name}"
            " cannot grow"
        )
    state.model.load_state_dict(grow(saved["model"], growth.model, job.spec.model, seed))
    job.log(f"grown from {growth.trunk_id} at its step {growth.at_step}")


def _start_from_weights(job: Job, state: State, start: StartFrom) -> None:
    """Start from another run's final weights; the moments and steps begin at zero."""
    path = job.first_weights
    assert path is not None, "a run that starts from weights needs their file"
    try:
        if hashlib.sha256(path.read_bytes()).hexdigest() != start.weights_sha256:
            raise RunFailed(f"{path}: not the weights that this run was planned with")
        saved = checkpoint.load_checkpoint(path, start.run_id)
    except (OSError, checkpoint.DamagedCheckpoint) as problem:
        raise RunFailed(f"{path}: the weights cannot be read ({problem})") from None
    tokenizer = job.dataset.tokenizer
    if saved.get("tokenizer") != (tokenizer.to_json() if tokenizer is not None else None):
        raise RunFailed(
            f"{path}: trained on tokens of another tokenizer; take the data of that run, or"
            " tokenizer: bytes for both"
        )
    try:
        state.model.load_state_dict(saved["model"])
    except RuntimeError as problem:
        reason = one_line(str(problem))[:200]
        raise RunFailed(f"{path}: the weights of another model than this run's: {reason}") from None
    job.log(f"started from the final weights of {start.run_id}")


def _restore(job: Job, state: State, saved: dict[str, Any]) -> None:
    _check_corpus(job, saved)
    load(state, saved)


def _check_corpus(job: Job, saved: dict[str, Any]) -> None:
    if saved["corpus_fingerprint"] != job.dataset.fingerprint:
        raise RunFailed(
            f"{job.run_dir.path.name}: its checkpoint was trained on corpus "
            f"{saved['corpus_fingerprint'][:12]}, the data now is {job.dataset.fingerprint[:12]}; "
            "start the sweep again in another folder (--out)"
        )
