"""Every optimizer part: it learns, resumes to the same bits, and holds the state that it says."""

from __future__ import annotations

import importlib.metadata

import pytest
import torch

from scaling_law import parts
from scaling_law.errors import ConfigError
from scaling_law.files.layout import RunDir
from scaling_law.files.record import read_curve
from scaling_law.parts import Reference
from scaling_law.run.planning import planned
from scaling_law.spec.component import Component
from scaling_law.spec.optim import OptimSpec
from scaling_law.spec.resources import Resources
from scaling_law.spec.run import EvalSpec
from scaling_law.train import checkpoint
from scaling_law.train.architectures import build
from scaling_law.train.begin import Job
from scaling_law.train.loop import train_run
from scaling_law.train.optim import evaluated, make_optimizer
from scaling_law.train.optimizers import Optimizer
from tests.fakes import ONE_SIZE, config_of, cpu_profile, tiny_model, tiny_spec

NAMES = parts.names("optimizer")


def installed(name: str) -> Optimizer:
    part: Optimizer = parts.load("optimizer", Reference(name=name))
    if lacking := part.missing():
        pytest.skip(f"{name} {lacking}")
    return part


def optim_of(name: str, lr: float = 0.01) -> OptimSpec:
    component = None if name == "adamw" else Component(name=name)
    return OptimSpec(lr=lr, rule="test", optimizer=component)


def job(dataset, folder, name: str, **changes) -> Job:
    stops = changes.pop("should_stop", lambda: False)
    spec = tiny_spec(optim=optim_of(name), **changes)
    run_dir = RunDir(folder / spec.run_id)
    run_dir.path.mkdir(parents=True, exist_ok=True)
    return Job(
        spec=spec, run_dir=run_dir, dataset=dataset, resources=Resources(), should_stop=stops
    )


@pytest.mark.parametrize("name", NAMES)
def test_it_learns_and_resumes_to_the_same_bits(dataset, tmp_path, name):
    installed(name)
    undisturbed = job(dataset, tmp_path / "a", name)
    expected = train_run(undisturbed)
    assert expected is not None and expected.val_loss_nats is not None
    curve = read_curve(undisturbed.run_dir)
    first = curve[0].val_loss_nats
    assert first is not None and expected.val_loss_nats < first
    asked = 0

    def stop_once() -> bool:
        nonlocal asked
        asked += 1
        return asked == 17

    broken = job(dataset, tmp_path / "b", name, should_stop=stop_once)
    assert train_run(broken) is None
    assert checkpoint.checkpoint_steps(broken.run_dir) == [17]
    resumed = train_run(job(dataset, tmp_path / "b", name))
    assert resumed is not None and resumed.val_loss_nats == expected.val_loss_nats
    losses = [[(p.step, p.train_loss_nats, p.val_loss_nats) for p in points]
              for points in (curve, read_curve(broken.run_dir))]  # fmt: skip
    assert losses[0] == losses[1]


@pytest.mark.parametrize("name", NAMES)
def test_measuring_more_often_changes_no_bit(dataset, tmp_path, name):
    installed(name)
    ends = []
    for count in (1, 20):
        often = EvalSpec(val_tokens=512, curve_tokens=256, curve_points=count)
        record = train_run(job(dataset, tmp_path / str(count), name, eval=often))
        assert record is not None
        ends.append(record.val_loss_nats)
    assert ends[0] == ends[1]


@pytest.mark.parametrize("name", NAMES)
def test_its_state_takes_at_most_the_bytes_that_it_says(name):
    part, model = installed(name), build(tiny_model())
    optimizer = make_optimizer(model, optim_of(name), "cpu")
    size_of(model).backward()
    for _ in range(2):
        optimizer.step()
    params = sum(weight.numel() for weight in model.parameters())
    taken = sum(map(state_bytes, optimizer.state.values()))
    assert 0 < taken <= part.state_bytes_per_param * params + 8 * len(optimizer.state)


def size_of(model: torch.nn.Module) -> torch.Tensor:
    return torch.stack([weight.square().sum() for weight in model.parameters()]).sum()


def state_bytes(value: object) -> int:
    if isinstance(value, torch.Tensor):
        return value.nbytes
    if isinstance(value, dict):
        return sum(map(state_bytes, value.values()))
    return sum(map(state_bytes, value)) if isinstance(value, list) else 0


def test_muon_leaves_tables_head_and_gains_to_adamw():
    installed("muon")
    model = build(tiny_model())
    optimizer = make_optimizer(model, optim_of("muon"), "cpu")
    size_of(model).backward()
    optimizer.step()
    by_adamw = {
        name for name, weight in model.named_parameters() if "exp_avg" in optimizer.state[weight]
    }
    by_muon = {name for name, _ in model.named_parameters()} - by_adamw
    assert {"embedding.weight", "head.weight"} <= by_adamw
    assert by_muon and all(name.startswith("blocks.") for name in by_muon)
    assert all(model.get_parameter(name).ndim == 2 for name in by_muon)


def test_weights_are_trained_as_before_once_their_average_is_evaluated():
    installed("schedule_free")
    model = build(tiny_model())
    optimizer = make_optimizer(model, optim_of("schedule_free"), "cpu")
    for _ in range(3):
        optimizer.zero_grad()
        size_of(model).backward()
        optimizer.step()
    trained = [weight.detach().clone() for weight in model.parameters()]
    with evaluated(optimizer):
        assert not torch.equal(next(model.parameters()), trained[0])
    assert all(map(torch.equal, model.parameters(), trained))


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("lion", r"optim\.name: lion: needs pytorch-optimizer: pip install .*\[optimizers\]"),
        ("schedule_free", "needs schedulefree: pip install"),
    ],
)
def test_a_library_that_is_not_installed_is_named(monkeypatch, name, says):
    def nothing(package: str) -> str:
        raise importlib.metadata.PackageNotFoundError(package)

    monkeypatch.setattr(importlib.metadata, "version", nothing)
    with pytest.raises(ConfigError, match=says):
        planned(config_of(ONE_SIZE, f"optim.name={name}"), cpu_profile(), None)
    with pytest.raises(ConfigError, match=f"the optimizer {name}: needs"):
        make_optimizer(build(tiny_model()), optim_of(name), "cpu")


def test_an_older_torch_has_no_muon(monkeypatch):
    monkeypatch.setattr(importlib.metadata, "version", lambda package: "2.8.1+cpu")
    with pytest.raises(ConfigError, match=r"muon: needs torch 2\.9 or later, found 2\.8\.1"):
        planned(config_of(ONE_SIZE, "optim.name=muon"), cpu_profile(), None)
