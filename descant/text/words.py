"""Words of a text and back: a plain tokeniser, lower-casing by default, and the text its tokens make."""

from __future__ import annotations

import re
from collections.abc import Iterable

# Numbers with points or commas inside, words with hyphens inside, 's and its like, any other sign by itself.
TOKEN = re.compile(r"\d+(?:[.,:]\d+)+|\w+(?:-\w+)*(?:-(?!\w))?|'(?=\w)\w+|[^\w\s]")
CLOSING = frozenset(".,!?;:)]}%…")
OPENING = frozenset("([{$#„¿¡")
JOINING = frozenset("/@&")
QUOTE = '"'


def tokenize(text: str, lowercase: bool = True) -> list[str]:
    """Words and signs of a text, in order."""
    return TOKEN.findall(text.lower() if lowercase else text)


def detokenize(tokens: Iterable[str]) -> str:
    """The text of tokens: no space before what closes or after what opens. Undoes `tokenize` but for case, spaces."""
    text, glue, quoted = "", True, False
    for token in tokens:
        opens, closes = token in OPENING or token in JOINING, token in CLOSING or token in JOINING
        if token == QUOTE:
            opens, closes, quoted = not quoted, quoted, not quoted
        clitic = len(token) > 1 and token[0] == "'"
        text += token if glue or closes or clitic else " " + token
        glue = opens
    return text
