"""The page of a planted sweep on disk: complete, self-contained, equal to the fit's JSON."""

from __future__ import annotations

import base64
import copy
import csv
import dataclasses
import hashlib
import json
import math
import re
import shutil
from html.parser import HTMLParser

import numpy as np
import pytest

from scaling_law.errors import ConfigError
from scaling_law.files import checksum, layout
from scaling_law.files.layout import SweepDir
from scaling_law.files.record import NATS, CurvePoint, load_records, write_curve, write_record
from scaling_law.fit.approaches.parametric import Refitter
from scaling_law.fit.laws import load_law
from scaling_law.fit.suite import FitSettings, fit_suite, save_suite
from scaling_law.forecast.session import forecast
from scaling_law.forecast.target import Target
from scaling_law.plan.make import make_plan
from scaling_law.report import curves, explore, exports, figures, findings, page, tables
from scaling_law.report.evidence import gather_evidence, rows_by_size
from scaling_law.report.explore import predicted
from scaling_law.report.held_out import held_out_figure, sizes_left_out
from scaling_law.report.html import write_report
from scaling_law.report.optimum import allocation, forecast_figure, isoflop_cells
from scaling_law.report.style import RESIDUAL, applied
from scaling_law.units import format_count
from tests.fakes import cpu_profile, ladder_config, planted_sweep, record_of, small_config

TRUE = {"E": 1.8, "A": 60.0, "B": 200.0, "alpha": 0.34, "beta": 0.37}
HOSTILE = "</script><script>alert(1)</script>"
VOID = {"meta", "link", "input", "br", "hr", "img", "use", "path", "rect", "stop"}


def planted_loss(params: int, tokens: int) -> float:
    law = load_law("chinchilla")
    loss = law.predict(TRUE, {"params": np.array([params]), "tokens": np.array([tokens])})
    return float(loss[0])


def plant(folder, config, *, noise=0.003) -> SweepDir:
    """A finished sweep on disk; the most expensive run diverged and has a hostile name."""
    sweep = SweepDir(folder)
    plan = make_plan(config, cpu_profile(), train_tokens=10**9)
    layout.write_json(sweep.plan, plan.to_json())
    layout.atomic_write(sweep.config, "name: planted # <b>not bold</b>\n")
    generator = np.random.default_rng(0)
    dearest = max((r for r in plan.runs if r.spec.kind == "branch"), key=lambda r: r.flops_alone)
    for run in plan.runs:
        blank = record_of(run.spec)
        loss = planted_loss(blank.params_matmul, blank.tokens)
        loss *= math.exp(noise * generator.normal())
        record = dataclasses.replace(blank, val_loss_nats=loss)
        if run is dearest:
            record = dataclasses.replace(
                record_of(run.spec, status="diverged"), message=f"not finite {HOSTILE}"
            )
        run_dir = sweep.run(run.run_id)
        write_record(run_dir, record)
        write_curve(run_dir, curve_of(record, loss))
    return sweep


def curve_of(record, loss):
    steps = np.linspace(record.spec.start_step + 1, record.spec.total_steps, 5).round()
    return [
        CurvePoint(
            step=int(step),
            tokens=int(step) * record.spec.batch_tokens,
            train_loss_nats=loss,
            val_loss_nats=loss + 1 - step / record.spec.total_steps,
            lr=0.01,
            grad_norm=1.0,
            seconds=1.0,
        )
        for step in steps
    ]


@pytest.fixture(scope="module")
def sweep(tmp_path_factory):
    planted = plant(tmp_path_factory.mktemp("results") / "planted & <odd>", ladder_config())
    save_suite(fit_suite(load_records(planted), FitSettings(resamples=100)), planted.path)
    return planted


@pytest.fixture(scope="module")
def written(sweep):
    """The page, and every file of the report by name."""
    return write_report(sweep).read_text(), files_of(sweep)


@pytest.fixture(scope="module")
def evidence(sweep):
    """What the page is made of, for tests that leave it as it is."""
    return gather_evidence(sweep, 175e9)


def files_of(sweep) -> dict[str, bytes]:
    paths = [sweep.report, *sorted(sweep.figures.iterdir())]
    return {path.name: path.read_bytes() for path in paths}


class Nesting(HTMLParser):
    """Tags that do not match, duplicate ids, attributes that a strict policy would block."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: list[str] = []
        self.scripts = 0
        self.attributes: set[str] = set()

    def handle_starttag(self, tag, attrs):
        self.scripts += tag == "script"
        self.attributes |= {name for name, _ in attrs}
        self.ids += [value for name, value in attrs if name == "id"]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        if tag not in VOID:
            assert self.open.pop() == tag


def test_the_page_is_one_file_without_requests(written):
    page, _ = written
    assert len(page) < 3_000_000
    assert not re.search(r"(src|href)\s*=\s*[\"']?(https?:)?//", page)
    assert "@import" not in page and "default-src 'none'" in page
    assert "unsafe" not in re.sub(r"<script.*?</script>", "", page, flags=re.S)


def test_the_page_is_well_formed_with_unique_ids_and_no_inline_styles_or_handlers(written):
    parser = Nesting()
    parser.feed(written[0])
    assert parser.open == []
    assert len(parser.ids) == len(set(parser.ids))
    assert parser.scripts == 2  # the values, and what draws them
    assert "style" not in parser.attributes
    assert not any(name.startswith("on") for name in parser.attributes)


def test_the_policy_names_the_only_script_and_the_only_style_by_their_hashes(written):
    page, _ = written
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', page)
    assert policy
    for tag, rule in (("script", "script-src"), ("style", "style-src")):
        (content,) = re.findall(rf"<{tag}>(.*?)</{tag}>", page, flags=re.S)
        digest = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
        assert f"{rule} 'sha256-{digest}';" in policy[1]
    assert re.search(r"require-trusted-types-for 'script'$", policy[1])


def values_of(page):
    return json.loads(re.findall(r'id="slaw-data">(.*?)</script>', page, flags=re.S)[0])


def test_the_values_in_the_page_equal_those_in_fit_json(sweep, written):
    values = values_of(written[0])
    known = layout.read_json(sweep.fits / "fit.json")["summary"]
    records = {r.run_id: r for r in load_records(sweep)}
    assert values["best_law"] == known["best_law"] and len(values["points"]) == known["points"]
    for law, fit in values["fits"][values["convention"]].items():
        assert fit["params"] == known["laws"][law]["params"]
        assert fit["intervals"] == known["laws"][law]["intervals"]
    for row in known["by_convention"]:
        fit = values["fits"][row["params"]][row["law"]]
        assert (fit["exponent"], fit["rms_log_residual"]) == (row["a"], row["rms_log_residual"])
        if row["alpha"] is not None:
            assert fit["params"]["alpha"] == row["alpha"]
    for point in values["points"]:
        record = records[point["run_id"]]
        assert point["loss_nats"] == record.val_loss_nats and point["tokens"] == record.tokens
        assert point["params"] == {
            name: getattr(record, f"params_{name}") for name in ("total", "non_embedding", "matmul")
        }
    best = values["fits"][values["convention"]][values["best_law"]]
    shown = {f"{100 * (p['loss_nats'] / q - 1):+.2f}%" for p, q in zip(
        values["points"], best["predicted_nats"], strict=True)}  # fmt: skip
    assert all(f'<td class="n">{words}</td>' in written[0] for words in shown)


def test_csv_and_parquet_tables_have_the_same_numbers(sweep, written):
    import pyarrow.parquet

    values = values_of(written[0])
    for name in ("runs", "curves", "fits", "predictions"):
        with (sweep.tables / f"{name}.csv").open() as file:
            rows = list(csv.DictReader(file))
        table = pyarrow.parquet.read_table(sweep.tables / f"{name}.parquet").to_pylist()
        assert rows and len(rows) == len(table) and list(rows[0]) == list(table[0])
        if name == "fits":
            mine = {r["parameter"]: float(r["value"]) for r in rows if r["forecasts"] == "True"}
            assert mine == values["fits"][values["convention"]][values["best_law"]]["params"]
        if name == "runs":
            losses = {r["run_id"]: r["val_loss_nats"] for r in table}
            assert losses == {r.run_id: r.val_loss_nats for r in load_records(sweep)}
            assert {r["left_out"] != "" for r in table if not r["fitted"]} == {True}


def test_without_pyarrow_only_csv_is_written_and_the_page_says_so(evidence, monkeypatch, tmp_path):
    for module in (exports, tables):
        monkeypatch.setattr(module, "has_parquet", lambda: False)
    exports.write_tables(evidence, tmp_path)
    assert {p.suffix for p in tmp_path.iterdir()} == {".csv"}
    assert "no parquet: pyarrow is not installed" in tables.reproduce(evidence).body


def test_every_name_and_message_is_escaped(written):
    page, _ = written
    assert HOSTILE not in page and "&lt;/script&gt;" in page
    assert page.count("</script>") == 2
    assert "<b>not bold" not in page and "planted &amp; &lt;odd&gt;" in page


def test_every_run_and_every_exclusion_is_named_with_its_reason(sweep, written):
    page, _ = written
    for record in load_records(sweep):
        assert record.run_id in page
    assert "not_annealed: a trunk (its branches are the points) (8)" in page
    assert "diverged: not finite" in page


@pytest.mark.slow
def test_all_figures_are_written_and_writing_again_changes_nothing(sweep, written):
    page, files = written
    names = (
        "loss_params loss_tokens loss_flops residuals training_curves isoflop allocation forecast "
        "held_out"
    )
    assert {n for n in files if "." in n} == {
        "report.html", *(f"{n}.{kind}" for n in names.split() for kind in ("svg", "png"))
    }  # fmt: skip
    assert page.count("<figure ") == len(names.split())
    write_report(sweep)
    assert files_of(sweep) == files


def test_the_numbers_equal_those_of_fit_and_extrapolate(sweep, written):
    page, _ = written
    stored = layout.read_json(sweep.fits / "fit.json")
    best = stored["best_law"]
    for name, value in stored["summary"]["laws"][best]["params"].items():
        assert f"{name} = {value:.4g} [" in page
    for row in stored["summary"]["by_convention"]:
        ends = f" [{row['a_low']:.2f}, {row['a_high']:.2f}]" if row["a_low"] is not None else ""
        assert f'<td class="n">{row["a"]:.3f}{ends}</td>' in page
    made = forecast(law=None, results=str(sweep.path), target=Target(params=175e9))
    prediction = made.prediction
    assert prediction.refused and prediction.low_nats and prediction.high_nats
    low, high = math.floor(10 * prediction.low_nats) / 10, math.ceil(10 * prediction.high_nats) / 10
    assert f"{low:.1f} to {high:.1f} nats/token" in page
    assert stored["summary"]["validation"]["verdict"].split(";")[0][1:] in page


def test_the_forecast_figure_ends_at_the_forecast(evidence):
    fitted = evidence.fitted
    assert fitted and fitted.forecast
    assert fitted.forecast_at(175e9) == fitted.forecast.prediction
    figure = forecast_figure(fitted, 175e9)
    assert figure is not None
    assert figure.axes[0].get_xlim()[1] > 175e9


def test_a_minimum_below_0_in_a_saved_fit_is_drawn_as_refused(evidence):
    fitted = copy.deepcopy(evidence.fitted)
    assert fitted
    before = [cell.usable for cell in fitted.cells]
    saved = fitted.summary["isoflop"]["cells"][before.index(True)]
    saved["loss_min_nats"] = -0.08
    figure = isoflop_cells(fitted)
    assert figure is not None and figure.axes[0].get_ylim()[0] > 0
    assert figure.axes[0].get_title().startswith(f"{sum(before) - 1} of {len(before)} ")
    labels = [entry.get_text() for entry in figure.legends[0].get_texts()]
    assert sum("refused, curve's minimum not above 0" in label for label in labels) == 1
    assert "minimum: the best size" in labels


def test_without_a_minimum_the_legend_explains_no_star(evidence):
    fitted = copy.deepcopy(evidence.fitted)
    assert fitted
    for saved in fitted.summary["isoflop"]["cells"]:
        saved["loss_min_nats"] = -0.08
    figure = isoflop_cells(fitted)
    assert figure is not None and figure.axes[0].get_title().startswith("0 of ")
    labels = [entry.get_text() for entry in figure.legends[0].get_texts()]
    assert "minimum: the best size" not in labels


@pytest.mark.slow
def test_a_page_in_another_folder_has_its_figures_beside_it(sweep, tmp_path):
    page = write_report(sweep, out=tmp_path / "sent.html", target_params=1e6)
    assert page == tmp_path / "sent.html"
    assert (tmp_path / "sent-figures" / "forecast.png").read_bytes()[:4] == b"\x89PNG"
    assert "Loss of a model of 1M matmul parameters" in page.read_text()


def test_too_few_points_give_a_page_that_says_why(tmp_path, blank_figures):
    sweep = plant(tmp_path / "few", small_config())
    page = write_report(sweep).read_text()
    assert "no forecast" in page and "No joint law could be fitted" in page
    assert "The law has no compute-optimal split" not in page and "(used)" not in page
    assert "adaptive" not in page
    assert "nan" not in re.sub(r"<(svg|script|style).*?</\1>", "", page, flags=re.S).lower()
    assert all(record.run_id in page for record in load_records(sweep))


def test_a_sweep_that_only_diverged_gives_a_page_that_says_why(tmp_path):
    sweep = SweepDir(tmp_path / "gone")
    plan = make_plan(small_config(), cpu_profile(), train_tokens=10**9)
    for run in plan.runs:
        write_record(sweep.run(run.run_id), record_of(run.spec, status="diverged"))
    page = write_report(sweep).read_text()
    assert "No law could be fitted: none of" in page
    assert "diverged; " in page[: page.index("<nav")]


def test_no_record_is_an_error_and_writes_nothing(tmp_path):
    sweep = SweepDir(tmp_path / "empty")
    sweep.runs.mkdir(parents=True)
    with pytest.raises(ConfigError, match="no finished run"):
        write_report(sweep)
    assert not sweep.report.exists() and not sweep.figures.exists()


def test_too_few_points_are_reported_once(tmp_path):
    sweep = plant(tmp_path / "two", small_config())
    kept = [r for r in load_records(sweep) if r.kind == "branch"][:2]
    for record in load_records(sweep):
        if record not in kept:
            shutil.rmtree(sweep.run(record.run_id).path)
    page = write_report(sweep).read_text()
    assert "No law could be fitted: 2 points" in page and "no law can be fitted" not in page


def test_the_rounds_of_an_adaptive_loop_are_named(tmp_path, blank_figures):
    sweep = plant(tmp_path / "rounds", small_config())
    for number in (1, 2):
        layout.atomic_write(sweep.round_config(number), checksum.text(f"name: round{number}\n"))
    page = write_report(sweep).read_text()
    assert "adaptive loop (slaw run --adaptive) of 2 rounds so far" in page
    assert "planned, round 2" in page and "name: round1\n" in page
    assert "slaw run rounds/02.yaml --out results/rounds" in page
    assert "slaw run sweep.yaml" not in page


def test_an_open_interval_end_is_open_in_every_table(evidence):
    evidence = copy.deepcopy(evidence)
    fitted = evidence.fitted
    assert fitted is not None
    known = fitted.known.laws["chinchilla"]
    known.intervals["E"] = (-math.inf, 2.9)
    section = findings.law(evidence)
    assert section is not None
    assert f"E = {known.params['E']:.4g} [no bound, 2.9]" in section.body
    [row] = [
        row for row in exports.tables_of(evidence)["fits"]
        if (row["law"], row["parameter"], row["params_counted"]) == ("chinchilla", "E", "matmul")
    ]  # fmt: skip
    assert (row["low"], row["high"]) == (None, 2.9)
    assert explore.document(evidence)["fits"]["matmul"]["chinchilla"]["intervals"]["E"][0] is None


def test_the_page_says_that_the_shown_rollouts_select_the_law(sweep, written):
    scores = layout.read_json(sweep.fits / "fit.json")["summary"]["scores"]
    rollouts = max(score["n_rollouts"] for score in scores)
    assert f"that none beats clearly (by 20%) in {rollouts} rollouts" in written[0]
    assert "best predicts the largest size" not in written[0]
    for score in scores:
        if score["rollout_rms"] is not None:
            assert f'<td class="n">{100 * score["rollout_rms"]:.2f}%</td>' in written[0]


def test_every_error_is_measured_divided_by_predicted(evidence):
    fitted = evidence.fitted
    assert fitted is not None
    fold = sizes_left_out(fitted)[0]
    held = [name == fold.name for name in fitted.points.size]
    fit = Refitter(fitted.points, fitted.best.law).on(~np.array(held))
    expected = predicted(fit, fitted.points)
    assert expected is not None
    ratios = 100 * (fitted.points.loss_nats / expected - 1)
    assert fold.residuals_percent == pytest.approx(ratios[held].tolist(), rel=1e-3, abs=1e-6)
    charts = explore.document(evidence)["charts"]
    for name in ("residuals", "held_out"):
        assert {chart["y"]["label"] for chart in charts[name]} == {RESIDUAL}


def test_a_panel_without_held_out_runs_says_so(evidence):
    fitted = evidence.fitted
    check = {**fitted.summary["validation"], "leave_size_out": []}
    without = dataclasses.replace(fitted, summary={**fitted.summary, "validation": check})
    drawn = held_out_figure(without)
    assert drawn is not None
    assert [text.get_text() for text in drawn.axes[0].texts] == ["no size can be left out"]
    assert not drawn.axes[1].texts, "there are rollouts"


def test_a_size_has_one_label_and_every_count_is_named(evidence, written):
    fitted = evidence.fitted
    assert fitted is not None
    with applied():
        drawn = [
            figures.loss_against_tokens(fitted), figures.residuals(fitted),
            curves.training_curves(curves.curves_of(evidence), NATS),
        ]  # fmt: skip
        held = held_out_figure(fitted)
        assert held is not None
        axes = [*figures.residuals(fitted).axes[:1], *held.axes[:1]]
        best = allocation(fitted)
    assert best is not None
    sizes = {
        f"{name}: {format_count(fitted.points.params[rows[0]])}"
        for name, rows in rows_by_size(fitted.points).items()
    }
    for figure in drawn:
        assert figure is not None
        [legend] = figure.legends
        assert sizes <= {label.get_text() for label in legend.get_texts()}
        assert legend.get_title().get_text() == "size and its matmul parameters"
    labels = [ax.get_xlabel() for ax in axes] + [best.axes[0].get_ylabel()]
    assert all("(matmul parameters)" in label for label in labels)
    assert "matmul parameters; " in written[0][: written[0].index("<nav")]
    assert ">total</label>" in written[0] and ">all</label>" not in written[0]


def test_wide_tables_scroll_and_intervals_follow_their_values(written):
    style = re.search(r"<style>(.*?)</style>", written[0], re.S)
    assert style is not None
    rule = re.search(r"\.scroll\{overflow-x:auto(.*?)\}", style[1], re.S)
    assert rule is not None and rule[1].count("local") == rule[1].count("scroll,") + 1 == 2
    for head in ("law", "law or approach", "run"):
        assert re.search(
            rf'<th scope="col" class="id">{head}</th><th scope="col" class="n?">'
            r"(parameters|a|loss ± s.e. \(nats/token\))</th>", written[0],
        ), head  # fmt: skip


@pytest.mark.slow
def test_a_page_of_200_runs_with_their_curves_stays_below_3_megabytes(tmp_path):
    sweep = SweepDir(tmp_path / "large")
    assert planted_sweep(sweep.path) >= 198
    for record in load_records(sweep):
        step = record.spec.total_steps / 20
        write_curve(
            sweep.run(record.run_id),
            [
                CurvePoint(
                    step=int(step * (i + 1)),
                    tokens=int(step * (i + 1)) * record.spec.batch_tokens,
                    train_loss_nats=4.123456789, val_loss_nats=5.123456789 - i / 20, lr=0.01,
                    grad_norm=1.0, seconds=1.0,
                )
                for i in range(20)
            ],
        )  # fmt: skip
    page = write_report(sweep)
    assert page.stat().st_size < 3_000_000
    assert len(values_of(page.read_text())["points"]) > 150


def test_a_sentence_begins_with_a_capital_unless_it_begins_with_a_path():
    assert page.sentence("one run is open") == "One run is open."
    assert page.sentence("results/mine/a.json: changed.") == "results/mine/a.json: changed."
