"""Plans of tasks: horizons in examples, epochs and steps, full batches, no limit of epochs."""

from __future__ import annotations

import pytest

from scaling_law.config.written import config_yaml
from scaling_law.errors import ConfigError, PlanError
from scaling_law.plan.arm_planner import RUN_START_SECONDS
from scaling_law.plan.make import make_plan
from scaling_law.plan.plan import Plan, PlannedRun
from scaling_law.plan.table import render_plan
from scaling_law.run.text import dry_run_text, plan_json
from scaling_law.spec.data import TaskSpec
from scaling_law.spec.work import Work, continuing
from tests.fakes import config_of, cpu_profile

TASK = """
name: t
data: {{source: modular_addition, modulus: 7, train_frac: 0.5{more}}}
grid:
  - sizes: [{{n_layer: 1, d_model: 16, n_head: 2}}]
    {horizon}
optim: {{{batch}, lr: 0.01}}
schedule: {{shape: constant}}
"""
ALL = "batch_examples: all"


def plan(horizon: str, batch: str = ALL, more: str = "") -> Plan:
    config = config_of(TASK.format(horizon=horizon, batch=batch, more=more))
    return make_plan(config, cpu_profile(), train_tokens=config.task_sizes.train_tokens)


# 24 training examples of 2 tokens
@pytest.mark.parametrize(
    ("horizon", "batch", "batch_tokens", "steps"),
    [
        ("epochs: [30, 100]", ALL, 48, [30, 100]),
        ("epochs: [30]", "batch_examples: 8", 16, [90]),
        ("examples: [960]", ALL, 48, [40]),
        ("examples: [960]", "batch_tokens: 6", 6, [320]),
        ("steps: [50, 1k]", ALL, 48, [50, 1000]),
        ("steps: [50]", "batch_examples: 3", 6, [50]),
        ("tokens: [4800]", ALL, 48, [100]),
    ],
)
def test_every_horizon_becomes_steps(horizon, batch, batch_tokens, steps):
    runs = plan(horizon, batch).runs
    assert {run.spec.batch_tokens for run in runs} == {batch_tokens}
    assert [run.spec.total_steps for run in runs] == steps
    assert [run.epochs for run in runs] == [step * batch_tokens / 48 for step in steps]
    assert {run.spec.model.vocab_size for run in runs} == {7}
    assert {run.spec.model.n_ctx for run in runs} == {2}


def test_a_text_counts_epochs_in_whole_sequences():
    config = config_of("""
name: t
data: {corpus: synthetic, tokenizer: bytes, vocab_size: 257}
model: {n_ctx: 16}
grid: [{sizes: [nano14k], epochs: [2, 4]}]
optim: {batch_examples: 10}
""")
    with pytest.raises(PlanError, match="length of the text is not known yet; run `slaw data prep"):
        make_plan(config, cpu_profile(), train_tokens=None)
    runs = make_plan(config, cpu_profile(), train_tokens=16_001).runs
    assert [run.spec.total_steps for run in runs if run.spec.kind != "trunk"] == [200, 400]


def test_the_table_states_the_epochs():
    text = render_plan(plan("epochs: [3000]"))
    assert "modular_addition: 24 training examples of 2 tokens, repeated as often as" in text
    assert " 3000 " in text
    fresh = config_of("""
name: t
data: {source: copy, length: 4, longer: []}
grid: [{sizes: [nano14k], examples: [100k]}]
""")
    planned = make_plan(fresh, cpu_profile(), train_tokens=None)
    assert planned.runs[0].epochs == 0
    assert "copy: every training example, 8 tokens each, is new" in render_plan(planned)


def measuring(data: str, probes: str) -> tuple[PlannedRun, float]:
    """A run of 50 steps that is measured five times, and its seconds of measuring."""
    config = config_of(f"""
name: t
data: {data}
grid: [{{sizes: [{{n_layer: 1, d_model: 16, n_head: 2}}], steps: [50]}}]
optim: {{batch_examples: 8, lr: 0.01}}
eval: {{val_tokens: 8k, curve_tokens: 8k, curve_points: 4}}
probes: {probes}
""")
    profile = cpu_profile()
    (run,) = make_plan(config, profile, train_tokens=config.task_sizes.train_tokens).runs
    training = profile.training_seconds(run.spec.model, run.spec.tokens, 50)
    return run, run.seconds - RUN_START_SECONDS - training


# 24 training examples of 2 tokens and 25 of validation, fewer than are asked for
@pytest.mark.parametrize(
    ("probes", "tokens"),
    [
        ("[]", 50),
        ("[weight_norm]", 50),
        ("[gradient_norm]", 2 * 50),
        ("[accuracy, weight_norm]", 2 * 50 + 48),
        ("[answers]", 2 * 50),
    ],
)
def test_the_time_includes_probes(probes, tokens):
    run, seconds = measuring("{source: modular_addition, modulus: 7, train_frac: 0.5}", probes)
    forward = cpu_profile().forward_seconds(run.spec.model, 5 * tokens)
    assert seconds == pytest.approx(forward, rel=1e-6)


@pytest.mark.parametrize(("probes", "splits"), [("[]", 3), ("[answers]", 6), ("[interpolated]", 3)])
def test_the_time_includes_every_validation_split(probes, splits):
    data = "{source: copy, length: 4, longer: [8, 16], val_examples: 10}"
    run, seconds = measuring(data, probes)
    tokens = 10 * run.spec.model.n_ctx
    forward = cpu_profile().forward_seconds(run.spec.model, 5 * splits * tokens)
    # at the end the splits of longer examples are read once more
    forward += cpu_profile().forward_seconds(run.spec.model, 2 * tokens) * ("inter" in probes)
    assert seconds == pytest.approx(forward, rel=1e-6)


def drawing_seconds(probe: str) -> float:
    """The planned seconds of a probe of answers to sums."""
    plain, probed = (measuring("{source: addition}", probes)[1] for probes in ("[]", f"[{probe}]"))
    return probed - plain


def test_the_time_includes_drawn_answers_and_the_training_of_verifiers():
    few, many = (drawing_seconds(f"{{name: best_of_n, samples: {n}}}") for n in (16, 64))
    assert many == pytest.approx(4 * few)
    judged = [
        drawing_seconds(f"{{name: best_of_n, samples: 16, labels: {labels}}}")
        for labels in ("[64]", "[64, 64]", "[4096]")
    ]
    # a second verifier of one kind of labels takes the steps of the first, and no more answers
    assert judged[1] - judged[0] < judged[0] - few
    assert few < judged[0] < judged[2] < 2 * judged[0]


def test_continuing_reads_a_prompt_once_where_a_model_has_a_cache():
    (run,) = plan("steps: [50]").runs
    cached = continuing(run.spec.model, prompts=10, prompt_tokens=7, tokens=4)
    assert cached == Work(read_tokens=100, drawn_tokens=40)
    config = config_of("""
name: t
data: {source: modular_addition, modulus: 7, train_frac: 0.5}
model: {architecture: mlp}
grid: [{sizes: [{width: 8}], steps: [50]}]
optim: {batch_examples: all, lr: 0.01}
""")
    (other,) = make_plan(config, cpu_profile(), train_tokens=48).runs
    plain = continuing(other.spec.model, prompts=10, prompt_tokens=7, tokens=4)
    assert plain == Work(read_tokens=10 * (7 + 8 + 9 + 10), drawn_tokens=40)


@pytest.mark.parametrize(
    ("work", "words"),
    [
        ("1 / 0", r"own\.py:2: this probe fails \(ZeroDivisionError"),
        ("3", r"probes: work gives 3, expected Work\(...\)"),
    ],
)
def test_a_users_probe_that_cannot_say_its_work_is_named(tmp_path, work, words):
    own = tmp_path / "own.py"
    own.write_text(
        "from scaling_law.train.probes import Probe\n"
        f"PROBE = Probe(measure=print, unit='x', work=lambda measured, settings: {work})\n"
    )
    with pytest.raises(ConfigError, match=words):
        measuring("{source: addition}", f"[{own}]")


@pytest.mark.parametrize(
    ("schedule", "words"),
    [
        ("{shape: constant}", "2 points that do not anneal, 0 trunks"),
        ("{shape: cosine}", "2 annealed points, 0 trunks"),
    ],
)
def test_points_are_named_by_how_their_schedule_ends(schedule, words):
    text = TASK.format(horizon="epochs: [30, 100]", batch=ALL, more="")
    config = config_of(text.replace("{shape: constant}", schedule))
    made = make_plan(config, cpu_profile(), train_tokens=48)
    assert f"t: 2 runs: {words}" in render_plan(made)


def test_the_plan_names_the_engine_and_the_trackers():
    text = TASK.format(horizon="epochs: [30]", batch=ALL, more="") + "trackers: [tensorboard]\n"
    config = config_of(text)
    made = make_plan(config, cpu_profile(), train_tokens=48)
    assert "engine: local; trackers: tensorboard\n" in dry_run_text(config, made)
    document = plan_json(config, made)
    assert document["engine"] == "local" and document["trackers"] == ["tensorboard"]


def test_a_task_may_be_limited_in_epochs():
    assert plan("epochs: [100]", more=", max_epochs: 100").runs
    with pytest.raises(PlanError, match=r"101 epochs of the task's 48 .*data\.max_epochs 100;"):
        plan("epochs: [101]", more=", max_epochs: 100")


def test_a_config_of_a_task_reads_back():
    config = config_of(TASK.format(horizon="epochs: [30]", batch=ALL, more=", operation: multiply"))
    text = config_yaml(config)
    assert "operation: multiply" in text and "corpus" not in text and "n_ctx" not in text
    again = config_of(text)
    assert config_yaml(again) == text
    spec = again.data_spec
    assert isinstance(spec, TaskSpec)
    assert dict(spec.source.settings) == {"modulus": 7, "operation": "multiply", "train_frac": 0.5}


@pytest.mark.parametrize(
    ("horizon", "batch", "more", "words"),
    [
        ("steps: [50]", "rule: slaw_small", "", "grid.0.steps: the batch, and so the length of a"),
        ("epochs: [1]", ALL, ", modulos: 3", "data.modulos: unknown key (did you mean modulus?)"),
        ("epochs: [1]", ALL, ", corpus: sotu", "data: expected either corpus (text) or sources ("),
        ("epochs: [1]", ALL, ", tokenizer: bpe", "data.tokenizer: unknown key"),
        ("epochs: [1]", ALL + ", batch_tokens: 4", "", "optim: expected one of batch_tokens and"),
        ("epochs: [1]", "batch_examples: most", "", "optim.batch_examples: expected a count such"),
        ("epochs: [1]\n    steps: [1]", ALL, "", "epochs, steps; found epochs and steps"),
        ("epochs: [0]", ALL, "", "grid.0.epochs.0: expected above 0, found 0"),
        ("steps: [1.5]", ALL, "", "grid.0.steps.0: expected a whole number, found 1.5"),
    ],
)
def test_settings_that_do_not_fit_a_task_are_refused(horizon, batch, more, words):
    with pytest.raises((ConfigError, PlanError)) as refused:
        plan(horizon, batch, more)
    assert words in str(refused.value) and len(refused.value.lines) == 1


@pytest.mark.parametrize(
    ("data", "more", "words"),
    [
        ("source: copy", "model: {n_ctx: 8}", "model.n_ctx: found 8, and an example of the task"),
        ("source: copy", "optim: {batch_examples: all}", "a task's unlimited examples"),
        ("source: copi", "", "no source is named 'copi' (did you mean copy?)"),
        ("source: other.py", "", "no file 'other.py' for the source"),
        ("source: copy, longer: [4]", "", "longer holds 4, expected different lengths above"),
        ("corpus: synthetic", "optim: {batch_examples: all}", "found all, and the data are text"),
        (
            "max_epochs: 3",
            "",
            "(text) or sources (several texts) or source (a task); found neither",
        ),
    ],
)
def test_invalid_data_is_refused_in_one_line(data, more, words):
    with pytest.raises((ConfigError, PlanError)) as refused:
        config = config_of(
            f"name: t\ndata: {{{data}}}\ngrid: [{{sizes: [nano14k], tokens: [1M]}}]\n{more}\n"
        )
        make_plan(config, cpu_profile(), train_tokens=None)
    assert words in str(refused.value) and len(refused.value.lines) == 1


def test_an_architecture_of_one_output_is_refused_a_task_of_several_targets():
    config = config_of(
        "name: t\ndata: {source: copy, longer: []}\nmodel: {architecture: mlp}\n"
        "grid: [{sizes: [{width: 8}], tokens: [20k]}]\n"
    )
    words = "data.source: an example of the task has 32 targets; the architecture mlp gives one"
    with pytest.raises(PlanError, match=words):
        make_plan(config, cpu_profile(), train_tokens=None)


def test_unlimited_examples_have_no_epochs():
    config = config_of("name: t\ndata: {source: copy}\ngrid: [{sizes: [nano14k], epochs: [1]}]\n")
    with pytest.raises(PlanError, match=r"are unlimited.*; give examples, tokens or steps"):
        make_plan(config, cpu_profile(), train_tokens=None)


def test_a_closed_form_for_numbers_is_refused_targets_that_are_ids():
    config = config_of(
        "name: t\ndata: {source: images}\nmodel: {architecture: random_features}\n"
        "grid: [{sizes: [{features: 8}], examples: [100]}]\n"
    )
    words = r"data.source: the task's targets are ids .* random_features is solved in closed form"
    with pytest.raises(PlanError, match=words):
        make_plan(config, cpu_profile(), train_tokens=config.task_sizes.train_tokens)


@pytest.mark.parametrize(
    ("task", "architecture", "objective", "said"),
    [
        ("teacher", "dense", "next_token", "next_token predicts ids, and the data's targets are"),
        ("modular_addition", "mlp", "squared_error", "squared_error predicts numbers, and the"),
    ],
)
def test_an_objective_of_other_targets_than_the_datas_is_refused(
    task, architecture, objective, said
):
    config = config_of(
        f"name: t\nobjective: {objective}\ndata: {{source: {task}}}\n"
        f"model: {{architecture: {architecture}}}\n"
        "grid:\n  - {sizes: [{width: 8}], steps: [10]}\noptim: {lr: 0.01, batch_examples: 8}\n"
    )
    with pytest.raises(PlanError, match=f"objective: {said} (numbers|data's targets are ids)"):
        make_plan(config, cpu_profile(), train_tokens=config.task_sizes.train_tokens)
