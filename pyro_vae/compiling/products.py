"""Matrix products of a compiled graph through oneDNN, where torch itself would call MKL."""

import functools
import platform

import torch
from torch import Tensor
from torch._inductor.custom_graph_pass import CustomGraphPass

SMALLEST = 2**22  # multiplications below which the call costs more than is gained


class OneDNN(CustomGraphPass):
    """Replaces the large float32 products of two matrices on an x86 CPU.

    torch has two libraries for them. oneDNN uses all of AVX-512 on processors of any maker. The
    results agree to float rounding. torch calls it for bfloat16 already.
    """

    def __init__(self) -> None:
        # a graph may come from the disk's cache, compiled by a process before
        self.operators = _define_operators() if _is_available() else ()

    def __call__(self, graph: torch.fx.Graph) -> None:
        if not self.operators:
            return
        for node in graph.nodes:
            if _is_product(node) and _is_worth_it(node):
                has_bias = len(node.args) == 3
                node.target = self.operators[has_bias]

    def uuid(self) -> bytes:
        return f"pyro_vae.onednn 1 {SMALLEST}".encode()


def _is_available() -> bool:
    is_x86 = platform.machine() in ("x86_64", "AMD64")
    return is_x86 and torch.backends.mkldnn.is_available()


def _is_product(node: torch.fx.Node) -> bool:
    products = (torch.ops.aten.mm.default, torch.ops.aten.addmm.default)
    return node.target in products and not node.kwargs


def _is_worth_it(node: torch.fx.Node) -> bool:
    *bias, a, b = (arg.meta["val"] for arg in node.args)
    multiplications = _guess_size(a.shape[0] * a.shape[1] * b.shape[1])
    is_large = multiplications >= SMALLEST
    is_vector = all(t.dim() == 1 for t in bias)

    return is_large and is_vector and all(_is_single_on_cpu(t) for t in (a, b, *bias))


def _is_single_on_cpu(t: Tensor) -> bool:
    return t.dtype is torch.float32 and t.device.type == "cpu"


def _guess_size(size: int | torch.SymInt) -> int:
    return size if isinstance(size, int) else size.node.hint or SMALLEST


@functools.cache
def _define_operators() -> tuple:
    """`mm` and `addmm` as operators that the compiler cannot look into.

    It would copy transposed arguments for oneDNN's own operator.
    """
    linear = torch.ops.mkldnn._linear_pointwise.default
    library = torch.library.Library("pyro_vae", "DEF")
    library.define("mm(Tensor a, Tensor b) -> Tensor")
    library.define("addmm(Tensor bias, Tensor a, Tensor b) -> Tensor")

    def mm(a: Tensor, b: Tensor) -> Tensor:
        return linear(a, b.t(), None, "none", [], "")

    def addmm(bias: Tensor, a: Tensor, b: Tensor) -> Tensor:
        return linear(a, b.t(), bias, "none", [], "")

    def allocate_mm(a: Tensor, b: Tensor) -> Tensor:
        return a.new_empty(a.shape[0], b.shape[1])

    def allocate_addmm(bias: Tensor, a: Tensor, b: Tensor) -> Tensor:
        return a.new_empty(a.shape[0], b.shape[1])

    library.impl("mm", mm, "CPU")
    library.impl("addmm", addmm, "CPU")
    torch.library.register_fake("pyro_vae::mm", allocate_mm, lib=library)
    torch.library.register_fake("pyro_vae::addmm", allocate_addmm, lib=library)
    _libraries.append(library)
    return torch.ops.pyro_vae.mm.default, torch.ops.pyro_vae.addmm.default


_libraries: list[torch.library.Library] = []  # an operator lives as long as its library
