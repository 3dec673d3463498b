"""Which learning rates the next stage trains, from what the stages so far recorded."""

from __future__ import annotations

import dataclasses
import math

import pytest

from scaling_law.experiment.evidence import Run
from scaling_law.experiment.tuning import trials_of, tuned
from scaling_law.experiment.tuning_stages import Settings, next_stage, other_axes
from scaling_law.spec.arms import arm_tags
from scaling_law.spec.optim import OptimSpec, RuleOverrides
from tests.fakes import record_of, tiny_model, tiny_spec

BASE = 0.01  # the rule's learning rate


def run_at(
    multiple: float,
    best: float,
    *,
    seed: int = 0,
    batch: int = 32,
    width: int = 16,
    diverges_from: float = math.inf,
    axes: tuple[tuple[str, str], ...] = (),
    wobble: float = 0.0,
) -> Run:
    """A run at a multiple of the rule's rate, on a parabola about ``best`` of it."""
    values = (*axes, ("optim.batch_tokens", str(batch)), ("optim.lr_mult", f"{multiple:g}"))
    spec = dataclasses.replace(
        tiny_spec(),
        model=tiny_model(d_model=width, d_ff=2 * width),
        optim=OptimSpec(
            lr=multiple * BASE,
            rule="test",
            overrides=RuleOverrides(lr_mult=None if multiple == 1 else multiple),
        ),
        seed=seed,
        batch_tokens=batch,
        tags=(("size", f"w{width}"), *arm_tags(tuple(sorted(values)))),
    )
    loss = 4 * math.exp(0.05 * math.log(multiple / best) ** 2 + wobble)
    record = record_of(
        spec, status="diverged" if multiple >= diverges_from else "done", loss_nats=loss
    )
    return Run(record=record, curve=())


def stage(runs, number: int = 1, **settings):
    return next_stage(runs, Settings(**settings), number)


def multiples(changes) -> list[float]:
    (entry,) = changes["grid"]
    return entry["axes"]["optim.lr_mult"]


def test_bounded_cells_need_nothing():
    assert stage([run_at(m, 1.1) for m in (0.5, 1, 2)]) is None


@pytest.mark.parametrize(
    ("best", "number", "expected"),
    [(0.1, 1, [0.25]), (9, 1, [4]), (9, 3, [4, 8])],
)
def test_the_search_goes_on_beyond_an_edge_in_growing_steps(best, number, expected):
    changes = stage([run_at(m, best) for m in (0.5, 1, 2)], number)
    (entry,) = changes["grid"]
    assert entry["axes"] == {"optim.lr_mult": expected, "optim.batch_tokens": [32]}
    assert entry["seeds"] == [0] and entry["tokens"] == [1280]
    assert entry["sizes"] == [
        {"n_layer": 1, "d_model": 16, "n_head": 2, "n_kv_head": 2, "d_ff": 32}
    ]
    assert changes["axes"] == {}


def test_rates_that_diverge_bound_the_search():
    changes = stage([run_at(m, 9, diverges_from=4) for m in (0.5, 1, 2, 4)])
    assert multiples(changes) == [pytest.approx(2 * math.sqrt(2), rel=1e-3)]
    # nothing but divergence: lower rates
    assert multiples(stage([run_at(m, 1, diverges_from=0) for m in (0.5, 1)])) == [0.25]
    # no room between the two is left
    close = [run_at(m, 9, diverges_from=2.2) for m in (0.5, 1, 2, 2.2)]
    assert stage(close) is None


def test_a_trunk_that_diverges_has_no_branches_and_counts_for_every_horizon():
    runs = [run_at(m, 9) for m in (0.5, 1, 2)]
    trunk = run_at(4, 9, diverges_from=4)
    spec = dataclasses.replace(
        trunk.spec, schedule=dataclasses.replace(trunk.spec.schedule, decay_steps=None)
    )
    lost = dataclasses.replace(trunk.record, spec=spec, kind="trunk")
    runs.append(dataclasses.replace(trunk, record=lost))
    (best,) = tuned(trials_of(runs)).optima
    assert best.diverged == (0.04,) and best.lowest == 0.02
    assert multiples(stage(runs)) == [pytest.approx(2 * math.sqrt(2), rel=1e-3)]
    # the only run there is
    (alone,) = tuned(trials_of(runs[-1:])).optima
    assert "its only run diverged" in alone.why


def test_noise_asks_for_a_further_seed_near_the_minimum():
    wobble = {0.25: 0.02, 0.5: -0.02, 1: 0.0, 2: -0.02, 4: 0.02}
    noisy = [run_at(m, 1.0, wobble=w, width=n) for m, w in wobble.items() for n in (16, 32)]
    (entry,) = stage(noisy, within=1.1)["grid"]
    assert entry["seeds"] == [1] and len(entry["axes"]["optim.lr_mult"]) == 3
    assert len(entry["sizes"]) == 2
    assert stage(noisy, within=1.1, seeds=1) is None


def test_the_last_stage_proposes_nothing():
    assert stage([run_at(m, 9) for m in (0.5, 1, 2)], 5) is None


def test_sizes_with_the_same_needs_share_an_entry_and_axes_stay():
    runs = [
        run_at(m, 9, width=width, batch=batch, axes=(("optim.name", "lion"),))
        for m in (0.5, 1, 2)
        for width in (16, 32)
        for batch in (32, 64)
    ]
    entries = stage(runs)["grid"]
    assert [len(entry["sizes"]) for entry in entries] == [2, 2]
    assert {entry["axes"]["optim.batch_tokens"][0] for entry in entries} == {32, 64}
    assert all(entry["axes"]["optim.name"] == ["lion"] for entry in entries)
    assert other_axes(runs[0]) == "name=lion"


def test_a_setting_that_an_arm_does_not_have_is_no_axis_of_its_next_stage():
    axes = (("schedule.fall", "null"), ("schedule.shape", "wsd"))
    changes = stage([run_at(multiple, best=4, axes=axes) for multiple in (0.5, 1, 2)])
    assert changes is not None
    (entry,) = changes["grid"]
    assert set(entry["axes"]) == {"optim.batch_tokens", "optim.lr_mult", "schedule.shape"}


def test_rates_that_another_horizon_has_are_not_asked_for_again():
    """A cell whose further rates ended without a loss: no axis may be empty."""
    runs = [run_at(m, 9) for m in (0.5, 1, 2)]
    (stopped,) = (run_at(m, 9) for m in (4,))
    record = dataclasses.replace(stopped.record, status="stopped_early")
    assert stage([*runs, dataclasses.replace(stopped, record=record)]) is None
    lost = [run_at(m, 1, diverges_from=0) for m in (0.5, 1)]
    (lower,) = (run_at(m, 1) for m in (0.25,))
    record = dataclasses.replace(lower.record, status="stopped_early")
    assert stage([*lost, dataclasses.replace(lower, record=record)]) is None
