"""Kaplan's power law in flops alone (Kaplan 2020, arXiv 2001.08361, equation 1.3)."""

from scaling_law.fit.laws.law import Law, Term, root


def _to_public(form: dict[str, float]) -> dict[str, float]:
    # K x^-a = (x_c / x)^a
    return {"C_c": root(form["K"], form["a_C"]), "a_C": form["a_C"]}


def _from_public(params: dict[str, float]) -> dict[str, float]:
    return {"K": params["C_c"] ** params["a_C"], "a_C": params["a_C"]}


LAW = Law(
    name="kaplan_c",
    terms=(Term(coefficient="K", slopes=(("flops", -1.0, "a_C"),)),),
    exponents={"a_C": (0.0, 2.0)},
    latex=r"L = (C_c / C)^{\alpha_C}",
    source="Kaplan 2020, arXiv 2001.08361, equation 1.3",
    fitted_on="envelope",
    to_public=_to_public,
    from_public=_from_public,
)
