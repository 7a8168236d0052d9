import os
import random

import pytest

from hashcenters.data.images import IMAGENET100_WNIDS, imagenet100, unreadable
from lookalikes import imagenet_tree


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    return imagenet_tree(tmp_path_factory.mktemp("imagenet"))


@pytest.fixture
def small(tmp_path):
    return imagenet_tree(tmp_path, n_classes=3, n_train=6, n_val=2)


CLASSES = IMAGENET100_WNIDS[:3]


def test_the_hundred_classes():
    assert len(set(IMAGENET100_WNIDS)) == 100
    assert (IMAGENET100_WNIDS[0], IMAGENET100_WNIDS[-1]) == ("n01514668", "n13044778")
    assert list(IMAGENET100_WNIDS) == sorted(IMAGENET100_WNIDS)


def test_the_whole_tree(tree):
    splits = imagenet100(tree, n_train_per_class=3)
    assert (splits.name, splits.top_k, splits.skipped) == ("imagenet100", 1000, ())
    assert (len(splits.train), len(splits.queries), len(splits.database)) == (300, 100, 500)
    assert splits.train.class_names == IMAGENET100_WNIDS
    assert splits.train.labels.bincount().tolist() == [3] * 100
    assert splits.database.labels.bincount().tolist() == [5] * 100
    assert splits.queries.labels.tolist() == list(range(100))
    for images in (splits.train, splits.queries, splits.database):
        for path, label in zip(images.paths, images.labels.tolist(), strict=True):
            assert path.split("/")[1] == IMAGENET100_WNIDS[label]
    assert {path.split("/")[0] for path in splits.queries.paths} == {"val"}
    assert splits.counts()["train_in_database"] == 300
    assert splits.counts()["data_imbalance"] == (300 * 299 - 300 * 2) / (300 * 2)
    assert unreadable(splits.database) == []  # the CMYK file and the PNG named .JPEG too
    assert "- train: 9,700 fewer items than the paper" in splits.report()


def test_disjoint_database(tree):
    splits = imagenet100(tree, n_train_per_class=3, database="disjoint")
    assert len(splits.database) == 200
    assert not set(splits.database.paths) & set(splits.train.paths)
    assert "- none of the training items are in the database." in splits.report()


def test_draws_depend_on_seed_and_class_alone(small, monkeypatch):
    def train(**options):
        return set(imagenet100(small, **{"n_train_per_class": 3, "wnids": CLASSES} | options).train.paths)

    first = train()
    assert train() == first
    assert len({frozenset(train(seed=seed)) for seed in range(5)}) > 1
    assert train(n_train_per_class=2) < first < train(n_train_per_class=4)
    assert train(wnids=CLASSES[::-1]) == first
    assert train(wnids=CLASSES[1:2]) == {path for path in first if CLASSES[1] in path}
    listed = os.listdir
    monkeypatch.setattr("os.listdir", lambda folder: random.sample(listed(folder), len(listed(folder))))
    assert train() == first


def test_classes_are_drawn_independently(tree):
    splits = imagenet100(tree, n_train_per_class=2)
    places = [splits.database.paths.index(path) % 5 for path in splits.train.paths]
    assert len({tuple(places[k : k + 2]) for k in range(0, 200, 2)}) == 10  # every pair of five


def test_other_files_are_passed_over(small):
    (small / "train" / CLASSES[0] / "Thumbs.db").touch()
    (small / "train" / CLASSES[0] / ".a.JPEG.part").touch()
    assert len(imagenet100(small, n_train_per_class=1, wnids=CLASSES).database) == 18


def test_links_to_nowhere_stop_or_are_skipped(small):
    (small / "train" / CLASSES[1] / "gone.JPEG").symlink_to(small / "nowhere")
    with pytest.raises(FileNotFoundError, match="1 of 18 images are missing|1 of 19 images are missing"):
        imagenet100(small, n_train_per_class=1, wnids=CLASSES)
    splits = imagenet100(small, n_train_per_class=1, wnids=CLASSES, on_missing="skip")
    assert splits.skipped == (f"train/{CLASSES[1]}/gone.JPEG",)
    assert len(splits.database) == 18


def test_absent_folders_show_the_layout(small, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"nowhere/train' does not exist. The expected layout is\nimagenet/"):
        imagenet100("nowhere")
    with pytest.raises(FileNotFoundError, match=rf"train/{IMAGENET100_WNIDS[3]}' does not exist"):
        imagenet100(small, n_train_per_class=1)


def test_flat_validation_images_must_be_sorted(small):
    for wnid in CLASSES:
        for file in (small / "val" / wnid).iterdir():
            file.rename(small / "val" / file.name)
        (small / "val" / wnid).rmdir()
    with pytest.raises(ValueError, match="validation images of .* must be sorted into one folder a class"):
        imagenet100(small, n_train_per_class=1, wnids=CLASSES)
    for file in (small / "val").iterdir():
        file.unlink()
    with pytest.raises(FileNotFoundError, match=rf"val/{CLASSES[0]}' does not exist"):
        imagenet100(small, n_train_per_class=1, wnids=CLASSES)


def test_wrong_options(small):
    with pytest.raises(ValueError, match=rf"n_train_per_class=7 images are wanted .*, but {CLASSES[0]} has 6"):
        imagenet100(small, n_train_per_class=7, wnids=CLASSES)
    with pytest.raises(ValueError, match='database must be "all" or "disjoint", got \'some\''):
        imagenet100(small, database="some")
    for wnids in ((), ("n01514668", "n01514668"), ("..",), ("/etc",)):
        with pytest.raises(ValueError, match="wnids must be different names of class folders"):
            imagenet100(small, wnids=wnids)
    with pytest.raises(ValueError, match="n_train_per_class must be at least 1, got 0"):
        imagenet100(small, n_train_per_class=0)
