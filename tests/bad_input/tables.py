"""Bad tables, each read by ``slaw fit``."""

from __future__ import annotations

import json

from tests.bad_input.case import Case

HEAD = "params,tokens,loss\n"
TWO = "1e4,1e6,4\n2e4,1e6,3.9\n"
_DIGITS = "9" * 100_000


def _rows(*rows: str) -> str:
    return HEAD + "".join(f"{row}\n" for row in rows)


def _line(losses: object, count: int = 12) -> str:
    return json.dumps([{"params": 1e4 + i, "tokens": 1e6, "loss": losses} for i in range(count)])


# id, file name, content, further arguments, expected message
# fmt: off
_TEXTS: list[tuple[str, str, str | bytes, tuple[str, ...], str]] = [
    ("empty", "t.csv", "", (), "t.csv: no rows; expected one run a row under a header"),
    ("blank", "t.csv", "\n\n \n", (), "t.csv: no rows; expected one run a row under a header"),
    ("bom-alone", "t.csv", b"\xef\xbb\xbf", (), "t.csv: no rows; expected one run a row under a header"),
    ("header-alone", "t.csv", HEAD, (), "t.csv: no rows; expected one run a row under a header"),
    ("one-row", "t.csv", _rows("1e4,1e6,4"), (), "t.csv: 1 of 1 rows can be used, expected at least 2"),
    ("no-header", "t.csv", TWO, (), "t.csv:1: no column names: the first line holds numbers (1e4, 1e6, 4); add a line such as params,tokens,loss above it"),
    ("not-utf8", "t.csv", b"params,tokens,loss\n\xff\xfe,1,2\n", (), "t.csv: cannot be read (not UTF-8 text, byte 19: invalid start byte)"),
    ("utf16", "t.csv", (HEAD + TWO).encode("utf-16")[2:], (), "t.csv: not a text table (it holds NUL bytes; UTF-16 without a mark? save it as UTF-8)"),
    ("utf16-cut", "t.csv", (HEAD + TWO).encode("utf-16")[:-1], (), "t.csv: cannot be read (not UTF-16 text"),
    ("nul", "t.csv", "params,tokens,loss\n1\0,1,2\n", (), "t.csv: not a text table (it holds NUL bytes; UTF-16 without a mark? save it as UTF-8)"),
    ("binary", "t.csv", bytes(range(256)) * 4, (), "t.csv: cannot be read (not UTF-8 text, byte 128: invalid start byte)"),
    ("suffix", "t.xlsx", "x", (), "t.xlsx: expected a file .csv, .tsv, .txt, .json, .jsonl, .ndjson, .parquet"),
    ("no-suffix", "table", HEAD + TWO, (), "table: expected a file .csv, .tsv, .txt, .json, .jsonl, .ndjson, .parquet"),
    ("pickle", "t.pkl", b"\x80\x04cos\nsystem\n(S'touch owned'\ntR.", (), "t.pkl: expected a file .csv, .tsv, .txt, .json, .jsonl, .ndjson, .parquet"),
    ("pickle-as-csv", "t.csv", b"cos\nsystem\n(S'touch owned'\ntR.", (), "t.csv: no column params, tokens, loss; found cos; name them with --columns params=...,tokens=...,loss=..."),
    ("short-row", "t.csv", _rows("1e4,1e6"), (), "t.csv:2: 2 cells, the header has 3"),
    ("long-row", "t.csv", _rows("1e4,1e6,4,5"), (), "t.csv:2: 4 cells, the header has 3"),
    ("open-quote", "t.csv", _rows('1e4,1e6,"4', "2e4,1e6,3.9"), (), "t.csv:2: column for loss has '4\\n2e4,1e6,3.9\\n', expected numbers; 4 numbers in one cell are not read: write one, or name another column with --columns"),
    ("huge-cell", "t.csv", _rows("1e4,1e6," + "x" * 200_000, "2e4,1e6,3.9"), (), "t.csv: 1 of 2 rows can be used, expected at least 2; first: row 2: loss is xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx, expected a number above 0"),
    ("many-columns", "t.csv", ",".join(f"c{i}" for i in range(5_000)) + "\n" + ",".join(["1"] * 5_000) + "\n", (), "t.csv: no column params, tokens, loss; found c0, c1, c2, c3, c4, c5, c6, c7, c8, c9, c10, c11 and 4988 more; name them with"),
    ("column-twice", "t.csv", "params,params,tokens,loss\n1,2,3,4\n", (), "t.csv: column params is there twice (params, params); name one of its own with --columns params=..."),
    ("column-twice-by-case", "t.csv", "params,tokens,Loss,loss\n1,2,3,4\n", (), "t.csv: column loss is there twice (Loss, loss); name one of its own with --columns loss=..."),
    ("no-loss", "t.csv", "params,tokens\n1,2\n", (), "t.csv: no column loss; found params, tokens; name them with --columns loss=..."),
    ("other-names", "t.csv", "N,D,val_loss\n" + TWO, (), "t.csv: no column params, tokens, loss; found N, D, val_loss; name them with --columns params=N,tokens=D,loss=val_loss"),
    ("hostile-header", "t.csv", '"a\nb\x1b[31m",tokens,loss\n1,2,3\n', (), "t.csv: no column params; found a\\nb\\x1b[31m, tokens, loss; name them with --columns params=..."),
    ("words", "t.csv", _rows("many,rows,of", "many,rows,of"), (), "t.csv:2: column for params has 'many', expected numbers; name the column with --columns"),
    ("all-nan", "t.csv", _rows("1e4,1e6,nan", "2e4,1e6,nan"), (), "t.csv: 0 of 2 rows can be used, expected at least 2; first: row 2: loss is missing, expected a number above 0"),
    ("all-infinite", "t.csv", _rows("1e4,1e6,inf", "2e4,1e6,-inf"), (), "t.csv: 0 of 2 rows can be used, expected at least 2; first: row 2: loss is inf, expected a number above 0"),
    ("all-negative", "t.csv", _rows("1e4,1e6,-1", "2e4,1e6,-2"), (), "t.csv: 0 of 2 rows can be used, expected at least 2; first: row 2: loss is -1, expected a number above 0"),
    ("all-zero", "t.csv", _rows("0,1e6,4", "0,1e6,3"), (), "t.csv: 0 of 2 rows can be used, expected at least 2; first: row 2: params is 0, expected a number above 0"),
    ("all-1e400", "t.csv", _rows("1e400,1e6,4", "1e400,1e6,3"), (), "t.csv: 0 of 2 rows can be used, expected at least 2; first: row 2: params is 1e400, expected a number above 0"),
    ("all-digits", "t.csv", _rows(f"{_DIGITS},1e6,4", f"{_DIGITS},1e6,3"), (), "t.csv: 0 of 2 rows can be used, expected at least 2; first: row 2: params is 9999999999999999999999999999999999999999, expected a number above 0"),
    ("overflowing-products", "t.csv", _rows("1e300,1e300,4", "2e300,1e300,3"), (), "expected whole numbers from 100 params and 1 tokens on"),
    ("empty-cells", "t.csv", _rows(",,", ",,"), (), "t.csv: no rows; expected one run a row under a header"),
    ("columns-unknown", "t.csv", HEAD + TWO, ("--columns", "loss=perplexity"), "t.csv: no column 'perplexity'; found params, tokens, loss"),
    ("columns-hostile", "t.csv", HEAD + TWO, ("--columns", "loss=a\nb"), "t.csv: no column 'a\\nb'; found params, tokens, loss"),
    ("columns-of-a-double", "t.csv", "params,tokens,L,L\n1,2,3,4\n", ("--columns", "loss=L"), "t.csv: column 'L' is there twice; rename one in the table"),
    ("where-of-a-double", "t.csv", "params,tokens,loss,L,L\n1,2,3,4,5\n", ("--where", "L<9"), "t.csv: where: column 'L' is there twice; rename one in the table"),
    ("where-hostile", "t.csv", HEAD + TWO, ("--where", "a\x1b]0;x\x07=1"), "t.csv: where: no column 'a\\x1b]0;x\\x07'; found params, tokens, loss"),
    ("json-object", "t.json", "{}", (), "t.json: expected a JSON list of objects, one a run"),
    ("json-number", "t.json", "3", (), "t.json: expected a JSON list of objects, one a run"),
    ("json-cut", "t.json", '[{"params": 1', (), "t.json: not JSON (Expecting ',' delimiter: line 1 column 14 (char 13))"),
    ("json-empty", "t.json", "", (), "t.json: not JSON (Expecting value: line 1 column 1 (char 0))"),
    ("json-empty-list", "t.json", "[]", (), "t.json: no rows; expected one run a row under a header"),
    ("json-of-lists", "t.json", "[[1, 2, 3]]", (), "t.json:1: a JSON list, expected an object for each run"),
    ("json-deep", "t.json", "[" * 100_000, (), "t.json: cannot be read (nested too deep)"),
    ("json-digits", "t.json", f'[{{"params": {_DIGITS}, "tokens": 1, "loss": 1}}]', (), "t.json: not JSON (a number of too many digits)"),
    ("json-nested-cells", "t.json", _line([4]), (), "t.json:1: column for loss has '[4]', expected numbers; name the column with --columns"),
    ("json-null-cells", "t.json", _line(None), (), "t.json: 0 of 12 rows can be used, expected at least 2; first: row 1: loss is empty, expected a number above 0"),
    ("json-true-cells", "t.json", _line(True), (), "t.json:1: column for loss has 'True', expected numbers; name the column with --columns"),
    ("json-big-cells", "t.json", _line(10**400), (), "t.json:1: column for loss has '1000000000000000000000000000000000000000', expected numbers; name the column with --columns"),
    ("json-nan-cells", "t.json", '[{"params": 1, "tokens": 1, "loss": NaN}]', (), "t.json: 0 of 1 rows can be used, expected at least 2; first: row 1: loss is missing, expected a number above 0"),
    ("json-not-utf8", "t.json", b'[{"params": "\xff"}]', (), "t.json: cannot be read (not UTF-8 text, byte 13: invalid start byte)"),
    ("json-surrogate", "t.json", '[{"params": 1, "tokens": 1, "\\ud800": 1}]', (), "t.json: no column loss; found params, tokens, \\ud800; name them with --columns loss=..."),
    ("jsonl-cut", "t.jsonl", '{"params": 1\n', (), "t.jsonl:1: not JSON (Expecting ',' delimiter: line 1 column 13 (char 12))"),
    ("jsonl-list", "t.jsonl", '{"params": 1}\n[1, 2]\n', (), "t.jsonl:2: a JSON list, expected an object for each run"),
    ("jsonl-deep", "t.jsonl", '{"a":' * 100_000, (), "t.jsonl: cannot be read (nested too deep)"),
    ("jsonl-empty-objects", "t.jsonl", "{}\n{}\n", (), "t.jsonl: no column params, tokens, loss; found ; name them with --columns params=...,tokens=...,loss=..."),
    ("parquet-fake", "t.parquet", "PAR1 no", (), "t.parquet: not a parquet table ("),
    ("parquet-empty", "t.parquet", "", (), "t.parquet: not a parquet table ("),
    ("newline-in-the-name", "a\nb.csv", "", (), "a\\nb.csv: no rows; expected one run a row under a header"),
    ("escape-in-the-name", "a\x1b[31m.csv", "", (), "a\\x1b[31m.csv: no rows; expected one run a row under a header"),
]
# fmt: on

_GRID = [(n, d) for n in (1e5, 2e5, 4e5, 8e5) for d in (1e6, 2e6, 4e6)]

# read, but no law can be fitted: exit code 4
# fmt: off
_UNSUPPORTED: list[tuple[str, str, str | bytes, tuple[str, ...], str]] = [
    ("two-rows", "t.csv", HEAD + TWO, (), "no law can be fitted: 2 points for 5 parameters; at least 6 needed; add sizes or horizons"),
    ("one-run-many-times", "t.csv", _rows(*["1e5,1e6,3"] * 12), (), "no law can be fitted: 1 point, all of one loss; add sizes or horizons; left out: duplicates (11)"),
    ("one-loss", "t.csv", _rows(*(f"{n},{d},3" for n, d in _GRID)), (), "no law can be fitted: 12 points, all of one loss; expected losses that differ"),
    ("one-point-two-losses", "t.csv", _rows("1e5,1e6,3", "1e5,1e6,3.1", "1e5,1e6,3.2"), (), "no law can be fitted: 3 points for 5 parameters; at least 6 needed; add sizes or horizons"),
    ("all-repeated-data", "t.csv", "params,tokens,loss,unique_tokens\n" + "".join(f"{n},{d},{4 - n / 1e6},{d / 50}\n" for n, d in _GRID), (), "every run is left out; first: repeats: saw its data 50.0 times (more than 4)"),
]
# fmt: on

TABLES = [
    Case(
        id=f"table-{name}",
        words=("fit", file, "--resamples", "0", *words),
        said=said,
        code=code,
        files={file: content},
    )
    for code, rows in ((2, _TEXTS), (4, _UNSUPPORTED))
    for name, file, content, words, said in rows
]
