"""A pair with two latents as one page, in which z, q(z | x) and the plane can be dragged.

The page's script is our own, in `explorer/`. Bokeh was looked at: it takes 1.7 MB of the page, its
figures cannot be reached with the keyboard, and all sums would still be scripts of ours.
"""

import base64
import html
import json
from collections.abc import Mapping
from importlib import resources
from string import Template
from typing import Any

import numpy as np
from torch import Tensor, nn
from torch.nn import functional

from pyro_vae.arguments import as_tensor, check_type
from pyro_vae.diagnostics.estimate import Estimate
from pyro_vae.look.planes import Bells, Plane, compute_plane, decode
from pyro_vae.look.style import COLOURS
from pyro_vae.progress import progress_bar

IMAGES = 10  # that can be chosen on the page, at most
MANY = 1000  # data that q(z) is the mean of, at most
MEASURED = (100, 300)  # data of the means, at least and at most if there are so many
NUMBERS = 20_000  # of them together, between these
SIDE = 16  # pixels of an image in each direction, at most
DECODED = 250_000  # numbers of all decodings of a pair, at most
SIZES = (17, 41)  # decodings in each direction, at least and at most
LARGEST = 3_000_000  # bytes of the page
SCRIPTS = ("numbers.js", "draw.js", "panels.js")

Packed = dict[str, Any]


def explore(
    pairs: Mapping[str, nn.Module],
    x: Tensor,
    images: Tensor,
    *,
    labels: Tensor | None = None,
    title: str = "A variational autoencoder in your hand",
    note: str = "",
    progress: bool = True,
) -> str:
    """Write a page in which z, q(z | x) and the plane of z can be dragged. It loads nothing.

    log p(x | z) is computed beforehand on a grid. The page sums over it: log p(x), the ELBO and
    KL(q(z | x) ‖ p(z | x)) of any normal q are those of `diagnostics`, to three digits.

    Arguments:
        pairs: Trained pairs by name, each with one latent of two dimensions and a normal q(z | x).
        x: The data that q(z) is the mean of, `[n, *event]`. The first 1,000 are taken.
        images: Data that were not trained on. The first 10 can be chosen on the page, and the means
            are over the first 300, or 100 where data are large. What is no image is drawn as a
            line.
        labels: The labels of x, `[n]`, numbers that are drawn in the place of dots.
        title: The title.
        note: A sentence on the data and the pairs.
        progress: Show a progress bar, in a terminal or notebook.

    Returns:
        HTML.

    Raises:
        TypeError, ValueError: if there is no pair, or data do not fit; if a pair has another latent
            or another q; if the page would be larger than 3 MB.

    Example:
        >>> import pyro_vae as pv
        >>> vae = pv.VAE(
        ...     prior=pv.StandardNormal(2),
        ...     likelihood=pv.Bernoulli((1, 4, 4), given=2),
        ...     variational=pv.Normal(2, given=(1, 4, 4)),
        ... )
        >>> page = explore({"untrained": vae}, torch.ones(5, 1, 4, 4), torch.ones(2, 1, 4, 4))
        >>> page.startswith("<!doctype html>")
        True
    """
    check_type("pairs", pairs, Mapping, "trained pairs by their names")
    x, images = as_tensor("x", x)[:MANY], as_tensor("images", images)
    labels = None if labels is None else as_tensor("labels", labels)[:MANY]
    _check(pairs, x, images, labels)
    texts = {"title": title, "note": note}
    page = fill(texts | _pack_all(pairs, x, images, labels, progress))
    size = len(page.encode())
    if size > LARGEST:
        raise ValueError(
            f"pairs: the page would have {size / 1e6:.1f} MB, and is to have at most "
            f"{LARGEST / 1e6:.0f}; show fewer than these {len(pairs)} pairs"
        )
    return page


def _check(
    pairs: Mapping[str, nn.Module], x: Tensor, images: Tensor, labels: Tensor | None
) -> None:
    if not pairs:
        raise ValueError("pairs: expected at least one trained pair, got none")
    if not len(x) or not len(images) or x.shape[1:] != images.shape[1:]:
        raise ValueError(
            "x, images: expected data of one shape, and some of each, got shapes "
            f"{list(x.shape)} and {list(images.shape)}"
        )
    if labels is not None and labels.shape != x.shape[:1]:
        raise ValueError(
            f"labels: expected one for each of the {len(x)} data, got {list(labels.shape)}"
        )


def _pack_all(
    pairs: Mapping[str, nn.Module],
    x: Tensor,
    images: Tensor,
    labels: Tensor | None,
    progress: bool,
) -> Packed:
    """What the script of the page reads."""
    chosen = images[:IMAGES]
    drawing = _Drawing(x)
    least, most = MEASURED
    measured = images[: min(max(NUMBERS // images[0].numel(), least), most)]
    total = len(pairs) * (len(chosen) + len(measured))
    with progress_bar(total, "looking at the plane", show=progress, unit="image") as bar:
        packed = [
            _pack_pair(name, pair, compute_plane(pair, chosen, x, measured, bar), images, drawing)
            for name, pair in pairs.items()
        ]

    return {
        "shape": drawing.shape,
        "images": [drawing.pack(image[None]) for image in chosen],
        "many": drawing.pack(x),
        "labels": None if labels is None else labels.tolist(),
        "colours": COLOURS,
        "measured": len(measured),
        "pairs": packed,
    }


class _Drawing:
    """How data are drawn: as images of few pixels, or as lines between the least and the most."""

    def __init__(self, x: Tensor):
        self.is_image = x.dim() == 4 and x.shape[1] in (1, 3)
        self.low, self.high = (0.0, 1.0) if self.is_image else _find_limits(x)
        self.shape = list(self._shrink(x[:1]).shape[1:])

    def pack(self, x: Tensor) -> Packed:
        values = self._shrink(x.detach().float().cpu())
        shares = (values - self.low) / (self.high - self.low)
        return _pack_whole(shares.nan_to_num(0.0).clamp(0, 1), np.uint8, 0.0, 1.0)

    def _shrink(self, x: Tensor) -> Tensor:
        if not self.is_image:
            return x.float().unsqueeze(-1).flatten(1)
        scale = min(1.0, SIDE / max(x.shape[2:]))
        height, width = (max(1, round(scale * side)) for side in x.shape[2:])
        return functional.adaptive_avg_pool2d(x.float(), (height, width))


def _find_limits(x: Tensor) -> tuple[float, float]:
    low, high = (limit.item() for limit in x.float().nan_to_num(0.0).aminmax())
    return low, max(high, low + 1e-6)


def _pack_pair(
    name: str, pair: nn.Module, plane: Plane, images: Tensor, drawing: _Drawing
) -> Packed:
    pixels = int(np.prod(drawing.shape))
    least, most = SIZES
    size = min(max(int((DECODED / pixels) ** 0.5), least), most)
    decoded = decode(pair, images, plane.low, plane.high, size)

    packed = {
        "name": name,
        "low": plane.low,
        "high": plane.high,
        "size": len(plane.log_prior),
        "is_fine": plane.is_fine,
        "is_round": plane.is_round,
        "decoded_size": size,
        "decoded": drawing.pack(decoded),
        "many": _pack_bells(plane.many),
        "means": {key: _write_number(number) for key, number in vars(plane.means).items()},
    }
    return packed | _pack_grid(plane) if plane.is_fine else packed


def _pack_grid(plane: Plane) -> Packed:
    return {
        "bells": _pack_bells(plane.bells),
        "log_prior": _pack_floats(plane.log_prior),
        "log_likelihood": [
            _pack_whole(each, np.uint16, each.min().item(), each.max().item())
            for each in plane.log_likelihood
        ],
    }


def _write_number(number: Estimate) -> Packed:
    return {"value": float(number.value), "stderr": float(number.stderr)}


def _pack_bells(bells: Bells) -> Packed:
    return {name: _pack_floats(values) for name, values in vars(bells).items()}


def _pack_floats(values: Tensor) -> Packed:
    return _pack(values.detach().cpu().numpy().astype("<f4"), 0.0, 1.0)


def _pack_whole(values: Tensor, kind: Any, low: float, high: float) -> Packed:
    """Numbers of an interval as whole numbers, evenly spaced."""
    step = (high - low) / np.iinfo(kind).max or 1.0
    whole = ((values.detach().cpu().numpy() - low) / step).round().astype(kind)
    return _pack(whole, low, step)


def _pack(values: np.ndarray, low: float, step: float) -> Packed:
    data = base64.b64encode(values.tobytes()).decode()
    return {"kind": values.dtype.name, "low": low, "step": step, "data": data}


def fill(payload: Packed) -> str:
    """The page of a payload: the template with its script and its style."""
    folder = resources.files("pyro_vae.look") / "explorer"
    names = ("page.html", "style.css", *SCRIPTS)
    template, style, *scripts = [(folder / name).read_text(encoding="utf-8") for name in names]
    colours = "".join(f"--{role}: {colour}; " for role, colour in COLOURS.items())

    return Template(template).substitute(
        title=html.escape(payload["title"]),
        note=html.escape(payload["note"]),
        style=f":root {{ {colours}}}\n{style}",
        script="\n".join(scripts),
        payload=json.dumps(payload).replace("<", "\\u003c"),
    )
