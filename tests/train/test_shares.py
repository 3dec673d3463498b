"""A state in shares, as one process writes it: what is read of it, and what never is."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import pytest
import torch

from scaling_law.files.layout import RunDir
from scaling_law.train import checkpoint, shards
from scaling_law.train.checkpoint import DamagedCheckpoint
from scaling_law.train.group import ALONE


class Bomb:
    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> Any:
        return Path.touch, (self.target,)


def written(folder: Path) -> tuple[RunDir, dict[str, Any]]:
    run_dir = RunDir(folder / "run-0123456789")
    content = {
        "model": {"w": torch.arange(6.0).view(2, 3)},
        "optimizer": {"state": {0: {"step": torch.tensor(3.0), "kept": 1}}, "param_groups": []},
        "step": 4,
    }
    rest = shards.write(run_dir, 4, content, ALONE)
    checkpoint.save_checkpoint(run_dir, 4, rest)
    return run_dir, checkpoint.load_checkpoint(run_dir.checkpoint(4))


def read(run_dir: RunDir, saved: dict[str, Any]) -> dict[str, torch.Tensor]:
    from scaling_law.train import shares_folder  # loads torch's distributed checkpoints: a second

    tensors = {"model.w": torch.zeros(2, 3), "optimizer.0.step": torch.zeros(())}
    shares_folder.read_into(tensors, run_dir.shares(4), saved[shards.SHARES], alone=True)
    return tensors


def test_tensors_lie_in_the_folder_and_their_hashes_in_the_states_file(tmp_path):
    run_dir, saved = written(tmp_path)
    assert saved["model"] == {} and saved["optimizer"]["state"] == {0: {"kept": 1}}
    there = {path.name for path in run_dir.shares(4).iterdir()}
    assert there == set(saved[shards.SHARES]["files"])
    assert not shards.problem(run_dir, saved, ALONE)
    tensors = read(run_dir, saved)
    assert torch.equal(tensors["model.w"], torch.arange(6.0).view(2, 3))
    assert float(tensors["optimizer.0.step"]) == 3.0
    checkpoint.discard(run_dir, 4)
    assert not list(run_dir.checkpoints.iterdir())


def test_a_folder_without_its_states_file_is_removed(tmp_path):
    run_dir, _ = written(tmp_path)
    run_dir.checkpoint(4).unlink()
    assert run_dir.checkpoint_steps() == []
    checkpoint.prune_checkpoints(run_dir, set())
    assert not run_dir.shares(4).exists()


def test_changed_and_missing_files_are_found(tmp_path):
    run_dir, saved = written(tmp_path)
    (path,) = run_dir.shares(4).iterdir()
    path.write_bytes(path.read_bytes() + b" ")
    assert "does not match its checksum" in shards.problem(run_dir, saved, ALONE)
    path.unlink()
    assert "cannot be read" in shards.problem(run_dir, saved, ALONE)


def test_a_file_outside_the_folder_is_not_read(tmp_path):
    run_dir, saved = written(tmp_path)
    saved[shards.SHARES]["stored"][0][3] = "../../elsewhere"
    with pytest.raises(DamagedCheckpoint, match="a file outside the folder"):
        read(run_dir, saved)


def test_torchs_own_description_which_could_run_code_is_neither_kept_nor_read(tmp_path):
    run_dir, saved = written(tmp_path)
    target, metadata = tmp_path / "ran", run_dir.shares(4) / ".metadata"
    assert not metadata.exists()
    metadata.write_bytes(pickle.dumps(Bomb(target)))
    assert float(read(run_dir, saved)["optimizer.0.step"]) == 3.0
    assert not target.exists()
