"""Kaplan's power law in tokens alone (Kaplan 2020, arXiv 2001.08361, equation 1.2)."""

from scaling_law.fit.laws.law import Law, Term, root


def _to_public(form: dict[str, float]) -> dict[str, float]:
    # K x^-a = (x_c / x)^a
    return {"D_c": root(form["K"], form["a_D"]), "a_D": form["a_D"]}


def _from_public(params: dict[str, float]) -> dict[str, float]:
    return {"K": params["D_c"] ** params["a_D"], "a_D": params["a_D"]}


LAW = Law(
    name="kaplan_d",
    terms=(Term(coefficient="K", slopes=(("tokens", -1.0, "a_D"),)),),
    exponents={"a_D": (0.0, 2.0)},
    latex=r"L = (D_c / D)^{\alpha_D}",
    source="Kaplan 2020, arXiv 2001.08361, equation 1.2",
    fitted_on="tokens",
    to_public=_to_public,
    from_public=_from_public,
)
