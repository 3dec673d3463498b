"""Say which runs one law may describe, those of one recipe, and how recipes differ.

A recipe is every field of a ``RunSpec`` that belongs to no other axis (``spec.fields.of_axis``),
under its name in a config: data, context and kind of the model, the rule for learning rate, batch
and warm-up with its overrides, schedule and precision. Runs whose learning rate or batch differs
by size or horizon because the rule says so have one recipe.
"""

from __future__ import annotations

import dataclasses
from collections import Counter, defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, TypeAlias, get_args, get_type_hints

from scaling_law.spec.arms import arm_of, value_text
from scaling_law.spec.component import Component
from scaling_law.spec.fields import axis_of
from scaling_law.spec.optim import RuleOverrides
from scaling_law.spec.run import RunSpec
from scaling_law.spec.to_json import to_json
from scaling_law.units import count_of

BY_RULE = "by rule"
DEFAULT = "default"  # the value of a setting that only other runs' recipes have
# What a config may set instead of its rule: the spec's field, and its value where it is not set.
_OVERRIDES = {
    f"optim.overrides.{field.name}": "1" if field.name == "lr_mult" else BY_RULE
    for field in dataclasses.fields(RuleOverrides)
}
# Settings whose name in a config is not that in the spec.
_CONFIG_KEYS = {
    **{name: name.replace("overrides.", "") for name in _OVERRIDES},
    "spikes.sigmas": "spikes",
}
_MOST_RECIPES = 4  # listed one by one

Recipe: TypeAlias = dict[str, str]


def recipes(specs: Sequence[RunSpec]) -> list[Recipe]:
    """The recipe of each run, as config keys and values; equal for runs of one recipe.

    All recipes have the same keys. They depend on each other: cooldowns of whole steps are one
    fraction where one explains them all, and a batch that a config fixed counts as the rule's
    where both are the same.
    """
    known: dict[tuple[str, int], Recipe] = {}  # thousands of runs share their parts
    each = [_settings(spec, known) for spec in specs]
    # the model's vocabulary is that of the data and is listed once, unless a run has another
    if all(recipe["model.vocab_size"] == recipe.get("data.vocab_size") for recipe in each):
        for recipe in each:
            del recipe["model.vocab_size"]
    fracs, batches = _decay_fracs(specs), _batches(specs, each)
    for recipe, frac, batch in zip(each, fracs, batches, strict=True):
        recipe |= {"schedule.decay_frac": frac, "optim.batch_tokens": batch}
    if len({tuple(recipe) for recipe in each}) > 1:
        keys = dict.fromkeys(key for recipe in each for key in recipe)
        each = [{key: recipe.get(key, DEFAULT) for key in keys} for recipe in each]
    return each


def recipe_names(specs: Sequence[RunSpec]) -> list[str]:
    """Name each run's recipe by its differences from the others; "" where all have one recipe.

    ``optim.lr_mult=0.3, precision=bf16``.
    """
    return [
        ", ".join(f"{key}={value}" for key, value in recipe.items())
        for recipe in _differing(recipes(specs))
    ]


def _differing(each: Sequence[Recipe]) -> list[Recipe]:
    """Return each recipe with only the keys in which the recipes differ."""
    keys = [key for key in each[0] if len({recipe[key] for recipe in each}) > 1] if each else []
    return [{key: recipe[key] for key in keys} for recipe in each]


def listed_recipes(names: Sequence[str], places: Sequence[str] | None = None) -> str:
    """List each recipe's name with its count of runs and, from ``places``, their folders.

    ``names`` and ``places`` are those of each run.
    """
    phrases = []
    for name, count in Counter(names).most_common():
        where = ""
        if places is not None:
            own = dict.fromkeys(p for p, n in zip(places, names, strict=True) if n == name)
            where = f" of {' and '.join(own)}"
        phrases.append(f"{name} in {count_of(count, 'run')}{where}")
    left = len(phrases) - _MOST_RECIPES
    more = f"; and {left} more" if left > 0 else ""
    return "; ".join(phrases[:_MOST_RECIPES]) + more


def keys_that_differ(specs: Sequence[RunSpec]) -> set[str]:
    """The keys in which the recipes of these runs differ."""
    return {key for recipe in _differing(recipes(specs)) for key in recipe}


def recipe_differences(
    here: Sequence[RunSpec], there: Sequence[RunSpec], varied: Collection[str] = ()
) -> list[str]:
    """Say how the recipe of new runs (``here``) differs from the runs ``there``, a phrase a key.

    The amount of text that they read counts as well. The keys ``varied`` may differ.
    """
    # a trunk's cooldowns are its branches'
    here, there = ([s for s in side if s.kind != "trunk"] or side for side in (here, there))
    specs = [*here, *there]
    each = recipes(specs)
    for recipe, spec in zip(each, specs, strict=True):
        recipe["data.max_bytes"] = value_text(getattr(spec.data, "max_bytes", None))
    differing = _differing(each)
    ours, theirs = differing[: len(here)], differing[len(here) :]
    phrases = []
    for key in ours[0]:
        new, old = ({recipe[key]: None for recipe in side} for side in (ours, theirs))
        if key not in varied and not new.keys() <= old.keys():
            phrases.append(f"{key} {' or '.join(new)} here, {' or '.join(old)} there")
    return phrases


def size_values(spec: Any, head: str = "") -> dict[str, Any]:
    """The fields of the axis ``size``, as plain values: the shape, and what a rule sets by it.

    ``spec`` is a ``RunSpec``, or a part of one, whose keys begin with ``head``.
    """
    values: dict[str, Any] = {}
    for field in dataclasses.fields(spec):
        value, name = getattr(spec, field.name), f"{head}{field.name}"
        if axis_of(field) == "size":
            plain = dict(value) if field.name == "shape" else to_json(value)
            values |= _flat({name: plain})
        elif axis_of(field) == "recipe" and dataclasses.is_dataclass(value):
            values |= size_values(value, f"{name}.")
    return values


def cells(specs: Sequence[RunSpec]) -> list[dict[str, Any]]:
    """Return the keys that ``--where`` may select by: a run's arm, recipe, ``size`` and spec."""
    return [
        {**recipe, **_flat(to_json(spec)), **dict(spec.tags), **recipe, **dict(arm_of(spec))}
        for spec, recipe in zip(specs, recipes(specs), strict=True)
    ]


def _flat(value: Mapping[str, Any], head: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, item in value.items():
        if isinstance(item, dict):
            flat |= _flat(item, f"{head}{key}.")
        elif not isinstance(item, list):
            flat[f"{head}{key}"] = value_text(item) if isinstance(item, bool) else item
    return flat


def _settings(spec: RunSpec, known: dict[tuple[str, int], Recipe]) -> Recipe:
    """Return a run's settings by config key; ``known`` caches those of each part."""
    settings: Recipe = {}
    kind: type = type(spec)
    for field in _recipe_fields(kind):
        value = getattr(spec, field.name)
        if field.kind is None:
            settings[field.config_key or field.name] = value_text(value)
            continue
        key = field.name, id(value)
        if key not in known:
            known[key] = _of_field(field, value, "")
        settings |= known[key]
    return settings


def _of_field(field: _RecipeField, value: Any, head: str) -> Recipe:
    """Return the settings in one field of a spec; for a part that is off (None), its defaults."""
    key = head + field.name
    if field.config_key is not None:
        if value is None and field.default_part is None:
            return {}
        return _of_component(field.config_key, value or Component(name=str(field.default_part)))
    if field.kind is None:
        text = _OVERRIDES[key] if value is None and key in _OVERRIDES else value_text(value)
        return {_CONFIG_KEYS.get(key, key): text}
    kind = field.kind if value is None else type(value)
    settings: Recipe = {}
    for inner in _recipe_fields(kind):
        settings |= _of_field(
            inner, inner.default if value is None else getattr(value, inner.name), f"{key}."
        )
    return settings


def _of_component(config_key: str, component: Component) -> Recipe:
    """Return a part as a config chooses it: its name, and its settings next to it."""
    section, _, name = config_key.rpartition(".")
    # a part that is a section of its own has its name and settings under it
    head = f"{section}." if section else f"{name}."
    chosen = {config_key: component.name}
    chosen |= {f"{head}{key}": value_text(value) for key, value in component.settings}
    if component.source_sha256 is not None:
        chosen[f"{config_key}.sha256"] = component.source_sha256[:12]
    return chosen


@dataclass(frozen=True)
class _RecipeField:
    """A field of the axis ``recipe``.

    ``kind`` is its class where that is a part of a spec whose fields are listed, else None;
    ``default`` is its value where the part that holds it is off (False, where it has none);
    ``config_key`` and ``default_part`` are those of a chosen part (``spec.fields.chosen_by``), or
    the key of a field that is listed as text (``spec.fields.written_as``).
    """

    name: str
    kind: type | None
    default: Any
    config_key: str | None
    default_part: str | None


@cache
def _recipe_fields(kind: type) -> tuple[_RecipeField, ...]:
    hints = get_type_hints(kind)
    return tuple(
        _RecipeField(
            field.name,
            None if "text_key" in field.metadata else _part_kind(hints[field.name]),
            False if field.default is dataclasses.MISSING else field.default,
            field.metadata.get("config_key") or field.metadata.get("text_key"),
            field.metadata.get("default_part"),
        )
        for field in dataclasses.fields(kind)
        if axis_of(field) == "recipe"
    )


def _part_kind(hint: Any) -> type | None:
    kinds = (kind for kind in (hint, *get_args(hint)) if dataclasses.is_dataclass(kind))
    return next((kind for kind in kinds if isinstance(kind, type)), None)


def _decay_fracs(specs: Sequence[RunSpec]) -> list[str]:
    """Return the share of each run's steps that is its cooldown, "" for none.

    The shares are the fewest that, rounded to whole steps, give these cooldowns.
    """
    spans = {
        row: _span(spec.schedule.decay_steps, spec.total_steps)
        for row, spec in enumerate(specs)
        if spec.schedule.decay_steps is not None
    }
    fracs: dict[int, str] = {}
    rest = sorted(spans, key=lambda row: spans[row][1])
    while rest:
        high = spans[rest[0]][1]
        same = {row for row in rest if spans[row][0] <= high}
        frac = _shortest(max(spans[row][0] for row in same), high)
        fracs |= dict.fromkeys(same, frac)
        rest = [row for row in rest if row not in same]
    # a trunk, which has no cooldown, is of the recipe of its branches
    trunks = {s.branch.trunk_id: fracs.get(row, "") for row, s in enumerate(specs) if s.branch}
    alone = next(iter(fracs.values())) if len(set(fracs.values())) == 1 else ""
    for row, spec in enumerate(specs):
        if row not in fracs:
            is_trunk = spec.schedule.end == "trunk"
            fracs[row] = trunks.get(spec.run_id, alone) if is_trunk else ""
    return [fracs[row] for row in range(len(specs))]


def _span(decay_steps: int, total_steps: int) -> tuple[float, float]:
    """The shares that round to ``decay_steps``, of which there is at least one."""
    low = (decay_steps - 0.5) / total_steps if decay_steps > 1 else 0.0
    return low, (decay_steps + 0.5) / total_steps


def _shortest(low: float, high: float) -> str:
    """The number from ``low`` to ``high`` with the fewest digits."""
    middle = (low + high) / 2
    for digits in range(1, 10):
        if low <= round(middle, digits) <= high:
            return f"{round(middle, digits):g}"
    return f"{middle:.9g}"


def _batches(specs: Sequence[RunSpec], each: Sequence[Recipe]) -> list[str]:
    """Return the batch that each run's config sets.

    One value for all where a config sets one that is the rule's own at every size that both have:
    further runs of a sweep are planned with one batch.
    """
    named = [recipe["optim.batch_tokens"] for recipe in each]
    fixed = sorted({name for name in named if name != BY_RULE})
    if len(fixed) != 1:
        return named
    sizes: dict[Any, list[set[int]]] = defaultdict(lambda: [set(), set()])
    for spec, name in zip(specs, named, strict=True):
        sizes[spec.model][name == BY_RULE].add(spec.batch_tokens)
    for ours, rules in sizes.values():
        if ours and rules and ours != rules:
            return named
    return fixed * len(named)
