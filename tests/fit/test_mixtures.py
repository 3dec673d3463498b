"""Mixing laws: planted ones are found again, and their best mixture keeps to its limits."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest

from scaling_law.errors import ConfigError, FitError, PlanError
from scaling_law.fit.mixtures.joint import JointLaw, fit_joint
from scaling_law.fit.mixtures.law import MixingExponential, fit_laws
from scaling_law.fit.mixtures.points import MixCell, Mixture, mix_cells
from scaling_law.fit.mixtures.propose import best_mixture, expected, limits_of
from scaling_law.fit.mixtures.target import parse_target
from scaling_law.spec.mix import Mix, Phase
from tests.fakes import record_of, tiny_spec

NAMES = ("a", "b", "c")
TOKENS = {"a": 1e6, "b": 3e6, "c": 6e6}
DESIGN = [
    (0.8, 0.1, 0.1), (0.1, 0.8, 0.1), (0.1, 0.1, 0.8), (0.45, 0.45, 0.1), (0.45, 0.1, 0.45),
    (0.1, 0.45, 0.45), (0.6, 0.2, 0.2), (0.2, 0.6, 0.2), (0.2, 0.2, 0.6), (0.34, 0.33, 0.33),
]  # fmt: skip
SLOPES = np.array([[-2.0, 0.3, 0.1], [0.2, -1.5, 0.4], [0.0, -0.3, -2.5]])
OFFSETS = np.array([2.6, 2.2, 2.4])


def exponential(shares, scale=1.0):
    return OFFSETS + 0.5 * scale * np.exp(np.array(shares) @ SLOPES.T)


def cell_of(losses=exponential, design=DESIGN, params=10_000, tokens=100_000, noise=0.0):
    draw = np.random.default_rng(0)
    mixtures = [
        Mixture(
            name=str(number),
            shares=shares,
            losses={
                seed: tuple((losses(shares) + noise * draw.normal(size=3)).tolist())
                for seed in (0, 1)
            },
        )
        for number, shares in enumerate(design)
    ]
    return MixCell(
        recipe=(),
        params=params,
        tokens=tokens,
        components=NAMES,
        component_tokens=TOKENS,
        mixtures=tuple(mixtures),
    )


def test_a_planted_exponential_law_is_found_and_chosen():
    best = fit_laws(cell_of(noise=0.001))[0]
    assert best.form.name == "exponential"
    assert best.held_out_error < 0.002 and best.explained > 0.98
    shares = np.array([0.3, 0.5, 0.2])
    assert best.at(shares) == pytest.approx(exponential(shares), abs=0.004)


def test_its_terms_are_those_of_the_formula():
    surface = fit_laws(cell_of())[0].surfaces[0]
    assert isinstance(surface, MixingExponential)
    terms = surface.terms
    assert terms["c"] == pytest.approx(2.6, abs=1e-4)
    # shares sum to 1: a shift of all slopes is a factor
    shift = np.mean(SLOPES[0])
    assert terms["t"] == pytest.approx(SLOPES[0] - shift, abs=1e-3)
    assert terms["k"] == pytest.approx(0.5 * math.exp(shift), rel=1e-3)


def test_a_planted_quadratic_is_chosen_over_the_exponential():
    def bent(shares):
        a, b, c = shares
        return np.array([3 - a + 0.8 * a * b - 1.2 * b * c, 3 - b + a * c, 3 - c - a * b])

    laws = fit_laws(cell_of(bent))
    assert laws[0].form.name == "quadratic" and laws[0].held_out_error < 1e-6
    assert laws[1].held_out_error > 0.003


def test_a_law_needs_a_mixture_more_than_parameters():
    assert [law.form.name for law in fit_laws(cell_of(design=DESIGN[:6]))] == ["exponential"]
    with pytest.raises(
        FitError, match=r"4 mixtures of 3 .* has 4 parameters a loss and needs 5; add"
    ):
        fit_laws(cell_of(design=DESIGN[:4]))
    with pytest.raises(FitError, match="all mixtures read one component, a"):
        fit_laws(cell_of(design=[(1.0, 0.0, 0.0)]))


def test_few_mixtures_give_a_wide_interval_that_holds_the_truth():
    wanted, shares = parse_target("mean", NAMES), np.array([0.3, 0.4, 0.3])
    truth, reach = wanted.of(exponential(shares)), {}
    for count in (5, 10):  # of 4 parameters
        cell = cell_of(design=[*DESIGN[:3], *DESIGN[-count + 3 :]], noise=0.003)
        laws = [law for law in fit_laws(cell) if law.form.name == "exponential"]
        answer = expected(laws[0], wanted, shares)
        low, high = answer.interval
        assert laws[0].n_params == 4 and low < truth < high
        reach[count] = answer.reach
    assert reach[5] > 2 * reach[10]


@pytest.mark.parametrize("target", ["worst", "mean", "a=.7,c=.3"])
def test_the_proposed_mixture_is_the_best_of_a_fine_grid(target):
    cell = cell_of()
    law, wanted = fit_laws(cell)[0], parse_target(target, NAMES)
    ours = best_mixture(law, wanted, limits_of(cell, 1e5, None))
    grid = [(a, b, 100 - a - b) for a in range(10, 81, 2) for b in range(10, 91 - a, 2)]
    losses = wanted.of(exponential(np.array(grid) / 100))
    assert wanted.of(exponential(ours)) <= losses.min() + 2e-4
    assert ours.sum() == pytest.approx(1) and ours == pytest.approx(np.round(ours, 3))
    low, high = expected(law, wanted, ours).interval
    assert low - 1e-3 <= wanted.of(exponential(ours)) <= high + 1e-3


def test_passes_over_a_component_limit_its_share():
    cell = cell_of()
    limits = limits_of(cell, 8e6, 2.0)
    assert limits.repeated == (0, 1)
    assert limits.high == pytest.approx((0.25, 0.75, 1.0))
    law = fit_laws(cell)[0]
    assert best_mixture(law, parse_target("a=1", NAMES), limits)[0] == pytest.approx(0.25)
    with pytest.raises(PlanError, match=r"passes at the largest measured share: a 24, b 8, c 4;"):
        limits_of(cell, 3e7, 2.0)


def test_a_proposal_lies_between_measured_mixtures():
    line = [(a, (1 - a) / 3, 2 * (1 - a) / 3) for a in (0.1, 0.2, 0.3, 0.45, 0.6, 0.8)]
    cell = cell_of(design=line)
    law = fit_laws(cell)[0]
    for target in ("worst", "mean", "b=1"):
        a, b, c = best_mixture(law, parse_target(target, NAMES), limits_of(cell, 1e5, None))
        assert 0.1 - 1e-9 <= a <= 0.8 + 1e-9 and c == pytest.approx(2 * b, abs=0.002)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("best", "expected worst, mean, or weights of components such as"),
        ("a=.7,b=x", "expected worst, mean, or weights of components such as"),
        ("a=.7,d=.3", "no component is called 'd'; there are a, b, c"),
        ("a=.7,b=.2", "the weights sum to 0.9, expected 1"),
        ("a=1.5,b=-.5", "'b' has the weight -0.5, expected at least 0"),
    ],
)
def test_a_target_that_is_none_is_refused(text, why):
    with pytest.raises(ConfigError, match=why):
        parse_target(text, NAMES)


@pytest.mark.parametrize("power", [0.0, -0.3])
def test_a_joint_law_tells_an_offset_from_a_slope(power):
    def losses(params, tokens):
        shift = -0.1 * math.log(params / 1e4) - 0.2 * math.log(tokens / 1e5)
        return lambda shares: exponential(shares, (params / 1e4) ** power) + shift

    cells = [
        cell_of(losses(params, tokens), params=params, tokens=tokens)
        for params in (10_000, 40_000)
        for tokens in (100_000, 200_000)
    ]
    law = fit_joint(cells)
    assert isinstance(law, JointLaw)
    assert law.power("params") == pytest.approx([power] * 3, abs=0.01)
    assert law.power("tokens") == pytest.approx([0.0] * 3, abs=0.01)
    assert law.at(cells[3]) == pytest.approx(cells[3].losses, abs=1e-3)
    assert fit_joint(cells[:1]) == "one size and one length have runs"


def run(shares, seed=0, tokens=None, **changes):
    """A run of a mixture, None for natural shares of ``TOKENS``."""
    phase = Phase(shares=None if shares is None else tuple(zip("abc", shares, strict=True)))
    record = record_of(tiny_spec(mix=Mix(phases=(phase,)), seed=seed))
    own = shares or [n / 1e7 for n in TOKENS.values()]
    epochs = {f"epochs.{n}": s * record.tokens / TOKENS[n] for n, s in zip(NAMES, own, strict=True)}
    losses = {f"loss.val:{n}": float(x) for n, x in zip(NAMES, exponential(own), strict=True)}
    return dataclasses.replace(record, metrics={**epochs, **losses}, **changes)


def test_records_become_cells_and_what_does_not_is_counted():
    mixed = [run(shares, seed) for shares in DESIGN for seed in (0, 1)]
    plain = record_of(tiny_spec(seed=5))
    lost = run(DESIGN[0], 7, val_loss_nats=None, status="diverged")
    cells = mix_cells([*mixed, run(None), plain, lost])
    (cell,) = cells.cells
    assert len(cell.mixtures) == len(DESIGN) + 1 and cell.runs == 21
    assert cell.component_tokens == pytest.approx(TOKENS)
    natural = cell.mixture("natural")
    assert natural is not None and natural.shares == pytest.approx((0.1, 0.3, 0.6), abs=1e-4)
    assert dict(cells.left_out) == {"without a mixture": 1, "without a loss (diverged)": 1}
    assert fit_laws(cell)[0].held_out_error < 1e-3


def test_what_a_seed_adds_to_all_mixtures_is_taken_off():
    added = {0: 0.0, 1: 0.1, 2: -0.3}
    seeds = [(0, 1), (0, 1, 2), (1, 2), (0,), (2,), (0, 2), (1,), (0, 1), (0, 1, 2), (2,)]
    mixtures = [
        dataclasses.replace(
            mixture,
            losses={seed: tuple(x + added[seed] for x in mixture.losses[0]) for seed in own},
        )
        for mixture, own in zip(cell_of().mixtures, seeds, strict=True)
    ]
    losses = cell_of().with_mixtures(mixtures).losses
    expected = exponential(DESIGN)
    assert losses - losses.mean() == pytest.approx(expected - expected.mean(), abs=1e-6)


def test_natural_shares_that_no_run_tells_are_counted():
    cells = mix_cells([run(None)])
    assert dict(cells.left_out) == {"whose natural shares are not recorded": 1}
    with pytest.raises(FitError, match="no finished run reads its text in a mixture"):
        cells.widest()
