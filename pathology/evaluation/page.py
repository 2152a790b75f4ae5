"""What the pages share: templates that escape what they are given and refuse what they lack."""

from __future__ import annotations

from jinja2 import Environment, PackageLoader, StrictUndefined


def page_environment() -> Environment:
    """The templates of this package."""
    return Environment(
        loader=PackageLoader("pathology.evaluation"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
