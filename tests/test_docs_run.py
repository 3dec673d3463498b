"""Every command of README and docs runs, on the reference results or on sweeps of seconds.

What would train for minutes or hours is planned (``--dry-run``) and not trained. A page's names
(``results/quick``, ``a.csv``) are those of a folder that has them all.
"""

from __future__ import annotations

import json
import re
import shlex
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from scaling_law.cli.main import main
from tests.tables import written
from tests.tables.test_import import UI
from tests.test_docs import PAGES, ROOT, command_lines

REFERENCE = ROOT / "results" / "reference"
NANO = """
name: {name}
data: {{corpus: synthetic, tokenizer: bytes, vocab_size: 257, max_bytes: 1MB}}
model: {{n_ctx: 16}}
grid:
  - sizes: [{sizes}]
    tokens: [4k, 8k]
    seeds: [0, 1]
optim: {{rule: slaw_small, batch_tokens: 128, lr_mult: {lr_mult}}}
eval: {{val_tokens: 2048, curve_tokens: 1024, curve_points: 4}}
keep_weights: all
"""
TEXTS = """
name: doc
data: {corpus: texts, tokenizer: bytes, vocab_size: 257, val_fraction: 0.2, clean: [length]}
model: {n_ctx: 16}
grid: [{sizes: [nano14k], tokens: [4k]}]
optim: {rule: slaw_small, batch_tokens: 128}
"""
# What runs in the place of a page's line: pattern, replacement.
INSTEAD = (
    (r"^slaw run --adaptive (--target \S+).*", r"slaw plan \1 --time 4h"),  # no dry run
    (r"^slaw run (?!.*--dry-run)(.*)", r"slaw run \1 --dry-run"),
    (r"^(slaw (?:tune|ablate)\b.*)", r"\1 --dry-run"),
    (r"^(slaw experiments --run-all.*)", r"\1 --dry-run"),
    (r"(results/t --metric) NAME", r"\1 multiple_choice.val.accuracy"),
    (r"^slaw sample results/quick", "slaw sample results/base"),
    (r"^slaw mix results/mine(?: --tokens \S+)?", "slaw mix results/reference/mixing"),
    (r"^slaw (extrapolate|allocate|forecast)(?!.*--(results|law))(.*)",
     r"slaw \1 --results results/quick\3"),
    (r"^(slaw compare .*)", r"\1 --columns loss=val_loss"),
    (r"^(slaw (?:fit|validate|report) runs\.csv(?!.*--columns).*)", r"\1 --columns loss=val_loss"),
    (r"^(slaw plan .*--beside .*)", r"\1 --columns loss=val_loss"),
    (r"^(slaw import .*--out) \S+", r"\1 imported.csv"),  # not in the place of another page's table
    (r" --engine (slurm|ray)", " --engine local"),
    (r" --detach", ""),
)  # fmt: skip
# Lines that end with another code here, with what they then say.
ENDS = {"slaw forecast --score --results results/mine": (4, "no run to score yet")}


def lines() -> list[str]:
    """Each command of the pages, once, in their order."""
    return list(dict.fromkeys(line for page in PAGES for line in command_lines(page)))


def write_table(path: Path, better: float) -> None:
    rows = ["N,D,params,tokens,val_loss,trunk"]
    for i, params in enumerate((1e7, 3e7, 1e8, 3e8)):
        for factor in (10, 20, 40):
            tokens = params * factor
            noise = 1 + 0.001 * ((i * 7 + factor) % 5 - 2)
            loss = (1.7 + 400 / (better * params) ** 0.34 + 410 / tokens**0.28) * noise
            rows.append(f"{params},{tokens},{params},{tokens},{loss},t{i}")
    path.write_text("\n".join(rows) + "\n")


def write_exports(folder: Path) -> None:
    """What other programs write, under the names of the page on imports."""
    (folder / "ui.csv").write_text(UI)
    for i, loss in ((1, 3.3), (2, 3.1)):
        history = [
            {"_step": step, "val/loss": loss + 1 - step / 4, "tokens": 2e6 * step}
            for step in (1, 2, 3, 4)
        ]
        log = written.wandb_log(f"abc{i}", f"run-{i}", {"n_params": 10**6 * i}, history)
        written.wandb_folder(folder, f"abc{i}", log=log)
        for made in (folder / "logs", folder / "ladder" / f"{i}B"):
            made.mkdir(parents=True, exist_ok=True)
        text = written.NANOGPT.format(params=f"{i}0M", loss=loss)
        (folder / "logs" / f"{i}.log").write_text(text)
        metrics = {"eval/lm/c4/CE loss": loss, "throughput/total tokens": 3.8e9 * i}
        (folder / "ladder" / f"{i}B" / "metrics.json").write_text(json.dumps(metrics))
    (folder / "sizes.csv").write_text("run,params\n1B,1e9\n2B,2e9\n")


def words_of(command: str) -> list[str]:
    """The words of a command as a shell passes them: names with a star are those of files."""
    words = []
    for word in shlex.split(command)[1:]:
        words += sorted(map(str, Path().glob(word))) if "*" in word else [word]
    return words


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with all that the pages name; the sweeps ``base`` and ``lowlr`` are trained."""
    folder = tmp_path_factory.mktemp("pages")
    results = folder / "results"
    for name, source in (("quick", "quick-cpu"), ("mine", "quick-cpu"), ("t", "downstream")):
        shutil.copytree(REFERENCE / source, results / name)
    for name in ("quick-cpu", "downstream", "emergence", "mixing"):
        shutil.copytree(REFERENCE / name, results / "reference" / name)
    for name, better in (("runs", 1.0), ("a", 1.0), ("b", 1.2)):
        write_table(folder / f"{name}.csv", better)
    for name, lr_mult, widths in (
        ("sweep", 1.0, (8, 16, 32)), ("base", 1.0, (8, 16)), ("lowlr", 0.3, (8, 16)),
    ):  # fmt: skip
        sizes = ", ".join(f"{{n_layer: 1, d_model: {width}, n_head: 2}}" for width in widths)
        config = NANO.format(name=name, lr_mult=lr_mult, sizes=sizes)
        (folder / f"{name}.yaml").write_text(config)
    longer = (results / "mine" / "sweep.yaml").read_text().replace("count: 4", "count: 5")
    (folder / "next.yaml").write_text(longer)
    write_exports(folder)
    (folder / "doc.yaml").write_text(TEXTS)
    (folder / "start.txt").write_text("The ")
    (folder / "texts").mkdir()
    for i in range(40):
        (folder / "texts" / f"{i}.txt").write_text(f"The document number {i} has words. " * 40)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for name in ("base", "lowlr"):
            assert main(["run", f"{name}.yaml"]) == 0
        for name, source in (("a", "base"), ("b", "lowlr")):
            shutil.copytree(results / source, results / name)
        yield folder


@pytest.mark.slow
def test_every_command_of_the_pages_runs(folder, capsys):
    trained = sorted(path.parent.name for path in (folder / "results/base").rglob("weights.pt"))
    failed = []
    for line in lines():
        command = line.replace("--run RUN", f"--run {trained[0]}")
        for pattern, replacement in INSTEAD:
            command = re.sub(pattern, replacement, command)
        expected, says = ENDS.get(line, (0, ""))
        capsys.readouterr()
        code = main(words_of(command))
        said = capsys.readouterr()
        if code != expected or says not in said.out + said.err:
            failed.append(f"{line}\n  run as: {command}\n  exit {code}: {said.err.strip()[-300:]}")
    assert not failed, "\n".join(failed)
