"""Continuations: with a cache as without, each row on its own, and drawn as asked."""

from __future__ import annotations

import dataclasses
import itertools

import pytest
import torch
from torch import Tensor, nn

from scaling_law.spec.component import Component
from scaling_law.spec.model import OtherModel
from scaling_law.spec.sampling import Draw, Sampling
from scaling_law.train.architectures import build
from scaling_law.train.generate import OwnCache, draw, generate, rows_at_once, steps
from tests.fakes import tiny_model

N_CTX = 16
# short, as long as others, of the context's length, and beyond it
PROMPTS = [[1], [2, 3, 4, 5], [5, 4, 3, 2], list(range(N_CTX)), list(range(3 * N_CTX))]
DRAWN = Sampling(tokens=12, temperature=0.9, seed=3)
GREEDY = dataclasses.replace(DRAWN, temperature=0)


def gpt(seed: int = 1, **changes) -> nn.Module:
    shape = {"n_layer": 2, "d_model": 32, "n_head": 4, "n_kv_head": 4, "d_ff": 64}
    return build(tiny_model(**{**shape, **changes}), seed).eval()


def closest(first, second) -> float:
    """The largest difference of two answers' log-probabilities, whose tokens must be equal."""
    assert [row.ids for row in first] == [row.ids for row in second]
    pairs = itertools.chain(*(zip(a.log_probs, b.log_probs, strict=True)
                              for a, b in zip(first, second, strict=True)))  # fmt: skip
    return max(abs(a - b) for a, b in pairs)


MODELS = [
    *({"position": position, "n_kv_head": kv, "qk_norm": kv != 2}
      for position in ("rotary", "learned", "alibi", "none") for kv in (1, 2)),
    {"n_kv_head": 4},
    {"norm": "layernorm", "activation": "swiglu", "tied": True},
    {"parametrisation": Component(name="mup")},
]  # fmt: skip


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    """Two threads a test process wait for each other on a machine of two cores."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize("changes", MODELS, ids=lambda c: "-".join(map(str, c.values())))
def test_a_cache_gives_what_no_cache_gives(changes):
    model = gpt(**changes)
    assert isinstance(model, OwnCache)
    # rows of different lengths, of one length, and rows that all fit the context
    for prompts in (PROMPTS, PROMPTS[1:3], PROMPTS[:3]):
        cached = generate(model, prompts, DRAWN, n_ctx=N_CTX)
        assert closest(cached, generate(model, prompts, DRAWN, n_ctx=N_CTX, cache=False)) < 1e-5


@torch.no_grad()
def test_remembered_logits_are_those_of_the_whole_text():
    model = gpt(position="learned", n_kv_head=2)
    assert isinstance(model, OwnCache)
    ids = torch.arange(24).view(2, 12) * 5
    lengths = (4, 7)
    logits, memory = model.read_prompts(ids[:, :7], lengths, 12)
    for more in range(5):
        for row, length in enumerate(lengths):
            whole = model(ids[row : row + 1, : length + more])[0, -1]
            assert torch.allclose(logits[row], whole, rtol=0, atol=1e-5)
        further = torch.stack([ids[row, n + more] for row, n in enumerate(lengths)])
        logits = model.next_logits(further, memory)


@torch.no_grad()
def test_the_likeliest_tokens_slide_over_the_last_context():
    model = gpt()
    for prompt, row in zip(PROMPTS, generate(model, PROMPTS, GREEDY, n_ctx=N_CTX), strict=True):
        text = list(prompt)
        for token, log_prob in zip(row.ids, row.log_probs, strict=True):
            logits = model(torch.tensor([text[-N_CTX:]]))[0, -1]
            assert token == int(logits.argmax())
            assert log_prob == pytest.approx(float(logits.log_softmax(-1)[token]), abs=1e-5)
            text.append(token)


def test_a_row_does_not_depend_on_its_neighbours():
    model = gpt()
    prompts = [*PROMPTS, *PROMPTS]
    together = generate(model, prompts, DRAWN, n_ctx=N_CTX)
    assert together[0].ids != together[len(PROMPTS)].ids, "equal prompts are drawn apart"
    for first, size in ((0, 3), (3, 1), (4, 6)):
        some = generate(model, prompts[first : first + size], DRAWN, n_ctx=N_CTX, first=first)
        assert closest(some, together[first : first + size]) < 1e-5
    other = dataclasses.replace(DRAWN, seed=4)
    assert together[0].ids != generate(model, prompts[:1], other, n_ctx=N_CTX)[0].ids


def test_rows_beyond_a_batch_are_continued_too(monkeypatch):
    model = gpt()
    prompts = [[n] for n in range(9)]
    whole = generate(model, prompts, DRAWN, n_ctx=N_CTX)
    monkeypatch.setattr("scaling_law.train.generate._TOKENS_AT_ONCE", 4 * N_CTX)
    assert rows_at_once(N_CTX) == 4
    assert closest(whole, generate(model, prompts, DRAWN, n_ctx=N_CTX)) < 1e-5


def test_more_tokens_begin_with_fewer():
    long = dataclasses.replace(DRAWN, tokens=300)
    short = dataclasses.replace(DRAWN, tokens=20)
    model = gpt(n_layer=1, d_model=8)
    (longer,) = generate(model, [[1]], long, n_ctx=N_CTX)
    (shorter,) = generate(model, [[1]], short, n_ctx=N_CTX)
    assert len(longer.ids) == 300 and longer.ids[:20] == shorter.ids


def test_rows_that_stop_leave_the_others_as_they_are():
    model, prompts = gpt(), [[n] for n in range(8)]
    whole = generate(model, prompts, DRAWN, n_ctx=N_CTX)
    # one after the other: the fifth token ends a row, the fourth another, ...
    stop = {row.ids[4 - n] for n, row in enumerate(whole[:5])}
    stopped = generate(model, prompts, DRAWN, n_ctx=N_CTX, stop=stop)
    for row, full in zip(stopped, whole, strict=True):
        places = [at for at, token in enumerate(full.ids) if token in stop]
        assert row.ids == full.ids[: places[0] + 1 if places else None]
        assert row.stopped == bool(places)
    assert sum(row.stopped for row in stopped) > 4
    asked = []

    def ends(row: int, token: int) -> bool:
        asked.append((row, token))
        return len(asked) > 8  # all rows end with their second token

    taken = list(steps(model, prompts, DRAWN, n_ctx=N_CTX, ends=ends))
    assert [len(step.ids) for step in taken] == [8, 8]
    assert asked == [pair for step in taken for pair in zip(step.rows, step.ids, strict=True)]


LOGITS = torch.tensor([[0.0, 2.0, 1.0, -1.0, 2.0, -50.0]])


@pytest.mark.parametrize(
    ("changes", "allowed"),
    [
        ({}, [0, 1, 2, 3, 4]),
        ({"temperature": 1e-9}, [1, 4]),
        ({"temperature": 1e5}, [0, 1, 2, 3, 4, 5]),
        ({"top_k": 3}, [1, 2, 4]),
        ({"top_k": 1}, [1, 4]),
        ({"top_k": 9}, [0, 1, 2, 3, 4]),
        ({"top_p": 0.5}, [1, 4]),
        ({"top_p": 0.9}, [1, 2, 4]),
        ({"top_p": 1e-9}, [1, 4]),
        ({"top_p": 1.0}, [0, 1, 2, 3, 4]),
        ({"top_k": 3, "top_p": 0.8}, [1, 4]),
    ],
)
def test_tokens_are_drawn_with_their_probabilities(changes, allowed):
    how = Sampling(**{"tokens": 1, **changes})
    count = 20_000
    numbers = (torch.arange(count, dtype=torch.float64) + 0.5) / count
    drawn = draw(LOGITS.expand(count, -1), numbers, how)
    shares = (LOGITS[0].double() / how.temperature).softmax(-1)
    mask = torch.zeros(6, dtype=torch.float64)
    mask[allowed] = 1.0
    expected = shares * mask / (shares * mask).sum()
    measured = torch.bincount(drawn, minlength=6) / count
    assert torch.allclose(measured.double(), expected, rtol=0, atol=2 / count)


def test_the_ends_of_the_unit_interval_give_possible_tokens():
    numbers = torch.tensor([0.0, 1.0 - 2**-53], dtype=torch.float64)
    logits = torch.tensor([-torch.inf, 0.0, 1.0, -torch.inf]).expand(2, -1)
    assert draw(logits, numbers, Sampling(tokens=1)).tolist() == [1, 2]


class Counting(nn.Module):
    """A user's own: it predicts the successor of the last token, and offers no cache."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(5.0))
        self.read: list[tuple[int, ...]] = []

    def forward(self, tokens: Tensor) -> Tensor:
        self.read.append(tuple(tokens.shape))
        return self.scale * nn.functional.one_hot((tokens + 1) % 10, 10).float()


def test_a_model_without_a_cache_reads_whole_texts_and_no_padding():
    model = Counting()
    rows = generate(model, [[3], [7, 8], [4, 4]], Sampling(tokens=3, temperature=0), n_ctx=3)
    assert [row.ids for row in rows] == [(4, 5, 6), (9, 0, 1), (5, 6, 7)]
    assert sorted(model.read) == [(1, 1), (1, 2), (2, 2), (2, 3), (3, 3)]


def test_a_model_of_whole_examples_continues_a_prompt_that_fills_one():
    mlp = OtherModel(
        architecture=Component(name="mlp"), shape=(("width", 8),), vocab_size=11, n_ctx=3
    )
    model = build(mlp, 1).eval()
    (row,) = generate(model, [[1, 2, 3]], Sampling(tokens=4, temperature=0), n_ctx=3)
    text = [1, 2, 3]
    for token in row.ids:
        assert token == int(model(torch.tensor([text[-3:]]))[0, -1].argmax())
        text.append(token)


def test_generating_leaves_global_random_numbers_and_weights_alone():
    model, before = gpt(), torch.get_rng_state()
    versions = [weight._version for weight in model.parameters()]
    rows = generate(model, PROMPTS, DRAWN, n_ctx=N_CTX)
    assert rows == generate(model, PROMPTS, DRAWN, n_ctx=N_CTX)
    assert torch.equal(torch.get_rng_state(), before)
    assert versions == [weight._version for weight in model.parameters()]


def test_a_cache_works_in_low_precision():
    model = gpt(position="rotary", n_kv_head=2)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rows = generate(model, PROMPTS, GREEDY, n_ctx=N_CTX)
    whole = generate(model, PROMPTS, GREEDY, n_ctx=N_CTX)
    firsts = [(a.log_probs[0], b.log_probs[0]) for a, b in zip(rows, whole, strict=True)]
    assert all(a == pytest.approx(b, abs=0.1) for a, b in firsts)


def test_what_cannot_be_continued_is_said():
    with pytest.raises(ValueError, match="an empty prompt"):
        generate(gpt(), [[1], []], DRAWN, n_ctx=N_CTX)
    broken = Counting()
    with torch.no_grad():
        broken.scale.fill_(torch.nan)
    for how in (DRAWN, GREEDY):
        with pytest.raises(ValueError, match="logits are not numbers"):
            generate(broken, [[1]], how, n_ctx=N_CTX)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"tokens": 0}, "tokens is 0, expected at least 1"),
        ({"temperature": -1.0}, "temperature is -1.0, expected 0 or above"),
        ({"temperature": float("nan")}, "temperature is nan"),
        ({"top_k": 0}, "top_k is 0, expected at least 1"),
        ({"top_p": 0.0}, "top_p is 0.0, expected above 0 and at most 1"),
        ({"top_p": 1.5}, "top_p is 1.5"),
    ],
)
def test_impossible_ways_to_draw_are_refused(changes, said):
    with pytest.raises(ValueError, match=said):
        Sampling(**{"tokens": 1, **changes})


def test_texts_to_learn_from_must_differ():
    with pytest.raises(ValueError, match="all texts would be the same"):
        Draw(run="x", count=2, tokens=3, temperature=0)
    with pytest.raises(ValueError, match="count is 0"):
        Draw(run="x", count=0, tokens=3)
