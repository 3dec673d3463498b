"""What horizons lose by sharing the learning rate of one trunk, and what mends it.

    slaw run horizon_lr              # a constant trunk, one that falls, and later cooldowns lower
    slaw report results/horizon_lr   # the best rate by horizon, and what sharing one costs each

Every way of training has its own shared rate: the geometric mean of its horizons' best ones, or the
fairest, at which the horizon that loses most loses least. What a horizon loses is counted from its
loss at its own best constant rate, as if it had a trunk of its own, on the same seeds. The horizons
of a trunk share its noise, so that they are no independent points: intervals leave out one seed
after another (jackknife), with the choice of the shared rate made again.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from statistics import fmean
from typing import Any

from scaling_law.experiment import Experiment, Outcome, Planted
from scaling_law.experiment.answer import Decision, answer, beside, claim, need
from scaling_law.experiment.evidence import Evidence, Run
from scaling_law.experiment.figures import figure, log_axis
from scaling_law.experiment.findings import (
    AGAIN,
    Axis,
    Claim,
    Figure,
    Findings,
    Panel,
    Published,
    Series,
    Table,
)
from scaling_law.experiment.power_law import PowerLaw, fit_power_law
from scaling_law.experiment.seeds import Mean, jackknifed
from scaling_law.experiment.shared_rates import fairest_rate
from scaling_law.experiment.tuning import Optimum, Tuning, trials_of, tuned
from scaling_law.experiment.tuning_stages import Settings, next_stage, other_axes
from scaling_law.spec.run import RunSpec
from scaling_law.units import format_count

LITTLE = 0.4  # units of seed noise that sharing a rate may cost a horizon
CHEAP = 1.1  # FLOPs of two trunks, over those of one, that count as little


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

    @property
    def noise(self) -> float:
        """The spread of a loss from seed to seed, as a share of it."""
        return self.tuning.noise.deviation

    def over_seeds(
        self, read: Callable[[Seen], float | None], *ways: Way, of: int = 1
    ) -> Mean | None:
        """A number that the runs give, with its interval; None where they do not give it.

        The seeds left out are those that all of ``ways`` have: a trunk of fewer seeds than others
        says less. There is no interval where some seed left out leaves no such number. ``of`` is
        how many numbers it was picked from.
        """
        seeds = self.without.keys()
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
                return shares[place] / self.noise if place < len(shares) else None

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
                return found[place] / self.noise if found else None

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


def propose(evidence: Evidence) -> Mapping[str, Any] | None:
    """Give the learning rates that are still needed, or None."""
    return next_stage(evidence.runs, evidence.settings, evidence.stage)


def analyse(evidence: Evidence) -> Findings:
    """Return the best rate by horizon, and what a shared rate costs each on every trunk."""
    seen = read(evidence)
    claims = (
        _falls_claim(seen),
        _shared_claim(seen),
        _flatter_claim(seen),
        _mended_claim(seen),
        _one_claim(seen),
        _split_claim(seen),
    )
    notes = [seen.tuning.noise_text] if seen.tuning.optima else []
    if seen.left_out:
        notes.append(f"{seen.left_out} runs left out, of other sizes or batches than the first")
    return answer(
        claims,
        lambda: _words(seen),
        measures=_measures(seen),
        tables=(_table(seen),),
        figures=(_figure(seen),),
        literature=_literature(seen),
        notes=(*notes, *seen.open_),
        units={"lost": "units of seed noise", "noise": "share", "flops": "times one trunk's"}
        | {f"split.{one.short}.lost": "units of seed noise" for one in seen.splits}
        | {f"split.{one.short}.lost.high": "units of seed noise" for one in seen.splits}
        | {f"split.{one.short}.trained": "units of seed noise" for one in seen.splits}
        | {f"split.{one.short}.flops": "times one trunk's" for one in seen.splits},
    )


def _need_constant(seen: Seen) -> Trunk:
    """The precondition: every horizon has a best constant rate."""
    need(bool(seen.tuning.optima), "no run has finished", AGAIN)
    need(
        seen.constant is not None,
        f"not every horizon has a best constant rate ({'; '.join(seen.open_[:1])})",
        "it takes more stages (experiment.most), or other rates in axes",
    )
    assert seen.constant is not None
    return seen.constant


def _need_exponent(seen: Seen, way: Way) -> Mean:
    """How the best rate of a trunk goes with tokens, behind its preconditions."""
    trunk = seen.trunk(way)
    law = "" if trunk is None else trunk.law
    need(not isinstance(law, str), str(law), "it takes three horizons")
    mean = seen.exponent(way)
    assert mean is not None, "the trunk has a law"
    need(mean.interval is not None, f"tokens^{mean.text}: one seed, or too few rates without one",
         "it takes two seeds with a best rate each")  # fmt: skip
    return mean


def _ends(mean: Mean) -> tuple[float, float]:
    """A mean's interval; without bounds where it has none."""
    return mean.interval or (-math.inf, math.inf)


def _falls_claim(seen: Seen) -> Claim:
    def decide() -> Decision:
        _need_constant(seen)
        mean = _need_exponent(seen, CONSTANT)
        low, high = _ends(mean)
        words = f"tokens^{mean.text}"
        need(low > 0 or high < 0, f"{words}, on both sides of 0", "more seeds or horizons")
        return high < 0, words

    return claim("best_rate_falls", "the best constant rate falls as the horizon grows", decide)


def _shared_claim(seen: Seen) -> Claim:
    def decide() -> Decision:
        constant = _need_constant(seen)
        need(len(constant.cells) > 1, "there is one horizon", "it takes two")
        lost = seen.lost(CONSTANT, fair=False)
        words = _lost_text(constant, lost)
        need(_serves(lost) is not None, words, "more seeds")
        return not _serves(lost), words

    return claim(
        "sharing_costs",
        f"sharing the geometric mean of the best rates costs some horizon more than {LITTLE:g}"
        " units of seed noise",
        decide,
    )


def _serves(lost: Sequence[Mean], of: int = 1) -> bool | None:
    """Whether every horizon loses little; None where the intervals leave it open.

    ``of`` is how many ways are tried, of which any may serve: the one that does is picked from
    them. That none serves takes all of them, and so no wider intervals.
    """
    if any(_ends(mean.wider(len(lost)))[0] > LITTLE for mean in lost):
        return False
    return True if all(_ends(mean.wider(of))[1] <= LITTLE for mean in lost) else None


def _any_serves(ways: Sequence[Sequence[Mean]]) -> bool | None:
    """Whether some of several ways, each with what every horizon loses, serves them all."""
    serves = [_serves(lost, of=len(ways)) for lost in ways]
    return True if True in serves else False if None not in serves else None


def most(lost: Sequence[Mean]) -> float:
    """The most that a horizon loses."""
    return max(mean.value for mean in lost)


def _units(mean: Mean) -> str:
    """``1.39 (0.9 to 1.9)``: units of seed noise."""
    return mean.text.partition(",")[0] + (")" if mean.interval else "")


def _lost_text(trunk: Trunk, lost: Sequence[Mean]) -> str:
    each = (
        f"{_units(mean)} at {format_count(best.cell.tokens)}"
        for best, mean in zip(trunk.cells, lost, strict=True)
    )
    return f"units of noise: {', '.join(each)}"


def _falling(seen: Seen) -> list[Trunk]:
    """The trunks whose rate, or cooldowns, fall. Needs one, and the constant one beside it."""
    _need_constant(seen)
    falling = [trunk for trunk in seen.trunks if trunk.way != CONSTANT]
    why = seen.open_[0] if seen.open_ else "there is no other trunk than the constant one"
    need(bool(falling), f"no trunk that falls has a best rate at every horizon ({why})", AGAIN)
    return falling


def _flatter_claim(seen: Seen) -> Claim:
    def decide() -> Decision:
        falling = _falling(seen)
        means = {trunk.way: _need_exponent(seen, trunk.way) for trunk in falling}
        first = _need_exponent(seen, CONSTANT)
        flattest = min(means, key=lambda way: abs(means[way].value))

        def apart(one: Seen) -> float | None:
            pair = [one.exponent(way) for way in (CONSTANT, flattest)]
            known = [abs(mean.value) for mean in pair if mean is not None]
            return known[0] - known[1] if len(known) == 2 else None

        listed = ", ".join(f"{way.text}: {mean.text}" for way, mean in means.items())
        words = f"exponents: {CONSTANT.text}: {first.text}, {listed}"
        less = seen.over_seeds(apart, CONSTANT, flattest, of=len(means))
        assert less is not None, "both trunks have a law"
        low, high = _ends(less)
        words += f"; {flattest.text}: nearer to 0 by {less.text}"
        need(low > 0 or high < 0, f"{words}: within the noise of seeds", "more seeds")
        return low > 0, words

    return claim(
        "falling_is_flatter",
        "on a trunk that falls, or whose later cooldowns begin lower, the best peak rate depends"
        " less on the horizon",
        decide,
    )


def _mended_claim(seen: Seen) -> Claim:
    def decide() -> Decision:
        lost = {trunk.way: seen.lost(trunk.way, fair=True) for trunk in _falling(seen)}
        best = min(lost, key=lambda way: most(lost[way]))
        trunk = seen.trunk(best)
        assert trunk is not None, "it is one of the falling trunks"
        words = f"{best.text}: {_lost_text(trunk, lost[best])}"
        if len(lost) > 1:
            words += f"; the best of {len(lost)} trunks"
        serves = _any_serves(list(lost.values()))
        need(serves is not None, words, "more seeds")
        return bool(serves), words

    return claim(
        "falling_trunk_serves_all",
        "on some trunk that falls, or whose later cooldowns begin lower, every horizon is within"
        f" {LITTLE:g} units of seed noise of a trunk of its own, at the FLOPs of one trunk",
        decide,
    )


def _one_claim(seen: Seen) -> Claim:
    def decide() -> Decision:
        _need_constant(seen)
        need(len(seen.splits) > 1, "there is one horizon", "it takes two")
        return _decided_by([seen.splits[0]])

    return claim(
        "one_trunk_serves_all",
        f"one constant trunk at its fairest rate brings every horizon within {LITTLE:g} units of"
        " seed noise",
        decide,
    )


def _split_claim(seen: Seen) -> Claim:
    def decide() -> Decision:
        _need_constant(seen)
        two = seen.splits[1:]
        need(bool(two), "there is one horizon", "it takes two")
        cheap = [split for split in two if split.flops <= CHEAP]
        need(
            bool(cheap),
            f"the cheapest costs {min(split.flops for split in two):.2f} times the FLOPs",
            "shorter first horizons, or longer last ones",
        )
        return _decided_by(cheap)

    return claim(
        "two_trunks_serve_all",
        f"two constant trunks, each at its fairest rate, bring every horizon within {LITTLE:g}"
        f" units of seed noise at {CHEAP:g} times the FLOPs or less",
        decide,
    )


def _decided_by(splits: Sequence[Split]) -> Decision:
    """Whether some of these splits serves every horizon, by the parabolas."""
    best = min(splits, key=lambda split: split.most)
    worst = max(best.lost, key=lambda mean: mean.value)
    words = f"{best.text}: at most {_units(worst)} units of noise by the parabolas"
    if best.short:
        words += f", {best.flops:.2f} times the FLOPs"
    highest = max(_ends(mean)[1] for mean in best.lost)
    if _ends(worst)[1] < highest < math.inf:
        words += f", the highest end of a horizon {highest:.3g}"
    if best.trained:
        trained = max(best.trained, key=lambda mean: mean.value)
        rates = " and ".join(f"{rate:.3g}" for rate in best.rates)
        words += f"; the runs at {rates}, the nearest to the fairest: {_units(trained)}"
    if len(splits) > 1:
        words += f"; the best of {len(splits)} splits"
    serves = _any_serves([split.lost for split in splits])
    need(serves is not None, words, "more seeds")
    return bool(serves), words


def _words(seen: Seen) -> str:
    constant = seen.constant
    assert constant is not None, "asked only where every horizon has a best constant rate"
    mean = seen.exponent(CONSTANT)
    assert mean is not None, "asked only where the best rate has a law"
    words = f"The best constant rate goes as tokens^{mean.text}"
    for trunk in seen.trunks:
        lost = seen.lost(trunk.way, fair=True)
        worst = max(lost, key=lambda one: one.value)
        at = trunk.cells[lost.index(worst)].cell.tokens
        verb = "cost" if trunk.way.cooldown_power and not trunk.way.power else "costs"
        words += f"; {trunk.way.text}, the fairest, {verb} at most {_units(worst)} units of seed"
        words += f" noise ({format_count(at)} tokens)"
    for split in seen.splits[1:2]:
        worst = max(split.lost, key=lambda one: one.value)
        words += (
            f"; a second trunk for the shortest horizon, which adds {split.flops - 1:.0%} of FLOPs,"
            f" leaves at most {_units(worst)}"
        )
    if seen.flops is not None:
        words += f"; a trunk for each horizon costs {seen.flops:.2f} times the FLOPs"
    return words + "."


def _measures(seen: Seen) -> dict[str, float | None]:
    measures: dict[str, float | None] = {
        "noise": seen.noise if seen.tuning.optima else None,
        "flops.apart": seen.flops,
    }
    for split in seen.splits:
        name = f"split.{split.short}"
        measures[f"{name}.flops"] = split.flops
        measures[f"{name}.lost"] = split.most
        high = max(_ends(mean)[1] for mean in split.lost)
        measures[f"{name}.lost.high"] = high if math.isfinite(high) else None
        measures[f"{name}.trained"] = most(split.trained) if split.trained else None
    for trunk in seen.trunks:
        mean = seen.exponent(trunk.way)
        name = trunk.way.name
        measures[f"exponent.{name}"] = None if mean is None else mean.value
        low, high = (mean and mean.interval) or (None, None)
        measures[f"exponent.{name}.low"], measures[f"exponent.{name}.high"] = low, high
        if seen.constant is None:
            continue
        for kind, fair in (("lost", True), ("lost_at_middle", False)):
            lost = seen.lost(trunk.way, fair=fair)
            measures[f"{kind}.{name}.first"] = lost[0].value
            measures[f"{kind}.{name}.last"] = lost[-1].value
            measures[f"{kind}.{name}.most"] = most(lost)
    return measures


def _table(seen: Seen) -> Table | None:
    if seen.constant is None:
        return None
    rows = []
    for trunk in seen.trunks:
        middle, fair = (seen.lost(trunk.way, fair=fair) for fair in (False, True))
        for place, best in enumerate(trunk.cells):
            low, high = best.interval or (math.nan, math.nan)
            rows.append(
                (
                    trunk.way.text,
                    format_count(best.cell.tokens),
                    f"{best.lr:.3g}",
                    f"{low:.2g} to {high:.2g}" if best.interval else "-",
                    f"{best.loss:.3f}",
                    f"{_units(middle[place])} at {trunk.middle:.3g}",
                    f"{_units(fair[place])} at {trunk.fairest:.3g}",
                )
            )
    return Table(
        caption="Each horizon on each trunk: the best peak rate (interval at 90%), the lowest loss"
        " (nats per token), and what two shared rates cost against the horizon's own best constant"
        " rate, in units of seed noise: the geometric mean of the best ones, and the fairest, at"
        " which the horizon that loses most loses least",
        head=("trunk", "tokens", "best rate", "interval", "lowest loss", "lost at the mean",
              "lost at the fairest"),
        rows=tuple(rows),
    )  # fmt: skip


def _figure(seen: Seen) -> Figure | None:
    if seen.constant is None:
        return None
    ticks = [float(best.cell.tokens) for best in seen.constant.cells]
    rates, losses = [], []
    for split in seen.splits[1:2]:
        losses.append(_cost_series("a second trunk for the shortest", ticks, split.lost))
    for trunk in seen.trunks:
        label = trunk.way.text
        points = [(float(best.cell.tokens), best.lr or math.nan) for best in trunk.cells]
        ends = tuple(
            best.interval or (y, y) for best, (_, y) in zip(trunk.cells, points, strict=True)
        )
        rates.append(Series(label=label, points=tuple(points), intervals=ends))
        losses.append(_cost_series(label, ticks, seen.lost(trunk.way, fair=True)))
    axis = log_axis("tokens", ticks)
    return figure(
        "horizon_lr",
        "Horizons on one trunk",
        "Left: the best peak rate of each horizon, with 90% intervals. Right: what the fairest rate"
        " costs each, against its own best constant rate on the same seeds. Grey: little.",
        (
            Panel(title="best rate", x=axis, y=log_axis("peak learning rate"), series=tuple(rates)),
            Panel(
                title="what sharing costs",
                x=axis,
                y=Axis(label="units of seed noise"),
                series=tuple(losses),
                bands=((f"within {LITTLE:g}", -LITTLE, LITTLE),),
            ),
        ),
    )


def _cost_series(label: str, ticks: Sequence[float], lost: Sequence[Mean]) -> Series:
    """What each horizon loses, with its interval."""
    return Series(
        label=label,
        points=tuple((x, mean.value) for x, mean in zip(ticks, lost, strict=True)),
        intervals=tuple(mean.interval or (mean.value, mean.value) for mean in lost),
    )


def _literature(seen: Seen) -> tuple[Published, ...]:
    mean = seen.exponent(CONSTANT)
    ours = None if mean is None else f"tokens^{mean.text}"
    return (
        beside(
            "best learning rate by horizon",
            theirs="tokens^-.3 ((T0 / T)^.3)",
            ours=ours,
            source="Marin, Delphi (marin pull request 3292)",
        ),
        beside(
            "best learning rate by horizon",
            theirs="longer training takes a lower rate, by a power of tokens",
            ours=ours,
            source="Bjorck 2024, arXiv 2409.19913",
        ),
    )


_FALL, _RATE, _CURVATURE = 0.2, 0.03, 0.03  # of the planted runs


def _planted(spec: RunSpec) -> Outcome:
    """A best rate that falls as tokens^-0.2, less so by the powers of the trunk's own falls."""
    way = way_of(spec)
    power = way.power / 2 + way.cooldown_power / 4
    best = _RATE * (spec.tokens / 2**18) ** (power - _FALL) * 4**power
    away = math.log(spec.optim.lr / best)
    wobble = 0.0002 * math.sin(1e4 * spec.optim.lr + 7 * spec.seed + spec.total_steps)
    level = 6 * spec.tokens**-0.02 * (1 + 0.002 * (spec.seed % 3 - 1))
    return Outcome(val_loss_nats=level * math.exp(_CURVATURE * away**2 + wobble))


EXPERIMENT = Experiment(
    question="What do horizons lose by sharing one learning rate, and what mends it?",
    reproduces="Bjorck 2024 (the best rate by horizon), Hagele 2024 (branches of one trunk)",
    parts={"corpus": ("installed",), "rule": ("slaw_small",), "schedule": ("wsd_power",)},
    analyse=analyse,
    propose=propose,
    settings=Settings,
    planted=Planted(
        outcome=_planted,
        measures={
            "exponent.power0": (-0.23, -0.17),
            "exponent.power0.4.from102": (-0.03, 0.03),
            "exponent.cooldown0.5.from289": (-0.11, -0.04),
            "lost.power0.first": (0.4, 0.9),
            "lost.power0.4.from102.most": (-0.1, 0.2),
            "split.1.flops": (1.08, 1.09),
            "split.1.lost": (0.15, 0.4),
        },
        claims={
            "best_rate_falls": True,
            "sharing_costs": True,
            "falling_is_flatter": True,
            "falling_trunk_serves_all": True,
            "one_trunk_serves_all": False,
            "two_trunks_serve_all": True,
        },
    ),
)
