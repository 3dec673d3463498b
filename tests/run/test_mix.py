"""A sweep over mixtures in one folder: trained, added to, fitted by arm."""

from __future__ import annotations

import pytest

from scaling_law.cli.main import main
from scaling_law.errors import ConfigError
from scaling_law.files.layout import SweepDir
from scaling_law.files.record import load_records, write_record
from scaling_law.fit.arms import fit_by, losses_compare, split_by
from scaling_law.fit.suite import FitSettings
from scaling_law.plan.make import make_plan
from scaling_law.run.pinned import refuse_other_recipe
from scaling_law.run.pins import read_pins
from scaling_law.spec.arms import arm_of
from tests.fakes import config_of, cpu_profile, planted_arms, planted_records, write_text

PLANTED_SWEEP = """
name: planted
data: {corpus: installed, vocab_size: 1024,
       phases: [{mix: natural, until: cooldown}, {mix: natural}]}
model: {n_ctx: 64}
axes: {data.phases.1.mix: [natural, {py-docs: 1}]}
grid:
  - sizes: [nano14k, nano25k, nano55k]
    tokens: [500K, 1M, 2M]
optim: {batch_tokens: 512}
precision: fp32
"""
KEY = "data.phases.1.mix"


@pytest.mark.slow
def test_arms_with_one_trunk_are_fitted_each_on_its_own(tmp_path):
    sweep = SweepDir(tmp_path / "planted")
    for record in planted_arms(PLANTED_SWEEP, lambda spec: (KEY, "natural") in arm_of(spec)):
        write_record(sweep.run(record.run_id), record)
    for key in (KEY, "data.mix"):
        arms = split_by(load_records(sweep), [key], "here")
        assert len(arms) == 2 and losses_compare(arms)
        # three trunks, each in both arms
        assert [len(arm.records) for arm in arms] == [12, 12]
        fits, _ = fit_by([sweep.path], [key], FitSettings(resamples=0))
        lowest = {
            fit.arm.name: min(r.val_loss_nats or 9 for r in fit.arm.records if r.spec.branch)
            for fit in fits
            if fit.known is not None
        }
        natural = next(name for name in lowest if name.endswith("natural"))
        assert len(lowest) == 2 and lowest[natural] == min(lowest.values())


def test_a_different_mixture_is_a_different_recipe(tmp_path):
    sweep = SweepDir(tmp_path / "s")
    for record in planted_records(0.002, config_of(PLANTED_SWEEP)):
        write_record(sweep.run(record.run_id), record)
    more = config_of(PLANTED_SWEEP.replace("{py-docs: 1}]", "{py-docs: 1}, {cpp: 1}]"))
    refuse_other_recipe(make_plan(more, cpu_profile(), train_tokens=None), sweep)
    plain = config_of(PLANTED_SWEEP, "data.phases=null", "data.mix={cpp: 1}", "axes={}")
    with pytest.raises(ConfigError, match=r"data\.mix cpp=1 here, natural until cooldown then"):
        refuse_other_recipe(make_plan(plain, cpu_profile(), train_tokens=None), sweep)


@pytest.mark.slow
def test_a_tiny_sweep_over_mixtures_is_trained_and_extended(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    write_text(tmp_path / "web")
    for path in write_text(tmp_path / "code").iterdir():
        path.write_text(path.read_text().upper().replace(" IS ", " = "))
    text = (
        "name: s\ndata: {sources: {web: {corpus: web}, code: {corpus: code}}, tokenizer: bytes,"
        " vocab_size: 257, val_fraction: 0.2, max_epochs: 100}\nmodel: {n_ctx: 16}\nprecision:"
        " fp32\ngrid:\n  - sizes: [{n_layer: 1, d_model: 16, n_head: 2}]\n    tokens: [10K, 20K]\n"
        "optim: {batch_tokens: 256, lr: 0.01, warmup_tokens: 2000}\n"
        "eval: {val_tokens: 1024, curve_tokens: 512, curve_points: 2}\n"
    )
    (tmp_path / "s.yaml").write_text(f"{text}axes: {{data.mix: [{{web: 1}}, natural]}}\n")
    assert main(["run", "s.yaml", "--device", "cpu", "--out", "s"]) == 0
    assert "mixture: web=1; epochs at 20K tokens: code 0, web" in capsys.readouterr().err
    sweep = SweepDir(tmp_path / "s")
    first = {record.run_id: record.val_loss_nats for record in load_records(sweep)}
    assert len(first) == 6
    more = "axes: {data.mix: [{web: 1}, natural, {code: .9, web: .1}]}\n"
    (tmp_path / "s.yaml").write_text(text + more)
    assert main(["run", "s.yaml", "--device", "cpu", "--out", "s"]) == 0
    records = {record.run_id: record for record in load_records(sweep)}
    assert len(records) == 9
    assert {run_id: records[run_id].val_loss_nats for run_id in first} == first
    # one prepared text serves all mixtures, so that their losses compare
    assert len(read_pins(sweep, "")) == len({r.corpus_fingerprint for r in records.values()}) == 1
    by_arm = {dict(arm_of(r.spec))["data.mix"]: r for r in records.values()}
    web, code = (by_arm[arm].metrics for arm in ("web=1", "code=0.9 web=0.1"))
    assert web["loss.val:web"] < code["loss.val:web"]
    assert code["loss.val:code"] < web["loss.val:code"]
    assert code["epochs.code"] > 8 * code["epochs.web"] > 0 and web["epochs.code"] == 0
    assert main(["run", "--out", "s", "--verify", "all"]) == 0
    assert main(["report", "s"]) == 0
    assert "loss.val:code" in sweep.report.read_text()
