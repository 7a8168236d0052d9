"""Images and videos found by compact binary codes: hash centers and Central Similarity Quantization.

Four steps, four groups of names: centers (`HashCenterGenerator`, `multilabel_centers`, `nearest_center`), the loss
(`CentralSimilarityLoss`, `central_similarity_loss`), the head (`HashHead`) and retrieval (`HammingRetrievalEvaluator`).
Image models are in `hashcenters.models`, pictures in `hashcenters.plots`.
"""

from importlib.metadata import version as _version

from hashcenters.centers import HashCenterGenerator, multilabel_centers, nearest_center
from hashcenters.heads import HashHead
from hashcenters.losses import CentralSimilarityLoss, central_similarity_loss
from hashcenters.retrieval import HammingRetrievalEvaluator, RetrievalResult

__all__ = [
    "CentralSimilarityLoss",
    "HammingRetrievalEvaluator",
    "HashCenterGenerator",
    "HashHead",
    "RetrievalResult",
    "__version__",
    "central_similarity_loss",
    "multilabel_centers",
    "nearest_center",
]

__version__ = _version("hashcenters")
