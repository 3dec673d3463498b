"""Which corrections lead from Kaplan's split of compute to Chinchilla's, and by how much?

    slaw ablate                                      # train, and print the ladder
    slaw report results/kaplan_chinchilla            # the page
    slaw ablate --table porian_isoflop.csv           # the same ladder from a published table

Three recipes are trained on one grid of sizes and budgets. One has a long warm-up of a fixed number
of tokens, and one rate and batch for all sizes. It is read along its curve, once with the head left
out of parameters and FLOPs, once with it. The second has a warm-up by size. Its trunks are read
along their curves, its branches where each has decayed. The third takes the rate from the rule of
the config, which goes by size, at several multiples, and a smaller batch. Each size and budget
counts at the best one.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import TYPE_CHECKING

from scaling_law.experiment import Experiment, Outcome, Planted, planted_point
from scaling_law.experiment.answer import Decision, claim, need
from scaling_law.experiment.evidence import Evidence, Run
from scaling_law.experiment.findings import AGAIN, Claim, Findings
from scaling_law.experiment.groups import grouped
from scaling_law.experiment.ladder import (
    COUNTED,
    DECAY,
    KAPLAN,
    TUNED,
    WARMUP,
    Measured,
    ladder_findings,
    measured,
)
from scaling_law.spec.counts import count_params, flops_per_token
from scaling_law.spec.model import Model
from scaling_law.spec.run import RunSpec
from scaling_law.units import count_of

if TYPE_CHECKING:
    from scaling_law.fit.points.points import FitPoints

FIXED, SIZED, BY_RULE = "fixed warm-up", "warm-up by size", "rate and batch by size"
STEP = 2.0  # from one budget that curves are read at to the next
FEWEST_SIZES = 4  # of a budget that curves are read at
SAME = 1.1  # horizons within this factor are one
ROUNDING = 1.03  # a horizon is a whole number of steps: so far beyond its ends a curve is read


def recipe_of(spec: RunSpec) -> str:
    """The recipe of a run, by what the config sets in place of its rule."""
    if spec.optim.overrides.lr is None:
        return BY_RULE
    return SIZED if spec.optim.overrides.warmup_tokens is None else FIXED


@dataclass(frozen=True)
class Count:
    """A way of counting: ``params`` of a model, and its training ``flops`` for a token."""

    params: Callable[[Model], float]
    flops: Callable[[Model], float]


WITHOUT_HEAD = Count(
    lambda model: count_params(model).non_embedding,
    lambda model: 6.0 * count_params(model).non_embedding,
)
WITH_HEAD = Count(lambda model: count_params(model).matmul, flops_per_token)


@dataclass(frozen=True)
class Track:
    """The losses of one size and seed by tokens, rising."""

    run: Run
    losses: tuple[tuple[float, float], ...]

    def loss_at(self, tokens: float) -> float | None:
        """The loss at these tokens, between those that were measured; None elsewhere."""
        import numpy as np

        from scaling_law.fit.approaches.akima import akima

        x = np.log([token for token, _ in self.losses])
        y = np.log([loss for _, loss in self.losses])
        at = math.log(tokens)
        near = math.log(ROUNDING)
        if len(x) < 3 or not x[0] - near <= at <= x[-1] + near:
            return None
        inside = min(max(at, x[0]), x[-1])
        value = float(akima(x, y).at(np.array([inside]))[0])
        end = 0 if at < x[0] else -1
        slope = (y[1] - y[0]) / (x[1] - x[0]) if end == 0 else (y[-1] - y[-2]) / (x[-1] - x[-2])
        return math.exp(value + slope * (at - inside))


def _curves(runs: Iterable[Run]) -> list[Track]:
    """The curves of runs whose rate does not decay."""
    tracks = []
    for run in runs:
        points = [(p.tokens, p.val_loss_nats) for p in run.curve if p.tokens > 0]
        losses = tuple((float(t), loss) for t, loss in points if loss is not None)
        if len(losses) >= 3:
            tracks.append(Track(run, losses))
    return tracks


def _read_at_budgets(tracks: Sequence[Track], count: Count) -> FitPoints | None:
    """The points of curves at budgets a factor apart; None where four sizes have none in common."""
    if not tracks:
        return None
    ends = {}
    for track in tracks:
        per_token = count.flops(track.run.spec.model)
        first, last = track.losses[0][0], track.losses[-1][0]
        ends[track.run.spec.model] = (per_token * first, per_token * last)
    rows: list[tuple[Track, float, float]] = []
    budget = max(high for _, high in ends.values())
    while budget >= min(low for low, _ in ends.values()):
        own = []
        for track in tracks:
            tokens = budget / count.flops(track.run.spec.model)
            loss = track.loss_at(tokens)
            own += [] if loss is None else [(track, tokens, loss)]
        if len({track.run.spec.model for track, _, _ in own}) >= FEWEST_SIZES:
            rows += own
        budget /= STEP
    return _points(rows, count) if rows else None


def _points(rows: Sequence[tuple[Track, float, float]], count: Count) -> FitPoints:
    import numpy as np

    from scaling_law.fit.points.points import FitPoints

    params = np.array([count.params(track.run.spec.model) for track, _, _ in rows], float)
    tokens = np.array([tokens for _, tokens, _ in rows])
    flops = np.array([count.flops(track.run.spec.model) for track, _, _ in rows]) * tokens
    return FitPoints(
        params=params,
        tokens=tokens,
        flops=flops,
        loss_nats=np.array([loss for _, _, loss in rows]),
        loss_sem_nats=np.full(len(rows), math.nan),
        tokens_unique=tokens,
        run_id=tuple(f"{track.run.record.run_id} at {tokens:.0f}" for track, tokens, _ in rows),
        cluster=tuple(track.run.record.cluster for track, _, _ in rows),
        size=tuple(f"{count.params(track.run.spec.model):g}" for track, _, _ in rows),
        seed=tuple(track.run.spec.seed for track, _, _ in rows),
        convention={
            "params": "non_embedding" if count is WITHOUT_HEAD else "matmul",
            "flops": "6nd" if count is WITHOUT_HEAD else "exact",
            "loss": "nats per token",
        },
    )


@dataclass(frozen=True)
class Best:
    """The runs of the best setting of each size and horizon.

    ``runs`` are they; ``settings`` are how often each setting is the best, by its words;
    ``low`` and ``high`` count the sizes and horizons whose best rate is the lowest or the highest
    multiple of the rule's that was tried, of ``cells``.
    """

    runs: tuple[Run, ...] = ()
    settings: tuple[tuple[str, int], ...] = ()
    low: int = 0
    high: int = 0
    cells: int = 0

    @property
    def note(self) -> str:
        """How often each setting is the best."""
        listed = ", ".join(f"{words} ({count})" for words, count in self.settings)
        return f"best settings of {self.cells} sizes and horizons: {listed}"


def best_settings(runs: Sequence[Run]) -> Best:
    """Return the runs of the setting with the lowest mean loss, by size and horizon.

    A setting counts where it has as many seeds as any other.
    """
    chosen: list[Run] = []
    times: Counter[str] = Counter()
    low = high = 0
    cells = _cells(runs)
    for own in cells:
        settings = grouped((_setting(run), run) for run in own)
        most = max(len(ones) for ones in settings.values())
        whole = {key: ones for key, ones in settings.items() if len(ones) == most}
        means = {
            key: fmean(run.record.val_loss_nats or math.nan for run in ones)
            for key, ones in whole.items()
        }
        best = min(means, key=lambda key: means[key])
        chosen += whole[best]
        times[_setting_words(whole[best][0].spec)] += 1
        if recipe_of(whole[best][0].spec) == BY_RULE:
            of_rule = [key for key, ones in whole.items() if recipe_of(ones[0].spec) == BY_RULE]
            rates = sorted(rate for batch, rate in of_rule if batch == best[0])
            low += best[1] == rates[0]
            high += best[1] == rates[-1]
    return Best(tuple(chosen), tuple(times.most_common()), low, high, len(cells))


def _cells(runs: Sequence[Run]) -> list[list[Run]]:
    """The runs of each size and horizon; whole steps of two batches differ a little."""
    cells: list[list[Run]] = []
    order = sorted(runs, key=lambda run: (run.record.params_matmul, run.record.tokens))
    for run in order:
        last = cells[-1][-1] if cells else None
        same = last is not None and last.spec.model == run.spec.model
        if last is not None and same and run.record.tokens / last.record.tokens < SAME:
            cells[-1].append(run)
        else:
            cells.append([run])
    return cells


def _setting(run: Run) -> tuple[int, float]:
    return run.spec.batch_tokens, run.spec.optim.lr


def _setting_words(spec: RunSpec) -> str:
    if recipe_of(spec) != BY_RULE:
        return f"batch {spec.batch_tokens} at {spec.optim.lr:g} for all sizes"
    multiple = spec.optim.overrides.lr_mult or 1
    return f"batch {spec.batch_tokens} at {multiple:g} times the rule's rate"


def _annealed(runs: Sequence[Run]) -> FitPoints | None:
    """The points of runs that decayed; None without any."""
    from scaling_law.fit.points.points import points_from_records

    ended = [run.record for run in runs if not run.lost and run.spec.schedule.end == "annealed"]
    return points_from_records(ended) if ended else None


def read(evidence: Evidence) -> tuple[dict[str, Measured], Best]:
    """Return the rungs that the runs give, and which settings are best."""
    of = grouped((recipe_of(run.spec), run) for run in evidence.runs)
    fixed, sized, by_rule = (of.get(name, []) for name in (FIXED, SIZED, BY_RULE))
    whole = _curves(run for run in fixed if not run.lost)
    trunks = _curves(run for run in sized if run.record.kind == "trunk")
    decayed = [run for run in (*sized, *by_rule) if run.record.kind != "trunk" and not run.lost]
    best = best_settings(decayed) if by_rule else Best()
    points = {
        KAPLAN: _read_at_budgets(whole, WITHOUT_HEAD),
        COUNTED: _read_at_budgets(whole, WITH_HEAD),
        WARMUP: _read_at_budgets(trunks, WITH_HEAD),
        DECAY: _annealed([run for run in sized if run.record.kind != "trunk"]),
        TUNED: _annealed(best.runs),
    }
    return {name: measured(own) for name, own in points.items() if own is not None}, best


def _tuned_claim(best: Best) -> Claim:
    def decide() -> Decision:
        need(bool(best.cells), "no run with rate and batch by size has finished", AGAIN)
        words = f"{best.low} of {best.cells} sizes and horizons are best at the lowest multiple"
        words += f" of the rule's rate, {best.high} at the highest"
        need(4 * (best.low + best.high) <= best.cells, words, "it takes further optim.lr_mult")
        return True, words

    says = "rate and batch by size are tuned: at most a quarter is best at an edge of the rates"
    return claim("tuned_inside", says, decide)


def analyse(evidence: Evidence) -> Findings:
    """Return the ladder, and what each correction takes off the exponent."""
    ladder, best = read(evidence)
    used = sum(run.record.kind == "trunk" for run in evidence.runs) + len(evidence.ended)
    lost = len(evidence.runs) - used
    notes = [best.note] if best.cells else []
    notes += [f"{count_of(lost, 'run')} without a loss left out"] if lost else []
    return ladder_findings(ladder, needs=AGAIN, claims=(_tuned_claim(best),), notes=notes)


def _planted_loss(spec: RunSpec, tokens: float) -> float:
    """A loss whose best size goes as compute to the .5; each recipe adds what it does wrong."""
    size = WITH_HEAD.params(spec.model)
    log = math.log(1.2 + (3e3 / size) ** 0.5 + (2e4 / tokens) ** 0.5)
    recipe = recipe_of(spec)
    if recipe == FIXED:  # what a long warm-up costs falls with the tokens
        log += 0.3 / (1 + (tokens / 65536) ** 1.5)
    if recipe != BY_RULE:  # the rate is too low for small models at short horizons
        log += 0.02 * math.log(size / 1e5) ** 2 / 10
    if recipe == BY_RULE:
        log += 0.02 * math.log2(spec.optim.overrides.lr_mult or 1) ** 2
    return math.exp(
        log + 2e-3 * math.sin(1 + 7 * spec.seed + 9 * math.log(size) + math.log(tokens))
    )


def _planted_outcome(spec: RunSpec) -> Outcome:
    """The loss at the run's end, and on the way for runs that are read along their curve."""
    steps = sorted({max(1, round(spec.total_steps * (k / 12) ** 2)) for k in range(1, 13)})
    curve = tuple(
        planted_point(spec, step, {}, val=_planted_loss(spec, step * spec.batch_tokens))
        for step in (steps if spec.branch is None else ())
    )
    return Outcome(val_loss_nats=_planted_loss(spec, spec.tokens), curve=curve)


EXPERIMENT = Experiment(
    question="Which corrections lead from Kaplan's split of compute to Chinchilla's?",
    reproduces="Porian 2024 (from Kaplan 2020 to Hoffmann 2022)",
    parts={"schedule": ("constant", "wsd"), "cooldown": ("1-sqrt",), "rule": ("slaw_small",)},
    analyse=analyse,
    planted=Planted(
        outcome=_planted_outcome,
        measures={"exponent.tuned_by_size": (0.45, 0.55)},
        claims={"ladder_falls": True, "ends_near_half": True},
    ),
)
