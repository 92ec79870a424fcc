"""MusicXML 4.0, partwise (https://www.w3.org/2021/06/musicxml40)."""

from __future__ import annotations

import os
from collections.abc import Mapping
from xml.etree import ElementTree

from descant.errors import DescantError
from descant.files import write_atomically
from descant.music.bars import DOTTED, TYPES, UNITS_PER_BEAT, Sign, bars_of
from descant.music.clefs import clef_of
from descant.music.pitches import Pitch
from descant.music.scores import Score, Voice, one_line

PROLOGUE = """<?xml version="1.0" encoding="UTF-8"?>
<!DOCTYPE score-partwise PUBLIC "-//Recordare//DTD MusicXML 4.0 Partwise//EN" \
"http://www.musicxml.org/dtds/partwise.dtd">
"""
ACCIDENTALS = {-2: "flat-flat", -1: "flat", 0: "natural", 1: "sharp", 2: "double-sharp"}
Element = ElementTree.Element
Colours = Mapping[tuple[int, int], str]


def to_musicxml(score: Score, colours: Colours | None = None) -> str:
    """The score as MusicXML; `colours` maps (voice, note), both from 0, to `#RRGGBB`.

    DescantError where a length is not a multiple of a 64th note, or a pitch is below C0.
    """
    root = Element("score-partwise", version="4.0")
    if score.title:
        _add(_add(root, "work"), "work-title", score.title)
    root.append(_part_list(score))
    for number, voice in enumerate(score.voices):
        marked = {note: colour for (part, note), colour in (colours or {}).items() if part == number}
        root.append(_part(score, voice, f"P{number + 1}", marked))
    ElementTree.indent(root)
    return PROLOGUE + ElementTree.tostring(root, encoding="unicode") + "\n"


def write_musicxml(score: Score, path: str | os.PathLike[str]) -> None:
    """Write the score as MusicXML; DescantError where `path` can't be written."""
    write_atomically(path, to_musicxml(score).encode())


def _add(parent: Element, tag: str, text: object = None, **attributes: str) -> Element:
    child = ElementTree.SubElement(parent, tag, attributes)
    if text is not None:
        child.text = one_line(str(text))
    return child


def _part_list(score: Score) -> Element:
    """The parts, several of them joined by a bracket and common bar lines."""
    parts = Element("part-list")
    several = len(score.voices) > 1
    if several:
        group = _add(parts, "part-group", type="start", number="1")
        _add(group, "group-symbol", "bracket")
        _add(group, "group-barline", "yes")
    for number, voice in enumerate(score.voices, start=1):
        _add(_add(parts, "score-part", id=f"P{number}"), "part-name", voice.name)
    if several:
        _add(parts, "part-group", type="stop", number="1")
    return parts


def _part(score: Score, voice: Voice, name: str, colours: Mapping[int, str]) -> Element:
    part = Element("part", id=name)
    for number, signs in enumerate(bars_of(score, voice), start=1):
        measure = _add(part, "measure", number=str(number))
        if number == 1:
            measure.append(_attributes(score, voice))
            if name == "P1":
                _add(measure, "sound", tempo=f"{score.tempo:g}")
        _fill(measure, signs, colours, score.signature)
    _add(_add(measure, "barline", location="right"), "bar-style", "light-heavy")
    return part


def _attributes(score: Score, voice: Voice) -> Element:
    attributes = Element("attributes")
    _add(attributes, "divisions", UNITS_PER_BEAT)
    _add(_add(attributes, "key"), "fifths", score.fifths)
    time = _add(attributes, "time")
    for tag, value in zip(("beats", "beat-type"), score.time_signature, strict=True):
        _add(time, tag, value)
    clef = _add(attributes, "clef")
    _, sign, line = clef_of(voice).value
    _add(clef, "sign", sign)
    _add(clef, "line", line)
    return attributes


def _fill(
    measure: Element, signs: list[Sign], colours: Mapping[int, str], signature: Mapping[str, int]
) -> None:
    """Add a bar's notes; an accidental holds to the bar line, in its octave."""
    in_force: dict[int, int] = {}
    for sign in signs:
        note = _note(sign, in_force, signature)
        if sign.index is not None and sign.index in colours:
            note.set("color", colours[sign.index])
        measure.append(note)


def _note(sign: Sign, in_force: dict[int, int], signature: Mapping[str, int]) -> Element:
    """The elements in the order of the schema."""
    note = Element("note")
    if sign.pitch is None:
        _add(note, "rest")
    else:
        note.append(_pitch(sign.pitch, signature))
    _add(note, "duration", sign.units)
    ties = [kind for kind, tied in (("stop", sign.tied_before), ("start", sign.tied_after)) if tied]
    for kind in ties:
        _add(note, "tie", type=kind)
    _add(note, "voice", 1)
    _add(note, "type", TYPES.get(sign.units) or DOTTED[sign.units])
    if sign.units in DOTTED:
        _add(note, "dot")
    if sign.pitch is not None and not sign.tied_before:
        _add_accidental(note, sign.pitch, in_force, signature)
    if ties:
        notations = _add(note, "notations")
        for kind in ties:
            _add(notations, "tied", type=kind)
    return note


def _pitch(pitch: Pitch, signature: Mapping[str, int]) -> Element:
    if pitch.octave < 0:
        raise DescantError(
            f"MusicXML has no pitch as low as {pitch}: the lowest octave is 0. Transpose the voice up."
        )
    element = Element("pitch")
    _add(element, "step", pitch.letter)
    if not pitch.is_natural or pitch.letter in signature:
        _add(element, "alter", pitch.alteration)
    _add(element, "octave", pitch.octave)
    return element


def _add_accidental(
    note: Element, pitch: Pitch, in_force: dict[int, int], signature: Mapping[str, int]
) -> None:
    """Show the accidental where the bar so far, by staff step, or else the signature has another."""
    if in_force.get(pitch.diatonic, signature.get(pitch.letter, 0)) != pitch.alteration:
        _add(note, "accidental", ACCIDENTALS[pitch.alteration])
    in_force[pitch.diatonic] = pitch.alteration
