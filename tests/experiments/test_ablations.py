"""What ``ablations`` says of runs that do not support a comparison."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

from scaling_law.experiment.evidence import Evidence, Run
from scaling_law.spec.model import ModelSpec
from tests.experiments.changed import changed, diverged, with_loss
from tests.experiments.test_contract import experiment_of, planted_evidence

NAME = "ablations"


def claims_of(evidence: Evidence) -> dict[str, tuple[bool | None, str]]:
    findings = experiment_of(NAME).analyse(evidence)
    return {claim.name: (claim.established, claim.because) for claim in findings.claims}


def is_post_norm(run: Run) -> bool:
    return run.spec.model.architecture.name == "post_norm"


def is_base(run: Run) -> bool:
    spec, model = run.spec, run.spec.model
    if not isinstance(model, ModelSpec) or model.n_kv_head < model.n_head:
        return False
    has_usual_rates = spec.schedule.shape == "wsd" and spec.schedule.warmup_steps == 19
    return has_usual_rates and model.parametrisation is None


def test_nothing_is_claimed_where_every_run_diverged():
    claims = claims_of(changed(NAME, diverged))
    assert {established for established, _ in claims.values()} == {None}


def test_an_arm_above_the_bases_shortest_horizon_has_less_than_some_multiplier():
    def worse(run: Run) -> Run:
        return with_loss(run, lambda loss: 2 * loss) if is_post_norm(run) else run

    evidence = changed(NAME, worse)
    claims = claims_of(evidence)
    established, because = claims["post_norm_costs"]
    assert established is True and because.startswith("less than 0.50 at")
    assert claims["all_compared"][0] is True
    findings = experiment_of(NAME).analyse(evidence)
    assert "norms after sums: less than 0.50" in findings.verdict
    (bound,) = (one for one in findings.multipliers if one.recipe == "norms after sums")
    assert bound.text == "less than 0.50" and bound.counts == "exact"


def test_an_arm_that_is_known_to_have_less_than_two_may_save_compute():
    """Within the noise of the base at its own tokens, above it at twice as many."""
    runs = planted_evidence(NAME).runs

    def lowest(kind: Callable[[Run], bool], seed: int) -> float:
        losses = [run.record.val_loss_nats for run in runs
                  if kind(run) and run.spec.seed == seed and run.spec.tokens == 98304]  # fmt: skip
        return min(loss for loss in losses if loss is not None)

    def noisy(run: Run) -> Run:
        seed = run.spec.seed
        if not is_post_norm(run):
            return run
        as_base = lowest(is_base, seed) / lowest(is_post_norm, seed)
        return with_loss(run, lambda loss: loss * as_base * (1 + (0.09, 0.02, 0.03)[seed]))

    claims = claims_of(changed(NAME, noisy))
    established, because = claims["post_norm_costs"]
    assert established is None
    assert because.startswith("less than 2.00 at") and ", perhaps above 1" in because


def test_an_arm_whose_warm_up_is_not_the_bases_has_no_multiplier_and_says_why():
    def with_longer_warmup(run: Run) -> Run:
        if not is_post_norm(run):
            return run
        schedule = dataclasses.replace(run.spec.schedule, warmup_steps=30)
        spec = dataclasses.replace(run.spec, schedule=schedule)
        return dataclasses.replace(run, record=dataclasses.replace(run.record, spec=spec))

    claims = claims_of(changed(NAME, with_longer_warmup))
    established, because = claims["post_norm_costs"]
    assert established is None and claims["all_compared"][0] is False
    assert "has 30 of 192 steps, that of the reference 19 of 192 steps" in because
    # an arm that has another one on purpose is compared
    assert claims["warm_up_saves"][0] is True


def test_an_arm_that_was_not_trained_is_named():
    claims = claims_of(changed(NAME, lambda run: None if is_post_norm(run) else run))
    established, because = claims["post_norm_costs"]
    assert established is None and "norms after sums" in because


def test_a_tenth_of_the_flops_counts_in_a_multiplier():
    """The planted multiplier of one key head is 0.85 over its FLOPs, as a share of the base's."""
    findings = experiment_of(NAME).analyse(planted_evidence(NAME))
    multiplier = findings.measures["multiplier.one_key_head"]
    assert multiplier is not None and 0.85 < multiplier < 1.0


def test_a_claim_says_its_size_seeds_warm_up_and_what_was_published():
    claims = claims_of(planted_evidence(NAME))
    _, because = claims["one_key_head_costs"]
    assert "at 20.9K non-embedding parameters, 3 seeds, a warm-up of 19 steps" in because
    assert "Shazeer 2019" in because
    assert "warm-ups of 1 to 19 steps" in claims["warm_up_saves"][1]
    assert "no published number" in claims["small_matrices_cost"][1]


def test_the_figure_of_rates_has_every_arm_in_one_group_beside_the_base():
    figures = {one.name: one for one in experiment_of(NAME).analyse(planted_evidence(NAME)).figures}
    panels = figures["ablations_rates"].panels
    groups = [[series.label for series in panel.series] for panel in panels]
    assert all(group[0] == "base" for group in groups)
    arms = [label for group in groups for label in group[1:]]
    (axis,) = (panel.x for panel in figures["ablations"].panels)
    assert axis.values is not None and len(arms) == len(set(arms)) == len(axis.values)
