"""One torch optimiser over all parameters, for stock `SVI`."""

import inspect
from collections.abc import Callable, Iterable
from typing import Any

import pyro
import torch
from pyro.optim import PyroOptim
from torch import Tensor

from pyro_vae.arguments import check_function, say


class FusedOptim(PyroOptim):
    """A `PyroOptim` that steps all parameters in one call. Pyro's steps them one by one in Python.

    The torch optimiser is made at the first step, with `fused=True` where it has that. A parameter
    that appears later joins as a group of its own.

    Arguments:
        optim_constructor: A class of `torch.optim`.
        optim_args: Its arguments. Either a dictionary, or a function that returns one for the name
            of a parameter.
        clip_args: `clip_norm` or `clip_value` for the gradient of each parameter, as in Pyro.

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
        check_function("optim_constructor", optim_constructor, "a class of torch.optim")
        if not isinstance(optim_args, dict) and not callable(optim_args):
            raise TypeError(
                "optim_args: expected a dictionary of options, or a function of the name of a "
                f"parameter that returns one, got {say(optim_args)}"
            )
        super().__init__(optim_constructor, optim_args, clip_args)

        self.optimizer: torch.optim.Optimizer | None = None
        self._constructor = optim_constructor
        self._options = optim_args
        self._names: list[str] = []
        self._known: dict[Tensor, None] = {}
        self._waiting: dict[str, Any] | None = None

    def __call__(self, params: Iterable[Tensor], *args, **kwargs) -> None:
        """Take one step with all parameters, and forget their gradients."""
        params = list(params)

        optimizer = self._add([p for p in params if p not in self._known])
        if self.pt_clip_args:
            for p in params:
                self._clip_grad(p, **self.pt_clip_args)
        optimizer.step(*args, **kwargs)
        # Pyro would fill them with zeros, and the next backward would add to those
        for p in params:
            p.grad = None

    def get_state(self) -> dict:
        """The names of the parameters and the state of the optimiser, for `set_state`."""
        state = {} if self.optimizer is None else self.optimizer.state_dict()
        return {"names": self._names, "optimizer": state}

    def set_state(self, state_dict: dict) -> None:
        """Go on from what `get_state` returned, at once or as soon as those parameters appear.

        Raises:
            ValueError: if it is the state of an optimiser of other parameters, or of another kind.
        """
        if set(state_dict) != {"names", "optimizer"}:
            raise ValueError(
                "state_dict: expected what get_state returns, got a dictionary of "
                f"{list(state_dict)}"
            )

        if self.optimizer is None:
            self._waiting = state_dict
            return
        if state_dict["names"] != self._names:
            raise ValueError(
                f"state_dict: expected a state of {self._names}, got one of {state_dict['names']}"
            )
        self.optimizer.load_state_dict(state_dict["optimizer"])

    def _add(self, new: list[Tensor]) -> torch.optim.Optimizer:
        """Let new parameters join, and return the optimiser of all."""
        if self.optimizer is not None and not new:
            return self.optimizer

        store = pyro.get_param_store()
        named = sorted((store.param_name(p), p) for p in new)
        groups = self._group(named)
        if self.optimizer is None:
            self.optimizer = self._constructor(groups, **self._choose_options())
        else:
            for group in groups:
                self.optimizer.add_param_group(group)
        self._names += [name for name, _ in named]
        self._known.update(dict.fromkeys(new))

        if self._waiting is not None:
            waiting, self._waiting = self._waiting, None
            self.set_state(waiting)
        return self.optimizer

    def _group(self, named: list[tuple[str, Tensor]]) -> list[dict]:
        """One group of parameters, or one for each where each has options of its own."""
        if callable(self._options):
            return [{"params": [p], **self._get_optim_args(p)} for _, p in named]
        return [{"params": [p for _, p in named]}]

    def _choose_options(self) -> dict:
        """The options of all groups, with the fused step where there is one."""
        options = {} if callable(self._options) else dict(self._options)
        accepted = inspect.signature(self._constructor).parameters
        if "fused" in accepted and not {"fused", "foreach"} & options.keys():
            options["fused"] = True
        return options
