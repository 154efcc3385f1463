"""Sentences with commands in them, for pages."""

from markupsafe import Markup, escape


def coded(text: str) -> Markup:
    """A sentence with what stands between backticks as code."""
    parts = enumerate(text.split("`"))
    return Markup("").join(
        Markup("<code>{}</code>").format(part) if place % 2 else escape(part) for place, part in parts
    )
