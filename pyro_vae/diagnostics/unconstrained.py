"""Latents as one vector of unconstrained numbers, and back."""

import torch
from pyro.distributions import MaskedDistribution
from torch import Size, Tensor
from torch.distributions import Distribution, Independent, Transform, biject_to
from torch.distributions.constraints import Constraint

from pyro_vae.supports import describe, find_support


class Unconstrained:
    r"""The bijection between latents by site and one vector u of unconstrained numbers.

    .. math:: \log p(u) = \log p(z(u)) + \log \left| \frac{dz}{du} \right|

    Arguments:
        z: Draws by site, `[k, n, *event]`, from which the shapes are read.
        supports: The support of each site.
        instead: What the error names to use instead, where a site has no bijection.

    Raises:
        ValueError: if a latent is discrete, or no bijection from the reals to its support is known.

    Example:
        >>> from torch.distributions import constraints
        >>> z = {"rate": torch.ones(4, 5), "loc": torch.zeros(4, 5, 2)}
        >>> supports = {"rate": constraints.positive, "loc": constraints.real_vector}
        >>> vectors = Unconstrained(z, supports, "log_evidence")
        >>> u = vectors.flatten(z)
        >>> u.shape
        torch.Size([4, 5, 3])
        >>> again, log_jacobian = vectors.unflatten(u)
        >>> again["rate"].shape, log_jacobian.shape
        (torch.Size([4, 5]), torch.Size([4, 5]))
    """

    def __init__(self, z: dict[str, Tensor], supports: dict[str, Constraint], instead: str):
        self.bijections: dict[str, Transform] = {}
        self.shapes: dict[str, Size] = {}
        for name, value in z.items():
            bijection = find_bijection(name, supports[name], instead)
            self.bijections[name] = bijection
            self.shapes[name] = bijection.inv(value).shape[2:]

    def flatten(self, z: dict[str, Tensor]) -> Tensor:
        """The vector u, `[k, n, d]`, of z by site."""
        columns = []
        for name, bijection in self.bijections.items():
            part = bijection.inv(z[name])
            columns.append(part.reshape(*part.shape[:2], -1))
        return torch.cat(columns, dim=-1)

    def unflatten(self, u: Tensor) -> tuple[dict[str, Tensor], Tensor]:
        """The latents z by site, `[k, n, *event]`, and log|dz/du|, `[k, n]`."""
        batch = u.shape[:2]
        sizes = [shape.numel() for shape in self.shapes.values()]

        z, total = {}, torch.zeros_like(u[..., 0])
        for name, columns in zip(self.bijections, u.split(sizes, dim=-1), strict=True):
            bijection = self.bijections[name]
            part = columns.reshape(*batch, *self.shapes[name])
            z[name] = bijection(part)
            log_jacobian = bijection.log_abs_det_jacobian(part, z[name])
            total = total + log_jacobian.reshape(*batch, -1).sum(-1)
        return z, total


def refuse_masked(*runs: dict[str, dict]) -> None:
    """Refuse latents whose distribution is masked inside.

    Such a distribution draws where it has no density, and nothing else tells that it does.

    Arguments:
        runs: The latent sites of the model, and of the guide.

    Raises:
        ValueError: if there is one, with what to write.
    """
    for sites in runs:
        for name, site in sites.items():
            if _is_masked(site["fn"]):
                raise ValueError(
                    f"latent {name!r} has a mask inside its distribution, dist.mask(...), so it "
                    "has draws without a density; mask the site in model and guide, "
                    "with pyro.poutine.mask(mask=mask), or give it the same density in both where "
                    "it does not exist, Normal(0, 1) for example"
                )


def _is_masked(fn: Distribution) -> bool:
    while isinstance(fn, Independent):
        fn = fn.base_dist
    return isinstance(fn, MaskedDistribution)


def choose_support(name: str, p: Distribution, q: Distribution) -> Constraint:
    """The support of a latent: that of the model, or that of the guide where the former is unknown.

    Raises:
        ValueError: if neither says it.
    """
    supports = [find_support(fn) for fn in (p, q)]
    known = [support for support in supports if support is not None]
    if not known:
        raise ValueError(
            f"latent {name!r}: neither {type(p).__name__} in the model nor {type(q).__name__} in "
            "the guide says its support; give one of the classes a property `support`, "
            "pyro.distributions.constraints.real_vector for vectors of real numbers"
        )
    return known[0]


def find_bijection(name: str, support: Constraint, instead: str) -> Transform:
    """The map from the reals to the support of a latent.

    Raises:
        ValueError: if there is none, with what to use instead.
    """
    if support.is_discrete:
        raise ValueError(
            f"latent {name!r} is discrete ({describe(support)}), and this follows gradients; "
            f"use {instead}"
        )
    try:
        return biject_to(support)
    except NotImplementedError:
        raise ValueError(
            f"latent {name!r} has support {describe(support)}, of which no bijection to the reals "
            f"is known; use {instead}"
        ) from None
