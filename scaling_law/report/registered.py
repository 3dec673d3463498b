"""The record of a sweep's registered forecasts: what was said before the runs, and what came."""

from __future__ import annotations

from scaling_law.files.record import short_unit
from scaling_law.forecast.registered_text import (
    SCORE_WORDS,
    loss_cells,
    run_cells,
    tally_words,
    target_words,
)
from scaling_law.forecast.score import ForecastScore, Score
from scaling_law.report.page import Section, bullets, note, paragraph, sentence, table

_HEAD = (
    "forecast", "registered (UTC)", "target", "loss (UNIT)", "interval", "measured", "off",
    "inside?", "log score", "run", "data digest", "seal",
)  # fmt: skip


def record(score: Score | None, problem: str) -> Section | None:
    """Every target with its forecast and its result; None where nothing is registered.

    ``problem`` says why the forecasts cannot be read.
    """
    if score is None and not problem:
        return None
    body = note(sentence(problem)) if problem else ""
    if score is not None:
        units = " or ".join(dict.fromkeys(one.forecast.unit for one in score.forecasts))
        head = [name.replace("UNIT", short_unit(units)) for name in _HEAD]
        rows = [row for one in score.forecasts for row in _rows(one)]
        caption = "Forecasts frozen before their runs existed, and the runs that came later"
        if score.tally is not None:
            body += paragraph(sentence(tally_words(score.tally)))
        body += table(caption, head, rows, (0, 1, 2, 4, 7, 9, 10, 11))
        body += bullets([sentence(words) for words in _notes(score)])
    return Section(anchor="registered", heading="Registered forecasts", body=body)


def _rows(one: ForecastScore) -> list[tuple[str, ...]]:
    """A row a run, then one for each open target."""
    forecast = one.forecast
    head, tail = (forecast.name, forecast.registered_at[:19]), (forecast.data_digest, forecast.seal)
    rows: list[tuple[str, ...]] = [
        (
            *head,
            target_words(run.target),
            *loss_cells(run.target),
            *run_cells(run),
            run.run_id,
            *tail,
        )
        for run in one.scored
    ]
    for target in one.open:
        cells = ("–", "–", "not scored" if one.refused else "open", "–", "–")
        rows.append((*head, target_words(target), *loss_cells(target), *cells, *tail))
    return rows


def _notes(score: Score) -> list[str]:
    notes = [SCORE_WORDS] if score.tally is not None else []
    for one in score.forecasts:
        name = f"forecast {one.forecast.name}"
        notes += [f"{name}: not scored: {one.refused}"] if one.refused else []
        notes += [f"{name}: left out {run}: {why}" for run, why in one.left_out]
        notes += [f"{name}: {words}" for words in one.warnings]
    return notes
