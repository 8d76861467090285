"""What the library advises, said with the options of the command line.

The library's errors name what a person would write in Python, `pv.Normal` or
`transform=torch.bernoulli`. Here those are the options that do the same.
"""

import re
from collections.abc import Collection, Mapping
from functools import partial

from pyro_vae.cli.parts import LIKELIHOODS, VARIATIONALS, Make

# a pattern in the library's message, and what the command line says there
PHRASES = {
    # data
    r"Scale it to \[0, 1\] and binarise it": (
        "Scale it to [0, 1], where grey values are binarised"
    ),
    r"Convert it, x\.float\(\), and scale it as you mean it": (
        "Save it as floating-point numbers, scaled as you mean them"
    ),
    r"ask for classes=\d+, if they are classes; for total_count=\d+, if they are counts": (
        "use --likelihood categorical or --likelihood ordinal, if they are classes; "
        "--likelihood binomial or --likelihood poisson, if they are counts"
    ),
    r"; or take NaN as missing, likelihood=pv\.missing\(\.\.\.\)": "",
    # parts
    r"take both from families over the same": (
        "take --prior and --variational from families over the same set"
    ),
    r"no parameter or option scale; .*": "no parameter or option scale; leave --scale out",
    r"expected an event_shape whose last dimension is at least (\d+), got \((\d+),\)": (
        r"expected --latent of at least \1, got \2"
    ),
    r"\buse mlp\b": "use --network mlp",
    # objectives
    r"take per='site' where there is that option, or a family such as": "take a family such as",
    r", which gradient='\w+' needs": ", which this objective needs",
    r"(gradient='\w+' or )*pv\.VIMCO\(\w*\)": "--objective leave-one-out or --objective vimco",
    r"^gradient: '\w+' is wrong": "objective: its gradient is wrong",
    r"take another gradient": "take another objective",
    r"pv\.EvidenceLowerBound\(\)": "--objective elbo",
    r"pv\.AnalyticKL\(\)": "--objective analytic-kl",
    r"weights on likelihoods go with the ELBO, pv\.Objective\(pair\), got \w+": (
        "a weight on p(label|z) goes with the ELBO; take --objective elbo, or --label-weight 1"
    ),
    r"under the KL weight": "with --beta",
    # training
    r"expected None or 'bf16'": "expected 'bf16'",
    r"compile=True( and CompiledTrace_ELBO)?": "--compile",
    r"resume=True": "--resume",
}


def _class_name(make: Make) -> str:
    return make.func.__name__ if isinstance(make, partial) else make.__name__


def _families(table: Mapping[str, Make]) -> dict[str, str]:
    """The names of a table by the class that they stand for."""
    names: dict[str, str] = {}
    for name, make in table.items():
        names.setdefault(_class_name(make), name)
    return names


FAMILIES = {"likelihood": _families(LIKELIHOODS), "variational": _families(VARIATIONALS)}


def translate(message: str, options: Collection[str]) -> str:
    """A message of the library for a user of the command line.

    Arguments:
        message: The text of an error.
        options: The names of the options, as Python spells them.

    Example:
        >>> translate("batch_size: expected a positive whole number, got 0", ["batch_size"])
        '--batch-size: expected a positive whole number, got 0'
        >>> translate("Scale it to [0, 1] and binarise it, or use pv.Normal.", [])
        'Scale it to [0, 1], where grey values are binarised, or use --likelihood normal.'
    """
    for pattern, said in PHRASES.items():
        message = re.sub(pattern, said, message)
    message = _translate_families(message)

    argument, colon, rest = message.partition(": ")
    if colon and argument in options:
        return f"--{argument.replace('_', '-')}: {rest}"
    return message


def _translate_families(message: str) -> str:
    """A family is advised for q(z|x) in a message about a latent, otherwise for p(x|z)."""
    role = "variational" if message.startswith("latent ") else "likelihood"
    names = FAMILIES[role]

    def say(match: re.Match) -> str:
        name = names.get(match[1])
        return match[0] if name is None else f"--{role} {name}"

    return re.sub(r"pv\.([A-Z]\w*)", say, message)
