from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

def halve(
    streams: Sequence[bytes], columns: int, quality: int, planes: NDArray[np.uint8]
) -> bytes: ...
