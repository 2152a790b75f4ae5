"""Encoders by the names that TRIDENT's users know, and where timm finds each of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

IMAGENET = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
HALF = (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)
BIOPTIMUS = (0.707223, 0.578729, 0.703617), (0.211883, 0.230117, 0.177517)
Colors = tuple[tuple[float, float, float], tuple[float, float, float]]


@dataclass(frozen=True)
class KnownEncoder:
    """An encoder as its authors use it.

    timm_name  what timm.create_model is asked for; hf-hub:... is fetched from the hub
    colors     mean and deviation of its input channels
    size_px    edge of its input; None: any
    pooling    what makes one vector of its output; see Encoder
    options    further arguments of timm.create_model
    """

    timm_name: str
    colors: Colors = IMAGENET
    size_px: int | None = 224
    pooling: Literal["as is", "map", "token and mean"] = "as is"
    options: Mapping[str, Any] = field(default_factory=dict)


VIRCHOW = {"mlp_layer": "SwiGLUPacked", "act_layer": "SiLU"}
UNI2 = {
    "img_size": 224, "patch_size": 14, "depth": 24, "num_heads": 24, "init_values": 1e-5,
    "embed_dim": 1536, "mlp_ratio": 2.66667 * 2, "no_embed_class": True, "reg_tokens": 8,
    "dynamic_img_size": True, **VIRCHOW,
}  # fmt: skip


def _kaiko(name: str, **options: Any) -> KnownEncoder:
    hub = f"hf-hub:1aurent/{name}.kaiko_ai_towards_large_pathology_fms"
    return KnownEncoder(hub, HALF, options={"dynamic_img_size": True, **options})


KNOWN_ENCODERS: dict[str, KnownEncoder] = {
    # the first three quarters of ResNet-50, as CLAM and TRIDENT use it: 1024 features
    "resnet50": KnownEncoder(
        "resnet50.tv_in1k", size_px=None, pooling="map",
        options={"features_only": True, "out_indices": (3,)},
    ),
    "uni_v1": KnownEncoder(
        "hf-hub:MahmoodLab/uni", options={"init_values": 1e-5, "dynamic_img_size": True}
    ),
    "uni_v2": KnownEncoder("hf-hub:MahmoodLab/UNI2-h", options=UNI2),
    "gigapath": KnownEncoder("hf-hub:prov-gigapath/prov-gigapath"),
    "virchow": KnownEncoder("hf-hub:paige-ai/Virchow", pooling="token and mean", options=VIRCHOW),
    "virchow2": KnownEncoder("hf-hub:paige-ai/Virchow2", pooling="token and mean", options=VIRCHOW),
    "hoptimus0": KnownEncoder(
        "hf-hub:bioptimus/H-optimus-0", BIOPTIMUS,
        options={"init_values": 1e-5, "dynamic_img_size": False},
    ),
    "hoptimus1": KnownEncoder(
        "hf-hub:bioptimus/H-optimus-1", BIOPTIMUS,
        options={"init_values": 1e-5, "dynamic_img_size": False},
    ),
    "lunit-vits8": KnownEncoder(
        "hf-hub:1aurent/vit_small_patch8_224.lunit_dino",
        ((0.70322989, 0.53606487, 0.66096631), (0.21716536, 0.26081574, 0.20723464)),
    ),
    "kaiko-vits8": _kaiko("vit_small_patch8_224"),
    "kaiko-vits16": _kaiko("vit_small_patch16_224"),
    "kaiko-vitb8": _kaiko("vit_base_patch8_224"),
    "kaiko-vitb16": _kaiko("vit_base_patch16_224"),
    "kaiko-vitl14": _kaiko("vit_large_patch14_reg4_dinov2", img_size=224),
}  # fmt: skip

# of TRIDENT's, these need packages of their own; the features that TRIDENT wrote can be read
ELSEWHERE = (
    "conch_v1", "conch_v15", "ctranspath", "phikon", "phikon_v2", "musk", "hibou_l", "keep",
    "gpfm", "openmidnight", "h0-mini", "virchow2-cls", "digepath", "gigapath-flash",
    "genbio-pathfm", "phaet", "mascaret", "gemma4-e4b", "gemma4-26b",
)  # fmt: skip
