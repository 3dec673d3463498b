"""The change drills of CONTRIBUTING.md: each kind of part is added to a copy of the package.

Each part is one file (two for an architecture and an experiment); no existing file is changed. Each
part is found by its name, runs end to end, and shows in the plan and the report.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from scaling_law import parts
from scaling_law.plan.device_profile import save_profile
from tests.fakes import cpu_profile

ROOT = Path(__file__).resolve().parents[1]
COPIED = ("scaling_law", "configs", "experiments")

FILES = {
    "scaling_law/fit/laws/drill_law.py": '''
from scaling_law.fit.laws.law import Law, Term

LAW = Law(
    name="drill_law",
    terms=(
        Term(coefficient="A", slopes=(("params", -1.0, "alpha"),)),
        Term(coefficient="B", slopes=(("tokens", -1.0, "beta"),)),
    ),
    exponents={"alpha": (0.0, 2.0), "beta": (0.0, 2.0)},
    latex="L = A/N^alpha + B/D^beta",
    source="a drill",
    fitted_on="all",
    rank=99,
)
''',
    "scaling_law/data/sources/drill_corpus.py": '''
from scaling_law.data.sources import Corpus, Document


def read(request):
    for number in range(60):
        words = (f"w{(number * 7 + k * k) % 97} is {k % 13}." for k in range(60))
        yield Document(f"drill/{number}", " ".join(words), "drill")


CORPUS = Corpus(
    name="drill_corpus", description="made up", licence="none", how="made by rule",
    domains=("drill",), read=read, state=lambda: 1,
)
''',
    "scaling_law/data/cleaners/drill_cleaner.py": '''
from scaling_law.data.cleaners import Cleaner, Dropped


def judge(settings):
    return lambda text: Dropped("a drill") if text.startswith("w7 ") else None


CLEANER = Cleaner(judge=judge)
''',
    "scaling_law/data/tasks/drill_task.py": '''
from scaling_law.data.batch import Batch
from scaling_law.data.tasks import Task


def examples(settings, split, indices):
    import numpy as np

    digits = np.stack([indices % 5, indices // 5 % 5], axis=1)
    return Batch(inputs=digits, targets=digits.sum(1, keepdims=True) % 5)


TASK = Task(
    vocab_size=lambda settings: 5,
    n_ctx=lambda settings: 2,
    splits=lambda settings: {"train": 20, "val": 5, "val:again": 5},
    examples=examples,
)
''',
    "scaling_law/train/objectives/drill_objective.py": '''
from scaling_law.train.objectives import Objective


def loss(outputs, targets, settings):
    import torch.nn.functional as F

    logits = outputs.float()
    flat = F.cross_entropy(logits.flatten(0, 1), targets.flatten(), reduction="none")
    return flat.view(targets.shape) / 2


OBJECTIVE = Objective(loss=loss, unit="half nats per token", comparable="drill")
''',
    "scaling_law/train/optimizers/drill_optimizer.py": '''
from scaling_law.train.optimizers import Optimizer


def make(groups, optim, settings, device):
    import torch

    return torch.optim.RMSprop(groups, lr=optim.lr)


OPTIMIZER = Optimizer(make=make, state_bytes_per_param=4)
''',
    "scaling_law/spec/schedules/drill_schedule.py": '''
from scaling_law.spec.schedules import Schedule

SCHEDULE = Schedule(
    factor=lambda step, total, spec, settings: 1 - step / total,
    annealed=lambda spec, settings: True,
)
''',
    "scaling_law/spec/cooldowns/drill_cooldown.py": '''
from scaling_law.spec.cooldowns import Cooldown

COOLDOWN = Cooldown(shape=lambda progress, settings: 1 - progress**3)
''',
    "scaling_law/spec/hyperparams/drill_rule.py": '''
from scaling_law.spec.hyperparams import Rule, choice

RULE = Rule(choose=lambda sizing, settings: choice(sizing, lr=0.004, batch_tokens=64))
''',
    "scaling_law/train/parametrisations/drill_parametrisation.py": '''
from scaling_law.train.parametrisations import Parametrisation

PARAMETRISATION = Parametrisation(
    initial=lambda role, width, settings: 0.5,
    lr=lambda role, width, settings: 2.0 if role == "hidden" else 1.0,
    output=lambda width, settings: 1.0,
    attention=lambda head_size, settings: 1.0,
)
''',
    "scaling_law/train/number_formats/drill_format.py": '''
from scaling_law.train.number_formats import NumberFormat, by_rows

NUMBER_FORMAT = NumberFormat(
    round=lambda numbers, settings: by_rows(numbers, 15.0, lambda scaled: scaled.round()),
    bits=lambda settings: 5,
)
''',
    "scaling_law/train/probes/drill_probe.py": '''
from scaling_law.train.probes import Probe

PROBE = Probe(
    measure=lambda subject, settings: sum(p.numel() for p in subject.model.parameters()),
    unit="weights",
)
''',
    "scaling_law/run/trackers/drill_tracker.py": '''
from scaling_law.run.trackers import TrackerPart


class Lines:
    def __init__(self, folder):
        folder.mkdir(parents=True, exist_ok=True)
        self.file = (folder / "drill.txt").open("a")

    def points(self, spec, started, points):
        for point in points:
            print(spec.label, point.step, file=self.file, flush=True)

    def end(self, spec, record):
        print(spec.label, "ended", file=self.file, flush=True)

    def close(self):
        self.file.close()


TRACKER = TrackerPart(open=lambda folder, sweep, settings: Lines(folder))
''',
    "scaling_law/tables/formats/drill_table.py": '''
from scaling_law.tables.formats import Format, Source, SourceRun


def read(path):
    rows = (line.split() for line in path.read_text().splitlines())
    names = ("params", "tokens", "val_loss")
    return Source(runs=tuple(SourceRun(name=n, values=dict(zip(names, row))) for n, *row in rows))


FORMAT = Format(sniff=lambda path: "drilled" if path.suffix == ".drill" else "", read=read)
''',
    "scaling_law/run/engines/drill_engine.py": '''
import dataclasses

from scaling_law.run.engines import local

ENGINE = dataclasses.replace(local.ENGINE, environment=lambda: {"engine": "drill"})
''',
    "scaling_law/spec/architectures/drill_architecture.py": '''
from dataclasses import dataclass

from scaling_law.spec.architectures import Architecture
from scaling_law.spec.counts import ParamCounts


@dataclass(frozen=True, kw_only=True)
class Shape:
    rank: int


def counts(model):
    rank = dict(model.shape)["rank"]
    groups = {"down": model.vocab_size * rank, "up": rank * model.vocab_size}
    matmul = groups["up"]
    return ParamCounts(groups=groups, non_embedding=matmul, matmul=matmul)


ARCHITECTURE = Architecture(
    shape=Shape,
    count_params=counts,
    flops_per_token=lambda model: 6 * counts(model).matmul,
    activation_bytes=lambda model, seqs, precision, checkpointing: seqs * 4 * model.vocab_size,
)
''',
    "scaling_law/train/architectures/drill_architecture.py": '''
import torch
from torch import nn

from scaling_law.train.architectures import Module


def build(model, seed, gradient_checkpointing):
    rank = dict(model.shape)["rank"]
    generator = torch.Generator().manual_seed(seed)
    net = nn.Sequential(
        nn.Embedding(model.vocab_size, rank), nn.Linear(rank, model.vocab_size, bias=False)
    )
    with torch.no_grad():
        for weight in net.parameters():
            weight.normal_(0.0, 0.1, generator=generator)
    return net


MODULE = Module(build=build)
''',
    "experiments/drill_experiment.py": '''
from scaling_law.experiment import Experiment, Outcome, Planted
from scaling_law.experiment.findings import Claim, Findings


def analyse(evidence):
    losses = [run.record.val_loss_nats for run in evidence.runs]
    lowest = min(losses, default=None)
    return Findings(
        verdict=f"the lowest loss of {len(losses)} runs is {lowest}",
        measures={"lowest": lowest},
    )


EXPERIMENT = Experiment(
    question="Does the drill run?",
    analyse=analyse,
    planted=Planted(
        outcome=lambda spec: Outcome(val_loss_nats=1.0), measures={"lowest": (1.0, 1.0)}
    ),
)
''',
    "experiments/drill_experiment.yaml": """
name: drill_experiment
experiment: drill_experiment
data: {source: drill_task}
model: {architecture: drill_architecture}
grid:
  - sizes: [{rank: 3}]
    steps: [20]
    seeds: [0, 1]
schedule: {shape: drill_schedule}
optim: {lr: 0.01, batch_examples: all, warmup_tokens: 40}
probes: [drill_probe]
precision: fp32
""",
}  # fmt: skip
# A user's own corpus, named by its path, beside the config and outside the package.
OWN_CORPUS = """
from dataclasses import dataclass

from scaling_law.data.sources import Corpus, Document


@dataclass(frozen=True, kw_only=True)
class Settings:
    step: int = 3


def read(request):
    for number in range(80):
        text = " ".join(f"{number * k % 89}" for k in range(0, 120, request.settings.step))
        yield Document(f"own/{number}", f"{number}: {text}", "own")


CORPUS = Corpus(
    name="drill_own", description="made up", licence="none", how="made by rule",
    domains=("own",), read=read, state=lambda: 1, settings=Settings,
)
"""
# Both corpora in a mixture that changes at the cooldown.
MIXED = """
name: mixed
data:
  sources: {own: {corpus: drill_own.py, step: 2}, drill: {corpus: drill_corpus}}
  phases: [{mix: natural, until: cooldown}, {mix: {own: 0.75, drill: 0.25}}]
  tokenizer: bytes
  vocab_size: 257
  val_fraction: 0.2
model: {n_ctx: 16}
grid:
  - sizes: [{n_layer: 1, d_model: 8, n_head: 2}]
    tokens: [4k, 8k]
optim: {batch_tokens: 64, lr: 0.004, warmup_tokens: 640}
eval: {val_tokens: 512, curve_tokens: 256, curve_points: 4}
precision: fp32
"""
# All parts of a text sweep together; the experiment's own config has the others.
SWEEP = """
name: drills
data:
  {corpus: drill_corpus, tokenizer: bytes, vocab_size: 257, val_fraction: 0.2, max_epochs: 50,
   clean: [drill_cleaner]}
model: {n_ctx: 16, parametrisation: drill_parametrisation}
grid:
  - sizes: [{n_layer: 1, d_model: 8, n_head: 2}]
    tokens: [4k, 8k]
optim: {name: drill_optimizer, rule: drill_rule}
schedule: {cooldown: drill_cooldown}
objective: drill_objective
number_format: drill_format
probes: [drill_probe]
trackers: [drill_tracker]
engine: drill_engine
eval: {val_tokens: 512, curve_tokens: 256, curve_points: 4}
precision: fp32
limits: {time: 1h}
"""

# Files of a user's own, named by their path.
OWN_LAW = FILES["scaling_law/fit/laws/drill_law.py"]
OWN_CLOSED_FORM = """
from dataclasses import dataclass

from scaling_law.spec.architectures import Architecture
from scaling_law.spec.counts import ParamCounts


@dataclass(frozen=True, kw_only=True)
class Shape:
    inputs: int


def counts(model):
    inputs = dict(model.shape)["inputs"]
    return ParamCounts(groups={"slopes": inputs}, non_embedding=inputs, matmul=inputs)


def build(model, seed, gradient_checkpointing):
    from torch import nn

    inputs = dict(model.shape)["inputs"]

    class Slopes(nn.Module):
        def __init__(self):
            super().__init__()
            self.line = nn.Linear(inputs, 1, bias=False)

        def forward(self, numbers):
            return self.line(numbers[:, :inputs])

    return Slopes()


def solve(module, batches):
    import torch

    inputs, targets = zip(*((b.inputs, b.targets) for b in batches()), strict=True)
    known = torch.cat(inputs)[:, : module.line.in_features]
    with torch.no_grad():
        module.line.weight.copy_(torch.linalg.lstsq(known, torch.cat(targets)).solution.T)


ARCHITECTURE = Architecture(
    shape=Shape,
    inputs="numbers",
    one_output=True,
    count_params=counts,
    flops_per_token=lambda model: 6 * counts(model).matmul,
    activation_bytes=lambda model, seqs, precision, checkpointing: 1000,
    solves="squared_error",
    solve_flops=lambda model, examples: 2 * counts(model).matmul ** 2 * examples,
    build=build,
    solve=solve,
)
"""
CLOSED_FORM = """
name: closed
data: {source: teacher, dimension: 16, exponent: 1, val_examples: 256}
model: {architecture: own_form.py}
objective: squared_error
grid:
  - sizes: [{inputs: 2}, {inputs: 4}, {inputs: 8}]
    examples: [32, 64, 128]
"""


@dataclass(frozen=True)
class Copy:
    """A copy of the package with the drills' files in it."""

    folder: Path
    untouched: dict[str, str]

    def slaw(self, *words: str) -> str:
        """Run a command of the copy."""
        return self._run("-m", "scaling_law.cli", *words)

    def python(self, code: str, *words: str) -> str:
        """Run code that imports the copy."""
        return self._run("-c", code, *words)

    def _run(self, *words: str) -> str:
        environment = {**os.environ, "PYTHONPATH": str(self.folder)}
        done = subprocess.run(
            [sys.executable, *words],
            capture_output=True, text=True, cwd=self.folder, env=environment, timeout=600,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return done.stdout + done.stderr


def hashes(folder: Path) -> dict[str, str]:
    """The SHA-256 of every file that is copied, by its path."""
    files = (path for top in COPIED for path in (folder / top).rglob("*") if path.is_file())
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in files
        if "__pycache__" not in path.parts
    }


@pytest.fixture(scope="module")
def copy(tmp_path_factory) -> Copy:
    folder = tmp_path_factory.mktemp("drills")
    for top in COPIED:
        shutil.copytree(ROOT / top, folder / top, ignore=shutil.ignore_patterns("__pycache__"))
    before = hashes(folder)
    for name, text in FILES.items():
        assert not (folder / name).exists(), f"{name} is there already"
        (folder / name).write_text(text)
    (folder / "drills.yaml").write_text(SWEEP)
    (folder / "mixed.yaml").write_text(MIXED)
    (folder / "drill_own.py").write_text(OWN_CORPUS)
    return Copy(folder, before)


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("SLAW_CACHE", str(tmp_path / "cache"))
    version = importlib.metadata.version("torch")
    save_profile(cpu_profile(torch_version=version), "cpu")


def folder_of(kind: parts.Kind) -> str:
    """Where the files of a kind lie, in a checkout."""
    return kind.beside or kind.package.replace(".", "/")


def test_every_kind_of_part_has_a_drill():
    folders = {Path(name).parent.as_posix() for name in FILES}
    needed = {folder_of(kind) for kind in parts.KINDS.values()}
    assert needed <= folders, f"without a drill: {sorted(needed - folders)}"


def test_parts_are_found_by_name(copy):
    listed = copy.python(
        "import sys; from scaling_law.cli.main import main\n"
        "for word in sys.argv[1:]: print('\x1e' + word); main(['parts', word])",
        *parts.KINDS,
    )
    lists = dict(one.split("\n", 1) for one in listed.split("\x1e")[1:])
    for word, kind in parts.KINDS.items():
        (name,) = (
            Path(file).stem for file in FILES
            if Path(file).parent.as_posix() == folder_of(kind) and file.endswith(".py")
        )  # fmt: skip
        assert name in lists[word], f"slaw parts {word} does not list {name}"


@pytest.mark.slow
def test_a_sweep_of_new_parts_runs_and_shows_them(copy, cache):
    plan = copy.slaw("run", "drills.yaml", "--device", "cpu", "--dry-run")
    copy.slaw("run", "drills.yaml", "--device", "cpu")
    folder = copy.folder / "results" / "drills"
    copy.slaw("report", str(folder))
    page = (folder / "report.html").read_text()
    for name in ("drill_optimizer", "drill_rule", "drill_cooldown", "drill_objective",
                 "drill_parametrisation", "drill_corpus", "drill_format",
                 "drill_probe"):  # fmt: skip
        assert name in plan, f"the plan does not show {name}"
        assert name in page, f"the report does not show {name}"
    records = [json.loads(p.read_text()) for p in folder.glob("runs/*/record.json")]
    assert len(records) == 3 and all(record["status"] == "done" for record in records)
    assert all(record["metrics"]["drill_probe"] > 0 for record in records)
    assert all(record["environment"] == {"engine": "drill"} for record in records)
    assert "ended" in next(folder.rglob("drill.txt")).read_text()


@pytest.mark.slow
def test_a_mixture_of_a_new_corpus_and_one_by_its_path_runs(copy, cache):
    plan = copy.slaw("run", "mixed.yaml", "--device", "cpu", "--dry-run")
    assert "corpus drill_corpus, drill_own (step=2, own file " in plan
    assert "mixture: natural until cooldown then drill=0.25 own=0.75" in plan
    copy.slaw("run", "mixed.yaml", "--device", "cpu")
    folder = copy.folder / "results" / "mixed"
    assert (folder / "parts" / "corpus" / "drill_own.py").read_text() == OWN_CORPUS
    records = [json.loads(p.read_text()) for p in folder.glob("runs/*/record.json")]
    assert len(records) == 3 and all(record["status"] == "done" for record in records)
    for record in records:
        assert {"loss.val:own", "loss.val:drill", "epochs.own"} <= record["metrics"].keys()
    copy.slaw("report", str(folder))
    page = (folder / "report.html").read_text()
    assert "drill_own" in page and "loss.val:drill" in page


@pytest.mark.slow
def test_an_experiment_of_new_parts_runs_and_shows_its_findings(copy, cache):
    assert "drill_experiment" in copy.slaw("experiments")
    plan = copy.slaw("run", "drill_experiment", "--device", "cpu", "--dry-run")
    copy.slaw("run", "drill_experiment", "--device", "cpu")
    folder = str(Path("results") / "drill_experiment")
    measures = json.loads(copy.slaw("report", "--json", folder))["measures"]
    assert 0 < measures["lowest"] < 5
    copy.slaw("report", folder)
    page = (copy.folder / folder / "report.html").read_text()
    assert "The lowest loss of 2 runs is" in page
    for name in ("drill_task", "drill_architecture", "drill_schedule", "drill_probe"):
        assert name in plan, f"the plan does not show {name}"
        assert name in page, f"the report does not show {name}"
    (record,) = {r.read_text() for r in (copy.folder / folder).glob("runs/*seed0*/record.json")}
    assert "loss.val:again" in json.loads(record)["metrics"]


@pytest.mark.slow
def test_a_new_law_is_fitted(copy):
    reference = str(ROOT / "results" / "reference" / "quick-cpu")
    out = str(copy.folder / "fit.json")
    said = copy.slaw("fit", reference, "--law", "drill_law", "--out", out)
    assert "drill_law" in said


def test_a_new_format_is_imported(copy):
    (copy.folder / "runs.drill").write_text("a 1e6 1e7 3.5\nb 2e6 2e7 3.4\n")
    said = copy.slaw("import", "runs.drill", "--out", "runs.csv")
    assert "runs.drill: drilled (format drill_table), 2 runs" in said
    assert (copy.folder / "runs.csv").read_text().startswith("run_id,params,tokens,loss\na,1000000")


@pytest.mark.slow
def test_a_law_from_a_users_own_file_is_fitted(copy):
    (copy.folder / "own_law.py").write_text(OWN_LAW)
    reference = str(ROOT / "results" / "reference" / "quick-cpu")
    out = str(copy.folder / "own_fit")
    said = copy.slaw("fit", reference, "--law", "own_law.py", "--out", out, "--resamples", "0")
    assert "own_law.py: converged" in said
    forecast = copy.slaw(
        "extrapolate", "--results", out, "--law", "own_law.py", "--params", "1e6",
        "--tokens", "1e8",
    )  # fmt: skip
    assert "law own_law.py fitted to" in forecast


@pytest.mark.slow
def test_an_architecture_from_a_users_own_file_is_solved_in_closed_form(copy, cache):
    (copy.folder / "own_form.py").write_text(OWN_CLOSED_FORM)
    (copy.folder / "closed.yaml").write_text(CLOSED_FORM)
    copy.slaw("run", "closed.yaml", "--device", "cpu")
    folder = copy.folder / "results" / "closed"
    records = [json.loads(p.read_text()) for p in folder.glob("runs/*/record.json")]
    assert len(records) == 9 and all(record["status"] == "done" for record in records)
    assert {record["loss_unit"] for record in records} == {"squared error"}
    losses = {(r["params_total"], r["tokens"]): r["val_loss_nats"] for r in records}
    assert losses[8, 128] < losses[4, 128] < losses[2, 128]
    assert "loss: squared error" in copy.slaw("fit", str(folder), "--resamples", "0")


def test_no_existing_file_was_touched(copy):
    now = {name: digest for name, digest in hashes(copy.folder).items() if name not in FILES}
    assert now == copy.untouched
