"""The predictor on planted curves: recovery, coverage, refusals."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest

from scaling_law.files.record import CurvePoint
from scaling_law.spec.run import RunSpec
from scaling_law.spec.schedule import ScheduleSpec, lr_factor
from scaling_law.spec.start import Branch
from scaling_law.train.learning_curve import Finished, predict_final
from tests.fakes import tiny_spec

HORIZONS = (1000, 2000, 4000, 8000)
PARTS = 5


def branch_spec(steps: int) -> RunSpec:
    decay = steps // 5
    return tiny_spec(
        label=f"h{steps}",
        total_steps=steps,
        schedule=ScheduleSpec(warmup_steps=4, decay_steps=decay),
        branch=Branch(trunk_id="trunk", at_step=steps - decay),
    )


class World:
    """A planted trunk and its cooldowns; ``growth`` is how gains change with the horizon."""

    def __init__(self, noise: float, growth: float = 0.0, off: float = 0.0, seed: int = 0) -> None:
        self.noise, self.growth, self.off = noise, growth, off
        self.random = np.random.default_rng(seed)
        last = HORIZONS[-1] * 4 // 5
        steps = [round(last * (i / 20) ** 2) for i in range(1, 21)]
        self.trunk = [self.point(s, self.stable(s), 1.0) for s in steps]
        self.branches = [self.branch(h) for h in HORIZONS]

    def stable(self, step: float) -> float:
        return 2.0 + 8.0 * step**-0.3

    def point(self, step: int, loss: float, factor: float) -> CurvePoint:
        # evaluations on the way are ``off`` from the final one: other tokens
        loss *= math.exp(self.off + self.noise * math.sqrt(factor) * self.random.normal())
        return CurvePoint(
            step=step, tokens=step, train_loss_nats=loss, val_loss_nats=loss, lr=factor,
            grad_norm=1.0, seconds=0.0,
        )  # fmt: skip

    def gain(self, factor: float, steps: int) -> float:
        return 0.06 * (1 - factor) * (steps / HORIZONS[-1]) ** self.growth

    def branch(self, steps: int) -> Finished:
        spec = branch_spec(steps)
        curve = []
        for part in range(1, PARTS + 1):
            step = spec.start_step + round((steps - spec.start_step) * part / PARTS)
            factor = lr_factor(spec.schedule, step - 1, steps)
            loss = self.stable(step) * math.exp(-self.gain(factor, steps))
            curve.append(self.point(step, loss, factor))
        truth = self.stable(steps) * math.exp(-self.gain(0.0, steps))
        return Finished(spec=spec, curve=curve, loss_nats=truth)

    def forecast(self, target: int, seen: int):
        branch = self.branches[target]
        return predict_final(branch.spec, branch.curve[:seen], self.trunk, self.branches[:target])


@pytest.mark.parametrize("target", [2, 3])
@pytest.mark.parametrize("off", [0.0, 0.01])
def test_a_planted_loss_is_recovered_despite_an_offset_of_the_curves(target, off):
    world = World(noise=0.0, off=off)
    for seen in (1, 2, 3, 4):
        forecast = world.forecast(target, seen)
        assert forecast.loss_nats == pytest.approx(world.branches[target].loss_nats, rel=2e-3)
        assert forecast.low_nats < forecast.loss_nats < forecast.high_nats


@pytest.mark.parametrize("growth", [0.0, 0.15])
def test_intervals_cover_the_truth_at_their_level(growth):
    held = []
    for seed in range(100):
        world = World(noise=0.003, growth=growth, off=0.005, seed=seed)
        for seen in (2, 4):
            forecast = world.forecast(3, seen)
            held.append(forecast.low_nats <= world.branches[3].loss_nats <= forecast.high_nats)
    assert 0.85 <= np.mean(held) <= 1.0


def test_more_of_the_cooldown_and_less_noise_narrow_the_interval():
    quiet, loud = World(noise=0.001), World(noise=0.01)
    widths = [quiet.forecast(3, seen).half_width_frac for seen in (1, 2, 3, 4)]
    assert widths == sorted(widths, reverse=True)
    assert widths[-1] < loud.forecast(3, 4).half_width_frac


def test_the_same_curves_give_the_same_bits_and_later_curves_are_ignored():
    world = World(noise=0.003)
    target = world.branches[2]
    whole = predict_final(target.spec, target.curve[:3], world.trunk, world.branches)
    start = target.spec.start_step
    before = [p for p in world.trunk if p.step <= start]
    alone = predict_final(target.spec, target.curve[:3], before, world.branches[:2])
    assert whole == alone


def test_too_few_curves_are_refused():
    world = World(noise=0.003)
    target = world.branches[3]
    own = target.curve[:4]
    assert predict_final(target.spec, own, world.trunk, world.branches[:1]) is None
    assert predict_final(target.spec, own, world.trunk[:3], world.branches[:3]) is None
    assert predict_final(target.spec, own, [], world.branches[:3]) is None
    assert predict_final(target.spec, [], world.trunk, world.branches[:3]) is None
    assert world.forecast(0, 4) is None
    single = dataclasses.replace(target.spec, branch=None)
    assert predict_final(single, own, world.trunk, world.branches[:3]) is None
    bare = [dataclasses.replace(b, curve=()) for b in world.branches[:3]]
    assert predict_final(target.spec, own, world.trunk, bare) is None
