"""The multi-layer perceptron."""

from torch import nn

from pyro_vae.networks import mlp


def test_the_mlp_has_the_widths_and_the_activation_asked_for():
    net = mlp([(2, 3), (4,)], (5, 2), hidden=(7, 6), activation=nn.Tanh)
    layers = [m for m in net.modules() if isinstance(m, nn.Linear)]

    assert [(m.in_features, m.out_features) for m in layers] == [(10, 7), (7, 6), (6, 10)]
    assert sum(isinstance(m, nn.Tanh) for m in net.modules()) == 2
