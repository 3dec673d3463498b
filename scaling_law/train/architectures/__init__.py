"""Modules of architectures, one file each, beside their counts in ``spec/architectures``.

A file exports ``MODULE = Module(build=...)``. These files import torch at their top.
"""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

from scaling_law.errors import ConfigError
from scaling_law.spec.architectures import architecture_of
from scaling_law.spec.run import Model
from scaling_law.train.parametrisations import Role

if TYPE_CHECKING:
    from scaling_law.train.stack import StackedGPT

State = dict[str, Tensor]
"""A module's ``state_dict``."""


@dataclass(frozen=True, kw_only=True)
class Module:
    """What an architecture is to the training loop.

    ``build(model, seed, gradient_checkpointing)``: a module on the CPU whose first weights are
    decided by ``seed`` alone; it touches no global generator. It gives outputs [B, T', V] from
    inputs [B, T]; the T' targets are the last ones. It may say of its weights which role and
    decay they have (``weights``, see ``weights_of``).
    ``stack(modules)``: several modules of one model as one program; None where there is none.
    ``grow(state, small, large, seed)``: the state of a large model that computes what the small
    one of ``state`` does; None where there is no such.
    ``to_hf(model, state)``: ``config.json`` and tensors of a Hugging Face architecture; None
    where there is none.
    ``repeated(model)``: names of tensors in its state that repeat another.
    """

    build: Callable[[Any, int, bool], nn.Module]
    stack: Callable[[Sequence[Any]], StackedGPT] | None = None
    grow: Callable[[State, Any, Any, int], State] | None = None
    to_hf: Callable[[Any, State], tuple[dict[str, Any], State]] | None = None
    repeated: Callable[[Any], tuple[str, ...]] = lambda model: ()


def module_of(model: Model) -> Module:
    """The module of a model's architecture. Raises ``ConfigError`` where it has none."""
    part = architecture_of(model)
    if part.build is not None:
        return Module(build=part.build)
    name = model.architecture.name
    where = f"{__name__}.{name}"
    if model.architecture.source_sha256 is not None or importlib.util.find_spec(where) is None:
        raise ConfigError(
            f"the architecture {name} has no module: expected build=... in its ARCHITECTURE, or"
            f" MODULE in {where}"
        )
    module: Module = importlib.import_module(where).MODULE
    return module


def build(model: Model, seed: int = 0, gradient_checkpointing: bool = False) -> nn.Module:
    """A fresh module of ``model``, on the CPU."""
    return module_of(model).build(model, seed, gradient_checkpointing)


@dataclass(frozen=True, kw_only=True)
class Weight:
    """A weight as the optimizer sees it.

    ``parameter``: the weight.
    ``decays``: whether weight decay acts on it.
    ``lr_mult``: the factor of its parametrisation on the learning rate.
    """

    parameter: nn.Parameter
    decays: bool
    lr_mult: float = 1.0


def weights_of(module: nn.Module) -> list[Weight]:
    """A module's weights, as it describes them (``weights``).

    Of one that does not, matrices decay and vectors do not.
    """
    describe: Callable[[], list[Weight]] | None = getattr(module, "weights", None)
    if describe is not None:
        return describe()
    return [Weight(parameter=p, decays=p.ndim > 1) for p in module.parameters()]


__all__ = ["Module", "Role", "Weight", "build", "module_of", "weights_of"]
