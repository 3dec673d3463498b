"""Read the schedules that a user asks about: ``wsd:steps=20k,decay_frac=.2`` or a table."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import get_type_hints

import numpy as np

from scaling_law import parts
from scaling_law.errors import ConfigError, did_you_mean, quoted
from scaling_law.fit.curves.curve import Curve, Floats, Rate
from scaling_law.fit.curves.read_sweep import planned_rate
from scaling_law.fit.curves.table import rate_of_table
from scaling_law.spec.component import Component
from scaling_law.spec.schedule import ScheduleSpec
from scaling_law.units import parse_count

_DECAY_FRAC = 0.2  # of a schedule with a cooldown whose length is not said
_POINTS = 100  # of a predicted curve
_KEYS = ("steps", "lr", "warmup_steps", "decay_steps", "decay_frac", "cooldown", "final_frac")


@dataclass(frozen=True, kw_only=True)
class Asked:
    """A schedule whose curve is asked for.

    ``text`` is what the user wrote; ``rate`` is its learning rate;
    ``steps`` are those whose losses are predicted.
    """

    text: str
    rate: Rate
    steps: Floats


def asked(text: str, curves: Sequence[Curve]) -> Asked:
    """The schedule that ``text`` says, for a run like ``curves``.

    What it does not say is that of the curves: the longest one's steps, the highest learning rate,
    the usual warm-up. Raises ``ConfigError``.
    """
    warmup = float(np.median([one.rate.warmup_steps for one in curves]))
    if Path(text).suffix and Path(text).is_file():
        rate = rate_of_table(Path(text), warmup)
    else:
        rate = _planned(text, curves, warmup)
    first = max(rate.warmup_steps, rate.length / 1000, 1.0)
    return Asked(text=text, rate=rate, steps=np.linspace(first, rate.length, _POINTS))


def _planned(text: str, curves: Sequence[Curve], warmup: float) -> Rate:
    where = f"--schedule {text}"
    name, _, rest = text.partition(":")
    if name not in parts.names("schedule"):
        raise ConfigError(f"{where}: {parts.unknown('schedule', name)} or a table of step and lr")
    plain: dict[str, float] = {}
    own: dict[str, float] = {}
    cooldown = ScheduleSpec().cooldown
    part = parts.load("schedule", parts.refer("schedule", name))
    settings = part.settings
    known = [*_KEYS, *(field.name for field in dataclasses.fields(settings))]
    for pair in filter(None, rest.split(",")):
        key, equals, value = (word.strip() for word in pair.partition("="))
        if not equals or key not in known:
            hint = did_you_mean(key, known)
            raise ConfigError(
                f"{where}: {quoted(pair)}{hint}: expected KEY=VALUE with one of {', '.join(known)}"
            )
        if key == "cooldown":
            if value not in parts.names("cooldown"):
                raise ConfigError(f"{where}: {parts.unknown('cooldown', value)}")
            cooldown = value
            continue
        try:
            amount = 0.0 if _number(value) == 0 else parse_count(value)
        except ValueError as problem:
            raise ConfigError(f"{where}: {key}: {problem}") from None
        (plain if key in _KEYS else own)[key] = amount
    steps = round(plain.get("steps", max(one.rate.length for one in curves)))
    warm = round(plain.get("warmup_steps", min(warmup, steps // 10)))
    if steps < warm + 10:
        raise ConfigError(
            f"{where}: {steps} steps with a warm-up of {warm}; expected 10 more or longer"
        )
    fraction = plain.get("decay_frac", _DECAY_FRAC)
    decay: float | None = plain.get("decay_steps", round(fraction * steps))
    if not part.shares_trunk and not {"decay_steps", "decay_frac"} & plain.keys():
        decay = None  # it has no cooldown of its own length
    if decay is not None and not 1 <= decay <= steps - warm:
        raise ConfigError(
            f"{where}: a cooldown of {decay:g} steps; expected 1 to {steps - warm}, those after the"
            " warm-up"
        )
    hints = get_type_hints(settings)
    chosen = tuple(
        sorted((key, int(value) if hints[key] is int else value) for key, value in own.items())
    )
    try:
        schedule = ScheduleSpec(
            shape=name,
            warmup_steps=warm,
            decay_steps=None if decay is None else round(decay),
            cooldown=cooldown,
            final_frac=plain.get("final_frac", 0.0),
            shape_part=Component(name=name, settings=chosen) if chosen else None,
        )
        return planned_rate(schedule, steps, plain.get("lr", max(one.rate.peak for one in curves)))
    except ValueError as problem:
        raise ConfigError(f"{where}: {problem}") from None


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None
