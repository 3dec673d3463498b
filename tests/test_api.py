"""The API of a notebook works and loads no torch."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest

from scaling_law.api import Laws
from scaling_law.errors import ConfigError
from scaling_law.fit import fit


class Frame(dict[str, list[float]]):
    """The part of a DataFrame that the API uses: columns by name."""


@pytest.fixture(scope="module")
def columns() -> dict[str, list[float]]:
    params = np.repeat(14e3 * 2.0 ** np.arange(6), 4)
    tokens = np.tile(4e5 * 2.0 ** np.arange(4), 6)
    noise = np.exp(0.002 * np.random.default_rng(0).standard_normal(24))
    losses = (1.8 + 48 * params**-0.35 + 210 * tokens**-0.37) * noise
    return {"N": params.tolist(), "D": tokens.tolist(), "val": losses.tolist()}


@pytest.fixture(scope="module")
def laws(columns: dict[str, list[float]]) -> Laws:
    from_arrays = fit(params=columns["N"], tokens=columns["D"], loss=columns["val"], resamples=100)
    assert isinstance(from_arrays, Laws)
    return from_arrays


def test_a_frame_and_arrays_give_the_same(columns, laws):
    framed = fit(Frame(columns), columns="params=N,tokens=D,loss=val", resamples=100)
    assert framed["chinchilla"].params == laws["chinchilla"].params
    assert "24 points" in str(laws) and "annealed" not in str(laws)
    assert "24 runs" in repr(laws)


def test_the_result_predicts_allocates_and_writes_json(laws, tmp_path):
    prediction = laws.predict(params=1e6, tokens=2e7)
    assert prediction.low_nats < prediction.loss_nats < prediction.high_nats
    best = laws.optimal(flops=1e14)
    assert 6 * best.params * best.tokens == pytest.approx(1e14)
    text = laws.to_json(tmp_path / "fit.json")
    assert json.loads(text) == json.loads((tmp_path / "fit.json").read_text())
    assert json.loads(text)["points"] == 24


def test_a_prediction_prints_in_three_lines(laws):
    near, far = laws.predict(params=1e5, tokens=1e6), laws.predict(params=175e9)
    for prediction in (near, far):
        assert len(str(prediction).splitlines()) == 3 and repr(prediction) == str(prediction)
    assert str(near).startswith("loss ") and "90% interval" in str(near)
    assert "at 100K params, 1M tokens" in str(near)
    refused, loss, _ = str(far).splitlines()
    assert "quote the range, never its middle" in refused and loss.startswith("loss somewhere in ")


def test_unreadable_input_is_a_config_error(columns, laws):
    with pytest.raises(ConfigError, match="give arrays"):
        fit()
    with pytest.raises(ConfigError, match="lossy"):
        fit(params=[1.0], lossy=[2.0])
    with pytest.raises(ConfigError, match="no column loss"):
        fit(Frame({"params": columns["N"], "tokens": columns["D"]}))
    with pytest.raises(ConfigError, match="different lengths"):
        fit(params=[1e4, 2e4], tokens=[1e6], loss=[3.0, 2.9])
    with pytest.raises(ConfigError, match="law 'nope'"):
        laws["nope"]


def test_the_api_loads_no_torch():
    code = (
        "import sys; from scaling_law.fit import fit\n"
        "print(sorted({'torch', 'matplotlib', 'pydantic'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
