"""Continue a prompt by a run's model: ``python -m scaling_law.train.prompt RUN_DIR PARENT``.

Standard input is the JSON of a ``Prompted``, and every line of standard output is a JSON object.
The first has ``device``, ``n_ctx``, ``prompt_ids`` and their text ``prompt`` (None on a task). Then
come pieces of continuations, each with its ``row``, ``ids``, ``log_probs`` and ``text``, and with
``ended`` where it is the row's last: by a ``stop`` text, with the ``document`` or by the number of
``tokens``. The last has ``tokens`` and ``seconds``. The process ends with the process ``PARENT``,
which reads it.
"""

from __future__ import annotations

import codecs
import json
import shlex
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from torch import nn

from scaling_law import parts
from scaling_law.data.tokenizer import Tokenizer
from scaling_law.errors import EXIT_INTERRUPTED, EXIT_OK, ConfigError, SlawError, one_line
from scaling_law.files.layout import RunDir
from scaling_law.files.process import end_with
from scaling_law.files.record import RunRecord
from scaling_law.spec.architectures import architecture_of
from scaling_law.spec.sampling import Prompted, prompted_from_json
from scaling_law.train import device, rounding
from scaling_law.train.generate import rows_at_once, steps
from scaling_law.train.saved_model import next_token_model


class _Text:
    """The text of a continuation as its tokens come.

    ``stop`` are texts that end it. What may yet become one of them, or half a character, is held
    back until the next token.
    """

    def __init__(self, tokenizer: Tokenizer | None, stop: tuple[str, ...]) -> None:
        self._pieces = tokenizer.token_bytes if tokenizer is not None else None
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._stop, self._held, self._ready = stop, "", ""
        self.is_stopped = False

    def add(self, token: int) -> bool:
        """Take up a token; say whether a stop text ends the continuation with it."""
        if self._pieces is None:
            return False
        self._held += self._decoder.decode(self._pieces[token])
        places = [at for at in map(self._held.find, self._stop) if at >= 0]
        self.is_stopped = bool(places)
        certain = min(places) if places else len(self._held) - self._begun()
        self._ready += self._held[:certain]
        self._held = "" if places else self._held[certain:]
        return self.is_stopped

    def _begun(self) -> int:
        """How many characters at the end may be the beginning of a stop text."""
        return max(
            (
                size
                for stop in self._stop
                for size in range(1, len(stop))
                if self._held.endswith(stop[:size])
            ),
            default=0,
        )

    def take(self, last: bool) -> str:
        """The text that is certain and was not yet taken; all of it with the ``last`` token."""
        if last and not self.is_stopped:
            self._ready += self._held + self._decoder.decode(b"", final=True)
        ready, self._ready = self._ready, ""
        return ready


def answer(run_dir: RunDir, asked: Prompted) -> Iterator[dict[str, Any]]:
    """Yield what standard output says. Raises ``SlawError`` where the run cannot answer."""
    saved, model = next_token_model(run_dir)
    kind = device.choose_device(asked.device)
    device.prepare_process(kind, threads=1)
    prompt = _prompt_ids(run_dir, saved.record, saved.tokenizer, asked)
    yield {
        "device": kind,
        "n_ctx": saved.record.spec.model.n_ctx,
        "prompt": saved.tokenizer.decode(prompt) if saved.tokenizer is not None else None,
        "prompt_ids": prompt,
    }
    model.to(kind)
    began, tokens = time.perf_counter(), 0
    at_once = 1 if asked.streams else rows_at_once(saved.record.spec.model.n_ctx)
    component = saved.record.spec.model.architecture
    for first in range(0, asked.count, at_once):
        rows = range(first, min(first + at_once, asked.count))
        pieces = _continued(model, saved.record, saved.tokenizer, prompt, rows, asked)
        rounds = rounding.of_run(saved.record.spec)
        with parts.users_code("architecture", component.reference), rounds():
            for piece in pieces:
                tokens += len(piece["ids"])
                yield piece
    yield {"tokens": tokens, "seconds": time.perf_counter() - began}


def _continued(
    model: nn.Module,
    record: RunRecord,
    tokenizer: Tokenizer | None,
    prompt: list[int],
    rows: range,
    asked: Prompted,
) -> Iterator[dict[str, Any]]:
    """Yield pieces of the continuations ``rows``: each token, or each row when all have ended."""
    texts = [_Text(tokenizer, asked.stop) for _ in rows]
    waiting: list[dict[str, Any]] = [
        {"row": row, "ids": [], "log_probs": [], "text": ""} for row in rows
    ]
    stop = () if tokenizer is None else (tokenizer.separator,)
    counts = [0] * len(rows)
    drawn = steps(
        model,
        [prompt] * len(rows),
        asked.sampling,
        n_ctx=record.spec.model.n_ctx,
        stop=stop,
        ends=lambda row, token: texts[row].add(token),
        first=rows.start,
    )
    for step in drawn:
        for row, token, log_prob in zip(step.rows, step.ids, step.log_probs, strict=True):
            counts[row] += 1
            piece = waiting[row]
            piece["ids"].append(token)
            piece["log_probs"].append(log_prob)
            if texts[row].is_stopped:
                piece["ended"] = "stop"
            elif token in stop:
                piece["ended"] = "document"
            elif counts[row] == asked.sampling.tokens:
                piece["ended"] = "tokens"
            if asked.streams or "ended" in piece:
                piece["text"] = texts[row].take("ended" in piece)
            if asked.streams:
                yield piece
                waiting[row] = {"row": piece["row"], "ids": [], "log_probs": []}
    if not asked.streams:
        yield from waiting


def _prompt_ids(
    run_dir: RunDir, record: RunRecord, tokenizer: Tokenizer | None, asked: Prompted
) -> list[int]:
    """The prompt as token ids. Raises ``ConfigError`` where the run cannot read it."""
    spec = record.spec
    part = architecture_of(spec.model)
    if tokenizer is None and (asked.ids is None or asked.stop):
        zeros = " ".join(["0"] * (spec.model.n_ctx if part.one_output else 1))
        raise ConfigError(
            f"{record.run_id}: trained on the task {spec.data.name}, which has no text; give ids as"
            f" the prompt, and no --stop, as in: slaw sample {shlex.quote(str(run_dir.path))}"
            f" --prompt-ids {shlex.quote(zeros)}"
        )
    if asked.ids is not None:
        ids = list(asked.ids)
    else:
        assert tokenizer is not None, "refused above"
        ids = [tokenizer.separator] if asked.text is None else tokenizer.encode(asked.text).tolist()
    vocab = spec.model.vocab_size
    if wrong := [token for token in ids if not 0 <= token < vocab]:
        raise ConfigError(
            f"--prompt-ids: found {wrong[0]}, expected ids from 0 to {vocab - 1}, which"
            f" {record.run_id} knows"
        )
    if part.one_output and len(ids) < spec.model.n_ctx:
        raise ConfigError(
            f"{record.run_id}: its architecture {spec.model.architecture.name} reads exactly"
            f" {spec.model.n_ctx} tokens, and the prompt has {len(ids)}"
        )
    return ids


def main(arguments: list[str]) -> int:
    """Answer. Exit code 0, or another one with a line on standard error."""
    run_dir, parent = arguments
    end_with(int(parent))
    try:
        asked = prompted_from_json(json.load(sys.stdin))
        for line in answer(RunDir(Path(run_dir)), asked):
            print(json.dumps(line), flush=True)
    except SlawError as problem:
        print(one_line(str(problem)), file=sys.stderr)
        return problem.exit_code
    except (KeyboardInterrupt, BrokenPipeError):  # who reads this has heard of it as well
        return EXIT_INTERRUPTED
    return EXIT_OK


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
