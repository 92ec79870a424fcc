"""Engraved scores as SVG, by Verovio."""

from __future__ import annotations

import importlib.resources
import os

from descant.errors import DescantError
from descant.files import write_atomically
from descant.music.musicxml import Colours, to_musicxml
from descant.music.scores import Score

SCALE = 50  # percent: staves about 36 pixels high
MIN_WIDTH, MAX_WIDTH = 200, 10_000  # pixels
MAX_HEIGHT = 60_000  # Verovio's limit
OPTIONS = {
    "scale": SCALE,
    "pageHeight": MAX_HEIGHT,
    "adjustPageHeight": True,
    "header": "none",
    "footer": "none",
    # Several SVGs may stand in one HTML page: no ids on elements, symbols named after the score's checksum.
    "svgHtml5": True,
    "xmlIdChecksum": True,
    "svgRemoveXlink": True,
}


def to_svg(score: Score, colours: Colours | None = None, width: int = 1400) -> str:
    """The score as a self-contained SVG on one page, at most `width` pixels wide and cut to its content.

    `colours` maps (voice, note), both from 0, to a CSS colour such as `#d00000`. DescantError for a width
    outside 200 to 10,000, a length that is not a multiple of a 64th note, or a score too long for a page.
    """
    import verovio

    if not MIN_WIDTH <= width <= MAX_WIDTH:
        raise DescantError(f"Cannot engrave {width} pixels wide. Give a width of {MIN_WIDTH} to {MAX_WIDTH}.")
    verovio.enableLog(verovio.LOG_OFF)
    # Verovio knows where its fonts are only in the thread that imported it first.
    verovio.setDefaultResourcePath(str(importlib.resources.files("verovio") / "data"))
    toolkit = verovio.toolkit()
    toolkit.setOptions(OPTIONS | {"pageWidth": width * 100 // SCALE})
    loaded = toolkit.loadData(to_musicxml(score, colours))
    if not loaded or toolkit.getPageCount() != 1:
        raise DescantError(
            f"The score does not fit on a page {width} pixels wide. Widen it, or cut the score."
        )
    svg = str(toolkit.renderToSVG(1))
    if svg.count('data-class="system"') > 1:
        return svg
    # A lone system is not stretched to the page; with several, this option would leave them ragged.
    toolkit.setOptions({"adjustPageWidth": True})
    toolkit.redoLayout()
    return str(toolkit.renderToSVG(1))


def write_svg(
    score: Score, path: str | os.PathLike[str], colours: Colours | None = None, width: int = 1400
) -> None:
    """Write the score as SVG; DescantError where `path` can't be written."""
    write_atomically(path, to_svg(score, colours, width).encode())
