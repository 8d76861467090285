"""The structure of Pyro's own examples, written anew in small, through `pv.Pair`.

Each goes through check, training, weights and the picture, or is refused before training.
"""

import pyro
import pyro.distributions as dist
import pytest
import torch
import zuko
from pyro import poutine
from pyro.contrib.cevae import CEVAE, TraceCausalEffect_ELBO
from pyro.contrib.zuko import ZukoToPyro
from pyro.infer import config_enumerate
from torch import nn

import pyro_vae as pv
from pyro_vae.diagnostics import annealed_log_evidence, log_weights, picture

N, D, H, F, K, T = 12, 2, 8, 4, 3, 5  # data, latent, hidden, numbers of x, classes, steps


def net(given, out):
    return nn.Sequential(nn.Linear(given, H), nn.Softplus(), nn.Linear(H, out))


def join(*parts):
    """Concatenate after broadcasting, as Pyro's ConcatModule does."""
    lead = torch.broadcast_shapes(*(part.shape[:-1] for part in parts))
    return torch.cat([part.expand(*lead, part.shape[-1]) for part in parts], -1)


def normal_of(numbers):
    loc, log_scale = numbers.chunk(2, -1)
    return dist.Normal(loc, log_scale.exp()).to_event(1)


def standard(x):
    return dist.Normal(x.new_zeros(x.shape[0], D), 1.0).to_event(1)


def binary(*shape):
    return torch.bernoulli(torch.full(shape, 0.5))


class Vae(nn.Module):
    """vae.py: an image is observed as a flat view of it."""

    def __init__(self):
        super().__init__()
        self.encoder, self.decoder = net(F, 2 * D), net(D, F)

    def model(self, x):
        pyro.module("decoder", self.decoder)
        with pyro.plate("data", x.shape[0]):
            z = pyro.sample("latent", standard(x))
            p = dist.Bernoulli(logits=self.decoder(z), validate_args=False).to_event(1)
            pyro.sample("obs", p, obs=x.reshape(-1, F))

    def guide(self, x):
        pyro.module("encoder", self.encoder)
        with pyro.plate("data", x.shape[0]):
            pyro.sample("latent", normal_of(self.encoder(x.reshape(-1, F))))


class M2(nn.Module):
    """ss_vae_M2: a plate without a size, and y summed over by `config_enumerate` of the guide."""

    joins = staticmethod(join)

    def __init__(self):
        super().__init__()
        self.classifier, self.encoder, self.decoder = net(F, K), net(F + K, 2 * D), net(D + K, F)

    def model(self, x, y=None):
        pyro.module("ss_vae", self)
        with pyro.plate("data"):
            z = pyro.sample("z", standard(x))
            y = pyro.sample("y", dist.OneHotCategorical(x.new_ones(x.shape[0], K) / K), obs=y)
            logits = self.decoder(self.joins(z, y))
            pyro.sample("x", dist.Bernoulli(logits=logits).to_event(1), obs=x)

    def guide(self, x, y=None):
        with pyro.plate("data"):
            if y is None:
                y = pyro.sample("y", dist.OneHotCategorical(logits=self.classifier(x)))
            pyro.sample("z", normal_of(self.encoder(self.joins(x, y))))


def m2_unlabelled():
    module = M2()
    guide = config_enumerate(module.guide, "parallel", expand=True)
    return pv.Pair(lambda x: module.model(x), lambda x: guide(x))


def m2_labelled():
    module = M2()
    return pv.Pair(module.model, module.guide)


class PartlyLabelled(M2):
    """The same with labels of some rows only."""

    def model(self, x, y, known):
        with pyro.plate("data", x.shape[0]):
            p_y = dist.OneHotCategorical(x.new_ones(x.shape[0], K) / K)
            y = pyro.sample("y", p_y, obs=y, obs_mask=known)
            z = pyro.sample("z", standard(x))
            logits = self.decoder(self.joins(z, y))
            pyro.sample("x", dist.Bernoulli(logits=logits).to_event(1), obs=x)

    def guide(self, x, y, known):
        with pyro.plate("data", x.shape[0]):
            with poutine.mask(mask=~known):
                q_y = dist.OneHotCategorical(logits=self.classifier(x))
                guess = pyro.sample("y_unobserved", q_y, infer={"enumerate": "parallel"})
            y = torch.where(known[:, None], y, guess)
            pyro.sample("z", normal_of(self.encoder(self.joins(x, y))))


class Cvae(nn.Module):
    """cvae: y is what is hidden (-1) in x, and p(z | x) depends on x."""

    def __init__(self):
        super().__init__()
        self.prior, self.encoder, self.decoder = net(F, 2 * D), net(2 * F, 2 * D), net(D + F, F)

    def model(self, y, x):
        pyro.module("generation_net", self)
        with pyro.plate("data"):
            z = pyro.sample("z", normal_of(self.prior(x)))
            self.observe(self.decoder(join(z, x)), y, x == -1)

    def observe(self, logits, y, is_hidden):
        p = dist.Bernoulli(logits=logits).mask(is_hidden).to_event(1)
        pyro.sample("y", p, obs=y)

    def guide(self, y, x):
        with pyro.plate("data"):
            pyro.sample("z", normal_of(self.encoder(join(x, y))))


class CvaeByIndex(Cvae):
    """As the example has it: a boolean index takes out what is hidden."""

    def observe(self, logits, y, is_hidden):
        rows = y.shape[0]
        p = dist.Bernoulli(logits=logits[is_hidden].view(rows, -1)).to_event(1)
        pyro.sample("y", p, obs=y[is_hidden].view(rows, -1))


class Dmm(nn.Module):
    """dmm: a site for each step, masked beyond the end, with the KL annealed by a scale."""

    def __init__(self):
        super().__init__()
        self.transition, self.emission = net(D, 2 * D), net(D, F)
        self.combiner = net(D + H, 2 * D)
        self.rnn = nn.RNN(F, H, batch_first=True)
        self.start = nn.Parameter(torch.zeros(D))

    def model(self, x, lengths):
        pyro.module("dmm", self)
        is_there = torch.arange(T) < lengths[:, None]
        z = self.start
        with pyro.plate("z_minibatch", x.shape[0]):
            for t in pyro.markov(range(T)):
                mask = is_there[:, t]
                with poutine.scale(scale=0.5):
                    p = normal_of(self.transition(z)).expand(z.shape[:-1] or (x.shape[0],))
                    z = pyro.sample(f"z_{t + 1}", p.mask(mask))
                emission = dist.Bernoulli(logits=self.emission(z)).to_event(1)
                pyro.sample(f"obs_x_{t + 1}", emission.mask(mask), obs=x[:, t])

    def guide(self, x, lengths):
        pyro.module("dmm", self)
        is_there = torch.arange(T) < lengths[:, None]
        h, _ = self.rnn(x.flip(1))
        h = h.flip(1)
        z = x.new_zeros(x.shape[0], D)
        with pyro.plate("z_minibatch", x.shape[0]):
            for t in pyro.markov(range(T)):
                q = normal_of(self.combiner(join(z, h[:, t])))
                with poutine.scale(scale=0.5):
                    z = pyro.sample(f"z_{t + 1}", q.mask(is_there[:, t]))


class ProdLda(nn.Module):
    """prodlda: documents as counts of words, multinomial of the largest total at hand."""

    dim = -1

    def __init__(self):
        super().__init__()
        self.encoder, self.beta = net(F, 2 * D), nn.Linear(D, F, bias=False)

    def model(self, docs):
        pyro.module("decoder", self.beta)
        with pyro.plate("documents", docs.shape[0]):
            logtheta = pyro.sample("logtheta", standard(docs))
            theta = logtheta.softmax(-1)
            words = self.beta(theta).softmax(self.dim)
            total = int(docs.sum(-1).max())
            pyro.sample("obs", dist.Multinomial(total, words, validate_args=False), obs=docs)

    def guide(self, docs):
        pyro.module("encoder", self.encoder)
        with pyro.plate("documents", docs.shape[0]):
            pyro.sample("logtheta", normal_of(self.encoder(docs)))


class ProdLdaAsWritten(ProdLda):
    dim = 1


class FlowPrior(nn.Module):
    """vae_flow_prior: flows of zuko, whose wrapper says no support."""

    def __init__(self):
        super().__init__()
        self.prior = zuko.flows.MAF(features=D, transforms=1, hidden_features=(H,))
        self.encoder = zuko.flows.MAF(D, F, transforms=1, hidden_features=(H,))
        self.decoder = net(D, F)

    def model(self, x):
        pyro.module("prior", self.prior)
        pyro.module("decoder", self.decoder)
        with pyro.plate("batch", x.shape[0]):
            z = pyro.sample("z", ZukoToPyro(self.prior()))
            pyro.sample("x", dist.Bernoulli(logits=self.decoder(z)).to_event(1), obs=x)

    def guide(self, x):
        pyro.module("encoder", self.encoder)
        with pyro.plate("batch", x.shape[0]):
            pyro.sample("z", ZukoToPyro(self.encoder(x)))


class Cevae(nn.Module):
    """contrib.cevae: the guide observes the treatment t and the outcome y."""

    def __init__(self):
        super().__init__()
        self.of_x, self.of_t, self.of_y = net(D, F), net(D, 1), net(D + 1, 1)
        self.guess_t, self.guess_y = net(F, 1), net(F + 1, 1)
        self.encoder = net(F + 2, 2 * D)

    def model(self, x, t, y):
        with pyro.plate("data", x.shape[0]):
            z = pyro.sample("z", standard(x))
            pyro.sample("x", dist.Bernoulli(logits=self.of_x(z)).to_event(1), obs=x)
            t = pyro.sample("t", dist.Bernoulli(logits=self.of_t(z)[..., 0]), obs=t)
            loc = self.of_y(join(z, t[..., None]))[..., 0]
            pyro.sample("y", dist.Normal(loc, 1.0), obs=y)

    def guide(self, x, t, y):
        auxiliary = {"is_auxiliary": True}
        with pyro.plate("data", x.shape[0]):
            p_t = dist.Bernoulli(logits=self.guess_t(x)[..., 0])
            t = pyro.sample("t", p_t, obs=t, infer=auxiliary)
            loc = self.guess_y(join(x, t[..., None]))[..., 0]
            y = pyro.sample("y", dist.Normal(loc, 1.0), obs=y, infer=auxiliary)
            parts = join(x, t[..., None], y[..., None])
            pyro.sample("z", normal_of(self.encoder(parts)))


def normalised(given, out):
    """Layers with BatchNorm, as scanvi has them."""
    return nn.Sequential(
        nn.Linear(given, H), nn.BatchNorm1d(H), nn.ReLU(), nn.Linear(H, out), nn.BatchNorm1d(out)
    )


class Folded(nn.Module):
    """A net that folds the leading dimensions, so that BatchNorm sees rows."""

    def __init__(self, net):
        super().__init__()
        self.net = net

    def forward(self, x):
        return self.net(x.reshape(-1, x.shape[-1])).reshape(*x.shape[:-1], -1)


class Scanvi(nn.Module):
    """scanvi: counts of genes, two levels, a latent library size, and y summed over."""

    def __init__(self, of_x=Folded):
        super().__init__()
        self.of_z2, self.of_x = Folded(normalised(D + K, 2 * D)), of_x(normalised(D, 2 * F))
        self.encoder, self.classifier = normalised(F, 2 * D + 2), normalised(D, K)
        if of_x is Folded:
            self.encoder, self.classifier = Folded(self.encoder), Folded(self.classifier)
        self.of_z1 = Folded(normalised(K + D, 2 * D))

    def model(self, x, y=None):
        pyro.module("scanvi", self)
        ones = x.new_ones(F)
        theta = pyro.param("inverse_dispersion", ones, constraint=dist.constraints.positive)
        with pyro.plate("batch", len(x)), poutine.scale(scale=1 / F):
            z1 = pyro.sample("z1", dist.Normal(0, x.new_ones(D)).to_event(1))
            y = self.observe_label(dist.OneHotCategorical(logits=x.new_zeros(K)), y)
            z2 = pyro.sample("z2", normal_of(self.of_z2(join(z1, y))))
            library = pyro.sample("l", dist.LogNormal(1.0, x.new_ones(1)).to_event(1))
            gate, mean = self.of_x(z2).chunk(2, -1)
            logits = theta.log() - (library * mean.softmax(-1) + 1e-6).log()
            p = dist.ZeroInflatedNegativeBinomial(
                gate=gate.sigmoid(), total_count=theta, logits=logits
            )
            pyro.sample("x", p.to_event(1), obs=x)

    def guide(self, x, y=None):
        pyro.module("scanvi", self)
        with pyro.plate("batch", len(x)), poutine.scale(scale=1 / F):
            loc, log_scale = self.encoder(x).chunk(2, -1)
            q = dist.LogNormal(loc[..., -1:], log_scale[..., -1:].exp())
            pyro.sample("l", q.to_event(1))
            q = dist.Normal(loc[..., :-1], log_scale[..., :-1].exp())
            z2 = pyro.sample("z2", q.to_event(1))
            q_y = dist.OneHotCategorical(logits=self.classifier(z2))
            y = self.guess_label(q_y, y)
            pyro.sample("z1", normal_of(self.of_z1(join(z2, y))))

    def observe_label(self, p_y, y):
        return pyro.sample("y", p_y, obs=y)

    def guess_label(self, q_y, y):
        if y is None:
            return pyro.sample("y", q_y, infer={"enumerate": "parallel"})
        self.add_term(q_y.log_prob(y))
        return y

    def add_term(self, log_q):
        """What trains q(y | z2) on labels: no part of a guide, and left to an objective here."""


class ScanviWithFactor(Scanvi):
    """As the example has it: a factor in the guide."""

    def add_term(self, log_q):
        pyro.factor("classification_loss", -0.1 * log_q, has_rsample=False)


class PartlyLabelledScanvi(Scanvi):
    """The same with labels of some rows only. Others are zero throughout."""

    def observe_label(self, p_y, y):
        is_known = y.sum(-1) > 0
        filled = torch.where(is_known.unsqueeze(-1), y, torch.eye(K)[0])
        return pyro.sample("y", p_y, obs=filled, obs_mask=is_known)

    def guess_label(self, q_y, y):
        is_known = y.sum(-1) > 0
        with poutine.mask(mask=~is_known):
            guess = pyro.sample("y_unobserved", q_y, infer={"enumerate": "parallel"})
        return torch.where(is_known.unsqueeze(-1), y, guess)


class Lda(nn.Module):
    """lda: all documents share the topics, which are drawn."""

    def __init__(self):
        super().__init__()
        self.encoder = net(F, 2 * D)
        self.topics = nn.Parameter(torch.zeros(D, F))

    def model(self, docs):
        with pyro.plate("topics", D):
            topics = pyro.sample("topic_words", dist.Dirichlet(torch.ones(F)))
        with pyro.plate("documents", docs.shape[0]):
            z = pyro.sample("z", standard(docs))
            words = z.softmax(-1) @ topics
            pyro.sample("obs", dist.Multinomial(40, words, validate_args=False), obs=docs)

    def guide(self, docs):
        with pyro.plate("topics", D):
            pyro.sample("topic_words", dist.Dirichlet(self.topics.exp()))
        with pyro.plate("documents", docs.shape[0]):
            pyro.sample("z", normal_of(self.encoder(docs)))


class Subsampled(Vae):
    """svi_part_ii: the plate draws a part of the data."""

    def model(self, x):
        with pyro.plate("data", x.shape[0], subsample_size=3) as rows:
            z = pyro.sample("latent", dist.Normal(torch.zeros(D), 1.0).to_event(1))
            p = dist.Bernoulli(logits=self.decoder(z)).to_event(1)
            pyro.sample("obs", p, obs=x[rows])

    def guide(self, x):
        with pyro.plate("data", x.shape[0], subsample_size=3) as rows:
            pyro.sample("latent", normal_of(self.encoder(x[rows])))


def installed_cevae():
    """contrib.cevae as Pyro ships it."""
    cevae = CEVAE(F, outcome_dist="normal", latent_dim=D, hidden_dim=H, num_layers=2)
    return pv.Pair(cevae.model, cevae.guide)


def pair_of(make):
    def make_pair():
        module = make()
        return pv.Pair(module.model, module.guide)

    return make_pair


def hidden():
    x = binary(N, F)
    return x, torch.where(torch.arange(F) < 2, -1.0, x)


def labels():
    return torch.eye(K)[torch.arange(N) % K]


def documents():
    return torch.randint(0, 5, (N, F)).float() + torch.eye(F)[0]


def causes():
    return binary(N), torch.randn(N)


def sequences():
    return binary(N, T, F), torch.arange(N) % T + 1


ADMITTED = {
    "vae": (pair_of(Vae), lambda: (binary(N, 2, 2),)),
    "ss_vae_M2, unlabelled": (m2_unlabelled, lambda: (binary(N, F),)),
    "ss_vae_M2, labelled": (m2_labelled, lambda: (binary(N, F), labels())),
    "ss_vae_M2, partly labelled": (
        pair_of(PartlyLabelled),
        lambda: (binary(N, F), labels(), torch.arange(N) < 4),
    ),
    "cvae": (pair_of(Cvae), hidden),
    "dmm": (pair_of(Dmm), sequences),
    "prodlda": (pair_of(ProdLda), lambda: (documents(),)),
    "vae_flow_prior": (pair_of(FlowPrior), lambda: (binary(N, F),)),
    "cevae": (pair_of(Cevae), lambda: (binary(N, F), *causes())),
    "cevae, as installed": (installed_cevae, lambda: (torch.randn(N, F), *causes())),
    "scanvi, unlabelled": (pair_of(Scanvi), lambda: (documents(),)),
    "scanvi, labelled": (pair_of(Scanvi), lambda: (documents(), labels())),
    "scanvi, partly labelled": (
        pair_of(PartlyLabelledScanvi),
        lambda: (documents(), labels() * (torch.arange(N) < 5).unsqueeze(-1)),
    ),
    "scanvi, with a factor": (pair_of(ScanviWithFactor), lambda: (documents(), labels())),
}


@pytest.mark.filterwarnings("ignore:.*adopts pyro.param")
@pytest.mark.parametrize(("make", "data"), ADMITTED.values(), ids=ADMITTED)
def test_an_example_is_checked_trained_weighed_and_measured(make, data):
    pair, data = make(), data()
    assert pv.check(pair, *data).problems == []
    history = pv.fit(pair, *data, epochs=2, batch_size=5, seed=0, progress=False)
    assert len(history.loss) == 2
    assert log_weights(pair, *data, num_samples=7).isfinite().all()
    assert pv.Objective(pair, pv.ImportanceWeighted(3))(*data).isfinite()


@pytest.mark.filterwarnings("ignore:.*adopts pyro.param")
@pytest.mark.parametrize(("make", "data"), ADMITTED.values(), ids=ADMITTED)
def test_the_picture_of_an_example_is_printed(make, data):
    pair, data = make(), data()
    seen = picture(pair, *data, num_samples=20, progress=False)
    assert "KL(q(z|x)" in str(seen)
    assert seen.evidence.value.isfinite().all() and seen.elbo.value.isfinite().all()


MIXES = r"'obs' of the model is scored otherwise when several draws.*dim=-1"
REFUSED = {
    "ss_vae_M2 without broadcasting": (
        pair_of(lambda: _plain_cat()),
        lambda: (binary(N, F),),
        r"under a plate of 3 draws the pair fails.*fold the leading dimensions",
    ),
    "cvae by a boolean index": (
        pair_of(CvaeByIndex),
        hidden,
        r"under a plate of 3 draws the pair fails.*fold the leading dimensions",
    ),
    "prodlda, softmax(dim=1)": (pair_of(ProdLdaAsWritten), lambda: (documents(),), MIXES),
    "lda with topics of all documents": (
        pair_of(Lda),
        lambda: (documents(),),
        r"'topic_words' of the model.*pyro\.poutine\.condition\(model, \{'topic_words': value\}\)",
    ),
    "scanvi, whose module is the pair": (
        Scanvi,
        lambda: (documents(),),
        r"'inverse_dispersion'.* belongs to no module.*pv\.Pair\(module\.model, module\.guide\)",
    ),
    "scanvi, BatchNorm over draws": (
        pair_of(lambda: Scanvi(of_x=lambda net: net)),
        lambda: (documents(),),
        r"under a plate of 3 draws the pair fails.*fold the leading dimensions",
    ),
    "a plate that subsamples": (
        pair_of(Subsampled),
        lambda: (binary(N, F),),
        "the plate 'data'.* subsamples; pass the subset of x as the data instead",
    ),
}


def _plain_cat():
    module = M2()
    module.joins = lambda *parts: torch.cat(parts, -1)
    return module


@pytest.mark.filterwarnings("ignore:.*adopts pyro.param")
@pytest.mark.parametrize(("make", "data", "words"), REFUSED.values(), ids=REFUSED)
def test_an_example_is_refused_before_training_with_what_to_write(make, data, words):
    pair, data = make(), data()
    before = {name: p.clone() for name, p in pair.named_parameters()}
    with pytest.raises(ValueError, match=words):
        pv.fit(pair, *data, epochs=2, seed=0, progress=False)
    with pytest.raises(ValueError, match=words):
        log_weights(pair, *data, num_samples=3)
    after = dict(pair.named_parameters())
    assert all(torch.equal(after[name], p) for name, p in before.items())


def test_topics_that_are_fixed_as_the_message_says_are_admitted():
    module, docs = Lda(), documents()
    topics = torch.full((D, F), 1.0 / F)
    fixed = poutine.condition(module.model, {"topic_words": topics})
    model = poutine.block(fixed, hide=["topic_words"])

    def guide(docs):
        with pyro.plate("documents", docs.shape[0]):
            pyro.sample("z", normal_of(module.encoder(docs)))

    pair = pv.Pair(model, guide)
    pair.encoder = module.encoder
    assert pv.check(pair, docs).problems == []
    assert log_weights(pair, docs, num_samples=3).isfinite().all()


def test_the_latents_of_a_dmm_are_masked_inside_and_not_annealed():
    pair, data = pair_of(Dmm)(), sequences()
    with pytest.raises(ValueError, match=r"'z_1' has a mask inside.*poutine\.mask"):
        annealed_log_evidence(pair, *data, num_steps=2, num_chains=2, progress=False)


def grad_of(loss, module):
    found = torch.autograd.grad(loss, list(module.parameters()), allow_unused=True)
    return [g for g in found if g is not None and g.abs().sum() > 0]


def test_what_the_guide_of_cevae_observes_is_no_part_of_the_elbo():
    """Stock `Trace_ELBO` subtracts log q(t | x), and trains it to be low."""
    torch.manual_seed(0)
    module, data = Cevae(), (binary(N, F), *causes())
    pair = pv.Pair(module.model, module.guide)
    losses = []
    for elbo in (None, pv.EvidenceLowerBound()):
        torch.manual_seed(1)
        losses.append(pv.Objective(pair, elbo)(*data))
    torch.testing.assert_close(*losses)
    assert grad_of(losses[0], module.encoder) and not grad_of(losses[0], module.guess_t)


def test_the_loss_of_cevae_itself_can_be_the_objective():
    pair, data = installed_cevae(), (torch.randn(N, F), *causes())
    pair.eval()
    losses = []
    for elbo in (None, TraceCausalEffect_ELBO()):
        torch.manual_seed(1)
        losses.append(pv.Objective(pair, elbo)(*data))
    t = poutine.trace(pair.guide).get_trace(*data)
    log_q = sum(t.nodes[name]["fn"].log_prob(t.nodes[name]["value"]) for name in ("t", "y"))
    torch.testing.assert_close(losses[1], losses[0] - log_q.mean())


@pytest.mark.filterwarnings("ignore:.*adopts pyro.param")
def test_a_factor_of_the_guide_of_scanvi_trains_and_does_not_weigh():
    torch.manual_seed(0)
    plain, factor = Scanvi(), ScanviWithFactor()
    factor.load_state_dict(plain.state_dict())
    data = documents(), labels()
    losses, weights = [], []
    for module in (plain, factor):
        pair = pv.Pair(module.model, module.guide, name=type(module).__name__)
        torch.manual_seed(1)
        losses.append(pv.Objective(pair)(*data))
        torch.manual_seed(1)
        weights.append(log_weights(pair, *data, num_samples=3))
    assert losses[1] > losses[0]
    assert grad_of(losses[1], factor.classifier) and not grad_of(losses[0], plain.classifier)
    torch.testing.assert_close(*weights)
