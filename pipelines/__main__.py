"""Entry of the `pathology` command: refusals become one line and an exit code.

Worker processes load this module, too, and so it imports nothing before it is run.
"""

from __future__ import annotations

import sys

NOTHING_RAN, INTERRUPTED = 2, 130


def main() -> None:
    """Run the command line. Exit codes: 0 fine, 1 some slides failed, 2 nothing ran."""
    from pathology.core.errors import PathologyError
    from pipelines.cli import app

    try:
        app(prog_name="pathology")
    except PathologyError as refusal:
        print(f"{type(refusal).__name__}: {refusal}", file=sys.stderr)
        sys.exit(NOTHING_RAN)
    except OSError as error:
        where = f" ({error.filename})" if error.filename else ""
        print(f"{error.strerror or error}{where}", file=sys.stderr)
        sys.exit(NOTHING_RAN)
    except SystemExit as end:  # how typer passes on Ctrl-C, and every other exit code
        if end.code == INTERRUPTED:
            print("Interrupted. Run the same command again to go on.", file=sys.stderr)
        raise


if __name__ == "__main__":
    main()
