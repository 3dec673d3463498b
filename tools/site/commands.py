"""A page for each command, from the parser of the command line."""

from __future__ import annotations

import argparse
from collections.abc import Iterator

from tools.site.markdown import block, code, plain, table


def pages() -> Iterator[tuple[str, str]]:
    """The path and the text of each page, the list of commands first."""
    from scaling_law.cli.main import make_parser

    commands = _subcommands(make_parser())
    rows = [(f"[{code('slaw ' + name)}]({name}.md)", plain(about)) for name, about, _ in commands]
    yield "commands/index.md", f"# Commands\n\n{table(('command', 'what it does'), rows)}"
    for name, _, parser in commands:
        yield f"commands/{name}.md", "\n".join(_sections(parser, 1))


def _sections(parser: argparse.ArgumentParser, depth: int) -> Iterator[str]:
    yield f"{'#' * depth} {parser.prog}\n"
    yield plain(parser.description or "") + "\n"
    yield block(parser.format_usage().removeprefix("usage: "))
    for group in parser._action_groups:
        rows = [_row(action) for action in group._group_actions if _is_shown(action)]
        if rows:
            yield f"**{plain(group.title or 'options')}**\n"
            yield table(("option", "meaning"), rows)
    for _, _, command in _subcommands(parser):
        yield from _sections(command, depth + 1)
    if parser.epilog:
        yield plain(parser.epilog) + "\n"


def _row(action: argparse.Action) -> tuple[str, str]:
    value = _value(action)
    names = [f"{name} {value}".strip() for name in action.option_strings] or [value]
    # argparse fills %(default)s and the like in when it prints
    about = (action.help or "") % {**vars(action), "prog": "slaw"}
    return ", ".join(map(code, names)), plain(about)


def _value(action: argparse.Action) -> str:
    if action.nargs == 0:
        return ""
    if action.choices is not None and action.metavar is None:
        return "{" + ",".join(map(str, action.choices)) + "}"
    named = action.metavar or (action.dest.upper() if action.option_strings else action.dest)
    return named if isinstance(named, str) else " ".join(named)


def _is_shown(action: argparse.Action) -> bool:
    hidden = isinstance(action, argparse._SubParsersAction | argparse._HelpAction)
    return not hidden and action.help != argparse.SUPPRESS


def _subcommands(
    parser: argparse.ArgumentParser,
) -> list[tuple[str, str, argparse.ArgumentParser]]:
    """Name, one line of help, and parser of each command of ``parser``."""
    return [
        (choice.dest, choice.help or "", action.choices[choice.dest])
        for action in parser._actions
        if isinstance(action, argparse._SubParsersAction)
        for choice in action._choices_actions
    ]
