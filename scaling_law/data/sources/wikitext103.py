"""WikiText-103: good and featured Wikipedia articles, raw text, one document per article."""

from scaling_law.data.sources._hub import hub_corpus
from scaling_law.data.sources._wikitext import wikitext

CORPUS = hub_corpus(
    "wikitext103",
    wikitext("wikitext-103-raw-v1"),
    description="good and featured articles of the English Wikipedia",
    licence="CC BY-SA 3.0 and GFDL",
    how="hub, 540 MB, read whole",
)
