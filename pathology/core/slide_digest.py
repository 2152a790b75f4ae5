"""Short digests by which a model remembers the slides and cases that it learned from."""

from __future__ import annotations

import hashlib

DIGITS = 12


def digests_of(slide_id: str, case_id: str = "") -> set[str]:
    """Digests of a slide and of its case; of what is empty there is none.

    Twelve hex digits of SHA-256, by which a known id is recognized. They hide no id from somebody
    who can guess it.

    >>> digests_of("s1") < digests_of("s1", "c1"), digests_of("1") & digests_of("", "1")
    (True, set())
    """
    named = {"slide": slide_id, "case": case_id}
    return {
        hashlib.sha256(f"{kind} {name}".encode()).hexdigest()[:DIGITS]
        for kind, name in named.items()
        if name
    }
