"""Finding the nearest codes: exact by default, by faiss on request, in memory or from a mapped file."""

from __future__ import annotations

import itertools
import os
from os import PathLike
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeAlias, TypeVar, cast, get_args

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from hashcenters.checks import check_count
from hashcenters.retrieval.codes import (
    MAX_BITS,
    Activation,
    Codes,
    PackedArray,
    exact_weights,
    packed_width,
    to_packed,
)

if TYPE_CHECKING:  # faiss, and numba beside it, wait for the first search
    from hashcenters.retrieval.faiss_backends import FaissEngine, FaissIndex

__all__ = ["Activation", "Backend", "HammingIndex", "RangeResult", "RerankResult", "SearchResult"]

Backend: TypeAlias = Literal["exact", "flat", "hnsw", "ivf"]
IntArray: TypeAlias = npt.NDArray[np.int64]
_Ids: TypeAlias = "range | IntArray"
_Value = TypeVar("_Value", bound=np.generic)

_NO_ID = -1  # stands where there are fewer than k neighbors
_MAX_ID = 2**63 - 1
_RERANK_VALUES = 1 << 22  # logits times candidates that are multiplied at a time


class SearchResult(NamedTuple):
    """The nearest items of every query, by distance; tied ones by id.

    Attributes:
        distances: int64 (n_queries, k); n_bits + 1, more than any distance, where fewer than k items were found.
        ids: int64 (n_queries, k); -1 where fewer than k items were found.
    """

    distances: Tensor
    ids: Tensor


class RangeResult(NamedTuple):
    """All items within a radius of every query, by distance; tied ones by id.

    Attributes:
        offsets: int64 (n_queries + 1,): what query i found stands from ``offsets[i]`` to ``offsets[i + 1]``.
        distances: int64 (n_found,).
        ids: int64 (n_found,).
    """

    offsets: Tensor
    distances: Tensor
    ids: Tensor


class RerankResult(NamedTuple):
    """The best of a query's candidates, by score, highest first; tied ones by id.

    Attributes:
        scores: float64 (n_queries, k), inner products; minus infinity where there were fewer candidates.
        ids: int64 (n_queries, k); -1 where there were fewer candidates.
    """

    scores: Tensor
    ids: Tensor


class _Run(NamedTuple):
    """Codes by ascending id."""

    codes: PackedArray
    ids: _Ids
    mapped: bool = False  # read-only, from a file that may be larger than memory


class HammingIndex:
    """Search binary codes by Hamming distance.

    ``"exact"`` counts with this library's own kernels on all threads of torch: the k nearest are those of a full sort
    by distance and id, whatever the order of ``add`` calls. The others are faiss by name and keep a second copy of the
    codes: ``"flat"`` (IndexBinaryFlat) gives the very same results; ``"hnsw"`` (IndexBinaryHNSW) and ``"ivf"``
    (IndexBinaryIVF) look at a part of the codes only and may miss neighbors. Those two are built at the first search,
    on one thread, so that equal ``add`` and ``search`` calls give equal results.

    Args:
        n_bits: code length, 1 to 1024; where faiss wants whole bytes they are filled up with zeros.
        backend: who searches.
        ef_search: for ``"hnsw"``: how many candidates a search keeps, at least k; more find more. None for 64.
        n_probe: for ``"ivf"``: how many cells a search visits; more find more. None for 16.

    Raises:
        TypeError: a number that is not an int.
        ValueError: a number out of range, an unknown backend, or an option of another backend.
        ImportError: faiss is wanted and not installed.

    Examples:
        >>> index = HammingIndex(4)
        >>> index.add(torch.tensor([[1.0, 1, 1, 1], [1, 1, 1, -1], [-1, -1, -1, -1]]))
        >>> index.search(torch.tensor([[0.3, 0.9, -2.0, -0.1]]), k=2)
        SearchResult(distances=tensor([[1, 2]]), ids=tensor([[1, 0]]))
        >>> index.range_search(torch.tensor([[0.3, 0.9, -2.0, -0.1]]), radius=2)
        RangeResult(offsets=tensor([0, 3]), distances=tensor([1, 2, 2]), ids=tensor([1, 0, 2]))
    """

    def __init__(
        self,
        n_bits: int,
        *,
        backend: Backend = "exact",
        ef_search: int | None = None,
        n_probe: int | None = None,
    ) -> None:
        self.n_bits = check_count(n_bits, "n_bits")
        if self.n_bits > MAX_BITS:
            raise ValueError(f"n_bits must be at most {MAX_BITS}, got {n_bits}")
        if backend not in get_args(Backend):
            raise ValueError(f"backend must be one of {', '.join(get_args(Backend))}, got {backend!r}")
        self.backend = backend
        self.ef_search = _option("ef_search", ef_search, backend, "hnsw")
        self.n_probe = _option("n_probe", n_probe, backend, "ivf")
        self._runs: list[_Run] = []
        self._engine: FaissEngine | None = None
        self._engine_is_prefix = True  # what the engine holds are the first codes of the index
        if backend != "exact":
            self._engine = self._new_engine()

    def __getstate__(self) -> dict[str, Any]:
        # What faiss built does not travel; it is built again at the next search.
        return {**self.__dict__, "_engine": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        if self.backend != "exact":
            self._engine = self._new_engine()
            self._engine_is_prefix = True

    def __len__(self) -> int:
        return sum(len(run.ids) for run in self._runs)

    def __repr__(self) -> str:
        options = [f"{name}={value}" for name, value in self._options().items() if value is not None]
        arguments = ", ".join([str(self.n_bits), f"backend={self.backend!r}", *options])
        return f"<{type(self).__name__}({arguments}) of {len(self)} codes>"

    @property
    def codes(self) -> PackedArray:
        """The packed codes, a read-only numpy uint8 array (n_items, ceil(n_bits / 8)), by ascending id."""
        return _read_only(self._joined().codes)

    @property
    def ids(self) -> IntArray:
        """The ids, a read-only numpy int64 array (n_items,), ascending."""
        return _read_only(_as_array(self._joined().ids))

    def add(self, codes: Codes, ids: Tensor | npt.NDArray[Any] | None = None) -> None:
        """Add codes, in chunks of any size and order.

        Args:
            codes: (n, n_bits) logits, tanh outputs or ±1 (a value >= 0 is bit 1) or bool; or packed uint8
                (n, ceil(n_bits / 8)). torch or numpy; not changed.
            ids: integers (n,), at least 0, each only once in the index. None continues from the largest id so far
                plus 1, at first from 0; ids that follow each other take no memory.

        Raises:
            TypeError: a dtype that is none of these.
            ValueError: wrong shape, NaN, floats without any negative value, an id that is negative or taken. Nothing
                has been added then.
        """
        packed = to_packed(codes, self.n_bits)
        if codes.dtype in (torch.uint8, np.uint8):
            packed = packed.copy()  # the caller's own memory
        largest = max((int(run.ids[-1]) for run in self._runs), default=-1)
        if ids is None:
            if largest + len(packed) > _MAX_ID:
                raise ValueError(f"ids=None would continue from the largest id {largest} beyond 2**63 - 1; pass ids")
            run = _Run(packed, range(largest + 1, largest + 1 + len(packed)))
        else:
            run = _sorted_run(packed, _to_ids(ids, len(packed)))
            for other in self._runs:
                _check_not_taken(run.ids, other.ids)
        if not len(packed):
            return
        self._engine_is_prefix &= int(run.ids[0]) > largest
        self._runs.append(run)
        # Only runs of like size are merged, so that many small chunks cost little; mapped ones stay in their file.
        while len(self._runs) > 1 and not self._runs[-2].mapped and len(self._runs[-2].ids) <= len(self._runs[-1].ids):
            self._runs[-2:] = [_merged(self._runs[-2:])]

    def search(self, codes: Codes, k: int) -> SearchResult:
        """Find the k nearest items of every query.

        Nothing of size n_queries x n_items is allocated.

        Args:
            codes: the queries, as in ``add``. Floats without any negative value are refused, which few queries may
                happen to be: ``logits >= 0`` is always taken.
            k: how many neighbors; where the index has (or the approximate backend finds) fewer, ids are filled up
                with -1 and distances with n_bits + 1.

        Returns:
            Distances and ids.

        Raises:
            TypeError: a dtype that ``add`` would refuse, or ``k`` not an int.
            ValueError: a shape or value that ``add`` would refuse, ``k`` below 1, or an empty index.
        """
        packed = to_packed(codes, self.n_bits)
        k = check_count(k, "k")
        self._check_not_empty("search")
        if self._engine is not None:
            run = self._indexed(self._engine)
            found = self._engine.search(packed, min(k, len(run.ids)))
            parts = [self._with_ids(found.distances, found.positions, run.ids, k)]
        else:
            from hashcenters.retrieval.search_kernels import nearest

            parts = []
            for run in self._settled():
                neighbors = nearest(packed, run.codes, k, n_bits=self.n_bits)
                parts.append(self._with_ids(neighbors.distances, neighbors.positions, run.ids, k))
        distances, ids = parts[0]
        if len(parts) > 1:
            distances, ids = (np.concatenate(each, axis=1) for each in zip(*parts, strict=True))
            order = np.lexsort((ids, distances), axis=1)[:, :k]
            distances, ids = np.take_along_axis(distances, order, axis=1), np.take_along_axis(ids, order, axis=1)
        return SearchResult(torch.from_numpy(distances), torch.from_numpy(ids))

    def range_search(self, codes: Codes, radius: int) -> RangeResult:
        """Find all items whose distance from a query is at most ``radius``.

        Args:
            codes: the queries, as in ``add``.
            radius: the largest distance, at least 0.

        Returns:
            Offsets, distances and ids.

        Raises:
            TypeError: a dtype that ``add`` would refuse, or ``radius`` not an int.
            ValueError: a shape or value that ``add`` would refuse, ``radius`` below 0, an empty index, or the backend
                ``"hnsw"``, whose graph knows no radius.
        """
        packed = to_packed(codes, self.n_bits)
        radius = min(check_count(radius, "radius", least=0), self.n_bits)
        self._check_not_empty("range_search")
        if self.backend == "hnsw":
            raise ValueError("range_search needs backend exact, flat or ivf, got 'hnsw', which knows no radius")
        parts = []
        if self._engine is not None:
            run = self._indexed(self._engine)
            offsets, distances, positions = self._engine.range_search(packed, radius)
            parts.append((offsets, distances, _ids_at(run.ids, positions)))
        else:
            from hashcenters.retrieval.search_kernels import within_radius

            for run in self._settled():
                found = within_radius(packed, run.codes, radius, n_bits=self.n_bits)
                parts.append((found.offsets, found.distances, _ids_at(run.ids, found.positions)))
        if len(parts) > 1:
            queries = np.concatenate([np.repeat(np.arange(len(packed)), np.diff(offsets)) for offsets, _, _ in parts])
            distances, ids = (np.concatenate(each) for each in list(zip(*parts, strict=True))[1:])
            order = np.lexsort((ids, distances, queries))
            parts = [(np.sum([offsets for offsets, _, _ in parts], axis=0), distances[order], ids[order])]
        return RangeResult(*(torch.from_numpy(values) for values in parts[0]))

    def rerank(
        self, logits: Codes, ids: Tensor | npt.NDArray[Any], k: int | None = None, *, activation: Activation = "none"
    ) -> RerankResult:
        """Order candidates by the inner product <z, b> of a query's logits z and their codes b, highest first.

        The logits tell apart what is tied in Hamming distance. The usual way is to search for more candidates than are
        wanted and keep the best of them; ``hashcenters.retrieval.asymmetric`` measures what it gains.

        Args:
            logits: (n_queries, n_bits) floating point, finite.
            ids: candidates (n_queries, n_candidates), for instance ``index.search(logits, 100).ids``; -1 is none.
            k: how many to keep; None for all candidates.
            activation: what is applied to the logits first; with ``"tanh"`` sure bits weigh alike.

        Returns:
            Scores and ids.

        Raises:
            TypeError: logits that are not floating point, ids that are not integers, or ``k`` not an int.
            ValueError: wrong shape, logits that are not finite, an id that is not in the index, ``k`` out of
                1..n_candidates, or an unknown activation.

        Examples:
            >>> index = HammingIndex(3)
            >>> index.add(torch.tensor([[1.0, 1, -1], [1, -1, 1], [-1, 1, 1]]))
            >>> logits = torch.tensor([[2.0, 0.1, 0.5]])  # sure of its first bit only
            >>> candidates = index.search(logits >= 0, k=3)
            >>> candidates
            SearchResult(distances=tensor([[1, 1, 1]]), ids=tensor([[0, 1, 2]]))
            >>> index.rerank(logits, candidates.ids, k=2).ids
            tensor([[1, 0]])
        """
        values = _to_logits(logits, self.n_bits)
        if activation not in get_args(Activation):
            raise ValueError(f"activation must be one of {', '.join(get_args(Activation))}, got {activation!r}")
        if activation == "tanh":
            values = np.tanh(values)
        _, exponents = np.frexp(np.abs(values).max(axis=1, initial=0.0))
        values = exact_weights(values) if len(values) else values  # so that equal scores are equal
        candidates = _to_integers(ids, "ids")
        if candidates.ndim != 2 or len(candidates) != len(values) or not candidates.shape[1]:
            raise ValueError(
                f"ids must have shape (n_queries, n_candidates), one row for each of the {len(values)} queries, got "
                f"{candidates.shape}"
            )
        k = candidates.shape[1] if k is None else check_count(k, "k")
        if k > candidates.shape[1]:
            raise ValueError(f"k must be at most the {candidates.shape[1]} candidates of a query, got {k}")
        candidates = candidates.astype(np.int64)
        scores = np.empty(candidates.shape)
        rows = max(1, _RERANK_VALUES // (candidates.shape[1] * self.n_bits))
        for first in range(0, len(values), rows):
            chunk = slice(first, first + rows)
            bits = np.unpackbits(self._codes_of(candidates[chunk]), axis=-1, count=self.n_bits).view(np.bool_)
            scores[chunk] = np.where(bits, values[chunk, None], -values[chunk, None]).sum(axis=-1)
        scores = np.ldexp(scores, exponents[:, None] + self.n_bits.bit_length() - 53)
        scores[candidates == _NO_ID] = -np.inf
        order = np.lexsort((candidates, -scores), axis=1)[:, :k]
        return RerankResult(
            torch.from_numpy(np.take_along_axis(scores, order, axis=1)),
            torch.from_numpy(np.take_along_axis(candidates, order, axis=1)),
        )

    def save(self, path: str | PathLike[str]) -> None:
        """Write codes, ids and settings to one file, which takes the place of ``path`` once it is complete.

        An existing file stays as it is when saving fails. Processes that have mapped it keep seeing the old one. What
        faiss built is not saved: it is built again from the codes. The layout stands in
        ``hashcenters.retrieval.index_file``.

        Args:
            path: the file; the new one is written beside it first, so the folder must have room for both.

        Raises:
            OSError: the file cannot be written.

        Examples:
            >>> import tempfile
            >>> index = HammingIndex(64)
            >>> index.add(torch.randn(1000, 64))
            >>> with tempfile.TemporaryDirectory() as folder:
            ...     index.save(f"{folder}/codes.index")
            ...     loaded = HammingIndex.load(f"{folder}/codes.index")
            >>> loaded
            <HammingIndex(64, backend='exact') of 1000 codes>
        """
        from hashcenters.retrieval.index_file import write_index

        runs = sorted(self._settled(), key=lambda run: int(run.ids[0]))
        if any(before.ids[-1] > after.ids[0] for before, after in itertools.pairwise(runs)):
            runs = [self._joined()]
        parts = [(run.codes, run.ids) for run in runs]
        write_index(path, parts, n_bits=self.n_bits, backend=self.backend, options=self._options())

    @classmethod
    def load(
        cls, path: str | PathLike[str], *, backend: Backend | None = None, mmap: bool = True, verify: bool = True
    ) -> HammingIndex:
        """Open a file that ``save`` wrote.

        A mapped index of any size opens at once and is searched by the exact backend without being read into memory;
        codes added to it live in memory beside it. Asking for ``codes``, ``ids`` or ``to_faiss`` after that joins the
        two in memory, and they stay joined; faiss keeps a copy too.

        Args:
            path: the file.
            backend: who searches; None for the one that was saved, with its options.
            mmap: map the file into memory instead of reading it.
            verify: compare the checksum of codes and ids, which reads all of them once: some seconds for the 8 GB of
                a billion 64-bit codes from memory, longer from a disk. Everything else is checked in any case.

        Returns:
            The index.

        Raises:
            FileNotFoundError: there is no such file.
            ValueError: not a file of an index, of another version, cut short, or changed since it was written.
            ImportError: faiss is wanted and not installed.
        """
        from hashcenters.retrieval.index_file import read_index

        contents = read_index(path, mmap=mmap, verify=verify)
        if backend is None:
            try:
                index = cls(contents.n_bits, backend=cast(Backend, contents.backend), **contents.options)
            except (TypeError, ValueError) as error:
                raise ValueError(f"path={os.fspath(path)!r} has settings that cannot be: {error}") from error
        else:
            index = cls(contents.n_bits, backend=backend, **(contents.options if backend == contents.backend else {}))
        if len(contents.codes):
            index._runs = [_Run(contents.codes, contents.ids, mapped=mmap)]
        return index

    def to_faiss(self) -> FaissIndex:
        """Return a faiss index of its own with these codes and ids, for going on with faiss.

        Returns:
            An ``IndexBinaryIDMap2`` over an ``IndexBinaryFlat``, or over the HNSW or IVF of this backend. Its codes
            have whole bytes: what it is asked must be packed like ``codes``.

        Raises:
            ImportError: faiss is not installed.
            ValueError: the index is empty.
        """
        self._check_not_empty("to_faiss")
        return self._new_engine().exported(self._joined().codes, _as_array(self._joined().ids))

    def _options(self) -> dict[str, int | None]:
        return {"ef_search": self.ef_search, "n_probe": self.n_probe}

    def _new_engine(self) -> FaissEngine:
        from hashcenters.retrieval.faiss_backends import FaissEngine

        return FaissEngine(self.backend, self.n_bits, ef_search=self.ef_search, n_probe=self.n_probe)

    def _check_not_empty(self, what: str) -> None:
        if not self._runs:
            raise ValueError(f"the index is empty: call add before {what}")

    def _settled(self) -> list[_Run]:
        """Return at most two runs: the mapped one, if any, and what lies in memory."""
        n_mapped = sum(run.mapped for run in self._runs)
        if len(self._runs) > n_mapped + 1:
            self._runs[n_mapped:] = [_merged(self._runs[n_mapped:])]
        return self._runs

    def _joined(self) -> _Run:
        """Return everything as one run."""
        if not self._runs:
            return _Run(np.empty((0, packed_width(self.n_bits)), np.uint8), range(0))
        if len(self._runs) > 1:
            self._runs = [_merged(self._runs)]
        return self._runs[0]

    def _indexed(self, engine: FaissEngine) -> _Run:
        """Bring the engine up to date; return what it holds."""
        run = self._joined()
        engine.update(run.codes, appended=self._engine_is_prefix)
        self._engine_is_prefix = True
        return run

    def _with_ids(self, distances: IntArray, positions: IntArray, ids: _Ids, k: int) -> tuple[IntArray, IntArray]:
        """Turn positions into ids, and fill up what was not found to k columns."""
        if positions.shape[1] == k and positions.min(initial=0) >= 0:
            return distances, _ids_at(ids, positions)
        missing = positions < 0
        found = _ids_at(ids, np.where(missing, 0, positions))
        width = ((0, 0), (0, k - positions.shape[1]))
        return (
            np.pad(np.where(missing, self.n_bits + 1, distances), width, constant_values=self.n_bits + 1),
            np.pad(np.where(missing, _NO_ID, found), width, constant_values=_NO_ID),
        )

    def _codes_of(self, ids: IntArray) -> PackedArray:
        """Return the codes of ids of any shape; zeros for -1."""
        codes = np.zeros((*ids.shape, packed_width(self.n_bits)), np.uint8)
        missing = ids != _NO_ID
        for run in self._runs:
            positions, is_here = _positions(run.ids, ids)
            codes[is_here] = run.codes[positions[is_here]]
            missing &= ~is_here
        if missing.any():
            raise ValueError(f"ids must be in the index or -1, got {ids[missing][0]}, which is not")
        return codes


def _option(name: str, value: int | None, backend: str, owner: str) -> int | None:
    if value is None:
        return None
    if backend != owner:
        raise ValueError(f"{name} is an option of backend {owner!r}, got {name}={value!r} with backend {backend!r}")
    return check_count(value, name)


def _read_only(values: npt.NDArray[_Value]) -> npt.NDArray[_Value]:
    view: npt.NDArray[_Value] = values.view()
    view.setflags(write=False)
    return view


def _as_array(ids: _Ids) -> IntArray:
    return np.arange(ids.start, ids.stop, dtype=np.int64) if isinstance(ids, range) else ids


def _ids_at(ids: _Ids, positions: IntArray) -> IntArray:
    if isinstance(ids, range):
        return positions + ids.start if ids.start else positions
    return ids[positions]


def _positions(ids: _Ids, wanted: IntArray) -> tuple[IntArray, npt.NDArray[np.bool_]]:
    """Return where the wanted ids stand among ascending ones, and which of them are there at all."""
    if isinstance(ids, range):
        return wanted - ids.start, (wanted >= ids.start) & (wanted < ids.stop)
    positions = np.searchsorted(ids, wanted)
    inside = np.minimum(positions, len(ids) - 1)
    return inside, ids[inside] == wanted


def _sorted_run(codes: PackedArray, ids: IntArray) -> _Run:
    """Sort codes by id; refuse an id that occurs twice."""
    if len(ids) > 1 and not (ids[1:] > ids[:-1]).all():
        order = np.argsort(ids, kind="stable")
        codes, ids = codes[order], ids[order]
        twice = ids[1:][ids[1:] == ids[:-1]]
        if len(twice):
            raise ValueError(f"ids must occur once each, got {twice[0]} twice")
    if len(ids) and ids[-1] - ids[0] == len(ids) - 1:
        return _Run(codes, range(int(ids[0]), int(ids[-1]) + 1))
    return _Run(codes, ids)


def _merged(runs: list[_Run]) -> _Run:
    """Merge runs whose ids differ."""
    runs = sorted(runs, key=lambda run: int(run.ids[0]))
    codes = np.concatenate([run.codes for run in runs])
    if all(isinstance(run.ids, range) for run in runs) and int(runs[-1].ids[-1]) - int(runs[0].ids[0]) < len(codes):
        return _Run(codes, range(int(runs[0].ids[0]), int(runs[-1].ids[-1]) + 1))
    return _sorted_run(codes, np.concatenate([_as_array(run.ids) for run in runs]))


def _check_not_taken(ids: _Ids, others: _Ids) -> None:
    if not len(ids) or ids[0] > others[-1] or ids[-1] < others[0]:
        return
    wanted = _as_array(ids)
    taken = wanted[_positions(others, wanted)[1]]
    if len(taken):
        raise ValueError(f"ids must be new to the index, got {taken[0]}, which it has")


def _to_integers(values: Tensor | npt.NDArray[Any], name: str) -> npt.NDArray[Any]:
    if isinstance(values, Tensor):
        if values.is_floating_point() or values.is_complex() or values.dtype == torch.bool:
            raise TypeError(f"{name} must be integers, got {values.dtype}")
        return values.detach().cpu().numpy()
    if not isinstance(values, np.ndarray):
        raise TypeError(f"{name} must be a torch tensor or a numpy array, got {type(values).__name__}")
    if not np.issubdtype(values.dtype, np.integer):
        raise TypeError(f"{name} must be integers, got {values.dtype}")
    return values


def _to_ids(ids: Tensor | npt.NDArray[Any], n_rows: int) -> IntArray:
    """Return a copy as int64, after all checks but those of uniqueness."""
    values = _to_integers(ids, "ids")
    if values.shape != (n_rows,):
        raise ValueError(f"ids must have shape (n,), one for each of the {n_rows} codes, got {values.shape}")
    if n_rows and int(values.min()) < 0:
        raise ValueError(f"ids must be at least 0, got {values.min()}")
    if n_rows and int(values.max()) > _MAX_ID:
        raise ValueError(f"ids must be smaller than 2**63, got {values.max()}")
    return values.astype(np.int64)


def _to_logits(logits: Codes, n_bits: int) -> npt.NDArray[np.float64]:
    if isinstance(logits, Tensor) and logits.is_floating_point():
        logits = logits.detach().cpu().double().numpy()
    if not isinstance(logits, np.ndarray) or not np.issubdtype(logits.dtype, np.floating):
        got = logits.dtype if isinstance(logits, Tensor | np.ndarray) else type(logits).__name__
        raise TypeError(f"logits must be a floating-point tensor or array, got {got}")
    if logits.ndim != 2 or logits.shape[1] != n_bits:
        raise ValueError(f"logits must have shape (n_queries, n_bits={n_bits}), got {logits.shape}")
    if not np.isfinite(logits).all():
        raise ValueError("logits must be finite, got NaN or infinity")
    return logits.astype(np.float64)
