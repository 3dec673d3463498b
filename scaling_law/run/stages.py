"""``slaw run`` of an experiment in stages: train, look at the records, decide what to train next.

A stage is the experiment's config with the changes that its ``propose`` asks for. The first stage
is the config itself.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from scaling_law import parts
from scaling_law.config.load import load_config
from scaling_law.config.slots import Choice, own_files
from scaling_law.config.sweep_config import SweepConfig
from scaling_law.config.written import config_yaml
from scaling_law.console import Say, show
from scaling_law.errors import EXIT_OK, ConfigError, quoted
from scaling_law.experiment import Experiment
from scaling_law.experiment.analysis import analyse, report_command
from scaling_law.experiment.evidence import gather
from scaling_law.experiment.findings import findings_text
from scaling_law.files.layout import SweepDir
from scaling_law.plan.plan import Plan
from scaling_law.run.pinned import keep_own_files, what_is_trained
from scaling_law.run.planning import inputs
from scaling_law.run.request import Request, sweep_of
from scaling_law.run.rounds import Rounds
from scaling_law.run.runner import SweepOutcome
from scaling_law.run.samples import with_samples
from scaling_law.run.session import run_sweep
from scaling_law.run.text import closing

Train = Callable[[Request, Say], tuple[SweepDir, Plan, SweepOutcome]]
# An experiment that still proposes after this many stages never ends.
MOST_STAGES = 100


def experiment_of(config: SweepConfig) -> Choice | None:
    """The experiment that a config names; None for none."""
    chosen = config.choices.get("experiment", ())
    return chosen[0] if chosen else None


def run_stages(request: Request, say: Say, *, train: Train = run_sweep) -> int:
    """Train every stage that the experiment proposes and print its findings; the exit code.

    Raises as ``train_stages``.
    """
    sweep, choice, code = train_stages(request, say, train=train)
    if code == EXIT_OK:
        values = {} if choice.settings is None else parts.set_fields(choice.settings)
        result = analyse(sweep, choice.reference, choice.part, values)
        show(findings_text(result.findings))
        say(f"next: {report_command(sweep)}")
    return code


def train_stages(
    request: Request, say: Say, *, train: Train = run_sweep
) -> tuple[SweepDir, Choice, int]:
    """Train every stage that the experiment proposes.

    Returns the sweep, the experiment and the exit code. Raises ``ConfigError`` where the folder
    holds another experiment, or a proposal that cannot be planned, and as ``run_sweep`` otherwise.
    """
    config = inputs(request, say).config
    choice = experiment_of(config)
    assert choice is not None, "asked only for a config that names an experiment"
    experiment: Experiment = choice.part
    sweep = sweep_of(request, config)
    rounds = Rounds(
        sweep=sweep, asked=sweep.stages, base=dataclasses.replace(request, places=config.all_places)
    )
    asked = {"experiment": choice.spelled, "config": config_yaml(config.each(what_is_trained))}
    begun = rounds.begun(
        asked, "a sweep that was not started in stages; choose another folder with --out"
    )
    if begun is None:
        rounds.begin(asked)
    keep_own_files(own_files(config.all_choices), sweep)
    number = rounds.last()
    if number == 0:
        rounds.decide(1, config_yaml(config), {"stage": 1, "changes": {}})
        number = 1
    while True:
        sweep, plan, outcome = train(rounds.request(number), say)
        say(closing(sweep, plan, outcome, last=False))
        if outcome.exit_code != EXIT_OK:
            return sweep, choice, outcome.exit_code
        changes = _proposed(sweep, choice, experiment)
        if changes is None:
            return sweep, choice, EXIT_OK
        if number == MOST_STAGES:
            raise ConfigError(
                f"{sweep.path}: the experiment proposes more than {MOST_STAGES} stages; its"
                " propose must return None at some point"
            )
        number += 1
        changes = with_samples(sweep, number, changes)
        decided = {"stage": number, "changes": changes}
        rounds.decide(number, _stage_yaml(sweep, config, number, changes), decided)
        say("\n".join((f"stage {number}:", *changes_text(changes))))


def changes_text(changes: Mapping[str, Any]) -> list[str]:
    """The changes of a stage in lines: one for each key, and one for each entry of the grid."""
    lines = []
    for key, value in changes.items():
        entries = value if key == "grid" and isinstance(value, list) else [{key: value}]
        for entry in entries:
            flat = {**{k: v for k, v in entry.items() if k != "axes"}, **(entry.get("axes") or {})}
            if flat:
                lines.append(f"  {'; '.join(f'{k} {_value_text(v)}' for k, v in flat.items())}")
    return lines


def _value_text(value: Any) -> str:
    """A value of a config as a line has it: ``nano14k, nano25k``."""
    if isinstance(value, list):
        return ", ".join(map(_value_text, value))
    return value if isinstance(value, str) else json.dumps(value)


def _proposed(sweep: SweepDir, choice: Choice, experiment: Experiment) -> Mapping[str, Any] | None:
    assert experiment.propose is not None, "asked only of an experiment in stages"
    evidence = gather(sweep, choice.settings)
    with parts.users_code(choice.word, choice.reference):
        changes = experiment.propose(evidence)
    if changes is None:
        return None
    try:
        if not isinstance(changes, Mapping):
            raise TypeError
        plain: dict[str, Any] = json.loads(json.dumps(dict(changes), allow_nan=False))
    except (TypeError, ValueError):
        raise ConfigError(
            f"experiment {choice.reference.name}: propose returned {quoted(changes)}, expected"
            " config keys with plain values, or None"
        ) from None
    return plain


def _stage_yaml(
    sweep: SweepDir, config: SweepConfig, number: int, changes: Mapping[str, Any]
) -> str:
    """The first stage's config with the changes. Raises ``ConfigError`` naming the stage."""
    overrides = [f"{key}={json.dumps(value)}" for key, value in changes.items()]
    try:
        changed = load_config(
            Path(sweep.round_config(1)),
            overrides=[*overrides, f"stage={number}"],
            device_kind=config.device_kind,
            beside=sweep.path,
        )
    except ConfigError as problem:
        raise ConfigError(
            *(f"stage {number} of {sweep.path}: {line}" for line in problem.lines)
        ) from None
    return config_yaml(changed)
