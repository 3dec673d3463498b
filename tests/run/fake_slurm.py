"""SLURM's commands in memory: what they print, and jobs that are trained here or as processes."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
from collections.abc import Callable
from dataclasses import dataclass, field

from scaling_law.errors import EngineError
from scaling_law.run.engines import _slurm_client as client
from scaling_law.run.engines import _slurm_worker as worker
from scaling_law.run.engines._slurm_client import Away, Full
from scaling_law.run.engines._slurm_files import Files, Voice

_SIGNALS = {"USR1": signal.SIGUSR1, "KILL": signal.SIGKILL}


@dataclass
class Job:
    """A job, or an element of an array.

    ``words`` are those of its sbatch;
    ``script`` is what it runs.
    """

    name: str
    element: int
    words: tuple[str, ...]
    script: str
    state: str = "PENDING"
    reason: str = "Priority"
    node: str = ""
    process: subprocess.Popen[bytes] | None = None
    is_cancelled: bool = False


@dataclass
class FakeSlurm:
    """A cluster of which a test decides what happens.

    ``files`` are those of the sweep, for jobs that are trained in this process;
    ``work`` is called for each job that starts, and gives its state afterwards;
    ``processes`` starts each script by bash instead;
    ``away`` and ``full`` make every command say that; ``lost_answer`` accepts the next submission
    and does not answer;
    ``most`` is the largest array that it takes, ``widens`` whether an array may get more jobs at
    once.
    """

    files: Files | None = None
    work: Callable[[str, Job], str] | None = None
    processes: bool = False
    away: bool = False
    full: bool = False
    most: int = 1000
    lost_answer: bool = False
    widens: bool = True
    sinfo: str = "work*|1-00:00:00|2|4 cores, 2000 MB, (null), (null)\n"
    jobs: dict[str, Job] = field(default_factory=dict)
    calls: list[tuple[str, ...]] = field(default_factory=list)
    _last: int = 0

    def __call__(self, *words: str, given: str = "") -> str:
        """Answer as ``client.ask`` does."""
        self.calls.append(words)
        if self.away:
            raise Away
        answer = {
            "sbatch": self._sbatch, "squeue": self._squeue, "scancel": self._scancel,
            "sinfo": lambda words, given: self.sinfo, "scontrol": self._scontrol,
        }[words[0]]  # fmt: skip
        return answer(words, given)

    def count(self, command: str) -> int:
        """How often a command was asked."""
        return sum(words[0] == command for words in self.calls)

    def option(self, name: str) -> list[str]:
        """The values of an option, one for each sbatch that had it."""
        given = [word for words in self.calls if words[0] == "sbatch" for word in words]
        return [word.partition("=")[2] for word in given if word.partition("=")[0] == name]

    def _sbatch(self, words: tuple[str, ...], given: str) -> str:
        size = int(re.findall(r"--array=0-(\d+)%", " ".join(words) + " --array=0-0%")[0]) + 1
        if self.full or size > self.most:
            raise Full("Job violates policy (job submit limit)")
        if "--partition=closed" in words:
            raise EngineError("engine slurm: sbatch refuses: User's group not permitted")
        self._last += 1
        options = dict(word.partition("=")[::2] for word in words)
        array = re.fullmatch(r"0-(\d+)%\d+", options.get("--array", ""))
        for element in range(int(array[1]) + 1 if array else 1):
            job = f"{self._last}_{element}" if array else str(self._last)
            self.jobs[job] = Job(options["--job-name"], element, words, given)
            if self.processes:
                self._start(job)
        if self.lost_answer:
            self.lost_answer = False
            raise Away
        return f"{self._last}\n"

    def _start(self, job: str) -> None:
        one = self.jobs[job]
        number, _, element = job.partition("_")
        own = {"SLURM_JOB_ID": number, "SLURMD_NODENAME": "fake1"}
        if element:
            own |= {"SLURM_ARRAY_JOB_ID": number, "SLURM_ARRAY_TASK_ID": element}
        one.process = subprocess.Popen(
            ["bash", "-c", one.script], env={**os.environ, **own}, start_new_session=True
        )
        one.state, one.reason, one.node = "RUNNING", "None", "fake1"

    def _squeue(self, words: tuple[str, ...], given: str) -> str:
        for job, one in self.jobs.items():
            if one.process is not None and one.state == "RUNNING":
                code = one.process.poll()
                if code is not None:
                    one.state = "COMPLETED" if code == 0 else "FAILED"
                    one.state = "CANCELLED" if one.is_cancelled else one.state
            elif one.state == "PENDING" and self.work is not None:
                one.node = "fake1"
                one.state, one.reason = self.work(job, one), "None"
        lines = {}
        for job, one in self.jobs.items():
            number, _, element = job.partition("_")
            all_of_it = [
                other for name, other in self.jobs.items() if name.startswith(f"{number}_")
            ]
            if element and all(each.state == "CANCELLED" and not each.node for each in all_of_it):
                element = ""  # no job of the array was ever made
            lines[number, element] = (
                f"{number}|{element or 'N/A'}|{one.state}|{one.reason}|{one.node}|{one.name}\n"
            )
        return "".join(lines.values())

    def _scancel(self, words: tuple[str, ...], given: str) -> str:
        number = next((word[9:] for word in words if word.startswith("--signal=")), "")
        for job in words[1:]:
            one = self.jobs.get(job)
            if one is None:
                continue
            if one.state == "PENDING" and not number:
                one.state = "CANCELLED"
            elif one.state == "RUNNING" and "--state=PENDING" not in words:
                if one.process is not None:
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(one.process.pid, _SIGNALS.get(number, signal.SIGTERM))
                elif number == "KILL":
                    one.state = "FAILED"
                one.is_cancelled = one.is_cancelled or not number
        return ""

    def _scontrol(self, words: tuple[str, ...], given: str) -> str:
        if not self.widens:
            raise EngineError("engine slurm: scontrol refuses: Access/permission denied")
        return ""

    def train(self, job: str, one: Job) -> str:
        """Train a job in this process, to its end."""
        assert self.files is not None, "a test that trains here names its sweep"
        code = worker.work(self.files.sweep, one.name, one.element, lambda: False)
        return "COMPLETED" if code == 0 else "FAILED"

    def die(self, job: str, one: Job) -> str:
        """Let a job begin its first run and die."""
        assert self.files is not None, "a test that trains here names its sweep"
        voice = Voice(self.files.said(one.name, one.element))
        voice.say("started", host="fake1", job=job, pid=1)
        voice.say("begun", group=0)
        self.files.log(one.name, one.element).write_text("Illegal instruction\n")
        return "FAILED"

    def close(self) -> None:
        """End what still runs."""
        for one in self.jobs.values():
            if one.process is not None:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(one.process.pid, signal.SIGKILL)
                one.process.wait()


def install(patch, slurm: FakeSlurm) -> FakeSlurm:
    """Let the engine ask ``slurm``, without pauses."""
    from scaling_law.run.engines import _slurm_executor, _slurm_nodes

    patch.setattr(client, "ask", slurm)
    patch.setattr(client, "require", lambda: None)
    patch.setattr(client, "_answers", [])
    for name in ("_LOOK_SECONDS", "_FIRST_SECONDS", "_GATHER_SECONDS", "_SHARED_SECONDS"):
        patch.setattr(_slurm_executor, name, 0.0)
    patch.setattr(_slurm_nodes, "_LOOK_SECONDS", 0.01)
    patch.setattr(_slurm_nodes, "_SHARED_SECONDS", 0.0)
    _slurm_nodes._partitions.cache_clear()
    return slurm
