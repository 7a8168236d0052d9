"""Encoding and evaluating data sets, their work shared among the processes of a run."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from accelerate import Accelerator
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, Subset

from hashcenters.models.hasher import Hasher
from hashcenters.retrieval import distributed
from hashcenters.retrieval.codes import packed_width
from hashcenters.retrieval.evaluator import HammingRetrievalEvaluator
from hashcenters.retrieval.result import RetrievalResult

__all__ = ["Encoded", "Loading", "encode_share", "evaluate_shares", "features_of", "gather_shares"]


class Loading(NamedTuple):
    """How samples come from disk.

    Attributes:
        batch_size: samples that go through the network at once.
        n_workers: processes that load and decode; 0 does it in between.
        progress: whether to show a bar.
    """

    batch_size: int
    n_workers: int
    progress: bool


class Encoded(NamedTuple):
    """One process's share of a data set, encoded.

    Attributes:
        codes: packed codes uint8 (n, ceil(n_bits / 8)), or float32 (n, width) features.
        labels: labels of the share, (n,) or (n, n_classes).
        n_samples: size of the whole data set.
    """

    codes: Tensor
    labels: Tensor
    n_samples: int


def encode_share(
    network: Hasher,
    dataset: Dataset[Any],
    labels: Tensor,
    *,
    accelerator: Accelerator,
    loading: Loading,
    packed: bool = True,
) -> Encoded:
    """Encode this process's share of a data set: every ``n_processes``-th sample.

    Args:
        network: the hasher; it runs in eval mode where it is, under the accelerator's precision.
        dataset: yields pairs of input and label.
        labels: the labels of the whole data set, a row a sample.
        accelerator: knows the processes and the precision.
        loading: how samples come from disk.
        packed: packed codes, or logits.

    Returns:
        The share.
    """
    rows = range(accelerator.process_index, len(labels), accelerator.num_processes)
    if not len(rows):
        width, dtype = (packed_width(network.n_bits), torch.uint8) if packed else (network.n_bits, torch.float32)
        return Encoded(torch.zeros(0, width, dtype=dtype), labels[:0], len(labels))
    loader: DataLoader[Any] = DataLoader(
        Subset(dataset, rows),
        batch_size=loading.batch_size,
        num_workers=loading.n_workers,
        pin_memory=accelerator.device.type == "cuda",
        generator=torch.Generator(),  # a loader's own numbers must not move those of training
    )
    progress = loading.progress and accelerator.is_main_process
    with accelerator.autocast():
        codes, _ = network.encode(loader, packed=packed, progress=progress)
    return Encoded(codes, labels[rows.start :: rows.step], len(labels))


def gather_shares(share: Encoded) -> tuple[Tensor, Tensor]:
    """Put the shares of all processes together; every process has to call it.

    Args:
        share: this process's.

    Returns:
        Codes and labels of the whole data set, in its order.
    """
    if not distributed.is_active():
        return share.codes, share.labels
    parts = distributed.gather((share.codes, share.labels))
    codes = torch.empty(share.n_samples, *share.codes.shape[1:], dtype=share.codes.dtype)
    labels = torch.empty(share.n_samples, *share.labels.shape[1:], dtype=share.labels.dtype)
    for rank, (its_codes, its_labels) in enumerate(parts):
        codes[rank :: len(parts)], labels[rank :: len(parts)] = its_codes, its_labels
    return codes, labels


def evaluate_shares(database: Encoded, queries: Encoded, *, n_bits: int, top_k: int | None) -> RetrievalResult:
    """Evaluate what all processes have encoded; every process has to call it, and gets the same result.

    Args:
        database: this process's share of the items.
        queries: its share of the queries.
        n_bits: code length.
        top_k: items that count in average precision.

    Returns:
        The metrics.
    """
    evaluator = HammingRetrievalEvaluator(n_bits, top_k=top_k)
    if len(database.codes):
        evaluator.add_database(database.codes, database.labels)
    if len(queries.codes):
        evaluator.add_queries(queries.codes, queries.labels)
    return evaluator.compute()


class _NoHead(nn.Identity):
    """Passes features through: what makes a hasher an extractor of features."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.in_features = self.n_bits = width


def features_of(
    network: Hasher,
    dataset: Dataset[Any],
    labels: Tensor,
    *,
    accelerator: Accelerator,
    loading: Loading,
    encoder: Callable[[Hasher], Hasher] | None = None,
) -> Encoded:
    """Compute the backbone's features of this process's share of a data set.

    Args:
        network: the hasher whose backbone to take.
        dataset: yields pairs of input and label.
        labels: the labels of the whole data set.
        accelerator: knows the processes and the precision.
        loading: how samples come from disk.
        encoder: makes of a network what encodes, see ``train_and_evaluate``.

    Returns:
        The share, with features in the place of codes.
    """
    extractor = Hasher(network.backbone, _NoHead(network.head.in_features))  # type: ignore[arg-type]
    if encoder is not None:
        extractor = encoder(extractor)
    return encode_share(extractor, dataset, labels, accelerator=accelerator, loading=loading, packed=False)
