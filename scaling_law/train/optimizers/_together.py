"""Several optimizers as one: each has weights of its own, and all have one state."""

from __future__ import annotations

from typing import Any

import torch


class Together(torch.optim.Optimizer):
    """Optimizers that step together; groups and state are shared with each of them."""

    def __init__(self, *optimizers: torch.optim.Optimizer) -> None:
        self._optimizers = optimizers
        super().__init__([g for one in optimizers for g in one.param_groups], {})
        self._share()

    def _share(self) -> None:
        """Give each optimizer its groups and the state of this one."""
        first = 0
        for one in self._optimizers:
            last = first + len(one.param_groups)
            one.param_groups = self.param_groups[first:last]
            one.state = self.state
            first = last

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        self._share()

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """Take a step of each."""
        assert closure is None, "the loop computes the gradients"
        for one in self._optimizers:
            one.step()
