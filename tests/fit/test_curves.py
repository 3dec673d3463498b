"""Laws of loss curves: exact derivatives, planted curves recovered, tables and sweeps read."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from scaling_law.cli.main import main
from scaling_law.errors import ConfigError, FitError
from scaling_law.files.layout import SweepDir
from scaling_law.files.record import write_record
from scaling_law.fit.curves.curve import Curve, Rate
from scaling_law.fit.curves.fit_curves import fit_curves
from scaling_law.fit.curves.law import MULTI_POWER, PROGRESS, course, loss_and_slopes
from scaling_law.fit.curves.planned import asked
from scaling_law.fit.curves.read_sweep import planned_rate, read_sweep
from scaling_law.fit.curves.session import Question, answer, fit_with_other
from scaling_law.fit.curves.table import read_curve_table
from scaling_law.fit.curves.text import format_curves
from scaling_law.spec.schedule import ScheduleSpec
from tests.fakes import record_of, tiny_spec
from tests.test_benchmarks import benchmark

# L0, log A, log alpha, log B, log C, log beta, gamma, p, q
TRUTH = np.array([2.5, np.log(0.25), np.log(0.5), np.log(0.15), np.log(200), 0.2, 0.0, 0.8, 0.85])
STEPS = 10_000
COOLED = ScheduleSpec(warmup_steps=200, decay_steps=2000)
PLANNED = {
    "trunk": ScheduleSpec(warmup_steps=200),
    "cooled": COOLED,
    "cosine": ScheduleSpec(shape="cosine", warmup_steps=200, final_frac=0.1),
}


def planted(schedule: ScheduleSpec, name: str, *, group: str = "a", steps: int = STEPS) -> Curve:
    """A curve by ``TRUTH``, with noise that is correlated along it."""
    rate = planned_rate(schedule, steps, 0.01)
    at = np.linspace(400, steps, 60)
    losses = loss_and_slopes(TRUTH, course(rate, at, 0.01, STEPS))[0]
    losses = losses + (0.3 if group == "b" else 0.0)
    draws = np.random.default_rng([*name.encode(), *group.encode()]).normal(0, 0.001, len(at))
    noise = np.zeros(len(at))
    for i, draw in enumerate(draws):
        noise[i] = 0.8 * noise[i - 1] + draw if i else draw
    return Curve(name=name, group=group, rate=rate, steps=at, losses=losses + noise)


def test_the_derivatives_are_those_of_finite_differences():
    theta = TRUTH.copy()
    theta[6] = 0.4
    restarts = Rate(
        steps=np.array([0.0, 100, 500, 1000, 1010, 2000]),
        lr=np.array([0.0, 0.8, 0.8, 0.1, 0.7, 0.0]),
        warmup_steps=100.0,
    )
    at = course(restarts, np.array([150.0, 600, 1005, 1500, 1990]), 1.0, 2000.0)
    slopes = loss_and_slopes(theta, at)[1]
    for place in range(len(theta)):
        low, high = theta.copy(), theta.copy()
        low[place] -= 1e-6
        high[place] += 1e-6
        difference = (loss_and_slopes(high, at)[0] - loss_and_slopes(low, at)[0]) / 2e-6
        np.testing.assert_allclose(slopes[:, place], difference, atol=1e-7, rtol=1e-5)


def test_a_constant_rate_leaves_a_power_law_of_the_steps():
    rate = Rate(steps=np.array([0.0, 1000.0]), lr=np.array([0.5, 0.5]), warmup_steps=0.0)
    at = course(rate, np.array([100.0, 1000.0]), 0.5, 1000.0)
    losses = loss_and_slopes(TRUTH, at)[0]
    np.testing.assert_allclose(losses, 2.5 + 0.25 * np.array([0.1, 1.0]) ** -0.5)


def test_planted_curves_predict_a_schedule_that_was_not_fitted():
    curves = [planted(spec, name, group=g) for g in "ab" for name, spec in PLANNED.items()]
    fitted = [one for one in curves if one.name != "cosine"] + [curves[2]]
    fit = fit_curves(fitted, PROGRESS)
    assert fit.converged
    assert fit.noise.correlation > 2, "the noise was planted with correlation"
    value, low, high = fit.interval("a", "log_alpha")
    assert low < 0.5 < high and abs(value - 0.5) < 0.1
    held = curves[5]
    predicted = fit.predict("b", held.rate, held.steps)
    assert np.abs(predicted.losses - held.losses).mean() < 0.004
    assert ((predicted.low < held.losses) & (held.losses < predicted.high)).mean() > 0.85


def test_a_cosine_is_as_unsure_as_p_where_every_curve_falls_only_at_the_end():
    curves = {name: planted(spec, name) for name, spec in PLANNED.items()}
    flat, whole = fit_curves([curves["trunk"], curves["cooled"]], PROGRESS), fit_curves(
        list(curves.values()), PROGRESS
    )  # fmt: skip
    assert (flat.knows_p, whole.knows_p) == (False, True)
    p, low, high = flat.interval("a", "p")
    assert p == PROGRESS.centre[3] and low < 0.3 and high > 0.9
    widths = []
    for fit in (flat, whole):
        end = fit.predict("a", curves["cosine"].rate, np.array([float(STEPS)]))
        assert end.low < curves["cosine"].losses[-1] < end.high
        widths.append(float((end.high - end.low)[0]))
    assert widths[0] > 2 * widths[1]


def test_the_other_law_widens_the_interval_where_the_two_differ():
    curves = [planted(spec, name) for name, spec in PLANNED.items()]
    fit = fit_with_other(curves, PROGRESS)
    far = planned_rate(PLANNED["cosine"], 3 * STEPS, 0.01)
    at = np.array([2.9 * STEPS])
    alone = dataclasses.replace(fit, beside=None).predict("a", far, at)
    both = fit.predict("a", far, at)
    assert both.losses == alone.losses
    assert both.high - both.low > alone.high - alone.low
    assert fit.beside is not None and fit.beside.law is MULTI_POWER


def test_points_that_branches_share_with_their_trunk_count_once():
    trunk, cooled = planted(PLANNED["trunk"], "trunk"), planted(COOLED, "cooled")
    copied = np.where(cooled.steps < 8000, trunk.losses, cooled.losses)
    fit = fit_curves([trunk, dataclasses.replace(cooled, losses=copied)], PROGRESS)
    assert fit.repeated == int((trunk.steps < 8000).sum())


def test_curves_without_a_fall_are_refused():
    with pytest.raises(FitError, match="falls in none"):
        fit_curves([planted(PLANNED["trunk"], "trunk")], PROGRESS)


def write(path, curve):
    lr = np.interp(curve.steps, curve.rate.steps, curve.rate.lr)
    rows = [f"{s:g},{r!r},{x!r}" for s, r, x in
            zip(curve.steps, lr.tolist(), curve.losses.tolist(), strict=True)]  # fmt: skip
    path.write_text("\n".join(["step,lr,loss", *rows]) + "\n")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("curves") / "small"
    folder.mkdir()
    for name, spec in PLANNED.items():
        write(folder / f"{name}.csv", planted(spec, name))
    return folder


def test_a_table_knows_its_rate_its_warm_up_and_its_runs(tmp_path):
    path = tmp_path / "log.csv"
    path.write_text(
        "run,step,lr,val_loss\na,0,0,\na,100,.01,4\na,200,.01,3.5\na,300,0,3\n"
        "b,100,.01,4\nb,200,.005,3\nb,300,.001,2\nb,400,oops,2\nc,1,1,1\n"
    )
    read = read_curve_table(path, {}, group="g", warmup_steps=None)
    a, b = read.curves
    assert (a.name, b.name) == ("a", "b")
    assert a.rate.warmup_steps == 100 and a.steps.tolist() == [100, 200, 300]
    assert b.rate.warmup_steps == 0 and b.rate.lr[0] == 0.01
    assert [name for name, _ in read.left_out] == ["log.csv, line 9", "c"]
    stated = read_curve_table(path, {}, group="g", warmup_steps=50)
    assert stated.curves[1].rate.warmup_steps == 50 and stated.curves[1].rate.lr[0] == 0


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("step,loss\n1,2\n2,2\n3,2\n", "no column for lr"),
        ("step,lr,loss\n1,.1,2\n1,.1,2\n3,.1,2\n3,.1,2\n4,.1,2\n", "step 1 twice"),
        ("step,lr,loss\n1,0,2\n2,0,2\n3,0,2\n", "0 throughout"),
        ("step,lr,loss\n1,.1,2\n2,.1,2\n", "no curve of 3 steps"),
    ],
)
def test_a_table_that_has_no_curve_is_refused(tmp_path, text, says):
    path = tmp_path / "bad.csv"
    path.write_text(text)
    with pytest.raises(ConfigError, match=says):
        read_curve_table(path, {}, group="g", warmup_steps=None)


def test_decimal_commas_are_read_and_infinite_losses_left_out(tmp_path):
    path = tmp_path / "log.csv"
    path.write_text("step;lr;loss\n1;0,01;3,5\n2;0,01;inf\n3;0,005;3,25\n4;0,001;3,125\n")
    read = read_curve_table(path, {}, group="g", warmup_steps=None)
    assert read.curves[0].losses.tolist() == [3.5, 3.25, 3.125]
    assert [name for name, _ in read.left_out] == ["log.csv, line 3"]


def test_a_model_with_few_losses_is_left_out_by_name(folder, tmp_path):
    small = tmp_path / "tiny.csv"
    small.write_text("size,step,lr,loss\n" + "".join(f"tiny,{i},.01,{4 - i}\n" for i in (1, 2, 3)))
    result = answer([folder, small], Question())
    assert result.fit.groups == ("small",)
    ((name, why),) = result.left_out
    assert name == "tiny" and "3 losses after the warm-up" in why


def test_the_benchmark_scores_every_size_from_three_curves(tmp_path, capsys, monkeypatch):
    module = benchmark("curve_law")
    curves = [planted(spec, name, group=g) for g in "ab" for name, spec in PLANNED.items()]
    held = module.predicted(curves, ("trunk", "cooled"), PROGRESS)
    assert {group: [one.curve.name for one in ones] for group, ones in held.items()} == {
        "a": ["cosine"], "b": ["cosine"]
    }  # fmt: skip
    monkeypatch.setattr("sys.argv", ["curve_law.py", "--data", str(tmp_path)])
    assert module.main() == 2
    assert "csv_25" in capsys.readouterr().out


def test_schedules_are_read_as_a_config_writes_them(tmp_path):
    curves = [planted(COOLED, "cooled")]
    linear = asked("wsd:steps=1k,decay_frac=.5,cooldown=linear,final_frac=.1", curves).rate
    assert linear.length == 1000 and linear.lr[-1] == pytest.approx(0.001, rel=0.1)
    assert np.interp(500, linear.steps, linear.lr) == pytest.approx(0.01)
    assert asked("restarts:cycles=2", curves).rate.length == STEPS
    own = tmp_path / "own.csv"
    own.write_text("step,lr\n300,.01\n500,.01\n900,.002\n")
    assert asked(str(own), curves).rate.lr[-1] == 0.002


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("wsdd", "did you mean wsd"),
        ("wsd:step=3", "did you mean steps"),
        ("wsd:steps=ten", "expected a count"),
        ("wsd:cooldown=steep", "no cooldown is named"),
        ("wsd:decay_steps=1e9", "expected 1 to"),
        ("cosine:steps=3", "warm-up"),
    ],
)
def test_a_schedule_that_cannot_be_planned_is_refused(text, says):
    with pytest.raises(ConfigError, match=says):
        asked(text, [planted(COOLED, "cooled")])


def test_held_out_curves_are_scored_and_schedules_ranked(folder):
    texts = ("wsd:steps=10k,decay_frac=.1", "constant:steps=10k")
    question = Question(hold_out=("cosine",), schedules=texts)
    result = answer([folder], question)
    (held,) = result.held_out
    assert held.error < 0.02 and held.curve.name == "cosine"
    assert [one.text for one in result.ranked("small")] == list(texts)
    chance = result.chance_lowest("small")
    assert chance is not None and chance > 0.9
    assert result.to_json()["lowest"]["small"]["schedule"] == texts[0]


def test_a_sweeps_runs_that_have_not_finished_are_left_out_by_name(tmp_path):
    sweep = SweepDir(tmp_path)
    record = record_of(tiny_spec(), status="diverged")
    write_record(sweep.run(record.run_id), record)
    (sweep.runs / "later").mkdir()
    left_out = dict(read_sweep(sweep).left_out)
    assert left_out == {"later": "not finished", record.run_id: "diverged"}


def test_a_rate_higher_than_any_that_was_fitted_is_not_ranked(folder):
    result = answer([folder], Question(schedules=("wsd:lr=.1", "constant", "wsd:steps=5k")))
    assert result.too_high("small") == ["wsd:lr=.1"] and result.chance_lowest("small") is None
    assert result.to_json()["lowest"] == {}
    text = format_curves(result)
    assert "ends lowest" not in text and "different lengths" in text
    assert "wsd:lr=.1: the rate is higher than in any fitted curve (at most 0.01)" in text


def test_losses_in_bits_become_nats_by_the_name_of_their_column(tmp_path):
    path = tmp_path / "log.csv"
    path.write_text("step,lr,loss (bits per byte)\n1,.01,3\n2,.01,2\n3,.001,1\n")
    read = read_curve_table(path, {}, group="g", warmup_steps=None)
    assert read.loss_unit == "nats per byte"
    assert read.curves[0].losses == pytest.approx(np.log(2) * np.array([3, 2, 1]))
    path.write_text("step,lr,ppl\n1,.01,20\n2,.01,10\n3,.01,.5\n4,.001,5\n")
    read = read_curve_table(path, {"loss": "ppl"}, group="g", warmup_steps=None)
    assert read.loss_unit == "nats per token" and len(read.left_out) == 1
    assert read.curves[0].losses == pytest.approx(np.log([20, 10, 5]))


def test_the_command_prints_an_answer_and_draws_it(folder, tmp_path, capsys):
    figure = tmp_path / "curves.svg"
    words = [str(folder), "--hold-out", "cosine", "--schedule", "linear", "--figure", str(figure)]
    assert main(["curves", *words]) == 0
    text = capsys.readouterr().out
    assert "independent points" in text and "held-out curves: mean error" in text
    assert "the rate falls throughout" in text
    assert figure.read_text().startswith("<?xml")
    assert main(["curves", str(folder), "--hold-out", "cosin"]) == 2
    assert "did you mean cosine" in capsys.readouterr().err
