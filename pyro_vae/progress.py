"""Progress of long work: a bar in a terminal or notebook, silence elsewhere.

Of several processes the first shows it.
"""

import sys

from tqdm.auto import tqdm

from pyro_vae.arguments import check_flag
from pyro_vae.processes import is_first


def progress_bar(total: int, description: str, *, show: bool = True, unit: str = "step") -> tqdm:
    """A bar over `total` units of work, disabled where nobody would see it."""
    show = check_flag("progress", show)
    seen = "ipykernel" in sys.modules or sys.stderr.isatty()
    return tqdm(
        total=total,
        desc=description,
        unit=unit,
        disable=not (show and seen and is_first()),
        dynamic_ncols=True,
        leave=False,
    )
