"""Reads the metrics file of a user's own command as it grows: one JSON line a point.

A line has ``step`` and ``loss``, and may have more; a line whose step is not above the last one
replaces the points from that step on, as a resumed command writes them again.
"""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scaling_law.decode import json_problem
from scaling_law.errors import quoted
from scaling_law.files.record import CurvePoint
from scaling_law.spec.data import TaskSpec
from scaling_law.spec.run import RunSpec
from scaling_law.spec.schedule import lr_factor

_COUNTS = ("params", "params_non_embedding", "params_matmul", "tokens_unique")
_FLOPS = ("flops", "flops_per_token")
_OF_POINT = (
    "step", "tokens", "loss", "val_loss", "val_loss_sem", "lr", "grad_norm", "seconds",
)  # fmt: skip
_COUNTED_FROM_0 = ("tokens", "loss", "val_loss", "val_loss_sem", "seconds")
_MOST_BYTES = 2**20  # of a line
# What a command trains may differ from the plan by this share: its last step may be the one at
# which it evaluates.
_OFF = 0.005
# A model that has learned nothing has a loss of ln(vocabulary). A first loss above that by so much
# may be in another unit (bits are 1.44 times nats), or first weights may be large.
_HIGH_AT_FIRST, _BITS = 1.25, 1.6
# From this share of a run on, no loss below ln(vocabulary), by so much more, is in another unit.
_LEARNED_BY, _ABOVE = 0.1, 1.05


class BadMetricsError(ValueError):
    """A metrics file that cannot be read; the message has file, line and what was expected."""


@dataclass(frozen=True)
class Point:
    """A point of a command.

    ``curve``: the point of the curve; ``loss_sem``: the standard error of its validation loss.
    """

    curve: CurvePoint
    loss_sem: float | None


class Metrics:
    """The points of a metrics file so far.

    ``points``: by step; ``lines_read``: how many there were, those that were replaced included;
    ``counts``: parameters that the file states; ``diverged``: why the run has diverged, "" where it
    has not.
    """

    def __init__(self, spec: RunSpec, path: Path, earlier: Sequence[CurvePoint] = ()) -> None:
        """``earlier`` are the points that the file had in an earlier process of ours."""
        self._spec, self._path = spec, path
        self.points: list[Point] = []
        self.counts: dict[str, int] = {}
        self.diverged = ""
        self._flops: dict[str, float] = {}
        self._offset = self._line = 0
        self.lines_read = 0
        self._began = time.monotonic()
        self._earlier = {point.step: point.seconds for point in earlier}
        self._base = max(self._earlier.values(), default=0.0)
        self._uniform = math.log(spec.model.vocab_size)
        # the default vocabulary is nobody's statement: it may be that of no text at all
        self._is_stated = isinstance(spec.data, TaskSpec) and "vocab_size" in dict(
            spec.data.source.settings
        )
        self._lowest = math.inf

    @property
    def last(self) -> Point | None:
        """The last point."""
        return self.points[-1] if self.points else None

    @property
    def last_step(self) -> int:
        """The step of the last point; 0 for none."""
        return self.points[-1].curve.step if self.points else 0

    @property
    def tokens_per_second(self) -> float:
        """The speed so far."""
        last = self.last
        return last.curve.tokens / max(last.curve.seconds, 1e-9) if last else 0.0

    @property
    def validated(self) -> Point | None:
        """The last point with a validation loss; None without any."""
        points = reversed(self.points)
        return next((point for point in points if point.curve.val_loss_nats is not None), None)

    @property
    def final_loss(self) -> float | None:
        """The last validation loss, or training loss without any; None without points."""
        if (point := self.validated) is not None:
            return point.curve.val_loss_nats
        return self.points[-1].curve.train_loss_nats if self.points else None

    @property
    def too_high_at_first(self) -> str:
        """What is odd about the first loss, in words; "" for nothing."""
        if not self.points:
            return ""
        first = self.points[0].curve
        loss, ratio = first.train_loss_nats, first.train_loss_nats / self._uniform
        if ratio <= _HIGH_AT_FIRST:
            return ""
        guess = " (bits are 1.44 times nats)" if ratio < _BITS else ""
        return (
            f"the first loss, {loss:.4g} at step {first.step}, is {ratio:.3g} times"
            f" {self._nothing_learned}; expected nats per token{guess}"
        )

    @property
    def worse_than_nothing(self) -> str:
        """Why a whole run that learned has a loss that no model keeps; "" for any other."""
        loss = self.final_loss
        if not self._is_stated or loss is None or loss <= _ABOVE * self._uniform:
            return ""
        return (
            f"the loss at the end is {loss:.4g}, above {self._nothing_learned}; the lowest before"
            f" was {self._lowest:.4g}"
        )

    @property
    def _nothing_learned(self) -> str:
        """The loss of a model that has learned nothing, in words."""
        return f"ln({self._spec.model.vocab_size:,}) = {self._uniform:.4g}, the loss of guessing"

    @property
    def missing(self) -> str:
        """What the run lacks to be finished, in words; "" for nothing."""
        last, least = self.last, (1 - _OFF) * self._spec.tokens
        if last is None:
            return f"it wrote no point to {self._path.name}"
        if last.curve.tokens < least:
            return (
                f"its last point is step {self.last_step} of {self._spec.total_steps}, with"
                f" {last.curve.tokens:,} of {self._spec.tokens:,} tokens"
            )
        validated = self.validated
        if validated is not None and validated.curve.tokens < least:
            return (
                f"its last val_loss is of step {validated.curve.step} of {self.last_step}: expected"
                " one at the end, as the loss falls until then"
            )
        return ""

    def flops(self, tokens: int) -> float | None:
        """The training FLOPs that the file states; None where it states none."""
        if "flops" in self._flops:
            return self._flops["flops"]
        each = self._flops.get("flops_per_token")
        return None if each is None else each * tokens

    def read(self, *, ended: bool = False) -> int:
        """Read new lines; returns the number of points before the first new one.

        With ``ended`` the last line may lack its newline. Raises ``BadMetricsError``.
        """
        first_new = len(self.points)
        if not self._path.is_file():
            return first_new
        with self._path.open("rb") as file:
            file.seek(self._offset)
            while line := file.readline(_MOST_BYTES):
                if len(line) == _MOST_BYTES:
                    raise self._bad("a line of over a million bytes, expected one point a line")
                if not line.endswith(b"\n") and not ended:
                    break  # half written
                self._line += 1
                self._offset += len(line)
                if line.strip():
                    first_new = min(first_new, self._take(line))
                if self.diverged:
                    break
        return first_new

    def cut(self) -> None:
        """Cut off half a line at the end, which a command that was killed left."""
        if self._path.is_file() and self._path.stat().st_size > self._offset:
            os.truncate(self._path, self._offset)

    def _bad(self, why: str) -> BadMetricsError:
        return BadMetricsError(f"{self._path}:{self._line}: {why}")

    def _take(self, line: bytes) -> int:
        """Take a line; returns how many of the points before it stay."""
        try:
            content = json.loads(line)
        except (ValueError, RecursionError) as problem:
            cut = "half a line" if not line.endswith(b"\n") else "not JSON"
            raise self._bad(f"{cut} ({json_problem(problem)})") from None
        if not isinstance(content, dict):
            raise self._bad(f'found {quoted(content)}, expected an object as {{"step": 1, ...}}')
        numbers = self._numbers(content)
        for name in _COUNTS:
            if name in numbers:
                self.counts[name] = round(self._above_zero(name, numbers))
        for name in _FLOPS:
            if name in numbers and (name != "flops" or numbers[name] > 0):
                self._flops[name] = self._above_zero(name, numbers)
        if "loss" not in numbers and "step" not in numbers and (
            numbers.keys() & {*_COUNTS, *_FLOPS}
        ):  # fmt: skip
            return len(self.points)  # a first line of counts alone
        return self._add(numbers)

    def _numbers(self, content: dict[str, Any]) -> dict[str, float]:
        numbers = {}
        for name, value in content.items():
            if value is None:
                continue
            if isinstance(value, bool) or not isinstance(value, int | float):
                if name in (*_OF_POINT, *_COUNTS, *_FLOPS):
                    raise self._bad(f"{name} is {quoted(value)}, expected a number")
                continue  # what else a command writes is its own
            try:
                numbers[name] = float(value)
            except OverflowError:
                raise self._bad(f"{name} is a number of {len(str(value))} digits") from None
        return numbers

    def _above_zero(self, name: str, numbers: dict[str, float]) -> float:
        value = numbers[name]
        if not 0 < value < math.inf:
            raise self._bad(f"{name} is {value}, expected above 0")
        return value

    def _add(self, numbers: dict[str, float]) -> int:
        for name in ("step", "loss"):
            if name not in numbers:
                raise self._bad(f"no {name}; expected at least step and loss in each line")
        step, spec = numbers["step"], self._spec
        if not (step >= 0 and step.is_integer()):
            raise self._bad(f"step is {step:g}, expected a whole number from 0 up")
        for name in ("loss", "val_loss"):
            if name in numbers and not math.isfinite(numbers[name]):
                self.diverged = f"{name} is {numbers[name]} at step {step:.0f}"
                return len(self.points)
        for name in _COUNTED_FROM_0:
            if name in numbers and not 0 <= numbers[name] < math.inf:
                raise self._bad(f"{name} is {numbers[name]}, expected 0 or above, and finite")
        tokens = numbers.get("tokens", step * spec.batch_tokens)
        if tokens > (1 + _OFF) * spec.tokens + spec.batch_tokens:
            raise self._bad(
                f"step {step:.0f} is at {tokens:,.0f} tokens, and the run has {spec.tokens:,} in"
                f" {spec.total_steps:,} steps: pass the command {{total_steps}} or {{tokens}}"
            )
        kept = len(self.points)
        while kept and self.points[kept - 1].curve.step >= step:
            kept -= 1
        del self.points[kept:]
        shown = {name: value for name, value in numbers.items() if math.isfinite(value)}
        curve = CurvePoint(
            step=int(step),
            tokens=round(tokens),
            train_loss_nats=numbers["loss"],
            val_loss_nats=numbers.get("val_loss"),
            lr=shown.get("lr", self._planned_lr(int(step))),
            grad_norm=shown.get("grad_norm"),
            seconds=round(numbers.get("seconds", self._seconds_at(int(step))), 3),
            metrics={
                name: value
                for name, value in shown.items()
                if name not in (*_OF_POINT, *_COUNTS, *_FLOPS)
            },
        )
        losses = [numbers[name] for name in ("loss", "val_loss") if name in numbers]
        self._lowest = min(self._lowest, *losses)
        is_too_high = self._lowest > _ABOVE * self._uniform and self._has_learned_by(tokens)
        if is_too_high and self._is_stated:
            raise self._bad(
                f"loss is {numbers['loss']:.4g} at step {step:.0f} of {spec.total_steps:,}, and"
                f" none so far is below {self._nothing_learned}; expected nats per token, the mean"
                " over tokens (neither bits, a perplexity nor a sum), and data.vocab_size as it was"
                " trained"
            )
        self.lines_read += 1
        self.points.append(Point(curve, numbers.get("val_loss_sem")))
        return kept

    def _has_learned_by(self, tokens: float) -> bool:
        """Whether any run has learned something by then: it is beyond its warm-up."""
        spec = self._spec
        warm_up = spec.schedule.warmup_steps * spec.batch_tokens
        return tokens >= max(_LEARNED_BY * spec.tokens, 2 * warm_up, spec.batch_tokens)

    def _seconds_at(self, step: int) -> float:
        """The seconds of training at a step that is read now, or was in an earlier process."""
        known = self._earlier.pop(step, None)
        return self._base + time.monotonic() - self._began if known is None else known

    def _planned_lr(self, step: int) -> float:
        """The learning rate of the last step, as it was planned."""
        spec = self._spec
        last = min(max(step - 1, 0), spec.total_steps - 1)
        return spec.optim.lr * lr_factor(spec.schedule, last, spec.total_steps)
