import pytest
import torch

from pyro_vae import diagnostics
from pyro_vae.diagnostics.shares import measure_shares
from pyro_vae.processes import find_rank, gather
from tests.oracles import linear_gaussian, within
from tests.together import run_together

WORLD = linear_gaussian()
with torch.random.fork_rng():
    torch.manual_seed(0)
    X = WORLD.sample(11)

ZEROS = torch.zeros(10)


def measure():
    exact, wide = WORLD.pair(), WORLD.pair(stretch=1.3)
    torch.manual_seed(3)
    return {
        "exact": diagnostics.log_evidence(exact, X, num_samples=5),
        "few": diagnostics.log_evidence(exact, X[:1], num_samples=5),
        "wide": diagnostics.log_evidence(wide, X, num_samples=500),
        "annealed": diagnostics.annealed_log_evidence(wide, X, num_steps=20),
        "picture": diagnostics.picture(
            wide, X, num_samples=500, num_steps=10, refit_steps=100, simulations=50
        ),
        "draws": gather(measure_shares(lambda data: data[0] + torch.rand(len(data[0])), (ZEROS,))),
        "error": fail_in_second(),
    }


def fail_in_second():
    def fail(data):
        if find_rank():
            raise ValueError("x: no")
        return data[0]

    with pytest.raises(ValueError, match="x: no") as error:
        measure_shares(fail, (X,))
    return str(error.value)


def test_two_processes_measure_what_one_measures():
    truth = WORLD.log_evidence(X)
    first, second = run_together(measure)

    assert torch.allclose(first["exact"].value, truth)
    assert torch.allclose(first["few"].value, truth[:1])
    assert within(first["wide"].value, truth, first["wide"].stderr)
    annealed, seen = first["annealed"], first["picture"]
    assert within(annealed.value, truth, annealed.stderr)
    assert annealed.betas.shape == (21,) and annealed.z["z"].shape == (10, len(X), 3)
    assert seen.evidence.value.shape == seen.gaps.total.value.shape == (len(X),)
    assert within(seen.annealed.value, truth, seen.annealed.stderr)

    for name in ("wide", "annealed"):
        assert torch.equal(first[name].value, second[name].value)
    assert torch.equal(seen.gaps.total.value, second["picture"].gaps.total.value)
    # each process has draws of its own
    assert torch.equal(*first["draws"]) and len(first["draws"][0].unique()) == 10
    assert first["error"] == "process 1: x: no"
    assert second["error"] == "x: no"
