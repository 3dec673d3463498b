"""The documentation: its commands exist, its Python runs, its pages and links are whole."""

from __future__ import annotations

import contextlib
import importlib.util
import io
import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from scaling_law.cli.main import make_parser

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]


def command_lines(page: Path) -> list[str]:
    """The lines of a page's blocks of code that run ``slaw``, without their comments."""
    text = page.read_text()
    blocks = re.findall(r"^```(?!yaml|python)\w*[^\n]*\n(.*?)^```", text, re.S | re.M)
    blocks += re.findall(r"(?:^ {4}.*\n)+", text, re.M)
    lines = [line.strip().removeprefix("$ ") for block in blocks for line in block.splitlines()]
    return [re.split(r"\s#\s", line)[0].strip() for line in lines if line.startswith("slaw ")]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_command_of_a_page_is_one_that_slaw_takes(page):
    parser = make_parser()
    for line in command_lines(page):
        said = io.StringIO()
        with contextlib.redirect_stderr(said):
            try:
                parser.parse_args(shlex.split(line)[1:])
            except SystemExit as refused:
                assert refused.code == 0, f"{page.name}: {line}: {said.getvalue()}"


def test_the_pages_have_commands_to_check():
    assert sum(len(command_lines(page)) for page in PAGES) > 40


def test_the_readme_is_short():
    assert len((ROOT / "README.md").read_text().splitlines()) < 220


@pytest.mark.slow
def test_the_python_of_the_pages_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rows = ["N,D,val_loss"]
    for params in (1e7, 3e7, 1e8, 3e8):
        for tokens in (2e8, 1e9, 5e9):
            rows.append(f"{params},{tokens},{1.7 + 400 / params**0.34 + 410 / tokens**0.28}")
    Path("runs.csv").write_text("\n".join(rows))
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "docs/python.md").read_text(), re.S)
    names: dict[str, object] = {}
    for block in blocks:
        exec(compile(block, "docs/python.md", "exec"), names)
    assert Path("fit.json").is_file()


@pytest.mark.slow
def test_the_notebook_runs_from_its_folder(monkeypatch, capsys):
    monkeypatch.chdir(ROOT / "docs")
    notebook = json.loads(Path("five_lines.ipynb").read_text())
    assert (notebook["nbformat"], notebook["nbformat_minor"]) == (4, 5)
    assert len({cell["id"] for cell in notebook["cells"]}) == len(notebook["cells"])
    names: dict[str, object] = {}
    for cell in notebook["cells"]:
        if cell["cell_type"] == "code":
            assert not cell["outputs"], "a notebook is committed without outputs"
            exec(compile("".join(cell["source"]), cell["id"], "exec"), names)
    assert "32 points from 8 independent trunks" in capsys.readouterr().out


@pytest.mark.slow
def test_the_site_builds_without_a_warning(tmp_path):
    if importlib.util.find_spec("material") is None:
        pytest.skip("mkdocs-material is not installed: pip install -e '.[docs]'")
    built = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--site-dir", str(tmp_path / "site")],
        cwd=ROOT, capture_output=True, text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT), "NO_MKDOCS_2_WARNING": "1"},
    )  # fmt: skip
    assert built.returncode == 0, built.stderr
    page = (tmp_path / "site/gallery/grokking.html").read_text()
    assert "Beside the literature" in page and 'src="grokking-' in page
    asked = re.compile(r'<(?:script|link|img)[^>]+(?:src|href)="(https?:[^"]+)')
    for path in (tmp_path / "site").rglob("*.html"):
        elsewhere = asked.findall(path.read_text())
        assert not elsewhere, f"{path.name} asks another host: {elsewhere}"
