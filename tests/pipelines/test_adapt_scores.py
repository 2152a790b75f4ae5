"""What is said of an adaptation that looks harmful."""

from pipelines.adapt_scores import warnings_of


def test_harm_is_said() -> None:
    fine = {
        "share_0": 0.5, "share_1": 0.5, "target_density": 5.5, "source_only_target_density": 5.5,
        "source_accuracy": 0.91, "source_only_source_accuracy": 0.92,
    }  # fmt: skip
    assert warnings_of(fine, ("benign", "malignant")) == []
    (line,) = warnings_of(fine | {"share_0": 0.995, "share_1": 0.005}, ("benign", "malignant"))
    assert "only 0.5% of the target's tiles are called malignant" in line
    apart = fine | {"target_density": 5.2}
    assert warnings_of(apart, ("benign", "malignant")) == []  # by itself it says little
    (line,) = warnings_of(apart | {"source_accuracy": 0.89}, ("benign", "malignant"))
    assert "SND 5.20, without adaptation 5.50" in line and "fell from 0.920 to 0.890" in line
    moved = fine | {"source_only_share_0": 0.95, "source_only_share_1": 0.05}
    (line,) = warnings_of(moved, ("benign", "malignant"))
    assert "45% of the target's tiles changed sides: benign 95%, malignant 5%" in line
    alone = {"share_0": 0.5, "share_1": 0.5, "target_density": 5.5, "source_accuracy": 0.9}
    assert warnings_of(alone, ("benign", "malignant")) == []  # nothing to compare with
    (line,) = warnings_of(fine | {"source_accuracy": 0.7}, ("benign", "malignant"))
    assert "fell from 0.920 to 0.700" in line
