"""From ``slaw plan --target``'s words to a proposal: device, data, fit so far, search."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

from scaling_law.design.candidates import Budget
from scaling_law.design.propose import Before, Proposal, Wanted, propose
from scaling_law.errors import ConfigError, FitError
from scaling_law.files import layout
from scaling_law.files.layout import SweepDir
from scaling_law.files.record import load_records, only_sweep
from scaling_law.fit.points.dataset import gather_material
from scaling_law.fit.session import known_laws
from scaling_law.forecast.hardware import Accelerator, flops_for_dollars
from scaling_law.run.session import Request, inputs
from scaling_law.units import parse_seconds

Say = Callable[[str], None]


def budget_of(
    *,
    time: str | None,
    flops: float | None,
    dollars: float | None = None,
    device: Accelerator | None = None,
) -> Budget:
    """The one budget that was given. Raises ``ConfigError`` for none or several.

    ``dollars`` are the FLOPs they rent on ``device``.
    """
    given = {"--time": time, "--flops": flops, "--dollars": dollars}
    named = [name for name, value in given.items() if value is not None]
    if len(named) != 1:
        raise ConfigError(
            f"{' and '.join(named) or 'no budget'} given: expected one of --time, --flops and"
            " --dollars (--memory is a limit beside it)"
        )
    if time is not None:
        try:
            return Budget(unit="seconds", amount=parse_seconds(time))
        except ValueError as problem:
            raise ConfigError(f"--time: {problem}") from None
    if dollars is not None:
        assert device is not None, "dollars come with a device"
        return Budget(unit="flops", amount=flops_for_dollars(dollars, device))
    assert flops is not None
    return Budget(unit="flops", amount=flops)


def design(request: Request, wanted: Wanted, say: Say) -> Proposal:
    """The sweep to run for a target, from a config or, for a folder of runs, its next batch.

    Raises ``ConfigError`` for a folder without a config or with several sweeps, and as
    ``propose``.
    """
    if not Path(request.config).is_dir():
        config, profile, tokens = inputs(request, say)
        # a folder of its own: run as the config's, it would replace that sweep's plan
        config = dataclasses.replace(config, name=f"{config.name}-design")
        return propose(config, profile, wanted, train_tokens=tokens)
    sweep = begun_sweep(Path(request.config))
    return next_batch(request, wanted, sweep, before_of(sweep), say)


def next_batch(
    request: Request, wanted: Wanted, sweep: SweepDir, before: Before, say: Say
) -> Proposal:
    """The runs to add to a sweep, configured as those there."""
    own = Request(
        config=str(sweep.config),
        device=request.device,
        overrides=request.overrides,
        out=str(sweep.path),
    )
    config, profile, tokens = inputs(own, say)
    return propose(config, profile, wanted, train_tokens=tokens, before=before)


def begun_sweep(folder: Path) -> SweepDir:
    """The only sweep in ``folder``, with the config that its runs began with."""
    sweep = only_sweep(folder)
    if not sweep.config.is_file():
        raise ConfigError(
            f"{sweep.config}: no such file; the next runs must be configured as those there"
        )
    return sweep


def before_of(sweep: SweepDir) -> Before:
    """The fit so far of a sweep's finished runs. Raises ``FitError`` when they allow none."""
    known = known_laws(sweep.path)
    fit = known.laws.get(known.best_law)
    if fit is None:
        raise FitError(f"{sweep.path}: no joint law could be fitted; see slaw fit")
    points = gather_material([sweep.path], convention=fit.convention["params"]).points
    models = {
        dict(record.spec.tags).get("size", ""): record.spec.model for record in load_records(sweep)
    }
    models.pop("", None)
    return Before(known=known, points=points, models=models, origin=str(sweep.path))


def write(proposal: Proposal, path: Path) -> None:
    """Keep the chosen sweep as YAML. Raises ``ConfigError`` when it cannot be written."""
    layout.check_folder(path.parent)
    if path.is_dir():
        raise ConfigError(f"{path}: a folder, expected the name of a YAML file")
    try:
        layout.atomic_write(path, proposal.yaml)
    except OSError as problem:
        raise ConfigError(f"{path}: cannot be written ({problem.strerror})") from None
