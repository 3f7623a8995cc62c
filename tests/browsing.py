"""A browser for tests of the pages, what they did in it, and names that want to be markup."""

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from feature_files import Arrays, feature_arrays
from playwright.sync_api import Browser, ConsoleMessage, Page, Playwright, sync_playwright

NAMES = ("chromium", "chromium-browser", "google-chrome")
HOSTILE = "<img src=x onerror=alert(1)>\"'/../a b/‮txt'; 🙂 %2F&?#{{7*7}}"
HOSTILE_LAYER = HOSTILE.replace("\u202e", "שלום")  # the override of direction is no printable character
LONG = "x" * 255
TRANSLATION = "<script>alert(2)</script>"


def installed(playwright: Playwright) -> str | None:
    """Where a browser is: the system's, else playwright's own; None where there is none."""
    own = playwright.chromium.executable_path
    return next(filter(None, map(shutil.which, NAMES)), None) or (own if Path(own).exists() else None)


def launch(playwright: Playwright, path: str) -> Browser:
    """Start it."""
    sandbox = [] if os.geteuid() else ["--no-sandbox"]  # chromium refuses to run as root with one
    return playwright.chromium.launch(executable_path=path, args=sandbox)


def install() -> None:
    """Take Debian's chromium, where there is no browser and we may; say what is missing where we may not."""
    with sync_playwright() as playwright:
        if installed(playwright):
            return
    if os.geteuid() == 0 and shutil.which("apt-get"):
        get = ["apt-get", "-qq", "-y", "--no-install-recommends"]
        subprocess.run([*get, "update"], check=False)
        if subprocess.run([*get, "install", "chromium"], check=False).returncode == 0:
            return
    sys.stderr.write("There is no browser: the tests of the pages will be skipped. Install chromium to run them.\n")


@dataclass
class Watched:
    """What pages did besides what was asked of them."""

    address: str
    errors: list[str] = field(default_factory=list)
    outside: list[str] = field(default_factory=list)
    dialogs: list[str] = field(default_factory=list)

    def watch(self, page: Page) -> None:
        page.on("console", self._console)
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.on("request", lambda request: self._request(request.url))
        page.on("dialog", lambda dialog: (self.dialogs.append(dialog.message), dialog.dismiss()))

    def _console(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            self.errors.append(message.text)

    def _request(self, url: str) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("blob", "data") and f"{parts.scheme}://{parts.netloc}" != self.address:
            self.outside.append(url)


def layers(noise: float, *, seed: int = 0) -> Arrays:
    return feature_arrays(num_samples=120, num_classes=5, dims=(8, 7, 6), noise=noise, seed=seed)


if __name__ == "__main__":
    install()
