"""A start for clusters: a plain VAE, a mixture on its codes, and both carried into the pair."""

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.distributions import Distribution, MultivariateNormal

from pyro_vae.arguments import check_whole
from pyro_vae.conditionals.conditional import Conditional
from pyro_vae.conditionals.real import StandardNormal
from pyro_vae.conditionals.responsibilities import Responsibilities
from pyro_vae.distributions.kl import closed_kl
from pyro_vae.objectives.kl_weight import KLWeight
from pyro_vae.objectives.objective import Loss, Objective
from pyro_vae.pairs.labelled import LabelledVAE
from pyro_vae.pairs.vae import VAE
from pyro_vae.progress import progress_bar
from pyro_vae.training.batches import transform_first
from pyro_vae.training.fit import fit
from pyro_vae.training.randomness import fork
from pyro_vae.weights.blocks import count_fitting, count_numbers, cut
from pyro_vae.weights.intake import admit, find_device
from pyro_vae.weights.traces import quietly

if TYPE_CHECKING:
    from sklearn.mixture import GaussianMixture

WIDENED = 1e-4  # added to the variances of the components, in units of the codes
MATCHING_STEPS = 500


def start_clusters(
    pair: LabelledVAE,
    x: Tensor,
    *,
    epochs: int,
    kl_weight: float | Callable[[int], float] = 0.05,
    restarts: int = 5,
    transform: Callable[[Tensor], Tensor] | None = None,
    seed: int | None = None,
    progress: bool = True,
    **options: Any,
) -> "GaussianMixture":
    r"""Bring a clustering model to where its clusters can be told apart, before it is fitted.

    From a random start p(z | y) and q(y | x) settle before z says what x is. So three steps come
    first.

    1. p(x | z) and q(z | x) are trained as a plain `VAE`, with the prior N(0, I).
    2. A Gaussian mixture is fitted to a draw of q(z | x) for each datum.
    3. p(z | y) takes its components and p(y) its weights. A q(y | x) that has parameters of its own
       is fitted to its responsibilities.

    (Jiang et al., 2017, who train an autoencoder first)

    Arguments:
        pair: A `LabelledVAE` whose p(x | z) and q(z | x) are not given y, and whose p(z | y) is
            `Normal(d, given=K)` or `MultivariateNormal(d, given=K)`. It is changed in place. A p(y)
            with fixed logits is left as it is.
        x: The data, `[n, *event]`.
        epochs: Of the plain VAE, and of q(y | x) where it is fitted.
        kl_weight: The weight on the KL term of the plain VAE, or a schedule, see `KLWeight`. A
            small one keeps the codes of different data apart.
        restarts: How many mixtures are fitted. The best one is taken.
        transform: Applied to x of each batch anew, see `fit`. The codes are of x transformed once.
        seed: Random seed. By default it is drawn from torch's generator.
        progress: Show progress bars, in a terminal or notebook.
        options: Other options of `fit`: `batch_size`, `learning_rate`, `schedule`, `device`,
            `compile`.

    Returns:
        The scikit-learn `GaussianMixture`. Its `predict(codes)` gives the clusters of the start.

    Raises:
        TypeError: if the pair is no `LabelledVAE`.
        ValueError: if the pair has another form, or there are fewer data than clusters.

    Example:
        >>> q = pv.Normal(2, given=4)
        >>> prior, labels = pv.Normal(2, given=3), pv.OneHotCategorical(3)
        >>> pair = pv.LabelledVAE(
        ...     labels=labels,
        ...     prior=prior,
        ...     likelihood=pv.Normal(4, given=2),
        ...     classifier=pv.Responsibilities(labels, prior, q),
        ...     variational=q,
        ... )
        >>> x = torch.randn(60, 4)
        >>> mixture = pv.start_clusters(pair, x, epochs=2, seed=0)
        >>> history = pv.fit(pair, x, epochs=2, seed=0)
        >>> mixture.predict(q(x).mean.detach().numpy()).shape
        (60,)
    """
    _check_form(pair)
    restarts = check_whole("restarts", restarts)
    if len(x) < pair.classes:
        raise ValueError(
            f"x: expected at least as many data as clusters, {pair.classes}, got {len(x)}"
        )
    if seed is None:
        seed = int(torch.randint(2**31, ()))
    if options.get("device") is not None:
        pair.to(options["device"])
    options = {**options, "epochs": epochs, "seed": seed, "progress": progress}

    _fit_plain(pair, x, kl_weight, transform=transform, **options)
    codes = _draw_codes(pair, x, transform, seed)
    mixture = _fit_mixture(codes, pair.classes, restarts, seed, progress)
    _take_mixture(pair, mixture)
    _fit_classifier(pair, x, transform=transform, **options)

    return mixture


def _check_form(pair: LabelledVAE) -> None:
    if not isinstance(pair, LabelledVAE):
        raise TypeError(f"pair: expected a LabelledVAE, got {type(pair).__name__}")

    parts = {"likelihood": pair.likelihood, "variational": pair.variational, "prior": pair.prior}
    given = {"likelihood": "z", "variational": "x", "prior": "y"}
    for role, part in parts.items():
        if not isinstance(part, Conditional) or len(part.given_shapes) != 1:
            raise ValueError(
                f"{role}: expected a conditional that is given {given[role]} alone, got {part}"
            )
    if len(pair.prior.event_shape) != 1:
        raise ValueError(
            f"prior: expected z to be a vector, for a mixture of its codes, got {pair.prior}"
        )
    _find_components(pair)


def _find_components(pair: LabelledVAE) -> Distribution:
    """p(z | y) for each y, of batch_shape `[K]`."""
    like = next(pair.parameters(), torch.zeros(()))
    p = pair.prior(torch.eye(pair.classes, dtype=like.dtype, device=like.device))
    normals = MultivariateNormal(torch.zeros_like(p.mean), torch.eye(p.event_shape[0]).to(p.mean))
    try:
        closed_kl(normals, p)
    except NotImplementedError:
        raise ValueError(
            "prior: expected pv.Normal(d, given=K) or pv.MultivariateNormal(d, given=K), which can "
            f"take the components of a Gaussian mixture, got {pair.prior}"
        ) from None
    return p


def _fit_plain(
    pair: LabelledVAE, x: Tensor, kl_weight: float | Callable[[int], float], **options: Any
) -> None:
    """Train p(x | z) and q(z | x) with the prior N(0, I)."""
    vae = VAE(
        prior=StandardNormal(pair.prior.event_shape).to(next(pair.parameters())),
        likelihood=pair.likelihood,
        variational=pair.variational,
        name=f"{pair.name}_start",
    )
    fit(vae, x, objective=KLWeight(Objective(vae), kl_weight), **options)


def _draw_codes(
    pair: LabelledVAE, x: Tensor, transform: Callable[[Tensor], Tensor] | None, seed: int
) -> Tensor:
    """A draw of q(z | x) for each datum, `[n, d]`, on the CPU."""
    with fork(find_device(pair, torch.device("cpu"))):
        torch.manual_seed(seed)
        data = admit(pair, transform_first((x,), transform))
        rows = count_fitting(count_numbers(data[0]))
        with quietly(pair):
            return torch.cat(
                [pair.variational(*part).sample() for _, part in cut(data, rows)]
            ).cpu()


def _fit_mixture(
    codes: Tensor, components: int, restarts: int, seed: int, progress: bool
) -> "GaussianMixture":
    """The most likely of several mixtures with full covariances."""
    # importing scikit-learn changes Python's random state
    state = random.getstate()
    from sklearn.mixture import GaussianMixture

    random.setstate(state)
    z = codes.double().numpy()
    found = []
    with progress_bar(restarts, "fitting mixtures", show=progress, unit="mixture") as bar:
        for start in range(restarts):
            mixture = GaussianMixture(components, reg_covar=WIDENED, random_state=seed + start)
            found.append(mixture.fit(z))
            bar.update()
    return max(found, key=lambda mixture: mixture.lower_bound_)


def _take_mixture(pair: LabelledVAE, mixture: "GaussianMixture") -> None:
    """Bring p(z | y) to the components of a mixture, and p(y) to its weights."""
    p = _find_components(pair)
    components = MultivariateNormal(
        torch.as_tensor(mixture.means_).to(p.mean),
        torch.as_tensor(mixture.covariances_).to(p.mean),
    )
    weights = torch.as_tensor(mixture.weights_).to(p.mean)

    _match(pair.prior, components, lambda: _find_components(pair))
    _match(pair.labels, type(pair.labels())(probs=weights), pair.labels)


def _match(part: nn.Module, target: Distribution, find: Callable[[], Distribution]) -> None:
    """Bring the parameters of a part to where KL(target ‖ part) is least."""
    parameters = [p for p in part.parameters() if p.requires_grad]
    if not parameters:
        return
    optimizer = torch.optim.LBFGS(
        parameters, max_iter=MATCHING_STEPS, line_search_fn="strong_wolfe"
    )

    def measure() -> Tensor:
        optimizer.zero_grad()
        loss = closed_kl(target, find()).sum()
        loss.backward()
        return loss

    optimizer.step(measure)  # type: ignore[arg-type]  # a tensor serves as a number
    optimizer.zero_grad()


class _Lag(Loss):
    """KL(best q(y | x) ‖ q(y | x)), by which a q(y | x) is fitted to the responsibilities."""

    def __init__(self, pair: LabelledVAE):
        super().__init__()
        self.pair = pair
        self.best = Responsibilities(pair.labels, pair.prior, pair.variational)

    def forward(self, x: Tensor) -> Tensor:
        return closed_kl(self.best(x), self.pair.classifier(x)).mean()


def _fit_classifier(pair: LabelledVAE, x: Tensor, **options: Any) -> None:
    """Fit those parameters of q(y | x) that it has for itself."""
    others = [pair.labels, pair.prior, pair.likelihood, pair.variational]
    with _frozen(others):
        if any(p.requires_grad for p in pair.classifier.parameters()):
            # only a bound can be compiled
            fit(pair, x, objective=_Lag(pair), **options | {"compile": False})


@contextmanager
def _frozen(parts: list[nn.Module]) -> Iterator[None]:
    """Inside this context the parameters of some parts are not trained."""
    trained = [p for part in parts for p in part.parameters() if p.requires_grad]
    for parameter in trained:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in trained:
            parameter.requires_grad_(True)
