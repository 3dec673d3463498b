"""What a mixture is to be good at: the worst component, their mean, or a weighted mean."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from scaling_law.errors import ConfigError, did_you_mean, quoted
from scaling_law.spec.mix import shares_problem

if TYPE_CHECKING:  # loaded where a target is computed: a config with targets is read without it
    from scaling_law.fit.mixtures.points import Floats

WORST, MEAN = "worst", "mean"


@dataclass(frozen=True, kw_only=True)
class MixTarget:
    """A number that the losses on the components give; lower is better.

    ``text`` is the target as a user writes it;
    ``weights`` are those of the components, in their order; None takes the highest loss.
    """

    text: str
    weights: tuple[float, ...] | None

    def pieces(self, losses: Floats) -> Floats:
        """Return numbers in nats per token of which the target is the highest, in the last
        dimension; the components are in that of ``losses``.
        """
        import numpy as np

        if self.weights is None:
            return losses
        return np.asarray(losses @ np.array(self.weights))[..., np.newaxis]

    def of(self, losses: Floats) -> Floats:
        """Return the target in nats per token; the components are in the last dimension."""
        highest: Floats = self.pieces(losses).max(axis=-1)
        return highest

    @property
    def words(self) -> str:
        """The target as a sentence has it."""
        if self.weights is None:
            return "highest loss of a component"
        if self.text == MEAN:
            return "mean loss over components"
        return f"loss weighted by {self.text}"


def weights_of(text: str) -> dict[str, float] | None:
    """Read the weights of a target by name, None for ``worst`` and ``mean``.

    Raises ``ConfigError`` for what is no target, and weights that do not sum to 1.
    """
    if text in (WORST, MEAN):
        return None
    weights: dict[str, float] = {}
    for part in text.split(","):
        name, equals, number = part.strip().partition("=")
        try:
            value = float(number)
        except ValueError:
            equals = ""
        if not equals or not name:
            raise ConfigError(
                f"target {quoted(text)}: expected {WORST}, {MEAN}, or weights of components such"
                " as code=.7,docs=.3"
            )
        if name in weights:
            raise ConfigError(f"target {quoted(text)}: {quoted(name)} is there twice; give it once")
        weights[name] = value
    if why := shares_problem(weights):
        raise ConfigError(f"target {quoted(text)}: {why}")
    return weights


def parse_target(text: str, components: Sequence[str]) -> MixTarget:
    """Read ``worst``, ``mean`` or ``code=.7,docs=.3``.

    Raises ``ConfigError`` as ``weights_of`` does, for a name that is no component, and where there
    are none.
    """
    weights = weights_of(text)
    if not components:
        raise ConfigError(
            f"target {quoted(text)}: a task has no components to mix; expected a text of domains"
            " or of several sources"
        )
    if weights is None:
        equal = (1 / len(components),) * len(components)
        return MixTarget(text=text, weights=None if text == WORST else equal)
    for name in weights:
        if name not in components:
            raise ConfigError(
                f"target {quoted(text)}: no component is called {quoted(name)}"
                f"{did_you_mean(name, components)}; there are {', '.join(components)}"
            )
    return MixTarget(text=text, weights=tuple(weights.get(name, 0.0) for name in components))
