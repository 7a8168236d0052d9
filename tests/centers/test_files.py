import json
import struct

import pytest
import torch
from safetensors.torch import save_file

from hashcenters.centers import HashCenterGenerator, load_centers, save_centers


@pytest.fixture
def path(tmp_path):
    return tmp_path / "centers.safetensors"


@pytest.mark.parametrize(("n_classes", "n_bits"), [(1, 1), (10, 13), (300, 64)])
def test_round_trip(path, n_classes, n_bits):
    centers = HashCenterGenerator(n_bits, seed=9)(n_classes)
    before = centers.clone()
    saved = save_centers(centers, path, seed=9, construction="by hand — ±1")
    loaded = load_centers(path)
    assert torch.equal(centers, before)
    assert torch.equal(loaded.centers, centers)
    assert loaded.centers.dtype == torch.float32
    assert loaded[1:] == saved[1:] == (9, "by hand — ±1", saved.checksum)
    assert len(saved.checksum) == 64
    assert path.read_bytes()[:1] != b"\x80"  # a pickle begins so


def test_seed_and_construction_may_be_unknown(path):
    save_centers(torch.ones(2, 3, dtype=torch.float64), str(path))
    assert load_centers(str(path))[1:3] == (None, "")


def test_checksum_covers_everything(path):
    one = save_centers(torch.ones(2, 6), path).checksum
    assert one == save_centers(torch.ones(2, 6, dtype=torch.bfloat16), path).checksum
    others = [
        save_centers(torch.ones(2, 6), path, seed=3),
        save_centers(torch.ones(2, 6), path, construction="ones"),
        save_centers(torch.ones(3, 4), path),
        save_centers(-torch.ones(2, 6), path),
    ]
    assert len({one, *(saved.checksum for saved in others)}) == 5


def test_checksum_is_pinned(path):
    assert (
        save_centers(torch.tensor([[1.0, -1.0]]), path).checksum
        == "51ac61a222329af19717c9a3b9e4d6466703e7d034bfdc68915b0c73ba182579"
    )


def test_changed_metadata_is_refused(path):
    save_centers(torch.ones(2, 8), path, seed=3, construction="true")
    path.write_bytes(path.read_bytes().replace(b"true", b"lies"))
    with pytest.raises(ValueError, match="was changed after it was written"):
        load_centers(path)


def test_changed_files_are_refused(path):
    save_centers(HashCenterGenerator(16)(4), path)
    data = bytearray(path.read_bytes())
    data[-1] ^= 0xFE  # -1 to +1 or back
    path.write_bytes(data)
    with pytest.raises(ValueError, match="was changed after it was written: its checksum is"):
        load_centers(path)
    path.write_bytes(data[:-9])
    with pytest.raises(ValueError, match="is not a safetensors file or is damaged"):
        load_centers(path)
    path.write_bytes(b"")
    with pytest.raises(ValueError, match="is not a safetensors file or is damaged"):
        load_centers(path)


def test_other_files_are_refused(path, tmp_path):
    save_file({"centers": torch.ones(2, 2)}, path)
    with pytest.raises(ValueError, match=r"is not a file of save_centers: its format is None"):
        load_centers(path)
    save_file({"weights": torch.ones(2, 2)}, path, metadata={"format": "hashcenters.centers.1"})
    with pytest.raises(ValueError, match=r"is not a file of save_centers"):
        load_centers(path)
    for wrong in (tmp_path / "absent", tmp_path):
        with pytest.raises(FileNotFoundError, match="is not a file"):
            load_centers(wrong)
    with pytest.raises(FileNotFoundError, match="lies in a folder that does not exist; make it first"):
        save_centers(torch.ones(2, 2), tmp_path / "absent" / "file")


def test_others_can_read_it(path):
    save_centers(HashCenterGenerator(8, seed=1)(3), path, seed=1)
    data = path.read_bytes()
    header = json.loads(data[8 : 8 + struct.unpack("<Q", data[:8])[0]])
    assert header["centers"]["dtype"] == "I8"
    assert header["centers"]["shape"] == [3, 8]
    assert header["__metadata__"]["seed"] == "1"


def test_bad_arguments_are_refused(path):
    with pytest.raises(ValueError, match="centers must hold only -1 and"):
        save_centers(torch.zeros(2, 2), path)
    with pytest.raises(ValueError, match="seed must be at least 0, got -1"):
        save_centers(torch.ones(2, 2), path, seed=-1)
    with pytest.raises(TypeError, match="construction must be a string, got int"):
        save_centers(torch.ones(2, 2), path, construction=3)
