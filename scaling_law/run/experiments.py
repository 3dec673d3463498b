"""The shipped experiments, with the cost of each on this machine."""

from __future__ import annotations

from typing import Any

from scaling_law.config.load import load_config
from scaling_law.errors import SlawError
from scaling_law.parts import shipped_files
from scaling_law.plan.device_profile import load_profile, refreshed, shared_by
from scaling_law.run.planning import planned

_NOT_MEASURED = (
    "cost unknown: this machine is not measured yet; `slaw plan {}` measures it and prints the cost"
)


def described() -> list[dict[str, Any]]:
    """Each experiment as plain values, by name; ``seconds`` is None where nothing can be said.

    A file that reads its results as another experiment does is an entry of its own.
    """
    profile = load_profile("auto")
    entries = []
    for path in sorted(shipped_files("experiments", "*.yaml"), key=lambda path: path.stem):
        name = path.stem
        config = load_config(name, device_kind="cpu" if profile is None else profile.kind)
        experiment = config.choice("experiment").part
        runs, seconds, why = None, None, _NOT_MEASURED.format(name)
        if profile is not None:
            try:
                here = shared_by(refreshed(profile), config.limits.slots)
                plan = planned(config, here, None)
                runs, seconds, why = len(plan.runs), plan.seconds_estimate, ""
            except SlawError as problem:
                why = f"cannot be run here: {problem.lines[0]}"
        entries.append(
            {
                "name": name,
                "question": config.question or experiment.question,
                "reproduces": experiment.reproduces,
                "stages": experiment.propose is not None,
                "runs": runs,
                "seconds": seconds,
                "why_no_cost": why,
            }
        )
    return entries
