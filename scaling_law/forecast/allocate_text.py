"""The text of ``slaw allocate``: one law's answer in full, several as rows, both as JSON."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

from scaling_law import text_columns
from scaling_law.files.record import unit_in_full
from scaling_law.fit.flops_count import COUNTED_BY_SOURCE, GIVEN
from scaling_law.fit.points.stated import params_words
from scaling_law.fit.prediction_text import loss_unit, loss_words, own_loss_lines, warning_lines
from scaling_law.fit.result import finite_json
from scaling_law.forecast.allocate import AllocationAnswer
from scaling_law.forecast.hardware import energy_words
from scaling_law.forecast.published import COMPARISON_CAVEAT
from scaling_law.forecast.target import Target
from scaling_law.forecast.training_setup import TRAINING_PRECISION, TrainingSetup
from scaling_law.spec.parallel import STAGES
from scaling_law.spec.sharding import Layout, layout_bytes
from scaling_law.units import (
    NOT_DETERMINED,
    count_range,
    format_bytes,
    format_count,
    format_dollars,
    format_ratio,
    format_seconds,
    is_determined,
    rounded_count,
)

_WIDE_ORDERS = 1.0  # of the interval of a size, from which on none is picked
_KINDS = {
    "compute_optimal": "compute-optimal",
    "data_limited": "compute-optimal, repeats at their worth",
    "inference_aware": "cheapest to train and to serve",
    "lifetime_optimal": "lowest loss where the budget trains and serves",
    "memory_limited": "the largest that the memory holds",
}


def allocation_json(answer: AllocationAnswer) -> dict[str, Any]:
    """One strict JSON document; ``conventions`` says what its figures count."""
    choice, cost, prediction = answer.choice, answer.cost, answer.prediction
    setup = answer.setup
    return {
        "law": prediction.law,
        "form": prediction.form,
        "by_law": finite_json(list(prediction.by_law)),
        "origin": answer.source.origin,
        "question": _question(answer),
        "answer": choice.kind,
        "params": choice.params,
        "params_interval": finite_json(answer.params_interval),
        "tokens": choice.tokens,
        "tokens_interval": finite_json(answer.tokens_interval),
        "flops": choice.flops,
        "flops_interval": finite_json(prediction.flops_interval),
        "loss_nats": prediction.loss_nats,
        "low_nats": prediction.low_nats,
        "high_nats": prediction.high_nats,
        "level": prediction.level,
        "tokens_per_param": choice.tokens_per_param,
        "compute_optimal": finite_json(_point(answer.plain)),
        "epochs": answer.epochs,
        "most_params": answer.most_params,
        "serving": finite_json(choice.extra) or None,
        "smaller": finite_json(list(answer.smaller)),
        **_setup_json(setup),
        "of_the_range": [_setup_json(end) for end in answer.end_setups],
        "layout": _layout(answer, answer.layout),
        "other_layout": _layout(answer, answer.other_layout),
        "device": _device(answer),
        "gpu_hours": cost.gpu_hours,
        "days": cost.days,
        "dollars": cost.dollars,
        "energy_kwh": cost.energy_kwh,
        "conventions": {
            **prediction.convention,
            "flops": _flops_words(prediction.convention.get("flops", "")),
            "loss": unit_in_full(loss_unit(prediction)),
            "count_intervals": answer.interval_method or "none",
        },
        "beyond_data": finite_json(prediction.beyond_data),
        "refused": prediction.refused,
        "figures_refused": _refused_figures(answer),
        "warnings": list(answer.warnings),
    }


def _flops_words(counted: str) -> str:
    """How the FLOPs of training are counted."""
    if counted == GIVEN:
        return f"{GIVEN}: {COUNTED_BY_SOURCE[GIVEN]}, training"
    return f"{COUNTED_BY_SOURCE.get(counted, '6nd: 6 x params x tokens')}, training"


def _refused_figures(answer: AllocationAnswer) -> list[str]:
    """The figures that the text gives as ranges or in one digit; those asked for are exact."""
    if not answer.only_ranges:
        return []
    if answer.is_decided:
        return ["loss_nats", "compute_optimal", "smaller"]
    names = ["params", "tokens", "loss_nats", "tokens_per_param", "compute_optimal", "smaller"]
    if answer.of_a_loss:
        names = [name for name in names if name != "loss_nats"]
        names += ["flops", "gpu_hours", "days", "dollars"]
    return names


def _question(answer: AllocationAnswer) -> dict[str, Any]:
    asked = answer.asked
    goal = asked.given if isinstance(asked, Target) else {asked.unit: asked.amount}
    return {**goal, **answer.scenario.given}


def _device(answer: AllocationAnswer) -> dict[str, Any]:
    cost = answer.cost
    return {
        "name": cost.accelerator,
        "default": answer.hardware.gpu is None,
        "count": cost.count,
        "dtype": cost.dtype,
        "utilisation": cost.utilisation,
        "dollars_per_hour": answer.hardware.device.dollars_per_hour,
    }


def _layout(answer: AllocationAnswer, layout: Layout | None) -> dict[str, Any] | None:
    if layout is None or answer.setup is None:
        return None
    needed = layout_bytes(answer.setup.model, TRAINING_PRECISION, layout)
    return {
        **dataclasses.asdict(layout),
        "devices": layout.devices,
        "bytes_per_device": round(needed),
        "estimated": True,
    }


def _point(choice: Any) -> dict[str, float]:
    names = ("params", "tokens", "flops", "loss_nats", "tokens_per_param")
    return {name: getattr(choice, name) for name in names}


def _setup_json(setup: TrainingSetup | None) -> dict[str, Any]:
    """``shape``, ``training`` and ``memory``; each None without a setup."""
    if setup is None:
        return dict.fromkeys(("shape", "training", "memory"))
    names = (
        "rule",
        "why_rule",
        "lr",
        "batch_tokens",
        "beta2",
        "warmup_tokens",
        "rule_params",
        "rule_tokens",
    )
    return {
        "shape": finite_json(setup.shape),
        "training": finite_json({name: getattr(setup, name) for name in names}),
        "memory": {"train_bytes": setup.train_bytes, "serve_bytes": setup.serve_bytes},
    }


def comparison_json(answers: Sequence[AllocationAnswer], refused: Sequence[str]) -> dict[str, Any]:
    """The documents of several laws, and why others have none."""
    return {
        "allocations": [allocation_json(answer) for answer in answers],
        "refused": list(refused),
        "caveat": COMPARISON_CAVEAT,
    }


def format_allocation(answer: AllocationAnswer) -> str:
    """One law's answer for a terminal: what to train, its cost, and smaller models.

    Where no figure may be quoted, why comes first.
    """
    params, tokens, ratio, flops = answer_words(answer)
    a_param = "tokens a param not determined" if ratio == NOT_DETERMINED else f"{ratio} a param"
    size = f"{params} params on {tokens} tokens ({a_param})"
    if params == tokens == NOT_DETERMINED:
        size = f"params and tokens {NOT_DETERMINED}"
    origin, refused = answer.source.origin, answer.prediction.refused
    best = f"{_KINDS[answer.choice.kind]}: {size}, {flops} FLOPs"
    lines = [
        *((refused, best, origin) if refused else (origin, best)),
        _loss_line(answer),
        *own_loss_lines(answer.prediction),
        *_interval_lines(answer),
    ]
    lines += ["", *_limit_lines(answer), *_setup_lines(answer), *_cost_lines(answer)]
    lines += [*_smaller_lines(answer), "", _convention_line(answer)]
    if answer.source.fit.n_points == 0:
        lines += [f"source: {answer.source.fit.source}"]
        lines += [f"note: {note}" for note in answer.source.fit.notes]
    return "\n".join([*lines, *warning_lines(answer.warnings)])


def _loss_line(answer: AllocationAnswer) -> str:
    figure, interval = loss_words(answer.prediction)
    return f"loss {figure} {loss_unit(answer.prediction)} ({interval})"


def _range(ends: tuple[float, float]) -> str:
    return count_range(*ends)


def answer_words(answer: AllocationAnswer) -> tuple[str, str, str, str]:
    """(params, tokens, tokens a param, FLOPs) in words.

    Where no figure may be quoted: the intervals, or one digit of a figure without one.
    """
    choice, served = answer.choice, answer.scenario.tokens_served
    params, tokens = answer.params_interval, answer.tokens_interval
    flops = format_count(choice.flops)
    if not answer.only_ranges or answer.is_decided:
        ratio = format_ratio(choice.tokens_per_param)
        return format_count(choice.params), format_count(choice.tokens), ratio, flops
    if answer.of_a_loss or served is not None:
        flops = _flops_range(answer) or f"about {rounded_count(choice.flops, 1)}"
    if params and tokens:
        ratio = _ratio_range(tokens[0] / params[1], tokens[1] / params[0])
        return _range(params), _range(tokens), ratio, flops
    one = [rounded_count(x, 1) for x in (choice.params, choice.tokens, choice.tokens_per_param)]
    return f"about {one[0]}", f"about {one[1]}", f"about {one[2]}", flops


def _ratio_range(low: float, high: float) -> str:
    if not is_determined(low, high):
        return NOT_DETERMINED
    ends = (format_ratio(float(f"{end:.2g}")) for end in (low, high))
    return " to ".join(ends)


def _flops_range(answer: AllocationAnswer) -> str:
    if not answer.prediction.flops_interval:
        return ""
    return count_range(*answer.prediction.flops_interval)


def _interval_lines(answer: AllocationAnswer) -> list[str]:
    lines = []
    if answer.params_interval and answer.tokens_interval:
        level = f"{100 * (answer.prediction.level or 0.9):g}% interval"
        ends = count_range(*answer.params_interval, "params")
        ends += f", {count_range(*answer.tokens_interval, 'tokens')}"
        if answer.only_ranges:
            lines.append(f"both as {level}s: {answer.interval_method}")
        else:
            lines.append(f"{level}: {ends} ({answer.interval_method})")
    elif answer.interval_method:
        lines.append(answer.interval_method)
    if (flops := _flops_range(answer)) and not answer.only_ranges:
        lines.append(f"compute for this loss, in FLOPs: {flops}")
    return lines


def _limit_lines(answer: AllocationAnswer) -> list[str]:
    """What service, repeats and memory change from the compute-optimal answer."""
    scenario, choice, plain = answer.scenario, answer.choice, answer.plain
    digits = 1 if answer.only_ranges else 3
    lines = []
    if scenario.tokens_served is not None:
        extra = choice.extra
        words = f"serving {format_count(scenario.tokens_served)} tokens takes"
        words += f" {rounded_count(extra['inference_flops'], digits)} FLOPs (2 a parameter and"
        words += f" token); with training {rounded_count(extra['total_flops'], digits)}"
        if "saving" in extra:
            words += f", {rounded_count(100 * extra['saving'], min(digits, 2))}% less than with the"
            optimal = rounded_count(extra["compute_optimal_params"], digits)
            words += f" compute-optimal {optimal} params"
        lines.append(words)
    if answer.epochs is not None and scenario.tokens_unique is not None:
        epochs = rounded_count(answer.epochs, digits)
        if answer.only_ranges and answer.tokens_interval:
            epochs = _ratio_range(*(end / scenario.tokens_unique for end in answer.tokens_interval))
        lines.append(f"{epochs} epochs of {format_count(scenario.tokens_unique)} different tokens")
    if answer.most_params is not None and scenario.memory_bytes is not None:
        held = (
            f"{format_bytes(scenario.memory_bytes)} hold up to {format_count(answer.most_params)}"
        )
        lines.append(f"{held} params to {scenario.memory_for}")
    if choice.kind != "compute_optimal":
        words = f"unlimited, compute-optimal: {rounded_count(plain.params, digits)} params on"
        words += f" {rounded_count(plain.tokens, digits)} tokens,"
        words += f" {rounded_count(plain.flops, digits)} FLOPs"
        lines.append(words if answer.only_ranges else f"{words}, loss {plain.loss_nats:.3f}")
    return lines


def _setup_lines(answer: AllocationAnswer) -> list[str]:
    setup = answer.setup
    if answer.end_setups:
        return [*_range_lines(*answer.end_setups), *_width_lines(answer)]
    if setup is None:
        return []
    shape, measured = setup.shape, _measured(setup)
    return [
        f"shape: {shape['text']}:"
        f" {format_count(shape['params_total'])} params in all (vocabulary"
        f" {shape['vocab_size']:,}, context {shape['n_ctx']:,}; size counted:"
        f" {shape['counted'].replace('_', '-')})",
        f"training: peak LR {setup.lr:.3g}, batch {format_count(setup.batch_tokens)} tokens,"
        f" beta2 {setup.beta2:g}, warm-up {format_count(setup.warmup_tokens)} tokens (rule"
        f" {setup.rule}, {setup.why_rule}; {measured}; beta2 and warm-up as Porian 2024)",
        f"memory: {format_bytes(setup.train_bytes)} to train (AdamW, mixed precision, one"
        f" sequence, checkpointing), {format_bytes(setup.serve_bytes)} to serve (16 bits)",
        *_layout_lines(answer),
    ]


def _measured(setup: TrainingSetup) -> str:
    """Where the rule of learning rate and batch was measured."""
    measured = "measured at no size"
    if setup.rule_params:
        low, high = setup.rule_params
        measured = f"measured for {format_count(low)} to {format_count(high)} params"
    if setup.rule_tokens:
        low, high = setup.rule_tokens
        measured += f" on {format_count(low)} to {format_count(high)} tokens"
    return measured


def _range_lines(low: TrainingSetup, high: TrainingSetup) -> list[str]:
    """What the smallest and the largest size of a range take: no shape between them is known."""
    ends = [
        f"{end.shape['text']} ({format_count(end.shape['params_total'])} params in all)"
        for end in (low, high)
    ]
    rules = dict.fromkeys(
        f"rule {end.rule}, {end.why_rule}; {_measured(end)}" for end in (low, high)
    )
    model = low.model
    return [
        f"shapes from {ends[0]} to {ends[1]} (vocabulary {model.vocab_size:,}, context"
        f" {model.n_ctx:,}; size counted: {low.shape['counted'].replace('_', '-')})",
        f"training, from the smallest to the largest: peak LR {low.lr:.3g} to {high.lr:.3g}, batch"
        f" {format_count(low.batch_tokens)} to {format_count(high.batch_tokens)} tokens"
        f" ({'; '.join(rules)})",
        f"memory: {format_bytes(low.train_bytes)} to {format_bytes(high.train_bytes)} to train,"
        f" {format_bytes(low.serve_bytes)} to {format_bytes(high.serve_bytes)} to serve (16 bits)",
    ]


def _width_lines(answer: AllocationAnswer) -> list[str]:
    """Whether a range of sizes is too wide to pick one from it, and what narrows it."""
    low, high = answer.params_interval or (1.0, 1.0)
    orders = math.log10(high / low)
    if orders < _WIDE_ORDERS:
        return []
    return [
        f"the sizes span {orders:.1f} orders of magnitude, too many to pick one: train larger"
        " models first (slaw plan with --target chooses which)"
    ]


def _layout_lines(answer: AllocationAnswer) -> list[str]:
    """Which devices hold the model while it trains; estimated, like everything of them."""
    layout, setup = answer.layout, answer.setup
    if layout is None or setup is None:
        return []
    enough = layout.devices <= answer.hardware.count
    words = f"{'fits' if enough else 'needs'} {_layout_words(answer, layout)}"
    if answer.other_layout is not None:
        words += f", or {_layout_words(answer, answer.other_layout)}"
    lines = [f"layout: {words}; an estimate by formula"]
    if layout.devices > 1:
        lines[0] += " (Rajbhandari 2020, Korthikanti 2022)"
        kinds = [kind for kind, stage in STAGES.items() if stage == layout.stage]
        config = "slaw itself does not train it"
        if kinds and layout.devices == layout.data:
            config = f"in a config: parallel: {{kind: {kinds[0]}, devices: {layout.devices}}}"
        lines.append(
            f"  {config}; the time below assumes ideal scaling, not measured: what devices send"
            " each other takes no time"
        )
    return lines


def _layout_words(answer: AllocationAnswer, layout: Layout) -> str:
    assert answer.setup is not None
    model = answer.setup.model
    needed = layout_bytes(model, TRAINING_PRECISION, layout)
    words = f"{layout} of {format_bytes(answer.hardware.device.memory_bytes)}"
    words += f" ({format_bytes(needed)}{' each' if layout.devices > 1 else ''}"
    if not layout.recompute:
        return f"{words})"
    kept = layout_bytes(model, TRAINING_PRECISION, dataclasses.replace(layout, recompute=False))
    return (
        f"{words}, activations computed again: {format_bytes(kept)} without, a step a third longer"
        " with)"
    )


def _cost_lines(answer: AllocationAnswer) -> list[str]:
    cost, device = answer.cost, answer.hardware.device
    default = " (the default: choose with --gpu)" if answer.hardware.gpu is None else ""
    price = "" if device.dollars_per_hour is None else f" at ${device.dollars_per_hour:g} an hour"
    energy = ""
    if cost.energy_kwh is not None:
        energy = f", {energy_words(cost.energy_kwh, cost.gpu_hours, cost.pue)}"
    lead = f"training on {cost.count} {cost.accelerator}{default}, {cost.dtype},"
    lead += f" {100 * cost.utilisation:.0f}% of peak:"
    if answer.only_ranges and answer.of_a_loss:
        return [f"{lead} {_hours_range(answer)} device-hours{price}"]
    return [
        f"{lead} {format_count(cost.gpu_hours)} device-hours,"
        f" {format_seconds(cost.days * 86400)}, {_money(cost.dollars)}{price}{energy}",
    ]


def _hours_range(answer: AllocationAnswer) -> str:
    """Device-hours of FLOPs that are themselves the law's estimate, and known only as a range."""
    hours, interval = answer.cost.gpu_hours, answer.prediction.flops_interval
    if interval is None:
        return f"about {rounded_count(hours, 1)}"
    low, high = (end / answer.choice.flops * hours for end in interval)
    return count_range(low, high)


def _money(dollars: float | None) -> str:
    return "no price" if dollars is None else format_dollars(dollars)


def _smaller_lines(answer: AllocationAnswer) -> list[str]:
    if not answer.smaller:
        return []
    if answer.only_ranges:
        return ["smaller models of the same loss: no figures so far beyond the data"]
    head = ("size", "params", "tokens", "a param", "training FLOPs")
    rows = [head, *(_smaller_row(row) for row in answer.smaller)]
    loss = loss_words(answer.prediction)[0].removeprefix("about ")
    formula = ", by the formula" if answer.prediction.refused else ""
    return [
        "",
        f"the same loss ({loss}) from smaller models{formula}:",
        *text_columns.left(rows, "  "),
    ]


def _smaller_row(row: Mapping[str, float | None]) -> tuple[str, ...]:
    share, params, ratio = row["shrink"], row["params"], row["compute_ratio"]
    assert share is not None and params is not None
    size = "1" if share == 1 else f"1/{1 / share:g}"
    if ratio is None or row["tokens"] is None or row["tokens_per_param"] is None:
        return (size, format_count(params), "-", "-", "no number of tokens reaches it")
    more = f"{100 * (ratio - 1):+.{0 if ratio > 1.1 else 1}f}%" if share != 1 else "the fewest"
    return (
        size,
        format_count(params),
        format_count(row["tokens"]),
        format_ratio(row["tokens_per_param"]),
        more,
    )


def _convention_line(answer: AllocationAnswer) -> str:
    counted = params_words(answer.prediction.convention).replace("_", "-") or "unstated"
    flops = _flops_count(answer.prediction.convention)
    loss = unit_in_full(loss_unit(answer.prediction))
    return f"conventions: params {counted}; FLOPs {flops}; loss in {loss}"


def _flops_count(convention: Mapping[str, str]) -> str:
    """How FLOPs are counted, in words."""
    return COUNTED_BY_SOURCE.get(convention.get("flops", ""), "6 x params x tokens")


def format_comparison(answers: Sequence[AllocationAnswer], refused: Sequence[str]) -> str:
    """Several laws, one row each."""
    rows = [("law", "params", "tokens", "a param", "FLOPs", "loss", "device-hours", "dollars",
             "params counted")]  # fmt: skip
    for answer in answers:
        figure, _ = loss_words(answer.prediction)
        rows.append(
            (
                answer.source.label.replace(" fitted to ", " of "),
                *answer_words(answer),
                figure.removeprefix("about "),
                format_count(answer.cost.gpu_hours),
                _money(answer.cost.dollars),
                answer.prediction.convention.get("params", "").replace("_", "-") or "unstated",
            )
        )
    notes = [f"note: {COMPARISON_CAVEAT}", *(f"refused: {words}" for words in refused)]
    cost = answers[0].cost
    default = " (the default)" if answers[0].hardware.gpu is None else ""
    units = dict.fromkeys(loss_unit(answer.prediction) for answer in answers)
    flops = dict.fromkeys(_flops_count(answer.prediction.convention) for answer in answers)
    notes.insert(0, f"FLOPs {' or '.join(flops)}, for training; loss in {' or '.join(units)}")
    notes.insert(
        0, f"on {cost.count} {cost.accelerator}{default}; ask for one law to see its answer in full"
    )
    return "\n".join([*text_columns.left(rows), *notes])
