"""``slaw experiments --run-all``: train every shipped experiment that fits a budget of time."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from scaling_law.console import Say, answer
from scaling_law.errors import (
    EXIT_INTERRUPTED,
    EXIT_OK,
    EXIT_PREEMPTED,
    ConfigError,
    Preempted,
    SlawError,
)
from scaling_law.experiment.analysis import analysed
from scaling_law.files.layout import SweepDir
from scaling_law.run import engines
from scaling_law.run.experiments import Listed, listed
from scaling_law.run.request import Request
from scaling_law.run.session import run_sweep
from scaling_law.run.stages import train_stages
from scaling_law.run.text import closing
from scaling_law.text_columns import left
from scaling_law.units import count_of, format_seconds

Train = Callable[[Listed, Path, Say], tuple[SweepDir, int]]


@dataclass(frozen=True, kw_only=True)
class Choice:
    """Which experiments run, cheapest first, and why the others do not.

    ``budget_seconds`` is None for no limit;
    ``left_out`` are (experiment, reason).
    """

    budget_seconds: float | None
    chosen: tuple[Listed, ...]
    left_out: tuple[tuple[Listed, str], ...]

    @property
    def seconds(self) -> float:
        """The planned time of those that run."""
        return sum(entry.seconds or 0.0 for entry in self.chosen)

    @property
    def text(self) -> str:
        """The choice as a table."""
        head = f"{count_of(len(self.chosen), 'experiment')}, about {format_seconds(self.seconds)}"
        if self.budget_seconds is not None:
            head += f" of the budget of {format_seconds(self.budget_seconds)}"
        rows = left([_row(entry) for entry in self.chosen], "  ")
        return "\n".join([head, *rows, *_left_out_lines(self.left_out)])


def _row(entry: Listed) -> tuple[str, str, str]:
    further = "and later stages, whose cost the first decides" if entry.further else ""
    cost = f"about {format_seconds(entry.seconds)}" if entry.seconds else "finished"
    return entry.name, cost, further


def _left_out_lines(left_out: Sequence[tuple[Listed, str]]) -> list[str]:
    return [f"left out: {entry.name}: {why}" for entry, why in left_out]


def choose(entries: Sequence[Listed], budget_seconds: float | None) -> Choice:
    """Take the cheapest experiments as long as their planned time fits.

    Raises ``ConfigError`` where none fits, with the least budget.
    """
    left_out = [(entry, entry.why_no_cost) for entry in entries if entry.seconds is None]
    able = [(entry.seconds, entry.name, entry) for entry in entries if entry.seconds is not None]
    if not able:
        raise ConfigError(*(f"{entry.name}: {why}" for entry, why in left_out))
    chosen, spent = [], 0.0
    for seconds, _, entry in sorted(able, key=lambda item: item[:2]):
        if budget_seconds is None or spent + seconds <= budget_seconds:
            chosen.append(entry)
            spent += seconds
            continue
        rest = format_seconds(budget_seconds - spent)
        left_out.append((entry, f"needs about {format_seconds(seconds)}, {rest} would be left"))
    if not chosen:
        cheapest, name, _ = min(able, key=lambda item: item[:2])
        needs = format_seconds(math.ceil(cheapest))
        raise ConfigError(
            f"--budget {format_seconds(budget_seconds or 0.0)}: no experiment fits; the cheapest,"
            f" {name}, needs about {needs}: give at least that"
        )
    return Choice(budget_seconds=budget_seconds, chosen=tuple(chosen), left_out=tuple(left_out))


def chosen_here(folder: Path, budget_seconds: float | None, say: Say) -> Choice:
    """The choice on this machine, which is measured first if it never was.

    Runs that have finished in ``folder`` cost nothing.
    """
    engines.profile(engines.engine_named(), "auto", say)
    return choose(listed(folder), budget_seconds)


@dataclass(kw_only=True)
class _Ended:
    """How the experiments ended so far.

    ``done`` counts those that have finished;
    ``failed`` are (name, reason) and ``left_out`` (experiment, reason);
    ``code`` is the exit code of the first that failed.
    """

    done: int = 0
    failed: list[tuple[str, str]] = field(default_factory=list)
    left_out: list[tuple[Listed, str]] = field(default_factory=list)
    code: int = EXIT_OK

    def fail(self, name: str, why: str, code: int) -> None:
        """Count an experiment that did not finish."""
        self.failed.append((name, why))
        self.code = self.code or code


def train_one(entry: Listed, folder: Path, say: Say) -> tuple[SweepDir, int]:
    """Start or resume one experiment in ``folder``; returns its sweep and exit code."""
    request = Request(config=str(entry.config), out=str(folder / entry.name))
    if entry.stages:
        sweep, _, code = train_stages(request, say)
        return sweep, code
    sweep, plan, outcome = run_sweep(request, say)
    say(closing(sweep, plan, outcome, last=False))
    return sweep, outcome.exit_code


def run_all(choice: Choice, folder: Path, say: Say, *, train: Train = train_one) -> int:
    """Train the chosen experiments, one after another; returns the exit code.

    One that fails does not keep the others from running. One that has begun is finished; before
    each further one the time spent so far counts, not the time planned. A stop signal ends all;
    the same command resumes.
    """
    began = time.monotonic()
    ended = _Ended(left_out=list(choice.left_out))
    for number, entry in enumerate(choice.chosen, 1):
        spent = time.monotonic() - began
        needs = entry.seconds or 0.0
        budget = choice.budget_seconds
        if budget is not None and spent + needs > budget and needs:
            rest = format_seconds(budget - spent) if budget > spent else "nothing"
            why = f"needs about {format_seconds(needs)}, {rest} of the budget was left"
            ended.left_out.append((entry, why))
            continue
        say(f"\nexperiment {number} of {len(choice.chosen)}: {entry.name}")
        try:
            sweep, code = train(entry, folder, say)
        except Preempted:
            raise
        except SlawError as problem:
            ended.fail(entry.name, problem.lines[0], problem.exit_code)
            continue
        if code in (EXIT_PREEMPTED, EXIT_INTERRUPTED):
            before = count_of(ended.done, "experiment")
            answer(f"stopped in {entry.name}, after {before}; the same command resumes")
            return code
        if code != EXIT_OK:
            ended.fail(entry.name, f"runs failed; their logs are in {sweep.runs}", code)
            continue
        ended.done += 1
        took = format_seconds(time.monotonic() - began - spent)
        stage = " for its first stage" if entry.further else ""
        planned = f", planned {format_seconds(needs)}{stage}" if needs else ""
        if (result := analysed(sweep)) is not None:
            findings = result.findings
            answer(f"{entry.name} ({took}{planned}): {findings.counts}\n  {findings.verdict}")
    answer(_closing(ended, folder, time.monotonic() - began))
    return ended.code


def _closing(ended: _Ended, folder: Path, seconds: float) -> str:
    lines = [f"{count_of(ended.done, 'experiment')} finished in {format_seconds(seconds)}"]
    lines += [f"failed: {name}: {why}" for name, why in ended.failed]
    if ended.failed:
        lines.append("run the same command again to retry")
    lines += _left_out_lines(ended.left_out)
    if ended.left_out:
        lines.append("slaw run NAME trains one of those; a larger --budget trains more of them")
    return "\n".join([*lines, f"next: slaw report {folder}"] if ended.done else lines)
