"""The paper's experimental settings (Table 1), and the words for what differs from them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NamedTuple

import torch
from torch import Tensor

__all__ = ["TABLE_1", "PaperSettings", "data_imbalance", "describe"]


class PaperSettings(NamedTuple):
    """A row of the paper's Table 1.

    Attributes:
        train: training items.
        queries: test items.
        database: items searched.
        data_imbalance: dissimilar pairs a similar pair.
        top_k: ranks that mAP looks at (Sec. 4.1).
        remark: what the authors' released lists hold instead, as far as they are public.
    """

    train: int
    queries: int
    database: int
    data_imbalance: float
    top_k: int
    remark: str


TABLE_1: Final[Mapping[str, PaperSettings]] = {
    "imagenet100": PaperSettings(
        10_000, 5_000, 128_495, 100, 1000, "the authors' lists hold 13,000 training items and 4,983 queries"
    ),
    "coco": PaperSettings(
        10_000, 5_000, 112_217, 1, 5000, "the authors' lists hold 9,992 training items and 5,000 queries"
    ),
    "nus_wide": PaperSettings(
        10_000, 2_040, 149_685, 5, 5000, "the authors' lists hold 10,455 training items and 2,040 queries"
    ),
    "ucf101": PaperSettings(9_500, 3_800, 9_500, 101, 100, "the paper rounds: split 1 has 9,537 and 3,783 videos"),
    "hmdb51": PaperSettings(3_500, 1_500, 3_500, 51, 70, "the paper rounds: each split has 3,570 and 1,530 videos"),
}


def data_imbalance(labels: Tensor, *, block: int = 4096) -> float:
    """Count dissimilar pairs of items for each similar pair (Table 1's DI), exactly.

    A pair is two different items, similar if they share at least one label. With 100 classes of 100 items this is
    100, the paper's "100:1".

    Args:
        labels: int64 (N,) class indices, or multi-hot (N, n_classes).
        block: rows compared at a time; a matter of memory alone.

    Returns:
        The ratio; infinity if no pair is similar, NaN for fewer than two items.

    Examples:
        >>> data_imbalance(torch.arange(10_000) % 100)
        100.0
        >>> data_imbalance(torch.tensor([[1, 0], [1, 1], [0, 1]]))  # the first and the last share nothing
        0.5
    """
    n = len(labels)
    if n < 2:
        return float("nan")
    if labels.ndim == 1:
        similar = sum(count * (count - 1) for count in torch.bincount(labels).tolist())
    else:
        rows, counts = torch.unique(labels.to(torch.uint8), dim=0, return_counts=True)
        hot = rows.float()  # sums of at most n_classes ones are exact
        ordered = sum(
            int(((hot[start : start + block] @ hot.T > 0) * counts).sum(1) @ counts[start : start + block])
            for start in range(0, len(rows), block)
        )
        similar = ordered - int(counts[(rows > 0).any(1)].sum())  # an item is no pair with itself
    return (n * (n - 1) - similar) / similar if similar else float("inf")


def describe(name: str, counts: Mapping[str, float]) -> str:
    """Write what a data set holds beside the paper's Table 1, and every difference in words.

    Args:
        name: ``"imagenet100"``, ``"coco"``, ``"nus_wide"``; other names have no paper beside them.
        counts: what ``ItemSplits.counts`` returns.

    Returns:
        Several lines of text.

    Examples:
        >>> numbers = {"train": 2, "queries": 1, "database": 3, "n_classes": 2, "train_in_database": 0,
        ...            "labels_per_image": 1, "data_imbalance": 1, "skipped": 0}
        >>> print(describe("pets", numbers))
        pets: 2 classes, 1.00 labels an item
                        found
        train               2
        queries             1
        database            3
        imbalance       1.0:1
        - none of the training items are in the database.
    """
    paper = TABLE_1.get(name)
    lines = [
        f"{name}: {counts['n_classes']:.0f} classes, {counts['labels_per_image']:.2f} labels an item",
        f"{'':10}{'found':>11}" + (f"{'paper':>11}" if paper else ""),
    ]
    differences = []
    for row in ("train", "queries", "database"):
        found = int(counts[row])
        beside = ""
        if paper:
            wanted: int = getattr(paper, row)
            beside = f"{wanted:>11,}"
            if found != wanted:
                word = "more" if found > wanted else "fewer"
                differences.append(
                    f"{row}: {abs(found - wanted):,} {word} items than the paper ({found:,}, not {wanted:,})."
                )
        lines.append(f"{row:10}{found:>11,}{beside}")
    ratio = counts["data_imbalance"]
    lines.append(
        f"{'imbalance':10}{f'{ratio:.1f}:1':>11}" + (f"{f'{paper.data_imbalance:.0f}:1':>11}" if paper else "")
    )
    if paper and f"{ratio:.0f}" != f"{paper.data_imbalance:.0f}":
        differences.append(
            f"imbalance: {ratio:.1f} dissimilar pairs a similar pair in the training set, the paper says "
            f"{paper.data_imbalance:.0f}."
        )
    shared, train = int(counts["train_in_database"]), int(counts["train"])
    if shared in (0, train):
        differences.append(f"{'all' if shared else 'none'} of the training items are in the database.")
    else:
        differences.append(f"{shared:,} of {train:,} training items are in the database.")
    if counts["skipped"]:
        differences.append(f"{int(counts['skipped']):,} items were left out: their files are missing or broken.")
    if paper:
        differences.append(f"{paper.remark}.")
    return "\n".join(lines + [f"- {line}" for line in differences])
