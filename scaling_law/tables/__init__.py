"""Runs of other programs, read from what these programs write, as a table that ``slaw fit`` takes.

``formats`` has one file a format; ``gather`` finds the format of each source and reads it;
``propose`` finds which column has which role, and says why; ``merge`` joins sources by the names of
their runs; ``write`` checks the result as ``slaw fit`` would and writes it.
"""
