"""Training objectives, all called ``loss(logits, labels)``."""

from hashcenters.losses.central import CentralSimilarityLoss, central_similarity_loss

__all__ = ["CentralSimilarityLoss", "central_similarity_loss"]
