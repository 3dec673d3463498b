"""Say in what mixture a run reads the components of its text, and when the mixture changes.

A component is a domain of the corpus, or one of several sources. A mixture gives each component a
share of the training sequences. Natural shares follow the components' tokens n, as n^(1/T) with the
temperature T (arXiv 1907.05019, section 4.1): 1 keeps the text's own shares, more flattens them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, TypeAlias

from scaling_law.decode import build
from scaling_law.errors import quoted

# A phase that ends where the cooldown of the learning rate begins.
COOLDOWN = "cooldown"
NATURAL = "natural"
# The components of files at a path.
FILES_DOMAINS = ("text",)
# Shares are written with few digits, as 0.333 for a third; they are scaled to sum to 1.
SUM_WITHIN = 2e-3
LEAST_SHARE = 1e-6

# (component, share) pairs by component.
Shares: TypeAlias = tuple[tuple[str, float], ...]


@dataclass(frozen=True, kw_only=True)
class Phase:
    """A part of a run with one mixture.

    ``shares`` are those of the components by name, those without a share left out; None follows the
    components' tokens;
    ``until`` is where the phase ends: a share of the run's steps, or ``cooldown``; None for the
    run's end.
    """

    shares: Shares | None
    until: float | str | None = None

    @property
    def text(self) -> str:
        """The shares, as ``code=0.7 docs=0.3``."""
        if self.shares is None:
            return NATURAL
        return " ".join(f"{name}={share:.6g}" for name, share in self.shares)

    def plain(self) -> dict[str, Any]:
        """Return plain JSON values."""
        until = {} if self.until is None else {"until": self.until}
        return {"mix": NATURAL if self.shares is None else dict(self.shares), **until}


@dataclass(frozen=True, kw_only=True)
class Mix:
    """The mixture of a run, phase by phase.

    ``phases`` follow one another; the last lasts to the run's end;
    ``temperature`` flattens natural shares.
    """

    phases: tuple[Phase, ...]
    temperature: float = 1.0

    def __post_init__(self) -> None:
        if problem := phases_problem([phase.until for phase in self.phases]):
            raise ValueError(problem[1])
        if not self.temperature > 0:
            raise ValueError(f"temperature is {self.temperature}, expected above 0")
        for phase in self.phases:
            if phase.shares is not None and (why := shares_problem(dict(phase.shares))):
                raise ValueError(why)

    @property
    def text(self) -> str:
        """``code=0.7 docs=0.3 until cooldown then code=1``."""
        heat = f" at temperature {self.temperature:g}" if self.temperature != 1 else ""
        words = [
            phase.text
            + (heat if phase.shares is None else "")
            + (f" until {_until_text(phase.until)}" if phase.until is not None else "")
            for phase in self.phases
        ]
        return " then ".join(words)

    def __str__(self) -> str:
        return self.text

    @property
    def shares_trunk(self) -> bool:
        """Say whether horizons may branch from one trunk.

        They may where the mixture changes at the start of the cooldown or not at all: until then
        all horizons read the same sequences.
        """
        return [phase.until for phase in self.phases[:-1]] in ([], [COOLDOWN])

    @property
    def of_trunk(self) -> Mix:
        """The mixture of the trunk, which has no cooldown."""
        return Mix(phases=(Phase(shares=self.phases[0].shares),), temperature=self.temperature)

    def first_steps(self, total_steps: int, decay_steps: int | None) -> tuple[int, ...]:
        """Return the first step of every phase.

        ``total_steps`` and ``decay_steps`` are those of the run and its cooldown. Raises
        ``ValueError`` where a phase has no step, or where the run has no cooldown to switch at.
        """
        steps = [0]
        for phase in self.phases[:-1]:
            if phase.until == COOLDOWN:
                if decay_steps is None:
                    raise ValueError("a phase ends at the cooldown, and the schedule has none")
                steps.append(total_steps - decay_steps)
            else:
                assert isinstance(phase.until, float)
                steps.append(round(phase.until * total_steps))
        for number, (first, following) in enumerate(pairwise([*steps, total_steps])):
            if following <= first:
                raise ValueError(
                    f"phase {number} would last from step {first} to {following} of"
                    f" {total_steps}; the ends must rise"
                )
        return tuple(steps)

    def shares_of(self, phase: Phase, tokens: Mapping[str, int]) -> Shares:
        """Return the shares of a phase, which sum to 1; ``tokens`` are those of each component.

        Raises ``ValueError`` for a component without tokens.
        """
        if phase.shares is None:
            weights = {name: float(count) ** (1 / self.temperature) for name, count in
                       sorted(tokens.items()) if count > 0}  # fmt: skip
        else:
            weights = dict(phase.shares)
            for name in weights:
                if not tokens.get(name):
                    known = ", ".join(sorted(tokens))
                    raise ValueError(f"{quoted(name)} has no training tokens; there are {known}")
        whole = sum(weights.values())
        return tuple((name, weight / whole) for name, weight in weights.items())

    def epochs(
        self, tokens: Mapping[str, int], batch_tokens: int, steps: int, decay_steps: int | None
    ) -> dict[str, float]:
        """Return the passes over each component in a run of so many steps.

        ``tokens`` are those of each component. Raises ``ValueError`` where a phase has no step, or
        a component no tokens.
        """
        firsts = self.first_steps(steps, decay_steps)
        read = dict.fromkeys(tokens, 0.0)
        for phase, first, end in zip(self.phases, firsts, (*firsts[1:], steps), strict=True):
            for name, share in self.shares_of(phase, tokens):
                read[name] += share * (end - first) * batch_tokens
        return {name: count / tokens[name] if count else 0.0 for name, count in read.items()}

    def plain(self) -> dict[str, Any]:
        """Return plain JSON values."""
        heat = {} if self.temperature == 1 else {"temperature": self.temperature}
        return {"phases": [phase.plain() for phase in self.phases], **heat}


def mix_from_json(data: Any) -> Mix:
    """Build a mixture from ``Mix.plain``. Raises ``ValueError``."""
    if not isinstance(data, Mapping) or not isinstance(data.get("phases"), list):
        raise ValueError(f"mix is {quoted(data)}, expected keys and values with phases")
    return build(Mix, {**data, "phases": tuple(map(_phase_from_json, data["phases"]))})


def _phase_from_json(data: Any) -> Phase:
    if not isinstance(data, Mapping):
        raise ValueError(f"a phase is {quoted(data)}, expected keys and values")
    fields = {key: value for key, value in data.items() if key != "mix"}
    return build(Phase, {**fields, "shares": shares_from(data.get("mix"))})


def shares_from(weights: Any) -> Shares | None:
    """Return a config's weights as shares in one order; None for ``natural``.

    Raises ``ValueError`` for what is neither.
    """
    if weights == NATURAL:
        return None
    if not isinstance(weights, Mapping) or not all(map(_is_number, weights.values())):
        raise ValueError(f"mix is {quoted(weights)}, expected weights by name, or {NATURAL}")
    pairs = sorted((str(name), float(weight)) for name, weight in weights.items())
    return tuple((name, weight) for name, weight in pairs if weight != 0)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def shares_problem(weights: Mapping[str, float]) -> str:
    """Say what is wrong with weights; "" for nothing."""
    for name, weight in weights.items():
        if not math.isfinite(weight):
            return f"{quoted(name)} has the weight {weight:g}, expected a finite number"
        if weight < 0:
            return f"{quoted(name)} has the weight {weight:g}, expected at least 0"
        if 0 < weight < LEAST_SHARE:
            return (
                f"{quoted(name)} has the weight {weight:g}, expected 0 or at least {LEAST_SHARE:g}"
            )
    whole = sum(weights.values())
    if abs(whole - 1) > SUM_WITHIN:
        return f"the weights sum to {whole:.4g}, expected 1"
    return ""


def phases_problem(untils: Sequence[float | str | None]) -> tuple[int, str] | None:
    """Return the number of a phase whose end is wrong, and why; None where all fit."""
    if not untils:
        return 0, "expected at least one phase"
    before = 0.0
    for number, until in enumerate(untils[:-1]):
        if until is None:
            return number, "until is missing; only the last phase lasts to the run's end"
        if number and untils[number - 1] == COOLDOWN:
            return number, "the phase before it ends at the cooldown, and only the last may follow"
        if isinstance(until, str):
            if until != COOLDOWN:
                return number, f"until is {quoted(until)}, expected a share or {COOLDOWN}"
        elif not before < until < 1:
            above = (
                f"above {before:g}, where the phase before it ends, and"
                if number
                else "above 0 and"
            )
            return number, f"until is {until:g}, expected {above} below 1"
        else:
            before = until
    if untils[-1] is not None:
        return len(untils) - 1, "the last phase lasts to the run's end; leave until out"
    return None


def _until_text(until: float | str | None) -> str:
    return f"{until:g}" if isinstance(until, float) else str(until)
