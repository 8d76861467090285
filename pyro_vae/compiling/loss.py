"""Objectives traced once: the handlers of Pyro run one time, vanish, and what is left is compiled."""

import traceback
import warnings
from collections.abc import Callable, Iterable
from contextlib import nullcontext
from pathlib import Path

import pyro
import torch
from pyro.poutine.messenger import Messenger
from pyro.poutine.runtime import _PYRO_STACK
from pyro.poutine.trace_messenger import TraceMessenger
from torch import Tensor, nn
from torch.distributions import transform_to
from torch.overrides import TorchFunctionMode

from pyro_vae.pairs.parameters import OwnParameters
from pyro_vae.weights.traces import unvalidated


class CompiledLoss:
    """A loss of data, exported once for every kind of data and compiled with its gradients.

    It draws the random numbers of the function it is made of, and its loss and gradients are the
    same to float rounding. The number of rows is symbolic, so a last, smaller batch is run by what
    is there already (a batch of one row has a graph of its own). Handlers that are active at a call
    are compiled in, tensors that they or the function refer to are read anew at each, and an
    exchanged module or parameter has it compiled anew.

    Arguments:
        loss: A function of tensors `[n, *event]` and of further arguments, which are compiled in;
            returns a scalar.
        modules: All modules whose parameters it uses.
        bare: Further tensors it learns, by the names under which it asks `pyro.param` for them: the
            unconstrained tensor and its constraint.
        before: Called before each step, for what Python does between two; `advance` of a
            `Capacity`, for one.
        symbolic: Whether the number of rows is; without, each has a graph of its own.
        backend: Of `torch.compile`; "eager" only vanishes the handlers, at once and without a C++
            compiler.

    Raises:
        RuntimeError: at a call, if the loss cannot be exported, with the line at fault; or cannot
            be compiled, for lack of a C++ compiler for one.
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
    ):
        self.root = _Root(loss, modules, bare or {})
        self.before, self.symbolic, self.backend = before, symbolic, backend
        self._compiled: dict[tuple, tuple] = {}

    def __call__(self, *args, **kwargs) -> Tensor:
        handlers = _handlers()
        rows = (
            next((a.shape[0] for a in args if isinstance(a, Tensor) and a.dim()), 0)
            if self.symbolic
            else 0
        )
        kind = (
            tuple(_kind(a, rows) for a in args),
            tuple((name, _kind(a, rows)) for name, a in kwargs.items()),
            tuple(map(id, handlers)),
            min(rows, 2),
            torch.is_grad_enabled(),
            torch.is_autocast_enabled(self.root.device),
        )
        key = (kind, self.root.state())
        if key not in self._compiled:
            self.root.look()
            key = (kind, self.root.state())
        new = key not in self._compiled
        if new:
            if len(self._compiled) == 8:
                warnings.warn(
                    "a compiled loss meets its ninth kind of call, and compiles anew for each: arguments that are no "
                    "tensors, the shape of an event, or active handlers change from call to call",
                    stacklevel=3,
                )
            # handlers and parts are kept, so that their ids stay theirs
            with unvalidated():
                self._compiled[key] = (
                    self._compile(args, kwargs, rows),
                    handlers,
                    self.root.held(),
                )
        capturing = self.root.device == "cuda" and torch.cuda.is_current_stream_capturing()
        if self.before is not None and torch.is_grad_enabled() and not capturing:
            self.before()
        # the compiler switches torch's validation off for good, where it meets a distribution
        with unvalidated() if new else nullcontext():
            return self._compiled[key][0](
                *(a for a in (*args, *kwargs.values()) if isinstance(a, Tensor))
            )

    def _compile(self, args: tuple, kwargs: dict, rows: int) -> Callable[..., Tensor]:
        def symbolic(a):
            return (
                {0: torch.export.Dim.DYNAMIC}
                if rows > 1 and a.dim() and a.shape[0] == rows
                else None
            )

        tensors = [a for a in (*args, *kwargs.values()) if isinstance(a, Tensor)]
        self.root.args, self.root.kwargs = args, kwargs
        try:
            with torch.random.fork_rng(devices=cuda_devices(tensors)), warnings.catch_warnings():
                warnings.simplefilter("ignore")
                exported = torch.export.export(
                    self.root,
                    tuple(tensors),
                    dynamic_shapes=(tuple(map(symbolic, tensors)),),
                    strict=False,
                ).module()
        except Exception as error:
            raise RuntimeError(_explain(error, self.root.lengths.asked)) from error
        finally:
            del self.root.args, self.root.kwargs
        _inline(exported)

        def run(*tensors: Tensor) -> Tensor:
            return exported(*tensors)

        # what is compiled is remembered by code object, and guards would cost more than the small
        # networks
        run.__code__ = run.__code__.replace()
        options = {"guard_filter_fn": lambda guards: [False] * len(guards)}
        if self.backend == "inductor":
            from pyro_vae.compiling.products import (
                OneDNN,  # with the compiler itself, which takes a second to import
            )

            options |= {"fallback_random": True, "post_grad_custom_post_pass": OneDNN()}
        compiled = torch.compile(run, fullgraph=True, options=options, backend=self.backend)

        def first(*tensors: Tensor) -> Tensor:
            for a in tensors:
                if symbolic(a):
                    torch._dynamo.mark_dynamic(a, 0)
            try:
                return compiled(*tensors)
            except Exception as error:
                if "InvalidCxxCompiler" in f"{type(error).__name__} {error}":
                    raise RuntimeError(
                        "compiling for the CPU needs a C++ compiler, and none was found: install g++ or clang (or name "
                        "it in the environment variable CXX), or leave compile=True and CompiledTrace_ELBO away"
                    ) from error
                raise

        return first


def _inline(module: torch.fx.GraphModule) -> None:
    """Put the parts that ran with gradients switched off, or on, back into the graph, which they would break."""
    graph = module.graph
    for node in list(graph.nodes):
        if node.target is torch.ops.higher_order.wrap_with_set_grad_enabled:
            enabled, part, *given = node.args
            inner = getattr(module, part.target)
            _inline(inner)
            values = dict(
                zip((n for n in inner.graph.nodes if n.op == "placeholder"), given, strict=True)
            )
            with graph.inserting_before(node):
                outputs = graph.graph_copy(inner.graph, values)
                if not enabled:
                    outputs = [
                        graph.call_function(torch.ops.aten.detach.default, (o,)) for o in outputs
                    ]
            for user in list(node.users):
                user.replace_all_uses_with(outputs[user.args[1]])
                graph.erase_node(user)
            graph.erase_node(node)
    module.recompile()


class _Root(nn.Module):
    """The loss as a module over all that it learns, which is what can be exported."""

    def __init__(self, loss: Callable, modules: Iterable[nn.Module], bare: dict[str, tuple]):
        super().__init__()

        self.parts = nn.ModuleList(modules)
        self.device = next((p.device.type for p in self.parts.parameters()), "cpu")
        self.stand_ins = nn.ParameterList()
        self._loss, self._bare, self.lengths = loss, _Bare({}), _Lengths()
        for name, (unconstrained, constraint) in bare.items():
            # a parameter over the same memory, whose gradient is handed on
            stand_in = nn.Parameter(unconstrained.detach())
            stand_in.register_post_accumulate_grad_hook(_hand_on(unconstrained))
            self.stand_ins.append(stand_in)
            self._bare.answers[name] = (len(self.stand_ins) - 1, transform_to(constraint))
        self.look()

    def look(self) -> None:
        """Find all modules, and the dictionaries in which they keep each other, parameters and buffers."""
        self._all = list(self.parts.modules())
        self._kept = [d for m in self._all for d in (m._modules, m._parameters, m._buffers) if d]

    def held(self) -> list:
        """All modules, parameters and buffers, as of the last look but for what was exchanged since."""
        return [held for kept in self._kept for held in kept.values()]

    def state(self) -> tuple:
        """What tells one compiled form from another: what it holds, and each module's mode."""
        return tuple(map(id, self.held())), tuple([m.training for m in self._all])

    def forward(self, *tensors: Tensor) -> Tensor:
        remaining = iter(tensors)
        args = [next(remaining) if isinstance(a, Tensor) else a for a in self.args]
        kwargs = {
            name: next(remaining) if isinstance(a, Tensor) else a for name, a in self.kwargs.items()
        }
        self._bare.stand_ins = list(self.stand_ins)
        with self._bare, OwnParameters(), unvalidated(), self.lengths:
            return self._loss(*args, **kwargs)


class _Lengths(TorchFunctionMode):
    """Remembers who asks for the length of a tensor, a number that a symbolic batch size cannot give."""

    asked: traceback.FrameSummary | None = None

    def __torch_function__(self, func, types, args=(), kwargs=None):
        if (
            func is Tensor.__len__
            and self.asked is None
            and isinstance(args[0].shape[0], torch.SymInt)
        ):
            self.asked = _users_line(traceback.extract_stack())
        return func(*args, **(kwargs or {}))


class _Bare(Messenger):
    """Answers `pyro.param` messages by name, and keeps them from handlers further out."""

    def __init__(self, answers: dict[str, tuple]):
        super().__init__()
        self.answers, self.stand_ins = answers, []

    def _pyro_param(self, msg: dict) -> None:
        msg["stop"] = True
        if msg["name"] in self.answers:
            i, transform = self.answers[msg["name"]]
            msg["value"], msg["done"] = transform(self.stand_ins[i]), True


def _hand_on(leaf: Tensor) -> Callable[[Tensor], None]:
    def hook(stand_in: Tensor) -> None:
        leaf.grad = stand_in.grad if leaf.grad is None else leaf.grad + stand_in.grad
        stand_in.grad = None

    return hook


def _handlers() -> tuple[Messenger, ...]:
    """The active handlers that change what a model means; not those that only collect its parameters."""
    return tuple(
        h
        for h in _PYRO_STACK
        if not isinstance(h, OwnParameters) and not (isinstance(h, TraceMessenger) and h.param_only)
    )


def _kind(a: object, rows: int) -> object:
    if not isinstance(a, Tensor):
        return a
    return a.dtype, a.device, a.shape[1:] if a.dim() and a.shape[0] == rows else (rows, a.shape)


def cuda_devices(tensors: list[Tensor]) -> list[torch.device]:
    return sorted({a.device for a in tensors if a.is_cuda}, key=str)


def _users_line(stack: Iterable[traceback.FrameSummary]) -> traceback.FrameSummary | None:
    """The innermost line of a stack that is the user's, or else one of a model of ours."""
    others = (Path(torch.__file__).parent, Path(pyro.__file__).parent)
    found = None
    for frame in stack:
        path = Path(frame.filename)
        if (
            path.is_file()
            and path != Path(__file__)
            and not any(other in path.parents for other in others)
        ):
            ours = Path(__file__).parent in path.parents
            found = (
                found
                if ours and found and Path(__file__).parent not in Path(found.filename).parents
                else frame
            )
    return found


def _explain(error: Exception, asked: traceback.FrameSummary | None) -> str:
    """Why a loss cannot be exported: the line of the user's, and the way out."""
    frames, said, chained = [], "", error
    while chained is not None:
        frames = [*traceback.extract_tb(chained.__traceback__), *frames]
        said = str(chained.args[0]).strip().split("\n")[0] if chained.args else said
        chained = chained.__cause__ or chained.__context__
    fixed = "Constraints violated" in str(error) or "specialized it to be a constant" in str(error)
    where = asked if fixed else _users_line(frames)
    line = "this pair"
    if where is not None:
        line = f"line {where.lineno} of {where.filename}, `{(where.line or '').strip()}`,"
    if fixed:
        return (
            f"{line} fixes the number of rows, which is symbolic in a compiled loss. Use x.shape[0], not len(x) or a "
            "number, in pyro.plate and in the shapes of tensors; or use Trace_ELBO, without compile=True."
        )
    return (
        f"{line} cannot be compiled: {type(error).__name__}, {said}. A compiled loss has no control flow that depends "
        "on the values of tensors (no `if` or `while` on a tensor, no .item(), no rejection loop): use torch.where; or "
        "use Trace_ELBO, without compile=True."
    )
