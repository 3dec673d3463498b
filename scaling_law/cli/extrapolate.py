"""``slaw extrapolate`` and ``hardware``."""

from __future__ import annotations

import argparse
import json

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
)
from scaling_law.console import show
from scaling_law.errors import EXIT_OK


def _extrapolate(options: argparse.Namespace) -> int:
    from scaling_law.forecast import session
    from scaling_law.forecast.budget import Budget
    from scaling_law.forecast.hardware import named_hardware
    from scaling_law.forecast.scenario import Scenario
    from scaling_law.forecast.target import Target, Times

    dollars = options.dollars
    asked = {name: getattr(options, name) for name in ("params", "tokens", "flops")}
    times = {name: value for name, value in asked.items() if isinstance(value, Times)}
    answer = session.forecast(
        law=named_laws([options.law])[0] if options.law else None,
        results=options.results,
        target=Target(
            target_loss=options.target_loss,
            **{name: value for name, value in asked.items() if name not in times},
        ),
        times=times,
        budget=None if dollars is None else Budget(unit="dollars", amount=dollars),
        hardware=named_hardware(hardware_of(options), dollars=dollars),
        scenario=Scenario(
            tokens_per_param=options.tokens_per_param,
            tokens_served=options.tokens_served,
            tokens_unique=options.unique_tokens,
        ),
        level=options.level,
        table=table_settings(options),
    )
    show(json.dumps(answer.to_json(), indent=1, allow_nan=False) if options.json else answer.text)
    return EXIT_OK


def _hardware(options: argparse.Namespace) -> int:
    from scaling_law.forecast.hardware import ACCELERATORS, format_hardware
    from scaling_law.plan.device_profile import format_profiles, saved_profiles
    from scaling_law.spec.to_json import to_json

    if options.json:
        document = {
            "this_machine": [to_json(profile) for profile in saved_profiles().values()],
            "accelerators": [to_json(device) for device in ACCELERATORS.values()],
        }
        show(json.dumps(document, indent=1, allow_nan=False))
        return EXIT_OK
    show(f"{format_hardware()}\n\n{format_profiles()}")
    return EXIT_OK


def add(commands: Commands) -> None:
    """Add the commands of this file."""
    more = commands.add_parser(
        "extrapolate",
        help="forecast a larger model from fitted laws or a published one",
        description="Forecast the loss of a larger model at a given size and tokens, with its "
        "interval, what it rests on, and its distance from the data. With --params alone: at that "
        "size's compute-optimal tokens. For the size and tokens that a budget buys, see `slaw "
        "allocate`.",
    )
    for name, metavar, words in (
        ("--params", "N", "model size, as in 175e9"),
        ("--tokens", "D", "training tokens, as in 1.4T"),
        ("--flops", "C", "training compute, as in 1e21"),
    ):
        more.add_argument(
            name,
            type=count_or_times,
            metavar=metavar,
            help=f"{words}, or 10x the largest of the law's runs",
        )
    more.add_argument(
        "--target-loss", type=count, metavar="L", help="loss to reach, in nats per token"
    )
    group = more.add_argument_group("what to decide")
    for name, metavar, words in (
        ("--dollars", "X", "budget in US dollars, as compute on --gpu"),
        (
            "--tokens-per-param",
            "R",
            "train at this ratio (above the optimum the model is over-trained)",
        ),
        (
            "--tokens-served",
            "T",
            "with --target-loss: the model that is cheapest to train and to serve T tokens",
        ),
        ("--unique-tokens", "U", "different tokens available; more are repeats, which count less"),
    ):
        group.add_argument(name, type=count, metavar=metavar, help=words)
    add_hardware_options(group)
    more.add_argument(
        "--law",
        type=given,
        metavar="NAME",
        help="one law alone: a published one (besiroglu2024, ...), one of the fit, or your own "
        "file (default: all laws of the fit by their weights)",
    )
    add_forecast_options(more)
    more.set_defaults(handler=_extrapolate)
    hardware = commands.add_parser(
        "hardware",
        help="list devices with peaks, prices and sources, and the measurements of this machine",
        description="Print the devices that --gpu takes, with peaks, prices and sources, and the "
        "measurements of this machine: its speed by model size, and of each training step planned "
        "so far the fastest kernels, their gain and the step's speed.",
    )
    add_json_option(hardware)
    hardware.set_defaults(handler=_hardware)
