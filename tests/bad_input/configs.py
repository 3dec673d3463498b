"""Bad configs. Each is read by ``slaw plan``; the line that is said names file, line and key."""

from __future__ import annotations

from tests.bad_input.case import Case

GOOD = """\
name: test
data: {corpus: text.txt, vocab_size: 512}
grid:
  - sizes: [nano14k, nano25k]
    tokens: [1M, 2M]
"""


def _bomb(levels: int) -> str:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    for level in range(1, levels):
        lines.append(f"a{level}: &a{level} [{', '.join([f'*a{level - 1}'] * 9)}]")
    return "\n".join(lines) + "\n"


def _with(old: str, new: str) -> str:
    assert old in GOOD, old
    return GOOD.replace(old, new)


_DIGITS = "9" * 90_000

# id, the file, what is said, how many lines
# fmt: off
_TEXTS: list[tuple[str, str | bytes, str | tuple[str, ...], int]] = [
    # no YAML, or YAML that is not read
    ("empty", "", "s.yaml:1: expected keys and values, found nothing", 1),
    ("only-a-comment", "# nothing\n", "s.yaml:1: expected keys and values, found nothing", 1),
    ("a-list", "- name: test\n", "s.yaml:1: expected keys and values, found a list", 1),
    ("a-word", "quick\n", "s.yaml:1: expected keys and values, found 'quick'", 1),
    ("a-number", "7\n", "s.yaml:1: expected keys and values, found 7", 1),
    ("null", "null\n", "s.yaml:1: expected keys and values, found nothing", 1),
    ("unclosed", _with("[nano14k", "[[nano14k"), "s.yaml:5: not valid YAML: expected ',' or ']', but got '<scalar>'", 1),
    ("tab-indent", _with("  - sizes", "\t- sizes"), "s.yaml:4: not valid YAML: found character '\\t' that cannot start any token", 1),
    ("bad-indent", _with("    tokens", "   tokens"), "s.yaml:5: not valid YAML: expected <block end>, but found '<block mapping start>'", 1),
    ("not-utf8", GOOD.encode() + b"question: caf\xe9\n", "s.yaml: not UTF-8 text (invalid continuation byte)", 1),
    ("utf16", GOOD.encode("utf-16"), "s.yaml: not UTF-8 text (invalid start byte)", 1),
    ("nul-byte", GOOD.encode() + b"question: a\0b\n", "s.yaml: not valid YAML: unacceptable character #x0000: special characters are not allowed in \"<unicode string>\", position 121", 1),
    ("control-character", GOOD + "question: a\x1b[31mb\n", "s.yaml: not valid YAML: unacceptable character #x001b: special characters are not allowed in \"<unicode string>\", position 121", 1),
    ("binary", bytes(range(256)) * 4, "s.yaml: not UTF-8 text (invalid start byte)", 1),
    ("an-image", b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", "s.yaml: not UTF-8 text (invalid start byte)", 1),
    ("too-large", GOOD + "#" * 1_000_001, "s.yaml: larger than 100000 bytes, not a config", 1),
    ("two-documents", GOOD + "---\nname: again\n", "s.yaml:6: a second document; a config is one", 1),
    ("deep-lists", "a: " + "[" * 50_000, "s.yaml:1: nested more than 20 deep", 1),
    ("deep-keys", "{a: " * 5_000 + "1" + "}" * 5_000, "s.yaml:1: nested more than 20 deep", 1),
    ("billion-laughs", _bomb(10), ("s.yaml:1: a0: anchors and aliases are not read; write the value out", "s.yaml:2: a1: anchors and aliases are not read; write the value out", "s.yaml:2: a1.0: anchors and aliases are not read; write the value out"), 31),
    ("an-anchor", _with("test", "&x test"), "s.yaml:1: name: anchors and aliases are not read; write the value out", 1),
    ("an-alias-to-nothing", _with("test", "*x"), "s.yaml:1: name: anchors and aliases are not read; write the value out", 1),
    ("merge-key", GOOD + "model: {<<: *base}\n", "s.yaml:6: model.<<: anchors and aliases are not read; write the value out", 1),
    ("a-cycle", "name: &x [*x]\n", ("s.yaml:1: name: anchors and aliases are not read; write the value out", "s.yaml:1: name.0: anchors and aliases are not read; write the value out"), 2),
    ("python-object", _with("test", "!!python/object/apply:os.system ['touch owned']"), "s.yaml:1: name: the tag 'tag:yaml.org,2002:python/object/apply:os.system' is not read; leave it out", 1),
    ("python-name", _with("test", "!!python/name:os.system ''"), "s.yaml:1: name: the tag 'tag:yaml.org,2002:python/name:os.system' is not read; leave it out", 1),
    ("python-module", _with("test", "!!python/object/new:os.system ['touch owned']"), "s.yaml:1: name: the tag 'tag:yaml.org,2002:python/object/new:os.system' is not read; leave it out", 1),
    ("a-tag", _with("512", "!!int '512'"), "s.yaml:2: data.vocab_size: the tag 'tag:yaml.org,2002:int' is not read; leave it out", 1),
    ("an-own-tag", _with("512", "!mine 512"), "s.yaml:2: data.vocab_size: the tag '!mine' is not read; leave it out", 1),
    ("yaml-directive", "%YAML 3.0\n---\n" + GOOD, "s.yaml:1: not valid YAML: found incompatible YAML document (version 1.* is required)", 1),
    ("a-list-as-key", GOOD + "? [a, b]\n: 1\n", "s.yaml:6: a list, mapping or alias as a key; expected text", 1),
    ("a-key-twice", GOOD + "name: other\n", "s.yaml:6: name: written twice (first on line 1)", 1),
    ("a-deep-key-twice", _with("vocab_size: 512", "vocab_size: 512, vocab_size: 600"), "s.yaml:2: data.vocab_size: written twice (first on line 2)", 1),
    ("an-infinity", _with("512", ".inf"), "s.yaml:2: data.vocab_size: expected a finite number, found .inf", 1),
    ("not-a-number", _with("512", ".NaN"), "s.yaml:2: data.vocab_size: expected a finite number, found .NaN", 1),
    ("1e400", _with("512", "1e400"), "s.yaml:2: data.vocab_size: expected a finite number, found 1e400", 1),
    ("minus-1e400", _with("512", "-1e400"), "s.yaml:2: data.vocab_size: expected a finite number, found -1e400", 1),
    ("90000-digits", _with("512", _DIGITS), "s.yaml:2: data.vocab_size: expected a finite number, found 99999999999999999999...", 1),
    ("90000-digit-fraction", _with("512", "0." + _DIGITS), "s.yaml:2: data.vocab_size: expected a finite number, found 0.999999999999999999...", 1),
    ("90000-digit-exponent", _with("512", "1e" + _DIGITS), "s.yaml:2: data.vocab_size: expected a finite number, found 1e999999999999999999...", 1),
    ("90000-hex-digits", _with("512", "0x" + "f" * 90_000), "s.yaml:2: data.vocab_size: expected a finite number, found 0xffffffffffffffffff...", 1),
    ("90000-digits-quoted", _with("512", f"'{_DIGITS}'"), "s.yaml:2: data.vocab_size: expected a count such as 5M, 1.4T or 175e9, found '99999999999999999999999999999999999999999999999999999999...", 1),
    ("300-digits", _with("512", "9" * 300), "s.yaml:2: data.vocab_size: expected at most 1e+08, found 999999999999999999999999999999999999999999999999999999999...", 1),
    ("350-digits", _with("512", "9" * 350), "s.yaml:2: data.vocab_size: expected a finite number, found 99999999999999999999...", 1),
    ("350-hex-digits", _with("512", "0x" + "f" * 350), "s.yaml:2: data.vocab_size: expected a finite number, found 0xffffffffffffffffff...", 1),
    # keys
    ("unknown-key", GOOD + "modle: {}\n", "s.yaml:6: modle: unknown key (did you mean model?)", 1),
    ("unknown-key-far-off", GOOD + "zzz: 1\n", "s.yaml:6: zzz: unknown key; known: name, question, data, ", 1),
    ("unknown-deep-key", GOOD + "optim: {learning_rate: 1}\n", "s.yaml:6: optim.learning_rate: unknown key; known: name, rule, lr_mult, lr, batch_tokens, batch_examples, warmup_tokens, weight_decay, grad_clip, beta1, beta2, eps", 1),
    ("hostile-key", GOOD + '"a\\nb\\e[31m": 1\n', "s.yaml:6: a\\nb\\x1b[31m: unknown key; known: name, question, data, ", 1),
    ("dunder-key", GOOD + "__class__: 1\n", "s.yaml:6: __class__: unknown key; known: name, question, data, ", 1),
    ("empty-key", GOOD + "'': 1\n", "s.yaml:6: unknown key; known: name, question, data, ", 1),
    ("no-name", _with("name: test\n", ""), "s.yaml:1: name: missing", 1),
    ("no-data", _with("data: {corpus: text.txt, vocab_size: 512}\n", ""), "s.yaml:1: data: missing", 1),
    ("no-corpus", _with("corpus: text.txt, ", ""), "s.yaml:2: data: expected either corpus (text) or source (a task); found neither", 1),
    ("no-grid", GOOD[: GOOD.index("grid")], "s.yaml:1: grid: missing", 1),
    ("several-errors", "name: 3\ngrid: []\nmodle: {}\n", ("s.yaml:1: data: missing", "s.yaml:1: name: expected text, found 3", "s.yaml:3: modle: unknown key (did you mean model?)"), 3),
    # names that leave the results folder
    ("name-goes-up", _with("test", "../../escaped"), "s.yaml:1: name: expected letters, digits, . _ and - (at most 61; . _ - not first), found '../../escaped'", 1),
    ("name-is-up", _with("test", ".."), "s.yaml:1: name: expected letters, digits, . _ and - (at most 61; . _ - not first), found '..'", 1),
    ("name-is-absolute", _with("test", "/escaped"), "s.yaml:1: name: expected letters, digits, . _ and - (at most 61; . _ - not first), found '/escaped'", 1),
    ("name-has-backslash", _with("test", "'..\\..\\escaped'"), "s.yaml:1: name: expected letters, digits, . _ and - (at most 61; . _ - not first), found '..\\\\..\\\\escaped'", 1),
    ("name-is-hidden", _with("test", ".hidden"), "s.yaml:1: name: expected letters, digits, . _ and - (at most 61; . _ - not first), found '.hidden'", 1),
    ("name-has-newline", _with("test", '"a\\nb"'), "s.yaml:1: name: expected letters, digits, . _ and - (at most 61; . _ - not first), found 'a\\nb'", 1),
    ("name-ends-in-newline", _with("test", '"a\\n"'), "s.yaml:1: name: expected letters, digits, . _ and - (at most 61; . _ - not first), found 'a\\n'", 1),
    ("name-has-nul", _with("test", '"a\\0b"'), "s.yaml:1: name: expected letters, digits, . _ and - (at most 61; . _ - not first), found 'a\\x00b'", 1),
    ("name-is-a-flag", _with("test", "--out"), "s.yaml:1: name: expected letters, digits, . _ and - (at most 61; . _ - not first), found '--out'", 1),
    ("name-has-space", _with("test", "'a b'"), "s.yaml:1: name: expected letters, digits, . _ and - (at most 61; . _ - not first), found 'a b'", 1),
    ("name-is-empty", _with("test", "''"), "s.yaml:1: name: expected letters, digits, . _ and - (at most 61; . _ - not first), found ''", 1),
    ("name-is-long", _with("test", "a" * 300), "s.yaml:1: name: expected letters, digits, . _ and - (at most 61; . _ - not first), found 'aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa...", 1),
    ("name-is-unicode", _with("test", "süß"), "s.yaml:1: name: expected letters, digits, . _ and - (at most 61; . _ - not first), found 'süß'", 1),
    ("name-is-null", _with("test", "null"), "s.yaml:1: name: expected text, found nothing", 1),
    ("name-is-a-list", _with("test", "[a]"), "s.yaml:1: name: expected text, found a list", 1),
    # wrong types
    ("data-is-text", _with("{corpus: text.txt, vocab_size: 512}", "installed"), "s.yaml:2: data: expected keys and values, found 'installed'", 1),
    ("data-is-null", _with("{corpus: text.txt, vocab_size: 512}", ""), "s.yaml:2: data: expected keys and values, found nothing", 1),
    ("corpus-is-a-number", _with("text.txt", "3"), "s.yaml:2: data.corpus: expected text, found 3", 1),
    ("grid-is-a-mapping", GOOD[: GOOD.index("grid")] + "grid: {sizes: [tiny]}\n", "s.yaml:3: grid: expected a list, found keys and values", 1),
    ("grid-is-text", GOOD[: GOOD.index("grid")] + "grid: all\n", "s.yaml:3: grid: expected a list, found 'all'", 1),
    ("grid-is-empty", GOOD[: GOOD.index("grid")] + "grid: []\n", "s.yaml:1: grid is empty", 1),
    ("entry-is-text", GOOD[: GOOD.index("grid")] + "grid: [tiny]\n", "s.yaml:3: grid.0: expected keys and values, found 'tiny'", 1),
    ("sizes-is-text", _with("[nano14k, nano25k]", "nano14k"), "s.yaml:4: grid.0.sizes: expected a list or a mapping, found 'nano14k'", 1),
    ("sizes-is-empty", _with("[nano14k, nano25k]", "[]"), "s.yaml:4: grid.0: sizes or seeds is empty", 1),
    ("size-is-a-number", _with("nano25k]", "25000]"), "s.yaml:4: grid.0.sizes.1: expected a text or a mapping, found 25000", 1),
    ("size-is-unknown", _with("nano25k]", "nano25]"), "s.yaml:4: grid.0.sizes.1: found 'nano25' (did you mean nano25k?)", 1),
    ("seeds-is-text", GOOD + "    seeds: all\n", "s.yaml:6: grid.0.seeds: expected a list or a mapping, found 'all'", 1),
    ("seed-is-negative", GOOD + "    seeds: [-1]\n", "s.yaml:6: grid.0.seeds.0: expected at least 0, found -1", 1),
    ("seed-is-a-fraction", GOOD + "    seeds: [0.5]\n", "s.yaml:6: grid.0.seeds.0: expected a whole number, found 0.5", 1),
    ("seed-is-true", GOOD + "    seeds: [true]\n", "s.yaml:6: grid.0.seeds.0: expected a whole number, found True", 1),
    ("seed-is-huge", GOOD + f"    seeds: [{'9' * 60}]\n", "s.yaml:6: grid.0.seeds.0: expected at most 1e+09, found 999999999999999999999999999999999999999999999999999999999999", 1),
    ("bool-is-a-word", GOOD + "model: {tied: yes}\n", "s.yaml:6: model.tied: expected true or false, found 'yes'", 1),
    ("bool-is-a-number", GOOD + "model: {tied: 1}\n", "s.yaml:6: model.tied: expected true or false, found 1", 1),
    ("section-is-a-list", GOOD + "model: [1]\n", "s.yaml:6: model: expected keys and values, found a list", 1),
    ("domains-is-text", _with("vocab_size: 512", "domains: code"), "s.yaml:2: data.domains: expected a list, found 'code'", 1),
    # numbers out of range
    ("vocab-too-small", _with("512", "256"), "s.yaml:2: data.vocab_size: expected at least 257, found 256", 1),
    ("vocab-is-negative", _with("512", "-512"), "s.yaml:2: data.vocab_size: expected a positive finite count, found -512", 1),
    ("vocab-is-zero", _with("512", "0"), "s.yaml:2: data.vocab_size: expected a positive finite count, found 0", 1),
    ("vocab-is-a-fraction", _with("512", "512.5"), "s.yaml:2: data.vocab_size: expected a whole number, found 512.5", 1),
    ("vocab-is-huge", _with("512", "1e300"), "s.yaml:2: data.vocab_size: expected at most 1e+08, found 1e+300", 1),
    ("vocab-is-1T", _with("512", "1T"), "s.yaml:2: data.vocab_size: expected at most 1e+08, found '1T'", 1),
    ("bytes-vocab", _with("vocab_size: 512", "tokenizer: bytes"), "s.yaml:2: data: vocab_size is 1024, expected 257 with bytes", 1),
    ("tokenizer-unknown", _with("vocab_size: 512", "tokenizer: words"), "s.yaml:2: data.tokenizer: found 'words'; known: bytes, bpe", 1),
    ("val-fraction-one", _with("vocab_size: 512", "val_fraction: 1"), "s.yaml:2: data.val_fraction: expected below 1, found 1", 1),
    ("val-fraction-is-text", _with("vocab_size: 512", "val_fraction: 2%"), "s.yaml:2: data.val_fraction: expected a number, found '2%'", 1),
    ("max-bytes-unit", _with("vocab_size: 512", "max_bytes: 4 parsecs"), "s.yaml:2: data.max_bytes: expected a size such as 4GB or 512MiB, found '4 parsecs'", 1),
    ("max-bytes-zero", _with("vocab_size: 512", "max_bytes: 0B"), "s.yaml:2: data.max_bytes: expected a positive finite size, found '0B'", 1),
    ("max-bytes-infinite", _with("vocab_size: 512", "max_bytes: 1e999GB"), "s.yaml:2: data.max_bytes: '1e999' is too large a number", 1),
    ("max-bytes-overflows", _with("vocab_size: 512", "max_bytes: 1e308TB"), "s.yaml:2: data.max_bytes: expected a positive finite size, found '1e308TB'", 1),
    ("max-epochs-zero", _with("vocab_size: 512", "max_epochs: 0"), "s.yaml:2: data.max_epochs: expected above 0, found 0", 1),
    ("context-zero", GOOD + "model: {n_ctx: 0}\n", "s.yaml:6: model.n_ctx: expected a positive finite count, found 0", 1),
    ("context-huge", GOOD + "model: {n_ctx: 1e18}\n", "s.yaml:6: model.n_ctx: expected at most 1e+08, found 1e+18", 1),
    ("norm-unknown", GOOD + "model: {norm: batchnorm}\n", "s.yaml:6: model.norm: found 'batchnorm'; known: rmsnorm, layernorm", 1),
    ("tokens-are-negative", _with("1M, 2M", "-1M"), "s.yaml:5: grid.0.tokens.0: expected a count such as 5M, 1.4T or 175e9, found '-1M'", 1),
    ("tokens-are-zero", _with("1M, 2M", "0"), "s.yaml:5: grid.0.tokens.0: expected a positive finite count, found 0", 1),
    ("tokens-are-a-word", _with("1M, 2M", "lots"), "s.yaml:5: grid.0.tokens.0: expected a count such as 5M, 1.4T or 175e9, found 'lots'", 1),
    ("tokens-are-huge", _with("1M, 2M", "1e300"), "s.yaml:5: grid.0.tokens.0: expected at most 1e+40, found 1e+300", 1),
    ("tokens-are-true", _with("1M, 2M", "true"), "s.yaml:5: grid.0.tokens.0: expected tokens such as 5M, or xs, sm, md, lg, xl, found True", 1),
    ("tokens-overflow", _with("1M, 2M", "1e308T"), "s.yaml:5: grid.0.tokens.0: expected a positive finite count, found '1e308T'", 1),
    ("tokens-have-300-digits", _with("1M, 2M", "9" * 300), "s.yaml:5: grid.0.tokens.0: expected at most 1e+40, found 999999999999999999999999999999999999999999999999999999999...", 1),
    ("tokens-have-350-digits", _with("1M, 2M", "9" * 350), "s.yaml:5: grid.0.tokens.0: expected a finite number, found 99999999999999999999...", 1),
    ("ratio-is-zero", _with("tokens: [1M, 2M]", "tokens_per_param: [0]"), "s.yaml:5: grid.0.tokens_per_param.0: expected above 0, found 0", 1),
    ("ratio-is-text", _with("tokens: [1M, 2M]", "tokens_per_param: ['20']"), "s.yaml:5: grid.0.tokens_per_param.0: expected a number, found '20'", 1),
    ("ratio-is-tiny", _with("tokens: [1M, 2M]", "tokens_per_param: [1e-300]"), ("s.yaml:5: grid.0.tokens_per_param: size nano14k: a horizon of 2.61e-296 tokens is below one step of 2.05K tokens", "s.yaml:5: grid.0.tokens_per_param: size nano25k: a horizon of 4.1e-296 tokens is below one step of 2.05K tokens"), 2),
    ("ratio-is-huge", _with("tokens: [1M, 2M]", "tokens_per_param: [1e308]"), "s.yaml:5: grid.0.tokens_per_param.0: expected at most 1e+12, found 1e+308", 1),
    ("flops-are-huge", _with("tokens: [1M, 2M]", "flops: [1e308]"), "s.yaml:5: grid.0.flops.0: expected at most 1e+40, found 1e+308", 1),
    ("beta-is-one", GOOD + "optim: {beta1: 1}\n", "s.yaml:6: optim.beta1: expected below 1, found 1", 1),
    ("lr-is-zero", GOOD + "optim: {lr: 0}\n", "s.yaml:6: optim.lr: expected at least 1e-12, found 0", 1),
    ("lr-is-text", GOOD + "optim: {lr: '1e-3'}\n", "s.yaml:6: optim.lr: expected a number, found '1e-3'", 1),
    ("lr-is-a-huge-whole-number", GOOD + f"optim: {{lr: {'9' * 350}}}\n", "s.yaml:6: optim.lr: expected a finite number, found 99999999999999999999...", 1),
    ("rule-unknown", GOOD + "optim: {rule: best}\n", "s.yaml:6: optim.rule: no rule is named 'best'; expected one of olmo_ladder, slaw_small, steplaw", 1),
    ("precision-unknown", GOOD + "precision: f32\n", "s.yaml:6: precision: found 'f32' (did you mean fp32?)", 1),
    ("shape-unknown", GOOD + "schedule: {shape: wds}\n", "s.yaml:6: schedule.shape: no schedule is named 'wds' (did you mean wsd?)", 1),
    ("decay-whole", GOOD + "schedule: {decay_frac: 1.0}\n", "s.yaml:6: schedule.decay_frac: expected below 1, found 1.0", 1),
    ("curve-points-huge", GOOD + "eval: {curve_points: 1000000000000000000000}\n", "s.yaml:6: eval.curve_points: expected at most 10000, found 1000000000000000000000", 1),
    ("time-is-negative", GOOD + "limits: {time: -2h}\n", "s.yaml:6: limits.time: expected a duration such as 2h, 90m or 1h30m, found '-2h'", 1),
    ("time-unit", GOOD + "limits: {time: 2 fortnights}\n", "s.yaml:6: limits.time: expected a duration such as 2h, 90m or 1h30m, found '2 fortnights'", 1),
    ("time-has-no-unit-twice", GOOD + "limits: {time: 1h30}\n", "s.yaml:6: limits.time: expected a duration such as 2h, 90m or 1h30m, found '1h30'", 1),
    ("memory-is-a-word", GOOD + "limits: {memory: plenty}\n", "s.yaml:6: limits.memory: expected a size such as 4GB or 512MiB, found 'plenty'", 1),
    ("memory-is-infinite", GOOD + "limits: {memory: 1e308TB}\n", "s.yaml:6: limits.memory: expected a positive finite size, found '1e308TB'", 1),
    ("memory-is-a-list", GOOD + "limits: {memory: [4GB]}\n", "s.yaml:6: limits.memory: expected a size such as 4GB, found ['4GB']", 1),
    ("corpus-beside-other-mistakes", _with("text.txt", "installd").replace("name: test", "nme: test"), ("s.yaml:1: nme: unknown key (did you mean name?)", "s.yaml:2: data.corpus: 'installd' (did you mean installed?) is neither a corpus (fineweb_edu,"), 3),
    # variants
    ("variant-unknown", GOOD + "variants: {tpu: {}}\n", "s.yaml:6: variants.tpu: unknown device kind; known: cpu, mps, cuda", 1),
    ("variant-is-a-list", GOOD + "variants: [cpu]\n", "s.yaml:6: variants: expected any of cpu, mps, cuda as keys, found a list", 1),
    ("variant-is-text", GOOD + "variants: {cpu: fast}\n", "s.yaml:6: variants.cpu: expected keys and values, found 'fast'", 1),
    ("variant-of-another-device", GOOD + "variants: {cuda: {model: {n_ctx: big}}}\n", "s.yaml:6: variants.cuda.model.n_ctx: expected a count such as 5M, 1.4T or 175e9, found 'big'", 1),
    ("variant-in-variant", GOOD + "variants: {cpu: {variants: {}}}\n", "s.yaml:6: variants.cpu.variants: unknown key; known: name, question, data, ", 1),
    ("variant-changes-the-kind", GOOD + "variants: {cpu: {grid: 3}}\n", "s.yaml:6: variants.cpu.grid: expected a list, found 3", 1),
    # grids that cannot be run
    ("no-horizons", _with("    tokens: [1M, 2M]\n", ""), "s.yaml:4: grid.0: expected exactly one of tokens, tokens_per_param, flops, flops_ladder, examples, epochs, steps; found none", 1),
    ("two-kinds-of-horizons", GOOD + "    flops: [1e12]\n", "s.yaml:4: grid.0: expected exactly one of tokens, tokens_per_param, flops, flops_ladder, examples, epochs, steps; found tokens and flops", 1),
    ("horizons-empty", _with("[1M, 2M]", "[]"), "s.yaml:4: grid.0: tokens is empty", 1),
    ("horizons-equal", _with("1M, 2M", "1M, 1M"), ("s.yaml:5: grid.0.tokens: size nano14k: two horizons come to the same 488 steps of 2048 tokens", "s.yaml:5: grid.0.tokens: size nano25k: two horizons come to the same 488 steps of 2048 tokens"), 2),
    ("horizon-below-a-step", _with("1M, 2M", "10"), ("s.yaml:5: grid.0.tokens: size nano14k: a horizon of 10 tokens is below one step of 2.05K tokens", "s.yaml:5: grid.0.tokens: size nano25k: a horizon of 10 tokens is below one step of 2.05K tokens"), 2),
    ("size-twice", _with("nano25k]", "nano14k]"), "s.yaml:4: grid.0.sizes: size nano14k with seed 0 is in the grid twice", 1),
    ("seed-twice", GOOD + "    seeds: [0, 0]\n", ("s.yaml:4: grid.0.sizes: size nano14k with seed 0 is in the grid twice", "s.yaml:4: grid.0.sizes: size nano25k with seed 0 is in the grid twice"), 2),
    ("seeds-of-another-size", GOOD + "    seeds: {tiny: [0]}\n", "s.yaml:6: grid.0.seeds.tiny: no size of this entry has that name; it has nano14k, nano25k", 1),
    ("heads-do-not-divide", _with("nano25k]", "{n_layer: 2, d_model: 30, n_head: 4}]"), "s.yaml:4: grid.0.sizes.1: d_model 30 is not a multiple of n_head 4", 1),
    ("head-size-is-odd", _with("nano25k]", "{n_layer: 2, d_model: 9, n_head: 3}]"), "s.yaml:4: grid.0.sizes.1: rotary positions need an even head size, found 3", 1),
    ("layers-are-many", _with("nano25k]", "{n_layer: 1000000000000, d_model: 8, n_head: 2}]"), "s.yaml:4: grid.0.sizes.1.n_layer: expected at most 10000, found 1000000000000", 1),
    ("layers-have-300-digits", _with("nano25k]", "{n_layer: %s, d_model: 8, n_head: 2}]" % ("9" * 300)), "s.yaml:4: grid.0.sizes.1.n_layer: expected at most 10000, found 999999999999999999999999999999999999999999999999999999999...", 1),
    ("width-has-300-digits", _with("nano25k]", "{n_layer: 2, d_model: %s, n_head: 1}]" % ("8" * 300)), "s.yaml:4: grid.0.sizes.1.d_model: expected at most 1e+06, found 888888888888888888888888888888888888888888888888888888888...", 1),
    ("width-is-huge", _with("nano25k]", "{n_layer: 2, d_model: 1000000000000000, n_head: 1}]"), "s.yaml:4: grid.0.sizes.1.d_model: expected at most 1e+06, found 1000000000000000", 1),
    ("range-backwards", _with("[nano14k, nano25k]", "{params: [1M, 10k], count: 3}"), "s.yaml:4: grid.0.sizes: params runs from 1e+06 to 10000", 1),
    ("range-of-one-number", _with("[nano14k, nano25k]", "{params: [1M], count: 3}"), "s.yaml:4: grid.0.sizes.params.1: missing", 1),
    ("range-too-dense", _with("[nano14k, nano25k]", "{params: [10k, 11k], count: 500}"), "s.yaml:4: grid.0.sizes.count: expected at most 200, found 500", 1),
    ("range-of-a-billion", _with("[nano14k, nano25k]", "{params: [10k, 1M], count: 1000000000}"), "s.yaml:4: grid.0.sizes.count: expected at most 200, found 1000000000", 1),
    ("range-to-1e300", _with("[nano14k, nano25k]", "{params: [10k, 1e300], count: 3}"), "s.yaml:4: grid.0.sizes.params.1: expected at most 1e+15, found 1e+300", 1),
    ("range-from-one", _with("[nano14k, nano25k]", "{params: [1, 2], count: 2}"), "s.yaml:4: grid.0.sizes: no shape has 1 non_embedding parameters within 25% (vocabulary 512)", 1),
    ("range-of-a-thin-shape", _with("[nano14k, nano25k]", "{params: [10k, 1M], count: 3, aspect_ratio: 1e-300}"), "s.yaml:4: grid.0.sizes.aspect_ratio: expected at least 0.1, found 1e-300", 1),
    ("range-of-a-flat-shape", _with("[nano14k, nano25k]", "{params: [10k, 1M], count: 3, aspect_ratio: 1e-9}"), "s.yaml:4: grid.0.sizes.aspect_ratio: expected at least 0.1, found 1e-09", 1),
    ("ladder-ratio-one", _with("tokens: [1M, 2M]", "flops_ladder: {base_flops: 1e11, tokens_near: 1M, ratio: 1}"), "s.yaml:5: grid.0.flops_ladder.ratio: expected above 1, found 1", 1),
    ("ladder-count", _with("tokens: [1M, 2M]", "flops_ladder: {base_flops: 1e11, tokens_near: 1M, count: 65}"), "s.yaml:5: grid.0.flops_ladder.count: expected at most 64, found 65", 1),
    ("ladder-overflows", _with("tokens: [1M, 2M]", "flops_ladder: {base_flops: 1e11, tokens_near: 1M, ratio: 1e300, count: 64}"), "s.yaml:5: grid.0.flops_ladder.ratio: expected at most 100, found 1e+300", 1),
    ("ladder-underflows", _with("tokens: [1M, 2M]", "flops_ladder: {base_flops: 1e-300, tokens_near: 1e300}"), ("s.yaml:5: grid.0.flops_ladder.base_flops: expected at least 1, found 1e-300", "s.yaml:5: grid.0.flops_ladder.tokens_near: expected at most 1e+40, found 1e+300"), 2),
    ("ladder-ratio-just-above-one", _with("tokens: [1M, 2M]", "flops_ladder: {base_flops: 1e11, tokens_near: 1M, ratio: 1.0000000000000002}"), ("s.yaml:5: grid.0.flops_ladder: size nano14k: two horizons come to the same 488 steps of 2048 tokens", "s.yaml:5: grid.0.flops_ladder: size nano25k: two horizons come to the same 488 steps of 2048 tokens"), 2),
    ("many-seeds", GOOD + f"    seeds: [{', '.join(map(str, range(12_000)))}]\n", "s.yaml:3: grid: up to 48000 points (sizes x seeds x horizons), expected at most 10000; shorten the lists, or make several sweeps of them", 1),
    ("batch-no-multiple", GOOD + "optim: {batch_tokens: 1000}\n", "s.yaml:6: optim.batch_tokens: 1000 is not a multiple of model.n_ctx 256; nearest: 768 and 1024", 1),
    ("batch-below-context", GOOD + "optim: {batch_tokens: 100}\n", "s.yaml:6: optim.batch_tokens: 100 is not a multiple of model.n_ctx 256; nearest: 256", 1),
    ("warmup-too-long", GOOD + "optim: {warmup_tokens: 1T}\n", ("s.yaml:5: grid.0.tokens: size nano14k: the warm-up of 488281250 steps leaves nothing before the shortest horizon (488 steps)", "s.yaml:5: grid.0.tokens: size nano25k: the warm-up of 488281250 steps leaves nothing before the shortest horizon (488 steps)"), 2),
    ("warmup-huge", GOOD + "optim: {warmup_tokens: 1e300}\n", "s.yaml:6: optim.warmup_tokens: expected at most 1e+40, found 1e+300", 1),
    ("memory-too-small", GOOD + "limits: {memory: 1MB}\n", "nothing of the grid fits: nano14k-seed0-h999K: needs 303 MB even with one sequence at a time and gradient checkpointing; a slot has 500 kB", 1),
    ("time-too-short", GOOD + "limits: {time: 1s}\n", "nothing of the grid fits: nano14k-seed0-h999K: the whole grid would take 1m02s, over limits.time 1.0s; the points that take longest alone are left out", 1),
    ("no-such-corpus", _with("text.txt", "no/such/folder"), "s.yaml:2: data.corpus: 'no/such/folder' is neither a corpus (fineweb_edu, installed, openwebtext, pile, sotu, synthetic, wikitext103,", 1),
    ("corpus-is-empty-text", _with("text.txt", "''"), "data.corpus: '' is neither a corpus (fineweb_edu, installed, openwebtext, pile, sotu, synthetic, wikitext103, wikitext2) nor an", 1),
    ("corpus-has-nul", _with("text.txt", '"a\\0b"'), "data.corpus: 'a\\x00b' is neither a corpus (fineweb_edu, installed, openwebtext, pile, sotu, synthetic, wikitext103, wikitext2)", 1),
    ("corpus-has-newline", _with("text.txt", '"a\\nb"'), "data.corpus: 'a\\nb' is neither a corpus (fineweb_edu, installed, openwebtext, pile, sotu, synthetic, wikitext103, wikitext2) nor", 1),
    ("corpus-is-long", _with("text.txt", "a" * 5_000), "data.corpus: 'aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa... is neither a corpus (fineweb_edu, installed,", 1),
    ("corpus-is-no-user", _with("text.txt", "~nobody-of-that-name/x"), "data.corpus: '~nobody-of-that-name/x' is neither a corpus (fineweb_edu, installed, openwebtext, pile, sotu, synthetic,", 1),
    ("corpus-is-a-surrogate", _with("text.txt", '"\\ud800"'), "s.yaml:2: data.corpus: expected Unicode text, found '\\ud800'", 1),
]
# fmt: on

CONFIGS = [
    Case(
        id=f"config-{name}",
        words=("plan", "s.yaml", "--device", "cpu"),
        said=said,
        lines=lines,
        files={"s.yaml": text, "text.txt": "some text\n"},
    )
    for name, text, said, lines in _TEXTS
]
