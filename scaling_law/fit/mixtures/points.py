"""Sort runs that differ in their mixture into cells of one size, one length and one recipe."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import median
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scaling_law.errors import FitError, listed
from scaling_law.files.record import RunRecord
from scaling_law.spec.recipe import recipes

Floats = NDArray[np.float64]
Point = tuple[float, ...]  # one number for each component, in the cell's order

_LOSS, _EPOCHS = "loss.val:", "epochs."
_SWEEPS = 50  # of the alternating least squares


@dataclass(frozen=True, kw_only=True)
class Mixture:
    """A mixture, and what its runs ended with.

    ``name`` is its text, as a config has it;
    ``shares`` are those of the components, which sum to 1;
    ``losses`` are those on each component's validation text, by seed, in nats per token.
    """

    name: str
    shares: Point
    losses: Mapping[int, Point]


@dataclass(frozen=True, kw_only=True)
class MixCell:
    """Runs that differ in mixture and seed alone.

    ``recipe`` tells how they were trained and on which text, mixture, size and length apart;
    ``params`` is their size in non-embedding parameters, ``tokens`` what they were trained on;
    ``components`` are those of the text, in one order;
    ``component_tokens`` are the training tokens that each has;
    ``mixtures`` are the runs, by mixture.
    """

    recipe: tuple[object, ...]
    params: int
    tokens: int
    components: tuple[str, ...]
    component_tokens: Mapping[str, float]
    mixtures: tuple[Mixture, ...]

    @property
    def shares(self) -> Floats:
        """The shares of each mixture, a row each."""
        return np.array([one.shares for one in self.mixtures])

    @property
    def losses(self) -> Floats:
        """The mean loss of each mixture on each component, a row for each mixture.

        Mixtures may have other seeds: what a seed adds to all mixtures is taken off.
        """
        return _means(self.mixtures)

    @property
    def runs(self) -> int:
        """How many runs it has."""
        return sum(len(one.losses) for one in self.mixtures)

    def of_seed(self, seed: int) -> MixCell | None:
        """The cell with the runs of one seed; None where it has none."""
        own = tuple(
            Mixture(name=one.name, shares=one.shares, losses={seed: one.losses[seed]})
            for one in self.mixtures
            if seed in one.losses
        )
        return self.with_mixtures(own) if own else None

    def with_mixtures(self, mixtures: Sequence[Mixture]) -> MixCell:
        """The cell with these mixtures in place of its own."""
        return replace(self, mixtures=tuple(mixtures))

    def mixture(self, name: str) -> Mixture | None:
        """The mixture of this name; None where no run has it."""
        return next((one for one in self.mixtures if one.name == name), None)


def _means(mixtures: Sequence[Mixture]) -> Floats:
    """Fit each loss as a mixture's plus its seed's, by alternating least squares.

    A seed that shares no mixture with others adds nothing.
    """
    seeds = sorted({seed for one in mixtures for seed in one.losses})
    missing = (math.nan,) * len(mixtures[0].shares)
    losses = np.array([[one.losses.get(seed, missing) for seed in seeds] for one in mixtures])
    added = np.zeros(losses.shape[1:])
    if np.isnan(losses).any():
        for _ in range(_SWEEPS):
            rest = losses - np.nanmean(losses - added, axis=1)[:, np.newaxis]
            added = np.nanmean(rest, axis=0)
            added -= added.mean(axis=0)
    means: Floats = np.nanmean(losses - added, axis=1)
    return means


@dataclass(frozen=True, kw_only=True)
class MixCells:
    """The cells of a sweep.

    ``cells`` have the most mixtures first, and of equal ones the largest size and length;
    ``left_out`` counts the runs that belong to none, by the reason.
    """

    cells: tuple[MixCell, ...]
    left_out: Mapping[str, int]

    def widest(self) -> MixCell:
        """The cell with the most mixtures. Raises ``FitError`` where no run has a mixture."""
        if self.cells:
            return self.cells[0]
        why = listed([f"{count} {reason}" for reason, count in self.left_out.items()])
        raise FitError(
            "no finished run reads its text in a mixture"
            + (f" (runs left out: {why})" if why else "")
            + "; train some with axes: {data.mix: [...]}"
        )

    def at(self, params: int, tokens: int) -> MixCell | None:
        """The first cell of a size and length; None where there is none."""
        same = (cell for cell in self.cells if (cell.params, cell.tokens) == (params, tokens))
        return next(same, None)


def mix_cells(records: Iterable[RunRecord]) -> MixCells:
    """Return the cells of these runs; trunks, which are not annealed, belong to none."""
    left: Counter[str] = Counter()
    usable = []
    for record in records:
        if record.kind == "trunk":
            continue
        if why := _unusable(record):
            left[why] += 1
        else:
            usable.append(record)
    groups: dict[Any, list[RunRecord]] = defaultdict(list)
    for record, recipe in zip(usable, recipes([one.spec for one in usable]), strict=True):
        rest = {name: value for name, value in recipe.items() if not name.startswith("data.mix")}
        text = record.corpus_fingerprint, record.components_fingerprint
        trained = *text, *sorted(rest.items())
        groups[trained, record.params_non_embedding, record.tokens].append(record)
    of_groups = (_cell(key[0], own, left) for key, own in groups.items())
    cells = [cell for cell in of_groups if cell is not None]
    cells.sort(key=lambda cell: (-len(cell.mixtures), -cell.params * cell.tokens))
    return MixCells(cells=tuple(cells), left_out=left)


def _unusable(record: RunRecord) -> str:
    """Say why a run tells nothing of mixtures; "" where it does."""
    mix = record.spec.mix
    if record.val_loss_nats is None:
        return f"without a loss ({record.status})"
    if mix is None:
        return "without a mixture"
    if len(mix.phases) > 1:
        return "whose mixture changes (data.phases)"
    if not _of_components(record, _LOSS):
        return "without losses by component"
    return ""


def _of_components(record: RunRecord, head: str) -> dict[str, float]:
    return {
        name.removeprefix(head): value
        for name, value in record.metrics.items()
        if name.startswith(head)
    }


def _cell(
    recipe: tuple[object, ...], records: Sequence[RunRecord], left: Counter[str]
) -> MixCell | None:
    components = tuple(sorted(_of_components(records[0], _LOSS)))
    tokens = component_tokens(records)
    mixtures: dict[tuple[str, Point], dict[int, Point]] = {}
    for record in records:
        losses = _of_components(record, _LOSS)
        shares = shares_of(record, tokens)
        if shares is None or tuple(sorted(losses)) != components:
            left["whose natural shares are not recorded"] += 1
            continue
        assert record.spec.mix is not None, "asked only of a mixture"
        point = tuple(shares.get(name, 0.0) for name in components)
        own = mixtures.setdefault((record.spec.mix.text, point), {})
        own[record.spec.seed] = tuple(losses[name] for name in components)
    if not mixtures:
        return None
    return MixCell(
        recipe=recipe,
        params=records[0].params_non_embedding,
        tokens=records[0].tokens,
        components=components,
        component_tokens=tokens,
        mixtures=tuple(
            Mixture(name=name, shares=shares, losses=losses)
            for (name, shares), losses in sorted(mixtures.items(), key=lambda item: item[0][1])
        ),
    )


def component_tokens(records: Iterable[RunRecord]) -> dict[str, float]:
    """Return the training tokens of each component, from the epochs of runs that name shares."""
    counts: dict[str, list[float]] = defaultdict(list)
    for record in records:
        mix = record.spec.mix
        if mix is None or len(mix.phases) > 1:
            continue
        shares, epochs = dict(mix.phases[0].shares or ()), _of_components(record, _EPOCHS)
        for name, share in shares.items():
            if epochs.get(name):
                counts[name].append(share * record.tokens / epochs[name])
    return {name: median(values) for name, values in sorted(counts.items())}


def shares_of(record: RunRecord, tokens: Mapping[str, float]) -> dict[str, float] | None:
    """Return a run's shares by component; None where they follow tokens that are not known.

    ``tokens`` are those of the components.
    """
    mix = record.spec.mix
    assert mix is not None and len(mix.phases) == 1, "asked only of one mixture"
    (phase,) = mix.phases
    counts = {name: max(1, round(count)) for name, count in tokens.items()}
    if phase.shares is not None:
        counts = {name: 1 for name, _ in phase.shares}
    elif counts.keys() != _of_components(record, _EPOCHS).keys():
        return None
    return dict(mix.shares_of(phase, counts))
