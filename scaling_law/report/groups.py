"""The groups that a figure of a sweep's runs tells apart by colour: arms, or else sizes."""

from __future__ import annotations

from collections.abc import Mapping

from matplotlib.lines import Line2D

from scaling_law.files.record import RunRecord
from scaling_law.report import style
from scaling_law.report.evidence import Evidence
from scaling_law.report.figures import size_label, sizes_title
from scaling_law.report.style import MARKERS
from scaling_law.spec.arms import arm_of, short_names
from scaling_law.spec.counts import CONVENTIONS
from scaling_law.units import format_count

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
    if len(arms) > 1:
        names = dict(zip(arms, short_names(arms), strict=True))
        of_run = {record.run_id: names[arm_of(record.spec)] for record in evidence.records}
        return Groups({name: name for name in names.values()}, of_run, "arm")
    sizes = sizes_of(evidence)
    labels = {name: size_label(name, counts[evidence.counted]) for name, counts in sizes.items()}
    of_run = {record.run_id: size_name(record) for record in evidence.records}
    return Groups(labels, of_run, sizes_title(evidence.counted))


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
