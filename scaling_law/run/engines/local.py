"""Runs on this machine: one long-lived worker process per slot, torch loaded once in each."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from scaling_law.errors import EngineError
from scaling_law.files.layout import RunDir
from scaling_law.files.lease import Stillness, hung_seconds, read_lease, stale_seconds
from scaling_law.spec.run import Resources

# glibc gives large freed blocks back to the kernel at once, so every step would fault its
# logits in again; these keep them (32 MiB is the largest threshold glibc accepts).
_ALLOCATOR = {
    "MALLOC_MMAP_THRESHOLD_": str(32 * 2**20),
    "MALLOC_TRIM_THRESHOLD_": str(2**30),
    "MALLOC_TOP_PAD_": str(64 * 2**20),
}
# Behind it comes the pid of whoever it works for.
WORKER = (sys.executable, "-m", "scaling_law.run.worker", "--serve")
# How often a worker at work is looked at.
_LOOK_SECONDS = 1.0


def worker_environment() -> dict[str, str]:
    """The environment of a single-thread worker; its speed was measured under the same."""
    return {**os.environ, **_ALLOCATOR, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}


@dataclass(frozen=True)
class Handle:
    """Submitted runs: which worker has them."""

    run_dirs: tuple[RunDir, ...]
    worker: int


class _Worker:
    """A worker process and the thread that reads its answers."""

    def __init__(self, log: Path) -> None:
        self.log: IO[bytes] = log.open("ab")
        self.stillness = Stillness()
        self.answers: queue.SimpleQueue[str] = queue.SimpleQueue()
        try:
            self.process = subprocess.Popen(
                [*WORKER, str(os.getpid())],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self.log,
                env=worker_environment(),
                text=True,
                # Ctrl-C in a terminal goes to the runner, which asks the workers to checkpoint.
                start_new_session=True,
            )
        except OSError as problem:
            raise EngineError(f"a worker could not be started: {problem}") from None
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        with self.process.stdout as answers:
            for line in answers:
                self.answers.put(line)

    def send(self, run_dirs: Sequence[RunDir]) -> None:
        assert self.process.stdin is not None
        self.stillness = Stillness()
        with contextlib.suppress(BrokenPipeError):  # seen as dead by the next state()
            self.process.stdin.write(json.dumps([str(run_dir.path) for run_dir in run_dirs]) + "\n")
            self.process.stdin.flush()

    def is_hung(self, run_dirs: Sequence[RunDir]) -> bool:
        """Whether it has shown no sign of life for too long, by its leases' counters.

        Until it has a lease, while torch is loaded say, it may take as long as a step.
        """
        seen = [read_lease(run_dir.lease) for run_dir in run_dirs]
        own = [s for s in seen if s and s.process and s.process.pid == self.process.pid]
        limit_seconds = stale_seconds() if own else hung_seconds()
        return self.stillness.seconds(own) > limit_seconds

    def close(self, seconds: float) -> None:
        assert self.process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.close()
        try:
            self.process.wait(timeout=seconds)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self._reader.join()
        assert self.process.stdout is not None
        self.process.stdout.close()
        self.log.close()


class LocalEngine:
    """``slots`` single-thread workers. A run is over when its worker answers or dies."""

    def __init__(self, slots: int, log: Path) -> None:
        self.slots = slots
        self._log = log
        self._workers: dict[int, _Worker] = {}
        self._busy: dict[int, Handle] = {}
        self._looked: dict[int, float] = {}

    def submit(self, run_dirs: Sequence[RunDir], resources: Resources) -> Handle:
        """Start ``run_dirs`` (one, or those of one stack) on a free slot.

        Raises ``EngineError`` when there is none.
        """
        free = [index for index in range(self.slots) if index not in self._busy]
        if not free:
            raise EngineError("no free slot: submit() before a run was over")
        index = next((i for i in free if i in self._workers), free[0])
        worker = self._workers.get(index)
        if worker is None or worker.process.poll() is not None:
            if worker is not None:
                worker.close(0.0)
            self._workers[index] = worker = _Worker(self._log)
        handle = Handle(tuple(run_dirs), index)
        self._busy[index] = handle
        worker.send(run_dirs)
        return handle

    def state(self, handle: Handle) -> str:
        """``running``; ``over``: answered or dead, the folders' files say with what result;
        ``elsewhere``: over, and somebody else has or took some of it; ``hung``: over, killed
        because it gave no sign of life.
        """
        if self._busy.get(handle.worker) != handle:
            return "over"
        worker = self._workers[handle.worker]
        word, dead = "over", worker.process.poll() is not None
        try:
            answer = json.loads(worker.answers.get_nowait())
            word = "elsewhere" if answer["elsewhere"] else "over"
        except queue.Empty:
            if not dead and not self._has_hung(worker, handle):
                return "running"
            word = "over" if dead else "hung"
        del self._busy[handle.worker]
        return word

    def _has_hung(self, worker: _Worker, handle: Handle) -> bool:
        now = time.monotonic()
        if now - self._looked.get(handle.worker, 0.0) < _LOOK_SECONDS:
            return False
        self._looked[handle.worker] = now
        if not worker.is_hung(handle.run_dirs):
            return False
        worker.process.kill()
        worker.process.wait()
        return True

    def cancel(self, handle: Handle) -> None:
        """Ask the run's worker to checkpoint and end."""
        worker = self._workers.get(handle.worker)
        if worker is not None and worker.process.poll() is None:
            worker.process.send_signal(signal.SIGTERM)

    def close(self, seconds: float = 10.0) -> None:
        """End every worker; one that does not end within ``seconds`` is killed."""
        for worker in self._workers.values():
            worker.close(seconds)
        self._workers.clear()
        self._busy.clear()
