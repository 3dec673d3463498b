"""Train one run, from its spec to its record; resume it bit for bit from a checkpoint.

The learning rate, the batch and the evaluation points are pure functions of the step, so the
state that must survive is the weights, the optimiser, the loss scaler and a few sums.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import math
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

import torch

from scaling_law.errors import RunFailed
from scaling_law.files import record as records
from scaling_law.files.record import CurvePoint, RunRecord
from scaling_law.spec.run import RunSpec
from scaling_law.spec.schedule import lr_factor
from scaling_law.spec.to_json import to_json
from scaling_law.train import checkpoint, device, rounding, shards
from scaling_law.train.architectures import module_of
from scaling_law.train.begin import Job, begin
from scaling_law.train.evaluate import evaluate
from scaling_law.train.measure import Measured
from scaling_law.train.optim import evaluated, set_lr
from scaling_law.train.provenance import describe, stopped_early
from scaling_law.train.state import State, keep_snapshot, trained, went_back
from scaling_law.train.tensors import Tensors
from scaling_law.units import count_of

_PROGRESS_EVERY_SECONDS = 0.5
# Below this loss scale the problem is not fp16's rounding: the run has diverged.
_SMALLEST_LOSS_SCALE = 1e-3

Result = TypeVar("Result")


@functools.lru_cache(maxsize=64)
def evaluation_steps(spec: RunSpec) -> tuple[int, ...]:
    """Return the steps after which the run is measured: closer together early, the last included.

    A trunk or single run gets ``curve_points`` at total * (i/n)^2; a branch a quarter of
    them, evenly over its cooldown.
    """
    own = spec.total_steps - spec.start_step
    count = spec.eval.curve_points
    if spec.branch is not None:
        count = max(1, count // 4)
        steps = {spec.start_step + round(own * i / count) for i in range(1, count + 1)}
    else:
        steps = {round(own * (i / count) ** 2) for i in range(1, count + 1)}
    return tuple(sorted((steps | {spec.total_steps}) - {0, spec.start_step}))


def train_run(job: Job) -> RunRecord | None:
    """Train ``job.spec`` to its end and return its record, not yet written.

    None when ``job.should_stop`` says so, after a checkpoint is written. Raises ``RunFailed`` when
    one sequence does not fit in memory, or when a branch's trunk state is missing.
    """
    resources = job.resources
    device.prepare_process(resources.device, resources.threads, resources.kernels)
    job.dataset.keep_orders(1)
    state = begin(job)
    with nothing_pending([(job, state)]):
        return _trained(job, state)


def _trained(job: Job, state: State) -> RunRecord | None:
    solve = module_of(job.spec.model).solve
    if solve is not None and state.step < job.spec.total_steps and not _solved(job, state, solve):
        stop(job, state)
        return None
    pace = Pace(state.step)
    while state.step < job.spec.total_steps:
        with state.clock():
            before_step(job, state)
            problem = apply_gradients(job, state, accumulate_gradients(job, state))
        if problem:
            if went_back(state, problem, job.run_dir, job.log):
                continue
            return make_record(job, state, None, problem)
        early = between_steps(job, state)
        if early is not None:
            return early
        pace.report(job, state.step)
        if job.should_stop() and state.step < job.spec.total_steps:
            stop(job, state)
            return None
    return finish(job, state)


def before_step(job: Job, state: State) -> None:
    """Copy what the next step changes, where it is read after it."""
    keep_snapshot(state)
    due = state.step + 1 in evaluation_steps(job.spec)
    with evaluated(state.optimizer) if due else contextlib.nullcontext():
        state.meter.keep_weights(due)


class _Stopped(Exception):  # noqa: N818 - not an error
    """The run must stop while its examples are read."""


def _solved(job: Job, state: State, solve: Callable[..., None]) -> bool:
    """Solve the run in closed form, all its steps at once; False, with nothing done, to stop."""

    def batches() -> Iterator[Tensors]:
        for batch in state.meter.examples.trained_on():
            if job.should_stop():
                raise _Stopped
            yield batch

    first = {name: tensor.clone() for name, tensor in state.model.state_dict().items()}
    try:
        with state.clock():
            solve(state.model, batches)
            fitted = evaluate(
                state.trainable, batches(), job.resources.device, contextlib.nullcontext
            )
    except _Stopped:
        state.model.load_state_dict(first)
        return False
    assert fitted is not None
    state.step = job.spec.total_steps
    state.loss_sum, state.loss_count = fitted.loss_nats, 1
    return True


class Pace:
    """Reports to ``job.progress`` now and then how fast steps go since ``first_step``."""

    def __init__(self, first_step: int) -> None:
        self._first_step = first_step
        self._began = self._reported = time.monotonic()

    def report(self, job: Job, step: int) -> None:
        """Report, if it is time, the speed after ``step`` steps."""
        now = time.monotonic()
        if now - self._reported > _PROGRESS_EVERY_SECONDS:
            self._reported = now
            done_tokens = (step - self._first_step) * job.spec.batch_tokens
            job.progress(step, done_tokens / max(now - self._began, 1e-9))


def between_steps(job: Job, state: State) -> RunRecord | None:
    """Do what is due after ``state.step`` steps: a point of the curve, a checkpoint.

    Returns a record where the run may end here because its final loss is known well enough.
    """
    state.writer.check()
    steps, last = evaluation_steps(job.spec), job.spec.total_steps
    if state.step in steps and state.step < last:
        with state.clock():
            measured = measure(job, state, final=False)
        assert measured is not None
        _add_curve_point(job, state, measured)
        forecast = job.known_enough() if job.group.is_first else None
        if job.group.any(forecast is not None):
            record = make_record(job, state, None, "")
            return record if forecast is None else stopped_early(record, forecast, job.dataset)
    resources = job.resources
    due = time.monotonic() - state.last_saved > resources.checkpoint_every_seconds
    due = job.group.any(due)
    if resources.checkpoint_every_steps is not None:
        due = due or state.step % resources.checkpoint_every_steps == 0
    if state.step in resources.save_steps:
        if state.guard is not None:
            state.guard.snapshots.clear()  # branches start here: the run never goes back further
        save(job, state)
    elif due and state.step < last:
        save(job, state)
    return None


def finish(job: Job, state: State) -> RunRecord | None:
    """Measure the end and make the record; None, after a checkpoint, when the run must stop."""
    with state.clock():
        final = measure(job, state, final=True)
    if final is None:
        stop(job, state)
        return None
    if not math.isfinite(final.val.loss_nats):
        return make_record(job, state, None, "validation loss is not finite at the end")
    _add_curve_point(job, state, final)
    if job.resources.keep_weights:
        _keep_weights(job, state)
    return make_record(job, state, final, "")


def _keep_weights(job: Job, state: State) -> None:
    """Save the final weights with the tokenizer, whose cache may be gone when they are exported."""
    tokenizer = job.dataset.tokenizer
    with evaluated(state.optimizer):
        weights = {k: state.spread.whole(v) for k, v in state.model.state_dict().items()}
    checkpoint.save_weights(
        job.run_dir,
        {
            "model": weights,
            **({"tokenizer": tokenizer.to_json()} if tokenizer is not None else {}),
        },
    )


def save(job: Job, state: State) -> None:
    """Write a checkpoint; keep of the older ones the newest and those that branches need."""
    content = {
        **trained(state),
        "seconds": state.seconds,
        "curve": [to_json(point) for point in state.curve],
        "corpus_fingerprint": job.dataset.fingerprint,
    }
    if state.guard is not None:
        content["guard"] = state.guard.state_dict()
    if state.meter.failures:
        content["failures"] = dict(state.meter.failures)
    if job.group.size > 1:
        content["devices"] = job.group.size
    if state.resharded:
        content["resharded"] = list(state.resharded)
    if state.meter.before_step is not None:  # the end is not measured yet
        content["before_step"] = state.meter.before_step
    if state.spread.shards:
        content = shards.write(job.run_dir, state.step, content, job.group)
    state.writer.put(content, functools.partial(_write, job, state.step))
    state.saved_step = state.step
    state.last_saved = time.monotonic()


def _write(job: Job, step: int, content: dict[str, Any]) -> None:
    checkpoint.save_checkpoint(job.run_dir, step, content)
    resources = job.resources
    checkpoint.prune_checkpoints(
        job.run_dir, keep=set(resources.save_steps), last=resources.keep_checkpoints
    )


def stop(job: Job, state: State) -> None:
    """Write a checkpoint of this step; it is on the disk when this returns."""
    if state.saved_step != state.step:
        save(job, state)
    state.writer.settle()


@contextlib.contextmanager
def nothing_pending(members: Sequence[tuple[Job, State]]) -> Iterator[None]:
    """Wait until all states are on the disk, however the training inside ends.

    Leases are released only after that.
    """
    try:
        yield
    except BaseException:
        for job, state in members:
            try:
                state.writer.settle()
            except Exception as problem:  # the first failure is the one that is raised
                job.log(f"a state could not be written: {problem}")
        raise


def apply_gradients(job: Job, state: State, loss: float) -> str:
    """Take the step with the gradients on the weights; return why the run has diverged, or "".

    A non-finite loss or gradient ends the run before the update: skipping the step instead would
    change the measured law (``spikes`` does so where a config asks for it). Only fp16's loss scaler
    may skip a step.
    """
    set_lr(state.optimizer, lr_now(job, state))
    if not math.isfinite(loss):
        return why_diverged(state, loss, 0.0)
    state.scaler.unscale_(state.optimizer)
    norm = state.spread.clip(job.spec.optim.grad_clip)
    problem = why_diverged(state, loss, norm)
    if problem:
        return problem
    state.scaler.step(state.optimizer)
    state.scaler.update()
    state.optimizer.zero_grad(set_to_none=True)
    state.count_step(loss, norm)
    return ""


def lr_now(job: Job, state: State) -> float:
    """Return the learning rate of the next step."""
    spec = job.spec
    return spec.optim.lr * lr_factor(spec.schedule, state.step, spec.total_steps)


def why_diverged(state: State, loss: float, norm: float) -> str:
    """Say why a run with this loss and gradient norm has diverged; "" where it has not."""
    if not math.isfinite(loss):
        return f"training loss is {loss} at step {state.step}"
    if not math.isfinite(norm):
        if not state.scaler.is_enabled():
            return f"gradient norm is {norm} at step {state.step}"
        if state.scaler.get_scale() < _SMALLEST_LOSS_SCALE:
            return f"gradients overflow fp16 at any loss scale at step {state.step}"
    return state.guard.why_spike(state.step, loss) if state.guard is not None else ""


def next_batch(job: Job, state: State) -> Tensors:
    """Return the batch of the next step, in the host's memory.

    Spare batches are counted backwards from the end of the first epoch; a run of less than an
    epoch does not reach them.
    """
    spec = job.spec
    number = spec.data_step + state.step
    spare = state.guard.spare_of(state.step) if state.guard is not None else None
    if spare is not None:
        whole = max(1, job.dataset.n_seqs("train", spec.model.n_ctx) // spec.batch_seqs)
        number = whole - 1 - spare % whole
    return state.meter.examples.training(number)


def accumulate_gradients(job: Job, state: State) -> float:
    """Return the mean loss of the step's batch; leave its gradients on the weights."""
    batch = _weighed(job, state, next_batch(job, state))
    return halving_on_out_of_memory([(job, state)], lambda: _micro_batches(job, state, batch))


def _weighed(job: Job, state: State, batch: Tensors) -> Tensors:
    """Return the batch with the weights of its targets, where the objective weighs them."""
    weighing = state.weighing
    if weighing is None:
        return batch
    kind, context = job.resources.device, rounding.contexts(job.resources.device, job.spec)
    return halving_on_out_of_memory(
        [(job, state)],
        lambda: weighing.weighed(
            state.trainable, batch, at_once=state.micro_seqs, kind=kind, autocast=context
        ),
    )


def halving_on_out_of_memory(
    members: Sequence[tuple[Job, State]], attempt: Callable[[], Result]
) -> Result:
    """Call ``attempt``; while memory runs out, halve the members' micro-batch and call it again.

    Raises ``RunFailed`` when one sequence does not fit in memory.
    """
    while True:
        try:
            return attempt()
        except RuntimeError as problem:
            if not device.is_out_of_memory(problem):
                raise
            job, state = members[0]
            if job.group.size > 1:  # the others are in the midst of the step
                raise RunFailed(
                    f"{job.spec.label}: out of memory on device {job.group.rank} with"
                    f" {count_of(state.micro_seqs, 'sequence')} at once; lower limits.memory, so"
                    " that fewer are planned, or use more devices"
                ) from None
            if state.micro_seqs == 1:
                raise RunFailed(
                    f"{job.spec.label}: out of memory at one sequence of {job.spec.model.n_ctx} "
                    "tokens; shorten n_ctx, shrink the model, or use gradient checkpointing"
                ) from None
        for job, state in members:
            state.optimizer.zero_grad(set_to_none=True)
            state.micro_seqs = max(1, state.micro_seqs // 2)
            job.log(f"out of memory: micro-batch halved to {state.micro_seqs} sequences")
        if job.resources.device == "cuda":
            torch.cuda.empty_cache()


def _micro_batches(job: Job, state: State, batch: Tensors) -> float:
    kind = job.resources.device
    context = rounding.contexts(kind, job.spec)
    total = torch.zeros((), dtype=torch.float32, device=kind)
    group, spread = job.group, state.spread
    parts = batch.of_rank(group.rank, group.size).split(state.micro_seqs, all_parts=group.size > 1)
    for part in parts:
        examples = part.to(kind)
        with spread.exchanging(part is parts[-1]):
            with context():
                loss, extra = spread.losses(examples)
            weighted = loss * part.share
            minimised = weighted if extra is None else weighted + extra * part.share
            if spread.factor != 1:
                minimised = minimised * spread.factor
            state.scaler.scale(minimised).backward()  # type: ignore[no-untyped-call]
        total += weighted.detach()
    return group.sum(float(total))


def measure(job: Job, state: State, *, final: bool) -> Measured | None:
    """Measure the run for its curve, or at its end; None there when the run must stop."""
    tokens = job.spec.eval.val_tokens if final else job.spec.eval.curve_tokens
    with evaluated(state.optimizer):
        measured = state.meter.measure(
            state.step, tokens, at_once=state.micro_seqs, final=final, should_stop=job.should_stop
        )
    if measured is None or state.weighing is None:
        return measured
    metrics, units = state.weighing.measures()
    return dataclasses.replace(
        measured, metrics=measured.metrics | metrics, units=measured.units | units
    )


def _add_curve_point(job: Job, state: State, measured: Measured) -> None:
    if not math.isfinite(measured.val.loss_nats):
        return  # the next step's own check ends the run, with this curve
    spec = job.spec
    point = CurvePoint(
        step=state.step,
        tokens=state.step * spec.batch_tokens,
        train_loss_nats=state.loss_sum / max(1, state.loss_count),
        val_loss_nats=measured.val.loss_nats,
        lr=spec.optim.lr * lr_factor(spec.schedule, state.step - 1, spec.total_steps),
        grad_norm=state.last_norm if math.isfinite(state.last_norm) else 0.0,
        seconds=round(state.seconds, 3),
        metrics=measured.metrics,
    )
    records.append_curve(job.run_dir, point)
    state.curve.append(point)
    state.loss_sum, state.loss_count = 0.0, 0


def make_record(job: Job, state: State, final: Measured | None, problem: str) -> RunRecord:
    """Make the record of the run; without ``final`` it has diverged, because of ``problem``.

    States and curve are on the disk before the record, because it certifies them.
    """
    state.writer.settle()
    kind = job.resources.device
    records.write_curve(job.run_dir, state.curve)
    notes = [problem, state.guard.words() if state.guard is not None else ""]
    notes += [*state.meter.failures.values(), *state.resharded]
    record = describe(
        spec=job.spec,
        resources=job.resources,
        dataset=job.dataset,
        objective=state.trainable.objective,
        final=final,
        message="; ".join(note for note in notes if note),
        steps_done=state.step,
        seconds=state.seconds,
        peak_memory_bytes=device.peak_memory_bytes(kind),
        device_name=f"{kind}: {device.device_name(kind)}"
        + (f" x {job.group.size}" if job.group.size > 1 else ""),
        precision_reason=job.resources.precision_reason,
        micro_seqs=state.micro_seqs,
    )
    metrics = state.guard.metrics() if state.guard is not None else {}
    digest = records.curve_digest(state.curve)
    metrics = {**record.metrics, **metrics}
    return dataclasses.replace(record, metrics=metrics, curve_sha256=digest)
