"""``slaw run --detach``: a job that runs the ``slaw run`` of a sweep, and its successors.

Each such job submits the next as soon as it starts, to begin when it has ended, however it ended:
at its time limit, with its node, or killed. The one that sees the sweep end cancels its successor.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import shlex
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scaling_law.console import Say
from scaling_law.errors import ConfigError, EngineError, SlawError
from scaling_law.files import checksum
from scaling_law.files.layout import SweepDir
from scaling_law.files.process import module_command
from scaling_law.run.engines import _slurm_client as client
from scaling_law.run.engines import worker_variables
from scaling_law.run.engines._slurm_client import Away, Full
from scaling_law.run.engines._slurm_files import Files, new_name
from scaling_law.run.engines._slurm_nodes import most_seconds, waited_out
from scaling_law.run.engines._slurm_queue import live_controllers
from scaling_law.run.engines._slurm_scripts import common_words, limit_seconds, quoted, script

if TYPE_CHECKING:
    from scaling_law.run.engines.slurm import Settings

# What a controller asks for, within the partition's limit; a successor goes on after that.
_SECONDS = 86_400.0
# How many controllers in a row may die without a word before no further one is submitted.
_MOST_DEATHS = 3
_LAST = "no job will watch after this one"


def detach(settings: Settings, sweep: SweepDir, command: Sequence[str], say: Say) -> None:
    """Submit the first controller, unless one is in the queue. Raises ``EngineError``."""
    client.require()
    files = Files(sweep)
    known = waited_out(client.jobs)
    live = live_controllers(files, known)
    if live:
        say(f"already detached: job {live[0]} watches this sweep ({known[live[0]].words})")
        return
    files.folder.mkdir(parents=True, exist_ok=True)
    try:
        job = waited_out(lambda: _submit(settings, sweep, command, after=""))
    except Full as full:
        raise EngineError(
            f"engine slurm: the cluster takes no more jobs of yours now (sbatch: {full})"
        ) from None
    if _noted(files).get("job") != job:  # it may have started, and noted its successor
        _note(files, job="", next=job, deaths=0, handed_over=True)
    say(f"detached: job {job} watches the sweep and submits its runs; log: {files.controller_log}")


def _submit(settings: Settings, sweep: SweepDir, command: Sequence[str], *, after: str) -> str:
    settings = _place(settings)
    limit = limit_seconds(_SECONDS, most_seconds(settings), settings)
    words = [*common_words(new_name(sweep, "-watch"), settings, limit), f"--chdir={Path.cwd()}"]
    words += [f"--dependency=afterany:{after}"] if after else []
    log = quoted(Files(SweepDir(sweep.path.absolute())).controller_log)
    module = list(map(shlex.quote, [*module_command("scaling_law.cli"), *command]))
    return client.submit(
        script(module, log, settings, worker_variables()), [*words, *settings.place]
    )


def _place(settings: Settings) -> Settings:
    """The settings of a controller, which needs one core and no GPU."""
    partition = settings.controller or settings.partition
    return dataclasses.replace(settings, partition=partition, gpus=0)


def _note(files: Files, **content: Any) -> None:
    checksum.write(files.controller, content)


def _noted(files: Files) -> dict[str, Any]:
    """What was noted last; nothing where that is missing or damaged."""
    try:
        content: dict[str, Any] = checksum.read(files.controller, "")
    except ConfigError:
        return {}
    return content


@contextlib.contextmanager
def controlling(
    settings: Settings, sweep: SweepDir, command: Sequence[str], say: Say
) -> Iterator[Callable[[], None]]:
    """While inside, a successor of this job waits in the queue.

    It is cancelled at the end of the block, unless the function that the block gets was called:
    then it goes on with the sweep. So it does where the block fails because of the cluster or by
    an error that nobody expects: this counts as a death, because it may happen again.
    """
    files, job = Files(sweep), os.environ.get("SLURM_JOB_ID", "")
    before = _noted(files)
    # a job that was requeued has its successor already
    again = before.get("job") == job
    died = not again and not before.get("handed_over", True)
    deaths = int(before.get("deaths", 0)) + 1 if died else 0
    successor = str(before.get("next") or "") if again else ""
    if not again and deaths < _MOST_DEATHS:
        try:
            successor = waited_out(lambda: _submit(settings, sweep, command, after=job))
        except Full as full:
            say(f"the cluster takes no more jobs of yours now ({full}): {_LAST}")
        except EngineError as problem:
            say(f"{problem}: {_LAST}")
    state = {"job": job, "next": successor, "deaths": deaths}
    _note(files, **state, handed_over=False)
    if deaths:
        rest = "" if successor else "; this is the last"
        say(
            f"the job that watched this sweep before failed or was killed ({deaths} in a row){rest}"
        )
    is_handed_over = fails = False

    def hand_over() -> None:
        nonlocal is_handed_over
        is_handed_over = True

    try:
        yield hand_over
    except Exception as problem:
        ends = isinstance(problem, SlawError) and not isinstance(problem, EngineError)
        if successor and not ends:
            fails = True
            say(f"this job failed; job {successor} tries again")
        raise
    finally:
        if not fails:
            _note(files, **state, handed_over=True)
        if not (fails or is_handed_over):
            with contextlib.suppress(Away):
                client.cancel([successor] if successor else [])
            files.controller.unlink(missing_ok=True)
