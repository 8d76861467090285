import torch
from torch import nn

from pyro_vae.diagnostics.leapfrog import CompiledLeap, leap


class Scores(nn.Module):
    """Normal log-densities, of a mean that is learned, and around data."""

    def __init__(self):
        super().__init__()

        self.mean = nn.Parameter(torch.tensor(0.3))

    def score(self, x):
        return lambda u: (-0.5 * (u - self.mean).square().sum(-1), -((u - x) ** 2).sum(-1))


def test_a_leap_moves_and_then_kicks():
    scores, x = Scores(), torch.randn(2, 3)
    u, velocity, step = torch.randn(3, 4, 2, 3)
    state, kicked = leap(scores.score(x), u, velocity, step, 0.25, 0.5)

    moved = u + step * velocity
    slope = -0.75 * (moved - 0.3) - 0.25 * 2 * (moved - x)
    torch.testing.assert_close(state.u, moved)
    torch.testing.assert_close(kicked, velocity + 0.5 * step * slope)


def test_a_compiled_leap_is_the_same_and_reads_what_it_refers_to_anew():
    scores, x = Scores(), torch.randn(2, 3)
    u, velocity, step = torch.randn(3, 4, 2, 3)
    score = scores.score(x)
    compiled = CompiledLeap(score, scores)
    with torch.no_grad():
        for beta, kick in ((0.25, 1.0), (0.5, 0.5)):
            found = compiled(u, velocity, step, beta, kick)
            torch.testing.assert_close(found, leap(score, u, velocity, step, beta, kick))
            scores.mean.add_(1)
            x.add_(1)
    assert scores.mean.grad is None
