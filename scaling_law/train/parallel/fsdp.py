"""Fully sharded (Zhao 2023, arXiv 2304.11277), by torch's FSDP2: a device has a share of the model.

The weights of a block are gathered when it is read, forwards and backwards, and left again; its
gradients are added up into shares after each micro-batch. The optimizer sees only shares.
"""

from __future__ import annotations

import itertools
import math

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard, register_fsdp_forward_method
from torch.distributed.tensor import DTensor, distribute_tensor

from scaling_law.spec.model import Model
from scaling_law.train import architectures
from scaling_law.train.forward import OwnLoss, Trainable
from scaling_law.train.group import Group
from scaling_law.train.parallel import Kind, Spread


class _FullySharded(Spread):
    shards = True

    def __init__(self, trainable: Trainable, group: Group) -> None:
        super().__init__(trainable)
        # torch takes the mean over processes
        self.factor = float(group.size)

    def clip(self, limit: float | None) -> float:
        weights = list(self.trainable.model.parameters())
        norm = torch.nn.utils.get_total_norm([w.grad for w in weights if w.grad is not None])
        assert isinstance(norm, DTensor), "that of shares"
        whole = norm.full_tensor()
        torch.nn.utils.clip_grads_with_norm_(weights, limit or math.inf, whole)
        return float(whole)

    def whole(self, tensor: Tensor) -> Tensor:
        return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor.clone()

    def share_of(self, whole: Tensor, like: Tensor) -> Tensor:
        if not isinstance(like, DTensor) or whole.shape != like.shape:
            return whole
        # every process has read the same tensor, so none is sent
        return distribute_tensor(
            whole.to(like.device), like.device_mesh, like.placements, src_data_rank=None
        )


def build(model: Model, seed: int, gradient_checkpointing: bool, kind: str) -> nn.Module:
    """Shard a model block by block: each element of a list of modules, then all else.

    Where its architecture gives the blocks their weights one after the other, no process ever has
    more than one whole block, beside its shares and what is in no block.
    """
    mesh = init_device_mesh(kind, (dist.get_world_size(),))
    part = architectures.module_of(model)
    if part.build_empty is not None:
        module, fill = part.build_empty(model, gradient_checkpointing)
        blocks = fill(seed)
    else:
        module = part.build(model, seed, gradient_checkpointing).to(kind)
        lists = [one for one in module.modules() if isinstance(one, nn.ModuleList)]
        blocks = itertools.chain.from_iterable(lists)
    for block in blocks:
        fully_shard(block, mesh=mesh)
    # measuring is a forward pass without a backward one, which must leave the weights shared out
    fully_shard(module, mesh=mesh, reshard_after_forward=True)
    assert isinstance(module, FSDPModule), "torch changes its class"
    if isinstance(module, OwnLoss):
        for name in ("loss", "sequence_losses"):
            register_fsdp_forward_method(module, name)
    return module


KIND = Kind(build=build, spread=_FullySharded)
