"""Files of every version are read, or refused with their version.

``tests/samples/NAME-VERSION`` is one small file of each, written by the slaw of its time.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
import shutil
import typing
from pathlib import Path
from typing import Any

import pytest

from scaling_law import versions
from scaling_law.data.text import open_dataset
from scaling_law.errors import ConfigError, PlanError, SlawError
from scaling_law.files import checksum, layout
from scaling_law.files.layout import RunDir
from scaling_law.files.record import (
    CurvePoint,
    RunRecord,
    read_curve,
    read_record,
    record_from_json,
)
from scaling_law.fit.laws import Law
from scaling_law.fit.laws.law import Floats
from scaling_law.fit.result import FitResult
from scaling_law.fit.session import known_laws
from scaling_law.fit.split import Split
from scaling_law.fit.worlds import Worlds
from scaling_law.forecast.registered import RegisteredForecast, read_registered
from scaling_law.plan.device_profile import DeviceProfile, load_profile, profile_path
from scaling_law.plan.plan import Plan, read_plan
from scaling_law.spec.from_json import run_spec_from_json
from scaling_law.spec.resources import Resources, resources_from_json
from scaling_law.spec.run import RunSpec
from scaling_law.train import checkpoint
from scaling_law.versions import FileSchema, NewerVersion

SAMPLES = Path(__file__).parent / "samples"
SCHEMAS = [value for value in vars(versions).values() if isinstance(value, FileSchema)]

# What each version is made of. A number here may change only with the version before it: give
# ``scaling_law/versions.py`` a new one, add its sample, then freeze it here. (A version that no
# release has carried yet may take the new number as it is. So may a field that no file spells on
# its own: ``OptimSpec.overrides`` is words of ``rule`` there.)
FROZEN = {
    "run record": (2, "da1782b96e58"),
    "run spec": (2, "9d9593304a9f"),
    "resources file": (2, "39181a8ea594"),
    "plan": (3, "04dc13d22695"),
    "fit": (5, "eb0d8098cb8c"),
    "device profile": (2, "199f3f2b73b2"),
    "registered forecast": (1, "723301e418fc"),
}
MADE_OF: dict[str, tuple[type, ...]] = {
    "run record": (RunRecord, CurvePoint),
    "run spec": (RunSpec,),
    "resources file": (Resources,),
    "plan": (Plan,),
    "fit": (FitResult, Worlds),
    "device profile": (DeviceProfile,),
    "registered forecast": (RegisteredForecast,),
}


# What a fit's JSON holds in place of objects: the law's name, the split's figures, lists.
IN_JSON: dict[Any, Any] = {Law: str, Split | None: dict[str, float], Floats: list[float]}


def fields_of(kind: Any, seen: list[str]) -> None:
    """Names and types of a dataclass's fields, and of those within, as JSON holds them."""
    if dataclasses.is_dataclass(kind) and isinstance(kind, type):
        hints = typing.get_type_hints(kind, localns={"Law": Law})
        hints = {name: IN_JSON.get(hint, hint) for name, hint in hints.items()}
        for field in dataclasses.fields(kind):
            # a class may move to another module: its file says the same
            hint = re.sub(r"scaling_law\.[\w.]*\.", "", str(hints[field.name]))
            seen.append(f"{kind.__name__}.{field.name}: {hint}")
            fields_of(hints[field.name], seen)
    for part in typing.get_args(kind):
        fields_of(part, seen)


@pytest.mark.parametrize("name", FROZEN)
def test_a_files_fields_change_only_with_its_version(name):
    seen: list[str] = []
    for kind in MADE_OF[name]:
        fields_of(kind, seen)
    listed = "\n".join(sorted(set(seen)))
    schema = next(schema for schema in SCHEMAS if schema.name == name)
    now = (schema.current, hashlib.sha256(listed.encode()).hexdigest()[:12])
    assert now == FROZEN[name], f"{name}: the version, a sample, and this table; fields:\n{listed}"


def test_a_checkpoint_and_a_dataset_have_the_keys_of_their_version():
    state = checkpoint.load_checkpoint(SAMPLES / "checkpoint-2.pt")
    # loop.save writes exactly these; a new one needs a new number in its magic word
    assert sorted(state) == [
        "corpus_fingerprint", "curve", "last_norm", "loss_count", "loss_sum", "model", "optimizer",
        "scaler", "seconds", "step",
    ]  # fmt: skip
    assert (versions.CHECKPOINT.current, versions.DATASET.current) == (2, 1)
    meta = layout.read_json(SAMPLES / "dataset-1" / "meta.json")
    assert sorted(meta) == [
        "corpus", "duplicates_dropped", "fingerprint", "licence", "notes", "schema_version",
        "spec", "splits", "tokenizer_file", "versions",
    ]  # fmt: skip


@pytest.mark.parametrize("schema", SCHEMAS, ids=lambda schema: schema.name)
def test_only_known_version_numbers_are_read(schema):
    for version in range(schema.oldest, schema.current + 1):
        assert schema.check(version) == version
    for bad in (None, 0, -1, "1", 1.0, True, [1]):
        with pytest.raises(ValueError, match="expected") as problem:
            schema.check(bad)
        assert not isinstance(problem.value, NewerVersion)
    with pytest.raises(NewerVersion, match=r"made by a later slaw.*upgrade"):
        schema.check(schema.current + 1)


RECORDS = {
    1: ("nano14k-seed0-h408K-07e2441856", 4.469288053456694, 408064, False),
    2: ("sample-c899a95739", 5.820868619283041, 384, True),
}


@pytest.mark.parametrize("version", RECORDS)
def test_records_of_every_version_are_read_exactly(version):
    record = record_from_json(layout.read_json(SAMPLES / f"record-{version}.json"))
    run_id, loss, tokens, stacked = RECORDS[version]
    assert (record.run_id, record.spec.run_id, record.schema_version) == (run_id, run_id, version)
    assert (record.val_loss_nats, record.tokens, record.stacked) == (loss, tokens, stacked)
    assert curve_of(version)[-1].val_loss_nats == loss
    spec = run_spec_from_json(layout.read_json(SAMPLES / f"spec-{version}.json"))
    assert spec.run_id == run_id


def curve_of(version: int) -> list[CurvePoint]:
    class Here(RunDir):
        @property
        def curve(self) -> Path:
            return SAMPLES / f"curve-{version}.jsonl"

    return read_curve(Here(SAMPLES))


def test_a_version_1_record_with_stacked_is_read():
    data = layout.read_json(SAMPLES / "record-1.json")
    assert record_from_json({**data, "stacked": True}).stacked


@pytest.mark.parametrize(
    ("version", "expected"),
    [
        (1, Resources(save_steps=(638, 1274, 2549, 5098))),
        (2, Resources(stack="s", save_steps=(8,), keep_weights=True)),
    ],
)
def test_resources_of_every_version_are_read(version, expected):
    data = checksum.read(SAMPLES / f"resources-{version}.json", "")
    assert resources_from_json(data) == expected


@pytest.mark.parametrize(
    ("version", "name", "flops", "kept"),
    [
        (1, "quick", 719363506176, [False, False]),
        (2, "road", 251328000, [False, True]),
        (3, "road", 251328000, [False, True]),
    ],
)
def test_plans_of_every_version_are_read(version, name, flops, kept):
    plan = read_plan(SAMPLES / f"plan-{version}.json")
    assert (plan.name, [run.resources.keep_weights for run in plan.runs]) == (name, kept)
    assert plan.flops_total == flops


def test_registered_forecasts_of_every_version_are_read():
    forecast = read_registered(SAMPLES / "forecast-1.json")
    (target,) = forecast.targets
    assert (forecast.name, forecast.level, target.loss) == ("forecast-1", 0.9, 5.5)
    assert forecast.example_record is not None and forecast.example_record.run_id in forecast.runs


def test_checkpoints_and_datasets_of_every_version_are_read():
    assert checkpoint.load_checkpoint(SAMPLES / "checkpoint-2.pt")["curve"]
    state = checkpoint.load_checkpoint(SAMPLES / "checkpoint-1.pt")
    assert (state["step"], state["loss_count"]) == (8, 1)
    total = float(state["model"]["head.weight"].double().sum())
    assert total == pytest.approx(HEAD_SUM, abs=1e-9)
    assert set(checkpoint.load_checkpoint(SAMPLES / "weights-1.pt")) == {"model", "tokenizer"}
    data = open_dataset(SAMPLES / "dataset-1")
    assert (data.fingerprint, data.n_tokens("train"), data.vocab_size) == (
        "f087b3244d0148c1", 2413, 257,
    )  # fmt: skip
    data.check()


HEAD_SUM = -16.815286793280393


def test_device_profiles_are_read_or_measured_again(tmp_path, monkeypatch):
    monkeypatch.setenv("SLAW_CACHE", str(tmp_path))
    path = profile_path("cpu")
    path.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(SAMPLES / "profile-1.json", path)
    assert load_profile("cpu") is None
    shutil.copy(SAMPLES / "profile-2.json", path)
    profile = load_profile("cpu")
    assert profile is not None and profile.slots == 2
    layout.write_json(path, {**layout.read_json(path), "schema_version": 3})
    assert load_profile("cpu") is None


def later(source: Path, to: Path) -> Path:
    data = checksum.read(source, "")
    layout.write_json(to, {**data, "schema_version": 99, "unheard_of": 1})
    return to


def test_files_of_a_newer_slaw_are_refused_by_version(tmp_path):
    said: list[SlawError] = []
    for source, read in (
        ("record-2.json", read_record),
        ("plan-3.json", read_plan),
    ):
        with pytest.raises((ConfigError, PlanError)) as problem:
            read(later(SAMPLES / source, tmp_path / source))
        said.append(problem.value)
    folder = tmp_path / "data"
    shutil.copytree(SAMPLES / "dataset-1", folder)
    later(SAMPLES / "dataset-1" / "meta.json", folder / "meta.json")
    with pytest.raises(ConfigError) as problem:
        open_dataset(folder)
    said.append(problem.value)
    content = (SAMPLES / "checkpoint-1.pt").read_bytes()
    run_dir = RunDir(tmp_path / "run")
    run_dir.checkpoints.mkdir(parents=True)
    run_dir.checkpoint(8).write_bytes(content.replace(b"SLAWCKPT1", b"SLAWCKPT9", 1))
    with pytest.raises(ConfigError) as problem:  # not skipped: that would lose the training
        checkpoint.newest_valid(run_dir, pytest.fail)
    said.append(problem.value)
    fit = tmp_path / "kept" / "fits" / "fit.json"
    layout.write_json(fit, {"schema_version": 99})
    with pytest.raises(ConfigError) as problem:
        known_laws(tmp_path / "kept")
    said.append(problem.value)
    for error in said:
        assert str(tmp_path) in str(error)
        assert "made by a later slaw" in str(error) and "upgrade slaw" in str(error)
        assert "delete" not in str(error) and len(error.lines) == 1
    data = json.loads((SAMPLES / "spec-2.json").read_text())
    for parse in (run_spec_from_json, resources_from_json):
        with pytest.raises(NewerVersion):
            parse({**data, "schema_version": 99})


def test_an_older_fit_is_not_misread(tmp_path):
    fit = tmp_path / "kept" / "fits" / "fit.json"
    for version in (1, 2, 3):
        layout.write_json(fit, {"schema_version": version, "laws": {}})
        with pytest.raises(ConfigError, match=f"schema_version {version}, expected 4"):
            known_laws(tmp_path / "kept")


def test_every_saved_file_schema_has_samples():
    there = {path.name.partition(".")[0] for path in SAMPLES.iterdir()}
    for name, schema in (
        ("record", versions.RECORD), ("spec", versions.SPEC), ("resources", versions.RESOURCES),
        ("plan", versions.PLAN), ("checkpoint", versions.CHECKPOINT),
        ("dataset", versions.DATASET), ("profile", versions.PROFILE),
    ):  # fmt: skip
        wanted = {f"{name}-{version}" for version in range(1, schema.current + 1)}
        assert wanted <= there, f"add a sample: {sorted(wanted - there)}"
