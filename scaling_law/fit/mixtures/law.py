"""Fit laws of a mixture's shares r to the loss on each component, and choose one by held-out runs.

The exponential law is L_i(r) = c_i + k_i exp(sum_j t_ij r_j) (Ye 2024, arXiv 2403.16952, equation
6). Shares sum to 1, so that k_i is a shift of all t_ij: c_i, the sign of k_i and one t_ij a
component are free. The quadratic law is Scheffe's polynomial for mixtures, sum_j b_j r_j + sum_j<k
b_jk r_j r_k (Scheffe 1958, J. R. Stat. Soc. B 20, equation 3.3).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Protocol

import numpy as np

from scaling_law.errors import FitError
from scaling_law.fit.mixtures.exponential import Exponential, fit_exponential
from scaling_law.fit.mixtures.points import Floats, MixCell
from scaling_law.units import count_of


class Surface(Protocol):
    """The loss on one component by the shares."""

    def at(self, shares: Floats) -> Floats:
        """Return the losses in nats per token at shares, the components in the last dimension."""
        ...

    @property
    def terms(self) -> dict[str, float | list[float]]:
        """The parameters by the letters of the form's formula, in nats where they have a unit."""
        ...


@dataclass(frozen=True)
class MixingExponential:
    """One component's c + k exp(t r); ``curve`` is the fitted exponential, k within its slopes."""

    curve: Exponential

    def at(self, shares: Floats) -> Floats:
        """Return the losses at shares."""
        return self.curve.at(np.ones((*shares.shape[:-1], 1)), shares)

    @property
    def terms(self) -> dict[str, float | list[float]]:
        """c and k in nats, and t for each weighed component, whose mean is 0.

        Shares sum to 1, so that a shift of all t is a factor of k.
        """
        shift = float(np.mean(self.curve.slopes))
        slopes = [float(slope) - shift for slope in self.curve.slopes]
        factor = self.curve.sign * float(np.exp(shift))
        return {"c": float(self.curve.linear[0]), "k": factor, "t": slopes}


@dataclass(frozen=True)
class Quadratic:
    """Scheffe's polynomial; ``factors`` are those of the shares, then of their products."""

    factors: Floats

    def at(self, shares: Floats) -> Floats:
        """Return the losses at shares."""
        losses: Floats = _monomials(shares) @ self.factors
        return losses

    @property
    def terms(self) -> dict[str, float | list[float]]:
        """b in nats: of each weighed component's share, then of the products of pairs."""
        return {"b": [float(factor) for factor in self.factors]}


def _monomials(shares: Floats) -> Floats:
    pairs = combinations(range(shares.shape[-1]), 2)
    products = [shares[..., j] * shares[..., k] for j, k in pairs]
    return np.concatenate([shares, *(one[..., np.newaxis] for one in products)], axis=-1)


@dataclass(frozen=True, kw_only=True)
class Form:
    """A form of mixing law.

    ``name`` is its name, ``formula`` the law in words;
    ``count`` says how many parameters it has by the number of components that are weighed;
    ``fit`` fits it to shares, a row for each mixture, and the losses on one component.
    """

    name: str
    formula: str
    count: Callable[[int], int]
    fit: Callable[[Floats, Floats], Surface]


def _fit_exponential(shares: Floats, losses: Floats) -> Surface:
    return MixingExponential(fit_exponential(np.ones((len(shares), 1)), shares, losses))


def _fit_quadratic(shares: Floats, losses: Floats) -> Surface:
    factors = np.asarray(np.linalg.lstsq(_monomials(shares), losses)[0], dtype=np.float64)
    return Quadratic(factors)


EXPONENTIAL = Form(
    name="exponential",
    formula="L_i = c_i + k_i exp(sum_j t_ij r_j)",
    count=lambda components: components + 1,
    fit=_fit_exponential,
)
QUADRATIC = Form(
    name="quadratic",
    formula="L_i = sum_j b_ij r_j + sum_jk b_ijk r_j r_k",
    count=lambda components: components * (components + 1) // 2,
    fit=_fit_quadratic,
)
FORMS = (EXPONENTIAL, QUADRATIC)


@dataclass(frozen=True, kw_only=True)
class MixingLaw:
    """A mixing law of the loss on every component of a text.

    ``form`` is its form; ``components`` are those of the text, in one order;
    ``weighed`` are the numbers of those that some mixture gives a share;
    ``surfaces`` are the losses on the components, one each;
    ``held_out`` are the losses that it predicts for each mixture, a row each, when fitted to the
    others; ``measured`` are those that its runs ended with.
    """

    form: Form
    components: tuple[str, ...]
    weighed: tuple[int, ...]
    surfaces: tuple[Surface, ...]
    held_out: Floats
    measured: Floats

    @property
    def n_params(self) -> int:
        """How many parameters it has for each component's loss; shares sum to 1."""
        return self.form.count(len(self.weighed))

    def at(self, shares: Floats) -> Floats:
        """Return the losses on all components at shares, the components in the last dimension."""
        own = shares[..., list(self.weighed)]
        return np.stack([surface.at(own) for surface in self.surfaces], axis=-1)

    @property
    def misses(self) -> Floats:
        """The share by which each held-out loss is above the measured one."""
        return self.held_out / self.measured - 1

    @property
    def held_out_error(self) -> float:
        """The root mean square share by which it misses the losses of held-out mixtures."""
        return float(np.sqrt((self.misses**2).mean()))

    @property
    def explained(self) -> float:
        """The share of the variance over mixtures that it predicts, of those held out."""
        spread = self.measured - self.measured.mean(axis=0)
        rest = self.held_out - self.measured
        return 1 - float((rest**2).sum() / max((spread**2).sum(), 1e-30))


def fit_laws(cell: MixCell) -> tuple[MixingLaw, ...]:
    """Return every law that a cell has the mixtures for, the best for held-out ones first.

    A law needs a mixture more than it has parameters. Raises ``FitError`` where there are too few
    for any, or where fewer than two components have a share.
    """
    shares = cell.shares
    weighed = tuple(np.flatnonzero((shares > 0).any(axis=0)).tolist())
    if len(weighed) < 2:
        raise FitError(
            f"all mixtures read one component, {cell.components[weighed[0]]}; a law needs two"
            " components with a share (data.mix)"
        )
    fitted = [
        _fit(form, cell, weighed) for form in FORMS if len(cell.mixtures) > form.count(len(weighed))
    ]
    if not fitted:
        least = min(form.count(len(weighed)) for form in FORMS) + 1
        raise FitError(
            f"{count_of(len(cell.mixtures), 'mixture')} of {len(weighed)} components at"
            f" {cell.params:,} parameters and {cell.tokens:,} tokens: the smallest law has"
            f" {least - 1} parameters a loss and needs {least}; add mixtures to the axis data.mix"
        )
    return tuple(sorted(fitted, key=lambda law: law.held_out_error))


def _fit(form: Form, cell: MixCell, weighed: Sequence[int]) -> MixingLaw:
    shares, losses = cell.shares[:, list(weighed)], cell.losses
    held_out = np.empty_like(losses)
    for place in range(len(shares)):
        rest = np.arange(len(shares)) != place
        for number in range(losses.shape[1]):
            surface = form.fit(shares[rest], losses[rest, number])
            held_out[place, number] = surface.at(shares[place])
    return MixingLaw(
        form=form,
        components=cell.components,
        weighed=tuple(weighed),
        surfaces=tuple(form.fit(shares, column) for column in losses.T),
        held_out=held_out,
        measured=losses,
    )
