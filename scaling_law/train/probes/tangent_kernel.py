"""How far the empirical tangent kernel is from that of the first weights, at a run's end.

The kernel of two outputs is the product of their gradients by all weights, each weight with its
factor on the learning rate (Jacot 2018, arXiv 1806.07572): by how much a step of gradient descent
on one changes the other. It is measured on examples of ``val``. ``change`` is the distance to the
kernel of the run's own first weights over that kernel's norm; ``spread`` is the distance between
the kernels of two draws of first weights, as a standard deviation over the norm of their mean.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

from scaling_law.spec.counts import count_params
from scaling_law.spec.values import Number
from scaling_law.spec.work import Measured, Work
from scaling_law.train.probes import Probe

if TYPE_CHECKING:
    from torch import Tensor, nn

    from scaling_law.train.subject import Subject


# A gradient takes a backward pass, and a model of text has an output for each token of its
# vocabulary at each position.
_MOST_OUTPUTS = 2048
_MOST_NUMBERS = 250_000_000  # 2 GB


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Settings of the kernel.

    ``examples`` is how many examples of ``val`` it is measured on, at most those of a batch.
    """

    examples: Annotated[int, Number("examples of val", low=1, high=1000)] = 16


def measure(subject: Subject, settings: Settings) -> dict[str, float]:
    """Both distances."""
    import torch

    inputs = next(subject.batches("val")).inputs[: settings.examples]
    last = kernel(subject.model, inputs)
    first, other = (kernel(subject.initial(draw), inputs) for draw in (0, 1))
    norm = torch.linalg.matrix_norm
    return {
        "change": float(norm(last - first) / norm(first)),
        "spread": float(norm(first - other) / 2**0.5 / norm((first + other) / 2)),
    }


def kernel(model: nn.Module, inputs: Tensor) -> Tensor:
    """The tangent kernel [n, n] of the n outputs that a model gives for ``inputs``, in float64.

    Raises ``ValueError`` for outputs or gradients beyond what a probe may take.
    """
    import torch

    from scaling_law.train.architectures import weights_of

    weights = [w for w in weights_of(model) if w.parameter.requires_grad]
    with torch.enable_grad():
        outputs = model(inputs).flatten()
    count = sum(w.parameter.numel() for w in weights)
    if len(outputs) > _MOST_OUTPUTS or len(outputs) * count > _MOST_NUMBERS:
        raise ValueError(_too_many(len(outputs), count))
    rows = []
    for output in outputs:
        gradients = torch.autograd.grad(
            output, [w.parameter for w in weights], retain_graph=True, materialize_grads=True
        )
        scaled = [g.flatten() * w.lr_mult**0.5 for g, w in zip(gradients, weights, strict=True)]
        rows.append(torch.cat(scaled).double())
    jacobian = torch.stack(rows)
    return jacobian @ jacobian.T


def _too_many(outputs: int, weights: int) -> str:
    return (
        f"it takes the gradient of each output by each weight: {outputs:,} outputs and {weights:,}"
        f" weights, at most {_MOST_OUTPUTS:,} outputs and {_MOST_NUMBERS:,} numbers; take fewer"
        " examples, or a model with fewer outputs"
    )


def _outputs(measured: Measured) -> int:
    """The outputs of an example."""
    model = measured.model
    return getattr(model, "outputs", 0) or model.vocab_size * measured.n_targets


def refusal(measured: Measured, settings: Settings) -> str:
    """It needs few outputs, and few weights."""
    outputs = min(settings.examples, measured.examples("val")) * _outputs(measured)
    weights = count_params(measured.model).total
    too_many = outputs > _MOST_OUTPUTS or outputs * weights > _MOST_NUMBERS
    return _too_many(outputs, weights) if too_many else ""


def work(measured: Measured, settings: Settings) -> Work:
    """A backward pass for each output of the examples, under each of three sets of weights."""
    model = measured.model
    outputs = min(settings.examples * _outputs(measured), _MOST_OUTPUTS)
    return Work(read_tokens=3 * (1 + 2 * outputs) * settings.examples * model.n_ctx)


PROBE = Probe(
    measure=measure,
    unit="relative distance",
    when="end",
    settings=Settings,
    work=work,
    refusal=refusal,
)
