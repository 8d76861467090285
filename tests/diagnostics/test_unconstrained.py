import pytest
import torch
from torch.distributions import constraints

from pyro_vae.diagnostics.unconstrained import Unconstrained, find_bijection

SUPPORTS = {
    "a": constraints.positive,
    "b": constraints.simplex,
    "c": constraints.unit_interval,
    "d": constraints.independent(constraints.real, 2),
}


def draws():
    """Three draws for two data of each support."""
    torch.manual_seed(1)
    return {
        "a": torch.rand(3, 2).double() + 0.1,
        "b": torch.rand(3, 2, 4).double().softmax(-1),
        "c": torch.rand(3, 2).double(),
        "d": torch.randn(3, 2, 2, 2).double(),
    }


def test_there_and_back_is_where_it_was():
    z = draws()
    vectors = Unconstrained(z, SUPPORTS, "log_evidence")
    u = vectors.flatten(z)
    again, _ = vectors.unflatten(u)
    assert u.shape == (3, 2, 1 + 3 + 1 + 4)  # a simplex of four has three free numbers
    assert list(again) == list(z)
    assert all(torch.allclose(again[name], z[name]) for name in z)


def test_the_jacobian_is_that_of_autograd():
    z = {name: value for name, value in draws().items() if name != "b"}
    vectors = Unconstrained(z, SUPPORTS, "log_evidence")
    u = vectors.flatten(z)

    def map_one(row):
        values, _ = vectors.unflatten(row.reshape(1, 1, -1))
        return torch.cat([value.flatten() for value in values.values()])

    _, found = vectors.unflatten(u)
    for i in range(3):
        for j in range(2):
            jacobian = torch.autograd.functional.jacobian(map_one, u[i, j])
            assert torch.allclose(found[i, j], jacobian.slogdet().logabsdet)


def test_the_density_of_u_is_that_of_z_times_the_jacobian():
    z = {"a": torch.rand(4, 3).double() + 0.1}
    vectors = Unconstrained(z, SUPPORTS, "log_evidence")
    u = vectors.flatten(z)
    same, log_jacobian = vectors.unflatten(u)
    log_normal = torch.distributions.LogNormal(0.3, 0.7)
    normal = torch.distributions.Normal(0.3, 0.7)
    assert torch.allclose(
        log_normal.log_prob(same["a"]) + log_jacobian, normal.log_prob(u).squeeze(-1)
    )


def test_real_latents_are_taken_as_they_are():
    z = {"z": torch.randn(3, 2, 5)}
    vectors = Unconstrained(z, {"z": constraints.real_vector}, "log_evidence")
    u = vectors.flatten(z)
    _, log_jacobian = vectors.unflatten(u)
    assert torch.equal(u, z["z"]) and not log_jacobian.any()


def test_gradients_go_through():
    z = draws()
    vectors = Unconstrained(z, SUPPORTS, "log_evidence")
    u = vectors.flatten(z).requires_grad_()
    values, log_jacobian = vectors.unflatten(u)
    (log_jacobian.sum() + sum(value.sum() for value in values.values())).backward()
    assert u.grad.isfinite().all() and u.grad.any()


def test_a_discrete_latent_is_refused():
    with pytest.raises(ValueError, match=r"latent 'y' is discrete .* use posterior_gap"):
        find_bijection("y", constraints.boolean, "posterior_gap")


def test_a_support_without_a_bijection_is_refused():
    class Odd(constraints.Constraint):
        pass

    with pytest.raises(ValueError, match=r"latent 'y' has support .*use log_evidence"):
        find_bijection("y", Odd(), "log_evidence")
