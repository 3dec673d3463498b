"""Tables of other programs: what is read, left out with a reason, or refused in one line."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from scaling_law.errors import ConfigError, SlawError
from scaling_law.fit.points.table import points_from_columns, read_table
from scaling_law.fit.points.table_settings import TableSettings, parse_columns

HEAD = "params,tokens,loss\n"
TWO = "1e4,1e6,4\n2e4,1e6,3.9\n"


def write(folder: Path, text: str | bytes, name: str = "t.csv") -> Path:
    path = folder / name
    if isinstance(text, bytes):
        path.write_bytes(text)
    else:
        path.write_text(text, encoding="utf-8")
    return path


def test_a_plain_table_states_what_it_assumes(tmp_path):
    points = read_table(write(tmp_path, HEAD + TWO))
    assert points.flops.tolist() == [6e10, 12e10]
    assert points.convention == {
        "params": "not stated", "flops": "6nd", "loss": "nats per token",
    }  # fmt: skip
    assert any("--params-are" in note for note in points.notes)
    assert any("no cluster column" in note for note in points.notes)
    assert points.run_id == ("row 2", "row 3") and points.n_clusters == 2


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("bom.csv", "\ufeff" + HEAD + TWO),
        ("crlf.csv", (HEAD + TWO).replace("\n", "\r\n")),
        ("t.tsv", (HEAD + TWO).replace(",", "\t")),
        ("semicolon.csv", "params;tokens;loss\n1e4;1e6;4\n2e4;1e6;3,9\n"),
        ("spaces.csv", " Params , TOKENS ,loss\n 1e4 , 1e6 , 4\n\n2e4,1e6,3.9\n"),
        ("quoted.csv", '"params","tokens","loss"\n"1e4","1e6","4"\n"2e4","1e6","3.9"\n'),
        ("suffix.csv", HEAD + "10K,1M,4\n20K,1M,3.9\n"),
        ("t.jsonl", '{"params":1e4,"tokens":1e6,"loss":4}\n{"params":2e4,"tokens":1e6,"loss":3.9}'),
        ("t.json", '[{"params":1e4,"tokens":1e6,"loss":4},{"params":2e4,"tokens":1e6,"loss":3.9}]'),
        ("odd 'name'\n\".csv", HEAD + TWO),
    ],
)
def test_every_spelling_of_a_table_gives_the_same_points(tmp_path, name, text):
    points = read_table(write(tmp_path, text, name))
    assert points.params.tolist() == [1e4, 2e4]
    assert points.tokens.tolist() == [1e6, 1e6]
    assert points.loss_nats.tolist() == [4, 3.9]


def test_parquet_is_written_and_read_back(tmp_path):
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    path = tmp_path / "t.parquet"
    table = pyarrow.table({"N": [1e4, 2e4], "tokens": [10**6, 10**6], "loss": [4.0, 3.9]})
    parquet.write_table(table, path)
    points = read_table(path, TableSettings(columns={"params": "N"}, params_are="total"))
    assert points.params.tolist() == [1e4, 2e4]
    assert points.convention["params"] == "total"
    with pytest.raises(ConfigError, match="not a parquet table"):
        read_table(write(tmp_path, "PAR1 no", "bad.parquet"))
    when = pyarrow.array([1, 1_700_000_000_000_000_001], pyarrow.timestamp("ns"))
    parquet.write_table(table.append_column("when", when), path)
    assert len(read_table(path, TableSettings(columns={"params": "N"}))) == 2


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ("1e4,1e6,nan", "loss is missing"),
        ("1e4,1e6,inf", "loss is inf"),
        ("1e4,1e6,-3", "loss is -3"),
        ("1e4,0,4", "tokens is 0"),
        (",1e6,4", "params is "),
        ("1e4,1e6,n/a", "loss is n/a"),
        ("-1e4,1e6,4", "params is -1e4"),
        ("1e400,1e6,4", "params is 1e400"),
        ("True,1e6,4", "params is True"),
        ('1e4,1e6,"4\n5"', "loss is 4\\n5"),
    ],
)
def test_an_unusable_row_is_listed_with_its_line(tmp_path, row, reason):
    points = read_table(write(tmp_path, HEAD + TWO + row + "\n"))
    assert len(points) == 2
    ((name, why),) = points.dropped
    assert name == "row 4" and why.startswith(reason) and "expected a number above 0" in why


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("t.csv", "", "no rows"),
        ("t.csv", HEAD, "no rows"),
        ("t.csv", HEAD + "1e4,1e6,4\n", "1 of 1 rows can be used"),
        (
            "t.csv",
            HEAD + "1e4,1e6,nan\n1e4,1e6,4\n",
            "1 of 2 rows can be used, expected at least 2; first: row 2",
        ),
        ("t.csv", HEAD + "a,b,c\n" * 3, "t.csv:2: column for params has 'a', expected numbers"),
        ("t.csv", "N,D,val_loss\n" + TWO, "--columns params=N,tokens=D,loss=val_loss"),
        ("t.csv", "params,tokens\n1,2\n", "no column loss; found params, tokens"),
        ("t.csv", "1e4,1e6,4\n" + TWO, "t.csv:1: no column names: the first line holds"),
        ("t.csv", HEAD + "1e4,1e6\n", "t.csv:2: 2 cells, the header has 3"),
        ("t.csv", "params,params,tokens,loss\n1,2,3,4\n", "column params is there twice"),
        ("t.csv", "params,tokens,Loss,loss\n1,2,3,4\n", "column loss is there twice (Loss, loss)"),
        ("t.csv", '"a\nb",tokens,loss\n1,2,3\n', "found a\\nb, tokens, loss"),
        ("a\nb.csv", "", "a\\nb.csv: no rows"),
        ("t.csv", HEAD + '1,2,"3\n4"\n1,2\n', "t.csv:4: 2 cells"),
        ("t.csv", b"params,tokens,loss\n\xff\xfe,1,2\n", "cannot be read"),
        ("t.csv", "params,tokens,loss\n1\0,1,2\n", "NUL"),
        ("t.jsonl", '{"params": 1}\n[1, 2]\n', "t.jsonl:2: a JSON list, expected an object"),
        ("t.jsonl", '{"params": 1\n', "t.jsonl:1: not JSON"),
        ("t.json", "{}", "expected a JSON list"),
        ("t.json", "nope", "not JSON"),
        ("t.xlsx", "x", "expected a file .csv"),
    ],
)
def test_an_unreadable_table_is_one_line_with_its_place(tmp_path, name, text, said):
    with pytest.raises(ConfigError) as caught:
        read_table(write(tmp_path, text, name))
    assert said in str(caught.value)
    assert len(caught.value.lines) == 1 and str(caught.value).isprintable()


def test_missing_files_and_folders_are_named(tmp_path):
    with pytest.raises(ConfigError, match="cannot be read"):
        read_table(tmp_path / "no.csv")
    with pytest.raises(ConfigError, match="a folder"):
        read_table(tmp_path)
    with pytest.raises(ConfigError, match="no path"):
        read_table(Path("a\0b.csv"))


def test_the_user_maps_columns_to_roles(tmp_path):
    text = "N,D,L,C,trunk,s,err,name\n1e4,1e6,4,7e10,a,0,.01,x\n2e4,1e6,3.9,1e11,a,1,,x\n"
    roles = "params=N,tokens=D,loss=L,flops=C,cluster=trunk,seed=s,sem=err,run_id=name"
    points = read_table(write(tmp_path, text), TableSettings(columns=parse_columns(roles)))
    assert points.flops.tolist() == [7e10, 1e11] and points.convention["flops"] == "as given"
    assert points.cluster == ("a", "a") and points.seed == (0, 1)
    assert points.loss_sem_nats[0] == 0.01 and math.isnan(points.loss_sem_nats[1])
    assert points.run_id == ("x (row 2)", "x (row 3)")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("parms=N", "role 'parms' (did you mean params?)"),
        ("params", "'params': expected ROLE=COLUMN"),
        ("params=N,params=M", "params is given twice"),
    ],
)
def test_bad_column_maps_are_refused(text, said):
    with pytest.raises(ConfigError) as caught:
        parse_columns(text)
    assert said in str(caught.value)


def test_units_are_converted_and_reported(tmp_path):
    path = write(tmp_path, HEAD + TWO)
    points = read_table(path, TableSettings(loss_unit="bits"))
    assert points.loss_nats[0] == pytest.approx(4 * math.log(2))
    per_byte = read_table(path, TableSettings(loss_unit="bits-per-byte"))
    assert per_byte.convention["loss"] == "nats per byte"
    for change in ({"loss_unit": "joules"}, {"params_are": "all"}, {"columns": {"x": "y"}}):
        with pytest.raises(ConfigError, match="expected"):
            TableSettings(**change)


def test_conditions_select_rows(tmp_path):
    path = write(tmp_path, "params,tokens,loss,set\n1e4,1e6,4,c4\n2e4,1e6,3.9,c4\n1,1,9,rpj\n")
    points = read_table(path, TableSettings(where=("set=c4", "loss<5")))
    assert len(points) == 2 and "2 of 3 rows chosen" in points.notes[0]
    for where, said in (("split=a", "no column 'split'"), ("set", "expected COLUMN=VALUE")):
        with pytest.raises(ConfigError, match=said):
            read_table(path, TableSettings(where=(where,)))
    with pytest.raises(ConfigError, match=r"no row has set=x; found set 'c4', 'rpj'$"):
        read_table(path, TableSettings(where=("set=x",)))
    with pytest.raises(
        ConfigError, match=r"no row has set=rpj and loss<5; found loss '9' where set=rpj$"
    ):
        read_table(path, TableSettings(where=("set=rpj", "loss<5")))


def test_an_empty_cell_meets_no_comparison(tmp_path):
    text = "params,tokens,loss,epochs\n1e4,1e6,4,\n2e4,1e6,4,9\n3e4,1e6,4,1\n4e4,1e6,4,2\n"
    path = write(tmp_path, text)
    for where, kept in (("epochs<=4", [3e4, 4e4]), ("epochs!=9", [1e4, 3e4, 4e4])):
        assert read_table(path, TableSettings(where=(where,))).params.tolist() == kept
    rows = [{"params": 1e4, "tokens": 1e6, "loss": 4, "e": e} for e in (10**400, None, 1, 2, True)]
    path = write(tmp_path, "\n".join(map(json.dumps, rows)), "t.jsonl")
    assert read_table(path, TableSettings(where=("e<=4",))).run_id == ("row 3", "row 4", "row 5")


def test_rows_without_a_trunk_or_name_are_not_merged(tmp_path):
    rows: list[dict[str, Any]] = [{"params": 1e4, "tokens": 1e6, "loss": 4} for _ in range(4)]
    rows[0] |= {"run_id": "x", "cluster": "a", "seed": 3, "sem": math.inf, "note": "a\u2028b"}
    rows[1] |= {"run_id": "x", "cluster": "a"}
    rows[2] |= {"run_id": "x (row 1)", "cluster": None}
    text = "\n".join(json.dumps(row, ensure_ascii=False) for row in rows)
    points = read_table(write(tmp_path, text, "t.jsonl"))
    assert len(set(points.run_id)) == 4 and not any("None" in name for name in points.run_id)
    assert points.n_clusters == 3 and points.cluster[:2] == ("a", "a")
    assert np.isnan(points.loss_sem_nats).all()


def test_overflowing_numbers_are_left_out_with_the_reason(tmp_path):
    points = read_table(write(tmp_path, HEAD + TWO + "1e4,1e6,3\n1e300,1e300,3\n"))
    assert [name for name, _ in points.dropped] == ["row 5"]
    path = write(tmp_path, "params,flops,loss\n1e300,1e-300,3\n1e4,1e10,4\n2e4,1e10,3.9\n")
    assert (read_table(path).tokens > 0).all() and len(read_table(path).dropped) == 1


def test_a_column_named_twice_is_refused(tmp_path):
    path = write(tmp_path, "params,tokens,L,L,loss\n1e4,1e6,9,9,4\n2e4,1e6,9,9,3.9\n")
    assert len(read_table(path)) == 2
    for change in (TableSettings(columns={"loss": "L"}), TableSettings(where=("L<10",))):
        with pytest.raises(ConfigError, match="'L' is there twice"):
            read_table(path, change)


def test_overflowed_flops_are_named_and_can_be_ignored(tmp_path):
    path = write(
        tmp_path, "params,tokens,loss,flops\n1e4,1e6,4,6e10\n2e4,1e6,4,-4e18\n3e4,1e6,4,1.8e11\n"
    )
    points = read_table(path)
    assert "an overflow of 64 bits? --columns flops= ignores" in points.dropped[0][1]
    assert len(read_table(path, TableSettings(columns={"flops": ""}))) == 3


def test_missing_flops_are_computed_and_reported(tmp_path):
    path = write(tmp_path, "params,flops,loss\n1e4,6e10,4\n2e4,12e10,3.9\n")
    points = read_table(path)
    assert points.tokens.tolist() == [1e6, 1e6]
    assert "tokens taken as flops / 6 / params" in points.notes


def test_ten_thousand_rows_are_read(tmp_path):
    generator = np.random.default_rng(0)
    rows = (f"{n:.6g},{d:.6g},3.{i % 97}\n" for i, (n, d) in enumerate(
        zip(generator.uniform(1e6, 1e9, 10_000), generator.uniform(1e8, 1e10, 10_000), strict=True)
    ))  # fmt: skip
    path = write(tmp_path, HEAD + "".join(rows))
    assert len(read_table(path)) == 10_000


def test_columns_in_memory_are_read_like_a_file():
    sizes = np.array([1e4, 2e4])
    columns: dict[str, Any] = {"params": sizes, "tokens": [1e6, 1e6], "loss": [4, None]}
    with pytest.raises(ConfigError, match="1 of 2 rows"):
        points_from_columns(columns, TableSettings(), origin="columns")
    columns["loss"] = [4, 3.9]
    assert len(points_from_columns(columns, TableSettings(), origin="columns")) == 2


_CELL = st.one_of(
    st.floats(), st.integers(), st.text(max_size=6), st.none(), st.booleans(), st.just("1e4")
)


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.binary(max_size=300), st.sampled_from([".csv", ".jsonl", ".json", ".tsv"]))
def test_random_bytes_give_no_traceback(tmp_path_factory, content, suffix):
    path = tmp_path_factory.mktemp("fuzz") / f"t{suffix}"
    path.write_bytes(content)
    try:
        read_table(path)
    except SlawError as problem:
        assert len(problem.lines) == 1 and str(problem).isprintable()


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(st.tuples(_CELL, _CELL, _CELL), max_size=6))
def test_random_cells_give_no_traceback(tmp_path_factory, rows):
    path = tmp_path_factory.mktemp("fuzz") / "t.jsonl"
    names = ("params", "tokens", "loss")
    lines = [json.dumps(dict(zip(names, row, strict=True))) for row in rows]
    path.write_text("\n".join(lines))
    try:
        points = read_table(path)
    except SlawError as problem:
        assert len(problem.lines) == 1 and str(problem).isprintable()
    else:
        assert np.isfinite(points.loss_nats).all() and (points.params > 0).all()
