"""The corpora and other files that a config names, and where they are."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scaling_law import parts
from scaling_law.config.error_lines import line_number
from scaling_law.config.slots import Choice, Choices
from scaling_law.config.strict_yaml import SET, Path_, YamlDocument
from scaling_law.errors import quoted

_CLEAN = ("data", "clean")


@dataclass(frozen=True, kw_only=True)
class CorpusFinder:
    """Finds the files of a corpus that a config names by a path.

    ``folder`` is the config's own;
    ``begun`` says where the corpora of the sweep's folder were when it began.
    """

    folder: Path
    begun: Mapping[str, str]

    def places(self, document: YamlDocument) -> dict[str, str]:
        """The paths of the document's corpora, by spelling; none for a name or a missing file."""
        places = {}
        for path, corpus in corpora_of(document).items():
            if not corpus or corpus in parts.names("corpus") or corpus.endswith(".py"):
                continue  # the file of a part is found with the other parts
            place = self._place(corpus, from_shell=document.mark(path).place == SET)
            if place is not None:
                places[corpus] = place
        return places

    def places_of_files(self, document: YamlDocument, choices: Choices) -> dict[str, str]:
        """The paths of the files that cleaning rules read, by spelling; none for a missing file."""
        from_shell = document.mark(_CLEAN).place == SET
        names = (name for choice in choices.get("cleaner", ()) for name in files_of(choice))
        places = {name: self._place(name, from_shell=from_shell) for name in names}
        return {name: place for name, place in places.items() if place is not None}

    def _place(self, corpus: str, *, from_shell: bool) -> str | None:
        """The absolute path of a corpus that a file names, or ``--set`` in the shell's folder."""
        in_file, in_shell, begun = self.folder / corpus, Path(corpus), self.begun.get(corpus)
        known = [] if begun is None else [Path(begun)]
        order = (in_shell, in_file, *known) if from_shell else (in_file, *known, in_shell)
        try:
            paths = (path.expanduser() for path in order)
            return next((str(path.resolve()) for path in paths if path.exists()), None)
        except (OSError, RuntimeError, ValueError):  # a name too long, an unknown ~user
            return None


def files_of(choice: Choice) -> Sequence[str]:
    """The files that a cleaning rule reads, as the config spells them."""
    files: Sequence[str] = choice.part.files(choice.settings)
    return files


def missing_files(
    document: YamlDocument, choices: Choices, places: Mapping[str, str]
) -> list[tuple[int, str]]:
    """Files that cleaning rules read and that are not there."""
    mark = document.mark(_CLEAN)
    return [
        (
            line_number(mark),
            f"{mark}: {choice.spelled}: no file or folder {quoted(name)}; name one beside the"
            " config, or by its whole path",
        )
        for choice in choices.get("cleaner", ())
        for name in files_of(choice)
        if name not in places
    ]


def missing_corpora(
    document: YamlDocument, places: Mapping[str, str], corpus_problem: Callable[[str], str]
) -> list[tuple[int, str]]:
    """Corpora that are not available here; a user's own file is looked for with the other parts."""
    lines = []
    for path, corpus in corpora_of(document).items():
        own = corpus in places or corpus.endswith(".py")
        if not own and (why := corpus_problem(corpus)):
            mark = document.mark(path)
            lines.append((line_number(mark), f"{mark}: {why}"))
    return lines


def corpora_of(document: YamlDocument) -> dict[Path_, str]:
    """The corpora that a document names, by the key that names them."""
    section = document.data.get("data")
    given = section if isinstance(section, dict) else {}
    sources = given.get("sources")
    corpora: dict[Path_, Any] = {("data", "corpus"): given.get("corpus")}
    for name, source in sources.items() if isinstance(sources, dict) else ():
        if isinstance(source, dict):
            corpora["data", "sources", name, "corpus"] = source.get("corpus")
    return {path: corpus for path, corpus in corpora.items() if isinstance(corpus, str)}
