"""One of the processes that train a run together: ``python -m ...rank RUN FOLDER TAG``.

``run.launch`` starts it by torch's launcher, with ``FOLDER`` to talk in and the ``TAG`` of its own
process. TERM and USR1, to any process of the group, write a checkpoint and end it.
"""

from __future__ import annotations

import contextlib
import os
import sys
import threading
import time
from pathlib import Path

from scaling_law.errors import EXIT_OK, EXIT_RUN_FAILED
from scaling_law.files.layout import RunDir
from scaling_law.files.lease import hung_seconds
from scaling_law.files.process import tag_is_dead
from scaling_law.run import worker
from scaling_law.run.launch import End, say_end
from scaling_law.run.signals import Stop
from scaling_law.train import group as groups

_WATCH_SECONDS = 5.0


def _end_after(tag: str) -> None:
    """End this process, even one that hangs, some time after its launcher was killed."""

    def watch() -> None:
        while not tag_is_dead(tag):
            time.sleep(_WATCH_SECONDS)
        time.sleep(hung_seconds())
        os._exit(EXIT_RUN_FAILED)

    threading.Thread(target=watch, daemon=True).start()


def main(arguments: list[str]) -> int:
    """Exit code: 0 where the run ended or was stopped in order, 3 where it failed."""
    run_dir, folder, tag = RunDir(Path(arguments[0])), Path(arguments[1]), arguments[2]
    rank, stop = int(os.environ["RANK"]), Stop()
    _end_after(tag)

    def asked() -> bool:
        return stop() or (folder / "stop").exists() or tag_is_dead(tag)

    try:
        kind = worker.device_kind(run_dir)
        with groups.joined(kind, hung_seconds()) as group:
            end = End(is_elsewhere=not worker.work_as_one_of(group, run_dir, asked))
    except Exception as problem:
        end = End(failure=worker.described(problem), is_broken=groups.is_broken(problem))
        print(f"slaw worker: process {rank}: {problem}", file=sys.stderr)
    with contextlib.suppress(OSError):  # a disk that is full
        say_end(folder, rank, end)
    return EXIT_OK if end.failure is None else EXIT_RUN_FAILED


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
