"""One HTML page of a sweep, its figures and its tables."""

import logging

# Where it cannot write below HOME, it says so in two lines and goes on.
logging.getLogger("matplotlib").setLevel(logging.ERROR)
