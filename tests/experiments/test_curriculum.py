"""What ``curriculum`` says of runs that do not support a claim."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from scaling_law import parts
from scaling_law.experiment.evidence import Run
from scaling_law.experiment.findings import Findings
from scaling_law.experiment.seeds import mean_over
from tests.experiments.changed import findings_with, standing, with_metrics
from tests.experiments.test_contract import experiment_of, planted_evidence

NAME = "curriculum"


def changed(change: Callable[[Run], float | None]) -> Findings:
    """The findings with a number added to every loss, None for a run that has not finished."""

    def one(run: Run) -> Run | None:
        more = change(run)
        if more is None:
            return None
        return with_metrics(run, {k: value + more for k, value in run.record.metrics.items()})

    return findings_with(NAME, one)


def phases(run: Run) -> int:
    assert run.spec.mix is not None
    return len(run.spec.mix.phases)


def test_all_ten_orders_are_read():
    findings = experiment_of(NAME).analyse(planted_evidence(NAME))
    assert len(findings.tables[0].rows) == 10
    assert {row[-1] for row in findings.tables[0].rows} == {"6"}
    assert not findings.notes


def test_without_shuffled_text_nothing_is_said_of_a_gain():
    findings = changed(lambda run: None if phases(run) == 1 else 0.0)
    claims = standing(findings)
    assert claims["easy_first_helps.compression_whole_run"] is None
    assert claims["easy_beats_hard_first.length"] is True, "it needs no shuffled text"


def test_differences_within_the_noise_of_seeds_decide_nothing():
    findings = changed(lambda run: 0.3 * (run.spec.seed - 1) * (phases(run) > 1))
    claims = standing(findings)
    assert claims["easy_first_helps.length_mixed_end"] is None
    assert claims["none_beats_shuffled"] is None


def test_orders_that_end_lower_than_shuffled_forget_nothing():
    findings = changed(lambda run: -0.5 * (phases(run) > 1))
    claims = standing(findings)
    assert claims["easy_first_helps.compression_whole_run"] is True
    assert claims["first_is_forgotten.compression"] is False
    assert claims["none_beats_shuffled"] is False
    assert findings.verdict.startswith("Some order beats shuffled text by 0.02 nats")


def test_a_gain_below_the_margin_is_no_use():
    # the planted gain of 0.032 nats where easy text is read first, until the cooldown
    findings = changed(lambda run: 0.022 * (phases(run) > 1))
    claims = standing(findings)
    assert claims["easy_first_helps.length_mixed_end"] is True
    assert claims["none_beats_shuffled"] is True


def test_orders_that_all_end_higher_leave_shuffled_text_unbeaten():
    findings = changed(lambda run: 0.1 * (phases(run) > 1))
    assert standing(findings)["none_beats_shuffled"] is True


def test_orders_that_scatter_unlike_are_decided_by_chance_as_rarely_as_they_should():
    """Runs that read hard text first scatter 8 times as much, and no order changes anything."""
    module = parts.module_of("experiment", NAME)
    orders = [module.Order(by=by, first=module.SHUFFLED, lasts=module.WHOLE)
              for by in module.GRADINGS]  # fmt: skip
    orders += [order for by in module.GRADINGS for order in module._orders(by)]
    rng, held, verdicts = np.random.default_rng(0), [], []
    for _ in range(300):
        of_seed = rng.normal(size=6)
        losses = {
            order: {
                seed: dict.fromkeys(module.GRADES, 2 + of_seed[seed] + scale * rng.normal())
                for seed in range(6)
            }
            for order in orders
            for scale in [0.08 if order.first == module.HARD else 0.01]
        }
        seen = module.Seen(losses=losses, used=0)
        means = (mean_over(seen.changes(order)) for order in orders[2:])
        ends = [mean.interval for mean in means if mean and mean.interval]
        held.append([low <= 0 <= high for low, high in ends])
        verdicts.append([module._better_first(seen, by).established for by in module.GRADINGS])
    for share in np.mean(held, axis=0):
        assert 0.85 <= share <= 0.95
    assert np.mean([one is not None for pair in verdicts for one in pair]) <= 0.13
