"""What runs a law of size and tokens takes at least; a plan and a fit ask the same."""

from __future__ import annotations

from scaling_law.units import count_of

# Different sizes, and different horizons: a term has a coefficient, an exponent, and the loss
# that remains is a third unknown.
LEAST_VALUES = 3
# Chinchilla's law has five parameters.
LEAST_POINTS = 6


def too_few_for_a_law(sizes: int, horizons: int, points: int) -> str:
    """Say what is missing for a law of size and tokens; "" where nothing is.

    ``sizes`` and ``horizons`` are how many different ones the ``points`` have.
    """
    counts = (
        (sizes, LEAST_VALUES, "size"),
        (horizons, LEAST_VALUES, "horizon"),
        (points, LEAST_POINTS, "annealed point"),
    )
    few = [
        f"{count_of(own, what)} (at least {least})" for own, least, what in counts if own < least
    ]
    if not few:
        return ""
    return f"too few for a law of size and tokens: {', '.join(few)}; add them"
