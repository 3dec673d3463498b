"""Trackers see every point once, and whatever they do, runs continue."""

from __future__ import annotations

import importlib.util
import struct
import sys
import types
from pathlib import Path

import pytest

from scaling_law.config.load import load_config
from scaling_law.config.written import config_yaml
from scaling_law.errors import ConfigError
from scaling_law.files import layout
from scaling_law.files.layout import SweepDir
from scaling_law.files.record import CurvePoint, append_curve, cut_curve, write_record
from scaling_law.plan.make import make_plan
from scaling_law.run.pinned import _means_the_same
from scaling_law.run.trackers.tensorboard import TensorBoard
from scaling_law.run.tracking import Chosen, Feed, _Feeds, chosen_trackers, tracked
from scaling_law.spec.component import Component
from scaling_law.spec.to_json import to_json
from tests.fakes import cpu_profile, record_of, tiny_spec

SPEC = tiny_spec(tags=(("size", "tiny"),))


def point(step: int, val: float | None = 2.5) -> CurvePoint:
    return CurvePoint(
        step=step, tokens=32 * step, train_loss_nats=3.0 - step / 100, val_loss_nats=val,
        lr=0.01, grad_norm=0.5, seconds=step / 10,
    )  # fmt: skip


def trackers(*names: str) -> list[Chosen]:
    return [Chosen(component=Component(name=name)) for name in names]


class Noting:
    """A tracker that writes down what it receives."""

    def __init__(self) -> None:
        self.steps: list[int] = []
        self.ended: list[float | None] = []
        self.closed = 0

    def points(self, spec, started, points):
        self.steps += [p.step for p in points]

    def end(self, spec, record):
        self.ended.append(record.val_loss_nats)

    def close(self):
        self.closed += 1


@pytest.fixture
def sweep(tmp_path):
    made = SweepDir(tmp_path / "s")
    layout.write_json(made.run(SPEC.run_id).spec, to_json(SPEC))
    return made


def grow(sweep: SweepDir, *steps: int) -> None:
    for step in steps:
        append_curve(sweep.run(SPEC.run_id), point(step))


def test_every_point_is_sent_once_despite_kills_and_resumes(sweep):
    tracker = Noting()
    feed = Feed("noting", sweep, tracker)
    feed.poll()  # no curve yet
    grow(sweep, 1, 4)
    feed.poll()
    feed.poll()
    grow(sweep, 9)
    feed.poll()
    assert tracker.steps == [1, 4, 9]
    cut_curve(sweep.run(SPEC.run_id), 4)  # the run was killed, and resumed from a checkpoint
    again = Noting()
    feed = Feed("noting", sweep, again)  # and so was the sender
    feed.poll()
    grow(sweep, 9, 16)
    feed.poll()
    assert again.steps == [16]
    write_record(sweep.run(SPEC.run_id), record_of(SPEC))
    feed.poll()
    feed.poll()
    assert again.ended == [4.0]
    last = Noting()
    Feed("noting", sweep, last).poll()
    assert (last.steps, last.ended) == ([], [])


def test_damaged_files_are_left_to_other_readers(sweep):
    run_dir = sweep.run(SPEC.run_id)
    run_dir.curve.write_text("no curve\nat all\n")
    tracker = Noting()
    Feed("noting", sweep, tracker).poll()
    run_dir.curve.unlink()
    grow(sweep, 1)
    layout.atomic_write(sweep.tracking("noting") / "sent.json", '{"sent": [1]}')
    Feed("noting", sweep, tracker).poll()
    assert tracker.steps == [1]
    state = sweep.tracking("noting") / "sent.json"
    state.write_text(state.read_text().replace(": 1", ": 7"))  # if believed: no more sent
    Feed("noting", sweep, tracker).poll()
    assert tracker.steps == [1, 1]


@pytest.mark.parametrize("fails_in", ["open", "points", "end", "close", "exit", "disk"])
def test_a_broken_tracker_is_reported_once_and_the_other_continues(sweep, monkeypatch, fails_in):
    good = Noting()
    said: list[str] = []

    class Broken(Noting):
        def _maybe(self, where: str) -> None:
            if where == fails_in:
                raise RuntimeError("boom\nbang")
            if fails_in == "exit":
                sys.exit(3)
            if fails_in == "disk":
                raise OSError(28, "No space left on device")

        def points(self, spec, started, points):
            self._maybe("points")

        def end(self, spec, record):
            self._maybe("end")

        def close(self):
            self._maybe("close")

    def opened(chosen, folder, sweep_name):
        is_broken = chosen.component.name == "wandb"
        if is_broken and fails_in == "open":
            raise RuntimeError("boom\nbang")
        return Broken() if is_broken else good

    monkeypatch.setattr(Chosen, "open", opened)
    feeds = _Feeds(sweep, "s", trackers("wandb", "tensorboard"), said.append)
    for step in (1, 2, 3):
        grow(sweep, step)
        feeds.poll()
    write_record(sweep.run(SPEC.run_id), record_of(SPEC))
    feeds.poll()
    feeds.close()
    assert good.steps == [1, 2, 3]
    assert (good.ended, good.closed) == ([4.0], 1)
    assert len(said) == 1 and said[0].startswith("tracker wandb: dropped, ")
    assert "\n" not in said[0]


def test_a_missing_library_is_reported_with_its_remedy(sweep, monkeypatch):
    monkeypatch.setitem(sys.modules, "trackio", None)
    said: list[str] = []
    _Feeds(sweep, "s", trackers("trackio"), said.append).poll()
    assert len(said) == 1 and "pip install 'slaw[trackio]'" in said[0]


def events(folder: Path) -> list[tuple[str, int, float, float]]:
    """(tag, step, value, time) of every scalar, by the format's own framing."""
    from tensorboardX.proto.event_pb2 import Event

    values = []
    for path in sorted(folder.glob("*tfevents*")):
        raw, at = path.read_bytes(), 0
        while at < len(raw):
            (size,) = struct.unpack_from("<Q", raw, at)
            event = Event.FromString(raw[at + 12 : at + 12 + size])
            values += [
                (v.tag, event.step, v.simple_value, event.wall_time) for v in event.summary.value
            ]
            at += 12 + size + 4
    return values


@pytest.mark.skipif(
    importlib.util.find_spec("tensorboardX") is None, reason="tensorboardX is not installed"
)
def test_event_files_hold_the_curve(tmp_path):
    board = TensorBoard(tmp_path)
    board.points(SPEC, 1000.0, [point(5), point(10, None)])
    sent = events(tmp_path / SPEC.run_id)  # written at once, not at the end
    assert ("val_loss_nats", 5, 2.5, 1000.5) in sent
    assert not [row for row in sent if row[:2] == ("val_loss_nats", 10)]
    assert [row[1] for row in sent if row[0] == "train_loss_nats"] == [5, 10]
    board.end(SPEC, record_of(SPEC))
    board.close()


class FakeRun:
    def __init__(self, about, with_summary):
        self.about, self.logged, self.finished = about, [], 0
        if with_summary:
            self.summary: dict[str, object] = {}

    def log(self, values, step):
        self.logged.append((step, values))

    def finish(self):
        self.finished += 1


@pytest.mark.parametrize("name", ["wandb", "trackio"])
def test_wandb_and_trackio_receive_every_point(tmp_path, monkeypatch, name):
    module, runs = types.ModuleType(name), []

    def init(**about):
        runs.append(FakeRun(about, name == "wandb"))
        return runs[-1]

    monkeypatch.setattr(module, "init", init, raising=False)
    monkeypatch.setattr(module, "Settings", dict, raising=False)
    monkeypatch.setitem(sys.modules, name, module)
    monkeypatch.setenv("WANDB_SILENT", "true")
    monkeypatch.setenv("TRACKIO_DIR", str(tmp_path))
    tracker = trackers(name)[0].open(tmp_path / name, "mine")
    tracker.points(SPEC, 0.0, [point(1), point(2, None)])
    tracker.points(SPEC, 0.0, [point(3)])
    tracker.end(SPEC, record_of(SPEC))
    tracker.close()
    (run,) = runs
    assert [step for step, _ in run.logged] == [1, 2, 3]
    assert run.logged[0][1]["val_loss_nats"] == 2.5
    assert "val_loss_nats" not in run.logged[1][1]
    assert run.finished == 1
    assert (run.about["project"], run.about["resume"]) == ("mine", "allow")
    assert run.about["config"]["seed"] == 0
    if name == "wandb":
        assert (run.about["id"], run.about["mode"]) == (SPEC.run_id, "offline")
        assert run.summary["val_loss_nats"] == 4.0
    else:
        assert run.about["name"] == SPEC.run_id


@pytest.mark.skipif(importlib.util.find_spec("wandb") is None, reason="wandb is not installed")
def test_wandb_works_offline(tmp_path, monkeypatch):
    monkeypatch.setenv("WANDB_SILENT", "true")
    tracker = trackers("wandb")[0].open(tmp_path, "mine")
    other = tiny_spec(seed=1)
    tracker.points(SPEC, 0.0, [point(1)])
    tracker.points(other, 0.0, [point(1)])  # two at once
    tracker.points(SPEC, 0.0, [point(2)])
    for spec in (SPEC, other):
        tracker.end(spec, record_of(spec))
    tracker.close()
    kept = list(tmp_path.glob("wandb/offline-run-*/*.wandb"))
    assert {spec.run_id in path.name for path in kept for spec in (SPEC, other)} == {True, False}
    assert len(kept) == 2 and all(path.stat().st_size > 0 for path in kept)


MODULE = """
import json, os, pathlib
def init(**about):
    if os.environ.get("FAKE") == "dies":
        os._exit(9)
    if os.environ.get("FAKE") == "hangs":
        import time
        time.sleep(600)
    return Run(about["name"])
class Run:
    def __init__(self, name):
        self.file = pathlib.Path(os.environ["TRACKIO_DIR"]) / name
    def log(self, values, step):
        print("a library's chatter")
        with self.file.open("a") as file: file.write(f"{step}\\n")
    def finish(self):
        with self.file.open("a") as file: file.write("end\\n")
"""


@pytest.mark.parametrize("fate", ["lives", "dies", "hangs"])
def test_the_tracker_process_sends_points_and_ends(sweep, tmp_path, monkeypatch, capfd, fate):
    (tmp_path / "lib").mkdir()
    (tmp_path / "lib" / "trackio.py").write_text(MODULE)
    root = Path(__file__).parents[2]
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path / 'lib'}:{root}")
    monkeypatch.setenv("FAKE", fate)
    monkeypatch.delenv("TRACKIO_DIR", raising=False)
    said: list[str] = []
    with tracked(sweep, "s", trackers("trackio"), said.append) as patience:
        patience.seconds = 1.0 if fate == "hangs" else 60.0
        grow(sweep, 1, 2)
        write_record(sweep.run(SPEC.run_id), record_of(SPEC))
    out, err = capfd.readouterr()
    assert out == "" and "chatter" not in err
    if fate == "lives":
        sent = (sweep.tracking("trackio") / SPEC.run_id).read_text().split()
        assert sent == ["1", "2", "end"]
        assert "chatter" in sweep.trackers_log.read_text()
        assert said == []
    elif fate == "hangs":
        assert said == ["trackers: not done 1s after the sweep; killed"]
    else:
        assert said == [
            "trackers: their process ended with code 9; curves are in runs/*/curve.jsonl"
        ]


CONFIG = """
name: t
data: {corpus: installed}
grid: [{sizes: [nano14k], tokens: [1M, 2M]}]
"""


def config(tmp_path: Path, more: str):
    path = tmp_path / "c.yaml"
    path.write_text(CONFIG + more)
    return load_config(path, device_kind="cpu")


def test_trackers_are_not_part_of_the_identity(tmp_path):
    plain = config(tmp_path, "")
    listed = config(tmp_path, "trackers: [tensorboard, wandb]\n")
    mapped = config(tmp_path, "trackers: {wandb: {project: mine, mode: online}}\n")
    assert chosen_trackers(listed.choices["tracker"]) == trackers("tensorboard", "wandb")
    (one,) = chosen_trackers(mapped.choices["tracker"])
    assert one.component.plain() == {
        "name": "wandb", "settings": {"mode": "online", "project": "mine"},
    }  # fmt: skip
    plans = [make_plan(c, cpu_profile(), train_tokens=10**9) for c in (plain, listed, mapped)]
    assert plans[0] == plans[1] == plans[2]
    sweep = SweepDir(tmp_path)
    for begun, now in ((plain, mapped), (mapped, plain), (listed, mapped)):
        sweep.config.write_text(config_yaml(begun))
        assert _means_the_same(now, sweep, None)
    longer = config(tmp_path, "eval: {curve_points: 5}\n")
    assert not _means_the_same(longer, sweep, None)
    sweep.config.write_text("name: [")
    assert not _means_the_same(plain, sweep, None)


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ("trackers: [tensorbord]", "did you mean tensorboard?"),
        ("trackers: {wandb: {projct: x}}", "unknown key (did you mean project?)"),
        ("trackers: {wandb: {mode: of}}", "c.yaml:5: trackers.wandb.mode"),
        ("trackers: wandb", "trackers: expected a list or a mapping"),
        ("trackers: {mlflow: {}}", "mlflow"),
        ("trackers: {wandb: online}", "trackers.wandb: expected keys and values"),
        (
            "trackers: [3]",
            "trackers.0: expected a name, or a mapping with name and settings",
        ),
        ("trackers: [{mode: online}]", "trackers.0.name: missing"),
    ],
)
def test_a_mistake_in_trackers_is_one_line(tmp_path, more, said):
    with pytest.raises(ConfigError) as problem:
        config(tmp_path, more)
    assert said in str(problem.value)
    assert len(problem.value.lines) == 1


@pytest.mark.parametrize(
    ("given", "written"),
    [
        ("", "trackers: []"),
        ("trackers: [tensorboard, wandb]\n", "trackers: [tensorboard, wandb]"),
        ("trackers: {wandb: {}}\n", "trackers:\n  wandb: {mode: offline}"),
        (
            "trackers: {tensorboard: {}, wandb: {mode: online, project: mine}}\n",
            "trackers:\n  tensorboard: {mode: offline}\n  wandb: {project: mine, mode: online}",
        ),
    ],
)
def test_trackers_are_written_as_before(tmp_path, given, written):
    text = config_yaml(config(tmp_path, given))
    assert f"\ncompile: 'off'\n{written}\nlimits: " in text
    (tmp_path / "again.yaml").write_text(text)
    assert config_yaml(load_config(tmp_path / "again.yaml", device_kind="cpu")) == text


OWN = """
from dataclasses import dataclass
from scaling_law.run.trackers import TrackerPart

@dataclass(frozen=True, kw_only=True)
class Settings:
    end: str = "end"

class Log:
    def __init__(self, folder, sweep, end):
        self.file, self.last = folder / sweep, end
    def _write(self, text):
        with self.file.open("a") as file: file.write(text + "\\n")
    def points(self, spec, started, points):
        for point in points: self._write(str(point.step))
    def end(self, spec, record): self._write(self.last)
    def close(self): pass

TRACKER = TrackerPart(
    open=lambda folder, sweep, settings: Log(folder, sweep, settings.end), settings=Settings
)
"""


def test_a_users_own_tracker_is_one_file(sweep, tmp_path):
    (tmp_path / "log.py").write_text(OWN)
    chosen = config(tmp_path, "trackers: {log.py: {end: fin}}\n")
    said: list[str] = []
    with tracked(sweep, "s", chosen_trackers(chosen.choices["tracker"]), said.append):
        grow(sweep, 1, 2)
        write_record(sweep.run(SPEC.run_id), record_of(SPEC))
    assert said == []
    assert (sweep.tracking("log") / "s").read_text().split() == ["1", "2", "fin"]
