import pyro
import pyro.distributions as dist
import torch

import pyro_vae as pv
from pyro_vae.diagnostics.hmc import TARGET, Path, Sampler, State, find_step_sizes
from pyro_vae.progress import progress_bar
from tests.oracles import linear_gaussian, within


def sampler(pair, x, chains=200, num_leapfrog=5):
    bar = progress_bar(1, "testing", show=False)
    return Sampler(Path(pair, (x,), chains), num_leapfrog, bar)


def chain_pair():
    """Two latents of which one depends on the other, on both sides."""

    def model(x):
        with pyro.plate("data", len(x)):
            # Gamma takes values in the precision of its own parameters
            a = pyro.sample("a", dist.Gamma(torch.tensor(2.0).to(x), 1.0))
            b = pyro.sample("b", dist.Normal(a, 1.0))
            pyro.sample("x", dist.Normal(b, 1.0), obs=x)

    def guide(x):
        with pyro.plate("data", len(x)):
            a = pyro.sample("a", dist.LogNormal(0.1 * x, 0.5))
            pyro.sample("b", dist.Normal((a + x) / 2, 0.7))

    return pv.Pair(model, guide)


def test_the_densities_are_those_of_the_pair():
    world = linear_gaussian()
    x = world.sample(4)
    path = Path(world.pair(0.3), (x,), 5)
    state = path.start()
    mean = (x - world.b) @ world.to_mean.T + 0.3
    q = torch.distributions.MultivariateNormal(mean, world.covariance)
    p = torch.distributions.MultivariateNormal(mean - 0.3, world.covariance)
    assert torch.allclose(state.log_q, q.log_prob(state.u))
    assert torch.allclose(state.log_p, p.log_prob(state.u) + world.log_evidence(x))
    precision = torch.linalg.inv(world.covariance)
    assert torch.allclose(state.grad_q, (mean - state.u) @ precision)
    assert torch.allclose(state.grad_p, (mean - 0.3 - state.u) @ precision)


def test_a_guide_with_dependent_latents_is_scored_at_each_z():
    x = torch.tensor([-1.0, 0.5, 2.0])
    path = Path(chain_pair(), (x,), 4)
    state = path.start()
    z = path.find_latents(state)
    a, b = z["a"], z["b"]
    log_q = dist.LogNormal(0.1 * x, 0.5).log_prob(a) + dist.Normal((a + x) / 2, 0.7).log_prob(b)
    prior = dist.Gamma(2.0, 1.0).log_prob(a) + dist.Normal(a, 1.0).log_prob(b)
    log_p = prior + dist.Normal(b, 1.0).log_prob(x)
    log_jacobian = a.log()
    assert torch.allclose(state.log_q, log_q + log_jacobian, atol=1e-5)
    assert torch.allclose(state.log_p, log_p + log_jacobian, atol=1e-5)


def test_gradients_are_those_of_finite_differences():
    x = torch.tensor([-1.0, 0.5, 2.0]).double()
    path = Path(chain_pair(), (x,), 4)
    state = path.start()
    for i in range(2):
        step = torch.zeros_like(state.u)
        step[..., i] = 1e-5
        up, down = path.evaluate(state.u + step), path.evaluate(state.u - step)
        for beta in (0.0, 0.4, 1.0):
            slope = (up.log_f(beta) - down.log_f(beta)) / 2e-5
            assert torch.allclose(slope, state.grad(beta)[..., i], atol=1e-6)


def test_all_chains_of_a_datum_are_placed_at_the_same_z():
    world = linear_gaussian()
    path = Path(world.pair(), (world.sample(4),), 5)
    z = torch.randn(4, 3).double()
    state = path.place({"z": z})
    assert state.u.shape == (5, 4, 3) and torch.equal(state.u[2], z)
    assert torch.equal(path.find_latents(state)["z"][0], z)


def test_between_the_ends_the_density_is_the_geometric_mean():
    ones = torch.ones(2, 3)
    state = State(ones.unsqueeze(-1), ones, 3 * ones, ones.unsqueeze(-1), 5 * ones.unsqueeze(-1))
    assert torch.equal(state.log_f(0.25), 1.5 * ones)
    assert torch.equal(state.grad(0.25), 2 * ones.unsqueeze(-1))


def test_transitions_leave_the_posterior_as_it_is():
    """Chains that start at exact draws of p(z | x) are still such draws after some transitions."""
    world = linear_gaussian()
    x = world.sample(3)
    moves = sampler(world.pair(), x, chains=2000)
    state = moves.path.start()
    first = state.u
    for _ in range(5):
        state, probability, divergent = moves.move(state, 1.0, torch.full((3,), 0.5).double())
    k = len(first)
    mean, variance = (x - world.b) @ world.to_mean.T, world.covariance.diagonal()
    assert within(state.u.mean(0), mean, (variance / k).sqrt())
    assert within(state.u.var(0), variance, variance * (2 / k) ** 0.5)
    moved = (state.u != first).any(-1).double().mean()
    assert moved > 0.9 and 0.5 < probability.mean() <= 1 and not divergent.any()


def test_transitions_bring_other_chains_to_the_posterior():
    world = linear_gaussian()
    x = world.sample(3)
    moves = sampler(world.pair(2.0, 1.5), x, chains=1000)
    state = moves.path.start()
    for _ in range(40):
        state, _, _ = moves.move(state, 1.0, torch.full((3,), 0.4).double())
    mean, variance = (x - world.b) @ world.to_mean.T, world.covariance.diagonal()
    assert within(state.u.mean(0), mean, (variance / 1000).sqrt())


def test_a_trajectory_followed_back_ends_where_it_started():
    world = linear_gaussian()
    moves = sampler(world.pair(0.5), world.sample(3), chains=4)
    start = moves.path.start()
    velocity = torch.randn_like(start.u)
    step = torch.full_like(start.u, 0.1)
    end, turned = moves._follow(start, velocity, step, 0.7)
    back, again = moves._follow(end, -turned, step, 0.7)
    assert torch.allclose(back.u, start.u) and torch.allclose(again, -velocity)
    assert not torch.allclose(end.u, start.u)


def test_what_diverges_is_rejected_and_told():
    world = linear_gaussian()
    moves = sampler(world.pair(), world.sample(3), chains=10)
    state = moves.path.start()
    sizes = torch.tensor([0.3, 1e3, torch.inf]).double()
    after, probability, divergent = moves.move(state, 1.0, sizes)
    assert divergent.mean(0).tolist() == [0, 1, 1]
    assert probability[:, 1:].max() == 0
    for new, old in zip(after, state, strict=True):
        assert torch.equal(new[:, 1:], old[:, 1:])
    assert (after.u[:, 0] != state.u[:, 0]).any()


def test_step_sizes_come_to_the_target_acceptance():
    world = linear_gaussian()
    x = world.sample(3)
    moves = sampler(world.pair(0.2), x, chains=300)
    betas = torch.linspace(0, 1, 41).double()
    sizes = find_step_sizes(moves, betas)
    assert sizes.shape == (40, 3) and (sizes[0] == 0.3).all()

    state = moves.path.start()
    for _ in range(10):
        state, probability, _ = moves.move(state, 1.0, sizes[-1])
    assert (probability.mean(0) - TARGET).abs().max() < 0.12


def test_a_move_is_counted():
    world = linear_gaussian()
    moves = sampler(world.pair(), world.sample(3), chains=2)
    counted = []
    moves.bar.update = counted.append
    moves.move(moves.path.start(), 0.5, torch.full((3,), 0.3).double())
    assert counted == [3]
