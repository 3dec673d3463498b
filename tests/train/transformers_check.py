"""Loads exported folders with transformers: ``python transformers_check.py FOLDER...``.

Each folder's ``check.npz`` holds ids [B, T] and our logits [B, T, V]; ``text.json`` maps text to
our ids. Prints a JSON line per folder. Run by an interpreter that has transformers.
"""

import json
import sys
from pathlib import Path

import numpy as np
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

for name in sys.argv[1:]:
    model, loading = AutoModelForCausalLM.from_pretrained(name, output_loading_info=True)
    check = np.load(Path(name) / "check.npz")
    with torch.no_grad():
        logits = model.eval()(torch.from_numpy(check["ids"])).logits.numpy()
    tokenizer = AutoTokenizer.from_pretrained(name)
    texts = json.loads((Path(name) / "text.json").read_text())
    wrong = [t for t, ids in texts.items() if tokenizer(t)["input_ids"] != ids]
    back = [t for t, ids in texts.items() if tokenizer.decode(ids) != t]
    result = {
        "architecture": type(model).__name__,
        "worst": float(np.abs(logits - check["logits"]).max()),
        "loose": sorted(map(str, loading["missing_keys"] | loading["unexpected_keys"])),
        "misread": wrong + back,
        "separator": tokenizer.convert_tokens_to_ids("<|endoftext|>"),
        "parameters": sum(p.numel() for p in model.parameters()),
    }
    print(json.dumps(result))
