"""Hand a trained classifier to other programs: ONNX, or WSInfer and QuPath."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from pathology.core.errors import ConfigError
from pathology.inference.model_export import export_onnx, export_wsinfer, exportable
from pipelines.classifier import load_for_use
from pipelines.live_model import encoder_of

FORMATS = ("onnx", "wsinfer")


def export_model(
    model: Path,
    out: Path,
    formats: Sequence[str],
    weights: Path | None = None,
    report: Callable[[Path], None] = lambda path: None,
) -> list[Path]:
    """Write OUT/<model>.onnx, or the folder OUT/<model>.wsinfer.

    weights  a file of the encoder's, where it is not in the model's
    Raises ConfigError for another format or a model that cannot leave, ArtifactError where what was
    written does not answer as the model does.
    """
    wrong = [name for name in formats if name not in FORMATS]
    if wrong or not formats:
        said = ", ".join(wrong) or "none given"
        raise ConfigError(f"formats of a model: {said}; expected some of {', '.join(FORMATS)}")
    classifier = load_for_use(model, "cpu", weights)
    whole = exportable(encoder_of(classifier), classifier.model.bag, classifier.card)
    out.mkdir(parents=True, exist_ok=True)
    written = []
    for name in dict.fromkeys(formats):
        path = out / f"{model.stem}.{name}"
        write = export_onnx if name == "onnx" else export_wsinfer
        written.append(write(whole, classifier.card, path))
        report(written[-1])
    return written
