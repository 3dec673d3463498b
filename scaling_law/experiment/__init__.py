"""Experiments: ``experiments/NAME.yaml`` says what to run, ``NAME.py`` what the runs show.

The file exports an ``Experiment`` as ``EXPERIMENT``. Its ``analyse`` reads what the runs recorded
(``evidence``) and returns ``Findings``, which the report draws: it trains nothing and invents
nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from scaling_law.experiment.evidence import Evidence
from scaling_law.experiment.findings import Findings
from scaling_law.files.record import CurvePoint
from scaling_law.parts import NoSettings
from scaling_law.spec.run import RunSpec


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How an invented run ends.

    ``val_loss_nats`` is the final validation loss, in the objective's unit;
    ``val_bits_per_byte`` is the same in bits per byte of text, where the analysis reads it;
    ``curve`` are its points, by step;
    ``metrics`` are the record's further figures, by name.
    """

    val_loss_nats: float = 1.0
    val_bits_per_byte: float = 2.0
    curve: tuple[CurvePoint, ...] = ()
    metrics: Mapping[str, float] = field(default_factory=dict)


def planted_point(
    spec: RunSpec, step: int, metrics: dict[str, float], *, train: float = 1.0, val: float = 1.0
) -> CurvePoint:
    """An invented point of a run's curve: metrics and losses at a step."""
    return CurvePoint(
        step=step,
        tokens=step * spec.batch_tokens,
        train_loss_nats=train,
        val_loss_nats=val,
        lr=spec.optim.lr,
        grad_norm=1.0,
        seconds=0.1 * step,
        metrics=metrics,
    )


@dataclass(frozen=True, kw_only=True)
class Planted:
    """Invented runs, and what ``analyse`` must find in them.

    ``outcome`` gives how a run of the experiment's own plan ends;
    ``measures`` are the lowest and the highest value that each measure may have then;
    ``claims`` are the claims that must be established (True), contradicted (False) or left open
    (None), by name.
    """

    outcome: Callable[[RunSpec], Outcome]
    measures: Mapping[str, tuple[float, float]]
    claims: Mapping[str, bool | None] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Experiment:
    """A question, and how the records of its runs answer it.

    ``question`` is one sentence;
    ``reproduces`` names the published results that ours stand beside, "" for none;
    ``parts`` are the parts that its config rests on: names by kind (``slaw parts``);
    ``analyse`` reads the records;
    ``planted`` tests it;
    ``propose`` gives the next stage's changes to the config, by config key, from what the stages
    so far recorded; None from it ends the experiment, None in its place makes it one stage. With
    ``samples: {run: ID, count: 100, tokens: 64}`` among them the next stage's corpus is texts drawn
    from that run's final weights; so is any corpus among them whose value is ``{samples: ...}``;
    ``may_propose`` says of a config, as plain values, whether ``propose`` may give further stages;
    ``reads_mixture`` says that ``analyse`` and ``propose`` read the losses of a mixture's
    components, so that every run must read one;
    ``settings`` is a dataclass: what a config may set beside the experiment's name;
    ``refusal(settings, components)`` says why these settings do not fit a text with these
    components (none for a task), before anything is trained; "" where they do.
    """

    question: str
    analyse: Callable[[Evidence], Findings]
    planted: Planted
    reproduces: str = ""
    parts: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    propose: Callable[[Evidence], Mapping[str, Any] | None] | None = None
    may_propose: Callable[[Mapping[str, Any]], bool] = lambda config: True
    reads_mixture: bool = False
    settings: type = NoSettings
    refusal: Callable[[Any, tuple[str, ...]], str] = lambda settings, components: ""
