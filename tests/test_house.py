"""The house rules of the README: who may import whom, sizes, the drawn tree, quick start-up."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "scaling_law"
MAX_FILE_LINES = 500
MAX_FUNCTION_LINES = 50
HEAVY = {"torch", "scipy", "matplotlib", "pydantic", "rich"}

# Lower may not import higher; 4a (data, train) and 4b (fit) meet only at layer 2's records.
LAYERS = {
    "errors": 0,
    "units": 0,
    "columns": 0,
    "versions": 1,
    "typed": 1,
    "flags": 1,
    "spec": 1,
    "tracker_keys": 1,
    "layout": 1,
    "process": 1,
    "claim": 2,
    "sealed": 1,
    "strict_yaml": 1,
    "scales": 2,
    "counts": 2,
    "schedule": 2,
    "learning_curve": 2,
    "profile": 2,
    "record": 2,
    "outcome": 2,
    "rules": 2,
    "mixture": 2,
    "schema": 2,
    "config_values": 2,
    "config": 2,
    "packing": 2,
    "hardware": 2,
    "slot_memory": 2,
    "grid": 3,
    "growth": 3,
    "plan": 3,
    "plan_table": 3,
    "stacking": 3,
    "kept_weights": 3,
    "compiling": 3,
    "candidates": 4,
    "data": 4,
    "train": 4,
    "fit": 4,
    "extrapolate": 5,
    "decision": 5,
    "recipe": 5,
    "allocate": 5,
    "allocate_text": 5,
    "retrodict": 5,
    "forecast_text": 5,
    "forecast": 5,
    "design_board": 5,
    "design_plan": 5,
    "design_text": 5,
    "design_session": 5,
    "run": 5,
    "api": 6,
    "report": 6,
    "monitor": 6,
    "commands": 7,
    "cli": 7,
}
FORBIDDEN = {
    "data": {"train", "fit", "plan", "config"},
    "train": {"fit", "plan", "config"},
    "fit": {"train", "data", "plan", "config"},
    "extrapolate": {"train", "data", "plan", "config", "run"},
    "report": {"train", "data", "run"},
    "monitor": {"train", "data", "report"},
}
THIRD_PARTY = {
    "torch": {"train"},
    "scipy": {"fit", "extrapolate"},
    "matplotlib": {"report"},
    "pydantic": {"schema", "config_values"},
    "safetensors": {"train"},
    "tensorboardX": {"run"},
    "rich": {"monitor"},
}


def sources() -> list[Path]:
    tracked = subprocess.run(
        ["git", "-C", str(ROOT), "ls-files", "-co", "--exclude-standard", "*.py"],
        capture_output=True,
        text=True,
        check=True,
    )
    return [ROOT / name for name in tracked.stdout.split() if (ROOT / name).is_file()]


def part(path: Path) -> str:
    """The room of a package file: its top-level module or folder."""
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py").removesuffix("_rows")


def imports(path: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module)
            names.update(f"{node.module}.{alias.name}" for alias in node.names)
    return names


PACKAGE_FILES = [p for p in sources() if PACKAGE in p.parents and p.name != "__init__.py"]


@pytest.mark.parametrize("path", PACKAGE_FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_no_module_imports_a_higher_layer_or_the_other_half(path):
    here = part(path)
    assert here in LAYERS, f"{here} has no layer: add it to LAYERS"
    for name in imports(path):
        pieces = name.split(".")
        if pieces[0] in THIRD_PARTY:
            assert here in THIRD_PARTY[pieces[0]], f"{here} imports {name}"
        if pieces[0] != "scaling_law" or len(pieces) < 2 or pieces[1] not in LAYERS:
            continue
        there = pieces[1]
        assert LAYERS[there] <= LAYERS[here], f"{here} imports the higher {there}"
        assert there not in FORBIDDEN.get(here, set()), f"{here} imports {there}"
        if there == "train" and here == "run":
            assert path.name == "worker.py", "only the worker may load torch"


@pytest.mark.parametrize("path", sources(), ids=lambda p: str(p.relative_to(ROOT)))
def test_files_and_functions_stay_small(path):
    text = path.read_text()
    assert len(text.splitlines()) <= MAX_FILE_LINES
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef) and node.end_lineno:
            lines = node.end_lineno - node.lineno + 1
            assert lines <= MAX_FUNCTION_LINES, f"{path.name}:{node.lineno} {node.name}"


def test_the_readme_tree_is_the_disk():
    text = (ROOT / "README.md").read_text()
    tree = re.search(r"```text tree\n(.*?)```", text, re.S)
    assert tree, "README.md has no ```text tree block"
    drawn: set[str] = set()
    folders: list[str] = []
    for line in tree[1].splitlines():
        entry = re.match(r"( *)(\S+)", line)
        if not entry:
            continue
        depth = len(entry[1]) // 2
        folders = folders[:depth]
        drawn.add("/".join([*(f.rstrip("/") for f in folders), entry[2].rstrip("/")]))
        if entry[2].endswith("/"):
            folders.append(entry[2])
    missing = {name for name in drawn if not (ROOT / name).exists()}
    assert not missing, f"drawn but not on disk: {sorted(missing)}"
    # corpora and laws are drawn as their folder: adding one must not mean editing the README
    folders_only = ("corpora", "laws")
    modules = {str(p.relative_to(ROOT)) for p in PACKAGE_FILES if p.parent.name not in folders_only}
    assert modules <= drawn, f"on disk but not drawn: {sorted(modules - drawn)}"


def test_the_wheel_carries_every_package():
    listed = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]
    there = {".".join(p.parent.relative_to(ROOT).parts) for p in PACKAGE.rglob("__init__.py")}
    assert there <= set(listed)


def test_neither_a_dry_run_nor_a_status_loads_numpy():
    code = (
        "import sys, scaling_law.run.session, scaling_law.run.status\nprint('numpy' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


@pytest.mark.parametrize(
    "words", ["--help", "run --help", "fit --help", "status --help", "monitor --help"]
)
def test_help_loads_nothing_heavy(words):
    code = (
        "import sys; from scaling_law.cli import main\n"
        f"try: main({words.split()!r})\nexcept SystemExit: pass\n"
        f"print(sorted({HEAVY!r} & set(sys.modules)), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr.strip().splitlines()[-1] == "[]"
    assert "usage:" in done.stdout
