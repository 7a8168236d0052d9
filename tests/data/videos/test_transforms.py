import colorsys
import pickle

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn.functional import interpolate
from torchvision.transforms import v2

from hashcenters.data.videos import csq_clip_transform, plain_clip_transform, whole_clip_transform
from hashcenters.data.videos.transforms import _random_part, _shifted_in_hls

CSQ_MEAN = torch.tensor([124.0, 117.0, 104.0]).view(3, 1, 1, 1)
CSQ_SCALE = 0.0167
MAKERS = [csq_clip_transform, plain_clip_transform]


def _clip(n=4, height=60, width=80, seed=0):
    """A smooth clip, as a decoder's frames are seen: (3, T, H, W) whose channels are last in memory."""
    noise = torch.rand(n, 3, 6, 8, generator=torch.Generator().manual_seed(seed))
    frames = interpolate(noise, (height, width), mode="bicubic").clamp(0, 1).mul(255).to(torch.uint8)
    return frames.permute(0, 2, 3, 1).contiguous().permute(3, 0, 1, 2)


def _still(n=6, **options):
    return _clip(1, **options).expand(-1, n, -1, -1)


# ------------------------------------------------------------------------------------------------------- both kinds


@pytest.mark.parametrize("make", MAKERS)
@pytest.mark.parametrize("train", [True, False])
@pytest.mark.parametrize("size", [1, 7, 32, 112, 224])
def test_any_size_comes_out(make, train, size):
    for height, width in ((60, 80), (80, 60), (224, 224), (3, 200), (1, 1)):
        clip = make(train, size=size)(_clip(2, height, width))
        assert (clip.dtype, clip.shape) == (torch.float32, (3, 2, size, size))
        assert clip.is_contiguous()
        assert clip.isfinite().all()


@pytest.mark.parametrize("make", MAKERS)
@pytest.mark.parametrize("train", [True, False])
def test_all_frames_are_treated_alike(make, train):
    for seed in range(8):
        torch.manual_seed(seed)
        clip = make(train, size=32)(_still())
        assert torch.equal(clip, clip[:, :1].expand_as(clip))


@pytest.mark.parametrize("make", MAKERS)
def test_frames_stay_in_their_order(make):
    values = torch.tensor([10, 60, 110, 160, 210], dtype=torch.uint8)
    clip = values.view(1, 5, 1, 1).expand(3, 5, 40, 40)
    for train in (True, False):
        assert (make(train, size=16)(clip).mean(dim=(0, 2, 3)).diff() > 0).all()


@pytest.mark.parametrize("make", MAKERS)
@pytest.mark.parametrize("train", [True, False])
def test_input_is_left_alone_and_its_layout_does_not_matter(make, train):
    clip = _clip()
    before = clip.clone()
    torch.manual_seed(1)
    first = make(train, size=24)(clip)
    assert torch.equal(clip, before)
    torch.manual_seed(1)
    assert torch.equal(make(train, size=24)(clip.contiguous()), first)


@pytest.mark.parametrize("make", MAKERS)
def test_training_is_random_by_the_global_generator_and_evaluation_is_not(make):
    clip, train, test = _clip(), make(True, size=24), make(False, size=24)
    torch.manual_seed(1)
    first, second = train(clip), train(clip)
    assert not torch.equal(first, second)
    torch.manual_seed(1)
    assert torch.equal(train(clip), first)
    state = torch.default_generator.get_state()
    assert torch.equal(test(clip), test(clip))
    assert torch.equal(torch.default_generator.get_state(), state)


@pytest.mark.parametrize("make", MAKERS)
def test_half_of_the_training_clips_are_mirrored_unless_told_not_to(make):
    ramp = torch.arange(0, 240, 4, dtype=torch.uint8).view(1, 1, 1, 60).expand(3, 2, 60, 60)  # brighter to the right

    def mirrored(**options):
        transform = make(True, size=16, **options)
        return [bool(clip[..., -1].mean() < clip[..., 0].mean()) for clip in (transform(ramp) for _ in range(60))]

    assert 15 < sum(mirrored()) < 45
    assert not any(mirrored(flip=False))


@pytest.mark.parametrize("make", MAKERS)
def test_transforms_are_picklable(make):
    for train in (True, False):
        transform, clip = make(train, size=8), _clip()
        copy = pickle.loads(pickle.dumps(transform))
        torch.manual_seed(2)
        first = transform(clip)
        torch.manual_seed(2)
        assert torch.equal(copy(clip), first)


@pytest.mark.parametrize("make", MAKERS)
def test_wrong_clips_and_sizes_are_refused(make):
    with pytest.raises(ValueError, match="size must be at least 1, got 0"):
        make(True, size=0)
    with pytest.raises(TypeError, match="size must be an int, got 1.5"):
        make(True, size=1.5)
    for train in (True, False):
        transform = make(train, size=8)
        with pytest.raises(TypeError, match=r"clip must be a uint8 tensor of shape \(3, T, H, W\), got torch.float32"):
            transform(torch.zeros(3, 2, 9, 9))
        with pytest.raises(TypeError, match=r"clip must be a uint8 tensor of shape \(3, T, H, W\), got ndarray"):
            transform(np.zeros((3, 2, 9, 9), dtype=np.uint8))
        for shape in ((2, 9, 9, 3), (3, 9, 9), (3, 0, 9, 9)):
            message = r"clip must have shape \(3, T, H, W\), none of them 0, got .*; frames \(T, H, W, 3\) become"
            with pytest.raises(ValueError, match=message):
                transform(torch.zeros(shape, dtype=torch.uint8))


# -------------------------------------------------------------------------------------------------------------- CSQ


def test_csq_evaluation_squeezes_and_takes_the_middle():
    clip = _clip(3, 240, 320)
    squeezed = interpolate(clip.transpose(0, 1).float(), (256, 256), mode="bilinear").transpose(0, 1)
    wanted = (squeezed[:, :, 16:240, 16:240] - CSQ_MEAN) * CSQ_SCALE
    result = csq_clip_transform(False)(clip)
    assert (result - wanted).abs().max() <= CSQ_SCALE * 1.01  # bytes are rounded once


def test_csq_keeps_proportions_at_other_sizes():
    clip = _clip(1, 256, 256)
    small = csq_clip_transform(False, size=56)(clip)
    large = csq_clip_transform(False, size=224)(clip)
    shrunk = interpolate(large.transpose(0, 1), (56, 56), mode="bilinear").transpose(0, 1)
    assert (small - shrunk).abs().mean() < 0.02


def _position_clip(height=240, width=320):
    """A clip whose red says where from left to right a pixel was, and green where from top to bottom."""
    clip = torch.zeros(3, 1, height, width)
    clip[0] = torch.linspace(0, 255, width)
    clip[1] = torch.linspace(0, 255, height).view(-1, 1)
    return clip.round().to(torch.uint8)


def test_csq_training_draws_scale_aspect_and_place(monkeypatch):
    monkeypatch.setattr("hashcenters.data.videos.transforms._shifted_in_hls", lambda clip, *_: clip.float())
    transform, clip = csq_clip_transform(True, flip=False), _position_clip()
    seen = []
    for seed in range(200):
        torch.manual_seed(seed)
        pixels = transform(clip) / CSQ_SCALE + CSQ_MEAN
        left, right = pixels[0, 0, 112, 0].item(), pixels[0, 0, 112, -1].item()
        top, bottom = pixels[1, 0, 0, 112].item(), pixels[1, 0, -1, 112].item()
        seen.append((left, 255 - right, top, 255 - bottom, 224 * 255 / (right - left), 224 * 255 / (bottom - top)))
    left, right, top, bottom, width, height = torch.tensor(seen, dtype=torch.float64).unbind(1)
    shorter = torch.minimum(width, height)
    assert 221 < shorter.min() < 230  # 224..288 pixels; bytes and ends make the estimate coarse
    assert 282 < shorter.max() < 293
    ratio = (width / height).sqrt()
    assert 0.78 < ratio.min() < 0.84
    assert 1.19 < ratio.max() < 1.27
    assert 0.98 < ratio.log().mean().exp() < 1.02
    for one, other in ((left, right), (top, bottom)):
        share = (one / (one + other))[one + other > 20]
        assert share.min() < 0.1
        assert share.max() > 0.9


def _hls_reference(clip, hue, lightness, saturation):
    """The released steps, pixel by pixel, with Python's own colour functions."""

    def moved(value, shift):
        return min(max(value + shift, 0.0), 1.0)

    result = torch.empty(clip.shape)
    for t in range(clip.shape[1]):
        for y in range(clip.shape[2]):
            for x in range(clip.shape[3]):
                h, lum, s = colorsys.rgb_to_hls(*(clip[:, t, y, x] / 255).tolist())
                rgb = colorsys.hls_to_rgb(moved(h, hue), moved(lum, lightness), moved(s, saturation))
                result[:, t, y, x] = torch.tensor(rgb) * 255
    return result


@given(
    pixels=st.lists(st.tuples(*[st.integers(0, 255)] * 3), min_size=1, max_size=12),
    shifts=st.tuples(*[st.floats(-0.14, 0.14)] * 3),
)
def test_colours_move_in_hls(pixels, shifts):
    fixed = [(0, 0, 0), (255, 255, 255), (9, 9, 9), (255, 0, 0), (255, 0, 1), (0, 255, 0), (0, 0, 255), (7, 200, 200)]
    clip = torch.tensor(pixels + fixed, dtype=torch.uint8).t().reshape(3, 1, 1, -1)
    shifted = _shifted_in_hls(clip, *shifts)
    assert (shifted - _hls_reference(clip, *shifts)).abs().max() < 0.02


def test_colours_stay_without_a_shift():
    clip = torch.randint(0, 256, (3, 2, 16, 16), dtype=torch.uint8)
    assert (_shifted_in_hls(clip, 0.0, 0.0, 0.0) - clip.float()).abs().max() < 0.01


def test_csq_training_moves_colours_within_its_limits():
    grey = torch.full((3, 1, 40, 40), 128, dtype=torch.uint8)
    transform = csq_clip_transform(True, size=16)
    lights = []
    for _ in range(300):
        pixels = transform(grey)[:, 0, 8, 8] / CSQ_SCALE + CSQ_MEAN.flatten()
        lights.append(float(pixels.max() + pixels.min()) / 2 - 128)
    assert -35.6 < min(lights) < -30
    assert 30 < max(lights) < 35.6


# ------------------------------------------------------------------------------------------------------------ plain


def test_plain_evaluation_equals_torchvision():
    clip = _clip(3, 240, 320)
    steps = v2.Compose([v2.Resize((128, 171), antialias=True), v2.CenterCrop(112)])  # 170.7 rounded
    wanted = (steps(clip.transpose(0, 1)).transpose(0, 1) / 255 - 0.45) / 0.225
    assert (plain_clip_transform(False)(clip) - wanted).abs().max() < 1.01 / 255 / 0.225


def test_plain_training_cuts_parts_of_the_sizes_allowed():
    parts = [_random_part(240, 320, 0.35) for _ in range(400)]
    areas = torch.tensor([height * width / (240 * 320) for _, _, height, width in parts])
    aspects = torch.tensor([width / height for _, _, height, width in parts])
    assert 0.34 < areas.min() < 0.40
    assert 0.90 < areas.max() <= 1
    assert 0.74 < aspects.min() < 0.80
    assert 1.25 < aspects.max() < 1.35
    for top, left, height, width in parts:
        assert min(top, left) >= 0
        assert top + height <= 240
        assert left + width <= 320
    assert len({left for _, left, _, _ in parts}) > 50


def test_plain_training_of_a_strip_falls_back_on_most_of_it():
    for height, width in ((2, 300), (300, 2)):
        parts = {_random_part(height, width, 1.0)[2:] for _ in range(20)}
        assert parts == {(min(height, round(width * 4 / 3)), min(width, round(height * 4 / 3)))}


def test_plain_training_with_all_of_the_area_is_a_resize():
    clip = _clip(2, 64, 64)
    whole = plain_clip_transform(True, size=32, flip=False, least_area=1.0)
    fixed = interpolate(clip.transpose(0, 1).float(), (32, 32), mode="bilinear", antialias=True).transpose(0, 1)
    found = [float(((whole(clip) * 0.225 + 0.45) * 255 - fixed).abs().max()) for _ in range(20)]
    assert min(found) < 1.1


@pytest.mark.parametrize("least_area", [0.0, -1.0, 1.01, float("nan")])
def test_the_least_area_is_checked(least_area):
    with pytest.raises(ValueError, match=rf"least_area must lie in \(0, 1\], got {least_area}"):
        plain_clip_transform(True, least_area=least_area)


# ------------------------------------------------------------------------------------------------------------ whole


def test_the_whole_frame_is_resized():
    clip = _clip(3, 60, 80)
    fixed = interpolate(clip.transpose(0, 1).float(), (32, 32), mode="bilinear", antialias=True).transpose(0, 1)
    transform = whole_clip_transform(size=32)
    assert (transform(clip) - (fixed / 255 - 0.45) / 0.225).abs().max() < 1.01 / 255 / 0.225
    assert torch.equal(transform(clip), transform(clip))
    square = clip[..., :60]
    torch.testing.assert_close(whole_clip_transform(size=60)(square), (square / 255 - 0.45) / 0.225)
    with pytest.raises(ValueError, match="size must be at least 1, got 0"):
        whole_clip_transform(size=0)
    with pytest.raises(TypeError, match=r"clip must be a uint8 tensor of shape \(3, T, H, W\), got torch.float32"):
        transform(torch.zeros(3, 2, 9, 9))
