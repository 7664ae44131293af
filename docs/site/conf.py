"""Sphinx's settings. The sources are assembled by docs/make_site.py, in build/site/source."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import docstrings

import gdfast

project = "gdfast"
author = "the gdfast developers"
copyright = f"2026, {author}"
version = release = gdfast.__version__

extensions = ["sphinx.ext.autodoc", "numpydoc", "myst_parser", "sphinx_design", "mathml"]
source_suffix = {".md": "markdown", ".rst": "restructuredtext"}
root_doc = "index"
exclude_patterns = []
default_role = "py:obj"
highlight_language = "none"

myst_enable_extensions = ["colon_fence"]
myst_heading_anchors = 4

autodoc_typehints = "none"  # the docstrings say types
autodoc_class_signature = "mixed"
autodoc_member_order = "bysource"
maximum_signature_line_length = 88
add_module_names = False
numpydoc_show_class_members = False
numpydoc_class_members_toctree = False

html_theme = "pydata_sphinx_theme"
html_title = "gdfast"
html_static_path = [str(Path(__file__).with_name("static"))]
html_sidebars = {page: [] for page in ("benchmarks", "changes", "contributing", "gallery/index", "security")}
html_css_files = ["site.css"]
html_context = {"default_mode": "auto"}
html_copy_source = False
html_show_sourcelink = False
html_math_renderer = "mathml"
html_theme_options = {
    "logo": {"text": "gdfast"},
    "navbar_align": "left",
    "header_links_before_dropdown": 6,
    "show_prev_next": True,
    "secondary_sidebar_items": ["page-toc"],
    "footer_start": ["copyright"],
    "footer_end": [],
    "pygments_light_style": "a11y-high-contrast-light",
    "pygments_dark_style": "a11y-high-contrast-dark",
}


def setup(app):
    """Set the formulas of docstrings in mathematics, before numpydoc reads them."""
    app.connect("autodoc-process-docstring", docstrings.process, priority=100)
