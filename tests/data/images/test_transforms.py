import pickle

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms import InterpolationMode, v2

from hashcenters.data.images import csq_transform, deephash_transform
from hashcenters.data.images.transforms import IMAGENET_MEAN, IMAGENET_STD


@pytest.fixture(scope="module")
def photo():
    """A smooth picture with some noise, 500 x 375."""
    rng = np.random.default_rng(0)
    coarse = Image.fromarray(rng.integers(0, 256, (24, 32, 3), dtype=np.uint8)).resize((500, 375))
    noisy = np.asarray(coarse).astype(int) + rng.integers(-10, 11, (375, 500, 3))
    return Image.fromarray(noisy.clip(0, 255).astype(np.uint8))


def _by_pil(photo, steps):
    ends = [v2.PILToTensor(), v2.ToDtype(torch.float32, scale=True), v2.Normalize(IMAGENET_MEAN, IMAGENET_STD)]
    return v2.Compose([*steps, *ends])(photo)


RECIPES = {
    "csq, 224": (
        csq_transform(True),
        [v2.Resize((255, 255), InterpolationMode.BICUBIC), v2.RandomResizedCrop(224), v2.RandomHorizontalFlip()],
    ),
    "csq, evaluation": (
        csq_transform(False),
        [v2.Resize((255, 255), InterpolationMode.BICUBIC), v2.CenterCrop(224)],
    ),
    "csq, 64": (
        csq_transform(True, size=64),
        [v2.Resize((73, 73), InterpolationMode.BICUBIC), v2.RandomResizedCrop(64), v2.RandomHorizontalFlip()],
    ),
    "deephash, 224": (deephash_transform(True), [v2.Resize(256), v2.RandomHorizontalFlip(), v2.RandomCrop(224)]),
    "deephash, evaluation": (deephash_transform(False), [v2.Resize(256), v2.CenterCrop(224)]),
    "deephash, 64": (deephash_transform(False, size=64), [v2.Resize(73), v2.CenterCrop(64)]),
}


@pytest.mark.parametrize("name", RECIPES)
def test_transforms_are_those_of_pil(photo, name):
    """Resizing tensors instead of PIL images only rounds differently."""
    transform, steps = RECIPES[name]
    for seed in range(5):
        torch.manual_seed(seed)
        ours = transform(photo)
        torch.manual_seed(seed)
        theirs = _by_pil(photo, steps)
        assert ours.dtype == torch.float32
        assert ours.is_contiguous()
        assert ours.shape == theirs.shape
        levels = (ours - theirs).abs() * 255 * 0.225
        assert levels.max() < 3.5
        assert levels.mean() < 0.5


def test_standardized_pixels_are_exact():
    photo = Image.new("RGB", (255, 255), (255, 0, 51))
    image = csq_transform(False)(photo)
    expected = [(1 - 0.485) / 0.229, -0.456 / 0.224, (0.2 - 0.406) / 0.225]
    torch.testing.assert_close(image.mean((1, 2)), torch.tensor(expected))


def test_middle_is_one_pixel_off_the_released_codes(photo):
    square = photo.resize((255, 255))
    image = csq_transform(False)(square)
    assert torch.equal(image, csq_transform(False, size=224)(square))
    here = _by_pil(square.crop((16, 16, 240, 240)), [])
    torch.testing.assert_close(image, here, atol=1e-5, rtol=0)


@pytest.mark.parametrize("make", [csq_transform, deephash_transform])
def test_training_is_random_and_evaluation_is_not(photo, make):
    train, evaluate = make(True, size=32), make(False, size=32)
    assert not torch.equal(train(photo), train(photo))
    assert torch.equal(evaluate(photo), evaluate(photo))
    assert torch.equal(pickle.loads(pickle.dumps(evaluate))(photo), evaluate(photo))  # for spawned workers
    tiny = Image.new("RGB", (3, 2))
    assert train(tiny).shape == evaluate(tiny).shape == (3, 32, 32)
    with pytest.raises(ValueError, match="size must be at least 1, got 0"):
        make(True, size=0)


def test_the_image_is_left_as_it_was(photo):
    before = np.array(photo)
    csq_transform(True)(photo)
    deephash_transform(False)(photo)
    assert np.array_equal(np.array(photo), before)
