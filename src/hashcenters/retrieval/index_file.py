"""Codes and ids in one file that is mapped into memory: never half written, never read where it is damaged.

Layout, numbers little-endian:

| bytes | what |
|---|---|
| 0-7 | ``HCINDEX`` and a line feed |
| 8-11 | version, uint32: 1 |
| 12-15 | length of the header, uint32 |
| 16-47 | SHA-256 of bytes 0-15 and of the header |
| 48- | header: JSON in UTF-8, filled up with spaces so that the codes start at a multiple of 64 |
| then | codes, uint8 (n_items, ceil(n_bits / 8)) in ``numpy.packbits`` order, by ascending id |
| then | where ``has_ids``: zeros up to a multiple of 64, and the ids, int64 (n_items,); else they follow ``first_id`` |

The header's ``sha256`` is that of everything behind it.
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import json
import os
import secrets
import shutil
import struct
from collections.abc import Iterator, Sequence
from os import PathLike
from typing import Any, BinaryIO, NamedTuple, TypeAlias, cast

import numpy as np
import numpy.typing as npt

from hashcenters.retrieval.codes import MAX_BITS, PackedArray, packed_width

__all__ = ["FORMAT_VERSION", "IndexContents", "read_index", "write_index"]

Ids: TypeAlias = "range | npt.NDArray[np.int64]"
_Bytes: TypeAlias = "bytes | memoryview"

FORMAT_VERSION = 1
_MAGIC = b"HCINDEX\n"
_PRELUDE = struct.Struct("<8sII32s")
_SIGNED = 16  # bytes of the prelude that the header's checksum covers
_ALIGNMENT = 64
_SLICE = 1 << 24  # bytes that are written or hashed at a time
_NO_DIGEST = "0" * 64


class IndexContents(NamedTuple):
    """What a file of an index holds.

    Attributes:
        n_bits: code length.
        codes: packed uint8 (n_items, ceil(n_bits / 8)), by ascending id.
        ids: int64 (n_items,) ascending, or a range.
        backend: name of the backend that searched them.
        options: the backend's options.
    """

    n_bits: int
    codes: PackedArray
    ids: Ids
    backend: str
    options: dict[str, int | None]


def write_index(
    path: str | PathLike[str],
    parts: Sequence[tuple[PackedArray, Ids]],
    *,
    n_bits: int,
    backend: str,
    options: dict[str, int | None],
) -> None:
    """Write an index to a new file and put it in the place of ``path`` once it is complete and on the disk.

    Args:
        path: the file; an existing one stays as it is until the new one takes its place, whatever happens.
        parts: codes and ids; the ids ascend within a part and from part to part.
        n_bits: code length.
        backend: name of the backend.
        options: the backend's options.

    Raises:
        OSError: the file cannot be written.
    """
    target = os.path.realpath(path)  # where path is a link, what it points to is replaced
    folder, name = os.path.split(target)
    if not os.path.isdir(folder) or os.path.isdir(target):
        raise OSError(f"path={os.fspath(path)!r} must name a file in a folder that exists")
    temporary = os.path.join(folder, f".{name}.{secrets.token_hex(6)}.tmp")
    ids = [ids for _, ids in parts]
    follow = all(isinstance(one, range) for one in ids) and all(a[-1] + 1 == b[0] for a, b in itertools.pairwise(ids))
    header: dict[str, Any] = {
        "n_bits": n_bits,
        "n_items": sum(len(codes) for codes, _ in parts),
        "codes_dtype": "uint8",
        "ids_dtype": "int64",
        "has_ids": not follow,
        "first_id": int(ids[0][0]) if ids and follow else 0,
        "backend": backend,
        "options": options,
        "sha256": _NO_DIGEST,
    }
    try:
        with open(temporary, "xb") as file:
            file.write(_encode(header))
            digest = hashlib.sha256()
            for block in _payload(parts, has_ids=not follow):
                digest.update(block)
                file.write(block)
            file.seek(0)
            file.write(_encode({**header, "sha256": digest.hexdigest()}))  # of the same length
            file.flush()
            os.fsync(file.fileno())
        if os.path.exists(target):
            shutil.copymode(target, temporary)  # a private file stays private
        os.replace(temporary, target)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise
    _sync_folder(folder)


def read_index(path: str | PathLike[str], *, mmap: bool = True, verify: bool = True) -> IndexContents:
    """Read what ``write_index`` wrote.

    Args:
        path: the file.
        mmap: map codes and ids into memory, read-only, instead of reading them.
        verify: compare the checksum of codes and ids, which reads them once. Magic, version, header and size are
            checked in any case.

    Returns:
        The contents.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: not a file of an index, of another version, cut short, or changed since it was written.
    """
    where = f"path={os.fspath(path)!r}"
    with open(path, "rb") as file:
        size = os.fstat(file.fileno()).st_size
        header, start = _read_header(file, size, where)
        try:
            n_bits, n_items, has_ids = int(header["n_bits"]), int(header["n_items"]), bool(header["has_ids"])
            first_id, backend, options = int(header["first_id"]), str(header["backend"]), dict(header["options"])
            written = str(header["sha256"])
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(f"{where} has a header that lacks or misstates {error}") from error
        if not 1 <= n_bits <= MAX_BITS or n_items < 0 or first_id < 0:
            raise ValueError(
                f"{where} has a header that cannot be: n_bits={n_bits}, n_items={n_items}, first_id={first_id}"
            )
        width = packed_width(n_bits)
        ids_start = _aligned(start + n_items * width)
        expected = ids_start + 8 * n_items if has_ids else start + n_items * width
        if size != expected:
            state = "was cut short" if size < expected else "was appended to"
            raise ValueError(
                f"{where} {state}: it has {size} bytes, and {n_items} codes of {n_bits} bits take {expected}; copy or "
                f"save it again"
            )
        if verify:
            found = _digest(file, start)
            if found != written:
                raise ValueError(
                    f"{where} was changed after it was written: its codes and ids have the SHA-256 {found}, written "
                    f"was {written}; copy or save it again"
                )
        codes = cast(PackedArray, _array(file, np.dtype(np.uint8), start, (n_items, width), mmap=mmap))
        ids: Ids = range(first_id, first_id + n_items)
        if has_ids:
            stored = _array(file, np.dtype("<i8"), ids_start, (n_items,), mmap=mmap)
            ids = stored.astype(np.int64, copy=False)
    return IndexContents(n_bits, codes, ids, backend, options)


def _read_header(file: BinaryIO, size: int, where: str) -> tuple[dict[str, Any], int]:
    """Return the header and where the codes start."""
    prelude = file.read(_PRELUDE.size)
    if not prelude or not _MAGIC.startswith(prelude[: len(_MAGIC)]):
        raise ValueError(
            f"{where} is not a file of HammingIndex.save: it begins with {prelude[: len(_MAGIC)]!r}, expected "
            f"{_MAGIC!r}"
        )
    if len(prelude) < _PRELUDE.size:
        raise ValueError(f"{where} was cut short: it has {size} bytes, fewer than any index; copy or save it again")
    _, version, length, checksum = _PRELUDE.unpack(prelude)
    if version != FORMAT_VERSION:
        raise ValueError(
            f"{where} has format version {version}, this hashcenters reads version {FORMAT_VERSION}: read it with the "
            f"hashcenters that wrote it, or copy it again if it is damaged"
        )
    start = _PRELUDE.size + length
    if size < start:
        raise ValueError(
            f"{where} was cut short or is damaged: it has {size} bytes, and its header should reach to byte {start}; "
            f"copy or save it again"
        )
    text = file.read(length)
    if hashlib.sha256(prelude[:_SIGNED] + text).digest() != checksum:
        raise ValueError(f"{where} has a damaged header: its SHA-256 is not the one written; copy or save it again")
    try:
        header = json.loads(text)
    except ValueError as error:
        raise ValueError(f"{where} has a header that is not JSON: {error}") from error
    if not isinstance(header, dict):
        raise ValueError(f"{where} has a header that is not a JSON object but {type(header).__name__}")
    return header, start


def _encode(header: dict[str, Any]) -> bytes:
    """Return prelude and header."""
    text = json.dumps(header, allow_nan=False).encode()
    text += b" " * (-(_PRELUDE.size + len(text)) % _ALIGNMENT)
    signed = _PRELUDE.pack(_MAGIC, FORMAT_VERSION, len(text), b"")[:_SIGNED]
    return signed + hashlib.sha256(signed + text).digest() + text


def _payload(parts: Sequence[tuple[PackedArray, Ids]], *, has_ids: bool) -> Iterator[_Bytes]:
    """Yield the codes and ids as bytes, a slice at a time; ``parts`` may be mapped from a file larger than memory."""
    n_bytes = 0
    for codes, _ in parts:
        rows = max(1, _SLICE // codes.shape[1])
        for first in range(0, len(codes), rows):
            block = np.ascontiguousarray(codes[first : first + rows])
            n_bytes += block.nbytes
            yield block.reshape(-1).data
    if not has_ids:
        return
    yield bytes(_aligned(n_bytes) - n_bytes)
    for _, ids in parts:
        for first in range(0, len(ids), _SLICE // 8):
            yield np.asarray(ids[first : first + _SLICE // 8], dtype="<i8").view(np.uint8).data


def _digest(file: BinaryIO, start: int) -> str:
    """SHA-256 of everything from ``start`` on."""
    digest, buffer = hashlib.sha256(), memoryview(bytearray(_SLICE))
    file.seek(start)
    while n_read := file.readinto(buffer):  # type: ignore[attr-defined]  # a BufferedReader has it
        digest.update(buffer[:n_read])
    return digest.hexdigest()


def _array(file: BinaryIO, dtype: np.dtype[Any], start: int, shape: tuple[int, ...], *, mmap: bool) -> npt.NDArray[Any]:
    """Return the values from byte ``start`` on, read-only."""
    count = int(np.prod(shape))
    if mmap and count:  # nothing cannot be mapped
        return np.memmap(file, dtype, "r", start, shape).view(np.ndarray)
    file.seek(start)
    values = np.fromfile(file, dtype, count).reshape(shape)
    values.setflags(write=False)
    return values


def _aligned(n_bytes: int) -> int:
    return -(-n_bytes // _ALIGNMENT) * _ALIGNMENT


def _sync_folder(folder: str) -> None:
    """Have the new name survive a power cut, where folders can be synced."""
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
