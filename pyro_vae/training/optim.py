"""One torch optimiser over all parameters, for stock `SVI`."""

import inspect
from collections.abc import Callable, Iterable

import pyro
import torch
from pyro.optim import PyroOptim
from torch import Tensor


class FusedOptim(PyroOptim):
    """A `PyroOptim` that steps all parameters in one call, where Pyro's steps them one by one in a Python loop.

    The torch optimiser is made at the first step, with `fused=True` where it has that. A parameter
    that appears later joins as a group of its own.

    Arguments:
        optim_constructor: A class of `torch.optim`.
        optim_args: Its arguments, a dictionary, or a function of the parameter's name that returns
            one.
        clip_args: `clip_norm` or `clip_value` for the gradient of each parameter, as Pyro has it.

    Raises:
        TypeError: if the constructor is none.

    Example:
        >>> optim = FusedOptim(torch.optim.Adam, {"lr": 1e-3})
        >>> p = pyro.param("p", torch.ones(3))
        >>> p.sum().backward()
        >>> optim([p])
        >>> p
        tensor([0.9990, 0.9990, 0.9990], requires_grad=True)
        >>> pyro.clear_param_store()
    """

    def __init__(
        self,
        optim_constructor: Callable[..., torch.optim.Optimizer],
        optim_args: dict | Callable[[str], dict],
        clip_args: dict | None = None,
    ):
        if not callable(optim_constructor):
            raise TypeError(
                f"optim_constructor: expected a class of torch.optim, got {optim_constructor!r}"
            )
        super().__init__(optim_constructor, optim_args, clip_args)
        self.optimizer: torch.optim.Optimizer | None = None
        self._names: list[str] = []
        self._known: dict[Tensor, None] = {}
        self._waiting: dict | None = None

    def __call__(self, params: Iterable[Tensor], *args, **kwargs) -> None:
        params = list(params)
        new = [p for p in params if p not in self._known]
        if new:
            self._add(new)
        for p in params if self.pt_clip_args else ():
            self._clip_grad(p, **self.pt_clip_args)
        self.optimizer.step(*args, **kwargs)
        # Pyro would fill them with zeros, and the next backward add to those
        for p in params:
            p.grad = None

    def _add(self, params: list[Tensor]) -> None:
        store = pyro.get_param_store()
        named = sorted((store.param_name(p), p) for p in params)
        if callable(self.pt_optim_args):
            groups = [{"params": [p], **self._get_optim_args(p)} for _, p in named]
        else:
            groups = [{"params": [p for _, p in named]}]
        if self.optimizer is None:
            options = {} if callable(self.pt_optim_args) else dict(self.pt_optim_args)
            takes = inspect.signature(self.pt_optim_constructor).parameters
            if "fused" in takes and not {"fused", "foreach"} & options.keys():
                options["fused"] = True
            self.optimizer = self.pt_optim_constructor(groups, **options)
        else:
            for group in groups:
                self.optimizer.add_param_group(group)
        self._names += [name for name, _ in named]
        self._known.update(dict.fromkeys(params))
        if self._waiting is not None:
            waiting, self._waiting = self._waiting, None
            self.set_state(waiting)

    def get_state(self) -> dict:
        """The names of the parameters and the state of the optimiser, for `set_state`."""
        return {
            "names": self._names,
            "optimizer": self.optimizer.state_dict() if self.optimizer else {},
        }

    def set_state(self, state_dict: dict) -> None:
        """Go on from what `get_state` returned; at once, or as soon as those parameters have appeared.

        Raises:
            ValueError: if it is the state of an optimiser of other parameters, or of another kind.
        """
        if set(state_dict) != {"names", "optimizer"}:
            raise ValueError(
                f"state_dict: expected what get_state returns, got a dictionary of {list(state_dict)}"
            )
        if self.optimizer is None:
            self._waiting = state_dict
        elif state_dict["names"] != self._names:
            raise ValueError(
                f"state_dict: expected a state of {self._names}, got one of {state_dict['names']}"
            )
        else:
            self.optimizer.load_state_dict(state_dict["optimizer"])
