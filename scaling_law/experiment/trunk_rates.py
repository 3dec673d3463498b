"""How the rate of a trunk goes, and what its horizons lose by sharing one.

    seen = read(evidence)
    seen.lost(CONSTANT, fair=True)    # in units of seed noise, by horizon
    seen.splits                       # one constant trunk, or two: what they cost and lose

Every way of training has its own shared rate: the geometric mean of its horizons' best ones, or the
fairest, at which the horizon that loses most loses least. What a horizon loses is counted from its
loss at its own best constant rate, as if it had a trunk of its own, on the same seeds. A unit of
seed noise is the spread of one run's loss from seed to seed (``Tuning.run_noise``). The horizons
of a trunk share its noise, so that they are no independent points: intervals leave out one seed
after another (jackknife), with the unit and the choice of the shared rate made again.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from statistics import fmean

from scaling_law.experiment.evidence import Evidence, Run
from scaling_law.experiment.power_law import PowerLaw, fit_power_law
from scaling_law.experiment.seeds import Mean, jackknifed
from scaling_law.experiment.shared_rates import fairest_rate
from scaling_law.experiment.tuning import Optimum, Tuning, trials_of, tuned
from scaling_law.experiment.tuning_stages import other_axes
from scaling_law.spec.run import RunSpec


@dataclass(frozen=True, order=True)
class Way:
    """How the rate of a trunk goes (the schedule ``wsd_power``).

    ``power`` is the power of the step by which it falls, 0 for a constant rate;
    ``cooldown_power`` is that by which the rates fall that its cooldowns begin at;
    ``hold_steps`` is the step that both are counted from, 0 for the end of the warm-up.
    """

    power: float = 0.0
    cooldown_power: float = 0.0
    hold_steps: int = 0

    @property
    def name(self) -> str:
        """``power0.4.from102``: in the names of measures."""
        kind = "cooldown" if self.cooldown_power else "power"
        both = f"power{self.power:g}." if self.cooldown_power and self.power else ""
        start = f".from{self.hold_steps}" if self.hold_steps else ""
        return f"{both}{kind}{self.cooldown_power or self.power:g}{start}"

    @property
    def text(self) -> str:
        """``a fall by the power 0.4 from step 102``."""
        start = f" from step {self.hold_steps}" if self.hold_steps else ""
        if not self.cooldown_power:
            return f"a fall by the power {self.power:g}{start}" if self.power else CONSTANT_TEXT
        words = f"cooldowns that begin lower by the power {self.cooldown_power:g}{start}"
        return f"a fall by the power {self.power:g} and {words}" if self.power else words


CONSTANT, CONSTANT_TEXT = Way(), "one constant rate"


@dataclass(frozen=True)
class Trunk:
    """Horizons that share a trunk.

    ``way`` is how its rate goes;
    ``cells`` are the horizons, by tokens, each with a best rate.
    """

    way: Way
    cells: tuple[Optimum, ...]

    @property
    def middle(self) -> float:
        """The geometric mean of the horizons' best rates."""
        return math.exp(fmean(math.log(best.lr or math.nan) for best in self.cells))

    @property
    def fairest(self) -> float:
        """The rate at which the horizon that loses most loses least."""
        return fairest_rate(self.cells)

    def rate(self, *, fair: bool) -> float:
        """The rate to share: the fairest, or the geometric mean."""
        return self.fairest if fair else self.middle

    @property
    def seeds(self) -> set[int]:
        """The seeds of its runs."""
        return {trial.seed for best in self.cells for trial in best.trials}

    @property
    def law(self) -> PowerLaw | str:
        """How the best rate goes with the horizon."""
        return fit_power_law({float(b.cell.tokens): [b.lr or math.nan] for b in self.cells})


@dataclass(frozen=True)
class Split:
    """Two constant trunks for the horizons of one, each at its fairest rate.

    ``short`` is how many of the shortest horizons share the first trunk, 0 for one trunk of all;
    ``lost`` is what each horizon loses by its parabola, in units of seed noise;
    ``asked`` are the rates of the trunks;
    ``rates`` are the trained rates that are nearest to them;
    ``trained`` is what the runs at these rates lose, () where a seed lacks one;
    ``flops`` is the cost, over that of one trunk.
    """

    short: int
    lost: tuple[Mean, ...]
    asked: tuple[float, ...]
    rates: tuple[float, ...]
    trained: tuple[Mean, ...]
    flops: float

    @property
    def text(self) -> str:
        """``one trunk at its fairest rate``."""
        if not self.short:
            return "one trunk at its fairest rate"
        return f"two trunks, the first for the {self.short} shortest"

    @property
    def most(self) -> float:
        """The most that a horizon loses."""
        return most(self.lost)


@dataclass(frozen=True)
class Seen:
    """What the runs show.

    ``tuning`` are the cells; ``trunks`` are those whose horizons all have a best rate, the constant
    one first;
    ``open_`` says of the others why not; ``flops`` is the cost of a trunk of its own for each
    horizon, over one trunk for all, None where it is not known; ``cooldown`` is the share of steps
    in the cooldown; ``left_out`` counts runs of other sizes and batches than the first;
    ``without`` is what all seeds but one show, by the one left out; empty there, and with one seed.
    """

    tuning: Tuning
    trunks: tuple[Trunk, ...]
    open_: tuple[str, ...]
    flops: float | None
    cooldown: float
    left_out: int
    without: Mapping[int, Seen] = field(default_factory=dict)

    @property
    def constant(self) -> Trunk | None:
        """The trunk at a constant rate."""
        return self.trunk(CONSTANT)

    def trunk(self, way: Way) -> Trunk | None:
        """The trunk whose rate goes this way."""
        return next((trunk for trunk in self.trunks if trunk.way == way), None)

    @cached_property
    def noise(self) -> float:
        """A unit: the spread of one run's loss from seed to seed, as a share of it."""
        return self.tuning.run_noise.deviation

    def over_seeds(
        self, read: Callable[[Seen], float | None], *ways: Way, of: int = 1
    ) -> Mean | None:
        """A number that the runs give, with its interval; None where they do not give it.

        The seeds left out are those that all of ``ways`` have: a trunk of fewer seeds than others
        says less. There is no interval where some seed left out leaves no such number. ``of`` is
        how many numbers it was picked from.
        """
        seeds = set(self.without)
        for way in ways:
            trunk = self.trunk(way)
            seeds &= trunk.seeds if trunk is not None else set()
        value, without = read(self), [read(self.without[seed]) for seed in sorted(seeds)]
        if value is None:
            return None
        known = [one for one in without if one is not None]
        return jackknifed(value, known if len(known) == len(without) else (), of=of)

    def exponent(self, way: Way) -> Mean | None:
        """The power of tokens that a trunk's best rate goes with.

        Its interval is the wider one of that by seeds and that by the horizons about the law.
        """

        def read(seen: Seen) -> float | None:
            law = trunk.law if (trunk := seen.trunk(way)) is not None else ""
            return law.exponent if isinstance(law, PowerLaw) else None

        own, mean = self.trunk(way), self.over_seeds(read, way)
        law = "" if own is None else own.law
        if mean is None or mean.interval is None or isinstance(law, str):
            return mean
        wider = max(mean.interval, law.interval, key=lambda ends: ends[1] - ends[0])
        return replace(mean, interval=wider)

    def lost(self, way: Way, *, fair: bool) -> list[Mean]:
        """What each horizon loses on a trunk at its shared rate, in units of seed noise."""
        trunk = self.trunk(way)
        assert trunk is not None and self.constant is not None, "asked only beside a constant rate"
        means = []
        for place in range(len(trunk.cells)):

            def read(seen: Seen, place: int = place) -> float | None:
                shares = seen.shares_lost(way, fair=fair)
                return shares[place] / seen.noise if place < len(shares) else None

            mean = self.over_seeds(read, CONSTANT, way)
            assert mean is not None, "the trunk has this horizon"
            means.append(mean)
        return means

    def shares_lost(self, way: Way, *, fair: bool) -> list[float]:
        """What each horizon loses, as a share of loss; none without both trunks."""
        trunk, constant = self.trunk(way), self.constant
        if trunk is None or constant is None:
            return []
        losses, shared = [], trunk.rate(fair=fair)
        for own, alone in zip(trunk.cells, constant.cells, strict=True):
            seeds = own.levels.keys() & alone.levels.keys()
            if not seeds:
                return []
            apart = fmean(own.levels[seed] - alone.levels[seed] for seed in seeds)
            losses.append(apart + math.log1p(own.excess(shared)))
        return losses

    @cached_property
    def splits(self) -> list[Split]:
        """What one and two constant trunks cost and lose, by the parabolas and as trained."""
        if self.constant is None:
            return []
        cells = self.constant.cells
        cooldowns = sum(self.cooldown * best.cell.tokens for best in cells)
        whole = (1 - self.cooldown) * cells[-1].cell.tokens + cooldowns
        splits = []
        for short in range(len(cells)):
            more = (1 - self.cooldown) * cells[short - 1].cell.tokens if short else 0.0
            asked = tuple(fairest_rate(part) for part in _parts(cells, short))
            tried = cells[0].rates
            rates = tuple(min(tried, key=lambda lr: abs(math.log(lr / own))) for own in asked)
            lost = self._each_lost(partial(Seen.shares_lost_split, short=short))
            trained = self._each_lost(partial(Seen.shares_lost_at, short=short, rates=rates))
            assert len(lost) == len(cells), "there is a constant trunk"
            splits.append(Split(short, lost, asked, rates, trained, 1 + more / whole))
        return splits

    def _each_lost(self, shares: Callable[[Seen], Sequence[float]]) -> tuple[Mean, ...]:
        """What each horizon loses, in units of seed noise, by shares of loss; () without any."""
        means = []
        for place in range(len(shares(self))):

            def read(seen: Seen, place: int = place) -> float | None:
                found = shares(seen)
                return found[place] / seen.noise if found else None

            mean = self.over_seeds(read, CONSTANT)
            assert mean is not None, "all seeds together give one"
            means.append(mean)
        return tuple(means)

    def shares_lost_split(self, short: int) -> list[float]:
        """What each horizon loses where the shortest share one rate, and the others another."""
        cells = self.constant.cells if self.constant is not None else ()
        shared = [(part, fairest_rate(part)) for part in _parts(cells, short)]
        return [best.excess(lr) for part, lr in shared for best in part]

    def shares_lost_at(self, short: int, rates: Sequence[float]) -> list[float]:
        """What the runs lose at these rates, one for each trunk.

        () where a seed of a horizon has no run there.
        """
        losses = []
        parts = _parts(self.constant.cells, short) if self.constant is not None else []
        if len(parts) != len(rates):
            return []
        for best, lr in [(b, lr) for part, lr in zip(parts, rates, strict=True) for b in part]:
            at = {trial.seed: trial.loss for trial in best.trials if trial.lr == lr}
            known = [math.log(at[s] or math.nan) - best.levels[s] for s in best.levels if s in at]
            if len(known) < len(best.levels) or any(map(math.isnan, known)):
                return []
            losses.append(fmean(known))
        return losses


def _parts(cells: tuple[Optimum, ...], short: int) -> list[tuple[Optimum, ...]]:
    """The horizons of each trunk, where the shortest have one of their own."""
    return [part for part in (cells[:short], cells[short:]) if part]


def way_of(spec: RunSpec) -> Way:
    """How a run's rate goes; constant under wsd."""
    powers = spec.schedule.settings
    return Way(
        power=float(getattr(powers, "power", 0.0)),
        cooldown_power=float(getattr(powers, "cooldown_power", 0.0)),
        hold_steps=int(getattr(powers, "hold_steps", 0)),
    )


def read(evidence: Evidence) -> Seen:
    """Return what the runs show."""
    first = [(run.spec.model, run.spec.batch_tokens) for run in evidence.runs[:1]]
    runs = [run for run in evidence.runs if [(run.spec.model, run.spec.batch_tokens)] == first]
    seeds = sorted({run.spec.seed for run in runs})
    without = {seed: _seen([r for r in runs if r.spec.seed != seed], 0) for seed in seeds}
    seen = _seen(runs, len(evidence.runs) - len(runs))
    return replace(seen, without=without if len(seeds) > 1 else {})


def _seen(runs: Sequence[Run], left_out: int) -> Seen:
    """What runs of one size and batch show."""
    tuning = tuned(trials_of(runs, recipe=other_axes))
    ways = {other_axes(run): way_of(run.spec) for run in runs}
    groups: dict[tuple[object, ...], list[Optimum]] = {}
    for best in tuning.optima:
        groups.setdefault(best.cell.trunk, []).append(best)
    tokens = max((tuple(b.cell.tokens for b in own) for own in groups.values()), default=())
    trunks, open_ = [], []
    for own in groups.values():
        why = next((f"{best.cell.text}: {best.why}" for best in own if best.lr is None), "")
        if why or tuple(best.cell.tokens for best in own) != tokens:
            open_.append(why or f"{own[0].cell.text}: not all of its horizons have finished")
        else:
            trunks.append(Trunk(ways[own[0].cell.recipe], tuple(own)))
    return Seen(
        tuning=tuning,
        trunks=tuple(sorted(trunks, key=lambda trunk: trunk.way)),
        open_=tuple(open_),
        flops=_flops_apart(runs),
        cooldown=max(
            ((run.spec.schedule.decay_steps or 0) / run.spec.total_steps for run in runs),
            default=0.0,
        ),
        left_out=left_out,
    )


def _flops_apart(runs: Sequence[Run]) -> float | None:
    """The FLOPs of the points trained from scratch, over those that were spent."""
    spent = sum(run.record.flops_spent for run in runs)
    alone = sum(run.record.flops_exact for run in runs if run.record.kind != "trunk")
    return alone / spent if spent else None


def most(lost: Sequence[Mean]) -> float:
    """The most that a horizon loses."""
    return max(mean.value for mean in lost)
