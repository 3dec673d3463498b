"""Turns the request of ``slaw plan --target`` into a proposal: device, data, fit so far, search."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from pathlib import Path

from scaling_law.config.load import load_config
from scaling_law.console import Say
from scaling_law.design.candidates import ladder_of, longest_run
from scaling_law.design.propose import DesignGoal, FitSoFar, Proposal, propose
from scaling_law.design.search import Minimums
from scaling_law.errors import ConfigError, FitError, PlanError
from scaling_law.files import layout
from scaling_law.files.layout import SweepDir
from scaling_law.files.record import NATS, RunRecord, load_records, only_sweep
from scaling_law.fit.points.dataset import gather_fit_data
from scaling_law.fit.points.table_settings import TableSettings
from scaling_law.fit.session import KnownLaws, known_laws
from scaling_law.forecast.budget import Budget
from scaling_law.forecast.extrapolate import extrapolate
from scaling_law.forecast.hardware import Hardware
from scaling_law.forecast.target import Target
from scaling_law.plan.plan import Plan, read_plan
from scaling_law.run.planning import inputs, say_of_data
from scaling_law.run.request import Request
from scaling_law.spec.architectures import architecture_of
from scaling_law.spec.arms import arm_of
from scaling_law.spec.counts import CONVENTIONS, count_params
from scaling_law.units import format_count, parse_seconds

_FURTHER = 4  # times the largest size: near enough for a few more runs to tell


def budget_of(
    *,
    time: str | None,
    flops: float | None,
    dollars: float | None = None,
    hardware: Hardware | None = None,
) -> Budget:
    """The one budget that was given. Raises ``ConfigError`` for none or several.

    ``dollars`` become the FLOPs that they rent on ``hardware``.
    """
    given = {"--time": time, "--flops": flops, "--dollars": dollars}
    named = [name for name, value in given.items() if value is not None]
    if len(named) != 1:
        raise ConfigError(
            f"{' and '.join(named) or 'no budget'} given: expected one of --time, --flops and"
            " --dollars (--memory is a limit beside it)"
        )
    if time is not None:
        try:
            return Budget(unit="seconds", amount=parse_seconds(time))
        except ValueError as problem:
            raise ConfigError(f"--time: {problem}") from None
    if dollars is not None:
        return Budget(unit="dollars", amount=dollars).in_flops(hardware or Hardware())
    assert flops is not None
    return Budget(unit="flops", amount=flops)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Beside:
    """A table of runs beside which runs are chosen.

    ``path``: its file.
    ``table``: how it is read.
    """

    path: Path
    table: TableSettings


def design(request: Request, goal: DesignGoal, say: Say, beside: Beside | None = None) -> Proposal:
    """The sweep to run for a goal: from a config, or for a folder of runs its next batch.

    ``beside`` are runs of a table, trained as the config says, which the chosen ones add to. Raises
    ``ConfigError`` for a folder without a config or with several sweeps, and as ``propose``.
    """
    if not Path(request.config).is_dir():
        so_far = None if beside is None else _table_so_far(beside)
        known = inputs(request, say)
        # it needs a folder of its own: under the config's name it would replace that sweep's plan
        config = dataclasses.replace(known.config, name=f"{known.config.name}-design")
        proposal = propose(
            config,
            known.profile,
            goal,
            train_tokens=known.train_tokens,
            component_tokens=known.component_tokens,
            so_far=so_far,
        )
        say_of_data(request, config, say)
        return proposal
    if beside is not None:
        raise ConfigError(
            f"--beside {beside.path}: with a config only; {request.config} is a folder, whose own"
            " runs the chosen ones add to"
        )
    sweep = begun_sweep(Path(request.config))
    return next_batch(request, goal, sweep, fit_so_far(sweep), say)


def next_batch(
    request: Request, goal: DesignGoal, sweep: SweepDir, so_far: FitSoFar, say: Say
) -> Proposal:
    """The runs to add to a sweep, configured as its trained runs are."""
    own = Request(
        config=str(sweep.config),
        device=request.device,
        overrides=request.overrides,
        out=str(sweep.path),
    )
    known = inputs(own, say)
    return propose(
        known.config,
        known.profile,
        goal,
        train_tokens=known.train_tokens,
        component_tokens=known.component_tokens,
        so_far=so_far,
    )


def begun_sweep(folder: Path) -> SweepDir:
    """The only sweep in ``folder``, with the config that its runs began with."""
    sweep = only_sweep(folder)
    if not sweep.config.is_file():
        raise ConfigError(
            f"{sweep.config}: no such file; the next runs must be configured as the trained ones"
        )
    return sweep


def fit_so_far(sweep: SweepDir) -> FitSoFar:
    """The fit of a sweep's finished runs. Raises ``FitError`` when they allow none."""
    known = known_laws(sweep.path)
    fit = known.laws.get(known.best_law)
    if fit is None:
        raise FitError(f"{sweep.path}: no joint law could be fitted; see slaw fit")
    points = gather_fit_data([sweep.path], convention=fit.convention["params"]).points
    models = {
        dict(record.spec.tags).get("size", ""): record.spec.model for record in load_records(sweep)
    }
    models.pop("", None)
    return FitSoFar(known=known, points=points, models=models, origin=str(sweep.path))


def _table_so_far(beside: Beside) -> FitSoFar:
    """The fit of a table's runs. Raises ``ConfigError`` where it does not say what it counts."""
    path = beside.path
    if not path.is_file():
        raise ConfigError(f"--beside {path}: no such file; expected a table of runs")
    points = gather_fit_data([path], table=beside.table).points
    if points.convention["params"] not in CONVENTIONS:
        raise ConfigError(
            f"--beside {path}: counts parameters as {points.convention['params']}; say --params-are"
            f" {', '.join(CONVENTIONS)}, so that they compare with those of the config"
        )
    if points.loss_unit != NATS:
        raise ConfigError(
            f"--beside {path}: its losses are in {points.loss_unit}, those of the config in nats"
            " per token, and one law is fitted to both; name another column with --columns"
            " loss=COLUMN, or convert bits per byte with `slaw import --bytes-per-token X`"
        )
    known = known_laws(path, beside.table)
    return FitSoFar(known=known, points=points, models={}, origin=str(path))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Further:
    """A goal for the next runs of a sweep, as the options of ``slaw plan`` take it.

    ``times``: the target over the largest size, as a multiple.
    ``target``: parameters, counted as the fit's.
    ``time``: budget, about what the finished runs took.
    ``own_run``: the run of the target itself; None where the laws give it no tokens.
    ``own_is_cheaper``: whether that takes less than the budget.
    """

    times: int
    target: str
    time: str
    own_run: OwnRun | None
    own_is_cheaper: bool


@dataclasses.dataclass(frozen=True, kw_only=True)
class OwnRun:
    """The run of a target's size itself.

    ``tokens``: those that the laws find compute-optimal for it.
    ``seconds``: about what it takes, at the pace of the largest size's longest run.
    """

    tokens: float
    seconds: float


def further_runs(folder: Path, known: KnownLaws, convention: str) -> Further | None:
    """A goal that a sweep's next runs can meet: a size a little beyond its largest.

    ``known`` are the fitted laws, ``convention`` is how they count parameters. None for a folder
    without the config and a plan that can be read, which further runs need, where its runs differ
    in more than ``slaw plan`` chooses (axes, a trainer of its user's own), for an architecture that
    has no rule for further sizes, and where the text is too short for the horizons that a design
    needs.
    """
    if not folder.is_dir():
        return None
    sweep = only_sweep(folder)
    if not (sweep.config.is_file() and sweep.plan.is_file()):
        return None
    records = load_records(sweep)
    if any(record.spec.trainer is not None or arm_of(record.spec) for record in records):
        return None
    try:
        if any(architecture_of(record.spec.model).shape_for is None for record in records):
            return None
        plan = read_plan(sweep.plan)
    except (ConfigError, PlanError):
        return None  # a fit needs no plan
    if not _enough_text(sweep, plan, records):
        return None
    points = gather_fit_data([sweep.path], convention=convention).points
    spent = sum(record.seconds for record in records) / plan.slots
    target = _FURTHER * points.data_range["params"][1]
    own = _own_run(target, known, records, convention)
    return Further(
        times=_FURTHER,
        target=format_count(target),
        time=_whole_units(spent),
        own_run=own,
        own_is_cheaper=own is not None and own.seconds < spent,
    )


def _own_run(
    params: float, known: KnownLaws, records: Sequence[RunRecord], convention: str
) -> OwnRun | None:
    """The run of ``params``: its time grows with params times tokens from that of a finished run.

    That is the longest of the largest size, as if it had trained alone: a busy machine slowed it as
    it slowed the others.
    """
    best = known.joint_law
    sizes = {r.run_id: count_params(r.spec.model).by(convention) for r in records}
    timed = [r for r in records if r.seconds > 0 and r.flops_spent > 0 and r.tokens]
    if best is None or not timed:
        return None
    try:
        tokens = extrapolate(best, Target(params=params), **known.beside).tokens
    except FitError:
        return None  # the laws have no split
    if tokens is None:
        return None
    run = max(timed, key=lambda record: (sizes[record.run_id], record.tokens))
    alone = run.seconds * run.flops_exact / run.flops_spent
    more = params * tokens / (sizes[run.run_id] * run.tokens)
    return OwnRun(tokens=tokens, seconds=alone * more)


def _enough_text(sweep: SweepDir, plan: Plan, records: Sequence[RunRecord]) -> bool:
    """Whether the sweep's text allows as many horizons as a design needs, as far as is known."""
    try:
        config = load_config(sweep.config, device_kind=plan.device_kind, beside=sweep.path)
    except ConfigError:
        return True  # its limit is unknown, as where a corpus was moved
    longest = longest_run(plan.train_tokens, config.data.max_epochs)
    smallest = min(count_params(record.spec.model).matmul for record in records)
    try:
        return len(ladder_of(smallest, longest)) >= Minimums().horizons
    except PlanError:
        return False


def _whole_units(seconds: float) -> str:
    """A duration in whole minutes, from two hours on in hours, rounded up: ``3m``."""
    if seconds < 7200:
        return f"{max(1, math.ceil(seconds / 60))}m"
    return f"{math.ceil(seconds / 3600)}h"


def write(proposal: Proposal, path: Path) -> None:
    """Write the chosen sweep as YAML. Raises ``ConfigError`` when it cannot be written."""
    layout.check_folder(path.parent, "name another place with --write")
    if path.is_dir():
        raise ConfigError(f"{path}: a folder, expected the name of a YAML file")
    try:
        layout.atomic_write(path, proposal.yaml)
    except OSError as problem:
        raise ConfigError(f"{path}: cannot be written ({problem.strerror})") from None
