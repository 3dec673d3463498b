"""Trains a run by the user's own command: starts and follows it, stops it, makes the record.

The command writes one file, a JSON line a point (docs/trainers.md). Its exit codes are those of our
worker: 0 for a finished run, 75 for one that stopped after a checkpoint. It runs in a process group
of its own, which ends with the run.
"""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import os
import platform
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from scaling_law import __version__
from scaling_law.data.dataset import Dataset
from scaling_law.decode import build
from scaling_law.errors import EXIT_PREEMPTED, ConfigError, RunFailed, one_line
from scaling_law.files import checksum
from scaling_law.files import record as records
from scaling_law.files.code_version import git_commit
from scaling_law.files.layout import RunDir
from scaling_law.files.lease import LeaseLost
from scaling_law.files.process import Process, process_with
from scaling_law.files.record import RunRecord
from scaling_law.run.command_metrics import BadMetricsError, Metrics
from scaling_law.run.sweep_state.warnings import LOSS_TOO_HIGH
from scaling_law.spec.counts import count_params, flops_6nd, train_flops
from scaling_law.spec.resources import Resources
from scaling_law.spec.run import RunSpec
from scaling_law.spec.trainer import TrainerSpec, placeholder_values
from scaling_law.units import format_seconds

_POLL_SECONDS = 0.2
_LONGEST_POLL_SECONDS = 30.0
# How long a command may take to write its state once it is asked to stop.
STOP_SECONDS = 240.0
# A silence is no hang before it is so many times as long as the longest one before.
_LONGER = 4.0
_OUTPUT = "output.txt"
_LAST_BYTES = 4096


@dataclass(kw_only=True)
class CommandJob:
    """The input of one call of ``run_command``.

    ``spec``: the run; ``resources``: how it is executed; ``run_dir``: takes its files;
    ``dataset``: the data that it names;
    ``should_stop``: called several times a second; each call also shows that the run is alive;
    ``progress(step, tokens_per_second)``: called with every new point;
    ``log``: takes one line.
    """

    spec: RunSpec
    resources: Resources
    run_dir: RunDir
    dataset: Dataset
    should_stop: Callable[[], bool]
    progress: Callable[[int, float], None]
    log: Callable[[str], None]

    @property
    def trainer(self) -> TrainerSpec:
        """The command."""
        assert self.spec.trainer is not None, "the caller checks"
        return self.spec.trainer

    @property
    def metrics_file(self) -> Path:
        """The file that the command writes."""
        return self.run_dir.trainer / self.trainer.metrics_name

    @property
    def output(self) -> Path:
        """What the command prints."""
        return self.run_dir.trainer / _OUTPUT


def run_command(job: CommandJob) -> RunRecord | None:
    """Train ``job.spec`` to its end and return its record, not yet written.

    None when ``job.should_stop`` says so and the command has ended. Raises ``RunFailed`` where the
    command cannot be started, fails, or does not write what it must.
    """
    _end_earlier(job)
    job.run_dir.trainer.mkdir(exist_ok=True)
    metrics = _earlier_points(job) or _no_points(job)
    while True:
        resuming, before = bool(metrics.points), metrics.lines_read
        with _started(job, resuming=resuming) as process:
            ended = _follow(job, process, metrics)
        if isinstance(ended, RunRecord) or ended is None:
            return ended
        has_more = metrics.lines_read > before
        if ended.hung:
            raise RunFailed(f"{job.spec.label}: {ended.why}")
        if ended.stopped and has_more and job.trainer.resume is not None:
            job.log(f"{ended.why}; resuming")
        elif resuming and not has_more and not ended.stopped:
            # a kill may come before its first state, or within one
            job.log(f"it could not resume ({ended.why}); starting from the beginning")
            metrics = _no_points(job)
        else:
            raise RunFailed(f"{job.spec.label}: {ended.why}")


def _earlier_points(job: CommandJob) -> Metrics | None:
    """The points from which the command resumes; None where it starts from the beginning."""
    if job.trainer.resume is None:
        return None
    metrics = Metrics(job.spec, job.metrics_file, records.read_curve(job.run_dir))
    try:
        metrics.read()
    except BadMetricsError as problem:
        job.log(f"{problem}; starting from the beginning")
        return None
    metrics.cut()
    records.write_curve(job.run_dir, [point.curve for point in metrics.points])
    return metrics if metrics.points and not metrics.diverged else None


def _no_points(job: CommandJob) -> Metrics:
    """No points, and no metrics file."""
    job.metrics_file.unlink(missing_ok=True)
    records.write_curve(job.run_dir, [])
    return Metrics(job.spec, job.metrics_file)


@dataclass(frozen=True)
class _Unfinished:
    """A command that ended before its run.

    ``why``: how it ended, in words.
    ``stopped``: whether its exit code says that it stopped after a checkpoint.
    ``hung``: whether it was ended because it neither printed nor wrote a point.
    """

    why: str
    stopped: bool
    hung: bool = False


class _Silence:
    """For how long a command has neither printed nor written to its metrics file.

    ``seconds``: how long that may last; None for ever. A command that paused for long before, and
    then continued, may pause for ``_LONGER`` times as long again.
    """

    def __init__(self, job: CommandJob) -> None:
        self._files = (job.output, job.metrics_file)
        self._seconds = job.resources.silent_seconds
        self._seen: tuple[tuple[int, int], ...] = ()
        self._last, self._silent, self._longest = time.monotonic(), 0.0, 0.0

    def is_too_long(self) -> bool:
        """Look at the files, and say whether the command counts as hung."""
        if self._seconds is None:
            return False
        now, seen = time.monotonic(), tuple(map(_size_and_time, self._files))
        # a longer pause was our own: a scheduler suspends the command and its worker together
        self._silent += min(now - self._last, _LONGEST_POLL_SECONDS)
        self._last = now
        if seen != self._seen:
            self._longest = max(self._longest, self._silent)
            self._seen, self._silent = seen, 0.0
        return self._silent > max(self._seconds, _LONGER * self._longest)

    @property
    def text(self) -> str:
        """The silence in words."""
        return format_seconds(self._silent)


def _size_and_time(path: Path) -> tuple[int, int]:
    try:
        stat = path.stat()
    except OSError:  # not written yet
        return 0, 0
    return stat.st_size, stat.st_mtime_ns


def _follow(
    job: CommandJob, process: subprocess.Popen[bytes], metrics: Metrics
) -> RunRecord | _Unfinished | None:
    """Wait for the command, taking its points as they come.

    Returns the record of a run that ended, None for one that was asked to stop.
    """
    asked, hung, silence = False, "", _Silence(job)
    while (code := process.poll()) is None:
        if job.should_stop():
            asked = True
            code = _stop(job, process)
            break
        _read(job, metrics)
        if metrics.diverged:
            _stop(job, process, signal.SIGKILL)
            return _record(job, metrics, metrics.diverged)
        if silence.is_too_long():
            hung = f"the command neither printed nor wrote a point for {silence.text} and was ended"
            job.log(hung)
            code = _stop(job, process)
            break
        time.sleep(_POLL_SECONDS)
    _read(job, metrics, ended=True)
    if metrics.diverged:
        return _record(job, metrics, metrics.diverged)
    if (code == 0 or hung) and not metrics.missing:
        return _record(job, metrics, metrics.worse_than_nothing, hung)
    if hung:
        more = "; trainer.silent_for sets how long it may, null for ever"
        return _Unfinished(_ended(job, hung + more, metrics), stopped=False, hung=True)
    if asked:
        how = "after a checkpoint" if code == EXIT_PREEMPTED else f"with exit code {code}"
        job.log(f"the command stopped {how}, at step {metrics.last_step}")
        return None
    return _Unfinished(_why_ended(job, code, metrics), code == EXIT_PREEMPTED)


def _points_of(job: CommandJob, metrics: Metrics, *, ended: bool = False) -> int:
    """Read new points; returns how many of those before stay. Raises ``RunFailed``."""
    try:
        return metrics.read(ended=ended)
    except BadMetricsError as problem:
        raise RunFailed(f"{job.spec.label}: {problem}; see docs/trainers.md") from None


def _read(job: CommandJob, metrics: Metrics, *, ended: bool = False) -> None:
    """Take new points to the curve. Raises ``RunFailed`` for a line that cannot be read."""
    kept = len(metrics.points)
    first_new = _points_of(job, metrics, ended=ended)
    points = metrics.points
    if first_new < kept:  # a resumed command goes over some steps again
        records.write_curve(job.run_dir, [point.curve for point in points])
    else:
        for point in points[first_new:]:
            records.append_curve(job.run_dir, point.curve)
    if len(points) > first_new:
        job.progress(points[-1].curve.step, metrics.tokens_per_second)
        if kept == 0 and metrics.too_high_at_first:
            job.log(f"{LOSS_TOO_HIGH}{metrics.too_high_at_first}")


@contextlib.contextmanager
def _started(job: CommandJob, *, resuming: bool) -> Iterator[subprocess.Popen[bytes]]:
    """The command's process, which has ended when this returns."""
    values = placeholder_values(job.spec, job.run_dir.trainer.resolve())
    words = job.trainer.filled(values, resuming=resuming)
    if shutil.which(words[0]) is None:
        raise RunFailed(
            f"{job.spec.label}: {words[0]}: no such program, in {Path.cwd()} or on the PATH; the"
            " command runs in the folder where `slaw run` was started"
        )
    environment = {"OMP_NUM_THREADS": str(job.resources.threads), **os.environ}
    job.run_dir.guard()
    with job.output.open("ab") as output:
        output.write(f"# {one_line(' '.join(words))}\n".encode())
        output.flush()
        try:
            process = subprocess.Popen(
                words,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=environment,
                start_new_session=True,
            )
        except OSError as problem:
            raise RunFailed(
                f"{job.spec.label}: {words[0]} cannot be started ({problem.strerror}); a script"
                " needs a first line such as #!/bin/sh, or its interpreter in the command"
            ) from None
    job.log(f"{'resumed' if resuming else 'started'} the command, pid {process.pid}")
    try:
        identity = dataclasses.asdict(process_with(process.pid))
        checksum.write(job.run_dir.trainer_process, identity, job.run_dir.guard)
        yield process
    finally:
        _kill_group(process.pid)  # what it started, too
        process.wait()
        with contextlib.suppress(LeaseLost):  # then the file is that of another worker
            job.run_dir.guard()
            job.run_dir.trainer_process.unlink(missing_ok=True)


def _stop(job: CommandJob, process: subprocess.Popen[bytes], number: int = signal.SIGTERM) -> int:
    """Ask the command to stop, and kill it where it does not; returns its exit code."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, number)
    deadline = time.monotonic() + STOP_SECONDS
    while process.poll() is None and time.monotonic() < deadline:
        job.should_stop()  # the run is still alive
        time.sleep(_POLL_SECONDS)
    if process.poll() is None:
        job.log(f"the command did not stop in {STOP_SECONDS:g} s and was killed")
    _kill_group(process.pid)
    return process.wait()


def _kill_group(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)


def _end_earlier(job: CommandJob) -> None:
    """End a command that outlived the worker that started it: two would write one folder."""
    path = job.run_dir.trainer_process
    if not path.is_file():
        return
    try:
        earlier = build(Process, checksum.read(path, "it is not needed"))
    except (ConfigError, ValueError, TypeError, KeyError):
        earlier = None
    if earlier is not None and earlier.is_surely_alive():
        job.log(f"ended the command of an earlier worker, {earlier.description}")
        _kill_group(earlier.pid)
    path.unlink(missing_ok=True)


def _why_ended(job: CommandJob, code: int, metrics: Metrics) -> str:
    """How a command ended that did not finish its run, and what to do."""
    if code < 0:
        how = f"the command was ended by signal {-code}"
    elif code == EXIT_PREEMPTED:
        how = f"the command stopped with exit code {code}"
    else:
        how = f"the command ended with exit code {code}"
    return _ended(job, how, metrics)


def _ended(job: CommandJob, how: str, metrics: Metrics) -> str:
    """How a command ended, what its run lacks, and what it printed last."""
    if missing := metrics.missing:
        how += f"; {missing}"
    last = _last_line(job.output)
    said = f"; its last line: {last}" if last else ""
    return f"{how}{said}; all it printed is in {job.output}"


def _last_line(path: Path) -> str:
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - _LAST_BYTES))
        lines = file.read().decode(errors="replace").splitlines()
    words = [line.strip() for line in lines if line.strip() and not line.startswith("# ")]
    return one_line(words[-1])[:200] if words else ""


def _record(job: CommandJob, metrics: Metrics, problem: str, note: str = "") -> RunRecord:
    """The record of a run that ended, with a ``note``; diverged where there is a ``problem``."""
    spec, last = job.spec, metrics.last
    counts = count_params(spec.model)
    params = metrics.counts
    total = params.get("params", counts.total)
    tokens = last.curve.tokens if last is not None else 0
    flops = metrics.flops(tokens)
    if flops is None:
        flops = flops_6nd(total, tokens) if params else train_flops(spec.model, tokens)
    validated = metrics.validated
    loss = None if problem else _final_loss(metrics)
    seconds = last.curve.seconds if last is not None else 0.0
    return RunRecord(
        run_id=spec.run_id,
        spec=spec,
        status="diverged" if problem else "done",
        kind=spec.kind,
        params_total=total,
        params_non_embedding=params.get("params_non_embedding", params.get("params"))
        or counts.non_embedding,
        params_matmul=params.get("params_matmul", params.get("params")) or counts.matmul,
        tokens=tokens,
        tokens_unique=min(tokens, params.get("tokens_unique", tokens)),
        flops_exact=flops,
        flops_6nd=flops_6nd(total, tokens),
        flops_spent=flops,
        val_loss_nats=loss,
        val_loss_sem_nats=None if problem or validated is None else validated.loss_sem,
        val_bits_per_byte=None,
        seconds=round(seconds, 3),
        tokens_per_second=round(tokens / max(seconds, 1e-9), 1),
        peak_memory_bytes=0,
        device="as the command chooses",
        precision_reason="as the command chooses",
        threads=job.resources.threads,
        micro_seqs=spec.batch_seqs,
        corpus_fingerprint=job.dataset.fingerprint,
        versions={"slaw": __version__, "python": platform.python_version()},
        git_commit=git_commit(),
        finished_at=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        message=problem or "; ".join(filter(None, (note, *_notes_on_loss(metrics)))),
        metrics=dict(last.curve.metrics) if last is not None else {},
        curve_sha256=records.curve_digest([point.curve for point in metrics.points]),
    )


def _final_loss(metrics: Metrics) -> float:
    loss = metrics.final_loss
    assert loss is not None, "a whole run has points"
    return loss


def _notes_on_loss(metrics: Metrics) -> Iterator[str]:
    """What a reader should know of the losses; nothing for a validation loss of the last point."""
    point = metrics.validated
    if point is None:
        yield "the command wrote no val_loss: the loss is that of training"
    elif point.curve.step < metrics.last_step:
        yield f"the last val_loss is of step {point.curve.step} of {metrics.last_step}"
    if metrics.too_high_at_first:
        yield metrics.too_high_at_first
