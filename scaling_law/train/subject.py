"""Give a probe the model between two steps, without any effect on the training."""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import random
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from scaling_law.errors import RunFailed
from scaling_law.spec.sampling import Sampling
from scaling_law.train.architectures import build, init_seed, inside
from scaling_law.train.evaluate import Examples
from scaling_law.train.forward import Trainable, tensors_of
from scaling_law.train.generate import Continuation, generate, rows_at_once
from scaling_law.train.objectives import Objective
from scaling_law.train.tensors import Tensors


class Interrupted(BaseException):
    """The run must stop while a probe measures.

    ``__cause__`` is what ``should_stop`` raised, if it raised. This is not an ``Exception``, so
    that a probe that catches every exception does not catch it.
    """


class Subject:
    """A model after ``step`` steps, and examples of about ``max_tokens`` targets of each split.

    ``kind`` is the kind of device; ``autocast`` makes a fresh context; every batch, also of
    prompts, first calls ``should_stop``; ``before`` are the weights before the last step, by name,
    where they are kept.
    """

    def __init__(
        self,
        examples: Examples,
        *,
        step: int,
        max_tokens: int,
        kind: str,
        autocast: Callable[[], Any],
        should_stop: Callable[[], bool],
        before: Mapping[str, Tensor] | None = None,
    ) -> None:
        self.step = step
        self._examples, self._trainable = examples, examples.trainable
        self._max_tokens, self._kind = max_tokens, kind
        self._autocast, self._should_stop = autocast, should_stop
        self._before = before

    @property
    def model(self) -> nn.Module:
        """The model; a probe may read its weights but must not change them."""
        return self._trainable.model

    def initial(self, draw: int = 0) -> nn.Module:
        """A fresh model with the weights that the run began with, or another draw of them.

        ``draw`` 0 are the run's own. Raises ``ValueError`` for a run that began with the weights of
        another.
        """
        spec = self._examples.spec
        if spec.branch is not None or spec.growth is not None or spec.start_from is not None:
            raise ValueError("the run began with the weights of another run, not with random ones")
        return build(spec.model, init_seed(spec, draw)).to(self._kind).eval()

    def of(self, model: nn.Module) -> Subject:
        """Return the same examples for another model, such as a changed copy of this one."""
        mine = self._trainable
        return self._with(Trainable(model, mine.objective, mine.settings))

    def _with(self, trainable: Trainable) -> Subject:
        return Subject(
            dataclasses.replace(self._examples, trainable=trainable),
            step=self.step,
            max_tokens=self._max_tokens,
            kind=self._kind,
            autocast=self._autocast,
            should_stop=self._should_stop,
        )

    def under(self, objective: Objective, settings: Any = None) -> Subject:
        """Return a copy of the model, and the same examples, as another objective views them."""
        return self._with(Trainable(copy.deepcopy(self.model), objective, settings))

    def infill(self, texts: Tensor, starts: Tensor, length: int) -> Tensors:
        """Return the examples in which a span of each text is predicted (``Objective.infill``).

        Raises ``ValueError`` for an objective that fills in nothing.
        """
        mine = self._trainable
        if mine.objective.infill is None:
            raise ValueError("the objective does not say how it fills in a span (infill)")
        given = texts.cpu().numpy(), starts.cpu().numpy()
        return tensors_of(mine.objective.infill(*given, length, mine.settings)).to(self._kind)

    def reading(self, texts: Tensor) -> Tensors:
        """Return whole texts [B, T] as the objective reads them: both ways, if it has a prefix."""
        both = self._trainable.objective.attention == "prefix"
        prefix = torch.full((len(texts),), texts.shape[1], device=texts.device) if both else None
        return Tensors(inputs=texts, targets=texts, prefix=prefix)

    @property
    def splits(self) -> tuple[str, ...]:
        """``train``, ``val``, and further validation splits such as ``val:length-128``."""
        return self._examples.splits

    def batches(self, split: str) -> Iterator[Tensors]:
        """Yield examples of a split as the objective views them, the same at every step.

        Those of ``train`` are drawn with a fixed seed, as many as of a validation split.
        """
        for batch in self._examples.measured(split, self._max_tokens):
            self._stop_if_asked()
            yield batch.to(self._kind)

    def _stop_if_asked(self) -> None:
        try:
            stops = self._should_stop()
        except Exception as problem:
            raise Interrupted from problem
        if stops:
            raise Interrupted

    @torch.no_grad()
    def forward(self, batch: Tensors) -> Tensor:
        """The model's outputs at the targets' positions, [B, T', ...], without gradient."""
        with self._autocast():
            return self._trainable.outputs(batch)

    @torch.no_grad()
    def losses(self, batch: Tensors) -> tuple[Tensor, Tensor]:
        """The mean loss of each example, [B], and its weight, [B], without gradient."""
        with self._autocast():
            return self._trainable.example_losses(batch)

    @torch.no_grad()
    def inside(self, batch: Tensors, what: str) -> list[Tensor]:
        """What each layer computes of a batch, as ``train.architectures.Inside`` says."""
        with self._autocast():
            return inside(self.model, batch.inputs, what, batch.prefix)

    def before_step(self) -> Mapping[str, Tensor]:
        """Return every weight before the last step, by name; a probe asks by ``reads_step``.

        Raises ``ValueError`` where there was no step, as in a run that is solved in closed form.
        """
        if self._before is None:
            raise ValueError("no step was taken before this measurement")
        return self._before

    def gradient(self, batch: Tensors, scale: float = 1.0) -> tuple[float, dict[str, Tensor]]:
        """The batch's loss, and the gradient of every weight by the weight's name.

        The loss is multiplied by ``scale`` on the way back and the gradient divided by it, which
        changes only what the precision rounds.
        """
        weights = {name: w for name, w in self.model.named_parameters() if w.requires_grad}
        with torch.enable_grad(), self._autocast():
            loss = self._trainable.loss(batch)
        gradients = torch.autograd.grad(
            loss if scale == 1 else loss * scale, list(weights.values()), materialize_grads=True
        )
        if scale != 1:
            gradients = tuple(gradient / scale for gradient in gradients)
        return float(loss.detach()), dict(zip(weights, gradients, strict=True))

    def generate(self, tokens: Tensor, count: int) -> Tensor:
        """Continue ids [B, T] by the likeliest token, ``count`` times: [B, T + count].

        Raises ``ValueError`` where the model does not predict the next token.
        """
        if count < 1:
            return tokens
        how = Sampling(tokens=count, temperature=0)
        more = [row.ids for row in self.continuations(tokens.tolist(), how)]
        return torch.cat((tokens, torch.tensor(more, device=tokens.device)), dim=1)

    def continuations(
        self, prompts: Sequence[Sequence[int]], how: Sampling, stop: Collection[int] = ()
    ) -> list[Continuation]:
        """Continue each of ``prompts``, of any lengths, as ``train.generate.generate`` does.

        A continuation ends with a token of ``stop``, or after ``how.tokens``. Raises ``ValueError``
        where the model does not predict the next token.
        """
        if self._trainable.objective.attention != "causal":
            raise ValueError("only a model with causal attention continues a text")
        n_ctx = self._examples.spec.model.n_ctx
        done: list[Continuation] = []
        for first in range(0, len(prompts), rows_at_once(n_ctx)):
            self._stop_if_asked()
            some = prompts[first : first + rows_at_once(n_ctx)]
            with self._autocast():
                done += generate(self.model, some, how, n_ctx=n_ctx, stop=stop, first=first)
        return done


def _uses_cuda() -> bool:
    return bool(torch.cuda.is_initialized())  # type: ignore[no-untyped-call]


@contextlib.contextmanager
def untouched(model: nn.Module, name: str) -> Iterator[None]:
    """Put the model into evaluation inside, and restore its gradients and random numbers after.

    Raises ``RunFailed`` where the probe ``name`` changed a weight.
    """
    modes = [(module, module.training) for module in model.modules()]
    weights = list(model.parameters())
    flags = [(weight, weight.requires_grad, weight.grad) for weight in weights]
    tensors = [*weights, *model.buffers()]
    versions = [tensor._version for tensor in tensors]
    numbers = random.getstate(), np.random.get_state(), torch.get_rng_state()
    on_cuda = torch.cuda.get_rng_state_all() if _uses_cuda() else []
    for weight in weights:
        weight.grad = None
    model.eval()
    try:
        yield
    finally:
        for module, mode in modes:
            module.training = mode
        for weight, needs, gradient in flags:
            weight.requires_grad_(needs)
            weight.grad = gradient
        random.setstate(numbers[0])
        np.random.set_state(numbers[1])
        torch.set_rng_state(numbers[2])
        if on_cuda:
            torch.cuda.set_rng_state_all(on_cuda)
    if [tensor._version for tensor in tensors] != versions:
        raise RunFailed(
            f"the probe {name} changes weights of the model it measures; take it out of the"
            " config's probes, or let it work on copies"
        )
