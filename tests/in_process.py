"""Command lines of `pathology` as users type them, run in this process: no new interpreter."""

from __future__ import annotations

import contextlib
import io
import subprocess
import sys
from unittest.mock import patch

from pipelines.__main__ import run

PATHOLOGY = (sys.executable, "-m", "pipelines")  # the same in one of its own


def pathology(*words: object) -> subprocess.CompletedProcess[str]:
    """Exit code and output of `pathology WORDS`."""
    line = ["pathology", *map(str, words)]
    out, err = io.StringIO(), io.StringIO()
    with (
        patch.object(sys, "argv", line),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
    ):
        code = run()
    return subprocess.CompletedProcess(line, code, out.getvalue(), err.getvalue())
