"""What `make dist` builds, used from elsewhere without the checkout."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tomllib
from pathlib import Path

import pytest

import scaling_law

ROOT = Path(__file__).resolve().parents[1]


def test_citation_names_the_version_of_the_package():
    cited = re.search(r"^version: (.+)$", (ROOT / "CITATION.cff").read_text(), re.M)
    assert cited is not None and cited[1] == scaling_law.__version__


def test_extras_that_messages_name_exist():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    said = {
        extra
        for path in (ROOT / "scaling_law").rglob("*.py")
        for extra in re.findall(r"""install_extra\(["'](\w+)["']\)""", path.read_text())
    }
    assert said and said <= project["optional-dependencies"].keys()
    assert project["name"] == "slaw"


@pytest.mark.slow
def test_the_wheel_runs_without_the_checkout(tmp_path):
    source = tmp_path / "source"
    listed = subprocess.run(
        ["git", "-C", str(ROOT), "ls-files", "-z"], capture_output=True, text=True, check=True
    ).stdout
    for name in filter(None, listed.split("\0")):
        if not name.startswith(("results/", "tests/")) and (ROOT / name).is_file():
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / name, source / name)
    env = {**os.environ, "PYTHONPATH": ""}
    python = [sys.executable, "-W", "ignore", "-m"]
    subprocess.run(
        [*python, "build", "--no-isolation", "--outdir", str(tmp_path), str(source)],
        check=True, capture_output=True, env=env,
    )  # fmt: skip
    (sdist,) = tmp_path.glob("slaw-*.tar.gz")
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert {"LICENSE", "CITATION.cff", "docs/laws.md", "configs/quick.yaml"} <= names
    (wheel,) = tmp_path.glob("slaw-*.whl")
    installed = tmp_path / "installed"
    subprocess.run(
        [*python, "pip", "install", "--no-deps", "--target", str(installed), str(wheel)],
        check=True, capture_output=True, env=env,
    )  # fmt: skip

    def slaw(*words: str) -> str:
        return subprocess.run(
            [sys.executable, "-m", "scaling_law", *words],
            capture_output=True, text=True, check=True, cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(installed), "SLAW_CACHE": str(tmp_path / "cache")},
        ).stdout  # fmt: skip

    assert "40 runs" in slaw("run", "--mode", "quick", "--dry-run")
    assert "grokking" in slaw("experiments")
    slaw(
        "run",
        "kernel_limit",
        "--device",
        "cpu",
        "--set",
        "grid.0.seeds=[0]",
        "--set",
        "grid.0.epochs=[20]",
    )
    findings = json.loads(slaw("report", "results/kernel_limit", "--json"))
    assert findings["experiment"] == "kernel_limit" and findings["verdict"]
