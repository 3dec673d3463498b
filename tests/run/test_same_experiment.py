"""What is the same experiment, and files that lie in the folder of another run."""

from __future__ import annotations

import importlib.metadata
import shutil
from pathlib import Path
from typing import Any

import pytest

from scaling_law.cli.main import main
from scaling_law.config.load import load_config
from scaling_law.errors import ConfigError, RunFailed
from scaling_law.files import checksum
from scaling_law.files.layout import SweepDir
from scaling_law.files.record import load_records, read_curve, specs_of
from scaling_law.plan.device_profile import save_profile
from scaling_law.run import session, worker
from scaling_law.run.pins import read_pins
from scaling_law.run.request import Request, config_of
from scaling_law.run.runner import Runner
from scaling_law.run.text import opening
from scaling_law.spec.data import DataSpec
from scaling_law.spec.recipe import recipes
from scaling_law.train import checkpoint
from tests.fakes import cpu_profile
from tests.faults.world import CONFIG, Sweep, begin_sweep, results, write_text
from tests.inline_engine import InlineExecutor


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLAW_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a config and, beside it, its text; the shell is somewhere else."""
    folder = tmp_path / "home"
    write_text(folder / "t")
    (folder / "c.yaml").write_text(CONFIG.format(text="t", more=""))
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    return folder


def agreed(config: Path | str, sweep: SweepDir, *overrides: str) -> tuple[Any, Any, list[str]]:
    """Data and plan of ``slaw run CONFIG --out SWEEP``, and what it says."""
    said: list[str] = []
    request = Request(config=str(config), device="cpu", out=str(sweep.path), overrides=overrides)
    chosen = config_of(request, "cpu")
    datasets, plan = session._prepared(chosen, cpu_profile(), sweep, said.append)
    return datasets, plan, said


def trained(config: Path | str, sweep: SweepDir, *overrides: str) -> list[str]:
    """Train it in this process; returns what it said."""
    _, plan, said = agreed(config, sweep, *overrides)
    assert Runner(plan, sweep, InlineExecutor(sweep)).run().exit_code == 0
    return said


def test_a_relative_corpus_is_found_beside_its_config_and_pinned_by_its_path(home, tmp_path):
    sweep = SweepDir(tmp_path / "out")
    datasets, plan, _ = agreed(home / "c.yaml", sweep)
    assert {run.spec.data.corpus for run in plan.runs} == {"t"}, "spelled as the config spells it"
    (pin,) = read_pins(sweep, "")
    assert pin["places"] == {"t": str(home / "t")}
    (dataset,) = datasets.values()
    assert pin["fingerprint"] == dataset.fingerprint
    shutil.rmtree(tmp_path / "cache")
    again, same, _ = agreed(sweep.config, sweep)
    assert [run.run_id for run in same.runs] == [run.run_id for run in plan.runs]
    assert [data.fingerprint for data in again.values()] == [dataset.fingerprint]


def test_a_corpus_named_on_the_command_line_is_relative_to_the_shells_folder(home, tmp_path):
    write_text(tmp_path / "elsewhere" / "t")
    config = load_config(home / "c.yaml", device_kind="cpu")
    assert dict(config.places) == {"t": str(home / "t")}
    config = load_config(home / "c.yaml", overrides=["data.corpus=t"], device_kind="cpu")
    assert dict(config.places) == {"t": str(tmp_path / "elsewhere" / "t")}


def test_each_source_of_a_mixture_is_found_beside_its_config_and_pinned(home, tmp_path):
    for path in (write_text(home / "u")).iterdir():
        path.write_text(f"{path.read_text()} u")
    sources = "sources: {one: {corpus: t}, two: {corpus: u}}, mix: {one: 1}"
    mixed = CONFIG.replace("corpus: {text}", sources.replace("{", "{{").replace("}", "}}"))
    (home / "m.yaml").write_text(mixed.format(more=""))
    sweep = SweepDir(tmp_path / "out")
    _, plan, _ = agreed(home / "m.yaml", sweep)
    (pin,) = read_pins(sweep, "")
    assert pin["places"] == {"t": str(home / "t"), "u": str(home / "u")}
    shutil.rmtree(tmp_path / "cache")
    _, same, _ = agreed(sweep.config, sweep)
    assert [run.run_id for run in same.runs] == [run.run_id for run in plan.runs]
    with pytest.raises(ConfigError, match=r"unique_tokens cuts the training text as a whole, and"):
        agreed(home / "m.yaml", sweep, "data.unique_tokens=1000")


def test_the_same_text_at_another_path_is_the_same_experiment(home, tmp_path):
    sweep = SweepDir(tmp_path / "out")
    trained(home / "c.yaml", sweep)
    before = results(sweep)
    (home / "t").rename(home / "t2")
    (home / "c2.yaml").write_text(CONFIG.format(text="t2", more=""))
    said = trained(home / "c2.yaml", sweep)
    assert any("began with as t" in line for line in said)
    assert results(sweep) == before
    (home / "t2" / "0.txt").write_text("something else")
    with pytest.raises(ConfigError, match=r"another recipe.*data\.corpus t2 here, t there"):
        agreed(home / "c2.yaml", sweep)


def test_one_text_under_two_names_is_one_recipe(home, tmp_path):
    shutil.copytree(home / "t", home / "u")
    (home / "u.yaml").write_text(CONFIG.format(text="u", more=""))
    records = []
    for name in ("c", "u"):
        sweep = SweepDir(tmp_path / name)
        trained(home / f"{name}.yaml", sweep)
        records += load_records(sweep)
    assert {record.spec.data.name for record in records} == {"t", "u"}
    assert {spec.data.name for spec in specs_of(records)} == {"t"}


@pytest.fixture
def mixture(home: Path) -> Any:
    """Writes a config with the mixture of two folders of text; returns its path."""
    write_text(home / "u")
    for path in (home / "u").iterdir():
        path.write_text(f"{path.read_text()} u")

    def written(name: str, one: str, two: str) -> Path:
        sources = f"sources: {{one: {{corpus: {one}}}, two: {{corpus: {two}}}}}"
        config = CONFIG.replace("corpus: {text}", "MIX").format(more="")
        mix = f"{sources}, mix: {{one: .5, two: .5}}"
        (home / name).write_text(config.replace("MIX", mix))
        return home / name

    return written


def test_a_mixture_of_the_same_texts_at_other_paths_is_the_same_experiment(home, mixture, tmp_path):
    sweep = SweepDir(tmp_path / "out")
    trained(mixture("m.yaml", "t", "u"), sweep)
    before = results(sweep)
    for name in ("t", "u"):
        (home / name).rename(home / f"{name}2")
    said = trained(mixture("m2.yaml", "t2", "u2"), sweep)
    assert any(
        "data.sources.one.corpus t2 and data.sources.two.corpus u2 are the text" in line
        and "began with as t and u;" in line
        for line in said
    )
    assert results(sweep) == before
    with pytest.raises(ConfigError, match=r"another recipe.*data\.sources one=u2 two=t2 here"):
        agreed(mixture("m3.yaml", "u2", "t2"), sweep)
    other = SweepDir(tmp_path / "other")
    trained(mixture("m2.yaml", "t2", "u2"), other)
    swapped = SweepDir(tmp_path / "swapped")
    trained(mixture("m3.yaml", "u2", "t2"), swapped)
    records = [load_records(one)[-1] for one in (sweep, other, swapped)]
    same, moved, exchanged = (recipe["data.sources"] for recipe in recipes(specs_of(records)))
    assert same == moved != exchanged


def test_documents_that_moved_between_the_components_of_a_mixture_are_noticed(
    home, mixture, tmp_path
):
    sweep = SweepDir(tmp_path / "out")
    config = mixture("m.yaml", "t", "u")
    agreed(config, sweep)
    moved = next((home / "t").iterdir())
    moved.rename(home / "u" / "moved.txt")
    shutil.rmtree(tmp_path / "cache")
    with pytest.raises(ConfigError, match="moved between the components of its mixture"):
        agreed(config, sweep)
    (home / "u" / "moved.txt").rename(moved)
    agreed(config, sweep)


def test_a_finished_sweep_needs_no_text(home, tmp_path):
    sweep = SweepDir(tmp_path / "out")
    trained(home / "c.yaml", sweep)
    shutil.rmtree(home / "t")
    shutil.rmtree(tmp_path / "cache")
    datasets, plan, _ = agreed(sweep.config, sweep)
    assert datasets == {}
    config = config_of(Request(config=str(sweep.config), out=str(sweep.path)), "cpu")
    said = opening(config, plan, datasets, sweep)
    assert "data: not read; every run has finished" in said
    sweep.run(plan.runs[0].run_id).record.unlink()
    with pytest.raises(ConfigError, match="neither a corpus"):
        agreed(sweep.config, sweep)


def test_a_damaged_data_file_of_a_finished_sweep_is_written_again(home, tmp_path):
    sweep = SweepDir(tmp_path / "out")
    trained(home / "c.yaml", sweep)
    (pin,) = read_pins(sweep, "")
    sweep.data.write_text("{")
    datasets, _, said = agreed(home / "c.yaml", sweep)
    assert datasets == {} and any("data.json" in line for line in said)
    assert [one["fingerprint"] for one in read_pins(sweep, "")] == [pin["fingerprint"]]


def test_a_batch_at_twice_the_trained_one_is_another_recipe(home, tmp_path):
    sweep = SweepDir(tmp_path / "out")
    by_rule = CONFIG.replace("batch_tokens: 32", "lr_mult: 1").format(text="t", more="")
    (home / "c.yaml").write_text(by_rule.replace("lr: 0.01, ", ""))
    trained(home / "c.yaml", sweep)
    (batch,) = {record.spec.batch_tokens for record in load_records(sweep)}
    with pytest.raises(ConfigError, match=rf"optim\.batch_tokens {2 * batch} here, by rule there"):
        agreed(home / "c.yaml", sweep, f"optim.batch_tokens={2 * batch}")


def test_caps_on_training_tokens_share_text_tokenizer_and_validation(home, tmp_path):
    sweep = SweepDir(tmp_path / "out")
    axes = "axes: {data.unique_tokens: [1000, 2000]}"
    (home / "c.yaml").write_text(CONFIG.format(text="t", more=axes))
    trained(home / "c.yaml", sweep)
    records = load_records(sweep)
    assert len({record.corpus_fingerprint for record in records}) == 1
    assert {pin["folder"] for pin in read_pins(sweep, "")} == {read_pins(sweep, "")[0]["folder"]}
    seen = [
        (record.spec.data.unique_tokens, record.tokens_unique)
        for record in records
        if isinstance(record.spec.data, DataSpec)
    ]
    assert {cap: max(n for c, n in seen if c == cap) for cap, _ in seen} == {1000: 992, 2000: 1984}
    with pytest.raises(ConfigError, match=r"unique_tokens: 1,000,000,000, and the training text"):
        agreed(home / "c.yaml", SweepDir(tmp_path / "other"), "axes={}", "data.unique_tokens=1B")


@pytest.fixture
def sweep(tmp_path: Path) -> Sweep:
    """A trained sweep of a trunk and two branches."""
    begun = begin_sweep(tmp_path / "sweep", write_text(tmp_path / "text"))
    assert begun.run().exit_code == 0
    return begun


@pytest.mark.parametrize("command", ["status", "fit", "report", "export", "run"])
def test_a_record_of_another_run_is_refused_by_name(sweep, command, capsys):
    save_profile(cpu_profile(torch_version=importlib.metadata.version("torch")), "cpu")
    one, other = sweep.branches
    shutil.copyfile(one.record, other.record)
    folder = str(other.path if command == "export" else sweep.dir.path)
    words = {"export": ["--out", str(sweep.dir.path / "e")], "run": ["--device", "cpu"]}
    assert main([command, folder, *words.get(command, [])]) == 2
    said = capsys.readouterr().err
    assert f"{other.record}: not this run's record (it is of the run {one.run_id!r}" in said


def test_a_curve_of_another_run_is_refused_and_one_that_names_none_is_read(sweep):
    one, other = sweep.branches
    points = read_curve(one)
    lines = [checksum.open_line(line) for line in one.curve.read_text().splitlines()]
    one.curve.write_text("".join(checksum.line(_without(line, "run_id")) for line in lines))
    assert read_curve(one) == points, "as older files have it"
    shutil.copyfile(other.curve, one.curve)
    with pytest.raises(ConfigError, match=f"not this run's .it is of the run '{other.run_id}'"):
        read_curve(one)


def _without(content: dict[str, Any], key: str) -> dict[str, Any]:
    return {name: value for name, value in content.items() if name != key}


def test_resources_of_another_run_are_refused_and_those_that_name_none_are_read(sweep):
    one, other = sweep.branches
    known = worker._resources_of(one)
    checksum.write(one.resources, _without(checksum.read(one.resources, ""), "run_id"))
    assert worker._resources_of(one) == known, "as older files have it"
    shutil.copyfile(other.resources, one.resources)
    with pytest.raises(ConfigError, match="it is of the run"):
        worker._resources_of(one)


def test_a_branch_does_not_start_from_the_state_of_another_run(sweep):
    branch = sweep.branches[0]
    for file in (branch.record, sweep.trunk.record):
        file.unlink()
    (at_step,) = {r.spec.branch.at_step for r in sweep.plan.runs if r.run_id == branch.run_id}
    state = {"model": {}, "step": at_step, "run_id": "nobody"}
    foreign = checkpoint._write(sweep.trunk.checkpoint(at_step), state, lambda: None)
    with pytest.raises(checkpoint.DamagedCheckpoint, match="of the run 'nobody', not of"):
        checkpoint.load_checkpoint(foreign, sweep.trunk.run_id)
    before = {run_id: record for run_id, (record, _) in results(sweep.dir).items()}
    assert sweep.run().exit_code == 0
    after = {run_id: record for run_id, (record, _) in results(sweep.dir).items()}
    assert all(after[run_id] == record for run_id, record in before.items())
    assert branch.record.is_file(), "trained again, from a state that the trunk wrote again"


def test_moving_a_folder_stops_its_run_and_the_old_folder_is_not_made_again(tmp_path):
    begun = begin_sweep(tmp_path / "sweep", write_text(tmp_path / "text"))
    moved = tmp_path / "moved"

    def move(run_dir: Any) -> None:
        if not moved.exists():
            begun.dir.path.rename(moved)

    with pytest.raises(RunFailed, match="moved or removed while its runs trained"):
        begun.run(InlineExecutor(begun.dir, move))
    assert not begun.dir.path.exists()
    begun.dir = SweepDir(moved)
    assert begun.run().exit_code == 0
