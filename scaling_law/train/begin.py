"""Begin a run: from random weights, a branch point, a smaller trunk, or the weights of another run.

A checkpoint of the run itself goes before everything else.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable, Iterator
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
from scaling_law.train import checkpoint, rounding, shards
from scaling_law.train.architectures import build, init_seed, module_of
from scaling_law.train.compiled import Loss, compiled_loss
from scaling_law.train.evaluate import Examples
from scaling_law.train.forward import Trainable
from scaling_law.train.group import ALONE, Group
from scaling_law.train.learning_curve import Forecast
from scaling_law.train.measure import Meter
from scaling_law.train.objectives import Objective
from scaling_law.train.optim import make_optimizer
from scaling_law.train.parallel import Spread, kind_of
from scaling_law.train.spikes import SpikeDetector
from scaling_law.train.state import State, load
from scaling_law.train.weighing import Weighing
from scaling_law.train.writer import Writer
from scaling_law.units import count_of


@dataclass(kw_only=True)
class Job:
    """The input of one call of ``train_run``.

    ``spec`` is the run;
    ``resources`` say how it is executed;
    ``run_dir`` takes its files;
    ``dataset`` gives its examples;
    ``trunk`` is the folder of the run that a branch or a grown run starts from, else None;
    ``first_weights`` is the file of final weights that the run starts from, None for fresh ones;
    ``reference_weights`` is that of the model whose losses the objective reads, None for none;
    ``should_stop`` is called after every step, and before every batch of the final measurement and
    of every probe; each call also shows that the run is alive;
    ``progress(step, tokens_per_second)`` is called now and then;
    ``log`` takes one line;
    ``known_enough`` is called after every measurement but the last, to stop the run early;
    ``group`` are the processes that train the run together.
    """

    spec: RunSpec
    resources: Resources
    run_dir: RunDir
    dataset: Dataset
    trunk: RunDir | None = None
    first_weights: Path | None = None
    reference_weights: Path | None = None
    should_stop: Callable[[], bool] = lambda: False
    progress: Callable[[int, float], None] = lambda step, rate: None
    log: Callable[[str], None] = lambda line: None
    known_enough: Callable[[], Forecast | None] = lambda: None
    group: Group = ALONE


def begin(job: Job) -> State:
    """Return a fresh, branched, grown or resumed state; cut the curve back to its step."""
    spec, kind = job.spec, job.resources.device
    together = kind_of(job.resources.devices_of(spec)) if job.group.size > 1 else None
    recipe = spec.model, init_seed(spec), job.resources.gradient_checkpointing
    model = together.build(*recipe, kind) if together else build(*recipe).to(kind)
    context = rounding.contexts(kind, spec)
    # a probe's model is not compiled, because its batches have other shapes
    trainable = trainable_of(spec, model)
    examples = Examples(spec=spec, dataset=job.dataset, trainable=trainable)
    own_seqs = spec.batch_seqs // job.group.size
    state = State(
        model=model,
        trainable=trainable,
        meter=Meter(examples, kind, context, job.log),
        optimizer=make_optimizer(model, spec.optim, kind),
        scaler=torch.amp.GradScaler(kind, enabled=spec.precision == "fp16"),
        micro_seqs=min(job.resources.micro_seqs or own_seqs, own_seqs),
        step=spec.start_step,
        guard=SpikeDetector(spec.spikes) if spec.spikes else None,
        writer=Writer(beside=writes_beside(kind)),
        spread=together.spread(trainable, job.group) if together else Spread(trainable),
        weighing=_weighing(job, trainable),
    )
    if job.resources.compiled:
        loss, state.micro_seqs = compiled_loss(
            model, spec.batch_seqs, state.micro_seqs, context, job.log
        )
        state.trainable = trainable_of(spec, model, loss)
        state.spread = Spread(state.trainable)
    # a missing branch-point checkpoint: resume from before it, so that it is written again
    lost = [s for s in job.resources.save_steps if not job.run_dir.checkpoint(s).is_file()]
    saved = _newest_state(job, min(lost, default=None))
    if saved is not None:
        _resume(job, state, saved)
        return state
    if spec.branch is not None:
        _start_from_trunk(job, state, spec.branch.at_step)
    elif spec.growth is not None:
        _grow(job, state, spec.growth)
    elif spec.start_from is not None:
        _start_from_weights(job, state, spec.start_from)
    records.write_curve(job.run_dir, [])
    return state


def _newest_state(job: Job, last: int | None) -> dict[str, Any] | None:
    """The newest state that loads, of step ``last`` at most; the first process chooses it."""
    group, run_dir = job.group, job.run_dir
    while True:
        newest = checkpoint.newest_valid(run_dir, job.log, last) if group.is_first else None
        step = group.of_first(newest[0] if newest is not None else None)
        if step is None:
            return None
        saved = newest[1] if newest is not None else _state_of(run_dir, step)
        damage = shards.problem(run_dir, saved, group)
        if not damage:
            return saved
        job.log(f"{damage}; using an older one")
        last = step - 1


def _state_of(run_dir: RunDir, step: int) -> dict[str, Any]:
    return checkpoint.load_checkpoint(run_dir.checkpoint(step), run_dir.run_id)


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
    _restore(job, state, saved, job.run_dir)
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
    assert job.trunk is not None
    _restore(job, state, saved, job.trunk)
    if state.guard is not None:
        state.guard.inherit(saved["guard"])


def _parents_state(job: Job, step: int) -> dict[str, Any]:
    """Load the parent's state; remove one that cannot be read, so that it is written again."""
    assert job.trunk is not None, "a branch or grown run needs its parent's folder"
    path = job.trunk.checkpoint(step)
    try:
        saved = _state_of(job.trunk, step)
        if damage := shards.problem(job.trunk, saved, job.group):
            raise checkpoint.DamagedCheckpoint(damage)
        return saved
    except (OSError, checkpoint.DamagedCheckpoint) as problem:
        with contextlib.suppress(OSError):
            checkpoint.discard(job.trunk, step)
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
    state.spread.load_weights(grow(saved["model"], growth.model, job.spec.model, seed))
    job.log(f"grown from {growth.trunk_id} at its step {growth.at_step}")


def _start_from_weights(job: Job, state: State, start: StartFrom) -> None:
    """Start from another run's final weights; the moments and steps begin at zero."""
    saved = _final_weights(job, job.first_weights, start)
    with _of_this_model(job.first_weights):
        state.spread.load_weights(saved["model"])
    job.log(f"started from the final weights of {start.run_id}")


def _weighing(job: Job, trainable: Trainable) -> Weighing | None:
    """Return what weighs the targets of the run's batches; None where its objective does not."""
    spec, objective = job.spec, trainable.objective
    if objective.weigher is None:
        return None
    reference = None
    if spec.reference is not None:
        saved = _final_weights(job, job.reference_weights, spec.reference)
        model = build(spec.model, init_seed(spec))
        with _of_this_model(job.reference_weights):
            model.load_state_dict(saved["model"])
        reference = trainable_of(spec, model.requires_grad_(False).to(job.resources.device))
        job.log(f"the objective reads the losses of the final model of {spec.reference.run_id}")
    weigher = objective.weigher(job.dataset.component_names, trainable.settings)
    return Weighing(spec.objective_component.name, weigher, reference)


def _final_weights(job: Job, path: Path | None, start: StartFrom) -> dict[str, Any]:
    """Load another run's final weights, which must be those that this run was planned with."""
    assert path is not None, "a run that reads another run's weights needs their file"
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
    return saved


@contextlib.contextmanager
def _of_this_model(path: Path | None) -> Iterator[None]:
    """Raise ``RunFailed`` where the weights that are loaded inside are those of another model."""
    try:
        yield
    except RuntimeError as problem:
        reason = one_line(str(problem))[:200]
        raise RunFailed(f"{path}: the weights of another model than this run's: {reason}") from None


def _restore(job: Job, state: State, saved: dict[str, Any], run_dir: RunDir) -> None:
    """Take up a state that is one of ``run_dir``."""
    _check_corpus(job, saved)
    _check_devices(job, state, saved)
    load(state, shards.read(run_dir, saved, state, job.group))


def _check_devices(job: Job, state: State, saved: dict[str, Any]) -> None:
    """Note that a state comes from another number of devices, where that is allowed."""
    state.resharded += saved.get("resharded", [])
    before, now = saved.get("devices", 1), job.group.size
    if before == now:
        return
    step, devices = saved["step"], count_of(before, "device")
    if job.resources.resume_on is None:
        raise RunFailed(
            f"{job.run_dir.path.name}: its state after step {step} is that of {devices}, and it"
            f" trains on {now} now, where rounding differs; set parallel.resume_on: {now} to resume"
            " it all the same"
        )
    note = (
        f"from step {step} on {count_of(now, 'device')} instead of {before}: its bits are not those"
        " of an undisturbed run"
    )
    state.resharded.append(note)
    job.log(note)


def _check_corpus(job: Job, saved: dict[str, Any]) -> None:
    if saved["corpus_fingerprint"] != job.dataset.fingerprint:
        raise RunFailed(
            f"{job.run_dir.path.name}: its checkpoint was trained on corpus "
            f"{saved['corpus_fingerprint'][:12]}, the data now is {job.dataset.fingerprint[:12]}; "
            "start the sweep again in another folder (--out)"
        )
