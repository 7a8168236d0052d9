"""Search by faiss: its binary indexes by short names. Needs the extra ``search``.

Bits are filled up to whole bytes with zeros, which changes no distance.
"""

from __future__ import annotations

import contextlib
import importlib
import math
from collections.abc import Iterator
from types import ModuleType
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from hashcenters.retrieval.codes import PackedArray, packed_width

__all__ = ["FaissEngine", "FaissIndex", "import_faiss"]

FaissIndex: TypeAlias = Any  # a faiss.IndexBinary; faiss has no types
IntArray: TypeAlias = npt.NDArray[np.int64]

_N_LINKS = 32  # of a code in the HNSW graph
_EF_CONSTRUCTION = 80  # candidates that HNSW looks at to link a code
_EF_SEARCH = 64
_N_PROBE = 16
_POINTS_PER_LIST = 39  # fewer, and faiss warns that it cannot place a centroid well
_REBUILD = 4  # IVF's cells are learned again when the index has grown by this factor
_SLICE = 1 << 20  # codes that are given to faiss at a time


class Found(NamedTuple):
    """Neighbors as faiss gives them: int64 (n_queries, k), -1 where fewer were found."""

    distances: IntArray
    positions: IntArray


def import_faiss() -> ModuleType:
    """Return the module faiss.

    Raises:
        ImportError: it is not installed.
    """
    try:
        return importlib.import_module("faiss")
    except ModuleNotFoundError as error:
        raise ImportError(
            f'{error}; the backends flat, hnsw and ivf need faiss: pip install "hashcenters[search]"', name=error.name
        ) from error


class FaissEngine:
    """A faiss index over codes whose ids are their positions.

    Args:
        backend: ``"flat"``, ``"hnsw"`` or ``"ivf"``.
        n_bits: code length.
        ef_search: candidates that HNSW keeps while it searches, at least k; None for 64.
        n_probe: cells that IVF visits; None for 16.
    """

    def __init__(self, backend: str, n_bits: int, *, ef_search: int | None = None, n_probe: int | None = None) -> None:
        self._faiss = import_faiss()
        self._backend = backend
        self._n_bits = 8 * packed_width(n_bits)
        self._ef_search = _EF_SEARCH if ef_search is None else ef_search
        self._n_probe = _N_PROBE if n_probe is None else n_probe
        self._index: Any = None
        self._n_trained = 0

    def update(self, codes: PackedArray, *, appended: bool) -> None:
        """Make the index one of these codes; ``appended`` tells that those it has are the first of them."""
        n_indexed = 0 if self._index is None else int(self._index.ntotal)
        outgrown = self._backend == "ivf" and len(codes) > _REBUILD * self._n_trained
        if n_indexed == len(codes) and appended:
            return
        if not n_indexed or not appended or outgrown:
            self._index, n_indexed = self.empty(codes), 0
            self._n_trained = len(codes)
        with self._one_thread():
            for first in range(n_indexed, len(codes), _SLICE):
                self._index.add(np.ascontiguousarray(codes[first : first + _SLICE]))

    def empty(self, codes: PackedArray) -> FaissIndex:
        """Return a faiss index without codes; where it has to be trained, it is, on these."""
        faiss = self._faiss
        if self._backend == "hnsw":
            index = faiss.IndexBinaryHNSW(self._n_bits, _N_LINKS)
            index.hnsw.efConstruction = _EF_CONSTRUCTION
            index.hnsw.efSearch = self._ef_search
            return index
        if self._backend == "ivf":
            n_lists = max(1, min(int(4 * math.sqrt(len(codes))), len(codes) // _POINTS_PER_LIST))
            quantizer = faiss.IndexBinaryFlat(self._n_bits)
            index = faiss.IndexBinaryIVF(quantizer, self._n_bits, n_lists)
            index.cp.min_points_per_centroid = 1  # it would warn of a tiny database otherwise
            index.nprobe = min(self._n_probe, n_lists)
            with self._one_thread():
                index.train(np.ascontiguousarray(codes[:: max(1, len(codes) // (256 * n_lists))]))
            return index
        index = faiss.IndexBinaryFlat(self._n_bits)
        index.use_heap = False  # it counts instead, which keeps the first of tied codes
        return index

    def search(self, codes: PackedArray, k: int) -> Found:
        """Return the k nearest that faiss finds, tied ones by position."""
        if self._backend == "hnsw":
            self._index.hnsw.efSearch = max(self._ef_search, k)
        distances, positions = self._index.search(np.ascontiguousarray(codes), k)
        distances = np.where(positions < 0, np.iinfo(np.int64).max, distances.astype(np.int64))
        order = np.lexsort((positions, distances), axis=1)
        distances = np.take_along_axis(distances, order, axis=1)
        positions = np.take_along_axis(positions, order, axis=1)
        return Found(np.where(positions < 0, -1, distances), positions)

    def range_search(self, codes: PackedArray, radius: int) -> tuple[IntArray, IntArray, IntArray]:
        """Return offsets, distances and positions of all codes within ``radius``, by distance, then by position."""
        offsets, distances, positions = self._index.range_search(np.ascontiguousarray(codes), radius + 1)
        offsets = offsets.astype(np.int64)
        queries = np.repeat(np.arange(len(codes)), np.diff(offsets))
        order = np.lexsort((positions, distances, queries))
        return offsets, distances[order].astype(np.int64), positions[order]

    def exported(self, codes: PackedArray, ids: IntArray) -> FaissIndex:
        """Return a faiss index of its own of these codes under these ids."""
        index: FaissIndex = self._faiss.IndexBinaryIDMap2(self.empty(codes))
        with self._one_thread():
            for first in range(0, len(codes), _SLICE):
                rows = slice(first, first + _SLICE)
                index.add_with_ids(np.ascontiguousarray(codes[rows]), np.ascontiguousarray(ids[rows]))
        return index

    @contextlib.contextmanager
    def _one_thread(self) -> Iterator[None]:
        """Build on one thread: on several, the graph and so the neighbors would differ from run to run."""
        n_threads = self._faiss.omp_get_max_threads()
        self._faiss.omp_set_num_threads(1)
        try:
            yield
        finally:
            self._faiss.omp_set_num_threads(n_threads)
