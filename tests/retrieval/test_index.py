import builtins
import hashlib
import importlib
import itertools
import json
import os
import pickle
import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from hashcenters.retrieval import index_file, search_kernels
from hashcenters.retrieval.index import HammingIndex, RangeResult, SearchResult
from references import range_search_by_sorting, search_by_sorting

# On newer Pythons SWIG's modules warn while they are imported.
pytestmark = pytest.mark.filterwarnings("ignore:builtin type .* has no __module__ attribute:DeprecationWarning")

needs_faiss = pytest.mark.skipif(importlib.util.find_spec("faiss") is None, reason="faiss is not installed")
EXACT = ["exact", pytest.param("flat", marks=needs_faiss)]
FAISS = [pytest.param(name, marks=needs_faiss) for name in ("flat", "hnsw", "ivf")]
ALL_BITS = [*range(1, 131), 512, 1023, 1024]


def random_bits(rng, n, n_bits, noise=0.5, center=None):
    center = rng.random(n_bits) < 0.5 if center is None else center
    return center ^ (rng.random((n, n_bits)) < noise)


def random_ids(rng, n):
    """Distinct ids in any order: dense, sparse, or huge."""
    spread = int(rng.choice([1, 3, 2**40]))
    return rng.permutation(rng.choice(max(1, 2 * n), n, replace=False)).astype(np.int64) * spread


def filled(n_bits, bits, ids, cuts=(), backend="exact"):
    index = HammingIndex(n_bits, backend=backend)
    for rows in np.split(np.arange(len(bits)), sorted(cuts)):
        index.add(bits[rows], ids[rows])
    return index


def assert_equals(result, expected):
    assert all(values.dtype == torch.int64 for values in result)
    for values, wanted in zip(result, expected, strict=True):
        np.testing.assert_array_equal(values.numpy(), wanted)


@pytest.mark.parametrize("backend", EXACT)
@given(data=st.data())
@settings(max_examples=150)
def test_search_equals_brute_force(backend, data):
    n_bits = data.draw(st.sampled_from(ALL_BITS), label="n_bits")
    n_items, n_queries = data.draw(st.integers(1, 90), label="n_items"), data.draw(st.integers(0, 5))
    k = data.draw(st.integers(1, n_items + 3), label="k")
    noise = data.draw(st.sampled_from([0.0, 0.1, 0.5]), label="noise")
    cuts = data.draw(st.lists(st.integers(0, n_items), max_size=4), label="cuts")
    rng = np.random.default_rng(data.draw(st.integers(0, 2**31), label="seed"))
    center = rng.random(n_bits) < 0.5
    bits, queries = random_bits(rng, n_items, n_bits, noise, center), random_bits(rng, n_queries, n_bits, noise, center)
    ids = random_ids(rng, n_items)
    index = filled(n_bits, bits, ids, cuts, backend)
    assert_equals(index.search(queries, k), search_by_sorting(queries, bits, ids, k))
    radius = data.draw(st.integers(0, n_bits + 1), label="radius")
    assert_equals(index.range_search(queries, radius), range_search_by_sorting(queries, bits, ids, radius))


@pytest.mark.parametrize("backend", EXACT)
@pytest.mark.parametrize("n_bits", ALL_BITS)
def test_every_n_bits(backend, n_bits):
    rng = np.random.default_rng(n_bits)
    bits, queries, ids = random_bits(rng, 70, n_bits), random_bits(rng, 3, n_bits), random_ids(rng, 70)
    index = filled(n_bits, bits, ids, backend=backend)
    assert_equals(index.search(queries, 9), search_by_sorting(queries, bits, ids, 9))
    radius = n_bits // 2
    assert_equals(index.range_search(queries, radius), range_search_by_sorting(queries, bits, ids, radius))


@pytest.mark.parametrize("n_bits", [8, 20, 64, 200])
@pytest.mark.parametrize("order", ["as it comes", "near first", "far first"])
@pytest.mark.parametrize("k", [1, 10, 700, 5000])
def test_blocks_chunks_parts_and_threads_change_nothing(n_bits, order, k, monkeypatch):
    rng = np.random.default_rng(n_bits)
    queries = random_bits(rng, 21, n_bits, 0.2, np.zeros(n_bits, bool))
    bits = random_bits(rng, 2 * search_kernels._BLOCK + 77, n_bits, 0.3, np.zeros(n_bits, bool))
    if order != "as it comes":  # for the first query; far first lets every item be kept for a while
        bits = bits[np.argsort((bits != queries[0]).sum(axis=1) * (1 if order == "near first" else -1), kind="stable")]
    distances = (queries[:, None, :] != bits).sum(axis=2)
    nearest = np.argsort(distances, axis=1, kind="stable")[:, :k]
    expected = [np.take_along_axis(distances, nearest, axis=1), nearest]
    if k > len(bits):
        filler = ((0, 0), (0, k - len(bits)))
        expected = [
            np.pad(each, filler, constant_values=fill) for each, fill in zip(expected, [n_bits + 1, -1], strict=True)
        ]
    found = [[(distances[i, j], j) for j in np.flatnonzero(distances[i] <= n_bits // 4)] for i in range(len(queries))]
    flat = np.array([pair for pairs in found for pair in sorted(pairs)]).reshape(-1, 2)
    ranges = [np.cumsum([0, *map(len, found)]), flat[:, 0], flat[:, 1]]
    index = HammingIndex(n_bits)
    index.add(bits)
    monkeypatch.setattr(search_kernels, "_SMALL", 0)
    monkeypatch.setattr(search_kernels, "_OUTER_WORDS", search_kernels._BLOCK)
    for n_threads in (1, 2, 3, 12):  # with 12 there are too few queries, and threads share the items
        monkeypatch.setattr(torch, "get_num_threads", lambda n=n_threads: n)
        for chunk in (1, 8, 256):
            monkeypatch.setattr(search_kernels, "_CHUNK", chunk)
            assert_equals(index.search(queries, k), expected)
            assert_equals(index.range_search(queries, n_bits // 4), ranges)


def test_parts_shorter_than_k_change_nothing(monkeypatch):
    rng = np.random.default_rng(0)
    bits, queries = random_bits(rng, 7, 12), random_bits(rng, 1, 12)
    index = filled(12, bits, np.arange(7))
    monkeypatch.setattr(search_kernels, "_SMALL", 0)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 5)
    for k in (1, 3, 7, 9):
        assert_equals(index.search(queries, k), search_by_sorting(queries, bits, np.arange(7), k))
    assert_equals(index.range_search(queries, 6), range_search_by_sorting(queries, bits, np.arange(7), 6))


@pytest.mark.parametrize("backend", EXACT)
def test_all_tied(backend):
    index = HammingIndex(16, backend=backend)
    index.add(np.zeros((3000, 16), bool), np.arange(3000)[::-1].copy())
    for k in (1, 2, 1000, 2999, 3000):
        result = index.search(np.ones((2, 16), bool), k)
        assert_equals(result, [np.full((2, k), 16), np.broadcast_to(np.arange(k), (2, k))])


@pytest.mark.parametrize("backend", EXACT)
def test_codes_in_every_form(backend):
    logits = torch.randn(40, 20, dtype=torch.float64)
    packed = np.packbits(logits.numpy() >= 0, axis=1)
    results = []
    for codes in (logits, logits.bfloat16(), logits.numpy(), logits >= 0, packed, torch.from_numpy(packed)):
        before = codes.clone() if isinstance(codes, torch.Tensor) else codes.copy()
        index = HammingIndex(20, backend=backend)
        index.add(codes)
        results.append(index.search(codes, 5))
        assert (codes == before).all()
    for result in results[1:]:
        assert_equals(result, results[0])


def test_later_changes_of_the_callers_arrays_change_nothing():
    packed, ids = np.zeros((3, 2), np.uint8), np.array([5, 7, 9])
    index = HammingIndex(16)
    index.add(packed, ids)
    packed[:], ids[:] = 255, 0
    assert index.codes.sum() == 0
    assert index.ids.tolist() == [5, 7, 9]


def test_ids_continue_and_come_in_any_order():
    index = HammingIndex(8)
    bits = np.unpackbits(np.arange(9, dtype=np.uint8)[:, None], axis=1) == 1
    index.add(bits[:2])
    index.add(bits[2:4], torch.tensor([10, 4], dtype=torch.int32))
    index.add(bits[4:5])
    index.add(bits[5:7], np.array([3, 2], dtype=np.uint16))
    index.add(bits[7:9], np.array([12, 13]))
    index.add(bits[:0], np.array([], dtype=np.int64))
    index.add(bits[:0])
    assert len(index) == 9
    assert index.ids.tolist() == [0, 1, 2, 3, 4, 10, 11, 12, 13]
    assert index.codes[:, 0].tolist() == [0, 1, 6, 5, 3, 2, 4, 7, 8]
    for i, code in zip(index.ids, np.unpackbits(index.codes, axis=1) == 1, strict=True):
        assert_equals(index.search(code[None], 1), [[[0]], [[i]]])


def test_many_small_chunks_make_few_runs():
    index = HammingIndex(8)
    for i in np.random.default_rng(0).permutation(1000):
        index.add(np.full((1, 1), i % 256, np.uint8), np.array([i]))
        assert len(index._runs) <= 11
    assert index.ids.tolist() == list(range(1000))
    assert index.codes[:, 0].tolist() == [i % 256 for i in range(1000)]


def test_views_are_read_only():
    index = filled(8, np.ones((2, 8), bool), np.array([0, 5]))
    for values in (index.codes, index.ids):
        with pytest.raises(ValueError, match="read-only"):
            values[0] = 0
    index.add(np.ones((1, 8), bool))
    assert index.ids.tolist() == [0, 5, 6]
    assert HammingIndex(12).codes.shape == (0, 2)
    assert HammingIndex(12).ids.shape == (0,)


def test_names_and_repr():
    index = HammingIndex(12)
    assert repr(index) == "<HammingIndex(12, backend='exact') of 0 codes>"
    assert SearchResult._fields == ("distances", "ids")
    assert RangeResult._fields == ("offsets", "distances", "ids")


@needs_faiss
def test_repr_tells_options():
    index = HammingIndex(12, backend="ivf", n_probe=3)
    assert repr(index) == "<HammingIndex(12, backend='ivf', n_probe=3) of 0 codes>"


# Re-ranking


def test_rerank_equals_the_definition():
    rng = np.random.default_rng(3)
    bits, ids = random_bits(rng, 50, 24), rng.permutation(50) * 2
    index = filled(24, bits, ids)
    logits = torch.from_numpy(rng.normal(size=(6, 24)))
    candidates = index.search(logits, 20).ids
    for activation, values in (("none", logits.numpy()), ("tanh", np.tanh(logits.numpy()))):
        result = index.rerank(logits, candidates, 7, activation=activation)
        assert result.scores.dtype == torch.float64
        assert result.ids.dtype == torch.int64
        for row, z in enumerate(values):
            code = {int(i): np.where(bit, 1.0, -1.0) for i, bit in zip(ids, bits, strict=True)}
            best = sorted(candidates[row].tolist(), key=lambda i: -(code[i] @ z))[:7]
            assert result.ids[row].tolist() == best
            np.testing.assert_allclose(result.scores[row], [code[i] @ z for i in best], rtol=1e-12)


def test_rerank_of_signs_is_hamming_order():
    rng = np.random.default_rng(4)
    bits, queries = random_bits(rng, 60, 10), random_bits(rng, 4, 10)
    index = filled(10, bits, np.arange(60))
    found = index.search(queries, 60)
    result = index.rerank(torch.from_numpy(np.where(queries, 1.0, -1.0)).float(), found.ids)
    assert torch.equal(result.ids, found.ids)
    assert torch.equal(result.scores, 10.0 - 2 * found.distances)


def test_rerank_ties_by_id_and_missing_last(monkeypatch):
    index = filled(4, np.ones((3, 4), bool), np.array([9, 4, 6]))
    logits = np.array([[0.1, 0.7, -3.0, 0.2], [0.3, 0.0, 1.0, 5.0]])
    result = index.rerank(logits, index.search(logits, 5).ids)
    assert result.ids.tolist() == [[4, 6, 9, -1, -1]] * 2
    assert result.scores[:, 3:].tolist() == [[-np.inf] * 2] * 2
    monkeypatch.setattr("hashcenters.retrieval.index._RERANK_VALUES", 1)
    assert torch.equal(index.rerank(logits, index.search(logits, 5).ids).scores, result.scores)


def test_rerank_refuses():
    index = filled(4, np.ones((3, 4), bool), np.array([9, 4, 6]))
    logits, ids = torch.randn(2, 4), torch.tensor([[4, 6], [9, -1]])
    with pytest.raises(TypeError, match="logits must be a floating-point tensor or array, got torch.bool"):
        index.rerank(logits >= 0, ids)
    with pytest.raises(TypeError, match="logits must be a floating-point tensor or array, got list"):
        index.rerank([[0.5]], ids)
    with pytest.raises(ValueError, match=r"logits must have shape \(n_queries, n_bits=4\), got \(2, 3\)"):
        index.rerank(logits[:, :3], ids)
    with pytest.raises(ValueError, match="logits must be finite, got NaN or infinity"):
        index.rerank(logits / 0, ids)
    with pytest.raises(ValueError, match="activation must be one of none, tanh, got 'relu'"):
        index.rerank(logits, ids, activation="relu")
    with pytest.raises(TypeError, match="ids must be integers, got torch.float32"):
        index.rerank(logits, logits)
    with pytest.raises(ValueError, match=r"ids must have shape \(n_queries, n_candidates\).* 2 queries, got \(1, 2\)"):
        index.rerank(logits, ids[:1])
    with pytest.raises(ValueError, match="k must be at most the 2 candidates of a query, got 3"):
        index.rerank(logits, ids, 3)
    with pytest.raises(ValueError, match="ids must be in the index or -1, got 5, which is not"):
        index.rerank(logits, torch.tensor([[4, 5], [9, -1]]))


# Refused input


def test_bad_arguments_are_refused():
    with pytest.raises(TypeError, match="n_bits must be an int"):
        HammingIndex(8.0)
    with pytest.raises(ValueError, match="n_bits must be at most 1024, got 1025"):
        HammingIndex(1025)
    with pytest.raises(ValueError, match="backend must be one of exact, flat, hnsw, ivf, got 'faiss'"):
        HammingIndex(8, backend="faiss")
    with pytest.raises(ValueError, match="n_probe is an option of backend 'ivf', got n_probe=4 with backend 'exact'"):
        HammingIndex(8, n_probe=4)
    with pytest.raises(ValueError, match="ef_search must be at least 1, got 0"):
        HammingIndex(8, backend="hnsw", ef_search=0)
    index = HammingIndex(8)
    queries = torch.ones(1, 8, dtype=torch.bool)
    for call in (lambda: index.search(queries, 1), lambda: index.range_search(queries, 1), index.to_faiss):
        with pytest.raises(ValueError, match="the index is empty: call add before"):
            call()
    index.add(queries)
    with pytest.raises(ValueError, match="k must be at least 1, got 0"):
        index.search(queries, 0)
    with pytest.raises(TypeError, match="k must be an int"):
        index.search(queries, 1.5)
    with pytest.raises(ValueError, match="radius must be at least 0, got -1"):
        index.range_search(queries, -1)
    with pytest.raises(ValueError, match="codes of dtype torch.bool must have shape"):
        index.search(queries[:, :7], 1)
    with pytest.raises(ValueError, match="codes contain NaN"):
        index.add(torch.full((1, 8), torch.nan))


@pytest.mark.parametrize(
    ("ids", "error", "message"),
    [
        (np.array([0.0, 1.0]), TypeError, "ids must be integers, got float64"),
        (torch.tensor([True, False]), TypeError, "ids must be integers, got torch.bool"),
        ([1, 2], TypeError, "ids must be a torch tensor or a numpy array, got list"),
        (np.array([1]), ValueError, r"ids must have shape \(n,\), one for each of the 2 codes, got \(1,\)"),
        (np.array([[1], [2]]), ValueError, r"ids must have shape \(n,\)"),
        (np.array([1, -1]), ValueError, "ids must be at least 0, got -1"),
        (
            np.array([1, 2**63], dtype=np.uint64),
            ValueError,
            r"ids must be smaller than 2\*\*63, got 9223372036854775808",
        ),
        (np.array([7, 7]), ValueError, "ids must occur once each, got 7 twice"),
        (np.array([50, 4]), ValueError, "ids must be new to the index, got 4, which it has"),
        (np.array([22, 1]), ValueError, "ids must be new to the index, got 22, which it has"),
    ],
)
def test_bad_ids_are_refused_and_leave_the_index_as_it_was(ids, error, message):
    index = HammingIndex(8)
    index.add(np.ones((3, 8), bool), np.array([4, 3, 5]))
    index.add(np.ones((2, 8), bool), np.array([20, 22]))
    with pytest.raises(error, match=message):
        index.add(np.zeros((2, 8), bool), ids)
    assert index.ids.tolist() == [3, 4, 5, 20, 22]
    assert index.codes.min() == 255


def test_ids_end_somewhere():
    index = HammingIndex(8)
    index.add(np.ones((1, 8), bool), np.array([2**63 - 2]))
    index.add(np.ones((1, 8), bool))
    assert index.ids[-1] == 2**63 - 1
    with pytest.raises(ValueError, match=r"continue from the largest id 9223372036854775807 beyond 2\*\*63 - 1"):
        index.add(np.ones((1, 8), bool))
    assert index.search(np.ones((1, 8), bool), 3).ids.tolist() == [[2**63 - 2, 2**63 - 1, -1]]


# faiss


def clustered(rng, n, n_bits, n_classes=40, noise=0.1):
    centers = np.random.default_rng(7).random((n_classes, n_bits)) < 0.5
    return centers[rng.integers(0, n_classes, n)] ^ (rng.random((n, n_bits)) < noise)


@needs_faiss
@pytest.mark.parametrize(("backend", "floor"), [("hnsw", 0.95), ("ivf", 0.95)])
@pytest.mark.parametrize("n_bits", [50, 64])
def test_approximate_search_finds_most_and_does_so_again(backend, floor, n_bits):
    rng = np.random.default_rng(1)
    bits, queries = clustered(rng, 5000, n_bits), clustered(rng, 100, n_bits)
    ids = rng.permutation(5000) + 100
    truth = filled(n_bits, bits, ids).search(queries, 10)
    results = [filled(n_bits, bits, ids, cuts, backend).search(queries, 10) for cuts in ((), (), (100, 2000))]
    distances = {int(i): code for i, code in zip(ids, bits, strict=True)}
    result = results[0]
    for row, query in enumerate(queries):  # what is found is what it says, in order, and there once
        pairs = list(zip(result.distances[row].tolist(), result.ids[row].tolist(), strict=True))
        assert pairs == sorted(set(pairs))
        assert all(d == (distances[i] != query).sum() for d, i in pairs)
    # An item as near as the 10th is as good as the 10th.
    recall = (result.distances <= truth.distances[:, -1:]).double().mean()
    assert recall >= floor
    for other in results[1:]:
        assert_equals(other, result)


@needs_faiss
def test_more_effort_finds_more():
    rng = np.random.default_rng(2)
    bits, queries = random_bits(rng, 4000, 64), random_bits(rng, 50, 64)
    truth = filled(64, bits, np.arange(4000)).search(queries, 10).distances[:, -1:]
    recalls = {}
    for options in ({"n_probe": 1}, {"n_probe": 10**6}, {"ef_search": 1}, {"ef_search": 4000}):
        index = HammingIndex(64, backend="ivf" if "n_probe" in options else "hnsw", **options)
        index.add(bits)
        recalls[str(options)] = float((index.search(queries, 10).distances <= truth).double().mean())
    assert recalls["{'n_probe': 1}"] < 0.9 < recalls["{'n_probe': 1000000}"] == 1.0
    assert recalls["{'ef_search': 1}"] < recalls["{'ef_search': 4000}"]
    assert recalls["{'ef_search': 4000}"] > 0.95


@pytest.mark.parametrize("backend", FAISS)
def test_faiss_takes_a_few_codes_and_additions_between_searches(backend):
    rng = np.random.default_rng(5)
    bits, ids = random_bits(rng, 300, 30), rng.permutation(300)
    index = HammingIndex(30, backend=backend)
    for first, last in [(0, 1), (1, 3), (3, 300)]:
        index.add(bits[first:last], ids[first:last])
        result = index.search(bits[:last], 4)
        assert (result.distances[:, 0] == 0).float().mean() >= 0.9  # every code finds itself, or one like it
        filler = result.ids == -1
        assert torch.equal(filler, result.distances == 31)
        assert filler[:, last:].all()
        if backend != "flat":
            continue
        assert_equals(result, search_by_sorting(bits[:last], bits[:last], ids[:last], 4))


@needs_faiss
def test_range_search_of_ivf_is_in_order_and_hnsw_has_none():
    rng = np.random.default_rng(6)
    bits = clustered(rng, 2000, 40)
    index = filled(40, bits, rng.permutation(2000), backend="ivf")
    offsets, distances, ids = (values.numpy() for values in index.range_search(bits[:20], 8))
    exact = filled(40, bits, rng.permutation(2000)).range_search(bits[:20], 8)
    assert 0.8 * len(exact.ids) < len(ids) <= len(exact.ids)
    for first, last in itertools.pairwise(offsets):
        pairs = list(zip(distances[first:last], ids[first:last], strict=True))
        assert pairs == sorted(pairs)
        assert pairs[0][0] == 0
        assert pairs[-1][0] <= 8
    index = filled(40, bits, np.arange(2000), backend="hnsw")
    with pytest.raises(ValueError, match="range_search needs backend exact, flat or ivf, got 'hnsw'"):
        index.range_search(bits[:1], 3)


@needs_faiss
@pytest.mark.parametrize("backend", ["exact", "flat", "hnsw", "ivf"])
def test_export_to_faiss(backend):
    import faiss

    rng = np.random.default_rng(8)
    bits, ids = clustered(rng, 1000, 36), rng.permutation(1000) * 7
    index = filled(36, bits, ids, backend=backend)
    exported = index.to_faiss()
    assert type(exported) is faiss.IndexBinaryIDMap2
    kind = {"hnsw": faiss.IndexBinaryHNSW, "ivf": faiss.IndexBinaryIVF}.get(backend, faiss.IndexBinaryFlat)
    assert type(faiss.downcast_IndexBinary(exported.index)) is kind
    assert (exported.ntotal, exported.d) == (1000, 40)
    distances, found = exported.search(index.codes[:50].copy(), 5)
    wanted = index.search(index.codes[:50], 5)
    np.testing.assert_array_equal(distances, wanted.distances)
    for row, other, near in zip(found, wanted.ids.numpy(), distances, strict=True):  # the last distance may be cut
        assert set(row[near < near[-1]]) == set(other[near < near[-1]])
    if backend != "ivf":  # faiss wants a direct map there
        np.testing.assert_array_equal(exported.reconstruct(int(ids[3])), np.packbits(bits[3]))
    exported.reset()
    assert_equals(index.search(index.codes[:50], 5), wanted)


@needs_faiss
def test_faiss_builds_on_one_thread_and_gets_its_threads_back(monkeypatch):
    import faiss

    before = faiss.omp_get_max_threads()
    seen = []
    add = faiss.IndexBinaryHNSW.add
    monkeypatch.setattr(
        faiss.IndexBinaryHNSW, "add", lambda *args: (seen.append(faiss.omp_get_max_threads()), add(*args))
    )
    faiss.omp_set_num_threads(3)
    try:
        index = filled(8, random_bits(np.random.default_rng(0), 100, 8), np.arange(100), backend="hnsw")
        index.search(np.ones((1, 8), bool), 1)
        assert (seen, faiss.omp_get_max_threads()) == ([1], 3)
    finally:
        faiss.omp_set_num_threads(before)


def test_absent_faiss_names_the_extra(monkeypatch):
    def absent(name, *args):
        raise ModuleNotFoundError(f"No module named {name!r}", name=name)

    monkeypatch.setattr(importlib, "import_module", absent)
    with pytest.raises(ImportError, match=r'No module named \'faiss\'; .* pip install "hashcenters\[search\]"') as info:
        HammingIndex(8, backend="flat")
    assert info.value.name == "faiss"


def test_import_loads_neither_numba_nor_faiss(tmp_path):
    code = "import sys; import hashcenters.retrieval.index as i; index = i.HammingIndex(8)\n"
    code += "import numpy as np; index.add(np.ones((3, 8), bool)); index.save(sys.argv[1])\n"
    code += "i.HammingIndex.load(sys.argv[1]); print({'numba', 'faiss', 'scipy'} & set(sys.modules))"
    command = [sys.executable, "-c", code, str(tmp_path / "codes.index")]
    answer = subprocess.run(command, capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "set()"


# Files


@pytest.fixture
def path(tmp_path):
    return tmp_path / "codes.index"


@pytest.mark.parametrize("mmap", [True, False])
@pytest.mark.parametrize("ids", ["dense", "shifted", "sparse"])
@pytest.mark.parametrize(("n_bits", "n_items"), [(1, 1), (12, 5), (64, 200), (100, 33), (1024, 7)])
def test_round_trip(path, mmap, ids, n_bits, n_items):
    rng = np.random.default_rng(n_bits)
    bits = random_bits(rng, n_items, n_bits)
    numbers = {"dense": np.arange(n_items), "shifted": np.arange(n_items) + 50, "sparse": rng.permutation(n_items) * 9}
    index = filled(n_bits, bits, numbers[ids])
    index.save(path)
    loaded = HammingIndex.load(path, mmap=mmap)
    assert repr(loaded) == repr(index)
    np.testing.assert_array_equal(loaded.codes, index.codes)
    np.testing.assert_array_equal(loaded.ids, index.ids)
    assert loaded.ids.dtype == np.int64
    assert not loaded.codes.flags.writeable
    assert_equals(loaded.search(bits, 3), index.search(bits, 3))
    assert_equals(loaded.range_search(bits, n_bits // 3), index.range_search(bits, n_bits // 3))
    assert os.listdir(path.parent) == [path.name]
    has_ids = ids == "sparse" and n_items > 1
    size = path.stat().st_size
    assert size == (-(-(size - 8 * n_items) // 64) * 64 + 8 * n_items if has_ids else size)
    assert json.loads(header_of(path.read_bytes()))["has_ids"] == has_ids


def header_of(data):
    return data[48 : 48 + int.from_bytes(data[12:16], "little")]


def test_layout_is_what_the_module_says(path):
    filled(20, np.ones((3, 20), bool), np.array([7, 5, 9])).save(path)
    data = path.read_bytes()
    assert data[:12] == b"HCINDEX\n\x01\0\0\0"
    length = int.from_bytes(data[12:16], "little")
    assert (48 + length) % 64 == 0
    assert data[16:48] == hashlib.sha256(data[:16] + data[48 : 48 + length]).digest()
    header = json.loads(header_of(data))
    assert header == {
        "n_bits": 20,
        "n_items": 3,
        "codes_dtype": "uint8",
        "ids_dtype": "int64",
        "has_ids": True,
        "first_id": 0,
        "backend": "exact",
        "options": {"ef_search": None, "n_probe": None},
        "sha256": hashlib.sha256(data[48 + length :]).hexdigest(),
    }
    codes = data[48 + length :]
    assert codes[:9] == b"\xff\xff\xf0" * 3
    assert codes[9:64] == bytes(55)
    assert np.frombuffer(codes[64:], "<i8").tolist() == [5, 7, 9]


def test_empty_index_round_trip(path):
    HammingIndex(9).save(path)
    loaded = HammingIndex.load(path)
    assert len(loaded) == 0
    loaded.add(np.ones((2, 9), bool))
    assert loaded.ids.tolist() == [0, 1]


@needs_faiss
def test_backend_and_options_are_saved_and_may_be_changed(path):
    rng = np.random.default_rng(0)
    bits = clustered(rng, 500, 24)
    index = HammingIndex(24, backend="hnsw", ef_search=99)
    index.add(bits)
    index.save(path)
    loaded = HammingIndex.load(path)
    assert (loaded.backend, loaded.ef_search) == ("hnsw", 99)
    assert_equals(loaded.search(bits[:9], 5), index.search(bits[:9], 5))
    assert repr(HammingIndex.load(path, backend="exact")) == "<HammingIndex(24, backend='exact') of 500 codes>"


@pytest.mark.parametrize("ids", [None, np.array([8, 300, 2, 301])])
def test_a_mapped_index_grows_in_memory_and_is_saved_onto_itself(path, ids):
    rng = np.random.default_rng(1)
    bits = random_bits(rng, 104, 70)
    numbers = np.concatenate([3 * np.arange(100), np.arange(298, 302) if ids is None else ids])
    filled(70, bits[:100], numbers[:100]).save(path)
    index = HammingIndex.load(path)
    index.add(bits[100:102], None if ids is None else ids[:2])
    index.add(bits[102:], None if ids is None else ids[2:])
    assert_equals(index.search(bits[:7], 60), search_by_sorting(bits[:7], bits, numbers, 60))
    assert_equals(index.range_search(bits[:7], 33), range_search_by_sorting(bits[:7], bits, numbers, 33))
    assert [run.mapped for run in index._runs] == [True, False]
    logits = torch.from_numpy(rng.normal(size=(1, 70)))
    assert index.rerank(logits, torch.from_numpy(numbers)[None]).ids.sort().values.tolist() == [sorted(numbers)]
    with pytest.raises(ValueError, match="ids must be new to the index, got 27, which it has"):
        index.add(bits[:1], np.array([27]))
    index.save(path)
    if ids is None:  # ids ascend from run to run, and nothing was read into memory
        assert [run.mapped for run in index._runs] == [True, False]
    loaded = HammingIndex.load(path)
    for values, wanted in ((loaded.codes, index.codes), (loaded.ids, index.ids)):
        np.testing.assert_array_equal(values, wanted)
    assert loaded.ids.tolist() == sorted(numbers)


def test_implicit_ids_stay_implicit(path):
    filled(16, np.ones((4, 16), bool), np.arange(4)).save(path)
    index = HammingIndex.load(path)
    index.add(np.zeros((3, 16), bool))
    index.save(path)
    header = json.loads(header_of(path.read_bytes()))
    assert (header["has_ids"], header["first_id"], header["n_items"]) == (False, 0, 7)
    assert HammingIndex.load(path).ids.tolist() == list(range(7))


def test_slices_change_nothing(path, monkeypatch):
    bits = random_bits(np.random.default_rng(0), 50, 30)
    filled(30, bits, 2 * np.arange(50)).save(path)
    data = path.read_bytes()
    monkeypatch.setattr(index_file, "_SLICE", 24)
    filled(30, bits, 2 * np.arange(50)).save(path)
    assert path.read_bytes() == data
    assert HammingIndex.load(path).ids.tolist() == list(range(0, 100, 2))


def test_every_truncation_is_refused(path):
    filled(20, np.ones((5, 20), bool), np.array([7, 5, 9, 1, 3])).save(path)
    data = path.read_bytes()
    for size in range(len(data)):
        path.write_bytes(data[:size])
        for options in ({}, {"mmap": False}, {"verify": False}):
            with pytest.raises(ValueError, match=r"path='.*codes.index' (was cut short|is not a file of Hamming)"):
                HammingIndex.load(path, **options)
    path.write_bytes(data + b"\0")
    with pytest.raises(ValueError, match=f"was appended to: it has {len(data) + 1} bytes, .* take {len(data)}"):
        HammingIndex.load(path)


def test_every_flipped_byte_is_refused(path):
    filled(20, np.ones((5, 20), bool), np.array([7, 5, 9, 1, 3])).save(path)
    data = path.read_bytes()
    start = 48 + int.from_bytes(data[12:16], "little")
    for place in range(len(data)):
        damaged = bytearray(data)
        damaged[place] ^= 1 << (place % 8)
        path.write_bytes(damaged)
        with pytest.raises(ValueError, match=r"path='.*codes.index' (is not|has|was)"):
            HammingIndex.load(path)
        if place < start:  # the header is checked in any case
            with pytest.raises(ValueError, match="is not a file of|has format version|damaged"):
                HammingIndex.load(path, verify=False)
    path.write_bytes(damaged)
    assert len(HammingIndex.load(path, verify=False)) == 5
    with pytest.raises(ValueError, match="was changed after it was written: its codes and ids have the SHA-256"):
        HammingIndex.load(path)


def forged(header):
    """A file of one 8-bit code with a header of our own and right checksums."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    text += b" " * (-(48 + len(text)) % 64)
    start = b"HCINDEX\n" + (1).to_bytes(4, "little") + len(text).to_bytes(4, "little")
    return start + hashlib.sha256(start + text).digest() + text + b"\xff"


def test_other_files_and_headers_are_refused(path):
    good = {"n_bits": 8, "n_items": 1, "has_ids": False, "first_id": 0, "backend": "exact", "options": {}}
    good["sha256"] = hashlib.sha256(b"\xff").hexdigest()
    path.write_bytes(forged(good))
    assert len(HammingIndex.load(path)) == 1
    for data, message in [
        (b"", "is not a file of HammingIndex.save: it begins with b''"),
        (b"\x93NUMPY" + bytes(100), r"is not a file of HammingIndex.save: it begins with b'\\x93NUMPY\\x00\\x00'"),
        (
            b"HCINDEX\n" + (2).to_bytes(4, "little") + bytes(99),
            "has format version 2, this hashcenters reads version 1",
        ),
        (forged(b"{"), "has a header that is not JSON"),
        (forged([1]), "has a header that is not a JSON object but list"),
        (forged({**good, "n_bits": "many"}), "has a header that lacks or misstates invalid literal"),
        (forged({k: v for k, v in good.items() if k != "backend"}), "has a header that lacks or misstates 'backend'"),
        (forged({**good, "n_bits": 0}), "has a header that cannot be: n_bits=0, n_items=1"),
        (forged({**good, "n_items": -1}), "has a header that cannot be: n_bits=8, n_items=-1"),
        (forged({**good, "n_items": 2}), "was cut short: it has .* bytes, and 2 codes of 8 bits take"),
        (forged({**good, "backend": "other"}), "has settings that cannot be: backend must be one of"),
        (forged({**good, "options": {"new": 1}}), "has settings that cannot be: .*'new'"),
    ]:
        path.write_bytes(data)
        with pytest.raises(ValueError, match=rf"path='.*codes.index' {message}"):
            HammingIndex.load(path)
    with pytest.raises(FileNotFoundError):
        HammingIndex.load(path.parent / "absent")


@pytest.mark.parametrize("where", ["os.fsync", "os.replace", "write", "interrupt"])
def test_a_failed_save_leaves_the_previous_file(path, where, monkeypatch):
    filled(8, np.ones((2, 8), bool), np.arange(2)).save(path)
    before = path.read_bytes()
    index = filled(8, np.zeros((900, 8), bool), np.arange(900))

    def fail(*args, **kwargs):
        raise KeyboardInterrupt if where == "interrupt" else OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        if where.startswith("os."):
            patch.setattr(where, fail)
        elif where == "interrupt":
            patch.setattr("hashcenters.retrieval.index_file._payload", fail)
        else:
            open_file = builtins.open

            def open_full(name, mode="r", *args, **kwargs):
                file = open_file(name, mode, *args, **kwargs)
                return FullDisk(file) if mode == "xb" else file

            patch.setattr(builtins, "open", open_full)
        with pytest.raises(KeyboardInterrupt if where == "interrupt" else OSError):
            index.save(path)
    assert path.read_bytes() == before
    assert os.listdir(path.parent) == [path.name]
    assert len(HammingIndex.load(path)) == 2
    index.save(path)
    assert len(HammingIndex.load(path)) == 900


class FullDisk:
    """A file that takes 500 bytes."""

    def __init__(self, file):
        self.file, self.room = file, 500

    def __enter__(self):
        return self

    def __exit__(self, *args):
        self.file.close()

    def write(self, data):
        self.room -= len(data)
        if self.room < 0:
            raise OSError(28, "No space left on device")
        return self.file.write(data)


def test_saving_into_no_folder_fails(tmp_path):
    for wrong in (tmp_path / "absent" / "codes.index", tmp_path):
        with pytest.raises(OSError, match="must name a file in a folder that exists"):
            HammingIndex(8).save(wrong)


def test_saving_keeps_links_and_permissions_as_open_does(tmp_path):
    real, link = tmp_path / "real.index", tmp_path / "link.index"
    HammingIndex(8).save(real)
    (tmp_path / "plain").touch()
    assert real.stat().st_mode == (tmp_path / "plain").stat().st_mode
    link.symlink_to(real)
    filled(8, np.ones((2, 8), bool), np.arange(2)).save(link)
    assert link.is_symlink()
    assert len(HammingIndex.load(real)) == 2
    real.chmod(0o600)
    HammingIndex(8).save(real)
    assert real.stat().st_mode & 0o777 == 0o600  # a private file stays private


def test_readers_keep_the_file_they_opened(path):
    filled(64, np.ones((100, 64), bool), np.arange(100)).save(path)
    reader = HammingIndex.load(path)
    filled(64, np.zeros((1, 64), bool), np.arange(1)).save(path)
    assert len(HammingIndex.load(path)) == 1
    assert (reader.search(np.ones((1, 64), bool), 3).distances == 0).all()


def test_another_process_reads_it(path):
    bits = random_bits(np.random.default_rng(0), 200, 48)
    index = filled(48, bits, 3 * np.arange(200))
    index.save(path)
    code = "import sys, numpy as np; from hashcenters.retrieval.index import HammingIndex\n"
    code += "index = HammingIndex.load(sys.argv[1]); print(index.search(index.codes[:2].copy(), 4).ids.tolist())"
    answer = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True)
    assert json.loads(answer.stdout) == index.search(bits[:2], 4).ids.tolist()


@example(n_items=0, first=0)
@given(n_items=st.integers(0, 300), first=st.integers(0, 2**62))
def test_ranges_of_ids_cost_nothing(n_items, first):
    index = HammingIndex(8)
    index.add(np.zeros((n_items, 1), np.uint8), np.arange(first, first + n_items)[::-1].copy())
    index.add(np.zeros((5, 1), np.uint8))
    assert isinstance(index._joined().ids, range)
    assert len(index) == n_items + 5


def test_rerank_keeps_equal_scores_equal():
    rng = np.random.default_rng(0)
    index = filled(64, random_bits(rng, 200, 64), np.arange(200))
    logits = torch.where(torch.from_numpy(random_bits(rng, 20, 64)), 0.1, -0.1)  # not a binary fraction
    found = index.search(logits, k=200)
    again = index.rerank(logits, found.ids)
    assert torch.equal(again.ids, found.ids)
    torch.testing.assert_close(again.scores, 0.1 * (64.0 - 2 * found.distances.double()), rtol=0, atol=1e-6)


@pytest.mark.parametrize("backend", [*EXACT, pytest.param("ivf", marks=needs_faiss)])
def test_indexes_can_be_pickled(backend):
    rng = np.random.default_rng(1)
    bits = random_bits(rng, 60, 20)
    index = HammingIndex(20, backend=backend)
    index.add(bits)
    expected = index.search(bits[:5], 3)
    copied = pickle.loads(pickle.dumps(index))
    assert torch.equal(copied.search(bits[:5], 3).ids, expected.ids)
    copied.add(bits[:1])
    assert len(copied) == 61
    assert len(index) == 60


@needs_faiss
def test_loading_with_the_same_backend_keeps_its_options(path):
    index = HammingIndex(16, backend="ivf", n_probe=3)
    index.add(np.ones((4, 16), bool))
    index.save(path)
    assert HammingIndex.load(path, backend="ivf").n_probe == 3
    assert HammingIndex.load(path, backend="exact").n_probe is None
