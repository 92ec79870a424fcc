"""ABC 2.1, the notation of folk tune collections (https://abcnotation.com/wiki/abc:standard:v2.1)."""

from __future__ import annotations

import os
from fractions import Fraction

from descant.files import write_atomically
from descant.music.bars import UNITS_PER_BEAT, Sign, bars_of
from descant.music.clefs import clef_of
from descant.music.pitches import Pitch
from descant.music.scores import Score, Voice, one_line

ACCIDENTALS = {-2: "__", -1: "_", 0: "=", 1: "^", 2: "^^"}
BARS_PER_LINE = 4
# By signature, seven flats to seven sharps.
MAJOR_KEYS = ("Cb", "Gb", "Db", "Ab", "Eb", "Bb", "F", "C", "G", "D", "A", "E", "B", "F#", "C#")


def to_abc(score: Score) -> str:
    """The score as an ABC tune with its key signature, one V: field per voice.

    DescantError where a length is not a multiple of a 64th note.
    """
    numbered = list(enumerate(score.voices, start=1))
    upper, lower = score.time_signature
    header = [
        "%abc-2.1",
        "X:1",
        f"T:{_text(score.title)}",
        f"M:{upper}/{lower}",
        "L:1/4",
        f"Q:1/4={score.tempo:g}",
        f"%%score [{' '.join(str(number) for number, _ in numbered)}]",
        *(
            f'V:{number} clef={clef_of(voice).value[0]} name="{_text(voice.name)}"'
            for number, voice in numbered
        ),
        f"K:{MAJOR_KEYS[score.fifths + 7]}",
    ]
    body = [line for number, voice in numbered for line in (f"V:{number}", *_music(score, voice))]
    return "\n".join([*header, *body]) + "\n"


def write_abc(score: Score, path: str | os.PathLike[str]) -> None:
    """Write the score as ABC; DescantError where `path` can't be written."""
    write_atomically(path, to_abc(score).encode())


def _music(score: Score, voice: Voice) -> list[str]:
    signature = score.signature
    bars = [_bar(signs, signature) for signs in bars_of(score, voice)]
    lines = [" | ".join(bars[start : start + BARS_PER_LINE]) for start in range(0, len(bars), BARS_PER_LINE)]
    return [f"{line} |" for line in lines[:-1]] + [f"{lines[-1]} |]"]


def _bar(signs: list[Sign], signature: dict[str, int]) -> str:
    altered: set[str] = set()
    return " ".join(_sign(sign, altered, signature) for sign in signs)


def _sign(sign: Sign, altered: set[str], signature: dict[str, int]) -> str:
    """One note; `altered` collects the letters that need their sign written out until the bar line."""
    length = Fraction(sign.units, UNITS_PER_BEAT)
    name = "z" if sign.pitch is None else _accidental(sign.pitch, altered, signature) + _letter(sign.pitch)
    return f"{name}{'' if length == 1 else length}{'-' if sign.tied_after else ''}"


def _accidental(pitch: Pitch, altered: set[str], signature: dict[str, int]) -> str:
    # Readers disagree on whether a sharp reaches other octaves, and on ties: write each one out.
    if pitch.alteration == signature.get(pitch.letter, 0) and pitch.letter not in altered:
        return ""
    altered.add(pitch.letter)
    return ACCIDENTALS[pitch.alteration]


def _letter(pitch: Pitch) -> str:
    """C4 is C, C5 is c; commas below and apostrophes above."""
    if pitch.octave <= 4:
        return pitch.letter + "," * (4 - pitch.octave)
    return pitch.letter.lower() + "'" * (pitch.octave - 5)


def _text(text: str) -> str:
    """Text on one line, without ABC's own signs."""
    return one_line(text).replace("\\", "/").replace("%", "\\%").replace('"', "'")
