"""Hashing without a network: scikit-learn estimators that turn features into codes. Needs the extra ``shallow``.

``ITQCCA``, ``SDH``, ``KSH`` and ``BRE`` learn from labels, ``ITQ`` from the features alone, ``LSH`` from nothing but a
seed. All are used in one way, ``fit(X, y).transform(X)``, and return float32 codes of -1 and +1, as the evaluator and
the index take them. What is fitted is float64 and the same for the same seed, data, BLAS and machine.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import scipy.linalg
from numpy.typing import ArrayLike, NDArray

from hashcenters.centers.randomness import SHALLOW_STREAM, random_stream
from hashcenters.checks import check_count
from hashcenters.compiling import compiled

try:
    from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
    from sklearn.utils import gen_batches
    from sklearn.utils.multiclass import type_of_target
    from sklearn.utils.validation import check_is_fitted, column_or_1d, validate_data
except ImportError as error:  # absent, or older than validate_data
    raise ImportError(
        f'{error}; shallow methods need scikit-learn 1.6 or newer: pip install "hashcenters[shallow]"', name=error.name
    ) from error

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["BRE", "ITQ", "ITQCCA", "KSH", "LSH", "SDH"]

FloatArray: TypeAlias = NDArray[np.float64]

_PROJECTIONS, _ROTATION, _ANCHORS, _LABELLED, _CODES, _PARTNERS = range(6)
_BATCH = 8192  # rows transformed at a time: a kernel has a number for every row and anchor
_RANK_TOLERANCE = 1e-10  # of variances: a direction below this share of the largest is rounding
_LARGEST_WEIGHT = 1e12  # in BRE: beside more, the other kernels of a bit are lost in rounding


class _Hasher(ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """What the methods share: a code is the signs of some features times ``projection_``."""

    n_bits: int
    projection_: FloatArray
    _supervised = True

    def transform(self, X: ArrayLike) -> NDArray[np.float32]:
        """Turn features into codes.

        Args:
            X: real (n, n_features), finite.

        Returns:
            float32 (n, n_bits) of -1 and +1; a projection of exactly 0 is +1.

        Raises:
            sklearn.exceptions.NotFittedError: ``fit`` comes first.
            ValueError: another number of features than in ``fit``, or values that are not finite.
        """
        check_is_fitted(self)
        features: FloatArray = validate_data(self, X, reset=False, dtype=np.float64)
        codes = np.empty((len(features), self.projection_.shape[1]), np.float32)
        for rows in gen_batches(len(features), _BATCH):
            codes[rows] = _signs(self._features(features[rows]) @ self.projection_)
        return codes

    def _features(self, X: FloatArray) -> FloatArray:
        raise NotImplementedError

    @property
    def _n_features_out(self) -> int:
        return len(self.projection_.T)

    def __sklearn_tags__(self) -> Any:  # noqa: ANN401
        tags = super().__sklearn_tags__()
        tags.target_tags.required = self._supervised
        tags.transformer_tags.preserves_dtype = []  # codes are float32, whatever the features are
        return tags

    def _counts(self, *names: str) -> list[int]:
        return [check_count(getattr(self, name), name) for name in names]

    def _positives(self, *names: str) -> list[float]:
        return [_check_positive(getattr(self, name), name) for name in names]

    def _checked(self, X: ArrayLike, y: ArrayLike | None) -> tuple[FloatArray, FloatArray | None, int, int]:
        """Return features, multi-hot labels of a supervised method, n_bits and the seed; or refuse them."""
        n_bits = check_count(self.n_bits, "n_bits")
        seed = check_count(self.random_state, "random_state", least=0)
        labels = None
        if self._supervised:
            features, labels = validate_data(self, X, y, dtype=np.float64, ensure_min_samples=2, multi_output=True)
            labels = _label_rows(labels)
        else:
            features = validate_data(self, X, dtype=np.float64, ensure_min_samples=2)
        if not np.ptp(features, axis=0).max() > 1e-150:  # squares of less vanish
            raise ValueError("X must have at least two different samples, all are equal")
        return features, labels, n_bits, seed


class LSH(_Hasher):
    """Random hyperplanes through the mean of the features: the baseline that learns nothing.

    The probability that a bit differs is the angle between two centred samples over π. Source: Charikar, "Similarity
    estimation techniques from rounding algorithms", STOC 2002.

    Args:
        n_bits: code length.
        random_state: seed, an int.

    Attributes:
        mean_: float64 (n_features,), of the training features.
        projection_: float64 (n_features, n_bits), standard normal.

    Examples:
        >>> X = np.array([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]])
        >>> codes = LSH(4).fit(X).transform(X)
        >>> bool((codes[0] == -codes[3]).all())  # opposite each other across the mean: every bit differs
        True
    """

    _supervised = False

    def __init__(self, n_bits: int = 32, *, random_state: int = 0) -> None:
        self.n_bits = n_bits
        self.random_state = random_state

    def fit(self, X: ArrayLike, y: object = None) -> Self:
        """Draw the hyperplanes.

        Args:
            X: real (n, n_features), finite; at least 2 samples.
            y: ignored.

        Returns:
            Itself.

        Raises:
            TypeError: ``n_bits`` or ``random_state`` is not an int.
            ValueError: ``n_bits`` or ``random_state`` out of range, ``X`` is no such matrix, or all its samples are
                equal.
        """
        features, _, n_bits, seed = self._checked(X, None)
        self.mean_: FloatArray = features.mean(0)
        self.projection_ = _normals(seed, _PROJECTIONS, features.shape[1], n_bits)
        return self

    def _features(self, X: FloatArray) -> FloatArray:
        return X - self.mean_


class ITQ(_Hasher):
    """Iterative quantization: principal components, rotated until they lie close to the corners of a cube.

    Alternates B = sign(V R) and the orthogonal R that minimises ‖B - V R‖² (Procrustes); neither step can raise it.
    With more bits than the features have directions, R has orthonormal rows in place of being square, and the descent
    holds as before. Source: Gong and Lazebnik, "Iterative quantization: a procrustean approach to learning binary
    codes", CVPR 2011, section 2.

    Args:
        n_bits: code length.
        n_iter: number of alternations; the paper's is 50.
        random_state: seed of the first rotation, an int.

    Attributes:
        mean_: float64 (n_features,), of the training features.
        projection_: float64 (n_features, n_bits), principal directions times the rotation.
        objective_: float64 (n_iter,), ‖B - V R‖² of each iteration, never rising.

    Examples:
        >>> X = np.array([[0.0, 0.0], [0.1, 0.0], [9.0, 0.0], [9.1, 0.0]])
        >>> codes = ITQ(2).fit(X).transform(X)
        >>> bool((codes[0] == codes[1]).all()), bool((codes[0] == -codes[2]).all())
        (True, True)
    """

    _supervised = False

    def __init__(self, n_bits: int = 32, *, n_iter: int = 50, random_state: int = 0) -> None:
        self.n_bits = n_bits
        self.n_iter = n_iter
        self.random_state = random_state

    def fit(self, X: ArrayLike, y: object = None) -> Self:
        """Learn the directions and their rotation.

        Args:
            X: real (n, n_features), finite; at least 2 samples.
            y: ignored.

        Returns:
            Itself.

        Raises:
            TypeError: a number that must be an int is not.
            ValueError: a number out of range, ``X`` is no such matrix, or all its samples are equal.
        """
        features, _, n_bits, seed = self._checked(X, None)
        n_iter = check_count(self.n_iter, "n_iter")
        self.mean_: FloatArray = features.mean(0)
        directions, _ = _principal(features - self.mean_)
        directions = directions[:, :n_bits]
        rotation, self.objective_ = _rotate((features - self.mean_) @ directions, n_bits, n_iter, seed)
        self.projection_ = directions @ rotation
        return self

    def _features(self, X: FloatArray) -> FloatArray:
        return X - self.mean_


class ITQCCA(_Hasher):
    """Iterative quantization of the directions that agree most with the labels: supervised ``ITQ``.

    Canonical correlation analysis of features and labels takes the place of the principal components; each direction
    is scaled by its correlation, then rotated as in ``ITQ``. There are at most n_classes - 1 such directions (as many
    as multi-hot labels have independent columns). The published form fills up longer codes with directions of
    correlation 0, which the scaling takes out again up to noise; here they are left out, and the rotation spreads the
    others over all bits. Source: Gong and Lazebnik, "Iterative quantization", CVPR 2011, section 4.

    Args:
        n_bits: code length.
        n_iter: number of alternations; the paper's is 50.
        regularization: added to the diagonals of both covariances, as a share of their mean diagonal, so that the unit
            of the features does not matter (the source adds the same number, 1e-4, whatever the unit).
        random_state: seed of the first rotation, an int.

    Attributes:
        mean_: float64 (n_features,), of the training features.
        projection_: float64 (n_features, n_bits), scaled canonical directions times the rotation.
        correlations_: float64 (n_directions,), of the directions kept, largest first.
        objective_: float64 (n_iter,), ‖B - V R‖² of each iteration, never rising.

    Examples:
        >>> X = np.array([[0.0, 0.0], [0.0, 9.0], [1.0, 0.0], [1.0, 9.0]])
        >>> codes = ITQCCA(2).fit(X, [0, 0, 1, 1]).transform(X)  # the large second feature says nothing
        >>> bool((codes[0] == codes[1]).all()), bool((codes[0] == -codes[2]).all())
        (True, True)
    """

    def __init__(
        self, n_bits: int = 32, *, n_iter: int = 50, regularization: float = 1e-4, random_state: int = 0
    ) -> None:
        self.n_bits = n_bits
        self.n_iter = n_iter
        self.regularization = regularization
        self.random_state = random_state

    def fit(self, X: ArrayLike, y: ArrayLike) -> Self:
        """Learn the directions and their rotation.

        Args:
            X: real (n, n_features), finite; at least 2 samples.
            y: class ids (n,), or multi-hot (n, n_classes) of 0 and 1.

        Returns:
            Itself.

        Raises:
            TypeError: a number is of another type.
            ValueError: a number out of range, ``X`` or ``y`` is nothing of the kind, all samples are equal or have
                equal labels, or no direction correlates with the labels.
        """
        features, labels, n_bits, seed = self._checked(X, y)
        assert labels is not None
        n_iter = check_count(self.n_iter, "n_iter")
        share = _check_positive(self.regularization, "regularization")
        self.mean_: FloatArray = features.mean(0)
        centred = features - self.mean_
        labels = labels - labels.mean(0)
        directions, variances = _principal(centred)
        whitening = directions / np.sqrt(variances + share * variances.sum() / features.shape[1])
        label_directions, label_variances = _principal(labels)
        label_variances = label_variances + share * label_variances.sum() / labels.shape[1]
        label_whitening = label_directions / np.sqrt(label_variances)
        canonical, correlations, _ = np.linalg.svd(
            whitening.T @ (centred.T @ (labels @ label_whitening)), full_matrices=False
        )
        kept = min(int((correlations > math.sqrt(_RANK_TOLERANCE)).sum()), n_bits)
        if not kept:
            raise ValueError("X must have a direction that correlates with y, got none")
        self.correlations_: FloatArray = correlations[:kept]
        scaled = whitening @ (canonical[:, :kept] * self.correlations_)
        rotation, self.objective_ = _rotate(centred @ scaled, n_bits, n_iter, seed)
        self.projection_ = scaled @ rotation
        return self

    def _features(self, X: FloatArray) -> FloatArray:
        return X - self.mean_


class SDH(_Hasher):
    """Supervised discrete hashing: codes from which a linear classifier reads the labels, learned bit by bit.

    Minimises ‖Y - B W‖² + λ‖W‖² + ν(‖B - Φ P‖² + ρ‖P‖²) over the codes B, the classifier W and the map P from Gaussian
    kernels Φ at random anchors, by turns: ridge regressions for W and P, and for B one column at a time, exactly. No
    step can raise it. Source: Shen, Shen, Liu and Tao, "Supervised discrete hashing", CVPR 2015, equations 3 to 11,
    with the numbers of the authors' code.

    Args:
        n_bits: code length.
        n_anchors: number of kernels, at most that of the samples.
        bandwidth: width of the kernels as a share of the root mean squared distance between samples and anchors, r:
            exp(-d² / (2 (bandwidth r)²)). The authors' .4 is of features of norm 1.
        n_iter: number of turns.
        n_sweeps: how often a turn goes over all bits, at most.
        label_weight: λ.
        code_weight: ν.
        ridge: ρ.
        random_state: seed of the anchors and of the first codes, an int.

    Attributes:
        anchors_: float64 (n_anchors, n_features), samples.
        scale_: float, what squared distances are divided by.
        projection_: float64 (n_anchors + 1, n_bits), P; its last row is the bias.
        objective_: float64 (n_iter,), of each turn, never rising.

    Examples:
        >>> X = np.arange(100.0)[:, None]
        >>> codes = SDH(8).fit(X, np.arange(100) // 50).transform(X)
        >>> bool((codes[10] == codes[20]).all()), bool((codes[10] == codes[60]).all())
        (True, False)
    """

    def __init__(
        self,
        n_bits: int = 32,
        *,
        n_anchors: int = 1000,
        bandwidth: float = 0.4,
        n_iter: int = 5,
        n_sweeps: int = 10,
        label_weight: float = 1.0,
        code_weight: float = 1e-5,
        ridge: float = 1e-2,
        random_state: int = 0,
    ) -> None:
        self.n_bits = n_bits
        self.n_anchors = n_anchors
        self.bandwidth = bandwidth
        self.n_iter = n_iter
        self.n_sweeps = n_sweeps
        self.label_weight = label_weight
        self.code_weight = code_weight
        self.ridge = ridge
        self.random_state = random_state

    def fit(self, X: ArrayLike, y: ArrayLike) -> Self:
        """Learn the codes of the training samples and the map to them.

        Args:
            X: real (n, n_features), finite; at least 2 samples.
            y: class ids (n,), or multi-hot (n, n_classes) of 0 and 1.

        Returns:
            Itself.

        Raises:
            TypeError: a number is of another type.
            ValueError: a number out of range, ``X`` or ``y`` is nothing of the kind, or all samples are equal or have
                equal labels.
        """
        features, labels, n_bits, seed = self._checked(X, y)
        assert labels is not None
        n_anchors, n_iter, n_sweeps = self._counts("n_anchors", "n_iter", "n_sweeps")
        bandwidth, label_weight, code_weight, ridge = self._positives(
            "bandwidth", "label_weight", "code_weight", "ridge"
        )
        self.anchors_: FloatArray
        self.scale_: float
        self.anchors_, self.scale_ = _draw_anchors(features, n_anchors, bandwidth, seed)
        kernels = self._features(features)
        gram = scipy.linalg.cho_factor(kernels.T @ kernels + ridge * np.eye(kernels.shape[1]))

        codes = _signs(_normals(seed, _CODES, len(features), n_bits)).astype(np.float64)
        projection = scipy.linalg.cho_solve(gram, kernels.T @ codes)
        objective = []
        for _ in range(n_iter):
            classifier = scipy.linalg.solve(
                codes.T @ codes + label_weight * np.eye(n_bits), codes.T @ labels, assume_a="pos"
            )
            target = labels @ classifier.T + code_weight * (kernels @ projection)
            _descend_by_bits(codes, target, classifier @ classifier.T, n_sweeps)
            projection = scipy.linalg.cho_solve(gram, kernels.T @ codes)
            objective.append(
                _squares(labels - codes @ classifier)
                + label_weight * _squares(classifier)
                + code_weight * (_squares(codes - kernels @ projection) + ridge * _squares(projection))
            )
        self.objective_: FloatArray = np.array(objective)
        self.projection_ = projection
        return self

    def _features(self, X: FloatArray) -> FloatArray:
        kernels = _gaussian(X, self.anchors_, self.scale_)
        return np.concatenate([kernels, np.ones((len(X), 1))], axis=1)


class KSH(_Hasher):
    """Supervised hashing with kernels: bits whose inner products approach +n_bits for alike, -n_bits for unlike.

    Minimises ‖n_bits·S - B B'‖² over the codes B = sign(Φ A) of some labelled samples, S = +1 where two of them share a
    label and -1 elsewhere, Φ centred Gaussian kernels at random anchors. Greedily: each bit starts from an eigenvector
    of what the bits before it left over, and is refined by accelerated gradient descent with tanh in place of the
    sign; the refined one is kept where it is better with the sign too. S is never stored, only its rows of distinct
    labels. Source: Liu, Wang, Ji, Jiang and Chang, "Supervised hashing with kernels", CVPR 2012, equations 8 to 15,
    with the numbers of the authors' code.

    Args:
        n_bits: code length.
        n_anchors: number of kernels, at most that of the samples.
        n_labelled: number of samples whose pairs are learned from, at most all; the time goes with it.
        bandwidth: width of the kernels as a share of the root mean squared distance between samples and anchors, r:
            exp(-d² / (2 (bandwidth r)²)).
        max_iter: gradient steps for a bit, at most.
        tol: stop a bit where a step lowers its objective by less than this times n_labelled.
        random_state: seed of the anchors and of the labelled samples, an int.

    Attributes:
        anchors_: float64 (n_anchors, n_features), samples.
        scale_: float, what squared distances are divided by.
        centre_: float64 (n_anchors,), mean of the kernels over the training samples.
        projection_: float64 (n_anchors, n_bits), A.
        n_iter_: int, the most gradient steps that a bit took.

    Examples:
        >>> X = np.array([[0.0], [0.1], [1.0], [1.1], [2.0], [2.1]])
        >>> codes = KSH(4).fit(X, [0, 0, 1, 1, 0, 0]).transform(X)
        >>> bool((codes[0] == codes[4]).all()), bool((codes[0] == codes[2]).all())
        (True, False)
    """

    def __init__(
        self,
        n_bits: int = 32,
        *,
        n_anchors: int = 300,
        n_labelled: int = 2000,
        bandwidth: float = 1.0,
        max_iter: int = 500,
        tol: float = 1e-2,
        random_state: int = 0,
    ) -> None:
        self.n_bits = n_bits
        self.n_anchors = n_anchors
        self.n_labelled = n_labelled
        self.bandwidth = bandwidth
        self.max_iter = max_iter
        self.tol = tol
        self.random_state = random_state

    def fit(self, X: ArrayLike, y: ArrayLike) -> Self:
        """Learn one bit after another.

        Args:
            X: real (n, n_features), finite; at least 2 samples.
            y: class ids (n,), or multi-hot (n, n_classes) of 0 and 1; samples that share a label are alike.

        Returns:
            Itself.

        Raises:
            TypeError: a number is of another type.
            ValueError: a number out of range, ``X`` or ``y`` is nothing of the kind, or all samples are equal or have
                equal labels.
        """
        features, labels, n_bits, seed = self._checked(X, y)
        assert labels is not None
        n_anchors, n_labelled, max_iter = self._counts("n_anchors", "n_labelled", "max_iter")
        bandwidth, tol = self._positives("bandwidth", "tol")
        self.anchors_: FloatArray
        self.scale_: float
        self.anchors_, self.scale_ = _draw_anchors(features, n_anchors, bandwidth, seed)
        self.centre_: FloatArray = _gaussian(features, self.anchors_, self.scale_).mean(0)
        rows = _sample(seed, _LABELLED, len(features), n_labelled)
        kernels = self._features(features[rows])
        residue = _Residue(labels[rows], n_bits)

        directions, variances = _principal(kernels)
        whitening = directions / np.sqrt(variances)  # kernels @ whitening has orthonormal columns
        white = kernels @ whitening
        form = residue.quadratic(white)
        projection = np.empty((kernels.shape[1], n_bits))
        self.n_iter_ = 0
        for bit in range(n_bits):
            _, top = scipy.linalg.eigh(form, subset_by_index=[len(form) - 1, len(form) - 1])
            first = whitening @ top[:, 0] * math.sqrt(len(rows))
            refined, n_steps = _accelerated_descent(kernels, residue.times, first, max_iter, tol * len(rows))
            self.n_iter_ = max(self.n_iter_, n_steps)
            candidates = [(vector, _signs(kernels @ vector).astype(np.float64)) for vector in (first, refined)]
            gains = [float(signs @ residue.times(signs)) for _, signs in candidates]
            vector, signs = candidates[int(gains[1] > gains[0])]
            projection[:, bit] = vector
            residue.append(signs)
            along = white.T @ signs
            form = form - np.outer(along, along)
        self.projection_ = projection
        return self

    def _features(self, X: FloatArray) -> FloatArray:
        return _gaussian(X, self.anchors_, self.scale_) - self.centre_


class BRE(_Hasher):
    """Binary reconstructive embedding: Hamming distances that reconstruct 0 for alike and n_bits for unlike samples.

    Minimises Σ (d - Hamming / n_bits)² over pairs of labelled samples, d = 0 where the two share a label and 1
    elsewhere. A bit is the sign of a weighted sum of a few kernels at random samples. One weight is searched at a time,
    exactly: as it grows, each sample's bit flips once, so one pass over the sorted thresholds knows the objective of
    every value. The objective is a whole number over n_bits² and no step can raise it. Source: Kulis and Darrell,
    "Learning to hash with binary reconstructive embeddings", NIPS 2009, in its supervised form; written from
    descriptions and a published port, the paper's own text was not at hand.

    Done differently here:

    * Kernels are Gaussian and centred, as in ``KSH``; the published code is known here for linear ones.
    * 2,000 labelled samples in place of 1,000. As in the source a pair in twenty is compared, but every sample has
      equally many partners: the sample that comes a drawn number of places later, in random order, and so on round.
    * Ties go to the smallest weight, the weight lies midway between two thresholds, bits and weights take their turns
      in fixed order.
    * It stops after ``n_sweeps``, or when a sweep changes nothing; the published code stops at a change of at most 1.

    Args:
        n_bits: code length.
        n_labelled: number of samples whose pairs are learned from, at most all.
        n_partners: number of samples that each of them is compared with, rounded up to even, at most all others; the
            time goes with n_labelled times this.
        n_kernels: number of kernels of a bit, at most n_labelled.
        bandwidth: width of the kernels as a share of the root mean squared distance between samples and anchors, r:
            exp(-d² / (2 (bandwidth r)²)).
        n_sweeps: how often all weights are searched, at most.
        random_state: seed of the samples, their pairs, the kernels and the first weights, an int.

    Attributes:
        anchors_: float64 (n_anchors, n_features), the labelled samples that are kernels of a bit.
        scale_: float, what squared distances are divided by.
        centre_: float64 (n_anchors,), mean of the kernels over the training samples.
        projection_: float64 (n_anchors, n_bits), 0 where an anchor is no kernel of a bit.
        objective_: float64 (n_sweeps + 1 or fewer,), of the random start and after each sweep, never rising.

    Examples:
        >>> X = np.array([[0.0], [0.1], [1.0], [1.1], [2.0], [2.1]])
        >>> codes = BRE(4).fit(X, [0, 0, 1, 1, 0, 0]).transform(X)
        >>> bool((codes[0] == codes[4]).all()), bool((codes[0] == -codes[2]).all())
        (True, True)
    """

    def __init__(
        self,
        n_bits: int = 32,
        *,
        n_labelled: int = 2000,
        n_partners: int = 200,
        n_kernels: int = 20,
        bandwidth: float = 0.4,
        n_sweeps: int = 5,
        random_state: int = 0,
    ) -> None:
        self.n_bits = n_bits
        self.n_labelled = n_labelled
        self.n_partners = n_partners
        self.n_kernels = n_kernels
        self.bandwidth = bandwidth
        self.n_sweeps = n_sweeps
        self.random_state = random_state

    def fit(self, X: ArrayLike, y: ArrayLike) -> Self:
        """Search the weights, one after another.

        Args:
            X: real (n, n_features), finite; at least 2 samples.
            y: class ids (n,), or multi-hot (n, n_classes) of 0 and 1; samples that share a label are alike.

        Returns:
            Itself.

        Raises:
            TypeError: a number is of another type.
            ValueError: a number out of range, ``X`` or ``y`` is nothing of the kind, or all samples are equal or have
                equal labels.
        """
        features, labels, n_bits, seed = self._checked(X, y)
        assert labels is not None
        n_partners, n_kernels, n_sweeps = self._counts("n_partners", "n_kernels", "n_sweeps")
        n_labelled = check_count(self.n_labelled, "n_labelled", least=2)  # one sample makes no pair
        (bandwidth,) = self._positives("bandwidth")
        rows = _sample(seed, _LABELLED, len(features), n_labelled)
        drawn = random_stream(seed, SHALLOW_STREAM, _ANCHORS).random_raw((n_bits, len(rows)))
        used, columns = np.unique(np.argsort(drawn, axis=1, kind="stable")[:, :n_kernels], return_inverse=True)
        columns = columns.reshape(n_bits, -1)  # numpy 2.0 gives another shape
        self.anchors_: FloatArray = features[rows[used]]
        self.scale_: float = _kernel_scale(features, self.anchors_, bandwidth)
        self.centre_: FloatArray = _gaussian(features, self.anchors_, self.scale_).mean(0)

        kernels = np.ascontiguousarray(self._features(features[rows]).T)
        weights = _normals(seed, _PROJECTIONS, *columns.shape)
        partners = _draw_partners(len(rows), n_partners, seed)
        unlike = _unlike(labels[rows], partners)
        bits = np.stack([_bits(kernels, *bit) for bit in zip(columns, weights, strict=True)])
        distances = np.zeros(partners.shape, np.int32)
        for bit in bits:
            distances += bit[:, None] != bit[partners]
        objective = [_reconstruction_error(unlike, distances, n_bits)]
        for _ in range(n_sweeps):
            n_changes = _search_weights(kernels, columns, weights, bits, partners, unlike, distances)
            objective.append(_reconstruction_error(unlike, distances, n_bits))
            if not n_changes:
                break
        self.objective_: FloatArray = np.array(objective)
        self.projection_ = np.zeros((len(used), n_bits))
        np.put_along_axis(self.projection_, columns.T, weights.T, axis=0)
        return self

    def _features(self, X: FloatArray) -> FloatArray:
        return _gaussian(X, self.anchors_, self.scale_) - self.centre_


class _Residue:
    """n_bits·S - B B' of the KSH, without its n² numbers: the samples with equal labels have equal rows in S."""

    def __init__(self, labels: FloatArray, n_bits: int) -> None:
        distinct, group = np.unique(labels, axis=0, return_inverse=True)
        self._group = group.reshape(-1)
        self._similarity = n_bits * np.where(distinct @ distinct.T > 0, 1.0, -1.0)
        self._codes = np.empty((n_bits, len(labels)))
        self._n_codes = 0

    def append(self, signs: FloatArray) -> None:
        self._codes[self._n_codes] = signs
        self._n_codes += 1

    def times(self, vector: FloatArray) -> FloatArray:
        totals = np.bincount(self._group, weights=vector, minlength=len(self._similarity))
        codes = self._codes[: self._n_codes]
        product: FloatArray = (self._similarity @ totals)[self._group] - (codes @ vector) @ codes
        return product

    def quadratic(self, matrix: FloatArray) -> FloatArray:
        """Return matrix' (n_bits·S) matrix, the form before there are codes."""
        totals = np.zeros((len(self._similarity), matrix.shape[1]))
        np.add.at(totals, self._group, matrix)
        form: FloatArray = totals.T @ self._similarity @ totals
        return form


def _draw_partners(n: int, n_partners: int, seed: int) -> NDArray[np.int32]:
    """Return whom each of ``n`` samples is compared with, (n, n_partners); every pair stands in both rows."""
    ahead = 1 + _sample(seed, _PARTNERS, n // 2, -(-n_partners // 2))
    offsets = np.unique(np.concatenate([ahead, n - ahead]))
    partners: NDArray[np.int32] = ((np.arange(n)[:, None] + offsets) % n).astype(np.int32)
    return partners


def _unlike(labels: FloatArray, partners: NDArray[np.int32]) -> NDArray[np.bool_]:
    distinct, group = np.unique(labels, axis=0, return_inverse=True)
    group = group.reshape(-1)
    unlike: NDArray[np.bool_] = (distinct @ distinct.T == 0)[group[:, None], group[partners]]
    return unlike


def _reconstruction_error(unlike: NDArray[np.bool_], distances: NDArray[np.int32], n_bits: int) -> float:
    errors = n_bits * unlike.astype(np.int64) - distances
    return int(np.vdot(errors, errors)) / (2 * n_bits**2)  # each pair stands there twice


@compiled
def _bits(kernels: FloatArray, columns: NDArray[np.intp], weights: FloatArray) -> NDArray[np.int8]:
    """Return the signs of weighted kernels (n_anchors, n) as 0 and 1, always summed in the same order."""
    total = np.zeros(kernels.shape[1])
    for place in range(len(columns)):
        total += weights[place] * kernels[columns[place]]
    return (total >= 0).astype(np.int8)


@compiled
def _cut(bits: NDArray[np.int8], partners: NDArray[np.int32], costs: NDArray[np.int32]) -> int:
    """Sum the costs of the pairs whose bits differ, each of them twice."""
    total = 0
    for i in range(len(bits)):
        for e in range(partners.shape[1]):
            if bits[i] != bits[partners[i, e]]:
                total += costs[i, e]
    return total


@compiled
def _search_weights(
    kernels: FloatArray,
    columns: NDArray[np.intp],
    weights: FloatArray,
    bits: NDArray[np.int8],
    partners: NDArray[np.int32],
    unlike: NDArray[np.bool_],
    distances: NDArray[np.int32],
) -> int:
    """Set each weight of ``BRE`` to the best of all values given the others; in place, with bits and distances.

    Args:
        kernels: (n_anchors, n).
        columns: (n_bits, n_kernels), the anchors of each bit.
        weights: (n_bits, n_kernels).
        bits: (n_bits, n) of 0 and 1.
        partners: (n, n_partners), of every pair both ends.
        unlike: (n, n_partners), whether a pair shares no label.
        distances: (n, n_partners), in bits.

    Returns:
        How many weights changed.
    """
    n_bits, n_kernels = columns.shape
    n, n_partners = partners.shape
    costs = np.empty((n, n_partners), np.int32)
    turned = np.empty(n, np.int8)
    thresholds = np.empty(n)
    n_changes = 0
    for bit in range(n_bits):
        for i in range(n):
            for e in range(n_partners):
                distances[i, e] -= bits[bit, i] != bits[bit, partners[i, e]]
                missing = (n_bits if unlike[i, e] else 0) - distances[i, e]
                costs[i, e] = 1 - 2 * missing  # (missing - 1)² - missing²: what it costs if this bit differs
        current = _cut(bits[bit], partners, costs)
        for place in range(n_kernels):
            rest = np.zeros(n)
            for other in range(n_kernels):
                if other != place:
                    rest += weights[bit, other] * kernels[columns[bit, other]]
            kernel = kernels[columns[bit, place]]
            for i in range(n):  # the bits at a weight of -infinity, and where they turn on the way up
                if abs(rest[i]) < _LARGEST_WEIGHT * abs(kernel[i]):
                    thresholds[i] = -rest[i] / kernel[i]
                    turned[i] = kernel[i] < 0
                else:
                    thresholds[i] = np.inf
                    turned[i] = rest[i] >= 0
            order = np.argsort(thresholds)
            cost = least = _cut(turned, partners, costs)
            end = 0  # how many have turned at the best
            for rank in range(n):
                i = order[rank]
                if thresholds[i] == np.inf:
                    break
                change = 0
                for e in range(n_partners):
                    change += costs[i, e] if turned[partners[i, e]] == turned[i] else -costs[i, e]
                turned[i] = 1 - turned[i]
                cost += 2 * change
                if (rank + 1 == n or thresholds[order[rank + 1]] > thresholds[i]) and cost < least:
                    least, end = cost, rank + 1
            if least >= current:
                continue
            below = thresholds[order[end - 1]] if end else -np.inf
            above = thresholds[order[end]] if end < n else np.inf
            old = weights[bit, place]
            if below == -np.inf:
                weights[bit, place] = above - 1.0
            elif above == np.inf:
                weights[bit, place] = below + 1.0
            else:
                weights[bit, place] = 0.5 * (below + above)
            new = _bits(kernels, columns[bit], weights[bit])
            reached = _cut(new, partners, costs)
            if reached < current:  # rounding may turn a sample that lies on a threshold
                bits[bit] = new
                current = reached
                n_changes += 1
            else:
                weights[bit, place] = old
        for i in range(n):
            for e in range(n_partners):
                distances[i, e] += bits[bit, i] != bits[bit, partners[i, e]]
    return n_changes


def _accelerated_descent(
    kernels: FloatArray, residue: Callable[[FloatArray], FloatArray], start: FloatArray, max_iter: int, tol: float
) -> tuple[FloatArray, int]:
    """Lower -y' R y, y = tanh(kernels a / 2), from ``start`` by Nesterov's method with backtracking.

    Returns:
        The best a seen, and the number of steps.
    """

    def evaluate(image: FloatArray) -> tuple[float, FloatArray, FloatArray]:
        soft = np.tanh(0.5 * image)
        pulled = residue(soft)
        return -float(soft @ pulled), soft, pulled

    # Each vector goes with its image kernels @ vector: a step multiplies by the kernels twice, however long the search.
    best = current = before = start
    current_image = before_image = kernels @ start
    value = lowest = evaluate(current_image)[0]
    momentum, steepness, n_steps = 1.0, 1.0, 0
    while n_steps < max_iter:
        n_steps += 1
        following = (1.0 + math.sqrt(1.0 + 4.0 * momentum**2)) / 2.0
        push = (momentum - 1.0) / following
        ahead = current + push * (current - before)
        ahead_image = current_image + push * (current_image - before_image)
        at, soft, pulled = evaluate(ahead_image)
        gradient = -(((1.0 - soft**2) * pulled) @ kernels)
        gradient_image = kernels @ gradient
        slope = float(gradient @ gradient)
        reached = evaluate(ahead_image - gradient_image / steepness)[0]
        while reached > at - slope / (2.0 * steepness) and steepness < 1e30:
            steepness *= 2.0
            reached = evaluate(ahead_image - gradient_image / steepness)[0]
        change, value = abs(value - reached), reached
        before, before_image = current, current_image
        current, current_image = ahead - gradient / steepness, ahead_image - gradient_image / steepness
        momentum = following
        if value < lowest:
            best, lowest = current, value
        if change < tol:
            break
    return best, n_steps


def _descend_by_bits(codes: FloatArray, target: FloatArray, gram: FloatArray, n_sweeps: int) -> None:
    """Set each column of ``codes``, in place, to the signs that minimise the objective of ``SDH`` given the others."""
    for _ in range(n_sweeps):
        changed = False
        for bit in range(codes.shape[1]):
            old = codes[:, bit].copy()
            wanted = target[:, bit] - codes @ gram[:, bit] + old * gram[bit, bit]
            new = np.where(wanted == 0, old, np.sign(wanted))
            codes[:, bit] = new
            changed = changed or not np.array_equal(old, new)
        if not changed:
            return


def _rotate(points: FloatArray, n_bits: int, n_iter: int, seed: int) -> tuple[FloatArray, FloatArray]:
    """Return R (n_directions, n_bits) of orthonormal rows that brings points R close to ±1, and the way down."""
    rotation = np.linalg.qr(_normals(seed, _ROTATION, n_bits, n_bits))[0][: points.shape[1]]
    objective = []
    for _ in range(n_iter):
        rotated = points @ rotation
        signs = _signs(rotated).astype(np.float64)
        objective.append(_squares(signs - rotated))
        left, _, right = np.linalg.svd(points.T @ signs, full_matrices=False)
        rotation = left @ right
    return rotation, np.array(objective)


def _principal(centred: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return orthonormal directions (n_columns, rank) and the squares along them (rank,), largest first."""
    wide = centred.shape[1] > centred.shape[0]
    values, vectors = scipy.linalg.eigh(centred @ centred.T if wide else centred.T @ centred)
    values, vectors = values[::-1], vectors[:, ::-1]
    kept = values > _RANK_TOLERANCE * values[0]
    values, vectors = values[kept], vectors[:, kept]
    return (centred.T @ vectors / np.sqrt(values) if wide else vectors), values


def _gaussian(X: FloatArray, anchors: FloatArray, scale: float) -> FloatArray:
    """exp(-d² / scale), (n, n_anchors)."""
    return np.exp(_squared_distances(X, anchors) / -scale)


def _draw_anchors(X: FloatArray, n_anchors: int, bandwidth: float, seed: int) -> tuple[FloatArray, float]:
    anchors = X[_sample(seed, _ANCHORS, len(X), n_anchors)]
    return anchors, _kernel_scale(X, anchors, bandwidth)


def _kernel_scale(X: FloatArray, anchors: FloatArray, bandwidth: float) -> float:
    return 2.0 * bandwidth**2 * float(_squared_distances(X, anchors).mean())


def _squared_distances(X: FloatArray, anchors: FloatArray) -> FloatArray:
    centre = anchors.mean(0)  # far from 0, the squares would cancel
    X, anchors = X - centre, anchors - centre
    squares: FloatArray = (X**2).sum(1)[:, None] + (anchors**2).sum(1) - 2.0 * (X @ anchors.T)
    return np.maximum(squares, 0.0)


def _label_rows(y: NDArray[Any]) -> FloatArray:
    """Return multi-hot rows of class ids or of multi-hot rows."""
    kind = type_of_target(y, input_name="y")
    if kind == "multilabel-indicator":
        rows = np.asarray(y.toarray() if hasattr(y, "toarray") else y, np.float64)
        one_kind = bool((rows == rows[0]).all())
    elif kind in ("binary", "multiclass"):
        classes, ids = np.unique(column_or_1d(y, warn=True), return_inverse=True)
        rows, one_kind = np.eye(len(classes))[ids], len(classes) == 1
    else:
        raise ValueError(
            f"Unknown label type: y must be class ids (n,) or multi-hot (n, n_classes) of 0 and 1, got {kind} values"
        )
    if one_kind:
        raise ValueError("y must tell samples apart, got one class: the labels of all samples are equal")
    return rows


def _check_positive(value: object, name: str) -> float:
    try:
        number = None if isinstance(value, (bool, str)) else float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        number = None
    if number is None:
        raise TypeError(f"{name} must be a number, got {value!r} of type {type(value).__name__}")
    if not 0 < number < math.inf:
        raise ValueError(f"{name} must be greater than 0 and finite, got {number}")
    return number


def _normals(seed: int, purpose: int, n_rows: int, n_columns: int) -> FloatArray:
    """Standard normal numbers by Box and Muller, from raw words."""
    words = random_stream(seed, SHALLOW_STREAM, purpose).random_raw((2, n_rows, n_columns))
    uniform = ((words >> np.uint64(11)).astype(np.float64) + 0.5) * 2.0**-53
    normals: FloatArray = np.sqrt(-2.0 * np.log(uniform[0])) * np.cos(2.0 * math.pi * uniform[1])
    return normals


def _sample(seed: int, purpose: int, n_rows: int, size: int) -> NDArray[np.intp]:
    """Different row numbers, at most ``size``."""
    words = random_stream(seed, SHALLOW_STREAM, purpose).random_raw(n_rows)
    return np.argsort(words, kind="stable")[:size]


def _signs(values: FloatArray) -> NDArray[np.float32]:
    signs: NDArray[np.float32] = np.where(values >= 0, np.float32(1), np.float32(-1))
    return signs


def _squares(values: FloatArray) -> float:
    return float(np.vdot(values, values))
