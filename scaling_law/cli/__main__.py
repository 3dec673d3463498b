"""``python -m scaling_law.cli``: the ``slaw`` command where no script is installed."""

import sys

# `python -m` looks for modules in the current folder first, where a user's random.py would take the
# place of the standard library's
if not sys.flags.safe_path:
    del sys.path[0]

from scaling_law.cli.main import main
from scaling_law.files.process import make_importable

make_importable()
sys.exit(main())
