import threading
import time
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hashcenters import compiling
from hashcenters.retrieval import histogram
from hashcenters.retrieval.histogram import distance_histograms, gain_histograms
from references import gain_histograms_by_loop, histograms_by_loop


def assert_counts(counts, expected):
    assert counts.items.dtype == counts.relevant.dtype == np.int64
    np.testing.assert_array_equal(counts.items, expected[0])
    np.testing.assert_array_equal(counts.relevant, expected[1])


def random_case(rng, n_queries, n_items, n_bits, noise=0.5):
    """Bits around one center: all alike without noise, random with noise 0.5."""
    center = rng.random(n_bits) < 0.5
    return [center ^ (rng.random((n, n_bits)) < noise) for n in (n_queries, n_items)]


def packed(bits):
    return np.packbits(bits, axis=1)


@given(
    st.sampled_from([*range(1, 20), 31, 32, 33, 63, 64, 65, 100, 127, 128, 129, 191, 192, 255, 256, 1023, 1024]),
    st.integers(0, 5),
    st.integers(0, 40),
    st.sampled_from([0.0, 0.1, 0.5, 1.0]),
    st.integers(1, 4),
    st.integers(0, 2**31),
)
def test_class_ids_match_the_loop(n_bits, n_queries, n_items, noise, n_classes, seed):
    rng = np.random.default_rng(seed)
    queries, database = random_case(rng, n_queries, n_items, n_bits, noise)
    # Ids beyond 16 bits take another way of sorting; one more class among the queries has no items.
    spread = int(rng.choice([1, 10**9]))
    query_labels = rng.integers(0, n_classes + 1, n_queries) * spread
    labels = rng.integers(0, n_classes, n_items) * spread
    counts = distance_histograms(packed(queries), packed(database), query_labels, labels, n_bits=n_bits)
    expected = histograms_by_loop(queries, database, lambda i, j: query_labels[i] == labels[j])
    assert_counts(counts, expected)


@given(
    st.sampled_from([1, 5, 8, 63, 64, 65, 94, 95, 96, 128, 200, 1024]),
    st.sampled_from([1, 2, 8, 63, 64, 65, 80, 128, 129, 200, 300]),
    st.integers(0, 5),
    st.integers(0, 40),
    st.integers(0, 2**31),
)
def test_label_sets_match_the_loop(n_bits, n_classes, n_queries, n_items, seed):
    rng = np.random.default_rng(seed)
    queries, database = random_case(rng, n_queries, n_items, n_bits)
    query_sets = rng.random((n_queries, n_classes)) < 0.7 / n_classes**0.5
    sets = rng.random((n_items, n_classes)) < 0.7 / n_classes**0.5
    counts = distance_histograms(packed(queries), packed(database), packed(query_sets), packed(sets), n_bits=n_bits)
    expected = histograms_by_loop(queries, database, lambda i, j: (query_sets[i] & sets[j]).any())
    assert_counts(counts, expected)


@pytest.mark.parametrize("n_bits", [12, 64, 130, 200])
@pytest.mark.parametrize("multi_hot", [False, True])
def test_blocks_chunks_and_threads_change_nothing(n_bits, multi_hot, monkeypatch):
    rng = np.random.default_rng(n_bits)
    queries, database = random_case(rng, 201, 8 * histogram._BLOCK + 7, n_bits)
    query_labels, labels = rng.integers(0, 3, 201), rng.integers(0, 3, len(database))
    distances = (queries.astype(np.float32) @ (1 - database.T) + (1 - queries) @ database.T.astype(np.float32)).astype(
        int
    )
    relevant = query_labels[:, None] == labels
    expected = [
        np.stack([np.bincount(row[keep], minlength=n_bits + 1) for row, keep in zip(distances, mask, strict=True)])
        for mask in (np.ones_like(relevant), relevant)
    ]
    if multi_hot:
        query_labels, labels = (packed(np.eye(3, dtype=bool)[ids]) for ids in (query_labels, labels))
    arguments = packed(queries), packed(database), query_labels, labels
    copies = [array.copy() for array in arguments]
    assert_counts(distance_histograms(*arguments, n_bits=n_bits), expected)
    monkeypatch.setattr(histogram, "_BLOCK", 64)  # read by Python alone: outer blocks become short
    monkeypatch.setattr(histogram, "_OUTER_WORDS", 1)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 3)
    assert_counts(distance_histograms(*arguments, n_bits=n_bits), expected)
    monkeypatch.setattr(histogram, "_CHUNK", 2)
    assert_counts(distance_histograms(*arguments, n_bits=n_bits), expected)
    for array, copy in zip(arguments, copies, strict=True):
        np.testing.assert_array_equal(array, copy)


def test_any_memory_layout_is_read():
    rng = np.random.default_rng(0)
    queries, database = random_case(rng, 3, 11, 64)
    labels = rng.integers(0, 2, 11)
    expected = distance_histograms(packed(queries), packed(database), labels[:3], labels, n_bits=64)
    rows = np.asfortranarray(packed(database))
    rows.setflags(write=False)
    unaligned = np.frombuffer(b"\0" + packed(queries).tobytes(), dtype=np.uint8)[1:].reshape(3, 8)
    assert_counts(distance_histograms(unaligned, rows, labels[:3], labels, n_bits=64), expected)


def test_counts_of_shards_add_up():
    rng = np.random.default_rng(1)
    queries, database = random_case(rng, 4, 50, 20)
    labels = rng.integers(0, 3, 50)
    whole = distance_histograms(packed(queries), packed(database), labels[:4], labels, n_bits=20)
    parts = [
        distance_histograms(packed(queries), packed(database[part]), labels[:4], labels[part], n_bits=20)
        for part in (slice(0, 7), slice(7, 7), slice(7, 50))
    ]
    assert_counts(whole, (sum(part.items for part in parts), sum(part.relevant for part in parts)))


def test_what_does_not_fit_is_refused():
    codes, labels = np.zeros((3, 2), np.uint8), np.zeros(3, np.int64)
    with pytest.raises(ValueError, match="n_bits must be at most 1024, got 1025"):
        distance_histograms(codes, codes, labels, labels, n_bits=1025)
    with pytest.raises(ValueError, match=r"queries must be uint8 of shape \(n, 3\) for n_bits=17, got uint8 of shape"):
        distance_histograms(codes, codes, labels, labels, n_bits=17)
    with pytest.raises(ValueError, match=r"database must be uint8 of shape \(n, 2\) for n_bits=16, got int64"):
        distance_histograms(codes, codes.astype(np.int64), labels, labels, n_bits=16)
    for bad in (labels[:2], labels.astype(float), np.zeros((3, 4), bool), np.zeros((3, 0), np.uint8)):
        with pytest.raises(ValueError, match=r"labels of the database must be integer class ids \(n,\) or label sets"):
            distance_histograms(codes, codes, labels, bad, n_bits=16)
    with pytest.raises(ValueError, match=r"must both be class ids \(n,\) or label sets of one width, got shapes"):
        distance_histograms(codes, codes, labels, np.zeros((3, 1), np.uint8), n_bits=16)


@pytest.fixture
def impatient(monkeypatch):
    monkeypatch.setattr(histogram, "_PATIENCE", 0.01)
    monkeypatch.setattr(histogram, "_announced", threading.Event())


def test_compilation_is_announced_once(impatient, capsys):
    kernel = SimpleNamespace(signatures=[], stats=SimpleNamespace(cache_misses={"signature": 1}))
    for _ in range(2):
        with histogram.announced_compilation(kernel):
            time.sleep(0.3)
    assert capsys.readouterr().err == "hashcenters: compiling kernels for this processor, a few seconds, once\n"


@pytest.mark.parametrize("signatures", [[], ["signature"]])
def test_loading_and_running_are_not_announced(impatient, capsys, signatures):
    kernel = SimpleNamespace(signatures=signatures, stats=SimpleNamespace(cache_misses={}))
    with histogram.announced_compilation(kernel):
        time.sleep(0.3)
    assert capsys.readouterr().err == ""


def test_kernels_compile_where_no_cache_can_be_written(monkeypatch):
    real = compiling.njit

    def njit(**options):
        if options.get("cache"):
            raise RuntimeError("cannot cache function: no locator available")
        return real(**options)

    monkeypatch.setattr(compiling, "njit", njit)

    @compiling.compiled
    def double(x):
        return 2 * x

    assert double(21) == 42


@settings(max_examples=200)
@given(st.integers(0, 2**64 - 1))
def test_population_count(word):
    query = np.array([[word]], dtype=np.uint64).view(np.uint8)
    database = np.array([[0], [2**64 - 1]], dtype=np.uint64).view(np.uint8)
    labels = np.array([0, 1])
    counts = distance_histograms(query, database, labels[:1], labels, n_bits=64)
    ones = word.bit_count()
    assert counts.relevant[0].tolist() == [int(d == ones) for d in range(65)]
    assert counts.items[0].tolist() == [int(d == ones) + int(d == 64 - ones) for d in range(65)]


@given(
    st.integers(1, 1024),
    st.integers(1, 200),
    st.sampled_from([0, 1, 2, 3, 5]),
    st.sampled_from([0, 1, 2, 3, 4, 5, 7, 8, 29]),
    st.sampled_from([0.0, 0.5]),
    st.sampled_from([0.01, 0.1, 0.9, 1.0]),
    st.integers(0, 2**31),
)
def test_gains_match_the_loop(n_bits, n_classes, n_queries, n_items, noise, density, seed):
    rng = np.random.default_rng(seed)
    queries, database = random_case(rng, n_queries, n_items, n_bits, noise)
    query_sets, sets = (rng.random((n, n_classes)) < density for n in (n_queries, n_items))
    arguments = packed(queries), packed(database), packed(query_sets), packed(sets)
    gains = gain_histograms(*arguments, n_bits=n_bits)
    assert gains.dtype == np.int64
    expected = gain_histograms_by_loop(queries, database, query_sets, sets)
    np.testing.assert_array_equal(gains, expected)
    assert_counts(
        distance_histograms(*arguments, n_bits=n_bits), (expected.sum(axis=2), expected[:, :, 1:].sum(axis=2))
    )


def test_gains_of_class_ids_have_two_levels():
    rng = np.random.default_rng(2)
    queries, database = random_case(rng, 3, 40, 12)
    query_labels, labels = rng.integers(0, 3, 3), rng.integers(0, 3, 40)
    gains = gain_histograms(packed(queries), packed(database), query_labels, labels, n_bits=12)
    one_hot = [np.eye(3, dtype=bool)[ids] for ids in (query_labels, labels)]
    np.testing.assert_array_equal(gains, gain_histograms_by_loop(queries, database, *one_hot))


@pytest.mark.parametrize("n_bits", [12, 64, 130, 200, 1024])
def test_threads_change_no_gain(n_bits, monkeypatch):
    rng = np.random.default_rng(n_bits)
    queries, database = random_case(rng, 67, 8 * histogram._BLOCK + 7, n_bits)
    arguments = packed(queries), packed(database), *(packed(rng.random((n, 90)) < 0.05) for n in (67, len(database)))
    alone, alone_gains = distance_histograms(*arguments, n_bits=n_bits), gain_histograms(*arguments, n_bits=n_bits)
    assert_counts(alone, (alone_gains.sum(axis=2), alone_gains[:, :, 1:].sum(axis=2)))
    assert (alone.items.sum(axis=1) == len(database)).all()
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    monkeypatch.setattr(histogram, "_SMALL", 0)
    monkeypatch.setattr(histogram, "_BLOCK", 64)
    monkeypatch.setattr(histogram, "_OUTER_WORDS", 1)
    assert_counts(distance_histograms(*arguments, n_bits=n_bits), alone)
    np.testing.assert_array_equal(gain_histograms(*arguments, n_bits=n_bits), alone_gains)


def test_too_many_shared_labels_are_refused():
    codes, sets = np.zeros((2, 1), np.uint8), np.full((2, 8193), 255, np.uint8)
    with pytest.raises(ValueError, match="label sets may share at most 65535 labels, got sets of 65544"):
        gain_histograms(codes, codes, sets, sets, n_bits=8)


def test_arguments_of_gains_are_checked():
    codes, labels = np.zeros((3, 2), np.uint8), np.zeros(3, np.int64)
    with pytest.raises(ValueError, match="n_bits must be at most 1024, got 1025"):
        gain_histograms(codes, codes, labels, labels, n_bits=1025)
    with pytest.raises(ValueError, match=r"must both be class ids \(n,\) or label sets of one width, got shapes"):
        gain_histograms(codes, codes, labels, np.zeros((3, 1), np.uint8), n_bits=16)
