"""Matrix products of a compiled graph, by the faster of torch's two libraries on this machine."""

import functools
import os
import platform
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor
from torch.fx import Graph, Node

SMALLEST = 2**22  # multiplications below which a call through Python costs more than is gained
GAIN = 0.9  # the share of torch's own time that makes a change worth it
RACES = 7  # products of each library in a race
SWITCH = "PYRO_VAE_PRODUCTS"  # an environment variable: "torch", "onednn", or a race by default
ISA = ("ONEDNN_MAX_CPU_ISA", "MKL_ENABLE_INSTRUCTIONS", "ATEN_CPU_CAPABILITY")


class Products:
    """Replaces float32 products on an x86 CPU where oneDNN is faster than torch's own library.

    oneDNN uses all of AVX-512 on processors of any maker, MKL does not. On others it is slower. So
    the two race once for each kind of product, while a graph is compiled. The results agree to
    float rounding. `PYRO_VAE_PRODUCTS=torch` switches it off.
    """

    def __init__(self) -> None:
        # a graph may come from the disk's cache, compiled by a process before
        self.operators = _define_operators() if _is_available() else ()

    def __call__(self, graph: Graph) -> None:
        for node in graph.nodes:
            if self.takes(node):
                has_bias = len(node.args) == 3
                node.target = self.operators[has_bias]

    def takes(self, node: Node) -> bool:
        """Whether oneDNN is to compute a node."""
        return bool(self.operators) and _is_product(node) and _is_large(node) and _is_faster(node)

    def describe_machine(self) -> str:
        """What choices depend on. A graph that was compiled elsewhere is none for here."""
        limits = [os.environ.get(name, "") for name in (SWITCH, *ISA)]
        capability = torch.backends.cpu.get_cpu_capability()
        parts = [name_processor(), capability, str(torch.get_num_threads()), *limits]
        return " ".join([*parts, torch.__version__, str(SMALLEST), str(GAIN)])


def name_processor() -> str:
    """The maker's name of the processor, as far as the system tells it."""
    info = Path("/proc/cpuinfo")
    if not info.exists():
        return platform.processor() or platform.machine()
    wanted = ("model name", "cpu family", "model\t")
    lines = info.read_text().split("\n\n")[0].splitlines()
    return " ".join(line.partition(":")[2].strip() for line in lines if line.startswith(wanted))


def _is_available() -> bool:
    is_x86 = platform.machine() in ("x86_64", "AMD64")
    is_on = os.environ.get(SWITCH) != "torch"
    return is_x86 and is_on and torch.backends.mkldnn.is_available()


def _is_product(node: Node) -> bool:
    products = (torch.ops.aten.mm.default, torch.ops.aten.addmm.default)
    return node.target in products and not node.kwargs


def _is_large(node: Node) -> bool:
    *bias, a, b = (arg.meta["val"] for arg in node.args)
    multiplications = _guess(a.shape[0]) * _guess(a.shape[1]) * _guess(b.shape[1])
    is_vector = all(t.dim() == 1 for t in bias)

    return (
        multiplications >= SMALLEST
        and is_vector
        and all(_is_single_on_cpu(t) for t in (a, b, *bias))
    )


def _is_single_on_cpu(t: Tensor) -> bool:
    return t.dtype is torch.float32 and t.device.type == "cpu"


def _guess(size: int | torch.SymInt) -> int:
    """A size, or that of the first batch where it is symbolic."""
    return size if isinstance(size, int) else size.node.hint or 128


def _is_faster(node: Node) -> bool:
    """Whether oneDNN wins at the product of a node."""
    if os.environ.get(SWITCH) == "onednn":
        return True
    *_, a, b = (arg.meta["val"] for arg in node.args)
    times = race(*_find_kind(a), *_find_kind(b), torch.get_num_threads())
    return times["onednn"] < GAIN * times["torch"]


def _find_kind(t: Tensor) -> tuple[tuple[int, int], bool]:
    """The shape of a matrix, and whether it is stored by columns."""
    rows, columns = (_guess(size) for size in t.shape)
    return (rows, columns), t.stride(0) == 1 and rows > 1


@functools.cache
def race(
    shape_a: tuple[int, int],
    is_turned_a: bool,
    shape_b: tuple[int, int],
    is_turned_b: bool,
    threads: int,
) -> dict[str, float]:
    """The least seconds of a product in each library, which take turns.

    Arguments:
        shape_a, shape_b: The shapes of the two matrices.
        is_turned_a, is_turned_b: Whether they are stored by columns.
        threads: How many threads torch has. It is not set here.

    Example:
        >>> times = race((64, 64), False, (64, 64), True, 1)
        >>> sorted(times)
        ['onednn', 'torch']
    """
    a, b = _make(shape_a, is_turned_a), _make(shape_b, is_turned_b)
    out = torch.empty(shape_a[0], shape_b[1])
    linear = torch.ops.mkldnn._linear_pointwise.default
    contestants: dict[str, Callable[[], object]] = {
        "torch": lambda: torch.mm(a, b, out=out),
        "onednn": lambda: linear(a, b.t(), None, "none", [], ""),
    }
    times: dict[str, list[float]] = {name: [] for name in contestants}
    with torch.no_grad():
        for _ in range(1 + RACES):
            for name, multiply in contestants.items():
                start = time.perf_counter()
                multiply()
                times[name].append(time.perf_counter() - start)
    return {name: min(seconds[1:]) for name, seconds in times.items()}


def _make(shape: tuple[int, int], is_turned: bool) -> Tensor:
    return torch.ones(shape[::-1]).t() if is_turned else torch.ones(shape)


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
