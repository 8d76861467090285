"""What a run was made with, in words, so that no other run goes on from its checkpoint."""

import hashlib
import inspect
import re
import zlib
from collections.abc import Callable, Mapping
from functools import partial
from itertools import islice
from types import CodeType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from pyro_vae.training.checkpoints import OBJECTIVE, PAIR
from pyro_vae.training.kept import Kept
from pyro_vae.training.randomness import GENERATORS, find_held

READ = 2**26  # bytes of data that are read; of more, rows that are evenly spaced
LONG = 400  # characters of a description, at most
MANY = 1000  # items of a collection that are read
SHOWN = 4  # differences that are named
DEPTH = 4  # how far objects in objects are described
HOW = ("fused", "foreach", "capturable", "differentiable")  # how an optimiser computes, not what
PLAIN = (bool, int, float, str, type(None))
TORCHS = vars(nn.Module()).keys()  # attributes that every module has


class Origin(Kept):
    """What a run was made with: its seed, and words by name.

    What changes within the run, as a count that a module keeps, is not held against who resumes.

    Arguments:
        seed: The seed.
        describe: What the run is made with as it is now. It is called again with each checkpoint.
        own: The states of generators that data, transform and modules had when the run started.
    """

    def __init__(self, seed: int, describe: Callable[[], dict[str, str]], own: list):
        self.seed = seed
        self.describe = describe
        self.own = own
        self.start = describe()

    def pack(self) -> dict[str, Any]:
        now = self.describe()
        same = {name: words for name, words in self.start.items() if now.get(name) == words}
        return {"seed": self.seed, "own": self.own, "words": same}

    def unpack(self, saved: dict[str, Any], source: str) -> None:
        then = saved["words"] | {"seed": str(saved["seed"])}
        now = self.start | {"seed": str(self.seed)}
        differing = [name for name in then if name in now and now[name] != then[name]]
        if differing:
            named = [f"{name}: expected {then[name]}, got {now[name]}" for name in differing]
            more = f"; and {len(named) - SHOWN} more" if len(named) > SHOWN else ""
            raise ValueError(
                f"checkpoint: the run in {source} was made otherwise. {'; '.join(named[:SHOWN])}"
                f"{more}. Resume with the arguments of that run, or start another one"
            )


def describe_modules(pair: nn.Module, objective: nn.Module) -> dict[str, str]:
    """Each module of a pair, and those that the objective has beside it, with their attributes.

    Example:
        >>> vae = pv.VAE(
        ...     prior=pv.StandardNormal(2),
        ...     likelihood=pv.Normal(3, given=2),
        ...     variational=pv.Normal(2, given=3),
        ... )
        >>> describe_modules(vae, pv.Objective(vae))["pair.variational.net.body.2"]
        'ReLU()'
    """
    pairs = {id(module): PAIR + path for path, module in pair.named_modules()}
    words: dict[str, str] = {}
    for path, module in objective.named_modules():
        name = pairs.get(id(module), OBJECTIVE + path).rstrip(".")
        children = ", ".join(key for key, _ in module.named_children())
        words[name] = f"{type(module).__qualname__}({children})"
        words |= {f"{name}.{key}": text for key, text in _describe_attributes(module).items()}
    return words


def _describe_attributes(module: nn.Module) -> dict[str, str]:
    own = _choose_shown({key: v for key, v in vars(module).items() if key not in TORCHS})
    tensors = dict(module.named_buffers(recurse=False))
    types = {key: p.dtype for key, p in module.named_parameters(recurse=False)}

    words: dict[str, str] = {}
    for key, value in {**own, **tensors, **types}.items():
        words |= describe_parts(key, value)
    return words


def describe_parts(name: str, value: Any) -> dict[str, str]:
    """A value, each attribute by itself where it is an object, as some may change within a run.

    Example:
        >>> describe_parts("bound", pv.ImportanceWeighted(5))["bound.num_particles"]
        '5'
    """
    if not _is_object(value):
        return {name: describe(value)}
    parts = {f"{name}.{key}": describe(part) for key, part in _choose_shown(vars(value)).items()}
    return {name: type(value).__qualname__} | parts


def _choose_shown(attributes: Mapping[str, Any]) -> dict[str, Any]:
    """Those that say what an object is. What is private may be a cache, of any size."""
    return {k: v for k, v in attributes.items() if not k.startswith("_") or isinstance(v, PLAIN)}


def _is_object(value: Any) -> bool:
    """Whether a value is described by its attributes."""
    is_said = isinstance(value, (*GENERATORS, Tensor, np.ndarray, type, nn.Module, partial))
    return not is_said and not inspect.isroutine(value) and hasattr(value, "__dict__")


def describe_optimizer(optimizer: Optimizer) -> dict[str, str]:
    """The class of an optimiser and the options of its groups, but not how it computes.

    Example:
        >>> describe_optimizer(torch.optim.SGD([torch.zeros(1)], lr=0.1))["optimizer.lr"]
        '0.1'
    """
    words = {"optimizer": type(optimizer).__qualname__}
    for i, group in enumerate(optimizer.param_groups):
        name = f"optimizer.group {i}" if i else "optimizer"
        options = {k: v for k, v in group.items() if k not in ("params", *HOW)}
        words |= {f"{name}.{key}": describe(value) for key, value in options.items()}
    return words


def describe_schedule(schedule: Any) -> dict[str, str]:
    """The class of a schedule, and its settings.

    Example:
        >>> describe_schedule(None)
        {'schedule': 'None'}
    """
    if schedule is None:
        return {"schedule": "None"}
    settings = {key: value for key, value in vars(schedule).items() if key != "optimizer"}
    parts = {f"schedule.{key}": describe(value) for key, value in settings.items()}
    return {"schedule": type(schedule).__qualname__} | parts


def describe(value: Any, depth: int = DEPTH) -> str:
    """A value in words that are the same in another process, if it is made in the same way.

    Example:
        >>> describe(partial(torch.optim.SGD, lr=0.1))
        'SGD(lr=0.1)'
        >>> describe(torch.zeros(2, 3))
        'float32 (2, 3) a3c1ca20'
    """
    try:
        text = _describe(value, depth)
    except Exception:  # no value, of whatever kind, keeps a run from starting
        text = type(value).__qualname__
    if len(text) <= LONG:
        return text
    return f"{text[: LONG // 2]}... {hashlib.sha256(text.encode()).hexdigest()[:8]}"


def _describe(value: Any, depth: int) -> str:
    if isinstance(value, float):
        return f"{value:.7g}"  # a rate in a tensor has no more digits
    if isinstance(value, (*PLAIN, np.generic, torch.dtype, torch.device)):
        return str(value) if not isinstance(value, str) else repr(value)
    if isinstance(value, np.ndarray) and value.dtype.kind not in "biufc":
        value = value.tolist()
    if isinstance(value, Tensor | np.ndarray):
        return _describe_tensor(torch.as_tensor(value))
    if isinstance(value, (type, Optimizer, *GENERATORS)) or depth == 0:
        kind = value if isinstance(value, type) else type(value)
        return kind.__qualname__
    if isinstance(value, list | tuple | dict | set | frozenset):
        return _describe_collection(value, depth - 1)
    if callable(value):
        return _describe_function(value, depth - 1)
    return _describe_object(value, depth - 1)


def _describe_tensor(tensor: Tensor) -> str:
    if tensor.ndim == 0:
        return _describe(tensor.item(), 1)
    kind = str(tensor.dtype).removeprefix("torch.")
    return f"{kind} {tuple(tensor.shape)} {sum_up_rows(tensor)}"


def sum_up_rows(tensor: Tensor) -> str:
    """A checksum of a tensor of any size. Of many bytes it takes rows that are evenly spaced.

    Example:
        >>> sum_up_rows(torch.zeros(3))
        '7bd5c66f'
    """
    if tensor.layout is not torch.strided or tensor.is_quantized:
        return "unread"
    step = max(1, tensor.nbytes // READ)
    rows = tensor.detach()[::step].cpu().clone(memory_format=torch.contiguous_format)
    return f"{zlib.crc32(rows.reshape(-1).view(torch.uint8).numpy().data):08x}"


def _describe_collection(value: Any, depth: int) -> str:
    more = f" and more, {len(value)} in all" if len(value) > MANY else ""
    if isinstance(value, dict):
        items = list(islice(value.items(), MANY))
        return f"{{{', '.join(f'{k}: {_describe(v, depth)}' for k, v in items)}{more}}}"
    words = [_describe(item, depth) for item in islice(value, MANY)]
    if isinstance(value, set | frozenset):
        words.sort()
    return f"[{', '.join(words)}{more}]"


def _describe_function(value: Callable, depth: int) -> str:
    if isinstance(value, partial):
        given = [_describe(arg, depth) for arg in value.args]
        given += [f"{name}={_describe(arg, depth)}" for name, arg in value.keywords.items()]
        return f"{_describe(value.func, depth)}({', '.join(given)})"
    if inspect.isfunction(value):
        around = find_held(value).items()
        held = ", ".join(f"{name}={_describe(part, depth)}" for name, part in around)
        # only a lambda has no name that says what it does
        code = f" {_sum_up_code(value.__code__)}" if value.__name__ == "<lambda>" else ""
        return f"{value.__qualname__}{code}" + (f"({held})" if held else "")
    if inspect.ismethod(value):
        return f"{_describe(value.__self__, depth)}.{value.__name__}"
    if inspect.isroutine(value):
        return value.__qualname__
    return _describe_object(value, depth)


def _describe_object(value: Any, depth: int) -> str:
    if isinstance(value, nn.Module):
        return re.sub(r"\s+", " ", re.sub(r" at 0x\w+", "", repr(value)))
    shown = _choose_shown(vars(value)) if _is_object(value) else {}
    words = [f"{name}={_describe(part, depth)}" for name, part in shown.items()]
    return f"{type(value).__qualname__}({', '.join(words)})"


def _sum_up_code(code: CodeType) -> str:
    inner = [_sum_up_code(c) if isinstance(c, CodeType) else repr(c) for c in code.co_consts]
    text = f"{code.co_code!r} {inner} {code.co_names} {code.co_varnames}"
    return hashlib.sha256(text.encode()).hexdigest()[:8]
