"""Every kind of file that slaw writes, its reader, and the allowed result for a damaged file.

A new kind of file is one more row of ``KINDS``: where it lies, how it is read, and what its reader
may give in place of the content (``instead``) where it does not refuse.
"""

from __future__ import annotations

import dataclasses
import itertools
import json
import os
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

from scaling_law.config.load import load_config
from scaling_law.config.written import begun_config_key
from scaling_law.data.dataset_folder import dataset_folder
from scaling_law.data.text import TextDataset, open_dataset
from scaling_law.design.adaptive import _Loop
from scaling_law.files import checksum, lease
from scaling_law.files.layout import RunDir, SweepDir
from scaling_law.files.record import load_records, read_curve, read_failure, read_record
from scaling_law.fit.session import known_laws
from scaling_law.forecast.budget import Budget
from scaling_law.plan import device_profile
from scaling_law.plan.plan import read_plan
from scaling_law.run import worker
from scaling_law.run.pinned import begun_plan
from scaling_law.run.request import Request
from scaling_law.run.rounds import Rounds
from scaling_law.run.sweep_state import dashboard
from scaling_law.run.sweep_state.progress import read_heartbeat
from scaling_law.run.sweep_state.reader import sweep_status
from scaling_law.run.tracking import Feed
from scaling_law.train import checkpoint
from scaling_law.train.saved_model import read_state
from tests.fakes import cpu_profile, pinned_text, text_spec
from tests.faults.world import Sweep

NOTHING = object()


@dataclasses.dataclass
class World:
    """A finished sweep of real runs, a folder with a fit, an adaptive loop and a tracker, and the
    states of a run."""

    sweep: Sweep
    fitted: SweepDir
    states: RunDir

    @property
    def run(self) -> RunDir:
        """A finished branch."""
        return self.sweep.branches[0]

    @property
    def data(self) -> Path:
        """The prepared text."""
        return dataset_folder(text_spec(self.sweep.config))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Kind:
    """``read`` must give the undamaged result, or ``instead``, or refuse in one line."""

    name: str
    path: Callable[[World], Path]
    read: Callable[[World], Any]
    instead: Any = NOTHING
    mends: bool = False  # the reader repairs the damage, or leaves it out
    above: int = 0  # the refusal names the file, or the folder so many levels above


def _curve(world: World) -> Any:
    return read_curve(world.run, read_record(world.run.record))


def _started_curve(world: World) -> Any:
    """The points of a running run's curve: damaged or not, it has only true points."""
    points = read_curve(RunDir(world.states.path))
    return points == _points(world)[: len(points)]


def _points(world: World) -> list[Any]:
    return read_curve(world.run)


def _state(world: World) -> Any:
    messages: list[str] = []
    newest = checkpoint.newest_valid(world.states, messages.append)
    assert newest is not None
    assert newest[0] == 2 or len(messages) == 1
    return newest[0], float(newest[1]["w"].sum())


def _dataset(dataset: TextDataset) -> Any:
    hashes = {s: hash(dataset.tokens(s).tobytes()) for s in ("train", "val")}
    return dataset.meta, dataset.tokenizer.to_json(), hashes


def _opened(world: World) -> Any:
    dataset = open_dataset(world.data)
    dataset.check()
    return _dataset(dataset)


def _prepared_again(world: World) -> Any:
    return _dataset(pinned_text(world.sweep.config, world.sweep.dir, lambda line: None))


def _plan(world: World) -> Any:
    """Planned again or read: the same plan, and a complete config beside it."""
    config, folder = world.sweep.config, world.sweep.dir
    plan = begun_plan(config, cpu_profile(), folder, lambda line: None)
    return plan, checksum.read_text(folder.config)


def _rows(world: World) -> Any:
    return load_records(world.sweep.dir)


def _status(world: World) -> Any:
    return sweep_status(world.sweep.dir)


def _weights(world: World) -> Any:
    model, tokenizer = read_state(world.states)
    assert tokenizer is not None
    return float(model["w"].sum()), tokenizer.to_json()


def _leased(world: World) -> Any:
    """The next process takes the lease when its holder is dead or silent for long."""
    seconds = itertools.count()
    watch = lease.LeaseWatch(clock=lambda: float(next(seconds)))
    while watch.holder(world.states.lease) is not None:
        pass
    with lease.Leases() as leases:
        leases.take(world.states.lease)
    return "had"


def _dashboard(world: World) -> Any:
    dashboard.Dashboard(world.sweep.dir).write()
    return json.loads(world.sweep.dir.dashboard.read_text())["counts"]


def _loop(world: World) -> Any:
    """The part of an adaptive loop that reads files."""
    budget = Budget(unit="flops", amount=1.0)
    return SimpleNamespace(
        sweep=world.fitted,
        rounds=_rounds(world),
        goal=SimpleNamespace(budget=budget),
        _asked=lambda: {"width": 0.125},
    )


def _rounds(world: World) -> Rounds:
    asked = world.fitted.adaptive
    return Rounds(sweep=world.fitted, asked=asked, base=Request(config="", device="cpu"))


def _round(world: World) -> Any:
    return load_config(_rounds(world).request(1).config, device_kind="cpu")


def _sent(world: World) -> Any:
    feed = Feed("noting", world.fitted, cast(Any, None))
    return feed._sent, feed._ended


KINDS = (
    Kind(name="record.json (fit)", path=lambda w: w.run.record, read=_rows),
    Kind(name="record.json (status)", path=lambda w: w.run.record, read=_status),
    Kind(name="curve.jsonl", path=lambda w: w.run.curve, read=_curve),
    Kind(
        name="curve.jsonl (under way)",
        mends=True,
        path=lambda w: w.states.curve,
        read=_started_curve,
    ),
    Kind(name="spec.json", path=lambda w: w.run.spec, read=lambda w: worker._spec_of(w.run)),
    Kind(
        name="resources.json",
        path=lambda w: w.run.resources,
        read=lambda w: worker._resources_of(w.run),
    ),
    Kind(
        name="failure.json",
        path=lambda w: w.states.failure,
        read=lambda w: read_failure(w.states),
        instead="its failure.json cannot be read",
    ),
    Kind(
        name="progress.json",
        path=lambda w: w.states.progress,
        read=lambda w: read_heartbeat(w.states),
        instead=None,
    ),
    Kind(
        name="checkpoint",
        path=lambda w: w.states.checkpoint(2),
        read=_state,
        instead=(1, 1000.0),
    ),
    Kind(name="plan.json", path=lambda w: w.sweep.dir.plan, read=_status),
    Kind(
        name="plan.json (run)",
        path=lambda w: w.sweep.dir.plan,
        read=lambda w: read_plan(w.sweep.dir.plan),
    ),
    Kind(name="sweep.yaml (run)", mends=True, path=lambda w: w.sweep.dir.config, read=_plan),
    Kind(
        name="sweep.yaml (report)",
        path=lambda w: w.sweep.dir.config,
        read=lambda w: checksum.read_text(w.sweep.dir.config, begun_config_key(w.sweep.dir)),
    ),
    Kind(name="data.json", mends=True, path=lambda w: w.sweep.dir.data, read=_prepared_again),
    Kind(
        name="fits/fit.json",
        path=lambda w: w.fitted.fits / "fit.json",
        read=lambda w: known_laws(w.fitted.path),
        above=2,
    ),
    Kind(name="train.bin", path=lambda w: w.data / "train.bin", read=_opened),
    Kind(name="val.bin (run)", mends=True, path=lambda w: w.data / "val.bin", read=_prepared_again),
    Kind(name="meta.json", path=lambda w: w.data / "meta.json", read=_opened),
    Kind(
        name="meta.json (run)",
        mends=True,
        path=lambda w: w.data / "meta.json",
        read=_prepared_again,
    ),
    Kind(name="tokenizer.json", path=lambda w: w.data / "tokenizer.json", read=_opened, above=1),
    Kind(name="weights.pt", path=lambda w: w.states.weights, read=_weights),
    Kind(name="claim", mends=True, path=lambda w: w.states.lease, read=_leased),
    Kind(
        name="dashboard.json",
        mends=True,
        path=lambda w: w.sweep.dir.dashboard,
        read=_dashboard,
    ),
    Kind(name="rounds/01.yaml", path=lambda w: w.fitted.round_config(1), read=_round),
    Kind(
        name="rounds/01.json",
        path=lambda w: w.fitted.round_cost(1),
        read=lambda w: _Loop._planned(_loop(w), 1),
    ),
    Kind(
        name="rounds/adaptive.json",
        path=lambda w: w.fitted.adaptive,
        read=lambda w: _Loop._check_goal(_loop(w)),
        above=2,
    ),
    Kind(
        name="tracking/sent.json",
        path=lambda w: w.fitted.tracking("noting") / "sent.json",
        read=_sent,
        instead=({}, set()),
    ),
    Kind(
        name="device profile",
        path=lambda w: device_profile.profile_path("cpu"),
        read=lambda w: device_profile.load_profile("cpu"),
        instead=None,
    ),
)

Damage = Callable[[bytes, random.Random], bytes]


def _flip(content: bytes, rng: random.Random) -> bytes:
    place = rng.randrange(len(content))
    changed = content[place] ^ (1 << rng.randrange(8))
    return content[:place] + bytes([changed]) + content[place + 1 :]


def _other_byte(content: bytes, rng: random.Random) -> bytes:
    place = rng.randrange(len(content))
    return content[:place] + bytes([rng.randrange(256)]) + content[place + 1 :]


def _other_digit(content: bytes, rng: random.Random) -> bytes:
    """The worst damage: still well-formed, but another number."""
    digits = [i for i, byte in enumerate(content) if byte in b"0123456789"]
    if not digits:
        return _flip(content, rng)
    place = rng.choice(digits)
    other = rng.choice([d for d in b"0123456789" if d != content[place]])
    return content[:place] + bytes([other]) + content[place + 1 :]


def _cut(content: bytes, rng: random.Random) -> bytes:
    return content[: rng.randrange(len(content))]


def _cut_at_a_line(content: bytes, rng: random.Random) -> bytes:
    lines = content.splitlines(keepends=True)
    return b"".join(lines[: rng.randrange(len(lines))])


def _line_lost(content: bytes, rng: random.Random) -> bytes:
    lines = content.splitlines(keepends=True)
    del lines[rng.randrange(len(lines))]
    return b"".join(lines)


def _line_twice(content: bytes, rng: random.Random) -> bytes:
    lines = content.splitlines(keepends=True)
    place = rng.randrange(len(lines))
    return b"".join([*lines[: place + 1], *lines[place:]])


def _zeros(content: bytes, rng: random.Random) -> bytes:
    """A block that a power failure left unwritten."""
    start = rng.randrange(len(content))
    stop = min(len(content), start + rng.choice((1, 16, 512)))
    return content[:start] + bytes(stop - start) + content[stop:]


def _more(content: bytes, rng: random.Random) -> bytes:
    return content + rng.choice((b"\x00", b"\xff\xfe\x80", b'{"loss": 1}\n', b"]", content))


DAMAGES: dict[str, Damage] = {
    "flipped bit": _flip,
    "other byte": _other_byte,
    "other digit": _other_digit,
    "cut": _cut,
    "cut at a line": _cut_at_a_line,
    "line lost": _line_lost,
    "line twice": _line_twice,
    "zeros": _zeros,
    "more after the end": _more,
    "empty": lambda content, rng: b"",
    "noise": lambda content, rng: rng.randbytes(len(content)),
    "another file": lambda content, rng: rng.choice(
        (b"[]", b"null", b"{}", b"PK\x03\x04", b"a: 1\n")
    ),
}
# Other things than a plain file at the path.
OTHER_THINGS: dict[str, Callable[[Path], None]] = {
    "folder": lambda path: path.mkdir(),
    "pipe": lambda path: os.mkfifo(path),
    "dangling link": lambda path: path.symlink_to("nowhere"),
    "missing": lambda path: None,
}


def put(path: Path, content: bytes) -> None:
    """Put ``content`` at ``path``, replacing what is there."""
    clear(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def clear(path: Path) -> None:
    """Remove what is at ``path``."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
