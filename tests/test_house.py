"""The rules of docs/architecture.md: who may import whom, the documented tree, quick start-up."""

from __future__ import annotations

import ast
import functools
import re
import subprocess
import sys
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "scaling_law"
HEAVY = {"torch", "scipy", "matplotlib", "pydantic", "rich"}

# A room imports from rooms on lower floors only. Files at the root of the package are rooms too.
FLOORS = {
    "errors": 0,
    "text_columns": 0,
    "console": 1,
    "decode": 1,
    "parts": 1,
    "units": 1,
    "versions": 1,
    "spec": 2,
    "files": 3,
    "config": 4,
    "data": 4,
    "fit": 4,
    "plan": 5,
    "forecast": 5,
    "tables": 5,
    "train": 6,
    "api": 6,
    "experiment": 6,
    "report": 7,
    "run": 7,
    "design": 8,
    "monitor": 8,
    "cli": 9,
    "__main__": 10,
}
# The training half and the analysis half meet at the record; a view never reaches into training.
FORBIDDEN = {
    "data": {"train", "fit"},
    "train": {"fit", "config"},
    "fit": {"train", "data"},
    "forecast": {"train", "data"},
    "experiment": {"train", "data"},
    "tables": {"train", "data"},
    "report": {"train", "data"},
    "monitor": {"train", "data", "report"},
}
# What of a sweep runs inside the process that trains.
TRAINING_PROCESS = {"run/worker.py", "run/rank.py", "run/early_stop.py"}
THIRD_PARTY = {
    "torch": {"train"},
    "scipy": {"fit", "forecast", "design"},
    "matplotlib": {"report"},
    "pydantic": {"config"},
    "safetensors": {"train"},
    "tensorboardX": {"run"},
    "rich": {"monitor"},
    "ray": {"run"},
}


def sources() -> list[Path]:
    tracked = subprocess.run(
        ["git", "-C", str(ROOT), "ls-files", "-co", "--exclude-standard", "*.py"],
        capture_output=True,
        text=True,
        check=True,
    )
    return [ROOT / name for name in tracked.stdout.split() if (ROOT / name).is_file()]


def room(path: Path) -> str:
    """The room of a package file: its top-level folder, or the file itself."""
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


@functools.cache
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


def house_imports() -> Iterator[tuple[str, str, str]]:
    """(file, its room, the room it imports from) of every import across rooms."""
    for path in PACKAGE_FILES:
        here, name = room(path), path.relative_to(PACKAGE).as_posix()
        there = {n.split(".")[1] for n in imports(path) if n.startswith("scaling_law.")}
        yield from ((name, here, one) for one in sorted(there & FLOORS.keys()) if one != here)


def test_rooms_import_from_lower_floors_only():
    unknown = sorted({room(path) for path in PACKAGE_FILES} - FLOORS.keys())
    assert not unknown, f"no floor: {unknown}; add them to FLOORS"
    climbing = {
        f"{name} imports {there}"
        for name, here, there in house_imports()
        if FLOORS[there] >= FLOORS[here]
    }
    assert not climbing, f"imports of the same or a higher floor: {sorted(climbing)}"


def test_the_two_halves_meet_only_at_the_record():
    crossing = {
        f"{name} imports {there}"
        for name, here, there in house_imports()
        if there in FORBIDDEN.get(here, ())
        or (there == "train" and here != "train" and name not in TRAINING_PROCESS)
    }
    assert not crossing, f"imports across the halves: {sorted(crossing)}"


def module_of(path: Path) -> str:
    """The dotted name of a package file; that of its folder for an ``__init__.py``."""
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def at_the_top(path: Path) -> set[str]:
    """What a file imports when it is imported itself, by dotted names."""
    body = [n for n in ast.parse(path.read_text()).body if isinstance(n, ast.ImportFrom)]
    return {f"{n.module}.{alias.name}" for n in body for alias in n.names} | {
        str(n.module) for n in body
    }


def test_no_files_import_each_other_in_a_circle():
    modules = {module_of(p): p for p in sources() if PACKAGE in p.parents}
    graph = {name: at_the_top(path) & modules.keys() - {name} for name, path in modules.items()}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as circle:
        pytest.fail(f"imported in a circle: {' -> '.join(circle.args[1])}")


def test_each_library_is_imported_by_its_rooms_only():
    strays = {
        f"{path.relative_to(PACKAGE)} imports {name}"
        for path in PACKAGE_FILES
        for name in imports(path)
        if room(path) not in THIRD_PARTY.get(name.split(".")[0], {room(path)})
    }
    assert not strays, f"libraries outside their rooms: {sorted(strays)}"


def test_the_documented_tree_matches_the_disk():
    text = (ROOT / "docs" / "architecture.md").read_text()
    tree = re.search(r"```text tree\n(.*?)```", text, re.S)
    assert tree, "docs/architecture.md has no ```text tree block"
    drawn: set[str] = set()
    folders: list[str] = []
    for line in tree[1].splitlines():
        entry = re.match(r"( *)(\S+)", line)
        if entry:
            folders = [*folders[: len(entry[1]) // 2], entry[2].rstrip("/")]
            drawn.add("/".join(folders))
    missing = sorted(name for name in drawn if not (ROOT / name).exists())
    assert not missing, f"drawn but not on disk: {missing}"
    there = {str(p.parent.relative_to(ROOT)) for p in PACKAGE.rglob("__init__.py")}
    assert there <= drawn, f"on disk but not drawn: {sorted(there - drawn)}"


def test_neither_a_dry_run_nor_a_status_loads_numpy():
    code = (
        "import sys, scaling_law.run.session, scaling_law.run.sweep_state.text\n"
        "print('numpy' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


@pytest.mark.parametrize(
    "words", ["--help", "run --help", "fit --help", "status --help", "monitor --help"]
)
def test_help_loads_nothing_heavy(words):
    code = (
        "import sys; from scaling_law.cli.main import main\n"
        f"try: main({words.split()!r})\nexcept SystemExit: pass\n"
        f"print(sorted({HEAVY!r} & set(sys.modules)), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr.strip().splitlines()[-1] == "[]"
    assert "usage:" in done.stdout


def test_a_fit_and_a_forecast_load_no_scipy():
    code = (
        "import sys, numpy as np, scaling_law.fit.session, scaling_law.forecast.session\n"
        "from scaling_law.fit.approaches.isoflop_curves import interpolated\n"
        "interpolated(np.arange(4.0), np.ones(4), np.ones(1))\n"
        f"print(sorted({HEAVY!r} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
