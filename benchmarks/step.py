"""One training step of ours and of its rivals, and the floor, which is its matrix products alone.

    python benchmarks/step.py [--shapes mlp iwae iwae-5 conv wide] [--rounds 30] [--steps 20]
    [--device cuda] [--isa avx2]

A step is loss, gradients and update. Networks, likelihood and data (zeros and ones in memory,
float32) are the same for all. Validation is off for all. `rivals.py` says where rivals come from.
A CPU has two floors: torch's own `mm`, which the plain loops call, and oneDNN's products, which use
AVX-512 where `mm` does not. Leave OMP_NUM_THREADS alone, because JAX does not heed it.
"""

import os
import time
import warnings
from collections.abc import Callable
from functools import partial

os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")

import pyro
import torch
from pyro.infer import SVI
from rivals import (
    EVENT,
    LEARNING_RATE,
    PIXELS,
    SHAPES,
    Plain,
    Shape,
    binary,
    numpyro_svi,
    onednn,
    our_objective,
    ours,
    products,
    pyro_svi,
    pythae_step,
)
from timing import HEAD, Row, Turn, chosen, machine, milliseconds, parser, race, restrict, show
from torch import Tensor, nn

import pyro_vae as pv
from pyro_vae.training.steps import make_adam
from pyro_vae.weights.traces import unvalidated

OURS = "ours, compiled"
POOL = 20  # batches that all go through in turn
EPOCH = 10  # times the pool in an epoch of `fit`, whose end is measured as well


def cycle(step: Callable[[Tensor], object], x: Tensor) -> Turn:
    """Steps over the batches of x, `[batches, n, *event]`, one after the other."""
    at = 0

    def turn(steps: int) -> None:
        nonlocal at
        for _ in range(steps):
            step(x[at % x.shape[0]])
            at += 1

    return turn


def descent(loss: nn.Module, x: Tensor) -> Turn:
    """Steps of torch's fused Adam. The module's call is the loss."""
    optimizer = torch.optim.Adam(loss.parameters(), lr=LEARNING_RATE, fused=True)

    def step(batch: Tensor) -> None:
        optimizer.zero_grad(set_to_none=True)
        loss(batch).backward()
        optimizer.step()

    return cycle(step, x)


def our_step(shape: Shape, x: Tensor, device: str, compiled: bool) -> Turn:
    """A loop by hand. `fit` takes compiled steps in the same way."""
    objective = our_objective(shape, ours(shape).to(device))
    if not compiled:
        return descent(objective, x)

    objective.compile()
    optimizer = make_adam(list(objective.parameters()), LEARNING_RATE, False)

    def step(batch: Tensor) -> None:
        objective.set_gradients(batch)
        optimizer.step()

    return cycle(step, x)


def our_svi(shape: Shape, x: Tensor, device: str) -> Turn:
    vae = ours(shape, name="svi").to(device)
    optimizer = pv.FusedOptim(torch.optim.Adam, {"lr": LEARNING_RATE})
    return cycle(SVI(vae.model, vae.guide, optimizer, pv.CompiledTrace_ELBO()).step, x)


def our_fit(shape: Shape, x: Tensor, device: str) -> Turn:
    """The second epoch of `fit`, with what it measures at the end.

    Compiling and capturing are in the first.
    """
    vae = ours(shape).to(device)
    rows = x.flatten(0, 1).repeat(EPOCH, 1, 1, 1)

    def turn(steps: int) -> float:
        history = pv.fit(
            vae,
            rows,
            epochs=2,
            batch_size=shape.batch,
            compile=True,
            objective=our_objective(shape, vae),
            progress=False,
        )
        return history.seconds[-1] * steps / (EPOCH * x.shape[0])

    return turn


def plain(shape: Shape, x: Tensor, device: str, compiled: bool) -> Turn:
    loss = Plain(shape).to(device)
    if compiled:
        loss.compile(mode="reduce-overhead" if device == "cuda" else "default")
    return descent(loss, x)


def stock(shape: Shape, x: Tensor, device: str, **options) -> Turn:
    return cycle(pyro_svi(shape, device, **options).step, x)


def numpyro_update(shape: Shape, x: Tensor, device: str, scan: bool) -> Turn:
    """`jit(svi.update)` a batch at a time, or all batches in one jitted loop.

    The loop is as numpyro's examples/vae.py has it.
    """
    svi = numpyro_svi(shape, device)
    import jax

    jax.config.update("jax_default_matmul_precision", "float32")
    batches = jax.numpy.asarray(x.cpu().numpy().reshape(*x.shape[:2], PIXELS))
    state = svi.init(jax.random.PRNGKey(0), batches[0])
    at = 0
    each = list(batches)
    update = jax.jit(svi.update)
    epoch = jax.jit(lambda state, batches: jax.lax.scan(svi.update, state, batches))

    def one_by_one(steps: int) -> None:
        nonlocal state, at
        for _ in range(steps):
            state, _ = update(state, each[at % len(each)])
            at += 1
        jax.block_until_ready(state)

    def all_at_once(steps: int) -> float:
        nonlocal state
        start = time.perf_counter()
        state, _ = epoch(state, batches)
        jax.block_until_ready(state)
        return (time.perf_counter() - start) * steps / len(each)

    return all_at_once if scan else one_by_one


def pythae(shape: Shape, x: Tensor, device: str) -> Turn:
    return cycle(pythae_step(shape, x[0], device), x)


def floor(shape: Shape, device: str, library: str) -> Turn:
    step = products(shape, device, library)

    def turn(steps: int) -> None:
        for _ in range(steps):
            step()

    return turn


def contestants(shape: Shape, device: str) -> dict[str, Callable[[], Turn]]:
    x = binary(POOL, shape.batch, *EVENT, device=device)
    a = (shape, x, device)
    found = {"floor: torch.mm": partial(floor, shape, device, "mm")}
    if device == "cpu" and onednn():
        found["floor: oneDNN"] = partial(floor, shape, device, "onednn")
    found |= {
        "ours, eager": partial(our_step, *a, compiled=False),
        OURS: partial(our_step, *a, compiled=True),
    }
    found["ours, fit"] = partial(our_fit, *a)
    if shape.k == 1:
        found["ours, stock SVI"] = partial(our_svi, *a)
    found |= {
        "plain PyTorch, eager": partial(plain, *a, compiled=False),
        "plain PyTorch, compiled": partial(plain, *a, compiled=True),
    }
    if shape.k == 1:
        found |= {
            "Pyro SVI, Trace_ELBO": partial(stock, *a, name="-example"),
            "Pyro SVI, Trace_ELBO, logits": partial(stock, *a, name="-logits", logits=True),
            "Pyro SVI, JitTrace_ELBO": partial(stock, *a, name="-jit", jit=True),
        }
    else:
        found["Pyro SVI, RenyiELBO"] = partial(stock, *a, name="-renyi")
    return found | {
        "NumPyro, jit(update)": partial(numpyro_update, *a, scan=False),
        "NumPyro, scan": partial(numpyro_update, *a, scan=True),
        "Pythae": partial(pythae, *a),
    }


def main(argv: list[str] | None = None) -> dict[str, tuple[dict[str, Row], dict[str, str]]]:
    options = parser(__doc__, rounds=30)
    options.add_argument("--shapes", nargs="+", choices=SHAPES, default=list(SHAPES))
    options.add_argument(
        "--steps", type=int, default=POOL, help="steps in a turn (default %(default)s)"
    )
    options.add_argument(
        "--tf32", action="store_true", help="TF32 products in torch, on a GPU that has them"
    )
    args = options.parse_args(argv)
    restrict(args.isa)
    if args.tf32:
        torch.set_float32_matmul_precision("high")
    rounds, steps, warm = (2, 2, 0) if args.short else (args.rounds, args.steps, 2)

    print(machine(args.device))
    found = {}
    for name in args.shapes:
        pyro.clear_param_store()
        torch.compiler.reset()
        with unvalidated(), warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)
            makers = chosen(contestants(SHAPES[name], args.device), args.only)
            rows, missing = race(
                makers, ours=OURS, rounds=rounds, steps=steps, warm=warm, device=args.device
            )
        title = f"{name}: {SHAPES[name]}; ms a step, {rounds} rounds of {steps}"
        show(title, HEAD, milliseconds(rows), missing, args.markdown)
        found[name] = rows, missing
    return found


if __name__ == "__main__":
    main()
