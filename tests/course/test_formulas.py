from pathlib import Path

import nbformat
import pytest
from builder.formulas import PIECES, with_mathml

NOTEBOOKS = sorted((Path(__file__).resolve().parents[2] / "notebooks").glob("*.ipynb"))


def test_a_formula_becomes_mathml_inline_and_on_a_line_of_its_own():
    text = with_mathml("The root $\\sqrt{d}$ and\n\n$$\\frac{a}{b}$$\n")
    assert text.count("<math") == 2 and text.count('display="block"') == 1
    assert "<msqrt>" in text and "<mfrac>" in text and "$" not in text


def test_a_bar_over_several_letters_is_as_wide_as_they_are():
    text = with_mathml("$\\overline{h - z} - \\overline{v(h)}$")
    assert text.count('<mrow style="border-top: 1px solid"><mrow><mi>') == 2
    assert "<mover>" not in text and text.count("<mrow") == text.count("</mrow>")


def test_a_dollar_in_code_stays():
    for code in ("`$HOME` and `$PATH`", "```\ncost = $3, gain = $5\n```"):
        assert with_mathml(code) == code


def test_a_single_dollar_stays():
    assert with_mathml("It costs $5.") == "It costs $5."


def test_a_formula_may_run_on_in_the_next_line_but_not_in_the_next_paragraph():
    text = with_mathml("- It is $2 \\cdot\n  \\text{hits}$, say.")
    assert text.count("<math") == 1 and "$" not in text and "cdot" not in text
    apart = "From $a\n\nto b$."
    assert with_mathml(apart) == apart


def test_two_prices_are_no_formula():
    for prices in ("from $5 to $6", "from $5\nto $6", "US$5-$6"):
        assert with_mathml(prices) == prices


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_every_formula_of_a_lesson_is_found(path: Path):
    cells = nbformat.read(path, as_version=4).cells
    text = "\n\n".join(cell.source for cell in cells if cell.cell_type == "markdown")
    prose = PIECES.sub("", text)
    assert "$" not in prose, prose[max(prose.find("$") - 80, 0) :][:160]
