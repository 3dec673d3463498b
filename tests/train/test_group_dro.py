"""Group DRO: the weights of components, their state, and the model whose losses they rest on."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from scaling_law import parts
from scaling_law.data.mixture import dataset_of
from scaling_law.errors import RunFailed
from scaling_law.files.record import read_curve
from scaling_law.parts import Reference
from scaling_law.spec.component import Component
from scaling_law.spec.mix import Mix, Phase
from scaling_law.spec.resources import Resources
from scaling_law.spec.run import SpikeSpec
from scaling_law.spec.schedule import ScheduleSpec
from scaling_law.spec.start import Branch, StartFrom
from scaling_law.train.loop import train_run
from scaling_law.train.objectives import BatchLosses, Weigher
from scaling_law.train.tensors import Tensors
from scaling_law.train.weighing import Weighing
from tests.fakes import tiny_model, tiny_spec
from tests.train.test_mixed_runs import job, text

__all__ = ["text"]  # the fixture
OBJECTIVE = parts.load("objective", Reference(name="group_dro"))
UNIFORM = Mix(phases=(Phase(shares=(("code", 0.5), ("web", 0.5))),))
DRO = Component(name="group_dro")


def weigher(**settings):
    return OBJECTIVE.weigher(("a", "b"), OBJECTIVE.settings(**settings))


def seen(losses, reference, components) -> BatchLosses:
    return BatchLosses(
        losses=np.array(losses, dtype=float),
        reference=np.array(reference, dtype=float),
        components=np.array(components),
    )


def test_weights_follow_the_excess_loss_as_in_algorithm_1():
    mine = weigher(step_size=2.0, smoothing=0.1)
    # of a: excess 1 and, clipped, 0 for each of two tokens; of b: .5 for each
    weights = mine.weigh(
        seen([[3, 1], [2, 2], [2, 2]], [[2, 4], [1.5, 1.5], [1.5, 1.5]], [0, 1, 1])
    )
    assert mine.excess.tolist() == [0.5, 0.5] and mine.weights.tolist() == [0.5, 0.5]
    # both components count alike, however many tokens a batch has of them
    assert weights.tolist() == [[1.5, 1.5], [0.75, 0.75], [0.75, 0.75]]
    mine.weigh(seen([[3], [2]], [[2], [2]], [0, 1]))
    moved = np.array([np.exp(2.0), 1.0])
    expected = 0.9 * moved / moved.sum() + 0.05
    assert mine.weights == pytest.approx(expected)
    measures = mine.measures()
    assert measures["weight.a"] == (pytest.approx(expected[0]), "share")
    assert measures["mean_weight.b"][0] == pytest.approx((0.5 + expected[1]) / 2)
    assert measures["excess.a"] == (1.0, "nats per token")


def test_a_component_that_a_batch_lacks_keeps_its_excess_loss():
    mine = weigher()
    mine.weigh(seen([[3], [2]], [[2], [2]], [0, 1]))
    weights = mine.weigh(seen([[2], [2]], [[2], [2]], [1, 1]))
    assert mine.excess.tolist() == [1.0, 0.0]
    assert np.isfinite(weights).all()


def test_a_state_that_is_loaded_continues_to_the_same_bits():
    one, other = weigher(), weigher()
    one.weigh(seen([[3], [2]], [[2], [1.7]], [0, 1]))
    other.load_state_dict(one.state_dict())
    batch = seen([[2.5], [2.2]], [[2], [2]], [0, 1])
    assert one.weigh(batch).tolist() == other.weigh(batch).tolist()
    assert one.measures() == other.measures()


def test_a_batch_of_a_mixture_says_the_component_of_each_sequence(text):
    mixed = dataset_of(tiny_spec(mix=UNIFORM), text)
    assert mixed.component_names == ("code", "web")
    batch = mixed.batch("train", 3, batch_seqs=8, n_ctx=16, seed=0)
    assert batch.components is not None
    numbers = batch.components.tolist()
    assert [numbers.count(component) for component in (0, 1)] == [4, 4]
    own = {tuple(row) for n in range(40) for row in only(text, "code", n).inputs}
    assert [tuple(row) in own for row in batch.inputs] == [n == 0 for n in numbers]


def only(text, name: str, number: int):
    mixed = dataset_of(tiny_spec(mix=Mix(phases=(Phase(shares=((name, 1.0),)),))), text)
    return mixed.batch("train", number, batch_seqs=8, n_ctx=16, seed=0)


@pytest.fixture(scope="module")
def reference(text, tmp_path_factory):
    """A trained run's weights, and what names them."""
    folder = tmp_path_factory.mktemp("reference")
    spec = tiny_spec(mix=UNIFORM)
    made = job(text, folder, spec, resources=Resources(keep_weights=True))
    train_run(made)
    weights = made.run_dir.weights
    digest = hashlib.sha256(weights.read_bytes()).hexdigest()
    return weights, StartFrom(run_id=spec.run_id, weights_sha256=digest)


def proxy(text, folder, reference, **changes):
    weights, start = reference
    resources = changes.pop("resources", Resources())
    stop = changes.pop("should_stop", lambda: False)
    spec = tiny_spec(**{"mix": UNIFORM, "objective": DRO, "reference": start, **changes})
    return job(text, folder, spec, resources=resources, should_stop=stop, reference_weights=weights)


def test_a_proxy_records_its_weights_and_scores_held_out_text_as_ever(text, tmp_path, reference):
    made = proxy(text, tmp_path, reference)
    record = train_run(made)
    assert record is not None and record.status == "done"
    weights = [record.metrics[f"group_dro.weight.{name}"] for name in ("code", "web")]
    assert sum(weights) == pytest.approx(1) and weights[0] != weights[1]
    assert record.metric_units["group_dro.mean_weight.code"] == "share"
    assert record.loss_unit is None and record.val_bits_per_byte is not None
    curve = read_curve(made.run_dir)
    assert all("group_dro.excess.web" in point.metrics for point in curve)
    plain = train_run(job(text, tmp_path, tiny_spec(mix=UNIFORM)))
    assert plain is not None and plain.val_loss_nats != record.val_loss_nats


SPIKES = SpikeSpec(sigmas=1.5, above_frac=0.0, window_steps=4, every_steps=8)


@pytest.mark.parametrize("spikes", [None, SPIKES], ids=["straight", "goes-back"])
def test_a_stopped_proxy_resumes_to_the_same_bits(text, tmp_path, reference, spikes):
    expected = train_run(proxy(text, tmp_path / "a", reference, spikes=spikes))
    steps = iter(range(10**6))
    stopped = proxy(
        text, tmp_path / "b", reference, spikes=spikes, should_stop=lambda: next(steps) == 33
    )
    assert train_run(stopped) is None
    resumed = train_run(dataclasses.replace(stopped, should_stop=lambda: False))
    assert expected is not None and resumed is not None
    assert expected.status == "done" and ("rollbacks" in expected.metrics) == (spikes is not None)
    assert resumed.val_loss_nats == expected.val_loss_nats
    assert resumed.metrics == expected.metrics


def test_a_branch_continues_with_the_weights_of_its_trunk(text, tmp_path, reference):
    straight = train_run(proxy(text, tmp_path, reference))
    schedule = ScheduleSpec(warmup_steps=4, decay_steps=None)
    trunk = proxy(
        text, tmp_path, reference, label="trunk", schedule=schedule, total_steps=50,
        resources=Resources(save_steps=(32,)),
    )  # fmt: skip
    train_run(trunk)
    branch = Branch(trunk_id=trunk.spec.run_id, at_step=32)
    made = proxy(text, tmp_path, reference, branch=branch)
    branched = train_run(dataclasses.replace(made, trunk=trunk.run_dir))
    assert straight is not None and branched is not None
    assert branched.metrics == straight.metrics


def test_smaller_micro_batches_give_the_same_weights(text, tmp_path, reference):
    whole, parted = (
        train_run(proxy(text, tmp_path / str(n), reference, resources=Resources(micro_seqs=n)))
        for n in (None, 1)
    )
    assert whole is not None and parted is not None
    for name in ("weight.code", "mean_weight.web"):
        assert parted.metrics[f"group_dro.{name}"] == pytest.approx(
            whole.metrics[f"group_dro.{name}"], abs=1e-3
        )


def test_weights_that_were_changed_or_are_of_another_model_end_the_run(text, tmp_path, reference):
    weights, start = reference
    changed = dataclasses.replace(start, weights_sha256="0" * 64)
    with pytest.raises(RunFailed, match="not the weights that this run was planned with"):
        train_run(proxy(text, tmp_path, (weights, changed)))
    with pytest.raises(RunFailed, match="the weights of another model than this run's"):
        train_run(proxy(text, tmp_path, reference, model=tiny_model(d_model=8)))


class Fixed(Weigher):
    """Weighs the examples of a batch as it is told."""

    def __init__(self, *weights: float) -> None:
        self.given = np.array(weights)[:, np.newaxis]

    def weigh(self, seen: BatchLosses):
        return self.given

    def measures(self):
        return {}

    def state_dict(self):
        return {}

    def load_state_dict(self, state):
        pass


def weighed(weigher: Weigher, own: torch.Tensor | None = None) -> Tensors:
    """A batch of two examples with one target each, of which one may not count."""
    model: Any = SimpleNamespace(
        model=torch.nn.Linear(1, 1), target_losses=lambda part: part.targets.float()
    )
    batch = Tensors(inputs=torch.ones(2, 1), targets=torch.ones(2, 1), weights=own)
    how: Any = {"at_once": 1, "kind": "cpu", "autocast": contextlib.nullcontext}
    return Weighing("mine", weigher, None).weighed(model, batch, **how)


def test_weights_multiply_those_that_the_batch_has():
    own = torch.tensor([[2.0], [0.0]])
    weights = weighed(Fixed(3, 4), own).weights
    assert weights is not None and weights.tolist() == [[6.0], [0.0]]


@pytest.mark.parametrize("weights", [(1,), (-1, 1), (0, 0), (np.nan, 1)])
def test_weights_that_no_loss_can_have_end_the_run(weights):
    with pytest.raises(RunFailed, match="the objective mine weighs the targets of a batch by"):
        weighed(Fixed(*weights))


def test_the_reference_is_part_of_a_runs_identity(reference):
    _, start = reference
    other = dataclasses.replace(start, weights_sha256="0" * 64)
    ids = {tiny_spec(objective=DRO, mix=UNIFORM, reference=one).run_id for one in (start, other)}
    assert len(ids) == 2
