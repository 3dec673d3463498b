"""Kaplan's joint law in size and data (Kaplan 2020, arXiv 2001.08361, equation 1.5)."""

from scaling_law.fit.laws.law import Law, Term, root


def _to_public(form: dict[str, float]) -> dict[str, float]:
    # (P N^-p + Q D^-1)^a_D = ((N_c / N)^(a_N / a_D) + D_c / D)^a_D, with p = a_N / a_D
    return {
        "N_c": root(form["P"], form["p"]),
        "D_c": form["Q"],
        "a_N": form["p"] * form["a_D"],
        "a_D": form["a_D"],
    }


def _from_public(params: dict[str, float]) -> dict[str, float]:
    ratio = params["a_N"] / params["a_D"]
    return {"P": params["N_c"] ** ratio, "Q": params["D_c"], "p": ratio, "a_D": params["a_D"]}


LAW = Law(
    name="kaplan_nd",
    terms=(
        Term(coefficient="P", slopes=(("params", -1.0, "p"),)),
        Term(coefficient="Q", slopes=(("tokens", -1.0, None),)),
    ),
    exponents={"p": (0.01, 4.0)},
    power="a_D",
    latex=r"L = [(N_c/N)^{\alpha_N/\alpha_D} + D_c/D]^{\alpha_D}",
    source="Kaplan 2020, arXiv 2001.08361, equation 1.5",
    fitted_on="all",
    rank=5,
    to_public=_to_public,
    from_public=_from_public,
)
