"""Probabilistic PCA (Tipping & Bishop, 1999): a VAE with every term of the picture in closed form.

z ~ N(0, I), x ~ N(Wz + b, s² I). The posterior is N(M⁻¹Wᵀ(x - b), s²M⁻¹) with M = WᵀW + s²I. The
best mean-field q has the posterior's mean, and the variances s² / M_ii. Its gap is
½(Σ log M_ii - log det M) at every x.
"""

import torch
from torch import nn
from torch.distributions import MultivariateNormal

import pyro_vae as pv


def main(num_samples: int = 5000) -> list[tuple[str, float, float, float]]:
    torch.manual_seed(0)
    d, n, s = 3, 8, 0.5
    w, b = torch.randn(n, d), torch.randn(n)
    x = torch.randn(200, d) @ w.T + b + s * torch.randn(200, n)

    m = w.T @ w + s**2 * torch.eye(d)
    decode, encode = nn.Linear(d, n), nn.Linear(n, d)
    to_mean = torch.linalg.solve(m, w.T)
    with torch.no_grad():
        decode.weight.copy_(w), decode.bias.copy_(b)
        encode.weight.copy_(to_mean), encode.bias.copy_(-to_mean @ b)
    vae = pv.VAE(
        prior=pv.StandardNormal(d),
        likelihood=pv.Normal(n, given=d, net=decode, scale=s),
        variational=pv.Normal(d, given=n, net=encode, scale=s / m.diagonal().sqrt()),
    )

    mean = (x - b) @ to_mean.T
    variances = s**2 / m.diagonal()
    log_p = MultivariateNormal(b, w @ w.T + s**2 * torch.eye(n)).log_prob(x).mean().item()
    gap = 0.5 * (m.diagonal().log().sum() - m.logdet()).item()
    kl = 0.5 * (mean**2 + variances - 1 - variances.log()).sum(-1).mean().item()
    exact = {
        "log p(x)": log_p,
        "ELBO": log_p - gap,
        "KL(q(z|x) ‖ p(z|x))": gap,
        "E_q log p(x|z)": log_p - gap + kl,
        "KL(q(z|x) ‖ p(z))": kl,
    }

    measured = pv.diagnostics.picture(vae, x, num_samples=num_samples).rows()
    print(f"{'nats per datum':22}{'exact':>10}{'measured':>12}{'± error':>10}")
    rows = [(name, truth, *measured[name][:2]) for name, truth in exact.items()]
    for name, truth, mean, error in rows:
        print(f"{name:22}{truth:10.4f}{mean:12.4f}{error:10.4f}")
    return rows


if __name__ == "__main__":
    main()
