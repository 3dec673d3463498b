"""Train a large sweep on a simulated cluster: the real plan and runner on a virtual clock.

    PYTHONPATH=. python benchmarks/engines.py [--trunks 2000] [--slots 256] [--folder DIR]

A trunk has four branches. A run takes its planned time with 20% noise. A node is lost once in a
hundred hours and is away for ten minutes; its run continues from its checkpoint of every minute.
The script measures the makespan over its lower bound (work over slots, or the longest chain), how
often a run is trained to its end, and the CPU seconds and memory of the runner, without the
cluster's. ``engine_overhead.py`` measures real engines.
"""

from __future__ import annotations

import argparse
import heapq
import itertools
import random
import resource
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest import mock

from scaling_law import console
from scaling_law.files.layout import SweepDir
from scaling_law.files.record import write_record
from scaling_law.plan.make import make_plan
from scaling_law.plan.packing import chain_seconds
from scaling_law.plan.plan import Plan, PlannedRun, tasks_of
from scaling_law.run import peers, runner
from scaling_law.run.engines import SubmissionState
from scaling_law.run.pinned import keep_plan
from tests.fakes import config_of, cpu_profile, record_of

NOISE, LOST_PER_HOUR, AWAY_SECONDS, CHECKPOINT_SECONDS = 0.2, 0.01, 600.0, 60.0
CONFIG = """
name: simulated
data: {{corpus: text, tokenizer: bytes, vocab_size: 257}}
grid:
  - sizes: [{sizes}]
    tokens: [1M, 2M, 4M, 8M]
    seeds: [{seeds}]
precision: fp32
stacking: off
keep_weights: none
"""


@dataclass
class Clock:
    """A clock that jumps: sleeping lets everything happen that is due meanwhile."""

    now: float = 0.0
    own_cpu: float = 0.0  # CPU seconds of what happened on the cluster
    _events: list[tuple[float, int, Callable[[], None]]] = field(default_factory=list)
    _order: Any = field(default_factory=itertools.count)

    def monotonic(self) -> float:
        """Return the seconds since the sweep began."""
        return self.now

    def time(self) -> float:
        """Return the seconds since 1970, by the machine's own clock."""
        return time.time()

    def strftime(self, form: str) -> str:
        """Return the time of day, by the machine's own clock."""
        return time.strftime(form)

    def at(self, when: float, do: Callable[[], None]) -> None:
        """Let something happen at a time."""
        heapq.heappush(self._events, (when, next(self._order), do))

    def sleep(self, seconds: float) -> None:
        """Jump to the end of the pause, or to the next event if that is later."""
        began = time.process_time()
        until = self.now + seconds
        if self._events and self._events[0][0] > until:
            until = self._events[0][0]
        while self._events and self._events[0][0] <= until:
            self.now, _, do = heapq.heappop(self._events)
            do()
        self.now = max(self.now, until)
        self.own_cpu += time.process_time() - began


@dataclass(eq=False)
class Submission:
    """A run on a node."""

    run: PlannedRun
    state: SubmissionState = "running"


class Cluster:
    """An engine that loses nodes; ``worked`` are the seconds that its nodes trained."""

    resubmissions = 2

    def __init__(self, sweep: SweepDir, plan: Plan, slots: int, clock: Clock, seed: int) -> None:
        self.slots, self.worked, self.lost = slots, 0.0, 0
        self.ends: Counter[str] = Counter()
        self._sweep, self._clock, self._chance = sweep, clock, random.Random(seed)
        self.seconds = {
            run.run_id: run.seconds * self._chance.uniform(1 - NOISE, 1 + NOISE)
            for run in plan.runs
        }
        self._done: dict[str, float] = {}  # seconds that a checkpoint has
        self._steps = {run.run_id: run.spec.total_steps for run in plan.runs}

    def submit(self, runs: Sequence[PlannedRun]) -> Submission:
        """Start a run, and decide now what becomes of it."""
        began_cpu = time.process_time()
        (run,) = runs
        submission = Submission(run)
        began, done = self._clock.now, self._done.get(run.run_id, 0.0)
        left = self.seconds[run.run_id] - done
        until_lost = self._chance.expovariate(LOST_PER_HOUR / 3600)
        for step in run.resources.save_steps:
            after = step / self._steps[run.run_id] * self.seconds[run.run_id] - done
            if after <= left and after < until_lost:
                path = self._sweep.run(run.run_id).checkpoint(step)
                self._clock.at(began + max(after, 0.0), lambda path=path: _touch(path))
        if until_lost < left:
            self._clock.at(began + until_lost, lambda: self._lose(submission, until_lost))
        else:
            self._clock.at(began + left, lambda: self._finish(submission, left))
        self._clock.own_cpu += time.process_time() - began_cpu
        return submission

    def _lose(self, submission: Submission, worked: float) -> None:
        run_id = submission.run.run_id
        self._done[run_id] = self._done.get(run_id, 0.0) + worked // CHECKPOINT_SECONDS * 60
        _touch(self._sweep.run(run_id).checkpoint(1 + int(self._done[run_id])))
        submission.state = "stopped"
        self.worked, self.lost, self.slots = self.worked + worked, self.lost + 1, self.slots - 1
        self._clock.at(self._clock.now + AWAY_SECONDS, self._return)

    def _return(self) -> None:
        self.slots += 1

    def _finish(self, submission: Submission, worked: float) -> None:
        run = submission.run
        write_record(self._sweep.run(run.run_id), record_of(run.spec))
        self.worked += worked
        self.ends[run.run_id] += 1
        submission.state = "ended"

    def state(self, submission: Submission) -> SubmissionState:
        """Return the state of a submission."""
        return submission.state

    def cancel(self, submission: Submission) -> None:
        """Nothing is cancelled here."""

    def close(self) -> None:
        """Nothing runs beyond the end of the sweep."""


def _touch(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()


def planned(trunks: int, slots: int) -> tuple[Any, Plan]:
    """Plan ``trunks`` trunks of ten sizes, with four branches each."""
    widths = [32 * (2 + number) for number in range(10)]
    sizes = ", ".join(f"{{n_layer: 2, d_model: {width}, n_head: 2}}" for width in widths)
    seeds = ", ".join(map(str, range(max(trunks // len(widths), 1))))
    config = config_of(CONFIG.format(sizes=sizes, seeds=seeds))
    profile = cpu_profile(slots=slots, memory_bytes=slots * 10**9)
    return config, make_plan(config, profile, train_tokens=10**8)


def lower_bound(plan: Plan, seconds: dict[str, float], slots: int) -> float:
    """Return the work over the slots, or the longest chain, whichever is longer."""
    tasks, index = tasks_of(plan.runs)
    noise = {index[run.run_id]: seconds[run.run_id] / run.seconds for run in plan.runs}
    own = [
        type(task)(
            task.seconds * noise[place],
            task.parent,
            task.after_seconds * (noise[task.parent] if task.parent is not None else 1.0),
        )
        for place, task in enumerate(tasks)
    ]
    return max(sum(seconds.values()) / slots, max(chain_seconds(own)))


def simulate(folder: Path, trunks: int, slots: int, seed: int) -> str:
    """Run the sweep, and return the figures as a line."""
    config, plan = planned(trunks, slots)
    sweep, clock = SweepDir(folder / "sweep"), Clock()
    keep_plan(plan, config, sweep)
    cluster = Cluster(sweep, plan, slots, clock, seed)
    with ExitStack() as patches:
        for module in (runner, peers):
            patches.enter_context(mock.patch.object(module, "time", clock))
        began = time.process_time()
        outcome = runner.Runner(plan, sweep, cluster).run()
        cpu = time.process_time() - began - clock.own_cpu
    left = list({**outcome.failed, **outcome.blocked}.items())
    assert len(outcome.done) == len(plan.runs), f"not done: {left[:3]}"
    bound = lower_bound(plan, cluster.seconds, slots)
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000
    again = sum(count - 1 for count in cluster.ends.values())
    parts = (
        f"{len(plan.runs)} runs ({trunks} trunks) on {slots} slots: makespan",
        f"{clock.now / 3600:.2f} h, {clock.now / bound:.3f} x the lower bound;",
        f"{cluster.lost} nodes lost, {again} runs done twice;",
        f"the runner took {1000 * cpu / len(plan.runs):.2f} CPU ms a run, {peak_mb:.0f} MB",
    )
    return " ".join(parts)


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else "")
    parser.add_argument("--trunks", type=int, default=2000)
    parser.add_argument("--slots", type=int, default=256)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", type=Path, help="where the sweep is written (a temporary one)")
    options = parser.parse_args()
    console.set_loudness(quiet=True, verbose=False)
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        print(simulate(Path(folder), options.trunks, options.slots, options.seed))


if __name__ == "__main__":
    main()
