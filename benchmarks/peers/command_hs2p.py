"""hs2p as a whole command: find the tissue, tile it and, if asked, write the tiles to a tar.

Both sides do the same work: its two previews stay on, as by default, since ours writes an overlay
and a mask; its pixel checks (white, black, blur) are on where tiles are saved, since ours judges
every tile there. It finds its own tissue tiles: the given corners are not used.
"""

import csv
import subprocess
import sys
import tempfile
from pathlib import Path

from peer import NUM_WORKERS, Job, Tally, Variant, main

CONFIG = """\
csv: {folder}/slides.csv
output_dir: {folder}/out
save_tiles: {is_saving}
tiling:
  backend: {backend}
  params:
    requested_spacing_um: {mpp}
    requested_tile_size_px: {size_px}
  filter_params:
    filter_white: {is_saving}
    filter_black: {is_saving}
    filter_blur: {is_saving}
    qc_spacing_um: 1.0
speed:
  num_workers: {num_workers}
"""


def command(backend: str, *, is_saving: bool) -> Variant:
    def variant(job: Job) -> Tally:
        with tempfile.TemporaryDirectory() as folder:
            out = Path(folder) / "out"
            slides = Path(folder) / "slides.csv"
            slides.write_text(f"sample_id,image_path\nslide,{Path(job.slide_path).resolve()}\n")
            config = Path(folder) / "config.yaml"
            config.write_text(
                CONFIG.format(
                    folder=folder,
                    is_saving=str(is_saving).lower(),
                    backend=backend,
                    mpp=job.mpp,
                    size_px=job.size_px,
                    num_workers=NUM_WORKERS,
                )
            )
            hs2p = Path(sys.executable).with_name("hs2p")
            subprocess.run([hs2p, config, "--skip-datetime"], check=True, stdout=subprocess.DEVNULL)
            with (out / "process_list.csv").open() as file:
                row = next(csv.DictReader(file))
            size = sum(path.stat().st_size for path in (out / "tiles").rglob("*"))
        return Tally(int(row["num_tiles"]), [], size)

    return variant


if __name__ == "__main__":
    main(
        {
            "coordinates, cuCIM": command("cucim", is_saving=False),
            "coordinates, OpenSlide": command("openslide", is_saving=False),
            "tiles, cuCIM": command("cucim", is_saving=True),
            "tiles, OpenSlide": command("openslide", is_saving=True),
        }
    )
