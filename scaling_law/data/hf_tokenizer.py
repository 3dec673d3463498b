"""Convert our tokenizers to the format of Hugging Face's ``tokenizers`` library, without it.

Byte-level BPE there works on printable stand-ins for bytes and on merges of pairs, where ours
(like tiktoken's) has bytes and ranks. Ours merges a pair whenever its joint bytes are a token;
so every way to cut a token into two tokens is a merge, in the order of the token's rank.
"""

from __future__ import annotations

from typing import Any

from scaling_law.data.tokenizer import BpeTokenizer, Tokenizer

SEPARATOR = "<|endoftext|>"
_NO_EXTRAS = {
    "type": "BPE",
    "dropout": None,
    "unk_token": None,
    "continuing_subword_prefix": None,
    "end_of_word_suffix": None,
    "fuse_unk": False,
    "byte_fallback": False,
    "ignore_merges": True,  # a word that is a token is that token, as in tiktoken
}


def stand_ins() -> list[str]:
    """Return the printable character that stands for each byte (GPT-2's table, Radford 2019)."""
    printable = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    spare = iter(range(0x100, 0x200))
    return [chr(byte) if byte in printable else chr(next(spare)) for byte in range(256)]


def tokenizer_json(tokenizer: Tokenizer) -> dict[str, Any]:
    """The content of ``tokenizer.json``."""
    table = stand_ins()

    def spelled(piece: bytes) -> str:
        return "".join(table[byte] for byte in piece)

    pieces = [piece for piece in tokenizer.token_bytes if piece]
    vocab = {spelled(piece): index for index, piece in enumerate(pieces)}
    vocab[SEPARATOR] = tokenizer.separator
    merges = [[spelled(left), spelled(right)] for left, right in merges_of(pieces)]
    bytes_only: dict[str, Any] = {
        "type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False,
    }  # fmt: skip
    before: dict[str, Any] = bytes_only
    if isinstance(tokenizer, BpeTokenizer):
        split = {
            "type": "Split",
            "pattern": {"Regex": tokenizer.pattern},
            "behavior": "Isolated",
            "invert": False,
        }
        before = {"type": "Sequence", "pretokenizers": [split, bytes_only]}
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [
            {
                "id": tokenizer.separator,
                "content": SEPARATOR,
                **dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False),
                "special": True,
            }
        ],
        "normalizer": None,
        "pre_tokenizer": before,
        "post_processor": None,
        "decoder": bytes_only,
        "model": {**_NO_EXTRAS, "vocab": vocab, "merges": merges},
    }


def merges_of(pieces: list[bytes]) -> list[tuple[bytes, bytes]]:
    """Every pair of tokens whose bytes are a token, in the order of that token's rank."""
    known = set(pieces)
    return [
        (piece[:cut], piece[cut:])
        for piece in pieces
        for cut in range(1, len(piece))
        if piece[:cut] in known and piece[cut:] in known
    ]


def tokenizer_config(tokenizer: Tokenizer, n_ctx: int) -> dict[str, Any]:
    """The content of ``tokenizer_config.json``."""
    return {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": SEPARATOR,
        "eos_token": SEPARATOR,
        "model_max_length": n_ctx,
        "clean_up_tokenization_spaces": False,
    }
