"""Writes docs/parts.md from the classes and their docstrings.

    python docs/build_parts.py

The suite builds the page again and compares.
"""

import doctest
import inspect
import re
import sys
from pathlib import Path

import torch

import pyro_vae as pv
from pyro_vae.conditionals.shapes import find_sizes
from pyro_vae.objectives.objective import Loss
from pyro_vae.supports import describe

PAGE = Path(__file__).parent / "parts.md"
ROLES = {
    "prior": "Priors p(z)",
    "likelihood": "Likelihoods p(x|z)",
    "variational": "Variationals q(z|x)",
    "objective": "Objectives",
}
HEAD = """# The parts

There is one table for each role. `python docs/build_parts.py` builds them from the docstrings. Any
conditional serves in any role that its support admits. A table lists those that are of use there.
Each is one argument of `pv.VAE` or of `pv.Objective`. `pv.family(cls, "loc", "scale")` makes a
family of your own from any distribution of Pyro's.

Supports are those of the examples in the docstrings. A number fixes a parameter of a family.
Parameters of the event's shape can be learned without a network, by `scale="shared"` or
`scale="free"`.
"""
GIVEN = {"self", "event_shape", "given", "net"}


def parts() -> dict[str, type]:
    """The classes of `pyro_vae` that have a role, by name."""
    classes = {name: part for name, part in vars(pv).items() if inspect.isclass(part)}
    names = sorted(classes, key=str.lower)

    return {name: classes[name] for name in names if uses(classes[name])}


def uses(part: type) -> dict[str, str]:
    """When to use a part, by role: the section `Use:` of its docstring."""
    section = re.search(r"^Use:\n((?: +.*\n?)+)", _doc(part), re.MULTILINE)
    if section is None:
        return {}

    entries = re.sub(r"\n {8,}", " ", section[1])  # a long entry goes on in deeper lines

    return dict(line.strip().split(": ", 1) for line in entries.splitlines())


def formula(part: type) -> str:
    """The first formula of a docstring."""
    first = re.search(r"\.\. math:: (.*?)(?:\n\n|\Z)", _doc(part), re.DOTALL)[1]

    return _join_lines(first).strip()


def source(part: type) -> str:
    """Authors and years that a docstring has in parentheses before its sections."""
    text = _join_lines(re.split(r"^(?:Use|Arguments)\b", _doc(part), flags=re.MULTILINE)[0])
    groups = re.findall(r"\(([^()]*, \d{4}[^()]*)\)", text)
    works = re.findall(r"[A-Z][^;:()`]*?, \d{4}", "; ".join(groups))

    return "; ".join(dict.fromkeys(works))


def parameters(part: type) -> list[str]:
    """The arguments of a part beside the shapes and the network."""
    arguments = inspect.signature(part.__init__).parameters.values()
    stars = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)

    names = [a.name for a in arguments if a.kind not in stars and a.name not in GIVEN]
    takes_any = any(a.kind is inspect.Parameter.VAR_KEYWORD for a in arguments)
    if issubclass(part, pv.Family) and takes_any:
        names += [*find_sizes(part.parameter_shapes), *part.parameter_shapes]

    return list(dict.fromkeys(names))


def _doc(part: type) -> str:
    return inspect.getdoc(part) or ""


def _join_lines(text: str) -> str:
    return re.sub(r"\s+", " ", text)


def example(part: type) -> object:
    """The first object of a part that the example in its docstring makes."""
    names = dict(vars(sys.modules[part.__module__]))
    for line in doctest.DocTestParser().get_examples(part.__doc__):
        for made in _run(line.source, names):
            if isinstance(made, part):
                return made

    raise ValueError(f"{part.__name__}: the example of its docstring makes none")


def _run(line: str, names: dict) -> list[object]:
    """Run a line of an example, and return what it makes."""
    try:
        return [eval(line, names)]
    except SyntaxError:
        exec(line, names)
        return [names[name] for name in re.findall(r"^(\w+) =", line)]


def support(part: type) -> str:
    """Where the variable of a part lies and of what shape it is, for the example."""
    with torch.random.fork_rng():
        made = example(part)
        event = made(*(torch.zeros(1, *shape) for shape in made.given_shapes)).support

    return describe(event).replace("3.14159", "π")


def bound(part: type) -> str:
    """What an objective is to log p(x)."""
    if issubclass(part, Loss) and part.is_lower_bound is False:
        return "none"
    if not issubclass(part, pv.Bound) or isinstance(part.bound, property):
        return "depends on its arguments"

    return str(part.bound).lower()


def page() -> str:
    """The page, as Markdown."""
    lines = [HEAD]
    for role, title in ROLES.items():
        lines += [f"## {title}\n", *_table(role), ""]

    return "\n".join(lines)


def _table(role: str) -> list[str]:
    where, describe_place = "support", support
    if role == "objective":
        where, describe_place = "bound on log p(x)", bound

    header = ("name", "formula", where, "parameters", "when to use", "source")
    lines = [_row(header), "|" + "---|" * len(header)]
    for name, part in _sort_parts(role):
        taken = ", ".join(f"`{p}`" for p in parameters(part)) or "none"
        cells = (
            f"`{name}`",
            _math(part),
            describe_place(part),
            taken,
            uses(part)[role],
            source(part),
        )
        lines.append(_row(cells))

    return lines


def _sort_parts(role: str) -> list[tuple[str, type]]:
    """The parts for a role by name, the first choice first."""
    chosen = [(name, part) for name, part in parts().items() if role in uses(part)]

    return sorted(chosen, key=lambda row: not uses(row[1])[role].startswith("the first choice"))


def _math(part: type) -> str:
    """The formula as Markdown takes it in a table, where | ends a cell."""
    escaped = formula(part).replace(r"\|", r"\Vert")
    escaped = re.sub(r"\|", r"\\vert ", escaped)

    return f"$`{' '.join(escaped.split())}`$"


def _row(cells: tuple[str, ...]) -> str:
    return "| " + " | ".join(cells) + " |"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
    print(f"{PAGE}: {', '.join(parts())}")
