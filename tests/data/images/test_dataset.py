import random
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader

from hashcenters.data.images import ImageDataset, ImageReadError, ItemList, ItemSplits, csq_transform
from hashcenters.data.seeding import seeded


def _list(*paths, labels=None, root=".", classes=("cat", "dog")):
    labels = torch.arange(len(paths)) % len(classes) if labels is None else labels
    return ItemList(root, paths, labels, classes)


@pytest.fixture
def images(tmp_path):
    for k in range(6):
        Image.effect_noise((40, 32), 20 + 10 * k).save(tmp_path / f"{k}.png")
    return _list(*(f"{k}.png" for k in range(6)), root=tmp_path)


# ---------------------------------------------------------------------------------------------------------- ItemList


def test_list_holds_what_it_was_given():
    images = _list("a/1.jpg", "./a/2.jpg", labels=torch.tensor([1, 0], dtype=torch.int32), root="photos")
    assert images.paths == ("a/1.jpg", "a/2.jpg")
    assert images.labels.dtype == torch.int64
    assert images.root == Path("photos")
    assert images.absolute(1) == Path("photos/a/2.jpg")
    assert (len(images), images.n_classes, images.multi_label) == (2, 2, False)
    several = _list("a", "b", labels=torch.tensor([[True, True], [False, True]]))
    assert several.multi_label
    assert several.labels.dtype == torch.uint8


def test_subset_takes_rows_and_masks():
    images = _list("a", "b", "c", labels=torch.tensor([[1, 0], [0, 1], [1, 1]]))
    taken = images.subset([2, 0])
    assert taken.paths == ("c", "a")
    assert taken.labels.tolist() == [[1, 1], [1, 0]]
    assert images.subset(torch.tensor([True, False, True])).paths == ("a", "c")
    assert images.subset([]).labels.shape == (0, 2)
    with pytest.raises(ValueError, match=r"rows given as a mask must have shape \(3,\), got \(2,\)"):
        images.subset(torch.tensor([True, False]))
    with pytest.raises(IndexError):
        images.subset([3])


def test_list_refuses_what_is_wrong():
    with pytest.raises(ValueError, match="one row a sample: 2 samples"):
        _list("a", "b", labels=torch.tensor([0]))
    with pytest.raises(ValueError, match=r"labels must lie in 0\.\.1"):
        _list("a", labels=torch.tensor([2]))
    with pytest.raises(TypeError, match="labels must be a tensor"):
        _list("a", labels=[0])
    with pytest.raises(ValueError, match=r"must stay inside the root, got '\.\./a'"):
        _list("../a")
    with pytest.raises(ValueError, match="name every item once, got 'a/b' twice"):
        _list("a/b", "c", "a//b")


def test_symbolic_links_are_fine(tmp_path, images):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "class").symlink_to(tmp_path)
    linked = _list("class/0.png", root=tmp_path / "elsewhere")
    assert len(ImageDataset(linked, csq_transform(False, size=8))[0][0]) == 3


# -------------------------------------------------------------------------------------------------------- ItemSplits


def test_splits_count_and_may_search_training_images():
    splits = ItemSplits("pets", _list("1", "2", "3"), _list("4", "5"), _list("1", "3", "6", "7"), 2, ["x"])
    counts = splits.counts()
    assert counts == {
        "train": 3.0,
        "queries": 2.0,
        "database": 4.0,
        "n_classes": 2.0,
        "train_in_database": 2.0,
        "labels_per_image": 1.0,
        "data_imbalance": 2.0,
        "skipped": 1.0,
    }
    report = splits.report()
    assert "- 2 of 3 training items are in the database." in report
    assert "- 1 items were left out: their files are missing or broken." in report


def test_queries_may_not_be_in_another_list(tmp_path):
    queries = _list("4", "5")
    with pytest.raises(ValueError, match=r"queries and database must not share items, but 1 of 2 .* '.*5'"):
        ItemSplits("pets", _list("1"), queries, _list("5", "6"), 1)
    with pytest.raises(ValueError, match="queries and train must not share items, but 2 of 2 queries"):
        ItemSplits("pets", queries, queries, _list("6"), 1)
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    with pytest.raises(ValueError, match="queries and database must not share"):  # the same folder by another name
        ItemSplits("pets", _list("1"), _list("2", root=tmp_path / "real"), _list("2", root=tmp_path / "link"), 1)
    ItemSplits("pets", _list("1", root="a"), _list("1", root="b"), _list("1", root="c"), 1)


def test_splits_refuse_lists_that_do_not_fit():
    with pytest.raises(ValueError, match="queries must hold at least one item, got none"):
        ItemSplits("pets", _list("1"), _list(), _list("2"), 1)
    with pytest.raises(ValueError, match=r"train and database must have the same classes .* 2 classes \(cat, dog\)"):
        ItemSplits("pets", _list("1"), _list("2"), _list("3", classes=("cat",)), 1)
    hot = _list("2", labels=torch.tensor([[1, 0]]))
    with pytest.raises(ValueError, match="with single labels and 2 classes .* with multi-hot labels"):
        ItemSplits("pets", _list("1"), hot, _list("3"), 1)
    with pytest.raises(ValueError, match="top_k must be at least 1, got 0"):
        ItemSplits("pets", _list("1"), _list("2"), _list("3"), 0)


def test_without_leaves_images_out_of_every_list():
    splits = ItemSplits("pets", _list("1", "2"), _list("3", "4"), _list("1", "5"), 1, ("0",))
    rest = splits.without(["1", "4", "nowhere"])
    assert (rest.train.paths, rest.queries.paths, rest.database.paths) == (("2",), ("3",), ("5",))
    assert rest.skipped == ("0", "1", "4")
    assert splits.train.paths == ("1", "2")


# ------------------------------------------------------------------------------------------------------- ImageDataset


def _draws(image):
    """What a transform may draw from each global generator."""
    return torch.tensor([float(torch.rand(())), float(np.random.rand()), random.random()])  # noqa: NPY002


def test_dataset_returns_images_with_labels_or_targets(images):
    dataset = ImageDataset(images, lambda image: torch.tensor(image.size))
    assert len(dataset) == 6
    assert dataset[1][0].tolist() == [40, 32]
    assert [int(dataset[k][1]) for k in range(6)] == [0, 1, 0, 1, 0, 1]
    assert [int(dataset[0, k][1]) for k in range(6)] == [0, 1, 0, 1, 0, 1]
    assert int(dataset[-1][1]) == 1
    assert len(list(dataset)) == 6  # an IndexError ends the old protocol of iteration
    targets = torch.arange(12.0).view(6, 2)
    dataset = ImageDataset(images, lambda image: torch.zeros(1), targets=targets)
    assert dataset[4][1].tolist() == dataset[7, 4][1].tolist() == [8.0, 9.0]


def test_pair_keys_depend_on_seed_epoch_and_index_alone(images):
    dataset = ImageDataset(images, _draws, seed=3)
    first = {(epoch, index): dataset[epoch, index][0] for epoch in range(3) for index in range(6)}
    torch.manual_seed(99)
    for key in reversed(first):
        assert torch.equal(dataset[key][0], first[key])
    assert len({tuple(draw.tolist()) for draw in first.values()}) == 18
    for column in torch.stack(list(first.values())).T:
        assert len(column.unique()) == 18
    assert not torch.equal(ImageDataset(images, _draws, seed=4)[0, 0][0], first[0, 0])
    assert torch.equal(dataset[1, -1][0], first[1, 5])


@pytest.mark.parametrize("n_workers", [1, 2])
def test_workers_change_nothing(images, n_workers):
    dataset = ImageDataset(images, csq_transform(True, size=8), seed=1)
    keys = [(2, index) for index in (5, 0, 3, 1, 4, 2)]
    expected = torch.stack([dataset[key][0] for key in keys])
    loader = DataLoader(dataset, batch_size=2, sampler=keys, num_workers=n_workers)
    assert torch.equal(torch.cat([batch for batch, _ in loader]), expected)


def test_generators_are_put_back(images):
    def states():
        kind, key, place, *_ = np.random.get_state()  # noqa: NPY002
        return torch.get_rng_state().tolist(), (kind, key.tolist(), place), random.getstate()

    before = states()
    ImageDataset(images, _draws)[0, 0]
    assert states() == before
    with pytest.raises(ZeroDivisionError), seeded(0, 0, 0):
        _ = 1 / 0
    assert states() == before


def test_int_keys_draw_from_the_global_generators(images):
    dataset = ImageDataset(images, lambda image: torch.rand(()))
    torch.manual_seed(5)
    expected = torch.rand(())
    torch.manual_seed(5)
    assert dataset[0][0] == expected


def test_wrong_keys_and_targets(images):
    dataset = ImageDataset(images, _draws)
    for key in (6, -7, (0, 6)):
        with pytest.raises(IndexError, match=r"index must lie in 0\.\.5 \(n=6 images\), got"):
            dataset[key]
    with pytest.raises(ValueError, match="epoch must be at least 0, got -1"):
        dataset[-1, 0]
    with pytest.raises(ValueError, match=r"targets must have one row an image: 6 images, targets of shape \(5, 2\)"):
        ImageDataset(images, _draws, targets=torch.zeros(5, 2))
    with pytest.raises(ValueError, match="seed must be at least 0, got -1"):
        ImageDataset(images, _draws, seed=-1)


@pytest.mark.parametrize("n_workers", [0, 1])
def test_broken_images_reach_the_main_process_by_name(images, n_workers):
    images.absolute(2).write_bytes(b"no image")
    loader = DataLoader(ImageDataset(images, csq_transform(False, size=8)), num_workers=n_workers)
    with pytest.raises(ImageReadError, match=r"2\.png' cannot be read"):
        list(loader)
