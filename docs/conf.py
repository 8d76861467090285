"""Settings of the site: `sphinx-build -c docs -W --keep-going . site`.

The sources are this repository's own pages, where they are, so a link that works in the repository
works on the site. Nothing is fetched, neither to build nor to read: equations become MathML.
"""

import inspect
import re
import shutil
from pathlib import Path

from docutils.nodes import SkipNode
from docutils.utils.math import MathError
from docutils.utils.math.latex2mathml import tex2mathml
from sphinx.util.logging import getLogger

import pyro_vae
import pyro_vae.sharing.hub
import pyro_vae.sklearn

ROOT = Path(__file__).parent.parent
LOGGER = getLogger(__name__)

project = "pyro_vae"
version = release = pyro_vae.__version__
root_doc = "README"
include_patterns = ["README.md", "CHANGELOG.md", "CONTRIBUTING.md", "docs/**.md"]
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]

html_theme = "furo"
html_title = f"pyro_vae {release}"
html_math_renderer = "mathml"
html_static_path = ["site.css"]
html_css_files = ["site.css"]
html_copy_source = False

myst_heading_anchors = 3
default_role = "code"
toc_object_entries_show_parents = "hide"
autodoc_inherit_docstrings = False  # those of torch say nothing of a part
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
napoleon_custom_sections = [("Use", "params_style")]
napoleon_use_ivar = True

NAVIGATION = """
```{toctree}
:hidden:
:caption: Understand
docs/questions
docs/explorer
```

```{toctree}
:hidden:
:caption: Use
docs/parts
docs/pairs
docs/tables
docs/sharing
docs/scale
docs/reliability
```

```{toctree}
:hidden:
:caption: Trust
docs/honesty
docs/performance
docs/mnist
```

```{toctree}
:hidden:
:caption: API
:glob:
docs/api/*
```

```{toctree}
:hidden:
:caption: About
docs/architecture
CONTRIBUTING
CHANGELOG
```
"""
PACKAGES = [
    pyro_vae,
    pyro_vae.data,
    pyro_vae.diagnostics,
    pyro_vae.networks,
    pyro_vae.sharing.hub,
    pyro_vae.sklearn,
]


def setup(app):
    app.add_html_math_renderer("mathml", (write_inline, None), (write_block, None))
    app.connect("source-read", read)
    app.connect("build-finished", finish)


def write_inline(translator, node):
    write(translator, node)


def write_block(translator, node):
    write(translator, node, as_block=True)


def write(translator, node, **options):
    """Write an equation as MathML, or say which one cannot be."""
    text = re.sub(r"\\(log|exp) (?=[\w\\])", r"\\\1\\, ", node.astext())
    if "&" in text:
        text = rf"\begin{{aligned}} {text} \end{{aligned}}"
    try:
        translator.body.append(tex2mathml(text, **options))
    except MathError as error:
        LOGGER.warning("%s In: %s", error, text, location=node)
    raise SkipNode


def read(app, name, content):
    """Make of the repository's Markdown the one of Sphinx: equations, navigation, and the API."""
    text = re.sub(r"\$`(.+?)`\$", r"{math}`\1`", content[0])
    text = text.replace("```math", "```{math}")
    text = text.replace("explore.html)", "explorer.md)")  # the page that shows it in its frame
    if name == root_doc:
        text += NAVIGATION
    if name.startswith("docs/api/"):
        text += document(Path(name).name)
    content[0] = text


def document(folder):
    """Directives for the public names that come from a folder of the package."""
    lines = ["", "```{eval-rst}"]
    for name, thing in find_public(folder).items():
        if inspect.isclass(thing):
            lines += [f".. autoclass:: {name}", "   :members:", "   :exclude-members: distribution"]
        else:
            lines.append(f".. autofunction:: {name}")
        lines.append("")

    return "\n".join([*lines, "```", ""])


def find_public(folder):
    """What is public and comes from a folder, by its shortest full name."""
    named = {}
    for package in PACKAGES:
        for name, thing in vars(package).items():
            module = f"{getattr(thing, '__module__', '')}."
            if module.startswith(f"pyro_vae.{folder}.") and not name.startswith("_"):
                named.setdefault(thing, f"{package.__name__}.{name}")

    return {name: thing for thing, name in named.items()}


def finish(app, error):
    """The root page is the README, and a browser asks for index.html. The explorer is as it is."""
    if error is None and app.builder.name == "html":
        site = Path(app.outdir)
        shutil.copy(site / "README.html", site / "index.html")
        shutil.copy(ROOT / "docs" / "explore.html", site / "docs" / "explore.html")
