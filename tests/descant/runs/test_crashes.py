"""A process that is killed while it saves leaves a whole checkpoint."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path


def test_a_kill_at_any_moment_leaves_a_whole_checkpoint(tmp_path: Path) -> None:
    script = Path(__file__).with_name("crash_checkpoints.py")
    done = subprocess.run(
        [sys.executable, str(script), str(tmp_path)], capture_output=True, text=True, timeout=120
    )
    assert (done.returncode, done.stdout) == (0, "survived\n"), done.stderr
