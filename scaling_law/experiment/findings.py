"""What an experiment found, as plain values: a verdict, claims, measures, tables and figures."""

from __future__ import annotations

import dataclasses
import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from scaling_law.experiment.seeds import LEVEL
from scaling_law.text_columns import left

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")
# The unit that the last word of a measure's name stands for: ``memorise_steps``.
_UNITS = {
    "steps": "steps",
    "tokens": "tokens",
    "examples": "examples",
    "epochs": "epochs",
    "params": "parameters",
    "flops": "FLOPs",
    "nats": "nats",
    "seconds": "seconds",
    "bytes": "bytes",
    "frac": "share",
    "share": "share",
}
# Stands for the sentence that says how to train the missing runs. An analysis does not know the
# folder of its runs; ``Findings.with_remedy`` writes the sentence in.
AGAIN = "{missing runs}"
INTERVALS = f"intervals are at {LEVEL:.0%} where nothing else is said"


def _check_name(what: str, name: str) -> None:
    if not _NAME.fullmatch(name):
        raise ValueError(f"{what} {name!r}, expected letters, digits, . _ and -")


_STANDING = {True: "established", False: "contradicted", None: "not established"}
STANDINGS = tuple(_STANDING.values())


@dataclass(frozen=True, kw_only=True)
class Claim:
    """One thing that the runs may show.

    ``name`` is what a test asks for;
    ``says`` states it, as a sentence;
    ``established`` is True where the runs show it, False where they contradict it, and None where
    its precondition is not met;
    ``because`` gives the figures it rests on or, of one that is not established, what would
    decide it.
    """

    name: str
    says: str
    established: bool | None
    because: str

    def __post_init__(self) -> None:
        _check_name("claim", self.name)

    @property
    def standing(self) -> str:
        """The claim's standing: established, contradicted or not established."""
        return _STANDING[self.established]


@dataclass(frozen=True, kw_only=True)
class Table:
    """Rows of text and numbers.

    ``caption`` says what they are, with units;
    ``head`` names the columns;
    ``text_columns`` is how many of the first columns hold words.
    """

    caption: str
    head: tuple[str, ...]
    rows: tuple[tuple[object, ...], ...]
    text_columns: int = 1

    def __post_init__(self) -> None:
        for row in self.rows:
            if len(row) != len(self.head):
                raise ValueError(f"{len(row)} cells in a table of {len(self.head)} columns")


@dataclass(frozen=True, kw_only=True)
class Axis:
    """An axis of a panel.

    ``label`` names the quantity with its unit;
    ``scale`` is logarithmic, linear, or linear near zero and logarithmic from 1 on (``symlog``);
    ``low`` and ``high`` are its ends; None takes those of the data;
    ``values`` are where its ticks stand, by their words; None spreads ticks as the scale does.
    """

    label: str
    scale: Literal["linear", "log", "symlog"] = "linear"
    low: float | None = None
    high: float | None = None
    values: Mapping[str, float] | None = None


@dataclass(frozen=True, kw_only=True)
class Series:
    """Points that belong together.

    ``label`` is its line in the legend; series of one label share a colour and one line there;
    ``points`` are (x, y);
    ``intervals`` are the (low, high) of y at each point, () for none;
    ``beyond`` are the (x, y) of what lies above y, by an unknown amount: runs that never got there
    while they trained to y;
    ``line`` joins the points; ``marks`` shows each of them; ``dashed`` breaks the line.
    """

    label: str
    points: tuple[tuple[float, float], ...]
    intervals: tuple[tuple[float, float], ...] = ()
    beyond: tuple[tuple[float, float], ...] = ()
    line: bool = True
    marks: bool = True
    dashed: bool = False

    def __post_init__(self) -> None:
        if self.intervals and len(self.intervals) != len(self.points):
            raise ValueError(f"{len(self.intervals)} intervals for {len(self.points)} points")
        for number in (
            value for pair in (*self.points, *self.intervals, *self.beyond) for value in pair
        ):
            if not math.isfinite(number):
                raise ValueError(f"series {self.label!r} has the point {number}")


@dataclass(frozen=True, kw_only=True)
class Panel:
    """One coordinate system of a figure.

    ``bands`` are ranges of y that are shaded, with the words that the legend has for them.
    """

    x: Axis
    y: Axis
    series: tuple[Series, ...]
    bands: tuple[tuple[str, float, float], ...] = ()
    title: str = ""


@dataclass(frozen=True, kw_only=True)
class Figure:
    """What the report draws.

    ``name`` names its files;
    ``title`` says what it shows;
    ``caption`` says how to read it;
    ``panels`` stand side by side;
    ``kinds`` says that its series are kinds of something, such as optimizers: many of them differ
    by colour and mark. Without it many are steps of one quantity, and have a ramp of colours.
    """

    name: str
    title: str
    caption: str
    panels: tuple[Panel, ...]
    kinds: bool = False

    def __post_init__(self) -> None:
        _check_name("figure", self.name)
        if not self.panels:
            raise ValueError(f"figure {self.name} has no panel")


@dataclass(frozen=True, kw_only=True)
class Published:
    """A published figure and ours.

    ``what`` says what was measured;
    ``theirs`` and ``ours`` are the two, in words with their units;
    ``source`` names the publication.
    """

    what: str
    theirs: str
    ours: str
    source: str


@dataclass(frozen=True, kw_only=True)
class Multiplier:
    """A compute multiplier: the compute that a base needs for a recipe's loss, over the recipe's.

    Above 1 the recipe saves compute. ``slaw experiments --multipliers`` and the page over several
    experiments list those of all findings.

    ``recipe`` and ``base`` name the two;
    ``params`` is the recipe's size, as ``params_are`` counts it; ``tokens`` are those it was
    trained on;
    ``value`` is the multiplier, ``interval`` its (low, high) at 90%, None with one seed;
    ``counts`` says what counts as compute, one of ``COMPUTES``;
    ``bound`` is ``more`` or ``less`` where the runs only say that the multiplier is more, or less,
    than ``value``; it then has no interval.
    """

    recipe: str
    base: str
    params: float
    tokens: float
    value: float
    interval: tuple[float, float] | None
    params_are: Literal["matmul", "non_embedding", "total"] = "matmul"
    counts: str = "exact"
    bound: Literal["", "more", "less"] = ""

    def __post_init__(self) -> None:
        if self.bound and self.interval is not None:
            raise ValueError(f"{self.bound} than {self.value} with the interval {self.interval}")
        ends = self.interval or (self.value, self.value)
        if not 0 <= ends[0] <= self.value <= ends[1] < math.inf or not self.value:
            raise ValueError(f"multiplier {self.value} with the interval {self.interval}")
        if self.counts not in COMPUTES:
            raise ValueError(f"counts {self.counts!r}, expected {', '.join(COMPUTES)}")

    def charged(self, cost: float) -> Multiplier:
        """The multiplier in exact FLOPs, where a token costs ``cost`` times the base's.

        ``cost`` is the ratio of exact FLOPs for a token, the recipe's over the base's.
        """
        ends = self.interval and (self.interval[0] / cost, self.interval[1] / cost)
        return dataclasses.replace(self, value=self.value / cost, interval=ends, counts="exact")

    @property
    def text(self) -> str:
        """``1.32 (1.20 to 1.46)``, or ``less than 0.50``."""
        if self.bound:
            return f"{self.bound} than {self.value:.2f}"
        if self.interval is None:
            return f"{self.value:.2f} (one seed)"
        low, high = self.interval
        return f"{self.value:.2f} ({low:.2f} to {high:.2f})"

    @property
    def side(self) -> int:
        """1 where the multiplier is known to be above 1, -1 where below, else 0."""
        if self.bound:
            return int(self.bound == "more" and self.value >= 1) - int(
                self.bound == "less" and self.value <= 1
            )
        low, high = self.interval or (0.0, math.inf)
        return int(low > 1) - int(high < 1)


# What a multiplier counts as compute: the exact FLOPs of forward and backward passes; tokens, where
# a token costs both recipes as many FLOPs; or time on the device that trained them.
COMPUTES = ("exact", "tokens", "seconds")


@dataclass(frozen=True, kw_only=True)
class Findings:
    """What the records of an experiment show.

    ``verdict`` answers its question in a sentence;
    ``claims`` are what it rests on, each with its standing;
    ``measures`` are numbers by name, None where the runs do not give one;
    ``units`` are their units, by name or by the name's first words (``exact`` for ``exact.n544``),
    where the name does not end with one (``memorise_steps``);
    ``multipliers`` are the compute multipliers that the runs give;
    ``tables``, ``figures``, ``literature`` and ``notes`` are for readers.
    """

    verdict: str
    measures: Mapping[str, float | None]
    claims: tuple[Claim, ...] = ()
    tables: tuple[Table, ...] = ()
    figures: tuple[Figure, ...] = ()
    literature: tuple[Published, ...] = ()
    notes: tuple[str, ...] = field(default=())
    units: Mapping[str, str] = field(default_factory=dict)
    multipliers: tuple[Multiplier, ...] = ()

    def __post_init__(self) -> None:
        for name, value in self.measures.items():
            _check_name("measure", name)
            if value is not None and not math.isfinite(value):
                raise ValueError(f"measure {name} is {value}, expected a number or None")
        for names in ([c.name for c in self.claims], [f.name for f in self.figures]):
            if len(set(names)) < len(names):
                raise ValueError(f"two of one name among {', '.join(names)}")

    def with_remedy(self, remedy: str) -> Findings:
        """These findings with ``remedy`` in place of ``AGAIN`` in every sentence."""
        claims = (
            dataclasses.replace(claim, because=claim.because.replace(AGAIN, remedy))
            for claim in self.claims
        )
        return dataclasses.replace(
            self,
            verdict=self.verdict.replace(AGAIN, remedy),
            claims=tuple(claims),
            notes=tuple(words.replace(AGAIN, remedy) for words in self.notes),
        )

    def unit(self, measure: str) -> str:
        """The unit of a measure; "" for a plain number, or one whose unit is not given."""
        words = measure.split(".")
        for count in range(len(words), 0, -1):
            if (unit := self.units.get(".".join(words[:count]))) is not None:
                return unit
        return _UNITS.get(words[0].rpartition("_")[2], "")

    @property
    def counts(self) -> str:
        """How many claims have each standing: ``3 established, 1 not established``."""
        standings = Counter(claim.standing for claim in self.claims)
        return ", ".join(f"{standings[name]} {name}" for name in STANDINGS if standings[name])

    @property
    def document(self) -> dict[str, Any]:
        """All but the figures as JSON values."""
        units = {name: unit for name in self.measures if (unit := self.unit(name))}
        return {
            "verdict": self.verdict,
            "measures": dict(self.measures),
            "units": units,
            "claims": [
                {
                    "name": claim.name,
                    "says": claim.says,
                    "established": claim.established,
                    "because": claim.because,
                }
                for claim in self.claims
            ],
            "tables": [
                {
                    "caption": table.caption,
                    "head": list(table.head),
                    "rows": [[str(cell) for cell in row] for row in table.rows],
                }
                for table in self.tables
            ],
            "literature": [
                {"what": p.what, "theirs": p.theirs, "ours": p.ours, "source": p.source}
                for p in self.literature
            ],
            "notes": list(self.notes),
            "multipliers": [dataclasses.asdict(one) for one in self.multipliers],
        }


def answer_lines(findings: Findings) -> list[str]:
    """Return the verdict, a line for each claim, and the level of their intervals."""
    claims = [f"  {claim.standing}: {claim.says} ({claim.because})" for claim in findings.claims]
    return [findings.verdict, *claims, *([f"  {INTERVALS}"] if claims else [])]


def findings_text(findings: Findings) -> str:
    """Verdict, claims, tables and literature for a terminal."""
    lines = answer_lines(findings)
    for table in findings.tables:
        lines += ["", table.caption, *_rows(table.head, table.rows)]
    if findings.literature:
        rows = [(p.what, p.theirs, p.ours, p.source) for p in findings.literature]
        lines += ["", *_rows(("beside the literature", "theirs", "ours", "source"), rows)]
    lines += ["", *(f"note: {note}" for note in findings.notes)] if findings.notes else []
    return "\n".join(lines)


def _rows(head: Sequence[str], rows: Sequence[Sequence[object]]) -> list[str]:
    return left([tuple(head), *(tuple(map(str, row)) for row in rows)], "  ")
