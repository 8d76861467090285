"""Ours and its rivals on networks of one size. Rivals are written as their documentation says."""

import contextlib
import itertools
import logging
import math
import os
import tempfile
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import pyro
import pyro.distributions as dist
import torch
from pyro.infer import SVI, JitTrace_ELBO, RenyiELBO, Trace_ELBO
from torch import Tensor, nn
from torch.nn import functional as F

import pyro_vae as pv

EVENT = (1, 28, 28)
PIXELS = math.prod(EVENT)
CHANNELS, DENSE = (32, 64), 256  # of `pv.networks.conv`
LEARNING_RATE = 1e-3


class Shape(NamedTuple):
    """A network, 784-hidden-latent and back or convolutional, its batch, and k of the bound."""

    hidden: tuple[int, ...]
    latent: int
    batch: int
    k: int = 1
    activation: type[nn.Module] = nn.ReLU
    conv: bool = False

    def __str__(self) -> str:
        net = (
            "convolutions" if self.conv else "-".join(map(str, (PIXELS, *self.hidden, self.latent)))
        )
        bound = f", k = {self.k}" if self.k > 1 else ""
        return (
            f"{net} ({self.latent} latents, {self.activation.__name__}), batch {self.batch}{bound}"
        )


SHAPES = {
    "mlp": Shape((400,), 20, 128),
    "iwae": Shape((200, 200), 50, 20, activation=nn.Tanh),
    "iwae-5": Shape((200, 200), 50, 20, k=5, activation=nn.Tanh),
    "conv": Shape((), 20, 128, conv=True),
    "wide": Shape((1000, 1000), 50, 512),
}


def binary(*shape: int, device: str = "cpu") -> Tensor:
    """Images of zeros and ones, as many ones as MNIST has."""
    return torch.bernoulli(torch.full(shape, 0.13), generator=torch.Generator().manual_seed(0)).to(
        device
    )


def ours(shape: Shape, name: str = "vae") -> pv.VAE:
    mlp = partial(pv.networks.mlp, hidden=shape.hidden, activation=shape.activation)
    net = partial(pv.networks.conv, channels=CHANNELS, hidden=DENSE) if shape.conv else mlp
    return pv.VAE(
        prior=pv.StandardNormal(shape.latent),
        likelihood=pv.Bernoulli(EVENT, given=shape.latent, net=net),
        variational=pv.Normal(shape.latent, given=EVENT, net=net),
        name=name,
    )


def our_objective(shape: Shape, vae: pv.VAE) -> pv.Objective:
    return pv.Objective(vae, pv.ImportanceWeighted(shape.k)) if shape.k > 1 else pv.Objective(vae)


def layers(shape: Shape) -> tuple[list[nn.Module], int]:
    """The encoder up to its heads, and how wide it ends."""
    if shape.conv:
        a, b = CHANNELS
        convolutions = [nn.Conv2d(1, a, 3, 2, 1), nn.ReLU(), nn.Conv2d(a, b, 3, 2, 1), nn.ReLU()]
        return [*convolutions, nn.Flatten(), nn.Linear(b * 49, DENSE), nn.ReLU()], DENSE
    widths = (PIXELS, *shape.hidden)
    dense = [
        m for a, b in itertools.pairwise(widths) for m in (nn.Linear(a, b), shape.activation())
    ]
    return [nn.Flatten(), *dense], widths[-1]


def decoder(shape: Shape) -> nn.Sequential:
    """From z, `[..., latent]`, to logits, `[..., 784]`."""
    if shape.conv:
        a, b = CHANNELS
        up = [
            nn.ConvTranspose2d(b, a, 3, 2, 1, 1),
            nn.ReLU(),
            nn.ConvTranspose2d(a, 1, 3, 2, 1, 1),
            nn.Flatten(),
        ]
        dense = [nn.Linear(shape.latent, DENSE), nn.ReLU(), nn.Linear(DENSE, b * 49), nn.ReLU()]
        return nn.Sequential(*dense, nn.Unflatten(1, (b, 7, 7)), *up)
    widths = (shape.latent, *reversed(shape.hidden), PIXELS)
    dense = [
        m for a, b in itertools.pairwise(widths) for m in (nn.Linear(a, b), shape.activation())
    ]
    return nn.Sequential(*dense[:-1])


class Plain(nn.Module):
    """pytorch/examples, vae/main.py.

    Two things are faster here: its two heads are one product, and its sigmoid is in the loss.
    """

    def __init__(self, shape: Shape):
        super().__init__()

        body, width = layers(shape)
        self.encoder = nn.Sequential(*body, nn.Linear(width, 2 * shape.latent))
        self.decoder = decoder(shape)
        self.k = shape.k

    def forward(self, x: Tensor) -> Tensor:
        mu, logvar = self.encoder(x).chunk(2, -1)
        flat = x.flatten(1)
        if self.k == 1:
            z = mu + torch.exp(0.5 * logvar) * torch.randn_like(mu)
            bce = F.binary_cross_entropy_with_logits(self.decoder(z), flat, reduction="sum")
            kld = -0.5 * torch.sum(1 + logvar - mu.pow(2) - logvar.exp())
            return (bce + kld) / x.shape[0]

        eps = torch.randn(self.k, *mu.shape, device=mu.device)
        z = mu + torch.exp(0.5 * logvar) * eps
        bce = F.binary_cross_entropy_with_logits(
            self.decoder(z), flat.expand(self.k, -1, -1), reduction="none"
        )
        log_w = -bce.sum(-1) + 0.5 * (eps.pow(2) - z.pow(2) + logvar).sum(-1)
        return (math.log(self.k) - log_w.logsumexp(0)).mean()


class _Heads(nn.Module):
    def __init__(self, shape: Shape):
        super().__init__()

        body, width = layers(shape)
        self.body = nn.Sequential(*body)
        self.fc21, self.fc22 = nn.Linear(width, shape.latent), nn.Linear(width, shape.latent)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        hidden = self.body(x)
        return self.fc21(hidden), self.fc22(hidden)


class PyroExample(nn.Module):
    """pyro, examples/vae/vae.py: its model, guide and two heads.

    With `logits` its sigmoid is left to the density.
    """

    def __init__(self, shape: Shape, name: str = "", logits: bool = False):
        super().__init__()

        self.encoder, self.decoder = _Heads(shape), decoder(shape)
        self.z_dim, self.name, self.logits = shape.latent, name, logits

    def model(self, x: Tensor) -> None:
        pyro.module(f"decoder{self.name}", self.decoder)
        with pyro.plate("data", x.shape[0]):
            z_loc = torch.zeros(x.shape[0], self.z_dim, dtype=x.dtype, device=x.device)
            z_scale = torch.ones(x.shape[0], self.z_dim, dtype=x.dtype, device=x.device)
            z = pyro.sample("latent", dist.Normal(z_loc, z_scale).to_event(1))
            out = self.decoder(z)
            p = {"logits": out} if self.logits else {"probs": torch.sigmoid(out)}
            pyro.sample(
                "obs",
                dist.Bernoulli(**p, validate_args=False).to_event(1),
                obs=x.reshape(-1, PIXELS),
            )

    def guide(self, x: Tensor) -> None:
        pyro.module(f"encoder{self.name}", self.encoder)
        with pyro.plate("data", x.shape[0]):
            z_loc, log_scale = self.encoder(x)
            pyro.sample("latent", dist.Normal(z_loc, torch.exp(log_scale)).to_event(1))


def pyro_svi(
    shape: Shape, device: str, name: str = "", logits: bool = False, jit: bool = False
) -> SVI:
    vae = PyroExample(shape, name, logits).to(device)
    loss = JitTrace_ELBO(ignore_jit_warnings=True) if jit else Trace_ELBO()
    if shape.k > 1:
        loss = RenyiELBO(
            alpha=0, num_particles=shape.k, max_plate_nesting=1, vectorize_particles=True
        )
    return SVI(vae.model, vae.guide, pyro.optim.Adam({"lr": LEARNING_RATE}), loss=loss)


def numpyro_svi(shape: Shape, device: str):
    """numpyro, examples/vae.py: stax networks under `numpyro.module`.

    Its sigmoid is left to the density here.
    """
    import jax
    import numpyro
    import numpyro.distributions as ndist
    from jax.example_libraries import stax
    from numpyro import infer, optim

    if device == "cuda" and jax.default_backend() != "gpu":
        raise ImportError("jax has no GPU here", name="jax for CUDA")

    def reshape(*to):
        return lambda rng, given: ((given[0], *to), ()), lambda params, x, **_: x.reshape(
            x.shape[0], *to
        )

    act = {nn.ReLU: stax.Relu, nn.Tanh: stax.Tanh, nn.Softplus: stax.Softplus}[shape.activation]
    if shape.conv:
        a, b = CHANNELS
        size, stride = (3, 3), {"strides": (2, 2), "padding": "SAME"}
        body = [
            reshape(28, 28, 1),
            stax.Conv(a, size, **stride),
            act,
            stax.Conv(b, size, **stride),
            act,
            stax.Flatten,
        ]
        body += [stax.Dense(DENSE), act]
        out = [stax.Dense(DENSE), act, stax.Dense(b * 49), act, reshape(7, 7, b)]
        out += [
            stax.ConvTranspose(a, size, **stride),
            act,
            stax.ConvTranspose(1, size, **stride),
            stax.Flatten,
        ]
    else:
        body = [m for width in shape.hidden for m in (stax.Dense(width), act)]
        out = [
            *(m for width in reversed(shape.hidden) for m in (stax.Dense(width), act)),
            stax.Dense(PIXELS),
        ]
    heads = stax.parallel(stax.Dense(shape.latent), stax.serial(stax.Dense(shape.latent), stax.Exp))
    encode_nn, decode_nn = stax.serial(*body, stax.FanOut(2), heads), stax.serial(*out)

    def model(x):
        decode = numpyro.module("decoder", decode_nn, (x.shape[0], shape.latent))
        with numpyro.plate("batch", x.shape[0]):
            z = numpyro.sample("z", ndist.Normal(0, 1).expand([shape.latent]).to_event(1))
            numpyro.sample("obs", ndist.Bernoulli(logits=decode(z)).to_event(1), obs=x)

    def guide(x):
        encode = numpyro.module("encoder", encode_nn, x.shape)
        with numpyro.plate("batch", x.shape[0]):
            z_loc, z_std = encode(x)
            numpyro.sample("z", ndist.Normal(z_loc, z_std).to_event(1))

    loss = infer.RenyiELBO(alpha=0, num_particles=shape.k) if shape.k > 1 else infer.Trace_ELBO()
    return infer.SVI(model, guide, optim.Adam(LEARNING_RATE), loss)


def pythae_vae(shape: Shape):
    """pythae, README "Defining your own autoencoder architectures": VAE, or IWAE for k > 1."""
    from pythae.models import IWAE, VAE, IWAEConfig, VAEConfig
    from pythae.models.base.base_utils import ModelOutput
    from pythae.models.nn import BaseDecoder, BaseEncoder

    class Encoder(BaseEncoder):
        def __init__(self):
            BaseEncoder.__init__(self)
            self.heads = _Heads(shape)

        def forward(self, x):
            embedding, log_covariance = self.heads(x)
            return ModelOutput(embedding=embedding, log_covariance=log_covariance)

    class Decoder(BaseDecoder):
        def __init__(self):
            BaseDecoder.__init__(self)
            self.net = nn.Sequential(*decoder(shape), nn.Sigmoid())

        def forward(self, z):
            return ModelOutput(reconstruction=self.net(z).reshape(z.shape[0], *EVENT))

    sizes = {"input_dim": EVENT, "latent_dim": shape.latent, "reconstruction_loss": "bce"}
    if shape.k > 1:
        return IWAE(IWAEConfig(**sizes, number_samples=shape.k), Encoder(), Decoder())
    return VAE(VAEConfig(**sizes), Encoder(), Decoder())


def pythae_step(shape: Shape, x: Tensor, device: str) -> Callable[[Tensor], float]:
    """The body of the loop of `BaseTrainer.train_step`, with the trainer's own optimiser step."""
    model = pythae_vae(shape)
    from pythae.data.datasets import BaseDataset
    from pythae.trainers import BaseTrainer, BaseTrainerConfig

    with quiet(), tempfile.TemporaryDirectory() as folder:
        config = BaseTrainerConfig(
            output_dir=folder,
            per_device_train_batch_size=shape.batch,
            learning_rate=LEARNING_RATE,
            no_cuda=device == "cpu",
        )
        rows = x.cpu()
        trainer = BaseTrainer(
            model, BaseDataset(rows, torch.ones(rows.shape[0])), training_config=config
        )
    trainer.set_optimizer()
    trainer.model.train()

    def step(x: Tensor) -> float:
        with trainer.amp_context:
            out = trainer.model({"data": x}, epoch=1, dataset_size=rows.shape[0], uses_ddp=False)
        trainer._optimizers_step(out)
        return out.loss.item()

    return step


@contextlib.contextmanager
def quiet():
    """Without the log, the prints and the progress bars of a rival."""
    logging.disable(logging.CRITICAL)
    try:
        with (
            open(os.devnull, "w") as null,
            contextlib.redirect_stdout(null),
            contextlib.redirect_stderr(null),
        ):
            yield
    finally:
        logging.disable(logging.NOTSET)


def onednn() -> bool:
    """Whether torch has oneDNN's products. They may be faster than those of `torch.mm`."""
    return torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_linear_pointwise")


def through_onednn(x: Tensor, w: Tensor) -> Tensor:
    """x times the transpose of w."""
    return torch.ops.mkldnn._linear_pointwise(x, w, None, "none", [], "")


def products(shape: Shape, device: str, library: str = "mm") -> Callable[[], None]:
    """The floor: the matrix products and convolutions of a step alone, forward and backward."""
    body, width = layers(shape)
    encoder = [*body, nn.Linear(width, 2 * shape.latent)]
    work = [_product(*sized, shape.batch, device, library) for sized in _sized(encoder, EVENT)]
    rows = shape.batch * shape.k
    work += [
        _product(*sized, rows, device, library)
        for sized in _sized(decoder(shape), (shape.latent,), True)
    ]

    def step() -> None:
        for forward, _ in work:
            forward()
        for _, backward in reversed(work):
            backward()

    return step


def _sized(modules, event: tuple[int, ...], needs: bool = False):
    """Each layer that has weights, its shapes, and whether its input needs a gradient."""
    x = torch.zeros(1, *event)
    for module in modules:
        y = module(x).detach()
        if list(module.parameters()):
            yield module, x.shape[1:], y.shape[1:], needs
            needs = True
        x = y


def _product(
    module, given, out, needs: bool, rows: int, device: str, library: str
) -> tuple[Callable, Callable]:
    x, dy = torch.randn(rows, *given, device=device), torch.randn(rows, *out, device=device)
    w = module.weight.detach().to(device)
    if not isinstance(module, nn.Linear):
        transposed = isinstance(module, nn.ConvTranspose2d)
        extra = module.output_padding if transposed else (0, 0)
        how = (module.stride, module.padding, module.dilation, transposed, extra, 1)
        mask = (needs, True, False)
        return (
            lambda: torch.ops.aten.convolution(x, w, None, *how),
            lambda: torch.ops.aten.convolution_backward(dy, x, w, None, *how, mask),
        )

    if library == "onednn":
        return (
            lambda: through_onednn(x, w),
            lambda: (through_onednn(dy.T, x.T), through_onednn(dy, w.T) if needs else None),
        )

    y, dw, dx = torch.empty_like(dy), torch.empty_like(w), torch.empty_like(x)
    return (
        lambda: torch.mm(x, w.T, out=y),
        lambda: (torch.mm(dy.T, x, out=dw), torch.mm(dy, w, out=dx) if needs else None),
    )
