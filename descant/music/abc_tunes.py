"""Reading tunes from ABC 2.1, the subset of one voice: what folk tune collections are written in.

Repeats and endings are read as they stand, not played out; grace notes, chord symbols and decorations are passed over.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from descant.music.keys import Key
from descant.music.tunes import TICKS_PER_BEAT, BadTune, Sounding, Tune, whole_bars

WHOLE = 4 * TICKS_PER_BEAT
LETTERS = dict(zip("CDEFGAB", (0, 2, 4, 5, 7, 9, 11), strict=True))
ALTERATIONS = {"^^": 2, "^": 1, "=": 0, "_": -1, "__": -2}
SHARPS = "FCGDAEB"
FIFTHS = {name: i - 1 for i, name in enumerate("FCGDAEB")}
MODE_FIFTHS = {
    "major": 0, "ionian": 0, "mixolydian": -1, "dorian": -2, "minor": -3, "aeolian": -3, "phrygian": -4,
    "locrian": -5, "lydian": 1,
}  # fmt: skip
MODES = {name[:3]: name for name in MODE_FIFTHS if name != "minor"} | {
    "min": "minor",
    "m": "minor",
    "": "major",
}
# Notes per tuplet to notes they take the time of (ABC 2.1, 4.13); 5, 7 and 9 depend on the meter.
TUPLETS = {2: 3, 3: 2, 4: 3, 6: 2, 8: 3}

TOKEN = re.compile(
    r"""(?P<chord>"[^"\n]*"?) | (?P<grace>\{[^}\n]*\}?) | (?P<decoration>![\w.()<>~+]+!|\+[\w.()<>]+\+)
    | \[(?P<field>[A-Za-z]):(?P<value>[^\]\n]*)\]
    | (?P<bar>\[\||\|[|\]:\d]*|:+\|?[|:\d]*|\[\d[\d,.-]*|\|\]|\])
    | (?P<many>\[[^\]\n]*\]?) | (?P<overlay>&)
    | \((?P<tuplet>\d)(?::(?P<time>\d?))?(?::(?P<count>\d?))?
    | (?P<accidental>\^\^|\^|__|_|=)?(?P<letter>[A-Ga-g])(?P<octave>[,']*)(?P<length>\d{0,4}/{0,6}\d{0,4})
    | (?P<rest>[zx])(?P<rest_length>\d{0,4}/{0,6}\d{0,4}) | Z(?P<bars>\d{0,4})
    | (?P<broken>>{1,3}|<{1,3}) | (?P<tie>-)""",
    re.VERBOSE,
)
MICROTONE = re.compile(r"[_^]\d*/\d*[A-Ga-g]")
FIELD = re.compile(r"([A-Za-z+]):(.*)")
BODY_FIELD = re.compile(r"([I-XZmrsw+]):(?![|:])(.*)")  # not a note before a repeat
KEY = re.compile(r"\s*(Es|As|[A-H])([#b]?)\s*([A-Za-z]*)\s*((?:[\^_=]+[A-Ga-g]\s*)*)")


@dataclass
class Reader:
    """What holds where the reading stands."""

    title: str = ""
    key: Key | None = None
    in_body: bool = False
    unit: int = WHOLE // 8
    unit_given: bool = False
    meter: int = WHOLE  # ticks of a bar, 0 without a meter
    compound: bool = False
    signature: dict[str, int] = field(default_factory=dict)
    altered: dict[str, int] = field(default_factory=dict)
    tick: int = 0
    notes: list[Sounding] = field(default_factory=list)
    lines: list[int] = field(default_factory=list)
    last: tuple[str, int] = ("", 0)  # as written without accidental ("" for a rest), ticks
    tied: bool = False
    broken: tuple[int, int] = (1, 1)  # what the next length is multiplied with
    tuplet: tuple[int, int, int] = (1, 1, 0)  # notes, in the time of, notes left
    voices: set[str] = field(default_factory=set)


def tunes_of(text: str) -> list[str]:
    """The text of each tune of an ABC file, with what the file says before its first one put in front of it."""
    parts = re.split(r"(?m)^(?=X:)", text.replace("\r\n", "\n").replace("\r", "\n"))
    head = "".join(line + "\n" for line in parts[0].split("\n") if re.match(r"[LM]:", line))
    return [head + part for part in parts[1:]]


def read_tune(text: str) -> Tune:
    """One tune; BadTune where it has several voices, chords, microtones, or no key."""
    reader = Reader()
    for line in text.split("\n"):
        line = re.sub(r"(?<!\\)%.*", "", line)
        if head := (BODY_FIELD if reader.in_body else FIELD).match(line):
            _field(reader, head[1], head[2])
        elif reader.in_body:
            _music(reader, line)
    if not reader.in_body:
        raise BadTune("unreadable", f"{reader.title!r} has no K: field, so it is no ABC tune: add its key.")
    bars = whole_bars(reader.lines, max(reader.meter, 1), reader.tick)
    return Tune(reader.title, tuple(reader.notes), bars, reader.key)


def _field(reader: Reader, name: str, value: str) -> None:
    match name:
        case "T":
            reader.title = reader.title or value.strip()
        case "K":
            reader.in_body = True
            key, reader.signature = signature_of(value)
            reader.key = reader.key or key
        case "L":
            if found := _fraction(value):
                reader.unit, reader.unit_given = WHOLE * found[0] // found[1], True
        case "M":
            _meter(reader, value.strip())
        case "V":
            reader.voices.add(value.split()[0] if value.split() else "")
            if len(reader.voices) > 1:
                raise BadTune("polyphonic", f"{reader.title!r} has several voices: give one note at a time.")


def _meter(reader: Reader, value: str) -> None:
    beats, kind = _fraction({"C": "4/4", "C|": "2/2"}.get(value, value)) or (0, 1)
    reader.meter = WHOLE * beats // kind
    reader.compound = beats % 3 == 0 and beats > 3
    if not reader.unit_given:  # ABC 2.1, 3.1.7
        reader.unit = WHOLE // 16 if 0 < reader.meter < WHOLE * 3 // 4 else WHOLE // 8


def _fraction(text: str) -> tuple[int, int] | None:
    """The first fraction of a text, None where there is none."""
    found = re.search(r"(\d{1,4})\s*/\s*(\d{1,4})", text)
    return (int(found[1]), max(int(found[2]), 1)) if found else None


def signature_of(value: str) -> tuple[Key | None, dict[str, int]]:
    """The key of a K: field, None where it names none, and how it alters letters."""
    value = value.strip()
    if value.startswith(("HP", "Hp")):  # the Highland bagpipes' scale
        return Key("A", "mixolydian"), {"F": 1, "C": 1}
    found = KEY.match(value)
    if not found or value.lower().startswith("none"):
        return None, {}
    name, sharp = {"H": "B", "Es": "E", "As": "A"}.get(found[1], found[1]), found[2]
    sharp = "b" if found[1] in ("Es", "As") else sharp
    word = found[3].lower()
    mode = "minor" if word == "m" else MODES.get(word[:3], "major")
    fifths = FIFTHS[name] + {"#": 7, "b": -7}.get(sharp, 0) + MODE_FIFTHS[mode]
    letters = SHARPS[:fifths] if fifths > 0 else SHARPS[::-1][:-fifths]
    signature = dict.fromkeys(letters, 1 if fifths > 0 else -1)
    for accidental, letter in re.findall(r"([\^_=]+)([A-Ga-g])", found[4]):
        signature[letter.upper()] = ALTERATIONS.get(accidental, 0)
    return Key(name + sharp, mode), signature


def _music(reader: Reader, line: str) -> None:
    if MICROTONE.search(line):
        raise BadTune("microtonal", f"{reader.title!r} is microtonal: give notes of the twelve semitones.")
    for token in TOKEN.finditer(line):
        match token.lastgroup:
            case "value":
                _field(reader, token["field"], token["value"])
            case "bar":
                reader.lines.append(reader.tick)
                reader.altered = {}
            case "many" | "overlay":
                raise BadTune("polyphonic", f"{reader.title!r} has chords: give one note at a time.")
            case "tuplet" | "time" | "count":
                _begin_tuplet(reader, token)
            case "length":
                _note(reader, token)
            case "rest_length":
                _rest(reader, _length(reader, token["rest_length"]))
            case "bars":
                _rest(reader, reader.meter * int(token["bars"] or 1))
            case "broken":
                _break(reader, token["broken"])
            case "tie":
                reader.tied = bool(reader.last[0])


def _begin_tuplet(reader: Reader, token: re.Match[str]) -> None:
    notes = int(token["tuplet"])
    time = int(token["time"] or 0) or TUPLETS.get(notes, 3 if reader.compound else 2)
    if notes > 1:
        reader.tuplet = notes, time, int(token["count"] or 0) or notes


def _length(reader: Reader, written: str) -> int:
    """Ticks of a length such as 2, /, 3/2 or //, within its tuplet and broken rhythm."""
    above, slash, below = re.sub("/+", "/", written).partition("/")
    divisor = int(below) if below else 2 ** written.count("/") if slash else 1
    ticks = reader.unit * int(above or 1) * reader.broken[0] // (max(divisor, 1) * reader.broken[1])
    reader.broken = (1, 1)
    notes, time, left = reader.tuplet
    if left:
        reader.tuplet = notes, time, left - 1
        ticks = ticks * time // notes
    return ticks


def _rest(reader: Reader, ticks: int) -> None:
    reader.tick += ticks
    reader.last, reader.tied = ("", ticks), False


def _note(reader: Reader, token: re.Match[str]) -> None:
    letter, written = token["letter"].upper(), token["letter"] + token["octave"]
    if token["accidental"]:
        reader.altered[letter] = ALTERATIONS[token["accidental"]]
    octave = 5 + token["letter"].islower() + token["octave"].count("'") - token["octave"].count(",")
    alteration = reader.altered.get(letter, reader.signature.get(letter, 0))
    midi, length = 12 * octave + LETTERS[letter] + alteration, _length(reader, token["length"])
    if reader.tied and written == reader.last[0] and not token["accidental"]:
        midi = reader.notes[-1][2]  # a tie carries its accidental over the bar line
    if reader.tied and midi == reader.notes[-1][2]:  # between different notes it is a slur
        start, before, _ = reader.notes[-1]
        reader.notes[-1] = start, before + length, midi
    else:
        reader.notes.append((reader.tick, length, midi))
    reader.tick += length
    reader.last, reader.tied = (written, length), False


def _break(reader: Reader, signs: str) -> None:
    """Broken rhythm: `>` makes the note before half as long again and the next one half as long."""
    whole = 2 ** len(signs)
    before, after = (2 * whole - 1, 1) if signs[0] == ">" else (1, 2 * whole - 1)
    written, length = reader.last
    added = length * before // whole - length
    if written:
        start, ticks, midi = reader.notes[-1]
        reader.notes[-1] = start, ticks + added, midi
    reader.tick += added
    reader.broken = after, whole
