"""Images that are made upright by their moments."""

import torch
from torch import Tensor
from torch.nn.functional import affine_grid, grid_sample

from pyro_vae.arguments import as_tensor


def make_upright(x: Tensor) -> Tensor:
    """Images sheared so that they do not lean, and centred, by their first and second moments.

    It takes no label. Digits of one class then look more alike. The ink of an image, its values,
    has its mean in the middle, and no covariance of row and column. An image without ink is left as
    it is.

    Arguments:
        x: `[n, 1, height, width]`, in [0, 1].

    Raises:
        ValueError: if the images have another shape.

    Example:
        >>> x = torch.zeros(1, 1, 5, 5)
        >>> x[0, 0, [1, 2, 3], [3, 2, 1]] = 1.0
        >>> make_upright(x).argmax(-1).flatten().tolist()[1:4]
        [2, 2, 2]
    """
    x = as_tensor("x", x)
    if x.dim() != 4 or x.shape[1] != 1:
        raise ValueError(f"x: expected images [n, 1, height, width], got shape {list(x.shape)}")

    mean_u, mean_v, lean = _find_moments(x)
    ones, zeros = torch.ones_like(lean), torch.zeros_like(lean)
    to_u = torch.stack([ones, lean, mean_u], -1)
    to_v = torch.stack([zeros, ones, mean_v], -1)

    grid = affine_grid(torch.stack([to_u, to_v], 1), list(x.shape), align_corners=True)
    return grid_sample(x, grid, align_corners=True).clamp(0, 1)


def _find_moments(x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The mean column, the mean row, and how far columns move with rows, `[n]` each."""
    rows, columns = (torch.linspace(-1, 1, size).to(x) for size in x.shape[2:])
    v, u = torch.meshgrid(rows, columns, indexing="ij")
    total = x.sum((1, 2, 3)).view(-1, 1, 1)
    ink = torch.where(total > 0, x[:, 0] / total, 1 / u.numel())

    mean_u = (ink * u).sum((1, 2))
    mean_v = (ink * v).sum((1, 2))
    from_v = v - mean_v.view(-1, 1, 1)
    spread = (ink * from_v**2).sum((1, 2))
    covariance = (ink * u * from_v).sum((1, 2))

    return mean_u, mean_v, torch.where(spread > 0, covariance / spread, 0.0)
