"""Sends curves to trackers, from a process of its own that reads them from the disk.

Training never waits for a tracker and knows of none: one that is missing, raises, hangs or fills
its disk is reported once and dropped. What was sent is noted in the tracker's folder, so that a
resumed sweep continues after the last point. ``python -m scaling_law.run.tracking SWEEP NAME
OPTIONS`` ends when its standard input does, and so with its ``slaw run``, however that ends.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from scaling_law import parts
from scaling_law.config.slots import Choice
from scaling_law.console import Say
from scaling_law.errors import EXIT_OK, ConfigError, one_line
from scaling_law.files import checksum, layout
from scaling_law.files.layout import RunDir, SweepDir
from scaling_law.files.process import module_command
from scaling_law.files.record import read_curve, read_record
from scaling_law.run.trackers import Tracker, TrackerPart
from scaling_law.spec.component import Component, component_from_json
from scaling_law.spec.from_json import run_spec_from_json

POLL_SECONDS = 2.0
# Uploads may take a while at the end; a tracker that hangs must not delay the sweep for long.
PATIENCE_SECONDS = 60.0
HURRY_SECONDS = 5.0  # if the sweep itself was asked to stop


class Feed:
    """Sends new points and records of a sweep to one tracker."""

    def __init__(self, name: str, sweep: SweepDir, tracker: Tracker) -> None:
        self._sweep, self._tracker = sweep, tracker
        self._state = sweep.tracking(name) / "sent.json"
        self._sent: dict[str, int] = {}
        self._ended: set[str] = set()
        self._seen: dict[str, tuple[int, int]] = {}
        # if it is damaged, everything is sent again: better a point twice than never
        with contextlib.suppress(ConfigError, KeyError, TypeError, ValueError, AttributeError):
            state = checksum.read(self._state, "")
            sent = {str(run_id): int(step) for run_id, step in state["sent"].items()}
            self._sent, self._ended = sent, set(map(str, state["ended"]))

    def poll(self) -> None:
        """Send what is new since the last call. Raises whatever the tracker raises."""
        changed = False
        for run_dir in self._sweep.run_dirs():
            if run_dir.path.name not in self._ended:
                changed = self._follow(run_dir) or changed
        if changed:
            content = {"sent": self._sent, "ended": sorted(self._ended)}
            checksum.write(self._state, content)

    def _follow(self, run_dir: RunDir) -> bool:
        """Send what is new of one run; whether there was anything."""
        run_id, finished = run_dir.path.name, run_dir.record.is_file()
        try:
            stat = run_dir.curve.stat()
            look = (stat.st_size, stat.st_mtime_ns)
            if look == self._seen.get(run_id) and not finished:
                return False
            spec = run_spec_from_json(layout.read_json(run_dir.spec))
            points = read_curve(run_dir)
            record = read_record(run_dir.record) if finished else None
        except (OSError, ConfigError, KeyError, TypeError, ValueError, AttributeError):
            return False  # missing, or damaged, which other readers report
        self._seen[run_id] = look
        new = [point for point in points if point.step > self._sent.get(run_id, -1)]
        if new:
            started = _started(run_dir, new[-1].seconds)
            self._tracker.points(spec, started, new)
            self._sent[run_id] = new[-1].step
        if record is not None:
            self._tracker.end(spec, record)
            self._ended.add(run_id)
        return bool(new) or record is not None


def _started(run_dir: RunDir, seconds: float) -> float:
    """The Unix time of second 0 of the run, as if it had never been interrupted."""
    return run_dir.curve.stat().st_mtime - seconds


@dataclass
class Patience:
    """How long trackers may take once the runs have ended."""

    seconds: float = PATIENCE_SECONDS


@dataclass(frozen=True, kw_only=True)
class Chosen:
    """A tracker as a config chooses it, on its way to the process that feeds it.

    ``component`` is the part with its settings;
    ``file`` is the user's own file that it is, None for a part of the package.
    """

    component: Component
    file: Path | None = None

    def open(self, folder: Path, sweep: str) -> Tracker:
        """The tracker, which may write below ``folder``. Raises whatever it raises."""
        folder.mkdir(parents=True, exist_ok=True)
        if self.file is not None:
            parts.read_file("tracker", self.file)
        part: TrackerPart = parts.load("tracker", self.component.reference)
        try:
            return part.open(folder, sweep, self.component.settings_as(part.settings))
        except ImportError as problem:
            remedy = f"; {part.install}" if part.install else ""
            raise ConfigError(f"it is not installed ({problem}){remedy}") from None


def chosen_trackers(choices: Sequence[Choice]) -> list[Chosen]:
    """The trackers of a config, each once."""
    once = {choice.reference: choice for choice in choices}
    return [
        Chosen(component=choice.component, file=parts.file_of(choice.word, choice.reference))
        for choice in once.values()
    ]


def _to_text(trackers: Sequence[Chosen]) -> str:
    return json.dumps(
        [[one.component.plain(), None if one.file is None else str(one.file)] for one in trackers]
    )


def _from_text(text: str) -> list[Chosen]:
    return [
        Chosen(component=component_from_json(plain), file=None if file is None else Path(file))
        for plain, file in json.loads(text)
    ]


@contextlib.contextmanager
def tracked(sweep: SweepDir, name: str, trackers: Sequence[Chosen], say: Say) -> Iterator[Patience]:
    """Feed ``trackers`` from a process while inside and until all is sent; raises nothing."""
    patience = Patience()
    if not trackers:
        yield patience
        return
    options = _to_text(trackers)
    command = module_command("scaling_law.run.tracking", str(sweep.path), name, options)
    process: subprocess.Popen[bytes] | None = None
    try:
        process = subprocess.Popen(command, stdin=subprocess.PIPE, start_new_session=True)
    except OSError as problem:
        say(f"trackers: off, their process could not be started ({problem})")
    try:
        yield patience
    finally:
        if process is not None:
            _end(process, patience.seconds, say)


def _end(process: subprocess.Popen[bytes], patience_seconds: float, say: Say) -> None:
    assert process.stdin is not None
    with contextlib.suppress(OSError):
        process.stdin.close()
    try:
        code = process.wait(patience_seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        say(f"trackers: not done {patience_seconds:.0f}s after the sweep; killed")
        return
    if code:
        say(f"trackers: their process ended with code {code}; curves are in runs/*/curve.jsonl")


class _Feeds:
    """The feeds that still work."""

    def __init__(self, sweep: SweepDir, name: str, trackers: Sequence[Chosen], say: Say) -> None:
        self._say = say
        self._feeds: dict[str, tuple[Feed, Tracker]] = {}
        for chosen in trackers:
            key = chosen.component.name
            with self._dropping(key):
                tracker = chosen.open(sweep.tracking(key), name)
                self._feeds[key] = (Feed(key, sweep, tracker), tracker)

    @contextlib.contextmanager
    def _dropping(self, key: str) -> Iterator[None]:
        try:
            yield
        except (Exception, SystemExit) as problem:  # whatever a tracker raises, runs continue
            self._feeds.pop(key, None)
            is_ours = isinstance(problem, ConfigError)
            why = str(problem) if is_ours else f"{type(problem).__name__}: {problem}"
            self._say(one_line(f"tracker {key}: dropped, {why}"))

    def poll(self) -> None:
        """Poll every feed once; one that fails is reported and dropped."""
        for key, (feed, _) in list(self._feeds.items()):
            with self._dropping(key):
                feed.poll()

    def close(self) -> None:
        """Close the trackers that are left."""
        for key, (_, tracker) in list(self._feeds.items()):
            with self._dropping(key):
                tracker.close()


def follow(sweep: SweepDir, name: str, trackers: Sequence[Chosen], say: Say) -> None:
    """Feed ``trackers`` until standard input ends, and once more then."""
    feeds = _Feeds(sweep, name, trackers, say)
    while not select.select([sys.stdin], [], [], POLL_SECONDS)[0]:
        feeds.poll()
    feeds.poll()
    feeds.close()


def _apart(log: Path) -> Say:
    """Send the libraries' output to ``log``; the returned function prints there and here."""
    terminal = os.fdopen(os.dup(2), "w", buffering=1)
    try:
        place = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, layout.FILE_MODE)
    except OSError:
        place = os.open(os.devnull, os.O_WRONLY)
    for stream in (1, 2):
        os.dup2(place, stream)

    def say(line: str) -> None:
        for out in (sys.stderr, terminal):
            with contextlib.suppress(OSError):  # the disk may be full
                print(line, file=out, flush=True)

    return say


def main(arguments: list[str]) -> int:
    """Exit code 0, whatever happens to the trackers."""
    folder, name, options = arguments
    sweep = SweepDir(Path(folder))
    follow(sweep, name, _from_text(options), _apart(sweep.trackers_log))
    return EXIT_OK


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
