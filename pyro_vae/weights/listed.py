"""Latents that are listed: all their values are weighed at once, and summed over."""

import math
from collections.abc import Callable

import torch
from pyro.poutine.enum_messenger import EnumMessenger
from torch import Tensor

LISTED_DIM = -3  # where the values of a listed latent lie: left of the draws and the data
MOST = 10_000  # combinations of values that are summed over
MOST_NUMBERS = 2**31  # numbers of x that are decoded at once in training, 8 GB in float32
CURE = (
    "leave infer={'enumerate': 'parallel'} away, and train with pv.VIMCO(num_samples) or "
    "pv.ReweightedWakeSleep(num_samples)"
)


class ListValues(EnumMessenger):
    """Inside this context a latent that is marked takes all its values. Others are left alone.

    Each has a dimension of its own, also within `pyro.markov`, because all are summed over at the
    end.

    Raises:
        ValueError: at a site whose values cannot be listed, or with which there are too many
            combinations of values to sum over.
    """

    def __init__(self):
        super().__init__(first_available_dim=LISTED_DIM)
        self._sizes: dict[str, int] = {}

    def _pyro_sample(self, msg: dict) -> None:
        if not is_marked(msg):
            return

        _refuse_unlistable(msg)
        msg["infer"].pop("_markov_scope", None)
        super()._pyro_sample(msg)
        if is_listed(msg):
            self._sizes[msg["name"]] = _count_values(msg)
            _refuse_many(self._sizes)

    def _pyro_post_sample(self, msg: dict) -> None:
        """Nothing is kept for `pyro.markov`."""


def _refuse_unlistable(msg: dict) -> None:
    if msg["fn"].has_enumerate_support:
        return
    raise ValueError(
        f"site {msg['name']!r}: the guide marks it infer={{'enumerate': 'parallel'}}, and the "
        f"values of {msg['fn']} cannot be listed. Leave the mark away, so that it is drawn; or "
        "take a Categorical, a OneHotCategorical or a Bernoulli of a single number"
    )


def _refuse_many(sizes: dict[str, int]) -> None:
    count = math.prod(sizes.values())
    if count > MOST:
        raise ValueError(
            f"the guide lists {count} combinations of values ({_say(sizes)}), and at most {MOST} "
            f"are summed over: {CURE}"
        )


def refuse_large(sizes: dict[str, int], draws: int, x: Tensor) -> None:
    """Raise a ValueError if training would decode too many numbers at once.

    Arguments:
        sizes: How many values each listed latent has, by site.
        draws: Draws of the other latents, for each datum and each combination of values.
        x: The data, `[n, *event]`.
    """
    n, each = x.shape[0], x.shape[1:].numel()
    if not sizes or not isinstance(n, int):
        return  # a symbolic size, in a compiled loss

    total = math.prod(sizes.values()) * draws * n * each
    if total > MOST_NUMBERS:
        raise ValueError(
            f"x: {math.prod(sizes.values())} combinations of listed values ({_say(sizes)}), times "
            f"{draws} draw(s), {n} rows and {each} numbers a row, are {total} numbers at once, and "
            f"at most {MOST_NUMBERS} are taken. Take a smaller batch_size or fewer draws; or {CURE}"
        )


def _say(sizes: dict[str, int]) -> str:
    return ", ".join(f"{name!r} {size}" for name, size in sizes.items())


def find_listed(latents: dict[str, dict]) -> dict[str, int]:
    """How many values each listed latent has, by site, in the order in which the guide lists them.

    Arguments:
        latents: The latent sites of a guide by name.
    """
    return {name: _count_values(site) for name, site in latents.items() if is_listed(site)}


def is_listed(site: dict) -> bool:
    """Whether a site took all its values in this run."""
    return "_enumerate_dim" in site["infer"]


def is_marked(site: dict) -> bool:
    """Whether the guide marks a site to be listed."""
    return site["infer"].get("enumerate") == "parallel"


def _count_values(site: dict) -> int:
    dim = site["infer"]["_enumerate_dim"]
    return site["value"].shape[dim - site["fn"].event_dim]


def find_listed_shape(sizes: dict[str, int]) -> tuple[int, ...]:
    """The dimensions of the listed latents, left of draws and data. The first lies rightmost."""
    return tuple(reversed(sizes.values()))


def score_listed(site: dict, size: int, score: Callable[[dict], Tensor]) -> Tensor:
    """The log-probability of a listed site.

    Where a mask hides the site, because the label of a datum is known for example, it is uniform
    over its values. So it is under p and q alike, and cancels.
    """
    log_p = score(site)
    mask = site["mask"]
    if mask is None:
        return log_p

    mask = torch.as_tensor(mask, device=log_p.device)
    return torch.where(mask, log_p, -math.log(size))


def sum_listed(values: Tensor) -> Tensor:
    """The sum over all dimensions but draws and data."""
    return values.flatten(0, -3).sum(0)


def add_listed(log_values: Tensor) -> Tensor:
    """The logarithm of the sum of exponentials over all dimensions but draws and data."""
    return log_values.flatten(0, -3).logsumexp(0)
