"""Probes, one file each: ``probes: [accuracy]`` is ``probes/accuracy.py``.

A probe measures something other than the loss of a run. The curve and the record hold its value as
``NAME``, or as ``NAME.KEY`` where it gives several values by key (a split, a layer).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from scaling_law.errors import ConfigError
from scaling_law.parts import NoSettings
from scaling_law.spec.architectures import INSIDE
from scaling_law.spec.work import Measured, Work

if TYPE_CHECKING:
    from torch import Tensor

    from scaling_law.train.subject import Subject

TIMES = ("curve", "end")


@dataclass(frozen=True, kw_only=True)
class Probe:
    """A measurement.

    ``measure(subject, settings)`` gives a number, or numbers by key;
    ``unit`` is the unit of these numbers;
    ``when`` is ``curve`` for every point of the curve, the last included, or ``end``;
    ``settings`` is a dataclass;
    ``passes`` are the forward passes over the tokens of ``val`` that a measurement takes, for the
    plan's time: 0 where only weights are read, None for one pass over each split;
    ``work(measured, settings)`` gives what a measurement takes where that depends on the settings
    or the model; ``passes`` is then None;
    ``refusal(measured, settings)`` says what a config lacks for it, and what to change; "" where it
    can measure. The plan asks, so that no run is trained without what was asked for;
    ``needs`` is what an architecture must show of its layers (``Architecture.inside``), "" for
    nothing;
    ``reads_step`` says that it reads what the last step changed (``Subject.before_step``).
    """

    measure: Callable[[Subject, Any], float | Mapping[str, float]]
    unit: str
    when: str = "curve"
    settings: type = NoSettings
    passes: float | None = None
    work: Callable[[Measured, Any], Work] | None = None
    refusal: Callable[[Measured, Any], str] = lambda measured, settings: ""
    needs: str = ""
    reads_step: bool = False

    def __post_init__(self) -> None:
        if self.when not in TIMES:
            raise ValueError(f"when is {self.when!r}, expected {' or '.join(TIMES)}")
        if not self.unit:
            raise ValueError("unit is empty")
        if self.needs and self.needs not in INSIDE:
            raise ValueError(f"needs is {self.needs!r}, expected one of {', '.join(INSIDE)}")
        if self.passes is not None and not 0 <= self.passes < math.inf:
            raise ValueError(f"passes is {self.passes!r}, expected a number of at least 0")
        if self.passes is not None and self.work is not None:
            raise ValueError("passes and work: expected one of them")

    def refused(self, measured: Measured, settings: Any) -> str:
        """Why it cannot measure. Raises ``ConfigError`` where ``refusal`` gives no text."""
        why = self.refusal(measured, settings)
        if not isinstance(why, str):  # of a user's own file
            raise ConfigError(f"probes: refusal gives {why!r:.60}, expected a text")
        return why

    def work_of(self, measured: Measured, settings: Any) -> Work:
        """What one measurement takes. Raises ``ConfigError`` where ``work`` gives no ``Work``."""
        if self.work is not None:
            work = self.work(measured, settings)
            if not isinstance(work, Work):  # of a user's own file
                raise ConfigError(f"probes: work gives {work!r:.60}, expected Work(...)")
            return work
        tokens = measured.split_tokens
        if self.passes is None:
            return Work(read_tokens=sum(tokens.values()))
        return Work(read_tokens=self.passes * tokens["val"])


def needs_ids(measured: Measured, settings: Any) -> str:
    """The ``refusal`` of a probe whose targets are ids."""
    if measured.targets == "ids":
        return ""
    return "it needs targets that are ids, and the data's are numbers; leave the probe out"


def needs_text(measured: Measured, settings: Any) -> str:
    """The ``refusal`` of a probe of text."""
    if measured.is_text:
        return ""
    return (
        "it needs text, a target of ids at every position, and an example here has"
        f" {measured.n_targets} targets, {measured.targets}, in {measured.model.n_ctx} positions;"
        " leave the probe out, or train on text (data.corpus)"
    )


def l2_norm(tensors: Iterable[Tensor]) -> float:
    """The L2 norm of all elements together."""
    import torch

    norms = [torch.linalg.vector_norm(tensor.detach().float()) for tensor in tensors]
    return math.hypot(*torch.stack(norms).tolist())
