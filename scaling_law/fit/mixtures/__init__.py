"""Mixing laws: the loss on each component of a text, by the shares that a run reads them in."""
