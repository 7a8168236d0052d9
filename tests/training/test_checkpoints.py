import random

import numpy as np
import pytest
import torch

from hashcenters.training import Epoch
from hashcenters.training.checkpoints import (
    Checkpoint,
    load_checkpoint,
    random_state,
    restore_random_state,
    save_checkpoint,
)


def draws():
    numbers = np.random.rand(), np.random.randn()  # noqa: NPY002
    return random.random(), numbers, torch.rand(3).tolist()


def a_checkpoint():
    network = torch.nn.Linear(3, 2)
    optimizer = torch.optim.Adam(network.parameters())
    network(torch.ones(1, 3)).sum().backward()
    optimizer.step()
    schedule = torch.optim.lr_scheduler.StepLR(optimizer, 3)
    return Checkpoint(
        history=[Epoch(1, 0.5, 48, 1.5, 1.5), Epoch(2, 0.25, 48, 1.0, 2.5)],
        stage=1,
        network=network.state_dict(),
        loss={"centers": torch.ones(2, 4)},
        optimizer=optimizer.state_dict(),
        schedule=schedule.state_dict(),
        scaler=None,
        random=[random_state(), random_state()],
        records=[{"epoch": 1, "loss": 0.5, "lr": {"head": 1e-3}}, {"epoch": 2, "map": 0.75}],
        best_epoch=2,
        best_map=0.75,
    )


def test_round_trip(tmp_path):
    saved = a_checkpoint()
    expected = draws()
    save_checkpoint(tmp_path / "checkpoint.pt", saved)
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint.pt"]
    loaded = load_checkpoint(tmp_path / "checkpoint.pt")
    for name in ("history", "stage", "records", "best_epoch", "best_map", "scaler", "schedule"):
        assert getattr(loaded, name) == getattr(saved, name), name
    assert all(isinstance(epoch, Epoch) for epoch in loaded.history)
    torch.testing.assert_close(loaded.network, dict(saved.network), rtol=0, atol=0)
    torch.testing.assert_close(loaded.loss, saved.loss, rtol=0, atol=0)
    for number, values in saved.optimizer["state"].items():
        torch.testing.assert_close(loaded.optimizer["state"][number], values, rtol=0, atol=0)
    for state in loaded.random:
        restore_random_state(state)
        assert draws() == expected


def test_a_second_normal_number_that_numpy_holds_back_is_kept():
    np.random.randn()  # noqa: NPY002
    state = random_state()
    expected = np.random.randn()  # noqa: NPY002
    restore_random_state(state)
    assert np.random.randn() == expected  # noqa: NPY002


def test_the_file_on_disk_is_never_half_written(tmp_path, monkeypatch):
    path = tmp_path / "checkpoint.pt"
    save_checkpoint(path, a_checkpoint())
    before = path.read_bytes()

    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match=r"No space left on device(.|\n)*intact"):
        save_checkpoint(path, a_checkpoint())
    assert [one.name for one in tmp_path.iterdir()] == ["checkpoint.pt"]
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    "damage", [lambda b: b[: len(b) // 2], lambda b: b"", lambda b: b"nonsense", lambda b: b[:-40]]
)
def test_damaged_files(tmp_path, damage):
    path = tmp_path / "checkpoint.pt"
    save_checkpoint(path, a_checkpoint())
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(ValueError, match=r"checkpoint\.pt is no checkpoint, or a damaged one \(.*delete it to train"):
        load_checkpoint(path)


def test_other_files_and_versions(tmp_path):
    path = tmp_path / "checkpoint.pt"
    torch.save({"weights": torch.ones(2)}, path)
    with pytest.raises(ValueError, match="is no checkpoint"):
        load_checkpoint(path)
    torch.save({"format": 9, "history": []}, path)
    with pytest.raises(ValueError, match="has format 9, this version of hashcenters reads 1"):
        load_checkpoint(path)
    torch.save([1, 2], path)
    with pytest.raises(ValueError, match="is no checkpoint"):
        load_checkpoint(path)
    with pytest.raises(FileNotFoundError):
        load_checkpoint(tmp_path / "none.pt")
