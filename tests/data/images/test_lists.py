import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from hashcenters.data.images import ItemList, read_list, read_lists, write_list
from lookalikes import list_tree


def _write(folder, text, name="train.txt"):
    (folder / name).write_text(text, encoding="utf-8", newline="")
    return folder / name


def test_a_list_of_any_shape_is_read(tmp_path):
    file = _write(tmp_path, "a.jpg 1 0 1\r\n\r\nmy  photo 2.jpg\t0  1 0  \r\n./é/c.jpg 0 0 1")
    images = read_list(file, "photos")
    assert images.paths == ("a.jpg", "my  photo 2.jpg", "é/c.jpg")
    assert images.labels.tolist() == [[1, 0, 1], [0, 1, 0], [0, 0, 1]]
    assert images.labels.dtype == torch.uint8
    assert images.class_names == ("0", "1", "2")
    assert images.root.name == "photos"


def test_paths_that_end_like_a_label_need_the_number_of_classes(tmp_path):
    file = _write(tmp_path, "photo 1 0 1\nother 0 1 0\nlast.jpg 1 1\n")
    with pytest.raises(ValueError, match=r"train\.txt:3: .* n_classes=3 labels 0 or 1"):
        read_list(file, ".")
    assert read_list(file, ".", n_classes=2).paths == ("photo 1", "other 0", "last.jpg")
    assert read_list(file, ".", class_names=("cat", "dog")).class_names == ("cat", "dog")


def test_one_hot_rows_become_class_indices_on_request(tmp_path):
    file = _write(tmp_path, "a 0 0 1\nb 1 0 0\n")
    labels = read_list(file, ".", multi_label=False).labels
    assert labels.dtype == torch.int64
    assert labels.tolist() == [2, 0]
    with pytest.raises(ValueError, match=r"train\.txt:2: with multi_label=False .* one label, got 2 for 'b c'"):
        read_list(_write(tmp_path, "a 0 1\nb c 1 1\n"), ".", multi_label=False)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a 0 1\nb 1\n", r":2: .* n_classes=2 labels 0 or 1, got 'b' among the labels"),
        ("a 0 1\nb 1 0 1\n", r":2: .* n_classes=2 labels 0 or 1, got more of them; give the right n_classes"),
        ("a 0 1\nb 0 2\n", r":2: .* got '2' among the labels"),
        ("a 0 1\nb 1.0 0\n", r":2: .* got '1\.0' among the labels"),
        ("a 0 1\nb 01\n", r":2: .* got '01' among the labels"),
        ("a 0 1\nb -1 1\n", r":2: .* got '-1' among the labels"),
        ("a\n", r":1: a line must be a path, then 0 or 1 a class, got 'a'"),
        ("0\n", r":1: a line must be a path, then 0 or 1 a class"),
        ("a 0 1\n\nb c 0 0\n", r":3: an image must have a label, got none for 'b c'; drop the line"),
        ("a 0 1\n../b 0 1\n", r":2: item paths must stay inside the root, got '\.\./b'"),
        ("/a 0 1\n", r":1: item paths must be relative"),
        ("a 0 1\nb 0 1\n./a 1 0\n", r":3: an image must come once, got 'a' again \(first in line 1\)"),
        ("\n\n", "is empty"),
    ],
)
def test_wrong_lines_are_named(tmp_path, text, message):
    with pytest.raises(ValueError, match=r"train\.txt ?" + message):
        read_list(_write(tmp_path, text), ".")


def test_wrong_numbers_of_classes_and_absent_lists(tmp_path):
    file = _write(tmp_path, "a 0 1 1\nb 1 0 1\n")
    with pytest.raises(ValueError, match=r":2: .* n_classes=2 labels 0 or 1, got more of them"):
        read_list(file, ".", n_classes=2)
    with pytest.raises(ValueError, match=r":1: .* n_classes=4 labels"):
        read_list(file, ".", n_classes=4)
    with pytest.raises(ValueError, match="n_classes must be at least 1, got 0"):
        read_list(file, ".", n_classes=0)
    with pytest.raises(ValueError, match="n_classes=2 and class_names must agree, got 3 names"):
        read_list(file, ".", n_classes=2, class_names="abc")
    with pytest.raises(FileNotFoundError, match=r"none\.txt' does not exist. The expected layout is\nlists/"):
        read_list(tmp_path / "none.txt", ".")
    file.write_bytes(b"a 0 1\n\xff 0 1\n")
    with pytest.raises(ValueError, match=r"train\.txt:2: the file must be UTF-8 text"):
        read_list(file, ".")


_names = st.text("ab c.é\u2028", min_size=1, max_size=8).filter(lambda name: name == name.strip() and name.strip(". "))


@given(st.data())
def test_lists_survive_the_round_trip(tmp_path_factory, data):
    paths = data.draw(st.lists(_names, min_size=1, max_size=5, unique=True).filter(lambda p: ".." not in p))
    n_classes = data.draw(st.integers(1, 4))
    hot = data.draw(st.booleans())
    label = st.integers(1, 2**n_classes - 1) if hot else st.integers(0, n_classes - 1)
    labels = torch.tensor([data.draw(label) for _ in paths])
    if hot:
        labels = (labels[:, None] >> torch.arange(n_classes)) & 1
    images = ItemList(".", tuple(paths), labels, tuple("abcd"[:n_classes]))
    file = tmp_path_factory.mktemp("lists") / "a.txt"
    write_list(images, file)
    again = read_list(file, ".", class_names=images.class_names, multi_label=hot)
    assert again.paths == images.paths
    assert torch.equal(again.labels, images.labels)


def test_paths_that_the_format_would_lose_are_not_written(tmp_path):
    images = ItemList(".", ("a ",), torch.tensor([0]), ("cat",))
    with pytest.raises(ValueError, match="paths must not begin or end with a space in a list, got 'a '"):
        write_list(images, tmp_path / "a.txt")


@pytest.mark.parametrize("multi_label", [False, True])
def test_three_lists_make_an_experiment(tmp_path, multi_label):
    folder = list_tree(tmp_path, multi_label=multi_label)
    splits = read_lists(folder / "lists", folder / "images", name="pets", top_k=7, multi_label=multi_label)
    assert (splits.name, splits.top_k, splits.skipped) == ("pets", 7, ())
    assert (len(splits.train), len(splits.queries), len(splits.database)) == (40, 10, 60)
    assert splits.train.multi_label is multi_label
    assert splits.train.n_classes == splits.queries.n_classes == 10
    assert splits.counts()["train_in_database"] == 40
    assert splits.train.absolute(0).name == "my photo 0.jpg"
    assert splits.train.absolute(0).is_file()


def test_missing_images_stop_or_are_skipped(tmp_path):
    folder = list_tree(tmp_path)
    (folder / "images" / "train" / "1.jpg").unlink()
    (folder / "images" / "test" / "2.jpg").unlink()
    with pytest.raises(FileNotFoundError, match=r"2 of 70 images are missing in .*'train/1.jpg', 'test/2.jpg'"):
        read_lists(folder / "lists", folder / "images", name="pets", top_k=7)
    splits = read_lists(folder / "lists", folder / "images", name="pets", top_k=7, on_missing="skip")
    assert splits.skipped == ("train/1.jpg", "test/2.jpg")
    assert (len(splits.train), len(splits.queries), len(splits.database)) == (39, 9, 59)
    assert "train/2.jpg" in splits.train.paths


def test_absent_lists_say_how_to_go_on(tmp_path):
    folder = list_tree(tmp_path)
    (folder / "lists" / "database.txt").unlink()
    with pytest.raises(FileNotFoundError, match=r"database\.txt' does not exist.*CSQ repository.*by write_list"):
        read_lists(folder / "lists", folder / "images", name="pets", top_k=7)
    (folder / "lists" / "test.txt").unlink()
    with pytest.raises(FileNotFoundError, match=r"test\.txt' does not exist. The expected layout is\nlists/\n"):
        read_lists(folder / "lists", folder / "images", name="pets", top_k=7)
