import math

import numpy as np
import pytest
from scipy.optimize import minimize_scalar

from scaling_law.errors import ConfigError
from scaling_law.fit.laws import load_law
from scaling_law.fit.split import Split
from scaling_law.fit.surface import surface_of
from scaling_law.forecast.published import PUBLISHED, PUBLISHED_SURFACES, published_law


def loss(name: str, **variables: float) -> float:
    fit = published_law(name)
    arrays = {key: np.array([value]) for key, value in variables.items()}
    return float(fit.law.predict(fit.params, arrays)[0])


def test_published_laws_follow_their_formulas():
    hoffmann = 1.69 + 406.4 / 70e9**0.34 + 410.7 / 1.4e12**0.28
    assert loss("hoffmann2022", params=70e9, tokens=1.4e12) == pytest.approx(hoffmann, rel=1e-12)
    besiroglu = 1.8172 + 482.01 / 70e9**0.3478 + 2085.43 / 1.4e12**0.3658
    assert loss("besiroglu2024", params=70e9, tokens=1.4e12) == pytest.approx(besiroglu, rel=1e-12)
    assert hoffmann == pytest.approx(1.937, abs=5e-4)
    assert besiroglu == pytest.approx(1.974, abs=5e-4)
    kaplan = ((6.4e13 / 1.5e9) ** (0.076 / 0.103) + 1.8e13 / 23e9) ** 0.103
    assert loss("kaplan2020", params=1.5e9, tokens=23e9) == pytest.approx(kaplan, rel=1e-12)


def test_kaplans_single_variable_laws_give_the_papers_figures():
    for params, nats in ((1e6, 4.02), (1e9, 2.38), (1e11, 1.67)):
        assert loss("kaplan2020_n", params=params) == pytest.approx(nats, abs=0.006)
    lowered = 1 - loss("kaplan2020_c", flops=1e22) / loss("kaplan2020_c", flops=1e21)
    assert lowered == pytest.approx(0.109, abs=5e-4)


def test_each_published_law_cites_its_equation_and_convention_and_has_no_interval():
    for name in PUBLISHED:
        fit = published_law(name)
        assert "arXiv" in fit.source
        assert fit.status == "converged" and fit.usable and fit.n_points == 0
        assert fit.samples == () and fit.intervals == {}
        expected = "non_embedding" if "kaplan" in name else "total"
        assert fit.convention["params"] == expected


def test_an_unknown_law_lists_the_known_ones():
    with pytest.raises(ConfigError, match=r"chinchila.*expected.*hoffmann2022.*kaplan2020"):
        published_law("chinchila")


def test_published_laws_give_their_allocations():
    splits = {name: published_law(name).optimum for name in PUBLISHED_SURFACES}
    exponents = {name: split.exponent for name, split in splits.items() if split is not None}
    assert exponents["kaplan2020"] == 0.73
    assert exponents["muennighoff2023"] == pytest.approx(0.5)
    assert exponents["besiroglu2024"] == pytest.approx(0.513, abs=1e-3)
    measured = splits["kaplan2020"]
    assert measured is not None and measured.params(8.64e19) == pytest.approx(1.3e9)
    again = Split.from_figures(measured.figures)
    assert again.tokens(1e20) == pytest.approx(measured.tokens(1e20), rel=1e-12)


@pytest.mark.parametrize("name", ["hoffmann2022", "besiroglu2024", "kaplan2020"])
@pytest.mark.parametrize("flops", [1e15, 1e21, 1e26])
def test_the_closed_form_split_is_the_numeric_minimum(name, flops):
    fit = published_law(name)
    surface = surface_of(fit.law, fit.params)
    assert surface is not None and surface.split is not None
    minimum = minimize_scalar(
        lambda x: loss(name, params=math.exp(x), tokens=flops / 6 / math.exp(x)),
        bounds=(math.log(10), math.log(flops / 60)),
        options={"xatol": 1e-9},
    )
    params = surface.split.params(flops)
    assert math.log(params) == pytest.approx(minimum.x, abs=1e-4)
    tokens = surface.split.tokens(flops)
    assert 6 * params * tokens == pytest.approx(flops, rel=1e-12)
    assert surface.split.tokens_for_params(params) == pytest.approx(tokens, rel=1e-9)
    assert surface.split.params_for_tokens(tokens) == pytest.approx(params, rel=1e-9)
    assert surface.split.flops_for_params(params) == pytest.approx(flops, rel=1e-9)


def test_exponents_of_the_split_add_to_one_and_single_variable_laws_have_no_surface():
    assert PUBLISHED_SURFACES == ("hoffmann2022", "besiroglu2024", "kaplan2020", "muennighoff2023")
    fit = published_law("hoffmann2022")
    surface = surface_of(fit.law, fit.params)
    assert surface is not None
    assert sum(surface.shares(70e9, 1.4e12).values()) == pytest.approx(1)
    assert surface_of(load_law("kaplan_n"), {"N_c": 8.8e13, "a_N": 0.076}) is None


def test_a_surface_without_a_data_term_has_no_optimum():
    flat = {"E": 1.8, "A": 60.0, "B": 200.0, "alpha": 0.34, "beta": 0.0}
    surface = surface_of(load_law("chinchilla"), flat)
    assert surface is not None and surface.split is None
    surface = surface_of(load_law("chinchilla"), {**flat, "beta": 0.3, "B": 0.0})
    assert surface is not None and surface.split is None
