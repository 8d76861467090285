"""Writes docs/parts.md from the classes and their docstrings; the suite builds it again and compares.

python docs/build_parts.py
"""

import doctest
import inspect
import re
import sys
from pathlib import Path

import torch

import pyro_vae as pv
from pyro_vae.conditionals.family import _structural
from pyro_vae.supports import describe

PAGE = Path(__file__).parent / "parts.md"
ROLES = {
    "prior": "Priors p(z)",
    "likelihood": "Likelihoods p(x|z)",
    "variational": "Variationals q(z|x)",
    "objective": "Objectives",
}
HEAD = """# The parts

One table for each role, built from the docstrings by `python docs/build_parts.py`. Any conditional
serves in any role that its support admits; listed is where it is of use. Each is one argument of
`pv.VAE`, or of `pv.Objective`; a family of your own, from any distribution of Pyro's, is
`pv.family(cls, "loc", "scale")`.

Supports are those of the examples in the docstrings. Parameters of a family can be fixed by a
number, and those of the event's shape can be learned without a network, `scale="shared"` or
`scale="free"`.
"""
GIVEN = {"self", "event_shape", "given", "net"}


def parts() -> dict[str, type]:
    """What `pyro_vae` has for a role, by name."""
    every = {name: getattr(pv, name) for name in sorted(pv.__all__, key=str.lower)}
    return {name: part for name, part in every.items() if inspect.isclass(part) and uses(part)}


def uses(part: type) -> dict[str, str]:
    """When to use it, by role: the section `Use:` of its docstring."""
    section = re.search(r"^Use:\n((?: +.*\n?)+)", inspect.getdoc(part), re.MULTILINE)
    return dict(line.strip().split(": ", 1) for line in section[1].splitlines()) if section else {}


def formula(part: type) -> str:
    """The first formula of its docstring."""
    return re.sub(
        r"\s+", " ", re.search(r"\.\. math:: (.*?)(?:\n\n|\Z)", inspect.getdoc(part), re.DOTALL)[1]
    ).strip()


def source(part: type) -> str:
    """Who it is from: authors and years in parentheses, in what the docstring says before its sections."""
    said = re.sub(
        r"\s+", " ", re.split(r"^(?:Use|Arguments)\b", inspect.getdoc(part), flags=re.MULTILINE)[0]
    )
    groups = re.findall(r"\(([^()]*, \d{4}[^()]*)\)", said)
    return "; ".join(dict.fromkeys(re.findall(r"[A-Z][^;:()`]*?, \d{4}", "; ".join(groups))))


def parameters(part: type) -> list[str]:
    """What it takes beside the shapes and the network."""
    arguments = inspect.signature(part.__init__).parameters.values()
    named = [
        a.name
        for a in arguments
        if a.kind not in (a.VAR_POSITIONAL, a.VAR_KEYWORD) and a.name not in GIVEN
    ]
    if issubclass(part, pv.Family) and any(a.kind is a.VAR_KEYWORD for a in arguments):
        named += [*_structural(part.specification), *part.specification]
    return list(dict.fromkeys(named))


def example(part: type) -> object:
    """The first of it that its example makes."""
    names = dict(vars(sys.modules[part.__module__]))
    for line in doctest.DocTestParser().get_examples(part.__doc__):
        try:
            made = [eval(line.source, names)]
        except SyntaxError:
            exec(line.source, names)
            made = [names[name] for name in re.findall(r"^(\w+) =", line.source)]
        for one in made:
            if isinstance(one, part):
                return one
    raise ValueError(f"{part.__name__}: the example of its docstring makes none")


def support(part: type) -> str:
    """Where a lies, for the example, and of what shape."""
    with torch.random.fork_rng():
        made = example(part)
        event = made(*(torch.zeros(1, *shape) for shape in made.given_shapes)).support
    return describe(event).replace("3.14159", "π")


def bound(part: type) -> str:
    """What an objective is to log p(x)."""
    return (
        "depends on its arguments" if isinstance(part.bound, property) else str(part.bound).lower()
    )


def page() -> str:
    lines = [HEAD]
    for role, title in ROLES.items():
        where, say = ("bound on log p(x)", bound) if role == "objective" else ("support", support)
        header = ("name", "formula", where, "parameters", "when to use", "source")
        lines += [f"## {title}\n", _row(header), "|" + "---|" * len(header)]
        chosen = {name: part for name, part in parts().items() if role in uses(part)}
        for name, part in sorted(
            chosen.items(), key=lambda row: not uses(row[1])[role].startswith("the first choice")
        ):
            math = re.sub(r"\|", r"\\vert ", formula(part).replace(r"\|", r"\Vert"))
            taken = ", ".join(f"`{p}`" for p in parameters(part)) or "none"
            cells = (
                f"`{name}`",
                f"$`{' '.join(math.split())}`$",
                say(part),
                taken,
                uses(part)[role],
                source(part),
            )
            lines.append(_row(cells))
        lines.append("")
    return "\n".join(lines)


def _row(cells: tuple[str, ...]) -> str:
    return "| " + " | ".join(cells) + " |"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
    print(f"{PAGE}: {', '.join(parts())}")
