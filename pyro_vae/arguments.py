"""The checks of plain arguments: a whole number, a number within limits."""

import math


def whole(name: str, value: int, least: int = 1) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError(f"{name}: expected a whole number, got {value!r}")
    if value < least:
        raise ValueError(f"{name}: expected at least {least}, got {value}")
    return value


def within(name: str, value: float, low: float = -math.inf, high: float = math.inf) -> float:
    if not math.isfinite(value) or not low <= value <= high:
        limits = (
            f"within [{low:g}, {high:g}]"
            if high < math.inf
            else f"of at least {low:g}"
            if low > -math.inf
            else ""
        )
        raise ValueError(f"{name}: expected a finite number {limits}".rstrip() + f", got {value}")
    return float(value)
