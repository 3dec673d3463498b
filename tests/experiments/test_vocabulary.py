"""How vocabulary compares at equal compute, and what bad evidence gives."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable

import pytest

from scaling_law import parts
from scaling_law.experiment.evidence import Evidence, Run
from scaling_law.experiment.findings import Claim
from scaling_law.experiment.minimum import Minimum
from scaling_law.experiment.vocabularies import Size, level_at, seen_in
from tests.experiments.test_contract import experiment_of, planted_evidence

VOCABULARY = parts.module_of("experiment", "vocabulary")


@pytest.fixture(scope="module")
def planted() -> Evidence:
    return planted_evidence("vocabulary")


def claims_of(evidence: Evidence) -> dict[str, Claim]:
    return {claim.name: claim for claim in experiment_of("vocabulary").analyse(evidence).claims}


def only(evidence: Evidence, keep: Callable[[Run], bool]) -> Evidence:
    return dataclasses.replace(evidence, runs=tuple(run for run in evidence.runs if keep(run)))


def test_a_level_is_read_between_horizons_and_only_near_one():
    points = [(0.0, 1.0), (2.0, 0.5)]
    assert level_at(points, math.exp(0.1)) == pytest.approx(0.975)
    assert level_at(points, math.exp(1.0)) is None
    assert level_at([(0.0, 1.0)], math.exp(0.1)) == 1.0


def test_an_untrained_model_has_the_bits_of_equally_likely_ids(planted):
    seen = seen_in(planted)
    assert seen.budgets == (2e8, 8e8, 3.2e9)
    # the planted text has .4 ln V bytes a token
    assert seen.untrained(8192) == pytest.approx(1 / 0.4 / math.log(2), rel=1e-3)


def test_other_rates_check_the_best_vocabulary_and_do_not_move_it(planted):
    seen = seen_in(planted)
    assert seen.rate == 3 and list(seen.by_rate) == [1, 3, 9]
    main = only(planted, lambda run: run.spec.optim.overrides.lr_mult == 3)
    assert seen_in(main).bests == seen.bests
    assert claims_of(main)["rate_decides_little"].established is None


def test_a_power_is_that_between_the_ends_of_a_size():
    def best(vocab: float) -> Minimum:
        by_seed = {0: vocab / 1.01, 1: vocab * 1.01}
        ends = (vocab / 1.1, vocab * 1.1)
        return Minimum(lowest=vocab, x=vocab, interval=ends, by_seed=by_seed, levels={0: 0.0})

    small, large = Size(500, 4), Size(1000, 8)
    budgets = {1e9: best(1000), 2e9: best(1100), 4e9: best(2000)}
    power = VOCABULARY.power_of({large: budgets})
    assert power.value == pytest.approx(0.5) and power.seeds == 2
    # seeds agree: the interval is that of the two best vocabularies
    reach = math.sqrt(2) * math.log(1.1) / math.log(4)
    assert power.interval == pytest.approx((0.5 - reach, 0.5 + reach))
    assert VOCABULARY.power_of({small: budgets, large: budgets}).seeds == 2, "not one a size"
    assert VOCABULARY.power_of({large: {1e9: best(1000)}}) is None


def test_a_best_vocabulary_that_is_not_bounded_gives_no_power():
    def best(vocab: float) -> Minimum:
        return Minimum(lowest=vocab, x=vocab, by_seed={0: vocab, 1: vocab}, levels={0: 0.0})

    assert VOCABULARY.power_of({Size(1000, 8): {1e9: best(1000), 4e9: best(2000)}}) is None


def test_a_best_vocabulary_that_is_not_bounded_is_no_growth(planted):
    def flat(run: Run) -> Run:
        # at the lowest budget seeds differ by more than vocabularies do
        vocab = math.log(run.spec.model.vocab_size / 2500)
        sign = (-1) ** (run.spec.seed + round(math.log2(run.spec.model.vocab_size)))
        bits = 3 * math.exp(0.002 * vocab**2 + 0.01 * sign)
        low = run.record.flops_exact < 4e8
        record = dataclasses.replace(run.record, val_bits_per_byte=bits)
        return dataclasses.replace(run, record=record) if low else run

    noisy = dataclasses.replace(planted, runs=tuple(map(flat, planted.runs)))
    bests = [of_budget[2e8] for of_budget in seen_in(noisy).bests.values()]
    assert all(best.x and not best.interval for best in bests), "the test plants this"
    assert "over 4 times" in claims_of(noisy)["best_grows_with_compute"].because
    low = only(noisy, lambda run: run.record.flops_exact < 1.5e9)
    claim = claims_of(low)["best_grows_with_compute"]
    assert claim.established is None and "1 budgets" in claim.because


def test_the_best_of_several_rates_counts_for_each_vocabulary(planted):
    def rated(run: Run) -> Run:
        rate, vocab = run.spec.optim.overrides.lr_mult or 1, run.spec.model.vocab_size
        best = {2048: 1, 8192: 3, 32768: 9}.get(vocab)
        penalty = 1.0 if best in (None, rate) else 1.1
        bits = run.record.val_bits_per_byte
        record = dataclasses.replace(run.record, val_bits_per_byte=bits and bits * penalty)
        return dataclasses.replace(run, record=record)

    plain = seen_in(planted).by_rate[3]
    seen = seen_in(dataclasses.replace(planted, runs=tuple(map(rated, planted.runs))))
    assert seen.at_best_rates is not None
    assert seen.at_best_rates.x == pytest.approx(plain.x, rel=0.01)
    assert seen.by_rate[3].x != pytest.approx(plain.x, rel=0.1)


def test_a_lowest_loss_at_an_edge_is_not_bracketed(planted):
    claims = claims_of(only(planted, lambda run: run.spec.model.vocab_size <= 4096))
    claim = claims["best_is_bracketed"]
    assert claim.established is None and "an edge of those tried" in claim.because
    assert claims["best_grows_with_compute"].established is None
    assert claims["tokens_beat_bytes"].established is True


def test_one_seed_decides_nothing(planted):
    claims = claims_of(only(planted, lambda run: run.spec.seed == 0))
    open_ = {name for name, claim in claims.items() if claim.established is None}
    assert open_ == set(claims) - {"rate_decides_little"}
    assert "one seed has finished" in claims["tokens_beat_bytes"].because


def test_runs_without_bits_per_byte_are_counted(planted):
    bare = tuple(
        dataclasses.replace(run, record=dataclasses.replace(run.record, val_bits_per_byte=None))
        for run in planted.ended
    )
    findings = experiment_of("vocabulary").analyse(dataclasses.replace(planted, runs=bare))
    assert (
        f"runs left out, without bits per byte or of another recipe: {len(bare)}" in findings.notes
    )
    assert findings.verdict.startswith("Not established: no run near a budget")


def test_runs_of_another_recipe_are_left_out_and_counted(planted):
    more = []
    for run in planted.ended[:5]:
        optim = dataclasses.replace(run.spec.optim, weight_decay=0.5)
        spec = dataclasses.replace(run.spec, optim=optim)
        record = dataclasses.replace(run.record, spec=spec, val_bits_per_byte=9.0)
        more.append(dataclasses.replace(run, record=record))
    findings = experiment_of("vocabulary").analyse(
        dataclasses.replace(planted, runs=(*planted.runs, *more))
    )
    assert findings.measures == experiment_of("vocabulary").analyse(planted).measures
    assert any("another recipe" in note and note.endswith(": 5") for note in findings.notes)
