"""A headless Chromium by way of chromedriver's WebDriver protocol (W3C)."""

from __future__ import annotations

import base64
import json
import re
import shutil
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
DRIVER = shutil.which("chromedriver")
FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
    "--hide-scrollbars",
)

LOCAL = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # whatever proxy is set


class Browser:
    """One browser with one window and a profile of its own."""

    def __init__(self, width: int = 1400, height: int = 1000, dark: bool = False) -> None:
        assert CHROMIUM and DRIVER
        self._profile = tempfile.mkdtemp(prefix="chromium")
        self._driver = subprocess.Popen(
            [DRIVER, "--port=0"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )
        assert self._driver.stdout is not None
        for line in self._driver.stdout:
            if found := re.search(r"successfully on port (\d+)", line):
                self._url = f"http://127.0.0.1:{found.group(1)}/session"
                break
        else:
            raise RuntimeError("chromedriver did not start")
        flags = [*FLAGS, f"--user-data-dir={self._profile}", f"--window-size={width},{height}"]
        if dark:
            flags.append("--blink-settings=preferredColorScheme=0")
        capabilities = {
            "browserName": "chrome",
            "goog:chromeOptions": {"binary": CHROMIUM, "args": flags},
            "goog:loggingPrefs": {"browser": "ALL"},
        }
        session = self._call("POST", "", {"capabilities": {"alwaysMatch": capabilities}})
        self._url = f"{self._url}/{session['sessionId']}"

    def _call(self, method: str, path: str, body: Any = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(
            self._url + path, data, {"Content-Type": "application/json"}, method=method
        )
        with LOCAL.open(request, timeout=120) as answer:
            return json.loads(answer.read())["value"]

    def open(self, page: Path) -> None:
        """Loads a file and waits until it has drawn itself."""
        self._call("POST", "/url", {"url": page.resolve().as_uri()})
        self.wait("return document.documentElement.dataset.ready === 'yes'")

    def run(self, script: str, *arguments: Any) -> Any:
        """What a function body returns in the page."""
        return self._call("POST", "/execute/sync", {"script": script, "args": list(arguments)})

    def wait(self, script: str, seconds: float = 30.0) -> Any:
        """Waits until a function body returns something true."""
        end = time.monotonic() + seconds
        while not (found := self.run(script)):
            if time.monotonic() > end:
                raise TimeoutError(script)
            time.sleep(0.05)
        return found

    def element(self, selector: str) -> str:
        """The first element that a CSS selector finds, for `type_into`."""
        found = self._call("POST", "/element", {"using": "css selector", "value": selector})
        return str(next(iter(found.values())))

    def type_into(self, selector: str, text: str) -> None:
        """Types text as a person would."""
        self._call("POST", f"/element/{self.element(selector)}/value", {"text": text})

    def click(self, selector: str) -> None:
        """Clicks an element as a person would."""
        self._call("POST", f"/element/{self.element(selector)}/click", {})

    def errors(self) -> list[str]:
        """What the console has said above the level of information since the last call."""
        entries = self._call("POST", "/se/log", {"type": "browser"})
        return [e["message"] for e in entries if e["level"] in ("SEVERE", "WARNING")]

    def alert(self) -> str | None:
        """The text of an open dialogue; None where there is none."""
        try:
            return str(self._call("GET", "/alert/text"))
        except urllib.error.HTTPError:
            return None

    def screenshot(self, path: Path) -> None:
        """What the window shows, as PNG."""
        path.write_bytes(base64.b64decode(self._call("GET", "/screenshot")))

    def pdf(self, path: Path) -> None:
        """The page as it is printed."""
        path.write_bytes(base64.b64decode(self._call("POST", "/print", {"background": True})))

    def close(self) -> None:
        """Ends the browser and its driver."""
        steps: list[Callable[[], Any]] = [
            lambda: self._call("DELETE", ""),
            self._driver.terminate,
            lambda: self._driver.wait(10),
        ]
        for step in steps:
            try:
                step()
            except (OSError, subprocess.TimeoutExpired):
                self._driver.kill()
        shutil.rmtree(self._profile, ignore_errors=True)
