"""What is said, and refused, of a text before anything trains."""

from __future__ import annotations

import importlib.metadata
import json
import random
import re
from pathlib import Path

import pytest

from scaling_law.cli.main import main
from scaling_law.data.sources import _hub
from scaling_law.plan.device_profile import save_profile
from tests import inline_engine
from tests.fakes import cpu_profile

CONFIG = """\
name: t
data: {{corpus: text, vocab_size: {vocab}, val_fraction: 0.1, max_epochs: 1000}}
model: {{n_ctx: {n_ctx}}}
grid: [{{sizes: [nano14k], tokens: [{tokens}]}}]
optim: {{batch_tokens: {batch}}}
eval: {{val_tokens: {val_tokens}, curve_tokens: 64, curve_points: 1}}
"""


@pytest.fixture(autouse=True)
def here(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A measured device, a small text, and a folder to be in."""
    monkeypatch.setenv("SLAW_CACHE", str(tmp_path / "cache"))
    save_profile(cpu_profile(torch_version=importlib.metadata.version("torch")), "cpu")
    monkeypatch.chdir(tmp_path)
    rng = random.Random(3)
    (tmp_path / "text").mkdir()
    for number in range(60):
        words = ("".join(rng.choices("abcdefgh", k=5)) for _ in range(60))
        (tmp_path / "text" / f"{number}.txt").write_text(" ".join(words))
    return tmp_path


def _slaw(
    capsys: pytest.CaptureFixture[str], command: str, *, prepare: bool = True, **changes: object
) -> tuple[int, str, str]:
    """Run a command on the config: exit code, output, and what is said beside it."""
    values = {"vocab": 300, "n_ctx": 32, "tokens": 4096, "batch": 1024, "val_tokens": 64, **changes}
    Path("t.yaml").write_text(CONFIG.format(**values))
    if prepare:
        assert main(["data", "prepare", "t.yaml", "--device", "cpu"]) == 0
    capsys.readouterr()
    code = main([*command.split(), "t.yaml", "--device", "cpu"])
    streams = capsys.readouterr()
    return code, streams.out, streams.err


@pytest.mark.parametrize("command", ["run --dry-run", "plan", "run", "plan --target 1e8 --time 1h"])
def test_a_context_longer_than_the_validation_split_is_refused(
    capsys: pytest.CaptureFixture[str], command: str
) -> None:
    code, _, said = _slaw(capsys, command, n_ctx=8192, batch=8192, tokens=81920)
    assert code == 2
    assert "t.yaml:3: model.n_ctx: 8192, and the val split of text has" in said
    assert said.count("fewer than one sequence") == 1 and "use more text (it has 13.5K" in said
    assert not Path("results").exists()


def test_a_run_that_prepares_its_text_first_is_refused_before_it_trains(
    capsys: pytest.CaptureFixture[str],
) -> None:
    code, _, said = _slaw(capsys, "run", prepare=False, n_ctx=8192, batch=8192, tokens=81920)
    assert code == 2 and "fewer than one sequence" in said
    assert not Path("results").exists()


def test_a_small_validation_split_is_said_with_a_larger_fraction(
    capsys: pytest.CaptureFixture[str],
) -> None:
    code, plan, said = _slaw(capsys, "run --dry-run", val_tokens=5000)
    assert code == 0 and "left out: nothing" in plan
    assert "t.yaml:6: eval.val_tokens asks for 5K" in said
    assert "raise data.val_fraction from 0.1 to about 0." in said
    said = _slaw(capsys, "run --dry-run", val_tokens=1_000_000)[2]
    assert "use more text (it has" in said
    assert "val_fraction" not in said, "the whole text has fewer tokens"
    assert "validation split" not in _slaw(capsys, "run --dry-run", prepare=False)[2]


def test_ids_that_never_occur_are_counted_with_a_smaller_vocabulary(
    capsys: pytest.CaptureFixture[str],
) -> None:
    code, _, said = _slaw(capsys, "plan", vocab=8000)
    assert code == 0
    (line,) = (line for line in said.splitlines() if "ids occur" in line)
    read = re.fullmatch(
        r"t.yaml:2: data.vocab_size: ([\d,]+) of 8,000 .*; take at most (\d+), .*", line
    )
    assert read is not None
    used, better = (int(figure.replace(",", "")) for figure in read.groups())
    assert 8 < used < 4000 and f"the head has {8000 / used:.3g} times the rows" in line
    _slaw(capsys, "plan", vocab=better)
    assert main(["data", "prepare", "t.yaml", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["ids_in_use"] / better > used / 8000
    assert "ids occur" not in _slaw(capsys, "plan", vocab=300)[2]


def test_what_was_left_out_is_said_again_by_a_plan(
    capsys: pytest.CaptureFixture[str], here: Path
) -> None:
    (here / "text" / "a.txt").write_bytes("some words".encode("utf-16-le"))
    copy = (here / "text" / "1.txt").read_text()
    for number in range(30):
        (here / "text" / f"copy{number}.txt").write_text(f"{copy} {number}")
    _, _, said = _slaw(capsys, "run --dry-run")
    (line,) = (line for line in said.splitlines() if line.startswith("text: left out"))
    assert "left out 1 file: not UTF-8 text but UTF-16 without a mark (first: " in line
    assert line.endswith("/text/a.txt)")
    assert "are nearly in the training split" in said
    assert main(["data", "prepare", "t.yaml", "--json"]) == 0
    prepared = capsys.readouterr()
    assert "left out 1 file: not UTF-8" in prepared.err, "said again of text prepared before"
    facts = json.loads(prepared.out)
    assert facts["read"] == {".txt file": 90} and facts["left_out"][0]["count"] == 1
    assert 0 < facts["near_duplicates"]["documents"] < facts["near_duplicates"]["compared"]


def test_text_that_is_not_prepared_is_called_unknown(capsys: pytest.CaptureFixture[str]) -> None:
    code, _, said = _slaw(capsys, "plan", prepare=False, n_ctx=8192, batch=8192, tokens=81920)
    assert code == 0 and "unknown until `slaw data prepare`" in said


@pytest.mark.parametrize("command", ["run --dry-run", "plan", "plan --target 1e8 --time 1h"])
def test_a_corpus_that_is_not_ready_is_no_plan(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    monkeypatch.setattr(_hub, "package_folder", lambda _: None)
    code, plan, said = _slaw(capsys, f"{command} --set data.corpus=pile", prepare=False)
    assert code == 2 and not plan
    assert "slaw: --set data.corpus: pile: needs the hub extra: pip install" in said
    monkeypatch.setattr(_hub, "package_folder", lambda name: Path(name))
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    code, plan, said = _slaw(capsys, f"{command} --set data.corpus=pile", prepare=False)
    assert code == 2 and not plan and "cannot be reached" in said


def test_a_size_that_fits_one_slot_alone_names_the_slots(
    capsys: pytest.CaptureFixture[str],
) -> None:
    sizes = "grid.0.sizes=[nano14k, {n_layer: 2, d_model: 768, n_head: 6}]"
    Path("t.yaml").write_text(
        CONFIG.format(vocab=300, n_ctx=32, tokens=4096, batch=1024, val_tokens=64)
    )
    limit = ["--device", "cpu", "--memory", "0.9", "--set", sizes]
    assert main(["plan", "t.yaml", *limit]) == 0
    assert "a slot has 450 MB; it fits with limits.slots: 1 (1 run at once)" in (
        capsys.readouterr().out
    )
    assert main(["plan", "t.yaml", *limit, "--set", "limits.slots=1"]) == 0
    assert "left out: nothing" in capsys.readouterr().out


MIXED = """\
name: m
data:
  sources: {{a: {{corpus: a, text_key: body}}, b: {{corpus: b, text_key: doc.body}}}}
  vocab_size: 300
  val_fraction: 0.1
  max_epochs: 100
  mix: {{a: 0.5, b: 0.5}}
model: {{n_ctx: {n_ctx}}}
grid: [{{sizes: [nano14k], tokens: [40960]}}]
optim: {{batch_tokens: 4096}}
eval: {{val_tokens: {val_tokens}, curve_tokens: 64, curve_points: 1}}
"""


@pytest.fixture
def two_sources(here: Path) -> Path:
    """Rows of JSON with the text under another key in each of two folders, of which b is short."""
    rng = random.Random(4)
    for name, rows in (("a", 200), ("b", 60)):
        (here / name).mkdir()
        texts = [" ".join("".join(rng.choices("stuvw", k=4)) for _ in range(40))
                 for _ in range(rows)]  # fmt: skip
        made = [{"body": text} if name == "a" else {"doc": {"body": text}} for text in texts]
        (here / name / "x.jsonl").write_text("".join(json.dumps(row) + "\n" for row in made))
    (here / "b" / "old.txt").write_bytes("some words".encode("utf-16-le"))
    Path("t.yaml").write_text(MIXED.format(n_ctx=32, val_tokens=1024))
    return here


def test_sources_are_read_by_keys_of_their_own_and_counted_together(
    capsys: pytest.CaptureFixture[str], two_sources: Path
) -> None:
    assert main(["data", "prepare", "t.yaml", "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["read"] == {".jsonl file": 2} and facts["left_out"][0]["count"] == 1
    assert facts["components"]["a"]["train"] > facts["components"]["b"]["train"] > 0
    assert main(["run", "--dry-run", "t.yaml", "--device", "cpu"]) == 0
    assert "a+b: left out 1 file: not UTF-8 text but UTF-16" in capsys.readouterr().err


def test_components_that_are_short_of_validation_text_are_named(
    capsys: pytest.CaptureFixture[str], two_sources: Path
) -> None:
    assert main(["data", "prepare", "t.yaml", "--json"]) == 0
    val = json.loads(capsys.readouterr().out)["components"]["b"]["val"]
    Path("t.yaml").write_text(MIXED.format(n_ctx=32, val_tokens=3 * val))
    assert main(["plan", "t.yaml", "--device", "cpu"]) == 0
    said = capsys.readouterr().err
    assert f"components with few tokens of validation text: b {(val - 1) // 32 * 32}" in said


@pytest.mark.parametrize("command", ["run --dry-run", "plan", "run"])
def test_a_context_longer_than_a_component_is_refused(
    capsys: pytest.CaptureFixture[str], two_sources: Path, command: str
) -> None:
    assert main(["data", "prepare", "t.yaml"]) == 0
    Path("t.yaml").write_text(MIXED.format(n_ctx=1024, val_tokens=1024))
    capsys.readouterr()
    assert main([*command.split(), "t.yaml", "--device", "cpu"]) == 2
    assert "t.yaml:7: data.mix: b has" in capsys.readouterr().err
    assert not Path("results").exists()


def test_a_source_that_could_not_be_prepared_is_no_plan(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, two_sources: Path
) -> None:
    monkeypatch.setattr(_hub, "package_folder", lambda _: None)
    hub = ["--set", "data.sources.b={corpus: pile}", "--device", "cpu"]
    assert main(["plan", "t.yaml", *hub]) == 2
    assert (
        "slaw: --set data.sources.b.corpus: pile: needs the hub extra: pip install"
        in capsys.readouterr().err
    )


def test_a_source_without_a_document_is_named(
    capsys: pytest.CaptureFixture[str], two_sources: Path
) -> None:
    (two_sources / "b" / "x.jsonl").unlink()
    no_key = ["--set", "data.sources.b={corpus: b}"]
    assert main(["data", "prepare", "t.yaml", *no_key]) == 2
    assert "a+b: no document is of b" in capsys.readouterr().err
    (two_sources / "b" / "one.txt").write_text("words " * 90)
    small = ["--set", "data.sources.b={corpus: b, max_bytes: 9}"]
    assert main(["data", "prepare", "t.yaml", *small]) == 2
    assert "data.sources.b.max_bytes: 9 B hold no document of b" in capsys.readouterr().err


def test_a_dry_run_of_a_begun_folder_looks_at_the_text_it_began_with(
    capsys: pytest.CaptureFixture[str], here: Path
) -> None:
    run = f"run --engine {inline_engine.__file__}"
    code, _, _ = _slaw(capsys, f"{run} --out sweep")
    assert code == 0
    (here / "text" / "more.txt").write_text("more words")
    code, plan, said = _slaw(capsys, f"{run} --dry-run --out sweep", prepare=False)
    assert code == 0 and "not prepared" not in plan + said
    code, plan, said = _slaw(capsys, f"{run} --dry-run --out other", prepare=False)
    assert code == 0 and "not prepared yet" in plan


def test_a_refused_run_leaves_the_folders_that_were_there(
    capsys: pytest.CaptureFixture[str], here: Path
) -> None:
    (here / "mine").mkdir()
    asked = {"prepare": False, "n_ctx": 8192, "batch": 8192, "tokens": 81920}
    assert _slaw(capsys, "run --out mine/new/sweep", **asked)[0] == 2  # type: ignore[arg-type]
    assert (here / "mine").is_dir() and not (here / "mine" / "new").exists()


@pytest.mark.parametrize("command", ["run --dry-run", "run", "data inspect"])
def test_a_refusal_by_the_data_names_the_line_of_its_key(
    capsys: pytest.CaptureFixture[str], command: str
) -> None:
    code, out, said = _slaw(capsys, command, vocab="300, unique_tokens: 1B")
    assert (code, out) == (2, "")
    assert "slaw: t.yaml:2: data.unique_tokens: 1,000,000,000, and the training text of" in said
