"""Heads over the features of a clip's frames, and the encoder that puts one on an image backbone."""

from __future__ import annotations

from typing import Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hashcenters.checks import check_count
from hashcenters.models.hasher import Hasher

__all__ = [
    "DifferentialLSTMHead",
    "FrameAverage",
    "FrameEncoder",
    "MeanPoolHead",
    "RecurrentHead",
    "TemporalFusionHead",
]

Pooling = Literal["mean", "max"]


class MeanPoolHead(nn.Module):
    """Average the features of the frames, then one linear layer: a clip as a bag of frames, in no order.

    The plainest head for a clip, and the one that ``DHLoss`` goes with.

    After the paper's description, not verified against code: DH in the CSQ paper is Qin et al., "Fast action retrieval
    from videos via feature disaggregation", CVIU 2017, of which it says that it "utilizes Disaggregation Hashing to
    exploit the correlations among different feature dimensions". The disaggregation itself is not implemented here; the
    average over frames and the linear layer are this library's choice.

    Args:
        in_features: width of a frame's features.
        n_bits: code length.

    Attributes:
        in_features: width of a frame's features.
        n_bits: code length.

    Shape:
        * features: float (N, T, in_features), T at least 1.
        * returns: logits (N, n_bits), unbounded, in the dtype of the layer.

    Raises:
        TypeError: a width is not an integer.
        ValueError: a width below 1, or, in the call, features of another shape.

    Examples:
        >>> MeanPoolHead(512, 64)(torch.zeros(2, 8, 512)).shape
        torch.Size([2, 64])
    """

    def __init__(self, in_features: int, n_bits: int) -> None:
        super().__init__()
        self.in_features = check_count(in_features, "in_features")
        self.n_bits = check_count(n_bits, "n_bits")
        self.linear = nn.Linear(self.in_features, self.n_bits)

    def forward(self, features: Tensor) -> Tensor:
        """Return logits (N, n_bits) of features (N, T, in_features)."""
        _check_features(features, self.in_features)
        logits: Tensor = self.linear(features.mean(dim=1))
        return logits


class RecurrentHead(nn.Module):
    """LSTM over the frames, its hidden states pooled over time, then one linear layer (SRH).

    After the paper's description, not verified against code: Supervised Recurrent Hashing (MM 2016) runs an LSTM over
    the frames' features and pools over time before the hash layer. The widths, the kind of pooling and the number of
    layers are choices of this library.

    Args:
        in_features: width of a frame's features.
        n_bits: code length.
        hidden_features: width of the LSTM's state.
        pooling: ``"max"`` or ``"mean"`` over time.

    Attributes:
        in_features: width of a frame's features.
        n_bits: code length.
        pooling: how states are pooled.

    Shape:
        * features: float (N, T, in_features), T at least 1.
        * returns: logits (N, n_bits), unbounded, in the dtype of the layers.

    Raises:
        TypeError: a width is not an integer.
        ValueError: a width below 1, unknown pooling, or, in the call, features of another shape.

    Examples:
        >>> RecurrentHead(512, 64)(torch.zeros(2, 8, 512)).shape
        torch.Size([2, 64])
    """

    def __init__(self, in_features: int, n_bits: int, *, hidden_features: int = 256, pooling: Pooling = "max") -> None:
        super().__init__()
        self.in_features = check_count(in_features, "in_features")
        self.n_bits = check_count(n_bits, "n_bits")
        hidden_features = check_count(hidden_features, "hidden_features")
        if pooling not in get_args(Pooling):
            raise ValueError(f"pooling must be one of 'mean', 'max', got {pooling!r}")
        self.pooling: Pooling = pooling
        self.lstm = nn.LSTM(self.in_features, hidden_features, batch_first=True)
        self.linear = nn.Linear(hidden_features, self.n_bits)

    def forward(self, features: Tensor) -> Tensor:
        """Return logits (N, n_bits) of features (N, T, in_features)."""
        _check_features(features, self.in_features)
        states: Tensor = self.lstm(features)[0]
        pooled = states.mean(dim=1) if self.pooling == "mean" else states.amax(dim=1)
        logits: Tensor = self.linear(pooled)
        return logits

    def extra_repr(self) -> str:
        """Show the pooling."""
        return f"pooling={self.pooling!r}"


class DifferentialLSTMHead(nn.Module):
    r"""Differential LSTM over the frames, whose last hidden state goes through one linear layer (DLSTM).

    The gates see how the internal state s changes: with x the features of a frame, h the hidden state and
    Δ^k the k-th difference over time (Δ^0 s = s), all states 0 before the first frame,

    * i_t, f_t = sigmoid(sum_k W_k Δ^k s_{t-1} + W_x x_t + W_h h_{t-1} + b), weights of their own;
    * s_t = f_t s_{t-1} + i_t tanh(W_x x_t + W_h h_{t-1} + b);
    * o_t = sigmoid(sum_k W_k Δ^k s_t + W_x x_t + W_h h_{t-1} + b); h_t = o_t tanh(s_t);

    with k from 0 to ``order``.

    After the paper's description, not verified against code: verified from abstracts and the authors' slides are that
    a weighted sum of several orders of the state's derivative modulates the gates, and that the last hidden state
    represents the clip. The formulas of the cell are restated from memory of Veeriah et al., "Differential Recurrent
    Neural Networks for Action Recognition", ICCV 2015. The linear layer is this library's: Zhuang et al. (ICPR 2016)
    quantize the hidden state after training.

    Args:
        in_features: width of a frame's features.
        n_bits: code length.
        hidden_features: width of the state.
        order: highest order of difference that the gates see, at least 0.

    Attributes:
        in_features: width of a frame's features.
        n_bits: code length.
        hidden_features: width of the state.
        order: highest order of difference.

    Shape:
        * features: float (N, T, in_features), T at least 1.
        * returns: logits (N, n_bits), unbounded, in the dtype of the layers.

    Raises:
        TypeError: a width or the order is not an integer.
        ValueError: a width below 1, an order below 0, or, in the call, features of another shape.

    Examples:
        >>> DifferentialLSTMHead(512, 64)(torch.zeros(2, 8, 512)).shape
        torch.Size([2, 64])
    """

    def __init__(self, in_features: int, n_bits: int, *, hidden_features: int = 256, order: int = 1) -> None:
        super().__init__()
        self.in_features = check_count(in_features, "in_features")
        self.n_bits = check_count(n_bits, "n_bits")
        self.hidden_features = check_count(hidden_features, "hidden_features")
        self.order = check_count(order, "order", least=0)
        width = self.hidden_features
        self.from_input = nn.Linear(self.in_features, 4 * width)
        self.from_hidden = nn.Linear(width, 4 * width, bias=False)
        self.from_old_state = nn.Linear((self.order + 1) * width, 2 * width, bias=False)
        self.from_new_state = nn.Linear((self.order + 1) * width, width, bias=False)
        self.linear = nn.Linear(width, self.n_bits)

    def forward(self, features: Tensor) -> Tensor:
        """Return logits (N, n_bits) of features (N, T, in_features)."""
        _check_features(features, self.in_features)
        inputs = self.from_input(features)
        hidden = inputs.new_zeros(len(features), self.hidden_features)
        differences = [hidden] * (self.order + 1)  # of orders 0, 1, ... of the state
        for drive in inputs.unbind(dim=1):
            drive = drive + self.from_hidden(hidden)
            gates, candidate, output = drive.split([2 * self.hidden_features, *[self.hidden_features] * 2], dim=1)
            old = self.from_old_state(torch.cat(differences, dim=1))
            admit, keep = torch.sigmoid(gates + old).chunk(2, dim=1)
            news = [keep * differences[0] + admit * torch.tanh(candidate)]
            for before in differences[: self.order]:
                news.append(news[-1] - before)
            differences = news
            new = self.from_new_state(torch.cat(differences, dim=1))
            hidden = torch.sigmoid(output + new) * torch.tanh(differences[0])
        logits: Tensor = self.linear(hidden)
        return logits

    def extra_repr(self) -> str:
        """Show the order."""
        return f"order={self.order}"


class TemporalFusionHead(nn.Module):
    """Convolution over time with ReLU, averaged over time, then one linear layer (DVH).

    After the paper's description, not verified against code: Deep Video Hashing (Liong et al., TMM 2017) fuses the
    frames' features over time, by fully connected layers and frame pooling according to the CSQ paper, in several
    architectures. A fully connected layer on every window of ``window`` frames is this library's choice.

    Args:
        in_features: width of a frame's features.
        n_bits: code length.
        hidden_features: width of the fused features.
        window: how many frames one step of the convolution sees, odd; clips are padded with zeros.

    Attributes:
        in_features: width of a frame's features.
        n_bits: code length.

    Shape:
        * features: float (N, T, in_features), T at least 1.
        * returns: logits (N, n_bits), unbounded, in the dtype of the layers.

    Raises:
        TypeError: a width is not an integer.
        ValueError: a width below 1, an even window, or, in the call, features of another shape.

    Examples:
        >>> TemporalFusionHead(512, 64)(torch.zeros(2, 8, 512)).shape
        torch.Size([2, 64])
    """

    def __init__(self, in_features: int, n_bits: int, *, hidden_features: int = 256, window: int = 3) -> None:
        super().__init__()
        self.in_features = check_count(in_features, "in_features")
        self.n_bits = check_count(n_bits, "n_bits")
        hidden_features = check_count(hidden_features, "hidden_features")
        window = check_count(window, "window")
        if window % 2 == 0:
            raise ValueError(f"window must be odd, got {window}")
        self.fuse = nn.Conv1d(self.in_features, hidden_features, window, padding=window // 2)
        self.linear = nn.Linear(hidden_features, self.n_bits)

    def forward(self, features: Tensor) -> Tensor:
        """Return logits (N, n_bits) of features (N, T, in_features)."""
        _check_features(features, self.in_features)
        logits: Tensor = self.linear(F.relu(self.fuse(features.transpose(1, 2))).mean(dim=2))
        return logits


class FrameEncoder(Hasher):
    """A ``Hasher`` of clips: an image backbone on every frame, and a head over the frames' features.

    ``encode`` returns the codes and labels of a loader of clips.

    Args:
        backbone: turns images (N, C, H, W) into features (N, ``head.in_features``).
        head: a head of this module, or any with ``in_features`` and ``n_bits``, of features (N, T, in_features).

    Attributes:
        backbone: the backbone.
        head: the head.
        n_bits: code length.

    Shape:
        * clips: (N, C, T, H, W), T at least 1.
        * returns: logits (N, n_bits).

    Raises:
        TypeError: a head without ``in_features`` or ``n_bits``.
        ValueError: in the call, clips or the backbone's output of another shape.

    Examples:
        >>> model = FrameEncoder(nn.Flatten(), RecurrentHead(3 * 8 * 8, 16))
        >>> model(torch.zeros(2, 3, 5, 8, 8)).shape
        torch.Size([2, 16])
        >>> codes, labels = model.encode([(torch.zeros(2, 3, 5, 8, 8), torch.tensor([0, 1]))], progress=False)
        >>> codes.shape, codes.dtype
        (torch.Size([2, 2]), torch.uint8)
    """

    def __init__(self, backbone: nn.Module, head: nn.Module) -> None:
        if not (hasattr(head, "in_features") and hasattr(head, "n_bits")):
            raise TypeError(
                "head must have in_features and n_bits, such as RecurrentHead or MeanPoolHead, got "
                f"{type(head).__name__}"
            )
        super().__init__(backbone, head)  # type: ignore[arg-type]  # Hasher needs in_features and n_bits of it only

    def forward(self, clips: Tensor) -> Tensor:
        """Return logits (N, n_bits) of clips (N, C, T, H, W)."""
        if clips.ndim != 5 or clips.shape[2] == 0:
            raise ValueError(f"clips must have shape (N, C, T, H, W), T at least 1, got {tuple(clips.shape)}")
        n_clips, n_frames = clips.shape[0], clips.shape[2]
        features = self.backbone(clips.transpose(1, 2).flatten(0, 1))
        width = self.head.in_features
        if not isinstance(features, Tensor) or features.shape != (n_clips * n_frames, width):
            got = tuple(features.shape) if isinstance(features, Tensor) else type(features).__name__
            raise ValueError(
                f"the backbone must return (frames={n_clips * n_frames}, in_features={width}), as its head expects, "
                f"got {got}; let the backbone pool and flatten, and drop its classifier"
            )
        logits: Tensor = self.head(torch.unflatten(features, 0, (n_clips, n_frames)))
        return logits


class FrameAverage(nn.Module):
    """Make an image backbone one of clips: the mean of its features over the frames, which knows no order.

    Args:
        backbone: turns images (N, C, H, W) into features (N, width).

    Attributes:
        backbone: the image backbone.

    Shape:
        * clips: (N, C, T, H, W), T at least 1.
        * returns: features (N, width).

    Raises:
        ValueError: in the call, clips of another shape.

    Examples:
        >>> FrameAverage(nn.Flatten())(torch.zeros(2, 3, 5, 8, 8)).shape
        torch.Size([2, 192])
    """

    def __init__(self, backbone: nn.Module) -> None:
        super().__init__()
        self.backbone = backbone

    def forward(self, clips: Tensor) -> Tensor:
        """Return features (N, width) of clips (N, C, T, H, W)."""
        if clips.ndim != 5 or clips.shape[2] == 0:
            raise ValueError(f"clips must have shape (N, C, T, H, W), T at least 1, got {tuple(clips.shape)}")
        features: Tensor = self.backbone(clips.transpose(1, 2).flatten(0, 1))
        return torch.unflatten(features, 0, (clips.shape[0], clips.shape[2])).mean(dim=1)


def _check_features(features: Tensor, in_features: int) -> None:
    """Refuse features of another shape than (N, T, in_features)."""
    if features.ndim != 3 or features.shape[2] != in_features or features.shape[1] == 0:
        raise ValueError(
            f"features must have shape (N, T, in_features={in_features}), T at least 1, got {tuple(features.shape)}"
        )
