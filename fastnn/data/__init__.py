"""Data: sources, division into parts, normalization, and the digits that the package carries."""

from fastnn.data.digits import digits
from fastnn.data.idx import read_idx
from fastnn.data.normalize import Normalization
from fastnn.data.sources import Dataset, load
from fastnn.data.split import train_test_split

__all__ = ["Dataset", "Normalization", "digits", "load", "read_idx", "train_test_split"]
