"""Random draws of several processes that train together, as one process would draw them."""

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from pyro.poutine.messenger import Messenger
from torch import Tensor, distributed
from torch.overrides import TorchFunctionMode

from pyro_vae.processes import count_processes, find_rank
from pyro_vae.weights.traces import is_plate

# draws of which each number takes as much of the stream, whatever its parameters
IN_PLACE = (Tensor.normal_, Tensor.uniform_)
LIKE = (torch.rand_like, torch.randn_like, torch.bernoulli)
FACTORIES = {torch.rand: Tensor.uniform_, torch.randn: Tensor.normal_}


class Noise:
    """The random draws of one of several processes. Where there is one, nothing changes.

    A process has two streams. The common one is the same in all, and is that of a process alone.
    From it come the order of the data, and the noise of normal, uniform and Bernoulli draws that
    have a row for each datum: it is drawn for the whole batch, and a process takes its rows. All
    other draws come from a stream that each process has by itself, which follows from the common
    one. So a checkpoint needs the state of one stream, whatever the number of processes.

    Arguments:
        device: The device that trains. The common noise is drawn on a CPU alone.

    Attributes:
        common: The state of the common stream, while the other one is drawn from.
        share: The rows of this process, out of those of a batch.
        rows: How many rows the batch has, of all processes.
    """

    common: Tensor

    def __init__(self, device: torch.device):
        self.device = device
        self.base = 0
        self.batch = 0
        self.share = slice(0, 0)
        self.rows = 0

    def start_epoch(self) -> None:
        """Take the common stream of the first process. Call it before an epoch draws anything."""
        self.batch = 0
        if count_processes() == 1:
            return
        state = torch.get_rng_state()
        if distributed.get_backend() == "nccl":
            state = state.to(self.device)
        distributed.broadcast(state, 0)
        torch.set_rng_state(state.cpu())
        state = torch.get_rng_state()
        self.base = int(torch.randint(2**62, ()))
        torch.set_rng_state(state)

    @contextmanager
    def of_batch(self, share: slice, rows: int) -> Iterator[None]:
        """Inside this context a share of the next batch is gathered, and transformed."""
        if count_processes() == 1:
            yield
            return
        self.batch += 1
        self.share, self.rows = share, rows
        with self._draw(0), _Whole(self, 0):
            yield

    @contextmanager
    def of_step(self, is_compiled: bool) -> Iterator[None]:
        """Inside this context a step is taken on it. Compiled code has no common noise."""
        with self._draw(1):
            if is_compiled or self.device.type != "cpu":
                yield
                return
            with _OfSites(self):
                yield

    def draw_common(self, function: Callable[[], Tensor]) -> Tensor:
        """Call a function that draws from the common stream."""
        own = torch.get_rng_state()
        torch.set_rng_state(self.common)
        try:
            return function()
        finally:
            self.common = torch.get_rng_state()
            torch.set_rng_state(own)

    @contextmanager
    def _draw(self, use: int) -> Iterator[None]:
        """Inside this context draws come from this process's own stream."""
        self.common = torch.get_rng_state()
        self._seed(mix_seeds(self.base, self.batch, find_rank(), use))
        try:
            yield
        finally:
            torch.set_rng_state(self.common)

    def _seed(self, seed: int) -> None:
        # torch.manual_seed takes a quarter of a millisecond
        torch.default_generator.manual_seed(seed)
        if self.device.type == "cuda":
            torch.cuda.manual_seed(seed)
        np.random.seed(seed % 2**32)
        random.seed(seed)


class _OfSites(Messenger):
    """Draws the latents of a step with the common noise."""

    def __init__(self, noise: Noise):
        super().__init__()
        self.noise = noise

    def _pyro_sample(self, msg: dict) -> None:
        if msg["is_observed"] or msg["value"] is not None or is_plate(msg):
            return
        with _Whole(self.noise, len(msg["fn"].batch_shape) - 1):
            msg["value"] = msg["fn"](*msg["args"], **msg["kwargs"])


class _Whole(TorchFunctionMode):
    """Inside this context noise is drawn for a whole batch, and a process keeps that of its rows.

    Arguments:
        noise: The draws.
        dim: The dimension of the rows.
    """

    def __init__(self, noise: Noise, dim: int):
        super().__init__()
        self.noise = noise
        self.dim = dim

    def __torch_function__(
        self, function: Any, types: Any, args: tuple = (), kwargs: dict | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if kwargs.get("generator") is not None:
            return function(*args, **kwargs)
        if function in FACTORIES:
            return self._draw(FACTORIES[function], torch.empty(*args, **kwargs))
        if function in IN_PLACE or function in LIKE:
            return self._draw(function, *args, **kwargs)
        return function(*args, **kwargs)

    def _draw(self, function: Callable, like: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        """Draw as a function of a tensor does, if that has the rows of this process."""
        if not self._has_rows(like):
            return function(like, *args, **kwargs)

        whole = self.noise.draw_common(lambda: function(self._widen(like), *args, **kwargs))
        mine = whole.movedim(self.dim, 0)[self.noise.share].movedim(0, self.dim)
        return like.copy_(mine) if function in IN_PLACE else mine.contiguous()

    def _has_rows(self, tensor: Tensor) -> bool:
        share = self.noise.share
        is_there = 0 <= self.dim < tensor.dim()
        return is_there and tensor.shape[self.dim] == share.stop - share.start

    def _widen(self, tensor: Tensor) -> Tensor:
        """A tensor with the rows of all processes. Those of the others are never looked at."""
        shape = list(tensor.shape)
        shape[self.dim] = self.noise.rows
        whole = tensor.new_zeros(shape)
        whole.movedim(self.dim, 0)[self.noise.share] = tensor.movedim(self.dim, 0)
        return whole


def mix_seeds(*seeds: int) -> int:
    """A seed that follows from several.

    Example:
        >>> mix_seeds(1, 2) == mix_seeds(2, 1)
        False
    """
    return int(np.random.SeedSequence(seeds).generate_state(1, np.uint64)[0] >> 1)
