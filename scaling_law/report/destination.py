"""Where a report's page, figures and tables are written."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from scaling_law.errors import ConfigError
from scaling_law.files.layout import OUT_REMEDY, SweepDir, check_folder

PAGE_ENDINGS = (".html", ".htm")


@dataclass(frozen=True, kw_only=True)
class Destination:
    """The files of a report.

    ``page`` is the HTML file;
    ``figures`` is the folder of its PNG and SVG files;
    ``tables`` is the folder of its numbers.
    """

    page: Path
    figures: Path
    tables: Path


def cannot_write(place: Destination, problem: OSError) -> ConfigError:
    """The error for a page that the disk refuses."""
    return ConfigError(f"{place.page}: cannot be written ({problem.strerror}); {OUT_REMEDY}")


def destination(usual: Path, out: Path | None) -> Destination:
    """Where a report goes whose page is at ``usual`` if the user names no other place.

    ``out`` is the page if its name ends in .html, and then has its figures and tables in folders
    named after it; any other ``out`` is a folder, which is made. Raises ``ConfigError`` where the
    page cannot be written.
    """
    if out is not None and out.suffix.lower() in PAGE_ENDINGS:
        if out.is_dir():
            raise ConfigError(f"{out}: a folder; expected the name of a file for the page")
        check_folder(out.parent, OUT_REMEDY)
        return Destination(
            page=out,
            figures=out.parent / f"{out.stem}-figures",
            tables=out.parent / f"{out.stem}-tables",
        )
    folder = usual.parent if out is None else out
    if out is not None and out.exists() and not out.is_dir():
        raise ConfigError(f"{out}: a file; expected a folder, or a page whose name ends in .html")
    page = folder / usual.name
    if page.is_dir():
        raise ConfigError(f"{page}: a folder; expected the name of a file for the page")
    check_folder(folder, OUT_REMEDY)
    beside = SweepDir(folder)
    return Destination(page=page, figures=beside.figures, tables=beside.tables)
