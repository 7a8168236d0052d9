import shutil

import pytest
import torch

from hashcenters.data.images import nus_wide, unreadable
from lookalikes import NUS_CONCEPTS, NUS_FREQUENT, nus_wide_tree


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    return nus_wide_tree(tmp_path_factory.mktemp("nus"))


@pytest.fixture
def own(tree, tmp_path):
    return shutil.copytree(tree, tmp_path / "nus")


def _small(root, **options):
    return nus_wide(root, **{"n_queries_per_class": 2, "n_train_per_class": 4} | options)


def _labels(root):
    """Each image's concepts by a slow reading of the official files."""
    names = (root / "ItemList" / "Imagelist.txt").read_text().split("\n")[:-1]
    tags = {name.replace("\\", "/"): set() for name in names}
    for concept in NUS_CONCEPTS.split():
        column = (root / "AllLabels" / f"Labels_{concept}.txt").read_text().split()
        for name, value in zip(tags, column, strict=True):
            if value == "1":
                tags[name].add(concept)
    return tags


def test_the_frequent_concepts_and_their_images(tree):
    splits = _small(tree)
    assert (splits.name, splits.top_k, splits.skipped) == ("nus_wide", 5000, ())
    classes = splits.train.class_names
    assert classes == tuple(NUS_FREQUENT.split())
    expected = {f"Flickr/{name}": mine & set(classes) for name, mine in _labels(tree).items()}
    seen = set()
    for images in (splits.train, splits.queries, splits.database):
        for path, row in zip(images.paths, images.labels, strict=True):
            assert {classes[k] for k in row.nonzero().flatten().tolist()} == expected[path] != set()
        seen |= set(images.paths)
    assert seen == {path for path, mine in expected.items() if mine}
    assert (len(splits.train), len(splits.queries), len(splits.database)) == (84, 42, 180 - 42)
    assert (splits.queries.labels.sum(0) >= 2).all()
    assert (splits.train.labels.sum(0) >= 4).all()
    assert unreadable(splits.database) == []


def test_both_kinds_of_tag_files_give_the_same_draw(tree, own):
    first = _small(tree)
    shutil.rmtree(own / "AllLabels")
    second = _small(own)
    for one, other in ((first.train, second.train), (first.queries, second.queries), (first.database, second.database)):
        assert one.paths == other.paths
        assert torch.equal(one.labels, other.labels)


def test_other_layouts(tree, own):
    first = _small(tree)
    (own / "ConceptsList").mkdir()
    (own / "Concepts81.txt").rename(own / "ConceptsList" / "Concepts81.txt")
    (own / "Groundtruth").mkdir()
    (own / "AllLabels").rename(own / "Groundtruth" / "AllLabels")
    (own / "images").mkdir()
    for file in (own / "Flickr").rglob("*.jpg"):
        file.rename(own / "images" / file.name)
    shutil.rmtree(own / "Flickr")
    splits = _small(own)  # the same images, although the draw goes by other names
    assert {p.split("/")[-1] for p in splits.train.paths + splits.database.paths + splits.queries.paths} == {
        p.split("/")[-1] for p in first.train.paths + first.database.paths + first.queries.paths
    }
    assert all(path.startswith("images/0") for path in splits.train.paths)


def test_ties_of_frequency_go_by_name(own):
    names = (own / "ItemList" / "Imagelist.txt").read_text().split("\n")[:-1]
    for concept in NUS_CONCEPTS.split():
        share = {"zebra": 8, "castle": 6, "airport": 6, "book": 6}.get(concept, 0)
        column = "".join(f"{int(i < share)}\n" for i in range(len(names)))
        (own / "AllLabels" / f"Labels_{concept}.txt").write_text(column)
    splits = nus_wide(own, n_concepts=3, n_queries_per_class=1, n_train_per_class=1)
    assert splits.train.class_names == ("airport", "book", "zebra")


def test_draws_depend_on_the_seed(tree):
    first = _small(tree)
    assert _small(tree).train.paths == first.train.paths
    assert len({_small(tree, seed=seed).train.paths for seed in range(3)}) > 1
    apart = _small(tree, database="disjoint")
    assert apart.train.paths == first.train.paths
    assert set(apart.database.paths) == set(first.database.paths) - set(first.train.paths)
    assert set(first.train.paths) < set(first.database.paths)


def test_missing_images_stop_or_are_skipped(own):
    first = _small(own)
    gone = sorted([first.train.paths[0], first.queries.paths[0]])
    for path in gone:
        (own / path).unlink()
    with pytest.raises(FileNotFoundError, match=r"2 of 180 images are missing in .* on_missing=\"skip\""):
        _small(own)
    splits = _small(own, on_missing="skip")
    assert list(splits.skipped) == gone
    assert (len(splits.train), len(splits.queries), len(splits.database)) == (84, 42, 178 - 42)


def test_an_image_listed_twice_counts_once(own):
    file = own / "ItemList" / "Imagelist.txt"
    first = _small(own)
    with file.open("a") as lines:
        lines.write(first.train.paths[0].removeprefix("Flickr/").replace("/", "\\") + "\n")
    for concept in NUS_CONCEPTS.split():
        with (own / "AllLabels" / f"Labels_{concept}.txt").open("a") as lines:
            lines.write("1\n")
    again = _small(own)
    assert again.train.paths == first.train.paths
    assert torch.equal(again.train.labels, first.train.labels)


def test_wrong_files_are_named(own):
    labels = own / "AllLabels" / "Labels_sky.txt"
    content = labels.read_text()
    labels.write_text(content + "1\n")
    with pytest.raises(ValueError, match=r"Labels_sky\.txt must have a line for each of the 200 images of .*, got 201"):
        _small(own)
    labels.write_text(content.replace("1", "2", 1))
    line = content.split("\n").index("1") + 1
    with pytest.raises(ValueError, match=rf"Labels_sky\.txt:{line}: a label must be 0 or 1, got '2'"):
        _small(own)
    labels.unlink()
    with pytest.raises(FileNotFoundError, match=r"AllLabels/Labels_sky\.txt' does not exist. The expected layout"):
        _small(own)
    labels.write_text(content)
    file = own / "ItemList" / "Imagelist.txt"
    file.write_text("..\\..\\a.jpg\n" + file.read_text())
    with pytest.raises(ValueError, match=r"Imagelist\.txt:1: item paths must stay inside the root"):
        _small(own)
    file.unlink()
    with pytest.raises(FileNotFoundError, match=r"ItemList/Imagelist\.txt' does not exist"):
        _small(own)
    shutil.rmtree(own / "AllLabels")
    shutil.rmtree(own / "TrainTestLabels")
    with pytest.raises(FileNotFoundError, match=r"TrainTestLabels' does not exist"):
        _small(own)


def test_wrong_options(tree, own):
    with pytest.raises(FileNotFoundError, match=r"nowhere/Concepts81\.txt' does not exist.*\nnus_wide/\n"):
        nus_wide("nowhere")
    shutil.rmtree(own / "Flickr")
    with pytest.raises(FileNotFoundError, match="Flickr' does not exist"):
        _small(own)
    with pytest.raises(ValueError, match="n_queries_per_class=100 images are wanted .*, but 'animal' has"):
        nus_wide(tree)
    with pytest.raises(ValueError, match="n_train_per_class=100 images are wanted of each class, but 'animal' has"):
        _small(tree, n_train_per_class=100)
    with pytest.raises(ValueError, match="n_concepts must be at most the number of concepts, 81, got 82"):
        _small(tree, n_concepts=82)
    with pytest.raises(ValueError, match='database must be "all" or "disjoint", got \'both\''):
        _small(tree, database="both")
    for name in ("n_concepts", "n_queries_per_class", "n_train_per_class"):
        with pytest.raises(ValueError, match=f"{name} must be at least 1, got 0"):
            _small(tree, **{name: 0})
