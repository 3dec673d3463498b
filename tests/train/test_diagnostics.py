"""Probes of layers give what a computation by hand gives on a tiny model."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F  # noqa: N812 - torch's own idiom

from scaling_law.errors import PlanError
from scaling_law.files.layer_metrics import maps_of
from scaling_law.files.record import read_curve
from scaling_law.parts import NoSettings
from scaling_law.spec.architectures import INSIDE, architecture_of
from scaling_law.spec.component import Component
from scaling_law.spec.model import OtherModel
from scaling_law.spec.resources import Resources
from scaling_law.spec.schedule import ScheduleSpec
from scaling_law.train import checkpoint
from scaling_law.train.architectures import build, inside
from scaling_law.train.architectures.gpt import GPT
from scaling_law.train.begin import begin
from scaling_law.train.loop import train_run
from scaling_law.train.probes import (
    Probe,
    activation_scale,
    attention_entropy,
    attention_maps,
    dead_units,
    gradient_norms,
    linear_probes,
)
from scaling_law.train.probes._layers import group_of
from scaling_law.train.probes.attention_entropy import entropies
from scaling_law.train.probes.linear_probes import predicted
from scaling_law.train.stack_loop import train_stack
from scaling_law.train.subject import Subject
from tests.fakes import plan_of, tiny_model, tiny_spec
from tests.train.test_loop import job
from tests.train.test_moe import mixture
from tests.train.test_objectives import masked
from tests.train.test_optimizers import installed, optim_of
from tests.train.test_probes import subject_of, trained

TWO_LAYERS = tiny_model(n_layer=2)
ALL = (
    "activation_scale", "attention_entropy", "dead_units", "gradient_norms", "linear_probes",
    "update_ratio",
)  # fmt: skip


@pytest.fixture
def subject(dataset, tmp_path) -> Subject:
    return subject_of(begin(job(dataset, tmp_path, tiny_spec(model=TWO_LAYERS))))


def test_weights_are_grouped_by_layer_and_role():
    assert group_of("blocks.0.attention.qkv.weight") == "layers.0.attention"
    assert group_of("blocks.11.norm_mlp.weight") == "layers.11.norm_mlp"
    assert group_of("hidden.1.bias") == "layers.1"
    assert group_of("head.weight") == "head"
    assert group_of("scale") == "scale"


def test_squares_of_the_norms_of_all_groups_add_up_to_that_of_the_gradient(subject):
    norms = gradient_norms.measure(subject, NoSettings())
    subject.model.zero_grad()
    batch = next(subject.batches("train"))
    F.cross_entropy(subject.model(batch.inputs).flatten(0, 1), batch.targets.flatten()).backward()
    mlp = subject.model.blocks[1].mlp
    by_hand = math.hypot(*(float(w.grad.norm()) for w in (mlp.up.weight, mlp.out.weight)))
    assert norms["layers.1.mlp"] == pytest.approx(by_hand, rel=1e-5)
    whole = math.hypot(*(float(w.grad.norm()) for w in subject.model.parameters()))
    assert math.hypot(*norms.values()) == pytest.approx(whole, rel=1e-5)
    assert "layers.0.attention" in norms and "embedding" in norms


@pytest.mark.parametrize("stacked", [False, True])
def test_the_update_is_that_of_the_last_step(dataset, tmp_path, stacked):
    """A run whose every step is kept gives the weights before and after its last one."""
    probes = (Component(name="update_ratio"),)
    spec = tiny_spec(model=TWO_LAYERS, probes=probes, total_steps=12)
    record, _ = trained(dataset, tmp_path / "probed", spec, stacked)
    every = Resources(save_steps=(10, 11), keep_weights=True)
    plain = job(dataset, tmp_path, dataclasses.replace(spec, probes=None), resources=every)
    assert train_run(plain) is not None
    before = checkpoint.load_checkpoint(plain.run_dir.checkpoint(11))["model"]
    after = checkpoint.load_checkpoint(plain.run_dir.weights)["model"]
    names = [name for name in after if name.startswith("blocks.0.attention.")]
    moved = math.hypot(*(float((after[n] - before[n]).norm()) for n in names))
    norm = math.hypot(*(float(before[n].norm()) for n in names))
    measured = record.metrics["update_ratio.layers.0.attention"]
    assert measured == pytest.approx(moved / norm, rel=1e-4) and measured > 0


def test_of_weights_that_are_averaged_the_average_counts(dataset, tmp_path):
    """A run of one step less ends with the average before the last step."""
    installed("schedule_free")
    fields: dict[str, Any] = {
        "model": TWO_LAYERS,
        "optim": optim_of("schedule_free"),
        "schedule": ScheduleSpec(warmup_steps=4, shape="constant"),
    }
    shorter, spec = (tiny_spec(total_steps=steps, **fields) for steps in (11, 12))
    probed = dataclasses.replace(spec, probes=(Component(name="update_ratio"),))
    (_, (before, _)), (_, (plain, _)) = (
        trained(dataset, tmp_path, each, False) for each in (shorter, spec)
    )
    record, (after, _) = trained(dataset, tmp_path, probed, False)
    assert all(torch.equal(plain[name], after[name]) for name in after)
    moved = float((after["head.weight"] - before["head.weight"]).norm())
    ratio = moved / float(before["head.weight"].norm())
    assert record.metrics["update_ratio.head"] == pytest.approx(ratio, rel=1e-4) and ratio > 0


def test_a_run_stopped_before_its_end_is_measured_has_the_same_update(dataset, tmp_path):
    spec = tiny_spec(model=TWO_LAYERS, probes=(Component(name="update_ratio"),))
    whole = train_run(job(dataset, tmp_path / "a", spec))
    assert whole is not None
    asked = 0

    def at_the_end() -> bool:
        nonlocal asked
        asked += 1
        return asked == 41  # 40 steps, then the final measurement

    broken = job(dataset, tmp_path / "b", spec, should_stop=at_the_end)
    assert train_run(broken) is None and checkpoint.checkpoint_steps(broken.run_dir) == [40]
    again = train_run(job(dataset, tmp_path / "b", spec))
    assert again is not None and again.metrics == whole.metrics


def test_activation_scales_are_those_of_the_residual_stream(subject):
    scales = activation_scale.measure(subject, NoSettings())
    subject.model.requires_grad_(False)
    x = torch.cat([subject.model.embedding(b.inputs) for b in subject.batches("val")])
    assert scales["rms.embedding"] == pytest.approx(float(x.square().mean().sqrt()), rel=1e-5)
    for layer, block in enumerate(subject.model.blocks):
        x = block(x, subject.model.position_tables)
        rms = float(x.square().mean().sqrt())
        assert scales[f"rms.layers.{layer}"] == pytest.approx(rms, rel=1e-5)
        assert scales[f"largest.layers.{layer}"] == pytest.approx(float(x.abs().max()))


@pytest.mark.parametrize(
    "changes",
    [{}, {"position": "alibi"}, {"position": "learned", "n_kv_head": 1}, {"qk_norm": True}],
)
@pytest.mark.parametrize("causal", [True, False])
def test_the_scores_are_those_of_the_models_attention(changes, causal):
    model = GPT(tiny_model(**changes))
    attention: Any = model.get_submodule("blocks.0.attention")
    attention.causal = causal
    x = torch.randn(2, 16, 16, generator=torch.Generator().manual_seed(0))
    weights = attention.scores(x, model.position_tables).softmax(dim=-1)
    pairs, size = attention.spec.n_kv_head, attention.spec.head_size
    v = attention.qkv(x)[..., -pairs * size :].view(2, 16, pairs, size).transpose(1, 2)
    mixed = weights @ v.repeat_interleave(2 // pairs, dim=1)
    y = attention.out(mixed.transpose(1, 2).flatten(2))
    torch.testing.assert_close(y, attention(x, model.position_tables))


def test_entropy_is_the_log_of_how_many_positions_are_attended_to():
    even = torch.zeros(1, 2, 4, 4)
    even[0, 1] = torch.eye(4) * 1e4  # the second head looks at itself alone
    scores = even.masked_fill(torch.ones(4, 4).triu(1).bool(), -math.inf)
    nats, shares = entropies(scores)
    assert nats == pytest.approx([math.log(24) / 4, 0.0])
    assert shares == pytest.approx([1.0, 0.0])


def test_attention_entropy_has_a_value_for_each_head(subject):
    settings = attention_entropy.Settings(examples=3)
    numbers = attention_entropy.measure(subject, settings)
    assert len(numbers) == 2 * 2 * 2
    batch = next(subject.batches("val"))
    few = dataclasses.replace(batch, inputs=batch.inputs[:3], targets=batch.targets[:3])
    nats, shares = entropies(subject.inside(few, "attention")[1])
    assert numbers["nats.layers.1.heads.0"] == pytest.approx(nats[0], rel=1e-5)
    assert numbers["share.layers.1.heads.1"] == pytest.approx(shares[1], rel=1e-5)


@pytest.mark.parametrize("activation", ["relu2", "gelu", "swiglu"])
def test_units_that_are_never_active_are_counted(dataset, tmp_path, activation):
    model = tiny_model(n_layer=2, activation=activation)
    subject = subject_of(begin(job(dataset, tmp_path, tiny_spec(model=model))))
    assert dead_units.measure(subject, dead_units.Settings()) == {"layers.0": 0, "layers.1": 0}
    with torch.no_grad():
        subject.model.get_parameter("blocks.1.mlp.up.weight")[:8] = 0.0
    shares = dead_units.measure(subject, dead_units.Settings())
    assert shares == {"layers.0": 0, "layers.1": 8 / 32}


def test_a_ridge_regression_finds_the_classes_of_separate_points():
    generator = torch.Generator().manual_seed(0)
    answers = torch.randint(3, (200,), generator=generator) * 5
    middles = torch.eye(3, 8).double()
    states = middles[answers // 5] + 0.05 * torch.randn(200, 8, generator=generator).double()
    said = predicted(states[:100], answers[:100], states[100:], ridge=1e-3)
    assert torch.equal(said, answers[100:])
    # by hand: the same normal equations, on one-hot answers
    x = states[:100] - states[:100].mean(dim=0)
    y = F.one_hot(answers[:100] // 5, 3).double()
    gram = x.T @ x
    weights = torch.linalg.inv(gram + 100 * gram.diagonal().mean() * torch.eye(8)) @ x.T @ y
    by_hand = ((states[100:] - states[:100].mean(dim=0)) @ weights + y.mean(dim=0)).argmax(dim=1)
    strong = predicted(states[:100], answers[:100], states[100:], ridge=100.0)
    assert torch.equal(strong, by_hand * 5)


def test_the_token_just_read_is_in_the_embedding_and_the_one_before_is_not(subject):
    read = linear_probes.measure(subject, linear_probes.Settings(ahead=0))
    assert set(read) == {"most_frequent", "embedding", "layers.0", "layers.1"}
    assert read["embedding"] > 0.9 > read["most_frequent"]
    before = linear_probes.measure(subject, linear_probes.Settings(ahead=-1))
    assert before["embedding"] < 0.7


def test_masked_positions_are_no_answers(dataset, tmp_path):
    spec = tiny_spec(objective=masked(tmp_path), model=TWO_LAYERS)
    subject = subject_of(begin(job(dataset, tmp_path, spec)))
    scores = linear_probes.measure(subject, linear_probes.Settings())
    assert all(0 <= score <= 1 for score in scores.values())


def test_all_together_measure_a_run_and_change_no_bit(dataset, tmp_path):
    probes = tuple(Component(name=name) for name in ALL)
    spec = tiny_spec(model=TWO_LAYERS)
    _, (plain, _) = trained(dataset, tmp_path, spec, False)
    measured = dataclasses.replace(spec, probes=probes)
    record, (same, curve) = trained(dataset, tmp_path, measured, False)
    assert all(torch.equal(plain[name], same[name]) for name in plain)
    assert {name.partition(".")[0] for name in record.metrics} >= set(ALL)
    assert not record.message and len(curve[0].metrics) == len(curve[-1].metrics)
    alone = job(dataset, tmp_path / "stack", measured)
    train_stack([alone], lambda *_: None)
    for point, own in zip(read_curve(alone.run_dir), curve, strict=True):
        assert point.metrics == pytest.approx(own.metrics, rel=1e-3)


@pytest.mark.parametrize(
    ("name", "model", "inputs"),
    [
        ("gpt", TWO_LAYERS, torch.zeros(2, 16, dtype=torch.long)),
        ("moe", mixture(), torch.zeros(2, 16, dtype=torch.long)),
        (
            "mlp",
            OtherModel(
                architecture=Component(name="mlp"), shape=(("width", 8),), vocab_size=5, n_ctx=2
            ),
            torch.zeros(2, 2, dtype=torch.long),
        ),
        (
            "dense",
            OtherModel(
                architecture=Component(name="dense"), shape=(("width", 8),), vocab_size=0,
                n_ctx=1, features=3, outputs=1,
            ),
            torch.zeros(2, 3),
        ),
    ],
)  # fmt: skip
def test_modules_show_what_their_architecture_says(name, model, inputs):
    module = build(model)
    assert architecture_of(model).inside
    for what in architecture_of(model).inside:
        layers = inside(module, inputs, what)
        assert layers and all(len(layer) == 2 for layer in layers), name


def test_a_module_that_shows_nothing_is_named():
    with pytest.raises(ValueError, match="Linear does not show its layers"):
        inside(torch.nn.Linear(2, 2), torch.zeros(1, 2), "units")


def test_a_probe_needs_something_that_can_be_shown():
    with pytest.raises(ValueError, match="needs is 'gates', expected one of stream, attention"):
        Probe(measure=gradient_norms.measure, unit="norm", needs="gates")


SUMS = """
name: sums
data: {source: modular_addition, modulus: 11}
model: {architecture: mlp}
probes: [PROBE]
grid: [{sizes: [{width: 16}], steps: [4]}]
optim: {lr: 0.01, batch_tokens: 24}
"""


def test_a_probe_of_what_an_architecture_lacks_is_refused_before_training():
    with pytest.raises(PlanError, match=r"fake.yaml:5: probes: attention_entropy measures"):
        plan_of(SUMS.replace("PROBE", "attention_entropy"))
    with pytest.raises(PlanError, match=r"architecture mlp does not show \(it shows units\)"):
        plan_of(SUMS.replace("PROBE", "activation_scale"))
    with pytest.raises(PlanError, match=r"expert_load measures .* architecture that does: moe"):
        plan_of(SUMS.replace("PROBE", "expert_load"))
    assert plan_of(SUMS.replace("PROBE", "dead_units")).runs
    assert set(INSIDE) == {"stream", "attention", "units", "experts"}


def test_a_map_is_the_mean_attention_of_its_blocks(subject):
    cells = attention_maps.measure(subject, attention_maps.Settings(size=4, examples=2))
    batch = next(subject.batches("val")).split(2)[0]
    scores = subject.inside(batch, "attention")[1]
    shares = scores.double().softmax(dim=-1).mean(dim=0)[1]  # layer 1, head 1
    blocks = shares.view(4, 4, 4, 4).sum(dim=3).mean(dim=1)
    maps = maps_of(cells)
    assert set(maps) == {f"layers.{layer}.heads.{head}" for layer in (0, 1) for head in (0, 1)}
    for (row, column), value in maps["layers.1.heads.1"].items():
        assert value == pytest.approx(float(blocks[row, column]), rel=1e-3)
    assert len(maps["layers.1.heads.1"]) == 4 * 5 // 2  # causal


def test_a_short_context_has_a_cell_for_each_position(subject):
    cells = maps_of(attention_maps.measure(subject, attention_maps.Settings(size=32)))
    rows = {row for row, _ in cells["layers.0.heads.0"]}
    assert rows == set(range(16))


TEXT = """
name: text
data: {corpus: tiny, tokenizer: bytes, vocab_size: 257}
model: {n_ctx: 16}
probes: [PROBE]
grid: [{sizes: [nano14k], steps: [4]}]
optim: {lr: 0.01, batch_tokens: 64}
eval: {val_tokens: 512, curve_tokens: 128}
"""


@pytest.mark.parametrize(
    ("config", "probe", "why"),
    [
        (TEXT, "{name: infilling, length: 9}", "a span of 9 tokens leaves nothing around it"),
        (TEXT, "text_kind", "the data have 0 kinds .*expected 2; set data.mix"),
        (TEXT, "noise_scale", "batches of 8 training examples, at least two, .* reads 8; raise"),
        (TEXT, "{name: multiple_choice, tail: 16}", "a tail of 16 tokens leaves nothing"),
        (TEXT, "{name: fourier, ids: 300}", "ids is 300, and the model reads 257 ids"),
        (TEXT, "intrinsic_dimension", "inputs that are numbers, and the data's are ids"),
        (TEXT, "tangent_kernel", "65,792 outputs"),
        (TEXT, "{name: best_of_n, questions: 33}", "val has 32 questions to read, expected 33"),
        (SUMS, "document_loss", "it needs text"),
    ],
)
def test_a_probe_that_cannot_measure_is_refused_by_the_plan(config, probe, why):
    with pytest.raises(PlanError, match=rf"fake.yaml:5: probes: .*{why}"):
        plan_of(config.replace("PROBE", probe))


def test_a_probe_whose_needs_are_met_is_planned():
    enough = "infilling, {name: noise_scale, examples: 4}, accuracy"
    assert plan_of(TEXT.replace("PROBE", enough)).runs
