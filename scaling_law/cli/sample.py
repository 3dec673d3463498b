"""``slaw sample``."""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from scaling_law.cli.options import Commands, add_json_option, fraction, given, whole
from scaling_law.console import say, show
from scaling_law.errors import EXIT_OK, ConfigError, quoted
from scaling_law.files.layout import RESULTS

STANDARD_INPUT = "-"
_MOST_BYTES = 2**24  # of a prompt
_BETWEEN = "-" * 15


def _sample(options: argparse.Namespace) -> int:
    from scaling_law.run.sample import chosen_run, continued

    asked = _asked(options)
    run = chosen_run(Path(options.source), options.run)
    say(run.about)
    with contextlib.closing(continued(run, asked)) as events:
        first = next(events)
        say(_how(asked, first))
        if options.json:
            show(json.dumps(_document(run, asked, first, events), indent=1))
        else:
            _print(first, events)
    return EXIT_OK


def _how(asked, first: dict[str, Any]) -> str:  # type: ignore[no-untyped-def]
    """How the tokens are drawn, and what the model does not see of a long text."""
    how = asked.sampling
    words = [f"up to {how.tokens} tokens on {first['device']}"]
    if how.temperature == 0:
        words.append("each the likeliest")
    else:
        words.append(f"temperature {how.temperature:g}")
        words += [f"top-k {how.top_k}"] if how.top_k is not None else []
        words += [f"top-p {how.top_p:g}"] if how.top_p is not None else []
        words.append(f"seed {how.seed}")
    said = ", ".join(words)
    if len(first["prompt_ids"]) + how.tokens > first["n_ctx"]:
        said += f"; the model sees the last {first['n_ctx']} tokens only"
    return said


def _print(first: dict[str, Any], events: Iterable[dict[str, Any]]) -> None:
    """Print prompt and continuation, each after the other, as they come."""
    row, is_task = None, first["prompt"] is None
    try:
        for event in events:
            if "seconds" in event:
                _say_speed(event)
                continue
            if event["row"] != row:
                if row is not None:
                    show(_BETWEEN)
                row = event["row"]
                show(
                    " ".join(map(str, first["prompt_ids"])) if is_task else first["prompt"], end=""
                )
            ids = "".join(f" {token}" for token in event["ids"])
            show(ids if is_task else event["text"], end="\n" if "ended" in event else "")
            sys.stdout.flush()
    except KeyboardInterrupt:
        show("")  # what interrupts a line ends it
        raise


def _document(  # type: ignore[no-untyped-def]
    run, asked, first: dict[str, Any], events: Iterable[dict[str, Any]]
) -> dict[str, Any]:
    """What ``--json`` prints."""
    from scaling_law.spec.to_json import to_json

    samples = []
    for event in events:
        if "seconds" in event:
            _say_speed(event)
            continue
        sample = {key: event[key] for key in ("text", "ids", "log_probs", "ended")}
        samples.append({**sample, "log_prob": sum(event["log_probs"])})
    return {
        "run": str(run.run_dir.path),
        "label": run.label,
        "val_loss": run.loss,
        **first,
        **to_json(asked.sampling),
        "samples": samples,
    }


def _say_speed(event: dict[str, Any]) -> None:
    rate = event["tokens"] / max(event["seconds"], 1e-9)
    say(f"{event['tokens']} tokens in {event['seconds']:.2f} s, {rate:,.0f} tokens per second")


def _asked(options: argparse.Namespace):  # type: ignore[no-untyped-def]
    """What the command asks of the run's model. Raises ``ConfigError`` for bad values."""
    from scaling_law.spec.sampling import Prompted, Sampling

    try:
        sampling = Sampling(
            tokens=options.tokens,
            temperature=0.0 if options.greedy else options.temperature,
            top_k=options.top_k,
            top_p=options.top_p,
            seed=options.seed,
        )
        asked = Prompted(
            sampling=sampling,
            count=options.count,
            text=_prompt_text(options),
            ids=None if options.prompt_ids is None else _ids(options.prompt_ids),
            stop=tuple(_utf8(text, "--stop") for text in options.stop or ()),
            device=options.device,
            streams=not options.json and sys.stdout.isatty(),
        )
    except ValueError as problem:  # which begins with the name of the value
        raise ConfigError(f"--{str(problem).replace('top_', 'top-')}") from None
    if asked.count > 1 and sampling.temperature == 0:
        raise ConfigError(
            f"--count is {asked.count}, and the likeliest tokens make one text: expected 1, or a"
            " --temperature above 0"
        )
    return asked


def _prompt_text(options: argparse.Namespace) -> str | None:
    if options.prompt is not None and options.prompt != STANDARD_INPUT:
        return _utf8(options.prompt, "--prompt")
    if options.prompt_file is None and options.prompt is None:
        return None
    where = "standard input" if options.prompt_file is None else options.prompt_file
    try:
        if options.prompt_file is None:
            content = sys.stdin.buffer.read(_MOST_BYTES + 1)
        else:
            with Path(options.prompt_file).open("rb") as file:
                content = file.read(_MOST_BYTES + 1)
        text = content.decode("utf-8")
    except OSError as problem:
        raise ConfigError(f"{where}: cannot be read ({problem.strerror})") from None
    except UnicodeDecodeError as problem:
        raise ConfigError(
            f"{where}: not UTF-8 at byte {problem.start}; expected a prompt in UTF-8"
        ) from None
    if len(content) > _MOST_BYTES:
        raise ConfigError(f"{where}: more than {_MOST_BYTES} bytes; expected a shorter prompt")
    if not text:
        raise ConfigError(f"{where}: empty; expected a prompt, or none for a document's start")
    return text


def _utf8(text: str, flag: str) -> str:
    """``text`` from the command line, in which Python writes what is not UTF-8 as surrogates."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        raise ConfigError(f"{flag}: {quoted(text)} is not UTF-8; expected UTF-8") from None
    if not text:
        raise ConfigError(f"{flag}: empty; expected a text, or leave {flag} out")
    return text


def _ids(text: str) -> tuple[int, ...]:
    words = text.replace(",", " ").split()
    if not words or not all(word.isascii() and word.isdigit() and len(word) < 10 for word in words):
        raise ConfigError(f"--prompt-ids: found {quoted(text)}, expected ids, as in '3 17 96'")
    return tuple(map(int, words))


def add(commands: Commands) -> None:
    """Declare the commands of this file."""
    sample = commands.add_parser(
        "sample",
        help="continue a prompt by a trained model",
        description="Continue a prompt by the final weights of a run, saved by keep_weights. A "
        "text ends where the model ends its document, at a --stop, or after --tokens.",
    )
    sample.add_argument(
        "source",
        nargs="?",
        type=given,
        default=RESULTS,
        help="a sweep, or a run's folder (default: results)",
    )
    sample.add_argument(
        "--run",
        type=given,
        metavar="RUN",
        help="id or label of the run (default: the annealed run with saved weights and the lowest "
        "loss)",
    )
    prompt = sample.add_mutually_exclusive_group()
    prompt.add_argument(
        "--prompt",
        metavar="TEXT",
        help="the beginning; - reads it from standard input, to the last byte (default: the start "
        "of a document)",
    )
    prompt.add_argument(
        "--prompt-file", type=given, metavar="FILE", help="a file with the beginning"
    )
    prompt.add_argument(
        "--prompt-ids",
        type=given,
        metavar="IDS",
        help="token ids, as in '3 17 96', for runs on a task, which has no text",
    )
    sample.add_argument(
        "--count", type=whole, default=1, metavar="N", help="number of texts (default: 1)"
    )
    sample.add_argument(
        "--tokens", type=whole, default=200, metavar="N", help="most tokens of each (default: 200)"
    )
    likeliest = sample.add_mutually_exclusive_group()
    likeliest.add_argument(
        "--temperature",
        type=fraction,
        default=0.8,
        metavar="T",
        help="divisor of the logits; lower is less random (default: 0.8)",
    )
    likeliest.add_argument(
        "--greedy", action="store_true", help="take the likeliest token, as --temperature 0 does"
    )
    sample.add_argument(
        "--top-k", type=whole, metavar="K", help="draw among the K likeliest tokens (default: all)"
    )
    sample.add_argument(
        "--top-p",
        type=fraction,
        metavar="P",
        help="draw among the likeliest tokens that have probability P together (default: all)",
    )
    sample.add_argument(
        "--stop",
        action="append",
        metavar="TEXT",
        help="end a text before TEXT; repeat for more",
    )
    sample.add_argument(
        "--seed", type=whole, default=0, metavar="N", help="seed of the draws (default: 0)"
    )
    sample.add_argument(
        "--device",
        default="auto",
        choices=("auto", "cuda", "mps", "cpu"),
        help="where the model runs (default: auto, which is cuda, else mps, else cpu)",
    )
    add_json_option(sample)
    sample.set_defaults(handler=_sample)
