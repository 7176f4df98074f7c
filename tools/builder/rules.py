"""The rules that the cells of a source keep; a cell that breaks one is refused."""

import ast
import re
from collections.abc import Iterable

from builder.cells import BEGIN, END, HINTS, NOTES, STUB, TAGS, BuildError, Cell

NBVAL_COMMENT = re.compile(r"(?mi)^\s*#+\s*(?:NBVAL_|PYTEST_VALIDATE_)\w+.*$")
NEARLY_MARKER = re.compile(r"#+\s*(?:BEGIN|END)\s+SOLUTION", re.IGNORECASE)
MARKDOWN_IMAGE = re.compile(r"!\[([^\]]*)\]\(([^)]*)\)")
HTML_IMAGE = re.compile(r"(?is)<img\b[^>]*>")
ALT_TEXT = re.compile(r"\balt=(?:\"[^\"]*[^\"\s][^\"]*\"|'[^']*[^'\s][^']*')")
FENCE = re.compile(r"(?ms)^(```|~~~).*?^\1[ \t]*$")
HEADING = re.compile(r"(?m)^(#{1,6}) +\S.*$")


def refuse_cell(cell: Cell) -> None:
    """Refuse a cell for its tags, its solution regions, its code or its images.

    Raises:
        BuildError: the cell breaks a rule.
    """
    refuse_tags(cell)
    if cell.kind != "code":
        for text in undescribed_images(cell.source):
            raise cell.refusal(text)
        return
    if marker := NBVAL_COMMENT.search(cell.source):
        raise cell.refusal(
            f"{marker[0].strip()!r}: nbval ignores a marker comment with anything behind it; "
            "use the tag nbval-check-output"
        )
    refuse_regions(cell)
    try:
        tree = parse(cell.stubbed())
    except SyntaxError as error:
        raise cell.refusal(f"line {error.lineno} is no Python: {error.msg}") from None
    if BEGIN in cell.source and not _stubs_wait(tree):
        raise cell.refusal(
            f"a solution stands inside a function, so that {STUB!r} waits for a call"
        )


def refuse_tags(cell: Cell) -> None:
    """Refuse tags that are unknown, in upper case, or on the wrong kind of cell."""
    for tag in cell.tags:
        if tag != tag.lower():
            raise cell.refusal(f"tag {tag!r} has upper case, which nbval ignores: {tag.lower()!r}")
        if tag not in TAGS:
            raise cell.refusal(f"unknown tag {tag!r}; known are {', '.join(sorted(TAGS))}")
    if "guided" in cell and cell.in_exercise:
        raise cell.refusal("a cell of an exercise is not `guided`, which the exercises leave out")
    if cell.kind != "markdown" and {*HINTS, *NOTES} & set(cell.tags):
        raise cell.refusal("hints and notes are markdown cells")
    if cell.kind != "code" and {"check", "claim", "nbval-check-output"} & set(cell.tags):
        raise cell.refusal("`check`, `claim` and `nbval-check-output` are tags of code cells")


def refuse_regions(cell: Cell) -> None:
    """Refuse solution regions that are unbalanced, misspelt or outside of an exercise."""
    is_open = False
    for line in map(str.strip, cell.source.splitlines()):
        if line not in (BEGIN, END):
            if NEARLY_MARKER.match(line):
                raise cell.refusal(f"{line!r}: the marker is {BEGIN!r} or {END!r}, nothing else")
            continue
        if is_open == (line == BEGIN):
            raise cell.refusal(f"{line!r} without its partner: the regions are unbalanced")
        is_open = not is_open
    if is_open:
        raise cell.refusal(f"{BEGIN!r} without {END!r}: the regions are unbalanced")
    if BEGIN in cell.source and "exercise" not in cell:
        raise cell.refusal("a solution outside of a cell tagged `exercise`")


def undescribed_images(source: str) -> Iterable[str]:
    """One sentence for each image without alt text in markdown or HTML."""
    for alt, target in MARKDOWN_IMAGE.findall(source):
        if not alt.strip():
            yield f"the image {target} has no alt text: ![what it shows]({target})"
    for element in HTML_IMAGE.findall(source):
        if not ALT_TEXT.search(element):
            yield f'{element[:60]} has no alt text: <img alt="what it shows" ...>'


def refuse_skipped_levels(sources: Iterable[str]) -> None:
    """Refuse a heading more than one level below the one before it."""
    level = 0
    for source in sources:
        for heading in HEADING.finditer(FENCE.sub("", source)):
            if len(heading[1]) > level + 1:
                wanted = "#" * (level + 1)
                raise BuildError(f"heading {heading[0]!r} skips a level: {wanted!r} is the next")
            level = len(heading[1])


def refuse_unsolved_use(cells: Iterable[Cell]) -> None:
    """Refuse a cell that calls what an unsolved exercise leaves undone: only checks may fail."""
    undone: set[str] = set()
    for cell in cells:
        if cell.kind != "code" or "guided" in cell:
            continue
        nodes = list(ast.walk(parse(cell.solved())))
        if BEGIN in cell.source:
            undone |= {n.name for n in nodes if isinstance(n, ast.FunctionDef | ast.ClassDef)}
            continue
        names = [node for node in nodes if isinstance(node, ast.Name)]
        stored = {name.id for name in names if isinstance(name.ctx, ast.Store)}
        used = {name.id for name in names if isinstance(name.ctx, ast.Load)}
        if "check" not in cell and (broken := used & undone - stored):
            name = min(broken)
            raise cell.refusal(
                f"{name} is undone until its exercise is solved, and this cell would fail: "
                f'{name} = use("...") takes the reference until then'
            )
        undone -= stored


def parse(source: str) -> ast.Module:
    """The syntax tree of a cell; lines with magics count as `pass`."""
    return ast.parse(re.sub(r"(?m)^(\s*)[%!].*$", r"\1pass", source))


def _stubs_wait(tree: ast.Module) -> bool:
    functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]
    inside = {id(node) for function in functions for node in ast.walk(function)}
    stubs = [node for node in ast.walk(tree) if _is_stub(node)]
    return bool(stubs) and all(id(node) in inside for node in stubs)


def _is_stub(node: ast.AST) -> bool:
    if not isinstance(node, ast.Raise) or not isinstance(node.exc, ast.Name):
        return False
    return node.exc.id == "NotImplementedError"
