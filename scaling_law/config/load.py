"""Strict YAML -> ``SweepConfig``: every error at once, with file, line and key.

Pydantic is imported only when a config is read. The sections are in ``schema``.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import typing
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, get_args, get_origin

import yaml

from scaling_law import parts
from scaling_law.config import axes, compose, strict_yaml
from scaling_law.config.compose import Choice, Choices, Composed, Refused
from scaling_law.config.schema import (
    DEVICE_KINDS,
    TEXT_N_CTX,
    DataSection,
    GridEntry,
    ShapeKeys,
    SourcesSection,
    SweepFile,
    TaskSection,
    TextSection,
    validate,
)
from scaling_law.config.strict_yaml import Mark, Path_, YamlDocument, described
from scaling_law.errors import ConfigError, did_you_mean
from scaling_law.files import checksum, layout
from scaling_law.files.layout import SweepDir
from scaling_law.spec.arms import Values
from scaling_law.spec.data import DataSpec, TaskSpec
from scaling_law.spec.mix import FILES_DOMAINS, Mix, phases_problem, shares_problem
from scaling_law.spec.to_json import to_json
from scaling_law.spec.values import Either, optional

CONFIG_KEY = "config_sha256"
SET = "--set"  # the place of a key that the command line sets
Known = Mapping[str, tuple[Any, ...]]
"""The exports of the files of a config's parts, by kind."""


@dataclass(frozen=True, kw_only=True)
class Arm:
    """A combination of the values of a config's axes.

    ``values`` are (key, value as text) of every axis, by key;
    ``config`` is the config with them set, its grid cut down to the entries that are trained so.
    """

    values: Values
    config: SweepConfig


@dataclass(frozen=True, kw_only=True)
class SweepConfig(SweepFile):
    """A config as it applies to a device.

    ``device_kind`` is cpu, mps or cuda;
    ``choices`` are the parts that the config chooses, by kind;
    ``crossed`` are the arms of its axes, none without axes; the config's own sections then have
    the first value of each axis of the whole grid;
    ``places`` are the paths of the corpora that are files, by how the config spells them;
    ``marks`` knows where each key was written.
    """

    device_kind: str
    choices: Choices = field(default_factory=dict)
    crossed: tuple[Arm, ...] = ()
    places: Mapping[str, str] = field(default_factory=dict, compare=False, repr=False)
    marks: Mapping[Path_, Mark] = field(default_factory=dict, compare=False, repr=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        for slot in compose.SLOTS:
            for choice in self.choices.get(slot.word, ()) if slot.key is not None else ():
                section = getattr(self, slot.section)
                if choice.item:
                    section = getattr(section, str(slot.group))[choice.item]
                named = getattr(section, str(slot.key), choice.spelled)
                assert named == choice.spelled, f"{slot.section}.{slot.key} is not the part chosen"

    def choice(self, word: str) -> Choice:
        """The one part of a kind that a config has exactly one of."""
        (only,) = self.choices[word]
        return only

    @property
    def arms(self) -> tuple[Arm, ...]:
        """The arms to train; without axes the config itself is the only one."""
        return self.crossed or (Arm(values=(), config=self),)

    @property
    def all_choices(self) -> tuple[Choice, ...]:
        """Every part that the config or an arm chooses."""
        configs = (self, *(arm.config for arm in self.crossed))
        return tuple(
            choice
            for config in configs
            for several in config.choices.values()
            for choice in several
        )

    @property
    def all_places(self) -> dict[str, str]:
        """The ``places`` of every arm."""
        return {name: path for arm in self.arms for name, path in arm.config.places.items()}

    def each(self, change: Callable[[SweepConfig], SweepConfig]) -> SweepConfig:
        """Apply ``change`` to the config and to each of its arms."""
        arms = tuple(dataclasses.replace(arm, config=change(arm.config)) for arm in self.crossed)
        return dataclasses.replace(change(self), crossed=arms)

    @property
    def data_spec(self) -> DataSpec | TaskSpec:
        """What a run records of its data."""
        if isinstance(self.data, TaskSection):
            return TaskSpec(source=self.choice("source").component)
        corpora = {choice.item: choice.beyond_name for choice in self.choices.get("corpus", ())}
        spec = self.data.spec({item: part for item, part in corpora.items() if part is not None})
        return dataclasses.replace(spec, places=tuple(self.places.items()))

    @property
    def mix(self) -> Mix | None:
        """What a run records of its mixture; None without one."""
        return self.data.mix_spec() if isinstance(self.data, TextSection) else None

    @property
    def mix_place(self) -> str:
        """Where the config gives the mixture, for messages."""
        phases = isinstance(self.data, TextSection) and self.data.phases is not None
        return self.where("data", "phases" if phases else "mix")

    @property
    def components(self) -> tuple[str, ...]:
        """The components that a mixture of the text may weigh; () for a task."""
        return _components(self.data, self.choices) if isinstance(self.data, TextSection) else ()

    @property
    def data_specs(self) -> tuple[DataSpec | TaskSpec, ...]:
        """The data of every arm, each once."""
        return tuple(dict.fromkeys(arm.config.data_spec for arm in self.arms))

    @property
    def task_sizes(self) -> Any:
        """The task's ``TaskSizes``; None for text."""
        if isinstance(self.data, TextSection):
            return None
        return _task_sizes(self.choices)

    @cached_property
    def solves(self) -> str:
        """The family of losses that the architecture minimises in closed form; "": it trains."""
        return str(self.choice("architecture").part.solves)

    @cached_property
    def shares_trunk(self) -> bool:
        """Whether the horizons of a size branch from one trunk."""
        return not self.solves and bool(self.choice("schedule").part.shares_trunk)

    @property
    def vocab_size(self) -> int:
        """Ids that a model reads and predicts: the tokenizer's, or the task's."""
        if isinstance(self.data, TextSection):
            return self.data.vocab_size
        return int(self.task_sizes.vocab_size)

    @property
    def n_ctx(self) -> int:
        """Tokens of context."""
        return self.model.n_ctx or int(self.task_sizes.n_ctx)

    def where(self, *path: str | int) -> str:
        """``quick.yaml:11: grid.1.seeds`` for a message about that key."""
        return str(YamlDocument(None, dict(self.marks)).mark(path))


def load_config(
    path_or_name: str | Path,
    *,
    overrides: Sequence[str] = (),
    device_kind: str,
    corpus_problem: Callable[[str], str] | None = None,
    beside: Path | None = None,
    begun: Mapping[str, str] | None = None,
) -> SweepConfig:
    """Read a YAML file, or the shipped ``configs/<name>.yaml``, as it applies to a device.

    ``overrides`` are ``key=value`` texts from ``--set``, applied after the device's variant;
    ``corpus_problem`` says why a corpus is not available here ("" where it is), for this device;
    ``beside`` is the sweep's folder, which has copies of a user's own files;
    ``begun`` says where that sweep's corpora were when it started, by the spelling in its config.
    Raises ``ConfigError`` with one line per problem, those of other devices' variants included.
    """
    assert device_kind in DEVICE_KINDS, device_kind
    source, name = _find(path_or_name)
    document = strict_yaml.read_file(source, name)
    if not isinstance(document.data, dict):
        raise ConfigError(f"{name}:1: expected keys and values, found {described(document.data)}")
    variants = _take_variants(document)
    problems: dict[str, None] = {}  # ordered, each once: variants share most of the document
    chosen: SweepConfig | None = None
    # the path of a user's own file is relative to the config's folder
    folders = (source.parent, Path(), *([beside] if beside is not None else []))
    finder = _CorpusFinder(folder=source.parent, begun=begun or {})
    for kind in (device_kind, *(k for k in variants if k != device_kind)):
        merged = _merged(document, variants.get(kind))
        if kind == device_kind:
            _apply(merged, overrides)
        try:
            config = _read(
                merged, kind, folders, finder, corpus_problem if kind == device_kind else None
            )
        except ConfigError as refused:
            problems.update(dict.fromkeys(refused.lines))
            continue
        if kind == device_kind:
            chosen = config
    if problems or chosen is None:
        raise ConfigError(*problems)
    return chosen


@dataclass(frozen=True, kw_only=True)
class _CorpusFinder:
    """Finds the files of a corpus that a config names by a path.

    ``folder`` is the config's own;
    ``begun`` says where the corpora of the sweep's folder were when it began.
    """

    folder: Path
    begun: Mapping[str, str]

    def places(self, document: YamlDocument) -> dict[str, str]:
        """The paths of the document's corpora, by spelling; none for a name or a missing file."""
        places = {}
        for path, corpus in _corpora(document).items():
            if not corpus or corpus in parts.names("corpus") or corpus.endswith(".py"):
                continue  # the file of a part is found with the other parts
            place = self._place(corpus, from_shell=document.mark(path).place == SET)
            if place is not None:
                places[corpus] = place
        return places

    def _place(self, corpus: str, *, from_shell: bool) -> str | None:
        """The absolute path of a corpus that a file names, or ``--set`` in the shell's folder."""
        in_file, in_shell, begun = self.folder / corpus, Path(corpus), self.begun.get(corpus)
        known = [] if begun is None else [Path(begun)]
        order = (in_shell, in_file, *known) if from_shell else (in_file, *known, in_shell)
        try:
            paths = (path.expanduser() for path in order)
            return next((str(path.resolve()) for path in paths if path.exists()), None)
        except (OSError, RuntimeError, ValueError):  # a name too long, an unknown ~user
            return None


def config_yaml(config: SweepConfig) -> str:
    """The config as YAML with every key written, its variant applied; reads back as equal."""
    body = yaml.dump(
        _without_none(_written(config)),
        Dumper=_Dumper,
        sort_keys=False,
        default_flow_style=None,
        width=100,
    )
    # a user's own file is known by its content
    own = "".join(
        dict.fromkeys(
            f"# {choice.word} {choice.spelled}: SHA-256 {choice.reference.source_sha256}\n"
            for choice in config.all_choices
            if choice.reference.source_sha256 is not None
        )
    )
    return f"# every key, as applied to {config.device_kind}\n{own}{body}"


def _written(config: SweepConfig) -> dict[str, Any]:
    """Every key of a config as plain values."""
    values = {f.name: to_json(getattr(config, f.name)) for f in dataclasses.fields(SweepFile)}
    if config.limits.memory is not None:
        values["limits"]["memory"] = f"{config.limits.memory}B"  # a bare number is in GB
    axes_of = (config.axes, *(entry.axes for entry in config.grid))
    varied = {key for one in axes_of for key in one or ()}
    return compose.written(values, config.choices, varied)


def config_key(config: SweepConfig) -> str:
    """The SHA-256 of ``config_yaml``, which ``plan.json`` holds as ``CONFIG_KEY``."""
    return hashlib.sha256(config_yaml(config).encode()).hexdigest()


def begun_config_key(sweep: SweepDir) -> str | None:
    """The ``config_key`` in a sweep's plan; None in older ones, and without a plan."""
    if not sweep.plan.is_file():
        return None
    known = checksum.read(sweep.plan, "delete it to plan the sweep again").get(CONFIG_KEY)
    return known if isinstance(known, str) else None


class _Dumper(yaml.SafeDumper):
    """Quote text that our reader takes for a number and PyYAML does not, such as 1e5."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


_Dumper.add_implicit_resolver("tag:yaml.org,2002:float", strict_yaml.NUMBER, list("-+.0123456789"))


def _without_none(value: Any) -> Any:
    # grad_clip: null is a choice; an absent horizon or override is not worth a line
    if isinstance(value, dict):
        return {
            key: _without_none(item)
            for key, item in value.items()
            if item is not None or key == "grad_clip"
        }
    return [_without_none(item) for item in value] if isinstance(value, list) else value


def _find(path_or_name: str | Path) -> tuple[Path, str]:
    path = Path(path_or_name)
    text = str(path_or_name)
    if path.suffix in (".yaml", ".yml") or path.name != text or path.is_file():
        return path, text
    return layout.shipped(text), f"{text}.yaml"


def _take_variants(document: YamlDocument) -> dict[str, YamlDocument]:
    """Return each variant as a document whose marks point to its place in the file."""
    if "variants" not in document.data:
        return {}
    given = document.data.pop("variants")
    mark = document.mark(("variants",))
    if not isinstance(given, dict):
        known = ", ".join(DEVICE_KINDS)
        raise ConfigError(f"{mark}: expected any of {known} as keys, found {described(given)}")
    variants = {}
    for kind, section in given.items():
        path: Path_ = ("variants", kind)
        mark = document.mark(path)
        if kind not in DEVICE_KINDS:
            known = ", ".join(DEVICE_KINDS)
            raise ConfigError(f"{mark}: unknown device kind; known: {known}")
        if not isinstance(section, dict):
            raise ConfigError(f"{mark}: expected keys and values, found {described(section)}")
        marks = {key[2:]: mark for key, mark in document.marks.items() if key[:2] == path}
        variants[kind] = YamlDocument(section, marks)
    return variants


def _merged(document: YamlDocument, variant: YamlDocument | None) -> YamlDocument:
    data = json.loads(json.dumps(document.data))  # a deep copy of plain values
    merged = YamlDocument(data, dict(document.marks))
    if variant is not None:
        _merge(merged, data, variant, variant.data, ())
    return merged


def _merge(
    merged: YamlDocument,
    base: dict[str, Any],
    variant: YamlDocument,
    over: dict[str, Any],
    at: Path_,
) -> None:
    for key, value in over.items():
        path = (*at, key)
        if isinstance(value, dict) and isinstance(base.get(key), dict):
            _merge(merged, base[key], variant, value, path)
            continue
        base[key] = json.loads(json.dumps(value))
        merged.forget(path)
        size = len(path)
        merged.marks.update({p: m for p, m in variant.marks.items() if p[:size] == path})


def _apply(document: YamlDocument, overrides: Sequence[str]) -> None:
    problems: list[str] = []
    for text in overrides:
        key, equals, value = text.partition("=")
        try:
            if not equals or not key:
                raise ConfigError("expected key=value, as in eval.val_tokens=1M")
            if not strict_yaml.is_text(key):
                raise ConfigError("expected Unicode text as a key")
            if not strict_yaml.is_text(value):
                raise ConfigError(
                    "its bytes are not UTF-8, in which configs are written; of a file or folder,"
                    " rename it or name a link to it"
                )
            keys = axes.keys_of(key)
            if len(keys) > strict_yaml.MAX_DEPTH:
                raise ConfigError(f"nested more than {strict_yaml.MAX_DEPTH} deep")
            document.set(keys, strict_yaml.read_value(value), SET)
        except ConfigError as problem:
            shown = text if len(text) <= 60 else f"{text[:57]}..."
            problems.extend(f"--set {shown}: {line}" for line in problem.lines)
    if problems:
        raise ConfigError(*problems)


def _read(
    document: YamlDocument,
    kind: str,
    folders: Sequence[Path],
    finder: _CorpusFinder,
    corpus_problem: Callable[[str], str] | None,
) -> SweepConfig:
    """The config of a document and its arms. Raises ``ConfigError`` with every problem."""
    problems: dict[str, None] = {}

    def read(one: YamlDocument, sizes_known: bool = True) -> SweepConfig | None:
        places = finder.places(one) if isinstance(one.data, dict) else {}
        try:
            sections, choices = _validated(one, folders, places, corpus_problem, sizes_known)
        except ConfigError as refused:
            problems.update(dict.fromkeys(refused.lines))
            return None
        return SweepConfig(
            **sections, device_kind=kind, choices=choices, places=places, marks=one.marks
        )

    try:
        crossed = axes.cross(document)
    except ConfigError as refused:
        problems.update(dict.fromkeys(refused.lines))
        crossed = axes.Crossed(document=axes.without_axes(document))
    # an axis may vary the architecture of an entry, by which its sizes are read
    config = read(crossed.document, sizes_known=not crossed.combinations)
    configs = [read(combination.document) for combination in crossed.combinations]
    arms = [
        (combination, arm)
        for combination, arm in zip(crossed.combinations, configs, strict=True)
        if arm is not None
    ]
    if problems or config is None:
        raise ConfigError(*problems)
    return dataclasses.replace(
        config, grid=_whole_grid(config.grid, arms), crossed=_arms(document, arms)
    )


def _whole_grid(
    grid: Sequence[GridEntry], read: Sequence[tuple[axes.Combination, SweepConfig]]
) -> tuple[GridEntry, ...]:
    """The grid with the sizes of each entry as the first arm that trains it has them."""
    whole = list(grid)
    for combination, config in reversed(read):
        for number, entry in zip(combination.entries, config.grid, strict=True):
            whole[number] = dataclasses.replace(entry, axes=grid[number].axes)
    return tuple(whole)


def _arms(
    document: YamlDocument, read: Sequence[tuple[axes.Combination, SweepConfig]]
) -> tuple[Arm, ...]:
    """An arm for each config that differs from the others, with the grid entries it is for.

    Raises ``ConfigError`` for values of an axis that give the same arm.
    """
    keys = sorted({axis.key for combination, _ in read for axis, _ in combination.chosen})
    alike: dict[str, list[tuple[axes.Combination, SweepConfig]]] = {}
    problems: dict[str, None] = {}
    for combination, config in read:
        parts = [choice.component.plain() for choice in config.all_choices]
        identity = json.dumps([{**_written(config), "grid": None}, parts])
        same = alike.setdefault(identity, [])
        for other, _ in same:
            if set(other.entries) & set(combination.entries):
                problems[axes.same_twice(document, other, combination)] = None
        same.append((combination, config))
    if problems:
        raise ConfigError(*problems)
    arms = []
    for same in alike.values():
        chosen = {axis.key: value for combination, _ in same for axis, value in combination.chosen}
        config = _joined(same)
        values = tuple((key, axes.text_of(key, chosen, _written(config))) for key in keys)
        arms.append(Arm(values=values, config=config))
    return tuple(arms)


def _joined(same: Sequence[tuple[axes.Combination, SweepConfig]]) -> SweepConfig:
    """The config of combinations that are one arm, with the grid entries of all of them."""
    first = same[0][1]
    if len(same) == 1:
        return first
    entries = sorted(
        (
            (number, place, config)
            for combination, config in same
            for place, number in enumerate(combination.entries)
        ),
        key=lambda entry: entry[0],
    )
    marks = {path: mark for path, mark in first.marks.items() if path[:1] != ("grid",)}
    for position, (_, place, config) in enumerate(entries):
        marks.update(axes.entry_marks(config.marks, place, position))
    grid = tuple(config.grid[place] for _, place, config in entries)
    return dataclasses.replace(first, grid=grid, marks=marks)


def _validated(
    document: YamlDocument,
    folders: Sequence[Path],
    places: Mapping[str, str],
    corpus_problem: Callable[[str], str] | None = None,
    sizes_known: bool = True,
) -> tuple[dict[str, Any], Choices]:
    """The sections of a config, by name, and its parts. Raises ``ConfigError``.

    Without ``sizes_known`` sizes stay as they are written, because an axis may choose the
    architecture that reads them.
    """
    composed = compose.compose(document.data, folders)
    errors, sections = list(composed.errors), {}
    try:
        (architecture,) = composed.known.get("architecture", (None,))
        file = validate(composed.rest, architecture if sizes_known else None)
        sections = {f.name: getattr(file, f.name) for f in dataclasses.fields(SweepFile)}
        if isinstance(file.data, TextSection) and file.model.n_ctx is None:
            sections["model"] = dataclasses.replace(file.model, n_ctx=TEXT_N_CTX)
        elif composed.choices["source"]:
            _check_task(document, composed.choices, file.model.n_ctx)
    except Refused as refused:
        errors += [error for error in refused.errors if not _unsettled(error, composed)]
    lines = [_line(document, error, composed.known) for error in errors]
    lines += _settings_twice(document, sections, composed.choices)
    if corpus_problem is not None:
        lines += _missing_corpora(document, places, corpus_problem)
    if not lines and isinstance(data := sections.get("data"), TextSection):
        lines += _mix_problems(document, data, composed.choices, sections["spikes"] is not None)
    if lines:
        raise ConfigError(*(text for _, text in sorted(lines)))
    return sections, composed.choices


def _missing_corpora(
    document: YamlDocument, places: Mapping[str, str], corpus_problem: Callable[[str], str]
) -> list[tuple[int, str]]:
    """Corpora that are not available here; a user's own file is looked for with the other parts."""
    lines = []
    for path, corpus in _corpora(document).items():
        own = corpus in places or corpus.endswith(".py")
        if not own and (why := corpus_problem(corpus)):
            mark = document.mark(path)
            lines.append((_number(mark), f"{mark}: {why}"))
    return lines


def _corpora(document: YamlDocument) -> dict[Path_, str]:
    """The corpora that a document names, by the key that names them."""
    section = document.data.get("data")
    given = section if isinstance(section, dict) else {}
    sources = given.get("sources")
    corpora: dict[Path_, Any] = {("data", "corpus"): given.get("corpus")}
    for name, source in sources.items() if isinstance(sources, dict) else ():
        if isinstance(source, dict):
            corpora["data", "sources", name, "corpus"] = source.get("corpus")
    return {path: corpus for path, corpus in corpora.items() if isinstance(corpus, str)}


def _mix_problems(
    document: YamlDocument, data: TextSection, choices: Choices, spikes: bool
) -> list[tuple[int, str]]:
    """Weights that no mixture can have, or of components that the text does not have."""
    lines: list[tuple[int, str]] = []

    def add(path: Path_, said: str) -> None:
        mark = document.mark(path)
        lines.append((_number(mark), f"{mark}: {said}"))

    known = _components(data, choices)
    mixes: dict[Path_, Any] = {
        ("data", "phases", n, "mix"): phase.mix for n, phase in enumerate(data.phases or ())
    }
    mixes |= {("data", "mix"): data.mix} if data.mix is not None else {}
    for path, weights in mixes.items():
        if not isinstance(weights, dict):
            continue
        unknown = [name for name in weights if name not in known]
        for name in unknown:
            components = f"; the components are {', '.join(known)}"
            if isinstance(data, DataSection) and not choices.get("corpus"):
                components = (
                    f"; files at a path are one component, {known[0]}: name several under"
                    " data.sources"
                )
            add((*path, name), f"no component has this name{did_you_mean(name, known)}{components}")
        if not unknown and (why := shares_problem(weights)):
            add(path, why)
    if data.phases is not None:
        if wrong := phases_problem([phase.until for phase in data.phases]):
            add(("data", "phases", wrong[0]) if data.phases else ("data", "phases"), wrong[1])
        elif spikes and len(data.phases) > 1:
            add(
                ("spikes",),
                "a batch that replaces a spike's would be of another phase of data.phases; leave"
                " one of them out",
            )
    return lines


def _components(data: TextSection, choices: Choices) -> tuple[str, ...]:
    """The components that a mixture of this text may weigh."""
    if data.domains:
        return data.domains
    if isinstance(data, SourcesSection):
        return tuple(data.sources)
    domains = [choice.part.domains for choice in choices.get("corpus", ())]
    return tuple(domains[0]) if domains else FILES_DOMAINS


def _task_sizes(choices: Choices) -> Any:
    (chosen,) = choices["source"]
    return chosen.part.sizes(chosen.settings)


def _check_task(document: YamlDocument, choices: Choices, n_ctx: int | None) -> None:
    """Raise ``ConfigError`` where the task gives no sizes, or its examples have another length."""
    try:
        sizes = _task_sizes(choices)
    except ConfigError as problem:
        raise ConfigError(f"{document.mark(('data', 'source'))}: {problem}") from None
    if n_ctx not in (None, sizes.n_ctx):
        raise ConfigError(
            f"{document.mark(('model', 'n_ctx'))}: found {n_ctx}, and an example of the task has"
            f" {sizes.n_ctx}; leave n_ctx out"
        )


def _settings_twice(
    document: YamlDocument, sections: Mapping[str, Any], choices: Choices
) -> list[tuple[int, str]]:
    """Settings of parts with the name of a key of their section; one of the two would be lost."""
    lines = []
    for slot in compose.SLOTS:
        for choice in choices.get(slot.word, ()) if slot.key and slot.section in sections else ():
            section = sections[slot.section]
            where: Path_ = (slot.section, str(slot.key))
            if choice.item:
                section = getattr(section, str(slot.group))[choice.item]
                where = (slot.section, str(slot.group), choice.item, str(slot.key))
            keys = {f.name for f in dataclasses.fields(section)}
            mark = document.mark(where)
            lines += [
                (
                    _number(mark),
                    f"{mark}: {choice.spelled} has a setting {name}, which is a key of"
                    f" {slot.section} itself; rename it in the file",
                )
                for name in sorted(keys & {f.name for f in dataclasses.fields(choice.settings)})
            ]
    return lines


def _unsettled(error: Mapping[str, Any], composed: Composed) -> bool:
    """Say whether a key is unknown because the part that may have it is unknown."""
    is_unknown = error["type"] == "unexpected_keyword_argument"
    return is_unknown and error["loc"][0] in composed.unsettled


def _number(mark: Mark) -> int:
    """Return the line of a mark in its file; 0 for a mark without a place."""
    number = mark.place.rpartition(":")[2]
    return int(number) if number.isdecimal() else 0


def _line(document: YamlDocument, error: Mapping[str, Any], known: Known) -> tuple[int, str]:
    """Return the error as one line, and the line number that it sorts by."""
    location: Path_ = error["loc"]
    path = tuple(part for part in location if not _is_member(part))
    if error["type"] == "missing":
        place = document.mark(path[:-1]).place
        mark = Mark(place, strict_yaml.dotted(path))
        said = "missing"
    else:
        mark = document.mark(path)
        said = _said(error, location, known)
    return _number(mark), f"{mark}: {said}"


def _is_member(part: str | int) -> bool:
    """Say whether a part of pydantic's path is none of the document's."""
    if part == "[key]":
        return True
    return isinstance(part, str) and part.startswith("<") and part.endswith(">")


_PLAINER = {
    "bool_type": "expected true or false",
    "dataclass_type": "expected keys and values",
    "dict_type": "expected keys and values",
    "string_pattern_mismatch": "expected letters, digits, . _ and - (at most 61; . _ - not first)",
    "string_type": "expected text",
    "tuple_type": "expected a list",
}


def _said(error: Mapping[str, Any], location: Path_, parts_known: Known) -> str:
    kind, value = error["type"], error["input"]
    if kind == "unexpected_keyword_argument":
        return "unknown key" + _hint(str(location[-1]), _keys_at(location[:-1], parts_known))
    if kind == "value_error":
        return str(error["ctx"]["error"])
    said = _PLAINER.get(kind) or str(error["msg"]).replace("Input should be", "expected")
    if kind == "literal_error":
        expected = error["ctx"]["expected"].replace(" or ", ", ")
        known = [part.strip("' ") for part in expected.split(",")]
        return f"found {described(value)}" + _hint(str(value), known)
    return f"{said}, found {described(value)}"


def _hint(word: str, known: Sequence[str]) -> str:
    return did_you_mean(word, known) or (f"; known: {', '.join(known)}" if known else "")


def _keys_at(location: Path_, known: Known) -> list[str]:
    """The keys of the section at a path of pydantic's, by walking the dataclasses."""
    of_parts = compose.keys_of(str(location[0]), known) if location else []
    if location and location[0] in compose.PART_SECTIONS:
        return of_parts
    if not location:
        of_parts = list(compose.PART_SECTIONS)
    at: Any = SweepFile
    for part in location:
        annotations = get_args(at)[1:] if get_origin(at) is Annotated else ()
        bare = optional(get_args(at)[0] if annotations else at)[0]
        either = next((item for item in annotations if isinstance(item, Either)), None)
        if either is not None:
            at = either.members(bare)[str(part)]
        elif dataclasses.is_dataclass(bare):
            at = typing.get_type_hints(bare, include_extras=True)[str(part)]
        else:  # a tuple's item, or a mapping's value
            at = get_args(bare)[1 if get_origin(bare) is dict else 0]
        if any(isinstance(item, ShapeKeys) for item in getattr(at, "__metadata__", ())):
            at = known["architecture"][0].shape
    bare = optional(get_args(at)[0] if get_origin(at) is Annotated else at)[0]
    depth = sum(not _is_member(part) for part in location)
    of_group = depth == 3 and any(slot.group in location for slot in compose.SLOTS if slot.group)
    own = of_parts if depth < 2 or of_group else []
    return [f.name for f in dataclasses.fields(bare)] + own
