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


def test_a_figure_is_the_same_bytes_every_time():
    assert drawn() == drawn()


def test_an_inlined_figure_keeps_no_foreign_id_and_no_fixed_colour():
    text = style.inline_svg(drawn()[0], "loss", "loss against size")
    ids = re.findall(r'\bid="([^"]+)"', text)
    assert ids and all(name.startswith("loss-") for name in ids)
    assert not re.search(r"(fill|stroke): ?#", text)
    assert 'aria-label="loss against size"' in text
    css = style.theme_css(text)
    assert all(f"--k-{code}:" in css for code in re.findall(r"var\(--k-(\w+)\)", text))


@pytest.mark.parametrize(
    ("value", "words"), [(1e12, "10¹²"), (3.9e11, "3.9×10¹¹"), (120, "1.2×10²"), (1, "10⁰")]
)
def test_powers_of_ten(value, words):
    assert style.power_of_ten(value) == words


def test_a_dark_partner_turns_lightness_and_keeps_hue():
    assert style.dark_partner("#ffffff") == "#171717"
    assert style.dark_partner("#000000") == "#ededed"
