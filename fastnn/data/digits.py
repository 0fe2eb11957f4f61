"""The handwritten digits that the package carries: small enough to try anything on, real enough to mean something."""

from __future__ import annotations

from pathlib import Path

import numpy as np

IMAGE_SHAPE = (8, 8)


def digits() -> tuple[np.ndarray, np.ndarray]:
    """The 1,797 images of 8 x 8 pixels of the test part of "Optical Recognition of Handwritten Digits".

    Returns X, float32 (1797, 64), C order, pixels from 0 to 16 as given, and y, int64 (1797,), digits from 0 to 9.

    Source: E. Alpaydin and C. Kaynak, UCI Machine Learning Repository, 1998, doi 10.24432/C50P49. Licence: CC BY 4.0.
    """
    with np.load(Path(__file__).with_name("digits.npz"), allow_pickle=False) as stored:
        return stored["X"].astype(np.float32), stored["y"].astype(np.int64)
