"""Piano rolls, pixel by pixel."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from PIL import Image

from descant.errors import DescantError
from descant.music.pianoroll import BAR_LINE, OCTAVE_LINE, VOICE_COLOURS, to_image, write_png
from descant.music.pitches import parse_line
from descant.music.scores import Note, Score, Voice

from .strategies import scores


def of(*lines: str) -> Score:
    return Score("", tuple(Voice("", tuple(Note(pitch, 1) for pitch in parse_line(line))) for line in lines))


@given(scores())
def test_shape(score: Score) -> None:
    image = to_image(score, row_height=2, column_width=4)
    assert image.dtype == np.uint8
    assert image.shape[0] % 2 == 0
    assert image.shape[1:] == (np.ceil(score.beats * 4), 3)


def test_voices_have_their_colours_at_their_pitches() -> None:
    image = to_image(of("E4 E4", "C4 D4"), row_height=1, column_width=10)
    assert image.shape == (9, 20, 3)
    assert tuple(image[2, 0]) == tuple(image[2, 10]) == VOICE_COLOURS[0]
    assert tuple(image[6, 5]) == tuple(image[4, 15]) == VOICE_COLOURS[1]


def test_repeated_notes_stand_apart() -> None:
    image = to_image(of("E4 E4"), row_height=1, column_width=10)
    assert tuple(image[2, 9]) == (255, 255, 255)


def test_a_unison_blends() -> None:
    image = to_image(of("E4", "E4"), row_height=1)
    assert tuple(image[2, 3]) == tuple(np.minimum(*map(np.array, VOICE_COLOURS[:2])))


def test_lines_mark_bars_and_octaves() -> None:
    image = to_image(of("B3 C4 D4 E4 F4"), row_height=3, column_width=10)
    blank = image[:, 5]
    assert (image[0, ::40] == BAR_LINE).all()
    assert (image[0, 1:40] == 255).all()
    assert (blank[7 * 3 + 2] == OCTAVE_LINE).all()  # the lowest pixel of C4, with G4 on top
    assert (blank == OCTAVE_LINE).all(axis=1).sum() == 1
    assert tuple(image[7 * 3 + 2, 15]) == VOICE_COLOURS[0]


def test_a_short_note_keeps_a_pixel() -> None:
    image = to_image(Score("", (Voice("", (Note(parse_line("E4")[0], 0.0625), Note(None, 1))),)), 1, 8)
    assert image.shape == (5, 9, 3)
    assert tuple(image[2, 0]) == VOICE_COLOURS[0]


def test_rests_alone_are_blank() -> None:
    image = to_image(Score("", (Voice("", (Note(None, 4),)),)))
    assert image.shape == (30, 48, 3)


@pytest.mark.parametrize(("rows", "columns"), [(0, 1), (1, 0)])
def test_no_pixels_are_an_error(rows: int, columns: int) -> None:
    with pytest.raises(DescantError, match="1 or more"):
        to_image(of("E4"), rows, columns)


def test_png_round_trips(duet: Score, tmp_path: Path) -> None:
    write_png(duet, tmp_path / "roll.png", row_height=3)
    with Image.open(tmp_path / "roll.png") as image:
        assert np.array_equal(np.asarray(image), to_image(duet, row_height=3))
