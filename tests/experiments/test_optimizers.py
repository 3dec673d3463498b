"""What ``optimizers`` says of runs that do not support a multiplier."""

from __future__ import annotations

import dataclasses
import math
import sys
from collections.abc import Callable

import pytest

from scaling_law.experiment.evidence import Evidence, Run
from scaling_law.experiment.findings import Claim, Multiplier
from scaling_law.experiment.speedup import Speedup
from tests.experiments.changed import changed, diverged, standing_of
from tests.experiments.test_contract import experiment_of, planted_evidence

NAME = "optimizers"


def multiplier(value: float, interval: tuple[float, float]) -> Multiplier:
    return Multiplier(
        recipe="muon", base="AdamW", params=1e4, tokens=1e5, value=value, interval=interval
    )


def is_of(run: Run, optimizer: str) -> bool:
    return run.spec.optim.component.name == optimizer


def test_nothing_is_claimed_where_every_run_diverged():
    evidence = changed(NAME, diverged)
    assert set(standing_of(NAME, evidence).values()) == {None}
    assert experiment_of(NAME).analyse(evidence).verdict.startswith("Not established")


def test_an_optimizer_that_diverged_is_named_and_the_others_are_judged():
    evidence = changed(NAME, lambda run: diverged(run) if is_of(run, "sgd") else run)
    claims = standing_of(NAME, evidence)
    assert claims["beats_adamw"] is True and claims["sgd_is_slower"] is None
    assert claims["all_compared"] is False
    notes = experiment_of(NAME).analyse(evidence).notes
    assert any(note.startswith("SGD has no multiplier") for note in notes)


def test_one_seed_is_not_enough():
    claims = standing_of(NAME, changed(NAME, lambda run: run if run.spec.seed == 0 else None))
    assert claims["beats_adamw"] is None and claims["untuned_baseline_misleads"] is None


def test_without_adamw_there_is_no_multiplier():
    claims = standing_of(NAME, changed(NAME, lambda run: None if is_of(run, "adamw") else run))
    assert claims["beats_adamw"] is None and claims["untuned_baseline_misleads"] is None


def test_an_optimizer_like_adamw_is_called_neither_better_nor_worse():
    """Muon with the losses of AdamW at the same rates, whose noise is on both sides."""
    of_adamw = {
        (run.spec.model, run.spec.tokens, run.spec.seed, run.spec.optim.lr): run
        for run in planted_evidence(NAME).ended
        if is_of(run, "adamw")
    }

    def like_adamw(run: Run) -> Run | None:
        if is_of(run, "sgd"):
            return None
        if not is_of(run, "muon"):
            return run
        twin = of_adamw[run.spec.model, run.spec.tokens, run.spec.seed, run.spec.optim.lr]
        assert twin.record.val_loss_nats is not None
        value = twin.record.val_loss_nats * (1 + 2e-4 * (-1) ** run.spec.seed)
        record = dataclasses.replace(run.record, val_loss_nats=value)
        return dataclasses.replace(run, record=record)

    assert standing_of(NAME, changed(NAME, like_adamw))["beats_adamw"] is None


def with_losses(loss_of: Callable[[Run, float], float]) -> Evidence:
    """The planted runs with other losses, by the run and the loss that it has."""

    def change(run: Run) -> Run:
        if run.record.val_loss_nats is None:
            return run
        value = loss_of(run, run.record.val_loss_nats)
        return dataclasses.replace(run, record=dataclasses.replace(run.record, val_loss_nats=value))

    return changed(NAME, change)


def noisy(run: Run, optimizer: str, deviation: float) -> float:
    """The factor on a loss of an optimizer whose seeds scatter."""
    return 1 + deviation * (run.spec.seed % 2 - 0.5) if is_of(run, optimizer) else 1.0


def renamed(old: str, new: str) -> Callable[[Run], Run]:
    """Runs of one optimizer as those of another."""

    def change(run: Run) -> Run:
        if not is_of(run, old):
            return run
        component = dataclasses.replace(run.spec.optim.component, name=new)
        optim = dataclasses.replace(run.spec.optim, optimizer=component)
        spec = dataclasses.replace(run.spec, optim=optim)
        return dataclasses.replace(run, record=dataclasses.replace(run.record, spec=spec))

    return change


def falls_of(evidence: Evidence) -> Claim:
    return next(
        one for one in experiment_of(NAME).analyse(evidence).claims if one.name == "advantage_falls"
    )


def test_the_fall_with_size_is_asked_of_optimizers_named_beforehand_not_of_the_best():
    """The best is picked by the numbers that would then be tested."""
    claim = falls_of(planted_evidence(NAME))
    assert claim.established is True and "(Muon) falls" in claim.says
    # the planted Muon under the name of an optimizer that Wen does not speak of
    bare = falls_of(changed(NAME, renamed("muon", "lion")))
    assert bare.established is None and "neither Muon nor SOAP" in bare.because
    # SGD's multiplier does not go with size
    both = falls_of(changed(NAME, renamed("sgd", "soap")))
    assert both.established is None and "(Muon and SOAP) falls" in both.says
    assert "Muon: as N^-0.10" in both.because and "SOAP: as N^" in both.because


def test_a_matrix_optimizer_without_a_trend_leaves_the_fall_open():
    few = planted_evidence(NAME).runs[0].spec.model
    evidence = changed(NAME, renamed("sgd", "soap"))
    runs = [run for run in evidence.runs if not is_of(run, "soap") or run.spec.model == few]
    claim = falls_of(dataclasses.replace(evidence, runs=tuple(runs)))
    assert claim.established is None and "SOAP has 1 size" in claim.because


def test_noise_on_both_sides_of_1_does_not_contradict_that_sgd_is_slower():
    evidence = with_losses(
        lambda run, loss: loss * (0.97 if is_of(run, "sgd") else 1) * noisy(run, "sgd", 0.055)
    )
    assert standing_of(NAME, evidence)["sgd_is_slower"] is None


def test_an_edge_asks_for_further_rates():
    evidence = changed(
        NAME,
        lambda run: (
            run if is_of(run, "adamw") or (run.spec.optim.overrides.lr_mult or 1) <= 8 else None
        ),
    )
    propose = experiment_of(NAME).propose
    assert propose is not None
    changes = propose(dataclasses.replace(evidence))
    assert changes is not None
    (entry,) = changes["grid"]
    assert entry["axes"]["optim.name"] == ["sgd"]


def test_a_size_whose_untuned_baseline_has_no_multiplier_is_named():
    smallest = min(run.spec.model.dimensions["d_model"] for run in planted_evidence(NAME).runs)

    def change(run: Run) -> Run:
        bare = (run.spec.optim.overrides.lr_mult or 1) == 0.125
        if not bare or run.spec.model.dimensions["d_model"] > smallest:
            return run
        loss = 3 * (run.record.val_loss_nats or 0)
        return dataclasses.replace(run, record=dataclasses.replace(run.record, val_loss_nats=loss))

    findings = experiment_of(NAME).analyse(changed(NAME, change))
    claim = {one.name: one for one in findings.claims}["untuned_baseline_misleads"]
    assert claim.established is True and "at every size that has one" in claim.says
    assert "none at 3.52K parameters: below 0.25" in claim.because


def test_the_figure_of_rates_has_adamw_at_the_horizon_of_every_other():
    figures = {one.name: one for one in experiment_of(NAME).analyse(planted_evidence(NAME)).figures}
    for panel in figures["rates"].panels:
        labels = {series.label for series in panel.series}
        assert labels == {
            "AdamW, 65.5K tokens", "Muon, 65.5K tokens",
            "AdamW, 131K tokens", "SGD, 131K tokens",
        }  # fmt: skip


def test_a_claim_says_its_sizes_seeds_warm_up_and_what_was_published():
    findings = experiment_of(NAME).analyse(planted_evidence(NAME))
    because = {claim.name: claim.because for claim in findings.claims}
    for name in ("beats_adamw", "advantage_falls", "sgd_is_slower", "untuned_baseline_misleads"):
        assert "non-embedding parameters" in because[name]
        assert "4 seeds, a warm-up of 13 steps" in because[name]
        assert "Wen 2025" in because[name] or "Zhao 2024" in because[name]


def test_what_a_multiplier_seems_has_the_errors_of_both():
    module = sys.modules[experiment_of(NAME).analyse.__module__]
    tuned = multiplier(1.2, (1.0, 1.44))
    untuned = dataclasses.replace(
        Speedup(name="untuned", at=(), trend=None, open=()), at=(multiplier(0.5, (0.4, 0.625)),)
    )
    seeming = module.apparent(tuned, untuned)
    assert seeming is not None and seeming.value == pytest.approx(2.4)
    reach = math.hypot(math.log(1.2), math.log(1.25))
    assert seeming.interval == pytest.approx((2.4 * math.exp(-reach), 2.4 * math.exp(reach)))
    assert module.apparent(dataclasses.replace(tuned, params=2e4), untuned) is None
