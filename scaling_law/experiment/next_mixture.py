"""``slaw mix``: fit mixing laws to a sweep's runs and propose the mixture for the next ones."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scaling_law import text_columns
from scaling_law.errors import FitError, listed
from scaling_law.experiment.evidence import written_config
from scaling_law.files.record import load_records, only_sweep
from scaling_law.units import count_of, format_count

if TYPE_CHECKING:
    from scaling_law.fit.mixtures.law import MixingLaw
    from scaling_law.fit.mixtures.points import MixCell, MixCells
    from scaling_law.fit.mixtures.propose import Expected, Limits
    from scaling_law.fit.mixtures.target import MixTarget

UNIFORM = "uniform"
_FEW_TO_SPARE = 3  # mixtures beyond the parameters, below which the interval is mostly their lack


@dataclass(frozen=True, kw_only=True)
class NextMixture:
    """A proposed mixture, and what the law expects of it and of others.

    ``cell`` are the runs that the laws were fitted to; ``laws`` the best for held-out ones first;
    ``proposed`` is the best mixture within ``limits``; ``epochs`` are its passes over components;
    ``others`` are further mixtures by name, ``measured`` the target's value where runs have it;
    ``notes`` name what was left out.
    """

    cell: MixCell
    laws: tuple[MixingLaw, ...]
    target: MixTarget
    limits: Limits
    proposed: Expected
    epochs: Mapping[str, float]
    others: Mapping[str, Expected]
    measured: Mapping[str, float]
    notes: tuple[str, ...]

    @property
    def lowest(self) -> str:
        """The name of the measured mixture with the lowest target."""
        return min(self.measured, key=lambda name: self.measured[name])

    @property
    def gain(self) -> float:
        """How far below the best measured mixture the law expects it, in nats per token."""
        return self.others[self.lowest].target - self.proposed.target

    @property
    def is_tie(self) -> bool:
        """Whether the law does not tell its mixture apart from the best measured one."""
        return abs(self.gain) <= self.proposed.reach

    @property
    def mix(self) -> dict[str, float]:
        """The proposed mixture as a config has it; components without a share left out."""
        pairs = zip(self.cell.components, self.proposed.shares, strict=True)
        return {name: share for name, share in pairs if share > 0}

    @property
    def document(self) -> dict[str, Any]:
        """The proposal as JSON values."""
        components = self.cell.components

        def of(expected: Expected) -> dict[str, Any]:
            low, high = expected.interval
            return {
                "mix": dict(zip(components, expected.shares, strict=True)),
                "losses": dict(zip(components, expected.losses, strict=True)),
                "target": {"value": expected.target, "low": low, "high": high},
            }

        return {
            "data": {"mix": self.mix},
            "target": self.target.text,
            "unit": "nats per token",
            "proposed": {**of(self.proposed), "epochs": dict(self.epochs)},
            "others": {
                name: {**of(one), "measured": self.measured.get(name)}
                for name, one in self.others.items()
            },
            "tie": self.is_tie,
            "laws": [
                {
                    "name": law.form.name,
                    "formula": law.form.formula,
                    "held_out_error": law.held_out_error,
                    "weighed": [components[number] for number in law.weighed],
                    "terms": {
                        name: surface.terms
                        for name, surface in zip(components, law.surfaces, strict=True)
                    },
                }
                for law in self.laws
            ],
            "params_non_embedding": self.cell.params,
            "tokens": self.cell.tokens,
            "mixtures": len(self.cell.mixtures),
            "runs": self.cell.runs,
            "next_tokens": self.limits.tokens,
            "max_epochs": self.limits.max_epochs,
            "notes": list(self.notes),
        }

    @property
    def text(self) -> str:
        """The proposal as YAML for ``data.mix``, with all else in comments."""
        shares = ", ".join(f"{name}: {share:.3g}" for name, share in self.mix.items())
        comments = "\n".join(f"# {line}".rstrip() for line in self._lines())
        return f"{comments}\ndata:\n  mix: {{{shares}}}"

    def _lines(self) -> list[str]:
        cell, best = self.cell, self.laws[0]
        rest = [f"{law.form.name} {law.held_out_error:.2%}" for law in self.laws[1:]]
        errors = f"{best.held_out_error:.2%}" + (f" ({', '.join(rest)})" if rest else "")
        passes = ", ".join(f"{name} {count:.2g}" for name, count in self.epochs.items())
        allowed = self.limits.max_epochs
        most = "without a limit" if allowed is None else f"at most {allowed:g} (data.max_epochs)"
        lines = [
            f"{count_of(len(cell.mixtures), 'mixture')} of {', '.join(cell.components)}"
            f" ({count_of(cell.runs, 'run')}) at {format_count(cell.params)} non-embedding"
            f" parameters and {format_count(cell.tokens)} tokens",
            f"law: {best.form.name}, {best.form.formula}, {best.n_params} parameters a loss; off by"
            f" {errors} at held-out mixtures",
            f"target: {self.target.words}, nats per token; expected, with its interval at 90%",
            "",
            *self._table(),
            "",
            f"epochs in {format_count(self.limits.tokens)} tokens: {passes or 'unknown'}; {most}",
        ]
        held = [cell.components[number] for number in self.limits.repeated]
        if held:
            lines.append(f"these passes limit the share of {listed(held)}")
        if edges := [*self._at_edges()]:
            lines.append(f"at the edge of the measured shares: {listed(edges)}")
        if self.is_tie:
            lines.append(
                f"a tie: the law does not tell it from the best measured mixture, {self.lowest}"
            )
        elif self.gain < 0:
            lines.append(
                f"within these passes it is expected {-self.gain:.3f} above the best measured"
                f" mixture, {self.lowest}"
            )
        if len(cell.mixtures) - best.n_params < _FEW_TO_SPARE:
            lines.append(
                f"few mixtures: {len(cell.mixtures)} for {best.n_params} parameters, so that a"
                " held-out one is predicted by hardly more than that; further ones narrow the"
                " interval"
            )
        return [*lines, *self.notes]

    def _at_edges(self) -> Iterator[str]:
        """The proposed shares that are the smallest or the largest of the measured ones."""
        measured = self.cell.shares
        for number, name in enumerate(self.cell.components):
            low, high = measured[:, number].min(), measured[:, number].max()
            share = self.proposed.shares[number]
            if min(abs(share - low), abs(share - high)) < 1e-6:
                yield f"{name} {share:g}"

    def _table(self) -> list[str]:
        components = self.cell.components
        head = ("mixture", *(f"share {n}" for n in components), *(f"loss {n}" for n in components),
                "target", "measured")  # fmt: skip
        rows = [head]
        for name, one in {"proposed": self.proposed, **self.others}.items():
            measured = self.measured.get(name)
            rows.append(
                (
                    name,
                    *(f"{share:.3g}" for share in one.shares),
                    *(f"{loss:.3f}" for loss in one.losses),
                    f"{one.target:.3f} ({one.interval[0]:.3f} to {one.interval[1]:.3f})",
                    "-" if measured is None else f"{measured:.3f}",
                )
            )
        return text_columns.left(rows)


def next_mixture(
    folder: Path,
    target: str,
    *,
    tokens: float | None = None,
    max_epochs: float | None = None,
) -> NextMixture:
    """Return the mixture that a sweep's runs propose for the next ones.

    ``tokens`` are those of the next runs, None for those of the runs that the law is fitted to;
    ``max_epochs`` None takes the limit of the sweep's config. Raises ``FitError`` where too few
    mixtures have finished or no law predicts those held out, ``ConfigError`` for a folder or a
    target that cannot be read, ``PlanError`` where the limits leave no mixture.
    """
    import numpy as np

    from scaling_law.fit.mixtures.law import fit_laws
    from scaling_law.fit.mixtures.points import mix_cells
    from scaling_law.fit.mixtures.propose import best_mixture, epochs_of, expected, limits_of
    from scaling_law.fit.mixtures.target import parse_target
    from scaling_law.fit.points.dataset import unfinished_notes

    sweep = only_sweep(folder)
    cells = mix_cells(load_records(sweep))
    cell = cells.widest()
    wanted = parse_target(target, cell.components)
    if max_epochs is None:
        allowed = written_config(sweep).get("data", {}).get("max_epochs")
        max_epochs = None if allowed is None else float(allowed)
    limits = limits_of(cell, tokens or cell.tokens, max_epochs)
    laws = fit_laws(cell)
    best = laws[0]
    if best.explained <= 0:
        raise FitError(_predicts_nothing(cell, laws))
    chosen = expected(best, wanted, best_mixture(best, wanted, limits))
    measured = {
        one.name: float(wanted.of(losses))
        for one, losses in zip(cell.mixtures, cell.losses, strict=True)
    }
    shares = {one.name: np.array(one.shares) for one in cell.mixtures}
    lowest = min(measured, key=lambda name: measured[name])
    equal = np.full(len(cell.components), 1 / len(cell.components))
    shown = {lowest: shares[lowest]}
    shown |= {name: shares[name] for name in shares if name.startswith("natural")}
    if not any(np.allclose(row, equal, atol=2e-3) for row in shown.values()):
        same = [name for name, row in shares.items() if np.allclose(row, equal, atol=2e-3)]
        shown[same[0] if same else UNIFORM] = equal
    return NextMixture(
        cell=cell,
        laws=laws,
        target=wanted,
        limits=limits,
        proposed=chosen,
        epochs=epochs_of(cell, chosen.shares, limits.tokens),
        others={name: expected(best, wanted, row) for name, row in shown.items()},
        measured=measured,
        notes=(*unfinished_notes([folder]), *_notes(cells)),
    )


def _predicts_nothing(cell: MixCell, laws: Sequence[MixingLaw]) -> str:
    errors = ", ".join(f"{law.form.name} off by {law.held_out_error:.2%}" for law in laws)
    return (
        f"{count_of(len(cell.mixtures), 'mixture')} of {listed(cell.components)} at"
        f" {format_count(cell.params)} non-embedding parameters and"
        f" {format_count(cell.tokens)} tokens: no law predicts a held-out mixture better than the"
        f" mean of all does ({errors}), so none can propose one; add mixtures to the axis data.mix,"
        " or seeds, or longer runs"
    )


def _notes(cells: MixCells) -> Sequence[str]:
    rest = cells.cells[1:]
    notes = [f"left out: {count_of(count, 'run')} {why}" for why, count in cells.left_out.items()]
    if rest:
        runs = sum(cell.runs for cell in rest)
        scales = [f"{format_count(c.params)} at {format_count(c.tokens)} tokens" for c in rest]
        notes.append(
            f"{count_of(runs, 'run')} of other sizes, lengths or recipes did not count here:"
            f" {listed(scales)}"
        )
    return notes
