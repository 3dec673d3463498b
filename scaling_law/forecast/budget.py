"""A budget in seconds, FLOPs or dollars."""

from __future__ import annotations

from dataclasses import dataclass

from scaling_law.forecast.hardware import Hardware, flops_for_dollars
from scaling_law.units import format_count, format_dollars, format_seconds

UNITS = ("seconds", "flops", "dollars")


@dataclass(frozen=True, kw_only=True)
class Budget:
    """An amount that may be spent.

    ``unit``: ``seconds`` of the device, all its slots together; ``flops`` of training; or
        ``dollars`` (US) for rented devices.
    ``amount``: how much, in the unit.
    """

    unit: str
    amount: float

    def __post_init__(self) -> None:
        assert self.unit in UNITS, self.unit

    @property
    def text(self) -> str:
        """``4h00m``, ``1e+15 FLOPs`` or ``$1,000``."""
        if self.unit == "seconds":
            return format_seconds(self.amount)
        if self.unit == "dollars":
            return format_dollars(self.amount)
        return f"{format_count(self.amount)} FLOPs"

    def in_flops(self, hardware: Hardware) -> Budget:
        """The budget in FLOPs: those that its dollars rent, or its own.

        Raises ``ConfigError`` for a device without a price.
        """
        assert self.unit != "seconds", "seconds are of a measured device"
        if self.unit == "flops":
            return self
        return Budget(unit="flops", amount=flops_for_dollars(self.amount, hardware.device))
