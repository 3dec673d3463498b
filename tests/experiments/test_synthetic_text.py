"""How synthetic_text builds its chains, and what bad evidence gives."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import pytest

from scaling_law import parts
from scaling_law.experiment.evidence import Evidence, Run
from scaling_law.experiment.findings import Claim
from scaling_law.spec.data import DataSpec
from scaling_law.spec.sampling import Draw
from tests.experiments.test_contract import experiment_of, planted_evidence
from tests.fakes import Noise

SYNTHETIC = parts.module_of("experiment", "synthetic_text")


@pytest.fixture(scope="module")
def planted() -> Evidence:
    return planted_evidence("synthetic_text")


def claims_of(evidence: Evidence) -> dict[str, Claim]:
    return {claim.name: claim for claim in experiment_of("synthetic_text").analyse(evidence).claims}


def proposed(evidence: Evidence) -> Mapping[str, Any] | None:
    propose = experiment_of("synthetic_text").propose
    assert propose is not None
    return propose(evidence)


def grid_of(evidence: Evidence) -> list[dict[str, Any]]:
    """The grid of the stage after the evidence."""
    changes = proposed(evidence)
    assert changes is not None
    grid: list[dict[str, Any]] = changes["grid"]
    return grid


def with_losses(evidence: Evidence, loss: Callable[[int, float, int], float]) -> Evidence:
    """The same runs with a loss on real text by generation, share and chain, but for some noise."""

    def changed(run: Run) -> Run:
        place = SYNTHETIC.place_of(run.spec)
        value = Noise(run.record.run_id).on(loss(place.generation, place.share, place.chain))
        metrics = {**run.record.metrics, "loss.val:real": value}
        return dataclasses.replace(run, record=dataclasses.replace(run.record, metrics=metrics))

    return dataclasses.replace(evidence, runs=tuple(map(changed, evidence.runs)))


def until(evidence: Evidence, stage: int) -> Evidence:
    """The evidence when a stage has ended."""
    runs = tuple(run for run in evidence.runs if run.stage <= stage)
    return dataclasses.replace(evidence, runs=runs)


def test_the_second_stage_mixes_text_of_each_first_model_in_every_share(planted):
    grid = grid_of(until(planted, 1))
    assert [entry["seeds"] for entry in grid] == [[1000], [1001], [1002]]
    firsts = {run.spec.seed: run.record.run_id for run in until(planted, 1).runs}
    for chain, entry in enumerate(grid):
        (corpus,) = entry["axes"]["data.sources.generation1.corpus"]
        assert corpus["samples"]["run"] == firsts[chain]
        mixtures = entry["axes"]["data.mix"]
        assert [mix.get("real", 0) for mix in mixtures] == [0.75, 0.5, 0.25, 0]


def test_later_stages_replace_or_accumulate(planted):
    grid = grid_of(until(planted, 3))
    replace, accumulate = grid[0], grid[3]
    assert replace["seeds"] == accumulate["seeds"] == [3000]
    assert replace["axes"]["data.mix"] == [{"generation3": 1}]
    assert set(accumulate["axes"]["data.mix"][0].values()) == {0.25}
    corpora = [key for key in accumulate["axes"] if key.endswith(".corpus")]
    assert len(corpora) == 3
    # the text of the first generation is that which the second stage drew
    first = accumulate["axes"]["data.sources.generation1.corpus"][0]["samples"]
    second = grid_of(until(planted, 1))[0]
    assert first == second["axes"]["data.sources.generation1.corpus"][0]["samples"]


def test_it_ends_after_the_generations_that_are_asked_for(planted):
    assert proposed(planted) is None
    settings = dataclasses.replace(planted.settings, generations=2)
    few = dataclasses.replace(until(planted, 3), settings=settings)
    assert proposed(few) is None
    claim = claims_of(few)["replacing_harms"]
    assert claim.established is None and "has 2 generations" in claim.because


def test_a_chain_that_accumulates_can_collapse_as_well(planted):
    def loss(generation: int, share: float, chain: int) -> float:
        return 2.5 + 0.1 * generation + 0.01 * chain

    claims = claims_of(with_losses(planted, loss))
    assert claims["replacing_collapses"].established is True
    assert claims["accumulating_avoids_it"].established is False


def test_chains_that_do_not_rise_avoid_nothing(planted):
    claims = claims_of(
        with_losses(planted, lambda generation, share, chain: 2.5 - 0.1 * generation)
    )
    assert claims["replacing_harms"].established is False
    assert claims["accumulating_avoids_it"].established is None


def test_a_share_of_synthetic_text_can_be_best(planted):
    def loss(generation: int, share: float, chain: int) -> float:
        return 2.5 + (share - 0.5) ** 2 + 0.01 * chain

    claim = claims_of(with_losses(planted, loss))["real_text_is_best"]
    assert claim.established is False and "50% 2.510" in claim.because


def test_chains_of_any_seed_stand_apart(planted):
    def moved(run: Run) -> Run:
        spec = dataclasses.replace(run.spec, seed=run.spec.seed + 1000)
        return dataclasses.replace(run, record=dataclasses.replace(run.record, spec=spec))

    later = tuple(map(moved, planted.runs))
    both = dataclasses.replace(planted, runs=(*planted.runs, *later))
    chains = SYNTHETIC.seen_in(both).chain("replace")
    assert len(chains) == 5
    assert {tuple(by) for by in chains.values()} == {(0, 1, 2, 1000, 1001, 1002)}


def test_a_run_of_no_chain_has_no_place(planted):
    run = max(planted.runs, key=lambda run: run.spec.seed)
    assert SYNTHETIC.place_of(dataclasses.replace(run.spec, seed=999)) is None


def test_runs_of_another_recipe_are_left_out_and_counted(planted):
    def changed(run: Run, **fields: Any) -> Run:
        spec = dataclasses.replace(run.spec, **fields)
        metrics = {"loss.val:real": 9.0}
        record = dataclasses.replace(run.record, spec=spec, metrics=metrics)
        return dataclasses.replace(run, record=record)

    late = next(run for run in planted.runs if run.stage == 2)
    first = next(run for run in planted.runs if run.stage == 1)
    more = [
        changed(late, optim=dataclasses.replace(late.spec.optim, weight_decay=0.5)),
        changed(first, total_steps=2 * first.spec.total_steps),
    ]
    mixed = dataclasses.replace(planted, runs=(*planted.runs, *more))
    findings = experiment_of("synthetic_text").analyse(mixed)
    assert findings.measures == experiment_of("synthetic_text").analyse(planted).measures
    assert any("another recipe of training or of drawing: 2" in note for note in findings.notes)


def drawn_with(evidence: Evidence, settings: Any, mark: str) -> tuple[Run, ...]:
    """The runs after the first stage, as if their text was drawn with such settings.

    Their ids end in ``mark``. A run reads text of the first stage's run of its chain, then of the
    run that replaces, as a sweep's folder names it.
    """
    firsts = {run.spec.seed: run.record.run_id for run in until(evidence, 1).runs}
    runs: list[Run] = []
    for run in sorted(evidence.runs, key=lambda run: run.stage):
        place = SYNTHETIC.place_of(run.spec)
        if run.stage == 1:
            continue
        assert isinstance(run.spec.data, DataSpec)
        sources = []
        for source in run.spec.data.sources or ():
            if source.name != "real":
                number = int(source.name.removeprefix("generation"))
                earlier = [one for one in runs if one.stage == number
                           and SYNTHETIC.place_of(one.spec).chain == place.chain]  # fmt: skip
                run_id = earlier[-1].record.run_id if earlier else firsts[place.chain]
                draw = Draw(
                    run=run_id, count=settings.texts, tokens=run.spec.model.n_ctx,
                    temperature=settings.temperature, seed=place.chain + 1000 * number,
                )  # fmt: skip
                corpus = f"results/mine/samples/{draw.name}"
                source = dataclasses.replace(source, corpus=corpus)
            sources.append(source)
        data = dataclasses.replace(run.spec.data, sources=tuple(sources))
        spec = dataclasses.replace(run.spec, data=data)
        record = dataclasses.replace(run.record, spec=spec, run_id=run.record.run_id + mark)
        runs.append(dataclasses.replace(run, record=record))
    return tuple(runs)


@pytest.mark.parametrize("changed", [{"temperature": 0.5}, {"texts": 99}])
def test_text_that_was_drawn_with_other_settings_is_left_out_and_counted(planted, changed):
    """A sweep that goes on with another temperature has runs of both at the same places."""
    settings = planted.settings
    firsts = until(planted, 1).runs
    ours = dataclasses.replace(planted, runs=(*firsts, *drawn_with(planted, settings, "-a")))
    other = drawn_with(planted, dataclasses.replace(settings, **changed), "-b")
    worse = with_losses(dataclasses.replace(planted, runs=other), lambda *place: 9.0).runs
    analyse = experiment_of("synthetic_text").analyse
    both = analyse(dataclasses.replace(ours, runs=(*ours.runs, *worse)))
    assert both.measures == analyse(ours).measures == analyse(planted).measures
    assert any(f"of drawing: {len(worse)}" in note for note in both.notes)


def test_one_chain_decides_nothing(planted):
    alone = tuple(run for run in planted.runs if SYNTHETIC.place_of(run.spec).chain == 0)
    claims = claims_of(dataclasses.replace(planted, runs=alone))
    assert {claim.established for claim in claims.values()} == {None}


def test_runs_without_the_loss_on_real_text_are_counted(planted):
    bare = tuple(
        dataclasses.replace(run, record=dataclasses.replace(run.record, metrics={}))
        for run in planted.runs
    )
    findings = experiment_of("synthetic_text").analyse(dataclasses.replace(planted, runs=bare))
    assert any(note.startswith("runs left out") and str(len(bare)) in note
               for note in findings.notes)  # fmt: skip
    assert findings.verdict.startswith("Not established: no run on real text")


def test_a_config_without_a_source_of_that_name_is_said_to_have_none(planted):
    config = {**planted.config, "data": {"sources": {"mine": {"corpus": "paragraphs"}}}}
    evidence = dataclasses.replace(planted, config=config, runs=())
    findings = experiment_of("synthetic_text").analyse(evidence)
    assert findings.verdict == (
        "Not established: no source of the config is called real; data.sources.real."
    )
    assert proposed(evidence) is None
