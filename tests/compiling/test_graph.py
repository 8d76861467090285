"""A loss as one graph: what it is made of, and how it is exported."""

import torch
from pyro import param
from torch import nn
from torch.distributions import constraints

from pyro_vae.compiling.graph import Root, export
from pyro_vae.compiling.joint import compile_graph


def test_its_state_tells_modes_and_exchanged_parts_apart():
    net = nn.Sequential(nn.Linear(2, 2), nn.Dropout())
    root = Root(lambda x: net(x).sum(), [net], {})
    states = [root.find_state()]
    assert root.find_state() == states[0]

    net[1].eval()
    states.append(root.find_state())
    net[0].bias = nn.Parameter(torch.ones(2))
    states.append(root.find_state())
    assert len(set(states)) == 3


def test_a_bare_parameter_is_asked_for_by_name_and_gets_its_gradient():
    unconstrained = torch.tensor(0.5, requires_grad=True)
    bare = {"scale": (unconstrained, constraints.positive)}
    root = Root(lambda x: (param("scale") * x).sum(), [], bare)
    root.args = (torch.ones(3),)

    for total in (1, 2):
        root(torch.ones(3)).backward()
        torch.testing.assert_close(unconstrained.grad, total * 3 * unconstrained.detach().exp())
    assert root.stand_ins[0].grad is None


def test_the_number_of_rows_is_symbolic_and_other_arguments_are_compiled_in():
    net = nn.Linear(2, 1)
    root = Root(lambda x, *, factor: factor * net(x).sum(), [net], {})
    root.args, root.kwargs = (torch.zeros(5, 2),), {"factor": 3.0}
    graph = export(root, [torch.zeros(5, 2)], rows=5)

    for rows in (5, 2, 9):
        x = torch.randn(rows, 2)
        torch.testing.assert_close(graph(x), 3 * net(x).sum())


def test_parts_without_gradients_are_put_back_into_the_graph():
    net = nn.Linear(2, 1)

    def loss(x):
        with torch.no_grad():
            weight = net(x).exp()
        return (weight * net(x)).sum()

    root = Root(loss, [net], {})
    root.args = (torch.zeros(5, 2),)
    graph = export(root, [torch.zeros(5, 2)], rows=5)
    targets = {node.target for node in graph.graph.nodes}
    assert torch.ops.higher_order.wrap_with_set_grad_enabled not in targets

    x = torch.randn(4, 2)
    run = compile_graph(graph, [torch.zeros(5, 2)], 5, "eager")
    (expected,) = torch.autograd.grad(loss(x), net.weight)
    (found,) = torch.autograd.grad(run(x), net.weight)
    torch.testing.assert_close(found, expected)
