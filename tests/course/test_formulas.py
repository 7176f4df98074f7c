from builder.formulas import with_mathml


def test_a_formula_becomes_mathml_inline_and_on_a_line_of_its_own():
    text = with_mathml("The root $\\sqrt{d}$ and\n\n$$\\frac{a}{b}$$\n")
    assert text.count("<math") == 2 and text.count('display="block"') == 1
    assert "<msqrt>" in text and "<mfrac>" in text and "$" not in text


def test_a_dollar_in_code_stays():
    for code in ("`$HOME` and `$PATH`", "```\ncost = $3, gain = $5\n```"):
        assert with_mathml(code) == code


def test_a_single_dollar_stays():
    assert with_mathml("It costs $5.") == "It costs $5."
