"""Puts a sweep's state into words: the same ones in status, monitor, its page and log lines."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from scaling_law.files.layer_metrics import measure_units, summaries
from scaling_law.files.record import metric_label, short_unit
from scaling_law.run.sweep_state.snapshot import RunState, Snapshot
from scaling_law.spec.arms import by_options, short_names, varying_keys
from scaling_law.units import count_of, format_count, format_seconds

_STATE_TEXT = {"started": "running", "stopped_early": "stopped early"}
NOT_RUNNING = "no worker is running; run the same command again to resume"
# How many running runs a log line names.
_MOST_NAMED = 4
# How many metrics of a run one line names.
_MOST_SHOWN = 4
# How many arms one line names.
_MOST_ARMS = 8


def state_text(state: str) -> str:
    """The name of a run's state as people read it."""
    return _STATE_TEXT.get(state, state)


def count_text(snapshot: Snapshot) -> str:
    """How many runs are in which state: ``12 done, 1 diverged, 2 running, 25 waiting``."""
    return _counts(snapshot.counts) or "no runs"


def _counts(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{number} {state_text(state)}" for state, number in counts.items())


def arms_text(snapshot: Snapshot, most: int = _MOST_ARMS) -> str:
    """How many runs of each arm are done: ``weight_decay 0: 6/6, weight_decay 0.3: 2/6``."""
    names = short_names([tuple(arm.values.items()) for arm in snapshot.arms])
    pairs = zip(names[:most], snapshot.arms, strict=False)
    done = [f"{name}: {arm.n_done}/{arm.runs}" for name, arm in pairs]
    if len(names) > most:
        done.append(f"and {len(names) - most} more")
    return "; ".join(done)


def left_text(snapshot: Snapshot) -> str:
    """The time that is left: the plan's estimate at the pace measured so far; "" if unknown."""
    return _left(snapshot.seconds_left, snapshot.at_work, snapshot.pace)


def _left(seconds: float | None, at_work: bool, pace: float | None) -> str:
    if seconds is None:
        return ""
    text = f"about {format_seconds(seconds)} " + ("left" if at_work else "of work left")
    return text if pace is None else f"{text} ({pace:.2g}x the planned time)"


def phase_text(snapshot: Snapshot) -> str:
    """What the sweep does now, in a sentence; "" while it runs on this machine."""
    if snapshot.phase == "running":
        return snapshot.queue
    if snapshot.phase == "no_plan":
        return f"waiting: {snapshot.note}"
    if snapshot.phase == "idle":
        return NOT_RUNNING
    if snapshot.phase == "over":
        if failed := snapshot.counts.get("failed", 0) + snapshot.counts.get("damaged", 0):
            return f"finished, but {failed} failed; run the same command again to retry"
        if snapshot.counts.keys() == {"diverged"}:
            return "finished: every run diverged, so there is nothing to fit"
        if snapshot.has_experiment:
            return f"finished; next: slaw report {snapshot.sweep}"
        by = by_options(varying_keys([tuple(arm.values.items()) for arm in snapshot.arms]))
        return f"finished; next: slaw fit {snapshot.sweep}{by}"
    return ""


def device_text(snapshot: Snapshot) -> str:
    """Which device the sweep was planned for, and how many runs share it."""
    return (
        f"{snapshot.slots} at once on {snapshot.device_kind} ({snapshot.device_name}),"
        f" {snapshot.precision}"
    )


def loss_text(run: RunState) -> str:
    """The final loss, else the newest of the curve, else what an early stop predicts."""
    loss = run.val_loss_nats if run.val_loss_nats is not None else run.last_val_loss_nats
    if loss is None and run.predicted_loss_nats is not None:
        return f"~{run.predicted_loss_nats:.4f}"
    return "" if loss is None else f"{loss:.4f}"


def unit_text(loss_unit: str | None) -> str:
    """The unit of a loss as it stands behind the number."""
    return short_unit(loss_unit)


def metric_words(run: RunState, name: str) -> str:
    """A run's metric, or the range of a measure by layer; "" where the run has none."""
    return _words_of(run.metrics or {}, name).get(name, "")


def _words_of(metrics: Mapping[str, float], name: str | None) -> dict[str, str]:
    """The metrics in words, layers together unless ``name`` is one of them."""
    if name is not None and name in metrics:
        return {name: f"{metrics[name]:.4g}"}
    return summaries(metrics)


def metrics_text(run: RunState, metric: str | None = None) -> str:
    """What a run measured beside the loss, "" for nothing; ``metric`` alone where one is chosen.

    ``accuracy.val 0.9513, weight_norm 68.2``: at most a few.
    """
    values = _words_of(run.metrics or {}, metric)
    names = [name for name in values if metric in (None, name)]
    shown = [f"{name} {values[name]}" for name in names[:_MOST_SHOWN]]
    if len(names) > _MOST_SHOWN:
        shown.append(f"and {len(names) - _MOST_SHOWN} more metrics")
    return ", ".join(shown)


def loss_unit_text(snapshot: Snapshot) -> str:
    """The head of a column of losses: their unit, or ``loss`` where runs have several."""
    units = {unit_text(run.loss_unit) for run in snapshot.runs}
    return units.pop() if len(units) == 1 else "loss"


def end_text(run: RunState) -> str:
    """How a run ended, in one line."""
    if run.state in ("done", "stopped_early"):
        kind = "" if run.annealed else ", not annealed"
        note = f"; {run.note}" if run.note else ""
        return f"{state_text(run.state)}, {loss_text(run)} {unit_text(run.loss_unit)}{kind}{note}"
    return f"{state_text(run.state)}: {run.error or 'no reason given'}"


def speed_text(tokens_per_second: float | None) -> str:
    """Tokens per second, short: ``50K/s``; "" if unknown."""
    return "" if tokens_per_second is None else f"{format_count(tokens_per_second)}/s"


def stage_text(snapshot: Snapshot) -> str:
    """Which stage of a staged experiment runs now; "" in any other sweep."""
    return "" if snapshot.stage is None else f"stage {snapshot.stage}"


def rate_text(per_second: float, counted: Iterable[str]) -> str:
    """A rate with its unit, ``50K tok/s`` or ``2K examples/s``.

    ``counted`` are what the runs count (``RunState.counted``); runs of both count tokens.
    """
    unit = "examples" if set(counted) == {"examples"} else "tok"
    return f"{format_count(per_second)} {unit}/s"


def counted_text(runs: Iterable[RunState]) -> str:
    """What the runs' tokens are, as a column's head: ``tokens``, or ``examples``."""
    return "examples" if {run.counted for run in runs} == {"examples"} else "tokens"


def throughput_text(snapshot: Snapshot) -> str:
    """Tokens per second of the whole sweep: ``50K tokens/s``; "" if unknown."""
    if not snapshot.tokens_per_second:
        return ""
    return f"{format_count(snapshot.tokens_per_second)} {counted_text(snapshot.runs)}/s"


def step_text(run: RunState) -> str:
    """The run's step of all its steps: ``120/500``."""
    return f"{run.step}/{run.total_steps}"


def run_left_text(run: RunState) -> str:
    """The time that a run still takes; "" if unknown."""
    return "" if run.seconds_left is None else format_seconds(run.seconds_left)


def news_line(snapshot: Snapshot) -> str:
    """The sweep as one line of a log: what is finished, how long the rest takes, what runs."""
    line = f"{snapshot.n_ended} of {count_of(len(snapshot.runs), 'run')} finished,"
    line += f" {snapshot.flops_done_frac:.0%} of the FLOPs done"
    if left := left_text(snapshot):
        line += f", {left}"
    runs = snapshot.in_state("started")
    named = [
        f"{run.label} step {run.step}/{run.total_steps}, "
        + (f"loss {loss} {unit_text(run.loss_unit)}" if (loss := loss_text(run)) else "no loss yet")
        + (f", {said}" if (said := metrics_text(run)) else "")
        for run in runs[:_MOST_NAMED]
    ]
    if len(runs) > _MOST_NAMED:
        named.append(f"and {len(runs) - _MOST_NAMED} more")
    return f"{line}; running: {'; '.join(named) or 'no run has taken a step yet'}"


def _stage_lines(runs: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """How far each stage is: ``stage 1: 3 done``."""
    for stage in sorted({run["stage"] for run in runs}):
        states = Counter(run["state"] for run in runs if run["stage"] == stage)
        yield f"stage {stage}: {_counts(states)}"


def format_status(status: dict[str, Any]) -> str:
    """``sweep_status`` for a terminal: a summary line, then every run that is not waiting."""
    if status["phase"] == "no_plan":
        return f"{status['sweep']}: {status['note']}"
    share = 100 * status["flops_done_frac"]
    left = _left(status["seconds_left"], status["at_work"], status["pace"])
    lines = [
        f"{status['sweep']}: {_counts(status['counts'])}; {share:.0f}% of the FLOPs"
        + (f", {left}" if left else "")
    ]
    if status["runs_beside"]:
        lines.append(
            f"also here: {count_of(status['runs_beside'], 'finished run')} of earlier plans,"
            " which `slaw fit` includes"
        )
    if status["phase"] == "idle":
        lines.append(NOT_RUNNING)
    if status["queue"]:
        lines.append(status["queue"])
    for arm in status["arms"]:
        done = sum(arm["counts"].get(state, 0) for state in ("done", "stopped_early"))
        rest = {k: v for k, v in arm["counts"].items() if k not in ("done", "stopped_early")}
        more = f"; {_counts(rest)}" if rest else ""
        lines.append(f"  arm {arm['name']}: {done} of {arm['runs']} done{more}")
    names = dict.fromkeys(name for run in status["runs"] for name in run["metrics"] or ())
    if names:
        shown_names, units = summaries(dict.fromkeys(names, 0.0)), status["metric_units"]
        labels = (metric_label(name, measure_units(units)) for name in shown_names)
        lines.append(f"  metrics: {', '.join(labels)}")
    width = max(9, *(len(state_text(state)) + 1 for state in status["counts"]))
    if status["stage"] is not None:
        lines += [f"  {said}" for said in _stage_lines(status["runs"])]
    shown = [run for run in status["runs"] if run["state"] != "waiting"]
    longest = max([32, *(len(run["label"]) for run in shown)])
    for run in shown:
        stage = "" if run["stage"] is None else f"stage {run['stage']}  "
        line = f"  {state_text(run['state']):<{width}}{stage}{run['label']:<{longest}}  "
        line += f"step {run['step']}/{run['total_steps']}"
        for name, kind in (
            ("val_loss_nats", ""),
            ("predicted_loss_nats", " predicted"),
            ("last_val_loss_nats", " so far"),
        ):
            if run[name] is not None:
                line += f"  {run[name]:.4f} {unit_text(run['loss_unit'])}{kind}"
        for name, words in summaries(run["metrics"] or {}).items():
            line += f"  {name} {words}"
        if run["tokens_per_second"] is not None:
            speed = rate_text(run["tokens_per_second"], [run["counted"]])
            line += f"  {run['lr_phase']}  {speed}"
        if run["queued"]:
            line += f"  {run['queued']}"
        said = run["error"] or run["note"]
        lines.append(line + (f"  {said}" if said else ""))
    return "\n".join(lines)
