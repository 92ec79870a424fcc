"""Engraving: well-formed SVG with every note, and colours where asked."""

from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from xml.etree import ElementTree

import pytest
from hypothesis import given, settings

from descant.errors import DescantError
from descant.music.bars import bars_of
from descant.music.engraving import to_svg, write_svg
from descant.music.scores import Note, Score, Voice

from .strategies import scores


def elements(svg: str, name: str) -> list[ElementTree.Element]:
    """The groups that Verovio calls `name`."""
    return [group for group in ElementTree.fromstring(svg).iter() if group.get("data-class") == name]


def heads(score: Score) -> int:
    """Noteheads that the score needs: a tied note has several."""
    return sum(
        sign.pitch is not None for voice in score.voices for bar in bars_of(score, voice) for sign in bar
    )


def size(svg: str) -> tuple[int, int]:
    root = ElementTree.fromstring(svg)
    return int(root.attrib["width"].removesuffix("px")), int(root.attrib["height"].removesuffix("px"))


@given(scores())
@settings(deadline=None, max_examples=25)
def test_every_note_has_a_head(score: Score) -> None:
    svg = to_svg(score)
    assert len(elements(svg, "notehead")) == heads(score)
    assert size(svg)[0] <= 1400


def test_the_page_is_cut_to_its_content(duet: Score) -> None:
    one = Score("", (Voice("", duet.voices[0].notes[:1]),))
    (wide, high), (narrow, low) = size(to_svg(duet)), size(to_svg(one))
    assert 1000 < wide <= 1400
    assert 150 < high < 400
    assert narrow < wide / 3
    assert low < high
    half, tall = size(to_svg(duet, width=700))
    assert half == 700
    assert tall > 1.5 * high


def test_marked_notes_are_coloured_and_no_others(duet: Score) -> None:
    notes = elements(to_svg(duet, {(0, 9): "#d00000", (1, 2): "#0072b2"}), "note")
    assert sorted(note.get("fill", "") for note in notes if note.get("fill")) == ["#0072b2", "#d00000"]
    assert not [note for note in elements(to_svg(duet), "note") if note.get("fill")]
    (sharp,) = [note for note in notes if note.get("fill") == "#d00000"]
    assert [part.get("data-class") for part in sharp] == ["notehead", "accid"]


def test_several_fit_into_one_html_page(duet: Score, tune: Score) -> None:
    """No id in common, every reference and every style rule within its own SVG."""
    svgs = [to_svg(duet), to_svg(duet, {(0, 0): "#d00000"}), to_svg(tune)]
    ids = [re.findall(r'\sid="([^"]+)"', svg) for svg in svgs]
    assert len({name for names in ids for name in names}) == sum(map(len, ids))
    for svg, names in zip(svgs, ids, strict=True):
        assert set(re.findall(r'href="#([^"]+)"', svg)) <= set(names)
        rules = re.findall(r"([^{}]+)\{", re.search(r"<style[^>]*>(.*?)</style>", svg, re.DOTALL)[1])  # type: ignore[index]
        assert all(part.strip().startswith(f"#{names[0]} ") for rule in rules for part in rule.split(","))
        assert "http" not in svg.replace("http://www.w3.org/", "")
        assert "<?xml" not in svg
        assert "xlink:href" not in svg


def test_there_is_no_header_and_no_footer(duet: Score) -> None:
    svg = to_svg(duet)
    assert "Counterpoint" in svg
    assert "Dorian" not in svg
    assert not elements(svg, "pgHead")
    assert not elements(svg, "pgFoot")


def test_the_same_score_gives_the_same_svg(duet: Score) -> None:
    assert to_svg(duet) == to_svg(duet)


def test_other_threads_may_engrave(duet: Score) -> None:
    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(to_svg, duet).result() == to_svg(duet)


def test_write(duet: Score, tmp_path: Path) -> None:
    write_svg(duet, tmp_path / "duet.svg", width=900)
    assert (tmp_path / "duet.svg").read_text() == to_svg(duet, width=900)


@pytest.mark.parametrize("width", [-1, 199, 10_001])
def test_a_page_too_narrow_or_wide_is_an_error(duet: Score, width: int) -> None:
    with pytest.raises(DescantError, match="200 to 10000"):
        to_svg(duet, width=width)


def test_a_score_longer_than_a_page_is_an_error() -> None:
    with pytest.raises(DescantError, match="400 pixels wide"):
        to_svg(Score("", (Voice("", (Note(None, 4),) * 1500),)), width=400)
