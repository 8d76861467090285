"""Matrix products of a compiled graph through oneDNN, where torch itself would call MKL."""

import functools
import platform

import torch
from torch import Tensor
from torch._inductor.custom_graph_pass import CustomGraphPass

SMALLEST = 2**22  # multiplications below which the call costs more than is gained


class OneDNN(CustomGraphPass):
    """Replaces the large float32 products of two matrices on an x86 CPU.

    Of torch's two libraries for them oneDNN uses all of AVX-512 on processors of any maker; the
    results agree to float rounding. torch calls it for bfloat16 already.
    """

    def __init__(self) -> None:
        # a graph may come from the disk's cache, compiled by a process before
        self.operators = _operators() if _available() else ()

    def __call__(self, graph: torch.fx.Graph) -> None:
        for node in graph.nodes if self.operators else ():
            if (
                node.target in (torch.ops.aten.mm.default, torch.ops.aten.addmm.default)
                and not node.kwargs
            ):
                *bias, a, b = (arg.meta["val"] for arg in node.args)
                fits = all(
                    t.dtype is torch.float32 and t.device.type == "cpu" for t in (a, b, *bias)
                )
                if (
                    fits
                    and all(t.dim() == 1 for t in bias)
                    and _hint(a.shape[0] * a.shape[1] * b.shape[1]) >= SMALLEST
                ):
                    node.target = self.operators[len(bias)]

    def uuid(self) -> bytes:
        return f"pyro_vae.onednn 1 {SMALLEST}".encode()


def _available() -> bool:
    return platform.machine() in ("x86_64", "AMD64") and torch.backends.mkldnn.is_available()


def _hint(size: int | torch.SymInt) -> int:
    return size if isinstance(size, int) else size.node.hint or SMALLEST


@functools.cache
def _operators() -> tuple:
    """`mm` and `addmm`, opaque to the compiler, which would copy transposed arguments for oneDNN's own operator."""
    linear = torch.ops.mkldnn._linear_pointwise.default
    library = torch.library.Library("pyro_vae", "DEF")
    library.define("mm(Tensor a, Tensor b) -> Tensor")
    library.define("addmm(Tensor bias, Tensor a, Tensor b) -> Tensor")

    def mm(a: Tensor, b: Tensor) -> Tensor:
        return linear(a, b.t(), None, "none", [], "")

    def addmm(bias: Tensor, a: Tensor, b: Tensor) -> Tensor:
        return linear(a, b.t(), bias, "none", [], "")

    library.impl("mm", mm, "CPU")
    library.impl("addmm", addmm, "CPU")
    torch.library.register_fake(
        "pyro_vae::mm", lambda a, b: a.new_empty(a.shape[0], b.shape[1]), lib=library
    )
    torch.library.register_fake(
        "pyro_vae::addmm", lambda c, a, b: a.new_empty(a.shape[0], b.shape[1]), lib=library
    )
    _libraries.append(library)
    return torch.ops.pyro_vae.mm.default, torch.ops.pyro_vae.addmm.default


_libraries: list[torch.library.Library] = []  # an operator lives as long as its library
