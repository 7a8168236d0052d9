"""Codes served by Milvus: ``HammingIndex``'s ``add`` and ``search`` over pymilvus. Needs the extra ``milvus``.

A path that ends in ``.db`` is the embedded engine (milvus-lite, one process, flat scan): for tests and laptops.
``"http://host:19530"`` is a cluster. Nothing else changes.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from os import PathLike, fspath
from types import TracebackType
from typing import Any, Literal, TypeAlias, TypeVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from tqdm import tqdm

from hashcenters.checks import check_count
from hashcenters.retrieval.codes import MAX_BITS, packed_width, to_packed
from hashcenters.retrieval.index import RangeResult, SearchResult

try:
    import grpc
    from pymilvus import DataType, MilvusClient, MilvusException
except ModuleNotFoundError as error:
    raise ImportError(
        f'{error}; this index needs pymilvus: pip install "hashcenters[milvus]"', name=error.name
    ) from error

__all__ = ["MilvusHammingIndex"]

IntArray: TypeAlias = npt.NDArray[np.int64]
Hits: TypeAlias = tuple[IntArray, IntArray]  # distances and ids of one query
Window: TypeAlias = tuple[int, int]  # a half-open range of distances
Codes: TypeAlias = Tensor | npt.NDArray[Any]
Ids: TypeAlias = Tensor | npt.NDArray[Any] | Sequence[int]
Values: TypeAlias = Tensor | npt.NDArray[Any] | Sequence[Any]
Answer = TypeVar("Answer")

_ENGINE_LIMIT = 16384  # Milvus returns no more hits a query, and no more rows a look-up
_HITS_A_REQUEST = 500_000  # keeps one answer to a few MB
_IDS_A_LOOKUP = 8192
_LARGEST_ID = 2**63 - 1
_LONGEST_WAIT = 30.0
_TEXT_BYTES = 65535  # the longest VARCHAR of Milvus
_DESCRIPTION = (
    "hashcenters n_bits={}"  # the vector field is padded to bytes, so the collection's description keeps n_bits
)
_COLUMNS: dict[type, DataType] = {
    int: DataType.INT64,
    float: DataType.DOUBLE,
    bool: DataType.BOOL,
    str: DataType.VARCHAR,
}
_TRANSIENT_STATUS = {
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.DEADLINE_EXCEEDED,
    grpc.StatusCode.RESOURCE_EXHAUSTED,
    grpc.StatusCode.ABORTED,
}
_RATE_LIMIT = 8  # pymilvus' ErrorCode.RATE_LIMIT
# The client's own retries last up to four minutes on any failure, broken filters included; ours choose.
_CLIENT = {"retry_times": 1}


class MilvusHammingIndex:
    """Search of binary codes in a Milvus collection, exact where the collection is scanned flat.

    The collection has the fields ``id`` (INT64, primary), ``code`` (BINARY_VECTOR, HAMMING) and one column for each of
    ``fields``; ``n_bits`` is kept in its description. An existing collection is opened if it fits and refused if not.

    On the default index ``"BIN_FLAT"`` the results equal brute force, ties by lowest id: where the engine cuts through
    items of one distance, all of them are asked for. ``"BIN_IVF_FLAT"`` (clusters only) visits ``n_probes`` of
    ``n_lists`` lists and may miss neighbours; among what it visits the order is the same.

    Args:
        uri: file that ends in ``.db`` for the embedded engine, or the address of a cluster, ``"http://host:19530"``.
        collection: letters, digits and underscores, not starting with a digit.
        n_bits: code length, 1 to 1024. Padding to whole bytes is done here.
        fields: metadata columns of a new collection, name to ``int``, ``float``, ``bool`` or ``str`` (up to 65,535
            bytes). None: no columns, or those that an existing collection has.
        token: ``"user:password"`` or an API key, for clusters that ask for one.
        batch_size: items a request of ``add``.
        index_type: None: ``"BIN_FLAT"``, or what an existing collection has.
        n_lists: lists of a new ``"BIN_IVF_FLAT"``.
        n_probes: lists visited a query by ``"BIN_IVF_FLAT"``.
        n_shards: write channels of a new collection on a cluster, 1 to 16.
        retries: how often a request is repeated after a transient error: no connection, time out, rate limit, or what
            the server itself calls retriable. Other errors are raised at once.
        backoff: seconds before the first repetition, doubled for each further one up to 30.

    Raises:
        ImportError: pymilvus is not installed.
        TypeError: an argument has the wrong type, or ``fields`` a type without a column.
        ValueError: an argument out of range, an index type that the embedded engine lacks, or an existing collection
            with other ``n_bits``, ``fields``, metric or index type.

    Examples:
        >>> index = MilvusHammingIndex("codes.db", "photos", 64, fields={"label": int})  # doctest: +SKIP
        >>> index.add(codes, metadata={"label": labels}, progress=True)  # doctest: +SKIP
        >>> distances, ids = index.search(queries, k=10, filter="label == 3")  # doctest: +SKIP
    """

    def __init__(
        self,
        uri: str | PathLike[str],
        collection: str,
        n_bits: int,
        *,
        fields: Mapping[str, type] | None = None,
        token: str | None = None,
        batch_size: int = 10_000,
        index_type: Literal["BIN_FLAT", "BIN_IVF_FLAT"] | None = None,
        n_lists: int = 1024,
        n_probes: int = 16,
        n_shards: int = 1,
        retries: int = 5,
        backoff: float = 0.5,
    ) -> None:
        self.n_bits = check_count(n_bits, "n_bits")
        if self.n_bits > MAX_BITS:
            raise ValueError(f"n_bits must be at most {MAX_BITS}, got {n_bits}")
        self.uri = _check_uri(uri)
        self.collection = _check_name(collection, "collection")
        self.batch_size = check_count(batch_size, "batch_size")
        self.n_probes = check_count(n_probes, "n_probes")
        self._retries = check_count(retries, "retries", least=0)
        if not backoff >= 0:
            raise ValueError(f"backoff must be at least 0 seconds, got {backoff}")
        self._backoff = float(backoff)
        n_lists = check_count(n_lists, "n_lists")
        n_shards = check_count(n_shards, "n_shards")
        if index_type not in (None, "BIN_FLAT", "BIN_IVF_FLAT"):
            raise ValueError(f'index_type must be "BIN_FLAT", "BIN_IVF_FLAT" or None, got {index_type!r}')
        if index_type == "BIN_IVF_FLAT" and "://" not in self.uri:
            raise ValueError(
                'index_type="BIN_IVF_FLAT" needs a cluster: the embedded engine scans flat; pass "BIN_FLAT" or the '
                "address of a server as uri"
            )
        columns = None if fields is None else _check_fields(fields)
        self._next_id = 0  # the largest id known to be stored, + 1
        self._client = MilvusClient(self.uri, token=token or "")
        try:
            if not self._call(self._client.has_collection, self.collection):
                self._create(columns or {}, index_type or "BIN_FLAT", n_lists, n_shards)
            self.fields, self.index_type = self._open(columns, index_type)
        except BaseException:
            self.close()
            raise

    def add(
        self,
        codes: Codes,
        ids: Ids | None = None,
        *,
        metadata: Mapping[str, Values] | None = None,
        progress: bool = False,
    ) -> None:
        """Store codes.

        Everything is checked, ids against the collection too, before the first request writes. If a request fails for
        good, the batches before it stay, and a note of the exception says how many codes these are and which id to go
        on with. A request that is repeated may have been carried out already; it then
        replaces its own items, so none is stored twice.

        Args:
            codes: (n, n_bits) floating point (bit 1 where ``>= 0``) or bool, or packed uint8 (n, ceil(n_bits / 8)).
            ids: (n,) integers of at least 0 that the collection does not have. None: the numbers behind its largest
                id, 0 first. Processes that write to one collection at a time should pass ids of their own.
            metadata: for each of ``fields``, n values.
            progress: show a bar of the items sent.

        Raises:
            TypeError: wrong dtype of codes or ids, or a metadata value that is not of its column's type.
            ValueError: wrong shape, an id that is negative, repeated, or taken, missing or unknown metadata, too long
                a text, or no number left behind the largest id.
            pymilvus.MilvusException: the engine refused, or kept failing.
        """
        packed = to_packed(codes, self.n_bits)
        values = self._check_metadata(metadata, len(packed))
        if len(packed) == 0:
            return
        numbers = self._new_ids(len(packed)) if ids is None else self._check_ids(ids, len(packed))
        with tqdm(total=len(packed), desc="add", unit="code", unit_scale=True, disable=not progress) as bar:
            for start in range(0, len(packed), self.batch_size):
                chunk = slice(start, start + self.batch_size)
                rows = [
                    {"id": number, "code": code.tobytes()}
                    for number, code in zip(numbers[chunk].tolist(), packed[chunk], strict=True)
                ]
                for name, column in values.items():
                    for row, value in zip(rows, column[chunk], strict=True):
                        row[name] = value
                # upsert replaces by id; on a cluster a repeated insert would store the items twice
                try:
                    self._call(self._client.insert, self.collection, rows, again=self._client.upsert)
                except Exception as error:
                    _add_note(
                        error,
                        f"{start} of {len(packed)} codes are stored; go on with add(codes[{start}:], ids=...), the "
                        f"first of which was to get the id {numbers[start]}",
                    )
                    raise
                bar.update(len(rows))
        self._next_id = max(self._next_id, int(numbers.max()) + 1)

    def search(self, codes: Codes, k: int, *, filter: str | None = None) -> SearchResult:
        """Find the ``k`` nearest items of each query.

        Args:
            codes: queries, in any form that ``add`` takes.
            k: neighbours a query, 1 to 16,384.
            filter: expression of Milvus over the fields and ``id``, for example ``"label == 3 and id < 1000"``.

        Returns:
            ``distances`` and ``ids``, int64 tensors (n_queries, k), sorted by distance, then id. Where the collection
            (or the filter) has fewer than ``k`` items, the rest is filled with distance ``n_bits + 1`` and id -1.

        Raises:
            TypeError: wrong dtype, or ``k`` or ``filter`` of the wrong type.
            ValueError: wrong shape, ``k`` out of range, an empty filter, or an empty collection.
            pymilvus.MilvusException: the filter cannot be read, or the engine kept failing.
        """
        packed, filter = self._check_queries(codes, filter)
        k = check_count(k, "k")
        if k > _ENGINE_LIMIT:
            raise ValueError(f"k must be at most {_ENGINE_LIMIT}, the most hits that Milvus returns a query, got {k}")
        limit = min(2 * k + 64, _ENGINE_LIMIT)
        hits = self._hits(packed, limit, None, filter)
        self._require_items(hits, filter)
        for window, members in self._cut_ties(hits, k, limit).items():
            ties = self._hits(packed[members], _ENGINE_LIMIT, window, filter)
            for i, tied in zip(members, ties, strict=True):
                n_nearer = int(np.searchsorted(hits[i][0], window[0]))
                if len(tied[1]) == _ENGINE_LIMIT:
                    tied = self._page_by_id(packed[i : i + 1], window, filter, tied, k - n_nearer)
                hits[i] = _join([(hits[i][0][:n_nearer], hits[i][1][:n_nearer]), tied])
        distances = np.full((len(packed), k), self.n_bits + 1, dtype=np.int64)
        ids = np.full((len(packed), k), -1, dtype=np.int64)
        for i, (found, numbers) in enumerate(hits):
            distances[i, : len(found)] = found[:k]
            ids[i, : len(found)] = numbers[:k]
        return SearchResult(torch.from_numpy(distances), torch.from_numpy(ids))

    def range_search(self, codes: Codes, radius: int, *, filter: str | None = None) -> RangeResult:
        """Find all items within ``radius`` of each query, however many.

        Args:
            codes: queries, in any form that ``add`` takes.
            radius: largest distance that counts, at least 0.
            filter: as in ``search``.

        Returns:
            ``offsets`` (n_queries + 1,), ``distances`` and ``ids``: int64 tensors; those of query i lie at
            ``offsets[i]:offsets[i + 1]``, sorted by distance, then id.

        Raises:
            TypeError: wrong dtype, or ``radius`` or ``filter`` of the wrong type.
            ValueError: wrong shape, a negative radius, an empty filter, or an empty collection.
            pymilvus.MilvusException: the filter cannot be read, or the engine kept failing.
        """
        packed, filter = self._check_queries(codes, filter)
        window = (0, check_count(radius, "radius", least=0) + 1)
        hits = self._hits(packed, _ENGINE_LIMIT, window, filter)
        self._require_items(hits, filter)
        for i, found in enumerate(hits):
            if len(found[1]) == _ENGINE_LIMIT:
                hits[i] = self._page_by_id(packed[i : i + 1], window, filter, found, None)
        offsets = np.cumsum([0] + [len(found) for found, _ in hits], dtype=np.int64)
        distances, ids = _join(hits)
        return RangeResult(torch.from_numpy(offsets), torch.from_numpy(distances), torch.from_numpy(ids))

    def metadata(self, ids: Ids) -> dict[str, list[Any]]:
        """Look up the metadata of items, for example of those that a search found.

        Args:
            ids: (n,) integers.

        Returns:
            For each of ``fields`` a list of n values, in the order of ``ids``.

        Raises:
            TypeError: ids that are not integers.
            ValueError: ids not one-dimensional or negative, or an id that the collection does not have.
        """
        numbers = _to_ids(ids)
        rows = {row["id"]: row for row in self._lookup(np.unique(numbers), ["id", *self.fields])}
        missing = [number for number in numbers.tolist() if number not in rows]
        if missing:
            raise ValueError(f"ids must be ids of the collection {self.collection!r}; it has no {missing[0]}")
        return {name: [rows[number][name] for number in numbers.tolist()] for name in self.fields}

    def drop(self) -> None:
        """Delete the collection with everything in it. Only ``close`` makes sense afterwards."""
        self._call(self._client.drop_collection, self.collection)

    def close(self) -> None:
        """Close the connection. The embedded engine itself ends with the process."""
        self._client.close()

    def __enter__(self) -> MilvusHammingIndex:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def __len__(self) -> int:
        rows = self._call(self._client.query, self.collection, filter="", output_fields=["count(*)"])
        return int(rows[0]["count(*)"])

    def __repr__(self) -> str:
        columns = ", ".join(f"{name}: {kind.__name__}" for name, kind in self.fields.items())
        return (
            f"MilvusHammingIndex({self.uri!r}, {self.collection!r}, n_bits={self.n_bits}, fields={{{columns}}}, "
            f"index_type={self.index_type!r})"
        )

    def _create(self, fields: Mapping[str, type], index_type: str, n_lists: int, n_shards: int) -> None:
        schema = self._client.create_schema(
            auto_id=False, enable_dynamic_field=False, description=_DESCRIPTION.format(self.n_bits)
        )
        schema.add_field("id", DataType.INT64, is_primary=True)
        schema.add_field("code", DataType.BINARY_VECTOR, dim=8 * packed_width(self.n_bits))
        for name, kind in fields.items():
            schema.add_field(name, _COLUMNS[kind], **({"max_length": _TEXT_BYTES} if kind is str else {}))
        index = self._client.prepare_index_params()
        params = {"nlist": n_lists} if index_type == "BIN_IVF_FLAT" else {}
        index.add_index("code", index_type=index_type, metric_type="HAMMING", params=params)
        # Strong: a search sees every add that returned before it
        self._call(
            self._client.create_collection,
            self.collection,
            schema=schema,
            index_params=index,
            num_shards=n_shards,
            consistency_level="Strong",
        )

    def _open(self, fields: Mapping[str, type] | None, index_type: str | None) -> tuple[dict[str, type], str]:
        """Return the fields and the index type of the collection, after making sure that it is the one meant."""
        found = self._call(self._client.describe_collection, self.collection)
        columns = {field["name"]: field for field in found["fields"]}
        key, vector = columns.pop("id", {}), columns.pop("code", {})
        is_keyed = key.get("type") == DataType.INT64 and key.get("is_primary") and not found.get("auto_id")
        if not is_keyed or vector.get("type") != DataType.BINARY_VECTOR:
            raise self._misfit("has no INT64 primary field 'id' without auto_id beside a BINARY_VECTOR 'code'")
        width = int(vector["params"]["dim"])
        noted = re.fullmatch(_DESCRIPTION.format(r"(\d+)"), found.get("description", ""))
        stored = int(noted[1]) if noted else width
        if (stored, width) != (self.n_bits, 8 * packed_width(self.n_bits)):
            raise self._misfit(f"holds codes of n_bits={stored}, not {self.n_bits}")
        kinds = {data_type: kind for kind, data_type in _COLUMNS.items()}
        stored_fields = {name: kinds.get(DataType(field["type"]), object) for name, field in columns.items()}
        if fields is not None and dict(fields) != stored_fields:
            raise self._misfit(f"has the fields {_names(stored_fields)}, not {_names(fields)}")
        if object in stored_fields.values():
            raise self._misfit(f"has fields of types that are not int, float, bool or str: {_names(stored_fields)}")
        names = self._call(self._client.list_indexes, self.collection, field_name="code")
        index = self._call(self._client.describe_index, self.collection, names[0]) if names else {}
        if index.get("metric_type") != "HAMMING":
            raise self._misfit(f"is indexed by the metric {index.get('metric_type')}, not HAMMING")
        if index_type is not None and index["index_type"] != index_type:
            raise self._misfit(f"has an index of type {index['index_type']}, not {index_type}")
        self._call(self._client.load_collection, self.collection)
        return stored_fields, str(index["index_type"])

    def _misfit(self, what: str) -> ValueError:
        return ValueError(f"the collection {self.collection!r} {what}; take another name, or drop it first")

    def _call(
        self,
        request: Callable[..., Answer],
        *args: object,
        again: Callable[..., Answer] | None = None,
        **options: object,
    ) -> Answer:
        """Send a request; after a transient error wait and send it once more, by ``again`` if that is given."""
        attempt = 0
        while True:
            try:
                return request(*args, **options, **_CLIENT)
            except (MilvusException, grpc.RpcError) as error:
                if attempt == self._retries or not _is_transient(error):
                    raise
            time.sleep(min(self._backoff * 2**attempt, _LONGEST_WAIT))
            request = again or request
            attempt += 1

    def _hits(self, packed: npt.NDArray[np.uint8], limit: int, window: Window | None, filter: str | None) -> list[Hits]:
        """Return up to ``limit`` hits of each query, of all distances or of a window, sorted by distance, then id."""
        params: dict[str, int] = {"nprobe": self.n_probes} if self.index_type == "BIN_IVF_FLAT" else {}
        if window is not None:
            params |= {"range_filter": window[0], "radius": window[1]}  # Milvus: range_filter <= distance < radius
        hits: list[Hits] = []
        step = max(1, _HITS_A_REQUEST // limit)
        for start in range(0, len(packed), step):
            answer = self._call(
                self._client.search,
                self.collection,
                data=[code.tobytes() for code in packed[start : start + step]],
                filter=filter or "",
                limit=limit,
                anns_field="code",
                search_params={"metric_type": "HAMMING", "params": params},
            )
            for row in answer:
                distances = np.array([hit["distance"] for hit in row], dtype=np.int64)
                hits.append(_sorted((distances, np.array([hit["id"] for hit in row], dtype=np.int64))))
        return hits

    @staticmethod
    def _cut_ties(hits: list[Hits], k: int, limit: int) -> dict[Window, list[int]]:
        """Return the queries for which the engine may have left out items as near as the k-th, by its distance."""
        cut: dict[Window, list[int]] = {}
        for i, (distances, _) in enumerate(hits):
            if len(distances) == limit and distances[k - 1] == distances[-1]:
                cut.setdefault((int(distances[-1]), int(distances[-1]) + 1), []).append(i)
        return cut

    def _page_by_id(
        self,
        query: npt.NDArray[np.uint8],
        window: Window,
        filter: str | None,
        found: Hits,
        enough: int | None,
    ) -> Hits:
        """Collect more hits than the engine returns at once: halve the range of ids until each part fits.

        With ``enough``, only the parts of lowest ids that together have so many.
        """
        parts: list[Hits] = []
        n_collected = 0
        open_ranges = [(0, _LARGEST_ID, found)]
        while open_ranges and (enough is None or n_collected < enough):
            low, high, found = open_ranges.pop()
            if len(found[1]) < _ENGINE_LIMIT:
                parts.append(found)
                n_collected += len(found[1])
                continue
            middle = int(np.sort(found[1])[len(found[1]) // 2 - 1])  # at least half of these hits are above it
            for first, last in ((middle + 1, high), (low, middle)):  # the last one pushed is next
                within = f"id >= {first} and id <= {last}"
                within = within if filter is None else f"({filter}) and {within}"
                open_ranges.append((first, last, self._hits(query, _ENGINE_LIMIT, window, within)[0]))
        return _sorted(_join(parts))

    def _lookup(self, ids: IntArray, columns: list[str]) -> Iterator[dict[str, Any]]:
        for start in range(0, len(ids), _IDS_A_LOOKUP):
            wanted = ids[start : start + _IDS_A_LOOKUP].tolist()
            yield from self._call(self._client.query, self.collection, filter=f"id in {wanted}", output_fields=columns)

    def _first_free(self) -> int:
        """Return the largest id + 1, by doubling and halving a range: Milvus has no maximum."""

        def one_from(low: int) -> int | None:
            rows = self._call(self._client.query, self.collection, filter=f"id >= {low}", output_fields=["id"], limit=1)
            return int(rows[0]["id"]) if rows else None

        free, step = self._next_id, 1
        taken = one_from(free) if free <= _LARGEST_ID else None
        if taken is None:
            return free
        end = _LARGEST_ID + 1
        while taken is not None and taken < _LARGEST_ID:
            free = taken + 1
            probe = min(free + step, _LARGEST_ID)
            taken, end, step = one_from(probe), probe, 2 * step
        free = free if taken is None else taken + 1
        while free < end:
            middle = (free + end) // 2
            taken = one_from(middle)
            free, end = (free, middle) if taken is None else (taken + 1, end)
        return free

    def _new_ids(self, n: int) -> IntArray:
        self._next_id = self._first_free()
        if self._next_id + n - 1 > _LARGEST_ID:
            raise ValueError(
                f"ids must be passed here: behind the largest id of {self.collection!r}, {self._next_id - 1}, are no "
                f"{n} numbers up to 2**63 - 1 left"
            )
        return np.arange(n, dtype=np.int64) + self._next_id

    def _check_ids(self, ids: Ids, n: int) -> IntArray:
        numbers = _to_ids(ids)
        if len(numbers) != n:
            raise ValueError(f"ids must be one a code, {n}, got {len(numbers)}")
        unique, counts = np.unique(numbers, return_counts=True)
        if len(unique) < n:
            raise ValueError(f"ids must be unique, got {unique[counts > 1][0]} more than once")
        taken = next(self._lookup(unique, ["id"]), None)
        if taken is not None:
            raise ValueError(f"ids must be new, but {self.collection!r} has {taken['id']} already")
        return numbers

    def _check_metadata(self, metadata: Mapping[str, Values] | None, n: int) -> dict[str, list[Any]]:
        metadata = {} if metadata is None else metadata
        if metadata.keys() != self.fields.keys():
            raise ValueError(f"metadata must have the fields {sorted(self.fields)}, got {sorted(metadata)}")
        return {name: _check_column(metadata[name], kind, name, n) for name, kind in self.fields.items()}

    def _check_queries(self, codes: Codes, filter: str | None) -> tuple[npt.NDArray[np.uint8], str | None]:
        packed = to_packed(codes, self.n_bits)
        if filter is not None and not isinstance(filter, str):
            raise TypeError(f"filter must be a string or None, got {type(filter).__name__}")
        if filter is not None and not filter.strip():
            raise ValueError("filter must be an expression, got an empty one; pass None to search all items")
        return packed, filter

    def _require_items(self, hits: list[Hits], filter: str | None) -> None:
        """Refuse to search nothing; counting costs a request, so only where nothing was found."""
        if hits and filter is None and not any(len(found) for found, _ in hits) and len(self) == 0:
            raise ValueError(f"the collection {self.collection!r} is empty; add codes before searching")


def _check_uri(uri: str | PathLike[str]) -> str:
    address = fspath(uri)
    if "://" not in address and not address.endswith(".db"):
        raise ValueError(
            f'uri must be a file that ends in ".db" (embedded engine) or an address like "http://host:19530", got '
            f"{address!r}"
        )
    return address


def _check_name(name: object, argument: str) -> str:
    if not isinstance(name, str) or not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name):
        raise ValueError(
            f"{argument} must consist of letters, digits and underscores and not start with a digit, got {name!r}"
        )
    return name


def _check_fields(fields: Mapping[str, type]) -> dict[str, type]:
    for name, kind in fields.items():
        if _check_name(name, "a name in fields") in ("id", "code"):
            raise ValueError(f"fields must not have the name {name!r}, which the index itself uses")
        if kind not in _COLUMNS:
            raise TypeError(f"fields must map names to int, float, bool or str, got {name!r}: {kind!r}")
    return dict(fields)


def _to_ids(ids: Ids) -> IntArray:
    numbers = ids.detach().cpu().numpy() if isinstance(ids, Tensor) else np.asarray(ids)
    if numbers.size == 0:
        numbers = numbers.astype(np.int64)
    if not np.issubdtype(numbers.dtype, np.integer):
        raise TypeError(f"ids must be integers, got {numbers.dtype}")
    if numbers.ndim != 1:
        raise ValueError(f"ids must have shape (n,), got {numbers.shape}")
    if numbers.size and (numbers.min() < 0 or numbers.max() > _LARGEST_ID):
        raise ValueError(f"ids must be 0 to 2**63 - 1, got {numbers.min()} to {numbers.max()}")
    return numbers.astype(np.int64)


def _check_column(values: Values, kind: type, name: str, n: int) -> list[Any]:
    """Return one metadata column as Python values of its type."""
    column = values.tolist() if isinstance(values, Tensor | np.ndarray) else list(values)
    if len(column) != n:
        raise ValueError(f"metadata {name!r} must have one value a code, {n}, got {len(column)}")
    for i, value in enumerate(column):
        if kind is float and type(value) is int:
            column[i] = float(value)
        elif isinstance(value, np.generic):
            column[i] = value.item()
        if type(column[i]) is not kind:
            raise TypeError(f"metadata {name!r} must be of type {kind.__name__}, got {value!r} at {i}")
        if kind is int and not -(2**63) <= column[i] < 2**63:
            raise ValueError(f"metadata {name!r} must fit into 64 bits, got {value!r} at {i}")
        if kind is str and len(column[i].encode()) > _TEXT_BYTES:
            raise ValueError(
                f"metadata {name!r} must be texts of at most {_TEXT_BYTES} bytes, got {len(value.encode())} at {i}"
            )
    return column


def _names(fields: Mapping[str, type]) -> str:
    return "{" + ", ".join(f"{name}: {kind.__name__}" for name, kind in fields.items()) + "}"


def _sorted(hits: Hits) -> Hits:
    order = np.lexsort((hits[1], hits[0]))
    return hits[0][order], hits[1][order]


def _join(parts: list[Hits]) -> Hits:
    none = np.empty(0, dtype=np.int64)
    return np.concatenate([none, *(part[0] for part in parts)]), np.concatenate([none, *(part[1] for part in parts)])


def _is_transient(error: Exception) -> bool:
    """Whether the same request may succeed a moment later."""
    code = error.code() if isinstance(error, grpc.RpcError) else getattr(error, "code", None)
    return code in _TRANSIENT_STATUS or code == _RATE_LIMIT or bool(getattr(error, "retriable", False))


def _add_note(error: Exception, note: str) -> None:
    if hasattr(error, "add_note"):
        error.add_note(note)
    else:  # Python 3.10
        error.args = (*error.args, note)
