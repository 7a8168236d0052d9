"""Hash centers: one far-away corner of Hamming space for every class."""

from hashcenters.centers.generator import HashCenterGenerator
from hashcenters.centers.nearest import NearestCenter, nearest_center
from hashcenters.centers.semantic import majority_vote, multilabel_centers, tie_table

__all__ = [
    "HashCenterGenerator",
    "NearestCenter",
    "majority_vote",
    "multilabel_centers",
    "nearest_center",
    "tie_table",
]
