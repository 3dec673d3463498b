"""Build an experiment's findings: claims behind their preconditions, and the verdict they give.

A claim is stated only where its precondition is met. Where it is not, the claim says why, and what
would meet it: an experiment that has shown nothing must not read as one that has shown something.

    def decide() -> Decision:
        need(len(losses) > 1, "one seed has finished", AGAIN)
        return losses[0] < losses[1], f"{losses[0]:.3f} against {losses[1]:.3f}"

    claims = (claim("wider_is_better", "the wider model has the lower loss", decide),)

``findings.AGAIN`` stands for the command that trains the missing runs, which depends on the folder.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TypeAlias

from scaling_law.experiment.findings import Claim, Figure, Findings, Published, Table

Decision: TypeAlias = tuple[bool, str]  # whether it holds, and the figures it rests on


class PreconditionError(Exception):
    """A claim's precondition is not met.

    ``why``: what is the case instead. ``needs``: what would meet it.
    """

    def __init__(self, why: str, needs: str) -> None:
        super().__init__(f"{why}; {needs}")
        self.why, self.needs = why, needs


def need(met: bool, why: str, needs: str) -> None:
    """Raise ``PreconditionError`` unless a precondition is met."""
    if not met:
        raise PreconditionError(why, needs)


def claim(name: str, says: str, decide: Callable[[], Decision]) -> Claim:
    """Return what ``decide`` says of a claim, or why it can say nothing.

    ``decide`` calls ``need`` for each of its preconditions, then returns its ``Decision``.
    """
    established: bool | None
    try:
        established, because = decide()
    except PreconditionError as refused:
        established, because = None, str(refused)
    return Claim(name=name, says=says, established=established, because=because)


def beside(what: str, *, theirs: str, ours: str | None, source: str) -> Published:
    """Return a published figure with ours next to it, or with ``not measured``."""
    return Published(what=what, theirs=theirs, ours=ours or "not measured", source=source)


def answer(
    claims: Sequence[Claim],
    words: Callable[[], str],
    *,
    measures: Mapping[str, float | None],
    tables: Iterable[Table | None] = (),
    figures: Iterable[Figure | None] = (),
    literature: Sequence[Published] = (),
    notes: Iterable[str] = (),
    units: Mapping[str, str] | None = None,
) -> Findings:
    """Return the findings, without the tables and figures that are None.

    The verdict is what ``words`` returns. It rests on the first claim: where that one is not
    established, the verdict is the reason instead.
    """
    first = claims[0]
    return Findings(
        verdict=f"Not established: {first.because}." if first.established is None else words(),
        claims=tuple(claims),
        measures=measures,
        tables=tuple(table for table in tables if table is not None),
        figures=tuple(figure for figure in figures if figure is not None),
        literature=tuple(literature),
        notes=tuple(notes),
        units=units or {},
    )
