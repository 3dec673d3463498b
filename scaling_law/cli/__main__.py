"""``python -m scaling_law.cli``: the ``slaw`` command where no script is installed."""

import sys

from scaling_law.cli.main import main

sys.exit(main())
