"""A user's own law, by the path of its file: what is fitted, saved, read again, and refused."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

import pytest

from scaling_law.cli.main import main
from scaling_law.errors import EXIT_OK, EXIT_USAGE, ConfigError
from scaling_law.files.layout import SweepDir
from scaling_law.files.record import write_record
from scaling_law.fit import laws
from scaling_law.fit.laws import load_law, read_law_file
from scaling_law.fit.laws.law import Law, why_broken
from scaling_law.fit.session import known_laws
from tests.fakes import planted_records

LAW = '''
"""A sum without a floor."""
from scaling_law.fit.laws import Law, Term

LAW = Law(
    name="floorless",
    terms=(
        Term(coefficient="A", slopes=(("params", -1.0, "alpha"),)),
        Term(coefficient="B", slopes=(("tokens", -1.0, "beta"),)),
    ),
    exponents={"alpha": (0.0, 2.0), "beta": (0.0, 2.0)},
    latex="L = A/N^alpha + B/D^beta",
    source="mine",
)
'''
OF_FLOPS = LAW.replace('"params"', '"flops"').replace('"tokens"', '"flops"')
FIT = ["--resamples", "0", "--law"]


@pytest.fixture(autouse=True)
def no_law_read_before(monkeypatch):
    monkeypatch.setattr(laws, "_OWN", {})


@pytest.fixture
def sweep(tmp_path) -> Path:
    for record in planted_records():
        write_record(SweepDir(tmp_path / "s").run(record.run_id), record)
    return tmp_path / "s"


@pytest.fixture(scope="module")
def fitted_once(tmp_path_factory) -> Path:
    """A folder with ``mine.py`` and a sweep that is fitted with its law."""
    folder = tmp_path_factory.mktemp("fitted")
    for record in planted_records():
        write_record(SweepDir(folder / "s").run(record.run_id), record)
    (folder / "mine.py").write_text(LAW)
    main(["fit", str(folder / "s"), *FIT, str(folder / "mine.py")])
    forget()
    return folder


@pytest.fixture
def fitted(fitted_once, tmp_path) -> Path:
    """A copy of that sweep, and of the law beside it."""
    shutil.copytree(fitted_once, tmp_path, dirs_exist_ok=True)
    return tmp_path / "s"


@pytest.fixture
def mine(tmp_path) -> Path:
    path = tmp_path / "mine.py"
    path.write_text(LAW)
    return path


def forget() -> None:
    """Forget all users' files, as in a new process."""
    laws._OWN.clear()


def test_a_law_from_a_file_is_fitted_saved_with_its_hash_and_used_for_forecasts(
    fitted_once, capsys
):
    sweep, mine = fitted_once / "s", fitted_once / "mine.py"
    assert main(["fit", str(sweep), *FIT, str(mine)]) == EXIT_OK
    assert "mine.py: converged, on all annealed points" in capsys.readouterr().out
    saved = json.loads((sweep / "fits" / "fit.json").read_text())
    digest = hashlib.sha256(mine.read_bytes()).hexdigest()
    assert saved["laws"]["mine.py"]["law_sha256"] == digest
    assert "law_sha256" not in saved["laws"]["chinchilla"]
    forget()
    more = ["--results", str(sweep), "--law", str(mine)]
    assert main(["extrapolate", *more, "--params", "1e6", "--tokens", "1e7"]) == EXIT_OK
    assert f"law mine.py fitted to {sweep}" in capsys.readouterr().out
    assert main(["allocate", *more, "--flops", "1e15"]) == EXIT_OK
    assert f"law mine.py fitted to {sweep}" in capsys.readouterr().out
    assert main(["validate", str(sweep), "--resamples", "0", "--law", str(mine)]) == EXIT_OK
    assert "law mine.py on" in capsys.readouterr().out


def test_a_saved_fit_is_readable_without_the_laws_file_and_says_when_it_is_needed(
    fitted, mine, capsys
):
    mine.unlink()
    known = known_laws(fitted)
    assert known.best_law in known.laws and "mine.py" not in known.laws
    assert "name it on the command line: --law PATH/mine.py" in known.unread["mine.py"]
    forecast = ["extrapolate", "--results", str(fitted), "--params", "1e6", "--tokens", "1e7"]
    assert main(forecast) == EXIT_OK


@pytest.mark.slow
def test_a_report_names_a_law_whose_file_is_missing(fitted):
    assert main(["report", str(fitted)]) == EXIT_OK
    assert "not read: the law mine.py" in (fitted / "report.html").read_text()


def test_a_changed_file_is_refused(fitted, mine, capsys):
    mine.write_text(LAW + "# changed\n")
    capsys.readouterr()
    words = ["extrapolate", "--results", str(fitted), "--params", "1e6", "--law", str(mine)]
    assert main(words) == EXIT_USAGE
    (line,) = capsys.readouterr().err.splitlines()
    assert "the law mine.py was fitted with another file" in line and "`slaw fit`" in line


def test_a_law_without_a_fit_is_refused_with_the_command_to_run(sweep, mine, capsys):
    main(["fit", str(sweep), "--resamples", "0"])
    capsys.readouterr()
    words = ["extrapolate", "--results", str(sweep), "--params", "1e6", "--law", str(mine)]
    assert main(words) == EXIT_USAGE
    (line,) = capsys.readouterr().err.splitlines()
    assert f"run `slaw fit {sweep} --law PATH/mine.py` first" in line


def test_a_law_of_flops_is_fitted_in_another_variable(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(OF_FLOPS)
    assert read_law_file(f"{path}:tokens") == "mine.py:tokens"
    assert load_law("mine.py:tokens").variables == ("tokens",)
    assert read_law_file("chinchilla") == "chinchilla"


def test_a_file_is_executed_only_when_named(mine, monkeypatch):
    monkeypatch.chdir(mine.parent)
    with pytest.raises(ConfigError, match="name it on the command line"):
        load_law("mine.py")


def test_two_files_of_one_name_are_refused(tmp_path, mine):
    read_law_file(str(mine))
    other = tmp_path / "other" / "mine.py"
    other.parent.mkdir()
    other.write_text(OF_FLOPS)
    with pytest.raises(ConfigError, match=r"another law's file is named mine\.py too"):
        read_law_file(str(other))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("LAW = (", r"mine\.py:1: this law does not load \(SyntaxError"),
        ("x = 1", "exports no LAW, expected LAW = Law"),
        ("LAW = 3", "LAW is a int, expected Law"),
        (LAW.replace('"beta": (0', '"gamma": (0'), "LAW.exponents lacks 'beta'"),
        (LAW.replace('"tokens"', '"seqs"'), "has a term in 'seqs', expected one of params"),
        (LAW.replace("terms=(", "terms=(1,"), "expected Terms"),
        (LAW.replace('"alpha": (0.0, 2.0)', '"alpha": (2, 0)'), "the bounds of 'alpha' are"),
        (LAW.replace('"B"', '"A"'), "two parameters of the name 'A'"),
        (LAW.replace("latex=", "bend=lambda p, x: 0 * p[:, :, None], latex="), "one of bend and"),
        (LAW.replace("latex=", 'fitted_on="every", latex='), "LAW.fitted_on is 'every'"),
        (LAW.replace("latex=", "from_public=lambda p: 1 / 0, latex="), "ZeroDivisionError"),
        (LAW.replace("latex=", "from_public=3, latex="), "LAW.from_public is 3, expected a func"),
    ],
)
def test_a_file_that_breaks_the_contract_is_one_line(sweep, mine, capsys, text, said):
    mine.write_text(text)
    assert main(["fit", str(sweep), *FIT, str(mine)]) == EXIT_USAGE
    (line,) = capsys.readouterr().err.splitlines()
    assert str(mine) in line
    with pytest.raises(ConfigError, match=said):
        read_law_file(str(mine))
    assert not (sweep / "fits").exists()


@pytest.mark.parametrize("name", laws.law_names())
def test_the_packages_laws_keep_the_contract(name):
    law: Law = load_law(name)
    assert why_broken(law) == ""
