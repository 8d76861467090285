"""The checks of plain arguments: whole numbers, numbers within limits, functions, modules."""

import math
import operator
from collections.abc import Iterable, Sequence
from numbers import Real
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

MOST = 2**63 - 1  # torch counts no further
SEEDS = 2**64 - 2  # a seed and the one after it are taken


def check_whole(name: str, value: Any, least: int = 1, most: int = MOST) -> int:
    """A whole number as an int. NumPy's whole numbers are welcome, truth values are not.

    Raises:
        TypeError: if it is no whole number.
        ValueError: if it is below `least` or above `most`.

    Example:
        >>> check_whole("epochs", 5)
        5
    """
    expected = "a positive whole number" if least == 1 else f"a whole number of at least {least}"
    message = f"{name}: expected {expected}, got {say(value)}"

    if isinstance(value, bool):
        raise TypeError(message)
    try:
        number = operator.index(value)
    except TypeError:
        raise TypeError(message) from None
    if number < least:
        raise ValueError(message)
    if number > most:
        raise ValueError(f"{name}: expected a whole number of at most {most}, got {say(value)}")

    return number


def check_seed(name: str, value: int) -> int:
    """A random seed as an int.

    Raises:
        TypeError: if it is no whole number.
        ValueError: if it is negative, or torch has no such seed.

    Example:
        >>> check_seed("seed", 0)
        0
    """
    return check_whole(name, value, least=0, most=SEEDS)


def check_positive(name: str, value: float) -> float:
    """A finite number above 0 as a float.

    Raises:
        TypeError: if it is no number.
        ValueError: if it is not positive or not finite.

    Example:
        >>> check_positive("learning_rate", 1e-3)
        0.001
    """
    message = f"{name}: expected a positive number, got {say(value)}"

    if not is_real_number(value):
        raise TypeError(message)
    if not 0 < value < math.inf:
        raise ValueError(message)

    return float(value)


def check_within(name: str, value: float, low: float = -math.inf, high: float = math.inf) -> float:
    """A finite number between two limits, which it may reach, as a float.

    Raises:
        TypeError: if it is no number.
        ValueError: if it is not finite or beyond a limit.

    Example:
        >>> check_within("beta", 0.5, 0.0, 1.0)
        0.5
    """
    message = f"{name}: expected a finite number{_describe_limits(low, high)}, got {say(value)}"

    if not is_real_number(value):
        raise TypeError(message)
    if not math.isfinite(value) or not low <= value <= high:
        raise ValueError(message)

    return float(value)


def check_choice(name: str, value: object, choices: Iterable) -> None:
    """Raise a ValueError unless the value is one of the choices.

    Example:
        >>> check_choice("per", "site", ("dimension", "site"))
    """
    choices = list(choices)
    # an array compares with each and has no truth value
    if any(
        value is choice or (type(value) is type(choice) and value == choice) for choice in choices
    ):
        return

    *others, last = map(repr, choices)
    listed = f"{', '.join(others)} or {last}" if others else last
    raise ValueError(f"{name}: expected {listed}, got {say(value)}")


def check_flag(name: str, value: bool) -> bool:
    """A truth value as a bool.

    Raises:
        TypeError: if it is none.

    Example:
        >>> check_flag("compile", True)
        True
    """
    if not isinstance(value, bool | np.bool_):
        raise TypeError(f"{name}: expected True or False, got {say(value)}")
    return bool(value)


def check_type(name: str, value: object, kinds: type | tuple, expected: str) -> None:
    """Raise a TypeError unless the value is of one of the kinds.

    Example:
        >>> check_type("name", "vae", str, "a string")
    """
    if not isinstance(value, kinds):
        raise TypeError(f"{name}: expected {expected}, got {say(value)}")


def check_function(name: str, value: object, expected: str) -> None:
    """Raise a TypeError unless the value can be called.

    Example:
        >>> check_function("transform", abs, "a function of x")
    """
    if not callable(value):
        raise TypeError(f"{name}: expected {expected}, got {say(value)}")


def check_sizes(name: str, values: object) -> tuple[int, ...]:
    """Positive whole numbers as a tuple.

    Raises:
        TypeError: if they are no sequence of whole numbers.
        ValueError: if one is not positive.

    Example:
        >>> check_sizes("hidden", [64, 64])
        (64, 64)
    """
    if not isinstance(values, Sequence) or isinstance(values, str):
        raise TypeError(f"{name}: expected a tuple of positive whole numbers, got {say(values)}")
    return tuple(check_whole(name, value) for value in values)


def check_interval(name: str, values: object) -> tuple[float, float]:
    """Two finite numbers, the lower first.

    Raises:
        TypeError: if they are no two numbers.
        ValueError: if one is not finite, or the first is not the lower one.

    Example:
        >>> check_interval("bounds", (-3, 3))
        (-3.0, 3.0)
    """
    expected = f"{name}: expected two finite numbers (low, high), the lower first, got "
    if not isinstance(values, Sequence) or not all(map(is_real_number, values)):
        raise TypeError(expected + say(values))
    if len(values) != 2 or not -math.inf < values[0] < values[1] < math.inf:
        raise ValueError(f"{expected}{tuple(values)}")
    return float(values[0]), float(values[1])


def as_tensor(name: str, values: object) -> Tensor:
    """A tensor of a tensor, of an array of numbers, or of a list of them.

    Raises:
        TypeError: if it is none of these.

    Example:
        >>> as_tensor("labels", [0, 1, 1])
        tensor([0, 1, 1])
    """
    if isinstance(values, Tensor):
        return values
    try:
        array = np.asarray(values if isinstance(values, np.ndarray | list | tuple) else None)
        return torch.from_numpy(array)
    except (TypeError, ValueError):
        raise TypeError(f"{name}: expected a tensor, got {say(values)}") from None


def check_methods(name: str, value: object, methods: Iterable[str], expected: str) -> None:
    """Raise a TypeError unless it is an object, and no class, with these methods.

    Example:
        >>> check_methods("pair", [], ["append"], "a list")
    """
    has_all = all(callable(getattr(value, method, None)) for method in methods)
    if isinstance(value, type) or not has_all:
        raise TypeError(f"{name}: expected {expected}, got {say(value)}")


def check_pair(pair: object) -> None:
    """Raise a TypeError unless it is a pair, a module with the methods `model` and `guide`.

    Example:
        >>> check_pair(pv.VAE)
        Traceback (most recent call last):
        ...
        TypeError: pair: expected a module with methods model and guide, got the class VAE ...
    """
    expected = "a module with methods model and guide"
    check_methods("pair", pair, ("model", "guide"), expected)
    check_type("pair", pair, nn.Module, expected)


def say_again(error: TypeError | ValueError, message: str) -> TypeError | ValueError:
    """An error of the same kind with another message. Subclasses may take other arguments.

    Example:
        >>> say_again(UnicodeError("x"), "y")
        ValueError('y')
    """
    return TypeError(message) if isinstance(error, TypeError) else ValueError(message)


def say(value: object) -> str:
    """What a value is, in a few words.

    Example:
        >>> say("a"), say(np.zeros((3, 2))), say(nn.Linear)
        ("'a'", 'ndarray of shape (3, 2)', 'the class Linear (make one, Linear(...))')
    """
    if isinstance(value, type):
        return f"the class {value.__name__} (make one, {value.__name__}(...))"
    if isinstance(value, Tensor | np.ndarray):
        return f"{type(value).__name__} of shape {tuple(value.shape)}"
    if value is None or isinstance(value, str | Real):
        return repr(value)
    return type(value).__name__


def is_real_number(value: object) -> bool:
    """Whether it is a number, of Python or NumPy, and no truth value."""
    return isinstance(value, Real) and not isinstance(value, bool)


def _describe_limits(low: float, high: float) -> str:
    if high < math.inf:
        return f" within [{low:g}, {high:g}]"
    if low > -math.inf:
        return f" of at least {low:g}"
    return ""
