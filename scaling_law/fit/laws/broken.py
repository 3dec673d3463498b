"""A smoothly broken power law in compute, for bends (Caballero 2022, arXiv 2210.14891).

L = E + b C^-c0 (1 + (C / d)^(1/f))^(-c1 f): equation 1 with one break at d, of sharpness 1/f,
where the exponent turns from c0 into c0 + c1.
"""

import math
from collections.abc import Mapping

import numpy as np

from scaling_law.fit.laws.law import Floats, Law, Term, Variables, exp_within_floats

# Internally (E, b, c0, c1, log d, f).
_SLOPE, _BREAK, _PLACE, _WIDTH = 2, 3, 4, 5
# A break outside the data, or with few points on a side, is not a measurement.
_LEAST_SPAN = math.log(30.0)


def _parts(internal: Floats, logs: Variables) -> tuple[Floats, ...]:
    change, place, width = (internal[:, i : i + 1] for i in (_BREAK, _PLACE, _WIDTH))
    z = (logs["flops"] - place) / width
    return change, width, z, np.logaddexp(0.0, z)


def _bend(internal: Floats, logs: Variables) -> Floats:
    change, width, z, soft = _parts(internal, logs)
    value = np.zeros((*z.shape, 2))
    value[:, :, 1] = -change * width * soft
    return value


def _bend_slopes(internal: Floats, logs: Variables) -> Floats:
    change, width, z, soft = _parts(internal, logs)
    above = np.exp(z - soft)
    slopes = np.zeros((*z.shape, 2, 6))
    slopes[:, :, 1, _BREAK] = -width * soft
    slopes[:, :, 1, _PLACE] = change * above
    slopes[:, :, 1, _WIDTH] = -change * (soft - above * z)
    return slopes


def _uncentre(values: dict[str, float], centres: Mapping[str, float]) -> dict[str, float]:
    return values | {"log_d": values["log_d"] + centres["flops"]}


def _lacking(variables: Variables) -> str:
    flops = np.asarray(variables["flops"])
    span = math.log(float(flops.max()) / float(flops.min()))
    if span < _LEAST_SPAN:
        return f"FLOPs span {math.exp(span):.2g}x; at least 30x needed to see a break"
    return ""


def _to_public(form: dict[str, float]) -> dict[str, float]:
    same = {name: form[name] for name in ("E", "b", "c0", "c1", "f")}
    return same | {"d": exp_within_floats(form["log_d"])}


def _from_public(params: dict[str, float]) -> dict[str, float]:
    same = {name: params[name] for name in ("E", "b", "c0", "c1", "f")}
    return same | {"log_d": math.log(params["d"])}


LAW = Law(
    name="broken",
    terms=(Term(coefficient="E"), Term(coefficient="b", slopes=(("flops", -1.0, "c0"),))),
    exponents={"c0": (0.0, 2.0), "c1": (-1.0, 2.0), "log_d": (-15.0, 15.0), "f": (0.05, 3.0)},
    bend=_bend,
    bend_slopes=_bend_slopes,
    uncentre=_uncentre,
    grid={
        "c0": (0.05, 0.15, 0.3),
        "c1": (-0.1, 0.1, 0.3),
        "log_d": (-2.0, 0.0, 2.0),
        "f": (0.2, 1.0),
    },
    lacking=_lacking,
    latex=r"L = E + b\,C^{-c_0} (1 + (C/d)^{1/f})^{-c_1 f}",
    source="Caballero 2022, arXiv 2210.14891, equation 1",
    to_public=_to_public,
    from_public=_from_public,
)
