"""``slaw ablate``: train the recipes of Porian's ladder, and read the exponent of each rung."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import TYPE_CHECKING

from scaling_law import parts
from scaling_law.config.sweep_config import SweepConfig
from scaling_law.console import Say, show
from scaling_law.errors import EXIT_OK, ConfigError
from scaling_law.plan.plan import Plan
from scaling_law.run.planning import plan_only, planned
from scaling_law.run.request import Request, config_and_profile, config_of, resumed
from scaling_law.run.session import run_sweep
from scaling_law.run.stages import Train, experiment_of
from scaling_law.run.text import closing, dry_run_text
from scaling_law.spec.counts import train_flops
from scaling_law.spec.run import RunSpec
from scaling_law.units import count_of

if TYPE_CHECKING:
    from scaling_law.experiment.analysis import Analysed

EXPERIMENT = "kaplan_chinchilla"
_SIZES, _BUDGETS = 4, 3  # the fewest that give an exponent
_SAME = 1.1  # budgets within this factor are one: horizons are whole steps


def dry_run(request: Request, say: Say) -> None:
    """Print what would be trained. Raises as ``ablate``."""
    request = resumed(request)
    _check_experiment(request)
    config, plan = plan_only(request, say)
    _check_grid(config, plan)
    show(dry_run_text(config, plan))


def ablate(request: Request, say: Say, *, train: Train = run_sweep) -> tuple[Analysed | None, int]:
    """Train the ladder; return its findings and the exit code, None where it was not finished.

    Raises ``ConfigError`` for a config of another experiment, or a grid that no exponent can be
    read from.
    """
    from scaling_law.experiment.analysis import analyse

    request = resumed(request)
    _check_experiment(request)
    config, profile = config_and_profile(request, say)
    _check_grid(config, planned(config, profile, None))
    sweep, plan, outcome = train(request, say)
    say(closing(sweep, plan, outcome, last=False))
    if outcome.exit_code != EXIT_OK:
        return None, outcome.exit_code
    choice = experiment_of(config)
    assert choice is not None, "a config of another experiment was refused"
    values = {} if choice.settings is None else parts.set_fields(choice.settings)
    return analyse(sweep, choice.reference, choice.part, values), EXIT_OK


def _check_experiment(request: Request) -> None:
    """Raise ``ConfigError`` for a config of another experiment, before anything is measured."""
    config = config_of(request, "cpu" if request.device == "auto" else request.device)
    choice = experiment_of(config)
    if choice is None or choice.reference.name != EXPERIMENT:
        named = "no experiment" if choice is None else f"the experiment {choice.spelled}"
        raise ConfigError(
            f"{config.where('experiment')}: the config names {named}; slaw ablate expects one with"
            f" experiment: {EXPERIMENT} (slaw config {EXPERIMENT} prints it)"
        )


def _check_grid(config: SweepConfig, plan: Plan) -> None:
    """Raise ``ConfigError`` where no exponent can be read from the plan."""
    specs = [run.spec for run in plan.runs]
    sizes = len({spec.model for spec in specs})
    if sizes < _SIZES:
        raise ConfigError(
            f"{config.where('grid')}: {count_of(sizes, 'size')}; expected at least {_SIZES}, so"
            " that the loss at equal compute has a minimum inside them"
        )
    budgets = _budgets([spec for spec in specs if spec.schedule.end == "annealed"])
    if 0 < budgets < _BUDGETS:
        raise ConfigError(
            f"{config.where('grid')}: {count_of(budgets, 'budget')} that runs decay at; expected at"
            f" least {_BUDGETS}, because an exponent is the slope of a line through their minima"
        )


def _budgets(specs: Sequence[RunSpec]) -> int:
    """How many different budgets runs end at."""
    flops = sorted(train_flops(spec.model, spec.tokens) for spec in specs)
    return bool(flops) + sum(later > _SAME * own for own, later in itertools.pairwise(flops))
