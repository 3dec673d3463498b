"""Train grids of small GPTs, fit scaling laws to them, and forecast larger models honestly."""

__version__ = "0.1.0"
