import pytest
import torch
from torch import nn

from hashcenters import HashHead
from hashcenters.models import Hasher


class Backbone(nn.Module):
    """Flatten and stretch; with everything that tells training from evaluation."""

    def __init__(self, width=12):
        super().__init__()
        self.norm = nn.BatchNorm1d(width)
        self.drop = nn.Dropout(0.5)

    def forward(self, x):
        return self.drop(self.norm(x.flatten(1)))


def make_hasher(n_bits=10, width=12):
    return Hasher(Backbone(width), HashHead(width, n_bits, dropout=0.5))


def make_batches(sizes=(5, 5, 3), width=12, dtype=torch.float32):
    return [(torch.randn(n, 1, width, dtype=dtype), torch.arange(n) % 3) for n in sizes]


def test_forward_is_head_of_backbone():
    model = make_hasher().eval()
    x = torch.randn(4, 1, 12)
    assert torch.equal(model(x), model.head(model.backbone(x)))
    assert model.n_bits == 10


@pytest.mark.parametrize("n_bits", [1, 8, 10])
def test_encode_equals_one_pass_over_everything(n_bits):
    model, batches = make_hasher(n_bits), make_batches()
    logits, labels = model.encode(batches, packed=False, progress=False)
    packed, again = model.encode(batches, progress=False)
    model.eval()
    with torch.no_grad():
        expected = model(torch.cat([x for x, _ in batches]))
    torch.testing.assert_close(logits, expected, rtol=1e-5, atol=1e-6)
    assert logits.dtype == torch.float32
    assert torch.equal(labels, torch.cat([y for _, y in batches]))
    assert torch.equal(labels, again)
    # By hand: most significant bit first, unused bits 0.
    bits = logits >= 0
    for row, code in zip(bits.tolist(), packed.tolist(), strict=True):
        word = "".join("1" if bit else "0" for bit in row).ljust(8 * len(code), "0")
        assert code == [int(word[i : i + 8], 2) for i in range(0, len(word), 8)]
    assert packed.dtype == torch.uint8
    assert not logits.requires_grad


def test_encode_takes_lists_multi_hot_labels_and_half_precision():
    model = make_hasher().to(torch.bfloat16)
    batches = [[x, torch.eye(5)[y]] for x, y in make_batches(dtype=torch.bfloat16)]
    logits, labels = model.encode(batches, packed=False, progress=False)
    assert logits.dtype == torch.float32
    assert labels.shape == (13, 5)


def test_encode_from_a_data_loader_keeps_the_order():
    data = torch.utils.data.TensorDataset(torch.randn(13, 12), torch.arange(13))
    model = make_hasher()
    codes, labels = model.encode(torch.utils.data.DataLoader(data, batch_size=4), progress=False)
    assert codes.shape == (13, 2)
    assert labels.tolist() == list(range(13))


def test_inputs_of_several_tensors_reach_the_backbone_in_a_list_of_its_own():
    class TwoPaths(nn.Module):
        def forward(self, paths):
            first = paths.pop(0)  # like SlowFast, which changes its list
            return torch.cat([first, *paths], 1)

    paths = [torch.randn(4, 3), torch.randn(4, 9)]
    model = Hasher(TwoPaths(), HashHead(12, 8))
    codes, _ = model.encode([(paths, torch.arange(4))], progress=False)
    assert codes.shape == (4, 1)
    assert len(paths) == 2


def modes(model):
    return [part.training for part in model.modules()]


def test_modes_come_back_submodule_by_submodule():
    model = make_hasher().train()
    model.backbone.norm.eval()  # a frozen batch norm stays frozen
    before = modes(model)
    model.encode(make_batches(), progress=False)
    assert modes(model) == before
    assert len(set(before)) == 2
    model.eval().encode(make_batches(), progress=False)
    assert not any(modes(model))


def test_modes_come_back_after_an_exception():
    model = make_hasher().train()
    with pytest.raises(RuntimeError, match="running_mean"):
        model.encode([*make_batches((2,)), *make_batches((2,), width=7)], progress=False)
    assert all(modes(model))
    assert torch.is_grad_enabled()


def test_encoding_leaves_the_model_as_it_was_and_trainable():
    class Caching(nn.Module):
        """Makes a table on its first pass, as position encodings do."""

        table = None

        def forward(self, x):
            if self.table is None:
                self.table = torch.linspace(0, 1, x.shape[1])
            return x * self.table

    model = Hasher(Caching(), HashHead(12, 8))
    model.encode([(torch.randn(4, 12), torch.arange(4))], progress=False)
    x = torch.randn(4, 12, requires_grad=True)
    model(x).sum().backward()
    assert x.grad is not None

    model = make_hasher()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    model.encode(make_batches(), progress=False)
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())


def test_device_moves_the_model():
    model = make_hasher()
    x = torch.randn(2, 1, 12, dtype=torch.float64)
    with pytest.raises(RuntimeError, match="dtype"):  # only the device changes: never the dtype of your data
        model.encode([(x, torch.arange(2))], device="cpu", progress=False)
    model.encode(make_batches(), device="cpu", progress=False)
    model.encode(make_batches(), device=torch.device("cpu"), progress=False)
    # "meta" is the one other device that every machine has.
    with pytest.raises((NotImplementedError, RuntimeError), match="meta"):
        model.encode(make_batches(), device="meta", progress=False)
    assert next(model.parameters()).device.type == "meta"


def test_a_model_without_parameters_runs_on_the_cpu():
    class Head(nn.Module):
        in_features, n_bits = 12, 12

        def forward(self, x):
            return x

    logits, _ = Hasher(nn.Flatten(), Head()).encode(make_batches(), packed=False, progress=False)
    assert logits.shape == (13, 12)


def test_progress_bar_is_shown_or_not(capsys):
    model = make_hasher()
    model.encode(make_batches())
    assert "encode:   0%" in capsys.readouterr().err
    model.encode(make_batches(), progress=False)
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("loader", [[], iter(())])
def test_empty_loader(loader):
    with pytest.raises(ValueError, match="loader is empty: it yielded no batch"):
        make_hasher().encode(loader, progress=False)


@pytest.mark.parametrize(
    ("batch", "got"),
    [
        (torch.zeros(2, 12), "got Tensor in batch 1"),  # two samples are not (inputs, labels)
        ({"image": torch.zeros(2, 12)}, "got dict in batch 1"),
        ((torch.zeros(2, 12),), "got 1 of them in batch 1"),
        ((torch.zeros(2, 12), torch.arange(2), torch.arange(2)), "got 3 of them in batch 1"),
    ],
)
def test_batch_that_is_not_a_pair(batch, got):
    with pytest.raises(TypeError, match=r"must yield \(inputs, labels\) pairs, " + got):
        make_hasher().encode([*make_batches((2,)), batch], progress=False)


def test_labels_that_do_not_fit():
    model = make_hasher()
    with pytest.raises(TypeError, match="labels of a batch must be a tensor, got list in batch 0"):
        model.encode([(torch.zeros(2, 12), ["cat", "dog"])], progress=False)
    with pytest.raises(ValueError, match=r"batch 0 has 2 samples, but labels of shape \(3,\)"):
        model.encode([(torch.zeros(2, 12), torch.arange(3))], progress=False)
    with pytest.raises(ValueError, match=r"batch 0 has 2 samples, but labels of shape \(\)"):
        model.encode([(torch.zeros(2, 12), torch.tensor(2))], progress=False)


@pytest.mark.parametrize(
    ("backbone", "message"),
    [
        (nn.Flatten(), r"in_features=12\), as its head expects, got \(2, 7\); build the head with in_features=7"),
        (nn.Identity(), r"in_features=12\), as its head expects, got \(2, 1, 7\); let the backbone pool and flatten"),
    ],
)
def test_backbone_of_another_width(backbone, message):
    with pytest.raises(ValueError, match=message):
        Hasher(backbone, HashHead(12, 8))(torch.zeros(2, 1, 7))


def test_backbone_that_returns_no_tensor():
    class Several(nn.Module):
        def forward(self, x):
            return [x, x]

    with pytest.raises(ValueError, match="got list; let the backbone pool and flatten"):
        Hasher(Several(), HashHead(12, 8))(torch.zeros(2, 12))


def test_hasher_compiles():
    model = make_hasher().eval()
    x = torch.randn(4, 1, 12)
    compiled = torch.compile(model, fullgraph=True, backend="eager")
    torch.testing.assert_close(compiled(x), model(x))


@pytest.mark.parametrize("packed", [True, False])
def test_encode_refuses_inputs_that_are_no_tensors_and_nan(packed):
    model = Hasher(torch.nn.Flatten(), HashHead(4, 8, hidden_features=()))
    with pytest.raises(TypeError, match="inputs of a batch must be a tensor or a list of tensors, got ndarray"):
        model.encode([(torch.zeros(2, 4).numpy(), torch.arange(2))], packed=packed, progress=False)
    with pytest.raises(ValueError, match="logits contain NaN"):
        model.encode([(torch.full((2, 4), float("nan")), torch.arange(2))], packed=packed, progress=False)
