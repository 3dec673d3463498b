"""Figure of ``slaw fit --compare``: the exponent by every approach and count."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from scaling_law.fit.approaches.compare import CHINCHILLA, KAPLAN, Approach
from scaling_law.report import style
from scaling_law.report.style import BLUE, FAINT, GREEN, ORANGE, PURPLE, RED

_COLOURS = {"IsoFLOP": RED, "envelope": GREEN}
_ROW, _MARGIN = 0.3, 1.9  # inches


def comparison_figure(approaches: Sequence[Approach]) -> Figure:
    """The exponents with their intervals, one row an approach and count."""
    figure, axes = style.new_figure("")
    figure.suptitle("Best size grows as compute to the a", fontweight="bold", fontsize=11.5)
    figure.set_size_inches(style.WIDE, _MARGIN + _ROW * len(approaches))
    for place, one in enumerate(approaches):
        colour = _COLOURS.get(one.name.partition(" ")[0], BLUE)
        if one.exponent is None:
            axes.text(0.02, place, f"refused: {one.reason:.60}", va="center", color=FAINT, size=8)
            continue
        if one.interval:
            axes.plot(one.interval, (place, place), color=colour, linewidth=2.2)
        axes.plot(one.exponent, place, "o", color=colour)
        words = f"{one.exponent:.2f}"
        if one.interval:
            words += f" ({one.interval[0]:.2f} to {one.interval[1]:.2f})"
        # beside the panel: within, it would lie on the published lines
        axes.text(
            1.01, place, words, transform=axes.get_yaxis_transform(), va="center", size=9,
            color=colour,
        )  # fmt: skip
    for value, colour, line in ((KAPLAN, ORANGE, ":"), (CHINCHILLA, PURPLE, "--")):
        axes.axvline(value, color=colour, linestyle=line, linewidth=1.2, zorder=0)
    axes.set_yticks(range(len(approaches)))
    axes.set_yticklabels([f"{a.name}, {a.params.replace('_', '-')}" for a in approaches])
    axes.invert_yaxis()
    axes.set_xlim(0, 1)
    axes.grid(axis="y", visible=False)
    axes.set_xlabel("exponent a of compute-optimal parameters in FLOPs")
    style.legend_below(
        figure,
        [
            Line2D([], [], color=ORANGE, linestyle=":", label=f"Kaplan 2020: {KAPLAN}"),
            Line2D(
                [], [], color=PURPLE, linestyle="--", label=f"Chinchilla 2022: {CHINCHILLA:.2f}"
            ),
        ],
        2,
    )
    return figure
