"""One file per corpus, each exporting ``CORPUS``; files starting with ``_`` are shared code."""
