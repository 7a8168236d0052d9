import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from hashcenters.centers import HashCenterGenerator, nearest, nearest_center
from references import nearest_center_by_loop


@given(st.integers(1, 9), st.integers(1, 12), st.integers(0, 20), st.integers(0, 2**32))
def test_equals_the_loop_with_many_ties(n_bits, n_classes, n_codes, seed):
    random = torch.Generator().manual_seed(seed)
    centers = torch.randint(2, (n_classes, n_bits), generator=random) * 2.0 - 1
    codes = torch.randint(-2, 3, (n_codes, n_bits), generator=random) / 2
    codes[:, 0] -= 0.25  # zeros stay elsewhere, but no batch of 0 and 1
    expected = nearest_center_by_loop(codes >= 0, centers)
    for given_codes in (codes, codes.bfloat16(), codes >= 0):
        classes, distances = nearest_center(given_codes, centers)
        assert classes.dtype == distances.dtype == torch.int64
        assert list(zip(classes.tolist(), distances.tolist(), strict=True)) == expected


def test_blocks_change_nothing(monkeypatch):
    codes, centers = torch.randn(101, 24), HashCenterGenerator(24)(7)
    whole = nearest_center(codes, centers)
    monkeypatch.setattr(nearest, "_BLOCK_ELEMENTS", 70)
    blocks = nearest_center(codes, centers)
    assert torch.equal(whole.classes, blocks.classes)
    assert torch.equal(whole.distances, blocks.distances)


@pytest.mark.parametrize("n_bits", [64, 1000])
def test_exact_under_autocast(n_bits):
    """In bfloat16 an inner product of 1000 bits is off by up to 4 bits."""
    codes, centers = torch.randn(30, n_bits), HashCenterGenerator(n_bits, seed=1)(40)
    codes[:, : n_bits // 2] = centers[:30, : n_bits // 2]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        result = nearest_center(codes, centers.bfloat16())
    assert list(zip(*(x.tolist() for x in result), strict=True)) == nearest_center_by_loop(codes >= 0, centers)


def test_centers_find_themselves_at_distance_0_and_flips_are_counted():
    centers = HashCenterGenerator(64)(100)
    assert nearest_center(centers, centers).classes.tolist() == list(range(100))
    flipped = centers.clone()
    flipped[:, :5] *= -1
    assert nearest_center(flipped, centers).classes.tolist() == list(range(100))
    assert nearest_center(flipped, centers).distances.tolist() == [5] * 100


def test_inputs_stay_and_gradients_are_no_matter():
    codes, centers = torch.randn(5, 8, requires_grad=True), HashCenterGenerator(8)(3)
    before, centers_before = codes.detach().clone(), centers.clone()
    assert not nearest_center(codes, centers).distances.requires_grad
    assert torch.equal(codes.detach(), before)
    assert torch.equal(centers, centers_before)


def test_single_codes_of_ones_or_zeros_are_codes():
    centers = HashCenterGenerator(4, method="paper")(2)
    assert nearest_center(torch.ones(1, 4), centers).distances.tolist() == [0]
    assert nearest_center(torch.zeros(1, 4), centers).distances.tolist() == [0]


def test_bad_input_is_refused():
    centers = HashCenterGenerator(8)(3)
    packed = torch.zeros(2, 1, dtype=torch.uint8)
    with pytest.raises(
        TypeError,
        match=r"codes must be a float or bool tensor.*got torch.uint8; unpack packed codes first: hashcenters",
    ):
        nearest_center(packed, centers)
    with pytest.raises(TypeError, match="codes must be a float or bool tensor.*got ndarray"):
        nearest_center(np.zeros((2, 8)), centers)
    with pytest.raises(ValueError, match=r"codes must have shape \(N, n_bits=8\), got \(2, 7\)"):
        nearest_center(torch.randn(2, 7), centers)
    with pytest.raises(ValueError, match=r"codes must have shape \(N, n_bits=8\), got \(8,\)"):
        nearest_center(torch.zeros(8, dtype=torch.bool), centers)
    with pytest.raises(ValueError, match="codes contain NaN"):
        nearest_center(torch.full((2, 8), float("nan")), centers)
    with pytest.raises(ValueError, match="codes hold only 0 and 1, and as floats both read as"):
        nearest_center((centers + 1) / 2, centers)
    with pytest.raises(ValueError, match="centers must hold only -1 and"):
        nearest_center(centers, centers * 2)


def test_numpy_codes_are_told_the_way():
    with pytest.raises(TypeError, match=r"got ndarray; pass torch\.from_numpy\(codes\)$"):
        nearest_center(torch.ones(2, 8).numpy(), torch.ones(1, 8))
