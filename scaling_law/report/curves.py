"""Show the validation loss along training."""

from __future__ import annotations

from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from scaling_law.files.record import RunRecord, loss_unit
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


def training_curves(evidence: Evidence) -> Figure | None:
    """Trunks faint, cooldown branches strong, coloured by arm or size; None without any curve."""
    lines = {r.run_id: curve_line(evidence, r) for r in evidence.records}
    lines = {name: line for name, line in lines.items() if len(line[0]) > 1}
    if not lines:
        return None
    figure, axes = style.new_figure("Cooldowns branch off one trunk per size and seed")
    if all(r.kind == "single" for r in evidence.records):
        axes.set_title("Validation loss along training")
    groups = groups_of(evidence)
    for record in evidence.records:
        if record.run_id not in lines:
            continue
        faint = record.kind == "trunk"
        tokens, losses = lines[record.run_id]
        axes.plot(
            tokens, losses, color=groups.colour(record),
            alpha=0.45 if faint else 1.0, linewidth=0.9 if faint else 1.6,
        )  # fmt: skip
        if not faint:
            marker = {"diverged": "x", "stopped_early": "|"}.get(record.status, "o")
            axes.plot(tokens[-1], losses[-1], marker, color=groups.colour(record), markersize=4)
    every = [loss for line in lines.values() for loss in line[1]]
    ends = [line[1][-1] for line in lines.values()]
    tokens = [count for line in lines.values() for count in line[0]]
    axes.set_xlim(max(min(tokens), max(tokens) / 100) / 1.1, max(tokens) * 1.1)
    style.count_axis(axes, "x", "training tokens seen")
    top = min(max(every), _HEADROOM * max(ends))
    style.loss_axis(axes, min(every), top, loss_unit(evidence.records))
    entries = groups.entries(marks=False)
    if any(r.kind == "trunk" for r in evidence.records):
        entries.append(Line2D([], [], color=style.FAINT, alpha=0.6, linewidth=0.9, label="trunk"))
        entries.append(Line2D([], [], color=style.FAINT, marker="o", label="cooldown and its end"))
    style.legend_below(figure, entries, groups.columns, title=groups.title)
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
