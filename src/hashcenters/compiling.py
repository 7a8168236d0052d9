"""How loops are compiled, for every folder that has some. Loads numba: import it from modules that load when used."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol, TypeVar, cast

import numpy as np
from numba import njit, types
from numba.extending import intrinsic

__all__ = ["compiled", "compiled_sums", "popcount"]

_Function = TypeVar("_Function", bound=Callable[..., Any])


class _Builder(Protocol):
    """What writes LLVM's instructions."""

    def ctpop(self, value: object) -> object: ...


def compiled(function: _Function) -> _Function:
    """Compile at the first call, release the GIL while running, and keep the machine code on disk where possible."""
    return _compiled(function, fastmath=False)


def compiled_sums(function: _Function) -> _Function:
    """Compile likewise, with sums of floats taken in any order: only for whole numbers, which floats hold exactly."""
    return _compiled(function, fastmath={"reassoc", "contract", "nsz"})


def _compiled(function: _Function, *, fastmath: bool | set[str]) -> _Function:
    try:
        return cast(_Function, njit(cache=True, nogil=True, fastmath=fastmath)(function))
    except RuntimeError:  # neither the package's folder nor the user's cache can be written
        return cast(_Function, njit(nogil=True, fastmath=fastmath)(function))


def _population_count(typing_context: object, word: types.Type) -> tuple[object, object]:
    """Count the bits set in a uint64: LLVM takes the processor's instruction, or shifts and masks where it has none."""

    def generate(context: object, builder: _Builder, signature: object, arguments: list[object]) -> object:
        return builder.ctpop(arguments[0])

    return types.uint64(types.uint64), generate


popcount = cast(Callable[[np.uint64], np.uint64], intrinsic(_population_count))
