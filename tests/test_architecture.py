"""The house's rules as tests: imports go down, risky packages have one door, files stay small."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
LAYERS = [  # each may import the rows below it; names in one row may not meet
    {"pipelines"},
    {"evaluation", "inference", "viewer", "interop"},
    {"stain", "weak", "adapt"},
    {"data", "models", "training"},
    {"tiling"},
    {"slides", "simulate"},
    {"core"},
]
DOORS = {  # third-party package -> the files that may import it
    "openslide": {"pathology/slides/openslide_reader.py"},
    "tifffile": {
        f"pathology/{name}.py"
        for name in ("slides/tiff_reader", "slides/ome_writer", "simulate/pyramid")
    },
    "simplejpeg": {"pathology/slides/jpeg.py"},
    "imagecodecs": {"pathology/slides/jpeg.py", "pathology/tiling/store.py"},
    "zarr": {"pathology/tiling/jpeg_codec.py"},
    "dask": {"pathology/core/batch.py"},
    "distributed": {"pathology/core/batch.py"},
    "h5py": {"pathology/interop/h5_coords.py", "pathology/interop/h5_features.py"},
    "huggingface_hub": {"pathology/models/hub.py"},
    "timm": {"pathology/models/encoder.py"},
    "lightning_fabric": {"pathology/training/fabric.py"},
    "starlette": {
        "pathology/inference/live_page.py",
        "pathology/viewer/app.py",
        "pathology/viewer/guard.py",
        "pipelines/live_server.py",
    },
    "uvicorn": {"pipelines/live_server.py", "pipelines/serve.py"},
    "pymmcore_plus": {"pathology/inference/micromanager_source.py"},
    "typer": {
        f"pipelines/{name}.py"
        for name in (
            "cli",
            "cli_adapt",
            "cli_data",
            "cli_learn",
            "cli_live",
            "cli_options",
            "cli_predict",
            "cli_serve",
            "cli_stain",
            "cli_stain_learn",
        )
    },
}
RANK = {name: depth for depth, row in enumerate(LAYERS) for name in row}
SOURCES = sorted(p for top in ("pathology", "pipelines") for p in (ROOT / top).rglob("*.py"))


def imports(path: Path) -> list[str]:
    """Every module a file imports, including the ones it imports inside functions."""
    found = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: write absolute imports"
            found.append(node.module or "")
    return found


def unit(dotted: str) -> str | None:
    """pathology.tiling.grid -> tiling; pipelines.cli -> pipelines; numpy -> None."""
    top, *rest = dotted.split(".")
    return top if top == "pipelines" else rest[0] if top == "pathology" and rest else None


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: str(p.relative_to(ROOT)))
def test_imports_go_down_and_through_doors(path: Path) -> None:
    here = path.relative_to(ROOT).as_posix()
    mine = unit(here.removesuffix(".py").replace("/", "."))
    for name in imports(path):
        theirs = unit(name)
        if mine and theirs and mine != theirs:
            assert RANK[mine] < RANK[theirs], f"{here} must not import {name}"
        doors = DOORS.get(name.split(".")[0])
        assert doors is None or here in doors, f"{name} enters only through {doors}, not {here}"


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: str(p.relative_to(ROOT)))
def test_files_stay_small(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 300


def test_every_door_is_used() -> None:
    for package, doors in DOORS.items():
        for door in doors:
            if (ROOT / door).exists():
                names = {name.split(".")[0] for name in imports(ROOT / door)}
                assert package in names, f"{door} no longer imports {package}"
