"""Centers from a number of classes and a number of bits."""

from __future__ import annotations

from time import perf_counter
from typing import Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hashcenters.centers.assignment import assign_centers, semantic_centers
from hashcenters.centers.extension import ExtendedCenters, extend_centers
from hashcenters.centers.measures import min_distance
from hashcenters.centers.paper import paper_words
from hashcenters.centers.randomness import check_seed
from hashcenters.centers.report import CenterReport, report_on
from hashcenters.checks import check_count, check_matrix, shown

__all__ = ["HashCenterGenerator"]

Method = Literal["auto", "paper", "semantic", "bernoulli", "maxhd", "mds"]


class HashCenterGenerator:
    """Make hash centers: one ±1 code for every class, far from the others.

    Called as ``generator(n_classes)``, it returns a float32 tensor (n_classes, n_bits) of ±1 on the CPU. The same
    arguments give the same centers on every platform.

    The methods are:

    * ``"auto"``: the farthest apart that the library knows. Of Hadamard matrices and Levenshtein's construction,
      conference, Kerdock, BCH and quadratic residue codes, codes found by computer and what can be made of several of
      them, the one of largest minimum distance is taken; then the words are chosen so that Definition 1 of the paper
      holds (always), bits are balanced and few bits are copies of others. ``report`` tells how far apart they are and
      how far they could be at most.
    * ``"paper"``: Algorithm 1 of Yuan et al. (CVPR 2020) to the letter. Where n_bits is a power of two, the first rows
      of the Hadamard matrix H of that order (Sylvester's construction) for n_classes <= n_bits, at distance n_bits/2
      from each other, and the first rows of [H; -H] for n_classes <= 2 n_bits, at distance n_bits/2 or n_bits.
      Otherwise every center has ones at a random half of its bits; two centers are then n_bits/2 apart on average, but
      can be close and, with few bits, equal. For an odd n_bits, "half" is rounded down or up by a fair coin for each
      center.
    * ``"semantic"``: centers whose distances follow a similarity of the classes, none nearer than the distance that
      MDS aims at (the idea of SHC, arXiv:2507.08404; the search is ours). About a second for 100 classes at 64 bits,
      20 for 1,000.
    * ``"bernoulli"``: independent fair bits. ``"maxhd"``: random words, rejected when near to an accepted one (Hoe et
      al., OrthoHash, NeurIPS 2021); it gives up where they cannot be a fifth of the bits apart. ``"mds"``: cyclic
      optimisation up to the Gilbert-Varshamov distance (Wang et al., CVPR 2023); takes from a second to minutes, and
      may end below that distance, with few bits even with equal centers.

    Args:
        n_bits: code length, at least 1.
        method: one of the above.
        seed: 0..2**63 - 1; other seeds give other, equally good centers.

    Raises:
        TypeError: ``n_bits``, ``seed`` or, in the call, ``n_classes`` is not an integer.
        ValueError: one of them is out of range, the method is unknown, or, in the call, there are fewer than n_classes
            different codes (n_classes > 2**n_bits).

    Examples:
        >>> generator = HashCenterGenerator(4, method="paper")
        >>> generator
        HashCenterGenerator(n_bits=4, method='paper', seed=0)
        >>> generator(3)
        tensor([[ 1.,  1.,  1.,  1.],
                [ 1., -1.,  1., -1.],
                [ 1.,  1., -1., -1.]])
        >>> report = HashCenterGenerator(16).report(100)
        >>> report.min_distance, report.upper_bound
        (6, 6)
    """

    def __init__(self, n_bits: int, *, method: Method = "auto", seed: int = 0) -> None:
        if method not in get_args(Method):
            raise ValueError(f"method must be one of {', '.join(map(repr, get_args(Method)))}, got {method!r}")
        self.n_bits = check_count(n_bits, "n_bits")
        self.method: Method = method
        self.seed = check_seed(seed)

    def __call__(self, n_classes: int, *, similarity: Tensor | None = None) -> Tensor:
        """Make centers.

        Args:
            n_classes: number of classes, 1..2**n_bits.
            similarity: (n_classes, n_classes), larger for classes that are more alike, on any scale; see
                ``similarity_from_features`` and ``similarity_from_confusion``. With it, similar classes get nearer
                ones of the centers, whose distances stay as they are (``assign_centers``). Method ``"semantic"`` needs
                it.

        Returns:
            float32 (n_classes, n_bits) of ±1.

        Raises:
            TypeError: ``n_classes`` is not an integer, or ``similarity`` is not a tensor.
            ValueError: fewer than n_classes different codes exist, ``similarity`` does not fit or is missing, or
                ``"maxhd"`` gave up.
        """
        return _to_tensor(self._make(n_classes, similarity)[0])

    def report(self, n_classes: int, *, similarity: Tensor | None = None) -> CenterReport:
        """Make the same centers, measure them, and say how good they are.

        Args:
            n_classes: as in the call.
            similarity: as in the call.

        Returns:
            Distances beside what is possible, balance, construction and time; ``print`` shows a table.

        Raises:
            TypeError: as in the call.
            ValueError: as in the call.

        Examples:
            >>> report = HashCenterGenerator(64).report(10)
            >>> report.min_distance, report.is_optimal, report.bound_name
            (35, True, 'plotkin')
        """
        started = perf_counter()
        words, construction = self._make(n_classes, similarity)
        return report_on(words, construction, started)

    def extend(self, centers: Tensor, n_new: int) -> ExtendedCenters:
        """Add centers for new classes, as far apart as can be found, without moving the old ones.

        The method plays no part. Centers made for all classes at once are often farther apart: leave room for classes
        to come by making more centers than classes.

        Args:
            centers: float (n_classes, n_bits) of ±1, from here or elsewhere.
            n_new: how many to add.

        Returns:
            All centers, the old ones first, the minimum distance that remains, and whether Definition 1 still holds.

        Raises:
            TypeError: ``centers`` is not a floating-point tensor, or ``n_new`` is not an integer.
            ValueError: ``centers`` are not ±1 or not of n_bits bits, ``n_new`` is below 1, or there are not as many
                codes.

        Examples:
            >>> generator = HashCenterGenerator(32)
            >>> generator.extend(generator(60), 4).min_distance
            16
        """
        return extend_centers(centers, n_new, n_bits=self.n_bits, seed=self.seed)

    def __repr__(self) -> str:
        return f"HashCenterGenerator(n_bits={self.n_bits}, method={self.method!r}, seed={self.seed})"

    def _make(self, n_classes: int, similarity: Tensor | None) -> tuple[NDArray[np.int8], str]:
        """Return the words, int8 (n_classes, n_bits) of ±1, and where they come from."""
        n_classes = check_count(n_classes, "n_classes")
        if (n_classes - 1).bit_length() > self.n_bits:  # n_classes > 2**n_bits, without computing the power
            raise ValueError(
                "n_classes must be at most 2**n_bits, the number of different codes: "
                f"n_classes={shown(n_classes)}, 2**{self.n_bits} = {shown(2**self.n_bits)}; take more bits"
            )
        if similarity is not None:
            check_matrix(similarity, "similarity", n_classes)
        elif self.method == "semantic":
            raise ValueError(
                "method='semantic' needs similarity: pass generator(n_classes, similarity=...), for instance from "
                "similarity_from_features"
            )
        words, construction = _words(self.method, n_classes, self.n_bits, self.seed)
        if similarity is None:
            return words, construction
        centers = assign_centers(_to_tensor(words), similarity, seed=self.seed)
        if self.method != "semantic":
            return centers.numpy().astype(np.int8), f"{construction}, placed by similarity"
        from hashcenters.centers.rivals import mds_distance

        least = min(mds_distance(n_classes, self.n_bits), min_distance(words))
        centers = semantic_centers(similarity, centers, min_distance=least, seed=self.seed)
        return centers.numpy().astype(np.int8), f"shaped by similarity from {construction}"


def _words(method: Method, n_classes: int, n_bits: int, seed: int) -> tuple[NDArray[np.int8], str]:
    if method == "paper":
        return paper_words(n_classes, n_bits, seed)
    if method in ("auto", "semantic"):
        from hashcenters.centers.selection import best_words

        words, construction, _ = best_words(n_classes, n_bits, seed)
        return words, construction
    from hashcenters.centers import rivals  # loads numba

    if method == "bernoulli":
        return rivals.bernoulli_words(n_classes, n_bits, seed=seed), "independent fair bits"
    if method == "maxhd":
        return rivals.maxhd_words(n_classes, n_bits, seed=seed), "MaxHD"
    return rivals.mds_words(n_classes, n_bits, seed=seed), "MDS"


def _to_tensor(words: NDArray[np.int8]) -> Tensor:
    """Return float32 on the CPU, whatever the global defaults are."""
    return torch.from_numpy(words.astype(np.float32, order="C"))
