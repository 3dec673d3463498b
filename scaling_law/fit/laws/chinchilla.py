"""Chinchilla's parametric law (Hoffmann 2022, arXiv 2203.15556, equation 2)."""

from scaling_law.fit.laws.law import Law, Term

LAW = Law(
    name="chinchilla",
    terms=(
        Term(coefficient="E"),
        Term(coefficient="A", slopes=(("params", -1.0, "alpha"),)),
        Term(coefficient="B", slopes=(("tokens", -1.0, "beta"),)),
    ),
    exponents={"alpha": (0.0, 2.0), "beta": (0.0, 2.0)},
    latex=r"L = E + A N^{-\alpha} + B D^{-\beta}",
    source="Hoffmann 2022, arXiv 2203.15556, equation 2",
    fitted_on="all",
    rank=1,
)
