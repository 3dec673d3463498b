"""Name the operators that compute a training step on a CPU in fp32.

``train.kernels`` has them, ``train.step_speed`` chooses among them by measuring. The choice changes
the last bits of a loss: it is pinned with a sweep's plan and recorded with every run.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from scaling_law.decode import build_shared


@dataclass(frozen=True, kw_only=True)
class Kernels:
    """The operators of one shape's training step; by default torch's own.

    ``attention_block``: queries that attention takes at a time; 0 for torch's attention.
    ``linear``: whether products with a weight go by oneDNN.
    ``gradients``: whether oneDNN also computes the weights' gradients in those products.
    ``head_rows``: tokens whose logits exist at a time; 0 for all logits and torch's cross-entropy.
    ``head_products``: whether the products of a head in chunks go by oneDNN.
    ``fused``: whether AdamW is torch's fused one.
    """

    attention_block: int = 0
    linear: bool = False
    gradients: bool = False
    head_rows: int = 0
    head_products: bool = False
    fused: bool = False

    def __str__(self) -> str:
        """Say which operators differ from torch's own; ``plain`` where none does."""
        words = []
        if self.attention_block:
            words.append(f"attention by {self.attention_block} queries")
        if self.linear:
            words.append("oneDNN products" + (" and gradients" if self.gradients else ""))
        if self.head_rows:
            by = " by oneDNN" if self.head_products else ""
            words.append(f"head by {self.head_rows} tokens{by}")
        if self.fused:
            words.append("fused AdamW")
        return ", ".join(words) or "plain"


PLAIN = Kernels()


def kernels_from_json(data: Any) -> Kernels | None:
    """Build ``Kernels`` from their JSON; None where there is none. Raises ``ValueError``."""
    return None if data is None else build_shared(Kernels, data)
