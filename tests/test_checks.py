import re

import numpy as np
import pytest
import torch

from hashcenters.checks import (
    check_centers,
    check_count,
    check_finite,
    check_labels,
    check_logits,
    check_matrix,
    require,
)


def test_require_speaks_only_when_broken():
    require(torch.tensor(True), "quiet")
    with pytest.raises(ValueError, match="loud"):
        require(torch.tensor(False), "loud")


def test_require_becomes_a_device_assertion_when_compiled():
    def step(x):
        require((x > 0).all(), "x must be positive")
        return x + 1

    compiled = torch.compile(step, fullgraph=True, backend="aot_eager")
    assert compiled(torch.ones(3)).tolist() == [2, 2, 2]
    with pytest.raises(RuntimeError, match="x must be positive"):
        compiled(-torch.ones(3))


@pytest.mark.parametrize("value", [3, np.int64(3)])
def test_count_takes_every_integer(value):
    assert check_count(value, "n_bits") == 3


@pytest.mark.parametrize("value", [True, 3.0, "3", None])
def test_count_refuses_other_types(value):
    with pytest.raises(TypeError, match=re.escape(f"n_bits must be an int, got {value!r}")):
        check_count(value, "n_bits")


def test_count_refuses_small_numbers():
    with pytest.raises(ValueError, match="n_bits must be at least 1, got 0"):
        check_count(0, "n_bits")
    with pytest.raises(ValueError, match="radius must be at least 0, got -1"):
        check_count(-1, "radius", least=0)


def test_nan_is_refused_and_infinity_is_not():
    check_finite(torch.tensor([float("inf")]), "logits")
    with pytest.raises(ValueError, match="logits contain NaN"):
        check_finite(torch.tensor([0.0, float("nan")]), "logits")


def test_logits():
    check_logits(torch.zeros(0, 8), 8)
    with pytest.raises(TypeError, match=r"logits must be a floating-point tensor of shape \(N, 8\), got torch.int64"):
        check_logits(torch.zeros(2, 8, dtype=torch.int64), 8)
    with pytest.raises(TypeError, match="got ndarray"):
        check_logits(np.zeros((2, 8)), 8)
    with pytest.raises(ValueError, match=r"logits must have shape \(N, n_bits=8\), got \(2, 9\)"):
        check_logits(torch.zeros(2, 9), 8)
    with pytest.raises(ValueError, match="codes contain NaN"):
        check_logits(torch.full((2, 8), float("nan")), 8, "codes")
    check_logits(torch.full((2, 8), float("nan")), 8, values=False)


def test_centers():
    check_centers(torch.ones(3, 4))
    with pytest.raises(TypeError, match="centers must be a floating-point tensor.*got torch.int8"):
        check_centers(torch.ones(3, 4, dtype=torch.int8))
    with pytest.raises(ValueError, match=r"centers must have shape .* got \(0, 4\)"):
        check_centers(torch.ones(0, 4))
    with pytest.raises(ValueError, match="centers must hold only -1 and"):
        check_centers(torch.zeros(3, 4))


def test_labels():
    check_labels(torch.tensor([0, 2], dtype=torch.uint8), 3)
    for dtype in (torch.uint8, torch.int8, torch.uint16, torch.int32):
        for n_classes in (256, 300):  # more than the narrow ones hold
            check_labels(torch.tensor([100, 50]).to(dtype), n_classes)
    with pytest.raises(ValueError, match="labels must lie in"):
        check_labels(torch.tensor([-1], dtype=torch.int8), 300)
    check_labels(torch.tensor([[True, False, True]]), 3, n_rows=1)
    check_labels(torch.tensor([[1.0, 0.0, 1.0]]), 3, n_rows=1)
    with pytest.raises(TypeError, match="labels must be a tensor, got list"):
        check_labels([0, 1], 3)
    with pytest.raises(ValueError, match=r"labels must have one row a sample: 5 samples, labels of shape \(2,\)"):
        check_labels(torch.tensor([0, 1]), 3, n_rows=5)
    with pytest.raises(TypeError, match="class indices and must be int64, got torch.float32"):
        check_labels(torch.tensor([0.0]), 3)
    for wrong in (-1, 3):
        with pytest.raises(ValueError, match=r"labels must lie in 0..2 \(n_classes=3\)"):
            check_labels(torch.tensor([0, wrong]), 3)
    check_labels(torch.zeros(0, dtype=torch.int64), 3)
    for dtype in (torch.uint8, torch.int8, torch.int64, torch.float16, torch.bfloat16, torch.float64):
        check_labels(torch.tensor([[0, 1, 0]]).to(dtype), 3)
        check_labels(torch.zeros((0, 3), dtype=dtype), 3)
        with pytest.raises(ValueError, match="multi-hot labels must hold only 0 and 1"):
            check_labels(torch.tensor([[0, 2, 0]]).to(dtype), 3)
    # Neither may hide another: v - v² is below 0 outside and above 0 inside.
    for wrong in (-1.0, 0.5, 1 + 2**-23, 1e-30, 1e30, float("nan"), float("inf")):
        with pytest.raises(ValueError, match="multi-hot labels must hold only 0 and 1"):
            check_labels(torch.tensor([[0, wrong, 1], [-0.5, 1.5, 0.5]])[: 1 if wrong != 0.5 else 2], 3)
    with pytest.raises(ValueError, match=r"multi-hot \(N, n_classes=3\), got \(2, 4\)"):
        check_labels(torch.zeros(2, 4), 3)


def test_matrices_are_square_and_finite():
    matrix = torch.rand(3, 3)
    assert check_matrix(matrix, "similarity", 3) is matrix
    with pytest.raises(TypeError, match=r"similarity must be a tensor of shape \(n_classes, n_classes\), got list"):
        check_matrix([[1.0]], "similarity")
    for wrong in (torch.tensor(1.0), torch.ones(3), torch.ones(3, 2), torch.ones(0, 0), torch.ones(2, 2, 2)):
        with pytest.raises(
            ValueError, match=re.escape(f"must have shape (n_classes, n_classes), got {tuple(wrong.shape)}")
        ):
            check_matrix(wrong, "similarity")
    with pytest.raises(ValueError, match=r"must have shape \(n_classes=4, n_classes=4\), got \(3, 3\)"):
        check_matrix(matrix, "similarity", 4)
    with pytest.raises(ValueError, match="confusion must be finite, got NaN or infinity"):
        check_matrix(torch.tensor([[float("nan")]]), "confusion")


def test_messages_say_the_way_out():
    with pytest.raises(TypeError, match=r"got ndarray; pass torch.from_numpy\(values\)"):
        check_centers(np.ones((2, 2)))
    with pytest.raises(TypeError, match=r"got torch.int8; take values.float\(\), of bool and 0/1 bits 2.0 \* bits - 1"):
        check_centers(torch.ones(2, 2, dtype=torch.int8))
    with pytest.raises(ValueError, match=r"centers must hold only -1 and \+1; of 0/1 bits make 2 \* bits - 1"):
        check_centers(torch.zeros(2, 2))
    with pytest.raises(TypeError, match="got ndarray; pass torch.from_numpy"):
        check_matrix(np.ones((2, 2)), "confusion")
    with pytest.raises(TypeError, match="confusion must hold real numbers, got torch.complex64"):
        check_matrix(torch.ones(2, 2, dtype=torch.complex64), "confusion")
    for wrong in (np.array([16]), torch.tensor(16.0), "16", None, True):
        with pytest.raises(TypeError, match="n_bits must be an int, got"):
            check_count(wrong, "n_bits")
