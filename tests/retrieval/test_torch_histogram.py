import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from hashcenters.retrieval import hamming_distance, torch_histogram
from hashcenters.retrieval.histogram import distance_histograms
from hashcenters.retrieval.torch_histogram import torch_distance_histograms


def random_arguments(rng, n_queries, n_items, n_bits, n_classes, noise, multi_hot):
    center = rng.random(n_bits) < 0.5
    codes = [np.packbits(center ^ (rng.random((n, n_bits)) < noise), axis=1) for n in (n_queries, n_items)]
    if multi_hot:
        labels = [np.packbits(rng.random((n, n_classes)) < 1.5 / n_classes, axis=1) for n in (n_queries, n_items)]
    else:
        labels = [rng.integers(0, n_classes, n) for n in (n_queries, n_items)]
    return [*codes, *labels]


def assert_like_numba(arguments, n_bits):
    expected = distance_histograms(*arguments, n_bits=n_bits)
    counts = torch_distance_histograms(*map(torch.from_numpy, arguments), n_bits=n_bits)
    assert counts.items.dtype == counts.relevant.dtype == torch.int64
    np.testing.assert_array_equal(counts.items.numpy(), expected.items)
    np.testing.assert_array_equal(counts.relevant.numpy(), expected.relevant)


@given(
    st.integers(1, 1024),
    st.sampled_from([0, 1, 2, 5]),
    st.sampled_from([0, 1, 2, 3, 40]),
    st.integers(1, 200),
    st.sampled_from([0.0, 0.1, 0.5]),
    st.booleans(),
    st.integers(0, 2**31),
)
def test_counts_are_those_of_the_kernels(n_bits, n_queries, n_items, n_classes, noise, multi_hot, seed):
    rng = np.random.default_rng(seed)
    assert_like_numba(random_arguments(rng, n_queries, n_items, n_bits, n_classes, noise, multi_hot), n_bits)


@pytest.mark.parametrize("multi_hot", [False, True])
def test_blocks_change_nothing(multi_hot, monkeypatch):
    monkeypatch.setattr(torch_histogram, "_ITEMS", 7)
    monkeypatch.setattr(torch_histogram, "_QUERIES_ON_CPU", 3)
    arguments = random_arguments(np.random.default_rng(0), 11, 50, 70, 5, 0.3, multi_hot)
    copies = [array.copy() for array in arguments]
    assert_like_numba(arguments, 70)
    for array, copy in zip(arguments, copies, strict=True):
        np.testing.assert_array_equal(array, copy)


@pytest.mark.parametrize("multi_hot", [False, True])
def test_half_precision_is_exact(multi_hot, monkeypatch):
    """What accelerators do, with the longest codes: distances 0 to 1024, and products from -1024 to 1024."""
    monkeypatch.setattr(torch_histogram, "_signs", lambda packed, n_bits: real(packed, n_bits).half())
    rng = np.random.default_rng(1)
    arguments = random_arguments(rng, 4, 30, 1024, 90, 0.5, multi_hot)
    arguments[1][:4], arguments[1][4:8] = arguments[0], ~arguments[0]
    assert_like_numba(arguments, 1024)


real = torch_histogram._signs


def test_what_does_not_fit_is_refused():
    codes, labels = torch.zeros(3, 2, dtype=torch.uint8), torch.zeros(3, dtype=torch.int64)
    with pytest.raises(ValueError, match="n_bits must be at most 1024, got 1025"):
        torch_distance_histograms(codes, codes, labels, labels, n_bits=1025)
    with pytest.raises(ValueError, match=r"queries must be uint8 of shape \(n, 3\) for n_bits=17, got torch.uint8 of"):
        torch_distance_histograms(codes, codes, labels, labels, n_bits=17)
    with pytest.raises(ValueError, match=r"database must be uint8 of shape \(n, 2\) for n_bits=16, got torch.int64"):
        torch_distance_histograms(codes, codes.long(), labels, labels, n_bits=16)
    for bad in (labels[:2], labels.float(), labels > 0, torch.zeros(3, 0, dtype=torch.uint8), codes.long()):
        with pytest.raises(ValueError, match=r"labels of the database must be integer class ids \(n,\) or label sets"):
            torch_distance_histograms(codes, codes, labels, bad, n_bits=16)
    with pytest.raises(ValueError, match=r"must both be class ids \(n,\) or label sets of one width, got shapes"):
        torch_distance_histograms(codes, codes, labels, codes, n_bits=16)
    with pytest.raises(ValueError, match="codes and labels must be on one device, got cpu, meta"):
        torch_distance_histograms(codes, codes, labels.to("meta"), labels, n_bits=16)
    with pytest.raises(ValueError, match="have a bit set behind bit 14"):
        torch_distance_histograms(codes, codes + 1, labels, labels, n_bits=15)


def test_autocast_does_not_round_distances():
    queries = torch.zeros(1, 64, dtype=torch.uint8)
    database = torch.full((1, 64), 255, dtype=torch.uint8)
    database[0, 0] = 254  # distance 511
    with torch.autocast("cpu", torch.bfloat16):
        counts = torch_distance_histograms(queries, database, torch.tensor([0]), torch.tensor([0]), n_bits=512)
        assert int(hamming_distance(queries, database)) == 511
    assert int(counts.items[0].argmax()) == int(counts.relevant[0].argmax()) == 511
