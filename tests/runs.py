"""Small pairs and short runs that several tests of training use."""

import os
import signal
from functools import partial

import pyro
import pyro.distributions as dist
import torch
from torch import nn
from torch.optim import lr_scheduler

import pyro_vae as pv

small = partial(pv.networks.mlp, hidden=(8,))
X = torch.randn(50, 2, generator=torch.Generator().manual_seed(0)) @ torch.tensor(
    [[1.0, 2.0, 0.0], [0.0, 1.0, 1.0]]
)
RUN = {"epochs": 4, "batch_size": 12, "learning_rate": 1e-2, "seed": 3}


def make(likelihood=pv.Normal, event=3, seed=0, cls=pv.VAE, given=None, **options):
    """A small pair, always with the same weights."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return cls(
            prior=pv.StandardNormal(2),
            likelihood=likelihood(event, given=2, **({"net": small} | options)),
            variational=pv.Normal(2, given=event, net=small),
        )


def weights(pair):
    return {name: p.detach().clone() for name, p in pair.named_parameters()}


def equal(a, b):
    a, b = (weights(m) if isinstance(m, nn.Module) else m for m in (a, b))
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def noisy(x):
    return x + 0.1 * torch.randn_like(x)


class Conditional(nn.Module):
    """z ~ N(0, I), x ~ p(x | z, y), written by hand."""

    def __init__(self):
        super().__init__()
        self.decoder = nn.Linear(2 + 2, 3)
        self.encoder = nn.Linear(3 + 2, 4)

    def model(self, x, y):
        with pyro.plate("data", x.shape[0]):
            z = pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))
            loc = self.decoder(torch.cat([z, y.expand(*z.shape[:-1], 2)], -1))
            pyro.sample("x", dist.Normal(loc, 1.0).to_event(1), obs=x)

    def guide(self, x, y):
        with pyro.plate("data", x.shape[0]):
            loc, raw = self.encoder(torch.cat([x, y], -1)).chunk(2, -1)
            pyro.sample("z", dist.Normal(loc, raw.exp()).to_event(1))


class Counting(torch.optim.Optimizer):
    """An optimiser with a sum in float64 and a count beyond what float32 holds."""

    def __init__(self, parameters):
        super().__init__(parameters, {"lr": 1e-3})

    @torch.no_grad()
    def step(self):
        for p in self.param_groups[0]["params"]:
            state = self.state[p]
            if not state:
                state["sum"] = torch.zeros_like(p, dtype=torch.float64)
                state["count"] = torch.tensor(2**24)
                state["name"] = "a text"
            state["sum"] += p.grad.double() / 3
            state["count"] += 1
            p.sub_((self.param_groups[0]["lr"] * state["sum"]).to(p.dtype))


def handwritten(seed=0):
    """A `Pair` of two functions, of x alone."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        decoder, encoder = nn.Linear(2, 3), nn.Linear(3, 2)

    def model(x):
        with pyro.plate("data", x.shape[0]):
            z = pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))
            pyro.sample("x", dist.Normal(decoder(z), 1.0).to_event(1), obs=x)

    def guide(x):
        with pyro.plate("data", x.shape[0]):
            pyro.sample("z", dist.Normal(encoder(x), 0.5).to_event(1))

    return pv.Pair(model, guide)


def ruin(optimizer, after=3):
    """A schedule whose rate is far too high after some epochs, so that the ELBO must fall."""
    return lr_scheduler.LambdaLR(optimizer, lambda epoch: 1.0 if epoch < after else 300.0)


CHECKS = 2  # calls of a transform while data are checked, beside that on all of them


class Interrupting:
    """Noise, and an interruption at one call: a real Ctrl-C, or one that lets no step end.

    Calls are counted as if the data were checked in one.
    """

    __slots__ = ("at", "calls", "how")  # so that no checkpoint tells one from another

    def __init__(self, at=0, how="never"):
        self.calls, self.at, self.how = -CHECKS, at, how

    def __call__(self, x):
        self.calls += 1
        if self.calls == self.at and self.how == "signal":
            os.kill(os.getpid(), signal.SIGINT)
        elif self.calls == self.at and self.how == "raise":
            raise KeyboardInterrupt
        return noisy(x)


def stop_after(epoch, how):
    def callback(history):
        if len(history.loss) == epoch and how == "signal":
            os.kill(os.getpid(), signal.SIGINT)
        elif len(history.loss) == epoch and how == "raise":
            raise KeyboardInterrupt
        return len(history.loss) == epoch and how == "return"

    return callback


def ruined_in_step(pair, k):
    """An objective whose gradient is NaN at its k-th call, its loss finite."""
    left = [k]

    class Ruined(pv.Objective):
        def forward(self, *data):
            left[0] -= 1
            loss = super().forward(*data)
            if not left[0]:
                loss.register_hook(lambda g: g * float("nan"))
            return loss

    return Ruined(pair)


def vamp(seed=0):
    torch.manual_seed(seed)
    q = pv.Normal(2, given=3, net=small)
    return pv.VAE(
        prior=pv.Vamp(q, X[:5]), likelihood=pv.Normal(3, given=2, net=small), variational=q
    )


def with_value(value, at=(3, 1)):
    x = X.clone()
    x[at] = value
    return x
