"""Progress of long work: a bar in a terminal or notebook, silence elsewhere.

Of several processes the first shows it.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from weakref import WeakSet

from tqdm.auto import tqdm

from pyro_vae.arguments import check_flag
from pyro_vae.processes import is_first

_bars: WeakSet[tqdm] = WeakSet()


def progress_bar(total: int, description: str, *, show: bool = True, unit: str = "step") -> tqdm:
    """A bar over `total` units of work, disabled where nobody would see it."""
    show = check_flag("progress", show)
    seen = is_notebook() or sys.stderr.isatty()
    bar = tqdm(
        total=total,
        desc=description,
        unit=unit,
        disable=not (show and seen and is_first()),
        dynamic_ncols=True,
        leave=False,
    )
    _bars.add(bar)
    return bar


def is_notebook() -> bool:
    """Whether this process is the kernel of a notebook, and has not only imported one.

    Example:
        >>> is_notebook()
        False
    """
    kernel = sys.modules.get("ipykernel.kernelapp")
    return kernel is not None and kernel.IPKernelApp.initialized()


@contextmanager
def noted(text: str) -> Iterator[None]:
    """Inside this context the bars that are shown say so beside their numbers."""
    before = [(bar, bar.postfix) for bar in _bars if not bar.disable]
    for bar, _ in before:
        bar.set_postfix_str(text)
    try:
        yield
    finally:
        for bar, postfix in before:
            bar.set_postfix_str(postfix or "")
