"""Read a ``RunSpec`` from its JSON."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from scaling_law.decode import build, build_shared
from scaling_law.errors import quoted
from scaling_law.spec.component import component_from_json
from scaling_law.spec.data import DataSpec, SourceSpec, TaskSpec
from scaling_law.spec.mix import mix_from_json
from scaling_law.spec.model import Model, ModelSpec, OtherModel
from scaling_law.spec.optim import OptimSpec, RuleOverrides
from scaling_law.spec.parallel import Parallel
from scaling_law.spec.run import EarlyStop, EvalSpec, RunSpec, SpikeSpec
from scaling_law.spec.schedule import ScheduleSpec
from scaling_law.spec.start import Branch, Growth, StartFrom
from scaling_law.spec.trainer import TrainerSpec
from scaling_law.versions import SPEC


def run_spec_from_json(data: dict[str, Any]) -> RunSpec:
    """Build a ``RunSpec`` from its JSON.

    Raises ``ValueError``, ``TypeError``, ``KeyError`` or ``AttributeError``.
    """
    fields = dict(data)
    SPEC.check(fields.pop("schema_version", 1))
    fields["model"] = model_from_json(fields["model"])
    fields["data"] = _data_from_json(fields["data"])
    fields["schedule"] = build_shared(
        ScheduleSpec, _with_components(fields["schedule"], "shape_part", "cooldown_part")
    )
    fields["optim"] = build_shared(OptimSpec, fields["optim"], _optim_from_json)
    fields["eval"] = build_shared(EvalSpec, fields["eval"])
    fields["branch"] = build(Branch, fields["branch"]) if fields.get("branch") else None
    if stop := fields.get("early_stop"):
        siblings = tuple(stop["siblings"])
        fields["early_stop"] = build(EarlyStop, {**stop, "siblings": siblings})
    if growth := fields.get("growth"):
        model = model_from_json(growth["model"])
        fields["growth"] = build(Growth, {**growth, "model": model})
    if spikes := fields.get("spikes"):
        fields["spikes"] = build(SpikeSpec, spikes)
    for key in ("start_from", "reference"):
        if start := fields.get(key):
            fields[key] = build(StartFrom, start)
    if "objective" in fields:
        fields["objective"] = component_from_json(fields["objective"])
    if "number_format" in fields:
        fields["number_format"] = component_from_json(fields["number_format"])
    if "probes" in fields:
        fields["probes"] = tuple(component_from_json(probe) for probe in fields["probes"])
    if trainer := fields.get("trainer"):
        fields["trainer"] = build(TrainerSpec, trainer)
    if "mix" in fields:
        fields["mix"] = mix_from_json(fields["mix"])
    if "parallel" in fields:
        fields["parallel"] = build(Parallel, fields["parallel"])
    fields["tags"] = tuple((str(k), str(v)) for k, v in fields.get("tags", ()))
    return build(RunSpec, fields)


def _data_from_json(data: dict[str, Any]) -> DataSpec | TaskSpec:
    if "source" in data:
        return build(TaskSpec, _with_components(data, "source"))
    return build_shared(DataSpec, data, _text_from_json)


def _text_from_json(data: Any) -> DataSpec:
    fields = {**_with_components(data, "corpus_part"), "domains": tuple(data["domains"])}
    if "clean" in fields:
        fields["clean"] = tuple(map(component_from_json, fields["clean"]))
    if "sources" in fields:
        fields["sources"] = tuple(map(_source_from_json, fields["sources"]))
    return build(DataSpec, fields)


def _source_from_json(data: Any) -> SourceSpec:
    fields = _with_components(data, "corpus_part")
    return build(SourceSpec, {**fields, "domains": tuple(data["domains"])})


def model_from_json(data: Any) -> Model:
    """The inverse of ``to_json`` of a model."""
    if not isinstance(data, Mapping) or not data.keys() & {"architecture", "parametrisation"}:
        return build_shared(ModelSpec, data)
    fields = _with_components(data, "architecture", "parametrisation")
    if "architecture" not in fields:
        return build(ModelSpec, fields)
    shape = fields.get("shape")
    if not isinstance(shape, Mapping):
        raise ValueError(f"shape is {quoted(shape)}, expected keys and values")
    return build(OtherModel, {**fields, "shape": tuple(sorted(shape.items()))})


def _with_components(data: Mapping[str, Any], *names: str) -> dict[str, Any]:
    """The fields of a spec's part, those of ``names`` that are there as components."""
    made = {name: component_from_json(data[name]) for name in names if name in data}
    return {**data, **made}


_WHOLE_OVERRIDES = frozenset(("batch_tokens", "warmup_tokens"))


def _optim_from_json(data: Any) -> OptimSpec:
    """Build an ``OptimSpec`` from its JSON: the only place that parses a rule's text."""
    if not isinstance(data, dict) or not isinstance(data.get("rule"), str):
        return build(OptimSpec, data)  # which says what is wrong
    if "overrides" in data:
        raise ValueError("unknown key 'overrides'")
    text = data["rule"]
    words = text.split(" ")
    name = " ".join(word for word in words if "=" not in word)
    try:
        values = (word.split("=", 1) for word in words if "=" in word)
        overrides = build(
            RuleOverrides,
            {key: (int if key in _WHOLE_OVERRIDES else float)(value) for key, value in values},
        )
    except ValueError as problem:
        raise ValueError(f"rule is {quoted(text)}: {problem}") from None
    if "optimizer" in data:  # what is absent is None, not AdamW's default
        data = {**dict.fromkeys(("beta1", "beta2", "eps")), **data}
    data = _with_components(data, "optimizer", "rule_part")
    optim = build(OptimSpec, {**data, "rule": name, "overrides": overrides})
    if optim.rule_text != text:
        raise ValueError(f"rule is {quoted(text)}, expected {quoted(optim.rule_text)}")
    return optim
