"""Entry of the `pathology` command: refusals become one line and an exit code.

Worker processes load this module, too, and so it imports nothing before it is run.
"""

from __future__ import annotations

import contextlib
import os
import sys
import warnings

NOTHING_RAN, INTERRUPTED = 2, 130
NO_WORKERS = {"--help", "-h", "--scheduler"}  # words of a command line that needs no workers here

os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")  # finding none takes 20 ms


def main() -> None:
    """Run the command line. Exit codes: 0 fine, 1 some slides failed, 2 nothing ran."""
    code = run()
    if code == INTERRUPTED:
        sys.exit(code)  # in good order: threads may be in the midst of starting or ending workers
    with contextlib.suppress(OSError):  # whoever read our output may have gone
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(code)  # all is on disk: taking the libraries down would take a tenth of a second


def run() -> int:
    """Run the command line and return its exit code; refusals are one line."""
    from pathology.core.errors import PathologyError

    if sys.argv[1:2] == ["tile"] and not NO_WORKERS.intersection(sys.argv):
        from pipelines.tile_work import start_workers

        start_workers()  # their libraries load while the command line does
    from pipelines.cli import app

    warnings.filterwarnings("ignore", "Glyph .* missing from font")  # of ids in charts' titles
    try:
        app(prog_name="pathology")
    except PathologyError as refusal:
        print(f"{type(refusal).__name__}: {refusal}", file=sys.stderr)
        return NOTHING_RAN
    except OSError as error:
        where = f" ({error.filename})" if error.filename else ""
        print(f"{error.strerror or error}{where}", file=sys.stderr)
        return NOTHING_RAN
    except SystemExit as end:  # how typer passes on Ctrl-C, and every other exit code
        if end.code == INTERRUPTED:
            print("Interrupted. Run the same command again to go on.", file=sys.stderr)
        return int(end.code or 0)
    return 0


if __name__ == "__main__":
    main()
