"""Loaded by every process of a `slaw run` on a machine whose clock goes backwards, in jumps."""

import itertools
import time

_jumps = itertools.count()
_true = time.time
time.time = lambda: _true() - 3600.0 * next(_jumps)
time.time_ns = lambda: int(1e9 * time.time())
