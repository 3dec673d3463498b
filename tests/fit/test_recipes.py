"""Sweeps of several recipes, and folders of several sweeps, are never silently fitted as one."""

from __future__ import annotations

import dataclasses
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest

from scaling_law.cli.main import main
from scaling_law.errors import ConfigError, FitError
from scaling_law.files.layout import SweepDir
from scaling_law.files.record import RunRecord, write_record
from scaling_law.fit.checks.monotone import seed_noise
from scaling_law.fit.points.dataset import from_records, gather, gather_fit_data
from scaling_law.fit.points.table_settings import TableSettings
from scaling_law.fit.recipes.compare_recipes import compare_sweeps
from scaling_law.fit.session import fit_sources, known_laws
from scaling_law.fit.suite import FitSettings
from scaling_law.spec.fields import of_axis
from scaling_law.spec.from_json import run_spec_from_json
from scaling_law.spec.model import ModelSpec
from scaling_law.spec.to_json import to_json
from tests.fakes import ladder_config, planted_records, tiny_spec

NOISE = 0.003


def records_of(worse: float = 0.0, **optim) -> list[RunRecord]:
    """The ladder's runs under a recipe, with losses ``worse`` by that share."""
    config = ladder_config()
    config = dataclasses.replace(config, optim=dataclasses.replace(config.optim, **optim))
    generator = np.random.default_rng(round(1000 * worse))
    return [
        dataclasses.replace(
            record,
            val_loss_nats=record.val_loss_nats
            * (1 + worse)
            * float(np.exp(NOISE * generator.normal())),
        )
        for record in planted_records(0.0, config)
        if record.val_loss_nats is not None
    ]


@pytest.fixture(scope="module")
def results(tmp_path_factory) -> Path:
    """Three sweeps of one grid: a recipe, a third of its learning rate, twice its batch."""
    folder = tmp_path_factory.mktemp("results")
    for name, worse, optim in (
        ("base", 0.0, {}),
        ("low", 0.08, {"lr_mult": 0.3}),
        ("wide", 0.03, {"batch_tokens": 1024}),
    ):
        for record in records_of(worse, **optim):
            write_record(SweepDir(folder / name).run(record.run_id), record)
    return folder


def test_sweeps_of_two_recipes_are_refused_with_differences_and_options(results):
    base, low = results / "base", results / "low"
    with pytest.raises(FitError) as caught:
        gather_fit_data([base, low])
    said = str(caught.value)
    assert said == (
        "runs of 2 recipes, and a law describes one: optim.lr_mult=1 in 32 runs of"
        f" {base}; optim.lr_mult=0.3 in 32 runs of {low}; compare them with"
        f" `slaw report {base} {low}`, fit each folder alone, or all as one with --keep recipes"
    )
    with pytest.raises(FitError, match=r"of 3 recipes.*optim.batch_tokens=1024"):
        gather_fit_data([base, low, results / "wide"])


def test_pooled_recipes_have_separate_trunks_and_only_seed_noise(results):
    alone = [gather_fit_data([results / name]).points for name in ("base", "low")]
    assert [points.n_clusters for points in alone] == [8, 8]
    mixed = gather_fit_data([results / "base", results / "low"], keep=["recipes"]).points
    assert mixed.n_clusters == 16
    noise = seed_noise(mixed)[0]
    own = [seed_noise(points)[0] or 0.0 for points in alone]
    assert noise is not None and min(own) > 0
    # pooled over as many repeats of each
    assert noise == pytest.approx(np.sqrt(np.mean(np.square(own))))
    assert noise < 2 * NOISE, "the recipes are 8% apart"
    assert any("2 recipes fitted as one" in note for note in mixed.notes)


def test_conditions_select_one_of_two_recipes_in_a_folder(tmp_path, results):
    both = SweepDir(tmp_path / "both")
    for name in ("base", "low"):
        for record in gather([results / name])[0]:
            write_record(both.run(record.run_id), record)
    with pytest.raises(FitError, match=r"fit one recipe with --where 'optim.lr_mult=1', or all"):
        gather_fit_data([both.path])
    where = TableSettings(where=("optim.lr_mult=0.3",))
    chosen = gather_fit_data([both.path], table=where).points
    assert chosen.run_id == gather_fit_data([results / "low"]).points.run_id
    assert chosen.notes[0] == "40 of 80 runs chosen by optim.lr_mult=0.3"
    suite, kept = fit_sources([both.path], table=where)
    assert kept is None and len(suite.points) == 32, "a sweep's own fit is of all its runs"
    assert known_laws(both.path, where).laws["chinchilla"].n_points == 32
    for words, said in (("optim.lr_mult=7", "no run has"), ("colour=red", "no column 'colour'")):
        with pytest.raises(ConfigError, match=said):
            gather_fit_data([both.path], table=TableSettings(where=(words,)))
    with pytest.raises(ConfigError, match="are for tables"):
        gather_fit_data([both.path], table=TableSettings(params_are="total"))


def test_one_recipe_from_several_folders_is_fitted_together(results, tmp_path):
    records = records_of()
    more = [r for r in records if r.spec.seed == 2]
    for record in more:
        write_record(SweepDir(tmp_path / "seeds").run(record.run_id), record)
    rest = SweepDir(tmp_path / "rest")
    for record in records:
        if record.spec.seed != 2:
            write_record(rest.run(record.run_id), record)
    whole = from_records(records, convention="matmul", flops="exact").points
    points = gather_fit_data([rest.path, tmp_path / "seeds"]).points
    assert points.cluster == whole.cluster and points.n_clusters == 8


@pytest.mark.parametrize(
    "words",
    [
        ("fit", "."),
        ("fit",),
        ("validate", "."),
        ("extrapolate", "--params", "1e9", "--results", "."),
        ("extrapolate", "--params", "1e9"),
        ("allocate", "--flops", "1e15", "--results", "."),
        ("plan", ".", "--target", "1e8", "--flops", "1e13"),
        ("run", "."),
    ],
)
def test_a_folder_of_several_sweeps_is_refused_with_their_names(
    results, monkeypatch, tmp_path, capsys, words
):
    (tmp_path / "results").symlink_to(results)
    monkeypatch.chdir(results if "." in words else tmp_path)
    assert main(list(words)) == 2
    said = capsys.readouterr().err
    head = "" if "." in words else "results/"
    assert "3 sweeps there; name one" in said
    assert all(f"{head}{name}" in said for name in ("base", "low", "wide"))
    assert not (results / "fits").exists()


def test_a_fit_of_several_sweeps_is_neither_saved_nor_read(results, tmp_path):
    with pytest.raises(ConfigError, match="a folder of sweeps, whose own fits are read"):
        fit_sources([results / "base"], FitSettings(resamples=0), out=results)
    apart = tmp_path / "fit"
    _, kept = fit_sources([results / "base"], FitSettings(resamples=0), out=apart)
    assert kept == apart / "fits" / "fit.json" and known_laws(apart).best_law
    # one left there by an earlier version
    for name in ("base", "low"):
        (apart / name).symlink_to(results / name)
    with pytest.raises(ConfigError, match="2 sweeps there; name one with --results"):
        known_laws(apart)


@pytest.fixture
def later_model(monkeypatch):
    """``ModelSpec`` as a later version may have it: with ``rope_base`` and ``n_memory`` as well."""
    added = [
        ("rope_base", float, dataclasses.field(default=1e4)),
        ("n_memory", int, dataclasses.field(default=0, metadata=of_axis("size"))),
    ]
    kind = dataclasses.make_dataclass(
        "LaterModelSpec", added, bases=(ModelSpec,), frozen=True, kw_only=True
    )
    # the decoder remembers RunSpec's types: let it see today's first, for the tests that follow
    run_spec_from_json(to_json(tiny_spec()))
    monkeypatch.setattr("scaling_law.spec.from_json.ModelSpec", kind)
    return kind


@pytest.mark.parametrize(
    ("name", "values", "said"),
    [
        ("rope_base", (1e4, 5e5), "model.rope_base=10000 in 32 runs"),
        ("n_memory", (0, 4), None),
    ],
)
def test_a_fit_refuses_a_new_field_of_a_spec_unless_it_is_of_another_axis(
    later_model, tmp_path, capsys, name, values, said
):
    sweep = SweepDir(tmp_path / "sweep")
    for record in records_of():
        shape = {f.name: getattr(record.spec.model, f.name) for f in fields(ModelSpec)}
        for value in values:
            model = later_model(**shape, **{name: value})
            spec = dataclasses.replace(record.spec, model=model)
            write_record(
                sweep.run(spec.run_id), dataclasses.replace(record, spec=spec, run_id=spec.run_id)
            )
    status = main(["fit", str(sweep.path), "--law", "chinchilla", "--resamples", "0"])
    error = capsys.readouterr().err
    if said is None:
        assert (status, error) == (0, "")
    else:
        assert status == 4 and "runs of 2 recipes, and a law describes one" in error
        assert said in error and "model.rope_base=500000 in 32 runs" in error


def test_losses_of_two_objectives_are_neither_pooled_nor_compared():
    records = planted_records()
    other = [
        dataclasses.replace(r, loss_family="masked", loss_unit="nats per hidden token")
        for r in records
    ]
    with pytest.raises(FitError, match=r"different objectives \(masked, next_token\)"):
        from_records([*records, *other], convention="matmul", flops="exact", keep=("recipes",))
    with pytest.raises(ConfigError, match="A: next_token; B: masked"):
        compare_sweeps(records, other, ("A", "B"))
    assert compare_sweeps(other, other, ("A", "B")).unit == "nats per hidden token"
