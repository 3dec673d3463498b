"""AdamW that moves the weights after several steps, by their mean gradient."""

from __future__ import annotations

from typing import Any

import torch


class GrowingBatch(torch.optim.AdamW):
    """AdamW over the mean gradient of so many steps as ``steps_per_update`` says.

    Its place among the steps and the sum of gradients so far are in its ``state_dict``, so that a
    run resumes between two updates.
    """

    def __init__(
        self,
        groups: list[dict[str, Any]],
        *,
        first: int,
        last: int,
        double_after: int,
        lr_power: float,
        **options: Any,
    ) -> None:
        super().__init__(groups, **options)
        self._first, self._last = first, last
        self._double_after, self._lr_power = double_after, lr_power
        for group in self.param_groups:
            group.update(steps_done=0, steps_pending=0, steps_wanted=first)

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Restore a saved state, in which Adam has none of its own before the first update."""
        sums = {
            w: of.pop("gradient_sum") for w, of in state["state"].items() if "gradient_sum" in of
        }
        super().__setstate__(state)  # type: ignore[no-untyped-call]
        for weight, total in sums.items():
            self.state[weight]["gradient_sum"] = total

    def steps_per_update(self, steps_done: int) -> int:
        """The steps of an update that begins after so many."""
        doublings = min(steps_done // self._double_after, self._last.bit_length())
        return min(self._last, self._first << doublings)

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """Add the gradients to those since the last update; update where these are enough."""
        group = self.param_groups[0]
        if group["steps_pending"] == 0:
            group["steps_wanted"] = self.steps_per_update(group["steps_done"])
        group["steps_done"] += 1
        group["steps_pending"] += 1
        wanted, updates = group["steps_wanted"], group["steps_pending"] == group["steps_wanted"]
        for weight in (w for g in self.param_groups for w in g["params"] if w.grad is not None):
            total = self.state[weight].pop("gradient_sum", None)
            total = weight.grad.clone() if total is None else total.add_(weight.grad)
            if updates:
                weight.grad = total.div_(wanted)
            else:
                self.state[weight]["gradient_sum"] = total
        if not updates:
            return
        group["steps_pending"] = 0
        for one in self.param_groups:
            one["lr"] *= wanted**self._lr_power
        super().step()
