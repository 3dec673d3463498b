"""Which runs one law may describe, those of one recipe; and in words what sets others apart.

A recipe is all that decides a run's loss beside its size, tokens and seed, under the names that
a config has for it: data, context and family of the model, the rule for learning rate, batch
and warm-up with what overrides it, schedule and precision. A learning rate or batch that differs
by size or horizon because the rule says so is one recipe.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

from scaling_law.spec.run import RunSpec, to_json

# A batch this many times another is no step of a rule; rounding to powers of two gives 1.4.
BATCH_FACTOR = 3.0
BY_RULE = "by rule"
# What a config may set beside its rule, and what holds else.
_OVERRIDES = {
    "lr_mult": "1", "lr": BY_RULE, "batch_tokens": BY_RULE, "warmup_tokens": BY_RULE,
    "beta2": BY_RULE,
}  # fmt: skip
_MOST_RECIPES = 4  # told one by one

Recipe: TypeAlias = dict[str, Any]


def recipes(specs: Sequence[RunSpec]) -> list[Recipe]:
    """The recipe of each run, as config keys and values; equal for runs of one recipe.

    Judged together: cooldowns of whole steps are one fraction where one explains them all, and a
    batch that a config fixed is its rule's where both are alike.
    """
    found = [_settings(spec) for spec in specs]
    fracs, batches = _decay_fracs(specs), _batches(specs, found)
    for recipe, frac, batch in zip(found, fracs, batches, strict=True):
        recipe |= {"schedule.decay_frac": frac, "optim.batch_tokens": batch}
    return found


def apart(found: Sequence[Recipe]) -> list[Recipe]:
    """Each recipe cut down to the keys in which not all agree; empty ones where they are one."""
    keys = [key for key in found[0] if len({recipe[key] for recipe in found}) > 1] if found else []
    return [{key: recipe[key] for key in keys} for recipe in found]


def recipe_name(recipe: Recipe) -> str:
    """``optim.lr_mult=0.3, precision=bf16``."""
    return ", ".join(f"{key}={value}" for key, value in recipe.items())


def listed_recipes(names: Sequence[str], places: Sequence[str] | None = None) -> str:
    """Each recipe's name with its runs, counted, and the folders (of each run) they lie in."""
    said = []
    for name, count in Counter(names).most_common():
        where = ""
        if places is not None:
            own = dict.fromkeys(p for p, n in zip(places, names, strict=True) if n == name)
            where = f" of {' and '.join(own)}"
        said.append(f"{name} in {count} runs{where}")
    more = f"; and {len(said) - _MOST_RECIPES} more" if len(said) > _MOST_RECIPES else ""
    return "; ".join(said[:_MOST_RECIPES]) + more


def told_apart(here: Sequence[RunSpec], there: Sequence[RunSpec]) -> list[str]:
    """In what new runs (``here``) are not of the recipe of those ``there``, a phrase each.

    The text they learn from is part of it, to its size.
    """
    # a trunk's cooldowns are its branches'
    here, there = ([s for s in side if s.kind != "trunk"] or side for side in (here, there))
    whole = [*here, *there]
    found = recipes(whole)
    for recipe, spec in zip(found, whole, strict=True):
        recipe["data.max_bytes"] = _word(spec.data.max_bytes)
    ours, theirs = apart(found)[: len(here)], apart(found)[len(here) :]
    phrases = []
    for key in ours[0]:
        new, old = ({recipe[key]: None for recipe in side} for side in (ours, theirs))
        if not new.keys() <= old.keys():
            phrases.append(f"{key} {_any_of(new)} here, {_any_of(old)} there")
    return phrases


def _any_of(values: Mapping[Any, None]) -> str:
    return " or ".join(str(value) for value in values)


def cells(specs: Sequence[RunSpec]) -> list[dict[str, Any]]:
    """What ``--where`` may ask of a run: its recipe's keys, ``size``, and all of its spec."""
    return [
        {**recipe, **_flat(to_json(spec)), **dict(spec.tags), **recipe}
        for spec, recipe in zip(specs, recipes(specs), strict=True)
    ]


def _flat(value: Mapping[str, Any], head: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, one in value.items():
        if isinstance(one, dict):
            found |= _flat(one, f"{head}{key}.")
        elif not isinstance(one, list):
            found[f"{head}{key}"] = _word(one) if isinstance(one, bool) else one
    return found


def _settings(spec: RunSpec) -> Recipe:
    model, data, schedule, optim = spec.model, spec.data, spec.schedule, spec.optim
    words = optim.rule.split()
    named = dict(word.split("=", 1) for word in words if "=" in word)
    spikes = spec.spikes
    found: Recipe = {
        **{f"optim.{name}": named.get(name, usual) for name, usual in _OVERRIDES.items()},
        "precision": spec.precision,
        "data.corpus": data.corpus,
        "data.domains": " ".join(data.domains),
        "data.val_fraction": data.val_fraction,
        "data.tokenizer": data.tokenizer,
        "data.vocab_size": model.vocab_size,
        **{
            f"model.{name}": getattr(model, name)
            for name in ("n_ctx", "norm", "position", "activation", "qk_norm", "tied")
        },
        "optim.rule": " ".join(word for word in words if "=" not in word),
        "optim.beta1": optim.beta1,
        "optim.eps": optim.eps,
        "optim.weight_decay": optim.weight_decay,
        "optim.grad_clip": optim.grad_clip,
        "schedule.shape": schedule.shape,
        "schedule.cooldown": schedule.cooldown,
        "schedule.final_frac": schedule.final_frac,
        "family": spec.family,
        "spikes": spikes.sigmas if spikes else False,
    }
    return {key: _word(value) for key, value in found.items()}


def _word(value: Any) -> str:
    """A value as a config has it."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return f"{value:g}" if isinstance(value, float) else str(value)


def _decay_fracs(specs: Sequence[RunSpec]) -> list[str]:
    """The share of each run's steps that is its cooldown, "" for none: the fewest values that
    come, rounded to whole steps, to the cooldowns there are."""
    spans = {
        row: _span(spec.schedule.decay_steps, spec.total_steps)
        for row, spec in enumerate(specs)
        if spec.schedule.decay_steps is not None
    }
    found: dict[int, str] = {}
    rest = sorted(spans, key=lambda row: spans[row][1])
    while rest:
        high = spans[rest[0]][1]
        same = {row for row in rest if spans[row][0] <= high}
        frac = _shortest(max(spans[row][0] for row in same), high)
        found |= dict.fromkeys(same, frac)
        rest = [row for row in rest if row not in same]
    # a trunk, which has no cooldown, is of the recipe of its branches
    trunks = {s.branch.trunk_id: found.get(row, "") for row, s in enumerate(specs) if s.branch}
    alone = next(iter(found.values())) if len(set(found.values())) == 1 else ""
    for row, spec in enumerate(specs):
        if row not in found:
            is_trunk = spec.schedule.end == "trunk"
            found[row] = trunks.get(spec.run_id, alone) if is_trunk else ""
    return [found[row] for row in range(len(specs))]


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


def _batches(specs: Sequence[RunSpec], found: Sequence[Recipe]) -> list[str]:
    """The batch that a config fixed; one value for all where one was fixed and the rule's own,
    at the same sizes, are near it: the next runs beside a sweep are planned with one batch."""
    named: list[str] = [recipe["optim.batch_tokens"] for recipe in found]
    fixed = sorted({name for name in named if name != BY_RULE})
    if len(fixed) != 1:
        return named
    sizes: dict[Any, list[set[int]]] = defaultdict(lambda: [set(), set()])
    for spec, name in zip(specs, named, strict=True):
        sizes[spec.model][name == BY_RULE].add(spec.batch_tokens)
    for ours, rules in sizes.values():
        if ours and rules:
            batches = ours | rules
            if max(batches) > BATCH_FACTOR * min(batches):
                return named
    return fixed * len(named)
