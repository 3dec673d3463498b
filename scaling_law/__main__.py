"""Runs ``python -m scaling_law`` as ``slaw``."""

import sys

from scaling_law.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
