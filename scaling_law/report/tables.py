"""The runs, their cost and their surroundings, as sections of the page."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Mapping, Sequence
from statistics import fmean, stdev

from scaling_law.errors import by_reason
from scaling_law.files.layer_metrics import without_layers, without_maps
from scaling_law.files.record import (
    RunRecord,
    loss_unit,
    measured_metrics,
    metric_label,
    metric_units,
    short_unit,
)
from scaling_law.fit.points.stated import flops_words
from scaling_law.fit.suite import FitSettings
from scaling_law.plan.plan import Plan, points_words
from scaling_law.report.evidence import Evidence
from scaling_law.report.explore import predicted
from scaling_law.report.exports import NO_PARQUET, has_parquet
from scaling_law.report.groups import size_name
from scaling_law.report.page import (
    Section,
    bullets,
    listing,
    note,
    paragraph,
    signed_percent,
    table,
    text,
)
from scaling_law.report.style import power_of_ten
from scaling_law.spec.arms import arm_name, arm_of
from scaling_law.spec.chosen import chosen_parts
from scaling_law.units import count_of, format_bytes, format_count, format_seconds, parse_count

_RUNS_HEAD = (
    "run", "loss ± s.e. (UNIT)", "law (UNIT)", "residual", "kind", "status",
    "bits/byte", "tokens", "steps",
    "params non-embedding", "params matmul", "params total", "peak LR", "FLOPs exact",
    "FLOPs 6ND", "FLOPs spent", "time", "tokens/s", "memory",
)  # fmt: skip


def runs(evidence: Evidence) -> Section:
    """Every finished run with all that was measured."""
    expected = _expected(evidence)
    rows = [_run(record, expected.get(record.run_id)) for record in evidence.records]
    caption = (
        f"All finished runs, {len(rows)}, a trunk above its branches; the h of a name is the run's "
        "horizon in tokens. Tokens, steps, FLOPs exact "
        "and 6ND (with all parameters) are as if trained alone; FLOPs spent, time and speed are "
        "the run's own. s.e.: of the mean over held-out sequences. Law: what the forecasting law "
        "says of a run it was fitted to; residual: the measured loss over that − 1."
    )
    unit = short_unit(loss_unit(evidence.records))
    flops = f"FLOPs {flops_words(evidence.records)}"
    caption = caption.replace("FLOPs exact", flops)
    head = [name.replace("UNIT", unit).replace("FLOPs exact", flops) for name in _RUNS_HEAD]
    return Section(anchor="runs", heading="All runs", body=table(caption, head, rows, (0, 4, 5)))


def metrics(evidence: Evidence) -> Section | None:
    """What was measured beside the loss at the end of each run; None where nothing was."""
    records = [r for r in evidence.records if r.metrics]
    if not records:
        return None
    units = metric_units(records)
    every = dict.fromkeys(name for record in records for name in without_maps(record.metrics))
    names = without_layers(every)
    rows = [
        (record.run_id, *(_number(record.metrics.get(name), ".6g") for name in names))
        for record in records
    ]
    labels = tuple(metric_label(name, units) for name in names)
    body = _metrics_by_arm(records)
    caption = "What was measured beside the loss, at the end of each run"
    if names:
        body += table(caption, ("run", *labels), rows, 1)
    if by_layer := len(every) - len(names):
        body += (
            f"<p>{count_of(by_layer, 'metric')} of single layers: in the figures and"
            " in tables/runs.csv.</p>"
        )
    return Section(anchor="metrics", heading="Metrics", body=body)


def notes(evidence: Evidence) -> Section | None:
    """What finished runs report, such as probes that failed; None where none reports anything."""
    rows = [(record.run_id, record.note) for record in evidence.records if record.note]
    if not rows:
        return None
    caption = "Probes that failed, batches that were skipped: as the runs report them"
    body = table(caption, ("run", "note"), rows, 2)
    return Section(anchor="notes", heading="Notes of the runs", body=body)


def _metrics_by_arm(records: Sequence[RunRecord]) -> str:
    """Mean and spread over seeds of each metric, by arm, size and tokens; "" without any."""
    groups: dict[tuple[str, int, str, int], list[RunRecord]] = {}
    ended = [r for r in records if r.kind != "trunk" and r.status == "done"]
    names = without_layers(
        dict.fromkeys(name for r in ended for name in measured_metrics(r.metrics))
    )
    for record in ended:
        key = arm_name(arm_of(record.spec)), record.params_total, size_name(record), record.tokens
        groups.setdefault(key, []).append(record)
    if not names or len(groups) == len(ended):
        return ""
    units = metric_units(ended)
    has_arms = any(arm for arm, *_ in groups)
    rows = [
        (
            *((arm,) if has_arms else ()),
            size,
            f"{tokens:,}",
            str(len(own)),
            *(
                mean_and_spread([r.metrics[name] for r in own if name in r.metrics], "#.4g")
                for name in names
            ),
        )
        for (arm, _, size, tokens), own in groups.items()
    ]
    head = ("size", "tokens", "runs", *(metric_label(name, units) for name in names))
    by = "by arm, size and tokens" if has_arms else "by size and tokens"
    caption = f"At the end, {by}: mean over seeds (± standard deviation between seeds)"
    return table(caption, ("arm", *head) if has_arms else head, rows, 2 if has_arms else 1)


def mean_and_spread(values: Sequence[float], digits: str) -> str:
    """The mean, with the standard deviation where there are several values."""
    if not values:
        return "–"
    spread = f" ± {stdev(values):{digits}}" if len(values) > 1 else ""
    return f"{fmean(values):{digits}}{spread}"


def _expected(evidence: Evidence) -> dict[str, float]:
    """What the law that forecasts says of each point, by run."""
    fitted = evidence.fitted
    losses = predicted(fitted.best, fitted.points) if fitted else None
    if fitted is None or losses is None:
        return {}
    return dict(zip(fitted.points.run_id, losses.tolist(), strict=True))


def _run(record: RunRecord, expected: float | None) -> tuple[str, ...]:
    loss, error = record.val_loss_nats, record.val_loss_sem_nats
    return (
        record.run_id,
        _number(loss, ".4f") + ("" if error is None else f" ± {error:.4f}"),
        _number(expected, ".4f"),
        signed_percent(loss / expected - 1 if loss and expected else None),
        record.kind,
        record.status,
        _number(record.val_bits_per_byte, ".3f"),
        f"{record.tokens:,}",
        f"{record.spec.total_steps:,}",
        f"{record.params_non_embedding:,}",
        f"{record.params_matmul:,}",
        f"{record.params_total:,}",
        f"{record.spec.optim.lr:.3g}",
        power_of_ten(record.flops_exact),
        power_of_ten(record.flops_6nd),
        power_of_ten(record.flops_spent),
        format_seconds(record.seconds),
        f"{record.tokens_per_second:,.0f}",
        format_bytes(record.peak_memory_bytes),
    )


def _number(value: float | None, digits: str) -> str:
    return "–" if value is None else f"{value:{digits}}"


def has_gaps(evidence: Evidence) -> bool:
    """Whether a run has no result, or a point of the grid was not planned."""
    return bool(evidence.unfinished or (evidence.plan and evidence.plan.left_out))


def report_commands(evidence: Evidence) -> list[str]:
    """The command that makes the page of a sweep without a law again."""
    return [f"slaw report {shlex.quote(f'results/{evidence.name}')}"]


def exclusions(evidence: Evidence, of_arms: Mapping[str, Sequence[str]] | None = None) -> Section:
    """The finished runs that are not points of the fit, and why; ``of_arms``: the same for fits to
    arms."""
    excluded = evidence.excluded
    if of_arms is not None:
        excluded = tuple((run, reason) for reason, runs in of_arms.items() for run in runs)
    body = listed_by_reason("Finished runs that are not points of the fit:", excluded)
    if not body:
        body = paragraph(
            "Every finished run is a point of the fit."
            if evidence.fitted or of_arms is not None
            else f"Nothing was fitted: {evidence.why_no_fit}"
        )
    if evidence.unfinished:
        body += "<h3>Runs without a result</h3>\n"
        body += bullets([f"{name}: {why}" for name, why in evidence.unfinished])
    if evidence.plan and evidence.plan.left_out:
        body += "<h3>Points of the grid that were not planned</h3>\n"
        body += bullets([f"{item.label}: {item.reason}" for item in evidence.plan.left_out])
    return Section(anchor="excluded", heading="What was left out, and why", body=body)


def listed_by_reason(lead: str, excluded: Sequence[tuple[str, str]]) -> str:
    """What was left out, (name, reason) each, under its reason; nothing where nothing was."""
    reasons = by_reason(excluded)
    body = paragraph(lead) if reasons else ""
    for reason, names in reasons.items():
        body += f"<h3>{text(reason)} ({len(names)})</h3>\n" + bullets(names)
    return body


def cost(evidence: Evidence) -> Section:
    """What was planned, what it took, and what branching saved."""
    records, plan = evidence.records, evidence.plan
    spent = sum(r.flops_spent for r in records)
    alone = sum(r.flops_exact for r in records if r.kind != "trunk")
    ends = [r.spec.schedule.end for r in records if r.kind != "trunk"]
    measured = (
        str(len(records)),
        power_of_ten(spent),
        power_of_ten(alone) if alone else "–",
        f"{100 * (1 - spent / alone):.1f}%" if alone else "–",
        format_seconds(sum(r.seconds for r in records)),
    )
    names = (
        "runs",
        "FLOPs spent",
        "FLOPs of the same points from scratch",
        "saved by branching",
        "time, all runs added",
    )
    rows = list(zip(names, _planned(plan), measured, strict=True))
    rounds = len(evidence.round_texts)
    head = ("", "planned" if rounds < 2 else f"planned, round {rounds}", "measured")
    body = table("Plan and measurement", head, rows, 1)
    if rounds:
        body += paragraph(
            f"An adaptive loop (slaw run --adaptive) of {rounds} "
            f"round{'s' if rounds > 1 else ''} so far, each with a config and plan of its own; "
            "measured are the runs of all."
        )
    if alone:
        body += paragraph(
            f"{points_words(ends)} took {power_of_ten(spent)} FLOPs, against "
            f"{power_of_ten(alone)} with each trained from its first step: "
            f"{100 * spent / alone:.0f}% of the compute."
        )
    if plan is not None:
        body += paragraph(
            f"Planned for {plan.device_name} ({plan.device_kind}), "
            f"{count_of(plan.slots, 'run')} at once:"
            f" about {format_seconds(plan.seconds_estimate)} in all."
        )
    return Section(anchor="cost", heading="Plan and cost", body=body)


def _planned(plan: Plan | None) -> tuple[str, ...]:
    if plan is None:
        return ("–",) * 5
    return (
        str(len(plan.runs)),
        power_of_ten(plan.flops_total),
        power_of_ten(plan.flops_if_from_scratch),
        f"{100 * plan.saving_frac:.1f}%",
        format_seconds(sum(run.seconds for run in plan.runs)),
    )


def setup(evidence: Evidence) -> Section | None:
    """The parts of the runs that are not the default ones; None where all are."""
    rows = [
        (word, "\n".join(names))
        for word, names in chosen_parts(r.spec for r in evidence.records).items()
    ]
    if not rows:
        return None
    body = table(
        "Parts that are not the default ones, with their settings", ("kind", "part"), rows, 2
    )
    return Section(anchor="parts", heading="Parts of the runs", body=body)


def _kernels(records: Sequence[RunRecord]) -> list[tuple[str, str]]:
    """The row of the operators on a CPU; none where all runs took them by fixed thresholds."""
    if not any(record.kernels for record in records):
        return []
    return [("kernels", _distinct(record.kernels or "by thresholds" for record in records))]


def environment(evidence: Evidence) -> Section:
    """Where and on what the runs were made; more than one value in a line: the runs differ."""
    records = evidence.records
    versions = sorted({(name, v) for r in records for name, v in r.versions.items()})
    data = [r.spec.data for r in records]
    reason = evidence.plan.precision_reason if evidence.plan else ""
    rows = [
        ("device", _distinct(r.device for r in records)),
        (
            "precision",
            _distinct(
                f"{r.spec.precision} ({why})" if (why := r.precision_reason or reason) else
                r.spec.precision
                for r in records
            ),
        ),
        ("engine", evidence.engine),
        ("trackers", evidence.trackers),
        ("threads a run", _distinct(r.threads for r in records)),
        *_kernels(records),
        ("corpus", _distinct(d.name for d in data)),
        ("corpus fingerprint", _distinct(r.corpus_fingerprint for r in records)),
        ("tokenizer", _distinct(
            f"{r.spec.data.coding}, {r.spec.model.vocab_size} tokens" for r in records
        )),
        ("versions", ", ".join(f"{name} {version}" for name, version in versions)),
        ("code", _distinct(r.git_commit or "not a git checkout" for r in records)),
        ("finished", f"{min(r.finished_at for r in records)} to "
                     f"{max(r.finished_at for r in records)}"),
    ]  # fmt: skip
    body = table("Read from the records", ("", "value"), rows, 2)
    mixed = [name for name, value in rows if name in ("corpus fingerprint", "tokenizer", "code",
             "precision", "device") and " | " in value]  # fmt: skip
    if mixed:
        body += note(f"Mixed {', '.join(mixed)}: the losses may not compare.")
    return Section(anchor="environment", heading="Environment", body=body)


def _distinct(values: Iterable[object]) -> str:
    return " | ".join(dict.fromkeys(str(value) for value in values))


def reproduce(evidence: Evidence, commands: Sequence[str] | None = None) -> Section:
    """The commands that make this page again, and the config they read.

    ``commands`` replace those of a sweep of one recipe; they follow the run's.
    """
    folder = shlex.quote(f"results/{evidence.name}")
    commits = {r.git_commit for r in evidence.records if r.git_commit}
    lines = [f"git checkout {commits.pop()}"] if len(commits) == 1 else []
    rounds = len(evidence.round_texts)
    lines += [
        f"slaw run rounds/{number:02d}.yaml --out {folder}    # round {number} of {rounds}"
        for number in range(1, rounds + 1)
    ] or [f"slaw run sweep.yaml --out {folder}    # sweep.yaml as below"]
    lines += commands or [
        f"slaw fit {folder}{_fit_options(evidence)}",
        f"slaw extrapolate --params {plain_count(evidence.target_params)} --results {folder}",
        f"slaw report {folder} --params {plain_count(evidence.target_params)}",
    ]
    body = listing("\n".join(lines) + "\n")
    numbers = "CSV and parquet" if has_parquet() else f"CSV ({NO_PARQUET})"
    body += paragraph(
        "Beside this page lie the figures as PNG and SVG (figures), the runs, curves, fits and "
        f"predictions as {numbers} (tables), and the fit as slaw fit --json prints it "
        "(fits/fit.json)."
    )
    texts = [(f"rounds/{i:02d}.yaml", words) for i, words in enumerate(evidence.round_texts, 1)]
    for name, words in texts or [("sweep.yaml", evidence.config_text)]:
        if words:
            body += f"<details><summary>{name}, every key</summary>{listing(words)}</details>\n"
    return Section(anchor="reproduce", heading="Make it again", body=body)


def _fit_options(evidence: Evidence) -> str:
    """The options of ``slaw fit`` that were not left at their defaults."""
    if evidence.fitted is None:
        return ""
    used, usual = FitSettings(**evidence.fitted.summary["settings"]), FitSettings()
    names = {"flops": "flops-count", "huber_delta": "huber-delta"}
    return "".join(
        f" --{names.get(name, name)} {getattr(used, name)}"
        for name in ("convention", "flops", "loss", "huber_delta", "level", "resamples", "seed")
        if getattr(used, name) != getattr(usual, name)
    )


def size_words(evidence: Evidence) -> str:
    """``40 runs, 6 sizes from 14K to 440K parameters, ...`` for the head of the page."""
    records = evidence.records
    counted = evidence.counted
    sizes = sorted({int(getattr(r, f"params_{counted}")) for r in records})
    tokens = [r.tokens for r in records]
    planned = len(records) + len(evidence.unfinished)
    runs = f"{len(records)} finished run{'s' if len(records) > 1 else ''}"
    if evidence.unfinished:
        runs = f"unfinished: {len(records)} of {count_of(planned, 'run')} so far"
    if diverged := sum(r.status == "diverged" for r in records):
        runs += f", {diverged} diverged"
    number = "1 size" if len(sizes) == 1 else f"{len(sizes)} sizes"
    return (
        f"{runs}; {number} of {_span(sizes)} {counted.replace('_', '-')} parameters; "
        f"{_span(tokens)} tokens"
    )


def _span(counts: Sequence[int]) -> str:
    """``14K to 440K``, or the one there is."""
    ends = dict.fromkeys(format_count(count) for count in (min(counts), max(counts)))
    return " to ".join(ends)


def plain_count(count: float) -> str:
    """A count as it would be typed: 175e9 rather than 1.75e+11."""
    text = format_count(count)
    return text if parse_count(text) == count else f"{count:.17g}"
