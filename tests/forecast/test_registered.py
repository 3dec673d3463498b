import dataclasses
import json
import math
import shutil
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest

from scaling_law.cli.main import main
from scaling_law.errors import ConfigError, FitError
from scaling_law.files import checksum, layout
from scaling_law.files.layout import SweepDir
from scaling_law.files.record import RunRecord, load_records, write_record
from scaling_law.fit.points.table_settings import TableSettings
from scaling_law.fit.prediction_text import interval_decimals
from scaling_law.fit.session import KnownLaws, fit_sources, laws_of
from scaling_law.fit.suite import FitSettings
from scaling_law.forecast import session as forecast_session
from scaling_law.forecast.register import Planned, register
from scaling_law.forecast.registered import (
    RegisteredForecast,
    RegisteredTarget,
    read_registered,
    write_registered,
)
from scaling_law.forecast.registered_text import loss_cells
from scaling_law.forecast.score import ScoredRun, score
from scaling_law.plan.make import make_plan
from scaling_law.plan.plan import Plan
from scaling_law.report.registered import record as section
from scaling_law.run import planning
from scaling_law.run.request import Request
from scaling_law.spec.to_json import to_json
from tests.fakes import cpu_profile, ladder_config, planted_records

REFERENCE = Path(__file__).resolve().parents[2] / "results" / "reference" / "quick-cpu"
LATER = "2100-01-01T00:00:00+00:00"


def write(folder: Path, records: Iterable[RunRecord]) -> None:
    for record in records:
        write_record(SweepDir(folder).run(record.run_id), record)


@pytest.fixture(scope="module")
def planted() -> list[RunRecord]:
    return planted_records()


@pytest.fixture(scope="module")
def later(planted: list[RunRecord]) -> list[RunRecord]:
    """The runs of the two largest sizes, finished long after today."""
    sizes = sorted({record.params_matmul for record in planted})
    large = [r for r in planted if r.params_matmul >= sizes[-2] and r.kind != "trunk"]
    return [dataclasses.replace(r, finished_at=LATER) for r in large]


@pytest.fixture(scope="module")
def known(planted: list[RunRecord], later: list[RunRecord]) -> list[RunRecord]:
    """The runs of the smaller sizes, trunks among them."""
    smallest = min(record.params_matmul for record in later)
    return [record for record in planted if record.params_matmul < smallest]


@pytest.fixture
def sweep(known: list[RunRecord], tmp_path: Path) -> Path:
    """A sweep of the smaller sizes."""
    write(tmp_path / "small", known)
    return tmp_path / "small"


@pytest.fixture(scope="module")
def fit(known: list[RunRecord], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("fitted")
    write(folder, known)
    fit_sources([folder], FitSettings(resamples=100))
    return folder / "fits"


@pytest.fixture
def fitted(sweep: Path, fit: Path) -> Path:
    """The same with its fit saved."""
    shutil.copytree(fit, sweep / "fits")
    return sweep


def place(record: RunRecord) -> tuple[str, str]:
    return str(record.params_matmul), str(record.tokens)


def registering(sweep: Path, later: list[RunRecord], name: str = "rung") -> list[str]:
    """The words that register a forecast of every later run."""
    params, tokens = zip(*sorted({place(record) for record in later}), strict=True)
    return [
        "forecast", "--register", name, "--results", str(sweep),
        "--params", ",".join(params), "--tokens", ",".join(tokens),
    ]  # fmt: skip


def forecast_of(
    records: Iterable[RunRecord],
    at: Iterable[RunRecord],
    *,
    name: str = "made",
    off: float = 0.0,
    half: float = 0.02,
    example: RunRecord | None = None,
) -> RegisteredForecast:
    """A forecast made from ``records`` of the runs ``at``, wrong by ``off`` in log loss."""
    targets = []
    for record in at:
        assert record.val_loss_nats is not None
        loss = record.val_loss_nats * math.exp(off)
        ends = {q: loss * math.exp(x * half / 1.645) for q, x in NORMAL.items()}
        targets.append(
            RegisteredTarget(
                params=float(record.params_matmul),
                tokens=float(record.tokens),
                loss=loss,
                low=ends["0.05"],
                high=ends["0.95"],
                quantiles=ends,
            )
        )
    records = list(records)
    return RegisteredForecast(
        name=name,
        registered_at="2026-06-01T00:00:00+00:00",
        targets=tuple(targets),
        level=0.9,
        law="chinchilla",
        origin="law chinchilla fitted to here",
        convention={"params": "matmul", "flops": "exact", "loss": "nats per token"},
        source="here",
        table={},
        runs={record.run_id: record.val_loss_nats for record in records},
        data_digest="0" * 16,
        fit={},
        code={"slaw": "0", "git_commit": "not a git checkout"},
        example=checksum.with_digest(to_json(example or records[-1])),
    )


NORMAL = {"0.05": -1.645, "0.25": -0.6745, "0.75": 0.6745, "0.95": 1.645}


def test_a_rung_registered_before_it_runs_is_scored_after(fitted, later, capsys):
    assert main(registering(fitted, later)) == 0
    said = capsys.readouterr().out
    path = fitted / "forecasts" / "rung.json"
    forecast = read_registered(path)
    assert str(path) in said and forecast.seal in said and forecast.data_digest in said
    assert len(forecast.targets) == len({place(record) for record in later})
    for target in forecast.targets:
        ends = [target.quantiles[name] for name in ("0.05", "0.25", "0.75", "0.95")]
        assert ends == sorted(ends) and ends[0] < target.loss < ends[-1]
    write(fitted, later)
    assert main(["forecast", "--score", "--results", str(fitted), "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    (one,) = document["forecasts"]
    assert (document["all"]["runs"], one["open"], document["unmatched"]) == (len(later), [], [])
    assert {run["run_id"] for run in one["runs"]} == {record.run_id for record in later}
    # planted with seeds that differ by .2%
    assert abs(document["all"]["bias_log"]) < 0.01
    assert document["all"]["inside"] >= 0.7 * len(later)
    assert main(["forecast", "--score", "rung", "--results", str(fitted)]) == 0
    text = capsys.readouterr().out
    assert f"rung, {len(later)} runs: measured losses" in text and "log score" in text
    assert main(["forecast", "--results", str(fitted)]) == 0
    assert "1 registered forecast in" in capsys.readouterr().out


def refused(capsys: pytest.CaptureFixture[str], words: list[str], code: int = 2) -> str:
    """The one line of a refused command."""
    capsys.readouterr()
    assert main(words) == code
    problem = capsys.readouterr().err.strip()
    assert "\n" not in problem and "Traceback" not in problem
    return problem


def test_a_name_is_registered_once_and_a_run_that_exists_never(fitted, later, capsys):
    assert main(registering(fitted, later[:1])) == 0
    before = (fitted / "forecasts" / "rung.json").read_bytes()
    assert "registered already" in refused(capsys, registering(fitted, later))
    assert (fitted / "forecasts" / "rung.json").read_bytes() == before
    there = [r for r in load_records(SweepDir(fitted)) if r.kind != "trunk"]
    near = dataclasses.replace(there[0], tokens=round(there[0].tokens * 1.0005))
    problem = refused(capsys, registering(fitted, [near], "late"))
    assert "there already" in problem and there[0].run_id in problem
    assert not (fitted / "forecasts" / "late.json").exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--register", "a/b", "--params", "1M"], "expected a name of letters"),
        (["--register", "a"], "nothing to register"),
        (["--register", "a", "--params", "1M,2M", "--tokens", "1M,2M,3M"], "lists of one length"),
        (["--register", "a", "--params", "1M", "--level", "2"], "level 2.0"),
        (["--register", "a", "--params", "1M", "--set", "x=1"], "--set without --grid"),
        (["--params", "1M"], "--params without --register NAME"),
        (["--register", "a", "--params", "1M", "--law", "nolaw"], "law 'nolaw'"),
        (["--score", "gone"], "no forecast 'gone'; none is registered"),
    ],
)
def test_what_cannot_be_registered_or_scored_is_said_in_a_line(words, said, sweep, capsys):
    assert said in refused(capsys, ["forecast", *words, "--results", str(sweep)])
    assert not (sweep / "forecasts").exists()


def test_a_published_law_has_no_interval_to_score(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    words = ["forecast", "--register", "a", "--params", "1e9", "--law", "besiroglu2024"]
    problem = refused(capsys, [*words, "--out", "here"])
    assert "no interval to score" in problem


def test_a_forecast_changed_by_hand_is_refused(sweep, later, known, capsys):
    folder = sweep / "forecasts"
    path = write_registered(folder, forecast_of(known, later))
    write(sweep, later)
    text = path.read_text()
    changed = json.loads(text)
    changed["targets"][0]["loss"] *= 1.01
    for content in (json.dumps(changed), text.replace('"digest"', '"digits"'), text[:-40], "[]"):
        path.write_text(content)
        problem = refused(capsys, ["forecast", "--score", "--results", str(sweep)])
        assert "made.json" in problem
    path.write_text(text)
    path.rename(folder / "renamed.json")
    problem = refused(capsys, ["forecast", "--results", str(sweep)])
    assert "it is the forecast 'made' under another name" in problem


def test_runs_that_are_not_the_forecasts_are_left_out_by_name(sweep, later, known):
    write_registered(sweep / "forecasts", forecast_of(known, later))
    good, text, early, recipe, diverged, *_ = later
    other = dataclasses.replace(
        recipe, spec=dataclasses.replace(recipe.spec, precision="bf16"), run_id="another-recipe"
    )
    write(
        sweep,
        [
            good,
            dataclasses.replace(text, corpus_fingerprint="f" * 16),
            dataclasses.replace(early, finished_at="2026-01-01T00:00:00+00:00"),
            other,
            dataclasses.replace(diverged, status="diverged", val_loss_nats=None),
        ],
    )
    (one,) = score(results=str(sweep)).forecasts
    assert [run.run_id for run in one.scored] == [good.run_id]
    reasons = dict(one.left_out)
    assert "another text" in reasons[text.run_id]
    assert "before the forecast was registered" in reasons[early.run_id]
    assert "another recipe: precision" in reasons["another-recipe"]
    assert "diverged" in reasons[diverged.run_id]
    assert len(one.open) == len({place(record) for record in later}) - 1


def test_runs_at_no_target_and_targets_without_a_run_are_counted(sweep, later, known):
    write_registered(sweep / "forecasts", forecast_of(known, later[:2]))
    with pytest.raises(FitError, match="no run to score yet: 2 targets of 1 registered"):
        score(results=str(sweep))
    write(sweep, [later[0], later[-1]])
    result = score(results=str(sweep))
    assert len(result.forecasts[0].open) == 1
    assert result.unmatched == (later[-1].run_id,)


def test_results_that_changed_since_are_refused_by_name(sweep, later, known):
    write_registered(sweep / "forecasts", forecast_of(known, later))
    point = next(record for record in known if record.kind != "trunk")
    assert point.val_loss_nats is not None
    write(sweep, [*later, dataclasses.replace(point, val_loss_nats=point.val_loss_nats - 0.1)])
    with pytest.raises(ConfigError, match=f"other losses in .*{point.run_id}.*data digest"):
        score(results=str(sweep))


def test_results_without_the_runs_behind_a_forecast_are_scored_with_a_warning(
    known, later, tmp_path
):
    write_registered(tmp_path / "kept", forecast_of(known, later))
    write(tmp_path / "next", later)
    result = score(results=str(tmp_path / "next"), out=tmp_path / "kept")
    assert len(result.forecasts[0].scored) == len(later)
    assert "cannot be checked" in result.forecasts[0].warnings[0]


def table_of(path: Path, records: Iterable[RunRecord]) -> Path:
    rows = [
        f"{r.run_id},{r.params_matmul},{r.tokens},{r.val_loss_nats!r},{r.cluster}"
        for r in records
        if r.kind != "trunk"
    ]
    path.write_text("run_id,params,tokens,loss,cluster\n" + "\n".join(rows) + "\n")
    return path


def test_a_table_in_another_count_or_unit_is_refused(known, later, tmp_path):
    write_registered(tmp_path / "forecasts", forecast_of(known, later))
    path = table_of(tmp_path / "runs.csv", [*known, *later])
    with pytest.raises(ConfigError, match=r"params counted as matmul, .*; state --params-are"):
        score(results=str(path), table=TableSettings(params_are="total"))
    with pytest.raises(ConfigError, match=r"losses in nats per token, .*--loss-unit"):
        score(
            results=str(path), table=TableSettings(params_are="matmul", loss_unit="bits-per-byte")
        )
    result = score(results=str(path), table=TableSettings(params_are="matmul"))
    assert len(result.forecasts[0].scored) == len(later)
    assert "a table says neither recipe nor text" in result.forecasts[0].warnings[-1]


def test_a_grid_registers_what_has_not_run(fitted, later, planted):
    plan = [Planned(spec=record.spec, epochs=None) for record in planted]
    made = register("rung", figures={}, planned=plan, results=str(fitted))
    targets = {(t.params, t.tokens) for t in made.forecast.targets}
    assert targets == {(float(r.params_matmul), float(r.tokens)) for r in later}
    there = [r for r in load_records(SweepDir(fitted)) if r.kind != "trunk"]
    assert dict(made.left_out) == {record.run_id: "it has run" for record in there}
    only = [Planned(spec=record.spec, epochs=None) for record in there]
    with pytest.raises(ConfigError, match="none is left to run"):
        register("again", figures={}, planned=only, results=str(fitted))
    other = ladder_config("optim.batch_tokens=1024")
    records = planted_records(config=other)
    with pytest.raises(ConfigError, match=r"no planned run has the recipe.*optim\.batch_tokens"):
        plan = [Planned(spec=record.spec, epochs=None) for record in records]
        register("other", figures={}, planned=plan, results=str(fitted))


def test_the_command_registers_what_a_config_plans(fitted, later, capsys, monkeypatch):
    plan = make_plan(ladder_config(), cpu_profile(), train_tokens=10**9)
    asked = []

    def plan_only(request: Request, say: object) -> tuple[None, Plan]:
        asked.append(request)
        return None, plan

    monkeypatch.setattr(planning, "plan_only", plan_only)
    words = ["forecast", "--register", "rung", "--grid", "next.yaml", "--set", "seeds=[0]"]
    assert main([*words, "--results", str(fitted), "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert [(one.config, one.overrides) for one in asked] == [("next.yaml", ("seeds=[0]",))]
    assert len(document["forecast"]["targets"]) == len({place(record) for record in later})
    assert {item["reason"] for item in document["left_out"]} == {"it has run"}


def test_a_run_that_has_begun_is_stated_with_its_forecast(fitted, later):
    begun = SweepDir(fitted).run(later[0].run_id)
    layout.write_json(begun.spec, to_json(later[0].spec))
    begun.curve.touch()
    plan = [Planned(spec=record.spec, epochs=None) for record in later[:2]]
    first, second = register("rung", figures={}, planned=plan, results=str(fitted)).forecast.targets
    assert "had begun" in first.warnings[0] and later[0].run_id in first.warnings[0]
    assert not any("had begun" in words for words in second.warnings)


def test_a_planned_run_that_repeats_its_text_is_forecast_as_such(fitted, later):
    twice = [Planned(spec=later[-1].spec, epochs=8.0)]
    once = [Planned(spec=later[-1].spec, epochs=1.0)]
    (repeated,) = register("two", figures={}, planned=twice, results=str(fitted)).forecast.targets
    (fresh,) = register("one", figures={}, planned=once, results=str(fitted)).forecast.targets
    assert repeated.loss > fresh.loss
    assert (repeated.tokens_unique, fresh.tokens_unique) == (later[-1].tokens / 8, None)


@pytest.mark.parametrize("skew", [(0.01, 0.01), (0.004, 0.03)])
def test_the_log_score_is_that_of_a_density_that_integrates_to_one(skew):
    below, above = skew
    quantiles = {"0.05": 3 * math.exp(-below), "0.95": 3 * math.exp(above)}
    target = RegisteredTarget(
        params=1e6, tokens=1e7, loss=3.0, low=2.9, high=3.1,
        quantiles={**quantiles, "0.25": 2.99, "0.75": 3.01},
    )  # fmt: skip
    places = np.linspace(-0.2, 0.2, 4001)
    scores = np.array(
        [
            ScoredRun(forecast="a", target=target, run_id="r", loss=3 * math.exp(x)).log_score
            for x in places
        ],
        dtype=float,
    )
    density = np.exp(scores)
    assert np.sum(density) * (places[1] - places[0]) == pytest.approx(1.0, abs=1e-3)
    best = ScoredRun(forecast="a", target=target, run_id="r", loss=3.0).log_score
    assert best == pytest.approx(scores.max())
    exact = dataclasses.replace(target, quantiles=dict.fromkeys(quantiles, 3.0))
    assert ScoredRun(forecast="a", target=exact, run_id="r", loss=3.0).log_score is None


def test_a_registered_loss_has_the_digits_of_any_other_forecast():
    for low, high, cells in (
        (2.441, 2.683, ("2.6", "2.4 to 2.7")),
        (2.541, 2.583, ("2.56", "2.54 to 2.58")),
    ):
        target = RegisteredTarget(
            params=1e6, tokens=1e7, loss=2.561, low=low, high=high, quantiles={}
        )
        assert loss_cells(target) == cells
        assert f"{target.loss:.{interval_decimals(low, high)}f}" == cells[0]


def test_bias_has_the_sign_of_measured_over_forecast(sweep, later, known):
    for name, off in (("low", -0.1), ("high", 0.1)):
        write_registered(sweep / "forecasts", forecast_of(known, later, name=name, off=off))
    write(sweep, later)
    result = score(results=str(sweep))
    tallies = {one.forecast.name: one.tally for one in result.forecasts}
    low, high = tallies["low"], tallies["high"]
    assert low is not None and high is not None and result.tally is not None
    assert (low.bias_log, high.bias_log) == pytest.approx((0.1, -0.1))
    assert low.inside == 0 and low.expected == pytest.approx(0.9 * len(later))
    assert result.tally.runs == 2 * len(later)
    assert result.tally.bias_log == pytest.approx(0.0, abs=1e-12)
    assert result.tally.rms_log == pytest.approx(0.1)


def test_the_report_shows_each_target_with_its_result(sweep, later, known):
    write_registered(sweep / "forecasts", forecast_of(known, later))
    write(sweep, later[:1])
    shown = section(score(results=str(sweep)), "")
    assert shown is not None
    assert later[0].run_id in shown.body and "inside" in shown.body and ">open<" in shown.body
    changed = section(None, "made.json: changed since it was registered")
    assert changed is not None and "changed since it was registered" in changed.body
    assert section(None, "") is None


def test_the_reference_sweeps_cheap_runs_forecast_its_expensive_ones(tmp_path, capsys, monkeypatch):
    def quickly(source: Path, table: TableSettings | None, extra: object = ()) -> KnownLaws:
        return laws_of(fit_sources([source], FitSettings(resamples=100), table=table)[0])

    monkeypatch.setattr(forecast_session, "known_laws", quickly)
    records = [r for r in load_records(SweepDir(REFERENCE)) if r.kind != "trunk"]
    limit = max(record.flops_exact for record in records) / 4
    cheap = [record for record in records if record.flops_exact <= limit]
    expensive = [record for record in records if record.flops_exact > limit]
    path = table_of(tmp_path / "runs.csv", cheap)
    words = [*registering(path, expensive), "--params-are", "matmul"]
    assert main(words) == 0
    table_of(path, [*cheap, *expensive])
    capsys.readouterr()
    assert main(["forecast", "--score", "--results", str(path), "--json"]) == 0
    every = json.loads(capsys.readouterr().out)["all"]
    assert every["runs"] == len(expensive)
    assert abs(every["bias_log"]) < 0.02 and every["inside"] >= 0.7 * every["runs"]
