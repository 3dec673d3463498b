"""Find finished runs whose final weights were saved: the one that a command names, or the best."""

from __future__ import annotations

import shlex
from pathlib import Path

from scaling_law.errors import ConfigError, did_you_mean, listed, quoted
from scaling_law.files.layout import RunDir, SweepDir
from scaling_law.files.record import (
    NEXT_TOKEN,
    find_sweeps,
    load_records,
    only_sweep,
    read_record,
    short_unit,
)
from scaling_law.units import count_of


def _to_train_again(sweep: SweepDir) -> str:
    """The command that trains a sweep once more, in another folder, and saves its weights."""
    folder, other = (shlex.quote(f"{sweep.path}{more}") for more in ("", "-weights"))
    return (
        f"to train it again and save them: slaw run {folder} --out {other} --set keep_weights=all"
    )


def _to_choose(sweep: SweepDir, run_id: str) -> str:
    return f"choose one: slaw sample {shlex.quote(str(sweep.path))} --run {run_id}"


def run_called(source: Path, wanted: str | None) -> RunDir:
    """The finished run ``wanted``, an id or label, in a sweep or a folder of sweeps.

    Without a name it is the run whose folder ``source`` is, or else the only one with saved
    weights. Raises ``ConfigError`` for none and for several, and where its weights were not saved.
    """
    if wanted is None and RunDir(source).record.is_file():
        return _saved(RunDir(source))
    finished = [d for s in find_sweeps(source) for d in s.run_dirs() if d.record.is_file()]
    saved = [d for d in finished if d.weights.is_file()]
    if wanted is None:
        if len(saved) == 1:
            return saved[0]
        if saved:
            raise ConfigError(
                f"{source}: {len(saved)} runs with saved weights"
                f" ({listed([d.run_id for d in saved])}); choose one with --run"
            )
        raise ConfigError(
            f"{source}: none of its finished runs ({len(finished)}) has saved weights;"
            f" {_to_train_again(only_sweep(source))}"
        )
    labels = {d.run_id: read_record(d.record).spec.label for d in finished}
    matches = [d for d in finished if wanted in (d.run_id, labels[d.run_id])]
    if len(matches) != 1:
        which = "no finished run" if not matches else f"{len(matches)} runs are called"
        names = [d.run_id if matches else labels[d.run_id] for d in matches or saved or finished]
        hint = did_you_mean(wanted, names) or f", such as {listed(names)}" * bool(names)
        raise ConfigError(f"{source}: {which} {quoted(wanted)}; expected a run id or a label{hint}")
    return _saved(matches[0])


def _saved(run_dir: RunDir) -> RunDir:
    read_record(run_dir.record)  # the record of another run says nothing of these weights
    if run_dir.weights.is_file():
        return run_dir
    sweep = SweepDir(run_dir.path.parent.parent)
    others = [other.run_id for other in sweep.run_dirs() if other.weights.is_file()]
    with_weights = f"; runs here with weights: {listed(others)}" if others else ""
    raise ConfigError(
        f"{run_dir.path}: its weights were not saved{with_weights}; {_to_train_again(sweep)}"
    )


def best_run(source: Path) -> tuple[RunDir, str]:
    """The annealed run of a sweep with the lowest loss and saved weights, and how it was chosen.

    ``source`` is a sweep, or a folder with one. Raises ``ConfigError`` where no run has weights,
    and where the runs that have do not compare.
    """
    sweep = only_sweep(source)
    records = load_records(sweep)
    saved = [r for r in records if sweep.run(r.run_id).weights.is_file()]
    if not saved:
        raise ConfigError(
            f"{sweep.path}: none of its finished runs ({len(records)}) has saved weights;"
            f" {_to_train_again(sweep)}"
        )
    annealed = [
        (record.val_loss_nats, record)
        for record in saved
        if record.val_loss_nats is not None and record.spec.schedule.end == "annealed"
    ]
    if not annealed:
        raise ConfigError(
            f"{sweep.path}: none of its runs with saved weights ({len(saved)}) is"
            f" annealed ({listed([r.run_id for r in saved])}); {_to_choose(sweep, saved[0].run_id)}"
        )
    kinds: dict[tuple[str, str], list[str]] = {}
    for _, record in annealed:
        kind = record.loss_family or NEXT_TOKEN, record.corpus_fingerprint
        kinds.setdefault(kind, []).append(record.run_id)
    if len(kinds) > 1:
        firsts = [names[0] for names in kinds.values()]
        raise ConfigError(
            f"{sweep.path}: its runs are on {len(kinds)} texts or objectives, whose losses do not"
            f" compare ({listed(firsts)}); {_to_choose(sweep, firsts[0])}"
        )
    loss, best = min(annealed, key=lambda one: (one[0], one[1].run_id))
    among = f"the lowest loss of {count_of(len(annealed), 'annealed run')} with saved weights"
    return sweep.run(best.run_id), f"{loss:.4f} {short_unit(best.loss_unit)}, {among}"
