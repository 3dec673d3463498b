"""Published laws as ``FitResult`` values: they need no run, and have no intervals."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from scaling_law.errors import ConfigError, did_you_mean
from scaling_law.fit.laws import is_own, joint_laws, law_names, load_law
from scaling_law.fit.result import FitResult, Prediction
from scaling_law.fit.solver.interval import log_loss
from scaling_law.fit.split import Split, bounded_exp
from scaling_law.fit.surface import split_of, surface_of
from scaling_law.forecast.repeats import repeats_under

_PETAFLOP_DAY = 8.64e19  # FLOPs: 1e15 a second for 86,400 seconds
# Kaplan 2020, table 5: N_opt = 1.3e9 C_min^0.73, C_min in PF-days, read here as C = 6ND.
# (Their joint law alone would give 1 / (1 + a_N/a_D) = 0.575; .73 is what they measured with
# early stopping and the critical batch, and the figure that others compare with.)
_KAPLAN_EXPONENT = 0.73
_KAPLAN_LOG_SCALE = math.log(1.3e9) + _KAPLAN_EXPONENT * math.log(6 / _PETAFLOP_DAY)
# Hoffmann 2022, approaches 1 and 2: about 20 tokens a parameter, params = (flops / 120)^0.5.
_RULE = Split(exponent=0.5, log_scale=-0.5 * math.log(20))
_NORMAL_90 = 1.645  # standard errors to the end of a 90% interval
_GPT2_VOCAB = 50_257  # of GPT-2's tokenizer
_GOPHER_VOCAB = 32_000  # of Gopher's SentencePiece tokenizer, which Chinchilla's models share
# A law's figure is compared with others down to a third of its smallest runs, because below them
# its power terms grow without bound, and up to where ``slaw extrapolate`` refuses a figure.
_FAR_BELOW, _FAR_BEYOND = 3.0, 1000.0
WHY_OUTSIDE = (
    "the target is over 3 times smaller or 1,000 times larger than that law's own runs, or its "
    "figure is above the loss of guessing, ln(vocabulary)"
)
COMPARISON_CAVEAT = (
    "losses in nats per token do not compare across tokenizers and corpora; compare exponents "
    "and tokens per parameter"
)


@dataclass(frozen=True, kw_only=True)
class _Published:
    """A paper's numbers.

    ``law``: name of the law's formula.
    ``params``: its parameters.
    ``counts``: which parameters count as the size.
    ``source``: paper and equation.
    ``vocab_size``: of its tokenizer.
    ``notes``: what a reader should know.
    ``optimum``: the split that the paper measured; None: the one that follows from the law.
    ``data_range``: variable -> (low, high) of its runs, where the paper states it.
    ``exponent_error``: standard error of a in params ~ flops^a; None: not published.
    """

    law: str
    params: dict[str, float]
    counts: str
    source: str
    vocab_size: int
    notes: tuple[str, ...] = ()
    optimum: Split | None = None
    data_range: dict[str, tuple[float, float]] = field(default_factory=dict)
    exponent_error: float | None = None


_KAPLAN_ONE = "single-variable law: the other resources must not limit"
_LAWS = {
    "hoffmann2022": _Published(
        law="chinchilla",
        params={"E": 1.69, "A": 406.4, "B": 410.7, "alpha": 0.34, "beta": 0.28},
        counts="total",
        source="Hoffmann 2022, arXiv 2203.15556, equation 10 (Chinchilla)",
        vocab_size=_GOPHER_VOCAB,
        notes=(
            "its optimiser stopped early (Besiroglu 2024, arXiv 2404.10102): see besiroglu2024",
            "its rounded parameters give a = .45; the paper's approaches 1 and 2 a = .50, .49",
            "its published interval of a, .454 to .455, is too narrow to be true (Besiroglu 2024)",
        ),
        data_range={"params": (70e6, 16e9), "tokens": (5e9, 500e9), "flops": (6e18, 3e21)},
    ),
    "besiroglu2024": _Published(
        law="chinchilla",
        params={"E": 1.8172, "A": 482.01, "B": 2085.43, "alpha": 0.3478, "beta": 0.3658},
        counts="total",
        source="Besiroglu 2024, arXiv 2404.10102 (equation 2 of 2203.15556 refitted to its data)",
        vocab_size=_GOPHER_VOCAB,
        notes=("fitted on 240 points read off Hoffmann's figure 4",),
        # bootstrap of those points: a = .513 with this standard error
        exponent_error=0.020,
        data_range={"params": (57e6, 16.2e9), "tokens": (0.82e9, 318e9), "flops": (1.4e18, 1.3e22)},
    ),
    "kaplan2020": _Published(
        law="kaplan_nd",
        params={"N_c": 6.4e13, "D_c": 1.8e13, "a_N": 0.076, "a_D": 0.103},
        counts="non_embedding",
        source="Kaplan 2020, arXiv 2001.08361, equation 1.5",
        vocab_size=_GPT2_VOCAB,
        notes=("compute-optimal size: 1.3e9 C^0.73 with C in PF-days, as its table 5 has it",),
        optimum=Split(exponent=_KAPLAN_EXPONENT, log_scale=_KAPLAN_LOG_SCALE),
        data_range={"params": (768, 1.5e9), "tokens": (22e6, 23e9)},
    ),
    "muennighoff2023": _Published(
        law="chinchilla",
        params={"E": 1.87, "A": 521.0, "B": 1488.0, "alpha": 0.353, "beta": 0.353},
        counts="total",
        source="Muennighoff 2023, arXiv 2305.16264, appendix A (unrepeated data)",
        vocab_size=_GPT2_VOCAB,
        notes=("for tokens seen once; repeats beyond 4 epochs are worth less",),
        data_range={"params": (7e6, 9e9), "tokens": (100e6, 900e9)},
    ),
    "kaplan2020_n": _Published(
        law="kaplan_n",
        params={"N_c": 8.8e13, "a_N": 0.076},
        counts="non_embedding",
        source="Kaplan 2020, arXiv 2001.08361, equation 1.1",
        vocab_size=_GPT2_VOCAB,
        notes=(_KAPLAN_ONE,),
        data_range={"params": (768, 1.5e9)},
    ),
    "kaplan2020_d": _Published(
        law="kaplan_d",
        params={"D_c": 5.4e13, "a_D": 0.095},
        counts="non_embedding",
        source="Kaplan 2020, arXiv 2001.08361, equation 1.2",
        vocab_size=_GPT2_VOCAB,
        notes=(_KAPLAN_ONE,),
        data_range={"tokens": (22e6, 23e9)},
    ),
    "kaplan2020_c": _Published(
        law="kaplan_c",
        params={"C_c": 3.1e8 * _PETAFLOP_DAY, "a_C": 0.050},
        counts="non_embedding",
        source="Kaplan 2020, arXiv 2001.08361, equation 1.3 (C_min, 3.1e8 PF-days)",
        vocab_size=_GPT2_VOCAB,
        notes=(_KAPLAN_ONE, "FLOPs are C_min: at a batch far below the critical one"),
    ),
}

PUBLISHED = tuple(_LAWS)
# Those in params and tokens, which answer the same question as a fitted surface.
PUBLISHED_SURFACES = tuple(
    name for name, law in _LAWS.items() if law.law in ("chinchilla", "kaplan_nd")
)


def published_of(form: str) -> tuple[str, ...]:
    """The published laws that are parameters of a law's formula ``form``."""
    return tuple(name for name, paper in _LAWS.items() if paper.law == form)


def check_fitted(names: Iterable[str]) -> None:
    """Raise ``ConfigError`` for a name in ``names`` that is no law to fit, with the one meant."""
    for name in names:
        if name in _LAWS:
            raise ConfigError(
                f"law {name} is published, so its parameters are not fitted: --law"
                f" {_LAWS[name].law} fits its formula; slaw extrapolate and allocate take"
                f" --law {name}"
            )
        if not is_own(name) and name.partition(":")[0] not in law_names():
            raise ConfigError(
                f"no law is named {name!r}{law_hint(name, law_names())}; expected one of"
                f" {', '.join(law_names())} (see slaw parts law)"
            )


def law_hint(name: str, known: Sequence[str]) -> str:
    """`` (did you mean ...?)`` for a name that no law has; "" where none of ``known`` is near.

    The beginning of several names means those in params and tokens.
    """
    begun = [law for law in (*PUBLISHED_SURFACES, *joint_laws()) if law.startswith(name)]
    if near := [law for law in begun if law in known]:
        said = [f"{law} (published)" if law in _LAWS else law for law in near]
        return f" (did you mean {' or '.join(said)}?)"
    return did_you_mean(name, known)


def published_law(name: str) -> FitResult:
    """The published law ``name`` of ``PUBLISHED``; ``source`` cites paper and equation.

    It has no samples, so there is no interval of a loss; ``optimum_intervals`` holds that of
    the exponent a (90%) where its standard error is known. Raises ``ConfigError`` naming the
    published laws.
    """
    if name not in _LAWS:
        raise ConfigError(
            f"published law {name!r}{did_you_mean(name, PUBLISHED)}: expected one of"
            f" {', '.join(PUBLISHED)}"
        )
    paper = _LAWS[name]
    law = load_law(paper.law)
    split = paper.optimum or split_of(law, paper.params)
    return FitResult(
        law=law,
        params=dict(paper.params),
        status="converged",
        message="",
        objective=math.nan,
        n_points=0,
        n_clusters=0,
        n_starts=0,
        n_starts_agreeing=0,
        convention={"params": paper.counts, "flops": "6nd", "loss": "nats per token"},
        data_range=dict(paper.data_range),
        optimum=split,
        optimum_intervals=_exponent_interval(split, paper.exponent_error),
        notes=paper.notes,
        source=paper.source,
    )


def law_name(fit: FitResult) -> str:
    """The name that ``--law`` takes: two published laws may share one formula."""
    if fit.n_points == 0:
        for name, paper in _LAWS.items():
            if paper.source == fit.source:
                return name
    return fit.law.name


def exponent_error(fit: FitResult) -> float | None:
    """The published standard error of a in params ~ flops^a; None where none is known."""
    paper = _LAWS.get(law_name(fit)) if fit.n_points == 0 else None
    return paper.exponent_error if paper else None


def _exponent_interval(split: Split | None, error: float | None) -> dict[str, tuple[float, float]]:
    if split is None or error is None:
        return {}
    half = _NORMAL_90 * error
    return {"a": (split.exponent - half, split.exponent + half)}


def comparison(prediction: Prediction) -> list[dict[str, Any]]:
    """The forecast beside the published laws at the same params and tokens, one row a law.

    ``loss_nats`` comes with ``low_nats`` to ``high_nats``. ``tokens_for_params`` are this size's
    compute-optimal tokens, ``params_optimal`` and ``tokens_optimal`` the best split of the same
    FLOPs (6ND), ``params_exponent`` is a in params ~ flops^a. ``params_counted`` is the law's own
    convention, applied to the same number. ``outside`` says why the law has no loss to show there
    (else empty). Repeats of ``prediction`` count as in ``forecast.repeats`` under every law.
    To be read with ``COMPARISON_CAVEAT``. Empty for a forecast without params or tokens.
    """
    if prediction.params is None or prediction.tokens is None:
        return []
    rows = [
        {
            "law": "this forecast" if prediction.over_laws else f"{prediction.law} (this forecast)",
            "loss_nats": prediction.loss_nats,
            "low_nats": prediction.low_nats,
            "high_nats": prediction.high_nats,
            "tokens_for_params": prediction.tokens_for_params,
            "params_optimal": prediction.params_optimal,
            "tokens_optimal": prediction.tokens_optimal,
            "params_exponent": prediction.params_exponent,
            "params_counted": prediction.convention.get("params"),
            "source": prediction.source,
            "outside": "",
        }
    ]
    target = {"params": prediction.params, "tokens": prediction.tokens}
    for name in PUBLISHED_SURFACES:
        fit = published_law(name)
        if fit.source == prediction.source:
            continue
        assert fit.optimum is not None, "a law of params and tokens has a split"
        loss = bounded_exp(log_loss(fit.law, fit.params, _worth(fit, target, prediction)))
        row = _row(name, loss, fit.optimum, target, fit.convention["params"], fit.source)
        rows.append(row | {"outside": _outside(fit, target, loss, _LAWS[name].vocab_size)})
    source = "Hoffmann 2022, arXiv 2203.15556, approaches 1 and 2"
    rows.append(_row("20 tokens/param", None, _RULE, target, "total", source))
    return rows


def _worth(fit: FitResult, target: dict[str, float], prediction: Prediction) -> dict[str, float]:
    unique = prediction.tokens_unique
    if unique is None:
        return target
    surface = surface_of(fit.law, fit.params)
    assert surface is not None, "a law of params and tokens"
    worth = repeats_under(fit.params, surface.split, unique).worth(
        target["params"], target["tokens"]
    )
    return dict(zip(("params", "tokens"), worth, strict=True))


def published_vocabulary(fit: FitResult) -> int | None:
    """Vocabulary of the runs that a published law was fitted to; None for any other law."""
    paper = _LAWS.get(law_name(fit)) if fit.n_points == 0 else None
    return paper.vocab_size if paper is not None else None


def _outside(fit: FitResult, target: dict[str, float], loss: float, vocab_size: int) -> str:
    """Why ``loss`` does not compare with others; empty where it does."""
    known = target | {"flops": 6 * target["params"] * target["tokens"]}
    if any(value * _FAR_BELOW < fit.data_range[name][0] for name, value in target.items()):
        return "far below the law's runs"
    beyond = {name: known[name] / fit.data_range[name][1] for name in fit.data_range}
    if beyond.get("flops", max(beyond.values())) > _FAR_BEYOND:
        return "far beyond the law's runs"
    return "above the loss of guessing" if loss > math.log(vocab_size) else ""


def _row(
    name: str,
    loss_nats: float | None,
    split: Split,
    target: dict[str, float],
    counted: str,
    source: str,
) -> dict[str, Any]:
    flops = 6 * target["params"] * target["tokens"]
    return {
        "law": name,
        "loss_nats": loss_nats,
        "low_nats": None,
        "high_nats": None,
        "tokens_for_params": split.tokens_for_params(target["params"]),
        "params_optimal": split.params(flops),
        "tokens_optimal": split.tokens(flops),
        "params_exponent": split.exponent,
        "params_counted": counted,
        "source": source,
        "outside": "",
    }
