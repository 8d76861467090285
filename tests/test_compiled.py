"""Compiled objectives against Pyro's own, with the same random numbers."""

import math
from functools import partial

import pyro
import pyro.distributions as dist
import pytest
import torch
import zuko
from pyro import poutine
from pyro.infer import SVI, Trace_ELBO, TraceEnum_ELBO, TraceMeanField_ELBO
from torch import nn

import pyro_vae as pv
from pyro_vae.compiling.loss import CompiledLoss
from pyro_vae.compiling.products import SMALLEST
from pyro_vae.objectives.compiled import as_exportable

ADAM = {"lr": 1e-2}
small = partial(pv.networks.mlp, hidden=(8,))


def vae(name="vae", **parts):
    torch.manual_seed(7)
    parts = {
        "prior": pv.StandardNormal(2),
        "likelihood": pv.Bernoulli(5, given=2, net=small),
        "variational": pv.Normal(2, given=5, net=small),
    } | {key: part() for key, part in parts.items()}
    return pv.VAE(**parts, name=name)


def vamp():
    torch.manual_seed(7)
    q = pv.Normal(2, given=5, net=small)
    return pv.VAE(
        prior=pv.Vamp(q, torch.rand(3, 5)),
        likelihood=pv.Bernoulli(5, given=2, net=small),
        variational=q,
        name="vae",
    )


def dropout(given, out):
    return nn.Sequential(
        nn.Linear(5, 8), nn.BatchNorm1d(8), nn.Dropout(0.3), nn.Linear(8, math.prod(out))
    )


PAIRS = {
    "normal": vae,
    "mixture prior": partial(vae, prior=lambda: pv.Mixture(pv.Normal, 2, components=3)),
    "vamp": vamp,
    "flow prior": partial(vae, prior=lambda: pv.Flow(2, transforms=1, hidden_features=(8,))),
    "flow variational": partial(
        vae,
        variational=lambda: pv.Flow(
            2, given=5, flow=zuko.flows.MAF, net=small, transforms=1, hidden_features=(8,)
        ),
    ),
    "full covariance": partial(
        vae, variational=lambda: pv.MultivariateNormal(2, given=5, net=small)
    ),
    "low rank": partial(vae, variational=lambda: pv.LowRankNormal(2, given=5, net=small, rank=1)),
    "gamma, by its own sampler": partial(
        vae, prior=lambda: pv.Gamma(2), variational=lambda: pv.Gamma(2, given=5, net=small)
    ),
    "categorical, by the score function": partial(
        vae,
        prior=lambda: pv.Categorical(2, classes=3),
        variational=lambda: pv.Categorical(2, given=5, net=small, classes=3),
    ),
    "dropout and batch statistics": partial(
        vae, variational=lambda: pv.Normal(2, given=5, net=dropout)
    ),
}


@pytest.fixture
def x():
    return torch.bernoulli(torch.full((9, 5), 0.4))


def loss_and_gradients(objective, *data):
    torch.manual_seed(3)
    objective.zero_grad()
    loss = objective(*data)
    loss.backward()
    return loss.detach(), {name: p.grad for name, p in objective.named_parameters()}


def same(a, b):
    torch.testing.assert_close(a, b, rtol=2e-5, atol=2e-6)


def exported(objective):
    """Without the C++ compiler, which takes seconds: the handlers vanish all the same."""
    return CompiledLoss(objective.forward, [objective], backend="eager")


@pytest.mark.parametrize("rows", [(9, 4, 1)], ids=["and smaller batches, and one row"])
@pytest.mark.parametrize("make", PAIRS.values(), ids=PAIRS)
def test_a_pair_has_the_loss_and_gradients_of_trace_elbo(make, rows, x):
    theirs, ours = pv.Objective(make()), pv.Objective(make(), as_exportable(Trace_ELBO()))
    run = exported(ours)
    for n in rows:
        if n == 1 and "BatchNorm" in str(list(ours.modules())):
            continue
        torch.manual_seed(3)
        ours.zero_grad()
        run(x[:n]).backward()
        found = {name: p.grad for name, p in ours.named_parameters()}
        loss, gradients = loss_and_gradients(theirs, x[:n])
        torch.manual_seed(3)
        with torch.no_grad():
            same(run(x[:n]), loss)
        same(found, gradients)
    for a, b in zip(theirs.buffers(), ours.buffers(), strict=True):
        if "BatchNorm" not in str(list(ours.modules())):
            same(a, b)
    assert len(run._compiled) <= 2 * (1 + (1 in rows)), "one graph for all batch sizes"


@pytest.mark.parametrize("kind", ["normal", "categorical, by the score function"])
def test_the_compiled_objective_is_the_eager_one(kind, x):
    theirs, ours = pv.Objective(PAIRS[kind]()), pv.Objective(PAIRS[kind]())
    ours.compile()
    for n in (9, 4):
        (a, da), (b, db) = loss_and_gradients(theirs, x[:n]), loss_and_gradients(ours, x[:n])
        same(a, b)
        same(da, db)


def test_large_products_go_through_the_faster_library_and_agree():
    net = partial(pv.networks.mlp, hidden=(400,))
    pairs = [
        vae(
            likelihood=lambda: pv.Bernoulli(200, given=2, net=net),
            variational=lambda: pv.Normal(2, given=200, net=net),
        )
        for _ in range(2)
    ]
    theirs, ours = map(pv.Objective, pairs)
    ours.compile()
    x = torch.bernoulli(torch.full((64, 200), 0.4))
    assert SMALLEST < 64 * 200 * 400
    (a, da), (b, db) = loss_and_gradients(theirs, x), loss_and_gradients(ours, x)
    same(a, b)
    same(da, db)


@pytest.mark.parametrize(
    "options", [{}, {"num_particles": 3}, {"num_particles": 3, "vectorize_particles": True}]
)
def test_stock_svi_takes_the_same_steps(options, x):
    pairs = {"a": vae("a"), "b": vae("b")}
    theirs = SVI(pairs["a"].model, pairs["a"].guide, pyro.optim.Adam(ADAM), Trace_ELBO(**options))
    elbo = pv.CompiledTrace_ELBO(**options)
    ours = SVI(pairs["b"].model, pairs["b"].guide, pv.FusedOptim(torch.optim.Adam, ADAM), elbo)
    (
        theirs.evaluate_loss(x),
        ours.evaluate_loss(x),
    )  # the first call may run a pair once more, to count its plates
    for step in range(5):
        torch.manual_seed(step)
        a = theirs.step(x)
        torch.manual_seed(step)
        assert ours.step(x) == pytest.approx(a, rel=1e-5)
    for p, q in zip(*(pair.parameters() for pair in pairs.values()), strict=True):
        torch.testing.assert_close(p, q, rtol=1e-4, atol=1e-5)
    torch.manual_seed(0)
    a = theirs.evaluate_loss(x)
    torch.manual_seed(0)
    assert ours.evaluate_loss(x) == pytest.approx(a, rel=1e-5)


def by_hand():
    torch.manual_seed(7)
    encoder = nn.Linear(5, 4)

    def model(x):
        scale = pyro.param("scale", torch.tensor(2.0), constraint=dist.constraints.positive)
        loc = pyro.param("loc", torch.zeros(5))
        with pyro.plate("data", x.shape[0]):
            z = pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))
            pyro.sample("x", dist.Normal(z.sum(-1, keepdim=True) + loc, scale).to_event(1), obs=x)

    def guide(x):
        pyro.module("encoder", encoder)
        with pyro.plate("data", x.shape[0]):
            loc, raw = encoder(x).chunk(2, -1)
            pyro.sample("z", dist.Normal(loc, raw.exp()).to_event(1))

    return model, guide


def test_bare_parameters_and_modules_of_a_handwritten_pair_are_trained(x):
    stores = []
    for optim, elbo in (
        (pyro.optim.Adam(ADAM), Trace_ELBO()),
        (pv.FusedOptim(torch.optim.Adam, ADAM), pv.CompiledTrace_ELBO()),
    ):
        pyro.clear_param_store()
        svi = SVI(*by_hand(), optim, elbo)
        torch.manual_seed(0)
        losses = [svi.step(x) for _ in range(10)]
        stores.append(
            (losses, {name: p.detach().clone() for name, p in pyro.get_param_store().items()})
        )
    (a, theirs), (b, ours) = stores
    assert a == pytest.approx(b, rel=1e-5)
    assert set(theirs) == {"encoder$$$weight", "encoder$$$bias", "scale", "loc"}
    torch.testing.assert_close(theirs, ours, rtol=1e-4, atol=1e-5)
    assert ours["scale"] != 2.0


def test_the_mean_field_elbo_is_compiled_too(x):
    theirs = pv.Objective(vae(), TraceMeanField_ELBO())
    ours = pv.Objective(vae(), as_exportable(TraceMeanField_ELBO()))
    torch.manual_seed(3)
    expected = theirs(x)
    torch.manual_seed(3)
    same(exported(ours)(x), expected)


def test_weights_of_the_kl_term_are_read_anew(x):
    theirs, ours = (pv.KLWeight(pv.Objective(vae()), pv.linear(3)) for _ in range(2))
    ours.objective.compile()
    for _ in range(4):
        (a, da), (b, db) = loss_and_gradients(theirs, x), loss_and_gradients(ours, x)
        same(a, b)
        same(da, db)
    assert len(ours.objective._compiled_call_impl._compiled) == 1


def test_an_exchanged_module_or_parameter_is_noticed(x):
    ours = pv.Objective(vae(), as_exportable(Trace_ELBO()))
    run = exported(ours)
    run(x)
    net = ours.pair.likelihood.net
    last = max(name for name, m in net.named_modules() if isinstance(m, nn.Linear))
    owner, key = net.get_submodule(last.rpartition(".")[0]), last.rpartition(".")[2]

    def exchange_the_module():
        owner._modules[key] = nn.Linear(8, 5)

    def exchange_a_parameter_of_it():
        owner._modules[key].bias = nn.Parameter(torch.ones(5))

    for exchange in (exchange_the_module, exchange_a_parameter_of_it):
        exchange()
        loss, gradients = loss_and_gradients(ours, x)
        torch.manual_seed(3)
        ours.zero_grad()
        found = run(x)
        found.backward()
        same(found.detach(), loss)
        same({name: p.grad for name, p in ours.named_parameters()}, gradients)
    assert len(run._compiled) == 3


def test_a_capacity_rests_in_eval_mode(x):
    ours = pv.Objective(vae(), pv.Capacity(2.0, pv.linear(4)))
    run = CompiledLoss(ours.forward, [ours], before=ours.elbo.advance, backend="eager")
    run(x), run(x)
    ours.eval()
    run(x)
    assert int(ours.elbo.steps) == 2


def test_a_handler_that_scales_is_compiled_in(x):
    pair = vae()
    eager, compiled = pv.Objective(pair), pv.Objective(pair, as_exportable(Trace_ELBO()))
    run = exported(compiled)
    for scale in (0.5, 2.0):
        with poutine.scale(scale=scale):
            torch.manual_seed(3)
            expected = eager(x)
            torch.manual_seed(3)
            same(run(x), expected)


def test_a_subsampling_plate_of_the_users_keeps_its_scale(x):
    def model(x):
        with pyro.plate("data", 90, subsample_size=x.shape[0]):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            pyro.sample("x", dist.Normal(z[:, None].expand(-1, 5), 1.0).to_event(1), obs=x)

    def guide(x):
        loc = pyro.param("loc", torch.tensor(0.1))
        with pyro.plate("data", 90, subsample_size=x.shape[0]):
            pyro.sample("z", dist.Normal(loc, 0.5))

    torch.manual_seed(0)
    theirs = Trace_ELBO().loss(model, guide, x)
    torch.manual_seed(0)
    assert Trace_ELBO().loss(model, guide, x) == pytest.approx(theirs)
    torch.manual_seed(0)
    ours = as_exportable(Trace_ELBO()).differentiable_loss(model, guide, x)
    assert ours.item() == pytest.approx(theirs, rel=1e-5)


def misfit(what):
    encoder = nn.Linear(5, 4)

    def model(x):
        n = len(x) if what == "len" else x.shape[0]
        with pyro.plate("data", n):
            z = pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))
            if what == "if" and z.sum() > 0:
                z = 2 * z
            scale = float(x.std()) if what == "item" else 1.0
            pyro.sample(
                "x", dist.Normal(z.sum(-1, keepdim=True).expand(-1, 5), scale).to_event(1), obs=x
            )

    def guide(x):
        with pyro.plate("data", x.shape[0]):
            loc, raw = encoder(x).chunk(2, -1)
            pyro.sample("z", dist.Normal(loc, raw.exp()).to_event(1))

    return model, guide


@pytest.mark.parametrize(
    "what, line",
    [
        ("if", '`if what == "if" and z.sum'),
        ("item", "`scale = float.x.std"),
        ("len", "`n = len.x."),
    ],
)
def test_what_cannot_be_compiled_is_named_with_its_line_and_the_way_out(what, line, x):
    svi = SVI(*misfit(what), pv.FusedOptim(torch.optim.Adam, ADAM), pv.CompiledTrace_ELBO())
    out = "x.shape.0., not len.x." if what == "len" else "use torch.where"
    with pytest.raises(
        RuntimeError, match=rf"(?s)line \d+ of .*test_compiled.py, {line}.*{out}.*Trace_ELBO"
    ):
        svi.step(x)


def test_an_elbo_that_leaves_the_tensors_is_refused():
    with pytest.raises(TypeError, match="TraceEnum_ELBO reads numbers off its tensors"):
        pv.Objective(vae(), TraceEnum_ELBO()).compile()


def test_without_a_compiler_the_error_says_what_to_install(x, monkeypatch):
    def none(*args, **kwargs):
        raise RuntimeError("InvalidCxxCompiler: No working C++ compiler found")

    objective = pv.Objective(vae())
    objective.compile()
    monkeypatch.setattr(torch, "compile", lambda *args, **kwargs: none)
    with pytest.raises(RuntimeError, match=r"install g\+\+ or clang"):
        objective(x)


def test_many_kinds_of_calls_are_warned_of():
    parts = {
        "likelihood": lambda: pv.Normal((), given=2),
        "variational": lambda: pv.Normal(2, given=()),
    }
    objective = pv.Objective(vae(**parts), as_exportable(Trace_ELBO()))
    run = CompiledLoss(lambda x, k: k * objective(x), [objective], backend="eager")
    for k in range(8):
        run(torch.ones(3), float(k))
    with pytest.warns(UserWarning, match="ninth kind of call"):
        run(torch.ones(3), 8.0)


def test_the_random_state_outside_is_that_of_the_eager_loss(x):
    states = []
    for run in (pv.Objective(vae()), exported(pv.Objective(vae(), as_exportable(Trace_ELBO())))):
        torch.manual_seed(5)
        run(x)
        states.append(torch.get_rng_state())
    assert torch.equal(*states)


@pytest.mark.parametrize("flag", [True, False])
def test_the_validation_of_arguments_is_as_it_was(flag, x):
    before = torch.distributions.Distribution._validate_args
    torch.distributions.Distribution.set_default_validate_args(flag)
    try:
        exported(pv.Objective(vae(), as_exportable(Trace_ELBO())))(x)
        assert torch.distributions.Distribution._validate_args is flag
    finally:
        torch.distributions.Distribution.set_default_validate_args(before)
