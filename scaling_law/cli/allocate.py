"""``slaw allocate`` and ``retrodict``."""

from __future__ import annotations

import argparse
import json
from typing import TYPE_CHECKING

from scaling_law.cli.fit import named_laws, table_settings
from scaling_law.cli.options import (
    Commands,
    add_forecast_options,
    add_hardware_options,
    add_json_option,
    count,
    count_or_times,
    given,
    hardware_of,
    size,
    whole,
)
from scaling_law.console import show
from scaling_law.errors import EXIT_OK

if TYPE_CHECKING:
    from scaling_law.forecast.allocate import AllocationAnswer
    from scaling_law.forecast.scenario import Scenario
    from scaling_law.forecast.session import SourcedLaw


def _allocate(options: argparse.Namespace) -> int:
    from scaling_law.forecast import allocate, allocate_text
    from scaling_law.forecast.session import find_laws
    from scaling_law.forecast.target import Times

    multiple = isinstance(options.flops, Times)  # each law has runs of its own
    asked = allocate.budget_or_loss(
        flops=options.flops.factor if multiple else options.flops,
        target_loss=options.target_loss,
        dollars=options.dollars,
    )
    hardware, scenario = hardware_of(options), _scenario(options)
    laws = find_laws(named_laws(options.law or []), options.results, table_settings(options))

    def ask(source: SourcedLaw) -> AllocationAnswer:
        goal = asked
        if multiple:
            of = options.flops.of("flops", source.label, source.fit.data_range)
            goal = allocate.budget_or_loss(flops=of)
        return allocate.allocate(
            source,
            goal,
            hardware,
            scenario,
            template=source.template,
            rule=options.rule,
            level=options.level,
        )

    if len(laws) == 1:
        answer = ask(laws[0])
        document = allocate_text.allocation_json(answer)
        text = allocate_text.format_allocation(answer)
    else:
        several = allocate.compare(laws, ask)
        document = allocate_text.comparison_json(*several)
        text = allocate_text.format_comparison(*several)
    show(json.dumps(document, indent=1, allow_nan=False) if options.json else text)
    return EXIT_OK


def _scenario(options: argparse.Namespace) -> Scenario:
    from scaling_law.forecast.scenario import Scenario

    memory = options.memory
    if memory == 0:  # --memory without a size
        memory = hardware_of(options).memory_bytes
    return Scenario(
        tokens_served=options.tokens_served,
        tokens_unique=options.unique_tokens,
        memory_bytes=memory,
        memory_for=options.memory_for,
    )


def add(commands: Commands) -> None:
    """Add the commands of this file."""
    parser = commands.add_parser(
        "allocate",
        help="choose size and tokens for a budget, with their cost",
        description="Choose size and tokens for a budget, over the laws of a fit or under one law: "
        "the compute-optimal split, or the best that serving, repeated data and memory allow; a "
        "concrete shape, batch and learning rate; device-hours, dollars and energy. For the loss "
        "at a given size, see `slaw extrapolate`.",
    )
    budget = parser.add_argument_group("the budget (one of these)")
    budget.add_argument(
        "--flops",
        type=count_or_times,
        metavar="C",
        help="training compute, as in 1e24, or 10x the largest of the law's runs",
    )
    budget.add_argument(
        "--target-loss",
        type=count,
        metavar="L",
        help="the cheapest model with a loss of L nats per token",
    )
    budget.add_argument(
        "--dollars", type=count, metavar="X", help="US dollars, as compute on --gpu"
    )
    _add_limits(parser.add_argument_group("what limits the answer"))
    hardware = parser.add_argument_group("on what hardware")
    add_hardware_options(hardware)
    hardware.add_argument("--gpu-count", type=whole, metavar="N", help="devices (1)")
    parser.add_argument(
        "--law",
        type=given,
        action="append",
        metavar="NAME",
        help="one law alone: a published one (besiroglu2024, ...), one of the fit, or your own "
        "file; repeat to compare several (default: all laws of the fit by their weights)",
    )
    parser.add_argument(
        "--rule",
        type=given,
        metavar="NAME",
        help="rule for LR and batch (default: the sweep's own near its sizes, else the one that was"
        " measured nearest)",
    )
    add_forecast_options(parser)
    parser.set_defaults(handler=_allocate)
    _add_retrodict(commands)


def _add_limits(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--tokens-served",
        type=count,
        metavar="T",
        help="tokens served over the model's life: a budget then pays for training and serving, "
        "and a target loss is reached with the least compute for both",
    )
    group.add_argument(
        "--unique-tokens",
        type=count,
        metavar="U",
        help="different tokens available; more are repeats, which count less (Muennighoff 2023)",
    )
    group.add_argument(
        "--memory",
        type=size,
        nargs="?",
        const=0,
        metavar="SIZE",
        help="memory that the model must fit into; without SIZE, the memory of the devices",
    )
    group.add_argument(
        "--memory-for",
        default="train",
        choices=("train", "serve"),
        help="what must fit into memory (default: train)",
    )


def _retrodict(options: argparse.Namespace) -> int:
    from scaling_law.forecast import retrodict
    from scaling_law.forecast.session import find_laws

    laws = find_laws(named_laws(options.law or retrodict.DEFAULT_LAWS), options.results, None)
    if options.results and not options.law:
        laws += find_laws([], options.results)  # the fit's laws besides the published ones
    hardware = hardware_of(options)
    models = [retrodict.retrodict(law, model) for model in retrodict.MODELS for law in laws]
    growth = {"hardware_growth": options.hardware_growth, "budget_growth": options.budget_growth}
    target, dollars = options.target_loss or retrodict.DEFAULT_TARGET_LOSS, options.dollars
    arrivals = [retrodict.arrival(law, target, dollars, hardware, **growth) for law in laws]
    if options.target_loss is not None:
        retrodict.refuse_unreachable(arrivals, target)
    if options.json:
        document = retrodict.retrodictions_json(models, arrivals)
        show(json.dumps(document, indent=1, allow_nan=False))
    else:
        show(retrodict.format_retrodictions(models))
        show("\n" + retrodict.format_arrivals(arrivals, target, dollars, hardware))
    return EXIT_OK


def _add_retrodict(commands: Commands) -> None:
    parser = commands.add_parser(
        "retrodict",
        help="compare known models with each law, and say when a budget reaches a loss",
        description="Compare GPT-3, Gopher, Chinchilla, PaLM and LLaMA with each law: what their "
        "compute would buy, and what their loss would need. Then say what a loss costs, and in how "
        "many years a budget buys it if trends continue.",
    )
    parser.add_argument(
        "--law",
        type=given,
        action="append",
        metavar="NAME",
        help="a published law or one of a fit; repeat for more (default: four published laws)",
    )
    parser.add_argument(
        "--results",
        type=given,
        metavar="DIR",
        help="the sweep or table of a fitted law (default: results); without --law its laws by "
        "their weights as well",
    )
    trend = parser.add_argument_group("the trend")
    for name, default, metavar, words in (
        ("--target-loss", None, "L", "loss to reach, in nats per token (default: 1.9)"),
        ("--dollars", 1e7, "X", "US dollars to spend (default: 1e7)"),
        (
            "--hardware-growth",
            1.35,
            "F",
            "yearly growth factor of FLOPs per dollar (default: 1.35)",
        ),
        ("--budget-growth", 1.0, "F", "yearly growth factor of the dollars (default: 1)"),
    ):
        trend.add_argument(name, type=count, default=default, metavar=metavar, help=words)
    add_hardware_options(trend)
    add_json_option(parser)
    parser.set_defaults(handler=_retrodict)
