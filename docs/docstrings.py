"""Formulas of docstrings as Markdown, for the API reference."""

import re
import textwrap
from typing import Any

import griffe

BLOCK = re.compile(r"^( *)\.\. math::(.*)\n((?:\s*\n|\1 +.*\n?)*)", re.MULTILINE)


def to_markdown(text: str) -> str:
    """Converts reStructuredText's math directive to a code block, and its math role to code."""
    text = BLOCK.sub(_code_block, text + "\n")
    return re.sub(r":math:`([^`]*)`", r"`\1`", text)


def _code_block(match: re.Match[str]) -> str:
    indent, first, rest = match.groups()
    formula = "\n".join(filter(None, (first.strip(), textwrap.dedent(rest).strip("\n"))))
    return textwrap.indent(f"\n```latex\n{formula}\n```\n\n", indent)


class Formulas(griffe.Extension):
    """Converts the formulas of every docstring before it is parsed."""

    def on_instance(self, *, obj: griffe.Object, **kwargs: Any) -> None:
        """Rewrites the docstring of a module, class, function or attribute."""
        if obj.docstring is not None:
            obj.docstring.value = to_markdown(obj.docstring.value).rstrip("\n")
