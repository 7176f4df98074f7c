"""Turns the formulas of a Markdown cell into MathML, which a browser draws without a network."""

import re

from latex2mathml.converter import convert

# Code comes first: a dollar inside backticks is no formula.
PIECES = re.compile(
    r"(?P<code>```.*?```|`[^`\n]*`)|\$\$(?P<block>.+?)\$\$|\$(?P<inline>[^$\n]+)\$", re.DOTALL
)


def with_mathml(markdown: str) -> str:
    """The text with each `$...$` and `$$...$$` outside code replaced by MathML."""
    return PIECES.sub(_replaced, markdown)


def _replaced(piece: re.Match[str]) -> str:
    if piece["code"]:
        return piece["code"]
    if piece["block"]:
        return str(convert(piece["block"].strip(), display="block"))
    return str(convert(piece["inline"]))
