import subprocess
import sys

import pytest
import torch
from torch import nn

from hashcenters.models import Hasher, image_hasher


@pytest.mark.parametrize(
    ("name", "width", "options"),
    [
        ("resnet10t", 512, {}),
        ("mobilenetv3_large_100", 1280, {}),  # num_features says 960
        ("efficientvit_b0", 1280, {}),  # 128
        ("ghostnet_100", 1280, {}),  # 960
        ("vit_tiny_patch16_224", 192, {"image_size": 64}),
        ("resnet10t", 512, {"image_size": (64, 64)}),  # convolutions take any size
        ("resnet10t", 512, {"in_chans": 1}),
    ],
)
def test_timm_models_meet_their_head(name, width, options):
    model = image_hasher(name, 24, **options).eval()
    assert isinstance(model, Hasher)
    assert model.head.in_features == width
    with torch.no_grad():
        assert model(torch.randn(2, options.get("in_chans", 3), 64, 64)).shape == (2, 24)


def test_vgg_is_wider_than_it_says():
    # On the meta device: its 130 million weights take seconds to draw.
    with torch.device("meta"):
        model = image_hasher("vgg16", 16)
        assert model.head.in_features == 4096
        assert model(torch.zeros(1, 3, 224, 224)).shape == (1, 16)


def test_head_options_reach_the_head():
    model = image_hasher("resnet10t", 16, hidden_features=(32,), dropout=0.25)
    shapes = [tuple(layer.weight.shape) for layer in model.head.modules() if isinstance(layer, nn.Linear)]
    assert shapes == [(32, 512), (16, 32)]
    assert [layer.p for layer in model.head.modules() if isinstance(layer, nn.Dropout)] == [0.25]


def test_the_paper_s_head_is_the_default():
    model = image_hasher(nn.Flatten(), 16, in_features=20)
    shapes = [tuple(layer.weight.shape) for layer in model.head.modules() if isinstance(layer, nn.Linear)]
    assert shapes == [(20, 20), (20, 20), (16, 20)]


def test_module_of_yours():
    backbone = nn.Sequential(nn.Flatten(), nn.Linear(48, 20))
    model = image_hasher(backbone, 16, in_features=20)
    assert model.backbone is backbone
    assert model(torch.randn(2, 3, 4, 4)).shape == (2, 16)


def test_module_of_yours_without_its_width():
    with pytest.raises(ValueError, match="in_features is required with a module of yours"):
        image_hasher(nn.Flatten(), 16)


def test_in_features_with_a_timm_name():
    with pytest.raises(ValueError, match="in_features=512 is for a module of yours; timm model 'resnet10t' knows"):
        image_hasher("resnet10t", 16, in_features=512)


@pytest.mark.parametrize("option", [{"pretrained": True}, {"in_chans": 1}, {"image_size": 32}])
def test_timm_options_with_a_module_of_yours(option):
    with pytest.raises(ValueError, match="pretrained, in_chans and image_size are for timm names"):
        image_hasher(nn.Flatten(), 16, in_features=20, **option)


def test_unknown_names():
    with pytest.raises(ValueError, match="has no model 'resnet5O'; did you mean .*resnet50"):
        image_hasher("resnet5O", 16)
    with pytest.raises(ValueError, match=r"has no model 'qqqqqqqqqq'; timm.list_models\(\) lists all"):
        image_hasher("qqqqqqqqqq", 16)
    with pytest.raises(ValueError, match=r"no weights 'resnet10t.of_mine'; there are resnet10t.c3_in1k"):
        image_hasher("resnet10t.of_mine", 16)


def test_a_name_with_its_weights_tag():
    assert image_hasher("resnet10t.c3_in1k", 16, in_chans=1).head.in_features == 512


def test_other_type_errors_of_a_model_come_through(monkeypatch):
    def refuse(*args, **kwargs):
        raise TypeError("something else")

    monkeypatch.setattr("timm.create_model", refuse)
    with pytest.raises(TypeError, match="something else"):
        image_hasher("resnet10t", 16, image_size=32)


@pytest.mark.parametrize("name", ["resnet10t", "hf-hub:timm/resnet10t.c3_in1k"])
def test_pretrained_without_network(monkeypatch, tmp_path, name):
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    with pytest.raises(RuntimeError, match=f"weights of '{name}' are not on this machine and no download is possible"):
        image_hasher(name, 16, pretrained=True)


def test_other_errors_of_files_come_through(monkeypatch):
    def refuse(*args, **kwargs):
        raise OSError("the disk is on fire")

    monkeypatch.setattr("timm.create_model", refuse)
    with pytest.raises(OSError, match="the disk is on fire"):
        image_hasher("resnet10t", 16)


def test_timm_is_needed_by_image_hasher_alone():
    code = (
        "import sys\n"
        "from hashcenters.models import Hasher\n"
        "print('timm' in sys.modules)\n"
        "sys.modules['timm'] = None  # as if it were not installed\n"
        "from hashcenters.models import image_hasher"
    )
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert answer.stdout == "False\n"
    message = answer.stderr.splitlines()[-1]
    assert message.startswith("ImportError: ")
    assert message.endswith('image_hasher needs timm: pip install "hashcenters[timm]"')


def test_models_has_no_other_names():
    import hashcenters.models

    with pytest.raises(AttributeError, match="has no attribute 'video_hesher'"):
        hashcenters.models.video_hesher  # noqa: B018
