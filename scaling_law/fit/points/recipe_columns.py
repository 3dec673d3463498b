"""Finds the column by which a table's rows are runs of several recipes, as of several datasets.

Rows of one size and of equal tokens count as seeds of one run. Where such rows differ in a column
of this kind they are none, and one law describes them as little as it describes a sweep's recipes.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from scaling_law.errors import one_line
from scaling_law.fit.points.points import Floats
from scaling_law.fit.points.rows import Rows, cell_text

NAMES = ("dataset", "train_dataset", "training_dataset", "training_set", "training_data", "corpus",
         "recipe", "config", "configuration", "arm", "variant", "optimizer")  # fmt: skip


def recipe_column(
    rows: Rows, index: Sequence[int], params: Floats, tokens: Floats
) -> tuple[str, list[str]]:
    """The column and its value in each of the rows ``index``; ("", []) where all are one recipe.

    ``params`` and ``tokens`` are those of these rows.
    """
    for name, cells in rows.columns.items():
        if name.strip().lower() not in NAMES:
            continue
        values = [one_line(cell_text(cells[row])) for row in index]
        if len(set(values)) > len(values) / 2:  # a name for nearly each row tells no recipes apart
            continue
        of_cell: dict[tuple[float, float], set[str]] = defaultdict(set)
        for size, seen, value in zip(params.tolist(), tokens.tolist(), values, strict=True):
            of_cell[size, seen].add(value)
        if any(len(some) > 1 for some in of_cell.values()):
            return name, values
    return "", []
