import pytest
import torch
from torch import nn

from hashcenters.heads import HashHead


def test_the_papers_head_is_three_layers_with_relu_between():
    head = HashHead(6, 4)
    one, two, three = head.layers
    assert [(x.in_features, x.out_features) for x in head.layers] == [(6, 6), (6, 6), (6, 4)]
    by_hand = nn.Sequential(one, nn.ReLU(), two, nn.ReLU(), three)
    features = torch.randn(5, 6)
    assert torch.equal(head(features), by_hand(features))
    assert (head(features * 100) < 0).any()


def test_no_hidden_layer_is_one_linear_layer():
    head, features = HashHead(6, 4, hidden_features=()), torch.randn(5, 6)
    assert torch.equal(head(features), nn.functional.linear(features, head.layers[0].weight, head.layers[0].bias))


def test_hidden_widths_and_attributes():
    head = HashHead(6, 4, hidden_features=[9, 3])
    assert [tuple(x.weight.shape) for x in head.layers] == [(9, 6), (3, 9), (4, 3)]
    assert (head.in_features, head.n_bits) == (6, 4)


def without_dropout(head):
    plain = HashHead(head.in_features, head.n_bits)
    plain.load_state_dict(head.state_dict())
    return plain


def test_dropout_follows_each_relu_in_training_only():
    torch.manual_seed(1)
    head, features = HashHead(50, 8, dropout=0.5), torch.randn(3, 50)
    assert torch.equal(head.eval()(features), without_dropout(head)(features))
    seen = []
    for layer in head.layers[1:]:
        layer.register_forward_hook(lambda _layer, inputs, _output: seen.append(inputs[0]))
    head.eval()(features)
    without = [(x > 0).double().mean().item() for x in seen]
    seen.clear()
    head.train()(features)
    for share, dropped in zip(without, seen, strict=True):
        assert (dropped >= 0).all()
        assert 0 < (dropped > 0).double().mean() < 0.75 * share
    assert not torch.equal(head(features), head(features))


def test_checkpoints_do_not_depend_on_dropout():
    assert list(HashHead(5, 2, dropout=0.3).state_dict()) == list(HashHead(5, 2).state_dict())


def test_works_compiled_and_in_half_precision():
    head, features = HashHead(6, 4), torch.randn(5, 6)
    compiled = torch.compile(head, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(features), head(features))
    assert head.bfloat16()(features.bfloat16()).dtype == torch.bfloat16


def test_bad_input_is_refused():
    head = HashHead(6, 4)
    with pytest.raises(ValueError, match=r"features must have shape \(N, in_features=6\), got \(5, 7\)"):
        head(torch.zeros(5, 7))
    with pytest.raises(ValueError, match=r"got \(5, 6, 2, 2\); pool feature maps before the head"):
        head(torch.zeros(5, 6, 2, 2))
    with pytest.raises(TypeError, match=r"hidden_features must be a sequence of widths such as \(512, 512\), got 512"):
        HashHead(6, 4, hidden_features=512)
    with pytest.raises(ValueError, match="hidden_features must be at least 1, got 0"):
        HashHead(6, 4, hidden_features=(8, 0))
    for dropout in (-0.1, 1.0, float("nan")):
        with pytest.raises(ValueError, match=rf"dropout must lie in \[0, 1\), got {dropout}"):
            HashHead(6, 4, dropout=dropout)
    with pytest.raises(ValueError, match="in_features must be at least 1, got 0"):
        HashHead(0, 4)
    with pytest.raises(TypeError, match="n_bits must be an int"):
        HashHead(6, 4.0)
