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
    seen = "ipykernel" in sys.modules or sys.stderr.isatty()
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
