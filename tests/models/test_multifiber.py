import json
import pickle
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from hashcenters import HashHead
from hashcenters.models import Hasher
from hashcenters.models.multifiber import MFNet3D, load_mfnet3d

# Names and shapes of the published checkpoints, the classifier left out.
PUBLISHED = json.loads(Path(__file__).with_name("mfnet3d_state.json").read_text())


def random_state(n_dims=3):
    """A state no two tensors of which are alike, so that every layer shows in the output; 2-D: without time."""
    generator = torch.Generator().manual_seed(3)
    state = {}
    for name, shape in PUBLISHED.items():
        if len(shape) == 5 and n_dims == 2:
            shape = shape[:2] + shape[3:]
        values = torch.randn(shape, generator=generator)
        if name.endswith("num_batches_tracked"):
            values = torch.tensor(7)
        elif name.endswith("running_var") or (len(shape) == 1 and name.endswith("weight")):
            values = values.abs() + 0.5
        elif len(shape) > 1:
            values = values / values[0].numel() ** 0.5
        state[name] = values
    return state


def maps_by_the_book(state, x):
    """Maps before pooling, from a state of 3-D or 2-D weights: the network written out, batch norm in eval mode."""
    flat = state["conv1.conv.weight"].ndim == 4
    convolve, pool = (F.conv2d, F.max_pool2d) if flat else (F.conv3d, F.max_pool3d)

    def sized(*sizes):
        return sizes[1:] if flat else sizes

    def activated(x, name):
        names = (f"{name}.bn.{part}" for part in ("running_mean", "running_var", "weight", "bias"))
        return F.relu(F.batch_norm(x, *(state[part] for part in names)))

    def layer(x, name, *, padding=(0, 0, 0), stride=(1, 1, 1), groups=1):
        weight = state[f"{name}.conv.weight"]
        return convolve(activated(x, name), weight, None, sized(*stride), sized(*padding), 1, groups)

    x = convolve(x, state["conv1.conv.weight"], None, sized(1, 2, 2), sized(1, 2, 2))
    x = pool(activated(x, "conv1"), sized(1, 3, 3), sized(1, 2, 2), sized(0, 1, 1))
    for stage, n_units, first in (
        ("conv2", 3, (2, 1, 1)),
        ("conv3", 4, (1, 2, 2)),
        ("conv4", 6, (1, 2, 2)),
        ("conv5", 3, (1, 2, 2)),
    ):
        for number in range(1, n_units + 1):
            unit = f"{stage}.B{number:02}"
            mixed = x + layer(layer(x, f"{unit}.conv_i1"), f"{unit}.conv_i2")
            if number == 1:
                main = layer(mixed, f"{unit}.conv_m1", padding=(1, 1, 1), stride=first, groups=16)
                x = layer(main, f"{unit}.conv_m2") + layer(x, f"{unit}.conv_w1", stride=first)
            else:
                main = layer(mixed, f"{unit}.conv_m1", padding=(1, 1, 1), groups=16)
                x = layer(main, f"{unit}.conv_m2", padding=(0, 1, 1), groups=16) + x
    return activated(x, "tail")


def maps_and_features(network, clips):
    maps = []
    handle = network.tail.register_forward_hook(lambda module, inputs, output: maps.append(output))
    with torch.no_grad():
        features = network(clips)
    handle.remove()
    return maps[0], features


def doubled(state):
    return {name: values.double() if values.is_floating_point() else values for name, values in state.items()}


@pytest.fixture(scope="module")
def network():
    return load_mfnet3d(random_state()).eval()


@pytest.fixture(scope="module")
def exact():
    """The network in float64, where two ways to the same number agree to 1e-9."""
    return load_mfnet3d(random_state()).double().eval()


def assert_same(values, expected):
    torch.testing.assert_close(values, expected, rtol=1e-9, atol=1e-9)


def test_names_and_shapes_are_the_published_ones():
    network = MFNet3D()
    assert {name: list(values.shape) for name, values in network.state_dict().items()} == PUBLISHED
    assert sum(parameter.numel() for parameter in network.parameters()) == 7_688_768
    network.load_state_dict(random_state(), strict=True)


def test_the_network_is_the_one_of_the_book(exact):
    clips = torch.randn(2, 3, 5, 40, 36, dtype=torch.float64)
    expected = maps_by_the_book(doubled(random_state()), clips)
    assert expected.std() > 0.1
    maps, features = maps_and_features(exact, clips)
    assert_same(maps, expected)
    assert_same(features, expected.mean(dim=(2, 3, 4)))


def test_multiply_adds_are_the_source_s():
    with torch.device("meta"), FlopCounterMode(display=False) as counter:
        MFNet3D()(torch.empty(1, 3, 16, 224, 224))
    assert counter.get_total_flops() / 2 == pytest.approx(11.1e9, rel=0.03)


def test_pooling_is_the_fixed_one_at_the_original_size(network):
    maps, features = maps_and_features(network, torch.randn(1, 3, 16, 224, 224))
    fixed = F.avg_pool3d(maps, (8, 7, 7), stride=1)
    assert fixed.shape == (1, 768, 1, 1, 1)
    torch.testing.assert_close(features, fixed.flatten(1), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("size", "maps"),
    [
        ((16, 224, 224), (8, 7, 7)),
        ((16, 112, 112), (8, 4, 4)),
        ((8, 32, 32), (4, 1, 1)),
        ((7, 33, 64), (4, 2, 2)),
        ((1, 1, 1), (1, 1, 1)),
    ],
)
def test_clips_of_any_size(size, maps):
    with torch.device("meta"):
        network = MFNet3D()
        shapes = [tuple(values.shape) for values in maps_and_features(network, torch.empty(2, 3, *size))]
    assert shapes == [(2, 768, *maps), (2, network.num_features)]


@pytest.mark.parametrize("size", [(16, 112, 112), (8, 32, 32), (1, 1, 1)])
def test_forward_and_backward_at_small_sizes(size):
    network = MFNet3D()
    network(torch.randn(2, 3, *size)).square().mean().backward()
    assert all(parameter.grad.isfinite().all() for parameter in network.parameters())


def test_output_is_independent_of_batch_composition(exact):
    clips = torch.randn(4, 3, 8, 32, 32, dtype=torch.float64)
    others = 100 * torch.randn(2, 3, 8, 32, 32, dtype=torch.float64)
    with torch.no_grad():
        together = exact(clips)
        assert (together[0] - together[1]).abs().max() > 0.1
        assert_same(torch.cat([exact(clip[None]) for clip in clips]), together)
        assert_same(exact(clips.flip(0)).flip(0), together)
        assert_same(exact(torch.cat([clips[:1], others]))[0], together[0])
        assert exact(clips[:0]).shape == (0, 768)


def test_gradients_flow_everywhere_and_the_clips_stay():
    network = MFNet3D()
    clips = torch.randn(4, 3, 8, 32, 32)
    before = clips.clone()
    inputs = clips.requires_grad_()
    (network(inputs) * torch.randn(4, 768)).sum().backward()
    assert inputs.grad.abs().max() > 0
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None, name
        # Every output channel of every layer, except those that no ReLU lets through.
        active = (parameter.grad.flatten(1) if parameter.ndim > 1 else parameter.grad[:, None]).abs().amax(dim=1) > 0
        assert active.float().mean() > 0.9, name
    assert torch.equal(clips, before)


def test_weights_start_as_published():
    network = MFNet3D()
    for name, module in network.named_modules():
        if isinstance(module, nn.Conv3d):
            weight, volume = module.weight, module.kernel_size[0] * module.kernel_size[1] * module.kernel_size[2]
            bound = (6 / (volume * (weight.shape[0] + weight.shape[1]))) ** 0.5
            assert 0.95 * bound < weight.abs().max() <= bound, name
            assert module.bias is None, name
        if isinstance(module, nn.BatchNorm3d):
            assert (module.weight == 1).all(), name
            assert (module.bias == 0).all(), name


def test_compiles_without_a_break(exact):
    clips = torch.randn(2, 3, 4, 32, 32, dtype=torch.float64)
    torch.compiler.reset()
    compiled = torch.compile(exact, fullgraph=True, backend="eager")
    with torch.no_grad():
        assert_same(compiled(clips), exact(clips))


@pytest.mark.slow
def test_exports(exact):
    clips = torch.randn(2, 3, 4, 32, 32, dtype=torch.float64)
    exported = torch.export.export(exact, (clips,)).module()
    with torch.no_grad():
        assert_same(exported(clips), exact(clips))


def test_bfloat16_autocast(network):
    clips = torch.randn(2, 3, 8, 32, 32)
    with torch.no_grad():
        expected = network(clips)
        with torch.autocast("cpu", torch.bfloat16):
            features = network(clips)
    assert features.dtype == torch.bfloat16
    assert F.cosine_similarity(features.float(), expected).min() > 0.995
    training = MFNet3D()
    with torch.autocast("cpu", torch.bfloat16):
        training(clips).square().mean().backward()
    assert all(parameter.grad.isfinite().all() for parameter in training.parameters())


def test_training_wants_two_values_a_channel():
    network = MFNet3D()
    with pytest.raises(ValueError, match="Expected more than 1 value per channel"):
        network(torch.zeros(1, 3, 2, 32, 32))
    for size in ((3, 32, 32), (2, 33, 32)):
        assert network(torch.zeros(1, 3, *size)).shape == (1, 768)


def test_a_hasher_of_clips():
    model = Hasher(MFNet3D(), HashHead(MFNet3D.num_features, 16)).eval()
    assert model(torch.randn(2, 3, 4, 32, 32)).shape == (2, 16)


@pytest.mark.parametrize(
    ("clips", "error", "message"),
    [
        ([1.0], TypeError, r"clips must be a floating-point tensor of shape \(N, 3, T, H, W\), got list; of uint8"),
        (torch.zeros(2, 3, 8, 32, 32, dtype=torch.uint8), TypeError, r"got torch.uint8; .*frames.float\(\) / 255"),
        (torch.zeros(3, 8, 32, 32), ValueError, r"at least 1, got \(3, 8, 32, 32\); one clip needs clips\[None\]"),
        (torch.zeros(2, 8, 3, 32, 32), ValueError, r"got \(2, 8, 3, 32, 32\); .*need clips.transpose\(1, 2\)"),
        (torch.zeros(2, 3, 0, 32, 32), ValueError, r"T, H and W at least 1, got \(2, 3, 0, 32, 32\)"),
    ],
)
def test_other_clips_are_refused(network, clips, error, message):
    with pytest.raises(error, match=message):
        network(clips)


# --- checkpoints


def as_published(state):
    """What the published files hold: names of DataParallel, a classifier, no step counters."""
    state = {f"module.{name}": values for name, values in state.items() if "num_batches" not in name}
    return state | {"module.classifier.weight": torch.zeros(51, 768), "module.classifier.bias": torch.zeros(51)}


def as_hashed(state, n_bits=64):
    """What the video models of CSQ hold: the hash layers, twice."""
    layers = {f"fc{number}": (n_bits if number == 3 else 768, 768) for number in (1, 2, 3)}
    layers |= {f"hash_layer.{2 * number - 2}": layers[f"fc{number}"] for number in (1, 2, 3)}
    for name, shape in layers.items():
        state = state | {f"{name}.weight": torch.zeros(shape), f"{name}.bias": torch.zeros(shape[0])}
    return {f"module.{name}": values for name, values in state.items()}


def write(path, content, *, legacy=False):
    torch.save(content, path, _use_new_zipfile_serialization=not legacy)
    return path


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize("dressed", [dict, as_published, as_hashed])
def test_published_files_load(tmp_path, dressed, legacy):
    state = random_state()
    content = {"epoch": 36, "state_dict": dressed(state), "optimizer": {"state": {}, "param_groups": [{"lr": 0.1}]}}
    loaded = load_mfnet3d(write(tmp_path / "PyTorch-MFNet_ep-0036.pth", content, legacy=legacy)).state_dict()
    for name, values in state.items():
        if "num_batches" not in name:
            assert torch.equal(loaded[name], values), name


def test_safetensors_bare_states_and_halves_load(tmp_path, network):
    state = random_state()
    save_file(as_published(state), tmp_path / "weights.safetensors")
    write(tmp_path / "bare.pth", state)
    clips = torch.randn(1, 3, 4, 32, 32)
    with torch.no_grad():
        expected = network(clips)
        for source in (str(tmp_path / "weights.safetensors"), tmp_path / "bare.pth", state):
            assert torch.equal(load_mfnet3d(source).eval()(clips), expected)
    halves = {name: values.half() if values.is_floating_point() else values for name, values in state.items()}
    assert load_mfnet3d(halves).conv1.conv.weight.dtype == torch.float32
    third = load_mfnet3d(halves | {"conv1.conv.weight": torch.ones(16, 3, 5, 5, dtype=torch.float16)})
    assert (third.conv1.conv.weight == 1 / torch.tensor(3.0)).all()  # divided in the network's precision


def test_loads_into_a_network_of_yours_and_leaves_the_state_alone():
    state = as_published(random_state())
    names = list(state)
    mine = MFNet3D()
    mine.conv1.bn.num_batches_tracked.fill_(5)
    assert load_mfnet3d(state, network=mine) is mine
    assert torch.equal(mine.conv1.conv.weight, state["module.conv1.conv.weight"])
    assert mine.conv1.bn.num_batches_tracked == 5
    assert list(state) == names
    with torch.no_grad():
        mine.conv1.conv.weight.zero_()
    assert state["module.conv1.conv.weight"].abs().max() > 0


def test_image_weights_are_inflated_layer_by_layer():
    state = random_state(n_dims=2)
    loaded = load_mfnet3d(as_published(state)).state_dict()
    for name, values in state.items():
        if values.ndim == 4:
            assert loaded[name].shape[2] == (3 if name.endswith(("conv1.conv.weight", "conv_m1.conv.weight")) else 1)
            assert (loaded[name] == loaded[name][:, :, :1]).all(), name
            torch.testing.assert_close(loaded[name].sum(dim=2), values)
        elif "num_batches" not in name:
            assert torch.equal(loaded[name], values), name


def test_a_still_clip_has_the_image_s_features():
    state = doubled(random_state(n_dims=2))
    network = load_mfnet3d(state, network=MFNet3D().double()).eval()
    image = torch.randn(1, 3, 32, 32, dtype=torch.float64)
    maps, _ = maps_and_features(network, image[:, :, None].expand(-1, -1, 80, -1, -1))
    expected = maps_by_the_book(state, image)
    # The zeros before and after a clip reach one map further with every unit, 16 of the 40 maps from either end.
    for time in range(16, 24):
        assert_same(maps[:, :, time], expected)
    for time in (0, 39):
        assert (maps[:, :, time] - expected).abs().max() > 1


def test_what_does_not_fit_is_listed_and_nothing_is_loaded():
    state = random_state()
    del state["tail.bn.weight"], state["conv5.B03.conv_m2.conv.weight"]
    state["conv6.weight"] = torch.zeros(1)
    state["conv1.conv.weight"] = torch.zeros(16, 3, 3, 7, 7)
    mine = MFNet3D()
    before = {name: values.clone() for name, values in mine.state_dict().items()}
    message = (
        r"checkpoint does not fit MFNet3D: 2 missing: conv5\.B03\.conv_m2\.conv\.weight, tail\.bn\.weight; "
        r"1 not expected: conv6\.weight; 1 of another shape: conv1\.conv\.weight \(16, 3, 3, 7, 7\) where the network "
        r"has \(16, 3, 3, 5, 5\)\. Pass a checkpoint of MFNet-3D"
    )
    with pytest.raises(ValueError, match=message):
        load_mfnet3d(state, network=mine)
    assert all(torch.equal(values, before[name]) for name, values in mine.state_dict().items())


def test_long_lists_are_cut():
    with pytest.raises(
        ValueError, match=r"349 missing: conv1\.conv\.weight, .* and 341 more; 1 not expected: layer1\."
    ):
        load_mfnet3d({"layer1.weight": torch.zeros(1)})
    with pytest.raises(ValueError, match=r"1 of another shape: conv1\.conv\.weight \(16, 3, 3, 3\) where"):
        load_mfnet3d(random_state(n_dims=2) | {"conv1.conv.weight": torch.zeros(16, 3, 3, 3)})


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"state_dict": {"conv1.conv.weight": 3}}, r"names and tensors, .*got 'conv1.conv.weight' of type int; pass"),
        ({"epoch": 3, "model": {}}, r"got 'epoch' of type int; pass network.state_dict\(\)"),
        ([torch.zeros(1)], r"names and tensors, bare or under 'state_dict', got list"),
    ],
)
def test_other_contents_are_refused(tmp_path, content, message):
    with pytest.raises(ValueError, match=message):
        load_mfnet3d(write(tmp_path / "a.pth", content))
    if isinstance(content, dict):
        with pytest.raises(ValueError, match=message):
            load_mfnet3d(content)


class Bomb:
    def __reduce__(self):
        return (exec, ("raise SystemExit('code of the file ran')",))


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize(
    ("content", "named"),
    [
        ({"state_dict": {}, "callback": Bomb()}, "exec"),
        (nn.Linear(1, 1), r"torch\.nn\.modules\.linear\.Linear"),
        ({"state_dict": {}, "accuracy": np.float64(0.9)}, r"numpy\S+scalar"),
    ],
)
def test_code_in_a_file_never_runs(tmp_path, content, named, legacy):
    path = write(tmp_path / "bomb.pth", content, legacy=legacy)
    message = (
        rf"bomb\.pth' cannot be read without running code that it names \(Unsupported global: GLOBAL {named}\); wh"
    )
    with pytest.raises(ValueError, match=message):
        load_mfnet3d(path)
    path.write_bytes(pickle.dumps(content, protocol=2))
    with pytest.raises(ValueError, match=message):
        load_mfnet3d(path)


def test_archives_of_the_first_torch_are_refused(tmp_path):
    with tarfile.open(tmp_path / "a.pth.tar", "w"):
        pass
    with pytest.raises(
        ValueError, match=r"a\.pth\.tar' cannot be read .* \(legacy \.tar format\); .* save its state_dict"
    ):
        load_mfnet3d(tmp_path / "a.pth.tar")


@pytest.mark.parametrize("legacy", [False, True])
def test_damaged_and_other_files_are_refused(tmp_path, legacy):
    path = write(tmp_path / "a.pth", random_state(), legacy=legacy)
    whole = path.read_bytes()
    for damaged in (whole[:-1000], whole[: len(whole) // 2], whole[:103], whole[:10], b"", b"<html>not found</html>"):
        path.write_bytes(damaged)
        with pytest.raises(ValueError, match=r"a\.pth' is not a checkpoint or is damaged \(\w+\); copy it again"):
            load_mfnet3d(path)


def test_damaged_safetensors_and_absent_files_are_refused(tmp_path):
    path = tmp_path / "weights.safetensors"
    save_file(random_state(), path)
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(ValueError, match=r"weights\.safetensors' is not a safetensors file or is damaged: .*copy it"):
        load_mfnet3d(path)
    for absent in (tmp_path / "none.pth", tmp_path):
        with pytest.raises(FileNotFoundError, match=r"checkpoint='.*' is not a file"):
            load_mfnet3d(absent)


def test_files_that_may_not_be_read_say_so(tmp_path, monkeypatch):
    path = write(tmp_path / "a.pth", {})

    def denied(*args, **options):
        raise PermissionError("denied")

    monkeypatch.setattr(torch, "load", denied)
    with pytest.raises(PermissionError, match="denied"):
        load_mfnet3d(path)
