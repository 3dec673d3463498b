"""Hypothesis: any input gives a value or a clear refusal, and no file is written.

Derandomised and bounded, so that a run is the same everywhere. ``SLAW_FUZZ=20`` tries twenty
times as many examples, at random: for a search by hand.
"""

from __future__ import annotations

import json
import math
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from scaling_law import units
from scaling_law.cli.main import main
from scaling_law.config import strict_yaml
from scaling_law.config.load import load_config
from scaling_law.errors import ConfigError, SlawError
from scaling_law.files.layout import SweepDir
from scaling_law.files.record import load_records
from scaling_law.fit.points.dataset import from_records
from scaling_law.fit.points.table import read_table
from scaling_law.fit.points.table_settings import TableSettings, parse_columns
from scaling_law.plan.make import make_plan
from scaling_law.plan.plan import Plan, plan_from_json
from tests.bad_input.configs import GOOD
from tests.bad_input.world import good_sweep, snapshot
from tests.fakes import cpu_profile, ladder_config

_TIMES = int(os.environ.get("SLAW_FUZZ", "0"))


def fuzz(examples: int) -> settings:
    """Bounded and the same everywhere; a shared folder between examples is meant."""
    return settings(
        max_examples=examples * max(_TIMES, 1),
        derandomize=not _TIMES,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )


HUGE = [10**400, -(10**400), 1e308, -1e308, 5e-324, 2**63, math.inf, -math.inf, math.nan]
HOSTILE = [
    "", " ", "-", "--", "\0", "\n", "\x1b[31m", "\u2028", "\ud800", "../..", "/", "~", "~x", "{",
    "[[", "*a", "&a", "!!python/object:os.system", "1e400", "-1", "nan", "inf", "0x1", "1_0", "٣",
    "1h30m", "1e5", "5M", "4GB", "9" * 120, "9" * 5000, "a" * 300, "name=../x", "grid.0=1",
    "limits.time=2h",
]  # fmt: skip
numbers = st.one_of(st.integers(), st.floats(), st.sampled_from(HUGE), st.integers(-3, 3))
words = st.one_of(st.sampled_from(HOSTILE), st.text(max_size=12))
yaml_like = st.text(alphabet="{}[]:,-&*!|>'\"#%@?\n\t a1.e_~\\\ufeff", max_size=80)
values = st.recursive(
    st.one_of(st.none(), st.booleans(), numbers, words),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(words, inner, max_size=3)),
    max_leaves=5,
)


@fuzz(300)
@given(st.one_of(yaml_like, st.text(max_size=60), words))
def test_yaml_is_read_or_refused(text):
    try:
        document = strict_yaml.read_document(text, "t.yaml")
    except ConfigError as problem:
        assert problem.lines
    else:
        # what is read is plain: only JSON's types, and only finite numbers
        json.dumps(document.data, allow_nan=False).encode()


@fuzz(60)
@given(st.binary(max_size=200))
def test_a_config_of_any_bytes_is_refused(tmp_path_factory, content):
    path = tmp_path_factory.getbasetemp() / "bytes.yaml"
    path.write_bytes(content)
    with pytest.raises(SlawError):
        load_config(path, device_kind="cpu")


def _planned_or_refused(path: Path, overrides: tuple[str, ...] = ()) -> None:
    try:
        config = load_config(path, device_kind="cpu", overrides=overrides)
        plan = make_plan(config, cpu_profile(), train_tokens=None)
    except SlawError as problem:
        assert problem.lines and all(problem.lines)
    else:
        assert "/" not in config.name and not config.name.startswith(".")
        json.dumps(plan.to_json(), allow_nan=False)


@fuzz(120)
@given(st.data())
def test_an_edited_config_is_planned_or_refused(tmp_path_factory, data):
    text = GOOD + "model: {n_ctx: 64}\noptim: {lr: 1e-3}\nlimits: {time: 2h, memory: 4GB}\n"
    for _ in range(data.draw(st.integers(1, 3))):
        start = data.draw(st.integers(0, len(text)))
        stop = min(len(text), start + data.draw(st.integers(0, 12)))
        text = text[:start] + data.draw(st.one_of(yaml_like, words)) + text[stop:]
    path = tmp_path_factory.getbasetemp() / "edited.yaml"
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    _planned_or_refused(path)


KEYS = [
    "name", "question", "data.corpus", "data.tokenizer", "data.vocab_size", "data.domains",
    "data.max_bytes", "data.val_fraction", "data.max_epochs", "model.n_ctx", "model.norm",
    "model.position", "model.activation", "model.qk_norm", "model.tied", "grid", "grid.0.sizes",
    "grid.0.sizes.0", "grid.0.sizes.0.n_layer", "grid.0.sizes.0.d_model", "grid.0.sizes.0.n_head",
    "grid.0.sizes.0.n_kv_head", "grid.0.sizes.0.d_ff", "grid.0.tokens", "grid.0.tokens.0",
    "grid.0.tokens_per_param", "grid.0.flops", "grid.0.flops_ladder", "grid.0.seeds",
    "grid.0.convention", "schedule.shape", "schedule.decay_frac", "schedule.final_frac",
    "optim.rule", "optim.lr", "optim.lr_mult", "optim.batch_tokens", "optim.warmup_tokens",
    "optim.beta2", "optim.eps", "optim.weight_decay", "optim.grad_clip", "eval.val_tokens",
    "eval.curve_points", "precision", "limits.time", "limits.memory",
]  # fmt: skip
SHAPES = GOOD.replace(
    "[nano14k, nano25k]", "[{n_layer: 2, d_model: 32, n_head: 2, n_kv_head: 1, d_ff: 64}]"
)


def _upto(power: float) -> st.SearchStrategy[str]:
    """Whole numbers of every size."""
    return st.floats(0, power).map(lambda x: str(round(10**x)))


# values that pass one by one, and may be impossible together
LIKELY: dict[str, st.SearchStrategy[str]] = {
    "data.vocab_size": _upto(8), "model.n_ctx": _upto(5), "data.max_epochs": _upto(6),
    "grid.0.sizes.0.n_layer": _upto(4), "grid.0.sizes.0.d_model": _upto(6).map(lambda x: x + "0"),
    "grid.0.sizes.0.n_kv_head": st.sampled_from("12"), "grid.0.sizes.0.d_ff": _upto(8),
    "grid.0.tokens": st.lists(_upto(40), max_size=3).map(", ".join).map(lambda x: f"[{x}]"),
    "grid.0.tokens.0": _upto(12), "grid.0.seeds": _upto(9).map(lambda x: f"[{x}]"),
    "schedule.shape": st.sampled_from(["wsd", "cosine", "constant"]), "optim.lr_mult": _upto(6),
    "schedule.decay_frac": st.sampled_from(["1e-300", "0.5", "0.9999999999999999"]),
    "optim.lr": st.sampled_from(["1e-12", "1", "1e3"]), "optim.warmup_tokens": _upto(12),
    "optim.batch_tokens": _upto(9).map(lambda x: f"{x}0240"), "optim.beta2": st.just("0"),
    "optim.rule": st.sampled_from(["slaw_small", "olmo_ladder", "steplaw"]),
    "optim.eps": st.sampled_from(["5e-324", "1"]), "eval.val_tokens": _upto(40),
    "eval.curve_points": _upto(4), "limits.time": _upto(30), "limits.memory": _upto(20),
    "model.position": st.sampled_from(["rotary", "learned", "alibi", "none"]),
    "model.activation": st.sampled_from(["gelu", "swiglu"]), "model.tied": st.just("true"),
}  # fmt: skip


@fuzz(250)
@given(st.data())
def test_any_value_at_any_key_is_planned_or_refused(tmp_path_factory, data):
    path = tmp_path_factory.getbasetemp() / "shapes.yaml"
    path.write_text(SHAPES)
    text = st.builds(lambda value: json.dumps(value, allow_nan=False), plain)
    pairs = st.tuples(st.sampled_from(KEYS), st.one_of(text, words))
    likely = st.sampled_from(sorted(LIKELY)).flatmap(
        lambda key: st.tuples(st.just(key), LIKELY[key])
    )
    overrides = data.draw(st.lists(likely, max_size=3)) + data.draw(st.lists(pairs, max_size=1))
    _planned_or_refused(path, tuple(f"{key}={value}" for key, value in overrides))


plain = st.one_of(
    st.integers(0, 10**12),
    st.sampled_from([1, 2, 3, 64, 10**6, 10**9, 10**40, 10**60, 0.1, 1e-9, 0.5, 0.999999]),
    st.floats(0, 1e45, allow_nan=False),
    st.lists(st.integers(1, 10**14), max_size=4),
    st.fixed_dictionaries({"params": st.lists(st.integers(1, 10**15), min_size=2, max_size=2),
                           "count": st.integers(1, 12)}),
    st.fixed_dictionaries({"base_flops": st.integers(1, 10**40), "count": st.integers(1, 64),
                           "tokens_near": st.integers(1, 10**40), "ratio": st.floats(1.0, 100.0)}),
)  # fmt: skip


@fuzz(300)
@given(st.one_of(words, numbers, st.from_regex(r"[+-]?[0-9._]{0,6}(e[0-9]{1,4})?\s?[a-zA-Z]{0,3}")))
def test_units_give_a_positive_finite_number_or_a_value_error(value):
    for parse in (units.parse_count, units.parse_seconds, units.parse_bytes):
        try:
            number = parse(value)
        except ValueError as problem:
            assert len(str(problem)) < 200
        else:
            assert number > 0 and math.isfinite(number)


@fuzz(100)
@given(st.floats(1e-3, 1e30))
def test_printed_counts_are_read_back(value):
    assert units.parse_count(units.format_count(value)) == pytest.approx(value, rel=6e-3)


cells = st.one_of(words, numbers.map(repr))
names = st.one_of(st.sampled_from(["params", "tokens", "loss", "flops", "seed", "sem", "L"]), words)


@fuzz(150)
@given(st.data())
def test_any_table_is_read_or_refused_in_a_line(tmp_path_factory, data):
    path = tmp_path_factory.getbasetemp() / "any.csv"
    header = data.draw(st.lists(names, min_size=1, max_size=5))
    rows = data.draw(st.lists(st.lists(cells, min_size=1, max_size=5), max_size=5))
    sign = data.draw(st.sampled_from(",;\t"))
    text = "\n".join(sign.join(row) for row in [header, *rows])
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    where = tuple(data.draw(st.lists(words, max_size=1)))
    try:
        columns = parse_columns(data.draw(st.one_of(st.just("loss=L"), words)))
    except ConfigError:
        columns = {}
    try:
        points = read_table(path, TableSettings(columns=columns, where=where))
    except SlawError as problem:
        assert len(problem.lines) == 1 and str(problem).isprintable()
    else:
        assert (points.params > 0).all() and (points.loss_nats > 0).all()


@fuzz(4)
@given(st.lists(st.tuples(*[st.floats(-12, 12)] * 3), min_size=2, max_size=14))
def test_a_table_of_any_numbers_is_fitted_or_refused(tmp_path_factory, capsys, logs):
    folder = tmp_path_factory.mktemp("numbers")
    rows = [f"{10 ** (8 + a)},{10 ** (9 + b)},{10 ** (c / 6)}" for a, b, c in logs]
    (folder / "t.csv").write_text("params,tokens,loss\n" + "\n".join(rows) + "\n")
    before = snapshot(folder)
    code = main(["fit", str(folder / "t.csv"), "--resamples", "0", "--json"])
    out, err = capsys.readouterr()
    assert snapshot(folder) == before
    assert (code, err) == (0, "") if out else (code in (2, 4) and err.count("\n") == 1)


@pytest.fixture(scope="module")
def sweep(tmp_path_factory) -> Path:
    return good_sweep(tmp_path_factory.mktemp("fuzz") / "sweep")


def _leaves(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    if isinstance(value, dict | list):
        pairs = value.items() if isinstance(value, dict) else enumerate(value)
        return [path, *(leaf for key, item in pairs for leaf in _leaves(item, (*path, key)))]
    return [path]


def _damaged(content: Any, data: st.DataObject) -> Any:
    """``content`` with another value, or none, at one place."""
    *above, last = data.draw(st.sampled_from([leaf for leaf in _leaves(content) if leaf]))
    target = content
    for key in above:
        target = target[key]
    if data.draw(st.booleans()):
        target[last] = data.draw(values)
    else:
        del target[last]
    return content


@fuzz(120)
@given(st.data())
def test_a_damaged_record_is_fitted_without_or_refused(sweep, tmp_path_factory, data):
    folder = tmp_path_factory.getbasetemp() / "damaged"
    shutil.rmtree(folder, ignore_errors=True)
    runs = SweepDir(sweep).run_dirs()
    for run in runs[:12]:
        shutil.copytree(run.path, folder / "runs" / run.path.name)
    path = SweepDir(folder).run_dirs()[0].record
    content = _damaged(json.loads(path.read_text()), data)
    try:
        path.write_text(json.dumps(content))
    except ValueError:  # more digits than Python writes
        return
    try:
        records = load_records(SweepDir(folder))
        from_records(records, convention="matmul", flops="exact")
    except SlawError as problem:
        assert len(problem.lines) == 1


@pytest.fixture(scope="module")
def plan() -> Plan:
    return make_plan(ladder_config(), cpu_profile(), train_tokens=10**9)


@fuzz(80)
@given(st.data())
def test_a_damaged_plan_is_read_or_refused(plan, data):
    content = _damaged(plan.stored(), data)
    try:
        again = plan_from_json(content)
    except SlawError as problem:
        assert len(problem.lines) == 1
    else:
        assert again.runs and again.flops_total > 0


TARGETS = [
    "--params", "--tokens", "--flops", "--target-loss", "--dollars", "--gpu-price", "--mfu",
    "--tokens-per-param", "--tokens-served", "--unique-tokens",
]  # fmt: skip
FLAGS = [
    "--mode", "--device", "--set", "--memory", "--time", "--out", "--dry-run", "--json",
    "--columns", "--params-are", "--loss-unit", "--where", "--convention", "--loss", "--level",
    "--huber-delta", "--intervals", "--profile", "--resamples", "--seed", "--keep", "--law",
    "--compare", "--figure", "--results", "--schema", "--help", "--gpu", *TARGETS,
]  # fmt: skip
COMMANDS = [
    "run", "plan", "status", "fit", "validate", "extrapolate", "hardware", "report", "data list",
    "data inspect", "data prepare", "config", "completion bash",
]  # fmt: skip
LAWS = ["besiroglu2024", "hoffmann2022", "kaplan2020", "kaplan2020_c", "muennighoff2023", "broken"]
arguments = st.one_of(
    st.sampled_from(FLAGS), words, numbers.map(repr), st.sampled_from([*LAWS, "h100", "0.5"])
)
targets = st.tuples(st.sampled_from(TARGETS), st.floats(-30, 70).map(lambda x: f"{10**x:g}"))


def _ends_plainly(vector: list[str], capsys: pytest.CaptureFixture[str], folder: Path) -> None:
    before = snapshot(folder)
    try:
        code = main(vector)
    except SystemExit as ended:
        assert ended.code in (0, 2)
        code = 0 if ended.code == 0 else 2
    out, err = capsys.readouterr()
    assert snapshot(folder) == before
    assert code in (0, 2, 4)
    assert code == 0 or (not out and all(x.startswith("slaw: ") for x in err.splitlines()))


@pytest.fixture
def harmless(monkeypatch, tmp_path):
    """No training, no calibration, no reading of the installed corpus for a valid line."""
    from scaling_law.data import describe, prepare
    from scaling_law.run import planning, session

    def refuse(*args: Any, **kwargs: Any) -> None:
        raise ConfigError("not in a fuzz")

    for module, name in (
        (session, "run_sweep"), (planning, "plan_only"), (prepare, "prepare"),
        (describe, "inspect"),
    ):  # fmt: skip
        monkeypatch.setattr(module, name, refuse)
    monkeypatch.setenv("SLAW_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


@fuzz(200)
@given(st.sampled_from(COMMANDS), st.lists(arguments, max_size=6))
def test_any_command_line_ends_without_a_traceback(harmless, capsys, command, rest):
    _ends_plainly([*command.split(), *rest], capsys, harmless)


@pytest.mark.slow
@fuzz(100)
@given(st.sampled_from(LAWS), st.lists(targets, min_size=1, max_size=3), st.booleans())
def test_any_target_of_a_published_law_ends_without_a_traceback(
    harmless, capsys, law, asked, as_json
):
    vector = ["extrapolate", "--law", law, *(word for pair in asked for word in pair)]
    _ends_plainly([*vector, *["--json"] * as_json], capsys, harmless)
