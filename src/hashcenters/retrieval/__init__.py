"""Binary codes, their distance histograms, what they say about retrieval, and search.

The counting itself (`hashcenters.retrieval.histogram`, `metrics`, `graded`, `asymmetric`) loads numba; import it where
you need it. `hashcenters.retrieval.milvus` needs the extra ``milvus``.
"""

from hashcenters.retrieval.codes import binarize, hamming_distance, pack, unpack
from hashcenters.retrieval.evaluator import HammingRetrievalEvaluator
from hashcenters.retrieval.index import HammingIndex, RangeResult, RerankResult, SearchResult
from hashcenters.retrieval.intervals import bootstrap_interval
from hashcenters.retrieval.result import (
    MeanAveragePrecision,
    PrecisionRecall,
    QueryAveragePrecision,
    RetrievalResult,
)

__all__ = [
    "HammingIndex",
    "HammingRetrievalEvaluator",
    "MeanAveragePrecision",
    "PrecisionRecall",
    "QueryAveragePrecision",
    "RangeResult",
    "RerankResult",
    "RetrievalResult",
    "SearchResult",
    "binarize",
    "bootstrap_interval",
    "hamming_distance",
    "pack",
    "unpack",
]
