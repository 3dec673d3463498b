"""Parts: what an experiment may vary, one file each, found by name or by the path of a file.

A part is a value that a file exports: ``optimizers/sgd.py`` exports an ``Optimizer`` as
``OPTIMIZER``. There is no registry: a file in the folder of its kind is a part. A user's own
file is named by its path and known by the SHA-256 of its content, which enters a run's identity;
a sweep's folder has a copy, so that its runs resume from anywhere.

Nothing but the file that was asked for is imported, and a part's file imports torch only where
it is used, so that plans, ``--help`` and the config's schema need no torch.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import hashlib
import importlib
import importlib.util
import inspect
import pkgutil
import re
import sys
import traceback
import types
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from scaling_law.errors import ConfigError, did_you_mean, one_line, quoted


@dataclass(frozen=True, kw_only=True)
class Kind:
    """A kind of part.

    ``word`` names it in messages and in ``slaw parts``;
    ``package`` is the folder of its files, as a module;
    ``export`` is the name of the value that a file exports;
    ``contract`` is the class of that value, defined in the package;
    ``key`` is where a config chooses it;
    ``doc`` says in a line what it varies;
    ``spelled`` gives the file of a part whose name no file of Python's can have;
    ``shared`` are files of the folder that are no parts, beside those that begin with ``_``;
    ``beside`` is the folder next to the package, or shipped in a wheel, that holds the files of a
    kind whose parts are not in the package; "" where they are;
    ``taken`` are names that no user's own file may have, because they mean something else.
    """

    word: str
    package: str
    export: str
    contract: str
    key: str
    doc: str
    spelled: Mapping[str, str] = field(default_factory=dict)
    shared: tuple[str, ...] = ()
    beside: str = ""
    taken: tuple[str, ...] = ()


@dataclass(frozen=True)
class NoSettings:
    """The settings of a part that has none."""


@dataclass(frozen=True, kw_only=True)
class Reference:
    """Which part is meant.

    ``name`` is that of a file in the kind's folder, or the stem of a user's own file;
    ``source_sha256`` is the hash of a user's own file, None for a part of the package.
    """

    name: str
    source_sha256: str | None = None


_KINDS = (
    Kind(
        word="source", package="scaling_law.data.tasks", export="TASK", contract="Task",
        key="data.source", doc="a task that makes its own examples, in place of text",
    ),
    Kind(
        word="corpus", package="scaling_law.data.sources", export="CORPUS", contract="Corpus",
        key="data.corpus", doc="the text to train on",
    ),
    Kind(
        word="cleaner", package="scaling_law.data.cleaners", export="CLEANER", contract="Cleaner",
        key="data.clean", doc="which documents of a text are dropped, or what in them is changed",
    ),
    Kind(
        word="architecture", package="scaling_law.spec.architectures", export="ARCHITECTURE",
        contract="Architecture", key="model.architecture",
        doc="the model: parameter counts, FLOPs, memory; its module is in train/architectures",
    ),
    Kind(
        word="parametrisation", package="scaling_law.train.parametrisations",
        export="PARAMETRISATION", contract="Parametrisation", key="model.parametrisation",
        doc="initial scales, and multipliers of learning rates and outputs",
    ),
    Kind(
        word="objective", package="scaling_law.train.objectives", export="OBJECTIVE",
        contract="Objective", key="objective", doc="what of a batch is predicted, and its loss",
    ),
    Kind(
        word="number_format", package="scaling_law.train.number_formats", export="NUMBER_FORMAT",
        contract="NumberFormat", key="number_format",
        doc="what products with weights are rounded to, simulated",
    ),
    Kind(
        word="optimizer", package="scaling_law.train.optimizers", export="OPTIMIZER",
        contract="Optimizer", key="optim.name", doc="the update rule of the weights",
    ),
    Kind(
        word="schedule", package="scaling_law.spec.schedules", export="SCHEDULE",
        contract="Schedule", key="schedule.shape", doc="the learning rate over steps",
    ),
    Kind(
        word="cooldown", package="scaling_law.spec.cooldowns", export="COOLDOWN",
        contract="Cooldown", key="schedule.cooldown", doc="the shape of the decay of wsd",
        spelled={"1-sqrt": "one_minus_sqrt"},
    ),
    Kind(
        word="rule", package="scaling_law.spec.hyperparams", export="RULE", contract="Rule",
        key="optim.rule", doc="learning rate, batch and warm-up from size and tokens",
    ),
    Kind(
        word="probe", package="scaling_law.train.probes", export="PROBE", contract="Probe",
        key="probes", doc="a measurement beside the loss, on the curve or at the end",
        # other names among a record's metrics
        taken=(
            "loss", "epochs", "predicted_loss_nats", "predicted_low_nats", "predicted_high_nats",
            "stopped_at_step", "flops_saved", "planned_tokens_unique", "parent_tokens",
            "parent_flops", "batches_skipped", "rollbacks", "steps_repeated",
        ),
    ),
    Kind(
        word="law", package="scaling_law.fit.laws", export="LAW", contract="Law",
        key="slaw fit --law", doc="a scaling law", shared=("law",),
    ),
    Kind(
        word="engine", package="scaling_law.run.engines", export="ENGINE", contract="EnginePart",
        key="engine", doc="where runs are executed",
    ),
    Kind(
        word="tracker", package="scaling_law.run.trackers", export="TRACKER",
        contract="TrackerPart", key="trackers", doc="where curves are shown besides",
    ),
    Kind(
        word="format", package="scaling_law.tables.formats", export="FORMAT", contract="Format",
        key="slaw import --format", doc="what other programs write of their runs, as a table",
    ),
    Kind(
        word="experiment", package="scaling_law.experiment", export="EXPERIMENT",
        contract="Experiment", key="experiment", doc="the question of a sweep and its analysis",
        beside="experiments",
    ),
)  # fmt: skip
KINDS = {kind.word: kind for kind in _KINDS}

_PACKAGE = Path(__file__).resolve().parent
_LISTED = 40  # names that a message lists; more make it longer than a screen
_NAME = r"[A-Za-z0-9_][A-Za-z0-9_-]{0,60}"

# Files of parts that this process has read by their path, and what stood in them: by kind and
# hash. The file itself may be edited or removed while the process lives.
_files_read: dict[tuple[str, str], types.ModuleType] = {}
_contents: dict[tuple[str, str], bytes] = {}
# Parts that fit their kind's contract, by kind and identity: a plan of many arms loads each often.
_checked: dict[tuple[str, int], Any] = {}
# Sweeps' folders whose copies of users' files ``load`` may read.
_folders: list[Path] = []


@functools.cache
def names(word: str) -> tuple[str, ...]:
    """The parts of a kind that slaw has, sorted; files that begin with ``_`` are none."""
    kind = KINDS[word]
    spelled = {file: name for name, file in kind.spelled.items()}
    if kind.beside:
        modules = [path.stem for path in shipped_files(kind.beside, "*.py")]
    else:
        package = importlib.import_module(kind.package)
        modules = [module.name for module in pkgutil.iter_modules(package.__path__)]
    files = (name for name in modules if not name.startswith("_") and name not in kind.shared)
    return tuple(sorted(spelled.get(file, file) for file in files))


def shipped_files(folder: str, pattern: str) -> list[Path]:
    """The files of a folder beside the checkout's package or inside the wheel, by name."""
    places = (_PACKAGE.parent / folder, _PACKAGE / "shipped" / folder)
    files = {path.name: path for place in reversed(places) for path in place.glob(pattern)}
    return [files[name] for name in sorted(files)]


def module_of(word: str, name: str) -> types.ModuleType:
    """The module of a part that slaw has."""
    kind = KINDS[word]
    if kind.beside:
        (path,) = shipped_files(kind.beside, f"{name}.py")
        return _module_at(word, path)[1]
    return importlib.import_module(f"{kind.package}.{file_name(word, name)}")


def described(word: str) -> list[tuple[str, str]]:
    """Each part of a kind that slaw has, and the first line of its file's docstring."""
    modules = ((name, module_of(word, name)) for name in names(word))
    return [(name, (inspect.getdoc(module) or "").partition("\n")[0]) for name, module in modules]


def file_name(word: str, name: str) -> str:
    """The module of a part, within its kind's package."""
    return KINDS[word].spelled.get(name, name)


def has_folder(word: str) -> bool:
    """Whether the package has a folder for the kind."""
    spec = importlib.util.find_spec(KINDS[word].package)
    return spec is not None and spec.submodule_search_locations is not None


def refer(word: str, text: str, *folders: Path) -> Reference:
    """The part that a config means by ``text``: a name, or the path of a user's own file.

    A path (it ends in ``.py``) is looked for in ``folders`` in turn and read once found. Raises
    ``ConfigError`` with what there is, or with what is wrong with the file.
    """
    if text.endswith(".py"):
        return _refer_to_file(word, text, folders)
    if text in names(word):
        return Reference(name=text)
    raise ConfigError(f"{unknown(word, text)} or the path of a .py file")


def unknown(word: str, text: str) -> str:
    """What a message says of a name that no part of this kind has."""
    known = names(word)
    expected = f"{', '.join(known)} (see slaw parts {word})"
    if len(known) > _LISTED:
        expected = f"the {len(known)} that slaw parts {word} lists"
    return (
        f"no {word} is named {quoted(text)}{did_you_mean(text, known)}; expected one of {expected}"
    )


def _refer_to_file(word: str, text: str, folders: tuple[Path, ...]) -> Reference:
    given = Path(text).expanduser()
    # a sweep's folder has its copies by the name of the file alone
    for place in (given, own_place(word, given.name)):
        for path in (folder / place for folder in folders):
            if path.is_file():
                return read_file(word, path)
    raise ConfigError(f"no file {quoted(text)} for the {word}; looked in {_listed(folders)}")


def _listed(folders: tuple[Path, ...]) -> str:
    return " and ".join(str(folder) for folder in dict.fromkeys(folders)) or "no folder"


def own_place(word: str, name: str) -> Path:
    """Where a sweep's folder keeps its copy of a user's own file, relative to the folder."""
    return Path("parts") / word / name


def read_file(word: str, path: Path) -> Reference:
    """Import a user's own file and hold its part against the contract of its kind.

    Raises ``ConfigError`` naming the file, the line where it fails, or what it lacks.
    """
    digest, module = _module_at(word, path)
    _exported(KINDS[word], module, str(path))
    return Reference(name=path.stem, source_sha256=digest)


def _module_at(word: str, path: Path) -> tuple[str, types.ModuleType]:
    """The SHA-256 of a file of Python's, and its module, made once. Raises ``ConfigError``."""
    try:
        content = path.read_bytes()
    except OSError as problem:
        raise ConfigError(f"{path}: cannot be read ({problem.strerror})") from None
    if path.stem in KINDS[word].taken:
        raise ConfigError(
            f"{path}: no {word} may be named {quoted(path.stem)}, which every run has; rename it"
        )
    digest = hashlib.sha256(content).hexdigest()
    if not re.fullmatch(_NAME, path.stem):
        raise ConfigError(
            f"{path}: records name a {word} by its file: expected letters, digits, _ and - before"
            " .py"
        )
    if (word, digest) in _files_read:
        return digest, _files_read[word, digest]
    module = types.ModuleType(f"slaw_part_{digest[:16]}")
    # the name outlives a change of the current folder
    module.__file__ = str(path.absolute())
    # dataclasses look their module up by its name
    sys.modules[module.__name__] = module
    try:
        exec(compile(content, module.__file__, "exec"), module.__dict__)
    except (Exception, SystemExit) as problem:
        del sys.modules[module.__name__]
        raise ConfigError(_why_not_loaded(word, path, problem)) from None
    _files_read[word, digest] = module
    _contents[word, digest] = content
    return digest, module


@contextlib.contextmanager
def users_code(word: str, reference: Reference) -> Iterator[None]:
    """While inside, what a user's own file raises becomes a ``ConfigError`` with file and line."""
    path = file_of(word, reference)
    try:
        yield
    except Exception as problem:
        line = None if path is None else _line_in(path, problem)
        if line is None:
            raise
        said = f"{type(problem).__name__}: {one_line(str(problem))}"
        raise ConfigError(f"{path}:{line}: this {word} fails ({said})") from None


def _line_in(path: Path, problem: BaseException) -> int | None:
    """The last line of the file on the way to a problem; None where the file is not on it."""
    line = None
    for frame in traceback.extract_tb(problem.__traceback__):
        if frame.filename == str(path.absolute()):
            line = frame.lineno
    return line


def _why_not_loaded(word: str, path: Path, problem: BaseException) -> str:
    line = problem.lineno if isinstance(problem, SyntaxError) else _line_in(path, problem)
    where = f"{path}:{line}" if line is not None else str(path)
    return (
        f"{where}: this {word} does not load ({type(problem).__name__}: {one_line(str(problem))})"
    )


def _exported(kind: Kind, module: types.ModuleType, where: str) -> Any:
    part = getattr(module, kind.export, None)
    contract = getattr(importlib.import_module(kind.package), kind.contract)
    if part is None:
        raise ConfigError(
            f"{where}: exports no {kind.export}, expected {kind.export} ="
            f" {kind.contract}(...); see {kind.package}"
        )
    if _checked.get((kind.word, id(part))) is part:
        return part
    if not isinstance(part, contract):
        raise ConfigError(
            f"{where}: {kind.export} is a {type(part).__name__}, expected"
            f" {kind.contract}(...) of {kind.package}"
        )
    if why := _why_unlike(contract, part):
        raise ConfigError(f"{where}: {kind.export}.{why}; see {kind.package}")
    _checked[kind.word, id(part)] = part
    return part


def _why_unlike(contract: type, part: Any) -> str:
    """Say which field of a part is of another kind than its contract says; "" for none.

    Functions, texts, switches, dataclasses and the contract's own classes are distinguished by the
    annotations.
    """
    classes = vars(importlib.import_module(contract.__module__))
    for field_ in dataclasses.fields(contract):
        wanted, value = str(field_.type), getattr(part, field_.name)
        if value is None and wanted.endswith("| None"):
            continue
        if wanted.startswith("Callable[") and not callable(value):
            expected = "a function"
        elif wanted == "type" and not (isinstance(value, type) and dataclasses.is_dataclass(value)):
            expected = "a dataclass"
        elif wanted in ("str", "bool") and type(value).__name__ != wanted:
            expected = "a text" if wanted == "str" else "True or False"
        elif isinstance(kind := classes.get(wanted), type) and not isinstance(value, kind):
            expected = f"{wanted}(...)"
        else:
            continue
        return f"{field_.name} is {one_line(repr(value)):.60}, expected {expected}"
    return ""


def load(word: str, reference: Reference) -> Any:
    """The part itself. Raises ``ConfigError`` where this installation, or folder, lacks it."""
    kind = KINDS[word]
    if reference.source_sha256 is not None:
        module = _own_file(word, reference)
        if module is None:
            raise ConfigError(
                f"the {word} {quoted(reference.name)} is a user's own file (SHA-256"
                f" {reference.source_sha256[:12]}...), and the folder does not have it; put it back"
                f" as {own_place(word, reference.name + '.py')}"
            )
        return _exported(kind, module, str(module.__file__))
    if reference.name not in names(word):
        raise ConfigError(unknown(word, reference.name))
    module = module_of(word, reference.name)
    return _exported(kind, module, str(module.__file__) if kind.beside else module.__name__)


def _own_file(word: str, reference: Reference) -> types.ModuleType | None:
    """The user's own file of that content; None where no config names it and no folder has it."""
    assert reference.source_sha256 is not None
    key = word, reference.source_sha256
    for folder in _folders:
        path = folder / own_place(word, f"{reference.name}.py")
        if key not in _files_read and path.is_file():
            read_file(word, path)
    return _files_read.get(key)


def read_copies(folder: Path) -> None:
    """Let ``load`` read the users' own files that a sweep's ``folder`` keeps, when it needs them.

    A run executes the files that its spec names, and none else.
    """
    if folder not in _folders:
        _folders.append(folder)


def file_of(word: str, reference: Reference) -> Path | None:
    """The user's own file that a reference stands for; None for a part that slaw has."""
    if reference.source_sha256 is None:
        return None
    file = _files_read[word, reference.source_sha256].__file__
    assert file is not None
    return Path(file)


def content_of(word: str, reference: Reference) -> bytes | None:
    """What stood in the user's own file when it was read; None for a part that slaw has."""
    if reference.source_sha256 is None:
        return None
    return _contents[word, reference.source_sha256]


def set_fields(settings: Any) -> dict[str, Any]:
    """The fields of a part's settings that are not at their default, by name.

    Only these enter a run's JSON: a setting that comes later is absent from older runs.
    """
    values = {
        f.name: (getattr(settings, f.name), _default(f)) for f in dataclasses.fields(settings)
    }
    return {name: value for name, (value, usual) in values.items() if value != usual}


def _default(field: dataclasses.Field[Any]) -> Any:
    if field.default_factory is not dataclasses.MISSING:
        return field.default_factory()
    return field.default
