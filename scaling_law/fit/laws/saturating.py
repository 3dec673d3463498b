"""A power law in compute that levels off at an irreducible loss: L = L_inf + K C^-b."""

from scaling_law.fit.laws.law import Law, Term

LAW = Law(
    name="saturating",
    terms=(
        Term(coefficient="L_inf"),
        Term(coefficient="K", slopes=(("flops", -1.0, "b"),)),
    ),
    exponents={"b": (0.0, 2.0)},
    latex=r"L = L_\infty + K C^{-b}",
    source="Henighan 2020, arXiv 2010.14701, equation 1.1",
    fitted_on="envelope",
)
