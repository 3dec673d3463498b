"""A report's own table of runs, read back: the same points as its folder's."""

from __future__ import annotations

import csv
import dataclasses

import pytest

from scaling_law.cli.main import main
from scaling_law.errors import ConfigError, FitError
from scaling_law.files.layout import SweepDir
from scaling_law.files.record import write_record
from scaling_law.fit.points.dataset import gather_fit_data
from scaling_law.fit.points.table import read_table
from scaling_law.fit.points.table_settings import TableSettings, parse_columns
from scaling_law.fit.session import fit_sources
from scaling_law.fit.suite import FitSettings
from scaling_law.report.evidence import gather_evidence
from scaling_law.report.exports import write_tables
from tests.fakes import planted_records

BY_HAND = "params=params_matmul,tokens=tokens,loss=val_loss_nats,cluster=trunk"


@pytest.fixture(scope="module")
def sweep(tmp_path_factory):
    """The ladder with a run that diverged, its fit, and the tables of its report."""
    sweep = SweepDir(tmp_path_factory.mktemp("exported") / "ladder")
    records = planted_records()
    for record in records[:-1]:
        write_record(sweep.run(record.run_id), record)
    lost = dataclasses.replace(records[-1], status="diverged", val_loss_nats=None, message="nan")
    write_record(sweep.run(lost.run_id), lost)
    fit_sources([sweep.path], FitSettings(resamples=0))
    write_tables(gather_evidence(sweep, 1e9), sweep.tables)
    return sweep


@pytest.mark.parametrize("columns", ["", BY_HAND])
def test_an_export_gives_the_points_of_its_folder(sweep, columns):
    settings = TableSettings(columns=parse_columns(columns) if columns else {})
    points = read_table(sweep.tables / "runs.csv", settings)
    folder = gather_fit_data([sweep.path]).points
    # in the same order: a bootstrap's draws then fall on the same runs
    assert list(points.run_id) == list(folder.run_id) and points.n_clusters == 8
    assert list(points.loss_nats) == list(folder.loss_nats)
    assert list(points.flops) == list(folder.flops)
    assert points.convention == folder.convention and points.annealed
    dropped, known = dict(points.dropped), dict(folder.dropped)
    assert dropped == known and len(dropped) == 9
    assert "diverged: nan" in dropped.values()


def test_convention_and_exclusions_of_an_export_can_be_chosen(sweep):
    path = sweep.tables / "runs.csv"
    total = read_table(path, convention="total")
    assert total.convention["params"] == "total"
    named = TableSettings(columns={"params": "params_non_embedding"})
    assert read_table(path, named).convention["params"] == "non_embedding"
    hot = read_table(path, keep=["not_annealed"])
    assert len(hot) == 39 and not hot.annealed
    with pytest.raises(ConfigError, match="no column 'params_active'"):
        read_table(path, TableSettings(params_are="active"))
    one = read_table(path, TableSettings(where=("size=nano55k", "kind=branch")))
    assert set(one.seed) == {0, 1, 2} and "12 of 40 rows chosen" in one.notes[0]


def test_an_export_without_a_fit_is_recognised_by_kind_and_status(sweep, tmp_path):
    rows = list(csv.DictReader((sweep.tables / "runs.csv").read_text().splitlines()))
    path = tmp_path / "runs.csv"
    with path.open("w") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        for number, row in enumerate(rows):
            recipe = "optim.lr_mult=0.3" if number % 2 else "optim.lr_mult=1"
            writer.writerow(row | {"fitted": "False", "left_out": "", "recipe": recipe})
    points = read_table(path)
    assert len(points) == 31 and len(points.dropped) == 9
    with pytest.raises(FitError, match=r"--where '?recipe=optim.lr_mult=[01]"):
        gather_fit_data([path])
    where = TableSettings(where=("recipe=optim.lr_mult=0.3",))
    assert set(gather_fit_data([path], table=where).points.recipe) == {"optim.lr_mult=0.3"}


def test_rows_of_other_programs_are_not_called_annealed(tmp_path, capsys):
    text = "".join(
        f"{n},{d},{1.8 + 60 * n**-0.34 + 200 * d**-0.37}\n"
        for n in (1e4, 2e4, 4e4, 8e4)
        for d in (1e6, 2e6, 4e6)
    )
    (tmp_path / "t.csv").write_text("params,tokens,loss\n" + text)
    assert main(["fit", str(tmp_path / "t.csv"), "--resamples", "0"]) == 0
    said = capsys.readouterr().out
    assert "annealed" not in said
    assert said.startswith("12 points from 12 independent trunks (4 sizes; whether their learning")
