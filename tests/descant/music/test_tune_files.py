"""Tunes from files: MIDI, MusicXML, ABC; each refusal says what to do."""

from __future__ import annotations

import tracemalloc
from pathlib import Path
from zipfile import ZIP_BZIP2, ZIP_DEFLATED, ZIP_STORED, ZipFile

import mido
import pytest

from descant.errors import DescantError
from descant.music.abc import write_abc
from descant.music.keys import Key
from descant.music.midi import write_midi
from descant.music.musicxml import write_musicxml
from descant.music.scores import Score
from descant.music.tune_files import MAX_BYTES, Read, read_tunes
from descant.music.tunes import TICKS_PER_BEAT, BadTune, Tune, to_grid

XML = """<score-partwise><part-list/><part id="P1"><measure><attributes><divisions>2</divisions>{head}
<time><beats>4</beats><beat-type>4</beat-type></time></attributes>{notes}</measure></part>{more}</score-partwise>"""
NOTE = "<note>{more}<pitch><step>{step}</step>{alter}<octave>4</octave></pitch><duration>2</duration></note>"


def xml(path: Path, notes: str, head: str = "", more: str = "") -> Path:
    path.write_text(XML.format(notes=notes, head=head, more=more))
    return path


def note(step: str = "C", alter: str = "", more: str = "") -> str:
    return NOTE.format(step=step, alter=alter and f"<alter>{alter}</alter>", more=more)


def midi(path: Path, *messages: mido.Message | mido.MetaMessage, beat: int = 96) -> Path:
    file = mido.MidiFile(ticks_per_beat=beat)
    file.tracks.append(mido.MidiTrack(messages))
    file.save(path)
    return path


def on(number: int, time: int = 0, **more: int) -> mido.Message:
    return mido.Message("note_on", note=number, time=time, **more)


def off(number: int, time: int = 96, **more: int) -> mido.Message:
    return mido.Message("note_off", note=number, time=time, **more)


def mxl(path: Path, score: bytes, name: str = "score.xml", kind: int = ZIP_DEFLATED) -> Path:
    container = f'<container><rootfiles><rootfile full-path="{name}"/></rootfiles></container>'
    with ZipFile(path, "w", kind) as archive:
        archive.writestr("META-INF/container.xml", container)
        archive.writestr(name, score)
    return path


def only(path: Path) -> Tune:
    (found,) = read_tunes(path)
    assert isinstance(found, Tune), found
    return found


def reason(found: list[Read]) -> str:
    (bad,) = found
    assert isinstance(bad, BadTune)
    return bad.reason


def test_a_score_comes_back_from_every_kind_of_file(tune: Score, tmp_path: Path) -> None:
    expected = [
        (round(start * TICKS_PER_BEAT), round((end - start) * TICKS_PER_BEAT), pitch.midi)
        for pitch, start, end in tune.voices[0].sounding()
    ]
    write_midi(tune, tmp_path / "a.mid")
    write_musicxml(tune, tmp_path / "a.musicxml")
    write_abc(tune, tmp_path / "a.abc")
    assert list(only(tmp_path / "a.musicxml").notes) == expected
    assert list(only(tmp_path / "a.abc").notes) == expected
    heard = only(tmp_path / "a.mid").notes  # seconds on the way: nearly
    assert [n[2] for n in heard] == [n[2] for n in expected]
    assert (
        max(abs(a - b) for n, m in zip(heard, expected, strict=True) for a, b in zip(n, m, strict=True)) < 100
    )


def test_compressed_musicxml_is_read_as_what_is_in_it(tune: Score, tmp_path: Path) -> None:
    write_musicxml(tune, tmp_path / "a.musicxml")
    content = (tmp_path / "a.musicxml").read_bytes()
    for kind in (ZIP_DEFLATED, ZIP_STORED):
        assert only(mxl(tmp_path / "a.mxl", content, kind=kind)) == only(tmp_path / "a.musicxml")
    container = (
        '<container xmlns="urn:oasis:names:tc:opendocument:xmlns:container"><rootfiles>'
        '<rootfile full-path="in/b.xml"/><rootfile full-path="b.pdf" media-type="application/pdf"/>'
        "</rootfiles></container>"
    )
    with ZipFile(tmp_path / "b.mxl", "w") as archive:
        archive.writestr("b.pdf", b"no score")
        archive.writestr("META-INF/container.xml", container)
        archive.writestr("in/b.xml", content)
    assert only(tmp_path / "b.mxl").notes == only(tmp_path / "a.musicxml").notes


def test_an_archive_that_unpacks_to_more_than_a_tune_is_not_unpacked(tmp_path: Path) -> None:
    path = mxl(tmp_path / "a.mxl", b" " * (10 * MAX_BYTES))
    assert path.stat().st_size < MAX_BYTES
    tracemalloc.start()
    with pytest.raises(DescantError, match=r"'score.xml' in .* unpacks to over 5 MB"):
        read_tunes(path)
    assert tracemalloc.get_traced_memory()[1] < 4 * MAX_BYTES
    tracemalloc.stop()
    said = path.read_bytes().replace(  # and sizes that are lies are not believed
        (10 * MAX_BYTES).to_bytes(4, "little"), (100).to_bytes(4, "little")
    )
    path.write_bytes(said)
    with pytest.raises(DescantError, match=r"damaged|no readable|no MusicXML"):
        read_tunes(path)
    with ZipFile(path, "w", ZIP_DEFLATED) as archive:
        archive.writestr("META-INF/container.xml", b" " * MAX_BYTES)
    with pytest.raises(DescantError, match=r"container.xml' in .* unpacks to over 0.1 MB"):
        read_tunes(path)


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({}, "has no 'META-INF/container.xml' in it"),
        ({"META-INF/container.xml": "<contain"}, "container.xml in .* is damaged"),
        ({"META-INF/container.xml": "<container/>"}, "names no score"),
        ({"META-INF/container.xml": '<c><rootfile full-path="x.xml"/></c>'}, "has no 'x.xml' in it"),
    ],
)
def test_an_archive_without_a_score_is_refused(files: dict[str, str], message: str, tmp_path: Path) -> None:
    with ZipFile(tmp_path / "a.mxl", "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    with pytest.raises(DescantError, match=message):
        read_tunes(tmp_path / "a.mxl")


def test_an_archive_packed_in_another_way_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DescantError, match="packed in a way"):
        read_tunes(mxl(tmp_path / "a.mxl", b"<score-partwise/>", kind=ZIP_BZIP2))


def test_keys_and_bars_of_midi(tmp_path: Path) -> None:
    meta = mido.MetaMessage("key_signature", key="F#m"), mido.MetaMessage("time_signature", numerator=3)
    found = only(midi(tmp_path / "a.mid", *meta, *(m for _ in range(7) for m in (on(66), off(66)))))
    assert found.key == Key("F#", "minor")
    assert found.bars == (0, 3 * TICKS_PER_BEAT)
    plain = only(midi(tmp_path / "b.mid", mido.MetaMessage("key_signature", key="C"), on(60), off(60)))
    assert plain.key is None  # what files say that know no key


def test_keys_of_musicxml(tmp_path: Path) -> None:
    def key(fifths: int, mode: str) -> Key | None:
        head = f"<key><fifths>{fifths}</fifths><mode>{mode}</mode></key>"
        return only(xml(tmp_path / "a.musicxml", note(), head)).key

    assert key(2, "major") == Key("D")
    assert key(-1, "minor") == Key("D", "minor")
    assert key(0, "dorian") == Key("D", "dorian")
    assert key(0, "major") is None


def test_ties_and_grace_notes_of_musicxml(tmp_path: Path) -> None:
    notes = (
        note(more='<tie type="start"/>')
        + note(more='<tie type="stop"/>')
        + note("D", more="<grace/>")
        + note("E")
    )
    beat = TICKS_PER_BEAT
    assert only(xml(tmp_path / "a.xml", notes)).notes == ((0, 2 * beat, 60), (2 * beat, beat, 64))


def test_several_parts_chords_voices_and_quarter_tones_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.musicxml"
    part = f'<part id="P2"><measure>{note()}</measure></part>'
    assert reason(read_tunes(xml(path, note(), more=part))) == "polyphonic"
    assert reason(read_tunes(xml(path, note() + note(more="<chord/>")))) == "polyphonic"
    assert reason(read_tunes(xml(path, note() + "<backup><duration>2</duration></backup>"))) == "polyphonic"
    assert reason(read_tunes(xml(path, note(alter="0.5")))) == "microtonal"
    assert reason(
        read_tunes(midi(tmp_path / "a.mid", mido.Message("pitchwheel", pitch=9), on(60), off(60)))
    ) == ("microtonal")


def test_polyphonic_and_empty_midi_is_refused_on_the_way_to_the_grid(tmp_path: Path) -> None:
    with pytest.raises(BadTune, match="polyphonic: give one note"):
        to_grid(only(midi(tmp_path / "a.mid", on(60), on(64), off(60), off(64))))
    with pytest.raises(BadTune, match="has no notes"):
        to_grid(only(midi(tmp_path / "b.mid", mido.MetaMessage("text", text="nothing"))))
    drums = only(midi(tmp_path / "c.mid", on(36, channel=9), on(60), off(60), off(36, channel=9)))
    assert len(drums.notes) == 1


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.mid", b"\0" * (MAX_BYTES + 1), "has 5 MB, over the 5"),
        ("a.mid", b"", "is empty"),
        ("a.mid", b"MThd and no more", "not a readable MIDI file"),
        ("a.abc", b"hello", r"must begin with X:"),
        ("a.xml", b"<score", "no MusicXML file"),
        ("a.xml", b"<score-timewise/>", "score-timewise.*export it as score-partwise"),
        ("a.xml", XML.format(notes=note("K"), head="", more="").encode(), "is damaged .KeyError"),
        ("a.xml", XML.format(notes=note(alter="x"), head="", more="").encode(), "is damaged .ValueError"),
        ("a.mxl", b"PK and no more", "no readable .mxl archive"),
        ("a.ogg", b"x", r"no tune file: give .abc, .mid"),
    ],
)
def test_a_bad_file_is_refused_with_a_way_out(
    name: str, content: bytes, message: str, tmp_path: Path
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DescantError, match=message):
        read_tunes(tmp_path / name)


def test_a_file_that_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(DescantError, match="Check the path"):
        read_tunes(tmp_path / "a.abc")
