"""Who may look at a page that this program serves: pure rules, whatever the web framework.

On the loopback interface anyone on this machine may, but only under a loopback name: a page of
somewhere else must not reach us through a name of its own that points here. Elsewhere a token in
the address is asked for.
"""

from __future__ import annotations

import hmac
import ipaddress
import secrets
from collections.abc import Mapping

TOKEN_BYTES = 24
LOCAL_NAMES = frozenset({"localhost", "127.0.0.1", "[::1]"})


def content_policy(script_origin: str = "", images: str = "'self'") -> str:
    """A policy that allows our own files and, if need be, scripts of one other origin."""
    scripts = f"'self' {script_origin}".strip()
    return (
        f"default-src 'none'; script-src {scripts}; style-src 'self'; img-src {images}; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )


HEADERS: Mapping[str, str] = {
    "Content-Security-Policy": content_policy(),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}


def is_loopback(host: str) -> bool:
    """Whether an address to listen on is reached from this machine alone."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def token_for(host: str) -> str:
    """A new token for an address that others can reach, "" for one that only this machine can."""
    return "" if is_loopback(host) else secrets.token_urlsafe(TOKEN_BYTES)


def may_enter(wanted: str, given: str, host_header: str) -> bool:
    """Whether a request is let in; tokens are compared in constant time.

    wanted       the token, or "" where loopback guards the page
    given        what the request brought
    host_header  the name that it was addressed to, with or without a port
    """
    return is_same(given, wanted) if wanted else host_name(host_header) in LOCAL_NAMES


def is_same(given: str, token: str) -> bool:
    """Whether both are the same text, asked in constant time."""
    return hmac.compare_digest(given.encode(), token.encode())


def host_name(header: str) -> str:
    """A Host header without its port, in lower case.

    >>> host_name("LocalHost:8000"), host_name("[::1]:80"), host_name("[::1]")
    ('localhost', '[::1]', '[::1]')
    """
    name, colon, port = header.rpartition(":")
    return (name if colon and port.isdecimal() else header).lower()


def page_address(host: str, port: int, token: str) -> str:
    """What to type into a browser."""
    name = host if not _is_any(host) else "THIS-MACHINE"
    name = f"[{name}]" if ":" in name and not name.startswith("[") else name
    return f"http://{name}:{port}/" + (f"?token={token}" if token else "")


def _is_any(host: str) -> bool:
    return host in ("0.0.0.0", "::", "[::]")  # noqa: S104 (a comparison)
