"""Images and videos found by compact binary codes: hash centers and Central Similarity Quantization.

Four steps, four groups of names: centers (`HashCenterGenerator`, `assign_centers`, `multilabel_centers`, ...), the loss
(`CentralSimilarityLoss`, `central_similarity_loss`), the head (`HashHead`) and retrieval (`HammingRetrievalEvaluator`,
`HammingIndex`).
Image models are in `hashcenters.models`, pictures in `hashcenters.plots`.
"""

from importlib.metadata import version as _version

from hashcenters.centers import (
    HashCenterGenerator,
    assign_centers,
    center_report,
    load_centers,
    multilabel_centers,
    nearest_center,
    save_centers,
    similarity_from_confusion,
    similarity_from_features,
)
from hashcenters.heads import HashHead
from hashcenters.losses import CentralSimilarityLoss, central_similarity_loss
from hashcenters.retrieval import HammingIndex, HammingRetrievalEvaluator, RetrievalResult

__all__ = [
    "CentralSimilarityLoss",
    "HammingIndex",
    "HammingRetrievalEvaluator",
    "HashCenterGenerator",
    "HashHead",
    "RetrievalResult",
    "__version__",
    "assign_centers",
    "center_report",
    "central_similarity_loss",
    "load_centers",
    "multilabel_centers",
    "nearest_center",
    "save_centers",
    "similarity_from_confusion",
    "similarity_from_features",
]

__version__ = _version("hashcenters")
