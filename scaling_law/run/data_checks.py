"""Hold a config against its text before anything trains: what cannot be, and what one should know.

A sequence longer than a split is refused; a small validation split, ids that never occur and what
was left out of the text are said, each with what to do.
"""

from __future__ import annotations

from collections.abc import Mapping

from scaling_law.config.sweep_config import SweepConfig
from scaling_law.data.access import DataOf
from scaling_law.data.dataset import Dataset
from scaling_law.data.mixture import components_problem
from scaling_law.data.text import TextDataset
from scaling_law.errors import PlanError, one_line
from scaling_law.spec.data import DataSpec
from scaling_law.units import format_count, format_ratio

# A validation split below this share of what was asked for is worth a line.
_SMALL_SPLIT = 1 / 2
# So is a share of the vocabulary above this one without a use; of text in one language, half of
# the 256 single bytes have none, which no vocabulary changes.
_UNUSED = 0.1
_BYTES = 256
_MOST_HELD_OUT = 0.5


def check_data(config: SweepConfig, datasets: Mapping[DataOf, Dataset | None]) -> list[str]:
    """Say what one should know of the text of every arm, one line each.

    ``datasets`` holds None for text that is not prepared yet, of which nothing is said. Raises
    ``PlanError`` where a split, or a component of a mixture, has not one sequence of the context.
    """
    problems: dict[str, None] = {}
    lines: dict[str, None] = {}
    for arm in config.arms:
        dataset = datasets.get(arm.config.data_spec)
        if not isinstance(dataset, TextDataset):
            continue
        short = _too_short(arm.config, dataset)
        problems.update(dict.fromkeys(short))
        if not short:
            lines.update(dict.fromkeys(_notable(arm.config, dataset)))
    if problems:
        raise PlanError(*problems)
    return list(lines)


def _too_short(config: SweepConfig, dataset: TextDataset) -> list[str]:
    """Name each split that holds no sequence of the config's context."""
    lines = []
    for split in dataset.splits:
        tokens = dataset.n_tokens(split)
        if tokens > config.n_ctx:
            continue
        remedy = "use more text or a shorter n_ctx"
        if split == "val":
            remedy = f"{_hold_out_more(config, dataset, config.n_ctx + 1)} or a shorter n_ctx"
        lines.append(
            f"{config.where('model', 'n_ctx')}: {config.n_ctx}, and the {split} split of"
            f" {dataset.meta['spec']['corpus']} has {tokens:,} tokens, fewer than one sequence and"
            f" the token after it; {remedy}"
        )
    return lines or _component_problem(config, dataset)


def _component_problem(config: SweepConfig, dataset: TextDataset) -> list[str]:
    """Say why the config's mixture cannot be read or scored, as far as components are known."""
    if config.mix is None or not dataset.has_components:
        return []
    problem = components_problem(dataset, config.mix, config.n_ctx)
    return [f"{config.mix_place}: {problem}"] if problem else []


def _hold_out_more(config: SweepConfig, dataset: TextDataset, tokens: int) -> str:
    """How to get a validation split of ``tokens``."""
    spec = config.data_spec
    assert isinstance(spec, DataSpec)
    whole = sum(map(dataset.n_tokens, dataset.splits))
    # documents are held out whole, so that a share of them varies in tokens
    share = 1.2 * spec.val_fraction * tokens / max(dataset.n_tokens("val"), 1)
    if share > _MOST_HELD_OUT or tokens > _MOST_HELD_OUT * whole:
        return f"use more text (it has {format_count(whole)} tokens in all)"
    return (
        f"raise data.val_fraction from {spec.val_fraction:g} to about {share:.2g}, or use more text"
    )


def _notable(config: SweepConfig, dataset: TextDataset) -> list[str]:
    name = dataset.meta["spec"]["corpus"]
    lines = [one_line(note) for note in dataset.notes]
    asked = config.eval.val_tokens
    asks = f"{config.where('eval', 'val_tokens')} asks for {format_count(asked)}"
    there = dataset.n_seqs("val", config.n_ctx) * config.n_ctx
    if there < _SMALL_SPLIT * asked:
        lines.append(
            f"{name}: the validation split has {format_count(there)} tokens in whole sequences,"
            f" {asks}: losses are as noisy as so few tokens make them;"
            f" {_hold_out_more(config, dataset, asked)}, or lower eval.val_tokens"
        )
    small = {} if config.mix is None else _small_components(config, dataset)
    if small:
        each = ", ".join(f"{component} {format_count(count)}" for component, count in small.items())
        lines.append(
            f"{name}: components with few tokens of validation text: {each}; {asks} of each: the"
            " losses of these components are as noisy as so few tokens make them"
        )
    return [*lines, *_vocabulary(config, dataset)]


def _small_components(config: SweepConfig, dataset: TextDataset) -> dict[str, int]:
    """The validation tokens in whole sequences of each component far below what is asked for."""
    if not dataset.has_components:
        return {}
    there = {
        component: dataset.n_seqs(f"val:{component}", config.n_ctx) * config.n_ctx
        for component in dataset.components
    }
    least = _SMALL_SPLIT * config.eval.val_tokens
    return {component: count for component, count in there.items() if count < least}


def _vocabulary(config: SweepConfig, dataset: TextDataset) -> list[str]:
    """Say how many rows of the head no token trains, where a smaller vocabulary would do."""
    used, merges = dataset.ids_in_use, dataset.merges_in_use
    size = dataset.vocab_size
    if not used or merges is None or size - _BYTES - merges <= _UNUSED * size:
        return []
    least = _BYTES + merges
    return [
        f"{config.where('data', 'vocab_size')}: {used:,} of {size:,} ids occur in the training"
        f" text: the head has {format_ratio(size / used)} times the rows that text can train, and"
        f" params (matmul) counts them all; take at most {least}, the single bytes and the"
        " merges that occur"
    ]


def unknown_yet(config: SweepConfig, datasets: Mapping[DataOf, Dataset | None]) -> bool:
    """Whether a text of the config is not prepared."""
    return any(
        datasets.get(spec) is None for spec in config.data_specs if isinstance(spec, DataSpec)
    )
