import subprocess
import sys

import pytest
import torch
from PIL import Image
from torch import nn

from hashcenters.data.images.timm_transforms import timm_transform
from hashcenters.models import image_hasher

GRAY = Image.new("RGB", (300, 200), (51, 102, 255))


def test_the_networks_own_mean_and_size():
    lite0 = image_hasher("lite0", 16)
    image = timm_transform(lite0, train=False)(GRAY)
    assert image.shape == (3, 224, 224)
    torch.testing.assert_close(image.mean((1, 2)), torch.tensor([-0.6, -0.2, 1.0]))
    torch.testing.assert_close(timm_transform(lite0.backbone, train=False)(GRAY), image)
    other = timm_transform(image_hasher("resnet10t", 16), train=False)(GRAY)  # ImageNet's mean, 176 pixels
    assert other.shape == (3, 176, 176)
    torch.testing.assert_close(other.mean((1, 2))[0], torch.tensor((0.2 - 0.485) / 0.229))


def test_other_sizes_and_training():
    network = image_hasher("lite0", 16)
    assert timm_transform(network, train=False, size=64)(GRAY).shape == (3, 64, 64)
    train = timm_transform(network, train=True, size=64)
    assert train(GRAY).shape == (3, 64, 64)
    assert not torch.equal(train(GRAY), train(GRAY))
    with pytest.raises(ValueError, match="size must be at least 1, got 0"):
        timm_transform(network, train=False, size=0)


def test_other_networks_are_refused():
    with pytest.raises(ValueError, match="network must be a timm model or a Hasher on one, got Linear"):
        timm_transform(nn.Linear(2, 2), train=False)


def test_timm_is_needed_here_alone():
    code = (
        "import sys\n"
        "import hashcenters.data.images\n"
        "print('timm' in sys.modules)\n"
        "sys.modules['timm'] = None  # as if it were not installed\n"
        "import hashcenters.data.images.timm_transforms"
    )
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert answer.stdout == "False\n"
    message = answer.stderr.splitlines()[-1]
    assert message.startswith("ImportError: ")
    assert message.endswith('timm_transform needs timm: pip install "hashcenters[images,timm]"')
