"""How far training has moved activations from those of the first weights: a coordinate check.

It compares the run's model with its first weights on one batch of ``val`` (Yang 2022, arXiv
2203.03466, appendix D). A value is the root mean square of the change: of the outputs
(``outputs``), of what each block gives, which is the residual stream after it (``blocks.0``), and
of what each of its branches gives (``blocks.0.mlp``). Blocks are the members of a model's lists of
modules (not of lists within those); a model without such lists has ``outputs`` alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from scaling_law.parts import NoSettings
from scaling_law.train.probes import Probe

if TYPE_CHECKING:
    from torch import Tensor, nn

    from scaling_law.train.subject import Subject
    from scaling_law.train.tensors import Tensors


def measure(subject: Subject, settings: NoSettings) -> dict[str, float]:
    """Return the change by the module's name."""
    batch = next(subject.batches("val"))
    before = activations(subject.of(subject.initial()), batch)
    after = activations(subject, batch)
    return {
        name: float((after[name].float() - first.float()).square().mean().sqrt())
        for name, first in before.items()
    }


def activations(subject: Subject, batch: Tensors) -> dict[str, Tensor]:
    """Return what the model, its blocks and their branches give for a batch, by name."""
    seen: dict[str, Tensor] = {}

    def note(name: str, value: object) -> None:
        import torch

        if isinstance(value, torch.Tensor) and value.is_floating_point():
            seen[name] = value.detach()

    hooks = [
        module.register_forward_hook(lambda module, inputs, value, name=name: note(name, value))
        for name, module in blocks_and_branches(subject.model)
    ]
    try:
        seen["outputs"] = subject.forward(batch)
    finally:
        for hook in hooks:
            hook.remove()
    return seen


def blocks_and_branches(model: nn.Module) -> list[tuple[str, nn.Module]]:
    """Return the members of outermost lists of modules, and their children that have children."""
    from torch import nn

    named = dict(model.named_modules())
    every = [name for name, module in named.items() if isinstance(module, nn.ModuleList)]
    # experts, a list within a block, are given other tokens by other weights
    lists = [name for name in every if not any(name.startswith(f"{outer}.") for outer in every)]
    blocks = [
        (f"{name}.{key}", block) for name in lists for key, block in named[name].named_children()
    ]
    branches = [
        (f"{name}.{key}", branch)
        for name, block in blocks
        for key, branch in block.named_children()
        if any(branch.children())
    ]
    return blocks + branches


PROBE = Probe(measure=measure, unit="root mean square of the change", when="end", passes=2)
