import copy
import math
import pickle
import re

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from hashcenters.centers import HashCenterGenerator, multilabel_centers
from hashcenters.losses import CentralSimilarityLoss, central_similarity_loss
from references import central_similarity_by_equations, semantic_center_by_loop


def problem(n_rows=32, n_bits=24, scale=2.0, dtype=torch.float64):
    """Random logits and target codes."""
    logits = torch.randn(n_rows, n_bits, dtype=torch.float64) * scale
    return logits.to(dtype), torch.randint(2, (n_rows, n_bits)) * 2.0 - 1


def sets(n_rows, n_classes, share=0.1):
    """Random label sets, every row with at least one class."""
    labels = torch.rand(n_rows, n_classes) < share
    labels[torch.arange(n_rows), torch.randint(n_classes, (n_rows,))] = True
    return labels


def gradient(loss, logits):
    leaf = logits.clone().requires_grad_()
    loss(leaf).backward()
    return leaf.grad


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 1e-6)])
@pytest.mark.parametrize("weight", [0, 1e-4, 0.05, 3])
@pytest.mark.parametrize("from_logits", [True, False])
def test_equals_the_equations(dtype, tolerance, weight, from_logits):
    logits, targets = problem(scale=1, dtype=dtype)
    values = logits if from_logits else logits.tanh()
    exact_logits = logits if from_logits else values.double().atanh()  # what rounding did to tanh is part of the input
    expected = central_similarity_by_equations(exact_logits, targets, weight)
    for reduction, reduced in (("none", expected), ("mean", expected.mean()), ("sum", expected.sum())):
        loss = central_similarity_loss(
            values, targets, quantization_weight=weight, from_logits=from_logits, reduction=reduction
        )
        assert loss.dtype == dtype
        torch.testing.assert_close(loss.double(), reduced, rtol=tolerance, atol=0)


@given(st.integers(1, 9), st.integers(1, 9), st.integers(0, 2**32))
def test_equals_the_equations_at_small_sizes(n_rows, n_bits, seed):
    random = torch.Generator().manual_seed(seed)
    logits = torch.randn(n_rows, n_bits, generator=random, dtype=torch.float64)
    targets = torch.randint(2, (n_rows, n_bits), generator=random) * 2.0 - 1
    loss = central_similarity_loss(logits, targets, quantization_weight=0.5)
    torch.testing.assert_close(loss, central_similarity_by_equations(logits, targets, 0.5).mean())


def test_central_term_is_binary_cross_entropy_of_the_relaxed_code():
    logits, targets = problem()
    relaxed = (1 + logits.tanh()) / 2
    expected = F.binary_cross_entropy(relaxed, (targets.double() + 1) / 2)
    torch.testing.assert_close(central_similarity_loss(logits, targets, quantization_weight=0), expected)
    loss = central_similarity_loss(logits.tanh(), targets, quantization_weight=0, from_logits=False)
    torch.testing.assert_close(loss, expected)


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("weight", [0, 1.5])
@pytest.mark.parametrize("from_logits", [True, False])
def test_gradients(from_logits, weight, reduction):
    """Away from 0, where the length of a code has a kink."""
    logits, targets = problem(4, 6)
    logits = logits.sign() * logits.abs().clamp(0.05, 4)
    values = logits if from_logits else logits.tanh()
    assert torch.autograd.gradcheck(
        lambda x: central_similarity_loss(
            x, targets, quantization_weight=weight, from_logits=from_logits, reduction=reduction
        ),
        values.requires_grad_(),
    )


def by_operations(logits, targets, weight, quantization):
    """The mean over samples in plain operations, which have all derivatives; right where nothing is saturated."""
    agreement = (logits * targets).tanh()
    relaxed, gap = (1 + agreement) / 2, agreement.abs() - 1
    extra = gap**2 if quantization == "squared" else gap.cosh().log()
    return (weight * extra - relaxed.log()).mean()


@pytest.mark.parametrize("from_logits", [True, False])
@pytest.mark.parametrize("weight", [1e-4, 2.5])
def test_squared_quantization_is_that_of_the_released_code(from_logits, weight):
    logits, targets = problem(scale=1)
    values = logits if from_logits else logits.tanh()
    by_bit = [
        [math.log1p(math.exp(-2 * z * c)) + weight * (abs(math.tanh(z)) - 1) ** 2 for z, c in zip(*row, strict=True)]
        for row in zip(logits.tolist(), targets.tolist(), strict=True)
    ]
    expected = torch.tensor(by_bit, dtype=torch.float64).mean(dim=1)
    options = {"quantization_weight": weight, "quantization": "squared", "from_logits": from_logits}
    for reduction, reduced in (("none", expected), ("mean", expected.mean()), ("sum", expected.sum())):
        torch.testing.assert_close(central_similarity_loss(values, targets, reduction=reduction, **options), reduced)
    loss = CentralSimilarityLoss(targets, **options)
    torch.testing.assert_close(loss(values, torch.arange(32)), expected.mean())
    assert "quantization='squared'" in repr(loss)
    assert torch.autograd.gradcheck(
        lambda x: central_similarity_loss(x, targets[:4], **options), values[:4].clone().requires_grad_()
    )


@pytest.mark.parametrize("quantization", ["log_cosh", "squared"])
@pytest.mark.parametrize("weight", [0, 1.5])
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_second_derivatives(quantization, weight, reduction):
    logits, targets = problem(3, 4)
    logits = (logits.sign() * logits.abs().clamp(0.1, 2)).requires_grad_()
    assert torch.autograd.gradgradcheck(
        lambda x: central_similarity_loss(
            x, targets, quantization_weight=weight, quantization=quantization, reduction=reduction
        ),
        logits,
    )


@pytest.mark.filterwarnings("ignore:`torch.jit.script` is:FutureWarning")  # torch's own forward mode calls it
@pytest.mark.filterwarnings("ignore:`torch.jit.script` is:DeprecationWarning")
@pytest.mark.parametrize("quantization", ["log_cosh", "squared"])
def test_forward_mode_and_transforms_of_functions(quantization):
    logits, targets = problem(3, 4, scale=0.7)
    options = {"quantization_weight": 1.5, "quantization": quantization}
    loss = lambda x, c=targets: central_similarity_loss(x, c, **options)  # noqa: E731
    plain = lambda x, c=targets: by_operations(x, c.double(), 1.5, quantization)  # noqa: E731
    for transform in (torch.func.grad, torch.func.hessian, torch.func.jacfwd):
        torch.testing.assert_close(transform(loss)(logits), transform(plain)(logits))
    direction, turn = torch.randn(3, 4, dtype=torch.float64), torch.randn(3, 4)
    for reduction in ("mean", "none"):
        assert torch.autograd.gradcheck(
            lambda x, kind=reduction: central_similarity_loss(x, targets, reduction=kind, **options),
            logits.clone().requires_grad_(),
            check_forward_ad=True,
        )
    with torch.autograd.forward_ad.dual_level():
        pairs = [torch.autograd.forward_ad.make_dual(*pair) for pair in ((logits, direction), (targets, turn))]
        of_logits = torch.autograd.forward_ad.unpack_dual(loss(pairs[0])).tangent
        of_both, expected = (torch.autograd.forward_ad.unpack_dual(f(*pairs)).tangent for f in (loss, plain))
    torch.testing.assert_close(of_logits, (gradient(loss, logits) * direction).sum())
    torch.testing.assert_close(of_both, expected)


def test_targets_that_learn_have_a_gradient():
    logits, targets = problem(3, 4)
    targets = targets.double().requires_grad_()
    loss = central_similarity_loss(logits, targets, quantization_weight=0)
    expected = by_operations(logits, targets, 0, "squared")
    for result in zip(*(torch.autograd.grad(value, targets) for value in (loss, expected)), strict=True):
        torch.testing.assert_close(*result)


@pytest.mark.parametrize("quantization", ["log_cosh", "squared"])
@pytest.mark.parametrize("weight", [0, 1e-4, 3])
def test_float32_is_as_precise_as_the_plain_operations(weight, quantization):
    """Against float64, at every size of logits; under torch.func the plain operations run."""
    sizes = torch.logspace(-3, 1.6, 500, dtype=torch.float64)
    logits = torch.cat([-sizes, sizes])[:, None].float()
    targets = torch.ones_like(logits)
    options = {"quantization_weight": weight, "quantization": quantization, "reduction": "none"}
    loss = lambda z: central_similarity_loss(z, targets, **options)  # noqa: E731
    slope, values = torch.func.grad_and_value(lambda z: loss(z).sum())(logits)[0], loss(logits)
    errors = []
    for computed in (gradient(lambda z: loss(z).sum(), logits), slope):
        exact = gradient(lambda z: loss(z).sum(), logits.double())
        size = 2 * torch.sigmoid(-2 * logits.double())  # of L_C alone: the sum may cross 0
        errors.append(((computed.double() - exact).abs() / size).max())
    assert errors[0] < max(2 * errors[1], 1e-6)
    torch.testing.assert_close(values.double(), loss(logits.double()), rtol=1e-6, atol=1e-37)


def test_backward_may_be_repeated():
    logits, targets = problem()
    leaf = logits.requires_grad_()
    loss = central_similarity_loss(leaf, targets)
    first, second = (torch.autograd.grad(loss, leaf, retain_graph=True)[0] for _ in range(2))
    assert torch.equal(first, second)


def test_copies_and_the_meta_device():
    centers, logits, labels = HashCenterGenerator(8)(6), torch.randn(5, 8), torch.arange(5)
    loss = CentralSimilarityLoss(centers, quantization="squared", quantization_weight=1)
    for copied in (copy.deepcopy(loss), pickle.loads(pickle.dumps(loss))):
        assert torch.equal(copied(logits, labels), loss(logits, labels))
    on_meta = loss.to("meta")
    leaf = logits.to("meta").requires_grad_()
    on_meta(leaf, labels.to("meta")).backward()
    assert leaf.grad.shape == (5, 8)


def test_gradient_at_zero_points_to_the_center():
    """A head of zeros must learn: d/dz log(1 + exp(-2zc)) = -c at 0, and the kink of L_Q has no part in it."""
    targets = HashCenterGenerator(8)(3)
    grad = gradient(
        lambda z: central_similarity_loss(z, targets, quantization_weight=2.0, reduction="sum"), targets * 0
    )
    torch.testing.assert_close(grad, -targets / 8)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
def test_saturated_codes(dtype):
    """Closed forms at large |z|: 2|z| on the wrong side, exp(-2|z|) on the right side, L_Q = 2 exp(-4|z|)."""
    for size in (8.0, 16.0, 20.0, 30.0, 50.0, 100.0):
        for sign in (1.0, -1.0):
            logits = torch.full((1, 1), sign * size, dtype=dtype)
            for target in (1.0, -1.0):
                wrong = sign != target
                loss = lambda z, c=target: central_similarity_loss(z, torch.full((1, 1), c), quantization_weight=0)  # noqa: E731
                expected = 2 * size * wrong + math.log1p(math.exp(-2 * size))
                slope = -target * 2 / (1 + math.exp(2 * size * sign * target))
                computed = torch.float64 if dtype == torch.float64 else torch.float32
                assert loss(logits).dtype == computed
                # exp(-200) is 0 in float32.
                torch.testing.assert_close(loss(logits), torch.tensor(expected, dtype=computed), rtol=1e-5, atol=1e-37)
                grad = gradient(loss, logits)
                assert grad.dtype == dtype
                torch.testing.assert_close(
                    grad, torch.full((1, 1), slope, dtype=dtype), rtol=1e-5 if dtype.itemsize > 2 else 0.01, atol=1e-7
                )


def test_quantization_term_is_precise_where_a_rounded_tanh_is_1():
    targets = torch.ones(1, 1)
    for size in (6.0, 9.0, 12.0, 20.0):
        with_and_without = [
            central_similarity_loss(torch.full((1, 1), size), targets, quantization_weight=weight).double()
            for weight in (1e9, 0)
        ]
        gap = 2 / (1 + math.exp(2 * size))
        quantization = math.log1p(2 * math.sinh(gap / 2) ** 2)
        difference = with_and_without[0] - with_and_without[1]
        torch.testing.assert_close(difference.item(), 1e9 * quantization, rtol=1e-4, atol=1e-9)


def test_extremes_are_finite():
    for dtype, size in ((torch.float32, 1e30), (torch.float64, 1e300), (torch.float16, 65504), (torch.bfloat16, 1e30)):
        logits = torch.tensor([[size, -size], [-size, size]], dtype=dtype)
        loss = lambda z: central_similarity_loss(z, torch.ones(2, 2), quantization_weight=1.0)  # noqa: E731
        assert torch.isfinite(loss(logits))
        assert gradient(loss, logits).tolist() == [[0, -0.5], [-0.5, 0]]
    codes = torch.tensor([[1.0, -1.0]])
    for dtype in (torch.float32, torch.float64, torch.float16, torch.bfloat16):
        loss = lambda y: central_similarity_loss(y, -codes, from_logits=False)  # noqa: E731
        assert torch.isfinite(loss(codes.to(dtype)))
        assert torch.isfinite(gradient(loss, codes.to(dtype))).all()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_autocast(dtype):
    """The loss of half-precision logits is the loss of their values, and a whole step has the right gradient."""
    centers = HashCenterGenerator(16)(10)
    loss, labels = CentralSimilarityLoss(centers), torch.randint(10, (32,))
    features, layer = torch.randn(32, 12), torch.nn.Linear(12, 16)
    with torch.no_grad():
        layer.weight *= 40
    with torch.autocast("cpu", dtype=dtype):
        logits = layer(features)
        assert logits.dtype == dtype
        assert logits.abs().max() > 40
        logits.retain_grad()
        value = loss(logits, labels)
    value.backward()
    exact = logits.detach().double().requires_grad_()
    expected = central_similarity_loss(exact, centers[labels])
    expected.backward()
    assert value.dtype == torch.float32
    torch.testing.assert_close(value, expected.float())
    torch.testing.assert_close(logits.grad, exact.grad.to(dtype))
    assert torch.isfinite(layer.weight.grad).all()
    with torch.autocast("cpu", dtype=dtype):
        assert loss(exact, labels).dtype == torch.float64


def test_multilabel_targets_are_the_vote_of_the_classes():
    centers, labels = HashCenterGenerator(16)(12), sets(1000, 12)
    logits = torch.randn(1000, 16)
    loss = CentralSimilarityLoss(centers, reduction="none", seed=9)
    rows = [semantic_center_by_loop(row.nonzero()[:, 0].tolist(), centers, loss.tie_bits) for row in labels]
    targets = torch.tensor(rows)
    expected = central_similarity_loss(logits, targets, reduction="none")
    for dtype in (torch.bool, torch.int64, torch.float32):
        assert torch.equal(loss(logits, labels.to(dtype)), expected)
    assert torch.equal(targets, multilabel_centers(labels, centers, seed=9))


def test_class_labels_are_their_centers():
    centers, labels, logits = HashCenterGenerator(16)(20), torch.randint(20, (50,)), torch.randn(50, 16)
    loss = CentralSimilarityLoss(centers)
    expected = central_similarity_loss(logits, centers[labels])
    assert torch.equal(loss(logits, labels), expected)
    assert torch.equal(loss(logits, labels.to(torch.uint8)), expected)
    torch.testing.assert_close(loss(logits, F.one_hot(labels, 20)), expected)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_a_cast_loss_has_the_same_targets(dtype):
    centers, labels, logits = HashCenterGenerator(24)(600), sets(40, 600, share=0.9), torch.randn(40, 24)
    loss = CentralSimilarityLoss(centers)
    classes = torch.randint(600, (40,))
    expected, expected_of_classes = loss(logits, labels), loss(logits, classes)
    cast = copy.deepcopy(loss).to(dtype)
    assert cast.centers.dtype == dtype
    assert (cast.seed.dtype, cast.tie_bits.dtype) == (torch.int64, torch.uint8)
    for autocast in (False, True):
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=autocast):
            assert torch.equal(cast(logits, labels), expected)
            assert torch.equal(cast(logits, classes), expected_of_classes)
            assert cast(logits, classes).dtype == torch.float32


def test_state_dict_restores_the_targets():
    labels, logits = sets(200, 10, share=0.4), torch.randn(200, 12)
    loss = CentralSimilarityLoss(HashCenterGenerator(12, seed=1)(10), seed=1)
    other = CentralSimilarityLoss(HashCenterGenerator(12, seed=2)(10), seed=2)
    assert list(loss.state_dict()) == ["centers", "seed", "tie_bits"]
    assert not list(loss.parameters())
    assert other(logits, labels) != loss(logits, labels)
    other.load_state_dict(copy.deepcopy(loss.state_dict()))
    assert torch.equal(other.tie_bits, loss.tie_bits)
    assert other.seed.item() == 1
    assert other(logits, labels) == loss(logits, labels)
    assert "seed=1" in repr(other)


def test_the_loss_keeps_its_own_centers():
    centers = HashCenterGenerator(8)(4)
    loss = CentralSimilarityLoss(centers)
    centers *= -1
    assert torch.equal(loss.centers, -centers)


def compiled_agrees(backend, cases):
    centers, leaf = HashCenterGenerator(16)(12), torch.randn(30, 16).tanh().requires_grad_()
    for weight, from_logits in cases:
        torch.compiler.reset()
        loss = CentralSimilarityLoss(centers, quantization_weight=weight, from_logits=from_logits, seed=3)
        compiled = torch.compile(loss, fullgraph=True, backend=backend)
        for labels in (torch.randint(12, (30,)), sets(30, 12, share=0.3)):
            results = []
            for function in (compiled, loss):
                value = function(leaf, labels)
                results.append((value, torch.autograd.grad(value, leaf)[0]))
            torch.testing.assert_close(*results)
    with pytest.raises(RuntimeError, match="every row of labels must have at least one class"):
        compiled(leaf, sets(30, 12) & False)
    with pytest.raises(RuntimeError, match="logits contain NaN"):
        compiled(leaf.detach() * math.nan, torch.zeros(30, dtype=torch.int64))


def test_works_compiled():
    compiled_agrees("aot_eager", [(1e-4, True), (0.5, False)])


@pytest.mark.slow
def test_works_compiled_by_inductor():
    compiled_agrees("inductor", [(1e-4, True)])


def test_works_compiled_under_autocast():
    layer, loss = torch.nn.Linear(12, 16), CentralSimilarityLoss(HashCenterGenerator(16)(10))
    features, labels = torch.randn(8, 12), sets(8, 10, share=0.4)

    def step(features, labels):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            return loss(layer(features), labels)

    expected = step(features, labels)
    torch.testing.assert_close(torch.compile(step, fullgraph=True, backend="aot_eager")(features, labels), expected)


def test_it_pulls_codes_to_centers():
    centers, labels = HashCenterGenerator(16)(8), torch.arange(8)
    logits = torch.zeros(8, 16, requires_grad=True)
    loss = CentralSimilarityLoss(centers)
    optimizer = torch.optim.SGD([logits], lr=20)
    for _ in range(20):
        optimizer.zero_grad()
        loss(logits, labels).backward()
        optimizer.step()
    assert torch.equal(logits.detach().sign(), centers)


def test_inputs_stay():
    centers, labels, logits = HashCenterGenerator(8)(6), sets(20, 6).float(), torch.randn(20, 8).tanh()
    before = [x.clone() for x in (centers, labels, logits)]
    for from_logits in (True, False):
        CentralSimilarityLoss(centers, from_logits=from_logits)(logits, labels)
        central_similarity_loss(logits, centers[:1].expand(20, 8), from_logits=from_logits)
    assert all(torch.equal(x, y) for x, y in zip((centers, labels, logits), before, strict=True))


def test_relaxed_codes_may_be_a_little_too_long():
    loss = central_similarity_loss(torch.full((1, 4), 1.0005), torch.ones(1, 4), from_logits=False)
    assert abs(loss) < 1e-3
    message = r"logits must lie in \[-1, 1\] with from_logits=False, got one outside; pass from_logits=True"
    with pytest.raises(ValueError, match=message):
        central_similarity_loss(torch.full((1, 4), -1.01), torch.ones(1, 4), from_logits=False)
    with pytest.raises(ValueError, match=message):
        CentralSimilarityLoss(torch.ones(1, 4), from_logits=False)(torch.full((1, 4), float("inf")), torch.tensor([0]))


def test_empty_batches():
    loss = CentralSimilarityLoss(HashCenterGenerator(8)(6))
    with pytest.raises(ValueError, match="logits must hold at least one sample to take a mean"):
        loss(torch.zeros(0, 8), torch.zeros(0, dtype=torch.int64))
    empty = torch.zeros(0, 8)
    assert central_similarity_loss(empty, empty, reduction="sum") == 0
    assert central_similarity_loss(empty, empty, reduction="none").shape == (0,)


def test_bad_calls_of_the_loss_are_refused():
    loss, labels = CentralSimilarityLoss(HashCenterGenerator(8)(6)), torch.tensor([0, 5])
    with pytest.raises(ValueError, match="logits contain NaN"):
        loss(torch.tensor([[0.0] * 8, [float("nan")] * 8]), labels)
    with pytest.raises(ValueError, match=r"logits must have shape \(N, n_bits=8\), got \(2, 9\)"):
        loss(torch.zeros(2, 9), labels)
    with pytest.raises(TypeError, match="logits must be a floating-point tensor"):
        loss(torch.zeros(2, 8, dtype=torch.bool), labels)
    with pytest.raises(ValueError, match=r"labels must lie in 0\.\.5 \(n_classes=6\)"):
        loss(torch.zeros(2, 8), torch.tensor([0, 6]))
    with pytest.raises(ValueError, match=r"labels must lie in 0\.\.5 \(n_classes=6\)"):
        loss(torch.zeros(2, 8), torch.tensor([0, -1]))
    with pytest.raises(ValueError, match="labels must have one row a sample: 2 samples"):
        loss(torch.zeros(2, 8), torch.tensor([0, 1, 2]))
    with pytest.raises(ValueError, match=r"labels must be class indices \(N,\) or multi-hot \(N, n_classes=6\)"):
        loss(torch.zeros(2, 8), torch.zeros(2, 5))
    multi_hot = torch.ones(2, 6)
    multi_hot[1] = 0
    with pytest.raises(ValueError, match=re.escape("1 of 2 rows have none (row 1); drop these samples")):
        loss(torch.zeros(2, 8), multi_hot)


def test_bad_calls_of_the_function_are_refused():
    codes = torch.ones(2, 8)
    with pytest.raises(TypeError, match=r"target_codes must be a floating-point tensor.*got torch.int64"):
        central_similarity_loss(codes, codes.long())
    with pytest.raises(TypeError, match=r"target_codes must be a floating-point tensor.*got ndarray"):
        central_similarity_loss(codes, np.ones((2, 8)))
    with pytest.raises(ValueError, match=r"target_codes must have shape \(N, n_bits\), got \(8,\)"):
        central_similarity_loss(codes, codes[0])
    with pytest.raises(ValueError, match=r"same shape, got \(2, 8\) and \(1, 8\)"):
        central_similarity_loss(codes, codes[:1])
    with pytest.raises(ValueError, match="target_codes must hold only -1 and"):
        central_similarity_loss(codes, codes * 0)
    with pytest.raises(ValueError, match="logits contain NaN"):
        central_similarity_loss(codes * float("nan"), codes)


@pytest.mark.parametrize("make", [
    lambda **options: CentralSimilarityLoss(torch.ones(1, 4), **options),
    lambda **options: central_similarity_loss(torch.ones(1, 4), torch.ones(1, 4), **options),
])  # fmt: skip
def test_bad_options_are_refused(make):
    for weight in (-1, float("inf"), float("nan")):
        with pytest.raises(ValueError, match=f"quantization_weight must be finite and at least 0, got {weight}"):
            make(quantization_weight=weight)
    with pytest.raises(ValueError, match="reduction must be one of 'mean', 'sum', 'none', got 'batch'"):
        make(reduction="batch")

    with pytest.raises(ValueError, match="quantization must be one of 'log_cosh', 'squared', got 'l1'"):
        make(quantization="l1")


def test_nan_is_found_in_every_reduction():
    logits = torch.zeros(3, 4)
    logits[1, 2] = math.nan
    for reduction in ("mean", "sum", "none"):
        for values in (logits, logits.clone().requires_grad_(), logits.half()):
            with pytest.raises(ValueError, match="logits contain NaN; look for a diverged loss or a bad input sample"):
                central_similarity_loss(values, torch.ones(3, 4), reduction=reduction)
    infinite = central_similarity_loss(torch.full((1, 4), -math.inf), torch.ones(1, 4), reduction="none")
    assert infinite.tolist() == [math.inf]


def test_bad_centers_are_refused():
    with pytest.raises(ValueError, match="centers must hold only -1 and"):
        CentralSimilarityLoss(torch.zeros(3, 8))
    with pytest.raises(TypeError, match="centers must be a floating-point tensor"):
        CentralSimilarityLoss(torch.ones(3, 8, dtype=torch.int64))
    with pytest.raises(ValueError, match="seed must be at least 0"):
        CentralSimilarityLoss(torch.ones(3, 8), seed=-1)


def test_repr_on_the_meta_device():
    loss = CentralSimilarityLoss(torch.ones(1, 4)).to("meta")
    assert "seed=?" in repr(loss)
