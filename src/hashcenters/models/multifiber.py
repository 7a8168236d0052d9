"""MFNet3D, the Multi-Fiber network for clips, and the loading of its published checkpoints."""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Mapping
from os import PathLike
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

__all__ = ["MFNet3D", "load_mfnet3d"]

_GROUPS = 16
# What follows the features in published checkpoints: a classifier, or the hash layers of the CSQ video models.
_HEAD = re.compile(r"(classifier|hash_layer|fc\d*)\.")
# torch's words for what it does not read with weights_only=True.
_REFUSED = re.compile(r"Unsupported global: GLOBAL \S+|legacy \.tar format")


class MFNet3D(nn.Module):
    """Multi-Fiber 3D network without classifier: clips to features, the paper's backbone for video.

    Its 16 units split their 3x3x3 convolutions into 16 groups, the fibers, and mix these by two 1x1x1 convolutions,
    the multiplexer: 7,688,768 parameters, 11.05 G multiply-adds for a clip of 16x224x224 (the source: 11.1 G).
    Names and shapes are those of the published checkpoints, which ``load_mfnet3d`` reads.

    Any clip with at least one frame and one pixel goes through: every convolution and pooling pads, so time is halved
    once and space five times, both rounded up, to maps of ceil(T / 2) x ceil(H / 32) x ceil(W / 32), which are
    averaged. Nothing is lost to rounding where T is even and H and W are multiples of 32; up to 32 pixels a side the
    last stage sees one position. In training mode batch norm wants more than one value a channel: a batch of one clip
    must have more than 2 frames or more than 32 pixels a side. At 16x224x224 the average is the original's fixed 8x7x7
    pooling.

    Weights start as published: Xavier uniform in convolutions (``torch.nn.init`` counts a group's outputs as those of
    all groups), ones and zeros in batch norm; they draw from torch's generator, as every layer's do.

    Source: Chen, Kalantidis, Li, Yan, Feng, "Multi-Fiber Networks for Video Recognition", ECCV 2018
    (arXiv:1807.11195), and the sizes of its published weights; the CSQ paper, section 4.2.

    Attributes:
        num_features: 768, the width of the features.

    Shape:
        * clips: float (N, 3, T, H, W), T, H and W at least 1.
        * returns: features (N, 768), not negative; in the dtype of the weights, or autocast's.

    Raises:
        TypeError: clips that are not a floating-point tensor.
        ValueError: clips of another shape.

    Examples:
        >>> network = MFNet3D().eval()
        >>> sum(parameter.numel() for parameter in network.parameters())
        7688768
        >>> network(torch.zeros(2, 3, 8, 32, 32)).shape
        torch.Size([2, 768])
    """

    num_features = 768

    def __init__(self) -> None:
        super().__init__()
        convolution = nn.Conv3d(3, 16, (3, 5, 5), stride=(1, 2, 2), padding=(1, 2, 2), bias=False)
        self.conv1 = nn.Sequential(OrderedDict(conv=convolution, bn=nn.BatchNorm3d(16), relu=nn.ReLU(inplace=True)))
        self.maxpool = nn.MaxPool3d((1, 3, 3), stride=(1, 2, 2), padding=(0, 1, 1))
        self.conv2 = _stage(3, 16, 96, stride=(2, 1, 1))
        self.conv3 = _stage(4, 96, 192, stride=(1, 2, 2))
        self.conv4 = _stage(6, 192, 384, stride=(1, 2, 2))
        self.conv5 = _stage(3, 384, 768, stride=(1, 2, 2))
        self.tail = nn.Sequential(OrderedDict(bn=nn.BatchNorm3d(768), relu=nn.ReLU(inplace=True)))
        for module in self.modules():
            if isinstance(module, nn.Conv3d):
                nn.init.xavier_uniform_(module.weight)

    def forward(self, clips: Tensor) -> Tensor:
        """Return features (N, 768) of clips (N, 3, T, H, W)."""
        _check_clips(clips)
        maps = self.maxpool(self.conv1(clips))
        maps = self.conv5(self.conv4(self.conv3(self.conv2(maps))))
        features: Tensor = self.tail(maps).mean(dim=(2, 3, 4))
        return features


def _stage(n_units: int, inputs: int, channels: int, *, stride: tuple[int, int, int]) -> nn.Sequential:
    units: OrderedDict[str, nn.Module] = OrderedDict(B01=_Unit(inputs, channels, stride))
    for number in range(2, n_units + 1):
        units[f"B{number:02}"] = _Unit(channels, channels)
    return nn.Sequential(units)


class _Convolution(nn.Module):
    """Batch norm, ReLU, then a convolution that pads to keep its input's size where it has no stride."""

    def __init__(
        self,
        inputs: int,
        outputs: int,
        kernel: tuple[int, int, int] = (1, 1, 1),
        stride: tuple[int, int, int] = (1, 1, 1),
        groups: int = 1,
    ) -> None:
        super().__init__()
        padding = (kernel[0] // 2, kernel[1] // 2, kernel[2] // 2)
        self.bn = nn.BatchNorm3d(inputs)
        self.relu = nn.ReLU(inplace=True)
        self.conv = nn.Conv3d(inputs, outputs, kernel, stride=stride, padding=padding, groups=groups, bias=False)

    def forward(self, maps: Tensor) -> Tensor:
        convolved: Tensor = self.conv(self.relu(self.bn(maps)))
        return convolved


class _Unit(nn.Module):
    """Multiplexer, two convolutions and a shortcut; ``stride`` makes it a stage's first unit."""

    def __init__(self, inputs: int, channels: int, stride: tuple[int, int, int] | None = None) -> None:
        super().__init__()
        self.conv_i1 = _Convolution(inputs, channels // 4)
        self.conv_i2 = _Convolution(channels // 4, inputs)
        self.conv_w1: _Convolution | None = None
        if stride is None:
            self.conv_m1 = _Convolution(inputs, channels, (3, 3, 3), groups=_GROUPS)
            self.conv_m2 = _Convolution(channels, channels, (1, 3, 3), groups=_GROUPS)
        else:
            self.conv_m1 = _Convolution(inputs, channels, (3, 3, 3), stride, groups=_GROUPS)
            self.conv_m2 = _Convolution(channels, channels)
            self.conv_w1 = _Convolution(inputs, channels, stride=stride)

    def forward(self, maps: Tensor) -> Tensor:
        mixed = maps + self.conv_i2(self.conv_i1(maps))
        shortcut = maps if self.conv_w1 is None else self.conv_w1(maps)
        total: Tensor = self.conv_m2(self.conv_m1(mixed)) + shortcut
        return total


def load_mfnet3d(checkpoint: str | PathLike[str] | Mapping[str, Any], *, network: MFNet3D | None = None) -> MFNet3D:
    """Put the weights of a checkpoint into ``MFNet3D``; no code in a file is ever run.

    Reads the published MFNet-3D checkpoints, those of the CSQ video models, and 2-D ImageNet checkpoints of the same
    network. A state may lie under ``"state_dict"``, and its names may start with ``module.``. The classifier and hash
    layers (``classifier.*``, ``fc*.*``, ``hash_layer.*``) are left out; all else must fit the network exactly, except
    that batch norm's step counters, which old checkpoints lack, may be missing.

    A convolution of 2-D weights is inflated: repeated over its kernel's frames and divided by their number, so that a
    clip of one still image gives the image network's features, away from the clip's ends, where time is padded. Source:
    Carreira, Zisserman, "Quo Vadis, Action Recognition?", CVPR 2017 (I3D), section 2.4.

    The published weights want pixels of RGB frames scaled to [0, 1], less the mean (124, 117, 104) / 255, divided by
    1 / (0.0167 * 255) = 0.2348.

    Args:
        checkpoint: path of a ``.safetensors`` file or of one that ``torch.save`` wrote (``.pth``), or the state itself,
            names to tensors.
        network: where the weights go; ``None`` makes a new one.

    Returns:
        The network that was given or made, its weights loaded. It changes only where everything fits.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: not a checkpoint, one that cannot be read without running code, or tensors that are missing,
            not expected or of another shape: the message lists them.

    Examples:
        >>> state = {f"module.{name}": values for name, values in MFNet3D().state_dict().items()}
        >>> state["module.classifier.weight"] = torch.zeros(400, 768)
        >>> load_mfnet3d({"state_dict": state, "epoch": 36}).num_features
        768
    """
    if isinstance(checkpoint, Mapping):
        tensors, source = _tensors(checkpoint, "checkpoint"), "checkpoint"
    else:
        source = f"checkpoint={str(checkpoint)!r}"
        tensors = _tensors(_read(Path(checkpoint)), source)
    network = MFNet3D() if network is None else network
    network.load_state_dict(_fitted(tensors, network.state_dict(), source))
    return network


def _read(path: Path) -> object:
    if not path.is_file():
        raise FileNotFoundError(f"checkpoint={str(path)!r} is not a file")
    if path.suffix == ".safetensors":
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        try:
            return load_file(path)
        except SafetensorError as error:
            raise ValueError(
                f"checkpoint={str(path)!r} is not a safetensors file or is damaged: {error}; copy it again"
            ) from error
    try:
        content: object = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, MemoryError):
        raise
    except Exception as error:  # a damaged pickle fails in any way
        refused = _REFUSED.search(str(error))
        if refused is None:
            raise ValueError(
                f"checkpoint={str(path)!r} is not a checkpoint or is damaged ({type(error).__name__}); copy it again"
            ) from error
        raise ValueError(
            f"checkpoint={str(path)!r} cannot be read without running code that it names ({refused[0]}); where you "
            "trust its source, read it once with torch.load(path, weights_only=False) and save its state_dict alone "
            "with safetensors.torch.save_file"
        ) from error
    return content


def _tensors(content: object, source: str) -> dict[str, Tensor]:
    """Return the backbone's tensors of what a checkpoint holds."""
    while isinstance(content, Mapping) and "state_dict" in content:
        content = content["state_dict"]
    if not isinstance(content, Mapping) or not all(isinstance(value, Tensor) for value in content.values()):
        raise ValueError(
            f"{source} must hold names and tensors, bare or under 'state_dict', got {_kind(content)}; "
            "pass network.state_dict()"
        )
    tensors = {re.sub(r"^(module\.)+", "", str(name)): values for name, values in content.items()}
    return {name: values for name, values in tensors.items() if not _HEAD.match(name)}


def _fitted(tensors: dict[str, Tensor], current: dict[str, Tensor], source: str) -> dict[str, Tensor]:
    """Return a tensor for every name of ``current``, inflated where needed, or refuse them all."""
    fitted: dict[str, Tensor] = {}
    missing, misshaped = [], []
    for name, own in current.items():
        given = tensors.get(name)
        if given is None:
            if not name.endswith("num_batches_tracked"):
                missing.append(name)
            fitted[name] = own
        elif given.shape == own.shape:
            fitted[name] = given
        elif own.ndim == 5 and given.shape == own.shape[:2] + own.shape[3:]:
            n_frames = own.shape[2]
            fitted[name] = given.to(own.dtype).unsqueeze(2).expand(own.shape) / n_frames
        else:
            misshaped.append(f"{name} {tuple(given.shape)} where the network has {tuple(own.shape)}")
    unexpected = [name for name in tensors if name not in current]
    wrong = {"missing": missing, "not expected": unexpected, "of another shape": misshaped}
    if any(wrong.values()):
        lists = "; ".join(f"{len(names)} {kind}: {_listed(names)}" for kind, names in wrong.items() if names)
        raise ValueError(f"{source} does not fit MFNet3D: {lists}. Pass a checkpoint of MFNet-3D, or of MFNet-2D")
    return fitted


def _listed(names: list[str], most: int = 8) -> str:
    rest = len(names) - most
    return ", ".join(names[:most]) + (f" and {rest} more" if rest > 0 else "")


def _kind(content: object) -> str:
    if isinstance(content, Mapping):
        name, value = next((name, value) for name, value in content.items() if not isinstance(value, Tensor))
        return f"{name!r} of type {type(value).__name__}"
    return type(content).__name__


def _check_clips(clips: Tensor) -> None:
    if not isinstance(clips, Tensor) or not clips.is_floating_point():
        got = clips.dtype if isinstance(clips, Tensor) else type(clips).__name__
        raise TypeError(
            f"clips must be a floating-point tensor of shape (N, 3, T, H, W), got {got}; "
            "of uint8 frames take frames.float() / 255, then the normalization"
        )
    if clips.ndim != 5 or clips.shape[1] != 3 or 0 in clips.shape[2:]:
        raise ValueError(
            f"clips must have shape (N, 3, T, H, W), T, H and W at least 1, got {tuple(clips.shape)}; "
            "one clip needs clips[None], frames (N, T, 3, H, W) need clips.transpose(1, 2)"
        )
