"""What a run's curve says of the moment at which it meets a loss: its steps and its noise scale."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest

from scaling_law.experiment import planted_point
from scaling_law.experiment.evidence import Run
from scaling_law.experiment.noise_scale import SQUARED, TRACE, noise_batch
from scaling_law.experiment.steps_to_loss import steps_to
from tests.experiments.test_contract import planted_evidence


@pytest.fixture(scope="module")
def run() -> Run:
    """A run of which the tests replace the curve."""
    return planted_evidence("critical_batch").runs[0]


def curve_of(run: Run, losses: dict[int, float]) -> Run:
    points = [
        dataclasses.replace(planted_point(run.spec, step, {}), val_loss_nats=loss)
        for step, loss in losses.items()
    ]
    return dataclasses.replace(run, curve=tuple(points))


def test_steps_to_a_loss_lie_between_points_of_a_noisy_curve(run):
    draws = np.random.default_rng(0)
    true = 4**5  # 5 steps^-.1 is 2.5 there
    read = []
    for _ in range(20):
        noisy = {s: 5 * s**-0.1 * math.exp(0.01 * draws.normal()) for s in range(20, 2500, 20)}
        steps = steps_to(curve_of(run, noisy), 2.5)
        assert steps is not None
        read.append(steps)
    assert np.mean(read) == pytest.approx(true, rel=0.05)
    assert steps_to(curve_of(run, noisy), 2.0) is None


def test_a_noise_scale_divides_means_and_needs_a_gradient(run):
    def at(*pairs: tuple[float, float]) -> float | None:
        points = [
            dataclasses.replace(
                planted_point(run.spec, step, {TRACE: trace, SQUARED: squared}),
                val_loss_nats=2.5,
            )
            for step, (trace, squared) in enumerate(pairs)
        ]
        noise: float | None = noise_batch([dataclasses.replace(run, curve=tuple(points))], 2.5)
        return noise

    n_ctx = run.spec.model.n_ctx
    assert at((8, 1), (8, 3)) == pytest.approx(4 * n_ctx)
    assert at((8, -1), (8, 0.5)) is None
    assert at() is None
