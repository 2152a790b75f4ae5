"""Who is let in to a page, decided by names and tokens."""

import pytest

from pathology.core.web_access import HEADERS, is_loopback, may_enter, page_address, token_for

ANY = "0.0.0.0"  # noqa: S104 (nothing is bound)


@pytest.mark.parametrize(
    ("host", "is_local"),
    [("127.0.0.1", True), ("127.8.1.2", True), ("::1", True), ("localhost", True),
     (ANY, False), ("::", False), ("192.168.1.5", False), ("scope.lab", False)],
)  # fmt: skip
def test_loopback_is_told_from_the_rest(host: str, is_local: bool) -> None:
    assert is_loopback(host) == is_local
    assert (token_for(host) == "") == is_local


def test_tokens_are_long_and_new() -> None:
    assert len({token_for(ANY) for _ in range(20)}) == 20
    assert len(token_for(ANY)) >= 32


@pytest.mark.parametrize(
    ("wanted", "given", "host", "enters"),
    [("", "", "127.0.0.1:8765", True), ("", "", "localhost", True), ("", "", "[::1]:80", True),
     ("", "", "evil.example:8765", False), ("", "", "", False), ("", "", "[::1]", True),
     ("abc", "abc", "scope.lab", True), ("abc", "abd", "127.0.0.1", False),
     ("abc", "", "127.0.0.1", False), ("abc", "ü", "127.0.0.1", False)],
)  # fmt: skip
def test_who_enters(wanted: str, given: str, host: str, enters: bool) -> None:
    assert may_enter(wanted, given, host) == enters


def test_addresses() -> None:
    assert page_address("127.0.0.1", 80, "") == "http://127.0.0.1:80/"
    assert page_address("::1", 80, "t") == "http://[::1]:80/?token=t"
    assert page_address(ANY, 80, "t") == "http://THIS-MACHINE:80/?token=t"


def test_nothing_of_elsewhere_may_be_loaded_or_run() -> None:
    policy = HEADERS["Content-Security-Policy"]
    assert policy.startswith("default-src 'none'")
    assert "unsafe" not in policy and "http" not in policy and "*" not in policy
