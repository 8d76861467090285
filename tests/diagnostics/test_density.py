import torch
from torch import nn

from pyro_vae.diagnostics.density import CompiledDensity


def test_a_compiled_density_has_the_same_values_and_gradients():
    """It reads what it refers to anew, and a latent may count nothing."""
    pair = nn.Linear(2, 3)
    x = torch.randn(5, 3)

    def density(z):
        return -(pair(z["a"]).tanh() - x).square().sum(-1)

    compiled = CompiledDensity(density, pair)
    for _ in range(2):
        z = {"a": torch.randn(4, 5, 2), "b": torch.randn(4, 5)}
        found = []
        for score in (density, compiled):
            leaves = {name: value.clone().requires_grad_() for name, value in z.items()}
            weighted = torch.linspace(-1, 2, 20).reshape(4, 5) * score(leaves)
            weighted.sum().backward()
            found.append((weighted.detach(), leaves["a"].grad))
        torch.testing.assert_close(*found)
        assert not leaves["b"].grad.any()
        x.add_(1)
        pair.zero_grad()
