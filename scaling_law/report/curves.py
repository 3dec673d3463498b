"""Show the validation loss along training."""

from __future__ import annotations

from dataclasses import dataclass

from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from scaling_law.files.record import RunRecord
from scaling_law.report import style
from scaling_law.report.evidence import Evidence
from scaling_law.report.groups import groups_of

# Losses of the first steps would press all that matters into the bottom of the panel.
_HEADROOM = 1.35


def caption(evidence: Evidence) -> str:
    """How to read the training curves."""
    trunks = ""
    if any(record.kind == "trunk" for record in evidence.records):
        trunks = (
            "Thin lines are trunks at constant learning rate, which are not points of the fit; "
            "thick"
            " lines their cooldowns, which end in one point each. "
        )
    return (
        f"{trunks}A cross marks a run that diverged, a bar one that stopped early. Evaluated on"
        " fewer tokens than the final loss."
    )


@dataclass(frozen=True, kw_only=True)
class Line:
    """The losses of a run along its training.

    ``name``: the run's name.
    ``group``: what the legend calls it.
    ``colour``: its colour.
    ``tokens``, ``losses``: where it was evaluated, and the losses there.
    ``faint``: whether it is a trunk.
    ``marker``: how its end is marked; "" for a trunk.
    """

    name: str
    group: str
    colour: str
    tokens: list[float]
    losses: list[float]
    faint: bool = False
    marker: str = "o"


@dataclass(frozen=True, kw_only=True)
class TrainingCurves:
    """The curves of a report's runs.

    ``lines``: those of at least two points.
    ``entries``: their legend, ``legend_title`` its head, in ``columns``.
    ``title``: heads the figure.
    ``along``: what the curves run along, as the axis says it.
    """

    lines: list[Line]
    entries: list[Line2D]
    legend_title: str
    columns: int
    title: str = "Validation loss along training"
    along: str = "training tokens seen"


def curves_of(evidence: Evidence) -> TrainingCurves:
    """A sweep's curves: trunks faint, branches strong, coloured by arm or size."""
    groups = groups_of(evidence)
    lines = []
    for record in evidence.records:
        tokens, losses = curve_line(evidence, record)
        if len(tokens) < 2:
            continue
        faint = record.kind == "trunk"
        marker = {"diverged": "x", "stopped_early": "|"}.get(record.status, "o")
        lines.append(
            Line(name=record.run_id, group=groups.of_run[record.run_id],
                 colour=groups.colour(record), tokens=list(map(float, tokens)), losses=losses,
                 faint=faint, marker="" if faint else marker)
        )  # fmt: skip
    entries = groups.entries(marks=False)
    if any(r.kind == "trunk" for r in evidence.records):
        entries.append(Line2D([], [], color=style.FAINT, alpha=0.6, linewidth=0.9, label="trunk"))
        entries.append(Line2D([], [], color=style.FAINT, marker="o", label="cooldown and its end"))
    title = "Cooldowns branch off one trunk per size and seed"
    if all(r.kind == "single" for r in evidence.records):
        title = "Validation loss along training"
    return TrainingCurves(
        lines=lines,
        entries=entries,
        legend_title=groups.title,
        columns=groups.columns,
        title=title,
    )


def training_curves(curves: TrainingCurves, unit: str) -> Figure | None:
    """The losses along training, in ``unit``; None without any curve."""
    if not curves.lines:
        return None
    figure, axes = style.new_figure(curves.title)
    for line in curves.lines:
        axes.plot(
            line.tokens, line.losses, color=line.colour,
            alpha=0.45 if line.faint else 1.0, linewidth=0.9 if line.faint else 1.6,
        )  # fmt: skip
        if line.marker:
            end = line.tokens[-1], line.losses[-1]
            axes.plot(*end, line.marker, color=line.colour, markersize=4)
    every = [loss for line in curves.lines for loss in line.losses]
    ends = [line.losses[-1] for line in curves.lines]
    tokens = [count for line in curves.lines for count in line.tokens]
    axes.set_xlim(max(min(tokens), max(tokens) / 100) / 1.1, max(tokens) * 1.1)
    style.count_axis(axes, "x", curves.along)
    top = min(max(every), _HEADROOM * max(ends))
    style.loss_axis(axes, min(every), top, unit)
    style.legend_below(figure, curves.entries, curves.columns, title=curves.legend_title)
    return figure


def curve_line(evidence: Evidence, record: RunRecord) -> tuple[list[int], list[float]]:
    """(tokens, losses) of the run's evaluations; a branch begins at its trunk's last before it."""
    points = [p for p in evidence.curves.get(record.run_id, []) if p.val_loss_nats is not None]
    branch = record.spec.branch
    if branch:
        trunk = evidence.curves.get(branch.trunk_id, [])
        before = [p for p in trunk if p.val_loss_nats is not None and p.step <= branch.at_step]
        points = before[-1:] + points
    return [p.tokens for p in points], [p.val_loss_nats or 0.0 for p in points]
