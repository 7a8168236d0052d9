"""Hash centers: one far-away corner of Hamming space for every class."""

from hashcenters.centers.assignment import assign_centers, closeness_correlation, semantic_centers
from hashcenters.centers.extension import ExtendedCenters
from hashcenters.centers.files import SavedCenters, load_centers, save_centers
from hashcenters.centers.generator import HashCenterGenerator
from hashcenters.centers.nearest import NearestCenter, nearest_center
from hashcenters.centers.report import CenterReport, center_report
from hashcenters.centers.semantic import majority_vote, multilabel_centers, tie_table
from hashcenters.centers.similarity import similarity_from_confusion, similarity_from_features

__all__ = [
    "CenterReport",
    "ExtendedCenters",
    "HashCenterGenerator",
    "NearestCenter",
    "SavedCenters",
    "assign_centers",
    "center_report",
    "closeness_correlation",
    "load_centers",
    "majority_vote",
    "multilabel_centers",
    "nearest_center",
    "save_centers",
    "semantic_centers",
    "similarity_from_confusion",
    "similarity_from_features",
    "tie_table",
]
