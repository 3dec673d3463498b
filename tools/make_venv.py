"""Make a virtual environment with pip, also where Debian's python3 comes without ensurepip.

Usage: python3 tools/make_venv.py FOLDER. Standard library only: it runs before any install.
Without ensurepip the pip wheel is taken from the package index (``PIP_INDEX_URL``, else
PyPI), its SHA-256 checked against the index, and asked to install itself.
"""

from __future__ import annotations

import hashlib
import html.parser
import os
import subprocess
import sys
import tempfile
import urllib.parse
import urllib.request
import venv
from pathlib import Path

PIP_WHEEL = "pip-25.3-py3-none-any.whl"
MINIMUM = (3, 11)


class _Links(html.parser.HTMLParser):
    """The href of every link of a PEP 503 index page."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "a":
            self.found.extend(value for name, value in attrs if name == "href" and value)


def fetch_pip(index: str, folder: Path) -> Path:
    """Download the pinned pip wheel from ``index`` into ``folder`` and check its hash."""
    page = index.rstrip("/") + "/pip/"
    with urllib.request.urlopen(page, timeout=60) as answer:
        links = _Links()
        links.feed(answer.read().decode())
    for link in links.found:
        target, fragment = urllib.parse.urldefrag(urllib.parse.urljoin(page, link))
        if target.rsplit("/", 1)[-1] != PIP_WHEEL:
            continue
        with urllib.request.urlopen(target, timeout=120) as answer:
            content = answer.read()
        expected = fragment.removeprefix("sha256=")
        if hashlib.sha256(content).hexdigest() != expected:
            sys.exit(f"make_venv: {PIP_WHEEL} from {index} does not match its SHA-256")
        path = folder / PIP_WHEEL
        path.write_bytes(content)
        return path
    sys.exit(f"make_venv: {index} has no {PIP_WHEEL}; install python3-venv instead")


def main(folder: str) -> None:
    """Create ``folder``, with pip inside."""
    if sys.version_info < MINIMUM:
        sys.exit(f"make_venv: Python {sys.version.split()[0]} found, 3.11 or newer needed")
    try:
        import ensurepip  # noqa: F401 - Debian ships it apart, in python3-venv
    except ImportError:
        pass
    else:
        venv.create(folder, with_pip=True, clear=True)
        return
    venv.create(folder, with_pip=False, clear=True)
    index = os.environ.get("PIP_INDEX_URL", "https://pypi.org/simple")
    with tempfile.TemporaryDirectory() as scratch:
        wheel = fetch_pip(index, Path(scratch))
        python = Path(folder) / "bin" / "python"
        command = [str(python), f"{wheel}/pip", "install", "--quiet", "--no-index", str(wheel)]
        subprocess.run(command, check=True)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python3 tools/make_venv.py FOLDER")
    main(sys.argv[1])
