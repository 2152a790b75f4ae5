"""One virtual environment per peer under .bench/, made on first use from peers/<name>.txt."""

import shutil
import subprocess
import sys
from pathlib import Path

from measure import last_words

PEERS = Path(__file__).parent / "peers"
ENVIRONMENTS = Path(__file__).parents[1] / ".bench"
INSTALL_LIMIT_S = 1800


class PeerMissing(Exception):
    """A peer that cannot be installed here; its text says why."""


def pinned(name: str) -> dict[str, str]:
    """Package to version, as peers/<name>.txt pins them."""
    lines = (PEERS / f"{name}.txt").read_text().split()
    return dict(line.split("==") for line in lines)


def peer_python(name: str) -> Path:
    """The interpreter that has the peer; made anew when the pinned versions have changed."""
    folder = ENVIRONMENTS / name
    python = folder / "bin" / "python"
    requirements = PEERS / f"{name}.txt"
    installed = folder / "installed.txt"
    if installed.exists() and installed.read_text() == requirements.read_text():
        return python
    print(f"installing {name} into {folder}", flush=True)
    shutil.rmtree(folder, ignore_errors=True)
    for command in install_commands(folder, requirements):
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=INSTALL_LIMIT_S)
        except subprocess.TimeoutExpired as problem:
            raise PeerMissing(f"not installed within {INSTALL_LIMIT_S} s") from problem
        if done.returncode:
            raise PeerMissing(f"not installed: {last_words(done.stderr)}")
    installed.write_text(requirements.read_text())
    return python


def install_commands(folder: Path, requirements: Path) -> list[list[str]]:
    """With uv where there is one, else with the standard library's venv and pip."""
    python = str(folder / "bin" / "python")
    if uv := shutil.which("uv"):
        return [
            [uv, "venv", "--quiet", "--python", sys.executable, str(folder)],
            [
                uv,
                "pip",
                "install",
                "--quiet",
                "--compile-bytecode",
                "--python",
                python,
                "-r",
                str(requirements),
            ],
        ]
    return [
        [sys.executable, "-m", "venv", str(folder)],
        [python, "-m", "pip", "install", "--quiet", "-r", str(requirements)],
    ]
