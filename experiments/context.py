"""What a longer context gains: by position, at equal tokens and compute, and across documents.

    slaw run context
    slaw report results/context

The probe ``position_loss`` gives the loss by position in the context, which Kaplan 2020 (arXiv
2001.08361, appendix D.5) finds to be a power law that larger models make more of. Contexts of 16 to
256 bytes are compared at equal tokens and, by lines between the losses of their horizons, at equal
compute: exact FLOPs count attention, which grows with the context. The loss against the context
length is fitted by a power law with a floor (Xiong 2023, arXiv 2309.16039).

On paragraphs that have nothing to do with each other, several of which fill a sequence, attention
is masked at the borders of documents or not (``model.documents``; Zhao 2024, arXiv 2402.13991,
intra-document causal masking); the probe ``document_loss`` gives the loss by place in the document.

All runs have one learning rate and one batch of tokens.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from statistics import fmean

from scaling_law.experiment import Experiment, Outcome, Planted
from scaling_law.experiment.answer import (
    Decision,
    all_decided,
    answer,
    beside,
    claim,
    decided,
    decided_between,
    need,
)
from scaling_law.experiment.by_position import by_place, by_place_and_seed, gain_along, places_of
from scaling_law.experiment.context_figures import (
    context_figure,
    context_table,
    document_table,
    position_figure,
    size_table,
)
from scaling_law.experiment.contexts import (
    BySeed,
    Seen,
    equal_compute,
    equal_tokens,
    loss_of,
    seen_in,
    setting_of,
)
from scaling_law.experiment.evidence import Evidence, Run
from scaling_law.experiment.findings import AGAIN, Claim, Findings, Published
from scaling_law.experiment.groups import left_out
from scaling_law.experiment.lack_of_fit import Lack, fits_within, lack_of_law
from scaling_law.experiment.power_law import PowerLaw, fit_power_law_with_floor
from scaling_law.experiment.seeds import Mean, jackknifed, mean_over
from scaling_law.spec.run import RunSpec
from scaling_law.units import format_count

FIT = 0.02  # root mean square of the relative misfit up to which a law fits
_NOISE = " (not established)"
EARLY = 8  # position up to which the context is short


def analyse(evidence: Evidence) -> Findings:
    """Return what the context gains, and what masking does."""
    seen = seen_in(evidence)
    laws = {
        params: fit_power_law_with_floor(places_of(runs, "position"))
        for params, runs in seen.longest.items()
    }
    by_context = fit_power_law_with_floor(equal_tokens(seen))
    claims = (
        _longer_is_lower(seen),
        _by_position(seen, laws),
        _predicts_last(seen),
        _larger_gains_more(seen),
        _context_law(seen, by_context),
        _longest_at_equal_compute(seen),
        _short_learns_faster(seen),
        _masking_helps(seen, "whole"),
        _masking_helps(seen, "late"),
    )
    used = sum(map(len, seen.runs.values()))
    return answer(
        claims,
        lambda: _words(seen, laws, claims),
        measures=_measures(seen, laws, by_context),
        tables=(context_table(seen), size_table(seen, laws), document_table(seen)),
        figures=(position_figure(seen, laws), context_figure(seen)),
        literature=_literature(seen, laws, by_context),
        notes=[
            *left_out(evidence, used, "without a loss or of another architecture"),
            "the misfit of a law by position is that on the validation text of these runs, which"
            " all seeds share: what another text would change is in it",
            "losses of different contexts are each a mean over the positions of its own context,"
            " and every run has the same learning rate and tokens in a batch: the shorter the"
            " context, the more sequences a batch has",
        ],
        units={
            "position_exponent": "",
            "floor": "nats per token",
            "loss": "nats per token",
            "equal_flops_loss": "nats per token",
            "matched_loss": "nats per token",
            "masking_gain": "nats per token",
        },
    )


def _largest_context(seen: Seen) -> BySeed:
    runs = seen.longest.get(seen.base, {})
    need(len(runs) > 1, f"{len(runs)} seeds of the longest context have finished", AGAIN)
    need(
        bool(places_of(runs, "position")),
        "no run measured the loss by position",
        "probes: [position_loss]",
    )
    return runs


def _lack(law: PowerLaw | str, values: Mapping[float, Mapping[int, float]]) -> Lack | str:
    return law if isinstance(law, str) else lack_of_law(law, values, fitted=3)


def _law_words(law: PowerLaw | str, lack: Lack | str, x: str) -> str:
    if isinstance(law, str) or isinstance(lack, str):
        return str(lack)
    return f"{law.formula(x)}, exponent {law.exponent_text}, misfit {lack.text}"


def _by_position(seen: Seen, laws: Mapping[int, PowerLaw | str]) -> Claim:
    def decide() -> Decision:
        _largest_context(seen)
        why = next((law for law in laws.values() if isinstance(law, str)), "")
        need(not why, why, "a longer context or more seeds")
        lacks = {
            format_count(size): _lack(law, by_place_and_seed(seen.longest[size], "position"))
            for size, law in laws.items()
        }
        pairs = zip(lacks.items(), laws.values(), strict=True)
        words = "; ".join(f"{size}: {_law_words(law, lack, 'p')}" for (size, lack), law in pairs)
        return fits_within(lacks, FIT, words)

    return claim(
        "power_law_in_position",
        f"the loss falls along the context as a power law with a floor, within {FIT:.0%} (root mean"
        " square)",
        decide,
    )


def _predicted_last(own: Mapping[float, Mapping[int, float]], seeds: Sequence[int]) -> float:
    """The relative error of the last block, predicted from the blocks before it by these seeds."""
    *known, last = own
    law = fit_power_law_with_floor({x: [own[x][seed] for seed in seeds] for x in known})
    need(isinstance(law, PowerLaw), str(law), "a longer context or more seeds")
    assert isinstance(law, PowerLaw), "needed above"
    return law.at(last) / fmean(own[last][seed] for seed in seeds) - 1


def _predicts_last(seen: Seen) -> Claim:
    def decide() -> Decision:
        runs = _largest_context(seen)
        own, seeds = by_place_and_seed(runs, "position"), sorted(runs)
        *_, before, last = own
        fell = mean_over([own[before][seed] / own[last][seed] - 1 for seed in seeds])
        assert fell is not None and fell.interval is not None, "it has two seeds"
        need(
            fell.interval[0] > FIT,
            f"the loss of the last block is below that of the block before it by {fell.percent}, so"
            f" that with less than {FIT:.0%} there may be nothing to predict",
            "longer training, with which the loss still falls there",
        )
        off = jackknifed(
            _predicted_last(own, seeds),
            [_predicted_last(own, [one for one in seeds if one != left]) for left in seeds],
        )
        assert off.interval is not None, "it has two seeds"
        low, high = off.interval
        words = f"off by {off.percent}, leaving one seed out after the other (jackknife)"
        within, beyond = low >= -FIT and high <= FIT, low > FIT or high < -FIT
        need(within or beyond, f"{words}: the interval includes {FIT:.0%}", "more seeds")
        return within, words

    return claim(
        "predicts_later_positions",
        "the law of the first half of the context predicts the loss of the second half within"
        f" {FIT:.0%}",
        decide,
    )


def _larger_gains_more(seen: Seen) -> Claim:
    def decide() -> Decision:
        _largest_context(seen)
        sizes = sorted(seen.longest)
        need(len(sizes) > 1, "one size has finished at the longest context", AGAIN)
        small, large = seen.longest[sizes[0]], seen.longest[sizes[-1]]
        both = sorted(small.keys() & large.keys())
        need(len(both) > 1, f"{len(both)} seeds have both ends of the sizes", AGAIN)
        each = [gain_along(large[seed], EARLY) - gain_along(small[seed], EARLY) for seed in both]
        gains = {
            size: fmean(gain_along(run, EARLY) for run in runs.values())
            for size, runs in seen.longest.items()
        }
        words = "; ".join(f"{format_count(size)} {gain:+.3f} nats" for size, gain in gains.items())
        need(
            gains[sizes[-1]] > 0,
            f"no loss falls beyond position {EARLY} ({words})",
            "longer training, with which models use more of the context",
        )
        words = (
            f"from positions beyond {EARLY} to the last ones: {words}; the largest gains more by"
        )
        return decided(each, words)

    return claim(
        "larger_gains_more",
        "a larger model gains more from the later part of the context",
        decide,
    )


def _longer_is_lower(seen: Seen) -> Claim:
    def decide() -> Decision:
        groups = equal_tokens(seen)
        need(len(groups) > 1, f"{len(groups)} contexts have finished", AGAIN)
        need(min(map(len, groups.values())) > 1, "a context has one seed", "2 seeds: " + AGAIN)
        means = {n_ctx: fmean(own) for n_ctx, own in groups.items()}
        words = ", ".join(f"{n_ctx:g}: {mean:.3f}" for n_ctx, mean in means.items())
        first, last = (seen.at(n, seen.tokens) for n in (seen.contexts[0], seen.contexts[-1]))
        both = sorted(first.keys() & last.keys())
        need(len(both) > 1, f"{len(both)} seeds have both ends", AGAIN)
        each = [loss_of(first[seed]) - loss_of(last[seed]) for seed in both]
        return decided(each, f"nats by context: {words}; the longest is lower by")

    return claim(
        "longer_is_lower_at_equal_tokens",
        "at equal tokens the longest context ends with a lower loss than the shortest",
        decide,
    )


def _context_law(seen: Seen, law: PowerLaw | str) -> Claim:
    def decide() -> Decision:
        need(isinstance(law, PowerLaw), str(law), "more contexts or seeds")
        values = {
            float(n_ctx): {seed: loss_of(run) for seed, run in runs.items()}
            for n_ctx in seen.contexts
            if (runs := seen.at(n_ctx, seen.tokens))
        }
        lack = _lack(law, values)
        return fits_within({"": lack}, FIT, _law_words(law, lack, "c"))

    return claim(
        "power_law_in_context_length",
        f"at equal tokens the loss is a power law of the context length with a floor, within"
        f" {FIT:.0%}",
        decide,
    )


def _matched(seen: Seen) -> dict[int, list[float]]:
    """The losses by context in the last block of positions that the shortest context has."""
    contexts = seen.contexts
    if not contexts:
        return {}
    own = {n: places_of(seen.at(n, seen.tokens), "position") for n in contexts}
    at = max(own[contexts[0]], default=0.0)
    return {n: places[at] for n, places in own.items() if at in places}


def _short_learns_faster(seen: Seen) -> Claim:
    def decide() -> Decision:
        losses = _matched(seen)
        need(len(losses) > 1, f"{len(losses)} contexts measured the same positions", AGAIN)
        need(min(map(len, losses.values())) > 1, "a context has one seed", "2 seeds: " + AGAIN)
        words = ", ".join(f"{n}: {fmean(own):.3f}" for n, own in losses.items())
        words = f"nats by context: {words}; the shortest is lower by"
        return decided_between(losses[max(losses)], losses[min(losses)], words)

    return claim(
        "short_context_learns_faster",
        "at the same positions, the last ones of the shortest context, the model of the shortest"
        " context has a lower loss than that of the longest: what it gains is not from its context",
        decide,
    )


def _longest_at_equal_compute(seen: Seen) -> Claim:
    def decide() -> Decision:
        losses = equal_compute(seen)
        need(bool(losses), "contexts have no compute in common", AGAIN)
        need(min(map(len, losses.values())) > 1, "a context has fewer than 2 seeds there", AGAIN)
        words = ", ".join(f"{n_ctx}: {fmean(own.values()):.3f}" for n_ctx, own in losses.items())
        longest = losses[max(losses)]
        each = {
            f"than {n_ctx}": [own[seed] - longest[seed] for seed in sorted(own.keys() & longest)]
            for n_ctx, own in losses.items()
            if n_ctx < max(losses)
        }
        return all_decided(each, f"nats by context: {words}; the longest is lower by")

    return claim(
        "longest_wins_at_equal_compute",
        "at equal compute the longest context ends lowest",
        decide,
    )


def _masking(seen: Seen, part: str) -> list[float]:
    """By how much masked runs end below packed ones, seed by seed: of all tokens, or of late ones.

    Late tokens are those beyond the place ``EARLY`` of their document.
    """
    packed, masked = (seen.short.get(kind, {}) for kind in (False, True))

    def value(run: Run) -> float | None:
        if part == "whole":
            return loss_of(run)
        late = [loss for x, loss in by_place(run, "document").items() if x > EARLY]
        return fmean(late) if late else None

    pairs = [(value(packed[s]), value(masked[s])) for s in sorted(packed.keys() & masked.keys())]
    return [theirs - ours for theirs, ours in pairs if theirs is not None and ours is not None]


def _masking_helps(seen: Seen, part: str) -> Claim:
    def decide() -> Decision:
        gains = _masking(seen, part)
        need(len(gains) > 1, f"{len(gains)} seeds have both masked and packed documents", AGAIN)
        return decided(gains, "by", show=_nats)

    says = "on short documents that are packed, masking attention at their borders lowers the loss"
    if part == "whole":
        return claim("masking_helps", says, decide)
    return claim("masking_helps_late", f"{says} beyond the place {EARLY} of a document", decide)


def _nats(mean: Mean) -> str:
    return f"{mean.text.replace('seeds', 'seeds, paired')} nats"


def _words(seen: Seen, laws: Mapping[int, PowerLaw | str], claims: Sequence[Claim]) -> str:
    standing = {one.name: one for one in claims}
    law = laws.get(seen.base)
    fits = standing["power_law_in_position"].established
    first = (
        "Along the context the loss "
        + {
            True: "falls as a power law",
            False: "is not a power law",
            None: "is not shown to fall as a power law",
        }[fits]
    )
    if isinstance(law, PowerLaw):
        first += f" ({law.formula('p')} at {format_count(seen.base)} parameters)"
    parts = [first + "."]
    tokens = equal_tokens(seen)
    if len(tokens) > 1:
        best = min(tokens, key=lambda n_ctx: fmean(tokens[n_ctx]))
        unsure = standing["longer_is_lower_at_equal_tokens"].established is None
        said = f"At equal tokens the context of {best:g} ends lowest{_NOISE if unsure else ''}"
        compute = {n: own for n, own in equal_compute(seen).items() if own}
        if compute:
            best = min(compute, key=lambda n_ctx: fmean(compute[n_ctx].values()))
            unsure = standing["longest_wins_at_equal_compute"].established is None
            said += f", at equal compute that of {best:g}{_NOISE if unsure else ''}"
        parts.append(f"{said}.")
        if standing["short_context_learns_faster"].established:
            parts.append("At the same positions it is lower too: short contexts learn faster here.")
    masking = standing["masking_helps"]
    if masking.established is None:
        parts.append("What masking does is not established.")
    else:
        verb = "lowers" if masking.established else "does not lower"
        parts.append(f"Masking short documents {verb} the loss ({masking.because}).")
    return " ".join(parts)


def _measures(
    seen: Seen, laws: Mapping[int, PowerLaw | str], by_context: PowerLaw | str
) -> dict[str, float | None]:
    measures: dict[str, float | None] = {}
    for params, law in laws.items():
        known = law if isinstance(law, PowerLaw) else None
        measures[f"position_exponent.n{params}"] = known.exponent if known else None
        measures[f"floor.n{params}"] = known.floor if known else None
    context = by_context if isinstance(by_context, PowerLaw) else None
    measures["context_exponent"] = context.exponent if context else None
    for n_ctx, own in equal_tokens(seen).items():
        measures[f"loss.ctx{n_ctx:g}"] = fmean(own) if own else None
    for n_ctx, seeds in equal_compute(seen).items():
        measures[f"equal_flops_loss.ctx{n_ctx}"] = fmean(seeds.values()) if seeds else None
    for n_ctx, own in _matched(seen).items():
        measures[f"matched_loss.ctx{n_ctx}"] = fmean(own)
    for part in ("whole", "late"):
        gains = _masking(seen, part)
        measures[f"masking_gain.{part}"] = fmean(gains) if gains else None
    return measures


def _literature(
    seen: Seen, laws: Mapping[int, PowerLaw | str], by_context: PowerLaw | str
) -> list[Published]:
    fitted = [law for law in laws.values() if isinstance(law, PowerLaw)]
    gains = mean_over(_masking(seen, "whole"))
    return [
        beside(
            "loss by position in the context",
            theirs="a power law in the position; larger models gain more from later positions",
            ours="; ".join(law.formula("p") for law in fitted) or None,
            source="Kaplan 2020, arXiv 2001.08361, appendix D.5",
        ),
        beside(
            "loss against the context length",
            theirs="a power law with a constant, exponents of 0.45 to 0.51 (7B to 70B parameters)",
            ours=by_context.formula("c") if isinstance(by_context, PowerLaw) else None,
            source="Xiong 2023, arXiv 2309.16039, figure 1",
        ),
        beside(
            "shorter contexts in training",
            theirs="train faster; beginning with short ones ends lower too",
            ours="; ".join(
                f"{n}: {fmean(own):.3f} nats at the same positions"
                for n, own in _matched(seen).items()
                if n in (seen.contexts[0], seen.contexts[-1])
            )
            or None,
            source="Press 2021 (Shortformer), arXiv 2012.15832",
        ),
        beside(
            "masking attention between packed documents",
            theirs="lower perplexity, better in-context learning (1.3B parameters)",
            ours=f"lower by {_nats(gains)}" if gains else None,
            source="Zhao 2024, arXiv 2402.13991",
        ),
    ]


def _blocks(n_ctx: int) -> list[tuple[int, int]]:
    ends = [1]
    while ends[-1] < n_ctx:
        ends.append(min(2 * ends[-1], n_ctx))
    return [(before + 1, end) for before, end in pairwise([0, *ends])]


def _planted(spec: RunSpec) -> Outcome:
    """By position 1.5 + 2 p^-0.5, more of it at larger sizes; masking saves 0.03 nats."""
    setting = setting_of(spec)
    assert setting is not None, "the config has GPTs only"
    level = 1 + 0.1 * math.log10(setting.params / 1e4)

    def at(position: float) -> float:
        noise = 1 + 0.0005 * math.sin(7 * spec.seed + position)
        return (1.5 + 2 * level / math.sqrt(position)) * noise

    def blocks(law: Callable[[float], float], name: str) -> dict[str, float]:
        return {
            f"{name}.val.{first}" + (f"-{last}" if last > first else ""): law(
                math.sqrt(first * last)
            )
            for first, last in _blocks(setting.n_ctx)
        }

    loss = at(setting.n_ctx / 4) * (setting.tokens / 262144) ** -0.02
    gain = 0.03 if setting.is_masked else 0.0
    metrics = blocks(at, "position_loss") | blocks(lambda x: at(x) - gain, "document_loss")
    return Outcome(val_loss_nats=loss - gain, metrics=metrics)


EXPERIMENT = Experiment(
    question="How does the loss fall along the context, which context is best at equal compute,"
    " and does masking documents help?",
    reproduces="Kaplan 2020 (loss by position); Xiong 2023 (context length); Zhao 2024 (masking)",
    parts={"probe": ("position_loss", "document_loss"), "corpus": ("paragraphs",)},
    analyse=analyse,
    planted=Planted(
        outcome=_planted,
        measures={"context_exponent": (-0.52, -0.48), "masking_gain.whole": (0.029, 0.031)},
        claims={
            "power_law_in_position": True,
            "predicts_later_positions": True,
            "larger_gains_more": True,
            "longer_is_lower_at_equal_tokens": True,
            "power_law_in_context_length": True,
            "masking_helps": True,
            "masking_helps_late": True,
        },
    ),
)
