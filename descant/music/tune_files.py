"""Reading tunes from files: ABC, MIDI and MusicXML, compressed or not, by the end of their name."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from descant.errors import DescantError
from descant.music.abc_tunes import LETTERS, read_tune, tunes_of
from descant.music.keys import SCALES, TONICS, Key
from descant.music.midi import DRUM_CHANNEL, read_messages
from descant.music.mxl import score_in
from descant.music.tunes import TICKS_PER_BEAT, BadTune, Sounding, Tune, regular_bars, whole_bars

MAX_BYTES = 5_000_000  # the largest of music21's collections is a tenth of it
FIFTHS = ("Cb", "Gb", "Db", "Ab", "Eb", "Bb", "F", "C", "G", "D", "A", "E", "B", "F#", "C#")
NONE = 7  # where C, with no sharps or flats, stands among them
MODE_FIFTHS = {
    "lydian": -1,
    "mixolydian": 1,
    "dorian": 2,
    "minor": 3,
    "aeolian": 3,
    "phrygian": 4,
    "locrian": 5,
}

Read = Tune | BadTune  # a tune, or why there is none


def read_tunes(path: Path) -> list[Read]:
    """The tunes of a file in order, in place of each one that can't be used the reason.

    DescantError where the file can't be read as a whole, is of an unknown kind or over 5 MB.
    """
    reader = READERS.get(path.suffix.lower())
    if reader is None:
        raise DescantError(f"{path} is no tune file: give {', '.join(sorted(READERS))}.")
    try:
        size = path.stat().st_size
    except OSError as error:
        raise DescantError(f"Cannot read {path}: {error.strerror}. Check the path.") from error
    if size > MAX_BYTES:
        raise DescantError(
            f"{path} has {size / 1e6:.0f} MB, over the {MAX_BYTES / 1e6:.0f} that a file of tunes may have: cut it up."
        )
    if not size:
        raise DescantError(f"{path} is empty: give a file with a line of notes.")
    try:
        return list(reader(path))
    except DescantError:
        raise
    except (
        ValueError,
        KeyError,
        IndexError,
        ArithmeticError,
    ) as error:  # numbers where none or others should be
        raise DescantError(
            f"{path} is damaged ({type(error).__name__}: {error}): export it again."
        ) from error


def _abc(path: Path) -> Iterator[Read]:
    texts = tunes_of(path.read_bytes().decode(errors="replace"))
    if not texts:
        raise DescantError(f"{path} is no ABC file: its tunes must begin with X:.")
    for text in texts:
        yield attempt(lambda text=text: read_tune(text))  # type: ignore[misc]


def attempt(read: Callable[[], Tune]) -> Read:
    """What `read` returns, or the BadTune it raises."""
    try:
        return read()
    except BadTune as error:
        return error


def _midi(path: Path) -> Iterator[Read]:
    messages, beat = read_messages(path)
    yield attempt(lambda: _midi_tune(path, messages, beat))


def _midi_tune(path: Path, messages: list[Any], beat: int) -> Tune:
    notes: list[Sounding] = []
    sounding: dict[tuple[int, int], int] = {}
    tick, key, bar = 0, None, 4 * TICKS_PER_BEAT
    for message in messages:
        tick += message.time
        match message.type:
            case "key_signature":
                key = key or _signed(message.key)
            case "time_signature":
                bar = bar if notes else 4 * TICKS_PER_BEAT * message.numerator // message.denominator
            case "pitchwheel" if message.pitch and message.channel != DRUM_CHANNEL:
                raise BadTune("microtonal", f"{path} bends its notes: give notes of the twelve semitones.")
            case "note_on" | "note_off" if message.channel != DRUM_CHANNEL:
                voice = message.channel, message.note
                if voice in sounding:
                    start = sounding.pop(voice)
                    notes.append(
                        (_ticks(start, beat), _ticks(tick, beat) - _ticks(start, beat), message.note)
                    )
                if message.type == "note_on" and message.velocity > 0:
                    sounding[voice] = tick
    notes = sorted(note for note in notes if note[1] > 0)
    end = max((start + length for start, length, _ in notes), default=0)
    return Tune(path.stem, tuple(notes), regular_bars(bar, end), key)


def _ticks(tick: int, beat: int) -> int:
    return round(tick * TICKS_PER_BEAT / beat)


def _signed(name: str) -> Key | None:
    """The key of a MIDI key signature such as Bb or F#m; of C major, which files without a thought have, none."""
    tonic, mode = name.removesuffix("m"), "minor" if name.endswith("m") else "major"
    return Key(tonic, mode) if name != "C" and tonic in TONICS else None


def _mxl(path: Path) -> Iterator[Read]:
    yield from _musicxml(path, score_in(path, MAX_BYTES))


def _musicxml(path: Path, content: bytes | None = None) -> Iterator[Read]:
    try:
        root = ElementTree.fromstring(path.read_bytes() if content is None else content)
    except ElementTree.ParseError as error:
        raise DescantError(f"{path} is no MusicXML file ({error}): export it again.") from error
    if root.tag != "score-partwise":
        raise DescantError(f"{path} is no partwise MusicXML but {root.tag!r}: export it as score-partwise.")
    yield attempt(lambda: _musicxml_tune(path, root))


def _musicxml_tune(path: Path, root: ElementTree.Element) -> Tune:
    parts = [part for part in root.iter("part") if part.find(".//note/pitch") is not None]
    if len(parts) > 1:
        raise BadTune("polyphonic", f"{path} has {len(parts)} parts with notes: give one note at a time.")
    line = _Line(path)
    for measure in parts[0].iter("measure") if parts else ():
        line.lines.append(line.tick)
        for element in measure:
            line.take(element)
    title = root.findtext("work/work-title") or root.findtext("movement-title") or path.stem
    return Tune(title, tuple(line.notes), whole_bars(line.lines, line.bar, line.tick), line.key)


class _Line:
    """What holds where the reading of a part stands."""

    def __init__(self, path: Path) -> None:
        self.path, self.tick, self.divisions, self.bar = path, 0, 1.0, 4 * TICKS_PER_BEAT
        self.key: Key | None = None
        self.notes: list[Sounding] = []
        self.lines: list[int] = []
        self.tied = False

    def take(self, element: ElementTree.Element) -> None:
        """Read on by one element of a measure."""
        match element.tag:
            case "attributes":
                self._attributes(element)
            case "note" if element.find("grace") is None and element.find("cue") is None:
                self._note(element)
            case "forward":
                self.tick += self._length(element)
            case "backup":
                raise BadTune("polyphonic", f"{self.path} has several voices: give one note at a time.")

    def _attributes(self, element: ElementTree.Element) -> None:
        self.divisions = float(element.findtext("divisions") or self.divisions)
        if (fifths := element.findtext("key/fifths")) and not self.notes:
            self.key = _of_fifths(int(fifths), (element.findtext("key/mode") or "major").lower())
        if (beats := element.findtext("time/beats")) and (kind := element.findtext("time/beat-type")):
            self.bar = sum(int(n) for n in beats.split("+")) * 4 * TICKS_PER_BEAT // int(kind)

    def _length(self, element: ElementTree.Element) -> int:
        return round(float(element.findtext("duration") or 0) * TICKS_PER_BEAT / self.divisions)

    def _note(self, element: ElementTree.Element) -> None:
        if element.find("chord") is not None:
            raise BadTune("polyphonic", f"{self.path} has chords: give one note at a time.")
        length, pitch = self._length(element), element.find("pitch")
        if pitch is not None:
            alter = float(pitch.findtext("alter") or 0)
            if alter % 1:
                raise BadTune("microtonal", f"{self.path} is microtonal: give notes of the twelve semitones.")
            letter = LETTERS[pitch.findtext("step") or "C"]
            midi = 12 * (int(pitch.findtext("octave") or 4) + 1) + letter + int(alter)
            self._sound(midi, length, {tie.get("type", "") for tie in element.iter("tie")})
        self.tick += length

    def _sound(self, midi: int, length: int, ties: set[str]) -> None:
        if "stop" in ties and self.tied and self.notes[-1][2] == midi:
            start, before, _ = self.notes[-1]
            self.notes[-1] = start, before + length, midi
        else:
            self.notes.append((self.tick, length, midi))
        self.tied = "start" in ties


def _of_fifths(fifths: int, mode: str) -> Key | None:
    """The key of so many sharps (flats below 0) and a mode; None for C major, written where none is known."""
    mode = mode if mode in SCALES else "major"
    place = NONE + fifths + MODE_FIFTHS.get(mode, 0)
    return Key(FIFTHS[place], mode) if 0 <= place < len(FIFTHS) and (fifths or mode != "major") else None


READERS: dict[str, Callable[[Path], Iterator[Read]]] = {
    ".abc": _abc,
    ".mid": _midi,
    ".midi": _midi,
    ".musicxml": _musicxml,
    ".mxl": _mxl,
    ".xml": _musicxml,
}
