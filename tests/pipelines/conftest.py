"""What tests of adaptation share; a module that wants another encoder says so itself."""

from pathlib import Path

import pytest

from tests.pipelines.adapt_cohort import write_domains
from tests.pipelines.small_encoder import write_weights


@pytest.fixture(scope="module")
def domains(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Manifest of a source, and folder of a target's pictures."""
    return write_domains(tmp_path_factory.mktemp("adapt"))


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """File of an encoder's weights."""
    return write_weights(tmp_path_factory.mktemp("weights") / "resnet10t.pt")
