"""Specify where a run starts, if not from step 0 with random weights."""

from __future__ import annotations

from dataclasses import dataclass, field

from scaling_law.spec.fields import at_least, check_run_id, of_axis
from scaling_law.spec.model import Model
from scaling_law.spec.to_json import SpecPart


@dataclass(frozen=True, kw_only=True)
class Branch(SpecPart):
    """The state of another run that this run starts from.

    ``trunk_id``: run id of the trunk.
    ``at_step``: the trunk's step before which its state is taken.
    """

    trunk_id: str = field(metadata=of_axis("horizon"))
    at_step: int = field(metadata=of_axis("horizon"))

    def __post_init__(self) -> None:
        # the id names a folder next to the run's own, and comes from files that may be untrusted
        check_run_id(self.trunk_id)


@dataclass(frozen=True, kw_only=True)
class Growth(SpecPart):
    """First weights that are not random: those of a smaller trunk, enlarged (``train.grow``).

    The run continues in the order of the data after its parents. Steps, tokens, FLOPs and the
    learning rate start from zero.

    ``trunk_id``: run id of the smaller trunk.
    ``at_step``: the trunk's step before which its state is taken.
    ``model``: the trunk's shape.
    ``parent_tokens``: tokens that the trunk and its own parents had seen by then.
    ``parent_flops``: FLOPs (exact) that the trunk and its own parents had spent by then.
    """

    trunk_id: str = field(metadata=of_axis("horizon"))
    at_step: int = field(metadata=of_axis("horizon"))
    model: Model = field(metadata=of_axis("size"))
    parent_tokens: int = field(metadata=of_axis("horizon"))
    parent_flops: float = field(metadata=of_axis("horizon"))

    def __post_init__(self) -> None:
        check_run_id(self.trunk_id)
        at_least(1, at_step=self.at_step, parent_tokens=self.parent_tokens)


@dataclass(frozen=True, kw_only=True)
class StartFrom(SpecPart):
    """Another run's final weights, which a run starts from or whose losses its objective reads.

    A run that starts from them begins its steps and learning rate at zero.

    ``run_id``: the other run, of this sweep or another.
    ``weights_sha256``: the hash of its weights' file.
    """

    run_id: str
    weights_sha256: str

    def __post_init__(self) -> None:
        check_run_id(self.run_id)
