"""Whatever a file holds, its tunes come, or an error that a user can mend."""

from __future__ import annotations

from pathlib import Path

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
