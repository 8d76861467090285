"""A loss as one graph: exported with its parameters."""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from pyro.poutine.messenger import Messenger
from torch import Tensor, nn
from torch.distributions import transform_to

from pyro_vae.compiling.errors import LengthWatch, explain
from pyro_vae.compiling.joint import has_rows
from pyro_vae.pairs.parameters import OwnParameters
from pyro_vae.weights.traces import unvalidated


class Root(nn.Module):
    """A loss as a module over all that it learns, which is what can be exported.

    Arguments:
        loss: A function of tensors and of further arguments.
        modules: All modules whose parameters it uses.
        bare: Further tensors it learns, by the names under which it asks `pyro.param` for them: the
            unconstrained tensor and its constraint.
    """

    def __init__(self, loss: Callable, modules: Iterable[nn.Module], bare: dict[str, tuple]):
        super().__init__()

        self.parts = nn.ModuleList(modules)
        self.device = next((p.device.type for p in self.parts.parameters()), "cpu")
        self.stand_ins = nn.ParameterList()
        self.args: tuple = ()
        self.kwargs: dict = {}
        self.lengths = LengthWatch()
        self._loss, self._bare = loss, _Bare()
        for name, (unconstrained, constraint) in bare.items():
            self._stand_in(name, unconstrained, constraint)
        self.look()

    def _stand_in(self, name: str, unconstrained: Tensor, constraint) -> None:
        """Take a parameter over the same memory, and hand its gradient on."""
        stand_in = nn.Parameter(unconstrained.detach())
        stand_in.register_post_accumulate_grad_hook(_hand_on(unconstrained))
        self._bare.places[name] = (len(self.stand_ins), transform_to(constraint))
        self.stand_ins.append(stand_in)

    def look(self) -> None:
        """Find all modules, and the dictionaries in which they keep what they hold."""
        self._all = list(self.parts.modules())
        kept = [d for m in self._all for d in (m._modules, m._parameters, m._buffers)]
        self._kept = [d for d in kept if d]

    def list_held(self) -> list:
        """All modules, parameters and buffers that those dictionaries hold now."""
        return [held for kept in self._kept for held in kept.values()]

    def find_state(self) -> tuple:
        """What tells compiled forms apart: what is held and learned, and modes of modules."""
        held = self.list_held()
        is_learned = tuple([isinstance(h, Tensor) and h.requires_grad for h in held])
        return tuple(map(id, held)), is_learned, tuple([m.training for m in self._all])

    def forward(self, *tensors: Tensor) -> Tensor:
        remaining = iter(tensors)
        args = [next(remaining) if isinstance(a, Tensor) else a for a in self.args]
        kwargs = {
            name: next(remaining) if isinstance(a, Tensor) else a for name, a in self.kwargs.items()
        }
        self._bare.stand_ins = list(self.stand_ins)
        with self._bare, OwnParameters(), unvalidated(), self.lengths:
            return self._loss(*args, **kwargs)


class _Bare(Messenger):
    """Answers `pyro.param` statements by name, and keeps them from handlers further out."""

    def __init__(self) -> None:
        super().__init__()
        self.places: dict[str, tuple] = {}
        self.stand_ins: list[Tensor] = []

    def _pyro_param(self, msg: dict) -> None:
        msg["stop"] = True
        if msg["name"] in self.places:
            place, transform = self.places[msg["name"]]
            msg["value"] = transform(self.stand_ins[place])
            msg["done"] = True


def _hand_on(leaf: Tensor) -> Callable[[Tensor], None]:
    def hook(stand_in: Tensor) -> None:
        gradient: Any = stand_in.grad  # there is one whenever the hook runs
        leaf.grad = gradient if leaf.grad is None else leaf.grad + gradient
        stand_in.grad = None

    return hook


def export(root: Root, tensors: list[Tensor], rows: int) -> torch.fx.GraphModule:
    """The graph of a loss at such tensors.

    Arguments:
        root: The loss.
        tensors: What it is called with.
        rows: The number of rows that is symbolic; below 2 none is.

    Raises:
        RuntimeError: if it cannot be exported, with the line at fault.
    """
    shapes = tuple(_find_dynamic_shape(tensor, rows) for tensor in tensors)
    try:
        exported = torch.export.export(root, tuple(tensors), dynamic_shapes=(shapes,), strict=False)
    except Exception as error:
        raise RuntimeError(explain(error, root.lengths.asked)) from error

    graph = exported.module()
    _inline(graph)
    return graph


def _find_dynamic_shape(tensor: Tensor, rows: int) -> dict | None:
    return {0: torch.export.Dim.DYNAMIC} if has_rows(tensor, rows) else None


def _inline(module: torch.fx.GraphModule) -> None:
    """Put the parts that ran with gradients switched off, or on, back into the graph.

    As they are, they would break it.
    """
    for node in list(module.graph.nodes):
        if node.target is torch.ops.higher_order.wrap_with_set_grad_enabled:
            _inline_node(module, node)
    module.recompile()


def _inline_node(module: torch.fx.GraphModule, node: torch.fx.Node) -> None:
    graph = module.graph
    is_enabled, part, *given = node.args
    inner = module.get_submodule(part.target)
    _inline(inner)

    places = [n for n in inner.graph.nodes if n.op == "placeholder"]
    values = dict(zip(places, given, strict=True))
    with graph.inserting_before(node):
        outputs = graph.graph_copy(inner.graph, values)
        if not is_enabled:
            detach = torch.ops.aten.detach.default
            outputs = [graph.call_function(detach, (output,)) for output in outputs]
    for user in list(node.users):
        user.replace_all_uses_with(outputs[user.args[1]])
        graph.erase_node(user)
    graph.erase_node(node)
