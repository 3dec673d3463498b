"""Formats of a table: spellings of numbers, units, states, training curves, refusals."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from scaling_law.errors import ConfigError, FitError, SlawError
from scaling_law.fit.points import rows as bounds
from scaling_law.fit.points.column_units import parse_units
from scaling_law.fit.points.dataset import gather_fit_data
from scaling_law.fit.points.points import FitPoints
from scaling_law.fit.points.table import read_table
from scaling_law.fit.points.table_settings import TableSettings

PARAMS = (12e6, 12e6, 34e6, 71e6)
TOKENS = (6e7, 1.2e8, 1.7e8, 3.55e8)
SIXTHS = (8.64e7, 1.728e8, 6.936e8, 3.0246e9)  # 6ND in units of 50 million
LOSSES = (6.0117, 5.5259, 4.8372, 4.2091)


def read(folder: Path, text: str, name: str = "t.csv", **settings: Any) -> FitPoints:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return read_table(path, TableSettings(**settings))


def lines(header: str, *columns: Any, sign: str = ",") -> str:
    """A table of these columns."""
    rows = (sign.join(map(str, row)) for row in zip(*columns, strict=True))
    return "\n".join([header, *rows]) + "\n"


def counted(style: str, values: tuple[float, ...]) -> list[str]:
    return [f"{value:,.0f}".replace(",", style) for value in values]


def beside(table: str, name: str) -> str:
    """A table with one more column, of text."""
    head, *rows = table.splitlines()
    return "\n".join([f"{head},{name}", *(f"{row},x" for row in rows)]) + "\n"


PLAIN = lines("params,tokens,loss", PARAMS, TOKENS, LOSSES)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("sep.csv", "sep=;\n" + PLAIN.replace(",", ";")),
        ("sep-tab.csv", '"sep=\t"\n' + PLAIN.replace(",", "\t")),
        ("bars.csv", PLAIN.replace(",", "|")),
        ("spaces.txt", PLAIN.replace(",", "   ")),
        ("comments.csv", "# run by me\n\n" + PLAIN.replace("34000000.0,", "# again\n34000000.0,")),
        ("savetxt.txt", "# " + PLAIN),
        ("trailing.csv", PLAIN.replace("\n", ",,\n")),
        ("delimiter.csv", beside(PLAIN, "n; a; b; c; d")),
        ("quoted.csv", beside(PLAIN, '"a,b;c"')),
        (
            "commas.csv",
            lines(
                "params,tokens,loss",
                [f'"{x}"' for x in counted(",", PARAMS)],
                [f'"{x}"' for x in counted(",", TOKENS)],
                LOSSES,
            ),
        ),
        (
            "apostrophes.csv",
            lines("params,tokens,loss", counted("'", PARAMS), counted("\u2019", TOKENS), LOSSES),
        ),
        (
            "narrow.csv",
            lines("params,tokens,loss", counted("\u202f", PARAMS), counted("_", TOKENS), LOSSES),
        ),
        (
            "german.csv",
            lines(
                "params;tokens;loss",
                counted(".", PARAMS),
                counted(".", TOKENS),
                [str(x).replace(".", ",") for x in LOSSES],
                sign=";",
            ),
        ),
        (
            "words.csv",
            lines(
                "params,tokens,loss",
                ("12M", "12 million", "34mn", "71M"),
                ("60M", ".12B", "0.17 billion", "355 million tokens"),
                LOSSES,
            ),
        ),
        (
            "powers.csv",
            lines(
                "params,tokens,loss",
                ("12×10^6", "12·10⁶", "3.4e7", "7.1 x 10**7"),
                ("6×10⁷", "1.2*10^8", "1.7×10^8", "3.55×10⁸"),
                LOSSES,
            ),
        ),
        ("title.csv", "Runs of May; all finished\n\n" + PLAIN),
        ("groups.csv", ",Model,\n" + PLAIN),
        ("total.csv", "name," + PLAIN.replace("\n", "\nr,", 4) + "Total,129e6,7e8,20.6\n"),
        ("index.csv", "," + PLAIN.replace("\n", "\n0,", 4) + "mean,32e6,1.7e8,5.1\n"),
        (
            "headers.csv",
            lines(
                "params_m,tokens (B),loss [nats]",
                (12, 12, 34, 71),
                (0.06, 0.12, 0.17, 0.355),
                LOSSES,
            ),
        ),
        (
            "bits.csv",
            lines("params,tokens,loss (bits)", PARAMS, TOKENS, [x / math.log(2) for x in LOSSES]),
        ),
        (
            "lines.json",
            lines(
                "",
                [
                    json.dumps({"params": p, "tokens": t, "loss": x})
                    for p, t, x in zip(PARAMS, TOKENS, LOSSES, strict=True)
                ],
            ),
        ),
        ("columns.json", json.dumps({"params": PARAMS, "tokens": TOKENS, "loss": LOSSES})),
        (
            "split.json",
            json.dumps(
                {
                    "columns": ["params", "tokens", "loss"],
                    "data": list(zip(PARAMS, TOKENS, LOSSES, strict=True)),
                }
            ),
        ),
        (
            "runs.json",
            json.dumps(
                {
                    "runs": [
                        {"params": p, "tokens": t, "loss": x}
                        for p, t, x in zip(PARAMS, TOKENS, LOSSES, strict=True)
                    ]
                }
            ),
        ),
        (
            "array.jsonl",
            json.dumps(
                [
                    {"params": p, "tokens": t, "loss": x}
                    for p, t, x in zip(PARAMS, TOKENS, LOSSES, strict=True)
                ]
            ),
        ),
    ],
)
def test_every_format_gives_the_same_points(tmp_path, name, text):
    points = read(tmp_path, text, name)
    np.testing.assert_allclose(points.params, PARAMS)
    np.testing.assert_allclose(points.tokens, TOKENS)
    np.testing.assert_allclose(points.loss_nats, LOSSES)


def test_utf16_with_a_mark_and_a_long_cell_are_read(tmp_path):
    path = tmp_path / "t.csv"
    path.write_bytes(PLAIN.encode("utf-16"))
    assert len(read_table(path)) == 4
    path.write_text(lines("params,tokens,loss,config", PARAMS, TOKENS, LOSSES, ["x" * 200_000] * 4))
    assert len(read_table(path)) == 4


@pytest.mark.parametrize(
    ("header", "columns", "given", "said"),
    [
        (
            "params,tokens,loss",
            ((12, 34, 71), (0.06, 0.17, 0.4), (6, 5, 4)),
            {},
            "params from 12 to 71",
        ),
        (
            "params,tokens,loss",
            ((12, 34, 71), (0.06, 0.17, 0.4), (6, 5, 4)),
            {},
            "params=M,tokens=B",
        ),
        (
            "params,tokens,loss",
            ((120, 340, 710), (6e9, 7e9, 8e9), (6, 5, 4)),
            {},
            "in different units",
        ),
        (
            "params,tokens,loss",
            (PARAMS, TOKENS, (408, 251, 170, 122)),
            {},
            "--loss-unit perplexity",
        ),
        (
            "params,tokens,loss",
            (PARAMS, TOKENS, (9, 8.5, 8.4, 8.3)),
            {"loss_unit": "bits-per-byte"},
            "8 bits",
        ),
        (
            "params,tokens,loss,flops",
            (PARAMS, TOKENS, LOSSES, (1e3, 1e9, 1e18, 7e22)),
            {},
            "not the training FLOPs",
        ),
        ("params,tokens,loss,flops", (PARAMS, TOKENS, LOSSES, SIXTHS), {}, "--units flops=UNIT"),
        (
            "params,flops,loss",
            (PARAMS, (1e-6, 2e-6, 3e-6, 4e-6), LOSSES),
            {},
            "--units flops=PF-days",
        ),
        (
            "params;tokens;loss",
            (("12,000", "34,000"), ("60,000", "70,000"), ("6,012", "5,123")),
            {},
            "which is 12000 or 12.000",
        ),
        (
            "params;tokens;loss",
            (PARAMS, TOKENS, ("6,01", "5.01", "4,01", "3.01")),
            {},
            "decimal commas (6,01) and decimal points",
        ),
        ("Step,a - loss,a - loss__MIN", ((1, 2), (3, 4), (5, 6)), {}, "export of training curves"),
        ("Wall time,Step,Value", ((1, 2), (3, 4), (5, 6)), {}, "export of training curves"),
        (
            "params,tokens,loss",
            (PARAMS, (6e7, -1794967296, -894967296, 3e8), LOSSES),
            {},
            "tokens is below 0 in 2 of 4 rows, as -1794967296: an overflow of 32 bits?",
        ),
        (
            "params,tokens,loss,flops",
            (PARAMS, TOKENS, LOSSES, (2e9, 1e6, 3e9, 4e9)),
            {},
            "end below 2^32 = 4.29e+09, where 6 * params * tokens goes to 1.51e+17: they wrapped",
        ),
        (
            "params,N,loss,tokens",
            (PARAMS, TOKENS, LOSSES, [6 * p * t for p, t in zip(PARAMS, TOKENS, strict=True)]),
            {"columns": {"tokens": "tokens", "flops": "N"}},
            "only where columns tokens and N are exchanged; if they are, say --columns"
            " tokens=N,flops=tokens",
        ),
        (
            "params,tokens,loss",
            (PARAMS, TOKENS, ("~6.0", "~5.5", "~4.8", "4.2")),
            {},
            "expected numbers; '~' beside 6.0 is not read: write a plain number, or name another",
        ),
        (
            "params,tokens,loss",
            (("12%", "12%", "34%", "71%"), TOKENS, LOSSES),
            {},
            "'%' beside 12 is not read",
        ),
        (
            "params,tokens,loss,val_ppl",
            (PARAMS, TOKENS, LOSSES, LOSSES),
            {},
            "the losses are the numbers of column val_ppl, so perplexities",
        ),
        (
            "Total Params (M),tokens,Final Loss",
            (PARAMS, TOKENS, LOSSES),
            {},
            "--columns 'params=Total Params (M),loss=Final Loss'",
        ),
        ("params,compute,loss", (PARAMS, TOKENS, LOSSES), {}, "--columns flops=compute"),
        ("params,tokens", (PARAMS, TOKENS), {}, "--columns loss=..."),
    ],
)
def test_numbers_impossible_for_their_column_are_refused(tmp_path, header, columns, given, said):
    with pytest.raises(ConfigError) as caught:
        read(tmp_path, lines(header, *columns, sign=";" if ";" in header else ","), **given)
    assert said in str(caught.value) and len(caught.value.lines) == 1


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (PLAIN + "* with dropout\n", "t.csv:6: 1 cell, the header has 3; end the row with"),
        ("A title\n" + "1,2,3\n" * 4, "remove the lines above the column names"),
        (PLAIN.replace("12000000.0", "0,12000000.0"), "and name every column"),
        (
            PLAIN.replace("12000000.0", '"12000000.0', 1),
            "t.csv:2: 1 cell, the header has 3; a quote",
        ),
        ("sep=:\nparams:tokens:loss\n1:2:3:4:5\n", "quote cells that hold ':'"),
    ],
)
def test_a_row_of_another_width_is_refused_with_what_to_do(tmp_path, text, said):
    with pytest.raises(ConfigError) as caught:
        read(tmp_path, text)
    assert said in str(caught.value)


def test_lines_above_the_column_names_and_summary_rows_are_reported(tmp_path):
    table = "name," + PLAIN.replace("\n", "\nr,", 4) + "Mean,32e6,1.7e8,5.1\n"
    points = read(tmp_path, "Runs of May\n" + table)
    assert any("1 line above the column names skipped: Runs of May" in n for n in points.notes)
    assert points.dropped == (("row 7", "name is mean: a summary of other rows, no run"),)


def test_repeated_rows_and_a_second_loss_are_noted(tmp_path):
    twice = lines("params,tokens,loss,val_loss", PARAMS * 2, TOKENS * 2, LOSSES * 2, LOSSES * 2)
    notes = read(tmp_path, twice).notes
    assert any("4 rows with the params, tokens and loss of an earlier one" in n for n in notes)
    assert any("--columns loss=val_loss reads another" in n for n in notes)
    settled = read(tmp_path, PLAIN.replace("loss", "val_loss"), columns={"loss": "val_loss"}).notes
    assert not any("earlier one" in n or "another" in n for n in settled)


def test_stated_units_are_converted_and_reported(tmp_path):
    day = 86400e15
    flops = [6 * p * t / day for p, t in zip(PARAMS, TOKENS, strict=True)]
    text = lines(
        "params,tokens,loss,flops",
        (12, 12, 34, 71),
        (0.06, 0.12, 0.17, 0.355),
        [math.exp(x) for x in LOSSES],
        flops,
    )
    points = read(tmp_path, text, units=parse_units("params=M,tokens=B"), loss_unit="perplexity")
    np.testing.assert_allclose(points.loss_nats, LOSSES)
    np.testing.assert_allclose(points.flops, 6 * points.params * points.tokens)
    for words in ("tokens read in units of 1e+09", "PF-days", "logarithms of the perplexities"):
        assert any(words in note for note in points.notes)
    with pytest.raises(ConfigError, match="expected K, M, B, T or a number"):
        parse_units("tokens=bushels")
    with pytest.raises(ConfigError, match="--loss-unit"):
        parse_units("loss=bits")


@pytest.mark.parametrize("unit", ["GFLOP", "TFLOP", "PFLOP", "EFLOP", "ZFLOP", "PF-days"])
def test_a_common_factor_of_all_flops_is_read_as_their_unit(tmp_path, unit):
    factor = {"GFLOP": 1e9, "TFLOP": 1e12, "PFLOP": 1e15, "EFLOP": 1e18, "ZFLOP": 1e21}
    flops = [
        1.1 * 6 * p * t / factor.get(unit, 8.64e19) for p, t in zip(PARAMS, TOKENS, strict=True)
    ]
    for header, said in (("flops", unit), (f"flops ({unit})", "flops read")):
        points = read(
            tmp_path, lines(f"params,tokens,loss,{header}", PARAMS, TOKENS, LOSSES, flops)
        )
        np.testing.assert_allclose(points.flops, 1.1 * 6 * points.params * points.tokens)
        assert any(said in note for note in points.notes)


@pytest.mark.parametrize("letter", ["T", "B", "M", "million"])
def test_a_column_called_by_a_letter_alone_is_not_taken_for_flops(tmp_path, letter):
    columns = {"tokens": letter}
    text = lines(f"params,{letter},loss", PARAMS, TOKENS, LOSSES)
    points = read(tmp_path, text, columns=columns)
    np.testing.assert_allclose(points.flops, 6 * points.params * np.array(TOKENS))
    beside = lines(f"params,tokens,loss,{letter}", PARAMS, TOKENS, LOSSES, [1, 2, 3, 4])
    np.testing.assert_allclose(read(tmp_path, beside).flops, 6 * points.params * points.tokens)


def test_bad_rows_are_left_out_with_their_reason(tmp_path):
    params, tokens = np.repeat(PARAMS, 5), np.tile([6e7, 7e7, 8e7, 9e7, 1e8], 4)
    losses = np.linspace(6, 4, 20)
    flops = 6 * params * tokens
    tokens[3], losses[7], flops[11], params[15] = 0.06, 45.0, flops[11] / 50, -1794967296
    points = read(tmp_path, lines("params,tokens,loss,flops", params, tokens, losses, flops))
    reasons = dict(points.dropped)
    assert reasons.keys() == {"row 5", "row 9", "row 13", "row 17"}
    assert "expected a whole number from 1" in reasons["row 5"]
    assert "13.86 nats per token" in reasons["row 9"]
    assert "times 6 * params * tokens" in reasons["row 13"]
    assert "an overflow of 32 bits?" in reasons["row 17"]


@pytest.mark.parametrize(
    ("column", "cells"),
    [
        ("State", ("finished", "crashed", "running", "finished")),
        ("run_status", ("COMPLETED", "CANCELLED by 1000", "OUT_OF_MEMORY", "done")),
        ("crashed", ("False", "True", "1", "no")),
        ("finished", ("1", "0", "false", "true")),
    ],
)
def test_runs_that_did_not_finish_are_left_out_and_listed(tmp_path, column, cells):
    text = lines(f"params,tokens,loss,{column}", PARAMS, TOKENS, LOSSES, cells)
    points = read(tmp_path, text)
    assert [name for name, _ in points.dropped] == ["row 3", "row 4"]
    assert any("2 of 4 rows are of runs that did not finish" in note for note in points.notes)
    assert len(read(tmp_path, text, columns={"state": ""})) == 4


def test_rows_without_a_loss_are_left_out_even_where_most_are(tmp_path):
    losses = ("6.01", "5.5", "", "N/A", "-", "null", "inf", "#N/A")
    text = lines("params,tokens,loss", PARAMS * 2, (*TOKENS, *(2 * t for t in TOKENS)), losses)
    points = read(tmp_path, text)
    assert len(points) == 2 and len(points.dropped) == 6


def history(named: bool) -> str:
    """Six runs of ten logged rows."""
    rows = [
        (f"run{run}", 100 * step, 12e6 * 2**run, 1e7 * step, 7 - 0.2 * step - 0.1 * run)
        for run in range(6)
        for step in range(1, 11)
    ]
    head = "run,step,params,tokens,loss" if named else "params,tokens,loss"
    return lines(head, *list(zip(*rows, strict=True))[0 if named else 2 :])


@pytest.mark.parametrize("named", [True, False])
def test_a_table_of_training_curves_is_refused(tmp_path, named):
    with pytest.raises(ConfigError, match=r"60 rows of 6 runs.*--history last"):
        read(tmp_path, history(named))
    last = read(tmp_path, history(named), history="last")
    assert len(last) == 6 and set(last.tokens) == {1e8} and not last.dropped
    assert any("54 earlier left out" in note for note in last.notes)
    every = read(tmp_path, history(named), history="all")
    assert len(every) == 60 and every.n_clusters == 6


def test_horizons_of_a_size_are_not_taken_for_a_curve(tmp_path):
    sizes, horizons = np.repeat(PARAMS[1:], 4), np.tile([6e7, 1.2e8, 2.4e8, 4.8e8], 3)
    names = [f"r{i}" for i in range(12)]
    for header, columns in (("params,tokens,loss", ()), ("params,tokens,loss,name", (names,))):
        text = lines(header, sizes, horizons, np.linspace(6, 4, 12), *columns)
        assert len(read(tmp_path, text)) == 12


def test_too_many_rows_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(bounds, "MOST_ROWS", 3)
    for name, text in (
        ("t.csv", PLAIN),
        ("t.jsonl", '{"params": 1e4, "tokens": 1e6, "loss": 4}\n' * 4),
    ):
        with pytest.raises(ConfigError, match="more than 3 rows"):
            read(tmp_path, text, name)


_NUMBERS = st.sampled_from(
    [
        "12000",
        "12.000",
        "12,000",
        "1.2e4",
        "70B",
        "N/A",
        "",
        "-",
        "inf",
        "-5",
        "1'000",
        "0.06",
        "6,01",
    ]
)


@settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    st.lists(st.lists(_NUMBERS, min_size=4, max_size=4), min_size=2, max_size=12),
    st.sampled_from([";", "\t", "|"]),
    st.sampled_from(["flops", "State", "step", "flops (PF-days)", "unique_tokens"]),
)
def test_any_format_is_read_or_refused_in_one_line(tmp_path_factory, rows, sign, fourth):
    path = tmp_path_factory.mktemp("any") / "t.csv"
    header = sign.join(["params", "tokens", "loss", fourth])
    path.write_text("\n".join([header, *(sign.join(row) for row in rows)]))
    try:
        points = read_table(path)
    except SlawError as problem:
        assert len(problem.lines) == 1 and str(problem).isprintable()
    else:
        assert (points.params >= 100).all() and (points.tokens >= 1).all()
        assert (points.loss_nats < 13.9).all()


def flops_table(count: int, change: Any) -> tuple[str, list[float]]:
    """A table of sizes and horizons whose FLOPs ``change`` has spoilt."""
    params = [1e7 * 2.0 ** (i // 4) for i in range(count)]
    tokens = [2e8 * 2.0 ** (i // 4 + i % 4) for i in range(count)]
    losses = [1.7 + 400 * p**-0.34 + 410 * t**-0.28 for p, t in zip(params, tokens, strict=True)]
    exact = [6.5 * p**1.01 * t for p, t in zip(params, tokens, strict=True)]
    return lines("params,tokens,loss,flops", params, tokens, losses, change(exact)), exact


def test_flops_that_wrapped_around_are_refused_though_all_are_above_zero(tmp_path):
    text, exact = flops_table(32, lambda x: [value % 2**63 for value in x])
    assert 3 < sum(value > 2**63 for value in exact) < 16, "some rows must be right"
    with pytest.raises(ConfigError, match=r"end below 2\^63 .* wrapped around in \d+ of 32 rows"):
        read(tmp_path, text)
    assert len(read(tmp_path, text, columns={"flops": ""})) == 32


def test_flops_of_a_few_rows_off_the_others_are_left_out_and_of_many_refused(tmp_path):
    text, _ = flops_table(24, lambda x: [*x[:7], 3 * x[7], *x[8:]])
    points = read(tmp_path, text)
    [(name, reason)] = points.dropped
    assert name == "row 9" and "times 6 * params * tokens, in the other rows" in reason
    text, _ = flops_table(24, lambda x: [v * (3 if i % 4 == 1 else 1) for i, v in enumerate(x)])
    with pytest.raises(ConfigError, match="FLOPs of 6 of 24 rows do not follow"):
        read(tmp_path, text)


def test_exact_flops_whose_factor_falls_with_size_are_right(tmp_path):
    text, exact = flops_table(24, lambda x: [v * (1 + 2e6 / (1e7 + 1e5 * i)) for i, v in
                                             enumerate(x)])  # fmt: skip
    points = read(tmp_path, text)
    assert len(points) == 24 and not points.dropped
    assert points.convention["flops"] == "as given" and points.flops[0] > exact[0]


def test_runs_with_fewer_tokens_than_parameters_are_noted(tmp_path):
    swapped = lines("params,tokens,loss", TOKENS, PARAMS, LOSSES)
    assert any("exchanged?" in note for note in read(tmp_path, swapped).notes)
    assert not any("exchanged?" in note for note in read(tmp_path, PLAIN).notes)


def test_values_with_a_stated_error_are_read_with_it(tmp_path):
    cells = [f"{x} ± .0{i + 1}" for i, x in enumerate(LOSSES)]
    points = read(tmp_path, lines("params,tokens,loss", PARAMS, TOKENS, cells))
    np.testing.assert_allclose(points.loss_nats, LOSSES)
    np.testing.assert_allclose(points.loss_sem_nats, [0.01, 0.02, 0.03, 0.04])
    assert any("6.0117 ± .01 is 6.0117" in note for note in points.notes)
    assert any("taken for standard errors" in note for note in points.notes)


@pytest.mark.parametrize(
    ("cell", "why"),
    [
        ("~12M", "'~' beside 12M is not read"),
        ("$12", "'$' beside 12 is not read"),
        ("12M-15M", "2 numbers in one cell are not read"),
    ],
)
def test_a_cell_with_more_than_a_number_says_what_is_too_much(tmp_path, cell, why):
    points = read(tmp_path, lines("params,tokens,loss", (cell, *PARAMS[1:]), TOKENS, LOSSES))
    [(_, reason)] = points.dropped
    assert f"params is {cell}, expected a number above 0" in reason and why in reason


def test_losses_that_word_counts_would_beat_are_noted(tmp_path):
    high = lines("params,tokens,loss", PARAMS, TOKENS, (13.1, 11.4, 9.2, 8.1))
    assert any("--loss-unit perplexity" in note for note in read(tmp_path, high).notes)
    stated = read(tmp_path, high, loss_unit="nats")
    assert not any("--loss-unit perplexity" in note for note in stated.notes)
    beside = lines("params,tokens,loss,ppl", PARAMS, TOKENS, LOSSES, np.exp(LOSSES))
    np.testing.assert_allclose(read(tmp_path, beside).loss_nats, LOSSES)


def rows_of_two_arms(name: str, values: tuple[str, str]) -> str:
    lines = [
        f"{params},{ratio * params},{3 - ratio / 100 + (value == values[1]) / 10},{value}"
        for value in values
        for params in (1e6, 2e6, 4e6)
        for ratio in (10, 20)
    ]
    return f"params,tokens,loss,{name}\n" + "\n".join(lines) + "\n"


@pytest.mark.parametrize("name", ["dataset", "Config", "optimizer"])
def test_runs_of_several_recipes_are_no_seeds_of_one(tmp_path, name):
    path = tmp_path / "t.csv"
    path.write_text(rows_of_two_arms(name, ("web text", "books")))
    with pytest.raises(
        FitError, match=f"runs of 2 recipes.*--where '{name}=web text'.*--by {name}"
    ):
        gather_fit_data([path])
    assert len(gather_fit_data([path], keep=["recipes"]).points) == 12
    one = TableSettings(where=(f"{name}=books",))
    assert len(gather_fit_data([path], table=one).points) == 6


def test_a_column_that_names_sizes_tells_no_recipes_apart(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text(
        "params,tokens,loss,config\n1e6,1e7,3.5,small\n1e6,2e7,3.4,small\n2e6,1e7,3.3,large\n"
        "2e6,2e7,3.2,large\n2e6,2e7,3.21,large\n"
    )
    assert read_table(path).recipe == ()


@pytest.mark.parametrize("word", ["crashed at step 300", "killed by signal 9", "failed after 2h"])
def test_a_state_with_more_behind_it_is_read(tmp_path, word):
    path = tmp_path / "t.csv"
    path.write_text(
        f"params,tokens,loss,state\n1e6,1e7,3.5,done\n2e6,2e7,3.4,done\n2e6,1e7,4,{word}\n"
    )
    assert len(read_table(path)) == 2


def test_a_score_named_as_the_loss_is_refused_unless_its_unit_is_stated(tmp_path):
    text = lines("params,tokens,task_acc", ["1e6", "2e6"], ["1e8", "2e8"], ["0.4", "0.5"])
    with pytest.raises(ConfigError, match=r"task_acc: its name says acc, which is no loss"):
        read(tmp_path, text, columns={"loss": "task_acc"})
    assert len(read(tmp_path, text, columns={"loss": "task_acc"}, loss_unit="other")) == 2
