"""Damaged, foreign and hostile files, links and folders where slaw looks for results."""

from __future__ import annotations

import functools
import json
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from scaling_law.config.load import load_config
from scaling_law.config.written import config_yaml
from scaling_law.files import checksum, layout
from scaling_law.files.layout import RunDir, SweepDir
from scaling_law.files.record import read_record
from scaling_law.fit.suite import FitSettings, fit_suite, save_suite
from scaling_law.plan.make import make_plan
from tests.bad_input.case import Case
from tests.bad_input.configs import GOOD
from tests.fakes import cpu_profile, ladder_config, planted_records

HOSTILE = "</script><script>alert(1)</script>"
Build = Callable[[Path], None]


def _first(folder: Path) -> RunDir:
    """The first run of the copied sweep."""
    return SweepDir(folder / "sweep").run_dirs()[0]


def _record_is(content: str | bytes) -> Build:
    return lambda folder: _write(_first(folder).record, content)


def _write(path: Path, content: str | bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)


def _edit(path: Path, change: Callable[[Any], Any], *, sealed_again: bool = True) -> None:
    """Other content under a valid digest, so that the later checks have to detect it."""
    content = json.loads(path.read_text())
    content = change(content) or content
    if sealed_again and isinstance(content, dict) and "digest" in content:
        content = {**content, "digest": checksum.digest(content)}
    path.write_text(json.dumps(content))


def _record(**changes: Any) -> Build:
    """The first record with other values; ``...`` takes a key away."""

    def change(content: dict[str, Any]) -> None:
        for name, value in changes.items():
            content[name] = value
            if value is ...:
                del content[name]

    return lambda folder: _edit(_first(folder).record, change)


def _spec(**changes: Any) -> Build:
    return lambda folder: _edit(_first(folder).record, lambda c: c["spec"].update(changes))


def _file(name: str, content: str | bytes) -> Build:
    return lambda folder: _write(folder / "sweep" / name, content)


def _planned(change: Callable[[Any], Any] | None = None) -> Build:
    """A plan beside the sweep's records, damaged by ``change``."""

    def build(folder: Path) -> None:
        plan = make_plan(ladder_config(), cpu_profile(), train_tokens=10**9)
        path = SweepDir(folder / "sweep").plan
        layout.write_json(path, plan.stored())
        if change is not None:
            _edit(path, change)

    return build


def _saved(change: Callable[[Any], Any]) -> Build:
    """A fit saved by ``slaw fit``, damaged by ``change``."""

    def build(folder: Path) -> None:
        path = SweepDir(folder / "sweep").fits / "fit.json"
        _write(path, _saved_fit())
        _edit(path, change, sealed_again=False)

    return build


@functools.cache
def _saved_fit() -> str:
    """``fit.json`` of the good sweep's records."""
    with tempfile.TemporaryDirectory() as folder:
        suite = fit_suite(planted_records(), FitSettings(resamples=0))
        return save_suite(suite, Path(folder)).read_text()


def _begun(folder: Path) -> None:
    """The sweep as ``slaw run s.yaml`` starts it: plan and config beside its records."""
    _planned()(folder)
    config = config_yaml(load_config(folder / "s.yaml", device_kind="cpu"))
    _write(folder / "sweep" / "sweep.yaml", config)


def _both(*builds: Build) -> Build:
    def build(folder: Path) -> None:
        for each in builds:
            each(folder)

    return build


def _record_folder(folder: Path) -> None:
    for run in SweepDir(folder / "sweep").run_dirs():
        run.record.unlink()
        run.record.mkdir()


def _no_records(folder: Path) -> None:
    for run in SweepDir(folder / "sweep").run_dirs():
        run.record.rename(run.spec)


def _loop(folder: Path) -> None:
    (folder / "a").symlink_to("b")
    (folder / "b").symlink_to("a")


def _dangling(folder: Path) -> None:
    (folder / "gone").symlink_to("nowhere")


def _runs_is_a_file(folder: Path) -> None:
    _write(folder / "sweep" / "runs", "no folder\n")


def _pipe(name: str) -> Build:
    def build(folder: Path) -> None:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        os.mkfifo(path)

    return build


def _pipe_for_records(folder: Path) -> None:
    for run in SweepDir(folder / "sweep").run_dirs():
        run.record.unlink()
        os.mkfifo(run.record)


def _two_sweeps(folder: Path) -> None:
    for name in ("one", "two"):
        (folder / name).mkdir()
        (folder / name / "runs").symlink_to(folder / "sweep" / "runs")


def _other_tokenizer(folder: Path) -> None:
    _edit(_first(folder).record, lambda c: c["spec"]["model"].update(vocab_size=2048))


def _all_diverged(folder: Path) -> None:
    for run in SweepDir(folder / "sweep").run_dirs():
        _edit(run.record, lambda c: c.update(status="diverged", val_loss_nats=None))


def _one_run(folder: Path) -> None:
    for run in SweepDir(folder / "sweep").run_dirs()[1:]:
        run.record.unlink()


def _only_a_trunk(folder: Path) -> None:
    runs = SweepDir(folder / "sweep").run_dirs()
    trunk = next(run for run in runs if read_record(run.record).kind == "trunk")
    for run in runs:
        if run.path != trunk.path:
            run.record.unlink()


FIT = ("fit", "sweep", "--resamples", "0")
MORE = ("extrapolate", "--params", "1e9", "--results", "sweep")

# fmt: off
_FOLDERS: list[tuple[str, tuple[str, ...], Build, str]] = [
    # record.json
    ("record-empty", FIT, _record_is(""), "record.json: not readable as JSON (Expecting value: line 1 column 1 (char 0)); delete it to retrain"),
    ("record-cut", FIT, lambda f: _write(_first(f).record, _first(f).record.read_bytes()[:100]), "record.json: not readable as JSON (Unterminated string starting at: line 5 column 3 (char 96)); delete it to retrain"),
    ("record-binary", FIT, _record_is(b"\x80\x04\xff"), "record.json: not readable as JSON ('utf-8' codec can't decode byte 0x80 in position 0: invalid start byte); delete it to retrain"),
    ("record-a-list", FIT, _record_is("[]"), "record.json: not a run record (found [], expected keys and values); delete it to retrain"),
    ("record-a-number", FIT, _record_is("3"), "record.json: not a run record (found 3, expected keys and values); delete it to retrain"),
    ("record-null", FIT, _record_is("null"), "record.json: not a run record (found None, expected keys and values); delete it to retrain"),
    ("record-deep", FIT, _record_is("[" * 100_000), "record.json: not readable as JSON (nested too deep); delete it to retrain"),
    ("record-digits", FIT, _record_is("9" * 100_000), "record.json: not readable as JSON (a number of too many digits); delete it to retrain"),
    ("record-foreign", FIT, _record_is('{"loss": 3}'), "record.json: not a run record (schema_version None, expected 1 to 2); delete it to retrain"),
    ("record-version", FIT, _record(schema_version=99), "record.json: schema_version 99: a run record made by a later slaw (this one reads up to 2); upgrade slaw to read it"),
    ("record-no-version", FIT, _record(schema_version=...), "record.json: not a run record (schema_version None, expected 1 to 2); delete it to retrain"),
    ("record-no-tokens", FIT, _record(tokens=...), "record.json: not a run record (no tokens); delete it to retrain"),
    ("record-no-spec", FIT, _record(spec=...), "record.json: not a run record (KeyError('spec')); delete it to retrain"),
    ("record-extra-key", FIT, _record(colour="red"), "record.json: not a run record (unknown key 'colour'); delete it to retrain"),
    ("record-status", FIT, _record(status="fine"), "record.json: not a run record (status 'fine', expected done or diverged or stopped_early); delete it to retrain"),
    ("record-predicted", FIT, _record(status="stopped_early", val_loss_nats=None), "record.json: not a run record (metrics.predicted_loss_nats is nan, expected above 0); delete it to retrain"),
    ("record-kind", FIT, _record(kind="twig"), "record.json: not a run record (kind 'twig', expected single or trunk or branch); delete it to retrain"),
    ("record-loss-is-text", FIT, _record(val_loss_nats="low"), "record.json: not a run record (val_loss_nats is 'low', expected a number or null); delete it to retrain"),
    ("record-loss-is-a-list", FIT, _record(val_loss_nats=[3]), "record.json: not a run record (val_loss_nats is [3], expected a number or null); delete it to retrain"),
    ("record-tokens-are-text", FIT, _record(tokens="many"), "record.json: not a run record (tokens is 'many', expected a whole number); delete it to retrain"),
    ("record-tokens-are-negative", FIT, _record(tokens=-5), "record.json: not a run record (tokens is -5, expected above 0); delete it to retrain"),
    ("record-tokens-are-zero", FIT, _record(tokens=0), "record.json: not a run record (tokens is 0, expected above 0); delete it to retrain"),
    ("record-tokens-are-huge", FIT, _record(tokens=10**400), "record.json: not a run record (tokens is 100000000000000000000000000000000000000000000000000000000..., expected a whole number); delete it to retrain"),
    ("record-tokens-are-true", FIT, _record(tokens=True), "record.json: not a run record (tokens is True, expected a whole number); delete it to retrain"),
    ("record-params-are-null", FIT, _record(params_matmul=None), "record.json: not a run record (params_matmul is None, expected a whole number); delete it to retrain"),
    ("record-flops-are-text", FIT, _record(flops_exact="1e9"), "record.json: not a run record (flops_exact is '1e9', expected a number); delete it to retrain"),
    ("record-versions-a-list", FIT, _record(versions=["torch"]), "record.json: not a run record (versions is ['torch'], expected keys and values or a list); delete it to retrain"),
    ("record-metrics-a-list", FIT, _record(metrics=[1]), "record.json: not a run record (metrics is [1], expected keys and values or a list); delete it to retrain"),
    ("record-id-a-number", FIT, _record(run_id=3), "record.json: not a run record (run_id is 3, expected text); delete it to retrain"),
    ("record-id-goes-up", ("report", "sweep"), _record(run_id="../../../s.yaml"), "record.json: not a run record (run id '../../../s.yaml', expected letters, digits, . _ and -); delete it to retrain"),
    ("record-id-absolute", ("report", "sweep"), _record(run_id="/etc"), "record.json: not a run record (run id '/etc', expected letters, digits, . _ and -); delete it to retrain"),
    ("record-label-goes-up", FIT, _spec(label="../x"), "record.json: not a run record (label '../x' may hold only letters, digits, . _ and -); delete it to retrain"),
    ("record-spec-a-list", FIT, _record(spec=[]), "record.json: not a run record (KeyError('model')); delete it to retrain"),
    ("record-spec-is-empty", FIT, _record(spec={}), "record.json: not a run record (KeyError('model')); delete it to retrain"),
    ("record-model-a-word", FIT, _spec(model="tiny"), "record.json: not a run record (found 'tiny', expected keys and values); delete it to retrain"),
    ("record-seed-is-text", FIT, _spec(seed="one"), "record.json: not a run record (seed is 'one', expected a whole number); delete it to retrain"),
    ("record-tags-a-number", FIT, _spec(tags=3), "record.json: not a run record (TypeError(\"'int' object is not iterable\")); delete it to retrain"),
    ("record-trunk-goes-up", FIT, _spec(branch={"trunk_id": "../../x", "at_step": 3}), "record.json: not a run record (run id '../../x', expected letters, digits, . _ and -); delete it to retrain"),
    ("record-a-folder", FIT, _record_folder, "record.json: not a file; expected JSON"),
    ("record-a-pipe", FIT, _pipe_for_records, "record.json: not a file; expected JSON"),
    ("no-records", FIT, _no_records, "sweep: no finished run yet; `slaw status` says how far it is"),
    ("validate-record-cut", ("validate", "sweep"), _record_is('{"run_id'), "record.json: not readable as JSON (Unterminated string starting at: line 1 column 2 (char 1)); delete it to retrain"),
    ("report-record-cut", ("report", "sweep"), _record_is('{"run_id'), "record.json: not readable as JSON (Unterminated string starting at: line 1 column 2 (char 1)); delete it to retrain"),
    ("more-record-cut", MORE, _record_is('{"run_id'), "record.json: not readable as JSON (Unterminated string starting at: line 1 column 2 (char 1)); delete it to retrain"),
    # curve.jsonl
    ("curve-cut-amid", ("report", "sweep"), lambda f: _write(_first(f).curve, '{"step": 1\n{}\n{}\n'), "curve.jsonl:1: not a curve point (Expecting ',' delimiter: line 1 column 11 (char 10))"),
    ("curve-of-text", ("report", "sweep"), lambda f: _write(_first(f).curve, '{"step": "a", "tokens": "b", "train_loss_nats": 1, "val_loss_nats": "x", "lr": 1, "grad_norm": 1, "seconds": 1}\n' * 2), "curve.jsonl:1: not a curve point (step is 'a', expected a whole number)"),
    ("curve-not-utf8", ("report", "sweep"), lambda f: _write(_first(f).curve, b"\xff\xfe\n\xff\n"), "curve.jsonl:1: not a curve point (Expecting value: line 1 column 1 (char 0))"),
    ("curve-deep", ("report", "sweep"), lambda f: _write(_first(f).curve, ("[" * 100_000 + "\n") * 2), "curve.jsonl:1: not a curve point (nested too deep)"),
    # plan.json
    ("status-no-plan", ("status", "sweep"), lambda f: None, "sweep/plan.json: no such file"),
    ("plan-empty", ("status", "sweep"), _file("plan.json", ""), "sweep/plan.json: not readable as JSON (Expecting value: line 1 column 1 (char 0))"),
    ("plan-cut", ("status", "sweep"), _file("plan.json", '{"schema_version": 1, "runs": ['), "sweep/plan.json: not readable as JSON (Expecting value: line 1 column 32 (char 31))"),
    ("plan-a-list", ("status", "sweep"), _file("plan.json", "[]"), "sweep/plan.json: damaged (found [], expected keys and values); delete it to plan the sweep again"),
    ("plan-a-number", ("status", "sweep"), _file("plan.json", "3"), "sweep/plan.json: damaged (found 3, expected keys and values); delete it to plan the sweep again"),
    ("plan-version", ("status", "sweep"), _file("plan.json", '{"schema_version": 7}'), "sweep/plan.json: schema_version 7: a plan made by a later slaw (this one reads up to 3); upgrade slaw to read it"),
    ("plan-no-runs", ("status", "sweep"), _file("plan.json", '{"schema_version": 1}'), "sweep/plan.json: not a plan (KeyError('runs')); delete it to plan the sweep again"),
    ("plan-runs-a-number", ("status", "sweep"), _planned(lambda p: p.update(runs=3)), "sweep/plan.json: not a plan (TypeError(\"'int' object is not iterable\")); delete it to plan the sweep again"),
    ("plan-runs-empty", ("status", "sweep"), _planned(lambda p: p.update(runs=[])), "sweep/plan.json: not a plan (no runs); delete it to plan the sweep again"),
    ("plan-run-a-word", ("status", "sweep"), _planned(lambda p: p["runs"].insert(0, "x")), "sweep/plan.json: not a plan (TypeError(\"'str' object is not a mapping\")); delete it to plan the sweep again"),
    ("plan-shared-a-word", ("status", "sweep"), _planned(lambda p: p.update(shared="x")), "sweep/plan.json: not a plan (TypeError(\"'str' object is not a mapping\")); delete it to plan the sweep again"),
    ("plan-extra-key", ("status", "sweep"), _planned(lambda p: p.update(colour="red")), "sweep/plan.json: not a plan (unknown key 'colour'); delete it to plan the sweep again"),
    ("plan-flops-are-text", ("status", "sweep"), _planned(lambda p: p["runs"][0].update(flops_spent="x")), "sweep/plan.json: not a plan (flops_spent is 'x', expected a number); delete it to plan the sweep again"),
    ("plan-trunk-goes-up", ("status", "sweep"), _planned(lambda p: p["runs"][1]["spec"]["branch"].update(trunk_id="../../x")), "sweep/plan.json: not a plan (run id '../../x', expected letters, digits, . _ and -); delete it to plan the sweep again"),
    ("plan-in-a-report", ("report", "sweep"), _file("plan.json", '{"schema_version": 1}'), "sweep/plan.json: not a plan (KeyError('runs')); delete it to plan the sweep again"),
    ("plan-a-folder", ("status", "sweep"), lambda f: (f / "sweep" / "plan.json").mkdir(), "sweep/plan.json: not a file; expected JSON"),
    ("status-record-cut", ("status", "sweep"), _both(_planned(), _record_is("{")), "record.json: not readable as JSON (Expecting property name enclosed in double quotes: line 1 column 2 (char 1)); delete it to retrain"),
    # fits/fit.json
    ("saved-cut", MORE, _file("fits/fit.json", "{"), "sweep/fits/fit.json: not readable as JSON (Expecting property name enclosed in double quotes: line 1 column 2 (char 1))"),
    ("saved-a-list", MORE, _file("fits/fit.json", "[]"), "sweep/fits/fit.json: damaged (found [], expected keys and values); run `slaw fit` again"),
    ("saved-null", MORE, _file("fits/fit.json", "null"), "sweep/fits/fit.json: damaged (found None, expected keys and values); run `slaw fit` again"),
    ("saved-law-unknown", MORE, _saved(lambda c: c["laws"].update(newton=dict(c["laws"]["chinchilla"], law="newton")) or c.update(best_law="newton")), "sweep/fits/fit.json: damaged (its content does not match its digest); run `slaw fit` again"),
    ("saved-best-not-there", MORE, _saved(lambda c: c.update(best_law="saturating")), "sweep/fits/fit.json: damaged (its content does not match its digest); run `slaw fit` again"),
    ("saved-best-a-list", MORE, _saved(lambda c: c.update(best_law=["chinchilla"])), "sweep/fits/fit.json: damaged (its content does not match its digest); run `slaw fit` again"),
    ("saved-laws-a-list", MORE, _saved(lambda c: c.update(laws=[1])), "sweep/fits/fit.json: damaged (its content does not match its digest); run `slaw fit` again"),
    ("saved-params-text", MORE, _saved(lambda c: [law["params"].update(E="x") for law in c["laws"].values()] and None), "sweep/fits/fit.json: damaged (its content does not match its digest); run `slaw fit` again"),
    ("saved-params-missing", MORE, _saved(lambda c: [law.update(params={"E": 1.0}) for law in c["laws"].values()] and None), "sweep/fits/fit.json: damaged (its content does not match its digest); run `slaw fit` again"),
    ("saved-params-a-list", MORE, _saved(lambda c: [law.update(params=[1, 2]) for law in c["laws"].values()] and None), "sweep/fits/fit.json: damaged (its content does not match its digest); run `slaw fit` again"),
    ("saved-samples-ragged", MORE, _saved(lambda c: [law.update(samples=[[1.0], [2.0, 3.0]]) for law in c["laws"].values()] and None), "sweep/fits/fit.json: damaged (its content does not match its digest); run `slaw fit` again"),
    ("saved-samples-text", MORE, _saved(lambda c: [law.update(samples=["x"] * 200) for law in c["laws"].values()] and None), "sweep/fits/fit.json: damaged (its content does not match its digest); run `slaw fit` again"),
    ("saved-noise-text", MORE, _saved(lambda c: c.update(seed_noise_log="x")), "sweep/fits/fit.json: damaged (its content does not match its digest); run `slaw fit` again"),
    ("saved-trust-text", MORE, _saved(lambda c: c.update(trust_flops_factor="x")), "sweep/fits/fit.json: damaged (its content does not match its digest); run `slaw fit` again"),
    ("saved-range-short", MORE, _saved(lambda c: [law.update(data_range={"flops": [1]}) for law in c["laws"].values()] and None), "sweep/fits/fit.json: damaged (its content does not match its digest); run `slaw fit` again"),
    ("saved-summary-missing", ("report", "sweep"), _saved(lambda c: c.pop("summary") and None), "sweep/fits/fit.json: damaged (its content does not match its digest); run `slaw fit` again"),
    ("saved-summary-a-list", ("report", "sweep"), _saved(lambda c: c.update(summary=[])), "sweep/fits/fit.json: damaged (its content does not match its digest); run `slaw fit` again"),
    ("saved-settings-text", ("report", "sweep"), _saved(lambda c: c["summary"]["settings"].update(level="x")), "sweep/fits/fit.json: damaged (its content does not match its digest); run `slaw fit` again"),
    ("saved-out-folder-version", ("extrapolate", "--params", "1e9", "--results", "kept"), lambda f: _write(f / "kept/fits/fit.json", '{"schema_version": 1}'), "kept/fits/fit.json: damaged (schema_version 1, expected 4 to 5); run `slaw fit` again"),
    ("saved-out-folder-a-list", ("extrapolate", "--params", "1e9", "--results", "kept"), lambda f: _write(f / "kept/fits/fit.json", "[]"), "kept/fits/fit.json: damaged (found [], expected keys and values); run `slaw fit` again"),
    # links, pipes, folders
    ("loop", ("fit", "a"), _loop, "a: no such folder; `slaw run --mode quick` makes results/quick"),
    ("loop-config", ("plan", "a"), _loop, "a: neither a file nor a shipped config; shipped are dev, full, quick, tour, and "),
    ("loop-config-by-name", ("plan", "a.yaml"), lambda f: (f / "a.yaml").symlink_to("a.yaml"), "a.yaml: cannot be read (Too many levels of symbolic links)"),
    ("loop-table", ("fit", "a.csv"), lambda f: (f / "a.csv").symlink_to("a.csv"), "a.csv: no such file or folder; expected a table, or results"),
    ("loop-corpus", ("plan", "s.yaml", "--device", "cpu", "--set", "data.corpus=a"), _loop, "data.corpus: 'a' is neither a corpus (fineweb_edu, "),
    ("dangling", ("status", "gone"), _dangling, "gone: no such folder; `slaw run --mode quick` makes results/quick"),
    ("dangling-config", ("plan", "gone.yaml"), lambda f: (f / "gone.yaml").symlink_to("nowhere"), "gone.yaml: no such file"),
    ("runs-a-file", ("status", "sweep"), _runs_is_a_file, "sweep: holds no run records; expected <sweep>/runs/<run_id>/record.json, made by `slaw run`"),
    ("pipe-config", ("plan", "p.yaml"), _pipe("p.yaml"), "p.yaml: a pipe or device; expected a YAML file"),
    ("pipe-table", ("fit", "p.csv"), _pipe("p.csv"), "p.csv: a file, expected a results folder"),
    ("pipe-corpus", ("data", "prepare", "s.yaml", "--set", "data.corpus=p.txt"), _pipe("p.txt"), "p.txt: neither a file nor a folder; expected a text file or a folder of them"),
    ("pipe-plan", ("status", "sweep"), _pipe("sweep/plan.json"), "sweep/plan.json: not a file; expected JSON"),
    ("folder-config", ("plan", "d.yaml"), lambda f: (f / "d.yaml").mkdir(), "d.yaml: a folder: choosing runs needs a target: give --target N (parameters)"),
    ("folder-table", ("fit", "d.csv"), lambda f: (f / "d.csv").mkdir(), "d.csv: holds no run records; expected <sweep>/runs/<run_id>/record.json, made by `slaw run`"),
    ("corpus-empty-folder", ("data", "prepare", "s.yaml", "--set", "data.corpus=d"), lambda f: (f / "d").mkdir(), "data.corpus: d holds no text; expected .txt, .md, .jsonl, .parquet or source files"),
    ("several-sweeps", ("extrapolate", "--params", "1e9", "--results", "."), _two_sweeps, ".: 3 sweeps there; name one with --results: one, sweep, two"),
    ("one-page-for-several", ("report", ".", "--out", "r.html"), _two_sweeps, "--out r.html: one page, but 3 sweeps: one, sweep, two"),
    # a sweep that cannot continue
    ("run-plan-cut", ("run", "s.yaml", "--device", "cpu", "--out", "sweep"), _both(_begun, _file("plan.json", "{")), "sweep/plan.json: not readable as JSON (Expecting property name enclosed in double quotes: line 1 column 2 (char 1))"),
    ("run-data-cut", ("run", "s.yaml", "--device", "cpu", "--out", "sweep"), _both(_begun, _file("data.json", "{")), "sweep/data.json: damaged, and no record says which text the runs began with; delete it if nothing here has been trained yet, else start a new sweep with --out"),
    ("run-data-a-list", ("run", "s.yaml", "--device", "cpu", "--out", "sweep"), _both(_begun, _file("data.json", "[]")), "sweep/data.json: damaged, and no record says which text the runs began with; delete it if nothing here has been trained yet, else start a new sweep with --out"),
]
# fmt: on

# fmt: off
_UNSUPPORTED: list[tuple[str, tuple[str, ...], Build, str]] = [
    ("mixed-tokenizers", FIT, _other_tokenizer, "the runs use different tokenizers (bpe 1024, bpe 2048); nats per token do not compare: fit one sweep at a time"),
    ("all-diverged", FIT, _all_diverged, "none of 40 runs can be fitted: diverged (40)"),
    ("unfinished", FIT, _only_a_trunk, "39 of 40 runs of sweep have not finished: slaw status sweep; none of 1 run can be fitted: not_annealed (1)"),
    ("one-run", FIT, _one_run, "no law can be fitted: 1 point, all of one loss; add sizes or horizons"),
    ("more-all-diverged", MORE, _all_diverged, "none of 40 runs can be fitted: diverged (40)"),
    ("validate-one-run", ("validate", "sweep"), _one_run, "1 point, all of one loss: no law can be fitted; add sizes and horizons"),
]
# fmt: on

FOLDERS = [
    Case(
        id=f"folder-{name}",
        words=words,
        said=said,
        code=code,
        build=build,
        damages=("sweep" in words and name != "runs-a-file")
        or name in ("several-sweeps", "one-page-for-several"),
        files={"s.yaml": GOOD, "text.txt": "some text\n"},
    )
    for code, rows in ((2, _FOLDERS), (4, _UNSUPPORTED))
    for name, words, build, said in rows
]
