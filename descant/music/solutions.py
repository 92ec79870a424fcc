"""Fux's own counterpoints of the first species, as far as they are kept here: five of those he prints."""

from __future__ import annotations

from descant.music.cantus_firmi import FUX, Line
from descant.music.counterpoint import Position, Problem
from descant.music.pitches import parse_line

# J. J. Fux, Gradus ad Parnassum (Vienna 1725), book I, exercise 1; by cantus and the side of the counterpoint.
SOLUTIONS: dict[tuple[str, Position], Line] = {
    ("dorian", "above"): parse_line("A4 A4 G4 A4 B4 C5 C5 B4 D5 C#5 D5"),
    ("phrygian", "above"): parse_line("B4 C5 F4 G4 A4 C5 B4 E5 D5 E5"),
    ("lydian", "above"): parse_line("F4 E4 C4 F4 F4 G4 A4 G4 C4 F4 E4 F4"),
    ("dorian", "below"): parse_line("D3 D3 A3 F3 E3 D3 F3 C4 D4 C#4 D4"),
    ("aeolian", "below"): parse_line("A3 A3 G3 F3 E3 E3 D3 C3 G3 A3 G#3 A3"),
}


def solved_problems() -> list[tuple[Problem, Line]]:
    """Each problem whose solution is kept, with Fux's line."""
    return [(Problem(FUX[cantus], side), line) for (cantus, side), line in SOLUTIONS.items()]
