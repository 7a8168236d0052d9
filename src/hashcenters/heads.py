"""What sits between a backbone's features and a loss."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from hashcenters.checks import check_count

__all__ = ["HashHead"]


class HashHead(nn.Module):
    """Turn features into logits: fully connected layers with ReLU between them and nothing after the last.

    Args:
        in_features: width of the features.
        n_bits: code length, the width of the logits.
        hidden_features: widths of the hidden layers. None (default) means two of width ``in_features``: the "three fc
            layers and ReLU" of the paper's hash layer (section 3.3). ``()`` is a single linear layer.
        dropout: probability of dropout after each ReLU, in [0, 1).

    Attributes:
        in_features: width of the features.
        n_bits: code length.
        layers: the linear layers; dropout and ReLU have no place in the list, so checkpoints do not depend on them.

    Shape:
        * features: float (N, in_features).
        * returns: logits (N, n_bits), unbounded, in the dtype of the layers.

    Raises:
        TypeError: a width is not an integer, or ``hidden_features`` is not a sequence.
        ValueError: a width below 1, dropout outside [0, 1), or, in the call, features of another shape.

    Examples:
        >>> import torch
        >>> head = HashHead(512, 64)
        >>> head(torch.zeros(2, 512)).shape
        torch.Size([2, 64])
        >>> HashHead(512, 64, hidden_features=())
        HashHead(
          (layers): ModuleList(
            (0): Linear(in_features=512, out_features=64, bias=True)
          )
          (dropout): Dropout(p=0.0, inplace=False)
        )
    """

    def __init__(
        self, in_features: int, n_bits: int, *, hidden_features: Sequence[int] | None = None, dropout: float = 0.0
    ) -> None:
        super().__init__()
        self.in_features = check_count(in_features, "in_features")
        self.n_bits = check_count(n_bits, "n_bits")
        if hidden_features is None:
            hidden_features = (self.in_features, self.in_features)
        if not isinstance(hidden_features, Sequence):
            raise TypeError(f"hidden_features must be a sequence of widths such as (512, 512), got {hidden_features!r}")
        if not 0 <= dropout < 1:
            raise ValueError(f"dropout must lie in [0, 1), got {dropout}")
        hidden = [check_count(width, "hidden_features") for width in hidden_features]
        widths = [self.in_features, *hidden, self.n_bits]
        self.layers = nn.ModuleList(nn.Linear(*pair) for pair in itertools.pairwise(widths))
        self.dropout = nn.Dropout(dropout)

    def forward(self, features: Tensor) -> Tensor:
        """Return logits (N, n_bits) of features (N, in_features)."""
        if features.ndim != 2 or features.shape[1] != self.in_features:
            raise ValueError(
                f"features must have shape (N, in_features={self.in_features}), got {tuple(features.shape)}; "
                "pool feature maps before the head"
            )
        *hidden, last = self.layers
        for layer in hidden:
            features = self.dropout(F.relu(layer(features)))
        logits: Tensor = last(features)
        return logits
