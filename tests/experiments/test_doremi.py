"""What ``doremi`` says of runs that do not support a claim, and what it trains next."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from scaling_law.config.load import load_config
from scaling_law.errors import ConfigError
from scaling_law.experiment.evidence import Run
from scaling_law.experiment.findings import Findings
from tests.experiments.changed import findings_with, standing, with_metrics
from tests.experiments.test_contract import planted_evidence
from tests.fakes import Noise

NAME = "doremi"
ANSWER = "group_dro.mean_weight."


def changed(change: Callable[[Run], dict[str, float] | None]) -> Findings:
    """The findings with other metrics of some runs; None is a run that has not finished."""

    def one(run: Run) -> Run | None:
        metrics = change(run)
        return None if metrics is None else with_metrics(run, metrics)

    return findings_with(NAME, one)


def moved(run: Run, amount: float) -> dict[str, float]:
    """Every loss of a run by component, moved by ``amount`` nats."""
    own = run.record.metrics
    return {name: value + amount for name, value in own.items() if name.startswith("loss.")}


def test_each_reference_gets_a_proxy_and_the_larger_model_what_they_found():
    runs = planted_evidence(NAME).runs
    proxies = [run for run in runs if run.stage == 2]
    references = {run.record.run_id: run for run in runs if run.stage == 1}
    assert len(proxies) == 8
    for run in proxies:
        assert run.spec.reference is not None
        reference = references[run.spec.reference.run_id]
        assert (run.spec.seed, run.spec.model) == (reference.spec.seed, reference.spec.model)
        assert "0.333" in str(run.spec.mix), "a proxy reads all domains alike"
    larger = [run for run in runs if run.stage == 3]
    # both references' proxies find one mixture here, which is trained once
    assert [run.spec.seed for run in larger] == [0, 1, 2, 3]
    assert {str(run.spec.mix) for run in larger} == {"cpp=0.4 py-code=0.3 py-docs=0.3"}


def test_before_the_third_stage_nothing_is_said_of_gains():
    findings = changed(lambda run: None if run.stage == 3 else {})
    claims = standing(findings)
    assert claims["mixture_is_determined"] is True and claims["natural.mean_beats_natural"] is None
    assert "cpp 0.40" in findings.verdict and "nats" not in findings.verdict


def test_a_gain_within_the_noise_of_seeds_is_a_tie():
    def noise(run: Run) -> dict[str, float]:
        return moved(run, 0.5 * (-1) ** run.spec.seed) if run.stage == 3 else {}

    findings = changed(noise)
    assert standing(findings)["natural.worst_beats_natural"] is None
    assert "a tie" in findings.verdict


def test_a_mixture_that_ends_higher_contradicts():
    findings = changed(lambda run: moved(run, 0.5) if run.stage == 3 else {})
    claims = standing(findings)
    assert claims["natural.worst_beats_natural"] is False
    assert claims["uniform.mean_beats_uniform"] is False
    assert findings.measures["faster.natural"] is not None, "the curves are those of before"


def test_seeds_that_find_other_mixtures_determine_none():
    def apart(run: Run) -> dict[str, float]:
        shift = 0.2 * (-1) ** run.spec.seed
        shares = {f"{ANSWER}cpp": 0.4 + shift, f"{ANSWER}py-code": 0.3 - shift}
        return {} if run.spec.reference is None else shares

    findings = changed(apart)
    assert standing(findings)["mixture_is_determined"] is None
    assert "single seeds differ by up to 0.40" in findings.verdict


def test_weights_that_end_at_the_references_shares_return_to_them():
    natural = {"cpp": 0.146, "py-code": 0.653, "py-docs": 0.201}
    uniform = dict.fromkeys(natural, 1 / 3)
    evidence = planted_evidence(NAME)
    by_id = {run.record.run_id: str(run.spec.mix) for run in evidence.runs}

    def returning(run: Run) -> dict[str, float]:
        """The second half, from step 150 of 300 on, is at the reference's own shares."""
        if run.spec.reference is None:
            return {}
        own = natural if by_id[run.spec.reference.run_id] == "natural" else uniform
        early = {"cpp": 0.4, "py-code": 0.3, "py-docs": 0.3}
        noise = Noise(run.record.run_id)
        return {ANSWER + name: noise.on((early[name] + share) / 2) for name, share in own.items()}

    findings = changed(returning)
    claims = standing(findings)
    assert claims["weights_return"] is True and claims["weights_settle"] is False
    assert claims["reference_decides"] is True
    assert "a proxy's weights are its reference's own shares within 0.1" in findings.verdict


def test_one_seed_gives_no_claim():
    findings = changed(lambda run: {} if run.spec.seed == 0 else None)
    assert standing(findings)["natural.mean_beats_natural"] is None
    assert findings.verdict.startswith("Not established: one seed has finished")


@pytest.mark.parametrize("setting", ["step_size=0", "smoothing=1.5", "smoothing=nan"])
def test_settings_that_group_dro_cannot_have_are_refused(setting):
    with pytest.raises(ConfigError, match=setting.partition("=")[0]):
        load_config(NAME, device_kind="cpu", overrides=[f"experiment.{setting}"])


@pytest.mark.parametrize(
    ("data", "why"),
    [
        ("data={corpus: installed, domains: [cpp], mix: natural}", "the one domain cpp"),
        ("data={source: copy}", "the data have none: it is a task"),
    ],
)
def test_data_without_several_domains_are_refused(data, why):
    changes = [data, "model={}", "grid=[{sizes: [nano14k], steps: [10]}]"]
    with pytest.raises(ConfigError, match=why):
        load_config(NAME, device_kind="cpu", overrides=changes)


@pytest.mark.parametrize("name", ["doremi", "mixing", "annealing", "curriculum"])
def test_runs_without_a_mixture_are_refused_before_any_is_trained(name):
    changes = ["data={corpus: installed, tokenizer: bytes, vocab_size: 257}"]
    changes += ["grid=[{sizes: [nano14k], steps: [10]}]", "axes={optim.lr: [0.1, 0.2]}"]
    changes += ["experiment=" + name]
    with pytest.raises(ConfigError, match=r"with optim.lr=0.1 read none; expected data.mix"):
        load_config(name, device_kind="cpu", overrides=changes)
