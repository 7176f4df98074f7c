"""Turns the formulas of a Markdown cell into MathML, which a browser draws without a network."""

import re

from latex2mathml.converter import convert

# Code comes first: a dollar inside backticks is no formula. A formula may run on in the next line of its
# paragraph; it touches both its dollars, which the prices in "from $5 to $6" do not.
PIECES = re.compile(
    r"(?P<code>```.*?```|`[^`\n]*`)|\$\$(?P<block>.+?)\$\$"
    r"|\$(?!\s)(?P<inline>(?:[^$\n]|\n(?!\s*\n))+)(?<!\s)\$(?!\d)",
    re.DOTALL,
)
# No browser stretches the bar that the converter puts over several letters; a line above it draws.
OVERLINE = re.compile(
    r'<mover>((?:(?!<mover>).)*?)<mo accent="true">&#x02015;</mo></mover>', re.DOTALL
)


def with_mathml(markdown: str) -> str:
    """The text with each `$...$` and `$$...$$` outside code replaced by MathML."""
    return PIECES.sub(_replaced, markdown)


def _replaced(piece: re.Match[str]) -> str:
    if piece["code"]:
        return piece["code"]
    if piece["block"]:
        formula = convert(piece["block"].strip(), display="block")
    else:
        formula = convert(" ".join(piece["inline"].split()))
    return OVERLINE.sub(r'<mrow style="border-top: 1px solid">\1</mrow>', formula)
