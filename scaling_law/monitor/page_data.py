"""Gathers what the page shows as JSON: its texts, and the numbers of its figures."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from scaling_law.files.layer_metrics import measure_units
from scaling_law.files.layout import SweepDir
from scaling_law.fit.result import bound_words
from scaling_law.monitor.law import LawFitter
from scaling_law.run.sweep_state.host import HostMeter, host_text
from scaling_law.run.sweep_state.reader import SweepReader
from scaling_law.run.sweep_state.snapshot import RunState, Snapshot
from scaling_law.run.sweep_state.text import (
    arms_text,
    count_text,
    counted_text,
    device_text,
    end_text,
    left_text,
    loss_text,
    loss_unit_text,
    metric_words,
    phase_text,
    run_left_text,
    speed_text,
    stage_text,
    state_text,
    step_text,
    throughput_text,
)
from scaling_law.units import weight_words

MOST_ROWS, MOST_CURVES, MOST_METRICS = 300, 400, 6
_RATE = "tokens/s"
# "" is the unit of the losses.
HEADINGS = (
    "run", "state", "", "step", "LR phase", _RATE, "time left", "note",
)  # fmt: skip
_LOSS = 3  # the metrics come behind the loss
# The states in the order in which the table lists them.
_ORDER = ("started", "failed", "damaged", "diverged", "blocked", "stopped", "done",
          "stopped_early", "waiting")  # fmt: skip


class PageData:
    """Reads the folder for the page; a law is fitted only while a browser asks."""

    def __init__(self, sweep: SweepDir) -> None:
        self.reader = SweepReader(sweep)
        self.law = LawFitter(sweep)
        self._host = HostMeter()

    def read(self, metric: str | None = None) -> dict[str, Any]:
        """The document of /data.json; its charts show ``metric``, the loss where no run has it."""
        snapshot = self.reader.read()
        known = {*snapshot.metric_names, *snapshot.measures}
        metric = metric if metric in known else None
        names = snapshot.shown_names
        columns = names[:MOST_METRICS]
        rows = sorted(snapshot.runs, key=_rank)
        drawn = [run for run in rows if run.state not in ("waiting", "blocked")][:MOST_CURVES]
        law = self.law.read(snapshot)
        plain = snapshot.to_json()
        plain.pop("runs")
        return {
            **plain,
            "words": {
                "headline": _headline(snapshot),
                "phase": "" if snapshot.phase == "no_plan" else phase_text(snapshot),
                "counts": count_text(snapshot),
                "arms": f"Arms done: {arms_text(snapshot)}" if snapshot.arms else "",
                "device": device_text(snapshot) if snapshot.runs else "",
                "host": host_text(self._host.read()),
                "law": law_text(law),
                "law_params": law_rows(law),
            },
            "columns": head(snapshot, columns),
            "rows": [row(run, columns) for run in rows[:MOST_ROWS]],
            "metrics_left_out": len(names) - len(columns),
            "shown": _shown(snapshot, metric),
            "choices": [[name, snapshot.metric_label(name)] for name in names],
            "rows_left_out": max(len(rows) - MOST_ROWS, 0),
            "curves": [
                curve
                for run in drawn
                for name, layer in _lines(snapshot, metric)
                if (curve := self._curve(run, name, layer))["points"]
            ][:MOST_CURVES],
            "law": law,
            "points": _points(snapshot, metric),
            "sizes": sorted({run.params_matmul for run in snapshot.runs}),
        }

    def _curve(self, run: RunState, metric: str | None, layer: int | None) -> dict[str, Any]:
        values = (
            (point.tokens, point.val_loss_nats if metric is None else point.metrics.get(metric))
            for point in self.reader.curve(run.run_id)
        )
        return {
            "run_id": run.run_id,
            "label": run.label if layer is None else f"{run.label}, {metric}",
            "layer": layer,
            "kind": run.kind,
            "state": run.state,
            "params": run.params_matmul,
            "points": [[tokens, v] for tokens, v in values if v is not None and tokens > 0],
        }


def _lines(snapshot: Snapshot, metric: str | None) -> list[tuple[str | None, int | None]]:
    """The metrics that a chart shows of each run, with their layers; the loss for None."""
    measure = snapshot.measures.get(metric or "")
    return [(metric, None)] if measure is None else list(measure.layers.items())


def _rank(run: RunState) -> tuple[int, str]:
    return _ORDER.index(run.state), "" if run.state != "done" else _descending(run.ended_at or "")


def _descending(time: str) -> str:
    """A key that sorts later times first."""
    return "".join(chr(0x10FFFF - ord(letter)) for letter in time)


def head(snapshot: Snapshot, metrics: Sequence[str]) -> list[str]:
    """The headings of the table: the metrics come behind the loss."""
    named = {"": loss_unit_text(snapshot), _RATE: f"{counted_text(snapshot.runs)}/s"}
    names = [named.get(name, name) for name in HEADINGS]
    return [*names[:_LOSS], *map(snapshot.metric_label, metrics), *names[_LOSS:]]


def _shown(snapshot: Snapshot, metric: str | None) -> dict[str, Any]:
    """What the charts show: the metric (None: the loss), its label and the unit of its values."""
    if metric is None:
        unit = loss_unit_text(snapshot)
        label = "validation loss" + ("" if unit == "loss" else f" ({unit})")
        return {
            "metric": None,
            "label": label,
            "unit": "" if unit == "loss" else unit,
            "layers": [],
        }
    measure = snapshot.measures.get(metric)
    layers = sorted(set(measure.layers.values())) if measure is not None else []
    unit = measure_units(snapshot.metric_units).get(metric, "")
    label = snapshot.metric_label(metric)
    return {"metric": metric, "label": label, "unit": unit, "layers": layers}


def row(run: RunState, metrics: Sequence[str] = ()) -> list[str]:
    """A run as the cells under ``head``."""
    if run.state in ("diverged", "failed", "damaged", "blocked"):
        note = end_text(run).partition(": ")[2]
    else:
        kind = "trunk: not annealed" if run.kind == "trunk" else "not annealed"
        note = "; ".join(filter(None, ("" if run.annealed else kind, run.note)))
    speed = speed_text(run.tokens_per_second).removesuffix("/s")
    return [
        run.label,
        state_text(run.state),
        loss_text(run),
        *(metric_words(run, name) for name in metrics),
        step_text(run),
        run.lr_phase or "",
        speed,
        run_left_text(run),
        note,
    ]


def _headline(snapshot: Snapshot) -> str:
    if snapshot.phase == "no_plan":
        return phase_text(snapshot)
    parts = (
        f"{snapshot.flops_done_frac:.0%} of the FLOPs",
        left_text(snapshot),
        stage_text(snapshot),
        throughput_text(snapshot),
    )
    return "; ".join(filter(None, parts))


def _points(snapshot: Snapshot, metric: str | None) -> list[dict[str, Any]]:
    """The ends of runs, with the FLOPs (6 N D, matmul parameters) of the figure's axis."""
    points = []
    for run in snapshot.in_state("done"):
        for name, layer in _lines(snapshot, metric) if run.kind != "trunk" else ():
            value = run.val_loss_nats if name is None else (run.metrics or {}).get(name)
            if value is None:
                continue
            tokens = run.step * run.batch_tokens
            points.append(
                {
                    "run_id": run.run_id,
                    "label": run.label if layer is None else f"{run.label}, {name}",
                    "layer": layer,
                    "params": run.params_matmul,
                    "tokens": tokens,
                    "flops_6nd": 6.0 * run.params_matmul * tokens,
                    "value": value,
                }
            )
    return points


def law_text(law: dict[str, Any]) -> str:
    """The law in a sentence, or why there is none yet; of each arm, where there are arms."""
    if law["status"] == "by_arm":
        return " ".join(f"{arm['arm']}: {law_text(arm)}" for arm in law["arms"])
    if law["status"] != "fitted":
        return f"No law yet: {law['message']}."
    return (
        f"{law['law']}: {law['formula']}, fitted to {law['points']} annealed points of"
        f" {law['trunks']} trunks; rms residual {law['rms_log_residual']:.2%} of loss."
        f"{_forecast_words(law['forecast_weights'])}"
    )


def _forecast_words(weights: dict[str, float]) -> str:
    """Which laws the curve of the least loss is over, where there are several."""
    if len(weights) < 2:
        return ""
    said = ", ".join(f"{name} {weight_words(share)}" for name, share in weights.items())
    return f" Forecasts are over several laws by their weights: {said}."


def law_rows(law: dict[str, Any]) -> list[list[str]]:
    """Each parameter and its interval, to four digits; of each arm, by its name."""
    if law["status"] == "by_arm":
        return [
            [f"{arm['arm']}: {name}", *rest] for arm in law["arms"] for name, *rest in law_rows(arm)
        ]
    if law["status"] != "fitted":
        return []
    rows = []
    for name, value in law["params"].items():
        ends = law["intervals"].get(name)
        interval = " to ".join(map(bound_words, ends)) if ends else "none"
        rows.append([name, f"{value:.4g}", interval])
    return rows
