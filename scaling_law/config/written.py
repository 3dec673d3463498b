"""Write a config with every key as YAML, which reads back as equal, and take its hash."""

from __future__ import annotations

import dataclasses
import hashlib
from typing import Any

import yaml

from scaling_law.config import strict_yaml
from scaling_law.config.schema import SweepFile
from scaling_law.config.sweep_config import SweepConfig
from scaling_law.config.written_parts import with_parts
from scaling_law.files import checksum
from scaling_law.files.layout import SweepDir
from scaling_law.spec.to_json import to_json

CONFIG_KEY = "config_sha256"


def config_yaml(config: SweepConfig) -> str:
    """The config as YAML with every key written, its variant applied; reads back as equal."""
    body = yaml.dump(
        _without_none(written(config)),
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


def written(config: SweepConfig) -> dict[str, Any]:
    """Every key of a config as plain values."""
    values = {f.name: to_json(getattr(config, f.name)) for f in dataclasses.fields(SweepFile)}
    if config.limits.memory is not None:
        values["limits"]["memory"] = f"{config.limits.memory}B"  # a bare number is in GB
    axes_of = (config.axes, *(entry.axes for entry in config.grid))
    varied = {key for one in axes_of for key in one or ()}
    return with_parts(values, config.choices, varied)


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
