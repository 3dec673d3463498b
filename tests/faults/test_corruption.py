"""Files flipped, cut, emptied or replaced: read as they were, recovered, or refused by name."""

from __future__ import annotations

import dataclasses
import json
import random
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch

from scaling_law.cli.main import main
from scaling_law.config.written import config_yaml
from scaling_law.errors import SlawError
from scaling_law.files import checksum
from scaling_law.files.layout import RunDir, SweepDir
from scaling_law.files.process import this_process
from scaling_law.files.record import append_curve, read_curve, read_record
from scaling_law.forecast.published import published_law
from scaling_law.plan import device_profile
from scaling_law.run.sweep_state.dashboard import Dashboard
from scaling_law.train import checkpoint
from scaling_law.versions import FIT
from tests.bad_input.world import good_sweep
from tests.fakes import cpu_profile, pinned_text
from tests.faults.kinds import DAMAGES, KINDS, NOTHING, OTHER_THINGS, Kind, World, clear, put
from tests.faults.world import begin_sweep, results, write_text
from tests.inline_engine import InlineExecutor


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """Made once; each case puts back what it damaged."""
    base = tmp_path_factory.mktemp("world")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SLAW_CACHE", str(base / "cache"))
        sweep = begin_sweep(base / "real", write_text(base / "text"))
        assert sweep.run().exit_code == 0
        device_profile.save_profile(cpu_profile(), "cpu")
        fitted = SweepDir(base / "fitted")
        law = published_law("besiroglu2024").to_json()
        kept = {**FIT.stamp({"source_key": ""}), "laws": {"chinchilla": law}}
        kept |= {"best_law": "chinchilla", "seed_noise_log": 0.01, "trust_flops_factor": 10.0}
        checksum.write(fitted.fits / "fit.json", kept)
        states = RunDir(base / "states")
        states.path.mkdir()
        for step in (1, 2):
            state = {"w": torch.full((1000,), float(step)), "step": step}
            checkpoint.save_checkpoint(states, step, state)
        for point in read_curve(sweep.branches[0]):
            append_curve(states, point)
        checksum.write(states.failure, {"error": "boom at step 17", "traceback": "..."})
        beat = {"step": 17, "tokens_per_second": 1234.5, "time": 1.0}
        states.progress.write_text(checksum.line(beat))
        tokenizer = pinned_text(sweep.config, sweep.dir, lambda line: None).tokenizer
        model = {"w": torch.full((1000,), 3.0)}
        checkpoint.save_weights(states, {"model": model, "tokenizer": tokenizer.to_json()})
        gone = dataclasses.replace(this_process(), started="1")
        content = json.dumps({"token": "gone", "process": dataclasses.asdict(gone)})
        states.lease.write_text(f"{content}\n{7:012d}\n")
        Dashboard(sweep.dir).write()
        checksum.write(fitted.adaptive, {"width": 0.125})
        checksum.write(fitted.round_cost(1), {"seconds": 12.5, "flops": 1.5e12})
        text = checksum.text(config_yaml(sweep.config))
        fitted.round_config(1).write_text(text)
        sent = {"sent": {"a-run": 17, "b-run": 4}, "ended": ["b-run"]}
        checksum.write(fitted.tracking("noting") / "sent.json", sent)
        yield World(sweep, fitted, states)


def outcome(kind: Kind, world: World, expected: Any) -> str:
    """The result of reading a damaged file; any other result is a defect."""
    path = kind.path(world)
    try:
        content = kind.read(world)
    except SlawError as refusal:
        assert refusal.exit_code in (2, 3, 4)
        assert len(refusal.lines) == 1
        assert str([path, *path.parents][kind.above]) in refusal.lines[0]
        return "refused"
    except OSError as refusal:  # the command line says the same of every one
        assert refusal.filename == str(path)
        return "refused"
    if content == expected:
        return "recovered" if kind.mends else "as before"
    assert kind.instead is not NOTHING and content == kind.instead, (
        f"a wrong answer: {content!r:.500}"
    )
    return "recovered"


def tried(world: World, cases: list[tuple[Kind, str, int]]) -> Counter[tuple[str, str]]:
    """Do all of ``cases``; returns how often each kind ended how."""
    counts: Counter[tuple[str, str]] = Counter()
    wrong: list[str] = []
    for kind, damage, seed in cases:
        path = kind.path(world)
        beside = [world.sweep.dir.data, world.sweep.dir.config]
        kept = {p: p.read_bytes() for p in (path, *beside)}
        expected = kind.read(world)
        rng = random.Random(f"{kind.name} {damage} {seed}")
        if damage in DAMAGES:
            put(path, DAMAGES[damage](kept[path], rng))
        else:
            clear(path)
            OTHER_THINGS[damage](path)
        same = path.is_file() and path.read_bytes() == kept[path]
        try:
            how = outcome(kind, world, expected)
            counts[kind.name, how] += not same
        except Exception as problem:
            wrong.append(f"{kind.name}, {damage}, seed {seed}: {problem!r:.300}")
        for place, content in kept.items():
            put(place, content)
    assert not wrong, "\n".join(wrong)
    return counts


# For these a missing file is not damage: the run or the fit has not reached that point.
_MAY_BE_MISSING = {
    "record.json (fit)",
    "record.json (status)",
    "curve.jsonl (under way)",
    "checkpoint",
    "plan.json (run)",
    "sweep.yaml (run)",
    "claim",
    "rounds/adaptive.json",
}


def cases_of(seeds: range, every: int = 1) -> list[tuple[Kind, str, int]]:
    damages = [*DAMAGES, *OTHER_THINGS]
    chosen = [(kind, damage, seed) for kind in KINDS for damage in damages for seed in seeds]
    gone = ("missing", "dangling link")
    chosen = [c for c in chosen if not (c[1] in gone and c[0].name in _MAY_BE_MISSING)]
    single = ("empty", "another file", *OTHER_THINGS)
    chosen = [c for c in chosen if c[2] == seeds[0] or c[1] not in single]
    return [case for number, case in enumerate(chosen) if number % every == 0]


def test_damaged_files_are_read_correctly_recovered_or_refused(world):
    counts = tried(world, cases_of(range(1), every=3))
    assert sum(counts.values()) > 90
    assert {kind for kind, _ in counts} == {kind.name for kind in KINDS}


@pytest.mark.slow
def test_at_least_500_damaged_files_are_tried(world, capsys):
    counts = tried(world, cases_of(range(4)))
    with capsys.disabled():
        print(f"\n{sum(counts.values())} damaged files")
        for kind in KINDS:
            words = {how: n for (name, how), n in sorted(counts.items()) if name == kind.name}
            print(f"  {kind.name:<26}{words}")
    assert sum(counts.values()) >= 500
    # a file that is read unchanged was damaged only in its blanks or formatting
    harmless = sum(n for (_, how), n in counts.items() if how == "as before")
    assert harmless < 0.1 * sum(counts.values())


def test_a_digit_changed_in_a_record_is_refused_by_the_commands(world, tmp_path, capsys):
    sweep = SweepDir(good_sweep(tmp_path / "sweep"))
    path = sweep.run_dirs()[3].record
    content = path.read_text()
    assert '"val_loss_nats": ' in content
    head, _, tail = content.partition('"val_loss_nats": ')
    path.write_text(f'{head}"val_loss_nats": 9{tail[1:]}')
    for words in (
        ["fit"],
        ["report"],
        ["validate"],
        ["extrapolate", "--params", "1e9", "--results"],
    ):
        assert main([*words, str(sweep.path)]) == 2
        out, err = capsys.readouterr()
        assert out == ""
        assert err == (
            f"slaw: {path}: not a run record (its content does not match its digest);"
            " delete it to retrain\n"
        )


@pytest.mark.parametrize("name", ["train.bin", "val.bin", "tokenizer.json", "meta.json"])
def test_damaged_data_is_named_and_prepared_again_with_the_same_results(
    world, tmp_path, monkeypatch, name
):
    base = world.sweep.dir.path.parent
    again = begin_sweep(tmp_path / "again", base / "text")
    path = world.data / name
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    messages: list[str] = []
    dataset = pinned_text(again.config, again.dir, messages.append)
    assert name in messages[0] and "preparing the text again" in messages[0]
    dataset.check()
    if name == "train.bin":
        assert again.run().exit_code == 0
        assert results(again.dir) == results(world.sweep.dir)


def test_a_worker_does_not_train_on_damaged_text(world, tmp_path):
    hurt = begin_sweep(tmp_path / "hurt", world.sweep.dir.path.parent / "text")
    path = world.data / "train.bin"
    content = path.read_bytes()

    def spoil(run_dir: RunDir) -> None:
        changed = bytearray(content)
        changed[-1] ^= 1
        path.write_bytes(changed)

    try:
        outcome = hurt.run(InlineExecutor(hurt.dir, spoil))
        assert outcome.exit_code == 3
        assert all("train.bin: damaged" in reason for reason in outcome.failed.values())
    finally:
        path.write_bytes(content)
    assert hurt.run().exit_code == 0
    assert results(hurt.dir) == results(world.sweep.dir)


def test_old_records_need_no_digest_and_new_ones_do(world):
    path: Path = world.run.record
    kept = path.read_bytes()
    content = {k: v for k, v in json.loads(kept).items() if k != "digest"}
    try:
        put(path, json.dumps(content).encode())
        with pytest.raises(SlawError, match="it has no digest"):
            read_record(path)
        old = {k: v for k, v in content.items() if k != "curve_sha256"} | {"schema_version": 1}
        put(path, json.dumps(old).encode())
        record = read_record(path)
        assert dataclasses.replace(record, schema_version=2).curve_sha256 is None
        put(path, json.dumps({**old, "spec": {**old["spec"], "seed": 7}}).encode())
        with pytest.raises(SlawError, match="its spec is that of"):
            read_record(path)
    finally:
        put(path, kept)
