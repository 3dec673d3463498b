"""OpenWebText: pages linked from Reddit, the open rebuild of GPT-2's training text."""

from scaling_law.data.sources._hub import HubSource, hub_corpus

CORPUS = hub_corpus(
    "openwebtext",
    HubSource(dataset="Skylion007/openwebtext"),
    description="web pages linked from Reddit, as for GPT-2",
    licence="CC0 for the packaging; the pages are their authors'",
    how="hub, 40 GB, streamed sample (1 GB unless max_bytes says otherwise)",
)
