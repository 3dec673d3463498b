"""A law whose size and data terms share one outer power: L = (A N^-alpha + B D^-beta)^gamma.

Kaplan's joint law is the special case beta = 1 (arXiv 2001.08361, equation 1.5); with an
irreducible loss added it is that of Busbridge 2025 (arXiv 2502.08606). The loss falls more steeply
with tokens the larger the model is: additive terms forbid that, and small models show it. The law
has no irreducible loss, so that far beyond the data it is optimistic.
"""

from scaling_law.fit.laws.law import Law, Term

LAW = Law(
    name="coupled",
    terms=(
        Term(coefficient="A", slopes=(("params", -1.0, "alpha"),)),
        Term(coefficient="B", slopes=(("tokens", -1.0, "beta"),)),
    ),
    exponents={"alpha": (0.01, 4.0), "beta": (0.01, 4.0)},
    power="gamma",
    latex=r"L = (A N^{-\alpha} + B D^{-\beta})^{\gamma}",
    source="Busbridge 2025, arXiv 2502.08606, with E = 0; Kaplan 2020 where beta = 1",
    fitted_on="all",
    rank=3,
)
