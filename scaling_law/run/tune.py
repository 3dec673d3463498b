"""``slaw tune``: tune the learning rate of a config's sizes, and write the law as a rule.

The config's sizes and horizons become the grid of the experiment ``lr_batch``: the rule's learning
rate and its multiples, at the config's batch, half and twice of it. From there on it is a sweep in
stages like any other, and the same command resumes it.
"""

from __future__ import annotations

import dataclasses
import itertools
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scaling_law import parts
from scaling_law.config.sweep_config import SweepConfig
from scaling_law.console import Say, answer, show
from scaling_law.errors import EXIT_OK, ConfigError, FitError, SlawError
from scaling_law.files import layout
from scaling_law.plan.horizons import horizons_of
from scaling_law.plan.size_optim import steps_and_optim
from scaling_law.plan.sizes import sizes_of
from scaling_law.run.planning import plan_only, planned
from scaling_law.run.request import Request, config_and_profile, config_of, resumed
from scaling_law.run.session import run_sweep
from scaling_law.run.stages import Train, train_stages
from scaling_law.run.text import dry_run_text
from scaling_law.spec.architectures import architecture_of
from scaling_law.spec.counts import count_params, train_flops
from scaling_law.spec.model import Model
from scaling_law.units import count_of, format_count, format_seconds

if TYPE_CHECKING:
    from scaling_law.experiment.analysis import Analysed

EXPERIMENT = "lr_batch"
SECONDS = 15 * 60.0  # of all stages, where no --time is given
MULTIPLES = (0.5, 1.0, 2.0)  # of the rule's learning rate, in the first stage
_BATCHES = (0.5, 1, 2)  # multiples of the config's batch
_ALL_STAGES = 2.0  # what all stages take, over the first one (measured: 1.8 to 2.3)
_SETTINGS = "experiment."  # begins the keys of the experiment's settings
_TUNED = ("optim.lr", "optim.lr_mult", "optim.batch_tokens")  # keys that tuning varies itself
_SIZES, _LEAST_HORIZONS, _MOST_HORIZONS = 3, 2, 3


@dataclass(frozen=True)
class _Size:
    """A size of the config.

    ``name`` is its name; ``tokens`` are its horizons, rising; ``batch_tokens`` are those of a step.
    """

    name: str
    model: Model
    tokens: tuple[float, ...]
    batch_tokens: int

    @property
    def params(self) -> int:
        """Non-embedding parameters."""
        return count_params(self.model).non_embedding


@dataclass(frozen=True)
class _Choice:
    """Sizes to tune, with the places of their horizons."""

    sizes: tuple[_Size, ...]
    places: tuple[int, ...]

    def tokens(self, size: _Size) -> list[float]:
        """The horizons of a size, in whole steps of its largest batch."""
        step = max(_BATCHES) * size.batch_tokens
        return [max(1, round(size.tokens[place] / step)) * step for place in self.places]

    @property
    def flops(self) -> float:
        """The cost of the longest horizons, by which choices are ordered."""
        return sum(train_flops(size.model, max(self.tokens(size))) for size in self.sizes)

    @property
    def grid(self) -> list[dict[str, Any]]:
        """The grid of the first stage."""
        return [
            {
                "sizes": [_spelled(size)],
                "tokens": self.tokens(size),
                "seeds": [0],
                "axes": {"optim.lr_mult": MULTIPLES, "optim.batch_tokens": _batches(size)},
            }
            for size in self.sizes
        ]


def _spelled(size: _Size) -> Any:
    """A size as a config gives it: the name of a scale, or the keys of its shape."""
    known = architecture_of(size.model).scales
    return size.name if size.name in known else size.model.dimensions


def _batches(size: _Size) -> list[int]:
    n_ctx = size.model.n_ctx
    seqs = size.batch_tokens // n_ctx
    return sorted({max(1, round(factor * seqs)) * n_ctx for factor in _BATCHES})


def dry_run(request: Request, seconds: float, write: Path | None, say: Say) -> None:
    """Print what the first stage would train. Refuses what ``tune`` refuses before training."""
    if write is not None:
        _check_place(write)
    config, plan = plan_only(tuned_request(request, seconds, say), say)
    show(dry_run_text(config, plan))
    show(
        "later stages train what the first leaves open: learning rates beyond an edge, a further"
        f" seed; all of them about {format_seconds(_ALL_STAGES * plan.seconds_estimate)}"
    )


def tune(
    request: Request,
    seconds: float,
    write: Path | None,
    say: Say,
    *,
    train: Train = run_sweep,
) -> int:
    """Train every stage, print the findings and write the rule; the exit code.

    Raises ``FitError`` where the runs give no law, and ``ConfigError`` for a config that cannot be
    tuned.
    """
    from scaling_law.experiment.analysis import analyse
    from scaling_law.experiment.findings import findings_text

    if write is not None:
        _check_place(write)
    sweep, choice, code = train_stages(tuned_request(request, seconds, say), say, train=train)
    if code != EXIT_OK:
        return code
    values = {} if choice.settings is None else parts.set_fields(choice.settings)
    result = analyse(sweep, choice.reference, choice.part, values)
    show(findings_text(result.findings))
    place = write or sweep.path / f"tuned_{_word(sweep.path.name)}.py"
    answer(_written(result, place))
    return EXIT_OK


def _word(name: str) -> str:
    """A name of a sweep as part of a file's name."""
    return re.sub(r"[^A-Za-z0-9_]+", "_", name.removesuffix("-tune"))[:40]


def _check_place(path: Path) -> None:
    """Raise ``ConfigError`` where a rule cannot be written."""
    from scaling_law.experiment.lr_rule import MARK

    if path.suffix != ".py":
        raise ConfigError(f"--write {path}: a rule is a file of Python; expected a name in .py")
    if not path.parent.is_dir():
        raise ConfigError(f"--write {path}: there is no folder {path.parent}")
    layout.check_folder(path.parent, "name another file with --write")
    if path.exists() and not path.read_text(errors="replace").startswith(MARK):
        raise ConfigError(f"--write {path}: it exists and is no rule of slaw tune; choose another")


def _written(result: Analysed, place: Path) -> str:
    """Write the rule that the findings give; say where it is and how far it may be used."""
    from scaling_law.experiment.lr_rule import (
        best_decay,
        largest_free_batch,
        rule_source,
        trained_by,
    )

    seen = parts.module_of("experiment", EXPERIMENT).read(result.evidence)
    law_claim = result.findings.claims[0]
    if not law_claim.established:
        raise FitError(f"no rule is written: {_why_none(seen, law_claim.established)}")
    batch = largest_free_batch(seen.tuning, seen.batches)
    decay = best_decay(seen.tuning, seen.law)
    sweep = result.evidence.sweep
    measured_by = f"The runs of {sweep.path.name if sweep else 'a sweep'}"
    spec = result.evidence.runs[0].spec
    source = rule_source(seen.law, batch, decay, measured_by, trained_by(spec))
    layout.atomic_write(place, source.encode())
    params, tokens = seen.law.trusted("params"), seen.law.trusted("tokens")
    return (
        f"rule: {place}, for {format_count(params[0])} to {format_count(params[1])} non-embedding"
        f" parameters and {format_count(tokens[0])} to {format_count(tokens[1])} tokens\n"
        f"batch: {batch.text}\n"
        f"weight decay: {decay.text}\n"
        f"use it: slaw run CONFIG --set optim.rule={place}"
        f" --set optim.weight_decay={decay.weight_decay:g}"
    )


def _why_none(seen: Any, established: bool | None) -> str:
    """Why there is no rule, beside the findings that say it at length, and what to do."""
    if established is False:
        return "by the findings above, the best learning rates do not follow a power law"
    why = "the findings above do not establish a power law of the best learning rate"
    if not seen.tuning.open_text:
        return f"{why}; give the config more sizes, horizons or batches"
    most, seeds = seen.settings.most + 2, seen.settings.seeds + 1
    return (
        f"{why}; the same command goes on with more stages (--set experiment.most={most}) and more"
        f" seeds (--set experiment.seeds={seeds})"
    )


def tuned_request(request: Request, seconds: float, say: Say) -> Request:
    """The request that tunes what ``request`` would train, within ``seconds`` by its plan.

    A sweep's folder, and a config that names the experiment, are taken as they are. Raises
    ``ConfigError`` for a config with too few sizes or horizons, or whose least tuning takes longer.
    """
    known = resumed(request)
    own = tuple(text for text in known.overrides if text.startswith(_SETTINGS))
    plain = tuple(text for text in known.overrides if text not in own)
    known = dataclasses.replace(known, overrides=plain)
    named = config_of(known, "cpu" if known.device == "auto" else known.device)
    if [choice.reference.name for choice in named.choices.get("experiment", ())] == [EXPERIMENT]:
        return dataclasses.replace(known, overrides=(*known.overrides, *own))
    request = dataclasses.replace(known, out=request.out)  # not into the folder of another sweep
    config, profile = config_and_profile(request, say)
    if config.solves:
        raise ConfigError(
            f"{config.where('model', 'architecture')}: {config.choice('architecture').spelled} is"
            " solved in closed form and has no learning rate to tune"
        )
    _check_axes(config)
    choices = sorted(_choices(config), key=lambda one: one.flops, reverse=True)
    least = 0.0
    for choice in choices:
        changed = _changed(request, config, choice, own)
        try:
            plan = planned(config_of(changed, config.device_kind), profile, None)
        except SlawError:
            if choice is choices[-1]:
                raise
            continue
        least = _ALL_STAGES * plan.seconds_estimate
        if least <= seconds and not plan.left_out:
            names = ", ".join(size.name for size in choice.sizes)
            say(f"tuning {names}: about {format_seconds(least)} of {format_seconds(seconds)}")
            if probes := [choice.reference.name for choice in config.choices.get("probe", ())]:
                say(f"its runs measure no probes (left off: {', '.join(probes)})")
            return changed
    raise ConfigError(
        f"{request.config}: its least tuning takes about {format_seconds(least)}, more than"
        f" {format_seconds(seconds)}; raise --time, or give smaller sizes or shorter horizons with"
        " --set grid=..."
    )


def _check_axes(config: SweepConfig) -> None:
    """Raise ``ConfigError`` for a config whose axes vary more than what is tuned."""
    others: dict[str, set[str]] = {}
    for arm in config.arms:
        for key, value in arm.values:
            if key not in _TUNED:
                others.setdefault(key, set()).add(value)
    if others:
        listed = "; ".join(f"{key}: {', '.join(sorted(of))}" for key, of in others.items())
        raise ConfigError(
            f"{config.where('grid')}: axes vary {listed}, and one recipe is tuned at a time; give"
            " a config without these axes, with one of their values as its own key"
        )


def _changed(
    request: Request, config: SweepConfig, choice: _Choice, own: tuple[str, ...]
) -> Request:
    """The request with the experiment and its grid in place of the config's own.

    ``own`` are the user's settings of the experiment.
    """
    changes = {
        "name": f"{config.name}-tune",
        "experiment": {"name": EXPERIMENT},
        "axes": {},
        "grid": choice.grid,
        "probes": [],
        "keep_weights": "none",
        "early_stop": False,
        "limits.time": None,
    }
    texts = tuple(f"{key}={json.dumps(value)}" for key, value in changes.items())
    return dataclasses.replace(request, overrides=(*request.overrides, *texts, *own))


def _choices(config: SweepConfig) -> Iterator[_Choice]:
    """Three sizes and up to three horizons each: from all of the config's to the smallest."""
    sizes = _sizes(config)
    horizons = min(len(size.tokens) for size in sizes) if sizes else 0
    where = config.where("grid")
    if len(sizes) < _SIZES or horizons < _LEAST_HORIZONS:
        raise ConfigError(
            f"{where}: {count_of(len(sizes), 'size')} and {count_of(horizons, 'horizon')} to tune;"
            f" expected at least {_SIZES} sizes, of which the largest is predicted from the others,"
            f" and {_LEAST_HORIZONS} horizons of each"
        )
    for largest, longest in itertools.product(
        range(_SIZES - 1, len(sizes)), range(_LEAST_HORIZONS - 1, horizons)
    ):
        yield _Choice(
            tuple(sizes[place] for place in _spread(largest, _SIZES)),
            tuple(_spread(longest, min(_MOST_HORIZONS, longest + 1))),
        )


def _spread(last: int, count: int) -> Sequence[int]:
    """``count`` places from 0 to ``last``, as even as they go."""
    return [round(place * last / (count - 1)) for place in range(count)]


def _sizes(config: SweepConfig) -> list[_Size]:
    """Every size of the grid, the smallest first, with its horizons and the batch that it has."""
    horizons: dict[Model, set[float]] = {}
    names: dict[Model, str] = {}
    arm = config.arms[0].config
    for number, entry in enumerate(arm.grid):
        for name, model in sizes_of(arm, number, entry):
            wanted = horizons_of(arm, number, entry, model, None)
            horizons.setdefault(model, set()).update(tokens for tokens, _ in wanted)
            names[model] = name
    sizes = []
    for model, every in horizons.items():
        rising = tuple(sorted(every))
        batch = steps_and_optim(arm, model, rising)[0]
        sizes.append(_Size(names[model], model, rising, batch))
    return sorted(sizes, key=lambda size: size.params)
