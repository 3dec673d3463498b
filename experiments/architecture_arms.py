"""Arms of a Transformer: the compute that activations, shared keys, a tied head and experts save.

    slaw run architecture_arms
    slaw report results/architecture_arms    # a table and a figure of compute multipliers

All arms have one shape and one data, and each its own best learning rate; ``experiment.multiplier``
says what a compute multiplier is. The parameters of a mixture of experts are the active ones where
it is compared: it has more in memory.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from statistics import fmean

from scaling_law.experiment import Experiment, Outcome, Planted
from scaling_law.experiment.answer import Decision, answer, beside, claim, nats, need
from scaling_law.experiment.evidence import Evidence
from scaling_law.experiment.figures import figure
from scaling_law.experiment.findings import (
    AGAIN,
    Axis,
    Claim,
    Figure,
    Findings,
    Panel,
    Series,
    Table,
)
from scaling_law.experiment.groups import left_out
from scaling_law.experiment.multiplier import (
    Arm,
    Versus,
    arms_of,
    compare,
    extrapolated_note,
    need_fair,
    rates_note,
    uncompared_note,
)
from scaling_law.experiment.seeds import by_chance
from scaling_law.experiment.standard_error import mean_at_best
from scaling_law.spec.architectures.gpt import gpt_of
from scaling_law.spec.architectures.moe import Settings as Mixture
from scaling_law.spec.counts import count_params, flops_per_token
from scaling_law.spec.data import DataSpec
from scaling_law.spec.model import Model, ModelSpec, OtherModel
from scaling_law.spec.run import RunSpec
from scaling_law.units import count_of, format_count

BASE = "Transformer"
PLANTED_RATE = 0.03
ACTIVATIONS = {"gelu": "GELU", "swiglu": "SwiGLU"}


def kind_of(model: Model) -> str:
    """``MoE top-1 of 4``, or what makes a GPT differ from the base, which has ReLU^2."""
    if isinstance(model, OtherModel):
        if model.architecture.name != "moe":
            return model.architecture.name
        settings = model.values_as(Mixture)
        return f"MoE top-{settings.n_active} of {settings.n_expert}"
    changes = [ACTIVATIONS[model.activation]] if model.activation in ACTIVATIONS else []
    changes += ["tied head"] if model.tied else []
    changes += ["GQA"] if model.n_kv_head < model.n_head else []
    return ", ".join(changes) or BASE


def is_mixture(model: Model) -> bool:
    """Whether a model is a mixture of experts."""
    return model.architecture.name == "moe"


def longest(arms: Sequence[Arm]) -> list[Versus]:
    """Every arm against the Transformer of its shape, at the longest horizon."""
    compared = []
    for base in arms:
        if base.kind == BASE:
            of_shape = [arm for arm in arms if arm.kind != BASE and same_shape(arm, base)]
            compared += [horizons[-1] for horizons in compare(of_shape, base)]
    return compared


def same_shape(first: Arm, second: Arm) -> bool:
    """Whether two arms have as many layers and heads, of one width."""
    return all(
        first.model.dimensions[key] == second.model.dimensions.get(key)
        for key in ("n_layer", "d_model", "n_head")
    )


def analyse(evidence: Evidence) -> Findings:
    """Return the compute that each arm saves."""
    every = arms_of(evidence, kind_of)
    arms = longest(every)
    claims = (_mixtures(arms), _second_expert(arms))
    read = sum(isinstance(run.spec.data, DataSpec) for run in evidence.ended)
    notes = left_out(evidence, read, "on a task") + extrapolated_note(arms)
    notes += rates_note(evidence, every)
    notes += [f"not tuned: {arm.untuned}" for arm in every if arm.untuned]
    notes += uncompared_note(every, arms)
    return answer(
        claims,
        lambda: _words(arms),
        measures=_measures(arms),
        tables=(_arm_table(arms),),
        figures=(_figure(arms),),
        literature=(
            beside(
                "compute multiplier of a mixture of experts over a dense model",
                theirs="above 7: 0.85B active parameters match a dense model of 6.1B",
                ours="; ".join(
                    f"{one.arm.kind} {one.multiplier.text}"
                    for one in arms
                    if is_mixture(one.arm.model)
                )
                or None,
                source="Tian 2025, arXiv 2507.17702",
            ),
        ),
        notes=notes,
        units={"multiplier": "times the compute", "difference": "nats per token"},
        multipliers=[one.multiplier for one in arms],
    )


def _mixtures(arms: Sequence[Versus]) -> Claim:
    def decide() -> Decision:
        each = [one for one in arms if is_mixture(one.arm.model)]
        need(bool(each), "no mixture of experts has finished beside the dense model", AGAIN)
        need(all(one.freedom for one in each), "one seed has finished of a mixture", AGAIN)
        need_fair((one.arm, one.base) for one in each)
        words = "; ".join(f"{one.arm.kind} {one.multiplier.text}" for one in each)
        saves = any(one.side(of=len(each)) > 0 for one in each)
        costs = all(one.side() < 0 for one in each)
        open_ = f"an interval holds 1, or one of {len(each)} may lie above it by chance: {words}"
        need(saves or costs, open_, "it needs more seeds")
        return saves, words

    return claim(
        "a_mixture_saves_compute",
        "a mixture of experts needs less compute than the dense Transformer for its loss",
        decide,
    )


def _second_expert(arms: Sequence[Versus]) -> Claim:
    def decide() -> Decision:
        by_active = {
            one.arm.model.values_as(Mixture).n_active: one
            for one in arms
            if is_mixture(one.arm.model)
        }
        need({1, 2} <= set(by_active), "top-1 and top-2 have not both finished", AGAIN)
        one, two = (by_active[count].differences for count in (1, 2))
        seeds = sorted(one.keys() & two.keys())
        need(len(seeds) > 1, "top-1 and top-2 have no two seeds in common", AGAIN)
        need_fair([(by_active[1].arm, by_active[2].arm)])
        fits = [own.arm.horizons[own.tokens].fit_nats for own in (by_active[1], by_active[2])]
        mean = mean_at_best([one[seed] - two[seed] for seed in seeds], fits)
        assert mean is not None and mean.interval is not None, "there are two seeds"
        low, high = mean.interval
        words = f"top-1's loss is above top-2's by {nats(mean)}"
        need(low > 0 or high < 0, f"{words}: the interval includes no difference", "more seeds")
        return low > 0, words

    return claim(
        "second_expert_lowers_loss",
        "two active experts, which cost more a token, reach a lower loss than one at equal tokens",
        decide,
    )


def _words(arms: Sequence[Versus]) -> str:
    sides = {
        side: [
            f"{one.arm.kind}: {one.multiplier.text}"
            for one in arms
            if one.multiplier.side == side and not one.unfair
        ]
        for side in (-1, 0, 1)
    }
    said = (
        ("less compute with", sides[1]),
        ("more with", sides[-1]),
        ("as much, within the noise of seeds, with", sides[0]),
    )
    parts = [f"{what} {', '.join(names)}" for what, names in said if names]
    return (
        f"A Transformer needs for the same loss {'; '.join(parts)} (compute multipliers: the plain"
        f" one's compute over the arm's, with intervals at 90%; {_where(arms)};"
        f" {by_chance(len(arms))})."
    )


def _where(arms: Sequence[Versus]) -> str:
    """``20K parameters in matrices, 154K tokens, 3 seeds``: where multipliers are measured."""
    base = format_count(arms[0].base.params)
    tokens = format_count(arms[0].tokens)
    fewest, most = (pick(len(one.logs) for one in arms) for pick in (min, max))
    seeds = count_of(most, "seed") if fewest == most else f"{fewest} to {most} seeds"
    return f"{base} parameters in matrices, {tokens} tokens, {seeds}"


def _slug(kind: str) -> str:
    return kind.lower().replace(" ", "_").replace(",", "")


def _measures(arms: Sequence[Versus]) -> dict[str, float | None]:
    measures: dict[str, float | None] = {}
    for one in arms:
        name = _slug(one.arm.kind)
        measures[f"multiplier.{name}"] = one.multiplier.value
        low, high = one.multiplier.interval or (None, None)
        measures[f"multiplier.{name}.low"], measures[f"multiplier.{name}.high"] = low, high
        measures[f"difference.{name}"] = fmean(one.differences.values())
    return measures


def _arm_table(arms: Sequence[Versus]) -> Table | None:
    if not arms:
        return None
    rows = []
    for one in arms:
        counts = count_params(one.arm.model)
        cost = flops_per_token(one.arm.model) / flops_per_token(one.base.model)
        mean = one.difference
        rows.append(
            (
                one.arm.kind,
                format_count(counts.matmul),
                format_count(counts.total),
                f"{cost:.2f}",
                one.arm.rate_text(one.tokens),
                mean.text if mean else "–",
                one.multiplier.text,
            )
        )
    base, tokens = arms[0].base, arms[0].tokens
    return Table(
        caption=f"Arms against the Transformer ({format_count(base.params)} parameters in matrices,"
        f" loss {base.loss_text(tokens)}) at {format_count(tokens)} tokens: active parameters (in"
        " matrices), all parameters, FLOPs of a token over the Transformer's, best learning rate"
        f" (90% interval; the Transformer's is {base.rate_text(tokens)}), loss there minus the"
        " Transformer's in nats per token (same seeds; intervals count the fits of both rates),"
        " compute multiplier",
        head=("arm", "active", "total", "FLOPs", "best rate", "loss difference", "multiplier"),
        rows=tuple(rows),
        text_columns=3,
    )


def _figure(arms: Sequence[Versus]) -> Figure | None:
    """The multipliers of the arms, one beside the other."""
    if not arms:
        return None
    places = {one.arm.kind: float(at) for at, one in enumerate(arms)}
    means = [(places[one.arm.kind], one.multiplier) for one in arms]
    series = Series(
        label="arm",
        points=tuple((at, one.value) for at, one in means),
        intervals=tuple(one.interval or (one.value, one.value) for _, one in means),
        line=False,
    )
    ends = (-0.5, len(arms) - 0.5)
    even = Series(label=BASE, points=tuple((at, 1.0) for at in ends), marks=False, dashed=True)
    return figure(
        "architecture_arms",
        f"Compute multipliers over the Transformer, {_where(arms)}",
        "The Transformer's compute over the arm's at equal loss: geometric means over seeds with"
        " their intervals at 90%; above 1 an arm saves compute.",
        [
            Panel(
                x=Axis(label="arm", values=places, low=ends[0], high=ends[1]),
                y=Axis(label="compute multiplier", scale="log"),
                series=(series, even),
            )
        ],
    )


def _dense(model: Model) -> Model:
    """The Transformer that an arm is compared with."""
    if not isinstance(model, ModelSpec):
        return gpt_of(model)
    return dataclasses.replace(
        model, activation="relu2", tied=False, n_kv_head=model.n_head, d_ff=4 * model.d_model
    )


def _planted(spec: RunSpec) -> Outcome:
    """Loss 8 N^-0.1 D^-0.05; mixtures save compute 2 and 2.5 times, other arms cost 1.2 times."""
    model, dense, multiplier = spec.model, _dense(spec.model), 1.0
    if isinstance(model, OtherModel):
        multiplier = 2.0 if model.values_as(Mixture).n_active == 1 else 2.5
    elif kind_of(model) != BASE:
        multiplier = 1 / 1.2
    share = flops_per_token(dense) / flops_per_token(model) / multiplier
    loss = 8 * count_params(dense).matmul ** -0.1 * (spec.tokens / share) ** -0.05
    away = math.log(spec.optim.lr / PLANTED_RATE)
    noise = 1e-4 * math.sin(1e3 * spec.optim.lr + 7 * spec.seed + count_params(model).total)
    return Outcome(val_loss_nats=loss * math.exp(0.01 * away**2 + 0.001 * spec.seed + noise))


EXPERIMENT = Experiment(
    question="What compute do an activation, shared keys, a tied head or experts save against a"
    " plain Transformer?",
    reproduces="Tian 2025 (efficiency of mixtures of experts)",
    parts={"architecture": ("moe",)},
    analyse=analyse,
    planted=Planted(
        outcome=_planted,
        measures={
            "multiplier.moe_top-1_of_4": (1.95, 2.05),
            "multiplier.moe_top-2_of_4": (2.45, 2.55),
            "multiplier.swiglu": (0.82, 0.845),
        },
        claims={"a_mixture_saves_compute": True},
    ),
)
