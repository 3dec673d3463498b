"""Make the ``RunRecord`` of a finished training loop: counts, versions, where it ran."""

from __future__ import annotations

import dataclasses
import datetime
import functools
import importlib.metadata
import platform

from scaling_law import __version__
from scaling_law.data.dataset import Dataset
from scaling_law.files.code_version import git_commit
from scaling_law.files.record import NATS, NEXT_TOKEN, RunRecord
from scaling_law.spec.counts import count_params, flops_6nd, flops_per_token, train_flops
from scaling_law.spec.resources import Resources
from scaling_law.spec.run import RunSpec
from scaling_law.train.learning_curve import Forecast
from scaling_law.train.measure import Measured
from scaling_law.train.objectives import Objective
from scaling_law.units import bits_per_byte


@functools.cache
def versions() -> dict[str, str]:
    """Return the versions of everything that can change a loss."""
    packages = ("torch", "numpy", "tiktoken", "rustbpe")
    return {
        "slaw": __version__,
        "python": platform.python_version(),
        **{package: importlib.metadata.version(package) for package in packages},
    }


def describe(
    *,
    spec: RunSpec,
    resources: Resources,
    dataset: Dataset,
    objective: Objective,
    final: Measured | None,
    message: str,
    steps_done: int,
    seconds: float,
    peak_memory_bytes: int,
    device_name: str,
    precision_reason: str,
    micro_seqs: int,
) -> RunRecord:
    """Make the record of a run that took ``steps_done`` steps; diverged when ``final`` is None."""
    params, own = count_params(spec.model), steps_done - spec.start_step
    tokens, own_tokens = steps_done * spec.batch_tokens, own * spec.batch_tokens
    repeats = {
        f"epochs.{name}": epochs
        for name, epochs in dataset.repeats(
            n_ctx=spec.model.n_ctx, batch_tokens=spec.batch_tokens, steps=steps_done
        ).items()
    }
    return RunRecord(
        run_id=spec.run_id,
        spec=spec,
        status="done" if final is not None else "diverged",
        kind=spec.kind,
        params_total=params.total,
        params_non_embedding=params.non_embedding,
        params_matmul=params.matmul,
        tokens=tokens,
        tokens_unique=dataset.unique_tokens(
            n_ctx=spec.model.n_ctx, batch_tokens=spec.batch_tokens, steps=steps_done
        ),
        flops_exact=train_flops(spec.model, tokens),
        flops_6nd=flops_6nd(params.total, tokens),
        flops_spent=float(train_flops(spec.model, own_tokens)),
        val_loss_nats=final.val.loss_nats if final else None,
        val_loss_sem_nats=final.val.sem_nats if final else None,
        val_bits_per_byte=_bits_per_byte(spec, dataset, objective, final),
        seconds=round(seconds, 3),
        tokens_per_second=round(own_tokens / max(seconds, 1e-9), 1),
        peak_memory_bytes=peak_memory_bytes,
        device=device_name,
        precision_reason=precision_reason,
        threads=resources.threads,
        kernels=resources.kernels,
        micro_seqs=micro_seqs,
        stacked=resources.stack is not None,
        corpus_fingerprint=dataset.fingerprint,
        components_fingerprint=None if spec.mix is None else dataset.components_fingerprint,
        versions={**versions(), **dataset.versions},
        git_commit=git_commit(),
        finished_at=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        message=message,
        metrics={**(final.metrics if final else {}), **repeats, **_of_parents(spec)},
        metric_units={**(final.units if final else {}), **dict.fromkeys(repeats, "epochs")},
        loss_unit=None if objective.unit == NATS else objective.unit,
        loss_family=None if objective.comparable == NEXT_TOKEN else objective.comparable,
    )


def _of_parents(spec: RunSpec) -> dict[str, float]:
    """Return the cost of a grown run's first weights, which its own counts do not include."""
    grown = spec.growth
    if grown is None:
        return {}
    return {"parent_tokens": float(grown.parent_tokens), "parent_flops": grown.parent_flops}


def stopped_early(record: RunRecord, forecast: Forecast, dataset: Dataset) -> RunRecord:
    """Return ``record`` as that of a run that ended early, with its predicted final loss."""
    spec = record.spec
    saved = float(flops_per_token(spec.model) * (spec.tokens - record.tokens))
    step = record.tokens // spec.batch_tokens
    return dataclasses.replace(
        record,
        status="stopped_early",
        message=f"loss predicted {forecast.loss_nats:.4f} nats/token, {forecast.low_nats:.4f} to"
        f" {forecast.high_nats:.4f} at 90%; step {step} of {spec.total_steps},"
        f" {saved:.3g} FLOPs saved" + (f"; {record.message}" if record.message else ""),
        metrics={
            **record.metrics,
            "predicted_loss_nats": forecast.loss_nats,
            "predicted_low_nats": forecast.low_nats,
            "predicted_high_nats": forecast.high_nats,
            "stopped_at_step": step,
            "flops_saved": saved,
            "planned_tokens_unique": dataset.unique_tokens(
                n_ctx=spec.model.n_ctx, batch_tokens=spec.batch_tokens, steps=spec.total_steps
            ),
        },
    )


def _bits_per_byte(
    spec: RunSpec, dataset: Dataset, objective: Objective, final: Measured | None
) -> float | None:
    """Return the final loss in bits per byte; None where the loss does not cover every token."""
    if final is None or not objective.fast or objective.view is not None:
        return None
    text_bytes = dataset.val_bytes("val", spec.model.n_ctx, spec.eval.val_tokens)
    if text_bytes is None:
        return None
    return bits_per_byte(final.val.loss_nats, final.val.tokens, text_bytes)
