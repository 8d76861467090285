"""What happens to bad inputs: whether each is refused clearly, by the right type, before training.

An error is clear if our own code raised it, or it begins with the name of the argument, and if it
holds the word that says what is wrong. Each call has a pair of its own, whose weights tell whether
it was trained before it was refused. The command line is called as from a shell, in this process.

    python benchmarks/bad_inputs.py                 # all
    python benchmarks/bad_inputs.py fit commands    # parts of the table below, by their heads
    python benchmarks/bad_inputs.py --short         # every fifth
"""

import argparse
import contextlib
import io
import os
import shlex
import shutil
import sys
import tempfile
import traceback
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np
import pyro
import pyro.distributions as dist
import torch
from torch import nn
from torch.utils.data import DataLoader

import pyro_vae as pv
from pyro_vae import cli, diagnostics
from pyro_vae.look import plots

# The type of the error that is expected, a word that its message holds, and the call. T is a
# TypeError, V a ValueError, E either, F an OSError, C an error of the command line, and O an error
# of the user's own.
TABLE = """
[fit]
T pair              fit(5, x)
T pair              fit(nn.Linear(3, 2), x)
T pair              fit(pv.VAE, x)
E pair              fit(x, vae)
T data              fit(vae, None)
V data              fit(vae)
T x                 fit(vae, "digits")
T x                 fit(vae, pv.data.load("digits"))
T x                 fit(vae, {"x": x})
V x                 fit(vae, x[:0])
V x                 fit(vae, torch.tensor(1.0))
V x                 fit(vae, x[:, :2])
V x                 fit(vae, x[0])
V NaN               fit(vae, x / 0)
V support           fit(binary, x)
T x                 fit(vae, (10 * x).long())
T complex           fit(vae, x + 0j)
T x                 fit(vae, np.array(["a", "b"]))
T x                 fit(vae, np.array([object()]))
V x                 fit(vae, x.to_sparse())
E alone             fit(vae, x, y)
T number            fit(labelled, x, torch.eye(3)[y])
V y                 fit(labelled, x, y + 7)
T y                 fit(labelled, x, x)
V rows              fit(labelled, x, y[:5])
T covariate         fit(conditional, x)
V covariate         fit(conditional, x, x[:, :1])
V data              fit(vae, DataLoader(x, batch_size=5), y)
V data              fit(vae, DataLoader([], batch_size=5))
T data              fit(vae, DataLoader([{"a": 1.0}], batch_size=5))
V x                 fit(vae, DataLoader(x[:, :2], batch_size=5))
T epochs            fit(vae, x, epochs=1.5)
T epochs            fit(vae, x, epochs="3")
T epochs            fit(vae, x, epochs=None)
T epochs            fit(vae, x, epochs=True)
V epochs            fit(vae, x, epochs=0)
V epochs            fit(vae, x, epochs=-1)
T batch_size        fit(vae, x, batch_size=2.0)
V batch_size        fit(vae, x, batch_size=0)
T batch_size        fit(vae, x, batch_size=None)
T learning_rate     fit(vae, x, learning_rate="1e-3")
T learning_rate     fit(vae, x, learning_rate=None)
T learning_rate     fit(vae, x, learning_rate=[1e-3])
V learning_rate     fit(vae, x, learning_rate=0)
V learning_rate     fit(vae, x, learning_rate=-1e-3)
V learning_rate     fit(vae, x, learning_rate=float("nan"))
V learning_rate     fit(vae, x, learning_rate=np.inf)
T optimizer         fit(vae, x, optimizer=torch.optim.Adam(vae.parameters()))
T optimizer         fit(vae, x, optimizer=pyro.optim.SGD(lambda name: {"lr": 1e-3}))
T optimizer         fit(vae, x, optimizer="adam")
T optimizer         fit(vae, x, optimizer=1e-3)
T optimizer         fit(vae, x, optimizer=lambda p: None)
T optimizer         fit(vae, x, optimizer=lambda: torch.optim.Adam(vae.parameters()))
V optimizer         fit(vae, x, optimizer=lambda p: torch.optim.Adam(other.parameters()))
V optimizer         fit(vae, x, optimizer=partial(torch.optim.Adam, lr=-1.0))
T optimizer         fit(vae, x, optimizer=partial(torch.optim.Adam, rate=1.0))
T optimizer         fit(vae, x, optimizer=torch.optim.lr_scheduler.StepLR)
T optimizer         fit(vae, x, optimizer=torch.optim.LBFGS)
T schedule          fit(vae, x, schedule=lambda o: None)
T schedule          fit(vae, x, schedule=0.9)
T schedule          fit(vae, x, schedule="cosine")
T schedule          fit(vae, x, schedule=torch.optim.lr_scheduler.StepLR)
T schedule          fit(vae, x, schedule=lambda o: o)
T schedule          fit(vae, x, schedule=torch.optim.lr_scheduler.ExponentialLR(adam(vae), 0.9))
V schedule          fit(vae, x, schedule=lambda o: torch.optim.lr_scheduler.StepLR(adam(vae), 1))
T objective         fit(vae, x, objective="elbo")
T objective         fit(vae, x, objective=pv.Objective)
T objective         fit(vae, x, objective=pv.ImportanceWeighted)
T objective         fit(vae, x, objective=5)
T objective         fit(vae, x, objective=lambda x: x.sum())
T objective         fit(vae, x, objective=pyro.infer.SVI(vae.model, vae.guide, padam, elbo))
V objective         fit(vae, x, objective=pv.Objective(other))
V objective         fit(vae, x, objective=nn.Linear(3, 1))
E objective         fit(vae, x, objective=WithoutLoss(vae))
E objective         fit(vae, x, objective=PerDatum(vae))
T validation        fit(vae, x, validation=0.1)
T validation        fit(vae, x, validation=5)
T validation        fit(vae, x, validation=DataLoader(x, batch_size=5))
T validation        fit(vae, x, validation="test")
T validation        fit(vae, x, validation=True)
V validation        fit(vae, x, validation=x[:0])
V validation        fit(vae, x, validation=[])
V validation        fit(vae, x, validation=x[:, :2])
T validation        fit(vae, x, validation=(x, y, y))
V validation        fit(vae, x, validation=x / 0)
T patience          fit(vae, x, validation=x, patience=1.0)
V patience          fit(vae, x, validation=x, patience=0)
V patience          fit(vae, x, patience=3)
T transform         fit(vae, x, transform="bernoulli")
T transform         fit(vae, x, transform=True)
T transform         fit(vae, x, transform=lambda x: None)
V transform         fit(vae, x, transform=lambda x: x[:5])
V transform         fit(vae, x, transform=lambda x: x[:, :2])
V transform         fit(vae, x, transform=lambda x: x / 0)
V device            fit(vae, x, device="gpu")
V device            fit(vae, x, device="cuda:99")
V device            fit(vae, x, device="tpu")
T device            fit(vae, x, device=1.5)
T device            fit(vae, x, device=True)
T compile           fit(vae, x, compile="yes")
T compile           fit(vae, x, compile=None)
V compile           fit(vae, x, compile=True, objective=NotOurs(vae))
V precision         fit(vae, x, precision="fp16")
V precision         fit(vae, x, precision="bf-16")
E precision         fit(vae, x, precision=torch.bfloat16)
E precision         fit(vae, x, precision=16)
T checkpoint        fit(vae, x, checkpoint=5)
T checkpoint        fit(vae, x, checkpoint=True)
V checkpoint        fit(vae, x, checkpoint=folder)
V checkpoint        fit(vae, x, checkpoint=folder / "none" / "run")
V checkpoint        fit(vae, x, checkpoint="")
V checkpoint        fit(vae, x, checkpoint=folder / "junk", resume=True)
V checkpoint        fit(vae, x, checkpoint=folder / "weights", resume=True)
T checkpoint_every  fit(vae, x, checkpoint=folder / "a", checkpoint_every="1")
V checkpoint_every  fit(vae, x, checkpoint=folder / "b", checkpoint_every=-1)
V checkpoint_every  fit(vae, x, checkpoint=folder / "c", checkpoint_every=float("nan"))
T checkpoint_every  fit(vae, x, checkpoint=folder / "d", checkpoint_every=None)
V resume            fit(vae, x, resume=True)
T resume            fit(vae, x, checkpoint=folder / "e", resume="yes")
T seed              fit(vae, x, seed=1.5)
T seed              fit(vae, x, seed="0")
T seed              fit(vae, x, seed=True)
V seed              fit(vae, x, seed=-1)
V seed              fit(vae, x, seed=2**70)
T seed              fit(vae, x, seed=torch.Generator())
T progress          fit(vae, x, progress="yes")
T callback          fit(vae, x, callback=5)
T callback          fit(vae, x, callback=[print])
V no_grad           without_gradients(fit, vae, x)
V inference_mode    in_inference_mode(fit, vae, x)
V parameters        fit(frozen(vae), x)
V batch             fit(normed(), x[:11])
V plate             fit(other_plate(), x)
V plate             fit(no_plate(), x)
V lacks             fit(guide_lacks(), x)
V lacks             fit(model_lacks(), x)
V observes          fit(observes_nothing(), x)
O mine              fit(raises(KeyError), x)
O mine              fit(raises(ZeroDivisionError), x)
O mine              fit(raises(RuntimeError), x)
O mine              fit(raises(ValueError), x)
O mine              fit(vae, x, transform=raise_mine)
O mine              fit(vae, x, schedule=raise_mine)
T model             pv.Pair(5, print)
T guide             pv.Pair(print, 5)
T name              pv.Pair(print, print, name=5)

[parts]
V event_shape       pv.Normal(0)
V event_shape       pv.Normal(-1)
T event_shape       pv.Normal(2.0)
T event_shape       pv.Normal("3")
T event_shape       pv.Normal(None)
T event_shape       pv.Normal(True)
T event_shape       pv.Normal((3, 2.0))
V event_shape       pv.StandardNormal(0)
V given             pv.Normal(2, given=0)
T given             pv.Normal(2, given="x")
T given             pv.Normal(2, given=2.5)
T given             pv.Normal(2, given=x)
T net               pv.Normal(2, given=3, net=5)
T net               pv.Normal(2, given=3, net="mlp")
V net               pv.Normal(2, given=3, net=nn.Linear(3, 3))(x)
T hidden            pv.networks.mlp([(3,)], (2,), hidden=5)
V hidden            pv.networks.mlp([(3,)], (2,), hidden=(0,))
T hidden            pv.networks.mlp([(3,)], (2,), hidden=(5.0,))
V scale             pv.Normal(2, given=3, scale=-1.0)
V scale             pv.Normal(2, given=3, scale=0.0)
V scale             pv.Normal(2, given=3, scale=float("nan"))
V scale             pv.Normal(2, given=3, scale="one")
V scale             pv.Normal(2, given=3, scale=torch.ones(5))
E sigma             pv.Normal(2, given=3, sigma=1.0)
V classes           pv.Categorical(3, given=2, classes=0)
T classes           pv.Categorical(3, given=2, classes=2.5)
E classes           pv.Categorical(3, given=2)
V total_count       pv.Binomial(3, given=2, total_count=-1)
E total_count       pv.Binomial(3, given=2)
E levels            pv.DiscretisedLogistic(3, given=2, levels=1)
V temperature       pv.RelaxedBernoulli(3, given=2, temperature=0.0)
T temperature       pv.RelaxedBernoulli(3, given=2, temperature="hot")
V components        pv.Mixture(pv.Normal, 2, given=3, components=0)
T components        pv.Mixture(pv.Normal, 2, given=3, components=2.5)
T family            pv.Mixture(pv.Normal(2), 2, given=3, components=2)
T family            pv.Mixture("normal", 2, given=3, components=2)
T family            pv.Autoregressive("normal", 3)
T family            pv.Autoregressive(dist.Normal, 3)
V context           pv.Autoregressive(pv.Bernoulli, 3, given=2, context=0)
T flow              pv.Flow(2, given=3, flow="nsf")
T base              pv.Flow(2, given=3, base="normal")
T columns           pv.Columns(5, given=2)
V columns           pv.Columns({}, given=2)
T columns           pv.Columns({"a": 5}, given=2)
T likelihood        pv.missing(5)
T likelihood        pv.missing(pv.Normal)
T likelihood        pv.exposed(5)
T net               pv.masked(5)
V by                pv.standardised(by="row")
T cls               pv.family(5, "loc")
T cls               pv.family("Normal", "loc", "scale")
V parameter         pv.family(dist.Normal, "mean", "scale")
V concentration     pv.approximate_dirichlet(5, -1.0)
V size              pv.approximate_dirichlet(0)
T variational       pv.Vamp(5, 10)
T variational       pv.Vamp(pv.Normal, 10)
T pseudo_inputs     pv.Vamp(vae.variational, "10")
T pseudo_inputs     pv.Vamp(vae.variational, 2.5)
V pseudo_inputs     pv.Vamp(vae.variational, 0)
V pseudo_inputs     pv.Vamp(vae.variational, torch.ones(5, 2))
V within            pv.Vamp(vae.variational, 5, within=(1, 0))
T within            pv.Vamp(vae.variational, 5, within=5)
V components        pv.Vamp.from_data(vae.variational, x, components=0)
V components        pv.Vamp.from_data(vae.variational, x, components=500)
T x                 pv.Vamp.from_data(vae.variational, "digits")
T variational       pv.Aggregate(5, x)
T x                 pv.Aggregate(vae.variational, 5)
V x                 pv.Aggregate(vae.variational, x[:, :2])
V steps             pv.Refined(vae.variational, vae.prior, vae.likelihood, steps=-1)
T labels            pv.Responsibilities(5, vae.variational, vae.variational)
T scale             pv.Normal(2, given=3, scale=None)
T hidden            pv.networks.conv([(1, 8, 8)], (2,), hidden=None)
T steps             pv.Refined(vae.variational, vae.prior, vae.likelihood, steps=1.5)
T variational       pv.Refined(5, vae.prior, vae.likelihood, steps=5)

[pairs]
T prior             make(prior=pv.StandardNormal)
T prior             make(prior=5)
T prior             make(prior=None)
T prior             make(prior=dist.Normal(0, 1))
T likelihood        make(likelihood=pv.Normal)
T likelihood        make(likelihood=nn.Linear)
T likelihood        make(likelihood=partial(pv.Normal, 3))
T variational       make(variational=pv.Normal)
T variational       make(variational="normal")
V variational       make(variational=pv.Normal(3, given=3))
V prior             make(prior=pv.StandardNormal(5))
V supports          make(prior=pv.Beta(2))
T name              make(name=5)
T covariates        make(covariates=5)
E enumerate         fit(make(enumerate=True), x)
T enumerate         make(enumerate="yes")
T priors            pv.HierarchicalVAE(priors=5, likelihood=vae.likelihood, variationals=[])
V priors            pv.HierarchicalVAE(priors=[], likelihood=vae.likelihood, variationals=[])
T priors            pv.HierarchicalVAE(priors=[5], likelihood=vae.likelihood, variationals=[5])
V order             hierarchical(order="up")
V order             hierarchical(order=1)
T likelihoods       pv.MultimodalVAE(prior=vae.prior, likelihoods=[vae.likelihood], experts={})
V experts           pv.MultimodalVAE(prior=p, likelihoods={"x": vae.likelihood}, experts={})
T likelihoods       pv.MultimodalVAE(prior=p, likelihoods={"x": 5}, experts={"x": 5})
V join              multimodal(join="sum")
T labels            pv.LabelledVAE(labels=5, prior=p, likelihood=p, classifier=p, variational=p)
T transition        pv.SequenceVAE(transition=5, emission=p, variational=p, encoder=p)
T pair              pv.start_clusters(vae, x, epochs=1)

[objectives]
T pair              pv.Objective(5)
T pair              pv.Objective(pv.VAE)
T elbo              pv.Objective(vae, "elbo")
T elbo              pv.Objective(vae, pv.ImportanceWeighted)
T elbo              pv.Objective(vae, pv.Objective(vae))
V num_samples       pv.ImportanceWeighted(0)
T num_samples       pv.ImportanceWeighted(2.5)
T num_samples       pv.ImportanceWeighted("5")
T num_samples       pv.ImportanceWeighted(vae)
V gradient          pv.ImportanceWeighted(5, gradient="path")
E gradient          pv.ImportanceWeighted(5, gradient=3)
V num_samples       pv.EvidenceLowerBound(1, gradient="leave_one_out")
V num_samples       pv.VIMCO(1)
V alpha             pv.Renyi(float("nan"), 5)
T alpha             pv.Renyi("half", 5)
V beta              pv.CIWAE(2.0, 5)
T beta              pv.CIWAE(None, 5)
V num_groups        pv.MIWAE(0, 5)
T num_groups        pv.PIWAE(2.0, 5)
V nats              pv.FreeBits(-1.0)
T nats              pv.FreeBits("1")
V per               pv.FreeBits(1.0, per="latent")
V gamma             pv.Capacity(-1.0, 5.0)
T capacity          pv.Capacity(1.0, "ten")
V capacity          pv.Capacity(1.0, -5.0)
V num_data          pv.TotalCorrelation(1.0, 0)
T num_data          pv.TotalCorrelation(1.0, x)
V estimator         pv.TotalCorrelation(1.0, 20, estimator="exact")
V weight            pv.MMD(-1.0)
T weight            pv.MMD("1")
T kernel            pv.MMD(1.0, kernel="rbf")
T objective         pv.KLWeight(vae, 0.5)
T objective         pv.KLWeight(pv.ImportanceWeighted(5), 0.5)
T objective         pv.KLWeight(pv.Objective, 0.5)
T beta              pv.KLWeight(pv.Objective(vae), "0.5")
T beta              pv.KLWeight(pv.Objective(vae), None)
V beta              pv.KLWeight(pv.Objective(vae), -1.0)
V beta              pv.KLWeight(pv.Objective(vae), float("nan"))
V beta              pv.KLWeight(pv.Objective(vae), {})
T beta              pv.KLWeight(pv.Objective(vae), {"z": "1"})
V beta              fit(vae, x, objective=pv.KLWeight(pv.Objective(vae), {"typo": 1.0}))
T beta              pv.KLWeight(pv.Objective(vae), lambda step: None)
T beta              pv.KLWeight(pv.Objective(vae), lambda: 1.0)
T objective         pv.Classification(5, 1.0)
T objective         pv.LikelihoodWeights(5, {"x": 1.0})
T weights           pv.LikelihoodWeights(pv.Objective(multimodal()), 5)
T objective         pv.Subsets(5)
V random            pv.Subsets(pv.Objective(multimodal()), random=-1)
T elbo              pv.Compiled(5)
V steps             pv.linear(0)
T steps             pv.linear(1.5)
T to                pv.linear(10, to="1")
V to                pv.linear(10, to=float("nan"))
V cycles            pv.cyclical(10, cycles=0)
V rise              pv.cyclical(10, rise=0.0)
T rise              pv.cyclical(10, rise="half")
T optim_args        pv.FusedOptim(torch.optim.Adam, 1e-3)

[measures]
T pair              pv.check(5, x)
T pair              pv.check(pv.VAE, x)
T x                 pv.check(vae, 5)
V x                 pv.check(vae)
V x                 pv.check(vae, x[:, :2])
T pair              pv.simulate(5, 3)
V data              pv.simulate(vae, 0)
V data              pv.simulate(vae, -5)
T data              pv.simulate(vae, 2.5)
T data              pv.simulate(vae, True)
V data              pv.simulate(vae)
V given             pv.simulate(vae, 3, given=x[:3])
V given             pv.simulate(conditional, 3)
T given             pv.simulate(conditional, 3, given="a")
V at                pv.reconstruct(vae, x, at={"typo": x[:, :2]})
V at                pv.reconstruct(vae, x, at={"z": x})
V at                pv.reconstruct(vae, x, at={"z": x[:3, :2]})
V at                pv.reconstruct(vae, x, at={})
T at                pv.reconstruct(vae, x, at=x[:, :2])
T at                pv.reconstruct(vae, x, at={"z": 1.0})
V x                 pv.reconstruct(vae)
V x                 pv.reconstruct(vae, x[:, :2])
T x                 pv.reconstruct(vae, "x")
T pair              diagnostics.elbo(5, x)
V x                 diagnostics.elbo(vae)
T x                 diagnostics.elbo(vae, None)
T data[1]           diagnostics.elbo(vae, x, 10)
V num_samples       diagnostics.elbo(vae, x, num_samples=0)
T num_samples       diagnostics.elbo(vae, x, num_samples=1.5)
T num_samples       diagnostics.log_evidence(vae, x, num_samples="many")
V num_samples       diagnostics.log_evidence(vae, x, num_samples=-1)
V num_samples       diagnostics.log_evidence(vae, x, num_samples=10**30)
T num_samples       diagnostics.log_weights(vae, x, num_samples=None)
V num_samples       diagnostics.picture(vae, x, num_samples=0)
T num_steps         diagnostics.picture(vae, x, num_samples=20, num_steps=1.5)
V num_steps         diagnostics.picture(vae, x, num_samples=20, num_steps=-1)
V num_chains        diagnostics.picture(vae, x, num_samples=20, num_steps=2, num_chains=0)
V refit_steps       diagnostics.picture(vae, x, num_samples=20, refit_steps=-1)
V simulations       diagnostics.picture(vae, x, num_samples=20, simulations=-5)
V x                 diagnostics.picture(vae, x[:0])
V x                 diagnostics.picture(vae, x[:, :2])
T pair              diagnostics.picture(5, x)
V num_steps         diagnostics.annealed_log_evidence(vae, x, num_steps=0)
V num_chains        diagnostics.annealed_log_evidence(vae, x, num_chains=0)
V num_leapfrog      diagnostics.annealed_log_evidence(vae, x, num_leapfrog=0)
V num_steps         diagnostics.bracket(vae, 5, num_steps=0)
V data              diagnostics.bracket(vae, 0)
V data              diagnostics.calibrate(vae, 0)
V num_draws         diagnostics.calibrate(vae, 10, num_draws=0)
V level             diagnostics.calibrate(vae, 10, level=2.0)
T level             diagnostics.calibrate(vae, 10, level="1 %")
V size              diagnostics.grid_posterior(vae, x, size=0)
V size              diagnostics.grid_posterior(vae, x, size=1)
T size              diagnostics.grid_posterior(vae, x, size=10.0)
V bounds            diagnostics.grid_posterior(vae, x, bounds=(1, -1))
T bounds            diagnostics.grid_posterior(vae, x, bounds=3)
V bounds            diagnostics.grid_posterior(vae, x, bounds=(-1, float("inf")))
V num_steps         diagnostics.inference_gaps(vae, x, num_steps=0)
V learning_rate     diagnostics.inference_gaps(vae, x, learning_rate=0)
V num_particles     diagnostics.inference_gaps(vae, x, num_particles=0)
T family            diagnostics.inference_gaps(vae, x, family="normal")
T log_evidence      diagnostics.inference_gaps(vae, x, log_evidence=5)
V log_evidence      diagnostics.posterior_gap(vae, x, log_evidence=estimate(3))
T seed              diagnostics.inference_gaps(vae, x, seed="0")
V num_samples       diagnostics.joint_kl(vae, x, num_samples=0)
V num_samples       diagnostics.latents(vae, x, num_samples=0)
T pair              diagnostics.classify(vae, x)
V num_samples       diagnostics.classify(labelled, x, num_samples=0)
T pair              diagnostics.cluster(vae, x, y)
V labels            diagnostics.cluster(labelled, x, y[:3])
V guesses           diagnostics.compare_labels(y, y[:3])
T labels            diagnostics.compare_labels(y, "labels")
T pair              diagnostics.coherence(vae, x, classify={})
T pair              diagnostics.cross_generate(vae, x)
T pair              diagnostics.forecast(vae, x, y, steps=1)
V missing           diagnostics.impute(vae, x)
V draws             diagnostics.impute(gappy, with_gap(x), draws=-1)
T estimate          diagnostics.per_step(5, y)
V lengths           diagnostics.per_step(estimate(20), y[:3])
V per               diagnostics.perplexity(estimate(20), x.abs(), per="page")
T progress          diagnostics.elbo(vae, x, num_samples=2, progress="yes")
T compile           diagnostics.log_evidence(vae, x, num_samples=2, compile="yes")
T mean              pv.reconstruct(vae, x, mean="no")
T data              diagnostics.bracket(vae, None)
T data              diagnostics.calibrate(vae, 20.0)
T x                 diagnostics.picture(vae, None, num_samples=20)
T classify          diagnostics.coherence(multimodal(), x, x, classify=5)
T log_evidence      diagnostics.joint_kl(vae, x, num_samples=2, log_evidence="known")
T labels            diagnostics.cluster(labelled, x, None)
T bound             diagnostics.perplexity(5, x)
T vocabulary        diagnostics.top_words(torch.rand(3, 10), 5)
V n                 diagnostics.top_words(torch.rand(3, 10), n=0)
V vocabulary        diagnostics.top_words(torch.rand(3, 10), ["a"])
T topics            diagnostics.top_words(5)
T top               diagnostics.topic_diversity(5)

[files]
T pair              pv.save_weights(5, folder / "w")
F write             pv.save_weights(vae, folder)
F write             pv.save_weights(vae, folder / "none" / "w")
T path              pv.save_weights(vae, 5)
T pair              pv.load_weights(5, folder / "weights")
V junk              pv.load_weights(vae, folder / "junk")
V none              pv.load_weights(vae, folder / "none")
V file              pv.load_weights(vae, folder)
T path              pv.load_weights(vae, None)
V pair              pv.load_weights(labelled, folder / "weights")
T data              pv.data.load(5)
T data              pv.data.load(x)
V data              pv.data.load("mnits")
V data              pv.data.load("")
V data              pv.data.load(folder / "none.npy")
V data              pv.data.load(folder / "junk.npy")
V data              pv.data.load(folder / "junk.npz")
V data              pv.data.load(folder / "junk.csv")
V data              pv.data.load(folder / "junk.pt")
V data              pv.data.load(folder / "empty.npy")
V data              pv.data.load(folder / "words.npy")
V data              pv.data.load(folder / "text.txt")
T x                 pv.data.binarise(5)
V x                 pv.data.binarise(5 * x)
T seed              pv.data.binarise(x.sigmoid(), seed="0")
V seed              pv.data.binarise(x.sigmoid(), seed=-1)
T counts            pv.data.to_dense(5)
V size              pv.data.to_dense((y, y, y), limit=1.0)
T run               plots.history(5)
T x                 plots.data(5)
V x                 plots.data(x[:0])
T columns           plots.classes(x, y, columns=1.5)
T labels            plots.classes(x, None)
T x                 plots.rows([x])
T x                 pv.data.make_upright(None)
V columns           plots.data(x, columns=0)
V z                 plots.latents(x[:, :0])
T z                 plots.latents(5)
V labels            plots.latents(x, y[:3])

[commands]
C command           tain
C option            train --epoch 5
C epochs            train --epochs 0
C epochs            train --epochs many
C epochs            train --epochs 1.5
C batch-size        train --batch-size 0
C batch-size        train --batch-size -3
C learning-rate     train --learning-rate 0
C learning-rate     train --learning-rate nan
C learning-rate     train --learning-rate fast
C data              train --data nothing
C data              train --data ""
C data              train --data junk.npy
C data              train --data junk.csv
C data              train --data empty.npy
C pair              train --pair gan
C prior             train --prior gauss
C likelihood        train --likelihood gauss
C variational       train --variational gauss
C objective         train --objective nothing
C network           train --network transformer
C network           train --network conv
C draws             train --draws 0 --objective importance-weighted
C draws             train --draws -2
C draws             train --objective vimco --draws 1
C draws             train --objective importance-weighted --draws 999999999999999999999
C labels            train --data onehot.npz
C labels            train --data onehot.npz --pair labelled
C latent            train --latent 0
C latent            train --latent -1
C memory            train --latent 99999999999
C components        train --components -5
C components        train --components 0 --prior mixture
C memory            train --components 99999999999 --prior vamp
C scale             train --scale -1 --likelihood normal
C scale             train --scale 1
C scale             train --scale nan --likelihood normal
C beta              train --beta -1
C beta              train --beta nan
C patience          train --patience 0
C patience          train --patience -3
C num-samples       train --num-samples 0
C num-samples       train --num-samples -1
C seed              train --seed -1
C seed              train --seed 99999999999999999999999
C seed              train --seed a
C device            train --device gpu
C device            train --device cuda:99
C precision         train --precision fp16
C out               train --out own.npy
C out               train --out own.npy/run
C out               train --out begun
C resume            train --resume
C config.json       train --resume --out none
C levels            train --levels 4,2
C levels            train --pair hierarchical --levels a,b
C levels            train --pair hierarchical --levels 0,2
C levels            train --pair hierarchical --levels ""
C order             train --pair hierarchical --order up
C labels            train --labels 5
C labels            train --pair labelled
C labels            train --data digits --pair labelled --labels -1
C labels            train --data digits --pair labelled --labels 999999
C label-weight      train --data digits --pair labelled --label-weight -1
C clusters          train --data digits --pair labelled --labels 0 --clusters 0
C start-epochs      train --data digits --pair labelled --labels 0 --start-epochs -1
C condition         train --condition colour
C labels            train --condition labels
C subsets           train --subsets
C support           train --likelihood bernoulli --data normal.npy
C supports          train --variational bernoulli
C Missing           measure
C none              measure none
C config            measure empty
C weights           measure begun
C quick             measure begun --quick --thorough
C rows              measure trained --rows 0
C rows              measure trained --rows -1
C num-samples       measure trained --num-samples 0
C num-samples       measure trained --num-samples -1
C config            plot empty
C none              plot none
C config            sample empty
C count             sample trained --count 0
C count             sample trained --count -1
C memory            sample trained --count 999999999999
C given             sample trained --given 3
C given             sample trained --given a,b
C seed              sample trained --seed -1
C out               sample trained --out none/deep/s.npz
"""

STEP = 5  # every so many calls of the short form
RIGHT = {"T": (TypeError,), "V": (ValueError,), "E": (TypeError, ValueError), "F": (OSError,)}
CLEAR, UNCLEAR, WRONG, RAW, SILENT, LATE = OUTCOMES = (
    "clear and of the right type",
    "unclear",
    "of the wrong type",
    "raw",
    "accepted silently",
    "refused after training",
)
OURS = str(Path(pv.__file__).parent)


class Bad(NamedTuple):
    """A bad input: the part of the table, the kind of error, a word of it, and the call."""

    part: str
    kind: str
    word: str
    call: str


class Found(NamedTuple):
    """What happened to it, and the error in words."""

    bad: Bad
    outcome: str
    error: str


def read_table() -> list[Bad]:
    part, rows = "", []
    for line in TABLE.strip().splitlines():
        if line.startswith("["):
            part = line.strip("[]")
        elif line:
            kind, word, call = line.split(maxsplit=2)
            rows.append(Bad(part, kind, word, call))
    return rows


def main(argv: list[str] | None = None) -> list[Found]:
    """Try the bad inputs, and print counts and what failed."""
    table = read_table()
    parts = list(dict.fromkeys(bad.part for bad in table))
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("parts", nargs="*", help=f"Of {', '.join(parts)}. By default all.")
    parser.add_argument("--short", action="store_true", help=f"Every {STEP}th of them.")
    options = parser.parse_args(argv)

    chosen = [bad for bad in table if bad.part in (options.parts or parts)]
    with prepared_folder(has_runs=any(bad.kind == "C" for bad in chosen)):
        found = [try_out(bad) for bad in chosen[:: STEP if options.short else 1]]

    for part in options.parts or parts:
        counts = Counter(f.outcome for f in found if f.bad.part == part)
        said = ", ".join(f"{counts[outcome]} {outcome}" for outcome in OUTCOMES if counts[outcome])
        print(f"{part}: {said}")
    failed = [f for f in found if f.outcome != CLEAR]
    for f in failed:
        print(f"\n{f.bad.kind} {f.bad.word}: {f.bad.call}\n    {f.outcome}: {f.error}")
    print(f"\n{len(found)} bad inputs, {len(found) - len(failed)} {CLEAR}, before training")
    return found


def try_out(bad: Bad) -> Found:
    outcome, error = (run_command if bad.kind == "C" else run_call)(bad)
    return Found(bad, outcome, error)


def run_call(bad: Bad) -> tuple[str, str]:
    """Make a call with a pair of its own."""
    names = make_names()
    before = [p.clone() for p in names["vae"].parameters()]
    try:
        with quiet():
            eval(bad.call, names)
    except Exception as error:
        outcome = judge(bad, error)
        is_same = all(
            torch.equal(a, b) for a, b in zip(before, names["vae"].parameters(), strict=True)
        )
        return (outcome if is_same else LATE), describe(error)
    return SILENT, ""


def judge(bad: Bad, error: Exception) -> str:
    """Whether an error was ours, of the right type, and names what is wrong."""
    message = str(error)
    if bad.kind == "O":
        return CLEAR if bad.word in message and has_own_line(error) else WRONG
    where = traceback.extract_tb(error.__traceback__)[-1].filename
    if not where.startswith(OURS) and not message.startswith(bad.word):
        return RAW
    if type(error) not in RIGHT[bad.kind]:
        return WRONG
    return CLEAR if bad.word in message else UNCLEAR


def has_own_line(error: BaseException | None) -> bool:
    """Whether a traceback shows where the error was raised, here."""
    if error is None:
        return False
    files = [frame.filename for frame in traceback.extract_tb(error.__traceback__)]
    return files[-1] == __file__ or has_own_line(error.__cause__ or error.__context__)


def run_command(bad: Bad) -> tuple[str, str]:
    """Call the command line as from a shell."""
    runs = set(Path().glob("**/checkpoint.safetensors"))
    with quiet() as said:
        try:
            sys.argv = ["pyro-vae", *with_data(shlex.split(bad.call))]
            cli.main()
        except SystemExit as stop:
            code = stop.code
        except Exception as error:
            return RAW, describe(error)
        else:
            code = 0
    lines = said.getvalue().strip().splitlines()
    last = lines[-1] if lines else ""
    if set(Path().glob("**/checkpoint.safetensors")) != runs:
        return (LATE if code else SILENT), last
    if code == 0:
        return SILENT, last
    return (CLEAR if bad.word in said.getvalue().split("Usage:")[-1] else UNCLEAR), last


def with_data(arguments: list[str]) -> list[str]:
    """A short run of the tiny data, where the call says nothing else."""
    if arguments[0] != "train":
        return arguments
    asked = dict.fromkeys(arguments)
    defaults = {"--data": "own.npy", "--epochs": "1", "--num-samples": "5"}
    more = [word for name, value in defaults.items() if name not in asked for word in (name, value)]
    return [*arguments, *(more if "--resume" not in asked else [])]


def describe(error: BaseException) -> str:
    return f"{type(error).__name__}: {str(error)[:200]}"


@contextlib.contextmanager
def quiet() -> Iterator[io.StringIO]:
    """Without output and warnings. What is printed is returned."""
    said = io.StringIO()
    arguments = sys.argv
    with (
        warnings.catch_warnings(),
        contextlib.redirect_stdout(said),
        contextlib.redirect_stderr(said),
    ):
        warnings.simplefilter("ignore")
        try:
            yield said
        finally:
            sys.argv = arguments


@contextlib.contextmanager
def prepared_folder(has_runs: bool) -> Iterator[None]:
    """Inside this context the working folder holds tiny data, junk, and runs where asked for."""
    before = os.getcwd()
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        try:
            prepare_files()
            if has_runs:
                prepare_runs()
            yield
        finally:
            os.chdir(before)


def prepare_files() -> None:
    torch.manual_seed(0)
    np.save("own.npy", torch.rand(40, 3).bernoulli().numpy())
    np.savez("onehot.npz", x=torch.randn(40, 3).numpy(), y=np.eye(4)[np.arange(40) % 4])
    np.save("normal.npy", torch.randn(40, 3).numpy())
    np.save("empty.npy", np.zeros((0, 3)))
    np.save("words.npy", np.array(["a", "b"]))
    for name in ("junk", "junk.npy", "junk.npz", "junk.csv", "junk.pt", "text.txt"):
        Path(name).write_bytes(b"\x00\x01junk, and more of it\n" * 5)
    Path("empty").mkdir()
    pv.save_weights(make(), "weights")


def prepare_runs() -> None:
    """A run that is trained to the end, and one without weights."""
    with quiet():
        sys.argv = ["pyro-vae", *with_data(["train", "--out", "trained"])]
        with contextlib.suppress(SystemExit):
            cli.main()
    shutil.copytree("trained", "begun")
    Path("begun", "weights.safetensors").unlink()


small = partial(pv.networks.mlp, hidden=(4,))


def make(**parts: Any) -> pv.VAE:
    """A tiny pair of 3 numbers and 2 latents, with some of its parts replaced."""
    return pv.VAE(
        **{
            "prior": pv.StandardNormal(2),
            "likelihood": pv.Normal(3, given=2, net=small),
            "variational": pv.Normal(2, given=3, net=small),
            **parts,
        }
    )


def make_conditional() -> pv.VAE:
    return make(
        likelihood=pv.Normal(3, given=[2, 4], net=small),
        variational=pv.Normal(2, given=[3, 4], net=small),
    )


def make_labelled() -> pv.LabelledVAE:
    return pv.LabelledVAE(
        labels=pv.OneHotCategorical(3, logits=torch.zeros(3)),
        prior=pv.StandardNormal(2),
        likelihood=pv.Normal(3, given=[2, 3], net=small),
        classifier=pv.OneHotCategorical(3, given=3, net=small),
        variational=pv.Normal(2, given=[3, 3], net=small),
    )


def make_hierarchical(**options: Any) -> pv.HierarchicalVAE:
    return pv.HierarchicalVAE(
        priors=[pv.StandardNormal(2), pv.Normal(2, given=2)],
        likelihood=pv.Normal(3, given=2),
        variationals=[pv.Normal(2, given=3), pv.Normal(2, given=2)],
        **options,
    )


def make_multimodal(**options: Any) -> pv.MultimodalVAE:
    return pv.MultimodalVAE(
        prior=pv.StandardNormal(2),
        likelihoods={"a": pv.Normal(3, given=2), "b": pv.Normal(3, given=2)},
        experts={"a": pv.Normal(2, given=3), "b": pv.Normal(2, given=3)},
        **options,
    )


def write_pair(
    model_plate: str = "data", latent: str = "z", extra: str = "", size: int = 0, raised=None
):
    """A hand-written pair with a fault."""
    weight = nn.Linear(3, 1)

    def model(x):
        with pyro.plate(model_plate, size or len(x)) if model_plate else contextlib.nullcontext():
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            if raised:
                raise raised("mine")
            for name in extra.split():
                pyro.sample(name, dist.Normal(0.0, 1.0))
            if latent != "nothing":
                pyro.sample("x", dist.Normal(z[..., None] + torch.zeros(3), 1.0).to_event(1), obs=x)

    def guide(x):
        with pyro.plate("data", len(x)):
            pyro.sample("z" if latent == "nothing" else latent, dist.Normal(weight(x)[:, 0], 1.0))

    return pv.Pair(model, guide)


class WithoutLoss(nn.Module):
    """An objective that returns no number."""

    def __init__(self, pair):
        super().__init__()
        self.pair = pair

    def forward(self, *data):
        return None


class PerDatum(WithoutLoss):
    """An objective that returns a number for each datum."""

    def forward(self, x):
        return self.pair.variational(x).mean.sum(-1)


class NotOurs(WithoutLoss):
    """An objective without a `pv.Objective`."""

    def forward(self, x):
        return self.pair.variational(x).mean.sum()


def raise_mine(*args: Any) -> None:
    raise LookupError("mine")


def run_without_gradients(fn: Callable, *args: Any) -> Any:
    with torch.no_grad():
        return fn(*args)


def run_in_inference_mode(fn: Callable, *args: Any) -> Any:
    with torch.inference_mode():
        return fn(*args)


def make_normed() -> pv.VAE:
    return make(
        variational=pv.Normal(
            2,
            given=3,
            net=lambda given, out: nn.Sequential(
                nn.Linear(3, 8), nn.BatchNorm1d(8), nn.Linear(8, 4)
            ),
        )
    )


def put_gap(x):
    x = x.clone()
    x[0, 0] = float("nan")
    return x


def make_names() -> dict[str, Any]:
    """What the calls of the table speak of."""
    torch.manual_seed(0)
    x, vae = torch.randn(20, 3), make()
    fit = partial(pv.fit, epochs=1, batch_size=10, progress=False)
    return {
        **vars(SimpleNamespace(pv=pv, torch=torch, np=np, nn=nn, pyro=pyro, dist=dist)),
        "partial": partial,
        "DataLoader": DataLoader,
        "plots": plots,
        "diagnostics": diagnostics,
        "fit": lambda *args, **options: fit(*args, **options),
        "x": x,
        "y": torch.arange(20) % 3,
        "vae": vae,
        "p": vae.prior,
        "other": make(),
        "binary": make(likelihood=pv.Bernoulli(3, given=2, net=small)),
        "gappy": make(
            likelihood=pv.missing(pv.Normal(3, given=2, net=small)),
            variational=pv.Normal(2, given=3, net=pv.masked(small)),
        ),
        "make": make,
        "conditional": make_conditional(),
        "labelled": make_labelled(),
        "hierarchical": make_hierarchical,
        "multimodal": make_multimodal,
        "adam": lambda pair: torch.optim.Adam(pair.parameters()),
        "padam": pyro.optim.Adam({"lr": 1e-3}),
        "elbo": pyro.infer.Trace_ELBO(),
        "WithoutLoss": WithoutLoss,
        "PerDatum": PerDatum,
        "NotOurs": NotOurs,
        "folder": Path.cwd(),
        "without_gradients": run_without_gradients,
        "in_inference_mode": run_in_inference_mode,
        "frozen": lambda pair: pair.requires_grad_(False),
        "normed": make_normed,
        "other_plate": partial(write_pair, size=7),
        "no_plate": partial(write_pair, model_plate=""),
        "guide_lacks": partial(write_pair, extra="w"),
        "model_lacks": partial(write_pair, latent="u"),
        "raises": lambda error: write_pair(raised=error),
        "raise_mine": raise_mine,
        "observes_nothing": partial(write_pair, latent="nothing"),
        "estimate": lambda n: diagnostics.Estimate(torch.zeros(n), torch.zeros(n)),
        "with_gap": put_gap,
    }


if __name__ == "__main__":
    main()
