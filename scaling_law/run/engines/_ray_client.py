"""Starts the process that is connected to a Ray cluster, and hears what it says."""

from __future__ import annotations

import contextlib
import dataclasses
import importlib.util
import json
import os
import queue
import re
import subprocess
import threading
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scaling_law.errors import EngineError, one_line
from scaling_law.files.process import module_command

if TYPE_CHECKING:
    from scaling_law.run.engines.ray import Settings

DRIVER = tuple(module_command("scaling_law.run.engines._ray_driver"))
# How long a connection may take: Ray gives up after 20 s where it is refused.
_CONNECT_SECONDS = 90.0
# How long the process may take to let all tasks write a checkpoint, and to leave the cluster.
_CLOSE_SECONDS = 60.0
# How often a line is written to the log that differs only in its numbers.
_MOST_ALIKE = 3
_MOST_LOG_BYTES = 2**20
_NUMBERS = re.compile(r"[0-9a-f]{8,}|\d+")
_COLOURS = re.compile(r"\x1b\[[0-9;]*m")
_LAST_LINES = 20
_NO_TOKEN = (
    "the cluster asks for a token: set RAY_AUTH_MODE=token, and RAY_AUTH_TOKEN_PATH to its file"
)


def require() -> None:
    """Raise ``EngineError`` where Ray is not installed."""
    if importlib.util.find_spec("ray") is None:
        raise EngineError(
            "engine ray: the package ray is not installed; pip install 'slaw[ray]', or choose"
            " --engine local"
        )


class FewLines:
    """Writes lines to a log, those that are alike a few times: a dead raylet floods it."""

    def __init__(self, path: Path | None) -> None:
        self._path, self._alike, self._bytes = path, Counter[str](), 0
        self.last: list[str] = []

    def write(self, line: str) -> None:
        """Write a line, unless it was written often enough."""
        line = _COLOURS.sub("", line)
        self.last = [*self.last, line][-_LAST_LINES:]
        kind = _NUMBERS.sub("#", line)
        self._alike[kind] += 1
        if self._alike[kind] > _MOST_ALIKE or self._bytes > _MOST_LOG_BYTES or self._path is None:
            return
        more = " (further lines like this are left out)" * (self._alike[kind] == _MOST_ALIKE)
        text = f"{line}{more}\n"
        self._bytes += len(text)
        with contextlib.suppress(OSError), self._path.open("a") as log:
            log.write(text)


class Connection:
    """A process that is connected to a cluster. ``nodes`` are those that are alive and fit."""

    def __init__(self, settings: Settings, slots: int | None, log: Path | None) -> None:
        """Connect. Raises ``EngineError`` where that fails."""
        given = {**dataclasses.asdict(settings), "slots": slots}
        environment = {**os.environ, "RAY_USAGE_STATS_ENABLED": "0"}
        if settings.start:
            environment.setdefault("RAY_AUTH_MODE", "token")
        self.nodes: list[dict[str, Any]] = []
        self._log = FewLines(log)
        self._heard: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
        # Ctrl-C in a terminal reaches the runner only, which asks tasks to checkpoint
        self._process = subprocess.Popen(
            [*DRIVER, json.dumps(given)], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=subprocess.PIPE, text=True, env=environment, start_new_session=True,
            errors="replace",
        )  # fmt: skip
        self._threads = [
            threading.Thread(target=read, daemon=True) for read in (self._hear, self._note)
        ]
        for thread in self._threads:
            thread.start()
        try:
            self.wait_for("connected", _CONNECT_SECONDS)
        except BaseException:
            self.close(0.0)
            raise

    def _hear(self) -> None:
        assert self._process.stdout is not None, "it is a pipe"
        for line in self._process.stdout:
            with contextlib.suppress(ValueError):
                self._heard.put(json.loads(line))

    def _note(self) -> None:
        assert self._process.stderr is not None, "it is a pipe"
        for line in self._process.stderr:
            if line.strip():
                self._log.write(line.rstrip())

    @property
    def is_lost(self) -> bool:
        """Whether the process has ended, and all that it said was heard."""
        is_over = self._process.poll() is not None and not self._threads[0].is_alive()
        return is_over and self._heard.empty()

    @property
    def why_lost(self) -> str:
        """The last line of its standard error, "" for none."""
        self._threads[1].join(1.0)
        return one_line(self._log.last[-1]) if self._log.last else ""

    def send(self, **command: Any) -> None:
        """Give a command."""
        assert self._process.stdin is not None, "it is a pipe"
        with contextlib.suppress(BrokenPipeError):  # `is_lost` says it
            self._process.stdin.write(json.dumps(command) + "\n")
            self._process.stdin.flush()

    def heard(self) -> list[dict[str, Any]]:
        """What it has said since the last call. Raises ``EngineError`` if it refuses to go on."""
        lines = []
        with contextlib.suppress(queue.Empty):
            while True:
                line = self._heard.get_nowait()
                if line["say"] == "refused":
                    raise EngineError(self._with_token(line["why"]))
                if line["say"] == "nodes":
                    self.nodes = line["nodes"]
                lines.append(line)
        return lines

    def _with_token(self, why: str) -> str:
        self._threads[1].join(1.0)
        is_token = any("InvalidAuthToken" in line for line in self._log.last)
        return f"{why}: {_NO_TOKEN}" if is_token else why

    def wait_for(self, what: str, seconds: float) -> dict[str, Any]:
        """The first line that says ``what``. Raises ``EngineError`` where none comes."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            is_lost = self.is_lost
            for line in self.heard():
                if line["say"] == what:
                    return line
            if is_lost:
                why = self.why_lost or "no message"
                raise EngineError(f"engine ray: the connection to the cluster failed ({why})")
            time.sleep(0.02)
        raise EngineError(f"engine ray: no answer of the cluster within {seconds:.0f}s")

    def close(self, seconds: float = _CLOSE_SECONDS) -> None:
        """Let all tasks stop after a checkpoint and leave the cluster."""
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()
        try:
            self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        for thread, pipe in zip(
            self._threads, (self._process.stdout, self._process.stderr), strict=True
        ):
            thread.join(1.0)
            assert pipe is not None
            if not thread.is_alive():  # else a process of Ray's has the pipe still open
                pipe.close()
