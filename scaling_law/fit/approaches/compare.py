"""Compares three approaches to one question, under every way of counting: size ~ compute^a.

They are those of Hoffmann 2022 (arXiv 2203.15556, section 3): the envelope, IsoFLOP curves (local
interpolations, and parabolas as published), the parametric law. They agree where the data are good,
and the table says why one may stand apart.
Under different counts the same runs give exponents that differ by .2 (Porian 2024, arXiv
2406.19146).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from scaling_law import text_columns
from scaling_law.fit.approaches.envelope import EnvelopeResult, fit_envelope
from scaling_law.fit.approaches.isoflop import IsoflopResult, fit_isoflop
from scaling_law.fit.approaches.isoflop_curves import AKIMA, PARABOLA
from scaling_law.fit.result import exponent_words
from scaling_law.fit.suite import FitSuite

KAPLAN, CHINCHILLA = 0.73, 0.50
"""Exponents a of Kaplan 2020 (arXiv 2001.08361, figure 14) and Hoffmann 2022 (table 2)."""


@dataclass(frozen=True, kw_only=True)
class Approach:
    """The exponent by one approach under one way of counting.

    ``name``: the approach.
    ``params``: which parameters count.
    ``flops``: which FLOPs count.
    ``exponent``: a in params ~ flops^a; None when refused.
    ``interval``: (low, high) of it; None where there is none.
    ``reason``: why it was refused, or has no interval.
    """

    name: str
    params: str
    flops: str
    exponent: float | None
    interval: tuple[float, float] | None
    reason: str

    @property
    def verdict(self) -> str:
        """The published exponents that lie in the interval."""
        if self.exponent is None or self.interval is None:
            return ""
        low, high = self.interval
        known = (("Kaplan", KAPLAN), ("Chinchilla", CHINCHILLA))
        return " and ".join(name for name, x in known if low <= x <= high) or "neither"


def compare(suite: FitSuite) -> list[Approach]:
    """Every approach under every way of counting that the runs allow; a refused one says why."""
    approaches = [_parametric(row) for row in suite.by_convention]
    settings = suite.settings
    for params, points in suite.counted.items():
        flops = points.convention["flops"]
        results: list[tuple[str, IsoflopResult | EnvelopeResult]] = [
            (
                f"IsoFLOP ({words})",
                fit_isoflop(points, level=settings.level, seed=settings.seed, curve=curve),
            )
            for curve, words in ((AKIMA, "interpolated"), (PARABOLA, "parabolas"))
        ]
        results.append(("envelope", fit_envelope(points, level=settings.level)))
        for name, result in results:
            line = result.lines.get("params")
            approaches.append(
                Approach(
                    name=name,
                    params=params,
                    flops=flops,
                    exponent=line.exponent if line else None,
                    interval=line.interval if line else None,
                    reason=result.reason,
                )
            )
    return approaches


def _parametric(row: dict[str, Any]) -> Approach:
    interval = None if row["a_low"] is None else (row["a_low"], row["a_high"])
    return Approach(
        name=f"parametric ({row['law']})",
        params=row["params"],
        flops=row["flops"],
        exponent=row["a"],
        interval=interval,
        reason="" if row["a"] is not None and not row.get("a_fixed") else exponent_words(row),
    )


def format_comparison(approaches: list[Approach], level: float) -> str:
    """One table: approach, count, exponent and interval, and the published exponents in it."""
    head = ("approach", "params counted", "FLOPs", "a", f"{100 * level:g}% interval", "holds")
    rows = [head]
    for one in approaches:
        interval = f"{one.interval[0]:.3f} to {one.interval[1]:.3f}" if one.interval else "-"
        value = f"{one.exponent:.3f}" if one.exponent is not None else "refused"
        words = one.verdict or one.reason
        counted = one.params.replace("_", "-")
        rows.append((one.name, counted, one.flops, value, interval, words))
    title = "compute-optimal size ~ compute^a (Kaplan 2020: .73, Chinchilla 2022: .50)"
    note = (
        "cross-checks: parabolas and envelopes are biased even without noise, interpolations follow"
        " the noise of single runs"
    )
    return "\n".join([title, *text_columns.left(rows), note])
