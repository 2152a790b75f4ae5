"""Every command line of the documents is run; those of benchmarks are understood."""

import ast
import re
import shlex
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
from PIL import Image

from pipelines.cli import app
from tests.conftest import ROOT, tissue_pixels, write_pyramid
from tests.in_process import PATHOLOGY, pathology
from tests.inference.test_stage_micrometer import ruling

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
INLINE = re.compile(r"`(pathology [^`]+)`")
VARIABLES = {"$SLURM_ARRAY_TASK_ID": "0", "$SLURM_CPUS_PER_TASK": "1"}
# a microscope is not at hand: what the guide says to take instead; and this machine has no GPU
INSTEAD = {
    " --source 0 --objective 20x": " --source simulated:slide.svs --seconds 5",
    " --device cuda --precision bf16": "", " --devices 4": "",
}  # fmt: skip
# so that it takes seconds: the lines are run as they are but for these words
SMALL = {
    "train weak": ("--set", "epochs=1", "--set", "epoch_tiles=64", "--set", "tile_px=64"),
    "train adapt": ("--set", "steps=6", "--set", "tiles_per_slide=2", "--set", "tile_px=64",
                    "--set", "batch_size=8"),
    "stain evaluate": (
        "--set", "tiles_per_slide=2", "--set", "borders_per_slide=1", "--set", "num_resamples=100",
    ),
    "stain train": (
        "--set", "steps=2", "--set", "tiles_per_slide=2", "--set", "student.steps=2", "--set",
        "generator.width=4", "--set", "generator.num_blocks=1", "--set", "discriminator.width=4",
    ),
}  # fmt: skip
STARTERS = ("srun ", "torchrun ")  # of the same commands in several processes, tested elsewhere
# lines within text that are not run as they stand, and why
PARTIAL = {
    "pathology train weak ... --splits splits/splits_0.csv": "an end that goes with other lines",
    "pathology splits --leave-centres-out": "an option's name beside its command",
    "pathology tile slides.csv --out RUN --scheduler tcp://HOST:8786": "a cluster: tests/faults",
    "pathology stain apply SLIDE --out X.ome.tiff": "what the head of a table was measured with",
    "pathology data fetch openslide-cmu --out DATA": "the network: tests/pipelines",
    "pathology COMMAND --help": "every command's, in tests/pipelines",
}
BENCHMARK = re.compile(r"python (benchmarks/[^`]+?)(?=`| python )")


def lines_of(page: Path) -> list[str]:
    """Command lines of a page's blocks, in their order."""
    found = []
    for language, block in BLOCK.findall(page.read_text(encoding="utf-8")):
        if language not in ("", "bash"):
            continue
        joined = re.sub(r"\\\n\s*", "", block)
        for line in joined.splitlines():
            code = line.split(" #")[0].strip()
            for starter in STARTERS:
                code = code[code.index("pathology ") :] if code.startswith(starter) else code
            found += [part.strip() for part in code.split("&&")]
    return [line for line in found if line.startswith("pathology ")]


def every_line() -> Iterator[tuple[str, str]]:
    for page in PAGES:
        for line in lines_of(page):
            yield page.name, line


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder that the documents speak of: slides, their table, pictures of a camera."""
    (tmp_path / "SLIDES").mkdir()
    (tmp_path / "slides").mkdir()
    rows = ["slide_id,slide_path,case_id,label,centre,split"]
    for number in range(8):
        pixels = tissue_pixels(1024, 768, seed=number) // (1 + number % 2)
        path = write_pyramid(tmp_path / "SLIDES" / f"s{number}.tif", pixels, mpp=0.5)
        label, part = (
            ("benign", "malignant")[number % 2],
            ["train", "train", "val", "test"][number // 2],
        )
        rows.append(f"s{number},SLIDES/s{number}.tif,c{number},{label},centre{number % 2},{part}")
    (tmp_path / "slides.csv").write_text("\n".join(rows) + "\n")
    for name in ("slides/one.tif", "slide.svs", "biopsy.svs"):
        (tmp_path / name).write_bytes(path.read_bytes())
    (tmp_path / "camera").mkdir()
    kept = ["slide_id,case_id,slide_path,mpp,domain"]  # as `live --save` keeps them
    for number in range(6):
        seen = tissue_pixels(320, 320, seed=50 + number) // (1 + number % 2)
        Image.fromarray(seen).save(tmp_path / "camera" / f"p{number}.png")
        kept.append(f"p{number},session,p{number}.png,0.5,microscope")
    (tmp_path / "camera" / "manifest.csv").write_text("\n".join(kept) + "\n")
    Image.fromarray(ruling(57.97, 2)).save(tmp_path / "micrometer.png")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def last_for_a_while(words: list[str]) -> tuple[int, str]:
    """Start what runs until Ctrl-C, wait until it gives its address, and press that."""
    process = subprocess.Popen(
        [*PATHOLOGY, *words], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        bufsize=1, start_new_session=True,
    )  # fmt: skip
    said, end = "", time.monotonic() + 120
    assert process.stdout is not None
    for line in process.stdout:
        said += line
        if "http://" in line or time.monotonic() > end:
            break
    if words[0] == "serve":  # the other ends by itself
        time.sleep(0.5)
        process.send_signal(signal.SIGINT)
    rest, _ = process.communicate(timeout=60)
    return process.returncode, said + rest


def within_text(page: Path) -> list[str]:
    """Command lines of a page's text, in their order; the name of a command alone is none."""
    text = BLOCK.sub("", page.read_text(encoding="utf-8"))
    found = INLINE.findall(re.sub(r"\s*\n\s*", " ", text))
    return [line for line in found if not all(word.isalpha() for word in line.split())]


def run_line(desk: Path, page: str, written: str) -> None:
    """Run a line of a page as it stands, but for what this machine has not."""
    line = written
    for old, new in (VARIABLES | INSTEAD).items():
        line = line.replace(old, new)
    words = shlex.split(line)[1:]
    command = " ".join(words[:2]) if words[0] in ("train", "stain", "live") else words[0]
    if "RUN_C" in line or "CENTRE_0" in line or "RUN_OF_A_CENTRE" in line:
        runs = ("RUN_A", "RUN_B", "RUN_C", "RUN_OF_A_CENTRE", "CENTRE_A", "CENTRE_B", "CENTRE_C")
        for name in (*runs, "CENTRE_0"):
            if not (desk / name).exists():
                (desk / name).symlink_to("RUN")
    if command == "serve" or command.startswith("live --"):
        code, said = last_for_a_while(words)
        assert code in (0, 130) and "http://" in said, f"{page}: {written}\n{said}"
        return
    result = pathology(*words, *SMALL.get(command, ()))
    assert result.returncode == 0, f"{page}: {written}\n{result.stdout}\n{result.stderr}"


@pytest.mark.slow
def test_every_line_runs(desk: Path) -> None:
    """Those of blocks first, page by page; those within text speak of what blocks have made."""
    lines = [*every_line()]
    lines += [(page.name, line) for page in PAGES for line in within_text(page)]
    done = dict.fromkeys(PARTIAL)
    for page, written in lines:
        if written not in done:
            done[written] = None
            run_line(desk, page, written)
    assert len(done) > 45
    assert set(PARTIAL) <= {line for _, line in lines}, "a line of PARTIAL is gone"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_lines_within_text_are_understood(page: Path) -> None:
    """Commands and options exist; nothing is run."""
    group = typer.main.get_command(app)
    text = BLOCK.sub("", page.read_text(encoding="utf-8"))
    for found in INLINE.findall(re.sub(r"\s*\n\s*", " ", text)):
        command: Any = group
        words = shlex.split(found)[1:]
        while hasattr(command, "commands") and words and words[0].isalpha():
            name = words.pop(0)
            assert name.isupper() or name in command.commands, f"{page.name}: {found}: no {name}"
            if name.isupper():
                break
            command = command.commands[name]
        known = {option for parameter in command.params for option in parameter.opts}
        known |= {"--help"}
        options = [word.split("=")[0] for word in words if word.startswith("--")]
        assert set(options) <= known, f"{page.name}: {found}: {set(options) - known}"


def options_of(script: Path) -> set[str]:
    """The options that a benchmark takes, its own and those that modules beside it give it."""
    tree = ast.parse(script.read_text(encoding="utf-8"))
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and getattr(node.func, "attr", "") == "add_argument":
            found |= {str(a.value) for a in node.args if isinstance(a, ast.Constant)}
        names = {name.name for name in getattr(node, "names", ())}
        if isinstance(node, ast.ImportFrom) and names & {"add_options", "parse"}:
            found |= options_of(script.with_name(f"{node.module}.py"))
    return found


def test_lines_of_benchmarks_are_understood() -> None:
    pages = [*PAGES, ROOT / "benchmarks" / "README.md"]
    texts = [re.sub(r"\s*\n\s*", " ", page.read_text(encoding="utf-8")) for page in pages]
    lines = [line for text in texts for line in BENCHMARK.findall(text)]
    assert len(lines) > 30
    for line in lines:
        script = ROOT / line.split()[0]
        assert script.exists(), line
        asked = set(re.findall(r"--[a-z][a-z-]*", line))
        assert asked <= options_of(script), f"{line}: {asked - options_of(script)}"
