"""What horizons lose by sharing the learning rate of one trunk, and what mends it.

    slaw run horizon_lr              # a constant trunk, one that falls, and later cooldowns lower
    slaw report results/horizon_lr   # the best rate by horizon, and what sharing one costs each

``scaling_law.experiment.trunk_rates`` says what horizons lose: against a trunk of their own on the
same seeds, in units of seed noise.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from scaling_law.experiment import Experiment, Outcome, Planted
from scaling_law.experiment.answer import Decision, answer, beside, claim, need
from scaling_law.experiment.evidence import Evidence
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
from scaling_law.experiment.seeds import Mean
from scaling_law.experiment.trunk_rates import CONSTANT, Seen, Split, Trunk, Way, most, read, way_of
from scaling_law.experiment.tuning_stages import Settings, next_stage
from scaling_law.spec.run import RunSpec
from scaling_law.units import format_count

LITTLE = 0.4  # units of seed noise that sharing a rate may cost a horizon
CHEAP = 1.1  # FLOPs of two trunks, over those of one, that count as little


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
        units={
            "lost": "units of seed noise",
            "noise.first": "share",
            "noise.last": "share",
            "flops": "times one trunk's",
        }
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
        highest = max(_ends(mean)[1] for mean in split.lost)
        measures[f"{name}.lost.high"] = highest if math.isfinite(highest) else None
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
        " rate, in units of seed noise (the spread of one run's loss from seed to"
        " seed): the geometric mean of the best ones, and the fairest, at"
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


_FALL, _RATE, _CURVATURE = 0.2, 0.03, 0.027  # of the planted runs


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
