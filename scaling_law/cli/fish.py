"""``slaw completion fish``: the shell that shtab does not write for."""

from __future__ import annotations

import argparse
from collections.abc import Iterator


def complete(parser: argparse.ArgumentParser) -> str:
    """A script that completes the commands of ``parser``, their options and choices."""
    name = parser.prog
    lines = [
        f"# source this, or keep it as ~/.config/fish/completions/{name}.fish",
        f"complete -c {name} -f",
    ]
    top = f"complete -c {name} -n __fish_use_subcommand"
    lines += [f"{top} {words}" for action in _options(parser) for words in _option(action)]
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            helps = {choice.dest: choice.help or "" for choice in action._choices_actions}
            for command, below in action.choices.items():
                lines.append(f"{top} -a {command} -d {_quoted(helps.get(command, ''))}")
                inside = f"complete -c {name} -n '__fish_seen_subcommand_from {command}'"
                lines += [f"{inside} {words}" for words in _of_command(below)]
    return "\n".join(lines)


def _of_command(parser: argparse.ArgumentParser) -> Iterator[str]:
    for action in parser._get_positional_actions():
        # a place without choices is a file, folder or name
        yield f"-a {_quoted(' '.join(map(str, action.choices)))}" if action.choices else "-F"
    for action in _options(parser):
        yield from _option(action)


def _options(parser: argparse.ArgumentParser) -> list[argparse.Action]:
    return [action for action in parser._actions if action.option_strings]


def _option(action: argparse.Action) -> Iterator[str]:
    flags = [
        f"-{'l' if flag[1] == '-' else 's'} {flag.lstrip('-')}" for flag in action.option_strings
    ]
    takes = ""
    if action.choices:
        takes = f" -x -a {_quoted(' '.join(map(str, action.choices)))}"
    elif action.nargs != 0:
        takes = " -r -F"
    yield f"{' '.join(flags)}{takes} -d {_quoted((action.help or '').replace('%%', '%'))}"


def _quoted(text: str) -> str:
    """In single quotes, in which fish knows two escapes."""
    escaped = text.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"
