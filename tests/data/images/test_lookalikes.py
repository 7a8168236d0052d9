"""The tiny data sets of the other tests: learnable, quick, and made as the real ones are."""

import json

import torch

from hashcenters.data.images import ImageDataset, csq_transform, imagenet100, open_image, read_lists
from lookalikes import COCO_IDS, NUS_CONCEPTS, NUS_FREQUENT, coco_tree, imagenet_tree, list_tree, nus_wide_tree


def _pixels(images):
    dataset = ImageDataset(images, csq_transform(False, size=24))
    return torch.stack([dataset[k][0].flatten() for k in range(len(images))])


def test_classes_can_be_told_apart(tmp_path):
    splits = imagenet100(imagenet_tree(tmp_path), n_train_per_class=4)
    means = _pixels(splits.train).view(100, 4, -1).mean(1)  # training images come class by class
    nearest = torch.cdist(_pixels(splits.queries), means).argmin(1)
    assert (nearest == splits.queries.labels).float().mean() > 0.5  # of 100 classes; chance is 0.01


def test_imagenet_has_its_odd_files(tmp_path):
    tree = imagenet_tree(tmp_path, n_classes=2, n_train=2)
    first = [sorted(folder.iterdir()) for folder in sorted((tree / "train").iterdir())]
    contents = [file.read_bytes()[:4] for files in first for file in files]
    assert sum(content == b"\x89PNG" for content in contents) == 1
    sizes = [open_image(file).size for files in first for file in files]
    assert all(40 <= width <= 64 and 32 <= height <= 48 for width, height in sizes)


def test_coco_has_gaps_crowds_and_unlabeled_images(tmp_path):
    tree = coco_tree(tmp_path)
    assert len(COCO_IDS) == 80
    for part in ("train", "val"):
        content = json.loads((tree / "annotations" / f"instances_{part}2014.json").read_text())
        labeled = {row["image_id"] for row in content["annotations"]}
        assert {row["id"] for row in content["images"]} > labeled
        assert {row["iscrowd"] for row in content["annotations"]} == {0, 1}
        assert [row["id"] for row in content["categories"]] == COCO_IDS


def test_nus_wide_has_backslashes_and_rare_concepts(tmp_path):
    tree = nus_wide_tree(tmp_path, n_images=30, labels=("AllLabels",))
    assert len(NUS_CONCEPTS.split()) == 81
    assert set(NUS_FREQUENT.split()) < set(NUS_CONCEPTS.split())
    lines = (tree / "ItemList" / "Imagelist.txt").read_text().splitlines()
    assert len(lines) == 30
    assert all(line.count("\\") == 1 for line in lines)
    assert not (tree / "TrainTestLabels").exists()


def test_trees_are_the_same_every_time(tmp_path):
    for make in (imagenet_tree, coco_tree, nus_wide_tree, list_tree):
        options = {"n_classes": 3} if make is imagenet_tree else {} if make is list_tree else {"n_images": 12}
        one, two = (make(tmp_path / f"{make.__name__}{k}", **options) for k in range(2))
        files = sorted(file.relative_to(one) for file in one.rglob("*") if file.is_file())
        assert files == sorted(file.relative_to(two) for file in two.rglob("*") if file.is_file())
        assert all((one / file).read_bytes() == (two / file).read_bytes() for file in files)
    folder = tmp_path / "list_tree0"
    assert len(read_lists(folder / "lists", folder / "images", name="pets", top_k=5).train) == 40
