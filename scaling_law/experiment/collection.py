"""Read every experiment of a results folder; one that is damaged does not cost the others."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scaling_law.errors import ConfigError, SlawError, listed
from scaling_law.experiment.analysis import Analysed, analysed, named_by, report_command
from scaling_law.experiment.evidence import train_command
from scaling_law.experiment.findings import Multiplier
from scaling_law.files.layout import SweepDir
from scaling_law.files.record import find_sweeps
from scaling_law.fit.session import KnownLaws, stored_laws
from scaling_law.text_columns import left
from scaling_law.units import count_of, format_count, format_ratio


@dataclass(frozen=True, kw_only=True)
class Shown:
    """An experiment with finished runs, and its findings."""

    sweep: SweepDir
    analysed: Analysed

    @property
    def name(self) -> str:
        """The name of its folder."""
        return self.sweep.path.name

    @property
    def report(self) -> str:
        """The command that writes its own page."""
        return report_command(self.sweep)


@dataclass(frozen=True, kw_only=True)
class PlainSweep:
    """A sweep whose config names no experiment.

    ``runs`` counts its finished runs;
    ``law`` is the law of its saved fit in words, "" where none is saved;
    ``command`` is the one that says more of it.
    """

    sweep: SweepDir
    runs: int
    law: str
    command: str


@dataclass(frozen=True, kw_only=True)
class NotShown:
    """A sweep without findings.

    ``why`` says why, and what to do;
    ``damaged`` is whether it has findings that could not be read.
    """

    sweep: SweepDir
    why: str
    damaged: bool


@dataclass(frozen=True, kw_only=True)
class Collection:
    """All sweeps of a folder, by name."""

    folder: Path
    shown: tuple[Shown, ...]
    plain: tuple[PlainSweep, ...]
    not_shown: tuple[NotShown, ...]

    @property
    def multipliers(self) -> list[tuple[str, Multiplier]]:
        """The compute multipliers of all experiments, each with the name of its folder."""
        return [(one.name, m) for one in self.shown for m in one.analysed.findings.multipliers]

    @property
    def damaged(self) -> bool:
        """Whether the findings of an experiment could not be read."""
        return any(item.damaged for item in self.not_shown)

    @property
    def document(self) -> dict[str, Any]:
        """The collection as JSON values."""
        return {
            "experiments": [
                {"folder": str(one.sweep.path), **one.analysed.document} for one in self.shown
            ],
            "sweeps": [
                {
                    "folder": str(one.sweep.path),
                    "runs": one.runs,
                    "law": one.law,
                    "command": one.command,
                }
                for one in self.plain
            ],
            "not_shown": [
                {"folder": str(one.sweep.path), "why": one.why, "damaged": one.damaged}
                for one in self.not_shown
            ],
        }


def holds_experiments(sweeps: Sequence[SweepDir]) -> bool:
    """Whether there are several sweeps, of which one at least names an experiment."""
    return len(sweeps) > 1 and any(map(_names_one, sweeps))


def _names_one(sweep: SweepDir) -> bool:
    try:
        return named_by(sweep) is not None
    except SlawError:
        return False


def collect(folder: Path) -> Collection:
    """Read the findings of every experiment in ``folder``, and what its other sweeps are.

    Raises ``ConfigError`` where no experiment has findings that can be read, with the reasons.
    """
    shown, plain, not_shown = [], [], []
    for sweep in find_sweeps(folder):
        try:
            named = named_by(sweep)
            if named is None:
                plain.append(_plain(sweep))
                continue
            if named.is_own:
                why = f"its experiment is a user's own file; {report_command(sweep)} executes it"
                not_shown.append(NotShown(sweep=sweep, why=why, damaged=False))
                continue
            result = analysed(sweep)
        except SlawError as problem:
            not_shown.append(NotShown(sweep=sweep, why=" ".join(problem.lines), damaged=True))
            continue
        assert result is not None, "the config names an experiment of slaw's"
        if result.evidence.runs:
            shown.append(Shown(sweep=sweep, analysed=result))
            continue
        why = f"no run has finished; to train them: {train_command(sweep)}"
        not_shown.append(NotShown(sweep=sweep, why=why, damaged=False))
    if not shown:
        reasons = [f"{one.sweep.path}: {one.why}" for one in not_shown]
        raise ConfigError(
            *reasons or [f"{folder}: no experiment there; slaw experiments lists them"]
        )
    return Collection(
        folder=folder, shown=tuple(shown), plain=tuple(plain), not_shown=tuple(not_shown)
    )


MULTIPLIER = (
    "Compute multipliers: the compute that the base needs for a recipe's loss, over the recipe's"
    " own; above 1 the recipe saves compute. In brackets the interval at 90%; where the base's runs"
    " do not reach as far, what it is more or less than. They hold at the size and tokens of their"
    " row. Compute is counted in exact FLOPs of forward and backward passes, or in tokens where a"
    " token costs both as many."
)
MULTIPLIER_HEAD = (
    "experiment", "recipe", "base", "params", "tokens", "multiplier", "counted in",
)  # fmt: skip


def multiplier_rows(published: Sequence[tuple[str, Multiplier]]) -> list[tuple[str, ...]]:
    """Rows under ``MULTIPLIER_HEAD``, in the order of the experiments."""
    return [
        (
            name,
            one.recipe,
            one.base,
            f"{format_count(one.params)} {one.params_are.replace('_', '-')}",
            format_count(one.tokens),
            one.text,
            "FLOPs" if one.counts == "exact" else one.counts,
        )
        for name, one in published
    ]


def multipliers_text(collections: Sequence[Collection]) -> str:
    """One table of the compute multipliers in several folders, for a terminal."""
    rows = multiplier_rows([row for each in collections for row in each.multipliers])
    silent = [
        one.name
        for each in collections
        for one in each.shown
        if not one.analysed.findings.multipliers
    ]
    lines = [MULTIPLIER, "", *left([MULTIPLIER_HEAD, *rows])] if rows else []
    if silent:
        lines.append(f"without a multiplier: {listed(silent, len(silent))}")
    return "\n".join(lines)


def multipliers_document(collections: Sequence[Collection]) -> list[dict[str, Any]]:
    """The same as JSON values."""
    return [
        {"experiment": name, **dataclasses.asdict(one)}
        for each in collections
        for name, one in each.multipliers
    ]


def _plain(sweep: SweepDir) -> PlainSweep:
    known = stored_laws(sweep)
    command = f"slaw fit {sweep.path}" if known is None else f"slaw report {sweep.path}"
    return PlainSweep(
        sweep=sweep,
        runs=sum(run_dir.record.is_file() for run_dir in sweep.run_dirs()),
        law="" if known is None else _law_words(known),
        command=command,
    )


def _law_words(known: KnownLaws) -> str:
    best = known.laws.get(known.best_law)
    if best is None or not best.params:
        return "no law can be fitted"
    values = ", ".join(f"{name} = {value:.4g}" for name, value in best.params.items())
    trust = known.trust_flops_factor
    reach = (
        "no forecast is trusted"
        if trust is None
        else f"trusted up to {format_ratio(trust)}x its largest run"
    )
    return f"{known.best_law}: {values}; {reach}"


def collection_text(collection: Collection) -> str:
    """Each experiment's verdict and the standing of its claims, for a terminal."""
    blocks = []
    for one in collection.shown:
        findings = one.analysed.findings
        lines = [f"{one.name}: {findings.counts or 'no claims'}", f"  {findings.verdict}"]
        lines += [
            f"  not established: {claim.says} ({claim.because})"
            for claim in findings.claims
            if claim.established is None
        ]
        lines += [f"  {one.analysed.left_out}"] if one.analysed.left_out else []
        blocks.append("\n".join(lines))
    return "\n\n".join(blocks)


def left_out_lines(collection: Collection) -> list[str]:
    """A line for each sweep that is not shown, and one for those without an experiment."""
    lines = [f"not shown: {one.sweep.path}: {one.why}" for one in collection.not_shown]
    if collection.plain:
        count = count_of(len(collection.plain), "sweep")
        names = listed([one.sweep.path.name for one in collection.plain])
        lines.append(f"{count} without an experiment, on the page with the saved law: {names}")
    return lines
