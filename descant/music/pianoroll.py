"""Piano rolls: time to the right, pitch upwards, a colour for each voice."""

from __future__ import annotations

import io
import math
import os

import numpy as np
from numpy.typing import NDArray

from descant.errors import DescantError
from descant.files import write_atomically
from descant.music.scores import Score

# Okabe and Ito's palette, which colour-blind readers tell apart.
VOICE_COLOURS = ((0, 114, 178), (213, 94, 0), (0, 158, 115), (204, 121, 167))
WHITE = 255
BAR_LINE = 200
OCTAVE_LINE = 228
MARGIN = 2  # semitones above the highest note and below the lowest
MIDDLE_C = 60
Image = NDArray[np.uint8]


def to_image(score: Score, row_height: int = 6, column_width: int = 12) -> Image:
    """The score as uint8 [H, W, 3]: `row_height` pixels a semitone, `column_width` a quarter note.

    Voices in unison show the blend of their colours. Faint lines lie at bar lines and below each C.
    """
    if row_height < 1 or column_width < 1:
        raise DescantError(
            f"A piano roll needs pixels: row_height {row_height}, column_width {column_width}. Use 1 or more."
        )
    numbers = [pitch.midi for voice in score.voices for pitch in voice.pitches] or [MIDDLE_C]
    top, bottom = max(numbers) + MARGIN, min(numbers) - MARGIN
    height, width = (top - bottom + 1) * row_height, math.ceil(score.beats * column_width)
    image = np.full((height, width, 3), WHITE, np.uint8)
    _paint_lines(image, score, top, row_height, column_width)
    notes = _notes(score, top, row_height, column_width, (height, width))
    return np.where((notes < WHITE).any(axis=2, keepdims=True), notes, image)


def write_png(
    score: Score, path: str | os.PathLike[str], row_height: int = 6, column_width: int = 12
) -> None:
    """Write the piano roll as PNG; DescantError where `path` can't be written."""
    write_atomically(path, to_png(score, row_height, column_width))


def to_png(score: Score, row_height: int = 6, column_width: int = 12) -> bytes:
    """The piano roll as PNG."""
    from PIL import Image as Pillow

    buffer = io.BytesIO()
    Pillow.fromarray(to_image(score, row_height, column_width)).save(buffer, format="PNG")
    return buffer.getvalue()


def _paint_lines(image: Image, score: Score, top: int, row_height: int, column_width: int) -> None:
    below_each_c = top % 12 * row_height + row_height - 1
    image[below_each_c :: 12 * row_height] = OCTAVE_LINE
    bars = np.arange(0, image.shape[1], score.beats_per_bar * column_width).round().astype(int)
    image[:, bars[bars < image.shape[1]]] = BAR_LINE


def _notes(score: Score, top: int, row_height: int, column_width: int, shape: tuple[int, int]) -> Image:
    """All voices on white, darkest colour first: uint8 [H, W, 3]."""
    notes = np.full((*shape, 3), WHITE, np.uint8)
    for number, voice in enumerate(score.voices):
        colour = np.array(VOICE_COLOURS[number % len(VOICE_COLOURS)], np.uint8)
        for pitch, start, end in voice.sounding():
            left, right = round(start * column_width), round(end * column_width)
            row = (top - pitch.midi) * row_height
            # A pixel's gap keeps repeated notes apart.
            box = notes[row : row + row_height, left : max(right - 1, left + 1)]
            np.minimum(box, colour, out=box)
    return notes
