"""A user's own command trains the runs: planned, started, followed, stopped, resumed, fitted."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from scaling_law.data.access import open_task
from scaling_law.errors import ConfigError, PlanError, RunFailed
from scaling_law.files.layout import RunDir
from scaling_law.files.process import process_with
from scaling_law.files.record import RunRecord, read_curve
from scaling_law.fit.flops_count import FlopsCount, flops_knots
from scaling_law.fit.points.points import points_from_records
from scaling_law.fit.points.stated import STATED, params_words
from scaling_law.plan.table import render_plan
from scaling_law.run.command import CommandJob, run_command
from scaling_law.run.command_metrics import BadMetricsError, Metrics
from scaling_law.spec.from_json import run_spec_from_json
from scaling_law.spec.resources import Resources
from scaling_law.spec.run import RunSpec
from scaling_law.spec.to_json import to_json
from scaling_law.spec.trainer import TrainerSpec, placeholder_values
from tests.fakes import plan_of, record_of

TRAINER = Path(__file__).with_name("trainer.py")
CONFIG = f"""\
name: own
data: {{source: external, text: made-up, vocab_size: 64, n_ctx: 16}}
grid:
  - sizes: [{{n_layer: 1, d_model: 8, n_head: 1}}, {{n_layer: 1, d_model: 32, n_head: 1}}]
    tokens: [4k, 8k, 16k]
optim: {{batch_tokens: 256, lr: .05}}
trainer:
  command: >-
    {sys.executable} {TRAINER} --width {{d_model}} --steps {{total_steps}} --batch {{batch_seqs}}
    --lr {{lr:.3g}} --seed {{seed}} --out {{run_dir}}
  resume: --resume
limits: {{slots: 1}}
"""


def spec_of(*overrides: str) -> RunSpec:
    return plan_of(CONFIG, *overrides).runs[0].spec


def job_of(folder: Path, spec: RunSpec, more: str = "", **changes: object) -> CommandJob:
    """A job of the first run of the config, whose command has ``more`` arguments."""
    assert spec.trainer is not None
    trainer = TrainerSpec(command=f"{spec.trainer.command} {more}", resume=spec.trainer.resume)
    spec = dataclasses.replace(spec, trainer=trainer)
    run_dir = RunDir(folder / spec.run_id)
    run_dir.path.mkdir(exist_ok=True)
    fields = {
        "spec": spec, "resources": Resources(), "run_dir": run_dir,
        "dataset": open_task(spec.data),  # type: ignore[arg-type]
        "should_stop": lambda: False, "progress": lambda step, speed: None,
        "log": lambda line: None,
    }  # fmt: skip
    return CommandJob(**{**fields, **changes})  # type: ignore[arg-type]


def finished(job: CommandJob) -> RunRecord:
    record = run_command(job)
    assert record is not None
    return record


def test_a_plan_has_single_runs_with_a_cooldown_and_the_command_in_their_identity():
    plan = plan_of(CONFIG)
    assert [run.spec.kind for run in plan.runs] == ["single"] * 6
    assert "trainer: a command of your own; time, memory, disk and precision" in render_plan(plan)
    spec = plan.runs[0].spec
    assert spec.schedule.decay_steps is not None
    assert run_spec_from_json(json.loads(json.dumps(to_json(spec)))) == spec
    other = plan_of(CONFIG.replace("--seed {seed}", "--seed 3"))
    assert not {r.run_id for r in other.runs} & {r.run_id for r in plan.runs}
    assert spec.trainer is not None
    words = spec.trainer.filled(placeholder_values(spec, Path("here")))
    assert words[words.index("--width") + 1] == str(spec.model.dimensions["d_model"])
    assert words[words.index("--steps") + 1] == str(spec.total_steps)
    assert words[words.index("--lr") + 1] == "0.05" and words[-1] == "here"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (("{seed}", "{sed}"), r"no placeholder \{sed\} \(did you mean seed\?\)"),
        (("--seed {seed}", "'"), "the command cannot be split"),
        (("{lr:.3g}", "{lr:.3q}"), "cannot be filled"),
        (("source: external, text: made-up, vocab_size: 64, n_ctx: 16", "source: copy"),
         r"expected data: \{source: external"),
        (("limits:", "spikes: true\nlimits:"), "and spikes would have no effect"),
        (("  resume: --resume", "  metrics: ../m.jsonl"), "expected the plain name of a file"),
        ((CONFIG[CONFIG.index("trainer:") :], ""), "name it with trainer:"),
    ],
)  # fmt: skip
def test_what_a_trainer_cannot_have_is_refused(change, said):
    with pytest.raises((ConfigError, PlanError), match=said):
        plan_of(CONFIG.replace(*change))


def test_a_run_is_trained_by_the_command(tmp_path):
    record = finished(job := job_of(tmp_path, spec_of()))
    assert (record.status, record.params_total, record.params_matmul) == ("done", 8, 8)
    assert record.tokens == job.spec.tokens and record.flops_exact == 48 * record.tokens
    curve = read_curve(job.run_dir)
    assert [point.step for point in curve] == list(range(1, job.spec.total_steps + 1))
    assert record.val_loss_nats == curve[-1].val_loss_nats != curve[-1].train_loss_nats
    assert curve[0].grad_norm is None and curve[0].lr > curve[-1].lr
    assert not job.run_dir.trainer_process.exists()


def test_a_stopped_run_resumes_where_it_was_and_ends_alike(tmp_path):
    straight = finished(job_of(tmp_path, spec_of()))
    steps: list[int] = []
    stopping = job_of(
        tmp_path, spec_of(), "--wait-at 5", should_stop=lambda: steps[-1:] == [5],
        progress=lambda step, speed: steps.append(step),
    )  # fmt: skip
    assert run_command(stopping) is None
    assert read_curve(stopping.run_dir)[-1].step == 5
    with (stopping.run_dir.trainer / "metrics.jsonl").open("a") as file:
        file.write('{"step": 99, "lo')  # as a kill may leave it
    said: list[str] = []
    resumed = finished(job_of(tmp_path, spec_of(), "--wait-at 5", log=said.append))
    assert any("resumed the command" in line for line in said)
    assert resumed.val_loss_nats == straight.val_loss_nats
    assert [point.step for point in read_curve(stopping.run_dir)] == list(range(1, 17))


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ("nothing",
         "exit code 1; it wrote no point to metrics.jsonl; its last line: no GPU here"),
        ("half", r"metrics.jsonl:7: half a line .*see docs/trainers.md"),
        ("early", "exit code 0; its last point is step 5 of 16, with 1,280 of 4,096 tokens"),
    ],
)  # fmt: skip
def test_a_command_that_does_not_write_its_metrics_fails_with_the_reason(tmp_path, fault, said):
    with pytest.raises(RunFailed, match=said):
        run_command(job_of(tmp_path, spec_of(), f"--fault {fault}"))


def test_a_command_that_cannot_resume_starts_from_the_beginning(tmp_path):
    job = job_of(tmp_path, spec_of("trainer.resume=--no-such-option"))
    job.run_dir.trainer.mkdir()
    job.metrics_file.write_text('{"step": 3, "loss": 9}\n')
    said: list[str] = []
    record = finished(dataclasses.replace(job, log=said.append))
    assert record.status == "done" and any("it could not resume" in line for line in said)
    assert read_curve(job.run_dir)[0].step == 1


def test_exit_code_75_without_a_way_to_resume_fails(tmp_path):
    spec = spec_of("trainer.resume=null", "trainer.command=sh -c 'exit 75'")
    with pytest.raises(RunFailed, match="the command stopped with exit code 75; it wrote no point"):
        run_command(job_of(tmp_path, spec))


def test_a_loss_of_inf_ends_the_run_as_diverged(tmp_path):
    record = finished(job_of(tmp_path, spec_of(), "--fault inf --wait-at 8"))
    assert (record.status, record.message) == ("diverged", "loss is inf at step 6")
    assert record.val_loss_nats is None and record.tokens == 5 * 256


def test_a_run_whose_last_val_loss_is_not_of_its_end_is_not_finished(tmp_path):
    path = tmp_path / "m.jsonl"
    path.write_text('{"step": 8, "loss": 3, "val_loss": 3}\n{"step": 16, "loss": 2}\n')
    metrics = Metrics(spec_of(), path)
    metrics.read()
    assert "its last val_loss is of step 8 of 16: expected one at the end" in metrics.missing
    path.write_text('{"step": 8, "loss": 3}\n{"step": 16, "loss": 2}\n')
    metrics = Metrics(spec_of(), path)
    metrics.read()
    assert metrics.missing == ""


def test_numbers_that_are_only_shown_may_be_infinite(tmp_path):
    path = tmp_path / "m.jsonl"
    path.write_text('{"step": 1, "loss": 3, "grad_norm": Infinity, "lr": NaN, "acc": NaN}\n')
    metrics = Metrics(spec_of(), path)
    metrics.read()
    (point,) = metrics.points
    assert point.curve.grad_norm is None and point.curve.lr > 0 and point.curve.metrics == {}


def test_a_script_that_the_system_cannot_start_is_named(tmp_path):
    script = tmp_path / "train"
    script.write_text("echo hello\n")
    script.chmod(0o755)
    with pytest.raises(RunFailed, match=r"train cannot be started .*#!/bin/sh"):
        run_command(job_of(tmp_path, spec_of(f"trainer.command={script}")))


def write_points(path: Path, losses: dict[int, float]) -> None:
    lines = [json.dumps({"step": step, "loss": loss}) for step, loss in losses.items()]
    path.write_text("\n".join([*lines, ""]))


def hanging(folder: Path, losses: dict[int, float]) -> CommandJob:
    """A job whose command writes points, of which losses are given by step, and then hangs."""
    written = folder / "written.jsonl"
    write_points(written, losses)
    command = f"sh -c 'echo started; cat {written} >> $0; exec sleep 600' {{metrics}}"
    job = job_of(folder, spec_of(f"trainer.command={command}"))
    # a busy machine is slow to start a shell
    return dataclasses.replace(job, resources=Resources(silent_seconds=5.0))


def test_a_command_that_hangs_is_ended_with_the_reason_and_its_points_stay(tmp_path):
    job = hanging(tmp_path, {})
    job.run_dir.trainer.mkdir()
    job.metrics_file.write_text('{"step": 3, "loss": 2}\n')
    said = r"neither printed nor wrote a point for \d.*silent_for.*step 3 of 16.*line: started"
    with pytest.raises(RunFailed, match=said):
        run_command(job)
    assert job.metrics_file.read_text() == '{"step": 3, "loss": 2}\n'


def test_a_command_that_hangs_after_its_last_point_has_finished_its_run(tmp_path):
    record = finished(hanging(tmp_path, {16: 2.0}))
    assert record.status == "done" and "neither printed nor wrote a point" in record.message


def test_a_program_that_is_not_there_is_named(tmp_path):
    spec = spec_of("trainer.command=no-such-program {run_dir}")
    with pytest.raises(RunFailed, match="no-such-program: no such program"):
        run_command(job_of(tmp_path, spec))


def test_a_command_that_outlived_its_worker_is_ended_first(tmp_path):
    from scaling_law.files import checksum

    job = job_of(tmp_path, spec_of())
    earlier = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"],
                               start_new_session=True)  # fmt: skip
    checksum.write(job.run_dir.trainer_process, to_json(process_with(earlier.pid)))
    finished(job)
    assert earlier.wait(timeout=600) == -signal.SIGKILL


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ('{"loss": 3}\n', "no step; expected at least step and loss"),
        ('{"step": 1, "val_loss": 3}\n', "no loss"),
        ('{"step": 1.5, "loss": 3}\n', "step is 1.5, expected a whole number"),
        ('{"step": 1, "loss": "3"}\n', "loss is '3', expected a number"),
        ("[1]\n", r"expected an object"),
        ("step 1\n", "not JSON"),
        ('{"params": 0, "step": 1, "loss": 3}\n', "params is 0.0, expected above 0"),
        ('{"step": 1, "loss": -3}\n', "loss is -3.0, expected 0 or above"),
        ('{"step": 1, "loss": 3, "val_loss_sem": -1}\n', "val_loss_sem is -1.0, expected 0"),
        ('{"step": 1, "loss": 3, "seconds": NaN}\n', "seconds is nan, expected 0 or above"),
        ('{"step": 1, "loss": ' + "9" * 400 + "}\n", "loss is a number of 400 digits"),
        ('{"step": 40, "loss": 3}\n', "step 40 is at 10,240 tokens, and the run has 4,096 in 16"),
    ],
)
def test_a_bad_line_of_metrics_is_named(tmp_path, lines, said):
    path = tmp_path / "m.jsonl"
    path.write_text('{"step": 0, "loss": 4, "note": "text"}\n' + lines)
    with pytest.raises(BadMetricsError, match=f"m.jsonl:2: .*{said}"):
        Metrics(spec_of(), path).read()


def test_further_numbers_are_metrics_and_a_later_line_of_a_step_counts(tmp_path):
    path = tmp_path / "m.jsonl"
    path.write_text(
        '{"step": 1, "loss": 4, "acc": 0.1}\n{"step": 2, "loss": 3}\n{"step": 2, "loss": 2.5}\n'
        '{"step": 3, "lo'
    )
    metrics = Metrics(spec_of(), path)
    metrics.read()
    assert [(p.curve.step, p.curve.train_loss_nats) for p in metrics.points] == [(1, 4), (2, 2.5)]
    assert metrics.points[0].curve.metrics == {"acc": 0.1}


def metrics_of(folder: Path, losses: dict[int, float], *overrides: str) -> Metrics:
    path = folder / "m.jsonl"
    write_points(path, losses)
    metrics = Metrics(spec_of(*overrides), path)
    metrics.read()
    return metrics


def test_losses_in_another_unit_are_refused_once_a_run_has_learned(tmp_path):
    said = r"m.jsonl:2: loss is 30.2 at step 8 of 16, .*below ln\(64\) = 4.159.*expected nats per t"
    with pytest.raises(BadMetricsError, match=said):
        metrics_of(tmp_path, {0: 65.0, 8: 30.2})
    assert metrics_of(tmp_path, {0: 65.0, 1: 3.0, 8: 30.2}).points, "it has learned"


def test_nothing_is_refused_by_a_vocabulary_that_nobody_stated(tmp_path):
    metrics = metrics_of(tmp_path, {0: 65.0, 8: 30.2}, "data.vocab_size=50257")
    assert len(metrics.points) == 2 and metrics.too_high_at_first


def test_a_first_loss_in_bits_is_noted(tmp_path):
    metrics = metrics_of(tmp_path, {1: 6.0, 16: 3.1})
    assert "6 at step 1, is 1.44 times ln(64)" in metrics.too_high_at_first
    assert "bits are 1.44 times nats" in metrics.too_high_at_first
    assert metrics_of(tmp_path, {1: 4.3, 16: 3.1}).too_high_at_first == ""


def test_a_run_that_ends_worse_than_untrained_after_it_had_learned_has_diverged(tmp_path):
    record = finished(hanging(tmp_path, {4: 3.0, 16: 9.0}))
    assert record.status == "diverged" and "at the end is 9, above ln(64)" in record.message


def test_counts_that_the_command_states_are_called_so_and_never_exact():
    records = [record_of(run.spec) for run in plan_of(CONFIG).runs]
    own = points_from_records(records)
    assert own.convention == {"params": "matmul", "flops": "exact", "loss": "nats per token"}
    changes = [
        dataclasses.replace(one, params_matmul=7 * n, flops_exact=84 * n * one.tokens)
        for n, one in enumerate(records, 1)
    ]
    stated = points_from_records(changes)
    assert stated.convention["flops"] == STATED == "as stated by the trainer"
    assert params_words(stated.convention) == "matmul, as stated by the trainer"
    assert FlopsCount(flops_knots(stated)).factor(7.0) == pytest.approx(2.0)
    plain = points_from_records(changes, flops="6nd").convention
    assert plain["flops"] == "6nd" and "trainer" in params_words(plain)


def slaw(folder: Path, *words: str) -> subprocess.Popen[str]:
    """Start the command line in a folder."""
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[2])}
    command = [sys.executable, "-m", "scaling_law.cli", *words]
    return subprocess.Popen(
        command, cwd=folder, env=environment, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip


def _waits(metrics: Path) -> bool:
    """Whether a run has written the point after which it waits."""
    return '"step": 10,' in metrics.read_text()


@pytest.mark.slow
def test_the_command_line_runs_is_killed_resumes_and_fits(tmp_path):
    waits = f"--wait-at 10 --wait-for {tmp_path / 'go'}"
    (tmp_path / "own.yaml").write_text(CONFIG.replace("--seed {seed}", waits))
    first = slaw(tmp_path, "run", "own.yaml")
    runs = tmp_path / "results" / "own" / "runs"
    while first.poll() is None and not any(map(_waits, runs.glob("*/*/metrics.jsonl"))):
        time.sleep(0.1)
    first.send_signal(signal.SIGTERM)
    said = first.communicate(timeout=600)[0]
    assert first.returncode == 75, said
    assert not list(runs.glob("*/trainer.json")), "no command is left behind"
    assert list(runs.glob("*/*/state.npz")) and not list(runs.glob("*/record.json"))
    (tmp_path / "go").touch()
    again = slaw(tmp_path, "run", "own.yaml")
    said = again.communicate(timeout=600)[0]
    assert again.returncode == 0 and "6 of 6 runs done" in said, said
    fit = slaw(tmp_path, "fit", "results/own")
    said = fit.communicate(timeout=600)[0]
    assert fit.returncode == 4 and "6 annealed points" in said, said
    assert "2 sizes (at least 3)" in said, said
    broken = CONFIG.replace("--seed {seed}", "--fault nothing").replace("name: own", "name: bad")
    (tmp_path / "bad.yaml").write_text(broken)
    bad = slaw(tmp_path, "run", "bad.yaml")
    said = bad.communicate(timeout=600)[0]
    assert bad.returncode == 3 and "it wrote no point to metrics.jsonl" in said, said
