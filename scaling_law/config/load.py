"""Strict YAML -> ``SweepConfig``: every error at once, with file, line and key.

Pydantic is imported only when a config is read. The sections are in ``schema``.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from scaling_law.config import axes, compose, strict_yaml
from scaling_law.config.arms import arms_from, whole_grid
from scaling_law.config.checks import (
    check_task,
    cleaning_problems,
    experiment_problems,
    mix_problems,
    mixture_problems,
    settings_twice,
    trainer_problems,
)
from scaling_law.config.compose import Composed
from scaling_law.config.corpora import CorpusFinder, missing_corpora, missing_files
from scaling_law.config.data_section import TextSection
from scaling_law.config.error_lines import error_line
from scaling_law.config.overrides import apply_overrides, take_variants, with_variant
from scaling_law.config.part_settings import Refused
from scaling_law.config.schema import DEVICE_KINDS, TEXT_N_CTX, SweepFile, validate
from scaling_law.config.slots import Choices
from scaling_law.config.strict_yaml import YamlDocument
from scaling_law.config.sweep_config import SweepConfig
from scaling_law.errors import ConfigError, described
from scaling_law.files import layout


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
    variants = take_variants(document)
    problems: dict[str, None] = {}  # ordered, each once: variants share most of the document
    chosen: SweepConfig | None = None
    # the path of a user's own file is relative to the config's folder
    folders = (source.parent, Path(), *([beside] if beside is not None else []))
    finder = CorpusFinder(folder=source.parent, begun=begun or {})
    for kind in (device_kind, *(k for k in variants if k != device_kind)):
        merged = with_variant(document, variants.get(kind))
        if kind == device_kind:
            apply_overrides(merged, overrides)
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


def _find(path_or_name: str | Path) -> tuple[Path, str]:
    path = Path(path_or_name)
    text = str(path_or_name)
    if path.suffix in (".yaml", ".yml") or path.name != text or path.is_file():
        return path, text
    return layout.shipped(text), f"{text}.yaml"


def _read(
    document: YamlDocument,
    kind: str,
    folders: Sequence[Path],
    finder: CorpusFinder,
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
        places |= finder.places_of_files(one, choices)
        if corpus_problem is not None and (lost := missing_files(one, choices, places)):
            problems.update((text, None) for _, text in lost)
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
    whole = dataclasses.replace(
        config, grid=whole_grid(config.grid, arms), crossed=arms_from(document, arms)
    )
    if lines := mixture_problems(whole):
        raise ConfigError(*lines)
    return whole


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
            check_task(document, composed.choices, file.model.n_ctx)
    except Refused as refused:
        errors += [error for error in refused.errors if not _unsettled(error, composed)]
    lines = [error_line(document, error, composed.known) for error in errors]
    lines += settings_twice(document, sections, composed.choices)
    if corpus_problem is not None:
        lines += missing_corpora(document, places, corpus_problem)
    lines += cleaning_problems(document, composed.choices)
    if sections:
        lines += trainer_problems(document, sections, composed.choices)
    if not lines and isinstance(data := sections.get("data"), TextSection):
        lines += mix_problems(document, data, composed.choices, sections["spikes"] is not None)
    if not lines and "data" in sections:
        lines += experiment_problems(document, sections["data"], composed.choices)
    if lines:
        raise ConfigError(*(text for _, text in sorted(lines)))
    return sections, composed.choices


def _unsettled(error: Mapping[str, Any], composed: Composed) -> bool:
    """Say whether a key is unknown because the part that may have it is unknown."""
    is_unknown = error["type"] == "unexpected_keyword_argument"
    return is_unknown and error["loc"][0] in composed.unsettled
