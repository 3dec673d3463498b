"""Several runs of one shape trained in step, by one program; each keeps its own everything else.

Files, curve, checkpoints, learning rate, optimiser, clipping and record are those of ``loop``,
run by run: a run can be stopped in one company and go on in another, or alone, to the same bits
(on a CPU: a test). Only the forward and backward passes are shared.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence

import torch

from scaling_law.record import RunRecord
from scaling_law.train import device, loop
from scaling_law.train.loop import Job, Pace, State
from scaling_law.train.stack import StackedGPT

Member = tuple[Job, State]
Over = Callable[[Job, RunRecord | None], None]


def train_stack(jobs: Sequence[Job], over: Over) -> None:
    """Train ``jobs`` to their ends, telling ``over`` each record as soon as there is one.

    ``over`` gets None for a run that was asked to stop: its checkpoint has been written. Runs
    resumed at different steps wait for the last of them. Raises as ``loop.train_run`` does.
    """
    device.prepare_process(jobs[0].resources.device, jobs[0].resources.threads)
    going = [(job, loop.begin(job)) for job in jobs]
    paces = {job.spec.run_id: Pace(state.step) for job, state in going}
    stack: StackedGPT | None = None
    while going:
        lowest = min(state.step for _, state in going)
        active = [member for member in going if member[1].step == lowest]
        models = tuple(state.model for _, state in active)
        if stack is None or stack.members != models:
            stack = StackedGPT(models)
        for member, problem in zip(active, _step(active, stack), strict=True):
            job, state = member
            if _settle(job, state, problem, paces[job.spec.run_id], over):
                going.remove(member)


def _step(active: Sequence[Member], stack: StackedGPT) -> list[str]:
    """One step of every member; why each has diverged, "" where all is well."""
    problems = []
    with _shared_clock(active):
        losses = loop.halving_on_out_of_memory(active, lambda: _gradients(active, stack))
        for (job, state), loss in zip(active, losses, strict=True):
            problems.append(loop.apply_gradients(job, state, loss))
        stack.drop_gradients()
    return problems


def _settle(job: Job, state: State, problem: str, pace: Pace, over: Over) -> bool:
    """What is due after a step; whether the run is over, or was asked to stop."""
    if problem:
        over(job, loop.make_record(job, state, None, problem))
        return True
    loop.between_steps(job, state)
    pace.tell(job, state.step)
    if state.step == job.spec.total_steps:
        over(job, loop.finish(job, state))
        return True
    if job.should_stop():
        loop.save(job, state)
        over(job, None)
        return True
    return False


@contextlib.contextmanager
def _shared_clock(active: Sequence[Member]) -> Iterator[None]:
    """The time inside, in equal shares."""
    with contextlib.ExitStack() as clocks:
        for _, state in active:
            clocks.enter_context(state.clock(1 / len(active)))
        yield


def _gradients(active: Sequence[Member], stack: StackedGPT) -> list[float]:
    """Each member's mean loss over its batch; its gradients left on its weights."""
    stack.drop_gradients()
    first, kind = active[0][0], active[0][0].resources.device
    context = device.autocast(kind, first.spec.precision)
    ids = torch.stack([loop.batch_ids(job, state) for job, state in active])
    total = torch.zeros(len(active), dtype=torch.float32, device=kind)
    for part in torch.split(ids, active[0][1].micro_seqs, dim=1):
        tokens = part.to(kind, non_blocking=True)
        with context():
            losses = stack.losses(tokens[..., :-1], tokens[..., 1:])
        weighted = losses * (part.shape[1] / ids.shape[1])
        scaled = [
            state.scaler.scale(loss) for loss, (_, state) in zip(weighted, active, strict=True)
        ]
        torch.stack(scaled).sum().backward()  # type: ignore[no-untyped-call]
        total += weighted.detach()
    stack.share_gradients()
    found: list[float] = total.tolist()
    return found
