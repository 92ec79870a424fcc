"""Whatever a file holds, its tunes come, or an error that a user can mend."""

from __future__ import annotations

from pathlib import Path
from zipfile import ZIP_DEFLATED, ZipFile

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from descant.errors import DescantError
from descant.music.tune_files import READERS, read_tunes
from descant.music.tunes import BadTune, to_grid

ABC = st.text("ABCDEFGabcdefgz^_=,'/0123456789|:[](){}<>-~!\"%&KLMV \n", max_size=60)


@pytest.mark.parametrize("suffix", sorted(set(READERS) - {".midi", ".xml"}))
@given(content=st.one_of(st.binary(max_size=60), ABC.map(lambda text: f"X:1\nK:C\n{text}\n".encode())))
@example(content=b"X:1\nK:C\n" + b"9" * 5000 + b"A" + b"9" * 5000 + b"\n")
@example(content=b"X:1\nL:1/0\nM:0/0\nK:H#loc\nA>>>>>>>B z99/99 Z9\n")
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_content(suffix: str, content: bytes, tmp_path: Path) -> None:
    path = tmp_path / f"a{suffix}"
    path.write_bytes(content)
    reads_or_refuses(path)


@given(places=st.lists(st.tuples(st.integers(0, 10_000), st.integers(0, 255)), min_size=1, max_size=8))
@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_damage_to_an_archive(places: list[tuple[int, int]], tmp_path: Path) -> None:
    path = tmp_path / "a.mxl"
    with ZipFile(path, "w", ZIP_DEFLATED) as archive:
        archive.writestr("META-INF/container.xml", '<container><rootfile full-path="a.xml"/></container>')
        archive.writestr("a.xml", "<score-partwise><part><measure/></part></score-partwise>")
    content = bytearray(path.read_bytes())
    for place, value in places:
        content[place % len(content)] = value
    path.write_bytes(content)
    reads_or_refuses(path)


def reads_or_refuses(path: Path) -> None:
    try:
        found = read_tunes(path)
    except DescantError:
        return
    for tune in found:
        if isinstance(tune, BadTune):
            continue
        try:
            grid = to_grid(tune)
        except BadTune:
            continue
        assert grid.actions.min() >= 0
        assert grid.actions.max() <= 37
