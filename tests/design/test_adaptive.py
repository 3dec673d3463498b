"""The adaptive loop (choose, train, fit, choose again) with a trainer that plants losses."""

from __future__ import annotations

import dataclasses
import importlib.metadata
import math
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest

from scaling_law.config.load import load_config
from scaling_law.config.written import config_yaml
from scaling_law.design.adaptive import _Loop, run_adaptive
from scaling_law.design.propose import DesignGoal, forecast_now
from scaling_law.design.session import fit_so_far
from scaling_law.errors import ConfigError
from scaling_law.files import checksum, layout
from scaling_law.files.layout import SweepDir
from scaling_law.files.record import write_record
from scaling_law.fit.laws import load_law
from scaling_law.forecast.budget import Budget
from scaling_law.forecast.target import Target
from scaling_law.plan.device_profile import save_profile
from scaling_law.plan.make import make_plan
from scaling_law.run.planning import inputs
from scaling_law.run.request import Request
from scaling_law.run.rounds import Rounds
from scaling_law.run.runner import SweepOutcome
from scaling_law.units import format_count
from tests.fakes import PLANTED, cpu_profile, ladder_config, record_of, write_text

BYTES = ("data.tokenizer=bytes", "data.vocab_size=257", "data.val_fraction=.2")


class Trainer:
    """Writes the records of a round's plan; may be killed before a round's last run."""

    def __init__(self) -> None:
        self.rounds: list[str] = []
        self.killed = False
        self.slow: float | None = None  # times the planned seconds

    def __call__(self, request, say):
        sweep = SweepDir(Path(request.out))
        config = load_config(request.config, device_kind="cpu")
        plan = make_plan(config, cpu_profile(), train_tokens=None)
        self.rounds.append(request.config)
        if not sweep.config.exists():
            sweep.path.mkdir(parents=True, exist_ok=True)
        sweep.config.write_text(config_yaml(config))
        outcome = SweepOutcome()
        for run in plan.runs[: 1 if self.killed else None]:
            record = record_of(run.spec)
            variables = {
                "params": np.array([record.params_matmul]),
                "tokens": np.array([record.tokens]),
            }
            loss = float(load_law("chinchilla").predict(PLANTED, variables)[0])
            noise = np.random.default_rng(int(run.run_id[-8:], 16)).normal()
            loss *= math.exp(0.002 * noise)
            record = dataclasses.replace(record, val_loss_nats=loss, seconds=0.0)
            if self.slow is not None:
                record = dataclasses.replace(record, seconds=self.slow * run.seconds)
            write_record(sweep.run(run.run_id), record)
            outcome.done.append(run.run_id)
        if self.killed:
            outcome.stopped_by = 15
        return sweep, plan, outcome


@pytest.fixture
def place(monkeypatch, tmp_path):
    monkeypatch.setenv("SLAW_CACHE", str(tmp_path / "cache"))
    save_profile(cpu_profile(torch_version=importlib.metadata.version("torch")), "cpu")
    text = write_text(tmp_path / "text")
    config = ladder_config(f"data.corpus={text}", *BYTES, "data.max_epochs=1e6")
    (tmp_path / "ladder.yaml").write_text(config_yaml(config))
    return tmp_path


def goal(
    width: float, rounds: int = 2, budget: Budget | None = None, **target: float
) -> DesignGoal:
    return DesignGoal(
        target=Target(**(target or {"params": 3e6})),
        budget=budget or Budget(unit="flops", amount=1e13),
        width_nats=width,
        rounds=rounds,
    )


@pytest.mark.slow
def test_rounds_go_on_after_a_kill_until_the_budget_is_spent(place):
    request = Request(config=str(place / "ladder.yaml"), device="cpu", out=str(place / "out"))
    sweep, trainer = SweepDir(place / "out"), Trainer()
    said: list[str] = []
    trainer.killed = True
    assert run_adaptive(request, goal(1e-6), said.append, train=trainer) == 75
    first = sweep.round_config(1).read_text()
    assert not sweep.round_config(2).exists(), "the next is chosen when this one is over"
    trainer.killed = False
    assert run_adaptive(request, goal(1e-6), said.append, train=trainer) == 0
    assert sweep.round_config(1).read_text() == first
    names = [name.rpartition("/")[2] for name in trainer.rounds]
    assert names == ["01.yaml", "01.yaml", "02.yaml"]
    assert said[-1].endswith(f"next: slaw fit {sweep.path}")
    assert sum("next: slaw fit" in line for line in said) == 1, "once, at the end of the loop"
    widths = [float(s.split("width ")[1].split(" ")[0]) for s in said if ", width " in s]
    assert len(widths) == 2
    runs = [load_config(sweep.round_config(n), device_kind="cpu") for n in (1, 2)]
    batches = {config.optim.batch_tokens for config in runs}
    assert len(batches) == 1, "one batch for all rounds"
    # the same line once more has nothing left to do
    assert run_adaptive(request, goal(1e-6), said.append, train=trainer) == 0
    assert not sweep.round_config(3).exists()
    with pytest.raises(ConfigError, match="started with another width"):
        run_adaptive(request, goal(0.5), said.append, train=trainer)


@pytest.mark.slow
def test_every_round_has_the_first_rounds_target_even_after_a_kill(place):
    request = Request(config=str(place / "ladder.yaml"), device="cpu", out=str(place / "out"))
    sweep, trainer = SweepDir(place / "out"), Trainer()
    said: list[str] = []
    trainer.killed = True
    run_adaptive(request, goal(1e-6), said.append, train=trainer)
    fixed = checksum.read(sweep.adaptive, "")["fixed"]
    trainer.killed = False
    run_adaptive(request, goal(1e-6), said.append, train=trainer)
    words = f"3M params on {format_count(fixed['tokens'])} tokens"
    assert any(line.startswith(f"target of every round: {words} (the best split") for line in said)
    rounds = [line for line in said if line.startswith("round ")]
    assert len(rounds) == 4 and all(words in line for line in rounds)
    own = forecast_now(fit_so_far(sweep), goal(1.0)).tokens
    assert own is not None and not math.isclose(own, fixed["tokens"], rel_tol=0.01)
    assert load_config(sweep.round_config(1), device_kind="cpu").name == "out", "the folder's name"
    assert load_config(sweep.round_config(2), device_kind="cpu").name == "out"


def test_a_target_loss_stays_a_loss(place):
    request = Request(config=str(place / "ladder.yaml"), device="cpu", out=str(place / "out"))
    loop = _Loop(request, goal(0.1, target_loss=2.5), print, Trainer())
    loop._fix(cast(Any, None))
    assert loop._goal().target == Target(target_loss=2.5)


@pytest.mark.slow
def test_slow_rounds_say_so_and_reduce_the_budget_of_later_ones(place):
    budget = Budget(unit="seconds", amount=300.0)
    plans = {}
    for slow in (0.0, 1.5):
        out = SweepDir(place / f"slow{slow:g}")
        request = Request(config=str(place / "ladder.yaml"), device="cpu", out=str(out.path))
        trainer, said = Trainer(), list[str]()
        trainer.slow = slow
        run_adaptive(request, goal(1e-6, budget=budget), said.append, train=trainer)
        assert any("times as long as planned" in line for line in said) == bool(slow)
        plans[slow] = [checksum.read(out.round_cost(n), "")["seconds"] for n in (1, 2)]
    assert plans[0.0][0] == plans[1.5][0]
    assert plans[1.5][1] < plans[0.0][1] / 1.2


def test_a_round_decided_by_another_process_is_used(place):
    out = SweepDir(place / "out")
    rounds = Rounds(sweep=out, asked=out.adaptive, base=Request(config="s.yaml"))
    layout.atomic_write(out.round_config(2), "theirs")
    assert not rounds.decide(2, "ours", {"seconds": 1.0})
    assert out.round_config(2).read_text() == "theirs"
    assert not out.round_cost(2).exists()


@pytest.mark.slow
def test_the_loop_stops_at_the_requested_width(place):
    request = Request(config=str(place / "ladder.yaml"), device="cpu", out=str(place / "out"))
    trainer = Trainer()
    said: list[str] = []
    assert run_adaptive(request, goal(50.0), said.append, train=trainer) == 0
    assert len(trainer.rounds) == 1
    assert any("as narrow as requested" in line for line in said)


def test_an_unrelated_folder_is_refused_and_left_unchanged(place):
    sweep = SweepDir(place / "out")
    sweep.path.mkdir()
    sweep.plan.write_text("{}")
    request = Request(config=str(place / "ladder.yaml"), device="cpu", out=str(place / "out"))
    with pytest.raises(ConfigError, match="not started with --adaptive"):
        run_adaptive(request, goal(1.0), lambda text: None, train=Trainer())
    with pytest.raises(ConfigError, match="--width"):
        goal(-1.0)


def test_a_round_repeats_no_component_of_a_mixture_too_often(place):
    for name in ("web", "code"):
        write_text(place / name, 400 if name == "web" else 40)
    config = ladder_config(
        f"data={{sources: {{web: {{corpus: {place / 'web'}}}, code: {{corpus: {place / 'code'}}}}},"
        " mix: {web: .9, code: .1}, tokenizer: bytes, vocab_size: 257, val_fraction: .2,"
        " max_epochs: 20}"
    )
    (place / "mixed.yaml").write_text(config_yaml(config))
    request = Request(config=str(place / "mixed.yaml"), device="cpu", out=str(place / "out"))
    said: list[str] = []
    loop = _Loop(request, goal(1e-9, rounds=1), said.append, Trainer())
    assert loop.first() == 1
    components = inputs(request, said.append).component_tokens
    assert components is not None, "the text is prepared before the first round is chosen"
    grid = load_config(loop.rounds.request(1).config, device_kind="cpu").grid
    longest = max(max(entry.tokens or ()) for entry in grid)
    assert 0.1 * longest / components["code"] <= 20
