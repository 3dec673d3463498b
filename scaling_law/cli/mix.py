"""``slaw mix``."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from scaling_law.cli.options import Commands, add_json_option, count, given
from scaling_law.console import show
from scaling_law.errors import EXIT_OK


def _mix(options: argparse.Namespace) -> int:
    from scaling_law.experiment.next_mixture import next_mixture

    proposal = next_mixture(
        Path(options.folder),
        options.target,
        tokens=options.tokens,
        max_epochs=options.max_epochs,
    )
    show(json.dumps(proposal.document, indent=1) if options.json else proposal.text)
    return EXIT_OK


def add(commands: Commands) -> None:
    """Declare the command."""
    mix = commands.add_parser(
        "mix",
        help="fit a mixing law to runs that differ in data.mix, and propose the next mixture",
        description="Fit the loss on each component of a text by the shares that runs read them in:"
        " by an exponential law and by a quadratic one, of which held-out mixtures choose. Print"
        " the mixture with the lowest target as YAML for data.mix, with the loss that it is"
        " expected to have; all else is in comments, so that the output is a file. The law is that"
        " of the size and length with the most mixtures. Exit code 4 with too few of them, or where"
        " no law predicts held-out mixtures better than their mean does.",
    )
    mix.add_argument("folder", type=given, help="a sweep whose runs differ in data.mix")
    mix.add_argument(
        "--target",
        type=given,
        default="worst",
        metavar="T",
        help="what is to be lowest: worst (the highest loss of a component), mean, or a mean by"
        " weights as in code=.7,docs=.3 (default: worst)",
    )
    mix.add_argument(
        "--tokens",
        type=count,
        metavar="D",
        help="tokens of the next runs, which limit how often a component is read (default: those"
        " of the runs)",
    )
    mix.add_argument(
        "--max-epochs",
        type=count,
        metavar="E",
        help="times a component may be read (default: data.max_epochs of the sweep)",
    )
    add_json_option(mix)
    mix.set_defaults(handler=_mix)
