"""Loaded by every process of a `slaw run` that should behave as if on another machine."""

import os
import socket

if "SLAW_FAKE_HOST" in os.environ:
    socket.gethostname = lambda: os.environ["SLAW_FAKE_HOST"]
