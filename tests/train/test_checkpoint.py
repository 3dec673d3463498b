import pytest
import torch

from scaling_law.files.layout import RunDir
from scaling_law.train import checkpoint


def save(run_dir: RunDir, *steps: int) -> None:
    for step in steps:
        checkpoint.save_checkpoint(run_dir, step, {"step": step, "w": torch.full((3,), step)})


def test_states_are_read_back_and_listed_newest_first(tmp_path):
    run_dir = RunDir(tmp_path)
    save(run_dir, 5, 30, 10)
    assert checkpoint.checkpoint_steps(run_dir) == [30, 10, 5]
    newest = checkpoint.newest_valid(run_dir, pytest.fail)
    assert newest is not None
    assert newest[0] == 30
    assert torch.equal(newest[1]["w"], torch.full((3,), 30))


@pytest.mark.parametrize("place", [0, 12, 90, -1])
def test_a_flipped_bit_is_detected_and_an_older_state_used(tmp_path, place):
    run_dir = RunDir(tmp_path)
    save(run_dir, 1, 2)
    path = run_dir.checkpoint(2)
    content = bytearray(path.read_bytes())
    content[place] ^= 0x10
    path.write_bytes(content)
    messages: list[str] = []
    newest = checkpoint.newest_valid(run_dir, messages.append)
    assert newest is not None
    assert newest[0] == 1
    assert len(messages) == 1
    assert path.name in messages[0]


def test_a_truncated_file_is_detected(tmp_path):
    run_dir = RunDir(tmp_path)
    save(run_dir, 1)
    path = run_dir.checkpoint(1)
    path.write_bytes(path.read_bytes()[:-5])
    with pytest.raises(checkpoint.DamagedCheckpoint, match="header says"):
        checkpoint.load_checkpoint(path)
    assert checkpoint.newest_valid(run_dir, lambda line: None) is None


def test_pruning_keeps_the_newest_and_the_pinned(tmp_path):
    run_dir = RunDir(tmp_path)
    save(run_dir, 10, 20, 30, 40)
    checkpoint.prune_checkpoints(run_dir, keep={20})
    assert checkpoint.checkpoint_steps(run_dir) == [40, 20]


def test_a_failed_save_leaves_the_old_state_and_no_temporary_file(tmp_path, monkeypatch):
    run_dir = RunDir(tmp_path)
    save(run_dir, 1)
    before = run_dir.checkpoint(1).read_bytes()

    def full_disk(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full_disk)
    with pytest.raises(OSError, match="No space"):
        save(run_dir, 1)
    assert run_dir.checkpoint(1).read_bytes() == before
    assert [p.name for p in run_dir.checkpoints.iterdir()] == ["step_00000001.pt"]
