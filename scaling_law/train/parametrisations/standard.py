"""Standard: initial scales by fan-in, one learning rate for all weights."""

from __future__ import annotations

from scaling_law.train.parametrisations import Parametrisation

PARAMETRISATION = Parametrisation(
    initial=lambda role, width, settings: 1.0,
    lr=lambda role, width, settings: 1.0,
    output=lambda width, settings: 1.0,
    attention=lambda head_size, settings: 1.0,
)
