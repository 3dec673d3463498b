"""Curves to trackers, in a process of its own that reads them from the disk as they grow.

Training never waits for a tracker and does not know of any: one that is missing, raises, hangs or
fills its disk is told of once and dropped. What was sent is kept in the tracker's folder, so that
the same line again goes on after the last point. ``python -m scaling_law.run.tracking SWEEP NAME
OPTIONS`` ends when its standard input does, and so with its ``slaw run``, however that ends.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from scaling_law.config.trackers import TrackerOptions
from scaling_law.errors import EXIT_OK, ConfigError, one_line
from scaling_law.files import checksum, layout
from scaling_law.files.layout import RunDir, SweepDir
from scaling_law.files.record import read_curve, read_record
from scaling_law.run.trackers import Tracker, open_tracker
from scaling_law.spec.run import run_spec_from_json, to_json

Say = Callable[[str], None]
POLL_SECONDS = 2.0
# Uploads may take a while at the end; a tracker that hangs must not hold the sweep up for long.
PATIENCE_SECONDS = 60.0
HURRY_SECONDS = 5.0  # where the sweep itself was asked to stop


class Feed:
    """Sends what is new in a sweep's curves and records to one tracker."""

    def __init__(self, name: str, sweep: SweepDir, tracker: Tracker) -> None:
        self._sweep, self._tracker = sweep, tracker
        self._state = sweep.tracking(name) / "sent.json"
        self._sent: dict[str, int] = {}
        self._ended: set[str] = set()
        self._seen: dict[str, tuple[int, int]] = {}
        # damaged, everything is sent once more: a point twice, rather than one never
        with contextlib.suppress(ConfigError, KeyError, TypeError, ValueError, AttributeError):
            kept = checksum.read(self._state, "")
            sent = {str(run_id): int(step) for run_id, step in kept["sent"].items()}
            self._sent, self._ended = sent, set(map(str, kept["ended"]))

    def poll(self) -> None:
        """Send what has come since the last time. Raises whatever the tracker raises."""
        changed = False
        for run_dir in self._sweep.run_dirs():
            if run_dir.path.name not in self._ended:
                changed = self._follow(run_dir) or changed
        if changed:
            content = {"sent": self._sent, "ended": sorted(self._ended)}
            checksum.write(self._state, content)

    def _follow(self, run_dir: RunDir) -> bool:
        """Whether anything of this run was sent."""
        run_id, over = run_dir.path.name, run_dir.record.is_file()
        try:
            stat = run_dir.curve.stat()
            look = (stat.st_size, stat.st_mtime_ns)
            if look == self._seen.get(run_id) and not over:
                return False
            spec = run_spec_from_json(layout.read_json(run_dir.spec))
            points = read_curve(run_dir)
            record = read_record(run_dir.record) if over else None
        except (OSError, ConfigError, KeyError, TypeError, ValueError, AttributeError):
            return False  # not there yet, or damaged: for others to say
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
    """The Unix time at which the run's clock was 0, as if it had never been interrupted."""
    return run_dir.curve.stat().st_mtime - seconds


@dataclass
class Patience:
    """How long trackers may take once the runs are over."""

    seconds: float = PATIENCE_SECONDS


@contextlib.contextmanager
def tracked(
    sweep: SweepDir, name: str, trackers: Mapping[str, TrackerOptions], say: Say
) -> Iterator[Patience]:
    """While inside, and until all is sent, a process feeds ``trackers``; it never raises."""
    patience = Patience()
    if not trackers:
        yield patience
        return
    options = json.dumps({key: to_json(value) for key, value in trackers.items()})
    command = [sys.executable, "-m", "scaling_law.run.tracking", str(sweep.path), name, options]
    process: subprocess.Popen[bytes] | None = None
    try:
        process = subprocess.Popen(command, stdin=subprocess.PIPE, start_new_session=True)
    except OSError as problem:
        say(f"trackers: none, their process could not be started ({problem})")
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
        say(f"trackers: not done {patience_seconds:.0f}s after the sweep; stopped")
        return
    if code:
        say(f"trackers: their process ended with code {code}; curves are in runs/*/curve.jsonl")


class _Feeds:
    """The feeds that still work."""

    def __init__(
        self, sweep: SweepDir, name: str, trackers: Mapping[str, TrackerOptions], say: Say
    ) -> None:
        self._say = say
        self._feeds: dict[str, tuple[Feed, Tracker]] = {}
        for key, options in trackers.items():
            with self._dropping(key):
                tracker = open_tracker(key, sweep.tracking(key), name, options)
                self._feeds[key] = (Feed(key, sweep, tracker), tracker)

    @contextlib.contextmanager
    def _dropping(self, key: str) -> Iterator[None]:
        try:
            yield
        except (Exception, SystemExit) as problem:  # anybody's code: whatever it does, runs go on
            self._feeds.pop(key, None)
            why = f"{type(problem).__name__}: {problem}"
            if isinstance(problem, ImportError):
                why = f"it is not installed ({problem}): pip install 'scaling-law[{key}]'"
            self._say(one_line(f"tracker {key}: dropped, {why}"))

    def poll(self) -> None:
        """Every feed once; one that fails is told of and dropped."""
        for key, (feed, _) in list(self._feeds.items()):
            with self._dropping(key):
                feed.poll()

    def close(self) -> None:
        """End what is left."""
        for key, (_, tracker) in list(self._feeds.items()):
            with self._dropping(key):
                tracker.close()


def follow(sweep: SweepDir, name: str, trackers: Mapping[str, TrackerOptions], say: Say) -> None:
    """Feed ``trackers`` until standard input ends, and once more."""
    feeds = _Feeds(sweep, name, trackers, say)
    while not select.select([sys.stdin], [], [], POLL_SECONDS)[0]:
        feeds.poll()
    feeds.poll()
    feeds.close()


def _apart(log: Path) -> Say:
    """Libraries' chatter goes to ``log``; what is said goes there and to the terminal."""
    terminal = os.fdopen(os.dup(2), "w", buffering=1)
    try:
        place = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    except OSError:
        place = os.open(os.devnull, os.O_WRONLY)
    for stream in (1, 2):
        os.dup2(place, stream)

    def say(line: str) -> None:
        for out in (sys.stderr, terminal):
            with contextlib.suppress(OSError):  # a full disk takes no complaints either
                print(line, file=out, flush=True)

    return say


def main(arguments: list[str]) -> int:
    """Exit code 0, whatever became of the trackers."""
    folder, name, options = arguments
    sweep = SweepDir(Path(folder))
    trackers = {key: TrackerOptions(**value) for key, value in json.loads(options).items()}
    follow(sweep, name, trackers, _apart(sweep.trackers_log))
    return EXIT_OK


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
