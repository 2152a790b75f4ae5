"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

ConfigFile = Annotated[
    Path | None,
    typer.Option("--config", metavar="FILE", help="Settings as YAML; `pathology init` writes one."),
]
Overrides = Annotated[
    list[str] | None,
    typer.Option(
        "--set", metavar="SECTION.KEY=VALUE", help="One setting, over the file's; repeatable."
    ),
]
AssumeMpp = Annotated[
    float | None,
    typer.Option("--assume-mpp", help="Microns per pixel of slides that state none."),
]
Workers = Annotated[
    int | None, typer.Option(min=0, help="Processes and threads; 0: one thread. Default: cores.")
]
