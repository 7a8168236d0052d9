"""Training objectives, all called ``loss(logits, labels)``, and the heads that some of them want."""

from hashcenters.losses.central import CentralSimilarityLoss, central_similarity_loss
from hashcenters.losses.cosine import BatchNormHead, OrthoHashLoss
from hashcenters.losses.margin import DPNLoss
from hashcenters.losses.pairwise import DCHLoss, DHNLoss, HashNetLoss, PairwiseSimilarityLoss
from hashcenters.losses.quantization import swd_quantization
from hashcenters.losses.triplet import DivideAndEncodeHead, DNNHLoss

__all__ = [
    "BatchNormHead",
    "CentralSimilarityLoss",
    "DCHLoss",
    "DHNLoss",
    "DNNHLoss",
    "DPNLoss",
    "DivideAndEncodeHead",
    "HashNetLoss",
    "OrthoHashLoss",
    "PairwiseSimilarityLoss",
    "central_similarity_loss",
    "swd_quantization",
]
