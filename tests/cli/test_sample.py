"""``slaw sample``: the run it takes, the prompts it reads, and what it prints."""

from __future__ import annotations

import dataclasses
import io
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from scaling_law.cli.main import main
from scaling_law.data.tokenizer import ByteTokenizer
from scaling_law.files.layout import RunDir
from scaling_law.files.record import write_record
from scaling_law.run import sample
from scaling_law.spec.component import Component
from scaling_law.spec.data import TaskSpec
from scaling_law.spec.run import RunSpec
from scaling_law.spec.sampling import Sampling, prompted_from_json
from scaling_law.train import checkpoint, prompt
from scaling_law.train.architectures import build
from scaling_law.train.generate import generate
from tests.fakes import record_of, tiny_spec

TOKENIZER = ByteTokenizer()


def saved(sweep: Path, spec: RunSpec, loss: float, weights: bool = True, **changes) -> RunDir:
    """A finished run with random weights, which may say anything."""
    run_dir = RunDir(sweep / "runs" / spec.run_id)
    record = dataclasses.replace(record_of(spec, loss_nats=loss), **changes)
    write_record(run_dir, record)
    if weights:
        is_text = not isinstance(spec.data, TaskSpec)
        state = build(spec.model, 1).state_dict()
        tokenizer = {"tokenizer": TOKENIZER.to_json()} if is_text else {}
        checkpoint.save_weights(run_dir, {"model": state, **tokenizer})
    return run_dir


@pytest.fixture
def sweep(tmp_path):
    """Three runs: the best has no weights, the second best is no annealed one."""
    hot = dataclasses.replace(tiny_spec().schedule, shape="constant", decay_steps=None)
    saved(tmp_path / "mine", tiny_spec(seed=0, label="tiny-0"), 3.0, weights=False)
    saved(tmp_path / "mine", tiny_spec(seed=1, label="tiny-1", schedule=hot), 3.1)
    saved(tmp_path / "mine", tiny_spec(seed=2, label="tiny-2"), 3.2)
    saved(tmp_path / "mine", tiny_spec(seed=3, label="tiny-3"), 3.3)
    return tmp_path / "mine"


@pytest.fixture
def in_process(monkeypatch):
    """The model answers here: a process of its own takes seconds to load torch."""

    def answered(module: str, run_dir: str, *, asked: str, doing: str) -> Iterator[str]:
        assert module == prompt.__name__ and Path(run_dir).name in doing
        for line in prompt.answer(RunDir(Path(run_dir)), prompted_from_json(json.loads(asked))):
            yield json.dumps(line)

    monkeypatch.setattr(sample, "lines_of", answered)


def run(capsys, *words: object) -> tuple[int, str, str]:
    code = main(["sample", *map(str, words), "--device", "cpu"])
    out, err = capsys.readouterr()
    return code, out, err


def answer(capsys, *words: object) -> dict[str, Any]:
    code, out, _ = run(capsys, *words, "--json")
    assert code == 0
    document: dict[str, Any] = json.loads(out)
    return document


def test_it_takes_the_best_annealed_run_that_has_weights(sweep, in_process, capsys):
    code, out, err = run(capsys, sweep, "--tokens", 5, "--prompt", "ab")
    assert code == 0 and out.startswith("ab")
    about, how, speed = err.splitlines()
    best = tiny_spec(seed=2, label="tiny-2").run_id
    assert about.endswith(
        f"{best}: 3.2000 nats/token, the lowest loss of 2 annealed runs with saved weights"
    )
    assert how == "up to 5 tokens on cpu, temperature 0.8, seed 0"
    assert speed.startswith("5 tokens in ") and speed.endswith(" tokens per second")
    assert run(capsys, sweep, "--tokens", 5, "--prompt", "ab", "-q") == (0, out, "")


def test_the_run_may_be_named_and_the_text_is_what_the_library_generates(sweep, in_process, capsys):
    document = answer(capsys, sweep, "--run", "tiny-1", "--tokens", 30, "--prompt", "né", "--count",
                      3, "--top-k", 40, "--top-p", 0.9, "--seed", 7)  # fmt: skip
    assert (document["label"], document["val_loss"], document["top_k"]) == ("tiny-1", 3.1, 40)
    assert document["prompt_ids"] == list("né".encode())
    spec = tiny_spec()
    how = Sampling(tokens=30, temperature=0.8, top_k=40, top_p=0.9, seed=7)
    rows = generate(
        build(spec.model, 1).eval(),
        [document["prompt_ids"]] * 3,
        how,
        n_ctx=spec.model.n_ctx,
        stop={256},
    )
    for one, row in zip(document["samples"], rows, strict=True):
        assert tuple(one["ids"]) == row.ids
        assert one["log_probs"] == pytest.approx(row.log_probs, abs=1e-6)
        assert one["log_prob"] == pytest.approx(sum(row.log_probs), abs=1e-5)
        assert one["text"] == TOKENIZER.decode(row.ids)
        assert one["ended"] == ("document" if row.stopped else "tokens")
    folder = document["run"]
    assert answer(capsys, folder, "--tokens", 30, "--prompt", "né", "--count", 3, "--top-k", 40,
                  "--top-p", 0.9, "--seed", 7) == document  # fmt: skip


def test_prompts_come_from_files_and_standard_input(sweep, in_process, capsys, monkeypatch):
    (sweep / "p.txt").write_text("two\nlines\n")
    same = answer(capsys, sweep, "--prompt", "two\nlines\n", "--tokens", 8)
    assert answer(capsys, sweep, "--prompt-file", sweep / "p.txt", "--tokens", 8) == same
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"two\nlines\n")))
    assert answer(capsys, sweep, "--prompt", "-", "--tokens", 8) == same
    ids = " ".join(map(str, same["prompt_ids"]))
    assert answer(capsys, sweep, "--prompt-ids", ids, "--tokens", 8) == same
    start = answer(capsys, sweep, "--tokens", 8)
    assert start["prompt_ids"] == [256] and start["prompt"] == ""


def test_several_texts_are_divided_and_escapes_are_shown(sweep, in_process, capsys):
    code, out, _ = run(capsys, sweep, "--tokens", 300, "--count", 3, "--temperature", 2)
    assert code == 0 and out.count("\n---------------\n") == 2
    assert "\x1b" not in out and "\r" not in out and "\\x1b" in out


def test_a_stop_text_ends_a_text_and_is_left_out(sweep, in_process, capsys):
    words = (sweep, "--tokens", 60, "--top-k", 60, "--temperature", 2, "--prompt", "x")
    (whole,) = answer(capsys, *words)["samples"]
    text = whole["text"]
    at = next(i for i in range(10, len(text)) if "�" not in text[i : i + 2])
    stop = text[at : at + 2]
    (cut,) = answer(capsys, *words, "--stop", stop, "--stop", "not there")["samples"]
    assert cut["text"] == text[: text.index(stop)] and cut["ended"] == "stop"
    assert whole["ids"][: len(cut["ids"])] == cut["ids"]
    (greedy,) = answer(capsys, *words[:3], "--greedy")["samples"]
    (also,) = answer(capsys, *words[:3], "--temperature", 0)["samples"]
    assert greedy == also


def test_text_that_may_become_a_stop_or_a_character_is_held_back():
    text = prompt._Text(TOKENIZER, ("END", "\n\n"))
    taken = []
    for byte in "aEéEN\nEND".encode():
        text.add(byte)
        taken.append(text.take(last=False))
    assert taken == ["a", "", "", "Eé", "", "", "EN", "\n", "", ""]
    assert text.is_stopped
    cut = prompt._Text(TOKENIZER, ("END",))
    for byte in b"aEN\xc3":
        cut.add(byte)
    assert cut.take(last=False) == "a" and cut.take(last=True) == "EN�"


def test_a_terminal_shows_each_token_as_it_is_drawn(sweep, in_process, capsys, monkeypatch):
    words = (sweep, "--tokens", 12, "--count", 2, "--prompt", "ab")
    plain = run(capsys, *words)[1]
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    assert run(capsys, *words)[1] == plain
    shown = []
    monkeypatch.setattr("scaling_law.cli.sample.show", lambda text, end="\n": shown.append(text))
    assert run(capsys, *words)[0] == 0
    assert len(shown) > 12


def task_spec() -> RunSpec:
    return tiny_spec(label="task", data=TaskSpec(source=Component(name="copy")))


def test_a_run_on_a_task_takes_and_gives_ids(tmp_path, in_process, capsys):
    run_dir = saved(tmp_path / "mine", task_spec(), 1.0)
    words = (run_dir.path, "--tokens", 4, "--prompt-ids", "1, 2,3")
    document = answer(capsys, *words)
    (one,) = document["samples"]
    assert document["prompt"] is None and len(one["ids"]) == 4 and one["text"] == ""
    assert run(capsys, *words)[1] == " ".join(map(str, [1, 2, 3, *one["ids"]])) + "\n"
    for more in ((), ("--prompt", "x"), ("--prompt-ids", "1", "--stop", "x")):
        code, out, err = run(capsys, run_dir.path, *more)
        assert (code, out) == (2, "") and err.splitlines()[-1] == (
            f"slaw: {run_dir.run_id}: trained on the task copy, which has no text; give ids as the"
            f" prompt, and no --stop, as in: slaw sample {run_dir.path} --prompt-ids 0"
        )


def test_what_the_model_cannot_see_is_said(sweep, in_process, capsys):
    err = run(capsys, sweep, "--tokens", 20, "--greedy")[2]
    assert "each the likeliest; the model sees the last 16 tokens only\n" in err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--run", "tiny-0"], "its weights were not saved; runs here with weights: tiny-1-"),
        (["--run", "tiny-0"], "mine --out {}/mine-weights --set keep_weights=all"),
        (["--run", "gone"], "no finished run 'gone'; expected a run id or a label, such as tiny-1"),
        (["--run", "tny-2"], "expected a run id or a label (did you mean tiny-2?)"),
        (["--prompt-ids", "1 257"], "--prompt-ids: found 257, expected ids from 0 to 256"),
    ],
)
def test_what_cannot_be_sampled_is_one_line(sweep, in_process, capsys, words, said):
    code, out, err = run(capsys, sweep, *words)
    assert (code, out) == (2, "") and said.format(sweep.parent) in err.splitlines()[-1]
    assert err.splitlines()[-1].startswith("slaw: ")


def test_runs_that_do_not_compare_have_no_best(sweep, capsys):
    saved(sweep, tiny_spec(seed=5), 0.1, corpus_fingerprint="f" * 16)
    code, out, err = run(capsys, sweep)
    assert (code, out) == (2, "")
    assert "on 2 texts or objectives, whose losses do not compare (" in err
    assert re.search(rf"choose one: slaw sample {sweep} --run tiny-\w+-\w+\n", err)


def test_without_an_annealed_run_one_is_named(tmp_path, capsys):
    hot = dataclasses.replace(tiny_spec().schedule, shape="constant", decay_steps=None)
    run_dir = saved(tmp_path / "mine", tiny_spec(schedule=hot), 3.1)
    code, out, err = run(capsys, tmp_path)
    assert (code, out) == (2, "")
    assert f"runs with saved weights (1) is annealed ({run_dir.run_id})" in err
    assert err.endswith(f"choose one: slaw sample {tmp_path}/mine --run {run_dir.run_id}\n")


def test_damaged_weights_and_wrong_models_are_one_line(sweep, in_process, capsys, tmp_path):
    run_dir = RunDir(sweep / "runs" / tiny_spec(seed=2, label="tiny-2").run_id)
    model = build(tiny_spec().model, 1)
    state = {**model.state_dict(), "head.weight": torch.full((257, 16), torch.nan)}
    checkpoint.save_weights(run_dir, {"model": state, "tokenizer": TOKENIZER.to_json()})
    assert "'head.weight' holds numbers that are not finite" in run(capsys, sweep)[2]
    run_dir.weights.write_bytes(run_dir.weights.read_bytes()[:-3])
    code, out, err = run(capsys, sweep)
    assert (code, out) == (2, "") and "delete the run's folder to train it again" in err


def command(*words: object) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "scaling_law.cli", "sample", *map(str, words), "--device", "cpu"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip


def test_a_process_of_its_own_answers(sweep, in_process, capsys, monkeypatch):
    monkeypatch.setenv("PYTHONIOENCODING", "ascii")  # as some clusters have it
    words = (sweep, "--tokens", 5, "--prompt", "né")
    with command(*words) as process:
        out, err = process.communicate()
    assert process.returncode == 0 and "tokens per second" in err
    expected = run(capsys, *words)[1]
    assert out == expected.encode("ascii", "backslashreplace").decode()


@pytest.mark.slow
def test_an_interrupted_command_ends_with_its_model(sweep):
    with command(sweep, "--tokens", 10**9, "--prompt", "x") as process:
        assert process.stderr is not None
        lines = [process.stderr.readline() for _ in range(2)]  # the model is at work
        assert lines[1].startswith("up to 1000000000 tokens")
        os.killpg(process.pid, signal.SIGINT)
        _, err = process.communicate(timeout=600)
    assert (process.returncode, err) == (130, "slaw: interrupted\n")
    with pytest.raises(ProcessLookupError):
        os.killpg(process.pid, 0)  # nobody is left


@pytest.mark.slow
def test_a_reader_who_leaves_ends_it_quietly(sweep):
    with command(sweep, "--tokens", 2000, "--count", 200, "--prompt", "x", "-q") as process:
        assert process.stdout is not None and process.stderr is not None
        process.stdout.read(1)
        process.stdout.close()
        assert process.wait(timeout=600) == 0
        assert process.stderr.read() == ""
