"""The data card of a prepared text: what it is from, what was left out and why, and its hashes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from scaling_law.data.cleaning import CLEANING
from scaling_law.data.dataset_folder import CHECKS, SPLITS
from scaling_law.text_columns import numbers
from scaling_law.units import count_of, format_bytes, format_seconds

CARD = "card.md"
# The key among the checks of a prepared text of the bytes and the time that its tokenizer took.
TRAINING = "tokenizer_training"


def training_words(checks: Mapping[str, Any]) -> str:
    """``, trained on 7.83 MB in 3.3s``; "" for a tokenizer that was not trained, or before."""
    training = checks.get(TRAINING)
    if not training:
        return ""
    seconds = format_seconds(training["seconds"])
    return f", trained on {format_bytes(training['bytes'])} in {seconds}"


def cleaning_lines(rows: Sequence[Mapping[str, Any]], examples: bool = True) -> list[str]:
    """Return the table of what each rule read and left, then its reasons with an example each."""
    if not rows:
        return []
    cells = [("rule", "documents", "bytes", "left", "dropped", "changed")]
    for row in rows:
        read, left = row["in"], row["out"]
        dropped = read["documents"] - left["documents"]
        cells.append(
            (
                row["rule"],
                f"{read['documents']:,} -> {left['documents']:,}",
                f"{format_bytes(read['bytes'])} -> {format_bytes(left['bytes'])}",
                f"{100 * left['bytes'] / max(read['bytes'], 1):.1f}%",
                f"{dropped:,}",
                f"{row['changed']['documents']:,}",
            )
        )
    lines = numbers(cells)
    for row in rows if examples else ():
        changes = row["changed"]["counts"]
        reasons = [
            f'  {one["count"]:,} {one["why"]}; first {one["first"]}: "{one["begins"]}"'
            for one in row["dropped"]
        ]
        reasons += [f"  changed: {what}, {count:,} times" for what, count in changes.items()]
        if reasons:
            lines += [f"{row['rule']}:", *reasons]
    return lines


def card(meta: Mapping[str, Any]) -> str:
    """Return the card of a prepared text as Markdown, made from its ``meta.json``."""
    checks = meta[CHECKS]
    spec = meta["spec"]
    lines = [
        f"# {meta['corpus']}",
        "",
        f"- licence: {meta['licence']}",
        f"- fingerprint of the documents: {meta['fingerprint']}",
        f"- tokenizer: {spec['tokenizer']}, {spec['vocab_size']} ids{training_words(checks)}",
        f"- exact duplicates dropped: {meta['duplicates_dropped']:,}",
    ]
    lines += [
        f"- {split}: {row['documents']:,} documents, {row['bytes']:,} bytes,"
        f" {row['tokens']:,} tokens, SHA-256 {row['sha256']}"
        for split, row in ((split, meta["splits"][split]) for split in SPLITS)
    ]
    lines += [f"- {name} {version}" for name, version in meta["versions"].items()]
    lines += ["", "## Read and left out", ""]
    lines += [f"- read {count_of(n, kind)}" for kind, n in checks["read"].items()]
    lines += [
        f"- {one['count']:,} x {one['what']}: {one['why']} (first: {one['first']})"
        for one in (*checks["remarks"], *checks["left_out"])
    ]
    if rows := checks.get(CLEANING):
        lines += ["", "## Cleaning", "", *(f"    {line}" for line in cleaning_lines(rows))]
    return "\n".join(lines) + "\n"
