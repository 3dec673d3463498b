"""How the user says a table is to be read."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass, field

from scaling_law.errors import ConfigError
from scaling_law.fit.points.column_units import LOSS_UNITS, check_units
from scaling_law.fit.points.histories import HISTORIES
from scaling_law.fit.points.rows import ROLES

PARAMS_ARE = ("total", "non_embedding", "matmul", "active")


@dataclass(frozen=True, kw_only=True)
class TableSettings:
    """How to read a table.

    ``columns``: role -> name of its column; "" ignores a column of the role's own name.
    ``params_are``: what the parameters count, one of ``PARAMS_ARE``; "": not stated.
    ``loss_unit``: the unit of the losses, one of ``LOSS_UNITS``; "": nats, or what the column's
        name says.
    ``where``: conditions on columns, as ``epochs<=4``.
    ``units``: role -> the unit of its numbers, as in M or PF-days.
    ``history``: which rows of a run with many count, one of ``histories.HISTORIES``; "": such a
        table is refused.
    """

    columns: Mapping[str, str] = field(default_factory=dict)
    params_are: str = ""
    loss_unit: str = ""
    where: tuple[str, ...] = ()
    units: Mapping[str, str] = field(default_factory=dict)
    history: str = ""

    def __post_init__(self) -> None:
        for role in self.columns:
            _check_role(role)
        if self.params_are and self.params_are not in PARAMS_ARE:
            raise ConfigError(f"params are {self.params_are!r}: expected {', '.join(PARAMS_ARE)}")
        if self.loss_unit and self.loss_unit not in LOSS_UNITS:
            raise ConfigError(f"loss unit {self.loss_unit!r}: expected {', '.join(LOSS_UNITS)}")
        if self.history and self.history not in HISTORIES:
            known = ", ".join(HISTORIES)
            raise ConfigError(f"history {self.history!r}: expected {known}")
        check_units(self.units)


def _check_role(role: str) -> None:
    if role not in ROLES:
        close = difflib.get_close_matches(role, ROLES, n=1)
        hint = f" (did you mean {close[0]}?)" if close else ""
        raise ConfigError(f"role {role!r}{hint}: expected one of {', '.join(ROLES)}")


def parse_columns(text: str) -> dict[str, str]:
    """``"params=N,tokens=D,loss=val_loss"`` -> {role: column}. Raises ``ConfigError``."""
    columns: dict[str, str] = {}
    for part in text.split(","):
        role, equals, column = part.partition("=")
        role = role.strip()
        if not equals:
            raise ConfigError(f"columns: {part.strip()!r}: expected ROLE=COLUMN, as params=N")
        _check_role(role)
        if role in columns:
            raise ConfigError(f"columns: {role} is given twice")
        columns[role] = column.strip()
    return columns
