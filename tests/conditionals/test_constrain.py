"""Numbers mapped into a constraint: which factors are reached, and that none is out of bounds."""

import pytest
import torch

from pyro_vae.conditionals.constrain import lower_cholesky


@pytest.mark.parametrize("size", [1, 2, 5, 20])
def test_any_well_conditioned_covariance_is_reached_exactly(size):
    rotation = torch.linalg.qr(torch.randn(50, size, size).double()).Q
    covariance = rotation * torch.logspace(-2, 2, size).double() @ rotation.mT
    factor = torch.linalg.cholesky(covariance)
    scale = factor.diagonal(dim1=-2, dim2=-1)

    raw = (factor / scale.unsqueeze(-1)).tril(-1) * size + torch.diag_embed(scale.expm1().log())

    torch.testing.assert_close(lower_cholesky(raw), factor, rtol=1e-10, atol=1e-12)


def test_jitter_of_a_triangle_does_not_add_up_over_its_rows():
    for size in (2, 40):
        raw = torch.randn(2_000, size, size).tril(-1)
        factor = lower_cholesky(raw)
        ratio = factor.square().sum(-1) / factor.diagonal(dim1=-2, dim2=-1).square()
        assert ratio.mean(0).max() < 1 + 1.2 / size, (
            "1 + (d - 1) / d² of the variance that the diagonal alone has"
        )


def test_the_worst_output_still_gives_a_factor_whose_inverse_is_bounded():
    raw = (1e3 * torch.randn(8, 20, 20).tril(-1).double()).requires_grad_()
    optimizer = torch.optim.Adam([raw], lr=50.0)
    worst = 0.0
    for _ in range(100):
        factor = lower_cholesky(raw)
        unit = factor / factor.diagonal(dim1=-2, dim2=-1).unsqueeze(-1)
        inverse = torch.linalg.solve_triangular(
            unit, torch.eye(20).double().expand(8, 20, 20), upper=False
        )
        largest = inverse.tril(-1).abs().amax((-1, -2))
        worst = max(worst, largest.max().item())
        optimizer.zero_grad()
        (-largest.log().sum()).backward()
        optimizer.step()

    assert 10 < worst < 1000
