import copy
import subprocess
import sys
from urllib.error import URLError

import pytest
import torch
from torch import nn

from hashcenters.models import Hasher
from hashcenters.models.video import VideoBackbone, video_backbones, video_hasher

hub = pytest.importorskip("pytorchvideo.models.hub")  # after video.py, which silences its warning

ROWS = {row.name: row for row in video_backbones()}
HUB = [name for name in ROWS if name != "mfnet3d"]
MVIT = [name for name in ROWS if name.startswith("mvit")]
SLOWFAST = [name for name in ROWS if name.startswith("slowfast")]
BIG = ("slowfast_r101", "slowfast_16x8_r101_50_50", "csn_r101", "x3d_l", "mvit_base_32x3")
TWINS = ("x3d_s", "x3d_m", "efficient_x3d_s")  # without their heads they are x3d_xs and efficient_x3d_xs


def by_name(names):
    slow = (*BIG, *TWINS)
    return [pytest.param(name, marks=pytest.mark.slow) if name in slow else name for name in names]


def clips(size, n=2, **options):
    return torch.randn(n, 3, *size, generator=torch.Generator().manual_seed(7), **options)


def built(name, clip, **options):
    return video_hasher(name, 16, clip_frames=clip[0], clip_size=clip[1:], hidden_features=(), **options)


def on_meta(name, clip):
    if name in MVIT:  # pytorchvideo builds them with numbers taken from tensors
        return built(name, clip).to("meta")
    with torch.device("meta"):
        return built(name, clip)


def paths(name, inputs):
    """What an original takes, by pytorchvideo's own recipe."""
    if name in SLOWFAST:
        frames = inputs.shape[2]
        return [inputs[:, :, torch.linspace(0, frames - 1, frames // 4).long()], inputs]
    return inputs[:, :, 0] if name == "mvit_base_16" else inputs


def open_branches(network):
    """Give norms that start at zero a weight: they would hide the branches before them."""
    generator = torch.Generator().manual_seed(8)
    for part in network.modules():
        if isinstance(part, nn.BatchNorm3d):
            nn.init.uniform_(part.weight, 0.5, 1, generator=generator)


def projection(network):
    """The classifier of an original and its name."""
    linear = [(name, part) for name, part in network.named_modules() if isinstance(part, nn.Linear)]
    return next((name, part) for name, part in linear if part.out_features in (400, 1000))


def test_every_classifier_of_the_hub_has_a_row():
    functions = [name for name in vars(hub) if callable(getattr(hub, name))]
    assert sorted(HUB) == sorted(name for name in functions if not name.endswith("_detection"))
    assert all(isinstance(row, VideoBackbone) for row in video_backbones())


@pytest.mark.parametrize("name", by_name(ROWS))
def test_the_table_is_measured(name):
    row = ROWS[name]
    model = on_meta(name, row.clip)
    assert model.head.in_features == row.width == model.backbone.num_features
    assert sum(parameter.numel() for parameter in model.backbone.parameters()) == row.n_parameters
    assert model(torch.zeros(2, 3, *row.clip, device="meta")).shape == (2, 16)


@pytest.mark.parametrize("name", by_name(HUB))
def test_originals_pool_the_whole_clip_they_were_designed_for(name):
    row = ROWS[name]
    with torch.device("cpu" if name in MVIT else "meta"):
        original = getattr(hub, name)().to("meta").eval()
    seen = []
    projection(original)[1].register_forward_hook(lambda part, inputs, output: seen.append(inputs[0].shape))
    original(paths(name, torch.zeros(1, 3, *row.clip, device="meta")))
    assert seen[0].numel() == row.width  # one position
    smaller = (row.clip[0], row.clip[1] - 32, row.clip[2] - 32)
    if not name.startswith("efficient"):  # the only ones that pool any map as they are
        with pytest.raises(RuntimeError):
            original(paths(name, torch.zeros(1, 3, *smaller, device="meta")))


@pytest.mark.parametrize("name", by_name(ROWS))
def test_forward_and_backward_on_the_smallest_clip(name):
    row = ROWS[name]
    model = built(name, row.smallest)
    logits = model(clips(row.smallest))
    assert logits.shape == (2, 16)
    logits.square().sum().backward()
    for parameter_name, parameter in model.named_parameters():
        assert parameter.grad is not None, parameter_name
        assert torch.isfinite(parameter.grad).all(), parameter_name


@pytest.mark.parametrize("name", ["c2d_r50", "i3d_r50"])
def test_the_smallest_clip_is_the_smallest(name):
    model = on_meta(name, (1, 32, 32))
    message = rf"{name} takes clips of at least 2 x 1 x 1 \(frames x height x width\), got 1 x 32 x 32"
    with pytest.raises(ValueError, match=message):
        model(torch.zeros(2, 3, 1, 32, 32, device="meta"))
    with pytest.raises(RuntimeError, match="Output size is too small"):
        model.backbone.network(torch.zeros(2, 3, 1, 32, 32, device="meta"))


@pytest.mark.parametrize("name", by_name(ROWS))
def test_clips_of_odd_sizes(name):
    size = (1 if name == "mvit_base_16" else 6, 36, 44) if name in MVIT else (7, 37, 45)
    assert on_meta(name, size)(torch.zeros(2, 3, *size, device="meta")).shape == (2, 16)


@pytest.mark.slow
@pytest.mark.parametrize("name", ROWS)
def test_gradients_reach_every_parameter(name):
    size = (1 if name == "mvit_base_16" else 8, 32, 32)
    model = built(name, size)
    open_branches(model)
    model(clips(size, n=4)).square().mean().backward()
    for parameter_name, parameter in model.named_parameters():
        assert torch.isfinite(parameter.grad).all(), parameter_name
        assert parameter.grad.count_nonzero() > 0, parameter_name
    with torch.no_grad():
        assert torch.isfinite(model.eval()(clips(size))).all()


def test_gradients_of_swish_are_those_of_pytorchvideo():
    from pytorchvideo.layers.swish import Swish

    backbone = video_hasher("x3d_xs", 16).backbone
    assert not [part for part in backbone.modules() if isinstance(part, Swish)]
    values = torch.linspace(-8, 8, 101, dtype=torch.float64)
    torch.testing.assert_close(nn.SiLU()(values), Swish()(values))


# Some originals can be built for smaller clips, which is faster; their networks are the same.
SMALLER = [
    ("x3d_xs", {}, (4, 160, 160)),
    ("efficient_x3d_xs", {}, (4, 160, 160)),
    ("c2d_r50", {"head_pool_kernel_size": (2, 2, 2)}, (4, 64, 64)),
    ("r2plus1d_r50", {"head_pool_kernel_size": (1, 2, 2)}, (4, 64, 64)),
    ("slowfast_r50", {"head_pool_kernel_sizes": ((2, 2, 2), (8, 2, 2))}, (8, 64, 64)),
    ("mvit_base_16x4", {"temporal_size": 4, "spatial_size": (32, 64)}, (4, 32, 64)),
    pytest.param("mvit_base_16", {}, (1, 224, 224), marks=pytest.mark.slow),
    pytest.param("i3d_r50", {"head_pool_kernel_size": (2, 2, 2)}, (4, 64, 64), marks=pytest.mark.slow),
    pytest.param("slow_r50", {}, (8, 224, 224), marks=pytest.mark.slow),
    pytest.param("csn_r101", {}, (32, 224, 224), marks=pytest.mark.slow),
]


@pytest.mark.parametrize(("name", "options", "size"), SMALLER)
def test_the_original_s_classifier_makes_the_original_s_output_of_the_features(name, options, size):
    original = getattr(hub, name)(**options).eval()
    open_branches(original)
    classifier_name, classifier = projection(original)
    outputs = []
    classifier.register_forward_hook(lambda part, inputs, output: outputs.append(output.flatten(1)))
    backbone = built(name, size).backbone.eval()
    state = {key: value for key, value in original.state_dict().items() if not key.startswith(classifier_name)}
    backbone.network.load_state_dict(state)
    inputs = clips(size, n=1)
    with torch.no_grad():
        whole = original(paths(name, inputs))
        features = backbone(inputs)
        logits = classifier(features)
    scale = outputs[0].abs().max()
    torch.testing.assert_close(logits / scale, outputs[0] / scale, rtol=0, atol=1e-5)
    if name in ("x3d_xs", "r2plus1d_r50"):  # they end in softmax
        torch.testing.assert_close(logits.softmax(dim=1), whole, rtol=1e-5, atol=1e-5 * float(scale))
    else:
        torch.testing.assert_close(logits / scale, whole / scale, rtol=0, atol=1e-5)


def test_features_are_averages_over_the_whole_of_any_clip():
    network = video_hasher("slowfast_r50", 16).backbone.eval().network
    *_, pooling, _ = network.blocks
    seen = []
    pooling.register_forward_pre_hook(lambda part, inputs: seen.extend(inputs[0]))
    with torch.no_grad():
        features = network([clips((2, 64, 96)), clips((8, 64, 96))])
    assert [tuple(maps.shape[2:]) for maps in seen] == [(2, 2, 3), (8, 2, 3)]
    torch.testing.assert_close(features, torch.cat([maps.mean(dim=(2, 3, 4)) for maps in seen], dim=1))


@pytest.mark.parametrize("name", by_name(HUB))
def test_no_dropout_and_no_softmax_are_left(name):
    backbone = on_meta(name, ROWS[name].smallest).backbone
    assert not [part for part in backbone.modules() if isinstance(part, nn.Softmax | nn.AvgPool3d)]
    assert not [part for part in backbone.modules() if isinstance(part, nn.Dropout) and part.p > 0]


@pytest.mark.parametrize("frames", [4, 8, 16, 32, 64, 128])
def test_slow_paths_are_those_of_the_published_recipe(frames):
    backbone = on_meta("slowfast_r50", (frames, 1, 1)).backbone
    taken = []
    backbone.network = nn.Identity()
    backbone.network.register_forward_hook(lambda part, inputs, output: taken.extend(inputs[0]))
    numbered = torch.arange(float(frames)).expand(1, 3, 1, 1, frames).movedim(-1, 2)
    backbone(numbered)
    slow, fast = taken
    assert fast is numbered
    assert torch.equal(slow, numbered[:, :, torch.linspace(0, frames - 1, frames // 4).long()])


def test_two_paths_of_any_number_of_frames():
    model = on_meta("slowfast_r50", (1, 32, 32))
    for frames in range(1, 10):
        assert model(torch.zeros(2, 3, frames, 32, 32, device="meta")).shape == (2, 16)


def test_slowfast_leaves_what_it_is_given():
    model = video_hasher("slowfast_r50", 16, hidden_features=()).eval()
    inputs = clips((9, 32, 32))
    kept = inputs.clone()
    with torch.no_grad():
        logits = model(inputs)
        assert torch.equal(inputs, kept)
        pair = [inputs[:, :, [0, 4, 8]], inputs]
        given = list(pair)
        torch.testing.assert_close(model(pair), logits)
    assert len(pair) == 2
    assert all(now is then for now, then in zip(pair, given, strict=True))
    assert torch.equal(inputs, kept)


@pytest.mark.parametrize("name", ["x3d_xs", "mvit_base_16x4", "efficient_x3d_xs"])
def test_clips_stay_as_they_are(name):
    inputs = clips((4, 32, 32))
    kept = inputs.clone()
    built(name, (4, 32, 32))(inputs)
    assert torch.equal(inputs, kept)


def test_wrong_paths():
    model = on_meta("slowfast_r50", (9, 32, 32))
    slow, fast = torch.zeros(1, 3, 2, 32, 32, device="meta"), torch.zeros(1, 3, 9, 32, 32, device="meta")
    message = r"slowfast_r50 takes clips .*or a list \[slow, fast\] of them where the slow one has a quarter of the fra"
    for wrong in ([slow, fast], [slow], [fast, fast, fast], [slow[0], fast], [slow, "fast"], []):
        with pytest.raises(ValueError, match=message):
            model(wrong)
    with pytest.raises(ValueError, match=r"x3d_xs takes clips \(N, 3, frames, height, width\), got list"):
        video_hasher("x3d_xs", 16)([slow, fast])


def test_clips_of_another_layout():
    model = video_hasher("x3d_xs", 16)
    message = r"x3d_xs takes clips \(N, 3, frames, height, width\), got \(2, 8, 3, 32, 32\)"
    with pytest.raises(ValueError, match=message):
        model(torch.zeros(2, 8, 3, 32, 32))
    with pytest.raises(ValueError, match=r"got \(3, 8, 32, 32\)"):
        model(torch.zeros(3, 8, 32, 32))


def test_mvit_is_built_for_its_clips():
    model = video_hasher("mvit_base_16x4", 16, clip_frames=4, clip_size=(32, 64)).to("meta")
    assert model(torch.zeros(2, 3, 4, 32, 64, device="meta")).shape == (2, 16)
    message = r"this mvit_base_16x4 takes clips of 4 x 32 x 64 \(frames x height x width\), got 8 x 32 x 64; build it"
    with pytest.raises(ValueError, match=message):
        model(torch.zeros(2, 3, 8, 32, 64, device="meta"))
    square = video_hasher("mvit_base_16", 16, clip_size=32).to("meta")
    assert square(torch.zeros(2, 3, 1, 32, 32, device="meta")).shape == (2, 16)


def test_sizes_that_mvit_cannot_be_built_for():
    with pytest.raises(ValueError, match="clip_frames must be even with 'mvit_base_32x3', got 5; take one frame more"):
        video_hasher("mvit_base_32x3", 16, clip_frames=5)
    with pytest.raises(ValueError, match="clip_frames must be 1 with 'mvit_base_16', a network of images, got 2"):
        video_hasher("mvit_base_16", 16, clip_frames=2)
    for size in (30, (32, 30)):
        with pytest.raises(ValueError, match="clip_size must be of multiples of 4 with 'mvit_base_16x4', got .*30"):
            video_hasher("mvit_base_16x4", 16, clip_size=size)


@pytest.mark.parametrize("name", ["x3d_xs", "mvit_base_16x4", "mfnet3d"])
def test_sizes_that_are_none(name):
    with pytest.raises(ValueError, match="clip_frames must be at least 1, got 0"):
        video_hasher(name, 16, clip_frames=0)
    with pytest.raises(TypeError, match="clip_size must be an int, got '32'"):
        video_hasher(name, 16, clip_size="32")
    with pytest.raises(ValueError, match=r"clip_size must be an int or \(height, width\), got \(16, 32, 32\)"):
        video_hasher(name, 16, clip_size=(16, 32, 32))


def test_convolutional_networks_ignore_sizes():
    model = video_hasher("x3d_xs", 16, clip_frames=5, clip_size=33)
    assert model(torch.zeros(2, 3, 3, 31, 35)).shape == (2, 16)


def test_mfnet3d_by_name():
    from hashcenters.models.multifiber import MFNet3D

    model = video_hasher("mfnet3d", 16)
    assert isinstance(model, Hasher)
    assert type(model.backbone) is MFNet3D
    shapes = [tuple(layer.weight.shape) for layer in model.head.modules() if isinstance(layer, nn.Linear)]
    assert shapes == [(768, 768), (768, 768), (16, 768)]  # the paper's head is the default
    with pytest.raises(
        ValueError, match="no weights of 'mfnet3d' can be downloaded; .* load_mfnet3d.checkpoint, netwo"
    ):
        video_hasher("mfnet3d", 16, pretrained=True)


def test_head_options_reach_the_head():
    model = video_hasher("x3d_xs", 16, hidden_features=(32,), dropout=0.25)
    shapes = [tuple(layer.weight.shape) for layer in model.head.modules() if isinstance(layer, nn.Linear)]
    assert shapes == [(32, 2048), (16, 32)]
    assert [layer.p for layer in model.head.modules() if isinstance(layer, nn.Dropout)] == [0.25]


def test_module_of_yours():
    backbone = nn.Sequential(nn.Flatten(), nn.Linear(96, 20))
    model = video_hasher(backbone, 16, in_features=20)
    assert model.backbone is backbone
    assert model(torch.randn(2, 3, 2, 4, 4)).shape == (2, 16)


def test_module_of_yours_without_its_width():
    with pytest.raises(ValueError, match="in_features is required with a module of yours"):
        video_hasher(nn.Flatten(), 16)


def test_in_features_with_a_name():
    with pytest.raises(ValueError, match="in_features=512 is for a module of yours; 'x3d_xs' knows its own"):
        video_hasher("x3d_xs", 16, in_features=512)


@pytest.mark.parametrize("option", [{"pretrained": True}, {"clip_frames": 8}, {"clip_size": 32}])
def test_options_of_names_with_a_module_of_yours(option):
    with pytest.raises(ValueError, match="pretrained, clip_frames and clip_size are for names; set up a module of you"):
        video_hasher(nn.Flatten(), 16, in_features=20, **option)


def test_unknown_names():
    with pytest.raises(ValueError, match="there is no video backbone 'slow_r5O'; did you mean .*slow_r50"):
        video_hasher("slow_r5O", 16)
    with pytest.raises(ValueError, match=r"there is no video backbone 'qqqqqqqqqq'; video_backbones\(\) lists all"):
        video_hasher("qqqqqqqqqq", 16)


@pytest.mark.parametrize("name", ["slow_r50", "slowfast_r50"])
def test_detection_models(name):
    with pytest.raises(ValueError, match=f"'{name}_detection' describes boxes within a clip, .* take '{name}'"):
        video_hasher(f"{name}_detection", 16)


def publish(monkeypatch, function):
    for module in ("csn", "efficient_x3d_mobile_cpu", "r2plus1d", "resnet", "slowfast", "utils", "x3d"):
        monkeypatch.setattr(f"pytorchvideo.models.hub.{module}.load_state_dict_from_url", function)


@pytest.mark.parametrize("name", by_name(HUB))
def test_pretrained_without_network(monkeypatch, name):
    def refuse(*args, **kwargs):
        raise URLError("no route to host")

    publish(monkeypatch, refuse)
    message = f"weights of '{name}' are not on this machine and no download is possible .*URLError.*no route.*TORCH_HOM"
    with pytest.raises(RuntimeError, match=message):
        built(name, ROWS[name].smallest, pretrained=True)
    if name == "x3d_xs":
        built(name, ROWS[name].smallest)  # pretrained=False asks nobody


def test_other_errors_of_downloads_come_through(monkeypatch):
    def refuse(*args, **kwargs):
        raise KeyError("model_state")

    publish(monkeypatch, refuse)
    with pytest.raises(KeyError, match="model_state"):
        video_hasher("x3d_xs", 16, pretrained=True)


@pytest.mark.parametrize("name", ["x3d_xs", "efficient_x3d_xs", "slowfast_r50", "mvit_base_16"])
def test_pretrained_weights_arrive(monkeypatch, name):
    stored = getattr(hub, name)().state_dict()
    for value in stored.values():
        if value.is_floating_point():
            value.uniform_(0.5, 1.5)
    answer = copy.copy(stored) if name.startswith("efficient") else {"model_state": stored}
    publish(monkeypatch, lambda *args, **kwargs: answer)
    state = video_hasher(name, 16, pretrained=True).backbone.network.state_dict()
    assert len(state) == len(stored) - 2  # the classifier's weight and bias
    for key, value in state.items():
        torch.testing.assert_close(value, stored[key], rtol=0, atol=0)


def test_position_embeddings_of_mvit_are_interpolated(monkeypatch):
    stored = hub.mvit_base_16x4().state_dict()
    space, time = (f"cls_positional_encoding.pos_embed_{kind}" for kind in ("spatial", "temporal"))
    # Ramps over rows, columns and time; stretched, they are ramps still, but for the border.
    rows, columns = torch.meshgrid(torch.arange(56.0), torch.arange(56.0), indexing="ij")
    stored[space][0, :, 0] = rows.flatten()
    stored[space][0, :, 1] = columns.flatten()
    stored[time][0, :, 0] = torch.arange(8.0)
    publish(monkeypatch, lambda *args, **kwargs: {"model_state": stored})
    network = built("mvit_base_16x4", (8, 56, 112), pretrained=True).backbone.network
    encoding = network.cls_positional_encoding
    grid = encoding.pos_embed_spatial.detach()[0].reshape(14, 28, -1)
    inner = slice(1, -1)
    torch.testing.assert_close(grid[inner, :, 0], (4 * torch.arange(14.0) + 1.5)[inner, None].expand(-1, 28))
    torch.testing.assert_close(grid[:, inner, 1], (2 * torch.arange(28.0) + 0.5)[inner].expand(14, -1))
    torch.testing.assert_close(encoding.pos_embed_temporal.detach()[0, :, 0], 2 * torch.arange(4.0) + 0.5)
    torch.testing.assert_close(
        network.patch_embed.patch_model.weight.detach(), stored["patch_embed.patch_model.weight"]
    )


def test_a_hasher_survives_copying_and_saving(tmp_path):
    model = video_hasher("slowfast_r50", 16, hidden_features=()).eval()
    inputs = clips((4, 32, 32), n=1)
    torch.save(model.state_dict(), tmp_path / "weights.pt")
    other = video_hasher("slowfast_r50", 16, hidden_features=()).eval()
    other.load_state_dict(torch.load(tmp_path / "weights.pt", weights_only=True))
    with torch.no_grad():
        logits = model(inputs)
        assert torch.equal(other(inputs), logits)
        assert torch.equal(copy.deepcopy(model)(inputs), logits)


def test_users_see_no_warning():
    code = "from hashcenters.models.video import video_hasher; video_hasher('x3d_xs', 16, hidden_features=())"
    answer = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=False)
    assert answer.returncode == 0, answer.stderr
    assert answer.stderr == ""


def test_pytorchvideo_is_needed_by_video_hasher_alone():
    code = (
        "import sys\n"
        "from hashcenters.models import Hasher\n"
        "print('pytorchvideo' in sys.modules)\n"
        "sys.modules['pytorchvideo'] = None  # as if it were not installed\n"
        "from hashcenters.models.video import video_hasher"
    )
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert answer.stdout == "False\n"
    message = answer.stderr.splitlines()[-1]
    assert message.startswith("ImportError: ")
    assert message.endswith('video_hasher needs pytorchvideo: pip install "hashcenters[video]"')
