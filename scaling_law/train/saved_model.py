"""Read a run's final weights, and build the model that they are of."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from scaling_law import parts
from scaling_law.data.tokenizer import Tokenizer, tokenizer_from_json
from scaling_law.errors import ConfigError, one_line, quoted
from scaling_law.files.layout import RunDir
from scaling_law.files.record import RunRecord, read_record
from scaling_law.spec.architectures import architecture_of
from scaling_law.train import checkpoint
from scaling_law.train.architectures import State, build
from scaling_law.train.begin import trainable_of


@dataclass(frozen=True, kw_only=True)
class SavedWeights:
    """The final weights of a run.

    ``record`` is the run's;
    ``state`` has its tensors by name, checked against its model;
    ``tokenizer`` is None for a run on a task.
    """

    record: RunRecord
    state: State
    tokenizer: Tokenizer | None


def read_weights(run_dir: RunDir) -> SavedWeights:
    """Read a run's weights.

    A user's own architecture is not executed, so that the shapes of its tensors are not checked.
    Raises ``ConfigError`` where they cannot be read, or are not the run's.
    """
    record = read_record(run_dir.record)
    state, tokenizer = read_state(run_dir)
    own_file = record.spec.model.architecture.source_sha256 is not None
    expected = None if own_file else build(record.spec.model).state_dict()
    if why := _weights_problem(state, expected):
        raise ConfigError(
            f"{run_dir.weights}: not the weights of {record.run_id} ({why}); delete the run's"
            " folder to train it again"
        )
    return SavedWeights(record=record, state=state, tokenizer=tokenizer)


def read_state(run_dir: RunDir) -> tuple[State, Tokenizer | None]:
    """The tensors and the tokenizer of a weights file, unchecked. Raises ``ConfigError``."""
    try:
        saved = checkpoint.load_checkpoint(run_dir.weights, run_dir.run_id)
        known = saved.get("tokenizer")
        return saved["model"], tokenizer_from_json(known) if known is not None else None
    except checkpoint.DamagedCheckpoint as problem:
        raise ConfigError(f"{problem}; delete the run's folder to train it again") from None
    except OSError as problem:
        raise ConfigError(f"{run_dir.weights}: cannot be read ({problem.strerror})") from None
    except (KeyError, TypeError, ValueError, AttributeError) as problem:
        raise ConfigError(
            f"{run_dir.weights}: not saved weights ({problem!r}); delete the run's folder to train"
            " it again"
        ) from None


def next_token_model(run_dir: RunDir) -> tuple[SavedWeights, nn.Module]:
    """Read a run's weights, and build its model in evaluation mode, on the CPU.

    A user's own architecture is executed, as when it was trained. Raises ``ConfigError`` where the
    weights cannot be read, or the model does not predict the next token of ids.
    """
    parts.read_copies(run_dir.path.parent.parent)
    saved = read_weights(run_dir)
    spec = saved.record.spec
    component = spec.model.architecture
    if architecture_of(spec.model).inputs != "ids":
        raise ConfigError(
            f"{run_dir.run_id}: its architecture {component.name} reads numbers, not tokens;"
            " choose a run that predicts the next token"
        )
    with parts.users_code("architecture", component.reference):
        model = build(spec.model)
    try:
        model.load_state_dict(saved.state)
    except RuntimeError as problem:  # of a user's own architecture
        raise ConfigError(
            f"{run_dir.weights}: not the weights of {run_dir.run_id} ({one_line(str(problem))})"
        ) from None
    # it sets how the modules attend
    if trainable_of(spec, model).objective.attention != "causal":
        raise ConfigError(
            f"{run_dir.run_id}: with the objective {spec.objective_component.name} a position sees"
            " later ones, so that it continues no text; choose a run that predicts the next token"
        )
    return saved, model.eval()


def _weights_problem(state: Any, expected: State | None) -> str:
    """Why a state is not the final weights of its run; "" where it is."""
    if not isinstance(state, dict) or not state:
        return "it holds none"
    for name, tensor in state.items():
        if not isinstance(tensor, Tensor):
            return f"{quoted(name)} is not a tensor"
        if tensor.is_floating_point() and not bool(tensor.isfinite().all()):
            return f"{quoted(name)} holds numbers that are not finite"
    if expected is None:
        return ""
    shapes = {name: tuple(tensor.shape) for name, tensor in expected.items()}
    for name in [*shapes, *state]:
        here = tuple(state[name].shape) if name in state else "missing"
        there = shapes.get(name, "none of that name")
        if here != there:
            return f"{quoted(name)}: found {here}, expected {there}"
    return ""
