"""How the figures of an experiment are drawn: words that fit, kinds that can be told apart."""

from __future__ import annotations

import itertools

import pytest
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.figure import Figure as Drawing

from scaling_law.experiment.findings import Axis, Figure, Panel, Series
from scaling_law.report import style
from scaling_law.report.experiment import draw


def of_places(words: list[str], *, high: float = 2.0) -> Figure:
    places = {word: float(at) for at, word in enumerate(words)}
    points = tuple((at, 1 + (high - 1) * at / len(words)) for at in places.values())
    panel = Panel(
        x=Axis(label="arm", values=places),
        y=Axis(label="multiplier", scale="log"),
        series=(Series(label="arm", points=points, line=False),),
    )
    return Figure(name="arms", title="Arms", caption="", panels=(panel,))


def of_lines(count: int, *, kinds: bool) -> Figure:
    series = tuple(
        Series(label=f"kind {at}", points=((0.0, float(at)), (1.0, float(at))))
        for at in range(count)
    )
    panel = Panel(x=Axis(label="x"), y=Axis(label="y"), series=series)
    return Figure(name="lines", title="Lines", caption="", panels=(panel,), kinds=kinds)


def drawn(figure: Figure, *, narrow: bool = False) -> tuple[Drawing, Axes]:
    with style.applied():
        drawing = draw(figure, narrow=narrow)
        drawing.draw_without_rendering()
    return drawing, drawing.axes[0]


@pytest.mark.parametrize("narrow", [False, True])
@pytest.mark.parametrize("count", [3, 8, 14])
def test_words_below_a_figure_never_overlap(count, narrow):
    _, axes = drawn(of_places([f"embeddings\nof {at}" for at in range(count)]), narrow=narrow)
    boxes = [label.get_window_extent() for label in axes.get_xticklabels()]
    assert all(left.x1 < right.x0 for left, right in itertools.pairwise(boxes))


def test_words_that_are_turned_take_no_room_from_the_panel():
    few, many = (
        drawn(of_places([f"embeddings\nof {at}" for at in range(count)]), narrow=True)[1]
        for count in (3, 14)
    )
    height = few.get_window_extent().height
    assert many.get_window_extent().height > 0.8 * height


def test_many_kinds_differ_by_colour_or_mark():
    lines = drawn(of_lines(13, kinds=True))[1].get_lines()
    looks = {(to_hex(line.get_color()), line.get_marker()) for line in lines}
    assert len(looks) == 13
    assert len({colour for colour, _ in looks}) == 6


def test_many_steps_of_one_quantity_have_a_ramp():
    lines = drawn(of_lines(13, kinds=False))[1].get_lines()
    assert len({to_hex(line.get_color()) for line in lines}) == 13
    assert {line.get_marker() for line in lines} == {"o"}


@pytest.mark.parametrize("high", [1.3, 2.5])
def test_a_narrow_range_of_multipliers_has_several_numbers(high):
    _, axes = drawn(of_places(["a", "b", "c", "d"], high=high))
    low, top = axes.get_ylim()
    shown = [label for label in axes.get_yticklabels() if low <= label.get_position()[1] <= top]
    assert len([label for label in shown if label.get_text()]) >= 2
