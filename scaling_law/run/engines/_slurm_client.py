"""Asks SLURM by its own commands, which need no slurmdbd: sbatch, squeue, scancel and sinfo."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import shutil
import subprocess
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from scaling_law.errors import EngineError, one_line

INSTALL = (
    "install SLURM's commands (Debian: apt-get install slurm-client), run this on a login node of"
    " the cluster, or choose --engine local"
)
# A busy controller answers late; its commands give up by themselves before this.
_TIMEOUT_SECONDS = 120.0
# What the commands say while the controller cannot be asked; anything else is a refusal.
_AWAY = re.compile(
    "contact slurm controller|timed out|Transport endpoint|Zero Bytes|Connection (refused|reset)"
    "|Communication connection failure|temporarily unable|temporarily unavailable"
    "|Unable to connect|backup controller",
    re.IGNORECASE,
)
# What sbatch says when an array is larger than a site allows, or a user has as many jobs as it
# allows; then it takes fewer, or more once some end.
_FULL = re.compile(
    r"SubmitJob|job submit limit|MaxJobCount|Job limit|Invalid job array", re.IGNORECASE
)
# A user's own defaults: squeue and scancel would leave out jobs of ours or wait for an answer, and
# sbatch would make an array of the job that watches, or wait for its end.
_DEFAULTS = ("SQUEUE_", "SCANCEL_", "SINFO_", "SBATCH_ARRAY_INX", "SBATCH_WAIT", "SBATCH_CLUSTERS")
# The states of a job that has ended; in any other it waits or runs, or is about to.
_ENDED = frozenset(
    (
        "BOOT_FAIL", "CANCELLED", "COMPLETED", "DEADLINE", "FAILED", "NODE_FAIL", "OUT_OF_MEMORY",
        "PREEMPTED", "REVOKED", "TIMEOUT",
    )
)  # fmt: skip
_RUNNING = frozenset(("RUNNING", "COMPLETING", "SUSPENDED", "STOPPED", "SIGNALING", "STAGE_OUT"))
# In what sinfo says of a node; "4+" stands for several kinds. A node may have GPUs of two kinds.
_CORES, _GPUS = re.compile(r"^(\d+) cores"), re.compile(r"\bgpu(?::[^:,()]+)?:(\d+)")
# How many jobs one scancel names.
_MOST_NAMED = 500


class Away(Exception):  # noqa: N818 - a state that passes, handled by the caller
    """The controller cannot be asked now; the message is what the command says."""


class Full(Exception):  # noqa: N818 - a state that passes, handled by the caller
    """The site takes no array of this size from the user now; the message is sbatch's."""


@dataclass(frozen=True, kw_only=True)
class JobState:
    """What squeue says of one job, or of one element of an array.

    ``name`` is the job's;
    ``state`` is SLURM's word for it;
    ``reason`` is why it waits or ended, "" for none;
    ``node`` is where it runs or ran, "" before.
    """

    name: str
    state: str
    reason: str
    node: str

    @property
    def is_over(self) -> bool:
        """Whether it neither runs nor will run."""
        return self.state in _ENDED

    @property
    def is_running(self) -> bool:
        """Whether it has a node."""
        return self.state in _RUNNING

    @property
    def words(self) -> str:
        """The state for people: ``running on n1``, ``pending (Priority)``."""
        why = f" ({self.reason})" if self.reason else ""
        return f"{self.state.lower()}{why}" + (f" on {self.node}" if self.is_running else "")


@dataclass(frozen=True, kw_only=True)
class Partition:
    """A partition, as sinfo describes it.

    ``name`` is its name, and ``is_default`` whether a job that names none goes there;
    ``most_seconds`` is the longest that a job may run, None for no limit;
    ``n_nodes`` is how many nodes it has;
    ``nodes`` are the kinds of its nodes: cores, memory, features and GPUs in SLURM's words.
    """

    name: str
    is_default: bool
    most_seconds: float | None
    n_nodes: int
    nodes: tuple[str, ...]

    def devices(self, *, are_gpus: bool) -> int | None:
        """The GPUs or cores of its largest node; None where SLURM does not say it exactly."""
        counts = []
        for node in self.nodes:
            told = [*map(int, (_GPUS if are_gpus else _CORES).findall(node))]
            if not (told or are_gpus):
                return None
            counts.append(sum(told))
        return max(counts, default=0) or None


def require() -> None:
    """Raise ``EngineError`` where a command is missing."""
    for command in ("sbatch", "squeue", "scancel", "sinfo"):
        if shutil.which(command) is None:
            raise EngineError(f"engine slurm: no command {command} here; {INSTALL}")


def _environment() -> dict[str, str]:
    """This process's variables without those of the job that it may run in, and a user's defaults.

    sbatch would take that job's number of tasks, memory and more for the new job's.
    """
    return {
        key: value
        for key, value in os.environ.items()
        if not key.startswith(("SLURM_", "SLURMD_", *_DEFAULTS))
        or key in ("SLURM_CONF", "SLURM_JWT")
    } | {"LC_ALL": "C"}


def ask(*words: str, given: str = "") -> str:
    """What a command prints.

    Raises ``Away`` while the controller cannot be asked, ``Full`` for too many jobs, and
    ``EngineError`` with the command's last line for a refusal.
    """
    try:
        # a session of its own: Ctrl-C, which stops this process after checkpoints, must not kill
        # an sbatch whose job the controller has taken
        done = subprocess.run(
            words, input=os.fsencode(given), capture_output=True, check=False,
            timeout=_TIMEOUT_SECONDS, env=_environment(), start_new_session=True,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        raise Away(f"{words[0]}: no answer in {_TIMEOUT_SECONDS:.0f}s") from None
    except OSError as problem:
        if problem.errno in (errno.EAGAIN, errno.ENOMEM, errno.EMFILE, errno.ENFILE):
            raise Away(f"{words[0]}: {problem.strerror}") from None  # this machine is busy
        raise EngineError(
            f"engine slurm: {words[0]} cannot be run ({problem}); {INSTALL}"
        ) from None
    if done.returncode == 0:
        return done.stdout.decode(errors="replace")
    said = done.stderr.decode(errors="replace")
    lines = [line for line in said.splitlines() if line.strip() and not line.startswith("Try ")]
    lines = lines or [f"exit code {done.returncode}"]
    why = one_line(lines[-1].strip().removeprefix(f"{words[0]}: error: "))
    if done.returncode < 0 or _AWAY.search(said):
        raise Away(f"{words[0]}: {why}")
    if words[0] == "sbatch" and _FULL.search(said):
        raise Full(why)
    raise EngineError(f"engine slurm: {words[0]} refuses: {why}")


def submit(script: str, words: Sequence[str]) -> str:
    """Submit a script; the id of its job. Raises as ``ask``."""
    answer = ask("sbatch", "--parsable", *words, given=script)
    # a site's own lines may stand before, and the name of the cluster may follow
    job = answer.strip().rpartition("\n")[2].partition(";")[0]
    if not job.isdigit():
        raise EngineError(f"engine slurm: sbatch answered {answer!r:.60}, expected a job's number")
    return job


def jobs() -> dict[str, JobState]:
    """All jobs of this user that the controller remembers, by id: ``12``, or ``12_3`` of an array.

    One call serves every job. Raises as ``ask``, but ``Away`` for any failure after an answer: no
    sweep and no job ends because authentication, say, fails for a minute.
    """
    try:
        text = ask(
            "squeue", "--noheader", "--array", "--states=all", f"--user={os.getuid()}",
            "--format=%F|%K|%T|%r|%N|%j",
        )  # fmt: skip
    except EngineError as problem:
        if not _answers:
            raise
        raise Away(str(problem)) from None
    known = {}
    for line in text.splitlines():
        fields = line.split("|", 5)
        if len(fields) == 6:
            job, index, state, reason, node, name = fields
            known[f"{job}_{index}" if index.isdigit() else job] = JobState(
                name=name, state=state, reason="" if reason == "None" else reason, node=node
            )
    _answers[:] = [(time.monotonic(), known)]
    return known


# The last answer of ``jobs``, with its time by the monotonic clock.
_answers: list[tuple[float, dict[str, JobState]]] = []


def recent_jobs(seconds: float) -> dict[str, JobState]:
    """``jobs`` as this process learnt it at most so long ago. Raises as ``ask``."""
    for asked_at, known in _answers:
        if time.monotonic() - asked_at <= seconds:
            return known
    return jobs()


def cancel(ids: Iterable[str], *words: str) -> None:
    """End jobs, or send them the signal that ``words`` name. Jobs that have ended are no error.

    Raises ``Away``.
    """
    named = list(ids)
    for start in range(0, len(named), _MOST_NAMED):
        with contextlib.suppress(EngineError):  # squeue says what became of them
            ask("scancel", "--quiet", *words, *named[start : start + _MOST_NAMED])


def widen(job: str, at_once: int) -> None:
    """Let more jobs of an array run at once. Raises as ``ask``."""
    ask("scontrol", "update", f"JobId={job}", f"ArrayTaskThrottle={at_once}")


def partitions() -> list[Partition]:
    """The partitions that this user sees. Raises as ``ask``."""
    text = ask("sinfo", "--noheader", "--format=%P|%l|%D|%c cores, %m MB, %f, %G")
    kinds: dict[str, dict[str, None]] = {}
    limits: dict[str, str] = {}
    counts: Counter[str] = Counter()
    for line in text.splitlines():
        name, limit, count, kind = line.split("|", 3)
        kinds.setdefault(name, {})[kind.strip()] = None
        limits[name] = limit
        counts[name] += int(count)
    return [
        Partition(
            name=name.rstrip("*"),
            is_default=name.endswith("*"),
            most_seconds=_seconds(limits[name]),
            n_nodes=counts[name],
            nodes=tuple(sorted(kinds[name])),
        )
        for name in kinds
    ]


def _seconds(limit: str) -> float | None:
    """SLURM's ``days-hours:minutes:seconds`` in seconds; None for no limit."""
    days, dash, clock = limit.strip().rpartition("-")
    try:
        numbers = [int(number) for number in clock.split(":")]
        if dash:  # hours come first
            numbers += [0] * (3 - len(numbers))
        seconds = 0.0
        for number in numbers:
            seconds = 60 * seconds + number
        return seconds + 86_400 * int(days or 0)
    except ValueError:
        return None
