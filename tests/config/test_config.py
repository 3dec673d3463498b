"""Configs: YAML traps, every error at once with its place, variants, --set, the schema."""

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from scaling_law.config import strict_yaml
from scaling_law.config.load import load_config
from scaling_law.config.schema import DEVICE_KINDS
from scaling_law.config.written import config_yaml
from scaling_law.errors import ConfigError

SWEEP = """\
name: test
data: {corpus: installed, vocab_size: 512}
grid:
  - sizes: [nano14k]
    tokens: [xs]
"""


@pytest.fixture
def write(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def write(text):
        (tmp_path / "s.yaml").write_text(text)
        return "s.yaml"

    return write


def lines_of(
    path: str | Path, *, device_kind: str = "cpu", overrides: Sequence[str] = ()
) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load_config(path, device_kind=device_kind, overrides=overrides)
    return list(caught.value.lines)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e18", 1e18),
        ("175e9", 175e9),
        ("3e-4", 3e-4),
        (".5", 0.5),
        ("-7", -7),
        ("012", 12),
        ("0x10", 16),
        ("1:30", "1:30"),
        ("no", "no"),
        ("yes", "yes"),
        ("on", "on"),
        ("true", True),
        ("False", False),
        ("null", None),
        ("", None),
        ("'1e18'", "1e18"),
        ("1_000", "1_000"),
        ("2024-01-01", "2024-01-01"),
    ],
)
def test_scalars_follow_yaml_1_2(text, value):
    scalar = strict_yaml.read_value(text)
    assert scalar == value and type(scalar) is type(value)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: 1\nb: {c: 1}\na: 2\n", "t.yaml:3: a: written twice (first on line 1)"),
        ("a: &x 1\nb: *x\n", "t.yaml:1: a: anchors and aliases"),
        ("a: !!python/object:os.system 1\n", "t.yaml:1: a: the tag"),
        ("a: .inf\n", "t.yaml:1: a: expected a finite number"),
        ("a: 1e999\n", "t.yaml:1: a: expected a finite number"),
        ("a: " + "9" * 5000, "t.yaml:1: a: expected a finite number"),
        ("a: 1\n---\nb: 2\n", "t.yaml:2: a second document"),
        ("a: [1,\nb: {", "t.yaml:2: not valid YAML"),
        ("a:\n\t- 1\n", "t.yaml:2: not valid YAML"),
        ("? [a]\n: 1\n", "t.yaml:1: a list, mapping or alias as a key"),
        ("a: \x07\n", "t.yaml: not valid YAML"),
        ("[" * 100_000, "t.yaml:1: nested more than 20 deep"),
    ],
)
def test_hostile_yaml_is_one_clear_line(text, said):
    with pytest.raises(ConfigError) as caught:
        strict_yaml.read_document(text, "t.yaml")
    assert any(line.startswith(said) for line in caught.value.lines), caught.value.lines


def test_all_yaml_problems_at_once():
    with pytest.raises(ConfigError) as caught:
        strict_yaml.read_document("a: 1\na: 2\nb: .nan\nc: *d\n", "t.yaml")
    assert len(caught.value.lines) == 3


def test_every_error_at_once_with_file_line_and_key(write):
    lines = lines_of(
        write("""\
name: 3
grid:
  - sizes: [tiny, tinny, {n_layers: 2, d_model: 30, n_head: 4}]
    token: [1e6]
    seeds: no
  - sizes: {params: [10k, 1M], count: 2}
    tokens: [1e18, 5M, -3]
    seeds: {tiny: [a]}
modle: {}
limits: {time: 2x}
model: {qk_norm: no}
precision: f32
""")
    )
    assert lines == [
        "s.yaml:1: data: missing; slaw config --mode quick prints a whole config to start from",
        "s.yaml:1: name: expected text, found 3",
        "s.yaml:3: grid.0.sizes.1: found 'tinny' (did you mean tiny?); expected parameters as in"
        " 100k, or one of nano14k, nano25k, nano55k, nano98k, nano220k, nano440k, nano750k,"
        " nano1.8m, tiny, small, medium, base, large, xlarge, xxl",
        "s.yaml:3: grid.0.sizes.2.n_layer: missing",
        "s.yaml:3: grid.0.sizes.2.n_layers: unknown key (did you mean n_layer?)",
        "s.yaml:4: grid.0.token: unknown key (did you mean tokens?)",
        "s.yaml:5: grid.0.seeds: expected a list or a mapping, found 'no'",
        "s.yaml:7: grid.1.tokens.2: expected a positive finite count, found -3",
        "s.yaml:8: grid.1.seeds.tiny.0: expected a whole number, found 'a'",
        "s.yaml:9: modle: unknown key (did you mean model?)",
        "s.yaml:10: limits.time: expected a duration such as 2h, 90m or 1h30m, found '2x'",
        "s.yaml:11: model.qk_norm: expected true or false, found 'no'",
        "s.yaml:12: precision: found 'f32' (did you mean fp32?)",
    ]


def test_impossible_values_name_their_section(write):
    lines = lines_of(
        write(
            SWEEP.replace("vocab_size: 512", "tokenizer: bytes").replace(
                "[nano14k]", "[{n_layer: 2, d_model: 30, n_head: 4}]"
            )
        )
    )
    assert lines == [
        "s.yaml:2: data: vocab_size is 1024, expected 257 with bytes",
        "s.yaml:4: grid.0.sizes.0: d_model 30 is not a multiple of n_head 4",
    ]


@pytest.mark.parametrize(
    ("horizons", "said"),
    [
        ("tokens: [xs]\n    flops: [1e12]", "found tokens and flops"),
        ("seeds: [0]", "found none"),
    ],
)
def test_an_entry_gives_its_horizons_in_exactly_one_way(write, horizons, said):
    (line,) = lines_of(write(SWEEP.replace("tokens: [xs]", horizons)))
    assert line.startswith("s.yaml:4: grid.0: ") and said in line


def test_units_are_read(write):
    config = load_config(
        write(SWEEP + "limits: {time: 1h30m, memory: 4GB}\neval: {val_tokens: 1M}\n"),
        device_kind="cpu",
        overrides=["grid.0.tokens=[xs, 5M, 1e7]", "limits.memory=2", "optim.weight_decay=0"],
    )
    assert config.limits.time == 5400
    assert config.limits.memory == 2_000_000_000  # --memory GB
    assert config.eval.val_tokens == 1_000_000
    assert config.grid[0].tokens == (1e6, 5e6, 1e7)
    assert type(config.optim.weight_decay) is float  # 0 and 0.0 must name the same run


@pytest.mark.parametrize(
    ("text", "value"), [("true", 0.005), ("false", None), ("0.002", 0.002), ("null", None)]
)
def test_early_stop_is_a_switch_or_a_tolerance(write, tmp_path, text, value):
    config = load_config(write(SWEEP + f"early_stop: {text}\n"), device_kind="cpu")
    assert config.early_stop == value
    # off leaves no line: sweeps begun before there was such a key are still the same
    assert ("early_stop" in config_yaml(config)) == (value is not None)
    (tmp_path / "again.yaml").write_text(config_yaml(config))
    assert load_config("again.yaml", device_kind="cpu") == config


@pytest.mark.parametrize(("text", "said"), [("soon", "true, false or a number"), ("0", "above 0")])
def test_early_stop_refuses_other_values(write, text, said):
    (line,) = lines_of(write(SWEEP + f"early_stop: {text}\n"))
    assert "early_stop: " in line and said in line


def test_set_reports_its_own_errors(write):
    path = write(SWEEP)
    assert lines_of(path, overrides=["eval.val_tokns=1M", "name=a/b"]) == [
        "--set eval.val_tokns: unknown key (did you mean val_tokens?)",
        "--set name: expected letters, digits, . _ and - (at most 61; . _ - not first),"
        " found 'a/b'",
    ]
    assert lines_of(path, overrides=["eval", "grid.4.tokens=[xs]", "name.x=1", "a=[1"]) == [
        "--set eval: expected key=value, as in eval.val_tokens=1M",
        "--set grid.4.tokens=[xs]: 4 is not a position in a list of 1 (from 0)",
        "--set name.x=1: name holds 'test', not keys; slaw config NAME prints all keys",
        "--set a=[1: value: not valid YAML: expected ',' or ']', but got '<stream end>'",
    ]


def test_a_key_in_the_wrong_section_is_shown_where_the_config_has_it(write):
    path = write(SWEEP)
    assert lines_of(path, overrides=["name.sizes=3"]) == [
        "--set name.sizes=3: name holds 'test', not keys; the config has grid.0.sizes",
    ]
    assert lines_of(path, overrides=["eval.sizes=3"]) == [
        "--set eval.sizes: unknown key; the config has grid.0.sizes",
    ]


VARIANTS = """\
model: {n_ctx: 64, norm: layernorm}
variants:
  cpu:
    model: {n_ctx: 32}
    grid:
      - {sizes: [nano25k], tokens: [sm]}
"""


def test_variants_merge_mappings_and_replace_lists(write):
    path = write(SWEEP + VARIANTS)
    cpu = load_config(path, device_kind="cpu", overrides=["model.position=none"])
    gpt = cpu.choice("architecture").settings
    assert (cpu.model.n_ctx, gpt.norm, gpt.position) == (32, "layernorm", "none")
    assert [entry.sizes for entry in cpu.grid] == [("nano25k",)]
    cuda = load_config(path, device_kind="cuda")
    assert cuda.model.n_ctx == 64 and cuda.grid[0].sizes == ("nano14k",)
    assert cpu.where("grid", 0) == "s.yaml:11: variants.cpu.grid.0"
    assert cuda.where("grid", 0) == "s.yaml:4: grid.0"


def test_errors_of_every_variant_show_on_any_device(write):
    path = write(SWEEP + VARIANTS.replace("n_ctx: 32", "n_ctx: big") + "  tpu: {}\n")
    (line,) = lines_of(path, device_kind="cuda")
    assert line == "s.yaml:12: variants.tpu: unknown device kind; known: cpu, mps, cuda"
    path = write(SWEEP + VARIANTS.replace("n_ctx: 32", "n_ctx: big"))
    (line,) = lines_of(path, device_kind="cuda")
    assert line.startswith("s.yaml:9: variants.cpu.model.n_ctx: expected a count")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "s.yaml:1: expected keys and values, found nothing"),
        (b"- a\n", "s.yaml:1: expected keys and values, found a list"),
        (b"\xff\xfe\xfa", "s.yaml: not UTF-8"),
        (b"#" * 1_000_001, "s.yaml: larger than"),
    ],
)
def test_files_that_are_not_configs_are_refused(tmp_path, monkeypatch, content, said):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "s.yaml").write_bytes(content)
    (line,) = lines_of("s.yaml")
    assert line.startswith(said)


def test_a_setting_of_a_part_that_is_not_named_says_which_setting_and_which_parts(write):
    path = write(SWEEP)
    (line,) = lines_of(path, overrides=["engine.nodes=2"])
    assert line == ("--set engine.name: missing; engine.nodes needs it: one of local, ray, slurm")
    (line,) = lines_of(path, overrides=["experiment.most=2", "experiment.seeds=3"])
    assert "experiment.most, experiment.seeds needs it: one of ablations, " in line
    assert " more" in line


def test_missing_files_are_named(tmp_path):
    assert lines_of(tmp_path / "none.yaml") == [f"{tmp_path / 'none.yaml'}: no such file"]
    assert lines_of(f"{tmp_path}/a folder.yaml")[0].endswith("no such file")
    assert "shipped are" in lines_of("no-such-mode")[0]
    (tmp_path / "d.yaml").mkdir()
    assert "cannot be read" in lines_of(tmp_path / "d.yaml")[0]


@pytest.mark.parametrize("mode", ["tour", "quick", "dev", "full"])
@pytest.mark.parametrize("kind", DEVICE_KINDS)
def test_shipped_configs_load_and_read_back(tmp_path, mode, kind):
    config = load_config(mode, device_kind=kind)
    path = tmp_path / "sweep.yaml"
    path.write_text(config_yaml(config))
    assert load_config(path, device_kind=kind) == config


def test_dump_quotes_text_that_looks_like_a_number(write, tmp_path):
    config = load_config(write(SWEEP.replace("test", "'1e5'")), device_kind="cpu")
    assert config.name == "1e5"
    (tmp_path / "again.yaml").write_text(config_yaml(config))
    assert load_config("again.yaml", device_kind="cpu") == config


def test_importing_config_and_plan_loads_nothing_heavy():
    code = (
        "import sys, scaling_law.config.load, scaling_law.plan.table;"
        "print([m for m in ('torch', 'pydantic', 'scipy', 'matplotlib') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


PROBED = (
    SWEEP
    + """\
objective: next_token
probes: [accuracy, {name: weight_norm}]
"""
)


def test_an_objective_and_probes_are_chosen_by_name(write):
    config = load_config(write(PROBED), device_kind="cpu")
    assert config.choice("objective").reference.name == "next_token"
    assert [c.reference.name for c in config.choices["probe"]] == ["accuracy", "weight_norm"]
    written = config_yaml(config)
    assert "objective" not in written and "probes: [accuracy, weight_norm]" in written
    plain = config_yaml(load_config(write(SWEEP), device_kind="cpu"))
    assert "probes" not in plain


@pytest.mark.parametrize(
    ("probes", "said"),
    [
        ("[acuracy]", "probes.0: no probe is named 'acuracy' (did you mean accuracy?)"),
        ("[{name: accuracy, top: 5}]", "probes.0.top: unknown key"),
        ("[accuracy, accuracy]", "probes.1: the probe 'accuracy' is there twice"),
        ("[7]", "probes.0: expected a name, or a mapping with name and settings, found 7"),
        ("accuracy", "probes: expected a list or a mapping, found 'accuracy'"),
        ("[none.py]", "probes.0: no file 'none.py' for the probe"),
    ],
)
def test_unknown_probes_are_one_line_each(write, probes, said):
    (line,) = lines_of(write(f"{SWEEP}probes: {probes}\n"))
    assert line.startswith(f"s.yaml:6: {said}"), line


def test_an_own_objective_that_breaks_its_contract_is_named_with_its_file(write, tmp_path):
    (tmp_path / "odd.py").write_text(
        "from scaling_law.train.objectives import Objective\n\n"
        "OBJECTIVE = Objective(loss=min, unit='x', comparable='x', attention='none')\n"
    )
    (line,) = lines_of(write(f"{SWEEP}objective: odd.py\n"))
    assert "odd.py:3: this objective does not load" in line
    assert "attention is 'none', expected causal or full" in line
