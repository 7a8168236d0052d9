"""Videos: decoding, clips, transforms, data sets. Needs the extra ``video``."""

from hashcenters.data.items import ItemList, ItemSplits
from hashcenters.data.videos.dataset import VideoDataset, frame_counts, unreadable_videos
from hashcenters.data.videos.decoding import VideoReadError, count_frames, read_frames
from hashcenters.data.videos.hmdb import hmdb51
from hashcenters.data.videos.sampling import clip_indices, clip_span
from hashcenters.data.videos.transforms import csq_clip_transform, plain_clip_transform, whole_clip_transform
from hashcenters.data.videos.ucf import ucf101

__all__ = [
    "ItemList",
    "ItemSplits",
    "VideoDataset",
    "VideoReadError",
    "clip_indices",
    "clip_span",
    "count_frames",
    "csq_clip_transform",
    "frame_counts",
    "hmdb51",
    "plain_clip_transform",
    "read_frames",
    "ucf101",
    "unreadable_videos",
    "whole_clip_transform",
]
