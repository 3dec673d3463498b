"""Run a command of the training half in a process of its own, the only one that loads torch."""

from __future__ import annotations

import subprocess

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
    message = (done.stderr.strip().splitlines() or ["no message"])[-1]
    if done.returncode == EXIT_USAGE:
        raise ConfigError(message)
    if done.returncode:
        raise EngineError(f"{doing} failed: {message}")
