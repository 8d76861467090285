"""A loss and its gradients as one graph, traced and compiled."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor
from torch._dispatch.python import enable_python_dispatcher
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.fx.experimental.proxy_tensor import make_fx
from torch.fx.experimental.symbolic_shapes import DimDynamic, ShapeEnv, StatelessSymbolicContext

from pyro_vae.compiling.errors import explain_missing_compiler

Run = Callable[..., Sequence[Tensor]]


def compile_graph(
    graph: torch.fx.GraphModule,
    tensors: list[Tensor],
    rows: int,
    backend: str,
    make_joint: "type[Joint] | None" = None,
) -> "CompiledGraph":
    """A graph as compiled code, with gradients where they are enabled now.

    The gradients are part of the compiled code. So a call computes them with the loss, and a
    backward pass hands them on.

    Arguments:
        graph: The graph, of tensors and of the parameters and buffers that it holds.
        tensors: What it is called with.
        rows: The number of rows that is symbolic. Below 2 none is.
        backend: "inductor", or "eager" for no compiling at all.
        make_joint: What makes of the graph the function that is compiled. By default it is `Joint`.

    Raises:
        RuntimeError: if there is no C++ compiler.
    """
    joint = (make_joint or Joint)(graph, tensors)
    if backend != "inductor":
        return CompiledGraph(joint, joint)

    return CompiledGraph(joint, _compile(joint, tensors, rows))


class Joint:
    """What is compiled: the outputs of a graph, and their gradients, of one flat list of inputs.

    The inputs are the parameters and buffers that the graph holds, and then its arguments.

    Arguments:
        graph: The graph.
        tensors: What it is called with.
    """

    def __init__(self, graph: torch.fx.GraphModule, tensors: list[Tensor]):
        held = dict([*graph.named_parameters(), *graph.named_buffers()])
        inputs = [*held.values(), *tensors]
        self.graph = graph
        self.names = list(held)
        self.held = list(held.values())
        self.is_single = True
        learned = [i for i, value in enumerate(inputs) if value.requires_grad]
        self.learned = learned if torch.is_grad_enabled() else []
        self.device = inputs[0].device.type
        self.is_mixed = torch.is_autocast_enabled(self.device)

    def __call__(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """The outputs, and the gradients of a single one where there are any."""
        values = list(inputs)
        for i in self.learned:
            values[i] = values[i].detach().requires_grad_()
        with torch.set_grad_enabled(bool(self.learned)):
            outputs = self.run_graph(values)
        self.is_single = isinstance(outputs, Tensor)
        if not isinstance(outputs, Tensor):
            return tuple(outputs)

        gradients = self._differentiate(outputs, values)
        return (outputs.detach(), *gradients)

    def _differentiate(self, loss: Tensor, values: list[Tensor]) -> list[Tensor]:
        """The gradients of a loss. What it does not depend on is learned no more."""
        if not loss.requires_grad:
            self.learned = []
            return []
        leaves = [values[i] for i in self.learned]
        with self.without_mixing():
            found = torch.autograd.grad(loss, leaves, allow_unused=True)
        gradients = {i: g for i, g in zip(self.learned, found, strict=True) if g is not None}
        self.learned = list(gradients)
        return list(gradients.values())

    def without_mixing(self) -> AbstractContextManager:
        """Without the casts of mixed precision."""
        return torch.autocast(self.device, enabled=False)

    def run_graph(self, values: list[Tensor]) -> Tensor | Sequence[Tensor]:
        """The outputs of the graph, of the flat list of inputs."""
        count = len(self.names)
        state = dict(zip(self.names, values[:count], strict=True))
        return torch.func.functional_call(self.graph, state, tuple(values[count:]))


class ClosedJoint(Joint):
    """What is compiled of a graph, whose tensors that are no parameters are its inputs as well.

    So the code for one block of data that a function refers to serves the next. The graph has no
    gradients in what it holds.
    """

    def __init__(self, graph: torch.fx.GraphModule, tensors: list[Tensor]):
        _hold_constants(graph)
        super().__init__(graph, tensors)
        self.is_single = False
        self.learned = []

    def split(self, inputs: Sequence[Tensor]) -> tuple[Sequence[Tensor], Sequence[Tensor]]:
        """What the graph holds, and its arguments."""
        count = len(self.names)
        return inputs[:count], inputs[count:]


def _hold_constants(graph: torch.fx.GraphModule) -> None:
    """Make buffers of the tensors that a graph refers to."""
    known = {name for name, _ in [*graph.named_parameters(), *graph.named_buffers()]}
    for node in graph.graph.nodes:
        if node.op == "get_attr" and node.target not in known:
            value = getattr(graph, node.target)
            delattr(graph, node.target)
            graph.register_buffer(node.target, value, persistent=False)
            known.add(node.target)


class CompiledGraph:
    """A graph as compiled code, a function of its arguments alone. It reads what is held anew.

    Arguments:
        joint: What was compiled.
        run: The code.
    """

    def __init__(self, joint: Joint, run: Run):
        self.joint = joint
        self.run = run
        # the casts of mixed precision are part of the code
        is_code = run is not joint
        self.context = joint.without_mixing() if joint.is_mixed and is_code else nullcontext()

    def __call__(self, *tensors: Tensor) -> Any:
        joint = self.joint
        with self.context:
            if joint.learned:
                return _Loss.apply(self.run, joint, *joint.held, *tensors)
            with torch.no_grad():
                outputs = self.run(*joint.held, *tensors)
        return outputs[0] if joint.is_single else tuple(outputs)

    def set_gradients(self, *tensors: Tensor) -> Tensor:
        """The loss. Its gradients are left in what is learned, in place of those of before.

        It is a call and a backward pass without what autograd does between them.
        """
        inputs = [*self.joint.held, *tensors]
        for value in self.joint.held:
            value.grad = None
        if any(map(_has_hooks, inputs)):
            loss = self(*tensors)
            loss.backward()
            return loss.detach()

        with self.context, torch.no_grad():
            loss, *gradients = self.run(*inputs)
        for i, gradient in zip(self.joint.learned, gradients, strict=True):
            inputs[i].grad = lay_out(gradient, inputs[i])
        return loss


def lay_out(values: Tensor, like: Tensor) -> Tensor:
    """Values stored in the order in which another tensor of that shape is. Else they are copied.

    A fused optimiser reads memory from end to end, and would mix up what is stored otherwise.

    Example:
        >>> lay_out(torch.zeros(()).expand(2, 3), torch.zeros(2, 3)).stride()
        (3, 1)
    """
    if values.stride() == like.stride():
        return values
    return torch.empty_like(like, dtype=values.dtype).copy_(values)


def _has_hooks(value: Tensor) -> bool:
    """Whether somebody is to be told of the gradient of a tensor."""
    return bool(value._backward_hooks or value._post_accumulate_grad_hooks)


class _Loss(torch.autograd.Function):
    """A loss whose gradients were computed with it."""

    @staticmethod
    def forward(ctx: Any, run: Run, joint: Joint, *inputs: Tensor) -> Tensor:
        loss, *gradients = run(*inputs)
        ctx.learned, ctx.gradients, ctx.count = joint.learned, gradients, len(inputs)
        return loss

    @staticmethod
    def backward(ctx: Any, scale: Tensor) -> tuple:  # type: ignore[override]
        gradients, ctx.gradients = ctx.gradients, None
        if gradients is None:
            raise RuntimeError(
                "backward: the gradients of a compiled loss are there once; compute the loss again"
            )
        # to read a number off a GPU is to wait for it
        if scale.is_cuda or scale != 1:
            gradients = list(torch._foreach_mul(gradients, scale))

        found = [None] * (2 + ctx.count)
        for i in reversed(ctx.learned):
            found[2 + i] = gradients.pop()  # held nowhere else, so that no copy is made
        return tuple(found)


def _fake_argument(mode: FakeTensorMode, value: Tensor, rows: int) -> Tensor:
    sizes = [DimDynamic.STATIC] * value.dim()
    if has_rows(value, rows):
        sizes[0] = DimDynamic.DYNAMIC
    context = StatelessSymbolicContext(dynamic_sizes=sizes)
    return mode.from_tensor(value, symbolic_context=context)


def has_rows(value: Tensor, rows: int) -> bool:
    """Whether the first dimension of a tensor is the number of rows, and that is symbolic."""
    return rows > 1 and value.dim() > 0 and value.shape[0] == rows


def _compile(joint: Joint, tensors: list[Tensor], rows: int) -> Run:
    # the compiler itself takes a second to import
    from torch._guards import TracingContext, tracing
    from torch._inductor import config
    from torch._inductor.compile_fx import compile_fx

    from pyro_vae.compiling.rewrites import Rewrites

    mode = FakeTensorMode(shape_env=ShapeEnv())
    fakes: list[Tensor] = [
        mode.from_tensor(value.detach(), static_shapes=True) for value in joint.held
    ]
    fakes += [_fake_argument(mode, value.detach(), rows) for value in tensors]
    with mode, enable_python_dispatcher():
        traced = make_fx(joint, _allow_non_fake_inputs=True)(*fakes)
    options = {"fallback_random": True, "post_grad_custom_post_pass": Rewrites()}
    try:
        with (
            torch.no_grad(),
            tracing(TracingContext(mode)),
            config.patch(options),
            joint.without_mixing(),
        ):
            run: Any = compile_fx(traced, fakes)
            return run
    except Exception as error:
        missing = explain_missing_compiler(error)
        if missing is None:
            raise
        raise RuntimeError(missing) from error
