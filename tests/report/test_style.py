"""Figures as bytes: stable, self-contained, readable on light and dark paper."""

from __future__ import annotations

import re

import pytest

from scaling_law.report import style


def drawn() -> tuple[bytes, bytes]:
    with style.applied():
        figure, axes = style.new_figure("Loss falls")
        axes.plot([1e4, 1e6], [4, 3], color=style.BLUE)
        axes.set_xlim(1e4, 1e6)
        style.count_axis(axes, "x", "parameters")
        style.loss_axis(axes, 3, 4, "bits per byte")
        return style.render(figure)


def test_a_figure_has_the_same_bytes_every_time():
    assert drawn() == drawn()


def test_an_inlined_figure_has_no_foreign_id_and_no_fixed_colour():
    text = style.inline_svg(drawn()[0], "loss", "loss against size")
    ids = re.findall(r'\bid="([^"]+)"', text)
    assert ids and all(name.startswith("loss-") for name in ids)
    assert not re.search(r"(fill|stroke): ?#", text)
    assert 'aria-label="loss against size"' in text
    assert style.themed(style.PAPER) not in text  # it would hide the shadow of what scrolls
    css = style.theme_css(text)
    assert all(f"--k-{code}:" in css for code in re.findall(r"var\(--k-(\w+)\)", text))


@pytest.mark.parametrize(("letters", "columns"), [(4, 3), (18, 2), (35, 1)])
def test_a_legend_has_the_columns_that_the_figure_has_room_for(letters, columns):
    with style.applied():
        figure, axes = style.new_figure("Loss falls")
        lines = [axes.plot([1, 2], [i, i], label="m" * letters)[0] for i in range(4)]
        style.legend_below(figure, lines, 3)
        figure.draw_without_rendering()
    (legend,) = figure.legends
    assert legend.get_window_extent().width <= figure.bbox.width
    assert len({round(t.get_window_extent().x0) for t in legend.get_texts()}) == columns


@pytest.mark.parametrize(
    ("value", "words"), [(1e12, "10¹²"), (3.9e11, "3.9×10¹¹"), (120, "1.2×10²"), (1, "10⁰")]
)
def test_powers_of_ten_are_formatted(value, words):
    assert style.power_of_ten(value) == words


def test_a_dark_colour_inverts_lightness_and_preserves_hue():
    assert style.dark_partner("#ffffff") == "#171717"
    assert style.dark_partner("#000000") == "#ededed"


def test_a_legend_wider_than_the_figure_goes_on_in_a_further_line():
    with style.applied():
        figure, axes = style.new_figure("Loss falls")
        words = "an arm with many settings, " * 8
        style.legend_below(figure, axes.plot([1, 2], [1, 2], label=words), 3)
        figure.draw_without_rendering()
    (legend,) = figure.legends
    assert legend.get_window_extent().width <= figure.bbox.width
    assert figure.get_figheight() > style.TALL
