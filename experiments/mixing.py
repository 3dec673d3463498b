"""Mixing: in which shares domains should be read, found on a small model and checked on a larger.

    slaw run mixing
    slaw report results/mixing     # the law, its mixture against uniform and natural; two figures
    slaw mix results/mixing        # the mixture that it proposes for the next runs

Every mixture of a design over the simplex is trained at two sizes and two lengths with shared
seeds, and scored on each domain. Laws of the shares (``fit.mixtures.law``) are fitted to the
mixtures, and held-out mixtures choose between them. In the second stage the mixtures that the small
size's law proposes for each target are trained at the large size beside uniform and natural ones.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from statistics import fmean
from typing import TYPE_CHECKING, Annotated, Any

from scaling_law.errors import ConfigError
from scaling_law.experiment import Experiment, Outcome, Planted
from scaling_law.experiment.answer import Decision, answer, beside, claim, decided, need
from scaling_law.experiment.evidence import Evidence
from scaling_law.experiment.findings import AGAIN, Claim, Findings, Published
from scaling_law.experiment.groups import left_out
from scaling_law.experiment.mixture_figures import law_figure, mixture_table, rank_figure
from scaling_law.experiment.mixtures import (
    NATURAL,
    UNIFORM,
    MixRuns,
    Powers,
    gains,
    joint_powers,
    largest_cell_errors,
    mix_text,
    other_mixture_errors,
    ranks,
    read_mixtures,
    regret,
    slug,
)
from scaling_law.experiment.rank import RankCorrelation
from scaling_law.experiment.seeds import Mean, beyond_error, mean_over, with_ends
from scaling_law.fit.mixtures.target import MEAN, WORST, parse_target, weights_of
from scaling_law.spec.counts import count_params
from scaling_law.spec.run import RunSpec
from scaling_law.spec.values import Number, Text
from scaling_law.units import format_count

if TYPE_CHECKING:
    from scaling_law.fit.mixtures.target import MixTarget

EXPLAINS = 0.9  # share of the variance over mixtures that a law predicts
REGRET = 0.01  # a mixture this far from the best is as good
SCALES = ("params", "tokens")
RANKS = 0.5  # a ranking holds where the correlation's interval lies above
STILL = 0.15  # an exponent this near to 0 moves nothing over a factor of 4 (23%)


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Settings of the second stage.

    ``targets`` are what the proposed mixtures are to be good at: worst, mean or weights;
    ``seeds`` is how many seeds compare them with uniform and natural.
    """

    targets: tuple[Annotated[str, Text("worst, mean, or weights as in py-code=.7,cpp=.3")], ...] = (
        WORST,
        MEAN,
    )
    seeds: Annotated[int, Number("seeds of the comparison", low=2, high=100)] = 4

    def __post_init__(self) -> None:
        if not self.targets:
            raise ValueError("targets is empty, expected some; leave it out for worst and mean")
        if len(set(self.targets)) < len(self.targets):
            raise ValueError(f"targets has one twice: {', '.join(self.targets)}; leave one out")
        try:
            for text in self.targets:
                weights_of(text)
        except ConfigError as problem:
            raise ValueError(str(problem)) from None


def refusal(settings: Settings, components: tuple[str, ...]) -> str:
    """Why the targets do not fit a text; "" where they do."""
    try:
        for text in settings.targets:
            parse_target(text, components)
    except ConfigError as problem:
        return str(problem)
    return ""


def propose(evidence: Evidence) -> Mapping[str, Any] | None:
    """Train the proposed mixtures at the large size, and more seeds of uniform and natural."""
    seen = read_mixtures(evidence, _names(evidence))
    if evidence.stage > 1 or not seen.proposals or seen.large is None:
        return None
    large = seen.large
    runs = [run for run in evidence.ended if run.record.tokens == large.tokens]
    run = next(run for run in runs if run.record.params_non_embedding == large.params)
    base = {"sizes": [run.spec.model.dimensions], "steps": [run.spec.total_steps]}
    first = min(seed for one in large.mixtures for seed in one.losses)
    seeds = list(range(first, first + evidence.settings.seeds))
    grid = []
    for proposal in seen.proposals.values():
        if (entry := {**base, "seeds": seeds, "axes": {"data.mix": [proposal]}}) not in grid:
            grid.append(entry)
    for name in (UNIFORM, NATURAL):
        rival = seen.rival(name)
        more = [seed for seed in seeds if rival and seed not in rival.losses]
        if rival and more:
            shares = dict(zip(large.components, (round(s, 6) for s in rival.shares), strict=True))
            mix: Any = NATURAL if name == NATURAL else shares
            grid.append({**base, "seeds": more, "axes": {"data.mix": [mix]}})
    return {"grid": grid}


def analyse(evidence: Evidence) -> Findings:
    """Return the laws, what their mixtures gain, and whether all of it holds at another size."""
    seen = read_mixtures(evidence, _names(evidence))
    joint = joint_powers(seen)
    claims = [
        _predicts(seen),
        _exponential(seen),
        *(_beats(seen, t, name) for t in _names(evidence) for name in (UNIFORM, NATURAL)),
        *(_regret(seen, target) for target in _names(evidence)),
        *(_ranking(seen, target) for target in _names(evidence)),
        *(_offset(joint, scale) for scale in SCALES),
        _largest(seen),
        _others(seen),
    ]
    return answer(
        claims,
        lambda: _words(seen),
        measures=_measures(seen, joint, _names(evidence)),
        tables=(mixture_table(seen),),
        figures=(law_figure(seen), rank_figure(seen)),
        literature=_literature(seen),
        notes=[
            *_notes(seen),
            *left_out(evidence, seen.used, "without a mixture, or of another recipe"),
        ],
        units={
            "held_out": "share", "explained": "share", "gain": "nats per token",
            "regret": "share", "share": "share",
        },
    )  # fmt: skip


def _names(evidence: Evidence) -> tuple[str, ...]:
    """The targets as the config names them, also where no run has finished."""
    return tuple(getattr(evidence.settings, "targets", Settings().targets))


def _said(text: str) -> str:
    """A target as a sentence has it."""
    return {WORST: "the worst component", MEAN: "the mean"}.get(text, f"the weights {text}")


def _target(seen: MixRuns, text: str) -> MixTarget | None:
    return next((target for target in seen.targets if target.text == text), None)


def _need_laws(seen: MixRuns) -> None:
    need(seen.small is not None, "no mixture has finished", AGAIN)
    for laws in seen.laws.values():
        need(not isinstance(laws, str), str(laws), AGAIN)


def _predicts(seen: MixRuns) -> Claim:
    def decide() -> Decision:
        _need_laws(seen)
        laws = [law for cell in (seen.small, seen.large) if (law := seen.law(cell))]
        words = "; ".join(
            f"{law.form.name} at {format_count(params)}: off by {law.held_out_error:.2%},"
            f" {law.explained:.0%} of the variance over mixtures"
            for params, law in zip(seen.laws, laws, strict=True)
        )
        return min(law.explained for law in laws) >= EXPLAINS, words

    return claim(
        "predicts_held_out",
        f"a law of the shares predicts {EXPLAINS:.0%} of the variance over held-out mixtures",
        decide,
    )


def _errors(seen: MixRuns) -> dict[str, list[float]]:
    """The squared held-out miss of each mixture by law, of all sizes that have both."""
    errors: dict[str, list[float]] = {}
    for laws in seen.laws.values():
        if isinstance(laws, str) or len(laws) < 2:
            continue
        for law in laws:
            errors.setdefault(law.form.name, []).extend((law.misses**2).mean(axis=1).tolist())
    return errors


def _exponential(seen: MixRuns) -> Claim:
    def decide() -> Decision:
        _need_laws(seen)
        errors = _errors(seen)
        need(len(errors) == 2, "the mixtures are too few for the quadratic law", "more mixtures")
        words = ", ".join(f"{name} {math.sqrt(fmean(own)):.2%}" for name, own in errors.items())
        pairs = zip(errors["quadratic"], errors["exponential"], strict=True)
        sign = beyond_error([there - here for there, here in pairs])
        need(sign is not None, f"{words}: as good within the scatter of mixtures", "more mixtures")
        return bool(sign), words

    says = "the exponential law predicts held-out mixtures better than the quadratic one"
    return claim("exponential_is_better", says, decide)


def _beats(seen: MixRuns, text: str, name: str) -> Claim:
    def decide() -> Decision:
        _need_laws(seen)
        target, rival = _target(seen, text), seen.rival(name)
        assert target is not None, "the runs have components"
        need(rival is not None, f"no run reads the {name} mixture", AGAIN)
        assert rival is not None
        values = list(gains(seen, target, rival).values())
        need(len(values) > 1, "the proposed mixture has not finished with two seeds", AGAIN)
        return decided(values, "lower by")

    says = f"for {_said(text)} the small size's mixture is better than the {name} one at the large"
    return claim(f"{slug(text)}_beats_{name}", says, decide)


def _regret(seen: MixRuns, text: str) -> Claim:
    def decide() -> Decision:
        _need_laws(seen)
        target = _target(seen, text)
        assert target is not None, "the runs have components"
        mean = regret(seen, target)
        need(mean is not None, "the proposed mixture has not finished", AGAIN)
        assert mean is not None
        need(mean.interval is not None, "one seed has finished of both", AGAIN)
        assert mean.interval is not None
        low, high = mean.interval
        words = f"{mean.value:+.2%} ({low:+.2%} to {high:+.2%}, {mean.seeds} seeds)"
        need(not low <= REGRET <= high, f"{words}: {REGRET:.0%} lies in it", "more seeds")
        return high < REGRET, words

    says = (
        f"for {_said(text)} it ends at most {REGRET:.0%} above the design's best at the large size"
    )
    return claim(f"{slug(text)}_regret_is_small", says, decide)


def _ranking(seen: MixRuns, text: str) -> Claim:
    def decide() -> Decision:
        need(seen.small is not None, "no mixture has finished", AGAIN)
        target = _target(seen, text)
        assert target is not None, "the runs have components"
        result = ranks(seen, target)
        need(not isinstance(result, str), str(result), AGAIN)
        assert isinstance(result, RankCorrelation)
        low, high = result.interval
        need(not low <= RANKS <= high, f"{result.text}: {RANKS} lies in it", "more mixtures")
        return low > RANKS, result.text

    says = f"mixtures rank by {_said(text)} at the large size as at the small (above {RANKS})"
    return claim(f"{slug(text)}_ranking_holds", says, decide)


def _power_text(mean: Mean) -> str:
    assert mean.interval is not None, "there are several mixtures"
    return f"{mean.value:.2f} ({mean.interval[0]:.2f} to {mean.interval[1]:.2f})"


def _offset(joint: Powers | str, scale: str) -> Claim:
    def decide() -> Decision:
        need(not isinstance(joint, str), str(joint), AGAIN)
        assert isinstance(joint, Powers)
        mean = joint.of.get(scale)
        need(mean is not None, f"the runs do not vary {scale}", AGAIN)
        assert mean is not None and mean.interval is not None, "there are several mixtures"
        low, high = mean.interval
        words = f"the differences between mixtures go as {scale}^{_power_text(mean)}"
        still = low > -STILL and high < STILL
        need(still or low > STILL or high < -STILL, words, "more mixtures, or a wider range")
        return still, words

    says = (
        f"{'size' if scale == 'params' else 'length'} moves the offset of a mixture's loss, not its"
        f" slope (a power within {STILL} of 0)"
    )
    return claim(f"offset_not_slope_by_{scale}", says, decide)


def _largest(seen: MixRuns) -> Claim:
    def decide() -> Decision:
        errors = largest_cell_errors(seen)
        need(not isinstance(errors, str), str(errors), AGAIN)
        assert not isinstance(errors, str)
        mean = mean_over([error for error, _ in errors.values()])
        assert mean is not None, "the large size has a seed"
        need(mean.interval is not None, "one seed has finished", AGAIN)
        assert mean.interval is not None
        low, high = max(mean.interval[0], 0.0), mean.interval[1]
        words = f"off by {mean.value:.2%} ({low:.2%} to {high:.2%}, {mean.seeds} seeds)"
        need(not low <= REGRET <= high, f"{words}: {REGRET:.0%} lies in it", "more seeds")
        return high < REGRET, words

    says = f"a joint law of the smaller runs predicts the largest's losses within {REGRET:.0%}"
    return claim("joint_law_predicts_largest", says, decide)


def _others(seen: MixRuns) -> Claim:
    def decide() -> Decision:
        errors = other_mixture_errors(seen)
        need(not isinstance(errors, str), str(errors), AGAIN)
        assert not isinstance(errors, str)
        mean = mean_over(list(errors.values()))
        need(mean is not None and mean.interval is not None, "one mixture has finished", AGAIN)
        assert mean is not None and mean.interval is not None
        low, high = mean.interval
        words = (
            f"off by {mean.value:.2%} ({low:.2%} to {high:.2%}, {len(errors)} mixtures), at most"
            f" {max(errors.values()):.2%}"
        )
        need(not low <= REGRET <= high, f"{words}: {REGRET:.0%} lies in it", "more mixtures")
        return high < REGRET, words

    says = (
        f"that law and the largest's run on the {NATURAL} mixture predict its other mixtures within"
        f" {REGRET:.0%} on average"
    )
    return claim("joint_law_predicts_other_mixtures", says, decide)


def _joint_words(seen: MixRuns) -> str:
    """What the joint law predicts, and what stops it, as a sentence."""
    whole, others = _largest(seen), _others(seen)
    said = {True: "holds", False: "does not hold", None: "is not established"}
    words = (
        "That a joint law in size, length and shares predicts the losses of the largest runs"
        f" within {REGRET:.0%} {said[whole.established]} ({whole.because}"
    )
    if whole.established is None and isinstance(largest_cell_errors(seen), dict):
        words += ", for a seed moves all mixtures of a size together"
    words += (
        f"); that it predicts their differences, given the {NATURAL} mixture's run,"
        f" {said[others.established]} ({others.because})."
    )
    return words


def _gain(seen: MixRuns, target: MixTarget, name: str) -> Mean | None:
    rival = seen.rival(name)
    return mean_over(list(gains(seen, target, rival).values())) if rival else None


def _words(seen: MixRuns) -> str:
    law = seen.law(seen.small)
    assert law is not None and seen.small is not None, "the first claim stands"
    words = f"The {law.form.name} law of the small size misses held-out mixtures by"
    words += f" {law.held_out_error:.1%}"
    for target in seen.targets:
        shares = mix_text(seen.proposals[target.text])
        compared = [
            f"{_sided(mean)} the {name} one"
            for name in (UNIFORM, NATURAL)
            if (mean := _gain(seen, target, name))
        ]
        words += f"; for {_said(target.text)} it proposes {shares}"
        if compared and seen.large:
            words += f", at {format_count(seen.large.params)} parameters {' and '.join(compared)}"
    return f"{words}. {_joint_words(seen)}"


def _sided(mean: Mean) -> str:
    """How far a mixture is below another, in words."""
    if mean.interval is None or mean.interval[0] <= 0 <= mean.interval[1]:
        return f"a tie ({mean.value:+.3f} nats) with"
    return f"{abs(mean.value):.3f} nats {'below' if mean.value > 0 else 'above'}"


def _measures(
    seen: MixRuns, joint: Powers | str, names: tuple[str, ...]
) -> dict[str, float | None]:
    measures: dict[str, float | None] = {}
    for size, cell in (("small", seen.small), ("large", seen.large)):
        laws = seen.laws.get(cell.params, ()) if cell else ()
        by_name = {} if isinstance(laws, str) else {law.form.name: law for law in laws}
        for name in ("exponential", "quadratic"):
            law = by_name.get(name)
            measures[f"held_out.{name}.{size}"] = law.held_out_error if law else None
            measures[f"explained.{name}.{size}"] = law.explained if law else None
    for text in names:
        target, word = _target(seen, text), slug(text)
        for name in (UNIFORM, NATURAL):
            mean = _gain(seen, target, name) if target else None
            measures |= with_ends(f"gain.{word}.{name}", mean)
        measures |= with_ends(f"regret.{word}", regret(seen, target) if target else None)
        result = ranks(seen, target) if target else ""
        measures[f"rank.{word}"] = result.value if isinstance(result, RankCorrelation) else None
        for component, share in seen.proposals.get(text, {}).items():
            measures[f"share.{word}.{slug(component)}"] = share
    for scale in SCALES:
        power = joint.of.get(scale) if isinstance(joint, Powers) else None
        measures |= with_ends(f"power.{scale}", power)
    others = other_mixture_errors(seen)
    name = "held_out.largest.other_mixtures"
    measures[name] = None if isinstance(others, str) else fmean(others.values())
    errors = largest_cell_errors(seen)
    for place, name in enumerate(("free", "offset")):
        own = [] if isinstance(errors, str) else [both[place] for both in errors.values()]
        measures[f"held_out.largest.{name}"] = fmean(own) if own else None
    return measures


def _literature(seen: MixRuns) -> tuple[Published, ...]:
    law, worst = seen.law(seen.large), seen.targets[-1] if seen.targets else None
    result = ranks(seen, worst) if worst else ""
    errors = {
        law.form.name: law.held_out_error
        for laws in ([seen.laws[seen.large.params]] if seen.large else [])
        if not isinstance(laws, str)
        for law in laws
    }
    return (
        beside(
            "what the law's best mixture is worth",
            theirs="the loss of 48% more steps of the default mixture (1B parameters)",
            ours=_gain_words(seen),
            source="Ye 2024, arXiv 2403.16952, section 4.2",
        ),
        beside(
            "forms of the law at held-out mixtures",
            theirs="the exponential of a linear form is the best of those tried",
            ours=", ".join(f"{name} off by {error:.2%}" for name, error in errors.items())
            if law
            else None,
            source="Ye 2024, section 3.2",
        ),
        beside(
            "whether mixtures rank alike at another size",
            theirs="1M-parameter models find the best of 64 mixtures at 1B",
            ours=result.text if isinstance(result, RankCorrelation) else None,
            source="Liu 2024 (RegMix), arXiv 2407.01492",
        ),
    )


def _gain_words(seen: MixRuns) -> str | None:
    words = [
        f"{target.text}: {mean.text} nats below natural"
        for target in seen.targets
        if (mean := _gain(seen, target, NATURAL))
    ]
    return "; ".join(words) or None


def _notes(seen: MixRuns) -> list[str]:
    notes = []
    if seen.cells and seen.small:
        counts = {len(one.losses) for cell in seen.cells for one in cell.mixtures}
        if max(counts) > 1:
            notes.append(
                "the seeds of a mixture share first weights and the order of each component's text"
                " with those of the others, so that differences are more certain than losses"
            )
    return notes


_DEPENDS = {
    "cpp": {"cpp": -2.2, "py-code": -0.4, "py-docs": 0.3},
    "py-code": {"cpp": 0.2, "py-code": -1.8, "py-docs": 0.4},
    "py-docs": {"cpp": 0.3, "py-code": 0.1, "py-docs": -1.9},
}
_OFFSETS = {"cpp": 2.4, "py-code": 2.1, "py-docs": 2.2}
_TEXT = {"cpp": 5_800_000, "py-code": 26_000_000, "py-docs": 8_000_000}


def _planted_outcome(spec: RunSpec) -> Outcome:
    """An exponential law whose offset alone falls with size and length, with a little noise."""
    assert spec.mix is not None, "every run has a mixture"
    shares = dict(spec.mix.shares_of(spec.mix.phases[0], _TEXT))
    params = count_params(spec.model).non_embedding
    scale = -0.1 * math.log(params / 6000) - 0.12 * math.log(spec.tokens / 51200)
    metrics = {}
    for place, (name, slopes) in enumerate(_DEPENDS.items()):
        own = math.exp(sum(slopes[other] * share for other, share in shares.items()))
        wave = math.sin(1 + 7 * spec.seed + params + place + 50 * shares.get(name, 0.0))
        metrics[f"loss.val:{name}"] = _OFFSETS[name] + 0.6 * own + scale + 5e-4 * wave
        metrics[f"epochs.{name}"] = shares.get(name, 0.0) * spec.tokens / _TEXT[name]
    return Outcome(val_loss_nats=metrics["loss.val:py-code"], metrics=metrics)


EXPERIMENT = Experiment(
    question="In which shares should domains be read, and does a small model say?",
    reproduces="Ye 2024 (data mixing laws), Liu 2024 (RegMix)",
    settings=Settings,
    refusal=refusal,
    propose=propose,
    reads_mixture=True,
    analyse=analyse,
    planted=Planted(
        outcome=_planted_outcome,
        measures={
            "held_out.exponential.small": (0.0, 0.002),
            "explained.exponential.large": (0.98, 1.0),
            "rank.worst": (0.9, 1.0),
            "power.params": (-0.05, 0.05),
            "regret.mean": (-0.05, 0.002),
        },
        claims={
            "predicts_held_out": True,
            "worst_beats_natural": True,
            "mean_beats_natural": True,
            "worst_regret_is_small": True,
            "worst_ranking_holds": True,
            "offset_not_slope_by_params": True,
            "offset_not_slope_by_tokens": True,
            "joint_law_predicts_largest": True,
            "joint_law_predicts_other_mixtures": True,
        },
    ),
)
