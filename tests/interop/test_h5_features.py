"""Files of features of other programs, and of none."""

import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest

from pathology.core.errors import ArtifactError
from pathology.interop.h5_features import read_features, write_features

FEATURES = np.arange(12, dtype=np.float32).reshape(3, 4)
CORNERS = np.array([[0, 0], [512, 0], [0, 512]], np.int64)


def test_what_is_written_is_read(tmp_path: Path) -> None:
    path = write_features(tmp_path / "s.1.h5", FEATURES, CORNERS, {"encoder": "e"}, {"mpp": 0.5})
    found = read_features(path)
    assert (found.features_NF == FEATURES).all()
    assert found.l0_xy is not None and (found.l0_xy == CORNERS).all()
    assert (found.slide_id, found.encoder, found.attributes["mpp"]) == ("s.1", "e", 0.5)


def test_files_of_trident_clam_and_stamp(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "trident.h5", "w") as file:
        file["features"], file["coords"] = FEATURES, CORNERS
        file["features"].attrs["encoder"] = "uni_v1"
    with h5py.File(tmp_path / "clam.h5", "w") as file:
        file["features"], file["coords"] = FEATURES[None], CORNERS.astype(np.int32)
    with h5py.File(tmp_path / "stamp.h5", "w") as file:
        file["feats"], file["coords"] = FEATURES.astype(np.float16), CORNERS * 0.5
        file.attrs["extractor"], file.attrs["unit"] = "ctranspath", "um"
    found = {name: read_features(tmp_path / f"{name}.h5") for name in ("trident", "clam", "stamp")}
    assert all((one.features_NF == FEATURES).all() for one in found.values())
    assert [one.encoder for one in found.values()] == ["uni_v1", "", "ctranspath"]
    assert [one.l0_xy is None for one in found.values()] == [False, False, True]


def test_what_is_none_is_named(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="no such file"):
        read_features(tmp_path / "no.h5")
    (tmp_path / "bad.h5").write_bytes(b"no hdf5")
    with h5py.File(tmp_path / "coords.h5", "w") as file:
        file["coords"] = CORNERS
    with h5py.File(tmp_path / "short.h5", "w") as file:
        file["features"], file["coords"] = FEATURES, CORNERS[:2]
    with h5py.File(tmp_path / "flat.h5", "w") as file:
        file["features"] = FEATURES.ravel()
    for name, said in (
        ("bad", "not a readable"), ("coords", "no data set 'features'"),
        ("short", "3 features but 2"), ("flat", "shape"),
    ):  # fmt: skip
        with pytest.raises(ArtifactError, match=said):
            read_features(tmp_path / f"{name}.h5")


def test_a_disk_without_room_is_an_error_and_no_crash(tmp_path: Path) -> None:
    """HDF5 ends the program where it cannot close a file, so it is not left to it."""
    path = tmp_path / "a.h5"
    lines = [
        "import resource, sys, numpy as np",
        "from pathlib import Path",
        "from pathology.interop import h5_coords",
        "from pathology.interop.h5_features import write_features",
        "h5_coords.IN_MEMORY = int(sys.argv[2])",
        "resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))",
        "h5_coords.shutil.disk_usage = lambda folder: type('', (), {'free': 50_000})",
        "try:",
        "    write_features(Path(sys.argv[1]), np.ones((999, 99)), np.ones((999, 2)), {}, {})",
        "except OSError as fault:",
        "    print(fault)",
    ]
    for in_memory, said in (("1000000", "File too large"), ("0", "No space left on device")):
        words = [sys.executable, "-c", "\n".join(lines), str(path), in_memory]
        done = subprocess.run(words, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        assert said in done.stdout and str(path) in done.stdout
        assert not list(tmp_path.iterdir())
