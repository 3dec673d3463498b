"""Change valid configs so that they may no longer be: what a slip of the hand makes of them."""

from __future__ import annotations

import copy
import random
from typing import Any

from tests.valid.draw import Node

# Values that a key may be given by a slip.
WRONG: tuple[Any, ...] = (
    None, True, "", " ", "a b", "-1", -1, 0, 0.5, 1.5, 1e400, 10**30, "5X", "1e", [], [[]], {},
    {"": 1}, ["x", "x"], "\u2028", "../..", "auto", "null", float("nan"),
)  # fmt: skip


def changed(config: Node, rng: random.Random) -> Node:
    """Change one or two places of a config: a value, a key's name, or its presence."""
    for _ in range(rng.randint(1, 2)):
        place, key = rng.choice(list(_places(config)))
        kind = rng.randint(0, 4)
        if kind == 0:
            del place[key]
        elif kind == 1 and isinstance(place, dict):
            place[_misspelled(str(key), rng)] = place.pop(key)
        elif kind == 2 and isinstance(place, dict):
            place[str(rng.choice(("nmae", "sizes", "tokens", "lr", "x")))] = _wrong(rng)
        else:
            place[key] = _wrong(rng)
        if not config:
            config["name"] = 1
    return config


def _wrong(rng: random.Random) -> Any:
    """A wrong value of its own: the second change may be made inside the first one's mapping."""
    return copy.deepcopy(rng.choice(WRONG))


def _places(at: Any) -> Any:
    """Every key or index of a config with the mapping or list that holds it."""
    for key in list(at) if isinstance(at, dict) else range(len(at)):
        yield at, key
        if isinstance(at[key], dict | list):
            yield from _places(at[key])


def _misspelled(word: str, rng: random.Random) -> str:
    at = rng.randrange(len(word)) if word else 0
    return rng.choice((word[:at] + word[at + 1 :], word[:at] + "x" + word[at:], word.upper()))
