"""Loaded by every process of a `slaw run` that is to take itself for one on another machine."""

import os
import socket

if name := os.environ.get("SLAW_FAKE_HOST"):
    socket.gethostname = lambda: name
