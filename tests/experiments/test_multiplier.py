"""Compute multipliers of arms at one size, each at its best learning rate."""

from __future__ import annotations

import dataclasses
import math

import pytest

from scaling_law.experiment.answer import PreconditionError
from scaling_law.experiment.evidence import Evidence, Run
from scaling_law.experiment.multiplier import (
    arms_of,
    compare,
    extrapolated_note,
    need_fair,
    rates_note,
    uncompared_note,
)
from scaling_law.spec.counts import flops_per_token
from scaling_law.spec.model import Model, ModelSpec
from tests.fakes import record_of, tiny_spec

FALL = 0.1  # power of the tokens by which losses fall
RATES = (0.005, 0.01, 0.02)
HORIZONS = (50, 200)


def run(
    lr: float,
    steps: int,
    seed: int,
    factor: float = 1.0,
    best: float = 0.01,
    warmup_steps: int = 5,
    **changes,
) -> Run:
    """A run whose lowest loss is ``factor`` times tokens^-FALL; seeds change all arms alike."""
    spec = tiny_spec(total_steps=steps, seed=seed)
    spec = dataclasses.replace(
        spec,
        optim=dataclasses.replace(spec.optim, lr=lr),
        schedule=dataclasses.replace(spec.schedule, warmup_steps=warmup_steps),
        model=dataclasses.replace(spec.model, **changes),
    )
    loss = 8 * factor * spec.tokens**-FALL * (1 + 0.01 * seed)
    loss *= math.exp(0.02 * math.log(lr / best) ** 2)
    return Run(record=dataclasses.replace(record_of(spec), val_loss_nats=loss), curve=())


def kind_of(model: Model) -> str:
    assert isinstance(model, ModelSpec)
    return model.activation if model.d_ff == 32 else f"d_ff {model.d_ff}"


def both(factor=lambda seed: 1.0, seeds=(0, 1, 2), horizons=HORIZONS, fall=0.0, best=0.01, **arm):
    """The base, and an arm whose loss is ``factor(seed)`` times the base's, compared.

    The arm's loss falls by a further power ``fall`` of the tokens from the first horizon on.
    """
    arm = arm or {"activation": "gelu"}
    runs = [run(lr, steps, seed) for lr in RATES for steps in horizons for seed in seeds]
    runs += [
        run(lr, steps, seed, factor(seed) * (steps / horizons[0]) ** -fall, best, **arm)
        for lr in RATES
        for steps in horizons
        for seed in seeds
    ]
    evidence = Evidence(runs=tuple(runs))
    base, other = arms_of(evidence, kind_of)
    if other.kind == "relu2":
        base, other = other, base
    return compare([other], base)


@pytest.mark.parametrize("times", [0.25, 1.0, 3.0])
def test_an_arm_whose_tokens_are_worth_several_has_that_multiplier(times):
    (horizons,) = both(lambda seed: times**-FALL)
    assert len(horizons) == 2
    for one in horizons:
        assert one.multiplier.value == pytest.approx(times)
        assert list(one.differences) == [0, 1, 2]


def test_each_arm_is_read_at_its_own_best_rate():
    (horizons,) = both(lambda seed: 0.9, best=0.013)
    arm = horizons[-1].arm.horizons[horizons[-1].tokens]
    assert arm.best.lr == pytest.approx(0.013)
    # at 0.01, the best of the rates that were tried, its loss is higher
    assert horizons[-1].multiplier.value == pytest.approx(0.9 ** (-1 / FALL))


def test_the_curve_that_passes_both_losses_gives_the_multiplier():
    # the arm begins equal and falls by the power 0.15 to the base's 0.1
    (first, last) = both(fall=0.05)[0]
    assert first.multiplier.value == pytest.approx(1)
    # the arm passes the base's last loss where tokens^0.15 is 4^0.1
    assert last.multiplier.value == pytest.approx(4 / 4 ** (0.1 / 0.15))
    assert not last.extrapolated and not extrapolated_note([last])
    far = both(lambda seed: 0.5)[0][-1]
    assert far.extrapolated and "gelu at" in extrapolated_note([far])[0]


def test_an_arm_of_more_flops_costs_as_much_more_at_equal_loss():
    last = both(d_ff=64)[0][-1]
    cost = flops_per_token(last.arm.model) / flops_per_token(last.base.model)
    assert cost > 1 and last.multiplier.value == pytest.approx(1 / cost)


def test_the_interval_says_on_which_side_of_1_an_arm_lies():
    assert both(lambda seed: 0.9 * (1 + 0.001 * seed))[0][-1].multiplier.side == 1
    assert both(lambda seed: 0.9 * (1 + 0.3 * seed))[0][-1].multiplier.side == 0


@pytest.mark.parametrize(
    ("seeds", "horizons"), [((0,), HORIZONS), ((0, 1), (50,))], ids=["one seed", "one horizon"]
)
def test_too_few_runs_decide_nothing(seeds, horizons):
    compared = both(seeds=seeds, horizons=horizons)
    assert len(compared) == (0 if len(horizons) == 1 else 1)
    for one in (one for several in compared for one in several):
        assert one.multiplier.side == 0 and one.multiplier.interval is None


def test_losses_that_do_not_fall_have_no_multiplier():
    assert both(lambda seed: 0.5, fall=-0.2) == []


@pytest.mark.parametrize("factor", [0.8, 1.25])
def test_losses_that_hardly_fall_have_no_multiplier_instead_of_an_endless_one(factor, monkeypatch):
    monkeypatch.setattr(f"{__name__}.FALL", 1e-5)
    assert both(lambda seed: factor * (1 + 0.003 * math.sin(9 * seed))) == []


def test_arms_that_are_compared_with_no_base_are_named():
    (horizons,) = both()
    arms = [horizons[-1].arm, horizons[-1].base]
    assert uncompared_note(arms, horizons) == []
    alone = dataclasses.replace(arms[0], kind="lonely")
    (note,) = uncompared_note([*arms, alone], horizons)
    assert note.startswith("arms without a multiplier") and "lonely of" in note


def test_a_best_rate_at_an_edge_is_said_with_what_would_tune_it():
    last = both(best=0.2)[0][-1]
    assert "at the high edge, 0.02" in last.arm.untuned and not last.base.untuned
    assert last.arm.rate_text(last.tokens) == "0.02 (high edge)"
    with pytest.raises(PreconditionError, match=r"at the high edge, .* other rates"):
        need_fair([(last.arm, last.base)])
    config = {"name": "mine", "grid": [{"axes": {"optim.lr": list(RATES)}}]}
    (note,) = rates_note(Evidence(runs=(), config=config), [last.arm])
    assert "'grid.0.axes.optim.lr=[0.00125, 0.0025, 0.005, 0.01, 0.02, 0.04, 0.08]'" in note
    assert not rates_note(Evidence(runs=(), config=config), [last.base])


def test_a_longer_warm_up_is_said_and_a_claim_refuses_it():
    last = both(activation="gelu", warmup_steps=10)[0][-1]
    assert last.multiplier.recipe == "gelu, other warm-up"
    with pytest.raises(PreconditionError, match=r"has 10 of 50 steps, that of relu2 5 of 50 steps"):
        need_fair([(last.arm, last.base)])
    need_fair([(last.base, last.base)])


def test_an_arm_that_scatters_makes_no_other_uncertain():
    runs = [run(lr, steps, seed) for lr in RATES for steps in HORIZONS for seed in (0, 1, 2)]
    for activation, scatter in (("gelu", 0.0), ("swiglu", 0.05)):
        runs += [
            run(lr, steps, seed, 0.95 * (1 + scatter * (-1) ** seed), activation=activation)
            for lr in RATES
            for steps in HORIZONS
            for seed in (0, 1, 2)
        ]
    arms = {arm.kind: arm for arm in arms_of(Evidence(runs=tuple(runs)), kind_of)}
    calm, scattered = compare([arms["gelu"], arms["swiglu"]], arms["relu2"])
    assert calm[-1].side() == 1 and scattered[-1].side() == 0
