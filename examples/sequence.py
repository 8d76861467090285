"""A deep Markov model of noisy walks on a circle (Krishnan, Shalit & Sontag, 2017).

Each sequence turns at a speed of its own, and has a length of its own. The latent must keep the
angle and the speed, as a single step of x does not show the latter.
"""

import torch

import pyro_vae as pv


def make_walks(n: int, steps: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Points on a circle with noise, `[n, steps, 2]`, and lengths, `[n]`."""
    generator = torch.Generator().manual_seed(seed)
    start, speed = torch.rand(2, n, 1, generator=generator) * 6.28
    angle = start + 0.2 * (speed - 3.14) * torch.arange(steps)
    x = torch.stack([angle.cos(), angle.sin()], -1)
    lengths = torch.randint(steps // 2, steps + 1, (n,), generator=generator)
    return x + 0.1 * torch.randn(n, steps, 2, generator=generator), lengths


def main(epochs: int = 60, n: int = 1000, num_samples: int = 100) -> float:
    torch.manual_seed(0)
    x, lengths = make_walks(n, 16, seed=0)
    x_test, lengths_test = make_walks(200, 16, seed=1)
    pair = pv.SequenceVAE(
        transition=pv.Normal(4, given=4, net=pv.networks.gated),
        emission=pv.Normal(2, given=4, scale="shared"),
        variational=pv.Normal(4, given=[4, 32]),
        encoder=pv.networks.Backward(2, 32),
    )
    print(pair)

    steps = lengths_test.sum()
    before = pv.diagnostics.elbo(pair, x_test, lengths_test, num_samples=20, progress=False)
    pv.fit(pair, x, lengths, epochs=epochs, learning_rate=3e-3, seed=0)
    after = pv.diagnostics.elbo(pair, x_test, lengths_test, num_samples=num_samples, progress=False)
    evidence = pv.diagnostics.log_evidence(
        pair, x_test, lengths_test, num_samples=num_samples, progress=False
    )

    for name, value in (("before", before), ("ELBO", after), ("log p(x)", evidence)):
        print(f"{name:10}{(value.value.sum() / steps).item():9.3f} nats per step of test data")
    return (after.value.sum() / steps).item()


if __name__ == "__main__":
    main()
