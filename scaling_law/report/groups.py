"""The groups that a figure of a sweep's runs tells apart by colour: arms, or else sizes.

Colours of many arms look alike. Where there are more than ``FEW_ARMS``, those that differ in their
learning rate alone are one group; where that leaves more than ``MOST_ARMS``, the groups are sizes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from matplotlib.lines import Line2D

from scaling_law.files.record import RunRecord
from scaling_law.report import style
from scaling_law.report.evidence import Evidence
from scaling_law.report.figures import size_label, sizes_title
from scaling_law.report.style import MARKERS
from scaling_law.spec.arms import Values, arm_of, short_names
from scaling_law.spec.counts import CONVENTIONS
from scaling_law.units import format_count

FEW_ARMS, MOST_ARMS = 8, 12
_RATES = ("optim.lr", "optim.lr_mult")
_LONG_NAME = 30  # letters; a legend of longer names has one column


class Groups:
    """Which group each run belongs to, and how it is drawn.

    ``labels`` are the groups in order, by name, as the legend calls them; ``of_run`` gives the
    group's name by run id; ``title`` heads the legend.
    """

    def __init__(self, labels: Mapping[str, str], of_run: Mapping[str, str], title: str) -> None:
        self.title = title
        self.columns = 1 if max(map(len, labels)) > _LONG_NAME else 3
        self.of_run = of_run
        self._labels = labels
        self._looks = {
            name: (colour, MARKERS[i % len(MARKERS)])
            for i, (name, colour) in enumerate(zip(labels, style.ramp(len(labels)), strict=True))
        }

    def colour(self, record: RunRecord) -> str:
        """The colour of a run's group."""
        return self._looks[self.of_run[record.run_id]][0]

    def marker(self, record: RunRecord) -> str:
        """The mark of a run's group."""
        return self._looks[self.of_run[record.run_id]][1]

    def entries(self, *, marks: bool) -> list[Line2D]:
        """The legend: marks, or else lines."""
        return [
            Line2D(
                [],
                [],
                color=colour,
                linestyle="" if marks else "-",
                marker=marker if marks else "",
                label=self._labels[name],
            )
            for name, (colour, marker) in self._looks.items()
        ]


def groups_of(evidence: Evidence) -> Groups:
    """The runs by arm, in the plan's order, or by size in a sweep of one arm."""
    planned = [tuple(arm.values.items()) for arm in evidence.plan.arms] if evidence.plan else []
    used = {arm_of(record.spec) for record in evidence.records}
    arms = [arm for arm in planned if arm in used]
    arms += sorted(used - set(arms))
    group_of, title = grouped(arms)
    groups = list(dict.fromkeys(group_of.values()))
    if len(groups) > 1:
        names = dict(zip(groups, _names(groups), strict=True))
        of_run = {r.run_id: names[group_of[arm_of(r.spec)]] for r in evidence.records}
        return Groups({name: name for name in names.values()}, of_run, title)
    sizes = sizes_of(evidence)
    labels = {name: size_label(name, counts[evidence.counted]) for name, counts in sizes.items()}
    of_run = {record.run_id: size_name(record) for record in evidence.records}
    return Groups(labels, of_run, sizes_title(evidence.counted))


def grouped(arms: Sequence[Values]) -> tuple[dict[Values, Values], str]:
    """Return the group of each arm, and the head of their legend; one group where sizes do better.

    Rates alone stay apart, however many: their colours are in order.
    """
    alone = {arm: arm for arm in arms}, "arm"
    merged = {arm: tuple(pair for pair in arm if pair[0] not in _RATES) for arm in arms}
    count = len(set(merged.values()))
    if len(arms) <= FEW_ARMS or count == 1:
        return alone
    if count <= MOST_ARMS:
        return (merged, "arm, at all of its learning rates") if count < len(arms) else alone
    return alone if len(arms) <= MOST_ARMS else (dict.fromkeys(arms, ()), "arm")


def _names(groups: Sequence[Values]) -> list[str]:
    """Short names, without settings that an arm does not have where that tells them apart."""
    names = short_names([tuple(p for p in group if p[1] != "null") for group in groups])
    return names if len(set(names)) == len(groups) else short_names(groups)


def size_name(record: RunRecord) -> str:
    """The run's size as the points of a fit name it."""
    return dict(record.spec.tags).get("size", format_count(record.params_total))


def sizes_of(evidence: Evidence) -> dict[str, dict[str, int]]:
    """Each size's parameters by what is counted, the smallest first."""
    ordered = sorted(evidence.records, key=lambda r: int(getattr(r, f"params_{evidence.counted}")))
    return {
        size_name(r): {name: int(getattr(r, f"params_{name}")) for name in CONVENTIONS}
        for r in ordered
    }
