"""`slaw run` killed by SIGKILL in every phase and run again gives the undisturbed results."""

from __future__ import annotations

import collections
import random
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.faults.harness import (
    PLANNING,
    TRAINING,
    World,
    assert_nothing_lost,
    kill_again_and_again,
    losses,
    schedule,
)

KILLS = 100
# dense where files are written; one start of the runner serves four deaths of its worker
FEW = [
    {"role": "runner", "phase": "planning", "point": 9, "whom": "all"},
    {"role": "runner", "phase": "data", "point": 4, "whom": "all"},
    {"role": "worker", "phase": "checkpointing", "point": 3, "whom": "worker"},
    {"role": "worker", "phase": "weights", "point": 2, "whom": "worker"},
    {"role": "worker", "phase": "record", "point": 2, "whom": "worker"},
    {"role": "worker", "phase": "training", "delay_seconds": 0.1, "whom": "all"},
]


@pytest.mark.slow
def test_six_kills_lose_nothing(world, undisturbed):
    done = kill_again_and_again(world, "killed", list(FEW))
    assert done.total() >= 5, done
    assert_nothing_lost(world, "killed", undisturbed)
    code, _, errors = world.run("killed")
    assert code == 0
    assert "9 of 9 runs had already finished" in errors


def _lane(folder, seed: int, wanted: int) -> collections.Counter[str]:
    world, chance = World(folder), random.Random(seed)
    code, _, errors = world.run("whole")
    assert code == 0, errors
    expected = losses(world, "whole")
    done: collections.Counter[str] = collections.Counter()
    for sweep in range(20):
        if done.total() >= wanted:
            break
        out = f"killed{sweep}"
        done += kill_again_and_again(world, out, schedule(chance, min(25, wanted)))
        assert_nothing_lost(world, out, expected)
    return done


@pytest.mark.first
@pytest.mark.slow
def test_a_hundred_kills_in_every_phase_lose_nothing(tmp_path):
    with ThreadPoolExecutor(2) as lanes:
        jobs = [lanes.submit(_lane, tmp_path / str(seed), seed, KILLS // 2) for seed in (1, 2)]
        done = sum((job.result() for job in jobs), collections.Counter[str]())
    by_phase: collections.Counter[str] = collections.Counter()
    for words, count in done.items():
        by_phase[words.split(" ", 1)[1].split(",")[0]] += count
    print(dict(by_phase))
    print(dict(done))
    assert done.total() >= KILLS
    assert set(PLANNING) | set(TRAINING) <= set(by_phase)
