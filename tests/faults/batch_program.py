"""A program that runs faulty work as the command does: batch_program.py RESULTS_FILE ITEM..."""

from __future__ import annotations

import sys
from pathlib import Path

from faulty_work import failure, work

from pathology.core.batch import Batch
from pathology.core.supervise import Task, prepare_workers


def main(results: Path, items: list[str]) -> None:
    """Run the items, and write each result into the file at once."""
    prepare_workers(["faulty_work", "pathology.core.supervise"])
    with results.open("a", encoding="utf-8", buffering=1) as stream:
        Batch(Task(work, failure), workers=2).run(items, lambda line: print(line, file=stream))


if __name__ == "__main__":
    try:
        main(Path(sys.argv[1]), sys.argv[2:])
    except KeyboardInterrupt:
        sys.exit(130)
