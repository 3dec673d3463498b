"""What the experiment mup says of bad evidence, and its analysis over depths."""

from __future__ import annotations

import dataclasses
import math
import re

import numpy as np
import pytest

from scaling_law.experiment.evidence import Evidence, Run
from scaling_law.experiment.findings import Findings
from tests.experiments.test_contract import experiment_of, plan_of, planted_evidence
from tests.fakes import planted_runs

CHECK = ("flat_change", "change_grows")
RATES = ("one_rate", "rate_drifts", "transfer_costs_less")


def analysed(evidence: Evidence) -> Findings:
    return experiment_of("mup").analyse(evidence)


def standings(findings: Findings) -> dict[str, bool | None]:
    return {claim.name: claim.established for claim in findings.claims}


def changed(
    evidence: Evidence, keep=lambda run: True, loss=lambda run: run.record.val_loss_nats
) -> Evidence:
    """Some of the runs, with other losses."""
    runs = []
    for run in filter(keep, evidence.runs):
        record = dataclasses.replace(run.record, val_loss_nats=loss(run))
        runs.append(dataclasses.replace(run, record=record))
    return dataclasses.replace(evidence, runs=tuple(runs))


def is_mup(run: Run) -> bool:
    return run.spec.model.parametrisation is not None


@pytest.fixture(scope="module")
def planted() -> Evidence:
    return planted_evidence("mup")


def test_one_seed_decides_nothing(planted):
    findings = analysed(changed(planted, keep=lambda run: run.spec.seed == 0))
    assert set(standings(findings).values()) == {None}


def test_a_best_rate_at_the_edge_decides_nothing_and_names_its_size(planted):
    def keep(run: Run) -> bool:
        wide = run.spec.model.dimensions["d_model"] == 128 and run.spec.total_steps > 5
        return is_mup(run) or not wide or run.spec.optim.lr < 0.003

    findings = analysed(changed(planted, keep=keep))
    claims = {claim.name: claim for claim in findings.claims}
    assert claims["rate_drifts"].established is None
    because = claims["rate_drifts"].because
    assert because.startswith("1 of 4 widths (128) has no best rate (width 128: the lowest loss is")
    assert claims["one_rate"].established is True
    assert "128" in "".join(map(str, findings.tables[1].rows))


def test_a_best_rate_that_drifts_contradicts_one_rate(planted):
    """As if muP's own best rate fell with the width, as that of standard does."""

    def loss(run: Run) -> float | None:
        if not is_mup(run) or run.spec.total_steps == 5:
            return run.record.val_loss_nats
        width = run.spec.model.dimensions["d_model"]
        best = 0.02 * (32 / width) ** 0.4
        return 3 * math.exp(0.02 * math.log(run.spec.optim.lr / best) ** 2) + 0.01 * run.spec.seed

    standing = standings(analysed(changed(planted, loss=loss)))
    assert standing["one_rate"] is False and standing["flat_change"] is True


def test_rates_that_all_diverge_decide_nothing(planted):
    findings = analysed(
        changed(planted, loss=lambda r: r.record.val_loss_nats if r.spec.total_steps == 5 else None)
    )
    claims = {claim.name: claim for claim in findings.claims}
    assert {claims[name].established for name in RATES} == {None}
    because = claims["one_rate"].because
    assert because.startswith("4 of 4 widths (32, 64 and 2 more) have no best rate (width 32: all")
    assert because.count("diverged") == 1
    assert {claims[name].established for name in CHECK} == {True}


def test_over_depths_completep_is_compared_with_mup():
    experiment = experiment_of("mup")
    specs = [run.spec for run in plan_of("mup_depth").runs]
    runs = planted_runs(experiment, specs)
    metrics = {}
    for run in runs:
        depth = run.spec.model.dimensions["n_layer"]
        part = run.spec.model.parametrisation
        power = 1.0 if part is not None and part.name == "mup" else 0.0
        change = 4.0 * (1 + 0.01 * run.spec.seed) * (depth / 2) ** power
        metrics[run.record.run_id] = dict.fromkeys(run.record.metrics, change)
    evidence = Evidence(
        runs=tuple(
            dataclasses.replace(
                run, record=dataclasses.replace(run.record, metrics=metrics[run.record.run_id])
            )
            for run in runs
        ),
        settings=experiment.settings(along="depth"),
    )
    findings = analysed(evidence)
    assert standings(findings)["flat_change"] and standings(findings)["change_grows"]
    assert findings.measures["change_exponent.mup.stream"] == pytest.approx(1, abs=0.01)
    assert findings.measures["change_exponent.completep.stream"] == pytest.approx(0, abs=0.01)
    assert "CompleteP passes the coordinate check over depth" in findings.verdict


def noisy(evidence: Evidence, deviation: float) -> Evidence:
    """The same runs; those of width 64 under muP scatter by a share of their loss."""
    rng = np.random.default_rng(0)

    def loss(run: Run) -> float | None:
        value = run.record.val_loss_nats
        if not is_mup(run) or run.spec.model.dimensions["d_model"] != 64 or value is None:
            return value
        return value * math.exp(deviation * rng.standard_normal())

    return changed(evidence, loss=loss)


def test_a_size_that_scatters_is_unbounded_alone_and_the_remedy_names_seeds_and_a_line(planted):
    findings = analysed(noisy(planted, 0.02))
    one_rate = {claim.name: claim for claim in findings.claims}["one_rate"]
    assert one_rate.established is None
    assert one_rate.because.startswith("1 of 4 widths (64) has a best rate that the noise of")
    assert "does not bound (table of best rates); about" in one_rate.because
    assert standings(findings)["rate_drifts"] is True
    (note,) = [note for note in findings.notes if "slaw run" in note]
    assert re.fullmatch(
        r"(\d+) seeds of the rates under muP: slaw run mup --set 'grid\.6\.seeds=\[0, 1, .*\]'",
        note,
    )
    assert len(re.findall(r"\d+", note.partition("seeds=")[2])) == int(note.split()[0])


def test_minima_that_the_noise_does_not_bound_stand_beside_the_literature(planted):
    rows = {row.what: row.ours for row in analysed(noisy(planted, 0.02)).literature}
    measured = rows["best learning rates over width, muP"]
    assert "(unbounded) at 64" in measured and "a factor of" in measured


def test_a_check_that_is_too_noisy_contradicts_nothing(planted):
    """The change of one width in standard, 8 times too small: an exponent of any size."""

    def damped(run: Run) -> Run:
        small = not is_mup(run) and run.spec.model.dimensions["d_model"] == 128
        metrics = {k: v / (8 if small else 1) for k, v in run.record.metrics.items()}
        return dataclasses.replace(run, record=dataclasses.replace(run.record, metrics=metrics))

    evidence = dataclasses.replace(planted, runs=tuple(map(damped, planted.runs)))
    assert standings(analysed(evidence))["change_grows"] is None


def test_best_rates_that_may_lie_further_apart_than_seen_leave_one_rate_open(planted):
    findings = analysed(noisy(planted, 0.012))
    claims = {claim.name: claim for claim in findings.claims}
    assert claims["one_rate"].established is None
    assert claims["rate_drifts"].established is True
