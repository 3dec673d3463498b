"""Runs of several devices, by the command line: two processes on a CPU, disturbed and resumed."""

from __future__ import annotations

import importlib.metadata
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from scaling_law.files.layout import RunDir, SweepDir
from scaling_law.files.record import CurvePoint, RunRecord, read_curve, read_record
from scaling_law.plan.device_profile import save_profile
from scaling_law.spec.parallel import Parallel
from tests.fakes import cpu_profile, write_text

ROOT = Path(__file__).resolve().parents[2]
# a point of the curve after each of the 50 steps
CONFIG = """
name: together
data: {corpus: text, tokenizer: bytes, vocab_size: 257, val_fraction: 0.2, max_epochs: 50}
model: {n_ctx: 16}
grid:
  - sizes: [{n_layer: 2, d_model: 16, n_head: 2}]
    tokens: [6400]
optim: {name: adamw_disturbed.py, rule: slaw_small, lr: 0.01, batch_tokens: 128}
eval: {val_tokens: 512, curve_tokens: 32, curve_points: 2000}
checkpoints: {every_steps: 5}
precision: fp32
"""
# AdamW by torch that, where the environment asks for it, kills a process or stops the sweep once
DISTURBED = """
import os
import signal
from pathlib import Path

from scaling_law.train.optimizers import Optimizer


def make(groups, optim, settings, device):
    import torch

    class Disturbed(torch.optim.AdamW):
        def step(self, closure=None):
            states = [s["step"] for s in self.state.values()]
            done = int(states[0]) if states else 0
            if os.environ.get("KILL_AT") == str(done) and os.environ.get("RANK") == "1":
                once("killed", os.getpid(), signal.SIGKILL)
            if os.environ.get("STOP_AT") == str(done) and os.environ.get("RANK", "0") == "0":
                once("stopped", int(os.environ["SWEEP_PID"]), signal.SIGTERM)
            if os.environ.get("STOP_AT") and done > int(os.environ["STOP_AT"]):
                import time

                time.sleep(2)  # long enough to be stopped, on a busy machine, too
            return super().step(closure)

    def once(word, pid, number):
        mark = Path(os.environ["MARKS"]) / word
        if not mark.exists():
            mark.touch()
            os.kill(pid, number)

    return Disturbed(groups, lr=optim.lr, fused=False)


OPTIMIZER = Optimizer(make=make, state_bytes_per_param=8, stacks=True)
"""


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a text, a config and an optimizer; the device counts as measured."""
    folder = tmp_path_factory.mktemp("together")
    write_text(folder / "text")
    (folder / "s.yaml").write_text(CONFIG)
    (folder / "adamw_disturbed.py").write_text(DISTURBED)
    profile = cpu_profile(slots=2, torch_version=importlib.metadata.version("torch"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SLAW_CACHE", str(folder / "cache"))
        save_profile(profile, "cpu")
    return folder


def slaw_run(world: Path, out: str, *settings: str, **environment: str) -> tuple[int, str]:
    """``slaw run`` in the folder ``out``: its exit code and all that it said."""
    words = ["run", "s.yaml", "--device", "cpu", "--out", out]
    for setting in settings:
        words += ["--set", setting]
    # the shell's own pid is that of slaw, which it becomes
    command = 'export SWEEP_PID=$$; exec "$@"'
    marks = world / f"marks-{out}"
    marks.mkdir(exist_ok=True)
    done = subprocess.run(
        ["bash", "-c", command, "slaw", sys.executable, "-m", "scaling_law.cli", *words],
        cwd=world,
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
        env={
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "SLAW_CACHE": str(world / "cache"),
            "SLAW_KERNELS": "thresholds",
            "MARKS": str(marks),
            **environment,
        },
    )
    return done.returncode, done.stdout + done.stderr


def only_run(world: Path, out: str) -> RunDir:
    (run_dir,) = SweepDir(world / out).run_dirs()
    return run_dir


def record_of(world: Path, out: str) -> RunRecord:
    return read_record(only_run(world, out).record)


def curve_of(world: Path, out: str) -> list[CurvePoint]:
    return read_curve(only_run(world, out), record_of(world, out))


def bits(points: Sequence[CurvePoint]) -> list[tuple[float | None, ...]]:
    return [(p.step, p.train_loss_nats, p.val_loss_nats, p.grad_norm) for p in points]


def assert_close(points: Sequence[CurvePoint], others: Sequence[CurvePoint]) -> None:
    assert [p.step for p in points] == [p.step for p in others] == list(range(1, 51))
    for one, other in zip(points, others, strict=True):
        assert one.train_loss_nats == pytest.approx(other.train_loss_nats, abs=1e-5)
        assert one.val_loss_nats == pytest.approx(other.val_loss_nats, abs=1e-5)


@pytest.fixture(scope="module")
def alone(world: Path) -> list[CurvePoint]:
    """The curve of the run on one device."""
    code, said = slaw_run(world, "alone")
    assert code == 0, said
    return curve_of(world, "alone")


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["ddp", "fsdp"])
def test_two_devices_have_one_devices_losses_and_resume_to_the_same_bits(world, alone, kind):
    parallel = f"parallel={{kind: {kind}, devices: 2}}"
    recompute = f"model.gradient_checkpointing={'true' if kind == 'fsdp' else 'false'}"
    code, said = slaw_run(world, kind, parallel, recompute)
    assert code == 0, said
    assert_close(curve_of(world, kind), alone)
    record = record_of(world, kind)
    assert record.spec.parallel == Parallel(kind=kind, devices=2)
    assert record.device.endswith(" x 2")
    assert record.message == ""
    # a killed process ends the group, which is started again; a stop leaves a checkpoint
    out = f"{kind}-disturbed"
    code, said = slaw_run(world, out, parallel, recompute, KILL_AT="13", STOP_AT="22")
    assert code == 75, said
    assert "trying once more" in said
    run_dir = only_run(world, out)
    assert not run_dir.record.exists() and not run_dir.failure.exists()
    newest = run_dir.checkpoint_steps()[0]
    assert newest > 22
    assert run_dir.shares(newest).is_dir() == (kind == "fsdp")
    assert not list(run_dir.path.glob(".group*")), "the folder of the group is gone"
    if kind == "fsdp":
        for copy in ("damaged", "resharded"):
            shutil.copytree(world / out, world / copy)
        damage(only_run(world, "damaged").shares(newest))
    code, said = slaw_run(world, out, parallel, recompute)
    assert code == 0, said
    assert bits(curve_of(world, out)) == bits(curve_of(world, kind))
    assert record_of(world, out).val_loss_nats == record.val_loss_nats


def damage(folder: Path) -> None:
    """Change a byte of the largest file of the folder."""
    path = max(folder.iterdir(), key=lambda path: path.stat().st_size)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


@pytest.mark.slow
def test_damaged_shares_are_skipped_and_whole_ones_resume_on_one_device(world, alone):
    parallel, recompute = "parallel={kind: fsdp, devices: 2}", "model.gradient_checkpointing=true"
    if not (world / "damaged").is_dir():
        pytest.skip("the test of fsdp makes the folders")
    code, said = slaw_run(world, "damaged", parallel, recompute)
    assert code == 0, said
    assert (
        "does not match its checksum; using an older one"
        in only_run(world, "damaged").log.read_text()
    )
    assert bits(curve_of(world, "damaged")) == bits(curve_of(world, "fsdp"))
    code, said = slaw_run(world, "resharded", parallel, recompute, "parallel.resume_on=1")
    assert code == 0, said
    assert_close(curve_of(world, "resharded"), alone)
    message = record_of(world, "resharded").message
    assert "on 1 device instead of 2: its bits are not those of an undisturbed run" in message


@pytest.mark.slow
def test_a_run_of_one_device_resumes_on_two_where_that_is_asked_for(world, alone):
    code, said = slaw_run(world, "grows", STOP_AT="22")
    assert code == 75, said
    wider = ("parallel={kind: fsdp, resume_on: 2}",)
    code, said = slaw_run(world, "grows", *wider)
    assert code == 0, said
    assert_close(curve_of(world, "grows"), alone)
    assert "on 2 devices instead of 1" in record_of(world, "grows").message
    assert record_of(world, "grows").run_id == record_of(world, "alone").run_id


@pytest.mark.slow
def test_a_stopped_worker_of_two_devices_ends_with_its_exit_code(world):
    code, said = slaw_run(world, "worker", "parallel.devices=2", STOP_AT="5")
    assert code == 75, said
    run_dir = only_run(world, "worker")
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "STOP_AT": "1", "MARKS": str(world)}
    (world / "stopped").touch()
    command = [sys.executable, "-m", "scaling_law.run.worker", str(run_dir.path)]
    with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True) as worker:
        while not run_dir.lease.exists() and worker.poll() is None:
            time.sleep(0.1)
        worker.send_signal(signal.SIGUSR1)
        _, said = worker.communicate(timeout=600)
    assert worker.returncode == 75, said
    assert not run_dir.record.exists() and not run_dir.failure.exists()
