"""Arms of a Transformer: the compute that activations, shared keys, a tied head and experts save.

    slaw run architecture_arms
    slaw report results/architecture_arms    # a table and a figure of compute multipliers

All arms have one shape, learning rate and data; ``experiment.multiplier`` says what a compute
multiplier is. The parameters of a mixture of experts are the active ones where it is compared: it
has more in memory.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from statistics import fmean

from scaling_law.experiment import Experiment, Outcome, Planted
from scaling_law.experiment.answer import Decision, answer, beside, claim, need
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
from scaling_law.experiment.multiplier import Cells, Versus, cells_of, loss_text, sign_of, versus
from scaling_law.experiment.seeds import mean_over
from scaling_law.spec.architectures.moe import Settings as Mixture
from scaling_law.spec.architectures.moe import gpt_of
from scaling_law.spec.counts import count_params, flops_per_token
from scaling_law.spec.model import Model, ModelSpec, OtherModel
from scaling_law.spec.run import RunSpec
from scaling_law.units import format_count

BASE = "Transformer"
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


def arms_of(cells: Cells) -> list[Versus]:
    """Every arm against the Transformer of its shape and learning rate, at the longest horizon."""
    arms = []
    for model in dict.fromkeys(c.model for c in cells if c.kind != BASE):
        mine = [cell for cell in cells if cell.model == model]
        bases = [
            cell
            for cell in cells
            if cell.kind == BASE and cell.lr == mine[0].lr and _same_width(cell.model, model)
        ]
        arms += versus(cells, mine, bases)[-1:]
    return arms


def _same_width(first: Model, second: Model) -> bool:
    return all(
        first.dimensions[key] == second.dimensions.get(key)
        for key in ("n_layer", "d_model", "n_head")
    )


def analyse(evidence: Evidence) -> Findings:
    """Return the compute that each arm saves."""
    cells = cells_of(evidence, kind_of)
    arms = arms_of(cells)
    claims = (_mixtures(arms), _second_expert(cells, arms))
    compared = {one.arm for one in arms} | {one.base for one in arms}
    notes = left_out(evidence, sum(map(len, cells.values())), "on a task or without a loss")
    alone = sorted({c.kind for c in cells if c.kind not in {one.kind for one in compared}})
    if arms:
        rates = ", ".join(f"{rate:g}" for rate in sorted({one.arm.lr for one in arms}))
        notes.append(f"each arm has the base's learning rate ({rates}): its own may do better")
    if alone and arms:
        notes.append(f"arms without a base on the same seeds and horizons: {', '.join(alone)}")
    return answer(
        claims,
        lambda: _words(arms),
        measures=_measures(arms),
        tables=(_arm_table(cells, arms),),
        figures=(_figure(arms),),
        literature=(
            beside(
                "compute that a mixture of experts needs, as a multiple of a dense model's",
                theirs="below 1/7: 0.85B active parameters match a dense model of 6.1B",
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
    )


def _mixtures(arms: Sequence[Versus]) -> Claim:
    def decide() -> Decision:
        each = [one for one in arms if is_mixture(one.arm.model)]
        need(bool(each), "no mixture of experts has finished beside the dense model", AGAIN)
        need(all(len(one.logs) > 1 for one in each), "one seed has finished of a mixture", AGAIN)
        words = "; ".join(f"{one.arm.kind} {one.multiplier.text} times" for one in each)
        sides = {one.side for one in each}
        need(-1 in sides or sides == {1}, f"an interval holds 1: {words}", "it needs more seeds")
        return -1 in sides, words

    return claim(
        "a_mixture_saves_compute",
        "a mixture of experts needs less compute than the dense Transformer for its loss",
        decide,
    )


def _second_expert(cells: Cells, arms: Sequence[Versus]) -> Claim:
    def decide() -> Decision:
        by_active = {
            one.arm.model.values_as(Mixture).n_active: cells[one.arm]
            for one in arms
            if is_mixture(one.arm.model)
        }
        need({1, 2} <= set(by_active), "top-1 and top-2 have not both finished", AGAIN)
        seeds = set(by_active[1]) & set(by_active[2])
        need(len(seeds) > 1, "top-1 and top-2 have no two seeds in common", AGAIN)
        mean = mean_over([by_active[1][s].loss - by_active[2][s].loss for s in sorted(seeds)])
        assert mean is not None
        words = f"top-1's loss is above top-2's by {mean.text} nats per token"
        need(sign_of(mean) != 0, f"{words}, which holds 0", "it needs more seeds")
        return sign_of(mean) > 0, words

    return claim(
        "second_expert_lowers_loss",
        "two active experts reach a lower loss than one at equal tokens",
        decide,
    )


def _words(arms: Sequence[Versus]) -> str:
    sides = {
        side: [
            f"{one.arm.kind} ({one.multiplier.value:.2f} times)" for one in arms if one.side == side
        ]
        for side in (-1, 0, 1)
    }
    said = (
        ("less compute with", sides[-1]),
        ("more with", sides[1]),
        ("as much, within the noise of seeds, with", sides[0]),
    )
    parts = [f"{what} {', '.join(names)}" for what, names in said if names]
    base = format_count(arms[0].base.params)
    return f"A Transformer of {base} parameters needs for the same loss {'; '.join(parts)}."


def _slug(kind: str) -> str:
    return kind.lower().replace(" ", "_").replace(",", "")


def _measures(arms: Sequence[Versus]) -> dict[str, float | None]:
    measures: dict[str, float | None] = {}
    for one in arms:
        name = _slug(one.arm.kind)
        measures[f"multiplier.{name}"] = one.multiplier.value
        measures[f"difference.{name}"] = fmean(one.differences.values())
    return measures


def _arm_table(cells: Cells, arms: Sequence[Versus]) -> Table | None:
    if not arms:
        return None
    rows = []
    for one in arms:
        counts = count_params(one.arm.model)
        cost = flops_per_token(one.arm.model) / flops_per_token(one.base.model)
        mean = mean_over(list(one.differences.values()))
        rows.append(
            (
                one.arm.kind,
                format_count(counts.matmul),
                format_count(counts.total),
                f"{cost:.2f}",
                mean.text if mean else "–",
                one.multiplier.text,
            )
        )
    base = arms[0].base
    return Table(
        caption=f"Arms against the Transformer ({format_count(base.params)} parameters in matrices,"
        f" loss {loss_text(cells[base])}) at {format_count(base.tokens)} tokens and the same"
        " learning rate: active parameters (in matrices), all parameters, FLOPs of a token over the"
        " Transformer's, loss minus the Transformer's in nats per token (same seeds), compute"
        " multiplier",
        head=("arm", "active", "total", "FLOPs", "loss difference", "multiplier"),
        rows=tuple(rows),
        text_columns=3,
    )


def _figure(arms: Sequence[Versus]) -> Figure | None:
    """The multipliers of the arms, one beside the other."""
    places = {one.arm.kind: float(at) for at, one in enumerate(arms)}
    means = [(places[one.arm.kind], one.multiplier) for one in arms]
    series = Series(
        label="arm",
        points=tuple((at, mean.value) for at, mean in means),
        intervals=tuple(mean.interval or (mean.value, mean.value) for _, mean in means),
        line=False,
    )
    ends = (-0.5, len(arms) - 0.5)
    even = Series(label=BASE, points=tuple((at, 1.0) for at in ends), marks=False, dashed=True)
    if not arms:
        return None
    return figure(
        "architecture_arms",
        "Compute for the Transformer's loss",
        "Geometric means over seeds with their intervals; below 1 an arm saves compute.",
        [
            Panel(
                x=Axis(label="arm", values=places, low=ends[0], high=ends[1]),
                y=Axis(label="times the Transformer's compute", scale="log"),
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
    """Loss 8 N^-0.1 D^-0.05; mixtures at 0.5 and 0.4 of the compute, other arms at 1.2."""
    model, dense, multiplier = spec.model, _dense(spec.model), 1.0
    if isinstance(model, OtherModel):
        multiplier = 0.5 if model.values_as(Mixture).n_active == 1 else 0.4
    elif kind_of(model) != BASE:
        multiplier = 1.2
    share = multiplier * flops_per_token(dense) / flops_per_token(model)
    loss = 8 * count_params(dense).matmul ** -0.1 * (spec.tokens / share) ** -0.05
    return Outcome(val_loss_nats=loss * (1 + 0.001 * spec.seed))


EXPERIMENT = Experiment(
    question="What compute do an activation, shared keys, a tied head or experts save against a"
    " plain Transformer?",
    reproduces="Tian 2025 (efficiency of mixtures of experts)",
    parts={"architecture": ("moe",)},
    analyse=analyse,
    planted=Planted(
        outcome=_planted,
        measures={
            "multiplier.moe_top-1_of_4": (0.499, 0.501),
            "multiplier.moe_top-2_of_4": (0.399, 0.401),
            "multiplier.swiglu": (1.19, 1.21),
        },
        claims={"a_mixture_saves_compute": True},
    ),
)
