"""Probes change no bit of the training, and a failing probe does not fail its run."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import math
from pathlib import Path
from statistics import fmean
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from scaling_law import parts
from scaling_law.data import access
from scaling_law.errors import ConfigError, RunFailed
from scaling_law.files.record import (
    RunRecord,
    curve_digest,
    read_curve,
    read_record,
    write_record,
)
from scaling_law.spec.component import Component
from scaling_law.spec.data import TaskSpec
from scaling_law.spec.from_json import run_spec_from_json
from scaling_law.spec.model import OtherModel
from scaling_law.spec.resources import Resources
from scaling_law.spec.run import RunSpec, SpikeSpec
from scaling_law.spec.start import Branch
from scaling_law.spec.to_json import to_json
from scaling_law.train import checkpoint
from scaling_law.train.architectures import build, init_seed, token_table
from scaling_law.train.architectures.gpt import GPT
from scaling_law.train.begin import begin
from scaling_law.train.evaluate import Examples
from scaling_law.train.loop import train_run
from scaling_law.train.probes import activation_change, fourier, noise_scale
from scaling_law.train.probes.position_loss import blocks
from scaling_law.train.stack_loop import train_stack
from scaling_law.train.state import State
from scaling_law.train.subject import Subject
from tests.fakes import tiny_model, tiny_spec
from tests.train.test_loop import job
from tests.train.test_objectives import masked

SHIPPED = ("accuracy", "fourier", "gradient_norm", "weight_norm")
HEAD = """
import torch, random, numpy as np
from scaling_law.spec.sampling import Sampling
from scaling_law.train.probes import Probe
"""
GREEDY = """
def measure(subject, settings):
    # what a careless probe may do: random numbers, gradients and modes of its own
    torch.rand(3), random.random(), np.random.rand()
    subject.model.train()
    batch = next(subject.batches("val"))
    with torch.enable_grad():
        subject.forward(batch)
        subject.model(batch.inputs).float().mean().backward()
    loss, gradients = subject.gradient(batch)
    assert set(gradients) == {name for name, _ in subject.model.named_parameters()}
    more = subject.generate(batch.inputs[:2, :4], 20)
    assert more.shape == (2, 24) and torch.equal(more[:, :4], batch.inputs[:2, :4])
    drawn = subject.continuations([[1], [2, 3, 4]], Sampling(tokens=20, seed=1))
    assert [len(row.ids) for row in drawn] == [20, 20]
    return {"loss": loss, "step": subject.step}

PROBE = Probe(measure=measure, unit="nats")
"""


def own(folder: Path, name: str, body: str) -> Component:
    """A user's own probe."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.py"
    path.write_text(HEAD + body)
    reference = parts.read_file("probe", path)
    return Component(name=reference.name, source_sha256=reference.source_sha256)


def probed(*probes: Component, **changes: Any) -> RunSpec:
    return tiny_spec(probes=probes, **changes)


def shipped() -> tuple[Component, ...]:
    return tuple(Component(name=name) for name in SHIPPED)


def trained(dataset, folder: Path, spec: RunSpec, stacked: bool) -> tuple[RunRecord, Any]:
    """The record of a run, and its final weights."""
    resources = Resources(keep_weights=True, stack="s" if stacked else None)
    this = job(dataset, folder, spec, resources=resources)
    records: list[RunRecord | None] = []
    if stacked:
        train_stack([this], lambda _, record: records.append(record))
    else:
        records.append(train_run(this))
    (record,) = records
    assert record is not None
    weights = checkpoint.load_checkpoint(this.run_dir.weights)["model"]
    return record, (weights, read_curve(this.run_dir))


def subject_of(state: State, examples: Examples | None = None) -> Subject:
    return Subject(
        examples or state.meter.examples,
        step=0,
        max_tokens=64,
        kind="cpu",
        autocast=contextlib.nullcontext,
        should_stop=lambda: False,
    )


# so narrow that the run goes back several times
SPIKES = SpikeSpec(sigmas=2.0, above_frac=0.0, window_steps=4, every_steps=5, most_rollbacks=20)


@pytest.mark.parametrize(
    ("stacked", "changes"),
    [(False, {}), (True, {}), (False, {"spikes": SPIKES}), (False, {"precision": "bf16"})],
)
def test_probes_change_no_bit(dataset, tmp_path, stacked, changes):
    probes = (*shipped(), own(tmp_path, "greedy", GREEDY))
    before = torch.get_rng_state()
    plain, (weights, curve) = trained(dataset, tmp_path, tiny_spec(**changes), stacked)
    record, (same, measured) = trained(dataset, tmp_path, probed(*probes, **changes), stacked)
    assert record.run_id != plain.run_id
    assert (record.val_loss_nats, record.message) == (plain.val_loss_nats, plain.message)
    assert weights.keys() == same.keys()
    assert all(torch.equal(weights[name], same[name]) for name in weights)
    bare = [dataclasses.replace(p, metrics={}, seconds=0.0) for p in measured]
    assert bare == [dataclasses.replace(p, seconds=0.0) for p in curve]
    assert all(not point.metrics for point in curve)
    assert torch.equal(torch.get_rng_state(), before)
    assert [p.metrics["greedy.step"] for p in measured] == [p.step for p in measured]
    assert record.metrics == plain.metrics | measured[-1].metrics
    assert record.metrics["greedy.loss"] > 0


def test_the_shipped_probes_measure_known_values(dataset, tmp_path):
    this = job(dataset, tmp_path, probed(*shipped()), resources=Resources(keep_weights=True))
    record = train_run(this)
    assert record is not None
    assert set(record.metrics) == {
        "accuracy.train", "accuracy.val", "fourier.column", "fourier.table", "gradient_norm",
        "weight_norm",
    }  # fmt: skip
    assert record.metric_units["accuracy.val"] == "share of targets"
    assert 0.1 < record.metrics["accuracy.val"] < 1
    weights = checkpoint.load_checkpoint(this.run_dir.weights)["model"]
    squares = math.fsum(float(w.double().square().sum()) for w in weights.values())
    assert record.metrics["weight_norm"] == pytest.approx(math.sqrt(squares), rel=1e-6)
    state = begin(this)
    state.model.load_state_dict(weights)
    right = total = 0
    for batch in state.meter.examples.measured("val", this.spec.eval.val_tokens):
        right += int((state.model(batch.inputs).argmax(-1) == batch.targets).sum())
        total += batch.targets.numel()
    assert record.metrics["accuracy.val"] == right / total
    batch = next(state.meter.examples.measured("train", this.spec.eval.val_tokens))
    state.trainable.loss(batch).backward()
    norm = torch.nn.utils.clip_grad_norm_(state.model.parameters(), math.inf)
    assert record.metrics["gradient_norm"] == pytest.approx(float(norm), rel=1e-4)


def test_the_loss_by_position_is_that_of_blocks_that_double(dataset, tmp_path):
    spec = probed(Component(name="position_loss"))
    this = job(dataset, tmp_path, spec, resources=Resources(keep_weights=True))
    record = train_run(this)
    assert record is not None
    blocks = {"1": 1, "2": 1, "3-4": 2, "5-8": 4, "9-16": 8}
    assert set(record.metrics) == {f"position_loss.val.{block}" for block in blocks}
    assert record.metric_units["position_loss.val.1"] == "nats per token"
    whole = sum(record.metrics[f"position_loss.val.{b}"] * n for b, n in blocks.items()) / 16
    assert whole == pytest.approx(record.val_loss_nats, rel=1e-5)
    state = begin(this)
    state.model.load_state_dict(checkpoint.load_checkpoint(this.run_dir.weights)["model"])
    batches = list(state.meter.examples.measured("val", spec.eval.val_tokens))
    logits = state.model(torch.cat([batch.inputs for batch in batches])).detach()
    targets = torch.cat([batch.targets for batch in batches])
    losses = torch.nn.functional.cross_entropy(logits.mT, targets, reduction="none")
    assert record.metrics["position_loss.val.3-4"] == pytest.approx(
        float(losses[:, 2:4].mean()), rel=1e-5
    )


@pytest.mark.parametrize(
    ("count", "expected"),
    [(1, [(1, 1)]), (4, [(1, 1), (2, 2), (3, 4)]), (6, [(1, 1), (2, 2), (3, 4), (5, 6)])],
)
def test_blocks_of_positions_end_with_the_context(count, expected):
    assert blocks(count) == expected


def test_changes_are_measured_from_the_first_weights_of_the_run(dataset, tmp_path):
    spec = probed(Component(name="weight_change"))
    record, (weights, _) = trained(dataset, tmp_path, spec, stacked=False)
    first = build(spec.model, init_seed(spec)).state_dict()
    moved = {
        f"weight_change.{name}": float((weights[name] - old).norm() / old.norm())
        for name, old in first.items()
        if old.ndim > 1 and old.any()
    }
    assert moved and record.metrics == pytest.approx(moved, rel=1e-5)


def test_changes_of_activations_are_those_of_blocks_branches_and_outputs(dataset, tmp_path):
    spec = probed(Component(name="activation_change"))
    record, (weights, _) = trained(dataset, tmp_path, spec, stacked=False)
    names = {name.removeprefix("activation_change.") for name in record.metrics}
    blocks = [f"blocks.{index}" for index in range(tiny_model().n_layer)]
    branches = {f"{block}.{branch}" for block in blocks for branch in ("attention", "mlp")}
    assert names == {"outputs", *blocks, *branches}
    last = build(spec.model, 0)
    last.load_state_dict(weights)
    examples = begin(job(dataset, tmp_path, spec)).meter.examples
    batch = next(examples.measured("val", spec.eval.val_tokens))
    with torch.no_grad():
        moved = last(batch.inputs) - build(spec.model, init_seed(spec))(batch.inputs)
    expected = float(moved.square().mean().sqrt())
    assert record.metrics["activation_change.outputs"] == pytest.approx(expected, rel=1e-4)


def test_the_activations_of_a_model_without_blocks_are_its_outputs():
    assert activation_change.blocks_and_branches(torch.nn.Linear(2, 2)) == []


def test_the_activations_of_single_experts_are_not_compared():
    """Other weights send other tokens to an expert."""
    experts = torch.nn.ModuleList([torch.nn.Sequential(torch.nn.Linear(2, 2))])
    block = torch.nn.ModuleDict({"mlp": torch.nn.ModuleDict({"experts": experts})})
    model = torch.nn.ModuleDict({"blocks": torch.nn.ModuleList([block])})
    names = [name for name, _ in activation_change.blocks_and_branches(model)]
    assert names == ["blocks.0", "blocks.0.mlp"]


def test_noise_of_gradients_is_estimated_without_bias():
    """Gradients of 4 examples each, about (1, 2), whose noise has the trace 8 for one example."""
    draws = torch.Generator().manual_seed(0)
    pairs = []
    for _ in range(400):
        noise = torch.randn(6, 2, generator=draws) * (4 / 4) ** 0.5
        gradients = [[row[:1], row[1:]] for row in torch.tensor([1.0, 2.0]) + noise]
        squared, trace, count = noise_scale.estimates(gradients, 4)
        assert count == 6
        pairs.append((squared, trace))
    squared, trace = (fmean(column) for column in zip(*pairs, strict=True))
    assert squared == pytest.approx(5, rel=0.05) and trace == pytest.approx(8, rel=0.05)


def test_noise_of_gradients_without_two_batches_names_the_key(dataset, tmp_path):
    subject = subject_of(begin(job(dataset, tmp_path, tiny_spec())))
    assert noise_scale.measure(subject, noise_scale.Settings(examples=1)).keys() == {
        "gradient", "trace",
    }  # fmt: skip
    with pytest.raises(ValueError, match=r"two batches of 1024 examples, and eval.curve_tokens"):
        noise_scale.measure(subject, noise_scale.Settings(examples=1024))


def test_other_draws_of_the_first_weights_differ(dataset, tmp_path):
    subject = subject_of(begin(job(dataset, tmp_path, tiny_spec())))
    first, again, other = (subject.initial(draw) for draw in (0, 0, 1))
    for one, two, three in zip(*(m.parameters() for m in (first, again, other)), strict=True):
        assert torch.equal(one, two) and not (one.ndim > 1 and torch.equal(one, three))


def test_a_run_that_began_with_other_weights_has_no_first_ones(dataset, tmp_path):
    state = begin(job(dataset, tmp_path, tiny_spec()))
    examples = dataclasses.replace(
        state.meter.examples, spec=tiny_spec(branch=Branch(trunk_id="trunk", at_step=32))
    )
    subject = subject_of(state, examples)
    with pytest.raises(ValueError, match="began with the weights of another run"):
        subject.initial()


def measured_in(module: torch.nn.Module, **settings: Any) -> dict[str, float]:
    subject: Any = SimpleNamespace(model=module)
    return fourier.measure(subject, fourier.Settings(**settings))


def shares_of(table: torch.Tensor, **settings: Any) -> dict[str, float]:
    """What the probe ``fourier`` measures in a module that reads ids as this table."""
    module = torch.nn.Module()
    module.token_table = lambda: table  # type: ignore[assignment]
    return measured_in(module, **settings)


def test_waves_over_the_ids_have_few_frequencies():
    turns = 2 * math.pi * torch.arange(59.0)[:, None] / 59
    # two columns of power 1 and 4, each a wave, on a constant that does not count
    waves = torch.cat([torch.cos(3 * turns), 2 * torch.sin(7 * turns)], dim=1) + 5
    assert shares_of(waves) == pytest.approx({"table": 1, "column": 1})
    assert shares_of(waves, largest=1) == pytest.approx({"table": 0.8, "column": 1})
    both = waves.sum(dim=1, keepdim=True)
    assert shares_of(both, largest=2) == pytest.approx({"table": 1, "column": 0.8})
    # an id that lies on no circle
    marked = torch.cat([waves, torch.full((1, 2), 9.0)])
    assert shares_of(marked)["table"] < 0.99
    assert shares_of(marked, ids=59) == pytest.approx({"table": 1, "column": 1})


def test_random_numbers_have_all_frequencies():
    table = torch.randn(59, 400, generator=torch.Generator().manual_seed(0))
    shares = shares_of(table)
    assert shares["table"] == pytest.approx(5 / 29, rel=0.2)
    assert shares["column"] < 0.25


def test_the_mlp_reads_an_id_by_its_weights_at_all_positions():
    model = OtherModel(
        architecture=Component(name="mlp"), shape=(("width", 4),), vocab_size=5, n_ctx=2
    )
    module = build(model, 1)
    weight = module.get_parameter("hidden.weight")
    assert torch.equal(token_table(module), torch.cat([weight[:, :5].T, weight[:, 5:].T], dim=1))


def test_fourier_of_a_module_without_ids_names_what_is_missing():
    with pytest.raises(ValueError, match=r"Linear gives no table of ids \(token_table\)"):
        measured_in(torch.nn.Linear(2, 2))
    with pytest.raises(ValueError, match="ids is 60, and the model reads 59 ids"):
        shares_of(torch.ones(59, 2), ids=60)


def test_every_val_split_is_scored_beside_val(dataset, tmp_path):
    class Split:
        splits = ("train", "val", "val:short")

        def __getattr__(self, name: str) -> Any:
            return getattr(dataset, name)

        def val_batches(self, split: str, **sizes: Any) -> Any:
            batches = dataset.val_batches("val", **sizes)
            for batch in batches:
                cut = slice(0, 8 if split == "val:short" else None)
                yield dataclasses.replace(
                    batch, inputs=batch.inputs[:, cut], targets=batch.targets[:, cut]
                )

    plain = train_run(job(dataset, tmp_path / "plain", tiny_spec()))
    this = job(Split(), tmp_path, probed(Component(name="accuracy")))
    record = train_run(this)
    assert plain is not None and record is not None
    assert record.val_loss_nats == plain.val_loss_nats
    assert set(record.metrics) == {
        "loss.val:short", "accuracy.train", "accuracy.val", "accuracy.val:short",
    }  # fmt: skip
    assert record.metric_units["loss.val:short"] == "nats per token"
    assert record.metrics["loss.val:short"] != record.val_loss_nats
    assert all(point.metrics["loss.val:short"] > 0 for point in read_curve(this.run_dir))


FAILING = """
def measure(subject, settings):
    if subject.step < 10:
        return {"fine": 1.0, "odd": float("nan")}
    raise ValueError("no such\\nthing")

PROBE = Probe(measure=measure, unit="x")
"""


@pytest.mark.parametrize("stopped", [False, True])
def test_a_probe_that_fails_leaves_its_metric_out_and_is_named_once(dataset, tmp_path, stopped):
    spec = probed(own(tmp_path, "failing", FAILING), Component(name="weight_norm"))
    logged: list[str] = []
    if stopped:
        asked = iter(range(1000))
        broken = job(dataset, tmp_path, spec, should_stop=lambda: next(asked) == 30)
        broken.log = logged.append
        assert train_run(broken) is None
    this = job(dataset, tmp_path, spec, log=logged.append)
    record = train_run(this)
    assert record is not None and record.status == "done"
    assert set(record.metrics) == {"weight_norm"}
    said = [line for line in logged if line.startswith("failing")]
    assert [line.partition(" (")[0] for line in said] == [
        "failing.odd is not measured at step 1",
        "failing is not measured at step 10",
    ]
    assert said[1].endswith(r"(ValueError: no such\nthing)")
    assert record.message == "; ".join(said)
    curve = read_curve(this.run_dir)
    assert curve[0].metrics.keys() == {"failing.fine", "weight_norm"}
    assert curve[-1].metrics.keys() == {"weight_norm"}


@pytest.mark.parametrize(
    ("returned", "why"),
    [
        ("'many'", "ValueError"),
        ("None", "TypeError"),
        ("{'a b': 1.0}", "found the key 'a b'"),
        ("{1: 1.0}", "found the key 1"),
        ("1e301", "expected a finite number"),
    ],
)
def test_values_that_are_not_numbers_are_left_out(dataset, tmp_path, returned, why):
    body = f"PROBE = Probe(measure=lambda subject, settings: {returned}, unit='x', when='end')\n"
    this = job(dataset, tmp_path, probed(own(tmp_path, "odd", body)))
    record = train_run(this)
    assert record is not None and record.status == "done"
    assert record.metrics == {} and why in record.message
    assert read_curve(this.run_dir, record)


def test_a_probe_at_the_end_is_not_on_the_curve(dataset, tmp_path):
    body = "PROBE = Probe(measure=lambda s, _: s.step, unit='steps', when='end')\n"
    this = job(dataset, tmp_path, probed(own(tmp_path, "last", body)))
    record = train_run(this)
    assert record is not None
    assert record.metrics == {"last": 40.0}
    assert [bool(point.metrics) for point in read_curve(this.run_dir)][-2:] == [False, True]


def test_a_probe_that_changes_a_weight_fails_the_run(dataset, tmp_path):
    body = """
def measure(subject, settings):
    with torch.no_grad():
        next(subject.model.parameters()).add_(1.0)
    return 0.0

PROBE = Probe(measure=measure, unit="x")
"""
    with pytest.raises(RunFailed, match="the probe spoiling changes weights") as problem:
        train_run(job(dataset, tmp_path, probed(own(tmp_path, "spoiling", body))))
    assert len(problem.value.lines) == 1


CATCHING = """
def measure(subject, settings):
    try:
        return {split: len(list(subject.batches(split))) for split in subject.splits}
    except Exception:
        return 0.0

PROBE = Probe(measure=measure, unit="batches", when="end")
"""


def test_a_run_stopped_during_a_probe_resumes_to_the_same_record(dataset, tmp_path):
    spec = probed(own(tmp_path, "catching", CATCHING))
    whole = train_run(job(dataset, tmp_path / "a", spec))
    assert whole is not None and whole.metrics["catching.train"] > 0
    asked = 0

    def in_the_probe() -> bool:
        nonlocal asked
        asked += 1
        return asked == 40 + 1  # 39 steps, the loss's one batch, the probe's first

    broken = job(dataset, tmp_path / "b", spec, should_stop=in_the_probe)
    assert train_run(broken) is None and asked == 41
    assert checkpoint.checkpoint_steps(broken.run_dir) == [40]
    again = train_run(job(dataset, tmp_path / "b", spec))
    assert again is not None
    assert (again.curve_sha256, again.metrics) == (whole.curve_sha256, whole.metrics)


def test_a_stop_during_a_probe_is_not_caught_as_its_failure(dataset, tmp_path):
    asked = 0

    def lost() -> bool:
        nonlocal asked
        asked += 1
        if asked == 41:
            raise LookupError
        return False

    spec = probed(own(tmp_path, "catching", CATCHING))
    with pytest.raises(LookupError):
        train_run(job(dataset, tmp_path, spec, should_stop=lost))


def test_a_model_with_full_attention_generates_no_text(dataset, tmp_path):
    probes = (own(tmp_path, "greedy", GREEDY),)
    spec = probed(*probes, objective=masked(tmp_path))
    record = train_run(job(dataset, tmp_path, spec))
    assert record is not None and "only a model with causal attention" in record.message


def test_specs_and_records_with_probes_are_read_back_equal(dataset, tmp_path):
    spec = probed(
        Component(name="accuracy"),
        Component(name="own", settings=(("rate", 0.5),), source_sha256="f" * 64),
        objective=masked(tmp_path),
    )
    assert run_spec_from_json(json.loads(json.dumps(to_json(spec)))) == spec
    assert not {"objective", "probes"} & to_json(tiny_spec()).keys()
    this = job(dataset, tmp_path, probed(*shipped()))
    record = train_run(this)
    assert record is not None
    write_record(this.run_dir, record)
    assert read_record(this.run_dir.record) == record
    curve = read_curve(this.run_dir, record)
    bare = [dataclasses.replace(point, metrics={}) for point in curve]
    assert curve_digest(bare) != record.curve_sha256
    assert "metrics" not in to_json(bare[0]) and "metrics" in to_json(curve[0])


@pytest.mark.parametrize("name", ["loss", "rollbacks"])
def test_a_probe_may_not_use_a_reserved_name(tmp_path, name):
    with pytest.raises(ConfigError, match=f"no probe may be named '{name}'"):
        own(tmp_path, name, "PROBE = Probe(measure=lambda s, _: 0.0, unit='x')\n")


def test_whole_answers_are_scored(dataset, tmp_path):
    """Against the same scores, calculated from the final weights."""
    source = Component(name="addition", settings=(("digits", 2), ("val_examples", 40)))
    data = TaskSpec(source=source)
    spec = probed(
        Component(name="answers"),
        data=data,
        model=dataclasses.replace(tiny_spec().model, n_ctx=8, vocab_size=12),
    )
    this = job(access.open_task(data), tmp_path, spec, resources=Resources(keep_weights=True))
    record = train_run(this)
    assert record is not None
    state = begin(this)
    weights = checkpoint.load_checkpoint(this.run_dir.weights)["model"]
    state.model.load_state_dict(weights)
    batches = list(state.meter.examples.measured("val", spec.eval.val_tokens))
    targets = torch.cat([batch.targets for batch in batches])
    outputs = state.model(torch.cat([batch.inputs for batch in batches]))[:, -3:].detach()
    right = outputs.argmax(-1) == targets
    truth = torch.nn.functional.one_hot(targets, 12)
    probs = outputs.softmax(-1)
    expected = {
        "exact": right.all(dim=1).double().mean(),
        "position-1": right[:, 0].double().mean(),
        "position-2": right[:, 1].double().mean(),
        "position-3": right[:, 2].double().mean(),
        "brier": ((probs - truth) ** 2).sum(-1).mean(),
        "log_prob": (probs * truth).sum(-1).log().mean(),
    }
    assert {key.removeprefix("answers.val."): value for key, value in record.metrics.items()} == {
        key: pytest.approx(float(value), abs=1e-5) for key, value in expected.items()
    }
    assert record.val_loss_nats is not None
    assert record.metrics["answers.val.log_prob"] == pytest.approx(-record.val_loss_nats, abs=1e-5)


def test_answers_may_leave_out_single_positions(dataset, tmp_path):
    data = TaskSpec(source=Component(name="addition", settings=(("val_examples", 10),)))
    spec = probed(
        Component(name="answers", settings=(("positions", False),)),
        data=data,
        model=dataclasses.replace(tiny_spec().model, n_ctx=11, vocab_size=12),
        batch_tokens=22,
    )
    record = train_run(job(access.open_task(data), tmp_path, spec))
    assert record is not None
    assert record.metrics.keys() == {f"answers.val.{x}" for x in ("exact", "log_prob", "brier")}


@pytest.mark.parametrize("position", ["rotary", "learned", "alibi", "none"])
def test_longer_answers_are_scored_at_interpolated_positions(tmp_path, position):
    """Against the same model with positions that are as far apart as the probe should have them."""
    settings = (("length", 3), ("longer", (4, 6)), ("symbols", 5), ("val_examples", 20))
    data = TaskSpec(source=Component(name="copy", settings=settings))
    model = dataclasses.replace(tiny_spec().model, n_ctx=12, vocab_size=6, position=position)
    spec = probed(Component(name="interpolated"), data=data, model=model, batch_tokens=24)
    this = job(access.open_task(data), tmp_path, spec, resources=Resources(keep_weights=True))
    record = train_run(this)
    assert record is not None
    state = begin(this)
    state.model.load_state_dict(checkpoint.load_checkpoint(this.run_dir.weights)["model"])
    assert {name.split(".")[1] for name in record.metrics if name.startswith("interpolated")} == {
        "val:length-4",
        "val:length-6",
    }
    for length in (4, 6):
        split = f"val:length-{length}"
        # the last position that is read lies where that of three symbols does
        spacing = 5 / (2 * length - 1)
        batches = list(state.meter.examples.measured(split, spec.eval.val_tokens))
        inputs = torch.cat([batch.inputs for batch in batches])
        targets = torch.cat([batch.targets for batch in batches])
        assert isinstance(state.model, GPT)
        moved = state.model.interpolated(spacing)(inputs).log_softmax(-1).detach()
        answer = slice(length, 2 * length)
        log_prob = moved.gather(-1, targets[..., None])[:, answer].double().mean()
        assert record.metrics[f"interpolated.{split}.log_prob"] == pytest.approx(
            float(log_prob), abs=1e-5
        )
        same = record.metrics[f"interpolated.{split}.log_prob"] == pytest.approx(
            -record.metrics[f"loss.{split}"], abs=1e-5
        )
        assert same == (position == "none")


def test_interpolating_half_a_position_takes_the_mean_of_two_learned_ones():
    model = GPT(dataclasses.replace(tiny_model(), position="learned"), seed=1)
    assert model.position is not None
    table = model.position.weight.detach().clone()
    moved = model.interpolated(0.5)
    assert moved.position is not None
    torch.testing.assert_close(moved.position.weight[3], (table[1] + table[2]) / 2)
    torch.testing.assert_close(moved.position.weight[4], table[2])
    assert torch.equal(model.position.weight, table)


def test_a_model_without_positions_is_not_interpolated(tmp_path):
    data = TaskSpec(source=Component(name="modular_addition", settings=(("modulus", 5),)))
    model = OtherModel(
        architecture=Component(name="mlp"),
        vocab_size=5,
        n_ctx=2,
        shape=(("width", 4),),
    )
    spec = probed(Component(name="interpolated"), data=data, model=model)
    record = train_run(job(access.open_task(data), tmp_path, spec))
    assert record is not None and "interpolated needs a model with positions" in record.message
