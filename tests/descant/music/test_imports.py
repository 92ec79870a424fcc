"""Importing music costs little: the heavy libraries wait until they are needed."""

from __future__ import annotations

import subprocess
import sys

MODULES = "abc audio bars clefs engraving intervals midi modes motions musicxml pianoroll pitches scores"
HEAVY = {"pretty_midi", "mido", "verovio", "PIL", "matplotlib", "music21"}


def test_heavy_libraries_are_not_imported() -> None:
    names = ", ".join(f"descant.music.{module}" for module in MODULES.split())
    code = f"import sys, {names}; print(*{HEAVY} & set(sys.modules))"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert found.strip() == ""
