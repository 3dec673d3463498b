"""A sweep's folder named again: it is resumed, or refuses runs that do not belong there."""

from __future__ import annotations

import importlib.metadata
from pathlib import Path

import pytest

from scaling_law.cli.main import main
from scaling_law.config.written import config_yaml
from scaling_law.errors import ConfigError
from scaling_law.files import layout
from scaling_law.files.layout import SweepDir
from scaling_law.files.record import write_record
from scaling_law.plan.device_profile import save_profile
from scaling_law.plan.make import make_plan
from scaling_law.run import pins
from scaling_law.run.pinned import keep_plan
from scaling_law.run.request import Request, resumed
from scaling_law.run.session import run_sweep
from scaling_law.run.sweep_state.reader import SweepReader, sweep_status
from scaling_law.run.sweep_state.text import format_status, phase_text
from tests.fakes import cpu_profile, ladder_config, record_of


@pytest.fixture
def place(monkeypatch, tmp_path):
    """A finished ladder in results/mine, the config beside it, and a device as measured."""
    monkeypatch.setenv("SLAW_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    save_profile(cpu_profile(torch_version=importlib.metadata.version("torch")), "cpu")
    config = ladder_config()
    Path("mine.yaml").write_text(config_yaml(config))
    sweep = SweepDir(Path("results/mine"))
    plan = make_plan(config, cpu_profile(), train_tokens=None)
    for run in plan.runs:
        write_record(sweep.run(run.run_id), record_of(run.spec))
    keep_plan(plan, config, sweep)
    return sweep


def tree(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def request(*overrides: str) -> Request:
    return Request(config="mine.yaml", device="cpu", overrides=overrides, out="results/mine")


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("data.vocab_size=600", "data.vocab_size 600 here, 1024 there"),
        ("data.tokenizer=bytes", "data.tokenizer bytes here, bpe there"),
        ("data.corpus=synthetic", "data.corpus synthetic here, installed there"),
        ("data.max_bytes=1MB", "data.max_bytes 1000000 here, null there"),
        ("model.n_ctx=32", "model.n_ctx 32 here, 64 there"),
        ("optim.lr_mult=0.3", "optim.lr_mult 0.3 here, 1 there"),
        ("precision=bf16", "precision bf16 here, fp32 there"),
    ],
)
def test_another_recipe_is_refused_before_anything_is_written(place, override, said):
    before = tree(place.path)
    extra = ("data.vocab_size=257",) if "tokenizer" in override else ()
    with pytest.raises(ConfigError) as caught:
        run_sweep(request(override, *extra), lambda text: None)
    assert said in str(caught.value) and "--out" in str(caught.value)
    assert "results/mine: 40 finished runs of another recipe" in str(caught.value)
    assert tree(place.path) == before


class Reached(Exception):  # noqa: N818 - the end of what is tested
    pass


def reach(*arguments, **options):
    raise Reached


@pytest.mark.parametrize(
    "override",
    ["grid.0.flops_ladder.count=3", "grid.0.flops_ladder.count=5", "grid.0.seeds.nano55k=[0,7]"],
)
def test_another_grid_adds_runs(place, monkeypatch, override):
    monkeypatch.setattr(pins, "pinned_datasets", reach)
    with pytest.raises(Reached):
        run_sweep(request(override), lambda text: None)


def test_a_config_that_is_corrected_before_any_run_finished_is_accepted(place, monkeypatch):
    for run in place.run_dirs():
        run.record.unlink()
    monkeypatch.setattr(pins, "pinned_datasets", reach)
    with pytest.raises(Reached):
        run_sweep(request("data.vocab_size=600"), lambda text: None)


def test_the_status_counts_runs_of_earlier_plans(place):
    assert "also here" not in format_status(sweep_status(place))
    plan = make_plan(ladder_config(), cpu_profile(), train_tokens=None)
    config = ladder_config()
    for few, words in ((plan.runs[:5], "35 finished runs"), (plan.runs[:39], "1 finished run")):
        keep_plan(type(plan)(**{**vars(plan), "runs": few}), config, place)
        said = format_status(sweep_status(place))
        assert f"also here: {words} of earlier plans" in said


def test_a_sweep_of_diverged_runs_has_nothing_to_fit(tmp_path):
    sweep, config = SweepDir(tmp_path / "lost"), ladder_config()
    plan = make_plan(config, cpu_profile(), train_tokens=None)
    for run in plan.runs:
        write_record(sweep.run(run.run_id), record_of(run.spec, status="diverged"))
    keep_plan(plan, config, sweep)
    said = phase_text(SweepReader(sweep).read())
    assert said == "finished: every run diverged, so there is nothing to fit"


@pytest.mark.parametrize("folder", ["results/mine", "results"])
def test_a_folder_resumes_its_sweep(place, folder):
    resumed_request = resumed(Request(config=folder, overrides=("limits.time=3h",)))
    assert resumed_request == Request(
        config="results/mine/sweep.yaml",
        device="cpu",
        overrides=("limits.time=3h",),
        out="results/mine",
    )
    assert resumed(Request(config=folder, out="elsewhere")).out == "elsewhere"
    plain = Request(config="mine.yaml")
    assert resumed(plain) is plain


def test_the_command_takes_a_folder(place, capsys):
    assert main(["run", "results/mine", "--dry-run"]) == 0
    assert "sweep ladder (dry run: nothing is written)" in capsys.readouterr().out
    assert main(["run", "results/mine", "--verify", "nano-x"]) == 2
    assert "results/mine" in capsys.readouterr().err


def test_a_folder_that_cannot_be_resumed_is_refused(place, capsys):
    Path("empty").mkdir()
    words = ["run", "results/mine", "--adaptive", "--target", "1e8", "--flops", "1e13"]
    for line, said in (
        (["run", "empty"], "holds no run records"),
        ([*words, "--width", "1"], "--adaptive takes the config (YAML file) that it starts from"),
    ):
        assert main(line) == 2
        assert said in capsys.readouterr().err
    place.config.write_text(place.config.read_text() + "# mine\n")
    with pytest.raises(ConfigError, match=r"damaged.*give the config.*--out results/mine"):
        resumed(Request(config="results/mine"))
    layout.write_json(place.adaptive, {})
    with pytest.raises(ConfigError, match="started with --adaptive; run the command"):
        resumed(Request(config="results/mine"))


def test_a_folder_without_a_sweep_is_no_error(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for _ in range(2):
        assert main(["status"]) == 0
        assert (
            capsys.readouterr().out == "results: no sweep yet; `slaw run --mode quick` starts one\n"
        )
        assert main(["status", "--json"]) == 0
        assert capsys.readouterr().out == "[]\n"
        Path("results").mkdir(exist_ok=True)
    assert main(["status", "results/quikc"]) == 2
    assert "no such folder" in capsys.readouterr().err
