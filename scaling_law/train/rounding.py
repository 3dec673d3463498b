"""Round what enters products with weights, while a context is open (``train.number_formats``)."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own idiom
from torch import Tensor
from torch.overrides import TorchFunctionMode

from scaling_law import parts
from scaling_law.spec.run import RunSpec
from scaling_law.train import device
from scaling_law.train.number_formats import NumberFormat, open_contexts

# Products of an input (the first argument) with a weight (the second one).
_PRODUCTS = (F.linear, torch.conv1d, torch.conv2d, torch.conv3d)

Change = Callable[[Tensor], Tensor]


class _Passed(torch.autograd.Function):
    """Change numbers on the way forward, and their gradient on the way back."""

    @staticmethod
    def forward(ctx: Any, numbers: Tensor, forward: Change | None, back: Change | None) -> Tensor:
        ctx.back = back
        return numbers.view_as(numbers) if forward is None else forward(numbers)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        return (grad if ctx.back is None else ctx.back(grad)), None, None


class RoundedProducts(TorchFunctionMode):
    """While inside, products with weights read rounded numbers, whatever module computes them."""

    def __init__(self, number_format: NumberFormat, settings: Any) -> None:
        super().__init__()
        self._format, self._settings = number_format, settings

    def __enter__(self) -> RoundedProducts:
        super().__enter__()  # type: ignore[no-untyped-call]
        open_contexts.append(self)
        return self

    def __exit__(self, *problem: Any) -> None:
        open_contexts.remove(self)
        super().__exit__(*problem)  # type: ignore[no-untyped-call]

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Call ``func``; the input and the weight of a product are rounded first."""
        if func not in _PRODUCTS:
            return func(*args, **(kwargs or {}))
        x, weight, *rest = args
        part, settings = self._format, self._settings
        assert part.round is not None, "a format that rounds nothing has no context"
        rounds, rounds_back = part.round, part.gradient

        def forward(numbers: Tensor) -> Tensor:
            return rounds(numbers, settings)

        def of_weight(numbers: Tensor) -> Tensor:
            # a row of a weight is all that makes one output
            return forward(numbers.flatten(1)).view_as(numbers)

        def back(numbers: Tensor) -> Tensor:
            assert rounds_back is not None, "asked below"
            return rounds_back(numbers, settings)

        backward = None if rounds_back is None else back
        if settings.activations:
            x = _Passed.apply(x, forward, None)  # type: ignore[no-untyped-call]
        if settings.weights:
            weight = _Passed.apply(weight, of_weight, backward)  # type: ignore[no-untyped-call]
        y = func(x, weight, *rest, **(kwargs or {}))
        return y if backward is None else _Passed.apply(y, None, backward)  # type: ignore[no-untyped-call]


def again() -> tuple[AbstractContextManager[Any], AbstractContextManager[Any]]:
    """Contexts of a computation and of its repetition in the backward pass, which rounds as well.

    By then the context that is open now is closed.
    """
    if not open_contexts:
        return contextlib.nullcontext(), contextlib.nullcontext()
    mode: RoundedProducts = open_contexts[-1]
    repeated = RoundedProducts(mode._format, mode._settings)
    return contextlib.nullcontext(), repeated


def rounded(number_format: NumberFormat, settings: Any) -> AbstractContextManager[Any]:
    """A context in which products are rounded; one that does nothing for a format that does not."""
    if number_format.round is None:
        return contextlib.nullcontext()
    return RoundedProducts(number_format, settings)


def of_run(spec: RunSpec) -> Callable[[], AbstractContextManager[Any]]:
    """Return a function that makes contexts with the products of a run's number format."""
    if spec.number_format is None:
        return contextlib.nullcontext
    component = spec.number_format
    part: NumberFormat = parts.load("number_format", component.reference)
    settings: Any = component.settings_as(part.settings)
    return lambda: rounded(part, settings)


def contexts(kind: str, spec: RunSpec) -> Callable[[], AbstractContextManager[Any]]:
    """Return a function that makes the contexts of a run's passes: its precision and its format."""
    autocast, rounds = device.autocast(kind, spec.precision), of_run(spec)
    if spec.number_format is None:
        return autocast

    @contextlib.contextmanager
    def both() -> Any:
        with rounds(), autocast():
            yield

    return both
