"""The Pile, deduplicated: 22 English sources from papers to code."""

from scaling_law.data.sources._hub import HubSource, hub_corpus

CORPUS = hub_corpus(
    "pile",
    HubSource(dataset="EleutherAI/the_pile_deduplicated"),
    description="22 English sources, deduplicated",
    licence="mixed; parts are under copyright, check your use",
    how="hub, 450 GB, streamed sample (1 GB unless max_bytes says otherwise)",
)
