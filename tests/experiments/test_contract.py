"""Every experiment keeps the contract: it plans, trains, and its analysis finds what is planted."""

from __future__ import annotations

import dataclasses
import functools
import itertools
import json
import subprocess
import sys
from collections.abc import Mapping
from typing import Any

import pytest

from scaling_law import parts
from scaling_law.config import strict_yaml
from scaling_law.config.grid_section import StartSection
from scaling_law.config.load import load_config
from scaling_law.config.sweep_config import SweepConfig
from scaling_law.config.written import config_yaml
from scaling_law.data.access import prepared_data
from scaling_law.data.sources import installed
from scaling_law.experiment import Experiment
from scaling_law.experiment.evidence import Evidence
from scaling_law.experiment.findings import Findings, findings_text
from scaling_law.files.layout import RunDir
from scaling_law.parts import Reference
from scaling_law.plan.make import make_plan
from scaling_law.report import style
from scaling_law.report.experiment import draw
from scaling_law.spec.data import DataSpec
from scaling_law.train.begin import Job
from scaling_law.train.loop import train_run
from tests.fakes import cpu_profile, planted_runs

NAMES = parts.names("experiment")
HEAVY = {"torch", "numpy", "scipy", "matplotlib"}


@pytest.fixture(scope="module", params=NAMES)
def name(request):
    """The name of an experiment. Its tests run one after the other, and share what they plan."""
    return request.param


@pytest.fixture(scope="module")
def fewer_texts(tmp_path_factory):
    """An eighth of the installed files, in a cache of its own: all take seconds a preparation."""
    every = installed._python_files
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SLAW_CACHE", str(tmp_path_factory.mktemp("cache")))
        patch.setattr(installed, "_python_files", lambda: itertools.islice(every(), 0, None, 8))
        yield


def experiment_of(name: str) -> Experiment:
    return parts.load("experiment", Reference(name=name))


@functools.cache
def config_of(name: str) -> SweepConfig:
    return load_config(name, device_kind="cpu")


def with_weights(config: SweepConfig) -> SweepConfig:
    """The config with a hash for the weights that its runs need, which planted runs do not have."""

    def hashed(start: StartSection | None) -> StartSection | None:
        return start and dataclasses.replace(start, weights_sha256="0" * 64)

    grid = (
        dataclasses.replace(
            entry, start_from=hashed(entry.start_from), reference=hashed(entry.reference)
        )
        for entry in config.grid
    )
    return dataclasses.replace(config, grid=tuple(grid))


def plan_of(name: str, *changes: str):
    config = config_of(name)
    if changes:
        config = load_config(name, device_kind="cpu", overrides=list(changes))
    return make_plan(config.each(with_weights), cpu_profile(), train_tokens=None)


def with_any_text(value: Any) -> Any:
    """The changes of a stage with a corpus that is there in place of drawn texts."""
    if isinstance(value, list):
        return [with_any_text(one) for one in value]
    if not isinstance(value, dict):
        return value
    if value.keys() == {"samples"}:
        return "paragraphs"
    return {key: with_any_text(one) for key, one in value.items()}


@functools.cache
def planted_evidence(name: str) -> Evidence:
    """The planted runs of an experiment, those of all stages that it proposes among them."""
    experiment, config = experiment_of(name), config_of(name)
    written = strict_yaml.read_document(config_yaml(config), name).data
    evidence = Evidence(runs=(), config=written, settings=config.choice("experiment").settings)
    changes: Mapping[str, Any] | None = {}
    stage = 0
    while changes is not None:
        stage += 1
        overrides = [f"{key}={json.dumps(with_any_text(value))}" for key, value in changes.items()]
        plan = plan_of(name, *overrides, *([f"stage={stage}"] if stage > 1 else []))
        runs = planted_runs(experiment, [run.spec for run in plan.runs])
        evidence = dataclasses.replace(evidence, runs=evidence.runs + runs)
        changes = experiment.propose(evidence) if experiment.propose else None
    return evidence


@functools.cache
def planted_findings(name: str) -> Findings:
    return experiment_of(name).analyse(planted_evidence(name))


def test_experiments_load_without_torch():
    code = (
        "import sys; from scaling_law import parts\n"
        "from scaling_law.parts import Reference\n"
        "for name in parts.names('experiment'): parts.load('experiment', Reference(name=name))\n"
        f"print(sorted({HEAVY!r} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_each_config_names_its_experiment_and_chooses_its_parts(name):
    config = config_of(name)
    experiment = experiment_of(name)
    assert config.name == name
    assert config.choice("experiment").reference == Reference(name=name)
    assert experiment.question.endswith("?")
    for word, used in experiment.parts.items():
        assert set(used) <= set(parts.names(word))


@pytest.mark.parametrize("name", [p.stem for p in parts.shipped_files("experiments", "*.yaml")])
def test_each_plan_has_runs_and_leaves_nothing_out(name):
    """The same holds for a further config that an experiment reads."""
    plan = plan_of(name)
    assert config_of(name).choice("experiment").reference.name in NAMES
    assert plan.runs and not plan.left_out


def test_each_experiment_trains_two_steps(name, fewer_texts, tmp_path):
    config = config_of(name)
    if isinstance(config.data_spec, DataSpec):
        config = load_config(name, device_kind="cpu", overrides=["data.max_bytes=2MB"])
    plan = make_plan(config, cpu_profile(), train_tokens=None)
    run = min(plan.runs, key=lambda run: run.flops_spent)
    schedule = dataclasses.replace(run.spec.schedule, warmup_steps=1, decay_steps=None)
    spec = dataclasses.replace(
        run.spec,
        total_steps=2,
        branch=None,
        mix=run.spec.mix and run.spec.mix.of_trunk,  # two steps have no cooldown to switch at
        schedule=schedule,
        eval=dataclasses.replace(run.spec.eval, val_tokens=2048, curve_tokens=2048),
    )
    record = train_run(
        Job(
            spec=spec,
            resources=dataclasses.replace(run.resources, save_steps=()),
            run_dir=RunDir(tmp_path / spec.run_id),
            dataset=prepared_data(spec.data),
        )
    )
    assert record is not None and record.status == "done"


def test_the_analysis_finds_what_was_planted(name):
    experiment = experiment_of(name)
    findings = planted_findings(name)
    for measure, (low, high) in experiment.planted.measures.items():
        value = findings.measures[measure]
        assert value is not None and low <= value <= high, (measure, value)
    claims = {claim.name: claim.established for claim in findings.claims}
    assert {key: claims[key] for key in experiment.planted.claims} == experiment.planted.claims
    assert experiment.planted.measures and True in experiment.planted.claims.values()


def test_the_figures_can_be_drawn(name):
    findings = planted_findings(name)
    assert findings.figures
    with style.applied():
        for figure in findings.figures:
            assert all(axes.has_data() for axes in draw(figure).axes)


@pytest.mark.slow
def test_the_figures_are_laid_out_and_rendered(name):
    with style.applied():
        for figure in planted_findings(name).figures:
            assert style.rendered_svg(draw(figure))


def test_no_claim_is_established_without_runs(name):
    findings = experiment_of(name).analyse(Evidence(runs=()))
    assert "not established" in findings.verdict.lower()
    assert all(claim.established is None and claim.because for claim in findings.claims)
    assert set(findings.measures.values()) <= {None}


def gives_what_it_can(name: str, counts: set[int]) -> None:
    """The analysis reads so many of the runs: the first, or the last, as if others were to come."""
    experiment, evidence = experiment_of(name), planted_evidence(name)
    for kept in counts:
        for runs in (evidence.runs[:kept], evidence.runs[-kept:]):
            findings = experiment.analyse(dataclasses.replace(evidence, runs=runs))
            assert findings_text(findings)


def test_the_analysis_reads_an_unfinished_sweep(name):
    experiment, evidence = experiment_of(name), planted_evidence(name)
    gives_what_it_can(name, {1, len(evidence.runs) // 2})
    # runs that recorded only a loss
    bare = tuple(dataclasses.replace(run, curve=()) for run in evidence.runs)
    experiment.analyse(dataclasses.replace(evidence, runs=bare))


@pytest.mark.slow
def test_the_analysis_reads_a_sweep_at_any_stage(name):
    count = len(planted_evidence(name).runs)
    gives_what_it_can(name, {2, count // 3, count - 1})
