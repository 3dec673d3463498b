"""``slaw allocate`` and ``retrodict``."""

from __future__ import annotations

import argparse
import json
from typing import TYPE_CHECKING

from scaling_law.cli.fit import table_settings
from scaling_law.cli.options import (
    Commands,
    add_forecast_options,
    add_hardware_options,
    add_json_option,
    count,
    given,
    size,
    whole,
)
from scaling_law.errors import EXIT_OK

if TYPE_CHECKING:
    from scaling_law.forecast.allocate import Allocated, Machine, Question
    from scaling_law.forecast.session import FoundLaw


def _allocate(options: argparse.Namespace) -> int:
    from scaling_law.forecast import allocate, allocate_text

    question, machine = _question(options), _machine(options)
    laws = _laws(options)

    def ask(found: FoundLaw) -> Allocated:
        return allocate.allocate(
            found,
            question,
            machine,
            template=found.template,
            rule=options.rule,
            level=options.level,
        )

    if len(laws) == 1:
        made = ask(laws[0])
        document, text = allocate_text.allocation_json(made), allocate_text.format_allocation(made)
    else:
        several = allocate.compare(laws, ask)
        document = allocate_text.comparison_json(*several)
        text = allocate_text.format_comparison(*several)
    print(json.dumps(document, indent=1, allow_nan=False) if options.json else text)
    return EXIT_OK


def _laws(options: argparse.Namespace) -> list[FoundLaw]:
    from scaling_law.forecast.session import find_laws

    return find_laws(options.law or [], options.results, table_settings(options))


def _machine(options: argparse.Namespace) -> Machine:
    from scaling_law.forecast.allocate import Machine

    return Machine(
        gpu=options.gpu,
        count=options.gpu_count,
        price=options.gpu_price,
        utilisation=options.mfu,
    )


def _question(options: argparse.Namespace) -> Question:
    from scaling_law.forecast.allocate import Question

    memory = options.memory
    if memory == 0:  # --memory alone
        memory = _machine(options).memory_bytes
    return Question(
        flops=options.flops,
        target_loss=options.target_loss,
        dollars=options.dollars,
        tokens_served=options.tokens_served,
        tokens_unique=options.unique_tokens,
        memory_bytes=memory,
        memory_for=options.memory_for,
    )


def add(commands: Commands) -> None:
    """Declare the commands of this file."""
    parser = commands.add_parser(
        "allocate",
        help="what size and tokens for a budget, and what they take",
        description="What size and tokens for a budget, under one law or several side by side: "
        "the compute-optimal split or what service, repeated data and memory leave of it, a "
        "concrete shape, batch and learning rate, device-hours, dollars and energy. What loss at "
        "a given size: see `slaw extrapolate`.",
    )
    budget = parser.add_argument_group("the budget (one of these)")
    budget.add_argument("--flops", type=count, metavar="C", help="training compute, as in 1e24")
    budget.add_argument("--target-loss", type=count, metavar="L", help="cheapest way to L nats")
    budget.add_argument("--dollars", type=count, metavar="X", help="US dollars, on --gpu")
    _add_limits(parser.add_argument_group("what limits the answer"))
    machine = parser.add_argument_group("on what")
    add_hardware_options(machine)
    machine.add_argument("--gpu-count", type=whole, default=1, metavar="N", help="devices (1)")
    parser.add_argument(
        "--law",
        type=given,
        action="append",
        metavar="NAME",
        help="published (besiroglu2024, ...) or of the fit; again for several side by side (the "
        "fit's best)",
    )
    parser.add_argument(
        "--rule", type=given, metavar="NAME", help="for LR and batch (the one measured nearest)"
    )
    add_forecast_options(parser)
    parser.set_defaults(handler=_allocate)
    _add_retrodict(commands)


def _add_limits(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--tokens-served",
        type=count,
        metavar="T",
        help="over the model's life: a budget then pays for training and serving, a target loss is "
        "reached with the least of both",
    )
    group.add_argument(
        "--unique-tokens",
        type=count,
        metavar="U",
        help="different tokens at hand; more are repeats, worth less (Muennighoff 2023)",
    )
    group.add_argument(
        "--memory",
        type=size,
        nargs="?",
        const=0,
        metavar="SIZE",
        help="must hold the model; without a size, that of the devices",
    )
    group.add_argument(
        "--memory-for", default="train", choices=("train", "serve"), help="what must fit (train)"
    )


def _retrodict(options: argparse.Namespace) -> int:
    from scaling_law.forecast import retrodict
    from scaling_law.forecast.session import find_laws

    laws = find_laws(options.law or retrodict.DEFAULT_LAWS, options.results, None)
    if options.results and not options.law:
        laws += find_laws([], options.results)  # beside the published ones, the fit's best
    machine = _machine(options)
    made = [retrodict.retrodict(law, model) for model in retrodict.MODELS for law in laws]
    growth = {"hardware_growth": options.hardware_growth, "budget_growth": options.budget_growth}
    target, dollars = options.target_loss or retrodict.DEFAULT_TARGET_LOSS, options.dollars
    arrivals = [retrodict.arrival(law, target, dollars, machine, **growth) for law in laws]
    if options.target_loss is not None:
        retrodict.refuse_unreachable(arrivals, target)
    if options.json:
        print(json.dumps(retrodict.retrodictions_json(made, arrivals), indent=1, allow_nan=False))
    else:
        print(retrodict.format_retrodictions(made))
        print("\n" + retrodict.format_arrivals(arrivals, target, dollars, machine))
    return EXIT_OK


def _add_retrodict(commands: Commands) -> None:
    parser = commands.add_parser(
        "retrodict",
        help="known models under each law, and when hardware reaches a loss",
        description="GPT-3, Gopher, Chinchilla, PaLM and LLaMA under each law: what their compute "
        "would buy, what their loss would need. Then what a loss costs, and in how many years a "
        "budget buys it if trends went on.",
    )
    parser.add_argument(
        "--law",
        type=given,
        action="append",
        metavar="NAME",
        help="published or of a fit; again for more (four published ones)",
    )
    parser.add_argument(
        "--results",
        type=given,
        metavar="DIR",
        help="the sweep, or table, of a fitted law (results); without --law its best as well",
    )
    trend = parser.add_argument_group("the trend")
    for name, default, metavar, words in (
        ("--target-loss", None, "L", "nats per token (1.9)"),
        ("--dollars", 1e7, "X", "US dollars to spend (1e7)"),
        ("--hardware-growth", 1.35, "F", "FLOPs per dollar, factor a year (1.35)"),
        ("--budget-growth", 1.0, "F", "of the dollars, factor a year (1)"),
    ):
        trend.add_argument(name, type=count, default=default, metavar=metavar, help=words)
    add_hardware_options(trend)
    add_json_option(parser)
    parser.set_defaults(handler=_retrodict, gpu_count=1)
