"""Headless Chromium over the plain WebDriver protocol: no library, just JSON to a chromedriver of our own."""

from __future__ import annotations

import base64
import contextlib
import json
import shutil
import socket
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
MISSING = "Debian's chromium and chromium-driver are not installed"
FLAGS = [
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync", "--mute-audio",
    "--disable-dev-shm-usage",
]  # fmt: skip
ELEMENT = "element-6066-11e4-a52e-4f735466cecf"
KEYS = {"Escape": "\ue00c", "Tab": "\ue004", "Enter": "\ue007", "Shift": "\ue008", "Control": "\ue009"}
NO_PROXY = urllib.request.build_opener(urllib.request.ProxyHandler({}))


class Browser:
    """One window."""

    def __init__(self, driver: str, session: str) -> None:
        self._base = f"{driver}/session/{session}"

    def open(self, address: str) -> None:
        """Go to an address and wait until it is loaded."""
        call(f"{self._base}/url", {"url": address})

    def reload(self) -> None:
        """Load the page again."""
        call(f"{self._base}/refresh", {})

    def run(self, script: str, *arguments: Any) -> Any:
        """What a function body returns in the page."""
        return call(f"{self._base}/execute/sync", {"script": script, "args": list(arguments)})

    def wait(self, script: str, seconds: float = 20.0) -> Any:
        """Wait until an expression is true; its value."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            if found := self.run(f"return {script}"):
                return found
            time.sleep(0.02)
        raise AssertionError(
            f"never true: {script}; the page says {self.run('return document.body.innerText')!r}"
        )

    def press(self, *keys: str) -> None:
        """Press and release keys, one after another, as a keyboard does."""
        actions = []
        for key in keys:
            value = KEYS.get(key, key)
            actions += [{"type": "keyDown", "value": value}, {"type": "keyUp", "value": value}]
        call(f"{self._base}/actions", {"actions": [{"type": "key", "id": "keyboard", "actions": actions}]})

    def resize(self, width: int, height: int) -> None:
        """The size of what is seen, in CSS pixels: also narrower than a window can be."""
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
        self.devtools("Emulation.setDeviceMetricsOverride", metrics)

    def prefer(self, scheme: str) -> None:
        """What the system says of light or dark."""
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        self.devtools("Emulation.setEmulatedMedia", {"features": features})

    def devtools(self, command: str, params: dict[str, Any]) -> Any:
        """A command of Chromium's own protocol."""
        return call(f"{self._base}/goog/cdp/execute", {"cmd": command, "params": params})

    def screenshot(self, path: Path) -> None:
        """What is seen, as PNG."""
        path.write_bytes(base64.b64decode(call(f"{self._base}/screenshot", None)))

    def complaints(self) -> list[str]:
        """What the console was told since it was asked last: errors, broken rules of content."""
        return [str(entry["message"]) for entry in call(f"{self._base}/se/log", {"type": "browser"})]


def call(address: str, data: Any, method: str | None = None) -> Any:
    """The value of one WebDriver command."""
    body = None if data is None else json.dumps(data).encode()
    request = urllib.request.Request(address, body, {"content-type": "application/json"}, method=method)
    try:
        with NO_PROXY.open(request, timeout=60) as answer:
            return json.load(answer)["value"]
    except urllib.error.HTTPError as error:
        raise AssertionError(f"{address}: {error.read().decode()[:2000]}") from error


@contextlib.contextmanager
def chromium() -> Iterator[Browser]:
    """A browser of our own, gone afterwards."""
    assert CHROMIUM is not None
    assert DRIVER is not None
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        command = [DRIVER, f"--port={port}", "--silent"]
        with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
            try:
                yield from _session(f"http://127.0.0.1:{port}", folder)
            finally:
                process.terminate()


def _session(driver: str, folder: str) -> Iterator[Browser]:
    for _ in range(300):
        with contextlib.suppress(OSError, AssertionError):
            if call(f"{driver}/status", None)["ready"]:
                break
        time.sleep(0.05)
    options = {"binary": CHROMIUM, "args": [*FLAGS, f"--user-data-dir={folder}"]}
    wanted = {"alwaysMatch": {"goog:chromeOptions": options, "goog:loggingPrefs": {"browser": "ALL"}}}
    session = call(f"{driver}/session", {"capabilities": wanted})["sessionId"]
    try:
        yield Browser(driver, session)
    finally:
        with contextlib.suppress(AssertionError, OSError):
            call(f"{driver}/session/{session}", None, "DELETE")
