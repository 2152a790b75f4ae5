"""Encoders by the names that TRIDENT's users know, where they lie and how timm builds each."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Annotated, Any, Literal

from pydantic import AfterValidator

from pathology.core.errors import ConfigError

IMAGENET = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
HALF = (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)
BIOPTIMUS = (0.707223, 0.578729, 0.703617), (0.211883, 0.230117, 0.177517)
LUNIT = (0.70322989, 0.53606487, 0.66096631), (0.21716536, 0.26081574, 0.20723464)
Colors = tuple[tuple[float, float, float], tuple[float, float, float]]
HUB = "hf-hub:"  # what timm puts before the name of a repository


@dataclass(frozen=True)
class KnownEncoder:
    """An encoder as its authors use it.

    architecture  timm's name of the network, which is built of it and options without a hub
    hub        the repository of its weights; "": timm knows
    file       of the weights, where the repository does not say it in a way that timm understands
    colors     mean and deviation of its input channels
    size_px    edge of its input; None: any
    scaled_px  edge that a tile is scaled to, before its middle of size_px is taken; None: size_px
    pooling    what makes one vector of its output; see Encoder
    options    further arguments of timm.create_model
    """

    architecture: str
    hub: str = ""
    colors: Colors = IMAGENET
    options: Mapping[str, Any] = field(default_factory=dict)
    size_px: int | None = 224
    scaled_px: int | None = None
    pooling: Literal["as is", "map", "token and mean"] = "as is"
    file: str = ""


SWIGLU = {"mlp_layer": "SwiGLUPacked", "act_layer": "SiLU"}
VIT_LARGE = {"img_size": 224, "init_values": 1e-5, "dynamic_img_size": True}
UNI2 = {
    "img_size": 224, "patch_size": 14, "depth": 24, "num_heads": 24, "init_values": 1e-5,
    "embed_dim": 1536, "mlp_ratio": 2.66667 * 2, "no_embed_class": True, "reg_tokens": 8,
    "dynamic_img_size": True, **SWIGLU,
}  # fmt: skip
VIRCHOW = {
    "img_size": 224, "init_values": 1e-5, "mlp_ratio": 5.3375, "dynamic_img_size": True,
    "global_pool": "", **SWIGLU,
}  # fmt: skip
VIRCHOW2 = {**VIRCHOW, "reg_tokens": 4}
FLASH = {"img_size": 224, "init_values": 1e-5, "mlp_ratio": 2048 / 384, **SWIGLU}
H_OPTIMUS = {"img_size": 224, "init_values": 1e-5, "dynamic_img_size": False}
H0_MINI = {
    "img_size": 224, "init_values": 1e-5, "mlp_ratio": 5.33334, "reg_tokens": 4,
    "dynamic_img_size": True, "global_pool": "token", **SWIGLU,
}  # fmt: skip


def _kaiko(name: str) -> KnownEncoder:
    hub = f"1aurent/{name}.kaiko_ai_towards_large_pathology_fms"
    return KnownEncoder(name, hub, HALF, {"img_size": 224, "dynamic_img_size": True})


KNOWN_ENCODERS: dict[str, KnownEncoder] = {
    # the first three quarters of ResNet-50, as CLAM and TRIDENT use it: 1024 features
    "resnet50": KnownEncoder(
        "resnet50.tv_in1k", options={"features_only": True, "out_indices": (3,)},
        size_px=None, pooling="map",
    ),
    "uni_v1": KnownEncoder("vit_large_patch16_224", "MahmoodLab/uni", options=VIT_LARGE),
    "uni_v2": KnownEncoder("vit_giant_patch14_224", "MahmoodLab/UNI2-h", options=UNI2),
    "gigapath": KnownEncoder(
        "vit_giant_patch14_dinov2", "prov-gigapath/prov-gigapath",
        options={"img_size": 224, "patch_size": 16}, scaled_px=256,
    ),
    "gigapath-flash": KnownEncoder(
        "vit_small_patch16_224", "prov-gigapath/prov-gigapath-flash", options=FLASH,
        scaled_px=256, file="pytorch_model.bin",
    ),
    "virchow": KnownEncoder(
        "vit_huge_patch14_224", "paige-ai/Virchow", options=VIRCHOW, pooling="token and mean"
    ),
    "virchow2": KnownEncoder(
        "vit_huge_patch14_224", "paige-ai/Virchow2", options=VIRCHOW2, pooling="token and mean"
    ),
    "virchow2-cls": KnownEncoder(
        "vit_huge_patch14_224", "paige-ai/Virchow2", options={**VIRCHOW2, "global_pool": "token"}
    ),
    "hoptimus0": KnownEncoder(
        "vit_giant_patch14_reg4_dinov2", "bioptimus/H-optimus-0", BIOPTIMUS, H_OPTIMUS
    ),
    "hoptimus1": KnownEncoder(
        "vit_giant_patch14_reg4_dinov2", "bioptimus/H-optimus-1", BIOPTIMUS, H_OPTIMUS
    ),
    "h0-mini": KnownEncoder(
        "vit_base_patch14_reg4_dinov2", "bioptimus/H0-mini", BIOPTIMUS, H0_MINI
    ),
    "lunit-vits8": KnownEncoder(
        "vit_small_patch8_224", "1aurent/vit_small_patch8_224.lunit_dino", LUNIT
    ),
    "kaiko-vits8": _kaiko("vit_small_patch8_224"),
    "kaiko-vits16": _kaiko("vit_small_patch16_224"),
    "kaiko-vitb8": _kaiko("vit_base_patch8_224"),
    "kaiko-vitb16": _kaiko("vit_base_patch16_224"),
    "kaiko-vitl14": _kaiko("vit_large_patch14_reg4_dinov2"),
    "gpfm": KnownEncoder(
        "vit_large_patch14_dinov2", "majiabo/GPFM", file="GPFM.pth",
        options={"img_size": 224, "init_values": 1e-5},
    ),
    "digepath": KnownEncoder("vit_large_patch16_224", "xtxx/Digepath", options=VIT_LARGE),
}  # fmt: skip

# of TRIDENT's, these need packages of their own; the features that TRIDENT wrote can be read
ELSEWHERE = {
    "conch_v1": "MahmoodLab/conch", "conch_v15": "MahmoodLab/conchv1_5", "ctranspath": "",
    "phikon": "owkin/phikon", "phikon_v2": "owkin/phikon-v2", "musk": "xiangjx/musk",
    "hibou_l": "histai/hibou-L", "keep": "Astaxanthin/KEEP", "midnight12k": "kaiko-ai/midnight",
    "openmidnight": "SophontAI/OpenMidnight", "genbio-pathfm": "genbio-ai/genbio-pathfm",
    "phaet": "wearewaiv/phaet", "mascaret": "wearewaiv/mascaret",
    "gemma4-e4b": "google/gemma-4-E4B", "gemma4-26b": "google/gemma-4-26B-A4B",
}  # fmt: skip

# a repository that bears two names
RENAMED = {
    "1aurent/vit_large_patch14_reg4_224.kaiko_ai_towards_large_pathology_fms": "kaiko-vitl14"
}


def _of_repositories() -> dict[str, str]:
    """Names by repository, in small letters; of two of one repository the first."""
    found = {hub.lower(): name for name, hub in ELSEWHERE.items() if hub} | RENAMED
    for name, known in KNOWN_ENCODERS.items():
        if known.hub:
            found.setdefault(known.hub.lower(), name)
    return found


OF_REPOSITORIES = _of_repositories()


def one_name(name: str) -> str:
    """The name that an encoder has in cards and features, whatever it was called.

    >>> one_name("MahmoodLab/UNI"), one_name("hf_hub:timm/resnet18.a1_in1k"), one_name("a/b")
    ('uni_v1', 'resnet18.a1_in1k', 'hf-hub:a/b')
    """
    source, _, rest = name.strip().partition(":")
    is_of_hub = source.lower() in ("hf-hub", "hf_hub")
    plain = rest if is_of_hub else name.strip()
    small = plain.lower()
    if small in KNOWN_ENCODERS or small in ELSEWHERE:
        return small
    if small in OF_REPOSITORIES:
        return OF_REPOSITORIES[small]
    owner, _, short = plain.partition("/")
    if owner.lower() == "timm" and short and "@" not in short:  # at no version of its own
        return short
    is_repository = owner and short and "/" not in short and ":" not in plain
    return f"{HUB}{plain}" if is_of_hub or is_repository else plain


EncoderName = Annotated[str, AfterValidator(one_name)]  # of settings


def look_up(name: str) -> tuple[str, KnownEncoder | None]:
    """The one name of an encoder, and what is known of it; None: as much as timm knows.

    Raises ConfigError for one of TRIDENT's that timm does not build.
    """
    name = one_name(name)
    if name in ELSEWHERE:
        raise ConfigError(
            f"encoder {name!r} needs a package of its own. Extract its features with TRIDENT and "
            "give their folder where a run is expected, or choose an encoder of timm"
        )
    return name, KNOWN_ENCODERS.get(name)


def unknown(name: str, others: Iterable[str]) -> str:
    """A line that names the encoders, ours and others, which are spelled most alike."""
    close = get_close_matches(name, [*KNOWN_ENCODERS, *others], 3, 0.5)
    return f"encoder {name!r}: neither timm nor TRIDENT knows it. " + (
        f"Did you mean {', '.join(close)}?"
        if close
        else "E.g. tf_efficientnet_lite0, resnet50, uni_v1"
    )
