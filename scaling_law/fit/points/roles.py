"""Which column of a table has which role: params, tokens, loss and the others.

A role is read from the column of that name, with or without a unit in it, or from the one that
``--columns`` names. Where one is missing the message names the columns that it may be.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Sequence

from scaling_law.errors import ConfigError, one_line
from scaling_law.fit.points import exported, histories, recipe_columns, states
from scaling_law.fit.points.column_units import COUNTS, base_name, in_name, loss_unit_in_name
from scaling_law.fit.points.loss_names import score_in
from scaling_law.fit.points.rows import ROLES, Rows, check_column, listed_columns
from scaling_law.fit.points.table_settings import TableSettings
from scaling_law.fit.points.where import condition

COUNTED = (*COUNTS, "flops")
ALIASES = {
    "params": ("n", "n_params", "num_params", "parameters", "model_size", "nparams"),
    "tokens": ("d", "n_tokens", "num_tokens", "train_tokens", "training_tokens", "data"),
    "loss": ("val_loss", "validation_loss", "eval_loss", "test_loss", "l", "final_loss",
             "perplexity", "ppl", "val_ppl", "bpb", "bits_per_byte", "nll", "cross_entropy"),
}  # fmt: skip
# Words in a column's name that tell its role, and those that tell it from others of the role.
_WORDS_IN_NAMES = {
    "params": (("param", "model_size", "model size"), ("total",)),
    "tokens": (("token",), ("train", "seen", "total")),
    "loss": (("loss", "perplexity", "ppl", "bpb", "nll"), ("val", "eval", "test", "final")),
    "flops": (("flop", "compute", "pf_days", "pf-days", "pfdays"), ()),
}


def wanted_columns(settings: TableSettings) -> Callable[[str], bool]:
    """Which columns are read: those of a role, those that conditions name, a report's own."""
    exact = {*settings.columns.values(), *(condition(where)[0] for where in settings.where)}
    low = {
        *ROLES, *exported.COLUMNS, *exported.ROLES.values(), *exported.ALSO, *states.STATE_COLUMNS,
        *states.FLAGS, *states.LABELS, *histories.STEPS, *recipe_columns.NAMES,
    }  # fmt: skip

    def wanted(name: str) -> bool:
        plain = name.strip().lower()
        if name in exact or plain in low or plain.startswith(exported.PARAMS):
            return True
        return role_of(name) is not None or loss_unit_in_name(name) == "perplexity"

    return wanted


def role_of(name: str) -> str | None:
    """The role that a column's name says, with or without a unit: ``tokens (B)`` are tokens."""
    for plain in (name.strip().lower(), base_name(name)):
        if plain in ROLES:
            return plain
    for role in COUNTED:
        base, unit = in_name(role, name)
        if unit is not None and base.strip().lower() == role:
            return role
    base = re.sub(r"[\s_\-]+", " ", name.strip().lower())
    if base.startswith("loss ") and loss_unit_in_name(base):
        return "loss"
    return None


def roles_of(rows: Rows, settings: TableSettings, origin: str) -> dict[str, str]:
    """{role: column}, from the columns that the settings name or those of the role's own name."""
    named: dict[str, list[str]] = {}
    for name in (*rows.columns, *rows.twice, *rows.twice):
        role = role_of(name)
        named.setdefault(role or name.strip().lower(), []).append(name)
    roles = {}
    for role in ROLES:
        if role in settings.columns:
            name = settings.columns[role]
            if name:
                check_column(name, rows, origin)
                roles[role] = name
                if role == "loss" and settings.loss_unit != "other":
                    _refuse_score(name, origin)
            continue
        own = named.get(role, [])
        plain = [name for name in own if name.strip().lower() == role]
        if len(plain or own) > 1:
            raise ConfigError(
                f"{origin}: column {role} is there twice ({', '.join(plain or own)}); name one of"
                f" its own with --columns {role}=..."
            )
        if own:
            roles[role] = (plain or own)[0]
    missing = [role for role in ("params", "tokens", "loss") if role not in roles]
    if missing and not ("flops" in roles and missing in (["params"], ["tokens"])):
        _refuse_missing(missing, rows, origin)
    return roles


def _refuse_score(name: str, origin: str) -> None:
    """Raises ``ConfigError`` for a loss whose name says another measure, such as an accuracy."""
    if score := score_in(name):
        raise ConfigError(
            f"{origin}: --columns loss={one_line(name)}: its name says {score}, which is no loss;"
            " expected a loss that falls (of another measure that falls say --loss-unit other)"
        )


def _refuse_missing(missing: Sequence[str], rows: Rows, origin: str) -> None:
    """Raises ``ConfigError`` for roles without a column."""
    lowered = {name.strip().lower(): name for name in rows.known}
    if any(name.endswith("__MIN") for name in rows.known) or (
        {"wall time", "step", "value"} <= lowered.keys()
    ):
        raise ConfigError(
            f"{origin}: no column {', '.join(missing)}; this is an export of training curves"
            f" ({listed_columns(rows.known)}); expected one run a row, with its params, tokens and"
            " loss"
        )
    guesses = {role: _guess(role, rows.known) for role in missing}
    unknown = [role for role in ("params", "tokens") if guesses.get(role) == "..."]
    flops = _guess("flops", rows.known)
    if len(unknown) == 1 and flops != "...":  # the third follows from two
        del guesses[unknown[0]]
        guesses["flops"] = flops
    line = shlex.quote(",".join(f"{role}={name}" for role, name in guesses.items()))
    raise ConfigError(
        f"{origin}: no column {', '.join(missing)}; {listed_columns(rows.known)}; name them with "
        f"--columns {line}"
    )


def _guess(role: str, names: Sequence[str]) -> str:
    """The column that a role may be: one of its usual names, or else the one that has its word."""
    lowered = {name.strip().lower(): name for name in names}
    lowered.pop(role, None)  # an option ignores the column of this name
    for alias in ALIASES.get(role, ()):
        if alias in lowered:
            return lowered[alias]
    words, better = _WORDS_IN_NAMES[role]
    likely = [name for low, name in lowered.items() if any(word in low for word in words)]
    best = [name for name in likely if any(word in name.lower() for word in better)]
    return next((some[0] for some in (best, likely) if len(some) == 1), "...")


def other_losses(rows: Rows, column: str, settings: TableSettings) -> tuple[str, ...]:
    """A note on another column that may be the loss, where no option names it."""
    others = [
        name
        for name in rows.known
        if name.strip().lower() in ALIASES["loss"] and name != column and len(name) > 1
    ]
    if not others or "loss" in settings.columns:
        return ()
    option = one_line(shlex.quote(f"loss={others[0]}"))
    return (f"losses are read from column {one_line(column)}; --columns {option} reads another",)
