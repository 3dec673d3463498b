"""What all runs of a plan share is written once, and nothing of them is lost."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from scaling_law.plan.make import make_plan
from scaling_law.plan.plan import plan_from_json
from scaling_law.plan.shared import with_shared, without_shared
from tests.fakes import cpu_profile, ladder_config

LEAVES: st.SearchStrategy[Any] = st.sampled_from([None, True, False, 0, 1, 1.0, "a", [1], [], {}])
VALUES = st.recursive(
    LEAVES, lambda inner: st.dictionaries(st.sampled_from("abc"), inner, max_size=3), max_leaves=6
)
ROWS = st.lists(st.dictionaries(st.sampled_from("abcd"), VALUES, max_size=4), max_size=4)


@given(ROWS)
def test_every_row_comes_back_as_it_was_written(rows):
    shared, rests = without_shared(rows)
    back = [with_shared(shared, rest) for rest in rests]
    assert [json.dumps(row, sort_keys=True) for row in back] == [
        json.dumps(row, sort_keys=True) for row in rows
    ]


def test_what_all_rows_have_is_written_once_at_any_depth():
    rows: list[dict[str, Any]] = [
        {"spec": {"seed": seed, "model": {"width": 8}}, "threads": 1} for seed in (0, 1)
    ]
    shared, rests = without_shared(rows)
    assert shared == {"spec": {"model": {"width": 8}}, "threads": 1}
    assert rests == [{"spec": {"seed": 0}}, {"spec": {"seed": 1}}]
    # a key that one row lacks is none that all have, and one row has nothing to share
    assert without_shared([{"a": 1, "b": 2}, {"a": 1}]) == ({"a": 1}, [{"b": 2}, {}])
    assert without_shared([{"a": 1}]) == ({}, [{"a": 1}])


def test_a_stored_plan_is_the_plan_and_spells_each_shared_value_once():
    plan = make_plan(ladder_config(), cpu_profile(), train_tokens=10**9)
    text = json.dumps(plan.stored(), allow_nan=False)
    assert plan_from_json(json.loads(text)) == plan == plan_from_json(plan.to_json())
    assert text.count('"corpus"') == 1 and len(text) < 0.6 * len(json.dumps(plan.to_json()))
