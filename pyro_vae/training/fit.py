"""Training: batches, steps, progress, early stopping, checkpoint and exact resume; it knows no VAE."""

import inspect
import math
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from pyro_vae.objectives.objective import Objective
from pyro_vae.pairs.pair import OwnParameters
from pyro_vae.progress import progress_bar
from pyro_vae.training.checkpoints import (
    copy_into,
    keyed,
    load_tensors,
    save_tensors,
    tensors_of,
    under,
)
from pyro_vae.weights.intake import as_tensors, check_data
from pyro_vae.weights.traces import (
    blocks,
    latent_values,
    log_prob,
    sample_sites,
    trace,
    unvalidated,
)

SYNC = 50  # steps on CUDA between two looks at the loss
WATCHED = 1000  # rows of the training data that are measured after each epoch when there are no validation data


class History(NamedTuple):
    """What happened, a number per epoch; all in nats per datum but the seconds.

    Attributes:
        loss: The mean training loss, what the objective says it is.
        elbo: The plain ELBO (beta = 1) of the validation data, one draw per datum; without
            validation data, of the first 1,000 training data.
        reconstruction: Its first term, E_q log p(x | z).
        kl: Its second term, KL(q(z | x) ‖ p(z)): elbo = reconstruction - kl.
        seconds: The time the epoch took, measuring included.
        bound: 1 where minus the loss was a lower bound on log p(x) throughout the epoch, 0 where
            not.
    """

    loss: list[float]
    elbo: list[float]
    reconstruction: list[float]
    kl: list[float]
    seconds: list[float]
    bound: Sequence[int] = ()

    def __repr__(self) -> str:
        if not self.loss:
            return "History(no epoch)"
        no = "" if all(self.bound[-1:]) else " (no bound)"
        return f"History({len(self.loss)} epochs, loss {self.loss[-1]:.3f}{no}, elbo {self.elbo[-1]:.3f})"


class _State:
    """Where a run is: all that must be kept, beside weights, optimiser and random state, to go on exactly."""

    def __init__(self) -> None:
        self.history = History([], [], [], [], [], [])
        self.batches_done, self.loss_sum, self.rows_done, self.seconds = 0, 0.0, 0, 0.0
        self.best_epoch, self.best = -1, {}
        self.epoch_rng, self.epoch_order = torch.get_rng_state(), None


def fit(
    pair: nn.Module,
    *data: Tensor | DataLoader,
    epochs: int,
    batch_size: int = 128,
    learning_rate: float = 1e-3,
    optimizer: Callable[..., torch.optim.Optimizer] | None = None,
    schedule: Callable[[torch.optim.Optimizer], Any] | None = None,
    objective: nn.Module | None = None,
    validation: Tensor | Sequence[Tensor] | None = None,
    patience: int | None = None,
    transform: Callable[[Tensor], Tensor] | None = None,
    device: torch.device | str | None = None,
    compile: bool = False,
    precision: str | None = None,
    checkpoint: str | os.PathLike | None = None,
    checkpoint_every: float = 30.0,
    resume: bool = False,
    seed: int | None = None,
    progress: bool = True,
    callback: Callable[[History], object] | None = None,
) -> History:
    """Train a pair: minimise an objective over the data, in place.

    The data are checked once; then batches are gathered from memory by index, Pyro's and torch's
    validation is off, and everything global (random state, validation, parameter store) is
    afterwards as it was. Integers in x (counts, classes) are kept for the likelihood and cast to
    floats for the encoder.

    Arguments:
        pair: Any module with methods `model` and `guide`.
        data: x, `[n, *event]`, and what else the model takes; or one `DataLoader`, for data that do
            not fit in memory, whose batches are a tensor or begin with what the model takes.
        epochs: How many times to go through the data; when resuming, in all.
        batch_size: Rows per step.
        learning_rate: Of Adam; not used when `optimizer` is given.
        optimizer: Makes a torch optimiser from the parameters, `partial(torch.optim.RMSprop,
            lr=1e-3)` for one.
        schedule: Makes a learning-rate schedule from the optimiser, stepped after each epoch
            (`ReduceLROnPlateau` with minus the ELBO).
        objective: A module made of the same pair whose `forward(*batch)` is the loss; by default
            `Objective(pair)`.
        validation: x, or a sequence beginning with x, measured after each epoch.
        patience: Stop after so many epochs without a better validation ELBO, and keep the best
            weights.
        transform: Applied to x of each batch anew; `torch.bernoulli` binarises dynamically. The
            validation data get it once.
        device: Where to train; the pair is moved there. On CUDA the data lie there too, and the
            progress bar reads the loss only now and then, so a fault is noticed up to `SYNC` steps
            late.
        compile: Export the pair once and run compiled code from then on (see `CompiledLoss`): the
            same numbers to float rounding, in a fraction of the time after some seconds at the
            first step. On CUDA with the default optimiser a whole step is one CUDA graph.
        precision: "bf16" lets the networks' matrix products run in bfloat16, everything else as it
            was.
        checkpoint: A file that always holds a state from which the run can go on.
        checkpoint_every: Seconds between two writings of it; 0 writes after every step.
        resume: Go on from the checkpoint, if it is there, to weights equal bit for bit to those of
            a run that was never interrupted. Arguments must be those of that run.
        seed: Of everything that is random here; by default drawn from torch's.
        progress: Show a progress bar, in a terminal or notebook.
        callback: Called with the history after each epoch; the run stops if it returns True.

    Returns:
        The `History`.

    Raises:
        TypeError, ValueError: if an argument, the data or the checkpoint does not fit; it says
            which and why.
        RuntimeError: if the pair cannot be compiled, with the line at fault.
        FloatingPointError: if the loss or a weight becomes NaN or infinite, with the epoch, the
            step, the site or parameter at fault, and the last good checkpoint.
        KeyboardInterrupt: on Ctrl-C, after the step under way, with the checkpoint written.

    Example:
        >>> import pyro_vae as pv
        >>> vae = pv.VAE(
        ...     prior=pv.StandardNormal(2),
        ...     likelihood=pv.Normal(3, given=2),
        ...     variational=pv.Normal(2, given=3),
        ... )
        >>> history = pv.fit(vae, torch.randn(100, 3), epochs=2, seed=0)
        >>> len(history.loss)
        2
    """
    for name, value, whole in (
        ("epochs", epochs, True),
        ("batch_size", batch_size, True),
        ("learning_rate", learning_rate, False),
        ("patience", 1 if patience is None else patience, True),
    ):
        if not isinstance(value, int | (int if whole else float)) or not 0 < value < math.inf:
            raise ValueError(
                f"{name}: expected a positive {'whole ' if whole else ''}number, got {value!r}"
            )
    if precision not in (None, "bf16"):
        raise ValueError(f"precision: expected None or 'bf16', got {precision!r}")
    if patience is not None and validation is None:
        raise ValueError(
            "patience: early stopping compares the ELBO of validation data; pass validation="
        )
    if resume and checkpoint is None:
        raise ValueError("resume: pass the checkpoint= to resume from")
    path = None if checkpoint is None else Path(checkpoint)
    if path is not None and path.exists() and not resume:
        raise ValueError(
            f"checkpoint: {path} already holds a run; go on with resume=True, or choose another path"
        )
    if path is not None and not (path.parent.is_dir() and os.access(path.parent, os.W_OK)):
        raise ValueError(
            f"checkpoint: cannot write to the folder {path.parent}; does it exist, with permission?"
        )

    objective = Objective(pair) if objective is None else objective
    if device is not None:
        pair.to(device)
    here = next((p.device for p in pair.parameters()), torch.device(device or "cpu"))
    resuming = resume and path is not None and path.exists()
    if seed is None:
        seed = load_tensors(path)[1].get("seed") if resuming else None
        seed = int(torch.randint(2**31, ())) if seed is None else seed
    cuda = [here] if here.type == "cuda" else []
    with torch.random.fork_rng(devices=cuda):
        torch.manual_seed(seed)
        if data and isinstance(data[0], DataLoader):
            if len(data) > 1:
                raise ValueError(
                    "data: the batches of a DataLoader hold all that the model takes; got more beside it"
                )
            batches = _Loaded(pair, data[0], here, transform)
        else:
            batches = _Gathered(pair, data, here, transform, batch_size)
        if validation is not None:
            validation = (
                (validation,)
                if isinstance(validation, Tensor) or hasattr(validation, "dtype")
                else validation
            )
            try:
                held_out = tuple(d.to(here) for d in as_tensors(pair, tuple(validation)))
                held_out = check_data(pair, _transformed(held_out, transform))
            except (TypeError, ValueError) as error:
                raise type(error)(f"validation: {error}") from error
        else:
            held_out = batches.watched()

        if not any(module is pair for module in objective.modules()):
            raise ValueError("objective: it was made of another pair than the one to be trained")
        objective.to(here)
        parameters = [p for p in objective.parameters() if p.requires_grad]
        if not parameters:
            raise ValueError("pair: it has no parameters to train")
        captured = bool(compile and cuda and optimizer is None)
        if optimizer is None:
            # only the fused step keeps up with networks as small as these; a graph reads its rate
            # from a tensor
            rate = torch.tensor(learning_rate, device=here) if captured else learning_rate
            opt = torch.optim.Adam(parameters, lr=rate, fused=True, capturable=captured)
        else:
            opt = optimizer(parameters)
        plan = None if schedule is None else schedule(opt)

        torch.manual_seed(seed)
        run = _Run(
            pair, objective, opt, plan, batches, held_out, patience, path, checkpoint_every, seed
        )
        run.cast = torch.autocast(here.type, torch.bfloat16, enabled=precision == "bf16")
        run.capturing = captured
        if resuming:
            run.load()
        modes = [(module, module.training) for module in objective.modules()]
        with unvalidated(), _compiled(objective) if compile else nullcontext():
            try:
                run.train(epochs, progress, callback)
            finally:
                for module, mode in modes:
                    module.training = mode
    return run.state.history


class _Run:
    """One call of `fit`, after its arguments are known to be good."""

    def __init__(
        self, pair, objective, optimizer, schedule, batches, held_out, patience, path, every, seed
    ):
        self.pair, self.objective, self.optimizer, self.schedule = (
            pair,
            objective,
            optimizer,
            schedule,
        )
        self.batches, self.held_out, self.patience, self.seed = batches, held_out, patience, seed
        self.path, self.every, self.saved_at = path, every, time.monotonic()
        self.state = _State()
        self.cast, self.capturing, self.captured = nullcontext(), False, None
        self.pending: Tensor | None = None

    def train(self, epochs: int, progress: bool, callback: Callable | None) -> None:
        s, length = self.state, len(self.batches)
        bar = progress_bar(epochs * length, "epoch 1", show=progress)
        bar.update(len(s.history.loss) * length + s.batches_done)
        with _interruptions() as interrupted, bar:
            while len(s.history.loss) < epochs and not self._out_of_patience():
                self._epoch(bar, interrupted)
                self._measure()
                self.save_if_due()
                h = s.history
                bar.set_description(f"epoch {len(h.loss) + 1}")
                bar.set_postfix_str(f"loss {h.loss[-1]:.2f}, elbo {h.elbo[-1]:.2f}")
                if callback is not None:
                    with torch.random.fork_rng(devices=self._cuda()):
                        if callback(h) is True:
                            break
                if interrupted.is_set():
                    self._interrupt()
        self._check_weights()
        if self.path is not None:
            self.save()
        if self.patience is not None and s.best:
            copy_into(tensors_of(self.objective), s.best, "the best weights")

    def _epoch(self, bar, interrupted: threading.Event) -> None:
        s, start, before = self.state, time.monotonic(), self.state.seconds
        self.objective.train()
        self.bounded = None
        batches = iter(self.batches)
        if s.batches_done:
            with torch.random.fork_rng(devices=self._cuda()):
                torch.set_rng_state(s.epoch_rng)
                for _ in range(s.batches_done):
                    next(batches)
        else:
            s.epoch_rng, s.epoch_order = torch.get_rng_state(), self._order()

        for batch in batches:
            self.before = torch.get_rng_state()
            n, loss = batch[0].shape[0], self._step(batch)
            if self.bounded is None:
                self.bounded = getattr(self.objective, "bound", False)
            self.pending = loss * n if self.pending is None else self.pending + loss * n
            s.batches_done += 1
            s.rows_done += n
            s.seconds = before + time.monotonic() - start
            if not loss.is_cuda or s.batches_done % SYNC == 0:
                self._look()
            bar.update()
            self.save_if_due()
            if interrupted.is_set():
                self._interrupt()
        self._look()
        if not s.rows_done:
            raise ValueError("data: the loader gave no batch")

    def _step(self, batch: tuple) -> Tensor:
        """One step of the optimiser; returns the loss before it."""
        if not self.capturing:
            return self._update(batch)
        if self.captured is None:
            self.captured = _Captured(self._update, batch, self.objective, self.optimizer)
        return self.captured(batch) if self.captured.fits(batch) else self._update(batch)

    def _update(self, batch: tuple) -> Tensor:
        with self.cast:
            loss = self.objective(*batch)
        if not loss.is_cuda and not math.isfinite(loss.item()):
            self._stop(f"the loss is {loss.item()}", batch, self.before)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.optimizer.step()
        return loss.detach()

    def _look(self) -> None:
        """Fetch the losses that were not looked at yet."""
        if self.pending is not None:
            self.state.loss_sum += self.pending.item()
            self.pending = None
            if not math.isfinite(self.state.loss_sum):
                self._stop(f"the loss of one of the last {SYNC} steps is not finite", None, None)

    def _measure(self) -> None:
        s, start = self.state, time.monotonic()
        epoch = len(s.history.loss)
        with torch.random.fork_rng(devices=self._cuda()):
            torch.manual_seed(self.seed + 1)
            pieces = [t for _, t in blocks(self.pair, self.held_out, 1)]
        reconstruction = torch.cat([t.log_likelihood[0] for t in pieces]).double().mean().item()
        kl = (
            torch.cat([(t.log_variational - t.log_prior)[0] for t in pieces]).double().mean().item()
        )
        seconds = s.seconds + time.monotonic() - start
        bound = int(self.bounded is not False and getattr(self.objective, "bound", False))
        row = (s.loss_sum / s.rows_done, reconstruction - kl, reconstruction, kl, seconds, bound)
        for column, value in zip(s.history, row, strict=True):
            column.append(value)
        better = s.best_epoch < 0 or row[1] > s.history.elbo[s.best_epoch]
        if self.patience is not None and better and math.isfinite(row[1]):
            s.best_epoch, s.best = (
                epoch,
                {k: v.clone() for k, v in tensors_of(self.objective).items()},
            )
        s.batches_done, s.loss_sum, s.rows_done, s.seconds = 0, 0.0, 0, 0.0
        if self.schedule is not None:
            plateau = isinstance(self.schedule, torch.optim.lr_scheduler.ReduceLROnPlateau)
            self.schedule.step(*([-row[1]] if plateau else []))

    def _out_of_patience(self) -> bool:
        s = self.state
        return (
            self.patience is not None
            and len(s.history.elbo) - 1 - s.best_epoch >= self.patience
            and s.best_epoch >= 0
        )

    def save_if_due(self) -> None:
        if self.path is not None and time.monotonic() - self.saved_at >= self.every:
            self._check_weights()
            self.save()

    def save(self) -> None:
        s = self.state
        self._look()
        tensors = {f"weights/{k}": v for k, v in tensors_of(self.objective).items()}
        tensors |= {f"best/{k}": v for k, v in s.best.items()}
        optimiser = self.optimizer.state_dict()
        rest: dict[str, dict] = {}
        for i, slots in optimiser["state"].items():
            for key, value in slots.items():
                if isinstance(value, Tensor):
                    tensors[f"optimizer/{i}/{key}"] = value
                else:
                    rest.setdefault(str(i), {})[key] = value
        tensors["rng"], tensors["epoch_rng"] = torch.get_rng_state(), s.epoch_rng
        if self.batches.generator is not None:
            tensors["order"] = s.epoch_order if s.batches_done else self._order()
        for i, device in enumerate(self._cuda()):
            tensors[f"cuda_rng/{i}"] = torch.cuda.get_rng_state(device)
        notes = {
            "data": self.batches.signature(),
            "seed": self.seed,
            "history": s.history._asdict(),
            "position": [s.batches_done, s.loss_sum, s.rows_done, s.seconds],
            "best_epoch": s.best_epoch,
            "made_with": self._made_with(),
            "optimizer": {
                "state": rest,
                "param_groups": [_numbers(group) for group in optimiser["param_groups"]],
            },
            "schedule": None if self.schedule is None else self.schedule.state_dict(),
        }
        save_tensors(self.path, tensors, notes)
        self.saved_at = time.monotonic()

    def load(self) -> None:
        tensors, notes = load_tensors(self.path)
        s = self.state
        if "position" not in notes:
            raise ValueError(
                f"checkpoint: {self.path} holds weights, but no state of a run to resume"
            )
        if notes["data"] != self.batches.signature():
            raise ValueError(
                f"checkpoint: {self.path} is of a run on other data or batches, {notes['data']}; got "
                f"{self.batches.signature()}. Resume with the arguments of that run."
            )
        if notes["made_with"] != self._made_with():
            raise ValueError(
                f"checkpoint: {self.path} is of a run with another optimizer or schedule, {notes['made_with']}; got "
                f"{self._made_with()}. Resume with the arguments of that run."
            )
        copy_into(tensors_of(self.objective), under("weights/", tensors), str(self.path))
        s.best, s.best_epoch = under("best/", tensors), notes["best_epoch"]
        state: dict[int, dict] = {
            int(i): dict(slots) for i, slots in notes["optimizer"]["state"].items()
        }
        for name, value in under("optimizer/", tensors).items():
            i, key = name.split("/", 1)
            state.setdefault(int(i), {})[key] = value
        try:
            self.optimizer.load_state_dict(
                {"state": state, "param_groups": notes["optimizer"]["param_groups"]}
            )
            if self.capturing:
                for group in self.optimizer.param_groups:
                    group["lr"] = torch.tensor(group["lr"], device=self.batches.device)
        except (ValueError, KeyError) as error:
            raise ValueError(
                f"checkpoint: {self.path} is of a run with another optimizer: {error}"
            ) from None
        if self.schedule is not None:
            self.schedule.load_state_dict(keyed(notes["schedule"], self.schedule.state_dict()))
        s.history = History(**notes["history"])
        s.batches_done, s.loss_sum, s.rows_done, s.seconds = notes["position"]
        s.epoch_rng, s.epoch_order = tensors["epoch_rng"], tensors.get("order")
        if s.epoch_order is not None and self.batches.generator is not None:
            self.batches.generator.set_state(s.epoch_order)
        torch.set_rng_state(tensors["rng"])
        for i, device in enumerate(self._cuda()):
            torch.cuda.set_rng_state(tensors[f"cuda_rng/{i}"], device)

    def _order(self) -> Tensor | None:
        """The state of a generator that a loader has for itself."""
        return None if self.batches.generator is None else self.batches.generator.get_state()

    def _made_with(self) -> list[str]:
        return [type(part).__name__ for part in (self.optimizer, self.schedule)]

    def _interrupt(self) -> None:
        self._check_weights()
        how = "no checkpoint= was given, so only the pair in memory has what was learned"
        if self.path is not None:
            self.save()
            how = f"go on with fit(..., checkpoint={str(self.path)!r}, resume=True)"
        raise KeyboardInterrupt(f"stopped in {self._where()}; {how}")

    def _stop(self, what: str, batch: tuple | None, rng: Tensor | None) -> None:
        fault = _fault(self.pair, self.objective, batch, rng)
        last = "no checkpoint= was given"
        if self.path is not None:
            last = (
                f"the last good checkpoint is {self.path}"
                if self.path.exists()
                else "no checkpoint was written yet"
            )
        raise FloatingPointError(
            f"{what} in {self._where()}: {fault}; {last}. A lower learning rate, data of order one, or clipped "
            "gradients usually mend it."
        )

    def _check_weights(self) -> None:
        if not all(torch.stack([p.isfinite().all() for p in self.objective.parameters()]).tolist()):
            self._stop("weights are not finite", None, None)

    def _where(self) -> str:
        return f"epoch {len(self.state.history.loss) + 1}, step {self.state.batches_done + 1}"

    def _cuda(self) -> list:
        return [self.batches.device] if self.batches.device.type == "cuda" else []


class _Gathered:
    """Batches of data in memory, gathered by index in a new random order at each pass."""

    generator = None

    def __init__(self, pair, data, device, transform, batch_size):
        self.data = tuple(d.to(device) for d in as_tensors(pair, data))
        self.device, self.transform, self.batch_size = device, transform, batch_size
        check_data(pair, _transformed(self.data, transform))

    def __len__(self) -> int:
        return math.ceil(self.data[0].shape[0] / self.batch_size)

    def __iter__(self) -> Iterator[tuple[Tensor, ...]]:
        for index in torch.randperm(self.data[0].shape[0]).to(self.device).split(self.batch_size):
            yield _transformed(tuple(d[index] for d in self.data), self.transform)

    def watched(self) -> tuple[Tensor, ...]:
        return _transformed(tuple(d[:WATCHED] for d in self.data), self.transform)

    def signature(self) -> dict:
        return {"rows": self.data[0].shape[0], "batch_size": self.batch_size}


class _Loaded:
    """Batches from a `DataLoader`, cut to what the model takes."""

    def __init__(self, pair, loader, device, transform):
        self.loader, self.device, self.transform, self.generator = (
            loader,
            device,
            transform,
            loader.generator,
        )
        taken = inspect.signature(getattr(pair, "_model", pair.model)).parameters.values()
        open_ended = any(p.kind is p.VAR_POSITIONAL for p in taken)
        self.count = (
            None
            if open_ended
            else sum(p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD) for p in taken)
        )
        self.pair = pair
        self.first = next(iter(self), None)
        if self.first is None:
            raise ValueError("data is empty: the loader gave no batch")
        check_data(pair, self.first)

    def __len__(self) -> int:
        """How many batches, or 0 if the loader cannot tell (an `IterableDataset`)."""
        try:
            return len(self.loader)
        except TypeError:
            return 0

    def __iter__(self) -> Iterator[tuple[Tensor, ...]]:
        for batch in self.loader:
            batch = tuple(batch) if isinstance(batch, list | tuple) else (batch,)
            batch = tuple(d.to(self.device) for d in as_tensors(self.pair, batch[: self.count]))
            yield _transformed(batch, self.transform)

    def watched(self) -> tuple[Tensor, ...]:
        return tuple(d[:WATCHED] for d in self.first)

    def signature(self) -> dict:
        return {"batches": len(self), "batch_size": self.loader.batch_size}


class _Captured:
    """A step on a batch of fixed shape as one CUDA graph: loss, gradients and the optimiser's step."""

    def __init__(
        self, update: Callable, batch: tuple, objective: nn.Module, optimizer: torch.optim.Optimizer
    ):
        self.batch = tuple(b.clone() for b in batch)
        slots = [
            v for state in optimizer.state.values() for v in state.values() if isinstance(v, Tensor)
        ]
        kept = [(t, t.clone()) for t in [*tensors_of(objective).values(), *slots]]
        random = torch.cuda.get_rng_state(self.batch[0].device)
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(3):
                update(self.batch)
        torch.cuda.current_stream().wait_stream(side)
        with torch.no_grad():
            if not kept[len(tensors_of(objective)) :]:
                for state in optimizer.state.values():
                    for value in state.values():
                        value.zero_()
            for tensor, value in kept:
                tensor.copy_(value)
        torch.cuda.set_rng_state(random, self.batch[0].device)
        self.scheduled = [module for module in objective.modules() if hasattr(module, "advance")]
        self.graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self.graph):
            self.loss = update(self.batch)

    def fits(self, batch: tuple) -> bool:
        return all(
            a.shape == b.shape and a.dtype == b.dtype
            for a, b in zip(self.batch, batch, strict=True)
        )

    def __call__(self, batch: tuple) -> Tensor:
        for module in self.scheduled:
            module.advance()
        for mine, given in zip(self.batch, batch, strict=True):
            mine.copy_(given)
        self.graph.replay()
        return self.loss.clone()


def _numbers(group: dict) -> dict:
    return {
        key: value.item() if isinstance(value, Tensor) else value for key, value in group.items()
    }


@contextmanager
def _compiled(objective: nn.Module) -> Iterator[None]:
    """With its `Objective` compiled, if it is not already."""
    inner = [module for module in objective.modules() if isinstance(module, Objective)]
    if not inner:
        raise ValueError(
            "compile: the objective holds no pv.Objective, which is the part that can be compiled"
        )
    todo = [module for module in inner if module._compiled_call_impl is None]
    for module in todo:
        module.compile()
    try:
        yield
    finally:
        for module in todo:
            module._compiled_call_impl = None


def _transformed(data: tuple, transform: Callable | None) -> tuple:
    return data if transform is None else (transform(data[0]), *data[1:])


def _fault(pair: nn.Module, objective: nn.Module, batch: tuple | None, rng: Tensor | None) -> str:
    """The parameter or site that is not finite, found by running the step again."""
    for name, p in objective.named_parameters():
        bad = int((~p.isfinite()).sum())
        if bad:
            return f"{bad} of {p.numel()} values of the parameter {name} are not finite, since the step before"
    if batch is None:
        return "no parameter is at fault"
    try:
        with torch.random.fork_rng(devices=[]), torch.no_grad(), OwnParameters():
            torch.set_rng_state(rng)
            guide_trace = trace(pair.guide, batch)
            model_trace = trace(pair.model, batch, latents=latent_values(guide_trace))
    except Exception as error:
        return f"running the step again fails, {type(error).__name__}: {error}"
    for side, run in (("guide", guide_trace), ("model", model_trace)):
        for name, site in sample_sites(run).items():
            if not site["value"].isfinite().all():
                return f"the value of site {name!r} of the {side} is not finite"
            bad = ~log_prob(site).isfinite()
            if bad.any():
                row = int(bad.flatten().nonzero()[0])
                return f"log p of site {name!r} of the {side} is not finite, first for row {row} of the batch"
    return "each site is finite by itself, so a term that the objective adds is at fault"


@contextmanager
def _interruptions() -> Iterator[threading.Event]:
    """Turn Ctrl-C into a flag, so that a step is never left half done; a second one stops at once."""
    flag = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield flag
        return
    previous = signal.getsignal(signal.SIGINT)

    def note(signum, frame):
        flag.set()
        signal.signal(signal.SIGINT, previous)

    signal.signal(signal.SIGINT, note)
    try:
        yield flag
    finally:
        signal.signal(signal.SIGINT, previous)
