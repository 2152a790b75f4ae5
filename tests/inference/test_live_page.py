"""The page over a real connection: who is let in, what it says, and viewers that go away."""

from __future__ import annotations

import http.client
import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from typing import NamedTuple

import pytest

from pathology.core.errors import ConfigError
from pathology.inference.live_page import live_app
from pathology.inference.screen import Screen
from pipelines.live_server import serving

TOKEN = "-".join(["not", "guessed"])


@pytest.fixture(scope="module")
def screen() -> Screen:
    made = Screen()
    made.show(b"first", {"verdict": "graded", "grade": "µ <b>"})
    return made


@pytest.fixture(scope="module")
def port(screen: Screen) -> Iterator[int]:
    with serving(live_app(screen), "127.0.0.1", 0) as port:
        yield port


class Answer(NamedTuple):
    status: int
    body: bytes
    headers: http.client.HTTPMessage


def ask(port: int, path: str, method: str = "GET", **headers: str) -> Answer:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    with closing(connection):
        named = {k.replace("_", "-"): v for k, v in headers.items()}
        connection.request(method, path, headers=named)
        answer = connection.getresponse()
        return Answer(answer.status, answer.read(), answer.headers)


def test_the_newest_picture_comes_with_its_facts(screen: Screen, port: int) -> None:
    answer = ask(port, "/frame?after=0")
    assert (answer.status, answer.body) == (200, screen.view.jpeg)
    facts = json.loads(answer.headers["X-Facts"])
    assert facts["grade"] == "µ <b>" and facts["number"] == screen.view.number
    assert "default-src 'none'" in answer.headers["Content-Security-Policy"]
    assert answer.headers["Cache-Control"] == "no-store"
    assert ask(port, "/frame?after=x").status == 400


def test_who_is_up_to_date_waits_for_the_next(screen: Screen, port: int) -> None:
    number = screen.view.number
    threading.Timer(0.3, screen.show, (b"next", {})).start()
    started = time.monotonic()
    answer = ask(port, f"/frame?after={number}")
    assert answer.body == b"next" and time.monotonic() - started > 0.2


def test_the_page_says_research_use_only_first_and_loads_nothing_foreign(port: int) -> None:
    page = ask(port, "/").body.decode()
    body = page[page.index("<body>") :]
    assert body.index("Research use only") < body.index("Not for diagnosis") < 120
    assert "http" not in page and "style=" not in page and "onclick" not in page
    for name in ("live.css", "live.js"):
        assert ask(port, f"/{name}").status == 200


def test_a_foreign_name_for_this_machine_is_refused(port: int) -> None:
    for path in ("/", "/frame?after=0", "/facts", "/live.js", "/stream.mjpg"):
        answer = ask(port, path, Host="evil.example")
        assert answer.status == 403 and b"Not let in" in answer.body
        assert "Content-Security-Policy" in answer.headers


def test_mjpeg_viewers_come_and_go(screen: Screen, port: int) -> None:
    viewers = []
    for _ in range(20):
        viewer = socket.create_connection(("127.0.0.1", port), timeout=20)
        viewer.sendall(b"GET /stream.mjpg HTTP/1.1\r\nHost: localhost\r\n\r\n")
        viewers.append(viewer)
    for viewer in viewers:
        got = b""
        while b"\r\n\r\n" not in got or b"Content-Length" not in got:
            got += viewer.recv(4096)
        assert b"multipart/x-mixed-replace" in got
        viewer.close()  # in the midst of the stream
    give_up = time.monotonic() + 20
    while screen.num_waiting:
        screen.show(b"more", {})
        assert time.monotonic() < give_up, f"{screen.num_waiting} still wait"
        time.sleep(0.02)
    assert ask(port, "/facts").status == 200


def test_a_viewer_that_does_not_read_holds_nobody_up(screen: Screen, port: int) -> None:
    lazy = socket.create_connection(("127.0.0.1", port), timeout=20)
    lazy.sendall(b"GET /stream.mjpg HTTP/1.1\r\nHost: localhost\r\n\r\n")
    large = bytes(2_000_000)
    for _ in range(30):
        screen.show(large, {})
        assert ask(port, "/facts").status == 200
    lazy.close()
    screen.show(b"small", {})


def test_beyond_loopback_every_door_asks_for_the_token(screen: Screen) -> None:
    chosen: list[str] = []
    app = live_app(screen, TOKEN, objectives=("10x", "20x"), choose=chosen.append)
    with serving(app, "127.0.0.1", 0) as port:
        for path in ("/", "/frame?after=0", "/facts", "/stream.mjpg", "/objectives"):
            assert ask(port, path).status == 403
            assert ask(port, path, X_Token=TOKEN[:-1]).status == 403
        assert ask(port, f"/?token={TOKEN}", Host="scope.lab").status == 200
        assert ask(port, "/facts", X_Token=TOKEN).status == 200
        assert json.loads(ask(port, "/objectives", X_Token=TOKEN).body) == ["10x", "20x"]
        post = {"method": "POST", "X_Token": TOKEN}
        assert ask(port, "/objective/20x", **post).status == 403  # not from our own page
        assert ask(port, "/objective/20x", **post, X_Pathology="1").status == 204
        assert ask(port, "/objective/63x", **post, X_Pathology="1").status == 404
    assert chosen == ["20x"]


def test_a_taken_port_is_named(port: int, screen: Screen) -> None:
    with (
        pytest.raises(ConfigError, match=f"port {port}"),
        serving(live_app(screen), "127.0.0.1", port),
    ):
        pass
