"""Schedules, cooldowns and rules of a user's own: planned, recorded, read back without the file."""

from __future__ import annotations

import importlib.metadata
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from scaling_law import decode, parts
from scaling_law.config.load import load_config
from scaling_law.config.sweep_config import SweepConfig
from scaling_law.config.written import config_yaml
from scaling_law.errors import ConfigError, PlanError
from scaling_law.fit.points.points import points_from_records
from scaling_law.plan.device_profile import save_profile
from scaling_law.plan.make import make_plan
from scaling_law.plan.plan import Plan
from scaling_law.spec.from_json import run_spec_from_json
from scaling_law.spec.recipe import recipe_names
from scaling_law.spec.run import RunSpec
from scaling_law.spec.schedule import lr_factor, lr_phase
from scaling_law.spec.to_json import to_json
from tests.fakes import cpu_profile, record_of, tiny_spec

ROOT = Path(__file__).parents[2]
SCHEDULE = '''"""A power of the step after the warm-up, then the cooldown."""
from dataclasses import dataclass
from typing import Annotated
from scaling_law.spec.schedules import Schedule
from scaling_law.spec.values import Number

@dataclass(frozen=True, kw_only=True)
class Settings:
    power: Annotated[float, Number("of the step", above=0, high=1)] = 0.5

def hot(step, spec, settings):
    return ((spec.warmup_steps + 1) / (step + 1)) ** settings.power

def factor(step, total_steps, spec, settings):
    start = total_steps - (spec.decay_steps or 0)
    if step < start:
        return hot(step, spec, settings)
    return hot(start, spec, settings) * spec.cooled_down((step - start) / spec.decay_steps)

def annealed(spec, settings):
    return spec.decay_steps is not None

SCHEDULE = Schedule(factor=factor, annealed=annealed, shares_trunk=True, settings=Settings)
'''
COOLDOWN = '''"""(1 - progress)^3."""
from scaling_law.spec.cooldowns import Cooldown
COOLDOWN = Cooldown(shape=lambda progress, settings: (1 - progress) ** 3)
'''
RULE = '''"""One learning rate for every size."""
from dataclasses import dataclass
from scaling_law.spec.hyperparams import Rule, choice

@dataclass(frozen=True, kw_only=True)
class Settings:
    rate: float = 0.01

def choose(sizing, settings):
    return choice(sizing, lr=settings.rate, batch_tokens=512)

RULE = Rule(choose=choose, settings=Settings)
'''
OWN = {"inverse_sqrt.py": SCHEDULE, "cube.py": COOLDOWN, "flat.py": RULE}
CONFIG = """
name: own
data: {corpus: installed, tokenizer: bytes, vocab_size: 257}
model: {n_ctx: 16}
grid: [{sizes: [nano14k, nano25k], tokens: [20k, 40k]}]
precision: fp32
"""


def config_of(folder: Path, more: str, **files: str) -> SweepConfig:
    for name, text in {**OWN, **{f"{name}.py": text for name, text in files.items()}}.items():
        (folder / name).write_text(text)
    (folder / "c.yaml").write_text(CONFIG + more)
    return load_config(folder / "c.yaml", device_kind="cpu")


def plan_of(config: SweepConfig) -> Plan:
    return make_plan(config, cpu_profile(), train_tokens=None)


ALL_OWN = """
schedule: {shape: inverse_sqrt.py, cooldown: cube.py, power: 0.4}
optim: {rule: flat.py, rate: 0.02}
"""


def test_own_files_set_rate_and_shape(tmp_path):
    config = config_of(tmp_path, ALL_OWN)
    runs = [run.spec for run in plan_of(config).runs]
    assert {spec.optim.lr for spec in runs} == {0.02}
    assert {spec.batch_tokens for spec in runs} == {512}
    trunk, branch = runs[0], runs[1]
    assert (trunk.kind, branch.kind) == ("trunk", "branch")
    start, schedule = branch.start_step, branch.schedule
    for step in range(start):
        shared = lr_factor(trunk.schedule, step, trunk.total_steps)
        assert lr_factor(schedule, step, branch.total_steps) == shared
    warm = schedule.warmup_steps
    assert lr_factor(schedule, start, branch.total_steps) == ((warm + 1) / (start + 1)) ** 0.4
    middle = start + (branch.total_steps - start) // 2
    left = lr_factor(schedule, middle, branch.total_steps) / ((warm + 1) / (start + 1)) ** 0.4
    assert left == pytest.approx((1 - (middle - start) / (branch.total_steps - start)) ** 3)


def test_the_config_reads_back_beside_copies_of_the_files(tmp_path):
    config = config_of(tmp_path, ALL_OWN)
    sweep = tmp_path / "sweep"
    for word, name in (("schedule", "inverse_sqrt"), ("cooldown", "cube"), ("rule", "flat")):
        place = sweep / parts.own_place(word, f"{name}.py")
        place.parent.mkdir(parents=True)
        shutil.copy(tmp_path / f"{name}.py", place)
    (sweep / "sweep.yaml").write_text(config_yaml(config))
    again = load_config(sweep / "sweep.yaml", device_kind="cpu")
    assert again == config and config_yaml(again) == config_yaml(config)


def read_back(specs: list[RunSpec], monkeypatch: pytest.MonkeyPatch) -> list[RunSpec]:
    """The specs from their JSON, in a process that has none of the users' files."""
    texts = [json.dumps(to_json(spec)) for spec in specs]
    monkeypatch.setattr(parts, "_files_read", {})
    monkeypatch.setattr(decode, "_shared", {})
    return [run_spec_from_json(json.loads(text)) for text in texts]


def test_records_are_read_and_fitted_without_the_files(tmp_path, monkeypatch):
    planned = [run.spec for run in plan_of(config_of(tmp_path, ALL_OWN)).runs]
    ends = [spec.schedule.end for spec in planned]
    specs = read_back(planned, monkeypatch)
    assert [spec.run_id for spec in specs] == [spec.run_id for spec in planned]
    assert [spec.schedule.end for spec in specs] == ends
    assert set(ends) == {"trunk", "annealed"}
    assert [spec.kind for spec in specs] == [spec.kind for spec in planned]
    branch = specs[1]
    assert lr_phase(branch.schedule, branch.start_step - 1, branch.total_steps) == "stable"
    assert lr_phase(branch.schedule, branch.start_step, branch.total_steps) == "decay"
    points = points_from_records(
        [record_of(spec) for spec in specs], convention="matmul", flops="exact"
    )
    assert [why.partition(":")[0] for _, why in points.dropped] == ["not_annealed"] * 2
    assert set(recipe_names(specs)) == {""}
    with pytest.raises(ConfigError, match=r"'inverse_sqrt' is a user's own file .* put it back"):
        lr_factor(branch.schedule, branch.start_step, branch.total_steps)


def test_a_run_executes_the_copies_that_its_spec_names_and_no_other(tmp_path, monkeypatch):
    planned = [run.spec for run in plan_of(config_of(tmp_path, ALL_OWN)).runs][1]
    step = planned.total_steps - 1
    rate = lr_factor(planned.schedule, step, planned.total_steps)
    (spec,) = read_back([planned], monkeypatch)
    for word, name, text in (
        ("schedule", "inverse_sqrt", SCHEDULE), ("cooldown", "cube", COOLDOWN),
        ("tracker", "online", "raise SystemExit(1)"),
    ):  # fmt: skip
        copy = tmp_path / parts.own_place(word, f"{name}.py")
        copy.parent.mkdir(parents=True)
        copy.write_text(text)
    monkeypatch.setattr(parts, "_folders", [])
    parts.read_copies(tmp_path)
    assert lr_factor(spec.schedule, step, spec.total_steps) == rate


def test_settings_and_files_of_parts_distinguish_recipes(tmp_path):
    def specs(more: str, **files: str) -> list[RunSpec]:
        return [run.spec for run in plan_of(config_of(tmp_path, more, **files)).runs]

    plain = specs("schedule: {shape: inverse_sqrt.py}\n")
    steeper = specs("schedule: {shape: inverse_sqrt.py, power: 1.0}\n")
    assert set(recipe_names([*plain, *steeper])) == {
        "schedule.power=default", "schedule.power=1",
    }  # fmt: skip
    changed = specs("schedule: {shape: inverse_sqrt.py}\n", inverse_sqrt=f"{SCHEDULE}# 2\n")
    names = set(recipe_names([*plain, *changed]))
    assert len(names) == 2 and all(name.startswith("schedule.shape.sha256=") for name in names)
    faster = specs("optim: {rule: flat.py, rate: 0.1}\n")
    slower = specs("optim: {rule: flat.py}\n")
    assert set(recipe_names([*faster, *slower])) == {"optim.rate=0.1", "optim.rate=default"}


def test_a_default_part_leaves_no_trace_in_the_json(tmp_path):
    for more in ("", "schedule: {shape: cosine}\n", "schedule: {cooldown: linear}\n"):
        for run in plan_of(config_of(tmp_path, more)).runs:
            schedule, optim = (to_json(run.spec)[key] for key in ("schedule", "optim"))
            assert list(schedule) == [
                "shape", "warmup_steps", "decay_steps", "cooldown", "final_frac",
            ]  # fmt: skip
            assert "rule_part" not in optim


HEAD = "from scaling_law.spec.schedules import Schedule\n"
CONSTANT = f"""{HEAD}
SCHEDULE = Schedule(factor=lambda step, total, spec, own: {{}}, annealed=lambda spec, own: False)
"""


@pytest.mark.parametrize(
    ("files", "more", "said"),
    [
        (
            {"bad": CONSTANT.format("1 / (step - step)")},
            "schedule: {shape: bad.py}",
            "bad.py:3: this schedule fails (ZeroDivisionError: division by zero)",
        ),
        (
            {"bad": CONSTANT.format("-0.5")},
            "schedule: {shape: bad.py}",
            "the learning rate's factor is -0.5 at step",
        ),
        (
            {"bad": SCHEDULE.replace("(step + 1)) **", "(total_steps + 1)) **").replace(
                "def hot(step, spec", "def hot(total_steps, spec").replace(
                "return hot(step, spec, settings)", "return hot(total_steps, spec, settings)")},
            "schedule: {shape: bad.py}",
            "before the cooldown depends on the run's length",
        ),
        (
            {"bad": COOLDOWN.replace("1 - progress", "progress - 1")},
            "schedule: {cooldown: bad.py}",
            "the cooldown leaves -1.0 at progress 0.0, expected",
        ),
        (
            {"bad": CONSTANT.format("None")},
            "schedule: {shape: bad.py}",
            "the learning rate's factor is None at step",
        ),
        (
            {"bad": COOLDOWN.replace("(1 - progress) ** 3", "None")},
            "schedule: {cooldown: bad.py}",
            "the cooldown leaves None at progress 0.0, expected",
        ),
        (
            {"bad": RULE.replace("return choice(", "choice(")},
            "optim: {rule: bad.py}",
            "rule bad.py chooses None, expected a RuleChoice",
        ),
        (
            {"bad": "from dataclasses import replace\n" + RULE.replace(
                "return choice(sizing, lr=settings.rate, batch_tokens=512)",
                "return replace(choice(sizing, lr=1, batch_tokens=512), batch_tokens=500)")},
            "optim: {rule: bad.py}",
            "chooses a batch of 500 tokens, no multiple of model.n_ctx 16",
        ),
        (
            {"bad": RULE.replace("lr=settings.rate", "lr=-1")},
            "optim: {rule: bad.py}",
            "bad.py:10: this rule fails (ValueError: lr is -1.0, expected above 0 and finite)",
        ),
    ],
)  # fmt: skip
def test_a_part_that_breaks_its_contract_is_refused_when_planned(tmp_path, files, more, said):
    config = config_of(tmp_path, f"{more}\n", **files)
    with pytest.raises(PlanError) as problem:
        plan_of(config)
    assert all(said in line and "c.yaml" in line for line in problem.value.lines)


@pytest.mark.parametrize(
    ("files", "more", "said"),
    [
        ({}, "schedule: {shape: wds}", "no schedule is named 'wds' (did you mean wsd?)"),
        ({}, "schedule: {shape: 3}", "schedule.shape: expected text, found 3"),
        ({}, "schedule: {power: 0.5}", "schedule.power: unknown key"),
        ({}, "schedule: {shape: inverse_sqrt.py, power: 2}", "schedule.power: expected at most 1"),
        ({}, "schedule: {cooldown: square}", "no cooldown is named 'square'; expected one of"),
        ({}, "optim: {rule: gone.py}", "no file 'gone.py' for the rule; looked in"),
        (
            {"twice": RULE.replace("rate", "lr_mult")},
            "optim: {rule: twice.py}",
            "twice.py has a setting lr_mult, which is a key of optim itself",
        ),
        ({"my=rule": RULE}, "optim: {rule: my=rule.py}", "expected letters, digits, _ and -"),
        ({"bad": "SCHEDULE = 1\n"}, "schedule: {shape: bad.py}", "SCHEDULE is a int, expected"),
    ],
)
def test_mistakes_in_the_config_are_one_line_each(tmp_path, files, more, said):
    with pytest.raises(ConfigError) as problem:
        config_of(tmp_path, f"{more}\n", **files)
    assert len(problem.value.lines) == 1
    assert said in problem.value.lines[0] and "c.yaml:7: " in problem.value.lines[0]


def test_a_schedule_that_never_decays_gives_no_points(tmp_path):
    config = config_of(tmp_path, "schedule: {shape: bad.py}\n", bad=CONSTANT.format("1.0"))
    specs = [run.spec for run in plan_of(config).runs]
    assert {(spec.kind, spec.schedule.end) for spec in specs} == {("single", "hot")}
    assert {spec.schedule.decay_steps for spec in specs} == {None}


def test_a_file_added_to_the_package_is_found_by_its_name(tmp_path, monkeypatch):
    monkeypatch.setenv("SLAW_CACHE", str(tmp_path / "cache"))
    save_profile(cpu_profile(torch_version=importlib.metadata.version("torch")), "cpu")
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "scaling_law", tmp_path / "scaling_law", ignore=ignored)
    spec = tmp_path / "scaling_law" / "spec"
    (spec / "schedules" / "inverse_sqrt.py").write_text(SCHEDULE)
    (spec / "cooldowns" / "cube.py").write_text(COOLDOWN)
    (spec / "hyperparams" / "flat.py").write_text(RULE)
    (tmp_path / "c.yaml").write_text(CONFIG + ALL_OWN.replace(".py", ""))
    done = subprocess.run(
        [sys.executable, "-m", "scaling_law.cli", "run", "c.yaml", "--dry-run", "--device", "cpu"],
        cwd=tmp_path, capture_output=True, text=True, check=True,
        env={"PYTHONPATH": str(tmp_path), "SLAW_CACHE": str(tmp_path / "cache")},
    )  # fmt: skip
    assert "by flat; " in done.stdout and "schedule inverse_sqrt, cube cooldown" in done.stdout


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"shape": "gone"}, "schedule is 'gone', expected one of"),
        ({"cooldown": "gone"}, "cooldown is 'gone', expected one of"),
        ({"recorded_end": "warm"}, "recorded_end is 'warm', expected one of"),
        ({"shape_part": {"name": "other"}}, "schedule is 'wsd', and its part is 'other'"),
    ],
)
def test_a_spec_of_an_unknown_part_is_refused(changes, said):
    plain = to_json(tiny_spec())
    with pytest.raises(ValueError, match=said):
        run_spec_from_json({**plain, "schedule": {**plain["schedule"], **changes}})
