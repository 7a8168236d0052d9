"""Training objectives, all called ``loss(logits, labels)``, and the heads that some of them want."""

from hashcenters.losses.central import CentralSimilarityLoss, central_similarity_loss
from hashcenters.losses.contrast import CenterContrastLoss
from hashcenters.losses.cosine import BatchNormHead, MDSLoss, OrthoHashLoss
from hashcenters.losses.greedy import GreedyHashLoss
from hashcenters.losses.learned import FaceCenterLoss, MagnetCenterLoss, RepMetCenterLoss, binarize_centers
from hashcenters.losses.margin import DPNLoss
from hashcenters.losses.pairwise import DCHLoss, DHNLoss, DPSHLoss, HashNetLoss, PairwiseSimilarityLoss
from hashcenters.losses.quantization import swd_quantization
from hashcenters.losses.triplet import DivideAndEncodeHead, DNNHLoss
from hashcenters.losses.two_stage import CNNHLoss, cnnh_codes
from hashcenters.losses.video import DHLoss, DLSTMLoss, DVHLoss

__all__ = [
    "BatchNormHead",
    "CNNHLoss",
    "CenterContrastLoss",
    "CentralSimilarityLoss",
    "DCHLoss",
    "DHLoss",
    "DHNLoss",
    "DLSTMLoss",
    "DNNHLoss",
    "DPNLoss",
    "DPSHLoss",
    "DVHLoss",
    "DivideAndEncodeHead",
    "FaceCenterLoss",
    "GreedyHashLoss",
    "HashNetLoss",
    "MDSLoss",
    "MagnetCenterLoss",
    "OrthoHashLoss",
    "PairwiseSimilarityLoss",
    "RepMetCenterLoss",
    "binarize_centers",
    "central_similarity_loss",
    "cnnh_codes",
    "swd_quantization",
]
