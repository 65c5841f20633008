"""How the site is built: ``sphinx-build -W --keep-going -b html docs docs/_build/html``."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

import xconverge

DOCS = Path(__file__).parent
EXAMPLES = DOCS.parent / "examples"
GALLERY = DOCS / "gallery"
SOURCE = "https://github.com/xconverge/xconverge/blob/main/"

project = "xconverge"
author = "the xconverge developers"
copyright = f"2026, {author}"
version = release = xconverge.__version__

extensions = [
    "myst_nb",
    "numpydoc",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx_copybutton",
    "sphinxcontrib.mermaid",
]
templates_path = ["_templates"]
exclude_patterns = ["_build", "_templates", "generate", "**.ipynb_checkpoints"]
# a single backtick in a docstring is a link where there is such an object
default_role = "autolink"
nitpicky = True
# `validate` in readers is that on top; `pending` and `write` are inside their own class
nitpick_ignore = [("py:obj", name) for name in ("validate", "pending", "write")]
suppress_warnings = ["mystnb.unknown_mime_type"]

# pages: links to headings work as they do on GitHub
myst_enable_extensions = ["colon_fence", "deflist"]
myst_fence_as_directive = ["mermaid"]
myst_heading_anchors = 4

# notebooks: they are run at every build, and an error in one fails it
nb_execution_mode = "auto"
nb_execution_timeout = 120
nb_execution_raise_on_error = True
nb_merge_streams = True
# needs torch: run by tests/examples/test_training_loop.py, its outputs are kept in the file
nb_execution_excludepatterns = ["gallery/training_loop.ipynb"]

# reference: a page for each public name, from its docstring
autosummary_generate = True
autodoc_typehints = "none"
autodoc_mock_imports = ["sklearn", "torch"]
numpydoc_show_class_members = False
numpydoc_xref_param_type = False

html_theme = "pydata_sphinx_theme"
html_title = "xconverge"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_show_sourcelink = False
# pages without pages below them have nothing to show at the left
html_sidebars = {page: [] for page in ("index", "tutorial", "which-call", "glossary")}
html_theme_options = {
    "github_url": "https://github.com/xconverge/xconverge",
    "header_links_before_dropdown": 8,
    "navbar_persistent": ["search-button"],
    "navigation_with_keys": False,
    "show_nav_level": 1,
    "show_toc_level": 2,
    "use_edit_page_button": False,
}
copybutton_exclude = ".linenos, .gp, .go"


def copied_examples() -> None:
    """Put the notebooks of ``examples/`` where Sphinx reads them: nowhere but in this folder."""
    shutil.rmtree(GALLERY, ignore_errors=True)
    GALLERY.mkdir()
    for page in (*EXAMPLES.glob("*.md"), *EXAMPLES.glob("*.ipynb")):
        shutil.copy2(page, GALLERY)


def links_of_the_site(app: Any, docname: str, source: list[str]) -> None:
    """Links out of this folder, which are right on GitHub, as they are on the site."""
    if docname.startswith("gallery/"):
        source[0] = source[0].replace("](../docs/", "](../")
        return
    text = re.sub(r"\]\(\.\./examples/(\w+\.(?:md|ipynb))\)", r"](gallery/\1)", source[0])
    source[0] = re.sub(r"\]\(\.\./([\w.][^)]*)\)", rf"]({SOURCE}\1)", text)


def setup(app: Any) -> None:
    """Copy the notebooks before pages are looked for, and mend links as pages are read."""
    copied_examples()
    app.connect("source-read", links_of_the_site)
