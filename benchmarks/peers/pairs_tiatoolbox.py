"""TIAToolbox's normalizers on tiles of an .npz: every tile by itself, to one reference image.

    python pairs_tiatoolbox.py IN.npz OUT.npz

IN holds tiles (N, H, W, 3) and target (H, W, 3), OUT what each method makes of the tiles.
"""

import sys

import cv2
import numpy as np
from tiatoolbox.tools.stainnorm import get_normalizer

METHODS = ("reinhard", "macenko", "vahadane")

if __name__ == "__main__":
    cv2.setNumThreads(1)
    given = np.load(sys.argv[1])
    made = {}
    for method in METHODS:
        normalizer = get_normalizer(method)
        normalizer.fit(given["target"])
        made[method] = np.stack([normalizer.transform(tile.copy()) for tile in given["tiles"]])
    np.savez(sys.argv[2], **made)
