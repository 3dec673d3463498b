"""Measure a run between two steps: its loss on every validation split, and its probes."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from scaling_law import parts
from scaling_law.errors import RunFailed, one_line
from scaling_law.spec.component import Component
from scaling_law.spec.run import EVAL_SEQS
from scaling_law.train.evaluate import Evaluation, Examples, evaluate
from scaling_law.train.probes import Probe
from scaling_law.train.subject import Interrupted, Subject, untouched

_KEY = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]*")
_LARGEST = 1e300  # the largest number that a record may hold


@dataclass(frozen=True, kw_only=True)
class Measured:
    """The measurements of a run at one step.

    ``val`` is the loss on the split ``val``;
    ``metrics`` are the losses on other splits and the probes' values, by name;
    ``units`` are the units of ``metrics``, by name.
    """

    val: Evaluation
    metrics: dict[str, float] = field(default_factory=dict)
    units: dict[str, str] = field(default_factory=dict)


class Meter:
    """Measures one run.

    ``kind`` is the kind of device; ``autocast`` makes a fresh context; ``log`` takes one line. A
    metric that a probe fails to give is left out; ``failures`` has a line for each, which is logged
    the first time. ``before_step`` are the weights before the last step, where a probe reads them.
    """

    def __init__(
        self,
        examples: Examples,
        kind: str,
        autocast: Callable[[], Any],
        log: Callable[[str], None],
    ) -> None:
        self.examples = examples
        self.failures: dict[str, str] = {}
        self._kind, self._autocast, self._log = kind, autocast, log
        self.before_step: dict[str, Tensor] | None = None
        self._probes = [_loaded(component) for component in examples.spec.probes or ()]

    def keep_weights(self, is_due: bool) -> None:
        """Copy the weights before a step after which a probe reads them, if one ``is_due``."""
        reads = is_due and any(probe.reads_step for _, probe, _ in self._probes)
        named = self.examples.trainable.model.named_parameters()
        self.before_step = {name: w.detach().clone() for name, w in named} if reads else None

    def measure(
        self,
        step: int,
        max_tokens: int,
        *,
        at_once: int,
        final: bool,
        should_stop: Callable[[], bool],
    ) -> Measured | None:
        """Measure the model after ``step`` steps on about ``max_tokens`` targets of each split.

        ``at_once`` examples fit in memory. With ``final``, at the end of the run, ``should_stop``
        is called before every batch and may stop the measurement, which then returns None.
        """
        metrics: dict[str, float] = {}
        units: dict[str, str] = {}

        def add(name: str, value: float, unit: str) -> None:
            if abs(value) <= _LARGEST:
                metrics[name], units[name] = value, unit
            else:
                self._failed(name, step, f"found {value}, expected a finite number")

        asked = should_stop if final else _never
        val = self._loss("val", max_tokens, at_once, asked)
        if val is None:
            return None
        for split in self.examples.splits[2:]:
            loss = self._loss(split, max_tokens, at_once, asked)
            if loss is None:
                return None
            add(f"loss.{split}", loss.loss_nats, self.examples.trainable.objective.unit)
        for name, probe, settings in self._probes:
            if not final and probe.when == "end":
                continue
            subject = Subject(
                self.examples,
                step=step,
                max_tokens=max_tokens,
                kind=self._kind,
                autocast=self._autocast,
                # a probe may take long: this call shows that the run is alive
                should_stop=should_stop if final else lambda: should_stop() and False,
                before=self.before_step,
            )
            try:
                values = self._probed(name, probe, settings, subject)
            except Interrupted as interrupted:
                if interrupted.__cause__ is not None:
                    raise interrupted.__cause__ from None
                return None
            for metric, value in values.items():
                add(metric, value, probe.unit)
        self.before_step = None
        return Measured(val=val, metrics=metrics, units=units)

    def _loss(
        self, split: str, max_tokens: int, at_once: int, should_stop: Callable[[], bool]
    ) -> Evaluation | None:
        trainable = self.examples.trainable
        return evaluate(
            trainable,
            self.examples.measured(split, max_tokens),
            self._kind,
            self._autocast,
            should_stop,
            EVAL_SEQS if trainable.is_fast else at_once,
        )

    def _probed(
        self, name: str, probe: Probe, settings: Any, subject: Subject
    ) -> Mapping[str, float]:
        """Return the probe's values by metric; none where it fails."""
        try:
            with untouched(subject.model, name):
                return dict(_named(name, probe.measure(subject, settings)))
        except RunFailed:
            raise
        except Exception as problem:  # a user's own file may raise anything
            why = f"{type(problem).__name__}: {one_line(str(problem))}"
            self._failed(name, subject.step, why)
            return {}

    def _failed(self, name: str, step: int, why: str) -> None:
        if name not in self.failures:
            self.failures[name] = f"{name} is not measured at step {step} ({why})"
            self._log(self.failures[name])


def _never() -> bool:
    return False


def _loaded(component: Component) -> tuple[str, Probe, Any]:
    probe: Probe = parts.load("probe", component.reference)
    return component.name, probe, component.settings_as(probe.settings)


def _named(name: str, values: float | Mapping[str, float]) -> Iterator[tuple[str, float]]:
    """Yield each metric's name and value. Raises ``ValueError`` or ``TypeError`` for a bad one."""
    if not isinstance(values, Mapping):
        yield name, float(values)
        return
    for key, value in values.items():
        if not (isinstance(key, str) and _KEY.fullmatch(key)):
            raise ValueError(f"found the key {key!r}, expected letters, digits, . _ : and -")
        yield f"{name}.{key}", float(value)
