"""Clusters beside true labels, where the best possible answer is known."""

import pytest
import torch

import pyro_vae as pv
from pyro_vae.diagnostics.clusters import cluster
from tests.oracles import affine

K, N = 3, 2
CENTRES = torch.tensor([[4.0, 0.0], [-4.0, 0.0], [0.0, 5.0]]).double()


def make(order=(0, 1, 2)):
    """Clusters that lie apart, with the decoder the identity and y numbered in some order."""
    eye, none = torch.eye(N).double(), torch.zeros(N).double()
    labels = pv.OneHotCategorical(K, logits=0.0)
    prior = pv.Normal(N, given=K, net=affine(CENTRES[list(order)].T, none), scale=1.0)
    q = pv.Normal(N, given=N, net=affine(eye, none), scale=0.1)
    return pv.LabelledVAE(
        labels=labels,
        prior=prior,
        likelihood=pv.Normal(N, given=N, net=affine(eye, none), scale=0.1),
        classifier=pv.Responsibilities(labels, prior, q),
        variational=q,
    ).double()


def draw(n):
    g = torch.Generator().manual_seed(0)
    y = torch.arange(n) % K
    return CENTRES[y] + torch.randn(n, N, generator=g).double(), y


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 0, 1)])
def test_the_numbers_of_clusters_mean_nothing(order):
    x, y = draw(300)
    found = cluster(make(order), x, y, num_samples=20, progress=False)
    for agreement in (found.by_variational, found.by_posterior):
        assert agreement.accuracy.value > 0.98
        assert agreement.nmi.value > 0.9 < agreement.ari.value
    assert found.sizes.sum() == 300 and (found.sizes > 90).all()
    assert torch.equal(found.labels.guesses, found.labels.posterior.value.argmax(-1))


def test_it_reads_as_a_table():
    x, y = draw(6)
    pair = make()
    lines = str(cluster(pair, x, y, num_samples=2, progress=False)).splitlines()
    assert lines[0].split() == ["by", "q(y|x)", "by", "p(y|x)"]
    assert [line.split()[0] for line in lines[1:4]] == ["accuracy", "NMI", "ARI"]
    assert lines[4] == "3 of 3 clusters have data"


def test_a_cluster_without_data_is_counted():
    x = CENTRES[:1].expand(4, -1)
    found = cluster(make(), x, torch.zeros(4).long(), num_samples=2, progress=False)
    assert found.sizes.tolist() == [4, 0, 0]


def test_there_is_a_label_for_each_datum():
    x, y = draw(6)
    with pytest.raises(ValueError, match="labels: expected one for each of the 6 data"):
        cluster(make(), x, y[:5])
    with pytest.raises(TypeError, match="pair: expected a LabelledVAE"):
        cluster(pv.Pair(lambda x: None, lambda x: None), x, y)
