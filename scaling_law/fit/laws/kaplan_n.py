"""Kaplan's power law in params alone (Kaplan 2020, arXiv 2001.08361, equation 1.1)."""

from scaling_law.fit.laws.law import Law, Term, root


def _to_public(form: dict[str, float]) -> dict[str, float]:
    # K x^-a = (x_c / x)^a
    return {"N_c": root(form["K"], form["a_N"]), "a_N": form["a_N"]}


def _from_public(params: dict[str, float]) -> dict[str, float]:
    return {"K": params["N_c"] ** params["a_N"], "a_N": params["a_N"]}


LAW = Law(
    name="kaplan_n",
    terms=(Term(coefficient="K", slopes=(("params", -1.0, "a_N"),)),),
    exponents={"a_N": (0.0, 2.0)},
    latex=r"L = (N_c / N)^{\alpha_N}",
    source="Kaplan 2020, arXiv 2001.08361, equation 1.1",
    fitted_on="params",
    to_public=_to_public,
    from_public=_from_public,
)
