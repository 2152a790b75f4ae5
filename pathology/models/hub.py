"""Whether the hub that encoders' weights come from can be reached."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

PATIENCE_S = 5.0


@contextmanager
def asked_once() -> Iterator[None]:
    """Within it, a hub that one question does not reach is not asked again.

    Its library would ask six times for each of two files, which takes most of a minute. Weights
    that were fetched before are found all the same.
    """
    from huggingface_hub import constants, get_session

    was_offline = constants.HF_HUB_OFFLINE
    try:
        get_session().head(constants.ENDPOINT, timeout=PATIENCE_S)
    except Exception:  # noqa: BLE001  of whatever client the library uses
        constants.HF_HUB_OFFLINE = True
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = was_offline
