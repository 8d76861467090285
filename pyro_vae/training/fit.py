"""The training of a pair: from what `fit` is asked for to a loop that runs."""

import math
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from typing import Any

import numpy as np
import torch
from pyro.infer import ELBO
from torch import Tensor, nn
from torch.optim.lr_scheduler import LRScheduler
from torch.utils.data import DataLoader

from pyro_vae.arguments import check_pair, check_type
from pyro_vae.objectives.objective import Loss, Objective
from pyro_vae.pairs.admission import ChecksData
from pyro_vae.processes import ask_first, count_processes, entered_by_first
from pyro_vae.training.batches import Batches, admit_validation, make_batches
from pyro_vae.training.checkpoints import claimed, read_tree
from pyro_vae.training.divergence import Divergence
from pyro_vae.training.faults import Watch
from pyro_vae.training.held_out import HeldOut
from pyro_vae.training.history import History
from pyro_vae.training.interrupts import Interrupts
from pyro_vae.training.kept import match, reading
from pyro_vae.training.loop import Loop, Observer, run
from pyro_vae.training.makers import make_optimizer, make_schedule
from pyro_vae.training.observers import Bar, Callback, Checkpoint, NoCheckpoint
from pyro_vae.training.origin import (
    Origin,
    describe,
    describe_modules,
    describe_optimizer,
    describe_parts,
    describe_schedule,
)
from pyro_vae.training.randomness import find_generators, fork, read_state, seed_all, write_state
from pyro_vae.training.settings import Settings
from pyro_vae.training.shares import SharedStep, has_compiled
from pyro_vae.training.state import ModuleSettings, State
from pyro_vae.training.steps import CapturedStep, Step, compile_inside, make_adam
from pyro_vae.training.turns import take_turn
from pyro_vae.weights.blocks import count_numbers
from pyro_vae.weights.intake import find_device
from pyro_vae.weights.threads import STEP, count_products, spared_threads
from pyro_vae.weights.traces import unvalidated


def fit(
    pair: nn.Module,
    *data: Tensor | DataLoader,
    epochs: int,
    batch_size: int = 128,
    drop_last: bool = False,
    learning_rate: float = 1e-3,
    optimizer: Callable[..., torch.optim.Optimizer] | None = None,
    schedule: Callable[[torch.optim.Optimizer], Any] | None = None,
    objective: nn.Module | ELBO | None = None,
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

    The data are checked once, block by block. Then batches are gathered by index, with the
    validation of Pyro and torch switched off. Afterwards everything global is as it was: random
    states (of torch, NumPy and Python), validation, the parameter store. Integers in x (counts,
    classes) are kept for the likelihood, and cast to floats for the encoder.

    In a process group of torch all processes train one pair. Each calls `fit` with the same
    arguments, and takes its share of the rows of every batch, see docs/scale.md.

    Where a step is small, torch computes with one thread meanwhile, see docs/performance.md. The
    number follows from the pair and the batch. `OMP_NUM_THREADS`, where it is set, is left alone.

    Arguments:
        pair: Any module with methods `model` and `guide`.
        data: x, `[n, *event]`, and what else the model takes. Arrays may be maps of files,
            `np.load(path, mmap_mode="r")`, from which each batch is read. Or one `DataLoader`, for
            other data that do not fit in memory. Its batches are a tensor, or begin with what the
            model takes.
        epochs: How many times to go through the data. When resuming, the number in all.
        batch_size: Rows per step, of all processes together. A `DataLoader` has its own, in each.
        drop_last: Leave out the last batch of an epoch where it has fewer rows than the others.
            Batch normalisation cannot take a batch of one.
        learning_rate: The rate of Adam. It is not used when `optimizer` is given.
        optimizer: Makes a torch optimiser from the parameters, for example
            `partial(torch.optim.RMSprop, lr=1e-3)`.
        schedule: Makes a learning-rate schedule from the optimiser. It steps after each epoch.
            `ReduceLROnPlateau` is given minus the ELBO.
        objective: A module made of the same pair whose `forward(*batch)` is the loss. Or a bound,
            `ImportanceWeighted(5)` for `Objective(pair, ImportanceWeighted(5))`. By default
            `Objective(pair)`.
        validation: x, or a sequence that begins with x. It is measured after each epoch.
        patience: Stop after so many epochs without a better validation ELBO, and keep the best
            weights.
        transform: Applied to x of each batch anew. `torch.bernoulli` binarises dynamically. The
            validation data get it once.
        device: Where to train. The pair is moved there. On CUDA the data lie there too, and the
            loss is read every 50 steps, so a fault is noticed up to 50 steps late.
        compile: Export the pair once and run compiled code from then on, see `CompiledLoss`. The
            numbers are the same to float rounding. The first step takes some seconds, and each
            further one a fraction of the time. On CUDA with the default optimiser a whole step is
            one CUDA graph.
        precision: "bf16" lets the networks' matrix products run in bfloat16, and leaves everything
            else as it was.
        checkpoint: A file that always holds a state from which the run can go on. While it runs, a
            lock beside it keeps other runs away.
        checkpoint_every: Seconds between two writings of it. With 0 it is written after every step.
        resume: Go on from the checkpoint, if it is there. The weights become equal bit for bit to
            those of a run that was never interrupted. The arguments must be those of that run, but
            for `epochs`, `device`, `compile`, `callback` and what is shown and written.
            Kept are the generators of samplers, data sets, transforms and modules. A count of their
            own, or the random state of workers that persist, is not.
        seed: Random seed, for torch, NumPy and Python. By default it is drawn from torch's
            generator. A generator that data, transform or modules have for themselves goes on from
            where it is, and a checkpoint keeps its state.
        progress: Show a progress bar, in a terminal or notebook.
        callback: Called with the history after each epoch. The run stops if it returns True, and
            stays stopped when it is resumed with a callback. The checkpoint is written after it,
            with what it has changed of the weights, the optimiser, or plain attributes of modules.

    Returns:
        The `History`.

    Warns if the run diverged: the loss of the last epoch is far above what it was.

    Raises:
        TypeError, ValueError: if an argument, the data or the checkpoint does not fit, or if the
            pair has no weight per datum. It says which and why.
        RuntimeError: if the pair cannot be compiled, with the line at fault, or if another thread
            is in `fit`.
        FloatingPointError: if the loss or a weight becomes NaN or infinite, with the epoch, the
            step, the site or parameter at fault, and the last good checkpoint.
        OSError: if the checkpoint cannot be written. The last one stays whole, and the pair keeps
            what it has learned.
        KeyboardInterrupt: on Ctrl-C, SIGTERM or SIGHUP, after the step under way, with the
            checkpoint written. A signal that is ignored stays ignored. If you have a handler for a
            signal, the checkpoint is written and your handler is called, and unless it raises the
            run goes on.

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
    settings = Settings(
        epochs=epochs,
        batch_size=batch_size,
        drop_last=drop_last,
        learning_rate=learning_rate,
        optimizer=optimizer,
        schedule=schedule,
        objective=objective,
        validation=validation,
        patience=patience,
        transform=transform,
        device=device,
        compile=compile,
        precision=precision,
        checkpoint=checkpoint,
        checkpoint_every=checkpoint_every,
        resume=resume,
        seed=seed,
        progress=progress,
        callback=callback,
    )
    with take_turn(), _claim(settings):
        return _fit(pair, data, settings)


@contextmanager
def _claim(settings: Settings) -> Iterator[None]:
    """Inside this context the checkpoint belongs to this run, if there is one."""
    if settings.path is None:
        yield
        return
    with entered_by_first(partial(claimed, settings.path)):
        # another run may have ended since the settings were checked
        ask_first(settings.check_free)
        yield


def _fit(pair: nn.Module, data: tuple, settings: Settings) -> History:
    check_pair(pair)
    objective = _choose_objective(pair, settings.objective)
    device = _place(pair, settings.device)
    saved = ask_first(partial(_read_saved, settings))
    seed = _choose_seed(settings, saved)

    early = _count_early(pair, objective, data, settings)
    with fork(device), spared_threads(early, STEP):
        seed_all(seed)
        generators = _find_generators(objective, data, settings)
        own = _rewind(generators, objective, saved, settings)
        batches = make_batches(
            pair, data, device, settings.transform, settings.batch_size, settings.drop_last
        )
        _check_training(pair, objective, batches)
        held_out = _choose_held_out(pair, batches, settings)
        optimizer = _choose_optimizer(objective.to(device), settings, device)
        schedule = _choose_schedule(optimizer, settings)

        # whatever was drawn until here, training draws from its seed
        seed_all(seed)
        given = _describe_given(settings, batches, held_out, optimizer, schedule, generators)
        origin = Origin(seed, partial(_describe_now, given, pair, objective, settings), own)
        state = State(pair, objective, optimizer, schedule, device, origin, generators)
        watch = Watch(pair, objective, state, settings.path)
        keeper = _make_keeper(settings, watch)
        if saved is not None:
            state.unpack(saved, str(settings.path))
        if settings.callback is None:  # nobody is left who stopped it
            state.record.is_stopped = False

        loop = Loop(
            objective=objective,
            batches=batches,
            take_step=_make_step(objective, optimizer, watch, settings, batches),
            held_out=HeldOut(pair, held_out, seed + 1),
            watch=watch,
            epochs=settings.epochs,
            patience=settings.patience,
        )
        numbers = count_numbers(held_out[0])
        observers = _list_observers(keeper, state, batches, settings, numbers)
        work = _count_work(pair, objective, batches.batch_size, numbers)
        with (
            _keep_modes(objective),
            unvalidated(),
            spared_threads(work, STEP),
            _compile_if_asked(objective, settings),
        ):
            run(loop, state, observers)

    return state.record.history


def _choose_objective(pair: nn.Module, given: Any) -> nn.Module:
    """The objective that was given, or one of the bound that was given."""
    if given is None or isinstance(given, ELBO):
        return Objective(pair, given)

    check_type(
        "objective",
        given,
        nn.Module,
        "a module made of the pair, pv.Objective(pair), or a bound, pv.ImportanceWeighted(5)",
    )
    if not any(module is pair for module in given.modules()):
        raise ValueError("objective: it was made of another pair than the one to be trained")
    return given


def _place(pair: nn.Module, device: torch.device | str | None) -> torch.device:
    """Move a pair to a device, if one is given. Returns where the pair is."""
    if device is not None:
        pair.to(device)
    return find_device(pair, torch.device(device or "cpu"))


def _read_saved(settings: Settings) -> dict[str, Any] | None:
    """The state of the run to resume, if there is one."""
    if settings.path is None or not settings.path.exists():
        return None
    saved = read_tree(settings.path)
    if "position" not in saved:
        raise ValueError(
            f"checkpoint: {settings.path} holds weights, but no state of a run to resume"
        )
    if "origin" not in saved:
        raise ValueError(
            f"checkpoint: {settings.path} was written by an earlier version of this library; read "
            "its weights with load_weights, and start a new run"
        )
    with reading(str(settings.path), "origin"):
        match(saved["origin"], {"seed": 0, "own": [], "words": {}})
    return saved


def _choose_seed(settings: Settings, saved: dict[str, Any] | None) -> int:
    """The seed that was given, that of the run to resume, or one drawn from torch's generator."""
    if settings.seed is not None:
        return settings.seed
    if saved is not None:
        return saved["origin"]["seed"]
    return ask_first(lambda: int(torch.randint(2**31, ())))


def _find_generators(objective: nn.Module, data: tuple, settings: Settings) -> list:
    """The generators that a checkpoint must keep."""
    if settings.path is None:
        return []
    return find_generators(*data, settings.transform, *objective.modules())


def _rewind(
    generators: list, objective: nn.Module, saved: dict[str, Any] | None, settings: Settings
) -> list:
    """Bring things to where they were when the run started, for the same session may resume it.

    Returns the states of the generators there.
    """
    if saved is not None:
        with reading(str(settings.path), "settings"):
            ModuleSettings(objective).rewind(saved["settings"])
        with reading(str(settings.path), "origin"):
            for generator, state in zip(generators, saved["origin"]["own"], strict=False):
                write_state(generator, state)
    return [read_state(generator) for generator in generators]


def _describe_given(
    settings: Settings,
    batches: Batches,
    held_out: tuple[Tensor, ...],
    optimizer: torch.optim.Optimizer,
    schedule: LRScheduler | None,
    generators: list,
) -> dict[str, str]:
    """What a run is made with beside its modules. What may differ without harm is not in it."""
    if settings.path is None:
        return {}
    words = {"precision": describe(settings.precision), "patience": describe(settings.patience)}
    words |= batches.describe()
    words["validation"] = "none" if settings.validation is None else "given"
    # another device draws otherwise
    words[f"validation on {batches.device.type}"] = describe(held_out)
    words["generators"] = describe(generators)
    words |= describe_optimizer(optimizer)
    if settings.optimizer is None:
        words["learning_rate"] = words.pop("optimizer.lr")
    return words | describe_schedule(schedule)


def _describe_now(
    given: dict[str, str], pair: nn.Module, objective: nn.Module, settings: Settings
) -> dict[str, str]:
    """What a run is made with, where objects may have changed since it started."""
    if settings.path is None:
        return {}
    modules = describe_modules(pair, objective)
    # what explains other differences comes first
    return describe_parts("transform", settings.transform) | modules | given


def _check_training(pair: nn.Module, objective: nn.Module, batches: Batches) -> None:
    """Let the pair and the parts of its objective refuse the training data as a whole."""
    if batches.whole is None:
        return
    if isinstance(pair, ChecksData):
        pair.check_training(*batches.whole)
    for part in objective.modules():
        if isinstance(part, Loss):
            part.check_training(*batches.whole)


def _choose_held_out(pair: nn.Module, batches: Batches, settings: Settings) -> tuple[Tensor, ...]:
    if settings.validation is None:
        return batches.take_first()
    return admit_validation(pair, settings.validation, batches.device, settings.transform)


def _choose_optimizer(
    objective: nn.Module, settings: Settings, device: torch.device
) -> torch.optim.Optimizer:
    parameters = [p for p in objective.parameters() if p.requires_grad]
    if not parameters:
        raise ValueError("pair: it has no parameters to train")

    if settings.optimizer is not None:
        return make_optimizer(settings.optimizer, parameters)
    return make_adam(parameters, settings.learning_rate, _is_captured(settings, device))


def _is_captured(settings: Settings, device: torch.device) -> bool:
    """Whether a whole step is one CUDA graph."""
    is_alone = count_processes() == 1
    return settings.compile and device.type == "cuda" and settings.optimizer is None and is_alone


def _choose_schedule(optimizer: torch.optim.Optimizer, settings: Settings) -> LRScheduler | None:
    if settings.schedule is None:
        return None
    return make_schedule(settings.schedule, optimizer)


def _make_step(
    objective: nn.Module,
    optimizer: torch.optim.Optimizer,
    watch: Watch,
    settings: Settings,
    batches: Batches,
) -> Step | CapturedStep:
    if count_processes() > 1:
        return SharedStep(
            objective=objective,
            optimizer=optimizer,
            precision=settings.precision,
            check=watch.check_loss,
            noise=batches.noise,
            is_compiled=settings.compile or has_compiled(objective),
        )
    step = Step(objective, optimizer, settings.precision, watch.check_loss)
    if _is_captured(settings, batches.device):
        return CapturedStep(step)
    return step


def _make_keeper(settings: Settings, watch: Watch) -> Checkpoint | NoCheckpoint:
    if settings.path is None:
        return NoCheckpoint(watch)
    return Checkpoint(settings.path, settings.checkpoint_every, watch)


def _list_observers(
    keeper: Checkpoint | NoCheckpoint,
    state: State,
    batches: Batches,
    settings: Settings,
    numbers: int,
) -> list[Observer]:
    """Who looks on, in the order in which they are told."""
    bar = Bar(state, settings.epochs, len(batches), settings.progress)
    # a checkpoint is written after the callback, with what that has changed
    called = [] if settings.callback is None else [Callback(settings.callback, batches.device)]
    # with patience the best weights are put back
    last = [] if settings.patience is not None else [Divergence(numbers)]
    return [bar, *called, keeper, *last, Interrupts(keeper)]


def _count_early(pair: nn.Module, objective: nn.Module, data: tuple, settings: Settings) -> float:
    """The products of a step before the data are looked at. Of a loader they are not known yet."""
    if not data or not isinstance(data[0], Tensor | np.ndarray):
        return STEP
    return _count_work(pair, objective, settings.batch_size, math.prod(data[0].shape[1:]))


def _count_work(pair: nn.Module, objective: nn.Module, rows: int, numbers: int) -> float:
    """The products of a step: those of a row, for all rows and draws of a batch."""
    draws = [part.num_draws for part in objective.modules() if isinstance(part, Objective)]
    return rows * max(draws, default=1) * count_products(pair, numbers)


def _compile_if_asked(objective: nn.Module, settings: Settings) -> AbstractContextManager:
    if settings.compile:
        return compile_inside(objective)
    return nullcontext()


@contextmanager
def _keep_modes(objective: nn.Module) -> Iterator[None]:
    """Put every module back into training or evaluation mode afterwards."""
    modes = [(module, module.training) for module in objective.modules()]
    try:
        yield
    finally:
        for module, mode in modes:
            module.training = mode
