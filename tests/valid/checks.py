"""What must hold of every config that is accepted: of its plan, its models and its records."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from pathlib import Path

import torch
from torch.utils.flop_counter import FlopCounterMode

from scaling_law import parts
from scaling_law.config.load import load_config
from scaling_law.config.written import config_key, config_yaml
from scaling_law.data.access import open_data
from scaling_law.data.dataset import Dataset
from scaling_law.errors import EXIT_OK
from scaling_law.files import layout
from scaling_law.files.layout import RunDir, SweepDir
from scaling_law.files.record import RunRecord, read_curve, read_record
from scaling_law.plan.plan import plan_from_json
from scaling_law.run.request import Request
from scaling_law.run.session import run_sweep
from scaling_law.spec.architectures import architecture_of
from scaling_law.spec.counts import count_params, flops_per_token, train_flops
from scaling_law.spec.from_json import run_spec_from_json
from scaling_law.spec.model import Model
from scaling_law.spec.run import RunSpec
from scaling_law.spec.to_json import canonical_json, to_json
from scaling_law.train import checkpoint
from scaling_law.train.architectures import build
from scaling_law.train.optim import make_optimizer
from tests.valid.draw import Drawn

# What two trainings of one run may differ in: the clock, the memory of the process, the folder.
OF_THE_DAY = ("seconds", "tokens_per_second", "peak_memory_bytes", "finished_at", "curve_sha256")
# Planned bytes of activations over those that autograd saves for the backward pass.
# The plan counts the gradient of the logits too, which is most of a small model.
ACTIVATIONS_WITHIN = (0.75, 4.0)


def check_config(drawn: Drawn, folder: Path) -> None:
    """The config that is written reads back as equal, and is planned as the same runs."""
    path = folder / "written.yaml"
    path.write_text(config_yaml(drawn.config))
    again = load_config(path, device_kind="cpu")
    assert again == drawn.config
    assert config_key(again) == config_key(drawn.config)


def check_plan(drawn: Drawn) -> None:
    """Plan and specs survive JSON; a run's id is the hash of its spec."""
    assert plan_from_json(json.loads(json.dumps(drawn.plan.stored()))) == drawn.plan
    assert len({run.run_id for run in drawn.plan.runs}) == len(drawn.plan.runs)
    for run in drawn.plan.runs:
        text = canonical_json(to_json(run.spec))
        spec = run_spec_from_json(json.loads(text))
        assert spec == run.spec
        digest = hashlib.sha256(text.encode()).hexdigest()[:10]
        assert spec.run_id == run.run_id == f"{spec.label}-{digest}"


def check_models(drawn: Drawn) -> None:
    """Each model is built as it is counted, and takes the FLOPs and bytes that are planned."""
    for spec in {run.spec.model: run.spec for run in drawn.plan.runs}.values():
        data = open_data(spec.data)
        _check_params(spec.model)
        if architecture_of(spec.model).solves:  # tests/train/test_closed_form.py counts those
            continue
        _check_flops(spec, data)
        _check_memory(spec, data)


def _check_params(model: Model) -> None:
    counts = count_params(model)
    module = build(model)
    assert sum(weight.numel() for weight in module.parameters()) == counts.total
    assert counts.total == sum(counts.groups.values())
    assert 0 < counts.non_embedding <= counts.total


def _inputs(spec: RunSpec, data: Dataset) -> tuple[torch.Tensor, torch.Tensor]:
    batch = data.batch("train", 0, batch_seqs=2, n_ctx=spec.model.n_ctx, seed=0)
    return torch.from_numpy(batch.inputs), torch.from_numpy(batch.targets)


def _check_flops(spec: RunSpec, data: Dataset) -> None:
    """A training step is three forward passes, whose matrices multiply as often as is counted.

    Attention takes what is counted, or less where it skips later positions, or nothing where torch
    does not count its kernel.
    """
    model = spec.model
    inputs, _ = _inputs(spec, data)
    module = build(model)
    if any(isinstance(part, torch.nn.LSTM) for part in module.modules()):
        module = module.double()  # in fp32 oneDNN runs it as one operator, which is not counted
    with FlopCounterMode(display=False) as counter:
        outputs = module(inputs)
    by_operator = {str(op): flops for op, flops in counter.get_flop_counts()["Global"].items()}
    if "aten.convolution" in by_operator:
        # a kernel is used at many places, and the first passes no gradient to the images;
        # tests/experiments/test_images.py counts each
        whole = 3 * counter.get_total_flops()
        assert whole * 2 / 3 <= flops_per_token(model) * len(inputs) * model.n_ctx <= whole
        return
    matrices = sum(n for op, n in by_operator.items() if op in ("aten.mm", "aten.addmm"))
    others = 3 * (counter.get_total_flops() - matrices)
    positions = outputs.shape[0] * outputs.shape[1]
    assert 3 * matrices == 6 * count_params(model).matmul * positions
    counted = flops_per_token(model) * len(inputs) * model.n_ctx - 3 * matrices
    assert others == 0 or 0.5 * counted <= others <= counted, (others, counted)


def _check_memory(spec: RunSpec, data: Dataset) -> None:
    """Activations are planned within bounds; the optimizer's state is what its part says."""
    model = spec.model
    inputs, targets = _inputs(spec, data)
    module = build(model)
    optimizer = make_optimizer(module, spec.optim, "cpu")
    weights = {weight.data_ptr() for weight in module.parameters()}
    saved: dict[int, int] = {}

    def note(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            saved[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        outputs = module(inputs)[:, -targets.shape[1] :]
        loss = torch.nn.functional.cross_entropy(outputs.flatten(0, 1), targets.flatten())
        planned = architecture_of(model).activation_bytes(model, len(inputs), "fp32", False)
        low, high = ACTIVATIONS_WITHIN
        taken = sum(saved.values())
        assert low < planned / taken < high, f"{planned} bytes planned, {taken} saved: {model}"
        loss.backward()
    optimizer.step()
    params = count_params(model).total
    part = parts.load("optimizer", spec.optim.component.reference)
    state = [t for own in optimizer.state.values() for t in own.values() if torch.is_tensor(t)]
    numbers = sum(t.nbytes for t in state if t.ndim)
    assert numbers <= part.state_bytes_per_param * params


def train(drawn: Drawn, folder: Path, engine: Path) -> SweepDir:
    """Train every run of a config in this process, as ``slaw run`` does."""
    config = folder.with_suffix(".yaml")
    config.write_text(drawn.text)
    sweep, plan, outcome = run_sweep(
        Request(
            config=str(config),
            device="cpu",
            overrides=("trackers=[]",),
            out=str(folder),
            engine=str(engine),
        ),
        lambda line: None,
    )
    assert outcome.exit_code == EXIT_OK, {**outcome.failed, **outcome.blocked}
    assert [run.spec for run in plan.runs] == [run.spec for run in drawn.plan.runs]
    assert len(outcome.done) + len(outcome.diverged) + len(outcome.blocked) == len(plan.runs)
    return sweep


def check_records(drawn: Drawn, straight: SweepDir, resumed: SweepDir) -> None:
    """Records hold what was planned, read back as equal, and are the same after a stop."""
    for run in drawn.plan.runs:
        if not straight.run(run.run_id).record.is_file():  # its trunk diverged
            assert not resumed.run(run.run_id).record.is_file()
            continue
        one, other = (read_record(sweep.run(run.run_id).record) for sweep in (straight, resumed))
        _check_record(one, run.spec, straight.run(run.run_id))
        changing = dict.fromkeys(OF_THE_DAY)
        assert {**to_json(one), **changing} == {**to_json(other), **changing}
        curves = [read_curve(sweep.run(run.run_id)) for sweep in (straight, resumed)]
        plain = [[dataclasses.replace(p, seconds=0) for p in points] for points in curves]
        assert plain[0] == plain[1]
        _check_same_weights(straight.run(run.run_id), resumed.run(run.run_id))


def _check_record(record: RunRecord, spec: RunSpec, run_dir: RunDir) -> None:
    assert record.spec == spec and record.run_id == spec.run_id == run_dir.path.name
    written = layout.read_json(run_dir.record)
    assert {key: written[key] for key in to_json(record)} == to_json(record)
    counts = count_params(spec.model)
    assert (record.params_total, record.params_non_embedding, record.params_matmul) == (
        counts.total, counts.non_embedding, counts.matmul,
    )  # fmt: skip
    if record.status == "done":
        assert record.tokens == spec.tokens
        assert record.flops_exact == train_flops(spec.model, spec.tokens)
        assert 0 < record.tokens_unique <= record.tokens
    assert record.metrics.keys() >= record.metric_units.keys() or record.status != "done"


def _check_same_weights(one: RunDir, other: RunDir) -> None:
    if not one.weights.is_file():
        assert not other.weights.is_file()
        return
    first, second = (checkpoint.load_checkpoint(run.weights)["model"] for run in (one, other))
    assert first.keys() == second.keys()
    for name, weight in first.items():
        assert torch.equal(weight, second[name]), name
