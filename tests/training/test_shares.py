import os
import shutil
import signal
from functools import partial

import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset
from torch.utils.data.distributed import DistributedSampler

import pyro_vae as pv
from pyro_vae.processes import ask_first, find_rank
from pyro_vae.training.interrupts import Stopped
from tests.runs import RUN, X, equal, make, noisy, ruin, small, weights
from tests.together import run_together

NOISE = torch.randn(50, 2, generator=torch.Generator().manual_seed(1))


class Given(nn.Module):
    """A pair whose noise is data: z = m(x) + s(x) noise, so that no process draws anything."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.encoder, self.decoder = nn.Linear(3, 4), nn.Linear(2, 3)

    def model(self, x, noise):
        with pyro.plate("data", x.shape[0]):
            z = pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))
            pyro.sample("x", dist.Normal(self.decoder(z), 1.0).to_event(1), obs=x)

    def guide(self, x, noise):
        loc, raw = self.encoder(x).chunk(2, -1)
        z = loc + raw.exp() * noise
        log_q = dist.Normal(loc, raw.exp()).to_event(1).log_prob(z)
        with pyro.plate("data", x.shape[0]):
            pyro.sample("z", dist.Delta(z, log_q, event_dim=1))


def train_given(rows, **options):
    pair = Given()
    settings = {"epochs": 3, "batch_size": 12, "learning_rate": 1e-2, "seed": 3}
    history = pv.fit(pair, X[:rows], NOISE[:rows], **settings, **options)
    return {"weights": weights(pair), "history": history}


def train_in_turn():
    """Runs of which each process takes its share of the rows, one run after the other."""
    return {rows: train_given(rows) for rows in (50, 49, 37)}


def assert_close(a, b):
    for name in a:
        torch.testing.assert_close(a[name], b[name], rtol=1e-5, atol=1e-6)


def test_two_processes_end_where_one_ends():
    # the last batch has 2 rows, or 1: one process then has none
    first, second = run_together(train_in_turn)
    for rows, found in first.items():
        alone = train_given(rows)
        assert_close(found["weights"], alone["weights"])
        assert all(torch.equal(w, second[rows]["weights"][n]) for n, w in found["weights"].items())
        assert found["history"].loss == pytest.approx(alone["history"].loss, rel=1e-5)
        assert found["history"].elbo == pytest.approx(alone["history"].elbo, rel=1e-5)


def train(pair=None, **options):
    pair = make() if pair is None else pair
    history = pv.fit(pair, X, **(RUN | options))
    return {"weights": weights(pair), "history": history}


def interrupt(path, rank, at):
    """Train until one process gets a signal, and then to the end."""
    calls = []

    def noise(x):
        calls.append(1)
        if find_rank() == rank and len(calls) == at:
            os.kill(os.getpid(), signal.SIGTERM)
        return noisy(x)

    with pytest.raises(Stopped) as stop:
        train(transform=noise, checkpoint=path)
    ask_first(lambda: shutil.copy(path, path.with_suffix(".kept")))
    return str(stop.value), train(transform=noisy, checkpoint=path, resume=True)


def fail_in_second():
    def ruin(x):
        return x * float("nan") if find_rank() and len(x) == 6 else x

    objective = pv.Objective(pair := make())
    objective.register_forward_pre_hook(lambda module, args: (ruin(args[0]),))
    with pytest.raises(FloatingPointError) as fault:
        train(pair, objective=objective)
    return str(fault.value)


def train_drawing():
    """Runs of pairs and transforms that draw."""
    pair = make()
    return {
        "vae": train(),
        "transform": train(transform=noisy),
        "bernoulli": train(make(pv.Bernoulli), transform=lambda x: torch.bernoulli(x.sigmoid())),
        "importance": train(pair, objective=pv.Objective(pair, pv.ImportanceWeighted(3))),
        "last of one": train(batch_size=7),
    }


def test_two_processes_draw_what_one_draws():
    first, second = run_together(train_drawing)
    for name, alone in train_drawing().items():
        assert_close(first[name]["weights"], alone["weights"])
        assert equal(first[name]["weights"], second[name]["weights"])
        assert first[name]["history"].loss == pytest.approx(alone["history"].loss, rel=1e-4)


def train_from_loader(x):
    sampler = DistributedSampler(TensorDataset(x))
    return train_loader(DataLoader(TensorDataset(x), batch_size=6, sampler=sampler))


def train_loader(loader):
    pair = make()
    history = pv.fit(pair, loader, epochs=2, seed=0)
    return {"weights": weights(pair), "history": history, "seen": loader.sampler.epoch}


def refuse(function):
    with pytest.raises(ValueError, match=": ") as error:
        function()
    return str(error.value)


def measure_alone():
    """The first process alone calls this, and measures all of the data by itself."""
    return find_rank(), len(pv.diagnostics.log_evidence(make(), X, num_samples=2).value)


def normalise():
    """The buffers of a pair that normalises each batch, after an epoch of uneven shares."""

    def net(inputs, outputs):
        return nn.Sequential(nn.BatchNorm1d(2), small(inputs, outputs))

    pair = make(net=net)
    pv.fit(pair, X, **(RUN | {"epochs": 1, "batch_size": 16, "drop_last": True}))
    return dict(pair.named_buffers())


def behave(folder):
    asked = []
    return {
        "whole": train(transform=noisy),
        "interrupted": interrupt(folder / "a", rank=1, at=7),
        "fault": fail_in_second(),
        "patience": train(epochs=9, validation=X[:9], patience=1, schedule=partial(ruin, after=2)),
        "callback": train(callback=lambda h: asked.append(measure_alone()) or len(h.loss) == 2),
        "asked": asked,
        "sampled": train_from_loader(X),
        "buffers": normalise(),
        "few": refuse(lambda: train(batch_size=1)),
        "loader": refuse(lambda: pv.fit(make(), DataLoader(X), epochs=1)),
    }


def test_what_two_processes_decide_they_decide_together(tmp_path):
    first, second = run_together(behave, tmp_path)

    for found in (first, second):
        stopped, resumed = found["interrupted"]
        assert equal(resumed["weights"], found["whole"]["weights"])
        assert resumed["history"].loss == pytest.approx(found["whole"]["history"].loss, rel=1e-9)
        assert "resume=True" in stopped
    alone = train(transform=noisy, checkpoint=tmp_path / "a.kept", resume=True)
    assert_close(alone["weights"], first["whole"]["weights"])
    assert "by another process" in first["interrupted"][0]
    assert "by SIGTERM" in second["interrupted"][0]

    assert "another process" in first["fault"] and "site" in second["fault"]
    assert "a row for each of the 2" in first["few"] and "DistributedSampler" in first["loader"]
    assert first["buffers"] and equal(first["buffers"], second["buffers"])
    assert len(first["callback"]["history"].loss) == 2
    assert (first["asked"], second["asked"]) == ([(0, 50)] * 2, [])
    for name in ("whole", "patience", "callback", "sampled"):
        assert equal(first[name]["weights"], second[name]["weights"])
        assert first[name]["history"].elbo == second[name]["history"].elbo
    assert 2 < len(first["patience"]["history"].loss) < 9


def compile_and_round():
    rounded = train(precision="bf16", epochs=2), train(epochs=2)
    return train_given(50, compile=True), train_given(50), *rounded


def test_compiled_and_rounded_steps_are_shared():
    for compiled, run, rounded, plain in run_together(compile_and_round):
        assert_close(compiled["weights"], run["weights"])
        assert not equal(rounded["weights"], plain["weights"])
        assert rounded["history"].loss == pytest.approx(plain["history"].loss, rel=0.05)
