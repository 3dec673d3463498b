"""Give mkdocs the pages and figures that are made from the code and from the shipped records."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

from tools.site import commands, configs, gallery

ROOT = Path(__file__).resolve().parents[2]


def on_config(config: Any) -> Any:
    """Make the pages, and put those of a folder under its list in the navigation."""
    config.made = dict(_made())
    config.nav = [_with_pages(entry, list(config.made)) for entry in config.nav]
    return config


def on_files(files: Files, config: Any) -> Files:
    """Add the made pages to those of the folder ``docs``."""
    for path, content in config.made.items():
        files.append(File.generated(config, path, content=content))
    return files


def _with_pages(entry: Any, made: Sequence[str]) -> Any:
    """An entry of the navigation, where ``FOLDER/index.md`` becomes all pages of the folder."""
    if isinstance(entry, dict):
        return {title: _with_pages(below, made) for title, below in entry.items()}
    if isinstance(entry, list):
        return [_with_pages(below, made) for below in entry]
    folder, _, name = entry.rpartition("/")
    if name != "index.md" or not folder:
        return entry
    below = [path for path in made if path.startswith(f"{folder}/") and path.endswith(".md")]
    return [path if path == entry else {Path(path).stem: path} for path in below]


def _made() -> Iterator[tuple[str, str | bytes]]:
    from scaling_law.experiment.collection import collect

    for path in ("CONTRIBUTING.md", "CHANGELOG.md"):
        page = {"CHANGELOG.md": "changes.md"}.get(path, path.lower())
        yield page, (ROOT / path).read_text().replace("](docs/", "](")
    yield from commands.pages()
    yield from configs.pages()
    experiments = collect(ROOT / "results" / "reference")
    yield from gallery.pages(experiments)
    yield from gallery.figures(experiments)
    with tempfile.TemporaryDirectory() as folder:
        yield "forecast.svg", _forecast(Path(folder))


def _forecast(folder: Path) -> bytes:
    """The forecast of the reference sweep, the picture of the first page."""
    from scaling_law.cli.main import main

    words = ["-q", "report", str(ROOT / "results/reference/quick-cpu"), "--out", str(folder)]
    with contextlib.redirect_stdout(None):  # the place of the page, which nobody opens
        code = main(words)
    assert code == 0, "the report of the reference sweep fails"
    return (folder / "figures" / "forecast.svg").read_bytes()
