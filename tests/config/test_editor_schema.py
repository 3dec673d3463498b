"""The JSON schema of a config: what an editor completes and refuses, by the chosen part."""

from __future__ import annotations

import functools
import json
import re
from pathlib import Path
from typing import Any

import pytest

from scaling_law.config import strict_yaml
from scaling_law.config.editor_schema import json_schema
from scaling_law.config.schema import DEVICE_KINDS

ROOT = Path(__file__).resolve().parents[2]
TYPES: dict[str, tuple[type, ...]] = {
    "object": (dict,), "array": (list,), "string": (str,), "boolean": (bool,),
    "null": (type(None),), "number": (int, float), "integer": (int,),
}  # fmt: skip
TEXT = """\
name: test
data: {corpus: installed}
grid: [{sizes: [nano14k], tokens: [1M]}]
"""
TASK = """\
name: test
data: {source: modular_addition}
grid: [{sizes: [{width: 8}], tokens: [1M]}]
"""


@functools.cache
def schema_of_configs() -> dict[str, Any]:
    """The schema, made on first use: it takes a second, and most processes test something else."""
    return json_schema()


def is_of(value: Any, kinds: str | list[str]) -> bool:
    several = [kinds] if isinstance(kinds, str) else kinds
    if isinstance(value, bool):
        return "boolean" in several
    return any(isinstance(value, TYPES[kind]) for kind in several)


def accepts(schema: Any, value: Any) -> bool:
    """Whether a value is valid, by the words of JSON Schema that the schema uses."""
    if isinstance(schema, bool):
        return schema
    for word, given in schema.items():
        check = CHECKS.get(word)
        if check is not None and not check(given, value, schema):
            return False
    return True


def properties(given: dict[str, Any], value: Any, schema: Any) -> bool:
    return not isinstance(value, dict) or all(
        accepts(given[key], item) for key, item in value.items() if key in given
    )


def no_others(given: Any, value: Any, schema: Any) -> bool:
    if not isinstance(value, dict):
        return True
    patterns = schema.get("patternProperties", {})
    others = (
        item
        for key, item in value.items()
        if key not in schema.get("properties", {}) and not any(re.search(p, key) for p in patterns)
    )
    return all(accepts(given, item) for item in others)


def by_pattern(given: dict[str, Any], value: Any, schema: Any) -> bool:
    return not isinstance(value, dict) or all(
        accepts(one, item)
        for pattern, one in given.items()
        for key, item in value.items()
        if re.search(pattern, key)
    )


def conditional(given: Any, value: Any, schema: Any) -> bool:
    return accepts(schema.get("then" if accepts(given, value) else "else", True), value)


def in_definitions(given: str, value: Any, schema: Any) -> bool:
    return accepts(schema_of_configs()["$defs"][given.rsplit("/", 1)[1]], value)


def compared(given: float, value: Any) -> int:
    """-1, 0 or 1; 0 where the value is no number."""
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return (value > given) - (value < given) if number else 0


CHECKS: dict[str, Any] = {
    "$ref": in_definitions,
    "type": lambda given, value, schema: is_of(value, given),
    "properties": properties,
    "patternProperties": by_pattern,
    "additionalProperties": no_others,
    "required": lambda given, value, schema: (
        not isinstance(value, dict) or all(key in value for key in given)
    ),
    "items": lambda given, value, schema: (
        not isinstance(value, list) or all(accepts(given, item) for item in value)
    ),
    "allOf": lambda given, value, schema: all(accepts(one, value) for one in given),
    "anyOf": lambda given, value, schema: any(accepts(one, value) for one in given),
    "oneOf": lambda given, value, schema: sum(accepts(one, value) for one in given) == 1,
    "not": lambda given, value, schema: not accepts(given, value),
    "if": conditional,
    "const": lambda given, value, schema: value == given,
    "enum": lambda given, value, schema: value in given,
    "pattern": lambda given, value, schema: (
        not isinstance(value, str) or re.search(given, value) is not None
    ),
    "minimum": lambda given, value, schema: compared(given, value) >= 0,
    "maximum": lambda given, value, schema: compared(given, value) <= 0,
}


def read(text: str) -> Any:
    return strict_yaml.read_document(text, "test.yaml").data


SHIPPED = sorted([*(ROOT / "configs").glob("*.yaml"), *(ROOT / "experiments").glob("*.yaml")])
VALID = [
    *(path.read_text() for path in SHIPPED),
    TEXT + "model: {position: learned, gradient_checkpointing: true}\n",
    TASK + "model: {architecture: mlp, activation: relu}\n",
    TASK + "model: {architecture: gpt, position: none}\n",
    TEXT + "model: {parametrisation: mup, base_width: 32}\n",
    TEXT + "optim: {name: sgd, momentum: 0.9, weight_decay: 0}\n",
    TEXT + "optim: {name: own.py, anything: 1}\n",
    TEXT + "optim: {beta1: 0.9}\n",
    TEXT + "objective: {name: own.py, rate: 1}\n",
    TEXT + "objective: {name: next_token}\n",
    TEXT + "probes: [accuracy, {name: own.py, every: 3}]\n",
    TEXT + "trackers: {wandb: {project: p}, own.py: {a: 1}}\n",
    TEXT + "engine: {name: local}\n",
    TEXT + "variants: {cpu: {model: {activation: relu}, optim: {momentum: 1}}}\n",
    TASK.replace("modular_addition}", "modular_addition, modulus: 7, train_frac: 0.5}"),
    TEXT.replace("installed}", "installed, clean: [length, {name: c4, brackets: false}, own.py]}"),
    TEXT.replace("{corpus: installed}", "{sources: {a: {corpus: p}}, clean: {length: {}}}"),
]
INVALID = [
    TEXT + "model: {architecture: mlp, position: learned}\n",
    TEXT + "model: {architecture: gpt, activation: quadratic}\n",
    TEXT + "model: {activation: quadratic}\n",
    TEXT + "model: {architecture: ml}\n",
    TEXT + "model: {positoin: learned}\n",
    TEXT + "model: {base_width: 32}\n",
    TEXT + "optim: {name: sgd, beta1: 0.9}\n",
    TEXT + "optim: {momentum: 0.9}\n",
    TEXT + "optim: {name: sgd, momentum: fast}\n",
    TEXT + "objective: {name: next_token, rate: 1}\n",
    TEXT + "objective: next_tokens\n",
    TEXT + "trackers: {wandb: {projekt: p}}\n",
    TEXT + "trackers: {wand: {project: p}}\n",
    TASK.replace("modular_addition}", "modular_addition, symbols: 7}"),
    TASK.replace("modular_addition}", "modular_addition, corpus: installed}"),
    TASK.replace("modular_addition}", "modular_addition, clean: [length]}"),
    TEXT.replace("installed}", "installed, clean: [lenght]}"),
    TEXT.replace("installed}", "installed, clean: [{name: length, brackets: false}]}"),
]


@pytest.mark.parametrize("text", VALID)
def test_valid_configs_match_the_schema(text):
    assert accepts(schema_of_configs(), read(text))


@pytest.mark.parametrize("text", INVALID)
def test_misspellings_and_keys_of_parts_not_chosen_are_refused(text):
    assert not accepts(schema_of_configs(), read(text))


def test_jsonschema_takes_the_schema():
    jsonschema = pytest.importorskip("jsonschema")
    jsonschema.Draft202012Validator.check_schema(schema_of_configs())


@pytest.mark.parametrize("text", [*VALID, *INVALID])
def test_jsonschema_agrees(text):
    jsonschema = pytest.importorskip("jsonschema")
    valid = jsonschema.Draft202012Validator(schema_of_configs()).is_valid(read(text))
    assert valid == accepts(schema_of_configs(), read(text))


def test_the_schema_describes_every_section():
    schema = schema_of_configs()
    json.dumps(schema)
    assert schema["additionalProperties"] is False
    assert set(schema["required"]) == {"name", "data", "grid"}
    assert set(schema["properties"]["variants"]["properties"]) == set(DEVICE_KINDS)
    entry = schema["$defs"]["GridEntry"]["properties"]
    assert {"sizes", "tokens", "tokens_per_param", "flops", "flops_ladder", "seeds"} <= set(entry)
    vocab = schema["$defs"]["DataSection"]["properties"]["vocab_size"]
    assert vocab["type"] == ["number", "string"] and vocab["minimum"] == 257
    assert schema["$defs"]["Limits"]["properties"]["time"]["type"] == ["number", "string", "null"]
    switch = schema["properties"]["early_stop"]
    assert switch["type"] == ["boolean", "number", "null"] and switch["exclusiveMinimum"] == 0
    (_, by_shape) = entry["sizes"]["oneOf"][0]["items"]["oneOf"]
    shapes = {shape["title"]: shape["properties"] for shape in by_shape["anyOf"]}
    assert shapes["gpt"]["n_layer"]["type"] == "integer" and "width" in shapes["mlp"]
