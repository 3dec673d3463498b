"""Axes of a config: their combinations, their arms, and invalid axes."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest

from scaling_law.config.grid_section import GridEntry
from scaling_law.config.load import load_config
from scaling_law.config.sweep_config import SweepConfig
from scaling_law.config.written import config_yaml
from scaling_law.errors import ConfigError

SWEEP = """\
name: test
data: {corpus: synthetic, tokenizer: bytes, vocab_size: 257}
grid:
  - sizes: [nano14k]
    tokens: [xs]
  - sizes: [nano25k]
    tokens: [xs]
"""

Read = Callable[..., SweepConfig]


@pytest.fixture
def read(tmp_path, monkeypatch) -> Read:
    monkeypatch.chdir(tmp_path)

    def read(text: str, overrides: Sequence[str] = (), kind: str = "cpu") -> SweepConfig:
        (tmp_path / "s.yaml").write_text(SWEEP + text)
        return load_config("s.yaml", device_kind=kind, overrides=overrides)

    return read


def test_a_config_without_axes_is_its_only_arm(read):
    config = read("")
    (arm,) = config.arms
    assert arm.values == () and arm.config is config and config.crossed == ()
    assert "axes" not in config_yaml(config)


def test_axes_cross_each_other_and_the_whole_grid(read):
    config = read("axes: {optim.weight_decay: [0, .1], model.position: [rotary, alibi]}\n")
    arms = [
        (
            dict(arm.values),
            arm.config.optim.weight_decay,
            arm.config.choice("architecture").settings.position,
        )
        for arm in config.arms
    ]
    assert arms == [
        ({"model.position": position, "optim.weight_decay": text}, decay, position)
        for text, decay in (("0", 0.0), ("0.1", 0.1))
        for position in ("rotary", "alibi")
    ]
    assert all(arm.config.grid == config.arms[0].config.grid for arm in config.arms)
    assert len(config.arms[0].config.grid) == 2


def test_axes_of_an_entry_apply_to_that_entry_alone(read):
    config = read("    axes: {optim.lr_mult: [.3, 1, 3]}\n")
    arms = [
        (dict(arm.values)["optim.lr_mult"], [entry.sizes for entry in arm.config.grid])
        for arm in config.arms
    ]
    # the first entry has the config's own value, 1, and so joins the second entry's arm
    assert arms == [
        ("1", [("nano14k",), ("nano25k",)]), ("0.3", [("nano25k",)]), ("3", [("nano25k",)])
    ]  # fmt: skip
    alone = config.arms[1].config
    assert alone.where("grid", 0, "sizes") == "s.yaml:6: grid.1.sizes"


def test_a_config_with_axes_reads_back_as_equal(read, tmp_path):
    text = "    axes: {optim.lr_mult: [.3, 1]}\naxes: {data.max_bytes: [1MB, null]}\n"
    config = read(text)
    written = config_yaml(config)
    (tmp_path / "again.yaml").write_text(written)
    again = load_config("again.yaml", device_kind="cpu")
    assert again == config and config_yaml(again) == written
    assert [dict(arm.values)["data.max_bytes"] for arm in config.arms] == [
        "1000000", "1000000", "null", "null"
    ]  # fmt: skip


def test_an_axis_may_be_set_on_the_command_line(read):
    config = read("", ["axes.optim.weight_decay=[0, .1]", "grid.0.axes.optim.lr_mult=[2]"])
    assert [dict(arm.values) for arm in config.arms] == [
        {"optim.lr_mult": "2", "optim.weight_decay": "0"},
        {"optim.lr_mult": "1", "optim.weight_decay": "0"},
        {"optim.lr_mult": "2", "optim.weight_decay": "0.1"},
        {"optim.lr_mult": "1", "optim.weight_decay": "0.1"},
    ]
    off = read("axes: {optim.weight_decay: [0, .1]}\n", ["axes={}"])
    assert off.crossed == ()


def test_a_variant_may_have_axes(read):
    text = "variants: {cuda: {axes: {precision: [bf16, fp32]}}}\n"
    assert read(text).crossed == ()
    assert [arm.config.precision for arm in read(text, kind="cuda").arms] == ["bf16", "fp32"]


def test_parts_and_their_settings_may_be_axes(read, tmp_path):
    config = read("axes: {optim: [{name: sgd}, {name: sgd, momentum: .5}, {name: adamw}]}\n")
    assert [dict(arm.values)["optim"] for arm in config.arms] == [
        "sgd", "sgd momentum=0.5", "adamw"
    ]  # fmt: skip
    momentum = [
        getattr(arm.config.choice("optimizer").settings, "momentum", None) for arm in config.arms
    ]
    assert momentum == [0.9, 0.5, None]


@pytest.mark.parametrize(
    ("axes", "said"),
    [
        ("optim.weight_decy: [0]", "optim.weight_decy: unknown key (did you mean weight_decay?)"),
        ("weight_decay: [0, 1]", "weight_decay: the config has no such key (did you mean"
         " optim.weight_decay?)"),
        ("limits.time: [1h, 2h]", "limits.time: limits is no part of a run's recipe"),
        ("name: [a, b]", "name: name is no part of a run's recipe"),
        ("grid.0.seeds: [[0], [1]]", "grid.0.seeds: grid is no part of a run's recipe"),
        ("trackers: [[csv], []]", "trackers: trackers is no part of a run's recipe"),
        ("optim.weight_decay: []", "optim.weight_decay: the list is empty"),
        ("optim.weight_decay: .1", "optim.weight_decay: expected a list of values, as in [a, b],"
         " found 0.1"),
        ("optim.weight_decay: [.1, 0.10]", "optim.weight_decay: 0.1 is there twice"),
        ("data.max_bytes: [1MB, 1000kB]", 'data.max_bytes: "1MB" and "1000kB" give one arm twice'),
        ("optim.weight_decay: [.1, x]", "optim.weight_decay: expected a number, found 'x'"),
        ("optim.name: [adamw, sdg]", "optim.name: no optimizer is named 'sdg' (did you mean sgd?)"),
    ],
)  # fmt: skip
def test_an_invalid_axis_is_one_line_with_its_place(read, axes, said):
    with pytest.raises(ConfigError) as caught:
        read(f"axes:\n  {axes}\n")
    (line,) = caught.value.lines
    assert line.startswith(f"s.yaml:9: axes.{said}")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("axes:\n", "s.yaml:8: axes: expected config keys with lists of values, found nothing"),
        ("axes: {optim.lr: [1, 2], optim: [{lr: 3}]}\n",
         "s.yaml:8: axes.optim: axes.optim.lr sets it as well; a key has one axis"),
        ("    axes: {optim.lr: [1]}\naxes: {optim.lr: [1, 2]}\n",
         "s.yaml:8: grid.1.axes.optim.lr: axes.optim.lr sets it as well; a key has one axis"),
        (f"axes: {{optim.lr: {list(range(1, 300))}}}\n",
         "s.yaml:8: axes: 299 arms (combinations of values), expected at most 256; shorten the"
         " lists, or make several sweeps of them"),
    ],
)  # fmt: skip
def test_incompatible_axes_are_one_line(read, text, said):
    with pytest.raises(ConfigError) as caught:
        read(text)
    assert caught.value.lines == (said,)


def test_a_mistake_in_an_axis_hides_no_other_mistake(read):
    with pytest.raises(ConfigError) as caught:
        read("axes: {limits.time: [1h]}\nmodel: {n_ctx: x}\n")
    assert len(caught.value.lines) == 2


MIXED = """\
name: test
data: {source: modular_addition}
grid:
  - sizes: [nano14k]
    steps: [10]
    axes: {model: [{position: rotary}, {position: learned}]}
  - sizes: [{width: 8}, {width: 16}]
    steps: [10]
    axes: {model.architecture: [mlp]}
"""


def sizes_of(entry: GridEntry) -> int:
    """How many sizes an entry lists."""
    assert isinstance(entry.sizes, tuple)
    return len(entry.sizes)


def test_an_entry_may_have_an_architecture_of_its_own_with_sizes_by_its_keys(tmp_path):
    path = tmp_path / "s.yaml"
    path.write_text(MIXED)
    config = load_config(path, device_kind="cpu")
    chosen = [
        (arm.config.choice("architecture").reference.name, sizes_of(arm.config.grid[0]))
        for arm in config.arms
    ]
    assert chosen == [("gpt", 1), ("gpt", 1), ("mlp", 2)]
    assert config.arms[2].config.where("grid", 0, "sizes") == f"{path}:7: grid.1.sizes"
    # the whole grid has each entry as its arm reads it, and is written and read back
    assert [sizes_of(entry) for entry in config.grid] == [1, 2]
    again = tmp_path / "again.yaml"
    again.write_text(config_yaml(config))
    assert config_yaml(load_config(again, device_kind="cpu")) == config_yaml(config)


def test_a_size_of_another_architecture_is_refused_with_its_line(tmp_path):
    path = tmp_path / "s.yaml"
    path.write_text(MIXED.replace("{width: 8}", "nano14k"))
    with pytest.raises(ConfigError) as caught:
        load_config(path, device_kind="cpu")
    assert caught.value.lines == (
        f"{path}:7: grid.1.sizes.0: found 'nano14k'; this architecture has sizes by width only",
    )
