"""The church modes of species counterpoint (Fux, Gradus ad Parnassum, 1725; Jeppesen, Counterpoint, 1939)."""

from __future__ import annotations

from dataclasses import dataclass

from descant.errors import DescantError
from descant.music.pitches import LETTERS, Pitch

RAISED_FINALS = frozenset("DGA")


@dataclass(frozen=True, slots=True)
class Mode:
    """A name and the letter of its final; its notes are the naturals."""

    name: str
    final: str

    @property
    def raises_leading_note(self) -> bool:
        """Whether a cadence sharpens the note below the final: on D, G and A (Fux 1725; Jeppesen 1939)."""
        return self.final in RAISED_FINALS

    @property
    def leading_note(self) -> tuple[str, int]:
        """Letter and alteration of the note below the final at a cadence.

        C#, F# and G# on D, G and A; natural E and B on F and C, a semitone away as they are; natural D on E,
        where the semitone lies above the final (Fux 1725; Jeppesen 1939).
        """
        letter = LETTERS[LETTERS.index(self.final) - 1]
        return letter, int(self.raises_leading_note)


MODES = {
    mode.name: mode
    for mode in (
        Mode("dorian", "D"),
        Mode("phrygian", "E"),
        Mode("lydian", "F"),
        Mode("mixolydian", "G"),
        Mode("aeolian", "A"),
        Mode("ionian", "C"),
    )
}
BY_FINAL = {mode.final: mode for mode in MODES.values()}


def mode_of(final: Pitch) -> Mode:
    """The mode that ends on `final`; DescantError where none does."""
    if not final.is_natural or final.letter not in BY_FINAL:
        finals = ", ".join(f"{letter} ({mode.name})" for letter, mode in BY_FINAL.items())
        raise DescantError(f"No mode has {final} as its final. Transpose the line to end on one of {finals}.")
    return BY_FINAL[final.letter]
