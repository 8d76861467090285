"""A loss that runs its handlers once, and then compiled code."""

import warnings
from collections.abc import Callable, Iterable

import torch
from pyro.poutine.messenger import Messenger
from pyro.poutine.runtime import _PYRO_STACK
from pyro.poutine.trace_messenger import TraceMessenger
from torch import Tensor, nn

from pyro_vae.compiling.graph import Root, export
from pyro_vae.compiling.joint import CompiledGraph, Joint, compile_graph
from pyro_vae.pairs.parameters import OwnParameters
from pyro_vae.progress import noted
from pyro_vae.weights.traces import unvalidated

MANY = 8  # kinds of calls, beyond which compiling anew is worth a warning
LARGE = 2000  # operations of a graph, beyond which compiling it takes many minutes


class CompiledLoss:
    """A loss of data, exported once for every kind of data and compiled with its gradients.

    It draws the random numbers of the function it is made of. Its loss and gradients are the same
    to float rounding. The number of rows is symbolic, so that a last, smaller batch needs no graph
    of its own. A batch of one row has one.

    Handlers that are active at a call are compiled in. The tensors that they or the function refer
    to are read anew at each call. A module or parameter that was exchanged has it compiled anew.

    Arguments:
        loss: A function of tensors `[n, *event]` and of further arguments, which are compiled in.
            It returns a scalar.
        modules: All modules whose parameters it uses.
        bare: Further tensors it learns, by the names under which it asks `pyro.param` for them: the
            unconstrained tensor and its constraint.
        before: Called before each step with gradients, for what Python does between two steps.
        symbolic: Whether the number of rows is symbolic. Otherwise each has a graph of its own.
        backend: Of `torch.compile`. "eager" only removes the handlers, at once and without a C++
            compiler.
        make_joint: What is compiled of the exported loss, which may then have several outputs. By
            default it is the loss and its gradients, `Joint`.

    Raises:
        RuntimeError: at a call, if the loss cannot be exported, with the line at fault; or if it
            cannot be compiled, for lack of a C++ compiler for example.
    """

    def __init__(
        self,
        loss: Callable,
        modules: Iterable[nn.Module],
        bare: dict[str, tuple] | None = None,
        *,
        before: Callable[[], None] | None = None,
        symbolic: bool = True,
        backend: str = "inductor",
        make_joint: type[Joint] | None = None,
    ):
        self.root = Root(loss, modules, bare or {})
        self.make_joint = make_joint
        self.before, self.symbolic, self.backend = before, symbolic, backend
        self._compiled: dict[tuple, tuple] = {}

    def __call__(self, *args, **kwargs) -> Tensor:
        compiled = self._find(args, kwargs)
        return compiled(*_list_tensors(args, kwargs))

    def set_gradients(self, *args) -> Tensor:
        """The loss. Its gradients are left in the parameters, in place of those of before.

        The numbers are those of a call and `backward()`, in less time.
        """
        return self._find(args, {}).set_gradients(*args)

    def _find(self, args: tuple, kwargs: dict) -> CompiledGraph:
        """The code for such a call, compiled if there is none."""
        handlers = _find_handlers()
        rows = _count_rows(args) if self.symbolic else 0
        kind = self._find_kind(args, kwargs, handlers, rows)
        key = (kind, self.root.find_state())
        if key not in self._compiled:
            self.root.look()
            key = (kind, self.root.find_state())

        if key not in self._compiled:
            self._warn_of_many()
            # the compiler switches torch's validation off for good, where it meets a distribution
            with unvalidated(), noted("compiling"):
                compiled = self._compile(args, kwargs, rows)
            # handlers and parts are kept, so that their ids stay theirs
            self._compiled[key] = (compiled, handlers, self.root.list_held())
        self._prepare_step()
        return self._compiled[key][0]

    def _find_kind(self, args: tuple, kwargs: dict, handlers: tuple, rows: int) -> tuple:
        return (
            tuple(_find_kind_of(a, rows) for a in args),
            tuple((name, _find_kind_of(a, rows)) for name, a in kwargs.items()),
            tuple(map(id, handlers)),
            min(rows, 2),
            torch.is_grad_enabled(),
            torch.is_autocast_enabled(self.root.device),
        )

    def _warn_of_many(self) -> None:
        if len(self._compiled) == MANY:
            warnings.warn(
                "a compiled loss meets its ninth kind of call, and compiles anew for each: "
                "arguments that are no tensors, the shape of an event, or active handlers change "
                "from call to call",
                stacklevel=4,
            )

    def _prepare_step(self) -> None:
        is_capturing = self.root.device == "cuda" and torch.cuda.is_current_stream_capturing()
        if self.before is not None and torch.is_grad_enabled() and not is_capturing:
            self.before()

    def _compile(self, args: tuple, kwargs: dict, rows: int) -> CompiledGraph:
        tensors = _list_tensors(args, kwargs)
        self.root.args, self.root.kwargs = args, kwargs
        devices = cuda_devices(tensors)
        try:
            with unvalidated(), torch.random.fork_rng(devices=devices), warnings.catch_warnings():
                warnings.simplefilter("ignore")
                graph = export(self.root, tensors, rows)
        finally:
            self.root.args, self.root.kwargs = (), {}

        _warn_of_size(len(graph.graph.nodes))
        return compile_graph(graph, tensors, rows, self.backend, self.make_joint)


def _warn_of_size(operations: int) -> None:
    """Warn before many minutes pass. A loop over the steps of a sequence makes such a graph."""
    if operations > LARGE:
        warnings.warn(
            f"the loss is a graph of {operations} operations, as loops over steps are unrolled. "
            "Compiling it takes many minutes: leave compile=True away",
            stacklevel=5,
        )


def cuda_devices(tensors: Iterable[Tensor]) -> list[torch.device]:
    """The GPUs on which tensors lie, each once."""
    return sorted({a.device for a in tensors if a.is_cuda}, key=str)


def _find_handlers() -> tuple[Messenger, ...]:
    """The active handlers that change what a model means."""
    return tuple(handler for handler in _PYRO_STACK if not _only_looks(handler))


def _only_looks(handler: Messenger) -> bool:
    """Whether a handler only provides or collects parameters."""
    is_collecting = isinstance(handler, TraceMessenger) and handler.param_only
    return is_collecting or isinstance(handler, OwnParameters)


def _count_rows(args: tuple) -> int:
    return next((a.shape[0] for a in args if isinstance(a, Tensor) and a.dim()), 0)


def _list_tensors(args: tuple, kwargs: dict) -> list[Tensor]:
    return [a for a in (*args, *kwargs.values()) if isinstance(a, Tensor)]


def _find_kind_of(a: object, rows: int) -> object:
    """What must be equal for two arguments to share a graph."""
    if not isinstance(a, Tensor):
        return a
    if a.dim() and a.shape[0] == rows:
        return a.dtype, a.device, a.requires_grad, a.shape[1:]
    return a.dtype, a.device, a.requires_grad, (rows, a.shape)
