"""A backbone with a hash head, and its pass over a data loader."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn
from tqdm import tqdm

from hashcenters.checks import check_finite
from hashcenters.heads import HashHead
from hashcenters.retrieval.codes import pack

__all__ = ["Hasher"]


class Hasher(nn.Module):
    """Backbone and hash head in one module: inputs to logits, loaders to codes.

    Attributes:
        backbone: the module that turns a batch of inputs into features (N, in_features).
        head: the hash head that turns features into logits.
        n_bits: code length.

    Args:
        backbone: module with output of shape (N, ``head.in_features``).
        head: hash head.

    Examples:
        >>> import torch
        >>> from hashcenters import HashHead
        >>> model = Hasher(torch.nn.Flatten(), HashHead(64, 16))
        >>> model(torch.zeros(2, 1, 8, 8)).shape
        torch.Size([2, 16])
    """

    def __init__(self, backbone: nn.Module, head: HashHead) -> None:
        super().__init__()
        self.backbone = backbone
        self.head = head

    @property
    def n_bits(self) -> int:
        """Code length."""
        return self.head.n_bits

    def forward(self, x: Any) -> Tensor:  # noqa: ANN401 -- a two-path video network takes a list of tensors
        """Return the logits of a batch.

        Args:
            x: what the backbone takes, N samples.

        Returns:
            Logits, shape (N, n_bits).

        Raises:
            ValueError: the backbone's output is not of shape (N, ``head.in_features``).
        """
        features = self.backbone(x)
        width = self.head.in_features
        if not isinstance(features, Tensor) or features.ndim != 2 or features.shape[1] != width:
            got = tuple(features.shape) if isinstance(features, Tensor) else type(features).__name__
            hint = (
                f"build the head with in_features={features.shape[1]}"
                if isinstance(features, Tensor) and features.ndim == 2
                else "let the backbone pool and flatten, and drop its classifier"
            )
            raise ValueError(
                f"the backbone must return (N, in_features={width}), as its head expects, got {got}; {hint}"
            )
        logits: Tensor = self.head(features)
        return logits

    def encode(
        self,
        loader: Iterable[Any],
        *,
        packed: bool = True,
        device: torch.device | str | None = None,
        progress: bool = True,
    ) -> tuple[Tensor, Tensor]:
        """Return the codes and labels of everything a loader yields.

        Runs in eval mode and without gradients; afterwards every submodule is in the mode it was in.

        Args:
            loader: yields batches (inputs, labels), tuples or lists, such as a ``DataLoader`` that does not shuffle.
            packed: binary codes, 8 bits a byte; ``False`` returns the logits.
            device: where to run; the model moves there and stays. ``None`` is where the model is.
            progress: show a progress bar on stderr.

        Returns:
            Codes and labels on the CPU, in the loader's order. Codes are uint8 (N, ceil(n_bits / 8)), or float32 logits
            (N, n_bits) where ``packed=False``; labels are (N,) or (N, n_classes), as the loader gives them.

        Raises:
            TypeError: a batch is not a pair of a tensor (or list of tensors) and a tensor.
            ValueError: the loader is empty, logits are NaN, or a batch has not one label (or row of labels) a sample.

        Examples:
            >>> import torch
            >>> from hashcenters import HashHead
            >>> model = Hasher(torch.nn.Flatten(), HashHead(64, 16))
            >>> batches = [(torch.randn(4, 1, 8, 8), torch.arange(4)) for _ in range(3)]
            >>> codes, labels = model.encode(batches, progress=False)
            >>> codes.shape, codes.dtype, labels.shape
            (torch.Size([12, 2]), torch.uint8, torch.Size([12]))
        """
        if device is not None:
            self.to(device)
        here = next((tensor.device for tensor in chain(self.parameters(), self.buffers())), torch.device("cpu"))
        codes: list[Tensor] = []
        labels: list[Tensor] = []
        # no_grad and not inference_mode: a table that a backbone caches on its first pass must still serve training.
        bar = tqdm(loader, "encode", unit="batch", leave=False, disable=not progress)
        with _evaluating(self), torch.no_grad(), bar as batches:
            for number, batch in enumerate(batches):
                inputs, batch_labels = pair(batch, number)
                logits = self(moved(inputs, here))
                if batch_labels.ndim == 0 or batch_labels.shape[0] != logits.shape[0]:
                    shape = tuple(batch_labels.shape)
                    raise ValueError(f"batch {number} has {logits.shape[0]} samples, but labels of shape {shape}")
                check_finite(logits, "logits")
                codes.append((pack(logits) if packed else logits.float()).cpu())
                labels.append(batch_labels.cpu())
        if not codes:
            raise ValueError("the loader is empty: it yielded no batch (an iterator serves one pass only)")
        return torch.cat(codes), torch.cat(labels)


@contextmanager
def _evaluating(module: nn.Module) -> Iterator[None]:
    modes = [(part, part.training) for part in module.modules()]
    module.eval()
    try:
        yield
    finally:
        for part, training in modes:
            part.training = training  # not part.train(): that would overrule a frozen child


def pair(batch: object, number: int) -> tuple[Any, Tensor]:
    if not isinstance(batch, tuple | list) or len(batch) != 2:
        got = f"{len(batch)} of them" if isinstance(batch, tuple | list) else type(batch).__name__
        raise TypeError(f"the loader must yield (inputs, labels) pairs, got {got} in batch {number}")
    inputs, labels = batch
    if not isinstance(labels, Tensor):
        raise TypeError(f"the labels of a batch must be a tensor, got {type(labels).__name__} in batch {number}")
    return inputs, labels


def moved(inputs: Any, device: torch.device) -> Any:  # noqa: ANN401
    if isinstance(inputs, tuple | list):
        return [moved(part, device) for part in inputs]  # a fresh list: some networks change theirs in place
    if not isinstance(inputs, Tensor):
        raise TypeError(f"the inputs of a batch must be a tensor or a list of tensors, got {type(inputs).__name__}")
    return inputs.to(device, non_blocking=True)
