import json

import pytest
import torch

from hashcenters.data.images import coco, unreadable
from lookalikes import COCO_IDS, coco_tree


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    return coco_tree(tmp_path_factory.mktemp("coco"))


@pytest.fixture
def small(tmp_path):
    return coco_tree(tmp_path, n_images=30, n_categories=4)


def _small(root, **options):
    return coco(root, **{"n_train": 10, "n_queries": 5} | options)


def _edit(root, part, change):
    file = root / "annotations" / f"instances_{part}2014.json"
    content = json.loads(file.read_text())
    change(content)
    file.write_text(json.dumps(content))


def test_labels_are_the_annotations(tree):
    splits = coco(tree, n_train=60, n_queries=20)
    assert (splits.name, splits.top_k, splits.skipped) == ("coco", 5000, ())
    assert (len(splits.train), len(splits.queries), len(splits.database)) == (60, 20, 115)  # 135 of 150 have labels
    assert splits.train.class_names == tuple(f"thing {k}" for k in COCO_IDS)
    expected = {}
    for part in ("train", "val"):
        content = json.loads((tree / "annotations" / f"instances_{part}2014.json").read_text())
        for image in content["images"]:
            mine = {row["category_id"] for row in content["annotations"] if row["image_id"] == image["id"]}
            expected[f"{part}2014/{image['file_name']}"] = mine
    seen = set()
    for images in (splits.train, splits.queries, splits.database):
        for path, row in zip(images.paths, images.labels, strict=True):
            assert {COCO_IDS[k] for k in row.nonzero().flatten().tolist()} == expected[path] != set()
        seen |= set(images.paths)
    assert seen == {path for path, labels in expected.items() if labels}
    assert set(splits.train.paths) < set(splits.database.paths)
    assert unreadable(splits.database) == []
    assert "- database: 112,102 fewer items than the paper (115, not 112,217)." in splits.report()


def test_only_crowds_count_as_labels_too(small):
    def crowd(content):
        content["annotations"] = [dict(row, iscrowd=1) for row in content["annotations"]]

    before = _small(small).database
    _edit(small, "train", crowd)
    after = _small(small).database
    assert after.paths == before.paths
    assert torch.equal(after.labels, before.labels)


def test_draws_depend_on_the_seed(small):
    first = _small(small)
    assert _small(small).train.paths == first.train.paths
    assert len({_small(small, seed=seed).queries.paths for seed in range(5)}) > 1
    apart = _small(small, database="disjoint")
    assert apart.train.paths == first.train.paths
    assert not set(apart.database.paths) & set(first.train.paths)
    assert len(apart.database) == 27 - 5 - 10


def test_both_releases_give_the_same_draw(small, tmp_path_factory):
    def ids(splits):
        return [int(path[-16:-4]) for path in (*splits.queries.paths, *splits.train.paths)]

    other = coco_tree(tmp_path_factory.mktemp("coco17"), n_images=30, n_categories=4, year="2017")
    assert ids(_small(other, year="2017")) == ids(_small(small))
    assert _small(other, year="2017").train.paths[0].split("/")[0] in ("train2017", "val2017")


def test_images_may_be_in_a_folder_images(small):
    first = _small(small)
    (small / "images").mkdir()
    for part in ("train2014", "val2014"):
        (small / part).rename(small / "images" / part)
    assert _small(small).train.paths == tuple(f"images/{path}" for path in first.train.paths)


def test_missing_images_are_replaced_in_the_draw_alone(small):
    first = _small(small)
    gone = first.queries.paths[2]
    (small / gone).unlink()
    with pytest.raises(FileNotFoundError, match=f"1 of 27 images are missing in .*'{gone}'"):
        _small(small)
    splits = _small(small, on_missing="skip")
    assert splits.skipped == (gone,)
    assert len(splits.queries) == 5
    assert len(set(splits.queries.paths) & set(first.queries.paths)) == 4
    assert len(set(splits.train.paths) & set(first.train.paths)) == 9
    assert "- 1 items were left out" in splits.report()


def test_absent_files_show_the_layout(small):
    with pytest.raises(FileNotFoundError, match=r"instances_train2017\.json' does not exist.*\ncoco/\n"):
        _small(small, year="2017")
    for file in (small / "val2014").iterdir():
        file.unlink()
    (small / "val2014").rmdir()
    with pytest.raises(FileNotFoundError, match=r"val2014' does not exist. The expected layout is\ncoco/"):
        _small(small)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c.pop("annotations"), "misses the key 'annotations'; fetch it anew"),
        (lambda c: c["annotations"].append({"image_id": 1e9, "category_id": 1}), "misses the key 1000000000"),
        (
            lambda c: c["annotations"].append({"image_id": 7, "category_id": 99}),
            "category 99, which is not declared",
        ),
        (lambda c: c["images"][0].update(file_name="../../a.jpg"), "must stay inside the root"),
        (lambda c: c["images"].append(3), "instances_train2014.json must be a COCO instances JSON"),
    ],
)
def test_files_that_are_no_instances(small, change, message):
    _edit(small, "train", change)
    with pytest.raises(ValueError, match=message):
        _small(small)


def test_files_that_do_not_fit_each_other(small):
    _edit(small, "val", lambda c: c["images"].append({"id": 7 + 13 * 37, "file_name": "x.jpg"}))
    with pytest.raises(ValueError, match="must not share images, got the id 488 in both; take both from one release"):
        _small(small)
    _edit(small, "val", lambda c: c["categories"].append({"id": 95, "name": "more"}))
    with pytest.raises(ValueError, match="must have the same categories; take both from one release"):
        _small(small)
    (small / "annotations" / "instances_train2014.json").write_text("{")
    with pytest.raises(ValueError, match="must be a COCO instances JSON with images, annotations and categories"):
        _small(small)


def test_wrong_options(small):
    with pytest.raises(ValueError, match="n_queries=5 and n_train=23 must fit into .* but there are 27"):
        _small(small, n_train=23)
    with pytest.raises(ValueError, match='year must be "2014" or "2017", got 2014'):
        _small(small, year=2014)
    with pytest.raises(ValueError, match='database must be "all" or "disjoint", got None'):
        _small(small, database=None)
    with pytest.raises(ValueError, match="n_train must be at least 1, got 0"):
        _small(small, n_train=0)
    with pytest.raises(TypeError, match="n_queries must be an int"):
        _small(small, n_queries=0.5)
    _edit(small, "train", lambda c: c.update(annotations=[]))
    _edit(small, "val", lambda c: c.update(annotations=[]))
    with pytest.raises(ValueError, match="but there are 0"):
        _small(small)
