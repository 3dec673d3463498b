"""Every file name on disk, and the atomic write that all of them go through.

    results/<sweep>/{sweep.yaml, plan.json, data.json, fits/*.json, figures/*.png, report.html}
    results/<sweep>/runs/<run_id>/{spec.json, resources.json, curve.jsonl, ckpt/, log.txt,
                                   record.json | failure.json}

``record.json`` is written last; its presence is the only meaning of "finished".
"""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scaling_law.errors import ConfigError
from scaling_law.typed import json_problem


@dataclass(frozen=True)
class RunDir:
    """The files of one run."""

    path: Path

    @property
    def spec(self) -> Path:
        return self.path / "spec.json"

    @property
    def resources(self) -> Path:
        return self.path / "resources.json"

    @property
    def curve(self) -> Path:
        return self.path / "curve.jsonl"

    @property
    def record(self) -> Path:
        return self.path / "record.json"

    @property
    def failure(self) -> Path:
        return self.path / "failure.json"

    @property
    def lock(self) -> Path:
        return self.path / "lock"

    @property
    def log(self) -> Path:
        return self.path / "log.txt"

    @property
    def progress(self) -> Path:
        """A heartbeat for the sweep's progress bar; no truth rests on it."""
        return self.path / "progress.json"

    @property
    def checkpoints(self) -> Path:
        return self.path / "ckpt"

    def checkpoint(self, step: int) -> Path:
        """State before ``step`` is taken (``step`` steps are done)."""
        return self.checkpoints / f"step_{step:08d}.pt"


@dataclass(frozen=True)
class SweepDir:
    """The files of one sweep."""

    path: Path

    @property
    def config(self) -> Path:
        return self.path / "sweep.yaml"

    @property
    def plan(self) -> Path:
        return self.path / "plan.json"

    @property
    def data(self) -> Path:
        """Which prepared dataset the sweep's runs share (folder and fingerprint)."""
        return self.path / "data.json"

    @property
    def lock(self) -> Path:
        return self.path / "lock"

    @property
    def runs(self) -> Path:
        return self.path / "runs"

    @property
    def fits(self) -> Path:
        return self.path / "fits"

    @property
    def figures(self) -> Path:
        return self.path / "figures"

    @property
    def report(self) -> Path:
        return self.path / "report.html"

    def run(self, run_id: str) -> RunDir:
        return RunDir(self.runs / run_id)

    def run_dirs(self) -> list[RunDir]:
        """Every run folder, by name."""
        if not self.runs.is_dir():
            return []
        return [RunDir(p) for p in sorted(self.runs.iterdir()) if p.is_dir()]


def cache_dir() -> Path:
    """``$SLAW_CACHE``, else ``$XDG_CACHE_HOME/slaw``, else ``~/.cache/slaw``."""
    if named := os.environ.get("SLAW_CACHE"):
        return Path(named)
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(base) / "slaw"


def shipped(folder: str, name: str) -> Path:
    """A file of ``configs/`` or ``experiments/``, beside the checkout or inside the wheel.

    Raises ``ConfigError`` naming what is there instead.
    """
    package = Path(__file__).resolve().parent
    places = (package.parent / folder, package / "shipped" / folder)
    for place in places:
        if (place / name).is_file():
            return place / name
    known = sorted({p.stem for place in places for p in place.glob("*.yaml")})
    raise ConfigError(f"{folder}/{name}: no such file; shipped are {', '.join(known) or 'none'}")


@contextlib.contextmanager
def atomic_file(path: Path) -> Iterator[Path]:
    """A temporary sibling to write to; on success flushed to disk and renamed onto ``path``."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent)
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        with temporary.open("rb+") as written:
            os.fsync(written.fileno())
        temporary.chmod(0o644)
        temporary.replace(path)
        _sync_folder(path.parent)
    except OSError as problem:
        # a full disk speaks of no file, a temporary name tells nobody anything
        problem.filename = str(path)
        raise
    finally:
        temporary.unlink(missing_ok=True)


def _sync_folder(folder: Path) -> None:
    # A rename is only durable once its folder is; Windows cannot open folders, hence the guard.
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def check_folder(folder: Path) -> None:
    """Raises ``ConfigError`` when ``folder`` is, or would lie below, what is no folder."""
    for place in (folder, *folder.parents):
        if place.is_dir():
            return
        if place.exists() or place.is_symlink():
            raise ConfigError(f"{folder}: cannot be written ({place} is not a folder)")


def atomic_write(path: Path, content: str | bytes) -> None:
    """Replace ``path`` by ``content``, whole or not at all."""
    with atomic_file(path) as temporary:
        temporary.write_bytes(content.encode() if isinstance(content, str) else content)


def write_json(path: Path, value: Any) -> None:
    """``value`` as indented JSON, atomically; NaN and infinity are refused."""
    atomic_write(path, json.dumps(value, indent=1, allow_nan=False) + "\n")


def read_json(path: Path) -> Any:
    """The JSON in ``path``. Raises ``ConfigError`` naming the file when it is not JSON."""
    if path.exists() and not path.is_file():  # a pipe may never end
        raise ConfigError(f"{path}: not a file; expected JSON")
    try:
        return json.loads(path.read_text())
    except FileNotFoundError:
        raise ConfigError(f"{path}: no such file") from None
    except (OSError, ValueError, RecursionError) as problem:
        raise ConfigError(f"{path}: not readable as JSON ({json_problem(problem)})") from None
