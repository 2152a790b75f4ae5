"""Where the page has OpenSeadragon from: `make viewer` puts it here, else it comes from a CDN."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

STATIC = Path(__file__).parent / "static"
LOCAL = STATIC / "vendor" / "openseadragon.min.js"
VERSION = "6.1.1"
# the hash is that of the file in the npm package of this version
CDN = "https://cdn.jsdelivr.net"
INTEGRITY = "sha384-KKly+4vqqBHitr2XfNKWa3+0asIVpzYs2HijkM/zz0X6rgnyLuQEVERX9HqkM5/P"


@dataclass(frozen=True)
class Script:
    """A script's address; origin and integrity (subresource integrity) where it is not ours."""

    address: str
    origin: str = ""
    integrity: str = ""


def openseadragon(local: Path = LOCAL) -> Script:
    """The script of the library."""
    if local.is_file():
        return Script("static/openseadragon.min.js")
    path = f"/npm/openseadragon@{VERSION}/build/openseadragon/openseadragon.min.js"
    return Script(CDN + path, CDN, INTEGRITY)
