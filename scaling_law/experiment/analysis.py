"""The experiment behind a sweep's folder, and its findings."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scaling_law import parts
from scaling_law.config.part_settings import Refused, part_settings
from scaling_law.errors import ConfigError, listed, quoted
from scaling_law.experiment import Experiment
from scaling_law.experiment.evidence import Evidence, gather, train_command, written_config
from scaling_law.experiment.findings import Findings
from scaling_law.files.layout import SweepDir
from scaling_law.parts import Reference

_WORD = "experiment"


@dataclass(frozen=True, kw_only=True)
class Analysed:
    """An experiment's findings in a sweep's folder.

    ``name`` is the experiment's.
    """

    name: str
    experiment: Experiment
    evidence: Evidence
    findings: Findings

    @property
    def question(self) -> str:
        """The question of the sweep's config, or else the experiment's."""
        return str(self.evidence.config.get("question") or self.experiment.question)

    @property
    def left_out(self) -> str:
        """A sentence on the runs that the findings do not rest on; "" where there are none.

        It gives the command that trains them, where some can still be trained.
        """
        missing, sweep = self.evidence.missing, self.evidence.sweep
        if not missing:
            return ""
        count = f"{len(missing)} {'run is' if len(missing) == 1 else 'runs are'}"
        labels: dict[str, list[str]] = defaultdict(list)
        for label, why in missing:
            labels[why].append(label)
        named = "; ".join(f"{listed(of_reason)} ({why})" for why, of_reason in labels.items())
        said = f"{count} not among these findings: {named}"
        if sweep is None or not self.evidence.unfinished:
            return said
        return f"{said}; to train them: {train_command(sweep)}"

    @property
    def document(self) -> dict[str, Any]:
        """The findings as JSON values, with the question they answer and what is missing."""
        return {
            "experiment": self.name,
            "question": self.question,
            "reproduces": self.experiment.reproduces,
            **self.findings.document,
            "runs": len(self.evidence.runs),
            "missing": [{"run": run, "why": why} for run, why in self.evidence.missing],
        }


@dataclass(frozen=True, kw_only=True)
class Named:
    """The experiment that a sweep's config names.

    ``text`` is the name, or that of a user's own file;
    ``settings`` are the keys that the config sets beside it.
    """

    text: str
    settings: Mapping[str, Any]

    @property
    def is_own(self) -> bool:
        """Whether it is a user's own file."""
        return self.text.endswith(".py")


def named_by(sweep: SweepDir) -> Named | None:
    """The experiment that ``sweep.yaml`` names; None where it names none."""
    section = written_config(sweep).get(_WORD)
    if isinstance(section, str):
        return Named(text=section, settings={})
    if isinstance(section, dict) and isinstance(section.get("name"), str):
        rest = {key: value for key, value in section.items() if key != "name"}
        return Named(text=section["name"], settings=rest)
    return None


def report_command(sweep: SweepDir) -> str:
    """The command that reports the findings of a sweep whose config names an experiment.

    Of a user's own file it names the sweep's copy, because a report executes only what is named.
    """
    named = named_by(sweep)
    if named is None or not named.is_own:
        return f"slaw report {sweep.path}"
    copy = sweep.path / parts.own_place(_WORD, Path(named.text).name)
    return f"slaw report {sweep.path} --experiment {copy}"


def find(text: str) -> Reference:
    """The experiment that ``text`` names: an existing file before a shipped name.

    Raises ``ConfigError`` with what there is.
    """
    path = Path(text)
    if path.is_file():
        return parts.read_file(_WORD, path)
    return parts.refer(_WORD, text, Path())


def analysed(sweep: SweepDir, asked: str | None = None) -> Analysed | None:
    """The findings in a sweep's folder, by the experiment that was ``asked`` for or that its
    config names; None for a sweep without one.

    A user's own file is executed only where it was asked for: a folder may come from anybody.
    Raises ``ConfigError`` for an experiment that does not exist, does not load, or fails.
    """
    named = named_by(sweep)
    text = asked or (named.text if named is not None else None)
    if text is None or (asked is None and named is not None and named.is_own):
        return None
    reference = find(text)
    same = named is not None and Path(named.text).stem == reference.name
    experiment = parts.load(_WORD, reference)
    return analyse(sweep, reference, experiment, named.settings if named and same else {})


def analyse(
    sweep: SweepDir, reference: Reference, experiment: Experiment, values: Mapping[str, Any]
) -> Analysed:
    """The findings of one experiment; ``values`` are what the config sets of its settings.

    Raises ``ConfigError``.
    """
    try:
        settings = part_settings(experiment.settings, dict(values))
    except Refused as refused:
        first = refused.errors[0]
        key = ".".join(map(str, first["loc"]))
        raise ConfigError(
            f"{sweep.config}: experiment.{key}: not a setting of {reference.name} ({first['msg']})"
        ) from None
    evidence = gather(sweep, settings)
    with parts.users_code(_WORD, reference):
        findings = experiment.analyse(evidence)
    if not isinstance(findings, Findings):
        raise ConfigError(
            f"experiment {reference.name}: analyse returned {quoted(findings)}, expected Findings"
        )
    return Analysed(
        name=reference.name,
        experiment=experiment,
        evidence=evidence,
        findings=findings.with_remedy(evidence.remedy),
    )
