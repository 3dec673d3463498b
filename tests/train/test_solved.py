"""Runs that are solved in closed form: the solution, its cost, interruptions and refusals."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from scaling_law.data.access import open_task
from scaling_law.data.tasks.teacher import Settings, examples
from scaling_law.errors import PlanError, RunFailed
from scaling_law.files import record as records
from scaling_law.files.layout import RunDir
from scaling_law.files.record import RunRecord
from scaling_law.fit.points.dataset import from_records
from scaling_law.plan.make import make_plan
from scaling_law.plan.plan import Plan
from scaling_law.plan.table import render_plan
from scaling_law.spec.architectures.random_features import solve_flops
from scaling_law.spec.component import Component
from scaling_law.spec.counts import flops_per_token, tokens_for, train_flops
from scaling_law.spec.from_json import run_spec_from_json
from scaling_law.spec.model import OtherModel
from scaling_law.spec.recipe import recipe_names
from scaling_law.spec.run import RunSpec
from scaling_law.spec.to_json import to_json
from scaling_law.train.architectures import build, module_of
from scaling_law.train.begin import Job, begin
from scaling_law.train.evaluate import SOLVE_SEQS
from scaling_law.train.loop import train_run
from scaling_law.train.tensors import Tensors
from tests.fakes import config_of, cpu_profile

SWEEP = """
name: solved
data: {source: teacher, dimension: 12, val_examples: 64}
model: {architecture: random_features, activation: linear}
objective: squared_error
grid:
  - sizes: [{features: 4}, {features: 8}]
    examples: [6, 40]
"""


def plan_of(*overrides: str) -> Plan:
    return make_plan(config_of(SWEEP, *overrides), cpu_profile(), train_tokens=None)


def spec_of(*overrides: str) -> RunSpec:
    return plan_of("grid.0.sizes=[{features: 8}]", "grid.0.examples=[40]", *overrides).runs[0].spec


def job_of(spec: RunSpec, folder: Path, **changes: Any) -> Job:
    plan = plan_of()
    return Job(
        spec=spec,
        resources=plan.runs[0].resources,
        run_dir=RunDir(folder),
        dataset=open_task(spec.data),  # type: ignore[arg-type]
        **changes,
    )


def solved(spec: RunSpec, folder: Path, **changes: Any) -> RunRecord:
    folder.mkdir(exist_ok=True)
    record = train_run(job_of(spec, folder, **changes))
    assert record is not None
    return record


def model_of(features: int, inputs: int = 12, **settings: Any) -> OtherModel:
    return OtherModel(
        architecture=Component(name="random_features", settings=tuple(sorted(settings.items()))),
        shape=(("features", features),),
        vocab_size=0,
        n_ctx=1,
        features=inputs,
        outputs=1,
    )


def batches_of(count: int) -> list[Tensors]:
    batch = examples(Settings(dimension=12), "train", np.arange(count))
    inputs, targets = torch.from_numpy(batch.inputs), torch.from_numpy(batch.targets)
    cuts = range(0, count, 16)
    return [Tensors(inputs=inputs[i : i + 16], targets=targets[i : i + 16]) for i in cuts]


@pytest.mark.parametrize("activation", ["relu", "linear", "tanh"])
@pytest.mark.parametrize("count", [5, 20, 21, 200])
def test_the_readout_equals_ridge_regression(activation, count):
    model = model_of(20, activation=activation, ridge=1e-3)
    module: Any = build(model, 1)
    solve = module_of(model).solve
    assert solve is not None
    batches = batches_of(count)
    solve(module, lambda: iter(batches))
    features = module.features(torch.cat([b.inputs for b in batches])).numpy()
    targets = torch.cat([b.targets for b in batches]).double().numpy()
    normal = features.T @ features + 1e-3 * np.eye(20)
    expected = np.linalg.solve(normal, features.T @ targets)
    assert np.allclose(module.readout.detach().numpy().T, expected, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("count", [5, 16, 64])
def test_the_flops_count_the_products_and_the_factorisation(count):
    model = model_of(16)
    module, batches = build(model), batches_of(count)
    solve = module_of(model).solve
    assert solve is not None
    with FlopCounterMode(display=False) as counter:
        solve(module, lambda: iter(batches))
    small = min(16, count)
    # the counter knows no factorisation: the factor and the two triangular solves come on top
    assert counter.get_total_flops() + small**3 / 3 + 2 * small**2 == pytest.approx(
        solve_flops(model, count)
    )
    with FlopCounterMode(display=False) as counter:
        module(batches[0].inputs)
    assert 3 * counter.get_total_flops() == len(batches[0].inputs) * flops_per_token(model)


def test_flops_and_examples_are_each_others_inverse():
    model = model_of(64)
    for count in (1, 40, 64, 5000):
        assert tokens_for(model, train_flops(model, count)) == pytest.approx(count)
    plan = plan_of("grid.0={sizes: [{features: 8}, {features: 16}], flops: [1e5, 1e6]}")
    for run in plan.runs:
        assert run.flops_spent == pytest.approx(float(dict(run.spec.tags)["cell"]), rel=0.01)


def test_a_solved_run_has_an_ordinary_record(tmp_path):
    spec = spec_of("probes=[weight_norm]", "keep_weights=all")
    record = solved(spec, tmp_path / "run")
    assert record.status == "done" and record.loss_unit == "squared error"
    assert record.loss_family == "squared_error" and record.val_bits_per_byte is None
    assert record.tokens == record.tokens_unique == spec.total_steps == 40
    assert record.params_total == 8 and record.flops_exact == train_flops(spec.model, 40)
    assert record.flops_spent == record.flops_exact and record.metrics["weight_norm"] > 0
    (point,) = records.read_curve(RunDir(tmp_path / "run"))
    assert point.step == 40 and point.val_loss_nats == record.val_loss_nats
    assert 0 < point.train_loss_nats < 1
    assert run_spec_from_json(to_json(spec)) == spec and spec.schedule.end == "annealed"


def test_a_solved_run_is_deterministic_and_depends_on_the_seed(tmp_path):
    spec = spec_of("model.activation=relu")
    first, again = (solved(spec, tmp_path / name) for name in "ab")
    assert first.val_loss_nats == again.val_loss_nats
    assert first.curve_sha256 is not None
    other = solved(dataclasses.replace(spec, seed=1), tmp_path / "c")
    assert other.val_loss_nats != first.val_loss_nats


def test_examples_beyond_one_batch_are_all_read(tmp_path):
    spec = dataclasses.replace(spec_of(), total_steps=2 * SOLVE_SEQS + 10)
    job = job_of(spec, tmp_path)
    (tmp_path / "run").mkdir()
    state = begin(dataclasses.replace(job, run_dir=RunDir(tmp_path / "run")))
    inputs = torch.cat([batch.inputs for batch in state.meter.examples.trained_on()])
    assert len(inputs) == 2 * SOLVE_SEQS + 10 == len(torch.unique(inputs, dim=0))


@pytest.mark.parametrize("calls", [1, 2, 3, 4])
def test_a_stopped_solve_resumes_to_the_same_result(tmp_path, calls):
    spec = spec_of()
    expected = solved(spec, tmp_path / "whole")
    count = iter(range(100))
    (tmp_path / "run").mkdir()
    stopped = train_run(
        job_of(spec, tmp_path / "run", should_stop=lambda: next(count) >= calls - 1)
    )
    assert stopped is None and not RunDir(tmp_path / "run").record.exists()
    record = solved(spec, tmp_path / "run")
    assert record.val_loss_nats == expected.val_loss_nats
    assert record.flops_spent == expected.flops_spent
    assert len(records.read_curve(RunDir(tmp_path / "run"))) == 1


def test_a_ridge_below_rounding_fails_the_run():
    model = model_of(4, inputs=2, ridge=1e-30, activation="linear")
    inputs = torch.ones((40, 2))
    batch = Tensors(inputs=inputs, targets=torch.ones((40, 1)))
    solve = module_of(model).solve
    assert solve is not None
    with pytest.raises(RunFailed, match="ridge 1e-30 is lost in rounding"):
        solve(build(model), lambda: iter([batch]))


def test_optimizer_and_schedule_change_nothing_and_the_plan_says_so():
    plain = plan_of()
    other = plan_of("optim={lr: 0.1, weight_decay: 0.3}", "schedule.shape=cosine", "spikes=true")
    assert [run.run_id for run in plain.runs] == [run.run_id for run in other.runs]
    assert {run.spec.kind for run in plain.runs} == {"single"}
    assert recipe_names([run.spec for run in plain.runs]) == [""] * 4
    assert {run.resources.device for run in plan_of().runs} == {"cpu"}
    text = render_plan(plain)
    assert (
        "optimiser: none; all runs are solved in closed form" in text and "schedule cos" not in text
    )
    with pytest.raises(PlanError, match="varies nothing that training depends on"):
        plan_of("axes={optim.weight_decay: [0, 0.1]}")


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["objective=next_token"], "minimises squared error; found next_token, expected objective"),
        (["data={source: modular_addition}"], "the task's inputs are ids"),
        (["grid.0.start_from={run: x, weights_sha256: " + "a" * 64 + "}"], "solved in closed form"),
    ],
)
def test_settings_that_do_not_fit_a_closed_form_are_refused(overrides, said):
    with pytest.raises(PlanError, match=said):
        plan_of(*overrides)


def test_double_descent_peaks_where_features_equal_examples(tmp_path):
    sizes = "grid.0.sizes=[{features: 4}, {features: 16}, {features: 64}]"
    config = ["grid.0.examples=[16]", "model.activation=relu", "data.noise=0.5", "model.ridge=1e-9"]
    runs = plan_of(sizes, *config, "data.val_examples=256").runs
    losses = [
        solved(run.spec, tmp_path / f"r{i}").val_loss_nats or math.nan for i, run in enumerate(runs)
    ]
    assert losses[1] > 2 * max(losses[0], losses[2])


def test_more_features_and_examples_lower_the_loss_and_give_points_of_a_law(tmp_path):
    plan = plan_of("grid.0.sizes=[{features: 2}, {features: 8}]", "grid.0.examples=[32, 256]")
    made = [solved(run.spec, tmp_path / f"r{i}") for i, run in enumerate(plan.runs)]
    data = from_records(made, convention="matmul", flops="exact")
    assert len(data.points) == 4 and data.points.convention["loss"] == "squared error"
    by_size = {(r.params_total, r.tokens): r.val_loss_nats or math.nan for r in made}
    assert by_size[8, 256] < by_size[2, 256] and by_size[8, 256] < by_size[8, 32]
