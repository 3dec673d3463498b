"""Stages: the records of earlier runs decide later ones, which may start from their weights."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from scaling_law.cli.main import main
from scaling_law.errors import EXIT_OK, EXIT_USAGE
from scaling_law.files.layout import SweepDir
from scaling_law.files.record import RunRecord, load_records
from scaling_law.plan.device_profile import save_profile
from scaling_law.run.planning import inputs
from scaling_law.run.request import Request
from scaling_law.run.samples import with_samples
from scaling_law.run.stages import changes_text
from tests.fakes import cpu_profile, write_text

ENGINE = Path(__file__).parents[1] / "inline_engine.py"
CONFIG = """
name: staged
experiment: {name: EXPERIMENT, within: 10}
data: {corpus: text, tokenizer: bytes, vocab_size: 257, val_fraction: 0.2, max_epochs: 50}
model: {n_ctx: 16}
grid:
  - {sizes: [{n_layer: 1, d_model: 8, n_head: 2}], tokens: [1280]}
optim: {rule: slaw_small, lr: 1e-4, batch_tokens: 32, warmup_tokens: 64}
eval: {val_tokens: 512, curve_tokens: 256, curve_points: 2}
precision: fp32
engine: inline_engine.py
"""
CONTRACT = """
from dataclasses import dataclass
from scaling_law.experiment import Experiment, Outcome, Planted
from scaling_law.experiment.findings import Findings

@dataclass(frozen=True, kw_only=True)
class Settings:
    within: float = 2.0

def analyse(evidence):
    losses = {run.spec.optim.lr: run.record.val_loss_nats for run in evidence.ended}
    best = min(losses, key=losses.get) if losses else None
    return Findings(verdict=f"the best learning rate is {best}", measures={"best_lr": best})
"""
# the end with the lower loss closes in, until both are within a factor
BISECTION = f"""{CONTRACT}
def propose(evidence):
    losses = {{run.spec.optim.lr: run.record.val_loss_nats for run in evidence.ended}}
    if len(losses) < 2:
        return {{"optim.lr": 0.1}}
    low, high = sorted(sorted(losses, key=losses.get)[:2])
    if high / low <= evidence.settings.within:
        return None
    return {{"optim.lr": float(f"{{(low * high) ** 0.5:.3g}}")}}

EXPERIMENT = Experiment(
    question="Which learning rate is best?", analyse=analyse, propose=propose, settings=Settings,
    planted=Planted(outcome=lambda spec: Outcome(), measures={{}}),
)
"""
FINE_TUNING = f"""{CONTRACT}
def propose(evidence):
    if evidence.stage == 2:
        return None
    (first,) = evidence.ended
    size = {{"n_layer": 1, "d_model": 8, "n_head": 2}}
    start = {{"run": first.record.run_id}}
    return {{"grid": [{{"sizes": [size], "tokens": [640], "start_from": start}}], "optim.lr": 0.01}}

EXPERIMENT = Experiment(
    question="Does training go on?", analyse=analyse, propose=propose, settings=Settings,
    planted=Planted(outcome=lambda spec: Outcome(), measures={{}}),
)
"""


SAMPLING = FINE_TUNING.replace(
    'start = {"run": first.record.run_id}',
    'draw = {"run": first.record.run_id, "count": 40, "tokens": 60}',
).replace('"start_from": start}]', '}], "samples": draw')

# Texts of two draws, the corpora of two arms
SAMPLED_ARMS = FINE_TUNING.replace(
    'start = {"run": first.record.run_id}',
    'draws = [{"samples": {"run": first.record.run_id, "count": 40, "tokens": 60, "seed": seed}}'
    " for seed in (0, 1)]",
).replace('"start_from": start}]', '"axes": {"data.corpus": draws}}]')


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SLAW_CACHE", str(tmp_path / "cache"))
    save_profile(cpu_profile(), "auto")
    write_text(tmp_path / "text", 40)
    shutil.copy(ENGINE, tmp_path)
    return tmp_path


def begin(folder: Path, source: str, more: str = "") -> list[str]:
    (folder / "mine.py").write_text(source)
    (folder / "s.yaml").write_text(CONFIG.replace("EXPERIMENT", "mine.py") + more)
    return ["run", "s.yaml", "--device", "cpu"]


def records_of(name: str = "staged") -> dict[str, RunRecord]:
    return {record.run_id: record for record in load_records(SweepDir(Path("results") / name))}


def stage_of(record: RunRecord) -> str:
    return dict(record.spec.tags).get("stage", "1")


def test_a_bisection_ends_when_it_proposes_nothing(here, capsys):
    line = begin(here, BISECTION)
    assert main(line) == EXIT_OK
    done = records_of()
    rates = {stage_of(record): record.spec.optim.lr for record in done.values()}
    assert rates["1"] == 1e-4 and rates["2"] == 0.1 and len(rates) > 3
    assert len(done) == len(rates)
    out = capsys.readouterr()
    assert "the best learning rate is" in out.out
    assert "stage 2:\n  " in out.err
    assert main(["status", "results/staged", "--json"]) == EXIT_OK
    (status,) = json.loads(capsys.readouterr().out)
    assert [str(run["stage"]) for run in status["runs"]] == sorted(rates, key=int)
    assert status["stage"] == len(rates) and status["counts"] == {"done": len(rates)}
    assert status["runs_beside"] == 0 and status["flops_done_frac"] == 1.0
    assert main(["status", "results/staged"]) == EXIT_OK
    assert "  stage 1: 1 done\n  stage 2: 1 done\n" in capsys.readouterr().out
    assert main(["monitor", "results/staged", "--once"]) == EXIT_OK
    assert f"staged: stage {len(rates)}; {len(rates)} done;" in capsys.readouterr().out
    rounds = SweepDir(Path("results/staged")).rounds
    assert json.loads((rounds / "02.json").read_text())["changes"] == {"optim.lr": 0.1}
    # the same line again, or the folder's name: nothing is trained, the findings are there again
    for again in (line, ["run", "results/staged"]):
        assert main(again) == EXIT_OK
        assert "the best learning rate is" in capsys.readouterr().out
        assert records_of() == done
    assert main([*line, "--set", "optim.lr=1e-3"]) == EXIT_USAGE
    assert "started with another config" in capsys.readouterr().err


def test_every_arm_may_have_another_text_than_the_config(here):
    begin(here, BISECTION)
    text = (here / "s.yaml").read_text()
    entry = "tokens: [1280], axes: {data.unique_tokens: [1k, 2k]}"
    (here / "s.yaml").write_text(text.replace("tokens: [1280]", entry))
    assert inputs(Request(config="s.yaml", device="cpu"), lambda text: None).train_tokens is None


def test_a_sweep_killed_between_or_within_stages_resumes(here, capsys):
    line = begin(here, BISECTION)
    assert main(line) == EXIT_OK
    whole = records_of()
    sweep = SweepDir(Path("results/staged"))
    # as a kill leaves it: the third stage is decided, and its run has not ended
    for number in range(4, len(whole) + 1):
        sweep.round_config(number).unlink()
        sweep.round_cost(number).unlink()
    for record in whole.values():
        if int(stage_of(record)) >= 3:
            shutil.rmtree(sweep.run(record.run_id).path)
    assert main(line) == EXIT_OK
    again = records_of()
    assert again.keys() == whole.keys()
    assert {r.val_loss_nats for r in again.values()} == {r.val_loss_nats for r in whole.values()}


def test_a_stage_starts_from_an_earlier_runs_weights(here, capsys):
    assert main(begin(here, FINE_TUNING)) == EXIT_OK
    by_stage = {stage_of(record): record for record in records_of().values()}
    first, second = by_stage["1"], by_stage["2"]
    assert second.spec.start_from is not None
    assert second.spec.start_from.run_id == first.run_id
    assert second.val_loss_nats is not None and first.val_loss_nats is not None
    # a fresh run at this learning rate, from random weights, is worse
    fresh = CONFIG.replace("[1280]", "[640]").replace("lr: 1e-4", "lr: 0.01")
    fresh = fresh.replace("name: staged", "name: fresh").replace(
        "experiment: {name: EXPERIMENT, within: 10}\n", ""
    )
    (here / "fresh.yaml").write_text(fresh)
    assert main(["run", "fresh.yaml", "--device", "cpu"]) == EXIT_OK
    (alone,) = records_of("fresh").values()
    assert alone.val_loss_nats is not None and second.val_loss_nats != alone.val_loss_nats
    assert alone.spec.start_from is None


@pytest.mark.slow
def test_a_stage_learns_from_samples_of_an_earlier_run(here, capsys):
    assert main(begin(here, SAMPLING)) == EXIT_OK
    by_stage = {stage_of(record): record for record in records_of().values()}
    (samples,) = Path("results/staged/samples").iterdir()
    assert by_stage["2"].spec.data.name == str(samples)
    texts = [path.read_text() for path in samples.iterdir()]
    assert len(texts) == 40 and len(set(texts)) > 30
    assert by_stage["2"].corpus_fingerprint != by_stage["1"].corpus_fingerprint


@pytest.mark.slow
def test_each_arm_of_a_stage_may_learn_from_samples_of_its_own(here, capsys):
    assert main(begin(here, SAMPLED_ARMS)) == EXIT_OK
    own = [record for record in records_of().values() if stage_of(record) == "2"]
    folders = sorted(map(str, Path("results/staged/samples").iterdir()))
    assert sorted(record.spec.data.name for record in own) == folders
    assert len({record.corpus_fingerprint for record in own}) == len(folders) == 2


def test_a_setting_that_is_called_samples_is_no_draw(tmp_path):
    changes = {"axes": {"probes": [[{"best_of_n": {"samples": 8}}]]}, "optim.lr": 0.1}
    assert with_samples(SweepDir(tmp_path), 2, changes) == changes


@pytest.mark.slow
def test_the_weights_of_another_sweep_are_copied(here, capsys):
    base = CONFIG.replace("experiment: {name: EXPERIMENT, within: 10}\n", "")
    (here / "base.yaml").write_text(base.replace("name: staged", "name: base"))
    assert main(["run", "base.yaml", "--device", "cpu"]) == EXIT_OK
    (parent,) = records_of("base").values()
    folder = f"results/base/runs/{parent.run_id}"
    tuned = base.replace("tokens: [1280]", f"tokens: [640], start_from: {{run: {folder}}}")
    (here / "tuned.yaml").write_text(tuned.replace("name: staged", "name: tuned"))
    line = ["run", "tuned.yaml", "--device", "cpu"]
    assert main([*line, "--dry-run"]) == EXIT_OK
    assert not Path("results/tuned").exists()
    assert main(line) == EXIT_OK
    done = records_of("tuned")
    (record,) = done.values()
    assert main(["run", "results/tuned", "--verify", record.run_id]) == EXIT_OK
    assert record.spec.start_from is not None
    assert record.spec.start_from.run_id == parent.run_id
    # the other sweep is not needed any more
    shutil.rmtree("results/base")
    shutil.rmtree(f"results/tuned/runs/{record.run_id}")
    assert main(line) == EXIT_OK
    (again,) = records_of("tuned").values()
    assert again.val_loss_nats == record.val_loss_nats


@pytest.mark.parametrize(
    ("source", "says"),
    [
        (BISECTION.replace('"optim.lr": 0.1', '"optim.rate": 0.1'), "stage 2 of results/staged: "),
        (BISECTION.replace('{"optim.lr": 0.1}', "[1]"), "propose returned [1], expected"),
        (
            BISECTION.replace('{"optim.lr": 0.1}', "1 / 0"),
            "mine.py:18: this experiment fails (ZeroDivisionError",
        ),
        (BISECTION.replace("def analyse(", "def analyze("), "mine.py:"),
        (SAMPLING.replace('"count": 40, ', ""), "samples: "),
        (SAMPLING.replace("first.record.run_id", "'gone'"), "no finished run gone"),
        (BISECTION.replace("EXPERIMENT =", "OTHER ="), "exports no EXPERIMENT"),
    ],
)
def test_an_invalid_proposal_is_one_line(here, capsys, source, says):
    line = begin(here, source)
    assert main(line) == EXIT_USAGE
    err = capsys.readouterr().err
    assert says in err and "Traceback" not in err
    assert err.strip().splitlines()[-1].startswith("slaw: ")


@pytest.mark.parametrize(
    ("start", "says"),
    [
        ("{run: results/gone/runs/x}", "no finished run results/gone/runs/x"),
        ("{run: x, weights_sha256: abc}", "weights_sha256"),
        ("{runs: x}", "unknown key"),
    ],
)
def test_missing_weights_are_one_line(here, capsys, start, says):
    text = CONFIG.replace("experiment: {name: EXPERIMENT, within: 10}\n", "")
    (here / "s.yaml").write_text(text.replace("[1280]", f"[640], start_from: {start}"))
    assert main(["run", "s.yaml", "--device", "cpu"]) == EXIT_USAGE
    err = capsys.readouterr().err
    assert says in err and "s.yaml:" in err and not Path("results").exists()


def test_a_stage_is_said_in_a_line_for_each_entry_of_its_grid():
    changes = {
        "axes": {},
        "optim.lr": 0.1,
        "grid": [
            {
                "sizes": ["nano14k", {"n_layer": 2}],
                "tokens": [1024],
                "axes": {"optim.name": ["sgd"]},
            },
            {"sizes": ["nano25k"], "seeds": [0, 1]},
        ],
    }
    assert changes_text(changes) == [
        "  optim.lr 0.1",
        '  sizes nano14k, {"n_layer": 2}; tokens 1024; optim.name sgd',
        "  sizes nano25k; seeds 0, 1",
    ]
