"""Binary codes, their distance histograms, and what they say about retrieval.

`hashcenters.retrieval.histogram` and `hashcenters.retrieval.metrics` load numba; import them where you need them.
"""

from hashcenters.retrieval.codes import binarize, hamming_distance, pack, unpack
from hashcenters.retrieval.evaluator import HammingRetrievalEvaluator
from hashcenters.retrieval.result import PrecisionRecall, RetrievalResult

__all__ = [
    "HammingRetrievalEvaluator",
    "PrecisionRecall",
    "RetrievalResult",
    "binarize",
    "hamming_distance",
    "pack",
    "unpack",
]
