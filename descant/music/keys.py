"""Keys: a tonic and a mode, such as C major, A minor or D dorian; which pitch classes belong to them."""

from __future__ import annotations

from dataclasses import dataclass

from descant.errors import DescantError, did_you_mean

TONICS = {
    "C": 0, "B#": 0, "C#": 1, "Db": 1, "D": 2, "D#": 3, "Eb": 3, "E": 4, "Fb": 4, "F": 5, "E#": 5,
    "F#": 6, "Gb": 6, "G": 7, "G#": 8, "Ab": 8, "A": 9, "A#": 10, "Bb": 10, "B": 11, "Cb": 11,
}  # fmt: skip
# Semitones above the tonic; minor is the natural one.
SCALES = {
    "major": (0, 2, 4, 5, 7, 9, 11),
    "minor": (0, 2, 3, 5, 7, 8, 10),
    "ionian": (0, 2, 4, 5, 7, 9, 11),
    "dorian": (0, 2, 3, 5, 7, 9, 10),
    "phrygian": (0, 1, 3, 5, 7, 8, 10),
    "lydian": (0, 2, 4, 6, 7, 9, 11),
    "mixolydian": (0, 2, 4, 5, 7, 9, 10),
    "aeolian": (0, 2, 3, 5, 7, 8, 10),
    "locrian": (0, 1, 3, 5, 6, 8, 10),
}


@dataclass(frozen=True, slots=True)
class Key:
    """A tonic by name ("C", "Bb", "F#") and a mode; DescantError for one there isn't."""

    tonic: str = "C"
    mode: str = "major"

    def __post_init__(self) -> None:
        if self.tonic not in TONICS:
            raise DescantError(f"{self.tonic!r} is no key.{did_you_mean(self.tonic, TONICS)}")
        if self.mode not in SCALES:
            raise DescantError(f"{self.mode!r} is no mode.{did_you_mean(self.mode, SCALES)}")

    @property
    def pitch_class(self) -> int:
        """The tonic, 0 (C) to 11 (B)."""
        return TONICS[self.tonic]

    @property
    def pitch_classes(self) -> frozenset[int]:
        """Those of the scale."""
        return frozenset((self.pitch_class + interval) % 12 for interval in SCALES[self.mode])

    def __str__(self) -> str:
        return f"{self.tonic} {self.mode}"
