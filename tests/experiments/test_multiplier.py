"""Compute multipliers of arms at one size."""

from __future__ import annotations

import dataclasses

import pytest

from scaling_law.experiment.evidence import Evidence, Run
from scaling_law.experiment.multiplier import best_rates, better_rates, cells_of, versus
from scaling_law.spec.counts import flops_per_token
from tests.fakes import record_of, tiny_spec

FALL = 0.1  # power of the tokens by which losses fall


def run(lr: float, steps: int, seed: int, factor: float = 1.0, **changes) -> Run:
    """A run whose loss is ``factor`` times tokens^-FALL; seeds change all arms alike."""
    spec = tiny_spec(total_steps=steps, seed=seed)
    spec = dataclasses.replace(
        spec,
        optim=dataclasses.replace(spec.optim, lr=lr),
        model=dataclasses.replace(spec.model, **changes),
    )
    loss = 8 * factor * spec.tokens**-FALL * (1 + 0.01 * seed)
    return Run(record=dataclasses.replace(record_of(spec), val_loss_nats=loss), curve=())


def kind_of(model) -> str:
    return model.activation


def cells(*runs: Run):
    return cells_of(Evidence(runs=runs), kind_of)


def both(factor: float, seeds=(0, 1), horizons=(50, 200)):
    """The base, and an arm whose loss is ``factor`` times the base's."""
    runs = [run(0.01, steps, seed) for steps in horizons for seed in seeds]
    runs += [
        run(0.01, steps, seed, factor, activation="gelu") for steps in horizons for seed in seeds
    ]
    known = cells(*runs)
    return known, *([c for c in known if c.kind == kind] for kind in ("gelu", "relu2"))


@pytest.mark.parametrize("share", [0.25, 1.0, 3.0])
def test_an_arm_that_takes_a_share_of_the_tokens_has_that_multiplier(share):
    compared = versus(*both(share**FALL))
    assert len(compared) == 2  # both horizons
    for one in compared:
        assert one.multiplier.value == pytest.approx(share)
        assert list(one.differences) == [0, 1]


def test_an_arm_of_twice_the_flops_costs_twice_at_equal_loss():
    runs = [run(0.01, steps, seed) for steps in (50, 200) for seed in (0, 1)]
    runs += [run(0.01, steps, seed, d_ff=640) for steps in (50, 200) for seed in (0, 1)]
    known = cells(*runs)
    wide = [cell for cell in known if cell.model.d_ff == 640]
    plain = [cell for cell in known if cell.model.d_ff != 640]
    cost = flops_per_token(wide[0].model) / flops_per_token(plain[0].model)
    assert cost > 1
    assert versus(known, wide, plain)[-1].multiplier.value == pytest.approx(cost)


def test_the_interval_says_on_which_side_of_1_an_arm_lies():
    known, arms, bases = both(0.9)
    noisy = {
        cell: {s: dataclasses.replace(x, loss=x.loss * (1 + 0.001 * s)) for s, x in seeds.items()}
        if cell in arms
        else seeds
        for cell, seeds in known.items()
    }
    assert versus(noisy, arms, bases)[-1].side == -1
    wild = {
        cell: {s: dataclasses.replace(x, loss=x.loss * (1 + 0.3 * s)) for s, x in seeds.items()}
        if cell in arms
        else seeds
        for cell, seeds in known.items()
    }
    assert versus(wild, arms, bases)[-1].side == 0


@pytest.mark.parametrize(
    ("seeds", "horizons"), [((0,), (50, 200)), ((0, 1), (50,))], ids=["one seed", "one horizon"]
)
def test_too_few_runs_decide_nothing(seeds, horizons):
    compared = versus(*both(0.9, seeds, horizons))
    assert len(compared) == (0 if len(horizons) == 1 else 2)
    assert all(one.side == 0 and one.multiplier.interval is None for one in compared)


def test_losses_that_do_not_fall_have_no_multiplier():
    known, arms, bases = both(0.9)
    flat = {
        cell: {s: dataclasses.replace(x, loss=2.0) for s, x in seeds.items()}
        for cell, seeds in known.items()
    }
    assert versus(flat, arms, bases) == []


def test_the_rate_with_most_seeds_is_chosen_and_a_better_one_is_named():
    runs = [run(0.01, 50, seed) for seed in (0, 1)]
    runs += [run(0.03, 50, seed, 1.1) for seed in (0, 1)]
    known = cells(*runs, run(0.1, 50, 0, 0.9))
    (chosen,) = best_rates(known, "relu2").values()
    assert chosen.lr == 0.01 and known[chosen][0].loss == runs[0].record.val_loss_nats
    (better,) = better_rates(known, [chosen])
    assert "0.1 by" in better
