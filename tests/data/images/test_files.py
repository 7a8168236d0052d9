from pathlib import Path

import pytest
import torch
from PIL import Image

from hashcenters.data.images import ItemList, missing, unreadable
from hashcenters.data.images.files import absent, present, random_order, read_text


def test_missing_and_unreadable_images_are_listed_in_order(tmp_path):
    for k in range(5):
        Image.new("RGB", (4, 4)).save(tmp_path / f"{k}.png")
    (tmp_path / "3.png").write_bytes(b"no image")
    (tmp_path / "1.png").unlink()
    (tmp_path / "4.png").unlink()
    (tmp_path / "4.png").symlink_to(tmp_path / "nowhere")
    images = ItemList(tmp_path, ("4.png", "3.png", "2.png", "1.png", "0.png"), torch.zeros(5).long(), ("a",))
    assert missing(images) == ["4.png", "1.png"]
    for n_threads in (1, 3):
        assert unreadable(images, n_threads=n_threads) == ["4.png", "3.png", "1.png"]
    with pytest.raises(ValueError, match="n_threads must be at least 1, got 0"):
        unreadable(images, n_threads=0)


def test_policies_for_missing_files(tmp_path):
    (tmp_path / "a").touch()
    paths = ["b", "a", "c", "d", "e"]
    assert present(tmp_path, paths, "skip") == [False, True, False, False, False]
    assert present(tmp_path, ["a"], "stop") == [True]
    with pytest.raises(
        FileNotFoundError, match=r"4 of 5 images are missing in '.*': 'b', 'c', 'd', \.\.\.; .* on_missing=\"skip\""
    ):
        present(tmp_path, paths, "stop")
    with pytest.raises(FileNotFoundError, match=r"1 of 2 images are missing in '.*': 'b'; complete"):
        present(tmp_path, ["a", "b"], "stop")
    with pytest.raises(ValueError, match='on_missing must be "stop" or "skip", got "?\'?random'):
        present(tmp_path, paths, "random")


def test_absent_data_sets_show_their_layout():
    error = absent(Path("coco/train2014"), "\ncoco/\n└── train2014/\n")
    assert str(error).splitlines() == [
        "'coco/train2014' does not exist. The expected layout is",
        "coco/",
        "└── train2014/",
    ]


def test_random_orders_are_permutations_of_their_own():
    orders = [random_order(50, seed, *path) for seed in (0, 1) for path in ((), (1,), (2,))]
    assert all(sorted(order) == list(range(50)) for order in orders)
    assert len({tuple(order) for order in orders}) == 6
    assert random_order(6, 7, 3) == random_order(6, 7, 3)
    assert random_order(0, 0) == []
    assert random_order(5, 0) == [3, 4, 0, 2, 1]  # nobody's split may move
    with pytest.raises(ValueError, match="seed must be at least 0, got -1"):
        random_order(5, -1)


def test_text_files(tmp_path):
    file = tmp_path / "a.txt"
    file.write_bytes("\ufeffé\u2028x\r\ntwo\r\n\r\n\n".encode())
    assert read_text(file) == ["é\u2028x", "two"]
    file.write_bytes(b"one\ntwo\n\xe9")
    with pytest.raises(ValueError, match=r"a\.txt:3: the file must be UTF-8 text"):
        read_text(file)
    file.write_bytes(b"\n \n")
    with pytest.raises(ValueError, match=r"a\.txt is empty"):
        read_text(file)
