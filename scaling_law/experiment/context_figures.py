"""Tables and figures of losses by context length, by position, and by place in the document."""

from __future__ import annotations

from collections.abc import Mapping
from statistics import fmean

from scaling_law.experiment.by_position import places_of
from scaling_law.experiment.contexts import (
    Seen,
    common_flops,
    equal_compute,
    equal_tokens,
    loss_of,
)
from scaling_law.experiment.figures import figure, law_series, log_axis, mean_series
from scaling_law.experiment.findings import Axis, Figure, Panel, Table
from scaling_law.experiment.power_law import PowerLaw
from scaling_law.experiment.seeds import mean_over
from scaling_law.spec.counts import flops_per_token
from scaling_law.units import format_count


def context_table(seen: Seen) -> Table | None:
    """What a token of each context costs, and its losses at equal tokens and compute."""
    compute, rows = equal_compute(seen), []
    for n_ctx in seen.contexts:
        runs = seen.at(n_ctx, seen.tokens)
        if not runs:
            continue
        equal = mean_over(list(compute.get(n_ctx, {}).values()))
        mean = mean_over([loss_of(run) for run in runs.values()])
        cost = flops_per_token(next(iter(runs.values())).spec.model)
        speed = fmean(run.record.tokens_per_second for run in runs.values())
        errors = [run.record.val_loss_sem_nats or 0.0 for run in runs.values()]
        rows.append(
            (
                n_ctx,
                f"{cost:.3g}",
                format_count(speed),
                mean.text if mean else "–",
                f"{fmean(errors):.3f}",
                equal.text if equal else "–",
            )
        )
    if not rows:
        return None
    flops = common_flops(seen)
    return Table(
        caption=f"Contexts of {format_count(seen.base)} parameters: FLOPs of a token, tokens a"
        f" second as measured here, loss in nats per token after {format_count(seen.tokens)} tokens"
        " with the error that the sample of validation text leaves,"
        + (f" and the loss after {flops:.2e} FLOPs" if flops else ""),
        head=("context", "FLOPs", "tokens/s", "equal tokens", "error", "equal compute"),
        rows=tuple(rows),
        text_columns=0,
    )


def size_table(seen: Seen, laws: Mapping[int, PowerLaw | str]) -> Table | None:
    """The loss at both ends of the longest context, and its law, by size."""
    rows = []
    for params, runs in seen.longest.items():
        law, places = laws[params], places_of(runs, "position")
        if not places:
            continue
        ends = [fmean(places[x]) for x in (min(places), max(places))]
        fitted = law.formula("p") if isinstance(law, PowerLaw) else law
        rows.append((format_count(params), f"{ends[0]:.3f}", f"{ends[1]:.3f}", fitted))
    if not rows:
        return None
    return Table(
        caption="Loss by position p at the longest context, in nats per token",
        head=("params", "first position", "last positions", "law"),
        rows=tuple(rows),
    )


def document_table(seen: Seen) -> Table | None:
    """The loss by place in short documents, packed and masked."""
    packed, masked = (places_of(seen.short.get(kind, {}), "document") for kind in (False, True))
    rows = [
        (f"{x:.3g}", f"{fmean(packed[x]):.3f}", f"{fmean(masked[x]):.3f}")
        for x in packed
        if x in masked and x >= 1
    ]
    if not rows:
        return None
    return Table(
        caption="Short documents: loss in nats per token by place in the document (the middle of"
        " each block), where attention crosses their borders and where it is masked",
        head=("place", "packed", "masked"),
        rows=tuple(rows),
        text_columns=0,
    )


def position_figure(seen: Seen, laws: Mapping[int, PowerLaw | str]) -> Figure | None:
    """The loss against the position, with its laws, and against the place in the document."""
    series, documents = [], []
    for params, runs in seen.longest.items():
        label, places = f"{format_count(params)} parameters", places_of(runs, "position")
        if not places:
            continue
        series.append(mean_series(label, places, line=False))
        law = laws[params]
        if isinstance(law, PowerLaw):
            series.append(law_series(label, law, places))
    for kind, label in ((False, "packed"), (True, "masked")):
        places = places_of(seen.short.get(kind, {}), "document")
        if places:
            documents.append(mean_series(label, {x: own for x, own in places.items() if x >= 1}))
    loss = Axis(label="loss, nats per token")
    panels = [
        Panel(x=log_axis(label), y=loss, series=tuple(own), title=title)
        for label, own, title in (
            ("position in the context", series, "long documents"),
            ("place in the document", documents, "short documents"),
        )
        if own
    ]
    return figure(
        "context_position",
        "Loss along the context",
        "Means over seeds with their intervals; broken lines are fitted power laws with a floor."
        " On the right, by place in short documents, packed and masked.",
        panels,
    )


def context_figure(seen: Seen) -> Figure | None:
    """The loss against the context length, at equal tokens and at equal compute."""
    tokens = {n_ctx: own for n_ctx, own in equal_tokens(seen).items() if own}
    compute = {
        float(n_ctx): list(own.values()) for n_ctx, own in equal_compute(seen).items() if own
    }
    series = [
        mean_series(label, groups)
        for label, groups in (("equal tokens", tokens), ("equal compute", compute))
        if groups
    ]
    return figure(
        "context_length",
        "Loss by context length",
        "Means over seeds with their intervals, after equal tokens and after equal FLOPs.",
        [
            Panel(
                x=log_axis("context, tokens", seen.contexts),
                y=Axis(label="loss, nats per token"),
                series=tuple(series),
            )
        ],
    )
