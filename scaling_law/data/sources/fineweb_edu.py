"""FineWeb-Edu: web pages rated educational, from the 10-billion-token sample."""

from scaling_law.data.sources._hub import HubSource, hub_corpus

CORPUS = hub_corpus(
    "fineweb_edu",
    HubSource(dataset="HuggingFaceFW/fineweb-edu", config="sample-10BT"),
    description="educational web pages, 10-billion-token sample",
    licence="ODC-By 1.0, and Common Crawl's terms of use",
    how="hub, 27 GB, streamed sample (1 GB unless max_bytes says otherwise)",
)
