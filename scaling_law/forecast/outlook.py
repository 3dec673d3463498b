"""What a forecast rests on: one law, or the worlds of several laws, asked in the same words."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Protocol

from scaling_law.fit.laws.law import Floats
from scaling_law.fit.result import FitResult
from scaling_law.fit.solver.interval import PredictionInterval
from scaling_law.fit.split import BestSplit
from scaling_law.fit.worlds import FEWEST_WORLDS, Worlds
from scaling_law.forecast.law_alone import LawAlone
from scaling_law.forecast.optima import Loss
from scaling_law.forecast.over_worlds import OverWorlds
from scaling_law.forecast.repeats import Repeats


class Outlook(Protocol):
    """How the loss continues, and how sure that is.

    ``trouble``: why there is no compute-optimal split; empty where there is one, or none was to be
        expected.
    ``ways``: what the ways are that the loss may continue in, in words.
    """

    trouble: str
    ways: str

    @property
    def split(self) -> BestSplit | None:
        """The compute-optimal split of every budget; None: there is none."""

    def log_loss(self, at: Mapping[str, float]) -> float:
        """The point forecast's log L at {variable: value}."""

    def loss_at(self, params: float, tokens: float) -> float:
        """The same at params and tokens, nothing repeated, as ``forecast.optima`` searches it."""

    def interval(self, at: Mapping[str, float], level: float) -> PredictionInterval:
        """Where a new run's loss falls."""

    def causes(self, at: Mapping[str, float]) -> dict[str, Any]:
        """``by_law`` and ``variance_shares`` of a ``Prediction``; empty: of one law."""

    def optimum(self, at: Mapping[str, float], level: float) -> dict[str, Any]:
        """The fields of a ``Prediction`` that the compute-optimal split decides."""

    def check_reach(self, loss: float) -> list[str]:
        """What a reader should know about a target loss. Raises ``FitError``: beyond reach."""

    def flops_interval(self, loss: float, level: float) -> tuple[float, float] | None:
        """The compute that reaches a loss; inf where it may never be reached."""

    def own_splits(self, flops: float | None, loss: float | None) -> tuple[Floats, Floats] | None:
        """(log params, log tokens) that spend FLOPs best, or reach a loss most cheaply, way by way.

        NaN where a way has none; None where no ways are known.
        """

    def drawn(self, count: int, unique: float | None) -> Iterator[Loss]:
        """The log loss in ``count`` of the ways, repeats of ``unique`` tokens at their worth."""

    def ends(
        self, centre: float, own: Floats, level: float, *, drawn: bool
    ) -> tuple[float, float] | None:
        """The interval of a count whose logarithm is ``own`` in each way, or in those ``drawn``."""

    def floor_doubts(self, at: Mapping[str, float]) -> list[str]:
        """What a reader should know, far beyond the data, about the irreducible loss."""

    def repeats(self, unique: float) -> Repeats:
        """What repeats of ``unique`` tokens are worth. Raises ``FitError`` without a split."""


def outlook_of(
    fit: FitResult, worlds: Worlds | None = None, *, seed_noise_log: float | None = None
) -> Outlook:
    """The outlook over ``worlds``; of ``fit`` alone without them, or where they are too few."""
    if worlds is not None and len(worlds) >= FEWEST_WORLDS:
        return OverWorlds(fit, worlds)
    return LawAlone(fit, seed_noise_log, worlds.notes if worlds else ())
