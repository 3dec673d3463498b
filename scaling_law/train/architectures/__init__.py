"""Modules of architectures, one file each, beside their counts in ``spec/architectures``.

A file exports ``MODULE = Module(build=...)``. These files import torch at their top.
"""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from torch import Tensor, nn

from scaling_law.errors import ConfigError
from scaling_law.spec.architectures import architecture_of
from scaling_law.spec.model import Model
from scaling_law.spec.run import RunSpec, derive_seed
from scaling_law.train.parametrisations import Role

if TYPE_CHECKING:
    from scaling_law.train.stack import Stack
    from scaling_law.train.tensors import Tensors

State = dict[str, Tensor]
"""A module's ``state_dict``."""
Filling = Callable[[int], Iterator[nn.Module]]
"""Gives a module the first weights of a seed; yields each block that has them."""


@dataclass(frozen=True, kw_only=True)
class Module:
    """The functions of an architecture that training needs.

    ``build(model, seed, gradient_checkpointing)`` gives a module on the CPU. ``seed`` alone decides
    its first weights; it touches no global generator. It gives outputs [B, T', V] from inputs
    [B, T]; the T' targets are the last positions. Where its architecture has ``prefix`` attention
    it takes beside the inputs how many first positions of each example see one another, [B]. It may
    give the role and decay of its weights
    (``weights``, see ``weights_of``), the numbers that it reads ids as (``token_table``), remember
    what it has read while it generates (``train.generate.OwnCache``), minimise more than the
    objective's loss (``train.forward.ExtraLoss``), move its positions together
    (``train.probes.interpolated.HasPositions``), and show its layers (``Inside``);
    ``stack(modules)`` gives several modules of one model as one program; None where there is none;
    ``grow(state, small, large, seed)`` gives the state of a large model that computes what the
    small one of ``state`` does; None where the architecture cannot grow;
    ``to_hf(model, state)`` gives ``config.json`` and the tensors of a Hugging Face architecture;
    None where there is none;
    ``solve(module, batches)`` sets the weights of a module on the CPU to those that minimise the
    loss on the training examples, which every call of ``batches`` yields again as tensors of a
    few examples; None where the architecture is trained in steps;
    ``repeated(model)`` gives the names of tensors in its state that repeat another;
    ``build_empty(model, gradient_checkpointing)`` gives a module without weights, and a function
    that gives it, by a seed, those of ``build``, block by block (``GPT.filled``), so that a device
    may keep its share of each before the next is there; None where the module is built whole.
    """

    build: Callable[[Any, int, bool], nn.Module]
    stack: Callable[[Sequence[Any]], Stack] | None = None
    grow: Callable[[State, Any, Any, int], State] | None = None
    to_hf: Callable[[Any, State], tuple[dict[str, Any], State]] | None = None
    solve: Callable[[Any, Callable[[], Iterator[Tensors]]], None] | None = None
    repeated: Callable[[Any], tuple[str, ...]] = lambda model: ()
    build_empty: Callable[[Any, bool], tuple[nn.Module, Filling]] | None = None


def module_of(model: Model) -> Module:
    """Return the module of a model's architecture. Raises ``ConfigError`` where it has none."""
    part = architecture_of(model)
    if part.build is not None:
        return Module(build=part.build, solve=part.solve)
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
    """Build a fresh module of ``model``, on the CPU."""
    return module_of(model).build(model, seed, gradient_checkpointing)


def init_seed(spec: RunSpec, draw: int = 0) -> int:
    """The seed of a run's first weights; ``draw`` above 0 is another draw of them."""
    return derive_seed(spec.seed, f"init:{draw}" if draw else "init")


def for_targets(outputs: Tensor, are_logits: bool) -> Tensor:
    """A model's one output for an example, [B, K], in the shape that objectives read.

    Logits of an id are [B, 1, K]; numbers stay [B, K].
    """
    return outputs[:, None] if are_logits else outputs


@dataclass(frozen=True, kw_only=True)
class Weight:
    """A weight as the optimizer sees it.

    ``parameter`` is the weight;
    ``decays`` says whether weight decay acts on it;
    ``lr_mult`` is the factor of its parametrisation on the learning rate;
    ``role`` is what it reads and makes (``train.parametrisations``).
    """

    parameter: nn.Parameter
    decays: bool
    lr_mult: float = 1.0
    role: Role = "hidden"


def _role_of(parameter: Tensor, of_matrix: Role) -> Role:
    """Return the role of a layer's weight: that of its matrix, or of a bias, which reads 1."""
    return of_matrix if parameter.ndim > 1 else "input"


def weights_by_layer(
    layers: Iterable[tuple[Role, nn.Module]], lr_mult: Callable[[Role], float]
) -> list[Weight]:
    """Return the weights of layers, by the role of their matrices: these decay, biases do not.

    ``lr_mult`` is a parametrisation's factor on the learning rate, by role.
    """
    return [
        Weight(parameter=parameter, decays=parameter.ndim > 1, lr_mult=lr_mult(role), role=role)
        for of_matrix, layer in layers
        for parameter in layer.parameters()
        for role in (_role_of(parameter, of_matrix),)
    ]


def weights_of(module: nn.Module) -> list[Weight]:
    """Return a module's weights, as it describes them (``weights``).

    In a module that does not describe them, matrices are hidden and decay, and vectors do not.
    """
    describe: Callable[[], list[Weight]] | None = getattr(module, "weights", None)
    if describe is not None:
        return describe()
    return [
        Weight(parameter=p, decays=p.ndim > 1, role=_role_of(p, "hidden"))
        for p in module.parameters()
    ]


@runtime_checkable
class Inside(Protocol):
    """A module that shows probes what its layers compute; ``Architecture.inside`` says what."""

    def inside(self, inputs: Tensor, what: str, prefix: Tensor | None = None) -> list[Tensor]:
        """Return what each layer computes of a batch's inputs, the first layer first.

        ``stream``: what the first layer reads, then what each layer adds up to, [B, T, M].
        ``attention``: the scores that the softmax reads, [B, H, T, T], with -inf where a position
        does not see another. ``units``: the activations of the hidden units, [B, ..., F].
        ``experts``: 1 for each expert that a token goes through and 0 for the others, [B, T, E].
        """
        ...


def inside(
    module: nn.Module, inputs: Tensor, what: str, prefix: Tensor | None = None
) -> list[Tensor]:
    """Return what ``Inside`` says. Raises ``ValueError`` for a module that does not show it."""
    if not isinstance(module, Inside):
        raise ValueError(f"{type(module).__name__} does not show its layers (inside)")
    return module.inside(inputs, what, *(() if prefix is None else (prefix,)))


def token_table(module: nn.Module) -> Tensor:
    """Return the numbers that a module reads each id as, [V, ...].

    Raises ``ValueError`` for a module that does not give them.
    """
    table: Callable[[], Tensor] | None = getattr(module, "token_table", None)
    if table is None:
        raise ValueError(f"{type(module).__name__} gives no table of ids (token_table)")
    return table()


__all__ = [
    "Inside",
    "Module",
    "Role",
    "Weight",
    "build",
    "for_targets",
    "init_seed",
    "inside",
    "module_of",
    "token_table",
    "weights_by_layer",
    "weights_of",
]
