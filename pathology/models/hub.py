"""The hub that encoders' weights come from, and whether it can be reached."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

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


def fetched(repository: str, file: str) -> Path:
    """A file of a repository, from the hub or as it was fetched before.

    Raises whatever the hub's library does where it cannot be had.
    """
    from huggingface_hub import hf_hub_download

    with asked_once():
        return Path(hf_hub_download(repository, file))


def said(error: Exception) -> str:
    """What a hub's library says of a fault, in one line."""
    return f"{type(error).__name__}: {' '.join(str(error).split())[:160]}"
