"""Names every file on disk, and writes files atomically.

    results/<sweep>/{sweep.yaml, plan.json, data.json, dashboard.json, fits/*.json, figures/*.png,
                     tables/*.csv, forecasts/*.json, report.html}
    results/<sweep>/rounds/{adaptive.json | stages.json, 01.yaml, 01.json, ...}
    results/<sweep>/{starts/<run_id>.pt, samples/02/*.txt, engines/<name>/*, ...}
    results/<sweep>/runs/<run_id>/{spec.json, resources.json, curve.jsonl, ckpt/, log.txt,
                                   weights.pt, trainer/, record.json | failure.json}

``record.json`` is written last; its presence is the only meaning of "finished". While a process
works on a run or a sweep there is a ``claim`` (``files/lease.py``), and ``runners/`` has one for
each ``slaw run``. Temporary files are called ``.<name>.<anything>.tmp``.
"""

from __future__ import annotations

import contextlib
import errno
import glob
import itertools
import json
import os
import re
import secrets
import shutil
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from scaling_law.decode import json_problem
from scaling_law.errors import ConfigError, did_you_mean, nearest
from scaling_law.parts import shipped_files

RESULTS = "results"  # where sweeps go without --out
_MOST_BESIDE = 1000  # files of a folder among which a name that is not there is looked for
FORECASTS = "forecasts"  # the folder of registered forecasts, in a sweep's or beside a table
# The remedy where the cache cannot be used.
CACHE_REMEDY = "set SLAW_CACHE to a folder that can be written"
# The remedy where a result cannot be written.
OUT_REMEDY = "name another place with --out"


# The mode of new files before the umask takes bits away: users decide who may read their files.
FILE_MODE = 0o666


def anybody() -> None:
    """The guard of a folder that only this process writes to."""


@dataclass(frozen=True)
class RunDir:
    """The files of one run.

    ``guard`` is called right before anything is written; it raises if another process has taken
    the run meanwhile.
    ``writes`` is false in a process that trains the run with others, of which another one writes:
    training then leaves every file of the run alone.
    """

    path: Path
    guard: Callable[[], None] = field(default=anybody, compare=False, repr=False)
    writes: bool = field(default=True, compare=False, repr=False)

    @property
    def run_id(self) -> str:
        """The run that the folder is for: its name (of a link, the link's)."""
        return os.path.basename(os.path.abspath(self.path))  # noqa: PTH100, PTH119 - pathlib would follow the link

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
    def lease(self) -> Path:
        """The lease of the process that trains the run and writes here."""
        return self.path / "claim"

    @property
    def log(self) -> Path:
        return self.path / "log.txt"

    @property
    def progress(self) -> Path:
        """A heartbeat for displays only."""
        return self.path / "progress.json"

    @property
    def trainer(self) -> Path:
        """The folder of the user's own command that trains the run: its metrics and states."""
        return self.path / "trainer"

    @property
    def trainer_process(self) -> Path:
        """The process of that command, while it may run."""
        return self.path / "trainer.json"

    @property
    def weights(self) -> Path:
        """The final weights, if they are saved; ``slaw export`` reads them."""
        return self.path / "weights.pt"

    @property
    def checkpoints(self) -> Path:
        return self.path / "ckpt"

    def checkpoint(self, step: int) -> Path:
        """The state after ``step`` steps."""
        return self.checkpoints / f"step_{step:08d}.pt"

    def shares(self, step: int) -> Path:
        """The folder of that state's tensors, where several processes hold a share of each."""
        return self.checkpoints / f"step_{step:08d}.shares"

    def checkpoint_steps(self) -> list[int]:
        """The steps with a checkpoint file, newest first."""
        if not self.checkpoints.is_dir():
            return []
        names = (re.fullmatch(r"step_(\d+)\.pt", p.name) for p in self.checkpoints.iterdir())
        return sorted((int(match[1]) for match in names if match), reverse=True)


@dataclass(frozen=True)
class ExportDir:
    """The files of one exported model; a Hugging Face folder has its own names."""

    path: Path

    @property
    def weights(self) -> Path:
        return self.path / "model.safetensors"

    @property
    def about(self) -> Path:
        """The run it came from: spec, loss, corpus."""
        return self.path / "slaw.json"

    @property
    def config(self) -> Path:
        return self.path / "config.json"

    @property
    def generation_config(self) -> Path:
        return self.path / "generation_config.json"

    @property
    def tokenizer(self) -> Path:
        return self.path / "tokenizer.json"

    @property
    def tokenizer_config(self) -> Path:
        return self.path / "tokenizer_config.json"


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
        """The prepared dataset that the sweep's runs share: its folder and fingerprint."""
        return self.path / "data.json"

    @property
    def lease(self) -> Path:
        """The lease of the process that plans the sweep and writes its own files."""
        return self.path / "claim"

    @property
    def runners(self) -> Path:
        """The folder with a lease of every ``slaw run`` that works here."""
        return self.path / "runners"

    @property
    def has_begun(self) -> bool:
        """Whether a ``slaw run`` has trained here, has planned or is planning.

        The folder of one run has a lease, too, and is no sweep.
        """
        if RunDir(self.path).spec.exists():
            return False
        own = (self.plan, self.data, self.lease, self.runners)
        return any(path.exists() for path in own) or self.has_runs

    @property
    def has_runs(self) -> bool:
        """Whether ``runs`` holds a run: other programs have folders of that name, too."""
        return any(run.spec.exists() or run.record.exists() for run in self.run_dirs())

    def runner_leases(self) -> list[Path]:
        """The files in ``runners``, by name."""
        return sorted(path for path in self.runners.glob("*") if not path.name.startswith("."))

    @property
    def runs(self) -> Path:
        return self.path / "runs"

    @property
    def fits(self) -> Path:
        return self.path / "fits"

    @property
    def forecasts(self) -> Path:
        """The folder of the registered forecasts."""
        return self.path / FORECASTS

    @property
    def figures(self) -> Path:
        return self.path / "figures"

    @property
    def report(self) -> Path:
        return self.path / "report.html"

    @property
    def workers_log(self) -> Path:
        """The standard error of workers on this machine."""
        return self.path / "workers.log"

    def engine(self, name: str) -> Path:
        """The folder of what an engine itself writes; most write nothing."""
        return self.path / "engines" / name

    @property
    def cancelled(self) -> Path:
        """A file by which ``slaw cancel`` asks every ``slaw run`` here to stop."""
        return self.path / "cancelled"

    @property
    def trackers_log(self) -> Path:
        """The output of trackers' libraries."""
        return self.path / "trackers.log"

    def tracking(self, name: str) -> Path:
        """The folder of one tracker: its files, and what was sent to it."""
        return self.path / "tracking" / name

    @property
    def tables(self) -> Path:
        """The report's numbers as CSV and parquet."""
        return self.path / "tables"

    def versus(self, other: SweepDir) -> Path:
        """The page that compares this sweep with another."""
        return self.path / f"versus-{other.path.resolve().name}.html"

    @property
    def rounds(self) -> Path:
        """What ``slaw run`` decides round by round: with --adaptive, or an experiment's stages."""
        return self.path / "rounds"

    @property
    def adaptive(self) -> Path:
        """What ``slaw run --adaptive`` was asked for."""
        return self.rounds / "adaptive.json"

    @property
    def stages(self) -> Path:
        """Which experiment the stages belong to, and its config."""
        return self.rounds / "stages.json"

    def start_weights(self, run_id: str) -> Path:
        """A copy of the final weights of another sweep's run, which runs here start from."""
        return self.path / "starts" / f"{run_id}.pt"

    def samples(self, name: str) -> Path:
        """Texts drawn from a run's weights, which a stage learns from."""
        return self.path / "samples" / name

    def round_config(self, number: int) -> Path:
        """The config of a round (from 1)."""
        return self.rounds / f"{number:02d}.yaml"

    def round_cost(self, number: int) -> Path:
        """The planned cost of a round, or the changes of a stage."""
        return self.rounds / f"{number:02d}.json"

    @property
    def dashboard(self) -> Path:
        """How far the sweep is, for other tools; ``slaw run`` keeps it current."""
        return self.path / "dashboard.json"

    def run(self, run_id: str) -> RunDir:
        return RunDir(self.path.joinpath("runs", run_id))

    def run_dirs(self) -> list[RunDir]:
        """Every run folder, by name."""
        if not self.runs.is_dir():
            return []
        return [RunDir(p) for p in sorted(self.runs.iterdir()) if p.is_dir()]


def cache_dir() -> Path:
    """``$SLAW_CACHE``, else ``$XDG_CACHE_HOME/slaw``, else ``~/.cache/slaw``.

    Raises ``ConfigError`` where there is neither, nor a home folder.
    """
    if named := os.environ.get("SLAW_CACHE"):
        return Path(named)
    if base := os.environ.get("XDG_CACHE_HOME"):
        return Path(base) / "slaw"
    try:
        return Path.home() / ".cache" / "slaw"
    except RuntimeError:  # no HOME, and a user id without a name (in a container, say)
        raise ConfigError(
            f"no home folder is known, where the cache would be; {CACHE_REMEDY}"
        ) from None


def is_file(path: Path) -> bool:
    """Whether there is such a file; False too where the folder may not be entered."""
    try:
        return path.is_file()
    except OSError:
        return False


def near_path(path: Path) -> str:
    """`` (did you mean results/nano?)`` where that or a near name is there; "" else.

    A name without a suffix is first looked for among the sweeps in ``results``.
    """
    places = [path.parent]
    if not path.suffix and path.parent == Path():
        places.insert(0, Path(RESULTS))
    for place in places:
        with contextlib.suppress(OSError, ValueError):
            entries = itertools.islice(place.iterdir(), _MOST_BESIDE)
            beside = {one.stem: one for one in entries if one != path}
            if near := nearest(path.stem, beside):
                return f" (did you mean {beside[near]}?)"
    return ""


def hides_shipped(name: str) -> bool:
    """Whether a file or folder here has the name of a shipped config or experiment."""
    files = (*shipped_files("configs", "*.yaml"), *shipped_files("experiments", "*.yaml"))
    try:
        return any(path.stem == name for path in files) and Path(name).exists()
    except OSError:  # a name too long, say
        return False


def shipped(name: str) -> Path:
    """The config ``name`` of ``configs/``, or of the experiment of that name.

    Raises ``ConfigError`` with the name that is near, or else with all that are there.
    """
    configs, experiments = (
        {path.stem: path for path in shipped_files(folder, "*.yaml")}
        for folder in ("configs", "experiments")
    )
    known = {**experiments, **configs}
    if name in known:
        return known[name]
    shipped_are = (
        f"; shipped are {', '.join(configs) or 'none'}, and {len(experiments)} experiments"
        " (slaw experiments lists them)"
    )
    own = Path(name).with_suffix(".yaml")
    hint = f" (did you mean {own}?)" if is_file(own) else did_you_mean(name, sorted(known))
    hint = hint or near_path(Path(name)) or shipped_are
    raise ConfigError(f"{name}: neither a file nor a shipped config{hint}")


def temporary_folder(path: Path, mark: str = "") -> Path:
    """Make a new temporary folder beside ``path``, to be renamed to it; ``mark`` is in its name."""
    folder = path.with_name(f".{path.name}.{mark}{secrets.token_hex(8)}.tmp")
    folder.mkdir()
    return folder


def temporary_sibling(path: Path) -> Path:
    """A new temporary name beside ``path``; ``leftovers`` lists it if it is never removed."""
    return path.with_name(f".{path.name}.{secrets.token_hex(8)}.tmp")


def discard(path: Path) -> None:
    """Remove a file, a link or a folder, if it is there."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def leftovers(*paths: Path) -> list[Path]:
    """Temporary files of ``paths`` that are being written, or that a killed process left."""
    return [left for path in paths for left in path.parent.glob(f".{glob.escape(path.name)}.*.tmp")]


@contextlib.contextmanager
def atomic_file(path: Path, guard: Callable[[], None] = anybody) -> Iterator[Path]:
    """A temporary file to write to, on success flushed to disk and renamed to ``path``.

    ``guard`` is called before anything is made, and again right before the rename. A process that
    takes the folder's lease removes the temporary file, and so prevents the rename.
    """
    guard()  # else a folder that was moved away would be made again, empty
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = temporary_sibling(path)
    try:
        os.close(os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_RDWR, FILE_MODE))
        yield temporary
        with temporary.open("rb+") as written:
            os.fsync(written.fileno())
        guard()
        temporary.replace(path)
        _sync_folder(path.parent)
    except OSError as problem:
        if isinstance(problem, FileNotFoundError):
            guard()  # another process that took the folder removed it
        # name the file: the error of a full disk names none, and a user does not know the temporary
        # name
        problem.filename = str(path)
        raise
    finally:
        # where nothing can be written nothing can be removed, and the error above is the one
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def _sync_folder(folder: Path) -> None:
    # a rename is durable only once its folder is synced; Windows cannot open folders
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def check_folder(folder: Path, remedy: str = OUT_REMEDY) -> None:
    """Raise ``ConfigError`` if ``folder`` cannot be written, or a parent of it is no folder.

    The message ends with the ``remedy``.
    """
    for place in (folder, *folder.parents):
        if place.is_dir():
            if not os.access(place, os.W_OK | os.X_OK):
                is_read_only = os.statvfs(place).f_flag & os.ST_RDONLY
                why = os.strerror(errno.EROFS) if is_read_only else "no permission"
                raise ConfigError(f"{folder}: cannot be written ({why}); {remedy}")
            return
        if place.exists() or place.is_symlink():
            raise ConfigError(f"{folder}: cannot be written ({place} is not a folder)")


def atomic_write(path: Path, content: str | bytes, guard: Callable[[], None] = anybody) -> None:
    """Replace ``path`` by ``content``, completely or not at all."""
    with atomic_file(path, guard) as temporary:
        temporary.write_bytes(content.encode() if isinstance(content, str) else content)


def write_json(path: Path, value: Any, guard: Callable[[], None] = anybody) -> None:
    """Write ``value`` as indented JSON, atomically; NaN and infinity are refused."""
    atomic_write(path, json.dumps(value, indent=1, allow_nan=False) + "\n", guard)


def read_json(path: Path, remedy: str = "") -> Any:
    """The JSON in ``path``.

    Raises ``ConfigError`` with the file's name if it is not JSON, and then with the ``remedy``.
    """
    try:
        if not stat.S_ISREG(path.stat().st_mode):  # a pipe may never end
            raise ConfigError(f"{path}: not a file; expected JSON")
        return json.loads(path.read_bytes().decode())
    except FileNotFoundError:
        raise ConfigError(f"{path}: no such file") from None
    except (OSError, ValueError, RecursionError) as problem:
        todo = f"; {remedy}" if remedy and not isinstance(problem, OSError) else ""
        raise ConfigError(f"{path}: not readable as JSON ({json_problem(problem)}){todo}") from None


def is_table(path: Path) -> bool:
    """Whether a path is a file that its name calls a table of runs."""
    suffixes = (".csv", ".tsv", ".jsonl", ".ndjson", ".parquet")
    return path.suffix.lower() in suffixes and path.is_file()
