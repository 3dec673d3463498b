"""Gadre's law of over-training (Gadre 2024, arXiv 2403.08540, equation 4).

With M = D / N and C = 6ND, a M^eta C^-eta = a 6^-eta N^(-2 eta) and b M^-eta C^-eta =
b 6^-eta D^(-2 eta): Chinchilla's law whose two exponents are one, so that loss falls with
compute at the same rate at every ratio of tokens to parameters.
"""

from scaling_law.fit.laws.law import Law, Term


def _to_public(form: dict[str, float]) -> dict[str, float]:
    scale = 6.0 ** form["eta"]
    return {"E": form["E"], "a": form["P"] * scale, "b": form["Q"] * scale, "eta": form["eta"]}


def _from_public(params: dict[str, float]) -> dict[str, float]:
    scale = 6.0 ** params["eta"]
    return {
        "E": params["E"],
        "P": params["a"] / scale,
        "Q": params["b"] / scale,
        "eta": params["eta"],
    }


LAW = Law(
    name="gadre",
    terms=(
        Term(coefficient="E"),
        Term(coefficient="P", slopes=(("params", -2.0, "eta"),)),
        Term(coefficient="Q", slopes=(("tokens", -2.0, "eta"),)),
    ),
    exponents={"eta": (0.0, 1.0)},
    latex=r"L = E + (a M^{\eta} + b M^{-\eta}) C^{-\eta},\ M = D/N",
    source="Gadre 2024, arXiv 2403.08540, equation 4",
    fitted_on="all",
    rank=4,
    to_public=_to_public,
    from_public=_from_public,
)
