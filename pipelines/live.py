"""`pathology live`: a trained classifier at the microscope."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from shlex import quote
from threading import Timer

from pathology.core.errors import ConfigError
from pathology.core.web_access import page_address, token_for
from pathology.inference.live import LiveSession
from pathology.inference.live_facts import Scale, Standing, not_graded_lines
from pathology.inference.live_page import live_app
from pathology.inference.objectives import Objectives, nominal_scale, read_objectives
from pathology.inference.recorder import Recorder
from pathology.inference.screen import Screen
from pathology.inference.session_saver import SessionSaver
from pipelines.given_mpp import require_mpp
from pipelines.live_model import load_live
from pipelines.live_places import require_places
from pipelines.live_server import serving
from pipelines.live_sources import SourceOptions, source_of


@dataclass(frozen=True)
class LiveOptions:
    """How a session is run.

    mpp, objective, camera_um, adapter, objectives  how large a pixel is; see scale_of
    asked        of the source
    record       video file of what the page shows
    save         folder of pictures for the next adaptation, one in save_every seconds at most
    host, port   of the page; port None: no page
    seconds      after which it ends; None: when the source does, or on a signal; see ending
    threads, budget_ms  of the network: threads, and milliseconds for one frame
    """

    model: Path
    source: str
    mpp: float | None = None
    objective: str | None = None
    camera_um: float | None = None
    adapter: float = 1.0
    objectives: Path = Path("objectives.yaml")
    asked: SourceOptions = field(default_factory=SourceOptions)
    weights: Path | None = None
    stain: Path | None = None
    record: Path | None = None
    save: Path | None = None
    save_every: float = 5.0
    host: str = "127.0.0.1"
    port: int | None = 8765
    seconds: float | None = None
    threads: int = 2
    budget_ms: float = 40.0


def run_live(
    options: LiveOptions,
    *,
    say: Callable[[str], None] = print,
    on_start: Callable[[LiveSession, str], None] = lambda session, address: None,
) -> LiveSession:
    """Run a session to its end and return it.

    on_start  called with the session and the page's address, "" without a page
    Raises ConfigError, before any frame, for a scale that no microscope has, and for places where
    nothing can be kept.
    """
    require_places(options.source, options.record, options.save)
    require_mpp(options.asked.assume_mpp, "--assume-mpp")
    known = known_objectives(options, say)
    scale = scale_of(options, known)
    source = source_of(options.source, options.asked)
    model = load_live(
        options.model, weights=options.weights, stain=options.stain, threads=options.threads,
        budget_ms=options.budget_ms,
    )  # fmt: skip
    standing = Standing(
        model.card.grades, f"{options.model.name}, {model.card.method}", source.name,
        source.is_simulated, model.checks, str(options.record or ""), options.save is not None,
    )  # fmt: skip
    recorder = None if options.record is None else Recorder(options.record)
    saver = None
    if options.save is not None:
        saver = SessionSaver(options.save, session_name(), every_s=options.save_every)
    screen = Screen()
    session = LiveSession(
        source, model.grader, scale, standing, screen, recorder=recorder, saver=saver
    )

    def choose(name: str) -> None:
        session.scale = known.scale(name, options.objectives)

    say(f"Research use only. {source.name}, model {standing.model}")
    with ExitStack() as stack:
        address = ""
        if options.port is not None:
            token = token_for(options.host)
            app = live_app(screen, token, objectives=tuple(known.objectives), choose=choose)
            port = stack.enter_context(serving(app, options.host, options.port))
            address = page_address(options.host, port, token)
            say(f"Open {address}")
        stack.enter_context(ending(session, options.seconds))
        on_start(session, address)
        session.run()
    lines = closing_lines(session, options)
    with suppress(OSError):  # the terminal may have been closed
        for line in lines:
            say(line)
    return session


def known_objectives(options: LiveOptions, say: Callable[[str], None]) -> Objectives:
    """Those that were calibrated; with --mpp, which needs none, a damaged file is only said.

    Raises ConfigError for one without.
    """
    try:
        return read_objectives(options.objectives)
    except ConfigError as damaged:
        if options.mpp is None:
            raise
        say(f"{damaged}; going on without its objectives, by --mpp {options.mpp:g}")
        return Objectives()


def scale_of(options: LiveOptions, known: Objectives) -> Scale:
    """Microns per pixel: given, calibrated, by arithmetic, or left to the source.

    Raises ConfigError for an objective that nobody knows, and for what no microscope has.
    """
    require_mpp(options.mpp, "--mpp")
    if options.mpp is not None:
        return Scale(options.mpp, "given", options.objective or "")
    if options.objective is None:
        return Scale(0.0, "")
    if options.camera_um is not None and options.objective not in known.objectives:
        return nominal_scale(options.objective, options.camera_um, options.adapter)
    return known.scale(options.objective, options.objectives)


def session_name() -> str:
    """A name for a session, which is the case of its pictures."""
    return datetime.now().strftime("session_%Y%m%d_%H%M%S")


@contextmanager
def ending(session: LiveSession, seconds: float | None) -> Iterator[None]:
    """End the session in good order on Ctrl-C, on SIGTERM (docker and systemd end programs by it),
    when the terminal is closed, and when time is up.
    """
    timer = None if seconds is None else Timer(seconds, session.stop)
    before = {number: signal.signal(number, lambda *_: session.stop()) for number in _signals()}
    if timer is not None:
        timer.daemon = True
        timer.start()
    try:
        yield
    finally:
        if timer is not None:
            timer.cancel()
        for number, handler in before.items():
            signal.signal(number, handler)


def _signals() -> list[signal.Signals]:
    """Those that end a session; only the main thread may listen to any."""
    if threading.current_thread() is not threading.main_thread():
        return []
    found = [signal.SIGINT, signal.SIGTERM]
    hangup = getattr(signal, "SIGHUP", None)  # Windows has none
    if hangup is not None and signal.getsignal(hangup) != signal.SIG_IGN:  # as nohup asks for
        found.append(hangup)
    return found


def closing_lines(session: LiveSession, options: LiveOptions) -> list[str]:
    """What came of a session, and what to do next."""
    speed = session.speed
    if not speed.num_frames:
        raise ConfigError(f"{session.source.name} gave no frames")
    lines = [
        f"{speed.num_frames} frames, of late {speed.fps:.1f} a second, capture to overlay "
        f"{speed.latency(50):.0f} ms (95th percentile {speed.latency(95):.0f} ms)"
    ]
    lines += not_graded_lines(session.why_not)
    if session.num_lost:
        lines.append(f"the source was lost {session.num_lost} times")
    if options.record is not None and options.record.is_file():
        lines.append(f"Recording: {options.record}")
    if session.saver is not None:
        where = f": {session.saver.manifest}" if session.saver.num_saved else ""
        lines.append(f"{session.saver.num_saved} pictures saved{where}")
        if session.saver.num_saved:
            lines.append(
                "Next: pathology train adapt --source SLIDES "
                f"--target {quote(str(session.saver.manifest))} --out NEXT.pt"
            )
    return lines
