"""``data.json`` keeps which data a sweep began with: one pin for each dataset of its runs.

A package upgrade between two calls changes the installed corpus, or how a task makes its
examples; all runs of one dataset must share both. The file is the pin itself where there is one,
and a list of pins under ``datasets`` where there are several.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import re
import shutil
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

from scaling_law.config.data_section import DataSection, SourcesSection
from scaling_law.config.sweep_config import SweepConfig
from scaling_law.console import Say
from scaling_law.data.access import DataOf, known_data, open_data, prepared_data
from scaling_law.data.dataset import Dataset
from scaling_law.data.dataset_folder import META, dataset_folder
from scaling_law.errors import ConfigError, RunFailed
from scaling_law.files import checksum, layout
from scaling_law.files.layout import SweepDir
from scaling_law.files.record import record_if_there
from scaling_law.spec.arms import Values
from scaling_law.spec.data import DataSpec, TaskSpec
from scaling_law.spec.to_json import to_json

Pin: TypeAlias = dict[str, Any]
"""``spec``, ``fingerprint``, and of text ``folder``, ``tokens_sha256``, ``components_fingerprint``.

``places`` are the paths of corpora that are files, by how the spec spells them.
"""

_SEVERAL = "datasets"
_CORPUS_KEY = re.compile(r"data\.(sources\..*\.)?corpus")


def pinned_datasets(
    specs: Iterable[DataOf], sweep: SweepDir, say: Say, *, mixed: Collection[DataOf] = ()
) -> dict[DataOf, Dataset]:
    """The data of ``specs`` as this sweep began with them; prepared and pinned on the first call.

    Of those that are ``mixed``, read in a mixture, each document must be of the same component.
    Every token is checked, and damaged text is prepared again. Pins of other data stay as long as
    a finished run has them. Raises ``ConfigError`` if pinned data are no longer available.
    """
    wanted = list(dict.fromkeys(specs))
    pins, whole = _usable_pins(sweep, wanted, say)
    datasets = {spec: _pinned(spec, _of_spec(pins, spec), sweep, say) for spec in wanted}
    for spec in mixed:
        _check_same_components(sweep, _of_spec(pins, spec), datasets[spec])
    kept = [pin for pin in pins if not any(_is_of(pin, spec) for spec in wanted)]
    kept = [pin for pin in kept if any(_is_of(pin, spec) for spec in _finished(sweep))]
    fresh = [pin_of(spec, dataset) for spec, dataset in datasets.items()]
    # the places may differ on another machine of the sweep
    moved = any(_places_of(pin) and not _is_there(pin) for pin in pins)
    if not whole or moved or _without_places([*fresh, *kept]) != _without_places(pins):
        write_pins(sweep, [*fresh, *kept])
    return datasets


def mend_pins(specs: Iterable[DataOf], sweep: SweepDir, say: Say) -> None:
    """Write a damaged ``data.json`` again from the records, of a sweep that reads no data now.

    Raises ``ConfigError`` where no record says which data the runs began with.
    """
    pins, whole = _usable_pins(sweep, list(dict.fromkeys(specs)), say)
    if not whole and sweep.data.exists():
        write_pins(sweep, pins)


def begun_data(spec: DataOf, sweep: SweepDir) -> Dataset | None:
    """The data that this sweep began with, else those of this machine; nothing is prepared.

    None for text that this machine does not have.
    """
    if sweep.data.is_file():
        with contextlib.suppress(ConfigError):  # damaged, or gone: `pinned_datasets` says so
            pin = _of_spec(read_pins(sweep, ""), spec)
            if pin is not None and isinstance(spec, DataSpec):
                spec = dataclasses.replace(spec, places=tuple(_places_of(pin).items()))
                return open_data(spec, Path(pin["folder"]))
    return known_data(spec)


def pin_of(spec: DataOf, dataset: Dataset) -> Pin:
    """What ``data.json`` says of a run's data."""
    places = dict(spec.places) if isinstance(spec, DataSpec) else {}
    return {"spec": to_json(spec), **dataset.pin, **({"places": places} if places else {})}


def pinned_places(sweep: SweepDir) -> dict[str, str]:
    """Where the corpora of a started sweep were, by the spelling in its config; none if unknown."""
    try:
        pins = read_pins(sweep, "") if sweep.data.is_file() else []
    except (ConfigError, OSError):  # reported where the data are opened
        return {}
    return {name: path for pin in pins for name, path in _places_of(pin).items()}


def spelled_as_begun(config: SweepConfig, sweep: SweepDir, say: Say) -> SweepConfig:
    """The config with its corpora spelled as the sweep began with them, if the text is the same.

    Texts are compared by their fingerprints, and in a mixture by those of their components, so that
    a text which was moved is still the same; the run ids are then those that are there. Prepares a
    text that is spelled in another way.
    """
    if not sweep.data.is_file() or any(_corpus_varies(arm.values) for arm in config.arms):
        return config
    try:
        pins = read_pins(sweep, "")
    except ConfigError:  # reported where the data are opened
        return config
    spec = config.data_spec
    if not isinstance(spec, DataSpec) or _of_spec(pins, spec) is not None:
        return config
    compared = ["fingerprint", "tokens_sha256"]
    compared += ["components_fingerprint"] if spec in config.mixed_specs else []
    for pin in pins:
        begun = _spelling(pin["spec"])
        if _unspelled(pin["spec"]) != _unspelled(to_json(spec)):
            continue
        dataset = prepared_data(spec, say)
        own = dataset.pin
        if all(pin.get(key) == own.get(key) is not None for key in compared):
            moved = {k: v for k, v in _spelling(to_json(spec)).items() if begun[k] != v}
            say(
                f"{sweep.path}: {' and '.join(f'{key} {name}' for key, name in moved.items())}"
                f" {'is' if len(moved) == 1 else 'are'} the text {dataset.fingerprint} that it"
                f" began with as {' and '.join(begun[key] for key in moved)}; its runs keep that"
                " name"
            )
            corpora = {key: begun[key] for key in moved}
            return config.each(functools.partial(_respelled, corpora=corpora))
    return config


def _spelling(spec: Mapping[str, Any]) -> dict[str, str]:
    """The corpora of a spec's JSON, by their keys in a config."""
    if not spec.get("sources"):
        return {"data.corpus": spec["corpus"]} if isinstance(spec.get("corpus"), str) else {}
    return {f"data.sources.{one['name']}.corpus": one["corpus"] for one in spec["sources"]}


def _unspelled(spec: Mapping[str, Any]) -> dict[str, Any]:
    """A spec's JSON without the spelling of its corpora."""
    if not spec.get("sources"):
        return {key: value for key, value in spec.items() if key != "corpus"}
    return {**spec, "sources": [{**one, "corpus": None} for one in spec["sources"]]}


def _corpus_varies(values: Values) -> bool:
    return any(key == "data.sources" or _CORPUS_KEY.fullmatch(key) for key, _ in values)


def _respelled(config: SweepConfig, *, corpora: Mapping[str, str]) -> SweepConfig:
    """The config with other spellings of corpora, by their keys; each stays in its place."""
    data, places = config.data, dict(config.places)

    def respelled(key: str, corpus: str) -> str:
        name = corpora.get(key, corpus)
        places[name] = config.places.get(corpus, corpus)
        return name

    if isinstance(data, SourcesSection):
        sources = {
            name: dataclasses.replace(
                one, corpus=respelled(f"data.sources.{name}.corpus", one.corpus)
            )
            for name, one in data.sources.items()
        }
        changed: DataSection | SourcesSection = dataclasses.replace(data, sources=sources)
    else:
        assert isinstance(data, DataSection), "a task has no corpus"
        changed = dataclasses.replace(data, corpus=respelled("data.corpus", data.corpus))
    return dataclasses.replace(config, data=changed, places=places)


def write_pins(sweep: SweepDir, pins: Sequence[Pin]) -> None:
    """Write ``data.json``."""
    checksum.write(sweep.data, pins[0] if len(pins) == 1 else {_SEVERAL: list(pins)})


def read_pins(sweep: SweepDir, remedy: str) -> list[Pin]:
    """The pins in ``data.json``. Raises ``ConfigError`` with the ``remedy`` where damaged."""
    data = checksum.read(sweep.data, remedy)
    pins = data.get(_SEVERAL, [data])
    if not isinstance(pins, list) or not all(map(_is_pin, pins)):
        raise ConfigError(f"{sweep.data}: damaged (it names no data); {remedy}")
    return pins


def pinned_data_of(
    spec: DataOf, sweep: SweepDir, remedy: str, opened: Callable[[DataOf, Path | None], Dataset]
) -> Dataset:
    """The data of one run, by its pin, wherever this machine has them.

    Raises ``ConfigError`` where ``data.json`` cannot be read, ``RunFailed`` where the data are not
    those that it names.
    """
    pins = read_pins(sweep, remedy)
    pin = _of_spec(pins, spec)
    if pin is None:
        named = " and ".join(pin["fingerprint"] for pin in pins)
        raise RunFailed(
            f"{sweep.data}: names data {named}, but not the {spec.name} of this run; start"
            " a new sweep with --out"
        )
    if isinstance(spec, DataSpec):
        spec = dataclasses.replace(spec, places=tuple(_places_of(pin).items()))
    dataset = opened(spec, Path(pin["folder"]) if "folder" in pin else None)
    if pin["fingerprint"] != dataset.fingerprint:
        raise RunFailed(
            f"{sweep.data}: names corpus {pin['fingerprint']}, but this run's data are"
            f" {dataset.fingerprint} of {spec.name}; start a new sweep with --out"
        )
    return dataset


def _is_pin(pin: Any) -> bool:
    if not (isinstance(pin, dict) and type(pin.get("spec")) is dict):
        return False
    texts = ("fingerprint",) if "source" in pin["spec"] else ("fingerprint", "folder")
    return all(type(pin.get(name)) is str for name in texts)


def _is_of(pin: Pin, spec: DataOf) -> bool:
    return bool(pin["spec"] == to_json(spec))


def _of_spec(pins: Iterable[Pin], spec: DataOf) -> Pin | None:
    return next((pin for pin in pins if _is_of(pin, spec)), None)


def _places_of(pin: Pin) -> dict[str, str]:
    places = pin.get("places")  # absent from older files, and for a named corpus
    known = places.items() if isinstance(places, dict) else ()
    return {name: path for name, path in known if isinstance(path, str)}


def _is_there(pin: Pin) -> bool:
    return all(Path(path).exists() for path in _places_of(pin).values())


def _without_places(pins: Iterable[Pin]) -> list[Pin]:
    return [{key: pin[key] for key in pin if key not in ("folder", "places")} for pin in pins]


def _finished(sweep: SweepDir) -> set[DataOf]:
    """The data of every finished run."""
    records = (record_if_there(run_dir) for run_dir in sweep.run_dirs())
    return {record.spec.data for record in records if record is not None}


def _pinned(spec: DataOf, pin: Pin | None, sweep: SweepDir, say: Say) -> Dataset:
    """The data of ``spec``, checked, and held against their ``pin`` where there is one."""
    if isinstance(spec, TaskSpec):
        dataset = open_data(spec)
        dataset.check()
        if pin is not None and pin["fingerprint"] != dataset.fingerprint:
            raise ConfigError(
                f"{sweep.path}: began on examples {pin['fingerprint']}, and the task {spec.name}"
                f" makes {dataset.fingerprint} here; start a new sweep with --out"
            )
        return dataset
    return _pinned_text(spec, pin, sweep, say)


def _pinned_text(spec: DataSpec, pin: Pin | None, sweep: SweepDir, say: Say) -> Dataset:
    folder = Path(pin["folder"]) if pin else dataset_folder(spec)
    dataset = _sound(spec, folder, say) if layout.is_file(folder / META) else None
    if dataset is None:
        fresh = dataset_folder(spec)
        if fresh == folder and folder.is_dir():
            shutil.rmtree(folder)
        prepared_data(spec, say)
        dataset = _sound(spec, fresh, say)
        if dataset is None:  # prepared earlier from another corpus state, and damaged too
            shutil.rmtree(fresh)
            dataset = prepared_data(spec, say)
    if pin is not None:
        _check_same_text(sweep, pin, dataset)
    return dataset


def _sound(spec: DataSpec, folder: Path, say: Say) -> Dataset | None:
    """The dataset in ``folder``; None, with a message, if one of its files is damaged."""
    try:
        dataset = open_data(spec, folder)
        dataset.check()
    except ConfigError as damage:
        say(f"{damage.lines[0].partition(';')[0]}; preparing the text again")
        return None
    return dataset


def _check_same_text(sweep: SweepDir, pin: Pin, dataset: Dataset) -> None:
    if pin["fingerprint"] != dataset.fingerprint:
        raise ConfigError(
            f"{sweep.path}: began on corpus {pin['fingerprint']}, which is no longer cached, and"
            f" the text here is now {dataset.fingerprint}; start a new sweep with --out"
        )
    hashes = dataset.pin["tokens_sha256"]
    if pin.get("tokens_sha256", hashes) != hashes:
        raise ConfigError(
            f"{sweep.path}: its text is there, but the installed versions tokenize it differently;"
            " install those that its records name, or start a new sweep with --out"
        )


def _check_same_components(sweep: SweepDir, pin: Pin | None, dataset: Dataset) -> None:
    """Raise ``ConfigError`` where documents are of other components than the sweep began with."""
    begun = None if pin is None else pin.get("components_fingerprint")
    if begun is not None and dataset.components_fingerprint not in (None, begun):
        raise ConfigError(
            f"{sweep.path}: its text is there, but documents have moved between the components of"
            " its mixture; put them back, or start a new sweep with --out"
        )


def _usable_pins(sweep: SweepDir, specs: Sequence[DataOf], say: Say) -> tuple[list[Pin], bool]:
    """The pins of ``data.json``; for a damaged one what the sweep's records name stands in.

    Also whether the file holds exactly them. Data that no finished run has get no pin then:
    checkpoints name their data themselves.
    """
    if not sweep.data.exists():
        return [], False
    try:
        return read_pins(sweep, ""), True
    except ConfigError as problem:
        damage = problem.lines[0].rstrip("; ")
    kept = [record for d in sweep.run_dirs() if (record := record_if_there(d)) is not None]
    pins = []
    for spec in specs:
        prints = {record.corpus_fingerprint for record in kept if record.spec.data == spec}
        if len(prints) == 1:
            where = {} if isinstance(spec, TaskSpec) else {"folder": str(dataset_folder(spec))}
            pins.append({"spec": to_json(spec), "fingerprint": prints.pop(), **where})
        elif prints:
            pins.clear()
            break
    if kept and not pins:
        raise ConfigError(
            f"{sweep.data}: damaged, and no record says which text the runs began with; delete it"
            " if nothing here has been trained yet, else start a new sweep with --out"
        )
    say(f"{damage}; written again")
    return pins, False
