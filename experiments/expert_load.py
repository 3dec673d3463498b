"""How evenly a mixture of experts spreads tokens, with and without the loss that balances them.

    slaw run expert_load
    slaw report results/expert_load    # the loads along training, and at the end by expert

The balancing loss (Fedus 2021, arXiv 2101.03961, equation 4) pulls every expert towards the same
share of tokens. ``imbalance`` is that of the probe ``expert_load``: 1 for even loads, as many as
there are experts where one has all choices. Arms have one learning rate and one data, and are
compared seed by seed; ``architecture_arms`` says what a mixture saves.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean

from scaling_law.experiment import Experiment, Outcome, Planted, planted_point
from scaling_law.experiment.answer import Decision, all_decided, answer, beside, claim, need
from scaling_law.experiment.evidence import Evidence, Run
from scaling_law.experiment.figures import figure, log_axis
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
from scaling_law.experiment.groups import grouped, left_out
from scaling_law.experiment.seeds import mean_text, paired
from scaling_law.spec.architectures.moe import Settings as Mixture
from scaling_law.spec.model import OtherModel
from scaling_law.spec.run import RunSpec

PROBE = "expert_load"
IDLE = 0.25  # an expert with a smaller share of an even load than this is idle
_SHARE = re.compile(rf"{PROBE}\.share\.layers\.(\d+)\.experts\.(\d+)")


@dataclass(frozen=True, order=True)
class Arm:
    """Runs of so many active experts, with a coefficient of the balancing loss."""

    n_active: int
    balance: float

    @property
    def text(self) -> str:
        """``top-1, balance 0.01``."""
        return f"top-{self.n_active}, balance {self.balance:g}"

    @property
    def key(self) -> str:
        """What its measures are called."""
        return f"top{self.n_active}.{'balanced' if self.balance else 'free'}"


def arm_of(spec: RunSpec) -> Arm | None:
    """The arm of a run; None for another architecture."""
    model = spec.model
    if not isinstance(model, OtherModel) or model.architecture.name != "moe":
        return None
    settings = model.values_as(Mixture)
    return Arm(settings.n_active, settings.balance)


def shares_of(metrics: Mapping[str, float]) -> dict[int, dict[int, float]]:
    """The share of tokens that go through each expert, by layer and expert."""
    shares: dict[int, dict[int, float]] = {}
    for name, value in metrics.items():
        if match := _SHARE.fullmatch(name):
            shares.setdefault(int(match[1]), {})[int(match[2])] = value
    return shares


def imbalance_of(metrics: Mapping[str, float]) -> float | None:
    """The mean imbalance of the layers; None without the probe."""
    values = [v for name, v in metrics.items() if name.startswith(f"{PROBE}.imbalance.")]
    return fmean(values) if values else None


def least_of(run: Run, n_active: int) -> float:
    """The least share of an expert in any layer, over an even load."""
    shares = shares_of(run.record.metrics)
    return min(min(by.values()) * len(by) / n_active for by in shares.values())


@dataclass(frozen=True)
class Seen:
    """The runs of each arm that measured their loads, by seed."""

    arms: Mapping[Arm, Mapping[int, Run]]

    @property
    def pairs(self) -> list[tuple[Arm, Arm]]:
        """The arms without and with a balancing loss, of as many active experts."""
        return [(free, arm) for free in self.arms if not free.balance for arm in self.arms
                if arm.balance and arm.n_active == free.n_active]  # fmt: skip

    def imbalances(self, arm: Arm) -> dict[int, float]:
        """The imbalance at the end of training, by seed."""
        every = {s: imbalance_of(run.record.metrics) for s, run in self.arms[arm].items()}
        return {seed: value for seed, value in every.items() if value is not None}

    def losses(self, arm: Arm) -> dict[int, float]:
        """The validation loss by seed, in nats per token."""
        return {s: run.record.val_loss_nats for s, run in self.arms[arm].items()
                if run.record.val_loss_nats is not None}  # fmt: skip


def read(evidence: Evidence) -> Seen:
    """Return what the runs show."""
    measured = [
        (arm, run)
        for run in evidence.ended
        if (arm := arm_of(run.spec)) and shares_of(run.record.metrics)
    ]
    return Seen({arm: {run.spec.seed: run for run in runs} for arm, runs in
                 grouped(measured).items()})  # fmt: skip


def analyse(evidence: Evidence) -> Findings:
    """Return how even the loads are, and what the balancing loss changes."""
    seen = read(evidence)
    claims = (_evens(seen), _none_idle(seen), _costs_loss(seen))
    used = sum(len(runs) for runs in seen.arms.values())
    free = [fmean(seen.imbalances(arm).values()) for arm, _ in seen.pairs]
    return answer(
        claims,
        lambda: _words(seen, claims),
        measures=_measures(seen),
        tables=(_table(seen),),
        figures=(_figure(seen),),
        literature=(
            beside(
                "loads without a balancing loss",
                theirs="collapse: a few experts are always chosen, and train fastest",
                ours=f"imbalance {', '.join(f'{value:.2f}' for value in free)}" if free else None,
                source="Shazeer 2017, arXiv 1701.06538, section 4",
            ),
        ),
        notes=left_out(evidence, used, "which did not measure their loads"),
        units={"imbalance": "times even", "least": "of an even load", "difference": "nats"},
    )


def _need_pairs(seen: Seen) -> None:
    need(bool(seen.pairs), "no arm has finished with and without a balancing loss", AGAIN)
    few = [a.text for pair in seen.pairs for a in pair if len(seen.arms[a]) < 2]
    need(not few, f"one seed of {few[0] if few else ''} has finished", AGAIN)


def _evens(seen: Seen) -> Claim:
    def decide() -> Decision:
        _need_pairs(seen)
        words = "; ".join(
            f"top-{free.n_active}: imbalance {mean_text(seen.imbalances(free).values())} without,"
            f" {mean_text(seen.imbalances(held).values())} with it"
            for free, held in seen.pairs
        )
        each = {
            f"with top-{free.n_active}": paired(seen.imbalances(free), seen.imbalances(held))
            for free, held in seen.pairs
        }
        return all_decided(each, f"{words}: less by", show=lambda mean: mean.text)

    return claim("balancing_evens", "the balancing loss makes the experts' loads more even", decide)


def _none_idle(seen: Seen) -> Claim:
    def decide() -> Decision:
        _need_pairs(seen)
        least = {held: [least_of(run, held.n_active) for run in seen.arms[held].values()]
                 for _, held in seen.pairs}  # fmt: skip
        words = "; ".join(
            f"{arm.text}: the least expert of any layer and seed has {min(values):.2f} of an even"
            " load"
            for arm, values in least.items()
        )
        each = {f"with {arm.text}": [value - IDLE for value in values]
                for arm, values in least.items()}  # fmt: skip
        return all_decided(each, f"{words}; over {IDLE:g} by", show=lambda mean: mean.text)

    return claim(
        "none_is_idle",
        f"with the balancing loss the least expert has more than {IDLE:g} of an even load",
        decide,
    )


def _costs_loss(seen: Seen) -> Claim:
    def decide() -> Decision:
        _need_pairs(seen)
        each = {
            f"with top-{free.n_active}": paired(seen.losses(held), seen.losses(free))
            for free, held in seen.pairs
        }
        return all_decided(each, "higher by")

    return claim(
        "balancing_costs_loss", "the balancing loss ends with a higher validation loss", decide
    )


def _words(seen: Seen, claims: Sequence[Claim]) -> str:
    evens, idle, costs = claims
    verb = "evens" if evens.established else "does not even"
    words = f"The balancing loss {verb} the loads of experts ({evens.because})"
    if idle.established is not None:
        words += f"; with it {'no expert is' if idle.established else 'some experts are'} idle"
    if costs.established is None:
        return f"{words}. Whether it costs loss is not established: {costs.because}."
    cost = "It costs loss" if costs.established else "It does not cost loss for every arm"
    return f"{words}. {cost}: {costs.because}."


def _measures(seen: Seen) -> dict[str, float | None]:
    measures: dict[str, float | None] = {}
    for arm in seen.arms:
        measures[f"imbalance.{arm.key}"] = fmean(seen.imbalances(arm).values())
        least = [least_of(run, arm.n_active) for run in seen.arms[arm].values()]
        measures[f"least.{arm.key}"] = min(least)
    for free, held in seen.pairs:
        gaps = paired(seen.losses(held), seen.losses(free))
        measures[f"difference.top{free.n_active}"] = fmean(gaps) if gaps else None
    return measures


def _table(seen: Seen) -> Table | None:
    rows = []
    for arm, runs in seen.arms.items():
        first = runs[min(runs)]
        shares = "; ".join(
            f"layer {layer}: {' '.join(f'{by[expert]:.2f}' for expert in sorted(by))}"
            for layer, by in sorted(shares_of(first.record.metrics).items())
        )
        rows.append(
            (arm.text, mean_text(seen.imbalances(arm).values()), shares,
             mean_text(seen.losses(arm).values()))
        )  # fmt: skip
    if not rows:
        return None
    return Table(
        caption="At the end of training: the imbalance (mean of layers; over seeds with its 90%"
        " interval), the share of tokens that go through each expert in one seed, and the"
        " validation loss in nats per token",
        head=("arm", "imbalance", "shares by expert", "loss"),
        rows=tuple(rows),
        text_columns=4,
    )


def _figure(seen: Seen) -> Figure | None:
    along, shares = [], []
    for arm, runs in seen.arms.items():
        by_tokens: dict[float, list[float]] = {}
        for run in runs.values():
            for point in run.curve:
                if (value := imbalance_of(point.metrics)) is not None:
                    by_tokens.setdefault(float(point.tokens), []).append(value)
        means = tuple((tokens, fmean(values)) for tokens, values in sorted(by_tokens.items()))
        along.append(Series(label=arm.text, points=means))
        ranks = [sorted(by.values(), reverse=True) for run in runs.values()
                 for by in shares_of(run.record.metrics).values()]  # fmt: skip
        points = tuple((at + 1.0, fmean(each)) for at, each in enumerate(zip(*ranks, strict=True)))
        shares.append(Series(label=arm.text, points=points))
    if not along:
        return None
    count = max(len(series.points) for series in shares)
    return figure(
        "expert_load",
        "Loads of experts",
        "Means over seeds and layers; experts by falling load.",
        [
            Panel(
                title="imbalance along training",
                x=log_axis("training tokens"),
                y=Axis(label="1 for even loads"),
                series=tuple(along),
            ),
            Panel(
                title="at the end",
                x=Axis(label="expert", values={str(at): float(at) for at in range(1, count + 1)}),
                y=Axis(label="share of tokens", low=0.0),
                series=tuple(shares),
            ),
        ],
    )


def _planted(spec: RunSpec) -> Outcome:
    """Loads that the balancing loss evens, and a loss that it raises by 0.01."""
    arm = arm_of(spec)
    assert arm is not None, "planted in the experiment's own plan"
    tilt = 0.02 if arm.balance else 0.6
    tilt += 0.01 * spec.seed
    metrics = {}
    for layer in range(2):
        even = arm.n_active / 4
        loads = [even * (1 + tilt * side) for side in (1, 1 / 3, -1 / 3, -1)]
        for expert, load in enumerate(loads):
            metrics[f"{PROBE}.share.layers.{layer}.experts.{expert}"] = load
        squares = sum((load / arm.n_active) ** 2 for load in loads)
        metrics[f"{PROBE}.imbalance.layers.{layer}"] = 4 * squares
    loss = 2.5 + 0.02 * spec.seed + (0.01 if arm.balance else 0.0) - 0.02 * math.log(arm.n_active)
    point = replace(planted_point(spec, spec.total_steps, metrics), val_loss_nats=loss)
    return Outcome(val_loss_nats=loss, curve=(point,), metrics=metrics)


EXPERIMENT = Experiment(
    question="How evenly do tokens spread over a mixture's experts, with and without a balancing"
    " loss?",
    reproduces="Shazeer 2017, Fedus 2021 (loads of experts)",
    parts={"architecture": ("moe",), "probe": (PROBE,)},
    analyse=analyse,
    planted=Planted(
        outcome=_planted,
        measures={"imbalance.top1.free": (1.15, 1.25), "imbalance.top2.balanced": (1.0, 1.01)},
        claims={"balancing_evens": True, "none_is_idle": True, "balancing_costs_loss": True},
    ),
)
