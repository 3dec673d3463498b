"""What slaw trusts: no pickle except its own tensors, no YAML constructor, no unescaped HTML."""

from __future__ import annotations

import ast
import dataclasses
import html
import pickle
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from scaling_law.files import layout
from scaling_law.files.layout import RunDir, SweepDir
from scaling_law.files.record import load_records, write_record
from scaling_law.fit.suite import FitSettings, fit_suite, save_suite
from scaling_law.report.html import write_report
from scaling_law.train.checkpoint import DamagedCheckpoint, load_checkpoint
from tests.bad_input.folders import HOSTILE
from tests.fakes import planted_records

PACKAGE = Path(__file__).resolve().parents[2] / "scaling_law"
FORBIDDEN_MODULES = {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"}
# (what it is called on, its name): they run code that a file names
FORBIDDEN_CALLS = {
    ("yaml", "load"), ("yaml", "load_all"), ("yaml", "full_load"), ("yaml", "unsafe_load"),
    ("", "eval"), ("", "exec"), ("os", "system"), ("numpy", "load"), ("np", "load"),
    ("pandas", "read_pickle"), ("pd", "read_pickle"),
}  # fmt: skip


def calls(tree: ast.Module) -> Iterator[tuple[str, str, ast.Call]]:
    """Yield (object, name, node) of every call in a source file."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            if isinstance(node.func, ast.Attribute) and isinstance(node.func.value, ast.Name):
                yield node.func.value.id, node.func.attr, node
            elif isinstance(node.func, ast.Name):
                yield "", node.func.id, node


def offences(path: Path) -> Iterator[str]:
    """Yield what a source file uses that can execute code, with its line."""
    tree = ast.parse(path.read_text())
    for node in ast.walk(tree):
        if not isinstance(node, ast.Import | ast.ImportFrom):
            continue
        names = {alias.name for alias in node.names}
        modules = {name.split(".")[0] for name in names}
        if isinstance(node, ast.ImportFrom):
            harmless = names == {"UnpicklingError"}  # what torch raises when it refuses
            modules = set() if harmless else {(node.module or "").split(".")[0]}
        if modules & FORBIDDEN_MODULES:
            yield f"{path}:{node.lineno} {modules & FORBIDDEN_MODULES}"
    for owner, name, node in calls(tree):
        if path == PACKAGE / "parts.py" and (owner, name) == ("", "exec"):
            continue  # a user's own file, named by its path in the config that is run
        given = {keyword.arg: keyword.value for keyword in node.keywords}
        safe = given.get("weights_only")
        unsafe = not (isinstance(safe, ast.Constant) and safe.value is True)
        if (
            (owner, name) in FORBIDDEN_CALLS
            or ((owner, name) == ("torch", "load") and unsafe)
            or (owner == "subprocess" and "shell" in given)
        ):
            yield f"{path}:{node.lineno} {owner}.{name}"


def test_no_loader_that_can_execute_code_is_used():
    assert [said for path in sorted(PACKAGE.rglob("*.py")) for said in offences(path)] == []


@pytest.mark.parametrize(
    ("source", "offence"),
    [
        ("import os, pickle", "1 {'pickle'}"),
        ("from joblib import load", "1 {'joblib'}"),
        ("x = 1\nyaml.load(x)", "2 yaml.load"),
        ("eval('1')", "1 .eval"),
        ("torch.load(f, weights_only=False)", "1 torch.load"),
        ("subprocess.run('ls', shell=True)", "1 subprocess.run"),
        ("torch.load(f, weights_only=True)", None),
        ("from pickle import UnpicklingError", None),
    ],
)
def test_a_loader_that_can_execute_code_is_named(source, offence, tmp_path):
    (tmp_path / "a.py").write_text(source)
    expected = [f"{tmp_path / 'a.py'}:{offence}"] if offence else []
    assert list(offences(tmp_path / "a.py")) == expected


class Bomb:
    """Makes a file when it is unpickled."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self):
        return Path.touch, (self.target,)


@pytest.mark.parametrize("make", [pickle.dumps, "torch"])
def test_a_foreign_pickle_is_refused_unread(tmp_path, make, monkeypatch):
    run_dir = RunDir(tmp_path / "run")
    target = tmp_path / "owned"
    path = run_dir.checkpoint(1)
    path.parent.mkdir(parents=True)
    if make == "torch":
        torch.save({"model": Bomb(target)}, path)
    else:
        path.write_bytes(make(Bomb(target)))
    with pytest.raises(DamagedCheckpoint, match="not a checkpoint"):
        load_checkpoint(path)
    assert not target.exists()


def test_a_pickle_under_a_forged_header_is_not_run(tmp_path):
    from scaling_law.train import checkpoint

    run_dir, target = RunDir(tmp_path / "run"), tmp_path / "owned"
    checkpoint.save_checkpoint(run_dir, 1, {"bomb": Bomb(target)})  # header and hash are right
    with pytest.raises(DamagedCheckpoint, match="tensors and plain values"):
        load_checkpoint(run_dir.checkpoint(1))
    assert not target.exists()


def test_html_escapes_hostile_text(tmp_path):
    sweep = SweepDir(tmp_path / "a <b>sweep</b> & more")
    for number, record in enumerate(planted_records()[:12]):
        if number == 0:
            record = dataclasses.replace(record, status="diverged", message=HOSTILE)
        if number == 1:
            record = dataclasses.replace(record, device=HOSTILE, versions={HOSTILE: HOSTILE})
        write_record(sweep.run(record.run_id), record)
    layout.atomic_write(sweep.config, f"question: {HOSTILE}\n")
    run_dir = sweep.run("a-failed-run")
    layout.write_json(run_dir.failure, {"error": f"boom {HOSTILE}"})
    save_suite(fit_suite(load_records(sweep), FitSettings(resamples=0)), sweep.path)
    page = write_report(sweep).read_text()
    # its own data and program, no third
    assert page.lower().count("<script") == 2 and HOSTILE not in page and "<b>sweep" not in page
    assert html.escape(HOSTILE) in page and "boom" in page
