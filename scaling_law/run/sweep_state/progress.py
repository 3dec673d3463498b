"""Shows a sweep while it runs: bars on a terminal, one line a run elsewhere."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from scaling_law import console
from scaling_law.decode import build
from scaling_law.errors import one_line, visible
from scaling_law.files import checksum
from scaling_law.files.layout import RunDir
from scaling_law.files.record import RunRecord, short_unit
from scaling_law.run.sweep_state.text import rate_text
from scaling_law.spec.model import counted_as
from scaling_law.spec.run import RunSpec
from scaling_law.units import count_of, format_bytes, format_seconds

NEWS_SECONDS = 60.0


@dataclass(frozen=True, kw_only=True)
class Heartbeat:
    """What a worker last reported of a run."""

    step: int  # steps done, counted from the trunk's step 0
    tokens_per_second: float


def read_heartbeat(run_dir: RunDir) -> Heartbeat | None:
    """The run's last heartbeat; None before the first."""
    if not run_dir.progress.is_file():  # missing; or a pipe, which may never end
        return None
    try:
        state = checksum.open_line(run_dir.progress.read_text())
        return build(Heartbeat, {name: state[name] for name in ("step", "tokens_per_second")})
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None  # being replaced, or damaged


def describe_end(record: RunRecord) -> str:
    """How a finished run ended, in one line."""
    spec = record.spec
    if record.status == "diverged":
        return f"{spec.label}: DIVERGED ({record.message}); listed, left out of fits"
    if record.status == "stopped_early":
        return f"{spec.label}: STOPPED EARLY ({record.message}); left out of fits by default"
    assert record.val_loss_nats is not None
    loss = f"{record.val_loss_nats:.4f} {short_unit(record.loss_unit)}"
    if record.val_bits_per_byte is not None:
        loss += f" ({record.val_bits_per_byte:.3f} bits/byte)"
    if record.spec.schedule.end != "annealed":
        loss += ", not annealed"
    if skipped := record.metrics.get("batches_skipped"):
        loss += f", {skipped:.0f} batches skipped"
    speed = rate_text(record.tokens_per_second, [counted_as(spec.model)])
    # a command of the user's own does not say how much memory it took
    memory = record.peak_memory_bytes and f", peak {format_bytes(record.peak_memory_bytes)}"
    line = f"{spec.label}: {loss}, {format_seconds(record.seconds)}, {speed}{memory or ''}"
    return f"{line}; {one_line(record.message)}" if record.message else line


class SweepProgress:
    """Progress of a whole sweep, weighted by FLOPs, and of each running run.

    On a terminal it draws bars with each run's ``loss`` so far; elsewhere it prints one line per
    finished run on standard error, and every minute what ``news`` says of the sweep. ``flops`` maps
    run id -> FLOPs of its steps.
    """

    def __init__(
        self,
        flops: dict[str, float],
        done: set[str],
        slots: int,
        *,
        news: Callable[[], str | None] = lambda: None,
        seconds_left: Callable[[], float | None] = lambda: None,
        loss: Callable[[str], str] = lambda run_id: "",
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._flops = flops
        self._done = set(done)
        self._running: dict[str, tuple[RunSpec, RunDir]] = {}
        self._counted: set[str] = set()  # what the runs count that were started
        self._news, self._seconds_left, self._loss, self._clock = news, seconds_left, loss, clock
        self._last_line = clock()
        self._bars: list[Any] = []
        if console.is_screen(sys.stderr) and not console.is_quiet():
            self._open_bars(slots)

    def _open_bars(self, slots: int) -> None:
        from tqdm import tqdm

        layout_text = "{desc} {percentage:3.0f}% |{bar}| {unit}"
        self._bars = [
            tqdm(total=1.0, position=i, leave=i == 0, bar_format=layout_text, file=sys.stderr)
            for i in range(slots + 1)
        ]

    def started(self, spec: RunSpec, run_dir: RunDir) -> None:
        """Note that a run was handed to a worker."""
        self._running[spec.run_id] = (spec, run_dir)
        self._counted.add(counted_as(spec.model))
        if console.is_verbose():
            self.say(f"{spec.label}: started, {run_dir.path}")

    def ended(self, run_id: str, line: str) -> None:
        """Note that a run has ended; ``line`` says how."""
        self._running.pop(run_id, None)
        self._done.add(run_id)
        self.say(f"[{len(self._done)}/{len(self._flops)}] {line}{self._left_text()}")

    def say(self, line: str) -> None:
        """Print a line without tearing the bars."""
        line = visible(line)
        if self._bars:
            with contextlib.suppress(OSError):  # the terminal was closed
                self._bars[0].write(line, file=sys.stderr)
        else:
            console.say(line)

    def _fraction(self, run_id: str) -> tuple[float, float]:
        """The fraction of the run's own steps that are done, and its tokens per second."""
        spec, run_dir = self._running[run_id]
        beat = read_heartbeat(run_dir)
        if beat is None:
            return 0.0, 0.0
        own = spec.total_steps - spec.start_step
        return min(1.0, max(0, beat.step - spec.start_step) / own), beat.tokens_per_second

    def _left_text(self) -> str:
        left = None if len(self._done) == len(self._flops) else self._seconds_left()
        return f", about {format_seconds(left)} left" if left and left > 1 else ""

    def refresh(self) -> None:
        """Redraw the bars; without bars, print a line now and then."""
        if not self._bars:
            self._print_news()
            return
        total = sum(self._flops.values())
        now, rate_sum = sum(self._flops[r] for r in self._done), 0.0
        bars = iter(self._bars[1:])  # fewer than runs if some are stacked
        for run_id in sorted(self._running):
            share, rate = self._fraction(run_id)
            now += self._flops[run_id] * share
            rate_sum += rate
            if (bar := next(bars, None)) is not None:
                spec, loss = self._running[run_id][0], self._loss(run_id)
                text = rate_text(rate, [counted_as(spec.model)])
                self._draw(bar, share, spec.label, f"loss {loss}, {text}" if loss else text)
        for bar in self._bars[1 + len(self._running) :]:
            self._draw(bar, 0.0, "idle", "")
        text = f"{len(self._done)}/{len(self._flops)} runs, {rate_text(rate_sum, self._counted)}"
        self._draw(self._bars[0], now / max(total, 1.0), "sweep", text + self._left_text())

    def _print_news(self) -> None:
        """Print a line every ``NEWS_SECONDS``, so that a log shows whether the sweep hangs."""
        if self._clock() - self._last_line < NEWS_SECONDS:
            return
        self._last_line = self._clock()
        plain = (
            f"{len(self._done)} of {count_of(len(self._flops), 'run')} finished{self._left_text()}"
        )
        self.say(f"{time.strftime('%H:%M:%S')} {self._news() or plain}")

    @staticmethod
    def _draw(bar: Any, share: float, name: str, text: str) -> None:
        bar.n = round(share, 4)
        bar.set_description_str(f"{name:<24.24}", refresh=False)
        bar.unit = text  # its own postfix begins with a comma
        with contextlib.suppress(OSError):
            bar.refresh()

    def close(self) -> None:
        """Remove the bars of runs and leave the sweep's."""
        with contextlib.suppress(OSError):
            for bar in reversed(self._bars):
                bar.close()
        self._bars = []
