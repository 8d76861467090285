"""Images made upright, by their moments."""

import pytest
import torch

import pyro_vae as pv


def find_moments(x):
    """The mean column and row of the ink, and their covariance over the variance of the row."""
    size = x.shape[-1]
    v, u = torch.meshgrid(torch.arange(size), torch.arange(size), indexing="ij")
    ink = x[:, 0] / x.sum((1, 2, 3)).view(-1, 1, 1)
    mean_u, mean_v = (ink * u).sum((1, 2)), (ink * v).sum((1, 2))
    from_u, from_v = u - mean_u.view(-1, 1, 1), v - mean_v.view(-1, 1, 1)
    lean = (ink * from_u * from_v).sum((1, 2)) / (ink * from_v**2).sum((1, 2))
    return mean_u, mean_v, lean


def stroke(lean, size=27, shift=(0, 0)):
    """A soft stroke through the middle that leans so many columns a row."""
    v, u = torch.meshgrid(torch.arange(size), torch.arange(size), indexing="ij")
    v, u = v - size // 2 - shift[1], u - size // 2 - shift[0]
    x = torch.exp(-((u - lean * v) ** 2) / 4.0) * torch.exp(-(v**2) / 18.0)
    return x[None, None]


@pytest.mark.parametrize("lean", [-0.5, 0.0, 0.3])
@pytest.mark.parametrize("shift", [(0, 0), (3, -2)])
def test_a_stroke_stands_upright_in_the_middle(lean, shift):
    x = stroke(lean, shift=shift)
    before, after = find_moments(x), find_moments(pv.data.make_upright(x))
    assert before[2].item() == pytest.approx(lean, abs=0.02)
    assert after[2].abs() < 0.02
    assert all((mean - 13).abs() < 0.05 for mean in after[:2])


def test_what_is_upright_stays():
    x = stroke(0.0)
    torch.testing.assert_close(pv.data.make_upright(x), x, atol=1e-4, rtol=1e-4)


def test_digits_lean_less():
    digits = pv.data.load("digits").train
    leans = [find_moments(x)[2].abs().mean() for x in (digits, pv.data.make_upright(digits))]
    assert leans[1] < 0.3 * leans[0]


def test_an_image_without_ink_is_left_as_it_is():
    x = torch.cat([torch.zeros(1, 1, 9, 9), stroke(0.2, size=9)])
    upright = pv.data.make_upright(x)
    assert torch.equal(upright[0], x[0]) and upright.isfinite().all()


@pytest.mark.parametrize("shape", [(5, 8, 8), (5, 3, 8, 8)])
def test_other_shapes_are_refused(shape):
    with pytest.raises(ValueError, match=r"x: expected images \[n, 1, height, width\]"):
        pv.data.make_upright(torch.zeros(shape))
