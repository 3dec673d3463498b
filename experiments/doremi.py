"""DoReMi: whether a small proxy finds the mixture that a larger model should read.

    slaw run doremi
    slaw report results/doremi     # the proxies' weights, and what they are worth; two figures

Xie 2023 (arXiv 2305.10429): a small reference model is trained on the mixture that one has. A
proxy of its size then reads all domains alike, and group DRO (``objective: group_dro``) weighs each
domain by how far its loss is above the reference's. The mean of these weights over the steps, and
here over the proxies' seeds, is the mixture that a larger model is trained on, beside natural and
uniform shares. Each mixture on which the first stage trains its smallest size is one reference.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from statistics import fmean
from typing import Annotated, Any

from scaling_law.experiment import Experiment, Outcome, Planted, planted_point
from scaling_law.experiment.answer import (
    Decision,
    all_decided,
    answer,
    beside,
    claim,
    decided,
    need,
)
from scaling_law.experiment.evidence import Evidence
from scaling_law.experiment.findings import (
    AGAIN,
    Claim,
    Findings,
    Published,
)
from scaling_law.experiment.groups import left_out
from scaling_law.experiment.mixtures import (
    NATURAL,
    UNIFORM,
    mix_text,
    slug,
)
from scaling_law.experiment.proxies import (
    ANSWER,
    LOSS,
    OBJECTIVE,
    WEIGHT,
    Seen,
    Weights,
    halves,
    read,
    spread,
    steps_saved,
)
from scaling_law.experiment.proxy_figures import gains_figure, proxy_table, weights_figure
from scaling_law.experiment.seeds import Mean, beyond_error, mean_over, with_ends
from scaling_law.fit.mixtures.target import MEAN, WORST
from scaling_law.spec.counts import count_params
from scaling_law.spec.run import RunSpec
from scaling_law.spec.values import Number
from scaling_law.units import format_count

AGREE = 0.1  # shares this near are the same answer
RIVALS = (NATURAL, UNIFORM)
TARGETS = (WORST, MEAN)
SAID = {WORST: "the worst domain's loss", MEAN: "the domains' mean loss"}


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Settings of the proxies.

    ``step_size`` and ``smoothing`` are those of the objective ``group_dro``.
    """

    step_size: Annotated[float, Number("ln weight per nat and step", above=0, high=1e6)] = 1.0
    smoothing: Annotated[float, Number("share of equal weights", above=0, high=1)] = 1e-3


def refusal(settings: Settings, components: tuple[str, ...]) -> str:
    """Why a text has nothing to weigh; "" where it has several domains."""
    if len(components) > 1:
        return ""
    has = f"the one domain {components[0]}" if components else "none: it is a task"
    return f"it weighs the domains of a text, and the data have {has}; name several (data.domains)"


def propose(evidence: Evidence) -> Mapping[str, Any] | None:
    """Train a proxy for each reference; then the larger model on what the proxies found."""
    seen, settings = read(evidence), evidence.settings
    if evidence.stage == 1 and seen.references:
        own = {"step_size": settings.step_size, "smoothing": settings.smoothing}
        proxies = [
            {
                "sizes": [run.spec.model.dimensions],
                "steps": [run.spec.total_steps],
                "seeds": [seed],
                "reference": {"run": run.record.run_id},
            }
            for by in seen.references.values()
            for seed, run in by.items()
        ]
        equal = dict.fromkeys(seen.components, round(1 / len(seen.components), 6))
        return {"objective": {"name": OBJECTIVE, **own}, "data.mix": equal, "grid": proxies}
    if evidence.stage != 2 or not seen.large_runs:
        return None
    mixes: list[dict[str, float]] = []
    for reference in seen.proxies:
        if (shares := seen.answer(reference)) not in mixes:
            mixes.append(shares)
    runs = [run for by in seen.large_runs.values() for run in by.values()]
    entry = {
        "sizes": [runs[0].spec.model.dimensions],
        "steps": [runs[0].spec.total_steps],
        "seeds": sorted({run.spec.seed for run in runs}),
        "axes": {"data.mix": mixes},
    }
    return {"grid": [entry]}


def analyse(evidence: Evidence) -> Findings:
    """Return the mixtures that proxies find, and what they are worth at the larger size."""
    seen = read(evidence)
    used = sum(
        len(by) for runs in (seen.references, seen.proxies, seen.large_runs) for by in runs.values()
    )
    names = list(seen.references) or [NATURAL]
    claims = [
        _determined(seen),
        _settle(seen),
        _returns(seen),
        _decides(seen),
        *(_beats(seen, one, target, rival) for one in names for target in TARGETS
          for rival in RIVALS),
        *(_every(seen, one) for one in names),
    ]  # fmt: skip
    return answer(
        claims,
        lambda: _words(seen),
        measures=_measures(seen, names),
        tables=(proxy_table(seen),),
        figures=(weights_figure(seen), gains_figure(seen)),
        literature=_literature(seen),
        notes=[
            "the seeds of the larger mixtures share first weights, so that differences are more"
            " certain than losses",
            *left_out(evidence, used, "of another size, length or recipe, or without a mixture"),
        ],
        units={
            "gain": "nats per token",
            "share": "share",
            "late_share": "share",
            "spread": "share",
            "moved": "share",
            "apart": "share",
        },
    )


def _need_proxies(seen: Seen) -> None:
    need(bool(seen.references), "no reference model has finished", AGAIN)
    need(bool(seen.proxies), "no proxy has finished", AGAIN)


def _determined(seen: Seen) -> Claim:
    def decide() -> Decision:
        _need_proxies(seen)
        widest = 0.0
        for reference in seen.proxies:
            of_seeds = seen.weights(reference).values()
            need(len(of_seeds) > 1, "one seed has finished of some proxy", AGAIN)
            for name in seen.components:
                mean = mean_over([one[name] for one in of_seeds])
                assert mean is not None and mean.interval is not None, "there are two seeds"
                widest = max(widest, mean.interval[1] - mean.value)
        spreads = (f"{spread(seen, one):.2f} by a {one} reference" for one in seen.proxies)
        words = f"within {widest:.2f}; single seeds differ by up to {', '.join(spreads)}"
        need(widest <= AGREE, words, "more seeds")
        return True, words

    says = f"the proxies' seeds determine their mixture: the mean of each share within {AGREE}"
    return claim("mixture_is_determined", says, decide)


def _late(seen: Seen, reference: str) -> dict[str, float]:
    """The mean weights over the second half of the steps and over seeds; {} without curves."""
    each = halves(seen, reference)
    return {name: fmean(late[name] for _, late in each) for name in seen.components if each}


def _far(seen: Seen, from_: Callable[[str, Weights], Weights]) -> dict[str, list[Mean]]:
    """How far the shares of the second half are from others, by reference and domain.

    ``from_`` gives those others by the reference and the shares of the first half, a proxy each.
    """
    means = {}
    for one in seen.proxies:
        each = [(late, from_(one, early)) for early, late in halves(seen, one)]
        if not each or not all(other for _, other in each):
            continue
        columns = ([late[name] - other[name] for late, other in each] for name in seen.components)
        means[one] = [mean for column in columns if (mean := mean_over(column))]
    return means


def _from_first_half(seen: Seen) -> dict[str, list[Mean]]:
    return _far(seen, lambda reference, early: early)


def _from_own(seen: Seen) -> dict[str, list[Mean]]:
    return _far(seen, lambda reference, early: seen.shares(reference))


def _largest(means: list[Mean]) -> Mean:
    return max(means, key=lambda mean: abs(mean.value))


def _near(seen: Seen, far: Mapping[str, list[Mean]], words: str) -> Decision:
    """The decision of a claim that all these shares are near: all intervals, or none."""
    _need_proxies(seen)
    why = "some proxy has no curve, or no larger model reads the natural mixture"
    need(len(far) == len(seen.proxies), why, AGAIN)
    every = [mean.interval for means in far.values() for mean in means]
    need(None not in every, "one seed has finished of some proxy", AGAIN)
    ends = [interval for interval in every if interval is not None]
    near = [max(-low, high) <= AGREE for low, high in ends]
    beyond = any(low > AGREE or high < -AGREE for low, high in ends)
    largest = (f"{_largest(means).text} by a {one} reference" for one, means in far.items())
    words = f"{words} by up to {', '.join(largest)}"
    need(all(near) or beyond, f"{words}: {AGREE} lies in the interval of a share", "more seeds")
    return all(near), words


def _settle(seen: Seen) -> Claim:
    says = f"the weights settle: both halves of the steps give the same mixture (within {AGREE})"
    far = _from_first_half(seen)
    return claim("weights_settle", says, lambda: _near(seen, far, "a share moves"))


def _returns(seen: Seen) -> Claim:
    says = (
        f"once a proxy has caught up, its weights are its reference's own shares (within {AGREE})"
    )
    far = _from_own(seen)
    words = "a share of the second half differs from them"
    return claim("weights_return", says, lambda: _near(seen, far, words))


def _nearer(seen: Seen) -> list[float]:
    """How much nearer to natural shares the answer of a natural reference is, by seed."""
    natural = seen.rival(NATURAL)
    if natural is None:
        return []

    def apart(weights: Mapping[str, float]) -> float:
        pairs = zip(seen.components, natural.shares, strict=True)
        return sum(abs(weights[name] - share) for name, share in pairs) / 2

    ours, theirs = seen.weights(NATURAL), seen.weights(UNIFORM)
    return [apart(theirs[seed]) - apart(ours[seed]) for seed in ours if seed in theirs]


def _decides(seen: Seen) -> Claim:
    def decide() -> Decision:
        _need_proxies(seen)
        need(
            {NATURAL, UNIFORM} <= seen.proxies.keys() and seen.rival(NATURAL) is not None,
            "it needs natural and uniform references, and a larger model on natural shares",
            AGAIN,
        )
        words = "nearer to them than by a uniform reference by a share of"
        return decided(_nearer(seen), words, show=lambda mean: mean.text)

    says = "the answer depends on the reference: by a natural one it is nearer to natural shares"
    return claim("reference_decides", says, decide)


def _need_larger(seen: Seen, reference: str, rivals: tuple[str, ...]) -> None:
    _need_proxies(seen)
    for name in rivals:
        need(seen.rival(name) is not None, f"no larger model reads the {name} mixture", AGAIN)
        few = len(seen.gains(reference, MEAN, name)) < 2
        need(not few, "the larger model on the proxies' mixture has not two seeds", AGAIN)


def _beats(seen: Seen, reference: str, target: str, rival: str) -> Claim:
    def decide() -> Decision:
        _need_larger(seen, reference, (rival,))
        return decided(seen.gains(reference, target, rival), "a gain of")

    says = (
        f"by a {reference} reference, {SAID[target]} at the larger size is lower than with"
        f" {rival} shares"
    )
    return claim(f"{slug(reference)}.{target}_beats_{rival}", says, decide)


def _every(seen: Seen, reference: str) -> Claim:
    def decide() -> Decision:
        _need_larger(seen, reference, (NATURAL,))
        gains = {f"on {one}": seen.gains(reference, one, NATURAL) for one in seen.components}
        return all_decided(gains, "a gain of")

    says = f"by a {reference} reference, every domain's loss is lower than with natural shares"
    return claim(f"{slug(reference)}.every_domain_gains", says, decide)


def _sided(seen: Seen, reference: str, target: str) -> str:
    """``.11 nats below natural, a tie with uniform shares``; "" before the third stage."""
    words = []
    for name in RIVALS:
        values = seen.gains(reference, target, name)
        mean = mean_over(values)
        if mean is None:
            continue
        sign = beyond_error(values)
        side = "below" if sign else "above"
        near = f"a tie ({mean.value:+.3f} nats) with" if sign is None else ""
        words.append(f"{near or f'{abs(mean.value):.3f} nats {side}'} {name}")
    return " and ".join(words)


def _words(seen: Seen) -> str:
    sentences = []
    for reference in seen.proxies:
        words = f"by a {reference} reference the proxies choose {mix_text(seen.answer(reference))}"
        said = [f"{SAID[target]} is {side}" for target in TARGETS
                if (side := _sided(seen, reference, target))]  # fmt: skip
        if said and seen.large:
            size = format_count(seen.large.params)
            words += f", and at {size} parameters {', '.join(said)} shares"
        sentences.append(words)
    if _returns(seen).established:
        words = "in the second half of the steps a proxy's weights are its reference's own shares"
        sentences.append(f"{words} within {AGREE}")
    text = "; ".join(sentences)
    return f"{text[0].upper()}{text[1:]}."


def _measures(seen: Seen, names: list[str]) -> dict[str, float | None]:
    measures: dict[str, float | None] = {}
    moved, apart = _from_first_half(seen), _from_own(seen)
    for reference in names:
        word = slug(reference)
        for name, share in seen.answer(reference).items():
            measures[f"share.{word}.{slug(name)}"] = share
        measures[f"spread.{word}"] = spread(seen, reference)
        for key, far in (("moved", moved), ("apart", apart)):
            largest = _largest(far[reference]) if reference in far else None
            measures[f"{key}.{word}"] = largest.value if largest else None
        for name, share in _late(seen, reference).items():
            measures[f"late_share.{word}.{slug(name)}"] = share
        for target in (*TARGETS, *seen.components):
            for rival in RIVALS if target in TARGETS else (NATURAL,):
                mean = mean_over(seen.gains(reference, target, rival))
                measures |= with_ends(f"gain.{word}.{slug(target)}.{rival}", mean)
        times = steps_saved(seen, reference)
        measures[f"faster.{word}"] = fmean(times) if times else None
    mean = mean_over(_nearer(seen))
    measures["share.nearer_to_natural"] = mean.value if mean else None
    return measures


def _literature(seen: Seen) -> tuple[Published, ...]:
    source = "Xie 2023, arXiv 2305.10429, abstract (280M proxy, 8B model, The Pile)"
    known = [(one, mean) for one in seen.proxies
             if (mean := mean_over(seen.gains(one, MEAN, NATURAL)))]  # fmt: skip
    gained = "; ".join(f"{one} reference: mean loss {mean.text} nats lower" for one, mean in known)
    faster = "; ".join(f"{one} reference: {fmean(times):.2f}x" for one, _ in known
                       if (times := steps_saved(seen, one)))  # fmt: skip
    every = "; ".join(
        f"{one} reference: {signs.count(True)} of {len(signs)} fall, {signs.count(False)} rise"
        for one, _ in known
        for signs in [[beyond_error(seen.gains(one, name, NATURAL)) for name in seen.components]]
    )
    return (
        beside(
            "over the corpus's own shares",
            theirs="average few-shot accuracy 6.5 points higher",
            ours=gained or None,
            source=source,
        ),
        beside(
            "steps to where the corpus's own shares end",
            theirs="2.6x fewer, by accuracy",
            ours=f"{faster} fewer, by mean loss" if faster else None,
            source=source,
        ),
        beside(
            "domains whose loss falls",
            theirs="all, also those that get less weight",
            ours=every or None,
            source=source,
        ),
    )


_TEXT = {"cpp": 5_800_000, "py-code": 26_000_000, "py-docs": 8_000_000}
_FOUND = {"cpp": 0.4, "py-code": 0.3, "py-docs": 0.3}


def _planted_outcome(spec: RunSpec) -> Outcome:
    """Each domain's loss falls with its share; every proxy finds one mixture, better than both."""
    assert spec.mix is not None, "every run has a mixture"
    shares = dict(spec.mix.shares_of(spec.mix.phases[0], _TEXT))
    params = count_params(spec.model).non_embedding
    losses, epochs = {}, {}
    for place, name in enumerate(_TEXT):
        wave = math.sin(1 + 7 * spec.seed + params + place + 50 * shares[name])
        share = shares[name] + 0.01 * (shares == _FOUND)
        scale = 1 - 0.02 * math.log(params / 6000)
        losses[LOSS + name] = scale * (2.9 - 0.1 * place + math.exp(-4 * share)) + 1e-4 * wave
        epochs[f"epochs.{name}"] = shares[name] * spec.tokens / _TEXT[name]
    weights = {}
    if spec.reference is not None:
        weights = {ANSWER + name: share for name, share in _FOUND.items()}
        weights |= {WEIGHT + name: share for name, share in _FOUND.items()}
    curve = [
        planted_point(
            spec,
            round(done * spec.total_steps),
            {**weights, **{name: loss + 0.2 * (1 - done) for name, loss in losses.items()}},
        )
        for done in (0.25, 0.5, 0.75, 1.0)
    ]
    metrics = {**losses, **epochs, **weights}
    return Outcome(val_loss_nats=losses[f"{LOSS}py-code"], metrics=metrics, curve=tuple(curve))


EXPERIMENT = Experiment(
    question="Does a small proxy find the mixture of domains that a larger model should read?",
    reproduces="Xie 2023 (DoReMi)",
    parts={"objective": (OBJECTIVE,)},
    settings=Settings,
    refusal=refusal,
    propose=propose,
    reads_mixture=True,
    analyse=analyse,
    planted=Planted(
        outcome=_planted_outcome,
        measures={
            "share.natural.cpp": (0.399, 0.401),
            "spread.natural": (0.0, 0.001),
            "moved.uniform": (-0.001, 0.001),
            "faster.natural": (1.1, 4.0),
        },
        claims={
            "mixture_is_determined": True,
            "weights_settle": True,
            "weights_return": False,
            "reference_decides": None,
            "natural.worst_beats_natural": True,
            "natural.mean_beats_natural": True,
            "uniform.worst_beats_uniform": True,
            "natural.every_domain_gains": False,
        },
    ),
)
