"""Run a command of the training half in a process of its own, the only one that loads torch."""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Iterator

from scaling_law.errors import EXIT_USAGE, ConfigError, EngineError
from scaling_law.files.process import module_command
from scaling_law.run.engines import worker_environment


def run_module(module: str, *arguments: str, doing: str) -> None:
    """Run ``module`` to its end.

    Raises ``ConfigError`` with its last line where it refuses, and ``EngineError``, which says what
    it was ``doing``, where it fails.
    """
    done = subprocess.run(
        module_command(module, *arguments),
        stderr=subprocess.PIPE,
        text=True,
        check=False,
        env=worker_environment(),
    )
    _check(done.returncode, done.stderr, doing)


def lines_of(module: str, *arguments: str, asked: str, doing: str) -> Iterator[str]:
    """Yield what ``module`` writes to standard output, line by line, and end it with the reader.

    ``asked`` is its standard input, and this process's id its last argument. Raises as
    ``run_module`` does.
    """
    # files, because a pipe that nobody reads meanwhile may fill up
    with tempfile.TemporaryFile("w+") as given, tempfile.TemporaryFile("w+") as errors:
        given.write(asked)
        given.seek(0)
        process = subprocess.Popen(
            module_command(module, *arguments, str(os.getpid())),
            stdin=given,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            env=worker_environment(),
        )
        with process:
            try:
                assert process.stdout is not None, "it is a pipe"
                yield from process.stdout
                code = process.wait()
            finally:
                process.kill()
        errors.seek(0)
        _check(code, errors.read(), doing)


def _check(code: int, stderr: str, doing: str) -> None:
    message = (stderr.strip().splitlines() or ["no message"])[-1]
    if code == EXIT_USAGE:
        raise ConfigError(message)
    if code:
        raise EngineError(f"{doing} failed: {message}")
