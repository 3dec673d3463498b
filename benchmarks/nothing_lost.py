"""What checkpoints and leases cost a sweep, in percent of its training time.

    python benchmarks/nothing_lost.py [--saves 20] [--sweep results/reference/quick-cpu]

Of every size of the quick sweep one run is begun in a worker's way and its state saved again and
again: CPU seconds of a save, and wall seconds with the disk's share. How many saves a finished
sweep had is known from its records: the states its branches start from, and one a
``checkpoint_every_seconds``. Leases: a question before each write, and a beat every two seconds.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from scaling_law.config.load import load_config
from scaling_law.data.prepare import prepare
from scaling_law.data.text import open_dataset
from scaling_law.files.layout import RunDir, SweepDir
from scaling_law.files.lease import BEAT_SECONDS, Leases
from scaling_law.files.record import RunRecord, load_records, read_curve
from scaling_law.spec.resources import Resources
from scaling_law.train import loop
from scaling_law.train.begin import Job, begin

STEPS = 5


def timed(times: int, call: Callable[[], object]) -> tuple[float, float]:
    """Median CPU and wall seconds of a call."""
    cpu, wall = [], []
    for _ in range(times):
        began_cpu, began = time.process_time(), time.perf_counter()
        call()
        cpu.append(time.process_time() - began_cpu)
        wall.append(time.perf_counter() - began)
    return statistics.median(cpu), statistics.median(wall)


def saving(record: RunRecord, saves: int, folder: Path) -> tuple[float, float, int]:
    """CPU and wall seconds of a save of ``record``'s state, and its bytes."""
    config = load_config("quick", device_kind="cpu")
    dataset = open_dataset(prepare(config.data_spec))
    run_dir = RunDir(folder / record.run_id)
    run_dir.path.mkdir(parents=True)
    with Leases() as leases:
        lease = leases.take(run_dir.lease)
        run_dir = RunDir(run_dir.path, guard=lease.check)
        asked = iter([False] * (STEPS - 1) + [True])
        job = Job(
            spec=record.spec,
            resources=Resources(),
            run_dir=run_dir,
            dataset=dataset,
            should_stop=lambda: next(asked),
        )
        loop.train_run(job)  # moments, so that what is saved is of its full size
        state = begin(job)
        cpu, wall = timed(saves, lambda: loop.save(job, state))
    return cpu, wall, run_dir.checkpoint(state.step).stat().st_size


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--saves", type=int, default=20)
    parser.add_argument("--sweep", type=Path, default=Path("results/reference/quick-cpu"))
    options = parser.parse_args()
    sweep = SweepDir(options.sweep)
    records = load_records(sweep)
    every_seconds = Resources().checkpoint_every_seconds
    total = saved_cpu = saved_wall = asked = 0.0
    with tempfile.TemporaryDirectory(dir=Path.cwd()) as place:
        with Leases() as leases:
            lease = leases.take(Path(place) / "claim")
            check, beat = timed(2000, lease.check), timed(2000, lease.beat)
        print(f"lease: a question {1e6 * check[0]:.0f} us CPU, a beat {1e6 * beat[0]:.0f} us")
        for trunk in (r for r in records if r.kind == "trunk" and r.spec.seed == 0):
            cpu, wall, size = saving(trunk, options.saves, Path(place))
            alike = [r for r in records if r.spec.model == trunk.spec.model]
            seconds = sum(r.seconds for r in alike)
            starts = {(r.cluster, r.spec.start_step) for r in alike if r.spec.branch}
            count = len(starts) + sum(int(r.seconds // every_seconds) for r in alike)
            total, saved_cpu = total + seconds, saved_cpu + count * cpu
            saved_wall += count * wall
            asked += count + sum(len(read_curve(sweep.run(r.run_id))) + 2 for r in alike)
            print(
                f"{trunk.spec.label}: {size / 1e6:.2f} MB, {1e3 * cpu:.1f} ms CPU, "
                f"{1e3 * wall:.1f} ms a save; {count} saves in {seconds:.0f} s: "
                f"{100 * count * cpu / seconds:.2f}% CPU, {100 * count * wall / seconds:.2f}% wall"
            )
    leased = asked * check[0] + total / BEAT_SECONDS * beat[0]
    print(
        f"sweep: {total:.0f} s of training; checkpoints {100 * saved_cpu / total:.3f}% CPU, "
        f"{100 * saved_wall / total:.3f}% wall; leases {100 * leased / total:.4f}%"
    )


if __name__ == "__main__":
    main()
