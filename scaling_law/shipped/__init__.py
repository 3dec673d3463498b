"""Configs and experiments as a wheel carries them (``configs/``, ``experiments/``)."""
