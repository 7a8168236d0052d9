import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from hashcenters.data.images import TABLE_1, data_imbalance
from hashcenters.data.protocol import describe


def _imbalance_by_pairs(sets):
    pairs = [bool(a & b) for i, a in enumerate(sets) for b in sets[:i]]
    return (len(pairs) - sum(pairs)) / sum(pairs) if any(pairs) else float("inf")


@given(st.lists(st.sets(st.integers(0, 4)), min_size=2, max_size=12), st.integers(1, 5))
def test_multi_label_imbalance_is_the_count_of_pairs(sets, block):
    labels = torch.tensor([[int(k in mine) for k in range(5)] for mine in sets])
    assert data_imbalance(labels, block=block) == _imbalance_by_pairs(sets)


@given(st.lists(st.integers(0, 3), min_size=2, max_size=12))
def test_single_label_imbalance_is_the_count_of_pairs(labels):
    labels = torch.tensor(labels)
    assert data_imbalance(labels) == _imbalance_by_pairs([{int(label)} for label in labels])
    assert data_imbalance(torch.nn.functional.one_hot(labels)) == data_imbalance(labels)


def test_imbalance_where_there_is_nothing_to_count():
    assert data_imbalance(torch.tensor([0, 1])) == float("inf")
    assert torch.isnan(torch.tensor(data_imbalance(torch.tensor([0]))))


@pytest.mark.parametrize(
    ("name", "n_train", "n_classes"), [("imagenet100", 10_000, 100), ("ucf101", 9_537, 101), ("hmdb51", 3_570, 51)]
)
def test_imbalance_of_balanced_classes_is_table_1s(name, n_train, n_classes):
    ratio = data_imbalance(torch.arange(n_train) % n_classes)
    assert round(ratio) == n_classes  # the paper: 100:1, 101:1, 51:1


def test_description_names_every_difference():
    paper = TABLE_1["imagenet100"]
    exact = {"train": paper.train, "queries": paper.queries, "database": paper.database, "data_imbalance": 100.0}
    exact |= {"n_classes": 100, "labels_per_image": 1, "train_in_database": paper.train, "skipped": 0}
    lines = describe("imagenet100", exact).splitlines()
    assert lines[:6] == [
        "imagenet100: 100 classes, 1.00 labels an item",
        "                found      paper",
        "train          10,000     10,000",
        "queries         5,000      5,000",
        "database      128,495    128,495",
        "imbalance     100.0:1      100:1",
    ]
    assert lines[6] == "- all of the training items are in the database."
    assert lines[7].startswith("- the authors' lists hold 13,000")
    assert len(lines) == 8
    other = describe("imagenet100", exact | {"train": 13_000, "queries": 4_983, "data_imbalance": 99.2, "skipped": 2})
    for line in (
        "- train: 3,000 more items than the paper (13,000, not 10,000).",
        "- queries: 17 fewer items than the paper (4,983, not 5,000).",
        "- imbalance: 99.2 dissimilar pairs a similar pair in the training set, the paper says 100.",
        "- 10,000 of 13,000 training items are in the database.",
        "- 2 items were left out: their files are missing or broken.",
    ):
        assert line in other.splitlines()
