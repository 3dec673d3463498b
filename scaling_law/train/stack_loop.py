"""Train several runs of one shape in step, by one program; everything else stays separate for each
run.

Files, curve, checkpoints, learning rate, optimiser, clipping and record are those of ``loop``,
run by run: a run can stop in one stack and resume in another, or alone, to the same bits (on a
CPU: a test). The runs share only the launches of operators.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator, Sequence

import torch

from scaling_law.errors import RunFailed
from scaling_law.files.lease import LeaseLost
from scaling_law.files.record import RunRecord
from scaling_law.train import device, loop
from scaling_law.train.architectures import module_of
from scaling_law.train.begin import Job, begin
from scaling_law.train.loop import Pace
from scaling_law.train.optim import set_lr
from scaling_law.train.stack import Stack
from scaling_law.train.state import State, went_back
from scaling_law.train.static_step import StaticStep

Member = tuple[Job, State]
OnEnd = Callable[[Job, RunRecord | None], None]


def train_stack(jobs: Sequence[Job], on_end: OnEnd) -> None:
    """Train ``jobs`` to their ends; call ``on_end`` with each record as soon as there is one.

    ``on_end`` gets None for a run that must stop, after its checkpoint is written. It is not called
    for a run whose lease is lost: that run leaves the stack, and the others continue. Runs resumed
    at different steps wait for the last of them. Raises as ``loop.train_run`` does.
    """
    resources = jobs[0].resources
    device.prepare_process(resources.device, resources.threads, resources.kernels)
    jobs[0].dataset.keep_orders(len(jobs))
    going = [member for job in jobs for member in _begun(job, on_end)]
    paces = {job.spec.run_id: Pace(state.step) for job, state in going}
    stack: Stack | None = None
    recorded: StaticStep | None = None
    with loop.nothing_pending(going):
        while going:
            lowest = min(state.step for _, state in going)
            active = [member for member in going if member[1].step == lowest]
            models = tuple(state.model for _, state in active)
            if stack is None or stack.members != models:
                stack, static = _stacked(active), records_steps(active)
                optimizers = _Optimizers(active, static)
                recorded = _static_step(active, stack, optimizers) if static else None
            problems = None
            if recorded is not None:
                problems = _recorded_step(active, recorded, optimizers)
                recorded = recorded if problems is not None else None
            if problems is None:
                problems = _step(active, stack, optimizers)
            if any(problems):
                stack = None  # a run that goes back needs its own tensors
            for member, problem in zip(active, problems, strict=True):
                job, state = member
                try:
                    ended = _settle(job, state, problem, paces[job.spec.run_id], on_end)
                except LeaseLost as lost:
                    job.log(f"stopped without writing: {lost}")
                    ended = True
                if ended:
                    going.remove(member)


def _stacked(active: Sequence[Member]) -> Stack:
    """Return the members' models as one program; a plan stacks only models that have one."""
    model = active[0][0].spec.model
    stack = module_of(model).stack
    if stack is None:
        raise RunFailed(
            f"models of the architecture {model.architecture.name} have no program for several;"
            " set stacking: off"
        )
    return stack([state.model for _, state in active])


def records_steps(active: Sequence[Member]) -> bool:
    """Say whether the members' step is one recorded program: on CUDA, with whole batches.

    Not in fp16, because the host changes its loss scale.
    """
    job, state = active[0]
    on_cuda = job.resources.device == "cuda"
    return on_cuda and state.micro_seqs >= job.spec.batch_seqs and not state.scaler.is_enabled()


def _static_step(active: Sequence[Member], stack: Stack, optimizers: _Optimizers) -> StaticStep:
    job = active[0][0]
    return StaticStep(
        stack,
        batch_seqs=job.spec.batch_seqs,
        limits=[each.spec.optim.grad_clip or math.inf for each, _ in active],
        context=device.autocast(job.resources.device, job.spec.precision),
        update=optimizers.apply,
        log=job.log,
    )


def _recorded_step(
    active: Sequence[Member], recorded: StaticStep, optimizers: _Optimizers
) -> list[str] | None:
    """Take a step by the recorded program; None where it does not fit in memory."""
    with _shared_clock(active):
        for job, state in active:
            loop.before_step(job, state)
        optimizers.set_rates()
        try:
            losses, norms = recorded.take(*_batches(active))
        except RuntimeError as problem:
            if not device.is_out_of_memory(problem):
                raise
            active[0][0].log("out of memory: steps are no longer recorded")
            return None
        optimizers.share_state()
        problems = []
        for (_, state), loss, norm in zip(active, losses, norms, strict=True):
            state.last_norm = norm
            problems.append(loop.why_diverged(state, loss, norm))
            if not problems[-1]:
                state.count_step(loss, norm)
    return problems


def _batches(active: Sequence[Member]) -> tuple[torch.Tensor, torch.Tensor]:
    """The ids and the targets of the members' batches, [S, B, T]."""
    batches = [loop.next_batch(job, state) for job, state in active]
    assert all(batch.weights is None for batch in batches), "a stack counts all targets alike"
    inputs = torch.stack([batch.inputs for batch in batches])
    return inputs, torch.stack([batch.targets for batch in batches])


def _begun(job: Job, on_end: OnEnd) -> list[Member]:
    """Start a member; [] where its lease is lost or its final evaluation was stopped."""
    try:
        state = begin(job)
        if state.step < job.spec.total_steps:
            return [(job, state)]
        on_end(job, loop.finish(job, state))
    except LeaseLost as lost:
        job.log(f"stopped without writing: {lost}")
    return []


def stepping(active: Sequence[Member]) -> Callable[[], list[str]]:
    """Return a function that takes a step of every member as one program."""
    stack, optimizers = _stacked(active), _Optimizers(active)
    return lambda: _step(active, stack, optimizers)


def _step(active: Sequence[Member], stack: Stack, optimizers: _Optimizers) -> list[str]:
    """Take a step of every member; return why each has diverged, "" where it has not."""
    with _shared_clock(active):
        for job, state in active:
            loop.before_step(job, state)
        losses = loop.halving_on_out_of_memory(active, lambda: _gradients(active, stack))
        if any(state.scaler.is_enabled() for _, state in active):
            # each has a scale of its own
            pairs = zip(active, losses, strict=True)
            problems = [loop.apply_gradients(*member, loss) for member, loss in pairs]
        else:
            problems = _apply(active, stack, losses)
            optimizers.step()
            for (_, state), loss, problem in zip(active, losses, problems, strict=True):
                if not problem:
                    state.count_step(loss, state.last_norm)
        stack.drop_gradients()
    return problems


def _apply(active: Sequence[Member], stack: Stack, losses: Sequence[float]) -> list[str]:
    """Clip every member's gradients; return why each has diverged.

    A member that has diverged still takes the step, but its weights are not saved.
    """
    clips = [job.spec.optim.grad_clip or math.inf for job, _ in active]
    norms = stack.clip_gradients(clips)
    problems = []
    for (_, state), loss, norm in zip(active, losses, norms, strict=True):
        state.last_norm = norm
        problems.append(loop.why_diverged(state, loss, norm))
    return problems


class _Optimizers:
    """One AdamW for all members with the same settings: a few calls a step, not a few a member.

    Moments and counts are the members' own, so that each is saved and resumed as if alone. With
    ``static``, learning rates are tensors, for a program that is recorded once.
    """

    def __init__(self, active: Sequence[Member], static: bool = False) -> None:
        alike: dict[object, list[Member]] = {}
        for job, state in active:
            spec = job.spec
            key = (spec.optim, spec.schedule, spec.total_steps)
            alike.setdefault(key, []).append((job, state))
        self._joint = [(self._join(members, static), members) for members in alike.values()]
        self._static = static

    @staticmethod
    def _join(members: Sequence[Member], static: bool) -> torch.optim.AdamW:
        own = [state.optimizer for _, state in members]
        kind = members[0][0].resources.device
        groups = []
        for index, group in enumerate(own[0].param_groups):
            weights = [p for one in own for p in one.param_groups[index]["params"]]
            groups.append({**group, "params": weights})
        if static:
            # CUDA's fused kernel reads fp32; a CPU's takes the number at the host's precision
            dtype = torch.float32 if kind == "cuda" else torch.float64
            rate = torch.zeros((), dtype=dtype, device=kind)
            for group in groups:
                group |= {"lr": rate, "capturable": kind == "cuda"}
        joint = torch.optim.AdamW(groups)
        for one in own:
            joint.state.update(one.state)
        return joint

    def step(self) -> None:
        """Take one step of every member."""
        self.set_rates()
        self.apply()
        self.share_state()

    def set_rates(self) -> None:
        """Set the learning rates of the next step."""
        for joint, members in self._joint:
            rate = loop.lr_now(*members[0])
            if self._static:
                joint.param_groups[0]["lr"].fill_(rate)
            else:
                set_lr(joint, rate)

    def apply(self) -> None:
        """Update the weights by their gradients."""
        for joint, _ in self._joint:
            joint.step()

    def share_state(self) -> None:
        """Give each member's optimiser the state that the first step made."""
        for joint, members in self._joint:
            for _, state in members:
                if not state.optimizer.state:
                    for group in state.optimizer.param_groups:
                        for weight in group["params"]:
                            state.optimizer.state[weight] = joint.state[weight]


def _settle(job: Job, state: State, problem: str, pace: Pace, on_end: OnEnd) -> bool:
    """Do what is due after a step; return whether the run has ended or must stop."""
    if problem:
        if went_back(state, problem, job.run_dir, job.log):
            return False
        on_end(job, loop.make_record(job, state, None, problem))
        return True
    early = loop.between_steps(job, state)
    if early is not None:
        on_end(job, early)
        return True
    pace.report(job, state.step)
    if state.step == job.spec.total_steps:
        on_end(job, loop.finish(job, state))
        return True
    if job.should_stop():
        loop.stop(job, state)
        on_end(job, None)
        return True
    return False


@contextlib.contextmanager
def _shared_clock(active: Sequence[Member]) -> Iterator[None]:
    """Add the time spent inside to the members' clocks, in equal shares."""
    with contextlib.ExitStack() as clocks:
        for _, state in active:
            clocks.enter_context(state.clock(1 / len(active)))
        yield


def _gradients(active: Sequence[Member], stack: Stack) -> list[float]:
    """Return each member's mean loss over its batch; leave its gradients on its weights."""
    stack.drop_gradients()
    first, kind = active[0][0], active[0][0].resources.device
    context = device.autocast(kind, first.spec.precision)
    inputs, targets = _batches(active)
    total = torch.zeros(len(active), dtype=torch.float32, device=kind)
    seqs = active[0][1].micro_seqs
    for part in zip(torch.split(inputs, seqs, 1), torch.split(targets, seqs, 1), strict=True):
        tokens, predicted = (device.to_device(ids, kind) for ids in part)
        with context():
            losses = stack.losses(tokens, predicted)
        weighted = losses * (tokens.shape[1] / inputs.shape[1])
        scaled = [
            state.scaler.scale(loss) for loss, (_, state) in zip(weighted, active, strict=True)
        ]
        torch.stack(scaled).sum().backward()  # type: ignore[no-untyped-call]
        total += weighted.detach()
    stack.share_gradients()
    values: list[float] = total.tolist()
    return values
