"""A VAE with the manners of scikit-learn."""

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch
from sklearn.base import (
    BaseEstimator,
    ClassNamePrefixFeaturesOutMixin,
    DensityMixin,
    OutlierMixin,
    TransformerMixin,
)
from sklearn.preprocessing import StandardScaler
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_array, check_is_fitted, validate_data
from torch import Tensor
from torch.distributions import Distribution, Independent

from pyro_vae.arguments import check_positive, check_whole, check_within
from pyro_vae.conditionals.conditional import Conditional
from pyro_vae.conditionals.real import Normal, StandardNormal
from pyro_vae.diagnostics.estimate import Estimate, join_blocks
from pyro_vae.diagnostics.evidence import Evidence, estimate_evidence
from pyro_vae.networks import mlp
from pyro_vae.pairs.vae import VAE
from pyro_vae.supports import is_real
from pyro_vae.training.fit import fit
from pyro_vae.weights.blocks import count_fitting, cut
from pyro_vae.weights.draws import simulate
from pyro_vae.weights.traces import latent_sites, quietly, trace
from pyro_vae.weights.weights import weigh

Make = Callable[..., Conditional]
FLOATS = (np.float64, np.float32)


class VAETransformer(
    ClassNamePrefixFeaturesOutMixin, TransformerMixin, DensityMixin, OutlierMixin, BaseEstimator
):
    r"""A VAE for the rows of a matrix: codes, densities, draws and anomalies.

    .. math:: z \sim p(z), \quad x \sim p(x|z), \quad z \sim q(z|x)

    Codes are the means of q(z|x). Densities are log p(x) by importance sampling from q(z|x), in
    nats, in expectation a lower bound. The same random numbers serve all rows. So the log p(x) of a
    row does not depend on the rows beside it. Every measurement is made in float64. (Kingma &
    Welling, 2014; Burda, Grosse & Salakhutdinov, 2016)

    Arguments:
        n_components: The latents, d.
        prior: Makes p(z), called as `prior(d)`.
        likelihood: Makes p(x|z), called as `likelihood(n_features, given=d, net=net)`. None is a
            normal with one learned scale for each column.
        variational: Makes q(z|x), called as `variational(d, given=n_features, net=net)`.
        hidden: The widths of the hidden layers of both networks.
        standardise: Bring each column to mean 0 and scale 1 first. log p(x) is that of the data as
            they came. None does it where any real number may be in a column.
        epochs: How many times `fit` goes through the data. `partial_fit` goes once.
        batch_size, learning_rate: See `pv.fit`.
        num_samples: Draws of q(z|x) for log p(x).
        contamination: The share of the training data that is taken for anomalies, which sets the
            threshold of `decision_function`, a number in (0, 0.5].
        random_state: Random seed.
        verbose: Show progress bars.

    Attributes:
        pair_: The `VAE`. `pv.diagnostics` measures it further, on `scale(X)`.
        history_: What `pv.fit` returned last.
        offset_: The log p(x) below which a row is an anomaly.
        n_features_in_, feature_names_in_: As everywhere in scikit-learn.

    Raises:
        ValueError: on a call, as scikit-learn's own estimators, and if a part does not fit.

    Example:
        >>> import numpy as np
        >>> X = np.random.default_rng(0).normal(size=(60, 4))
        >>> vae = VAETransformer(epochs=2, random_state=0).fit(X)
        >>> vae.transform(X).shape, vae.score_samples(X).shape
        ((60, 2), (60,))
        >>> vae.get_feature_names_out()
        array(['vaetransformer0', 'vaetransformer1'], dtype=object)
    """

    def __init__(
        self,
        n_components=2,
        *,
        prior=StandardNormal,
        likelihood=None,
        variational=Normal,
        hidden=(128, 128),
        standardise=None,
        epochs=100,
        batch_size=128,
        learning_rate=1e-3,
        num_samples=200,
        contamination=0.1,
        random_state=None,
        verbose=False,
    ):
        self.n_components = n_components
        self.prior = prior
        self.likelihood = likelihood
        self.variational = variational
        self.hidden = hidden
        self.standardise = standardise
        self.epochs = epochs
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.num_samples = num_samples
        self.contamination = contamination
        self.random_state = random_state
        self.verbose = verbose

    def fit(self, X, y=None):
        """Train on X, `[n, n_features]`, from the beginning. It returns itself."""
        X = self._validate(X, reset=True, ensure_min_samples=2)
        self._start(X)
        self._train(X, self.epochs)
        return self

    def partial_fit(self, X, y=None):
        """Go once through further data, which keep the scaling of the first. It returns itself.

        The optimiser starts anew at each call, and the threshold is that of the last data.
        """
        is_first = not hasattr(self, "pair_")
        X = self._validate(X, reset=is_first, ensure_min_samples=2 if is_first else 1)
        if is_first:
            self._start(X)
        self._train(X, 1)
        return self

    def transform(self, X):
        """The mean of q(z|x) for each row, `[n, n_components]`."""
        x = self._read(X)
        with quietly(self.pair_):
            return self._average(self.pair_.variational(x))

    def inverse_transform(self, X):
        """The mean of p(x|z) for each row of codes, `[n, n_features]`, on the scale of the data."""
        check_is_fitted(self)
        z = torch.as_tensor(check_array(X, dtype=np.float64)).clone()
        if z.shape[1] != self.n_components:
            raise ValueError(f"X has {z.shape[1]} features, expected {self.n_components} codes")
        with quietly(self.pair_):
            return self._unscale(self._average(self.pair_.likelihood(z)))

    def score_samples(self, X, return_std=False):
        """log p(x) of each row, `[n]`, in nats, in expectation a lower bound.

        With `return_std=True` it is a pair of that and its Monte Carlo standard errors, `[n]`.
        """
        found = self._measure(self._read(X))
        value = found.value.numpy() - self._log_volume()
        return (value, found.stderr.numpy()) if return_std else value

    def score(self, X, y=None):
        """The mean of log p(x), in nats."""
        return float(self.score_samples(X).mean())

    def decision_function(self, X):
        """log p(x) less the threshold, `[n]`: below 0 is an anomaly."""
        return self.score_samples(X) - self.offset_

    def predict(self, X):
        """1 for each row that is like the data, and -1 for each anomaly, `[n]`."""
        return np.where(self.decision_function(X) < 0, -1, 1)

    def sample(self, n_samples=1, random_state=None):
        """Draws of x, `[n_samples, n_features]`, on the scale of the data."""
        check_is_fitted(self)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(_choose_seed(random_state))
            x = simulate(self.pair_, check_whole("n_samples", n_samples))["x"]
        return self._unscale(x.numpy())

    def scale(self, X):
        """X as the pair takes it, a tensor `[n, n_features]`."""
        return self._read(X)

    @property
    def _n_features_out(self) -> int:
        return self.n_components

    def _validate(self, X, **options) -> np.ndarray:
        # a list stays float64, and a matrix of float32 is one in training alone
        return validate_data(self, X, dtype=FLOATS, copy=True, **options).astype(np.float64)

    def _read(self, X) -> Tensor:
        check_is_fitted(self)
        return self._scale(self._validate(X, reset=False))

    def _scale(self, X: np.ndarray) -> Tensor:
        return torch.from_numpy(X if self.scaler_ is None else self.scaler_.transform(X))

    def _unscale(self, X: np.ndarray) -> np.ndarray:
        return X if self.scaler_ is None else self.scaler_.inverse_transform(X)

    def _log_volume(self) -> float:
        """What log p(x) on the scale of the data has less than that on the pair's."""
        return 0.0 if self.scaler_ is None else float(np.log(self.scaler_.scale_).sum())

    def _start(self, X: np.ndarray) -> None:
        check_whole("n_components", self.n_components)
        check_whole("epochs", self.epochs)
        check_whole("num_samples", self.num_samples)
        check_positive("contamination", self.contamination)
        check_within("contamination", self.contamination, 0.0, 0.5)
        self.seed_ = _choose_seed(self.random_state)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed_)
            self.pair_ = self._make_pair(X.shape[1])
        is_scaled = self.standardise
        if is_scaled is None:
            is_scaled = is_real(self.pair_.likelihood.support)
        self.scaler_ = StandardScaler().fit(X) if is_scaled else None

    def _make_pair(self, features: int) -> VAE:
        net = partial(mlp, hidden=tuple(self.hidden))
        d = self.n_components
        make: Make = partial(Normal, scale="free") if self.likelihood is None else self.likelihood
        return VAE(
            prior=self.prior(d),
            likelihood=make(features, given=d, net=net),
            variational=self.variational(d, given=features, net=net),
        )

    def _train(self, X: np.ndarray, epochs: int) -> None:
        x = self._scale(X)
        self.history_ = fit(
            self.pair_.float(),
            x.float(),
            epochs=epochs,
            batch_size=self.batch_size,
            learning_rate=self.learning_rate,
            seed=self.seed_,
            progress=self.verbose,
        )
        self.pair_.double()
        scores = self._measure(x).value.numpy() - self._log_volume()
        self.offset_ = float(np.quantile(scores, self.contamination))

    def _measure(self, x: Tensor) -> Estimate:
        """log p(x) on the pair's scale, by draws that are made of the same numbers in each row."""
        k = self.num_samples
        rows = count_fitting(k * (x.shape[1] + self.n_components))
        with quietly(self.pair_), torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed_)
            numbers = torch.rand(k, 1, self.n_components, dtype=x.dtype)
            return join_blocks([self._measure_block(b, numbers) for _, (b,) in cut((x,), rows)])

    def _measure_block(self, x: Tensor, numbers: Tensor) -> Evidence:
        k = len(numbers)
        (site,) = latent_sites(trace(self.pair_.guide, (x,))).values()
        z = _draw_by(site["fn"], numbers)
        if z is not None:
            return estimate_evidence(weigh(self.pair_, (x,), k, {"z": z}).log_weight)

        rows = []
        for row in x[:, None]:
            torch.manual_seed(self.seed_)
            rows.append(estimate_evidence(weigh(self.pair_, (row,), k).log_weight))
        return join_blocks(rows)

    def _average(self, p: Distribution) -> np.ndarray:
        """The mean of a distribution, of draws where its class does not say it."""
        try:
            return p.mean.numpy()
        except NotImplementedError:
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(self.seed_)
                return p.sample((self.num_samples,)).mean(0).numpy()


def _draw_by(q: Distribution, numbers: Tensor) -> Tensor | None:
    """Draws of q, `[k, n, d]`, from numbers in (0, 1), `[k, 1, d]`, or None where q cannot."""
    while isinstance(q, Independent):
        q = q.base_dist
    try:
        return q.icdf(numbers)
    except NotImplementedError:
        return None


def _choose_seed(random_state: Any) -> int:
    return int(check_random_state(random_state).randint(2**31 - 1))
