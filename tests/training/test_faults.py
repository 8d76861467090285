"""What is not finite is named."""

from functools import partial

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

import pyro_vae as pv
from pyro_vae.training.checkpoints import read_tree
from pyro_vae.training.faults import describe_last_good, find_bad_parameter, find_bad_site
from tests.runs import RUN, X, make


class TurnsBad(nn.Module):
    """A layer whose output, in training, is NaN from some call on."""

    def __init__(self, inputs, outputs, calls):
        super().__init__()
        self.linear, self.left = nn.Linear(inputs, outputs), calls

    def forward(self, b):
        self.left -= self.training
        return self.linear(b) * (float("nan") if self.left < 0 else 1.0)


class Ruins(torch.optim.SGD):
    """A step of gradient descent, which at its k-th call puts a NaN into the last parameter."""

    def __init__(self, parameters, k):
        super().__init__(parameters, lr=1e-3)
        self.left = k

    def step(self, closure=None):
        super().step(closure)
        self.left -= 1
        if not self.left:
            self.param_groups[0]["params"][-1].data.view(-1)[0] = float("nan")


def bad_likelihood():
    return make(net=TurnsBad(2, 6, 7)), {}


def bad_variational():
    pair = make()
    pair.variational = pv.Normal(2, given=3, net=TurnsBad(3, 4, 7))
    return pair, {}


def bad_weights():
    return make(), {"optimizer": partial(Ruins, k=7)}


def bad_term():
    class WithTerm(pv.Objective):
        left = 7

        def forward(self, *data):
            self.left -= 1
            return super().forward(*data) + (float("inf") if self.left < 0 else 0.0)

    pair = make()
    return pair, {"objective": WithTerm(pair)}


@pytest.mark.parametrize(
    ("ruined", "words"),
    [
        (
            bad_likelihood,
            r"the loss is nan in epoch 2, step 3: .* of site 'x' of the model is not finite, "
            r"first for row",
        ),
        (
            bad_variational,
            r"the loss is nan in epoch 2, step 3: the value of site 'z' of the guide is not finite",
        ),
        (
            bad_weights,
            r"epoch 2, step 3: 1 of \d+ values of the parameter pair\.variational\.\S+ are "
            r"not finite",
        ),
        (
            bad_term,
            r"the loss is inf in epoch 2, step 3: each site is finite by itself, so a term that "
            r"the objective",
        ),
    ],
)
@pytest.mark.parametrize("every", [0, 1e9, None])
@pytest.mark.filterwarnings("ignore:Encountered NaN")
def test_not_finite(ruined, words, every, tmp_path):
    path = tmp_path / "run.safetensors"
    pair, options = ruined()
    kept = {} if every is None else {"checkpoint": path, "checkpoint_every": every}
    with pytest.raises(FloatingPointError, match=words) as caught:
        pv.fit(pair, X, batch_size=10, epochs=3, seed=0, **kept, **options)

    last = {
        0: f"the last good checkpoint is {path}",
        1e9: "no checkpoint was written yet",
        None: "no checkpoint= was",
    }
    assert last[every] in str(caught.value)
    assert path.exists() == (every == 0)
    if path.exists():
        assert all(t.isfinite().all() for t in load_file(path).values())
        assert read_tree(path)["position"][0] == (1 if ruined is bad_weights else 2)


def test_a_bad_parameter_is_named():
    pair = make()
    assert find_bad_parameter(pair) is None

    name, p = list(pair.named_parameters())[1]
    p.data.view(-1)[:2] = float("inf")
    assert find_bad_parameter(pair).startswith(f"2 of {p.numel()} values of the parameter {name}")


def test_a_step_that_fails_when_it_is_run_again_says_so():
    state = torch.get_rng_state()
    fault = find_bad_site(pv.Objective(make()), (torch.ones(2, 9),), state)
    assert fault.startswith("running the step again fails, ValueError: ")
    assert torch.equal(state, torch.get_rng_state())


class BadForSome(nn.Module):
    """A decoder that is NaN for some z."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(2, 6)

    def forward(self, z):
        return self.linear(z).masked_fill(z[:, :1] > 1.5, float("nan"))


@pytest.mark.filterwarnings("ignore:Encountered NaN")
@pytest.mark.parametrize("compile", [False, True])
def test_a_fault_of_some_draws_is_found_among_the_draws_of_the_step(compile):
    pair = make(net=BadForSome())
    annealed = pv.KLWeight(pv.Objective(pair, pv.ImportanceWeighted(20)), pv.linear(10))
    words = r"log p of site 'x' of the model is not finite, first for row \d"
    with pytest.raises(FloatingPointError, match=words):
        pv.fit(pair, X, objective=annealed, compile=compile, **RUN)
    assert int(annealed.steps) == 1


def test_which_checkpoint_is_good(tmp_path):
    path = tmp_path / "run"
    assert describe_last_good(None) == "no checkpoint= was given"
    assert describe_last_good(path) == "no checkpoint was written yet"
    path.touch()
    assert describe_last_good(path) == f"the last good checkpoint is {path}"
