"""Draw configs that ``slaw run`` accepts, from the config's own JSON schema.

Every part and every key of the schema is drawn, so that a new one is tested without a line here. A
value is drawn within the key's bounds near its default; ``FITTED`` has the keys whose values must
fit others, or stay small enough to train in a moment. A draw that the planner refuses, or that
trains too long for a test, is drawn again (``draws``).
"""

from __future__ import annotations

import dataclasses
import json
import math
import random
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from scaling_law import parts
from scaling_law.config.grid_section import HORIZONS
from scaling_law.config.load import load_config
from scaling_law.config.part_settings import Refused, part_settings
from scaling_law.config.schema import OUTSIDE_RECIPE, TEXT_N_CTX
from scaling_law.config.slots import SLOTS
from scaling_law.config.sweep_config import SweepConfig
from scaling_law.data.access import prepared_data
from scaling_law.errors import SlawError
from scaling_law.parts import Reference
from scaling_law.plan.device_profile import shared_by
from scaling_law.plan.plan import Plan
from scaling_law.run.components import components_of
from scaling_law.run.data_checks import check_data
from scaling_law.run.planning import planned
from scaling_law.spec.counts import CONVENTIONS, count_params
from scaling_law.spec.model import DEFAULT_ARCHITECTURE
from tests import inline_engine
from tests.valid.keys import every_key

Schema = Mapping[str, Any]
Node = dict[str, Any]
# Keys that are not drawn, with the reason.
NOT_DRAWN = {
    "data.corpus": "text is at a path; named corpora have tests of their own",
    "data.sources.<key>.corpus": "as data.corpus",
    "data.clean": "rules leave out most of a small text; tests/data/test_cleaning.py has them",
    "data.order": "a setting of the corpus synthetic",
    "data.sources.<key>.order": "as data.order",
    "data.shortest": "a setting of the corpus paragraphs",
    "data.longest": "as data.shortest",
    "data.sources.<key>.shortest": "as data.shortest",
    "data.sources.<key>.longest": "as data.shortest",
    "data.by": "a setting of the corpus graded",
    "data.of": "as data.by",
    "data.sources.<key>.by": "as data.by",
    "data.sources.<key>.of": "as data.by",
    "data.unique_from": "needs unique_tokens; tests/data/test_dataset.py has it",
    "parallel": "processes of their own, seconds a run; tests/run/test_parallel.py has it",
    "engine.sbatch": "options of a cluster; tests/run/test_slurm_engine.py has them",
    "data.images": "Fashion-MNIST may not be installed; tests/experiments/test_images.py has it",
    "data.folder": "as data.images",
    "trainer": "needs a command; tests/run/test_trainer.py has it",
    "experiment=annealing": "its target must be a component of the data; drawn with settings",
    "grid.*.start_from": "needs a run that has ended; tests/run/test_stages.py has it",
    "grid.*.reference": "as grid.*.start_from; tests/run/test_references.py has it",
    "objective=group_dro": "needs a reference; tests/train/test_group_dro.py has it",
    "objective.name=group_dro": "as objective=group_dro",
    "objective.step_size": "a setting of group_dro",
    "objective.smoothing": "a setting of group_dro",
}
# Two kinds of text, each with passages to validate on.
KINDS_OF_TEXT = ("data.sources", "data.mix", "data.val_fraction", "model.n_ctx")
# What suits a feature that few configs can have: it is preferred while the feature is wanted.
SUITS = {
    "text_kind": KINDS_OF_TEXT,
    "passages": KINDS_OF_TEXT,
    "expert_load": ("model.architecture=moe",),
    "intrinsic_dimension": ("data.source=teacher", "data.source=manifold"),
    "annealing": ("data.sources", "data.mix"),
    "target": ("data.sources", "data.mix"),
    "doremi": ("data.sources",),
    "step_size": ("data.sources",),
    "smoothing": ("data.sources",),
}
# Of the rows that the text has beside plain files.
TEXT_KEYS = ("text", "body", "all.of.it")
# What one draw may cost.
MOST_RUNS, MOST_STEPS, MOST_PARAMS, MOST_TOKENS = 6, 40, 60_000, 50_000
MOST_REFUSED = 400  # of one draw, before the drawing itself is at fault


@dataclass(frozen=True, kw_only=True)
class Drawn:
    """A config that was accepted.

    ``text`` is its YAML;
    ``features`` are the keys and parts it has, as ``features`` names them;
    ``config`` and ``plan`` are what became of it.
    """

    text: str
    features: frozenset[str]
    config: SweepConfig
    plan: Plan


@dataclass
class Drawing:
    """One config while it is drawn.

    ``rng`` makes all choices;
    ``wanted`` are features that are drawn with preference;
    ``text`` is the folder of the text to train on;
    ``whole`` is the schema;
    ``config`` is what was drawn so far;
    ``drawn`` are its features.
    """

    rng: random.Random
    wanted: frozenset[str]
    text: Path
    whole: Schema
    config: Node = field(default_factory=dict)
    drawn: set[str] = field(default_factory=set)

    def chance(self, share: float, *names: str) -> bool:
        """True for a ``share`` of draws, and for most that want one of the features ``names``."""
        return self.rng.random() < (0.8 if self.wanted & {*names} else share)

    def one(self, values: Any) -> Any:
        """One of ``values``."""
        return self.rng.choice(list(values))

    def log(self, low: float, high: float) -> float:
        """A number between ``low`` and ``high``, log-uniform."""
        return math.exp(self.rng.uniform(math.log(low), math.log(high)))


def features(schema: Schema) -> frozenset[str]:
    """Name every key of a schema, each value of a choice (``KEY=VALUE``) and each part."""
    names: set[str] = set()

    def walk(at: Schema, path: str) -> None:
        at = resolved(schema, at)
        if path in NOT_DRAWN:
            return
        for value in (*at.get("enum", at.get("examples", ())), at.get("const")):
            name = f"{path}={value}"
            if isinstance(value, str) and not path.endswith("sizes.*") and name not in NOT_DRAWN:
                names.add(name)
        for member in (*at.get("anyOf", ()), *at.get("oneOf", ())):
            walk(member, path)
        for key, value in at.get("properties", {}).items():
            name = f"{path}.{key}".lstrip(".")
            if name != "variants" and name not in NOT_DRAWN:
                names.add(name)
                walk(value, name)
        if at.get("items"):
            walk(at["items"], f"{path}.*")
        for named in ({"": at.get("additionalProperties")}, at.get("patternProperties", {})):
            for member in named.values():
                if isinstance(member, dict):
                    walk(member, f"{path}.<key>")

    walk(schema, "")
    return frozenset(names)


def resolved(whole: Schema, at: Schema) -> Schema:
    """``at`` with the definition that it refers to."""
    while "$ref" in at:
        rest = {key: value for key, value in at.items() if key != "$ref"}
        at = {**whole["$defs"][at["$ref"].rsplit("/", 1)[1]], **rest}
    return at


def value_of(drawing: Drawing, at: Schema, path: str) -> Any:
    """Draw a value for the key at ``path``."""
    at = resolved(drawing.whole, at)
    fitted = FITTED.get(path)
    value = fitted(drawing) if fitted is not None else _plain(drawing, at, path)
    if isinstance(value, str):
        drawing.drawn.add(f"{path}={value}")
    return value


def _plain(drawing: Drawing, at: Schema, path: str) -> Any:
    members = [*at.get("anyOf", ()), *at.get("oneOf", ())]
    if members:
        chosen = [m for m in members if resolved(drawing.whole, m).get("type") != "null"]
        return value_of(drawing, drawing.one(chosen), path)
    if "const" in at:
        return at["const"]
    if "enum" in at or "examples" in at:
        values = [v for v in at.get("enum", at.get("examples")) if f"{path}={v}" not in NOT_DRAWN]
        wanted = [v for v in values if f"{path}={v}" in drawing.wanted]
        wanted = wanted or _with_wanted_settings(drawing, path, values)
        return drawing.one(wanted if wanted and drawing.chance(0.8) else values)
    kinds = at.get("type", "object")
    kinds = [kinds] if isinstance(kinds, str) else list(kinds)
    if "object" in kinds:
        if "additionalProperties" in at and isinstance(at["additionalProperties"], dict):
            raise AssertionError(f"{path}: its keys are names; say in FITTED which")
        return section(drawing, at, path)
    if "array" in kinds:
        count = drawing.rng.randint(1, 2)
        if "prefixItems" in at:
            return [value_of(drawing, item, f"{path}.*") for item in at["prefixItems"]]
        items = [value_of(drawing, at["items"], f"{path}.*") for _ in range(count)]
        return list({json.dumps(item, sort_keys=True): item for item in items}.values())
    if "null" in kinds and drawing.chance(0.1):
        return None
    if "boolean" in kinds and drawing.chance(0.5 if "number" in kinds else 1.0):
        return drawing.rng.random() < 0.5
    if "string" in kinds and "number" not in kinds:
        return f"drawn{drawing.rng.randint(0, 99)}"
    return _number(drawing, at, "integer" in kinds)


def _with_wanted_settings(drawing: Drawing, path: str, values: Any) -> list[Any]:
    """Of the names of parts at ``path``, those that have a setting that is wanted."""
    name, _, key = path.rpartition(".")
    forms = drawing.whole["properties"].get(name, {}).get("anyOf", ())
    if key != "name" or len(forms) < 2:
        return []
    owners = {
        owner
        for own, schema in forms[1].get("properties", {}).items()
        if any(want.startswith(f"{name}.{own}") for want in drawing.wanted)
        for form in (schema, *schema.get("anyOf", ()))
        for owner in form.get("x-of", ())
    }
    return [value for value in values if value in owners]


def _number(drawing: Drawing, at: Schema, whole: bool) -> float | str:
    """Draw a number within the bounds, mostly near the default; counts also as text."""
    doc = at.get("description", "")
    counted = any(word in doc for word in ("a count such", "tokens such", "a size such"))
    low = at.get("minimum", at.get("exclusiveMinimum", 1 if counted else 0))
    high = at.get("maximum", at.get("exclusiveMaximum", math.inf))
    usual = at.get("default")
    if isinstance(usual, int | float) and usual > 0:
        number = usual * drawing.log(0.25, 4)
    else:
        number = drawing.log(max(low, 1e-3), max(low * 1.01, min(high, max(64 * low, 64))))
    edges = [at[edge] for edge in ("minimum", "maximum") if abs(at.get(edge, 1e9)) <= 1]
    if edges and drawing.chance(0.2):
        number = drawing.one(edges)
    number = min(max(number, low), high)
    if number in (at.get("exclusiveMinimum"), at.get("exclusiveMaximum")):
        number = (low + min(high, low + 1)) / 2
    if whole or counted:
        number = max(math.ceil(low), min(math.floor(min(high, 1e15)), round(number)))
        return f"{number / 1000:.17g}k" if counted and drawing.chance(0.2) else number
    if "a duration such" in doc:
        return f"{max(1, round(number))}{drawing.one(('s', 'm', 'h'))}"
    return float(f"{number:.4g}")


def section(drawing: Drawing, at: Schema, path: str, share: float = 0.3) -> Node:
    """Draw a mapping: its parts first, then of the keys that they allow a ``share``."""
    known = at.get("properties", {})
    chosen: set[str] = set()
    drawn: Node = {}
    slots = {s.key for s in SLOTS if s.section == path and s.key in known}
    keys = sorted(known, key=lambda key: key not in slots)
    of_parts = {str(slot.default) for slot in SLOTS if slot.section == path}
    for key in keys:
        name = f"{path}.{key}".lstrip(".")
        needed = key in at.get("required", ())
        if name in LATER or (name in NOT_DRAWN and not needed):
            continue
        if name == "model.architecture" and _needs(drawing, "model"):
            needed = True
        schema = _of_parts(known[key], chosen if slots else {drawn.get("name", "")})
        if schema is None:
            continue
        named = [want for want in drawing.wanted if want == name or want.startswith(f"{name}=")]
        if not (needed or name in ALWAYS) and not drawing.chance(share, *named):
            if key in slots:
                chosen |= of_parts & {str(resolved(drawing.whole, schema).get("default"))}
            continue
        value = value_of(drawing, schema, name)
        if value is ABSENT:
            continue
        drawn[key] = value
        drawing.drawn.add(name)
        if key in slots:
            chosen.add(value)
    return drawn


ABSENT = object()
"""What a function of ``FITTED`` gives for a key that must be absent here."""


def _of_parts(schema: Schema, chosen: set[str]) -> Schema | None:
    """The form that a key has with these parts; None where it belongs to others."""
    forms = [form for form in schema.get("anyOf", ()) if "x-of" in form]
    if forms:
        mine = [form for form in forms if chosen & {*form["x-of"]}]
        return mine[0] if mine else None
    if "x-of" in schema and not chosen & {*schema["x-of"]}:
        return None
    return schema


def _data(drawing: Drawing) -> Node:
    """A text, a text of several sources, or a task."""
    kinds = [ref["$ref"].rsplit("/", 1)[1] for ref in drawing.whole["properties"]["data"]["oneOf"]]
    wanted = [kind for kind in kinds if drawing.wanted & _keys_of(drawing, kind)]
    kind = drawing.one(wanted if wanted and drawing.chance(0.7) else kinds)
    data = section(drawing, drawing.whole["$defs"][kind], "data")
    if kind != "TaskSection":
        _add_mixture(drawing, data)
    elif data["source"] == "copy":
        _fit_lengths(data)
    return data


def _fit_lengths(data: Node) -> None:
    """Make the lengths and symbols of copying fit each other."""
    length = data.get("length", 16)
    if data.get("distinct"):
        longest = max(length, *data.get("longer", (32,)), 1)
        data["symbols"] = max(longest, data.get("symbols", 10))
    if "ramp" in data:
        data.setdefault("shortest", 1)
        data.pop("train_examples", None)
    if "shortest" in data:
        data["shortest"] = min(data["shortest"], length)


def _keys_of(drawing: Drawing, kind: str) -> set[str]:
    """The features that a kind of data has and the others may not have."""
    keys = drawing.whole["$defs"][kind]["properties"]
    return {want for want in drawing.wanted if want.split(".")[-1].partition("=")[0] in keys}


def _add_mixture(drawing: Drawing, data: Node) -> None:
    """Add domains, and a mixture of the components: for the whole run, or phase by phase."""
    components = sorted(data.get("sources", {"text": None}))
    if drawing.chance(0.2, "data.domains"):
        data["domains"] = components[: drawing.rng.randint(1, len(components))]
        components = data["domains"]
        drawing.drawn.add("data.domains")

    def weights(path: str) -> Any:
        drawing.drawn.add(path)
        if drawing.chance(0.4, f"{path}=natural"):
            drawing.drawn.add(f"{path}=natural")
            return "natural"
        first = round(drawing.rng.uniform(0.1, 0.9), 3)
        shares = [first, round(1 - first, 3)] if len(components) > 1 else [1]
        return dict(zip(components, shares, strict=False))

    if drawing.chance(0.3, *(want for want in drawing.wanted if want.startswith("data.phases"))):
        until = drawing.one(("cooldown", 0.5))
        data["phases"] = [
            {"mix": weights("data.phases.*.mix"), "until": until},
            {"mix": weights("data.phases.*.mix")},
        ]
        drawing.drawn |= {"data.phases", "data.phases.*.until"}
        mixes = [phase["mix"] for phase in data["phases"]]
    elif drawing.chance(0.3, "data.mix", "data.mix=natural"):
        data["mix"] = weights("data.mix")
        mixes = [data["mix"]]
    else:
        mixes = ["natural"]
    if data.keys() >= {"unique_tokens", "unique_share"}:
        del data["unique_tokens"]
        drawing.drawn.discard("data.unique_tokens")
    if data.keys() & {"mix", "phases"} and drawing.chance(0.9):
        for cap in ("unique_tokens", "unique_share"):  # they cut the text as a whole
            data.pop(cap, None)
            drawing.drawn.discard(f"data.{cap}")
    if "natural" in mixes and drawing.chance(0.2, "data.mix_temperature"):
        data["mix_temperature"] = drawing.one((1, 2.5, 100))
        drawing.drawn.add("data.mix_temperature")


def _sources(drawing: Drawing) -> Node:
    """Two sources of text."""
    at = resolved(drawing.whole, {"$ref": "#/$defs/SourceSection"})
    return {name: section(drawing, at, "data.sources.<key>") for name in ("one", "two")}


def _is_task(drawing: Drawing) -> bool:
    return "source" in drawing.config["data"]


def _batch(drawing: Drawing) -> int:
    """Tokens of a step, as near as is known before planning."""
    optim, n_ctx = drawing.config.get("optim", {}), _context(drawing)
    if isinstance(optim.get("batch_examples"), int):
        return int(optim["batch_examples"]) * n_ctx
    return int(optim.get("batch_tokens") or 8 * n_ctx)


def _context(drawing: Drawing) -> int:
    """Tokens of an example."""
    data = drawing.config["data"]
    if "source" not in data:
        return int(drawing.config.get("model", {}).get("n_ctx") or TEXT_N_CTX)
    task = parts.load("source", Reference(name=data["source"]))
    own = {f.name for f in dataclasses.fields(task.settings)}
    settings = {key: value for key, value in data.items() if key in own}
    try:
        return int(task.n_ctx(part_settings(task.settings, settings)))
    except Refused:  # the config will be, too
        return 8


BATCHES = {"batch_tokens", "batch_examples"}


def _horizon(drawing: Drawing) -> float:
    return round(_batch(drawing) * drawing.log(3, 9))


def _size(drawing: Drawing) -> Any:
    """A size by the keys of the architecture's shape, or a small named one."""
    name = drawing.config.get("model", {}).get("architecture", "gpt")
    if name != "gpt":
        shape = next(
            form
            for form in drawing.whole["$defs"]["GridEntry"]["properties"]["sizes"]["oneOf"][0][
                "items"
            ]["oneOf"][1]["anyOf"]
            if form["title"] == name
        )
        return section(drawing, shape, "grid.*.sizes.*", 0.4)
    if drawing.chance(0.15):
        return drawing.one(("nano14k", "nano25k"))
    heads = drawing.one((1, 2, 3, 4))
    shape = {
        "n_layer": drawing.one((1, 1, 2)),
        "d_model": heads * drawing.one((2, 4, 8)),
        "n_head": heads,
    }
    if drawing.chance(0.3, "grid.*.sizes.*.n_kv_head"):
        shape["n_kv_head"] = drawing.one(k for k in (1, 2, 3, 4) if heads % k == 0)
    if drawing.chance(0.3, "grid.*.sizes.*.d_ff"):
        shape["d_ff"] = drawing.one((1, 8, 24))
    drawing.drawn |= {f"grid.*.sizes.*.{key}" for key in shape}
    return shape


def _sizes(drawing: Drawing) -> Any:
    if drawing.chance(0.15, "grid.*.sizes.params"):
        low = drawing.log(3e3, 2e4)
        many = drawing.rng.randint(1, 2)
        given = {"params": [round(low), round(low * 3)], "count": many}
        counts = {f"grid.*.sizes.convention={one}": one for one in CONVENTIONS}
        if drawing.chance(0.3, "grid.*.sizes.convention", *counts):
            name = drawing.one(sorted(drawing.wanted & counts.keys()) or counts)
            given["convention"] = counts[name]
            drawing.drawn.add(name)
        if drawing.chance(0.3, "grid.*.sizes.aspect_ratio"):
            given["aspect_ratio"] = drawing.one((4, 8.5, 16))
        drawing.drawn |= {f"grid.*.sizes.{key}" for key in given}
        return given
    return [_size(drawing) for _ in range(1 if drawing.chance(0.7) else 2)]


def _entry(drawing: Drawing) -> Node:
    """A grid entry with one kind of horizon."""
    entry = section(drawing, resolved(drawing.whole, {"$ref": "#/$defs/GridEntry"}), "grid.*")
    wanted = [name for name in HORIZONS if f"grid.*.{name}" in drawing.wanted]
    kind = drawing.one(wanted if wanted and drawing.chance(0.7) else HORIZONS)
    if kind == "epochs" and drawing.config["data"].get("source") == "copy":
        drawing.config["data"].setdefault("train_examples", 100)
    tokens = sorted(_horizon(drawing) for _ in range(drawing.one((1, 1, 2, 3))))
    if kind == "steps" and not drawing.config.get("optim", {}).keys() & BATCHES:
        drawing.config["optim"] = {**drawing.config.get("optim", {}), "batch_examples": 2}
    batch, n_ctx = _batch(drawing), _context(drawing)
    entry[kind] = {
        "tokens": tokens,
        "examples": [max(1, t // n_ctx) for t in tokens],
        "steps": [max(3, round(t / batch)) for t in tokens],
        "epochs": [float(f"{drawing.log(0.01, 3):.3g}") for _ in tokens],
        "tokens_per_param": [float(f"{drawing.log(0.02, 5):.3g}") for _ in tokens],
        "flops": [round(t * drawing.log(1e4, 1e5)) for t in tokens],
        "flops_ladder": {
            "base_flops": round(tokens[0] * drawing.log(1e4, 1e5)),
            "tokens_near": tokens[0],
            "count": len(tokens),
            "ratio": drawing.one((1.5, 2, 3)),
        },
    }[kind]
    drawing.drawn.add(f"grid.*.{kind}")
    if kind == "flops_ladder":
        drawing.drawn |= {f"grid.*.flops_ladder.{key}" for key in entry[kind]}
    return entry


def _grid(drawing: Drawing) -> list[Node]:
    entry = _entry(drawing)
    architecture = drawing.config.get("model", {}).get("architecture", "gpt")
    shapes = entry["sizes"] if isinstance(entry["sizes"], list) else []
    names = ("grid.*.grow_from", "grid.*.grow_at")
    if architecture != "gpt" or not isinstance(next(iter(shapes), None), dict):
        return [entry]
    if not drawing.chance(0.1, *names):
        return [entry]
    # the same heads, twice as many
    small = {**shapes[0], "d_ff": shapes[0].get("d_ff", 8)}
    large = {key: value * 2 for key, value in small.items()}
    if drawing.chance(0.5):
        large["n_layer"] = small["n_layer"]
    entry["sizes"] = [small]
    grown = {**entry, "sizes": [large], "grow_from": "LATER"}
    if drawing.chance(0.4, names[1]):
        grown["grow_at"] = round(_batch(drawing) * 2)
        drawing.drawn.add(names[1])
    drawing.drawn.add(names[0])
    return [entry, grown]


def _seeds(drawing: Drawing) -> Any:
    many = [drawing.rng.randint(0, 10**9) for _ in range(drawing.one((1, 1, 2)))]
    return many


def _axes(drawing: Drawing) -> Any:
    """One key of the recipe with two values, drawn as the key itself is."""
    settled = {
        "data.source", "data.sources", "data.corpus", "data.domains", "data.phases",
        "model.architecture", "model.n_ctx",
    }  # fmt: skip
    known: Node = {}
    for name in ("data", "model", "schedule", "optim"):
        chosen = {
            drawing.config.get(name, {}).get(slot.key, slot.default)
            for slot in SLOTS
            if slot.section == name
        }
        at = resolved(drawing.whole, _section_of(drawing, name))
        forms = {key: _of_parts(schema, chosen) for key, schema in at["properties"].items()}
        known |= {f"{name}.{key}": form for key, form in forms.items() if form is not None}
    left_out = settled | set(NOT_DRAWN)
    known = {key: schema for key, schema in known.items() if key not in left_out}
    known |= {
        name: schema
        for name, schema in drawing.whole["properties"].items()
        if name
        not in (*OUTSIDE_RECIPE, *NOT_DRAWN, "data", "model", "schedule", "optim", "variants")
    }
    key = drawing.one(sorted(known))
    values = [value_of(drawing, known[key], key) for _ in range(8)]
    different = list({json.dumps(v): v for v in values if v is not ABSENT}.values())[:2]
    return {key: different} if different else ABSENT


def _section_of(drawing: Drawing, name: str) -> Schema:
    if name == "data":
        data = drawing.config["data"]
        kind = "TaskSection" if "source" in data else "DataSection"
        kind = "SourcesSection" if "sources" in data else kind
        return {"$ref": f"#/$defs/{kind}"}
    schema: Schema = drawing.whole["properties"][name]
    return schema


def _trackers(drawing: Drawing) -> Any:
    return _several(drawing, "trackers")


def _several(drawing: Drawing, name: str) -> Any:
    """A list of parts, or a mapping of parts to settings."""
    listed, _ = drawing.whole["properties"][name]["anyOf"]
    plain, with_settings = listed["items"]["anyOf"]
    names = drawing.rng.sample(plain["examples"], drawing.rng.randint(1, len(plain["examples"])))
    own = with_settings["properties"]
    wanted = [
        part
        for part in plain["examples"]
        if drawing.wanted
        & {
            f"{name}.*={part}",
            f"{name}.*.name={part}",
            *(
                f"{name}.{at}.{key}"
                for key, schema in own.items()
                if key != "name" and _of_parts(schema, {part}) is not None
                for at in ("*", "<key>")
            ),
        }
    ]
    drawing.rng.shuffle(wanted)
    if wanted and drawing.chance(0.5):
        names = names[:1]
    names = list(dict.fromkeys([*wanted[:1], *names]))
    drawing.drawn |= {f"{name}.*", *(f"{name}.*={part}" for part in names)}

    def settings(part: str, path: str) -> Node:
        values: Node = {}
        for key, schema in own.items():
            form = None if key == "name" else _of_parts(schema, {part})
            if form is not None and drawing.chance(0.5, f"{path}.{key}"):
                values[key] = value_of(drawing, form, f"{path}.{key}")
                drawing.drawn.add(f"{path}.{key}")
        return values

    keyed = f"{name}.<key>"
    wants_key, wants_item = (
        any(want.startswith(start) for want in drawing.wanted) for start in (keyed, f"{name}.*")
    )
    if drawing.chance(0.8 if wants_key > wants_item else 0.2 if wants_item > wants_key else 0.5):
        return {part: settings(part, keyed) for part in names}
    items: list[Any] = []
    wants_settings = (want for want in drawing.wanted if want.startswith(f"{name}.*."))
    preferred = [f"{name}.*.name", *wants_settings]
    for part in names:
        if drawing.chance(0.5, *preferred, f"{name}.*.name={part}"):
            drawing.drawn |= {f"{name}.*.name", f"{name}.*.name={part}"}
            items.append({"name": part, **settings(part, f"{name}.*")})
        else:
            items.append(part)
    return items


def _number_of(low: float, high: float) -> Callable[[Drawing], Any]:
    return lambda drawing: round(drawing.log(low, high))


def _n_ctx(drawing: Drawing) -> Any:
    return ABSENT if _is_task(drawing) else drawing.one((1, 4, 8, 16))


def _batch_tokens(drawing: Drawing) -> Any:
    return _context(drawing) * drawing.one((1, 2, 8))


def _batch_examples(drawing: Drawing) -> Any:
    data = drawing.config["data"]
    has_end = "source" in data and (data["source"] != "copy" or data.get("train_examples"))
    return drawing.one((1, 3, 8, *(("all",) if has_end else ())))


def _longer(drawing: Drawing) -> Any:
    return sorted(drawing.rng.sample((17, 18, 20), drawing.rng.randint(0, 2)))


def _architecture(drawing: Drawing) -> Any:
    names = _fitting_architectures(drawing)
    wanted = [name for name in names if f"model.architecture={name}" in drawing.wanted]
    keys = drawing.whole["$defs"]["ModelSection"]["properties"]
    owners = {
        owner
        for want in drawing.wanted
        if want.startswith("model.")
        for key, _, value in (want.removeprefix("model.").partition("="),)
        for form in keys.get(key, {}).get("anyOf", (keys.get(key, {}),))
        if not value or value in form.get("enum", ())
        for owner in form.get("x-of", ())
    }
    wanted = wanted or [name for name in names if name in owners]
    return drawing.one(wanted if wanted and drawing.chance(0.8) else names)


def _fitting_architectures(drawing: Drawing) -> list[str]:
    """The architectures that read what the data give."""
    names = drawing.whole["$defs"]["ModelSection"]["properties"]["architecture"]["examples"]
    known = {name: parts.load("architecture", Reference(name=name)) for name in names}
    source = drawing.config["data"].get("source")
    if source is None:
        return [name for name, part in known.items() if not part.one_output]
    inputs, targets = parts.load("source", Reference(name=source)).inputs, _targets(drawing)
    return [
        name
        for name, part in known.items()
        if part.inputs == inputs and not (part.solves and targets == "ids")
    ]


def _solved_by(drawing: Drawing) -> str:
    """The family of losses that the architecture minimises in closed form; "" where it trains."""
    name = drawing.config.get("model", {}).get("architecture", DEFAULT_ARCHITECTURE)
    return str(parts.load("architecture", Reference(name=name)).solves)


def _targets(drawing: Drawing) -> str:
    """What the data have to predict: ``ids`` or ``numbers``."""
    source = drawing.config["data"].get("source")
    if source is None:
        return "ids"
    task = parts.load("source", Reference(name=source))
    return "numbers" if task.outputs(task.settings()) else "ids"


def _objective(drawing: Drawing) -> Any:
    """An objective of the data's targets, and of the losses that the architecture minimises."""
    family, targets = _solved_by(drawing), _targets(drawing)
    names = drawing.whole["properties"]["objective"]["anyOf"][0]["examples"]
    known = {name: parts.load("objective", Reference(name=name)) for name in names}
    fitting = {
        name: part
        for name, part in known.items()
        if part.targets in ("", targets)
        and family in ("", part.comparable)
        and f"objective={name}" not in NOT_DRAWN
    }
    wanted = [
        name
        for name, part in fitting.items()
        if any(f"objective.{f.name}" in drawing.wanted for f in dataclasses.fields(part.settings))
    ]
    name = drawing.one(wanted if wanted and drawing.chance(0.5) else fitting)
    drawing.drawn.add(f"objective={name}")
    if drawing.chance(0.7):
        return name
    drawing.drawn |= {"objective.name", f"objective.name={name}"}
    own: Node = {"name": name}
    with_settings = drawing.whole["properties"]["objective"]["anyOf"][1]["properties"]
    for key, schema in with_settings.items():
        form = None if key == "name" else _of_parts(schema, {name})
        if form is not None and drawing.chance(0.5, f"objective.{key}"):
            own[key] = value_of(drawing, form, f"objective.{key}")
            drawing.drawn.add(f"objective.{key}")
    return own


# What is drawn for keys whose values must fit others or stay small.
FITTED: dict[str, Callable[[Drawing], Any]] = {
    "data": _data,
    "data.corpus": lambda drawing: str(drawing.text),
    "data.tokenizer": lambda drawing: drawing.one(("bytes", "bpe")),
    "data.vocab_size": lambda drawing: drawing.one((257, 300, 320)),
    "data.text_key": lambda drawing: drawing.one(TEXT_KEYS),
    "data.sources": _sources,
    "data.sources.<key>.text_key": lambda drawing: drawing.one(TEXT_KEYS),
    "data.sources.<key>.corpus": lambda drawing: str(drawing.text / drawing.one(("", "more"))),
    "data.sources.<key>.domains": lambda drawing: ["text"],
    "data.sources.<key>.max_bytes": _number_of(8_000, 60_000),
    "data.mix": lambda drawing: "natural",
    "data.mix_temperature": lambda drawing: drawing.one((1, 2)),
    "data.max_bytes": _number_of(8_000, 60_000),
    "data.unique_tokens": _number_of(3_000, 30_000),
    "data.unique_share": lambda drawing: drawing.one((0.3, 0.7, 1)),
    "data.val_fraction": lambda drawing: drawing.one((0.2, 0.35, 0.5)),
    "data.max_epochs": lambda drawing: drawing.one((4.0, 50, 1e6)),
    "data.symbols": _number_of(2, 20),
    "data.length": _number_of(1, 6),
    "data.longer": _longer,
    "data.shortest": _number_of(1, 6),
    "data.ramp": _number_of(1, 200),
    "data.dimension": _number_of(1, 12),
    "data.modulus": _number_of(3, 13),
    "data.pixels": lambda drawing: drawing.one((7, 14)),
    "data.inputs": _number_of(12, 30),
    "data.waves": _number_of(1, 20),
    "model.depth": _number_of(1, 3),
    "data.train_frac": lambda drawing: drawing.one((0.2, 0.4, 0.75)),
    "data.train_examples": _number_of(8, 500),
    "data.val_examples": _number_of(1, 40),
    "model.n_ctx": _n_ctx,
    "model.architecture": _architecture,
    "model.base_width": lambda drawing: drawing.one((1, 1, 2, 4)),  # widths must be its multiples
    "model.base_depth": _number_of(1, 4),
    "model.base_head_size": _number_of(1, 32),
    "grid": _grid,
    "grid.*.sizes": _sizes,
    "grid.*.sizes.*.width": _number_of(1, 24),
    "grid.*.sizes.*.features": _number_of(1, 24),
    "grid.*.sizes.*.channels": _number_of(1, 4),
    "grid.*.sizes.*.per_side": _number_of(1, 3),
    "grid.*.seeds": _seeds,
    "grid.*.axes": _axes,
    "axes": _axes,
    "schedule.decay_frac": lambda drawing: drawing.one((0.1, 0.2, 0.5, 0.6)),
    "schedule.cycles": _number_of(1, 2),  # each needs two steps
    "objective": _objective,
    "objective.first_mark": lambda drawing: 245,  # no text has the bytes from there on
    "optim.lr": lambda drawing: float(f"{drawing.log(1e-4, 0.05):.3g}"),
    "optim.first": lambda drawing: drawing.one((1, 1, 2)),  # at most optim.last, which is 1 or more
    "optim.last": _number_of(2, 4),
    "optim.double_after": _number_of(1, 5),
    "optim.lr_mult": lambda drawing: drawing.one((0.5, 1.0, 2)),
    "optim.batch_tokens": _batch_tokens,
    "optim.batch_examples": _batch_examples,
    "optim.warmup_tokens": lambda drawing: _batch(drawing),
    "optim.weight_decay": lambda drawing: drawing.one((0, 0.1, 1.0)),
    "eval.val_tokens": _number_of(1, 400),
    "eval.curve_tokens": _number_of(1, 200),
    "eval.curve_points": lambda drawing: drawing.rng.randint(0, 4),
    "limits.time": lambda drawing: drawing.one(("2h", 90_000, "100 h")),
    "limits.memory": lambda drawing: drawing.one(("4GB", 3, "1500 MB")),
    "limits.slots": lambda drawing: drawing.rng.randint(1, 2),
    "probes": lambda drawing: _several(drawing, "probes"),
    **{
        f"probes.{part}.{key}": values
        for part in ("*", "<key>")
        for key, values in (
            ("questions", _number_of(1, 20)),
            ("examples", _number_of(1, 2)),
            ("samples", _number_of(1, 8)),
            ("choices", _number_of(2, 4)),
            ("tail", _number_of(1, 4)),
            ("ahead", lambda drawing: drawing.one((1, 1, 2))),
            ("passages", _number_of(2, 8)),
            ("labels", lambda drawing: drawing.rng.sample((8, 12, 16), drawing.rng.randint(0, 2))),
        )
    },
    "engine.address": lambda drawing: "10.0.0.1:6379",
    "experiment.target": lambda drawing: drawing.one(drawing.config["data"].get("sources", "x")),
    "trackers": _trackers,
}  # fmt: skip
# Keys whose defaults take too long for a test, or fit none of its widths.
ALWAYS = ("eval", "eval.val_tokens", "eval.curve_tokens", "model.base_width")
# Keys that are drawn once the others are there.
LATER = (
    "variants", "data.domains", "data.mix", "data.mix_temperature", "data.phases",
    *(f"grid.*.{name}" for name in (*HORIZONS, "grow_from", "grow_at")),
)  # fmt: skip
_ORDER = ("data", "model", "optim", "grid")


def _needs(drawing: Drawing, key: str) -> bool:
    """Whether the data need another architecture, or it another objective, than the default."""
    if key == "model":
        return DEFAULT_ARCHITECTURE not in _fitting_architectures(drawing)
    return key == "objective" and (bool(_solved_by(drawing)) or _targets(drawing) == "numbers")


def draw(rng: random.Random, wanted: frozenset[str], text: Path) -> tuple[Node, frozenset[str]]:
    """Draw a config that may be accepted, and name what it has."""
    whole = every_key()
    drawing = Drawing(rng=rng, wanted=wanted, text=text, whole=whole)
    known = whole["properties"]
    keys = sorted(known, key=lambda key: _ORDER.index(key) if key in _ORDER else len(_ORDER))
    for key in keys:
        if key == "spikes" and "phases" in drawing.config["data"]:
            continue
        inner = [want for want in wanted if want == key or want.startswith((f"{key}.", f"{key}="))]
        needed = key in (*whole["required"], *ALWAYS) or _needs(drawing, key)
        if key in ("variants", *NOT_DRAWN) or not (needed or drawing.chance(0.25, *inner)):
            continue
        value = value_of(drawing, known[key], key)
        if value is not ABSENT:
            drawing.config[key] = value
            drawing.drawn.add(key)
        if key == "optim" and drawing.config.get("optim", {}).keys() >= BATCHES:
            del drawing.config["optim"][drawing.one(sorted(BATCHES))]
    config = drawing.config
    if "source" not in config["data"]:  # the tokenizer may have been drawn after it
        is_bytes = config["data"].get("tokenizer") == "bytes"
        config["data"]["vocab_size"] = 257 if is_bytes else drawing.one((257, 300, 320))
    if drawing.chance(0.1):
        config["variants"] = {
            kind: {"optim": {"weight_decay": drawing.one((0, 0.3))}}
            for kind in rng.sample(("cpu", "cuda", "mps"), 2)
        }
    return config, frozenset(drawing.drawn)


def accepted(config: Node, folder: Path) -> tuple[str, SweepConfig, Plan]:
    """The YAML of a drawn config, and what is made of it. Raises ``SlawError`` where refused."""
    path = folder / "drawn.yaml"
    grown = [entry for entry in config["grid"] if entry.get("grow_from") == "LATER"]
    for entry in grown:
        alone = {**config, "grid": config["grid"][:1]}
        path.write_text(yaml_of(alone))
        size = dict(_planned(load_config(path, device_kind="cpu")).runs[0].spec.tags)["size"]
        entry["grow_from"] = size
    text = yaml_of(config)
    path.write_text(text)
    read = load_config(path, device_kind="cpu")
    return text, read, _planned(read)


def _refused_probes(lines: Sequence[str]) -> set[str]:
    """The probes that cannot measure what was drawn; empty where anything else is refused."""
    matches = [re.match(r"\S+ probes(?:: |\.)([a-z]\w+)\b", line) for line in lines]
    return {match[1] for match in matches if match} if all(matches) else set()


def _without_probes(config: Node, drawn: frozenset[str], names: set[str]) -> frozenset[str]:
    """Take probes out of a config; gives its features without theirs."""
    probes = config["probes"]
    if isinstance(probes, dict):
        owns = [(part, settings or {}) for part, settings in probes.items()]
        config["probes"] = {part: own for part, own in probes.items() if part not in names}
    else:
        named = [one if isinstance(one, dict) else {"name": one} for one in probes]
        owns = [(one["name"], one) for one in named]
        config["probes"] = [
            whole for whole, (part, _) in zip(probes, owns, strict=True) if part not in names
        ]
    stay = {key for part, own in owns if part not in names for key in own}
    gone = {key for part, own in owns if part in names for key in own if key not in stay}
    lost = {f"probes.{at}.{key}" for at in ("*", "<key>") for key in gone}
    lost |= {f"probes.*{at}={part}" for at in ("", ".name") for part in names}
    if not config["probes"]:
        del config["probes"]
        lost |= {"probes", "probes.*"}
    return frozenset(
        name
        for name in drawn
        if not any(name == one or name.startswith(f"{one}.") for one in lost)
        and name.partition("=")[0] not in lost
    )


def yaml_of(config: Node) -> str:
    """The config as a user writes it."""
    return yaml.safe_dump(json.loads(json.dumps(config)), sort_keys=False)


def _planned(config: SweepConfig) -> Plan:
    datasets = {spec: prepared_data(spec) for spec in config.data_specs}
    components = components_of(config, datasets, lambda line: None)
    check_data(config, datasets)
    tokens = {spec: dataset.train_tokens for spec, dataset in datasets.items()}
    device = inline_engine.profile(inline_engine.Settings(), "cpu", lambda line: None)
    return planned(config, shared_by(device, config.limits.slots), tokens, components)


def _accepted_in_part(
    config: Node, drawn: frozenset[str], folder: Path
) -> tuple[frozenset[str], tuple[str, SweepConfig, Plan]]:
    """What is made of a config without the probes that refuse its data, and the features left.

    Few data suit every probe of a draw, and some refuse once others are gone.
    """
    while True:
        try:
            return drawn, accepted(config, folder)
        except SlawError as problem:
            if not (names := _refused_probes(problem.lines)):
                raise
        drawn = _without_probes(config, drawn, names)


def _too_long(plan: Plan, most_runs: int) -> bool:
    steps = sum(run.spec.total_steps - run.spec.start_step for run in plan.runs)
    return (
        len(plan.runs) > most_runs
        or steps > MOST_STEPS
        or sum(run.spec.batch_tokens * run.spec.total_steps for run in plan.runs) > MOST_TOKENS
        or max(count_params(run.spec.model).total for run in plan.runs) > MOST_PARAMS
    )


def _with_suits(missing: frozenset[str]) -> frozenset[str]:
    """Features that are missing, and those that suit them."""
    ends = {re.split("[.=]", name)[-1] for name in missing}
    return missing.union(*(SUITS[end] for end in ends & SUITS.keys()))


def draws(
    seed: int, count: int, text: Path, folder: Path, most_runs: int = MOST_RUNS
) -> Iterator[Drawn]:
    """Draw ``count`` accepted configs of at most ``most_runs`` runs.

    Features that none had yet are drawn with preference.
    """
    rng = random.Random(seed)
    missing = features(every_key())
    for _ in range(count):
        refused: list[str] = []
        while True:
            # features that refuse each other, both preferred, would be drawn together for ever
            wanted = _with_suits(missing) if len(refused) % 40 < 20 else frozenset[str]()
            config, drawn = draw(rng, wanted, text)
            try:
                drawn, (written, read, plan) = _accepted_in_part(config, drawn, folder)
            except SlawError as problem:
                refused += problem.lines
                assert len(refused) < MOST_REFUSED, refused[-5:]
                continue
            if not _too_long(plan, most_runs):
                break
        missing -= drawn
        yield Drawn(text=written, features=drawn, config=read, plan=plan)
