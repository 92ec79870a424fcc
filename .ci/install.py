"""Make a virtual environment and fill it, showing how far it is: `install.py VENV PIP-ARGUMENTS...`.

Uses the standard library alone, and nothing newer than Python 3.6, so that an old one gets a clear answer.
"""

import os
import subprocess
import sys
import time

OLDEST = (3, 11)
STILL = 5.0  # seconds between lines where there is no terminal
WIDTH = 30


class Display:
    """One line that is drawn over on a terminal; elsewhere a new line every few seconds."""

    def __init__(self):
        self.live = sys.stderr.isatty()
        self.began = self.shown = time.monotonic()

    def show(self, text, force=False):
        now = time.monotonic()
        if not (self.live or force or now - self.shown > STILL):
            return
        self.shown = now
        text = f"installing: {text} ({now - self.began:.0f} s)"
        sys.stderr.write("\r" + text[:100].ljust(100) if self.live else text + "\n")
        sys.stderr.flush()

    def end(self):
        if self.live:
            sys.stderr.write("\n")


def bar(done, total):
    filled = WIDTH * done // total
    return "[" + "#" * filled + "-" * (WIDTH - filled) + f"] {done} of {total} packages unpacked"


def make_venv(venv):
    """The Python of a virtual environment at `venv`; a working one that is there is kept."""
    python = os.path.join(venv, "bin", "python")
    probe = [python, "-m", "pip", "--version"]
    if os.path.exists(python) and subprocess.run(probe, stdout=subprocess.DEVNULL).returncode == 0:
        return python
    sys.stderr.write(f"installing: a virtual environment in {venv}\n")
    if subprocess.run([sys.executable, "-m", "venv", "--clear", venv]).returncode:
        sys.exit(
            f"{sys.executable} can't make a virtual environment: on Debian, apt-get install python3-venv"
        )
    return python


def packages_in(venv):
    """How many packages are unpacked in the environment."""
    for folder, folders, _ in os.walk(os.path.join(venv, "lib")):
        if os.path.basename(folder) == "site-packages":
            return sum(name.endswith(".dist-info") for name in folders)
    return 0


def install(python, venv, arguments):
    """pip install: the name of each package that is fetched, then a bar while they are unpacked."""
    command = [python, "-m", "pip", "install", "--disable-pip-version-check", "--progress-bar", "off"]
    pip = subprocess.Popen(command + arguments, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, bufsize=0)
    os.set_blocking(pip.stdout.fileno(), False)  # the bar moves on while pip says nothing
    display, said, line, found, total, before = Display(), [], "", 0, 0, 0
    while True:
        chunk = pip.stdout.read()  # None: nothing yet; empty: pip has ended
        if chunk == b"":
            break
        *lines, line = (line + (chunk or b"").decode(errors="replace")).split("\n")
        for text in lines:
            said.append(text)
            if text.startswith("Collecting "):
                found += 1
                display.show(f"{found} packages fetched, now {text.split()[1]}")
            elif text.startswith("Installing collected packages:"):
                total, before = text.count(",") + 1, packages_in(venv)
        if total:
            display.show(bar(min(max(packages_in(venv) - before, 0), total), total))
        time.sleep(0.2)
    if pip.wait():
        display.end()
        sys.exit("\n".join(said[-20:]) + "\npip could not install " + " ".join(arguments))
    display.show("done", force=True)
    display.end()


def main():
    if sys.version_info < OLDEST:
        found = sys.version.split()[0]
        sys.exit(f"descant needs Python 3.11 or newer, this is {found}: make PYTHON=python3.12 ...")
    venv, arguments = sys.argv[1], sys.argv[2:]
    install(make_venv(venv), venv, arguments)


if __name__ == "__main__":
    main()
