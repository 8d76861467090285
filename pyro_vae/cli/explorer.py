"""The page of `explore`, for runs of the same data."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

import pyro_vae as pv
from pyro_vae.cli.data import NONE, sum_up_data
from pyro_vae.cli.steps import Job
from pyro_vae.look.explore import MANY, explore


def build_page(jobs: Sequence[Job]) -> str:
    """The page of one run, or of several beside each other.

    Raises:
        ValueError: if the runs are of different data, or a pair takes more than x; and as
            `look.explore.explore`.
    """
    _check_alike(jobs)
    first = jobs[0]
    dataset, device = first.data.dataset, first.config["device"]
    x, test = dataset.train[:MANY], first.data.test[0]
    if first.data.binarisation != NONE:
        x = pv.data.binarise(x)
    labels, order = None, torch.arange(len(test))
    if dataset.labels is not None:
        labels, order = dataset.labels[0][:MANY], put_one_of_each_first(dataset.labels[2])

    # the same draws in every call, and none taken from the caller
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        note = f"The images are the test split of {first.config['data']}, {dataset.description}."
        images = test[order].to(device)
        return explore(_name_pairs(jobs), x.to(device), images, labels=labels, note=note)


def put_one_of_each_first(labels: Tensor) -> Tensor:
    """An order of data in which the first of each label come first.

    Example:
        >>> put_one_of_each_first(torch.tensor([1, 1, 0, 0])).tolist()
        [2, 0, 1, 3]
    """
    firsts = [(labels == label).nonzero()[0, 0].item() for label in labels.unique()]
    rest = sorted(set(range(len(labels))) - set(firsts))
    return torch.tensor(firsts + rest)


def _check_alike(jobs: Sequence[Job]) -> None:
    sums = [sum_up_data(job.data) for job in jobs]
    for job, its_sum in zip(jobs, sums, strict=True):
        if its_sum != sums[0]:
            raise ValueError(
                f"runs: expected runs of the same data, and {job.run.folder} has other data than "
                f"{jobs[0].run.folder}; explore them one by one"
            )
        if len(job.data.test) > 1:
            raise ValueError(
                f"runs: the pair in {job.run.folder} takes more than x, labels or lengths for "
                "example, and the explorer shows pairs of x alone"
            )


def _name_pairs(jobs: Sequence[Job]) -> dict[str, nn.Module]:
    """Pairs by beta where that tells them apart, otherwise by folder."""
    names = [f"beta {job.config['beta']:g}" for job in jobs]
    if len(set(names)) < len(jobs) or len(jobs) == 1:
        names = [str(job.run.folder) for job in jobs]
    return {name: job.pair for name, job in zip(names, jobs, strict=True)}
