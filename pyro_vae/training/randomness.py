"""Random states: how they are found, kept, put back, and left alone."""

import random
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from types import CellType, FunctionType, MethodType, ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pyro_vae.training.kept import Kept

GENERATORS = (torch.Generator, np.random.Generator, np.random.RandomState, random.Random)
OPAQUE = (Tensor, np.ndarray, ModuleType, type, str, bytes, int, float)  # hold no generator
GLOBAL = (random, np.random)  # modules with a generator that all share
DEPTH = 6  # how far generators are looked for, from object to object
LONG = 100  # a list that is longer holds data


@contextmanager
def fork(device: torch.device) -> Iterator[None]:
    """Inside this context random draws are free. Afterwards the random states are as they were.

    They are those of torch, NumPy and Python.
    """
    states = [read_state(generator) for generator in GLOBAL]
    try:
        with torch.random.fork_rng(devices=_list_cuda(device)):
            yield
    finally:
        for generator, state in zip(GLOBAL, states, strict=True):
            write_state(generator, state)


def seed_all(seed: int) -> None:
    """Seed torch, NumPy and Python. Call it inside `fork`."""
    torch.manual_seed(seed)
    np.random.seed(seed % 2**32)
    random.seed(seed)


def find_generators(*roots: Any) -> list:
    """The generators that objects have for themselves, in a fixed order.

    It looks into attributes, short lists, and what functions refer to, and not into what was
    compiled or is beyond a few steps.

    Example:
        >>> noise = torch.Generator()
        >>> find_generators(lambda x: torch.bernoulli(x, generator=noise)) == [noise]
        True
    """
    found: list = []
    seen: set[int] = set()
    level = list(roots)
    for _ in range(DEPTH):
        fresh = [item for item in level if not isinstance(item, OPAQUE) and id(item) not in seen]
        # an object that stands twice is one
        fresh = list({id(item): item for item in fresh}.values())
        seen |= {id(item) for item in fresh}
        found += [item for item in fresh if isinstance(item, GENERATORS)]
        level = [inner for item in fresh for inner in _look_inside(item)]
    return found


def find_held(function: FunctionType) -> dict[str, Any]:
    """What a function holds from the functions around it, by name.

    Example:
        >>> find_held(pv.linear(4))
        {'steps': 4, 'to': 1.0}
    """
    held = zip(function.__code__.co_freevars, function.__closure__ or (), strict=True)
    # a cell is empty until its name is bound
    return {name: cell.cell_contents for name, cell in held if cell != CellType()}


def _look_inside(item: Any) -> list:
    if isinstance(item, FunctionType):
        named = [item.__globals__.get(name) for name in item.__code__.co_names]
        return [*find_held(item).values(), *named, *(item.__defaults__ or ())]
    if isinstance(item, MethodType):
        return [item.__self__, item.__func__]
    if isinstance(item, partial):
        return [item.func, *item.args, *item.keywords.values()]
    if isinstance(item, dict):
        item = list(item.values())
    if isinstance(item, list | tuple):
        return list(item) if len(item) <= LONG else []
    try:
        return list(vars(item).values())
    except Exception:  # it has no attributes, or does not show them
        return []


class RandomStates(Kept):
    """The random states of torch, on the CPU and on the device that trains, of NumPy and of Python.

    Arguments:
        device: The device.
        own: Generators that data, transforms and modules have for themselves.
    """

    def __init__(self, device: torch.device, own: list | None = None):
        self.cuda = _list_cuda(device)
        self.own = own or []

    def pack(self) -> dict[str, Any]:
        return {
            "cpu": torch.get_rng_state(),
            "cuda": [torch.cuda.get_rng_state(device) for device in self.cuda],
            "global": [read_state(generator) for generator in GLOBAL],
            "own": [read_state(generator) for generator in self.own],
        }

    def unpack(self, saved: dict[str, Any], source: str) -> None:
        try:
            self._unpack(saved)
        except ValueError as error:
            raise ValueError(
                f"checkpoint: {source} is of other random generators: {error}"
            ) from None

    def _unpack(self, saved: dict[str, Any]) -> None:
        torch.set_rng_state(saved["cpu"])
        for device, state in zip(self.cuda, saved["cuda"], strict=False):
            torch.cuda.set_rng_state(state, device)
        for generator, state in zip(GLOBAL, saved["global"], strict=True):
            write_state(generator, state)
        for generator, state in zip(self.own, saved["own"], strict=True):
            write_state(generator, state)


class EpochStart(Kept):
    """The random states at the start of the epoch, from which its batches follow.

    Arguments:
        random: The random states of the run.
    """

    def __init__(self, random: RandomStates):
        self.random = random
        self.mark()

    def mark(self) -> None:
        """An epoch starts here."""
        self.states = self.random.pack()

    @contextmanager
    def recalled(self) -> Iterator[None]:
        """Inside this context what the epoch drew is drawn again. Afterwards all is as it was."""
        here = self.random.pack()
        self.random.unpack(self.states, "memory")
        try:
            yield
        finally:
            self.random.unpack(here, "memory")

    def pack(self) -> dict[str, Any]:
        return self.states

    def unpack(self, saved: dict[str, Any], source: str) -> None:
        here = self.random.pack()
        self.random.unpack(saved, source)  # it refuses what is no state
        self.random.unpack(here, source)
        self.states = saved


def _list_cuda(device: torch.device) -> list[torch.device]:
    return [device] if device.type == "cuda" else []


def read_state(generator: Any) -> Any:
    """The state of a generator, as a tree of tensors and values that JSON has."""
    if isinstance(generator, torch.Generator):
        return generator.get_state()
    if isinstance(generator, np.random.Generator):
        return _pack_arrays(generator.bit_generator.state)
    if generator is np.random or isinstance(generator, np.random.RandomState):
        return _pack_arrays(generator.get_state(legacy=False))
    version, words, gauss = generator.getstate()
    return {"version": version, "words": torch.tensor(words), "gauss": gauss}


def write_state(generator: Any, state: Any) -> None:
    """Put the state of a generator back."""
    if isinstance(generator, torch.Generator):
        generator.set_state(state)
    elif isinstance(generator, np.random.Generator):
        generator.bit_generator.state = _unpack_arrays(state)
    elif generator is np.random or isinstance(generator, np.random.RandomState):
        generator.set_state(_unpack_arrays(state))
    else:
        words = tuple(state["words"].tolist())
        generator.setstate((state["version"], words, state["gauss"]))


def _pack_arrays(state: Mapping[str, Any]) -> dict[str, Any]:
    packed = {}
    for name, value in state.items():
        if isinstance(value, dict):
            value = _pack_arrays(value)
        elif isinstance(value, np.ndarray):
            value = {
                "dtype": str(value.dtype),
                "words": torch.from_numpy(value.copy().view(np.int32)),
            }
        packed[name] = value
    return packed


def _unpack_arrays(state: Mapping[str, Any]) -> dict[str, Any]:
    unpacked = {}
    for name, value in state.items():
        if isinstance(value, dict) and value.keys() == {"dtype", "words"}:
            value = value["words"].numpy().view(value["dtype"])
        elif isinstance(value, dict):
            value = _unpack_arrays(value)
        unpacked[name] = value
    return unpacked
