"""Hashers on video backbones: pytorchvideo's by name, MFNet3D, or a module of yours. Needs the extra ``video``."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from difflib import get_close_matches
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hashcenters.checks import check_count
from hashcenters.heads import HashHead
from hashcenters.models.hasher import Hasher
from hashcenters.models.multifiber import MFNet3D

try:
    with warnings.catch_warnings():
        # pytorchvideo decorates functions with it as it loads; nothing that a user could change.
        warnings.filterwarnings("ignore", message="`torch.jit.script` is deprecated", category=FutureWarning)
        from pytorchvideo.layers.swish import Swish
        from pytorchvideo.models import hub
        from pytorchvideo.models.accelerator.mobile_cpu.efficient_x3d import EfficientX3d
        from pytorchvideo.models.head import ResNetBasicHead, VisionTransformerBasicHead
        from pytorchvideo.models.slowfast import PoolConcatPathway
except ModuleNotFoundError as error:
    raise ImportError(
        f'{error}; video_hasher needs pytorchvideo: pip install "hashcenters[video]"', name=error.name
    ) from error

__all__ = ["VideoBackbone", "video_backbones", "video_hasher"]


class VideoBackbone(NamedTuple):
    """What is known of a backbone by name. Clips are (frames, height, width).

    Attributes:
        name: what ``video_hasher`` calls it.
        width: width of its features.
        n_parameters: parameters without the classifier, at the size ``clip``.
        clip: the clips it was designed for, those that the original's fixed pooling covers exactly.
        smallest: the smallest clip that passes through. It says what runs, not what is useful: all shrink a clip by 32
            in height and width, so that below that they see one position, mostly padding.
    """

    name: str
    width: int
    n_parameters: int
    clip: tuple[int, int, int]
    smallest: tuple[int, int, int]


_BACKBONES = {
    row.name: row
    for row in (
        VideoBackbone("mfnet3d", 768, 7_688_768, (16, 224, 224), (1, 1, 1)),
        VideoBackbone("slow_r50", 2048, 31_634_496, (8, 224, 224), (1, 1, 1)),
        VideoBackbone("slowfast_r50", 2304, 33_644_488, (32, 224, 224), (1, 1, 1)),
        VideoBackbone("slowfast_r101", 2304, 61_904_968, (32, 224, 224), (1, 1, 1)),
        VideoBackbone("slowfast_16x8_r101_50_50", 2304, 52_852_808, (64, 224, 224), (1, 1, 1)),
        VideoBackbone("c2d_r50", 2048, 23_508_032, (8, 224, 224), (2, 1, 1)),
        VideoBackbone("i3d_r50", 2048, 27_223_872, (8, 224, 224), (2, 1, 1)),
        VideoBackbone("csn_r101", 2048, 21_394_176, (32, 224, 224), (1, 1, 1)),
        VideoBackbone("r2plus1d_r50", 2048, 27_288_000, (16, 224, 224), (1, 1, 1)),
        VideoBackbone("x3d_xs", 2048, 2_974_674, (4, 160, 160), (1, 1, 1)),
        VideoBackbone("x3d_s", 2048, 2_974_674, (13, 160, 160), (1, 1, 1)),
        VideoBackbone("x3d_m", 2048, 2_974_674, (16, 224, 224), (1, 1, 1)),
        VideoBackbone("x3d_l", 2048, 5_333_784, (16, 312, 312), (1, 1, 1)),
        VideoBackbone("efficient_x3d_xs", 2048, 2_974_722, (4, 160, 160), (1, 1, 1)),
        VideoBackbone("efficient_x3d_s", 2048, 2_974_722, (13, 160, 160), (1, 1, 1)),
        VideoBackbone("mvit_base_16x4", 768, 36_303_072, (16, 224, 224), (2, 4, 4)),
        VideoBackbone("mvit_base_32x3", 768, 36_303_840, (32, 224, 224), (2, 4, 4)),
        VideoBackbone("mvit_base_16", 768, 36_213_696, (1, 224, 224), (1, 4, 4)),
    )
}


def video_backbones() -> tuple[VideoBackbone, ...]:
    """List the backbones that ``video_hasher`` knows by name.

    Returns:
        A row for each: name, width of its features, parameters, the clips it was designed for, the smallest clip.

    Examples:
        >>> for row in video_backbones()[:3]:
        ...     print(row.name, row.width, row.n_parameters, row.clip)
        mfnet3d 768 7688768 (16, 224, 224)
        slow_r50 2048 31634496 (8, 224, 224)
        slowfast_r50 2304 33644488 (32, 224, 224)
    """
    return tuple(_BACKBONES.values())


def video_hasher(
    backbone: str | nn.Module,
    n_bits: int,
    *,
    pretrained: bool = False,
    in_features: int | None = None,
    clip_frames: int | None = None,
    clip_size: int | tuple[int, int] | None = None,
    hidden_features: Sequence[int] | None = None,
    dropout: float = 0.0,
) -> Hasher:
    """Build a video backbone with the paper's hash head on top.

    Args:
        backbone: ``"mfnet3d"`` (the paper's, ``hashcenters.models.MFNet3D``) or the name of a classification model of
            pytorchvideo's hub, such as ``"x3d_s"`` or ``"slowfast_r50"``; its classifier is left out, with the dropout
            and softmax around it, and its pooling takes maps of any size. ``video_backbones`` lists all. Or any module
            that turns clips into features (N, ``in_features``).
        n_bits: code length.
        pretrained: start from the weights that pytorchvideo publishes, of Kinetics-400 (``"mvit_base_16"``: ImageNet),
            downloaded once, then cached; pytorchvideo unpickles the files, so trust their server as you trust its code.
            For ``"mvit_base_*"`` at another size the position embeddings are interpolated. pytorchvideo names only.
        in_features: width of the features; required with a module of yours. A network by name knows its own.
        clip_frames: frames of a clip, for the models whose layers depend on it: ``"mvit_base_16x4"`` and ``_32x3``
            take an even number, ``"mvit_base_16"``, a network of images, takes one. None is what the model was
            designed for. Convolutional networks take any number and ignore it.
        clip_size: pixels of a side, or (height, width), for the same models, multiples of 4.
        hidden_features: widths of the head's hidden layers, see ``hashcenters.HashHead``.
        dropout: dropout probability after each hidden layer of the head.

    Returns:
        Module from clips, float (N, 3, frames, height, width), to logits (N, n_bits). SlowFast networks make their two
        paths themselves: all frames for the fast one, a quarter of them, from the first to the last, for the slow one,
        as in pytorchvideo's recipe. They also take a list [slow, fast] of clips, and leave it as it is. In training
        mode the batch norm of convolutional networks wants more than one value a channel: small clips not one by one.

    Raises:
        TypeError: ``clip_frames`` or ``clip_size`` is not an integer.
        ValueError: there is no backbone of this name, ``in_features`` is missing or not yours to give, the layers
            cannot be made for clips of this size, or an option that only names have comes with a module; in the call,
            clips of another shape than the backbone takes.
        RuntimeError: the pretrained weights can be neither found on this machine nor downloaded.

    Source: the networks and their weights are those of Fan et al., "PyTorchVideo: A Deep Learning Library for Video
    Understanding", ACM Multimedia 2021 (arXiv:2111.09887), version 0.1.5.

    Examples:
        >>> import torch
        >>> model = video_hasher("x3d_xs", 64)
        >>> model.head.in_features, model(torch.zeros(2, 3, 4, 64, 64)).shape
        (2048, torch.Size([2, 64]))
    """
    if isinstance(backbone, str):
        if in_features is not None:
            raise ValueError(f"in_features={in_features} is for a module of yours; {backbone!r} knows its own")
        row = _row(backbone)
        clip = _clip(row, clip_frames, clip_size)
        network = _mfnet3d(pretrained) if backbone == "mfnet3d" else _hub_network(row, pretrained, clip)
        width = row.width
    else:
        if in_features is None:
            raise ValueError("in_features is required with a module of yours: the width of the features it returns")
        if pretrained or clip_frames is not None or clip_size is not None:
            raise ValueError("pretrained, clip_frames and clip_size are for names; set up a module of yours yourself")
        network, width = backbone, in_features
    return Hasher(network, HashHead(width, n_bits, hidden_features=hidden_features, dropout=dropout))


def _row(name: str) -> VideoBackbone:
    if name in _BACKBONES:
        return _BACKBONES[name]
    whole = name.removesuffix("_detection")
    if whole != name and whole in _BACKBONES:
        raise ValueError(f"{name!r} describes boxes within a clip, not a clip; take {whole!r}")
    close = get_close_matches(name, _BACKBONES, n=4, cutoff=0.6)
    advice = f"did you mean {', '.join(close)}?" if close else "video_backbones() lists all"
    raise ValueError(f"there is no video backbone {name!r}; {advice}")


def _clip(row: VideoBackbone, frames: int | None, size: int | tuple[int, int] | None) -> tuple[int, int, int]:
    """Return the clips to build for, the arguments' defaults filled in."""
    sides = row.clip[1:] if size is None else size if isinstance(size, tuple) else (size, size)
    if len(sides) != 2:
        raise ValueError(f"clip_size must be an int or (height, width), got {size!r}")
    height, width = (check_count(side, "clip_size") for side in sides)
    clip = (row.clip[0] if frames is None else check_count(frames, "clip_frames"), height, width)
    if not row.name.startswith("mvit"):
        return clip
    # The embedding counts patches by division without remainder, and its convolution by another rule.
    if row.name == "mvit_base_16" and clip[0] != 1:
        raise ValueError(f"clip_frames must be 1 with 'mvit_base_16', a network of images, got {frames}")
    if clip[0] % row.smallest[0]:
        raise ValueError(f"clip_frames must be even with {row.name!r}, got {frames}; take one frame more or fewer")
    if height % 4 or width % 4:
        raise ValueError(f"clip_size must be of multiples of 4 with {row.name!r}, got {size}; resize or crop the clips")
    return clip


def _mfnet3d(pretrained: bool) -> nn.Module:
    if pretrained:
        raise ValueError(
            "no weights of 'mfnet3d' can be downloaded; pass pretrained=False and load a checkpoint of yours: "
            "load_mfnet3d(checkpoint, network=model.backbone)"
        )
    return MFNet3D()


def _hub_network(row: VideoBackbone, pretrained: bool, clip: tuple[int, int, int]) -> nn.Module:
    build = getattr(hub, row.name)
    if not row.name.startswith("mvit"):
        network: Any = _published(row.name) if pretrained else build()
        _behead(network)
        return _ClipNetwork(network, row, None)
    network = build(temporal_size=clip[0], spatial_size=clip[1:])
    if pretrained:
        network.load_state_dict(_interpolated(_published(row.name), network))
    _behead(network)
    return _ClipNetwork(network, row, clip)


def _published(name: str) -> Any:  # noqa: ANN401 -- pytorchvideo is untyped
    try:
        return getattr(hub, name)(pretrained=True)
    except OSError as error:
        reason = str(error).split(". ")[0].strip()
        raise RuntimeError(
            f"the pretrained weights of {name!r} are not on this machine and no download is possible "
            f"({type(error).__name__}: {reason}). Run once with network access and carry the cache over "
            "(TORCH_HOME, by default ~/.cache/torch), or pass pretrained=False and load weights of yours with "
            "load_state_dict"
        ) from error


def _interpolated(published: Any, network: Any) -> dict[str, Tensor]:  # noqa: ANN401
    """Return the weights of a published MViT, its position embeddings stretched to the clips of another."""
    state: dict[str, Tensor] = published.state_dict()
    (_, *old), (frames, *new) = (some.cls_positional_encoding.patch_embed_shape for some in (published, network))
    space, time = (f"cls_positional_encoding.pos_embed_{kind}" for kind in ("spatial", "temporal"))
    maps = state[space].reshape(1, *old, -1).permute(0, 3, 1, 2)
    maps = F.interpolate(maps, size=tuple(new), mode="bicubic", align_corners=False)
    steps = F.interpolate(state[time].transpose(1, 2), size=frames, mode="linear", align_corners=False)
    return {**state, space: maps.flatten(2).transpose(1, 2), time: steps.transpose(1, 2)}


def _behead(network: Any) -> None:  # noqa: ANN401
    """Take the classifier out, with dropout and activation around it, and let the pooling before it take any map."""
    _replace(network, Swish, nn.SiLU)  # the same function; Swish's gradient calls what torch has deprecated
    if isinstance(network, EfficientX3d):  # its pooling takes any map as it is
        network.dropout = network.projection = network.act = nn.Identity()
        return
    (head,) = (part for part in network.modules() if isinstance(part, ResNetBasicHead | VisionTransformerBasicHead))
    head.proj = nn.Identity()
    head.dropout = head.activation = None
    for part in (head, *(part for part in network.modules() if isinstance(part, PoolConcatPathway))):
        _replace(part, nn.AvgPool3d, lambda: nn.AdaptiveAvgPool3d(1))


def _replace(whole: nn.Module, kind: type[nn.Module], make: Callable[[], nn.Module]) -> None:
    for parent in list(whole.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, kind):
                setattr(parent, name, make())


class _ClipNetwork(nn.Module):
    """A pytorchvideo network without its classifier: clips (N, 3, T, H, W) to features (N, num_features)."""

    def __init__(self, network: nn.Module, row: VideoBackbone, only: tuple[int, int, int] | None) -> None:
        super().__init__()
        self.network = network
        self.num_features = row.width
        self._row = row
        self._only = only  # the clips that the layers were made for; None where they take any
        self._enter: Callable[[Tensor], Any] = _ENTRANCES.get(row.name, _as_it_is)

    def forward(self, clips: Any) -> Tensor:  # noqa: ANN401 -- SlowFast's callers may hold two paths already
        """Return features."""
        if self._enter is _two_paths and isinstance(clips, list | tuple):
            inputs: Any = _checked_paths(self._row.name, clips)
        else:
            self._check(clips)
            inputs = self._enter(clips)
        features: Tensor = self.network(inputs)
        return features

    def _check(self, clips: Any) -> None:  # noqa: ANN401
        name = self._row.name
        if not isinstance(clips, Tensor) or clips.ndim != 5 or clips.shape[1] != 3:
            got = tuple(clips.shape) if isinstance(clips, Tensor) else type(clips).__name__
            raise ValueError(
                f"{name} takes clips (N, 3, frames, height, width), got {got}; where frames come before channels, pass "
                "clips.transpose(1, 2)"
            )
        size = tuple(clips.shape[2:])
        if self._only is not None and size != self._only:
            raise ValueError(
                f"this {name} takes clips of {_by(self._only)} (frames x height x width), got {_by(size)}; build it "
                "with clip_frames and clip_size of your clips"
            )
        if any(have < least for have, least in zip(size, self._row.smallest, strict=True)):
            raise ValueError(
                f"{name} takes clips of at least {_by(self._row.smallest)} (frames x height x width), got {_by(size)}; "
                "take more frames of the video"
            )


def _by(size: Sequence[int]) -> str:
    return " x ".join(map(str, size))


def _as_it_is(clips: Tensor) -> Tensor:
    return clips


def _two_paths(clips: Tensor) -> list[Tensor]:
    """Return [slow, fast]. As in pytorchvideo's recipe, the slow frames spread from the first to the last."""
    frames = clips.shape[2]
    slow = _slow_frames(frames)
    places = [place * (frames - 1) // max(slow - 1, 1) for place in range(slow)]
    return [torch.stack([clips[:, :, place] for place in places], dim=2), clips]


def _slow_frames(frames: int) -> int:
    return -(-frames // 4)  # what the fusion's stride of 4 leaves of the fast path


def _checked_paths(name: str, paths: Sequence[Any]) -> list[Tensor]:
    shapes = [tuple(path.shape) if isinstance(path, Tensor) else type(path).__name__ for path in paths]
    if len(shapes) == 2 and all(len(shape) == 5 and shape[1] == 3 for shape in shapes):
        slow, fast = paths
        if slow.shape[2] == _slow_frames(fast.shape[2]):
            return [slow, fast]  # a fresh list: the network changes the one it is given
    raise ValueError(
        f"{name} takes clips (N, 3, frames, height, width), or a list [slow, fast] of them where the slow one has a "
        f"quarter of the frames, rounded up, got {shapes}"
    )


def _the_only_frame(clips: Tensor) -> Tensor:
    return clips[:, :, 0]


_ENTRANCES: dict[str, Callable[[Tensor], Any]] = {
    "slowfast_r50": _two_paths,
    "slowfast_r101": _two_paths,
    "slowfast_16x8_r101_50_50": _two_paths,
    "mvit_base_16": _the_only_frame,
}
