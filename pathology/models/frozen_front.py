"""The part of an encoder that does not learn, through ONNX Runtime; what learns stays with torch.

Where the last blocks of an encoder learn on a CPU, most of a step goes into blocks that are only
passed through. The network is cut where the learning begins.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, NamedTuple

import torch
from torch import Tensor, fx, nn
from torch.fx.passes.split_module import split_module

from pathology.models.onnx_session import open_session

BLOCK = 16  # tiles at once: layers of more do not fit the cache


class Halves(NamedTuple):
    """Two networks that one after the other are the whole, its own layers in them."""

    front: nn.Module
    back: nn.Module


class FrozenFront:
    """Runs a network of which the first part does not learn. A copy of it starts anew.

    learns  names of the weights that learn

    A session is made for each size of images when such images first come. Forget it when weights
    of the first part change.
    """

    def __init__(self, learns: Collection[str] = ()) -> None:
        self.learns = frozenset(learns)
        self.forget()

    def __reduce__(self) -> tuple[type[FrozenFront], tuple[frozenset[str]]]:
        return FrozenFront, (self.learns,)

    def forget(self) -> None:
        """Cut and translate anew when next asked."""
        self._is_cut = False
        self._halves: Halves | None = None
        self._sessions: dict[tuple[int, ...], Any] = {}

    def __call__(self, network: nn.Module, images_B3HW: Tensor) -> Any:
        """What the network gives for images as it expects them."""
        if self.halves(network) is None:
            return network(images_B3HW)
        return self.rest(network, self.maps(network, images_B3HW))

    @property
    def engine(self) -> str:
        """What runs the first part: onnxruntime or torch."""
        return "onnxruntime" if any(self._sessions.values()) else "torch"

    def halves(self, network: nn.Module) -> Halves | None:
        """The network cut where learning begins, or None: it is run whole."""
        if not self._is_cut:
            self._halves, self._is_cut = halves_of(network, self.learns), True
        return self._halves

    @torch.no_grad()
    def maps(self, network: nn.Module, images_B3HW: Tensor) -> Tensor:
        """What the first half of a network that is cut makes of images."""
        is_plain = images_B3HW.device.type == "cpu" and not torch.is_autocast_enabled("cpu")
        session = self._session(network, images_B3HW) if is_plain else None
        parts = [
            self._front(network, part) if session is None
            else torch.from_numpy(session.run(None, {"tiles": part.contiguous().numpy()})[0])
            for part in torch.split(images_B3HW, BLOCK)
        ]  # fmt: skip
        return torch.cat(parts)

    def rest(self, network: nn.Module, maps: Tensor) -> Any:
        """What the second half makes of them."""
        if maps.ndim == 4:
            maps = maps.contiguous(memory_format=torch.channels_last)
        return self._both(network).back(maps)

    def _front(self, network: nn.Module, images_B3HW: Tensor) -> Tensor:
        made: Tensor = self._both(network).front(images_B3HW)
        return made

    def _both(self, network: nn.Module) -> Halves:
        halves = self.halves(network)
        if halves is None:
            raise ValueError("this network is not cut")
        return halves

    def _session(self, network: nn.Module, images_B3HW: Tensor) -> Any:
        """ONNX Runtime with the first half in it, or None where it cannot be translated."""
        size = tuple(images_B3HW.shape[2:])
        if size not in self._sessions:
            front = self._both(network).front
            self._sessions[size] = open_session(front, images_B3HW[:1], "cut")
        return self._sessions[size]


class _InParts(fx.Tracer):
    """Looks into modules of which a part learns; others, with whatever they do, stay whole."""

    def __init__(self, learning: set[int]) -> None:
        super().__init__()
        self.learning = learning

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        learns = [id(p) in self.learning for p in m.parameters()]
        return all(learns) or not any(learns)


class _OfImages(nn.Module):
    """A network that is given images and nothing else: what else it takes is as by default."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images_B3HW: Tensor) -> Any:
        return self.network(images_B3HW)


def halves_of(network: nn.Module, learns: Collection[str]) -> Halves | None:
    """A network cut before all that learns, or None: nothing is frozen, or there is no one cut."""
    learning = {id(p) for name, p in network.named_parameters() if name in learns}
    if not learning:
        return Halves(network.eval(), nn.Identity())
    if len(learning) == len(list(network.parameters())):
        return None
    root = _OfImages(network)
    try:
        traced = fx.GraphModule(root, _InParts(learning).trace(root))
    except Exception:  # noqa: BLE001 (whatever a network's own lines do with what they are shown)
        return None
    late: set[fx.Node] = set()
    for node in traced.graph.nodes:
        if node.kwargs.get("training"):  # a state of now, which would be kept
            return None
        if _learns(root, node, learning) or late.intersection(node.all_input_nodes):
            late.add(node)
    return _split(traced, root, late)


def _split(traced: fx.GraphModule, root: nn.Module, late: set[fx.Node]) -> Halves | None:
    """What is early and what is late, each a network of its own with its weights."""
    parts = split_module(traced, root, lambda node: int(node in late))
    front, back = getattr(parts, "submod_0", None), getattr(parts, "submod_1", None)
    if front is None or back is None:
        return None
    for node in parts.graph.nodes:
        if node.op == "call_module":
            _own_weights(parts, node)
    return Halves(front.eval(), back) if _is_one_cut(front, back) else None


def _learns(network: nn.Module, node: fx.Node, learning: set[int]) -> bool:
    """Whether weights of this step learn."""
    if node.op == "call_module":
        return any(id(p) in learning for p in network.get_submodule(str(node.target)).parameters())
    if node.op == "get_attr":
        owner, _, name = str(node.target).rpartition(".")
        return id(getattr(network.get_submodule(owner), name)) in learning
    return False


def _own_weights(parts: fx.GraphModule, call: fx.Node) -> None:
    """Give a part the weights that it would be handed from outside: a class token, say."""
    part = parts.get_submodule(str(call.target))
    taken = [node for node in part.graph.nodes if node.op == "placeholder"]  # type: ignore[union-attr]
    for node, given in zip(taken, call.args, strict=True):
        if not isinstance(given, fx.Node) or given.op != "get_attr":
            continue
        owner, _, name = str(given.target).rpartition(".")
        setattr(part, node.name, getattr(parts.get_submodule(owner), name))
        node.op, node.target, node.args = "get_attr", node.name, ()
    part.recompile()  # type: ignore[operator]


def _is_one_cut(front: fx.GraphModule, back: fx.GraphModule) -> bool:
    """Whether one value goes from the front to the back, and nothing else into it."""
    (output,) = (node for node in front.graph.nodes if node.op == "output")
    taken = [node for node in back.graph.nodes if node.op == "placeholder"]
    return isinstance(output.args[0], fx.Node) and len(taken) == 1
