"""Configs as a wheel carries them (``configs/`` of the checkout)."""
