"""Commands on a finished sweep: what they print where, and their exit codes."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from scaling_law.cli import main
from scaling_law.layout import SweepDir
from scaling_law.record import write_record
from tests.fakes import PLANTED, planted_records


@pytest.fixture(scope="module")
def sweep(tmp_path_factory):
    sweep = SweepDir(tmp_path_factory.mktemp("results") / "planted")
    for record in planted_records():
        write_record(sweep.run(record.run_id), record)
    return sweep


def run(capsys, *words: str) -> tuple[int, str, str]:
    code = main(words)
    out, err = capsys.readouterr()
    return code, out, err


def test_fit_json_is_one_document_and_nothing_else(sweep, capsys):
    code, out, _ = run(capsys, "fit", str(sweep.path), "--resamples", "100", "--json")
    document = json.loads(out)
    assert code == 0
    assert document["points"] == 32
    assert document["laws"]["chinchilla"]["params"]["E"] == pytest.approx(PLANTED["E"], rel=0.1)


def test_fit_text_tells_where_it_is_kept(sweep, capsys):
    code, out, _ = run(capsys, "fit", str(sweep.path), "--resamples", "100")
    assert code == 0
    assert "32 annealed points from 8 independent trunks" in out
    assert f"kept in {sweep.fits / 'fit.json'}" in out


def test_extrapolate_uses_the_kept_fit_and_names_it(sweep, capsys):
    run(capsys, "fit", str(sweep.path), "--resamples", "100")
    words = ("extrapolate", "--params", "175e9", "--results", str(sweep.path))
    code, out, _ = run(capsys, *words)
    assert code == 0
    assert f"law chinchilla fitted to {sweep.path}" in out.splitlines()[0]
    assert "orders of magnitude" in out
    code, out, _ = run(capsys, *words, "--json")
    document = json.loads(out)
    assert code == 0
    wanted = {"law", "params", "tokens", "flops", "loss_nats", "low_nats", "high_nats", "level"}
    assert wanted | {"beyond_data", "warnings"} <= document.keys()
    assert document["low_nats"] < document["loss_nats"] < document["high_nats"]
    assert document["beyond_data"]["params"] > 1e5


def test_published_laws_need_no_results(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    words = ("extrapolate", "--law", "besiroglu2024", "--params", "70e9", "--tokens", "1.4e12")
    code, out, _ = run(capsys, *words, "--json")
    # Besiroglu 2024's parameters in Hoffmann's equation 2
    expected = 1.8172 + 482.01 / 70e9**0.3478 + 2085.43 / 1.4e12**0.3658
    assert code == 0
    assert json.loads(out)["loss_nats"] == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["fit", "nowhere"], 2, "nowhere: no such folder"),
        (["fit", "."], 2, "holds no run records"),
        (["extrapolate", "--params", "1e9", "--results", "nowhere"], 2, "no such folder"),
        (["extrapolate"], 2, "nothing to forecast"),
        (["extrapolate", "--law", "newton", "--params", "1e9", "--results", "@"], 2, "'newton'"),
        (["extrapolate", "--target-loss", "0.5", "--results", "@"], 4, "irreducible"),
        (["extrapolate", "--params", "1e9", "--level", "2", "--results", "@"], 2, "level 2"),
        (["fit", "@", "--level", "7"], 2, "level 7"),
        (["fit", "@", "--resamples", "5"], 2, "resamples 5"),
        (["status", "@"], 2, "plan.json: no such file"),
        (["report", "nowhere"], 2, "no such folder"),
    ],
)
def test_bad_input_is_a_line_and_an_exit_code(
    sweep, capsys, tmp_path, monkeypatch, words, code, said
):
    monkeypatch.chdir(tmp_path)
    found, out, err = run(capsys, *[w.replace("@", str(sweep.path)) for w in words])
    assert found == code
    assert out == ""
    assert all(line.startswith("slaw: ") for line in err.splitlines())
    assert said in err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "words", [["extrapolate", "--params", "many"], ["fit", "--loss", "l1"], ["walk"], []]
)
def test_bad_flags_end_with_usage_and_2(capsys, words):
    with pytest.raises(SystemExit) as ended:
        main(words)
    assert ended.value.code == 2
    assert "usage: slaw" in capsys.readouterr().err


def test_completion_and_schema_are_printed(capsys):
    assert run(capsys, "completion", "bash")[1].startswith("# AUTOMATICALLY GENERATED")
    schema = json.loads(run(capsys, "config", "--schema")[1])
    assert {"name", "data", "grid"} <= schema["properties"].keys()
    assert "base_flops" in run(capsys, "config", "--mode", "quick", "--device", "cpu")[1]


def test_a_closed_pipe_is_not_an_error():
    code = "from scaling_law.cli import main; import sys; sys.exit(main(['config', '--schema']))"
    process = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    process.stdout.close()
    _, err = process.communicate(timeout=60)
    assert err == ""
