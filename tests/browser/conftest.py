"""A real browser for the pages: headless Chromium by Debian's own driver, without a network.

The tests that ask for ``browser`` are skipped where Chromium, its driver or selenium is missing
(Debian: ``apt-get install chromium chromium-driver``). ``SLAW_SCREENSHOTS=DIR`` keeps the
pictures that ``Browser.screenshot`` takes; without it none is written.
"""

from __future__ import annotations

import base64
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

DESKTOP, PHONE = (1280, 900), (390, 844)
_FLAGS = (
    "--headless=new", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--force-device-scale-factor=1", "--font-render-hinting=none",
    # only this machine's name resolves: any other request of a page fails visibly
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1, EXCLUDE localhost",
)  # fmt: skip


def _program(*names: str) -> str:
    program = next((path for name in names if (path := shutil.which(name))), None)
    if program is None:
        pytest.skip(f"no {names[0]} here: apt-get install chromium chromium-driver runs this test")
    return program


class Browser:
    """One tab of Chromium; ``driver`` is selenium's, for what is not here."""

    def __init__(self, driver: Any) -> None:
        self.driver = driver

    def open(
        self,
        page: Path | str,
        *,
        size: tuple[int, int] = DESKTOP,
        dark: bool = False,
        scripts: bool = True,
        touch: bool = False,
        paper: bool = False,
    ) -> Browser:
        """Load a file or an address in a window of ``size`` CSS pixels; earlier logs are lost."""
        width, height = size
        self.driver.get("about:blank")
        self.command(
            "Emulation.setDeviceMetricsOverride",
            width=width, height=height, deviceScaleFactor=1, mobile=touch,
        )  # fmt: skip
        self.command("Emulation.setTouchEmulationEnabled", enabled=touch)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.command(
            "Emulation.setEmulatedMedia", media="print" if paper else "screen", features=[scheme]
        )
        self.command("Emulation.setScriptExecutionDisabled", value=not scripts)
        self.messages(), self.requests()
        self.driver.get(page.resolve().as_uri() if isinstance(page, Path) else page)
        return self

    def command(self, name: str, **arguments: Any) -> dict[str, Any]:
        """A command of the DevTools protocol."""
        answer: dict[str, Any] = self.driver.execute_cdp_cmd(name, arguments)
        return answer

    def run(self, code: str, *arguments: Any) -> Any:
        """The value of a function's body run in the page (``arguments[0]``...)."""
        return self.driver.execute_script(code, *arguments)

    def one(self, selector: str) -> Any:
        """The first element that a CSS selector finds; raises when there is none."""
        return self.driver.find_element("css selector", selector)

    def every(self, selector: str) -> list[Any]:
        """All elements that a CSS selector finds."""
        elements: list[Any] = self.driver.find_elements("css selector", selector)
        return elements

    def text(self, selector: str) -> str:
        """What a reader sees of the first element."""
        return str(self.one(selector).text)

    def key(self, *keys: str) -> None:
        """Type into the focused element (``selenium.webdriver.Keys`` names the special keys)."""
        from selenium.webdriver import ActionChains

        ActionChains(self.driver).send_keys(*keys).perform()

    def hover(self, element: Any, dx: int = 0, dy: int = 0) -> None:
        """Move the mouse over an element's middle, or so many pixels beside it."""
        from selenium.webdriver import ActionChains

        ActionChains(self.driver).move_to_element_with_offset(element, dx, dy).perform()

    def messages(self) -> list[str]:
        """Console messages since the last call: errors, warnings, breaches of the policy."""
        return [f"{m['level']}: {m['message']}" for m in self.driver.get_log("browser")]

    def requests(self) -> list[str]:
        """Addresses requested since the last call, including the page's own."""
        events = [json.loads(e["message"])["message"] for e in self.driver.get_log("performance")]
        return [
            event["params"]["request"]["url"]
            for event in events
            if event["method"] == "Network.requestWillBeSent"
        ]

    def screenshot(self, name: str, *, whole: bool = False) -> None:
        """``name``.png of the window (or the ``whole`` page) in ``$SLAW_SCREENSHOTS``, if set."""
        folder = os.environ.get("SLAW_SCREENSHOTS")
        if not folder:
            return
        shot = self.command("Page.captureScreenshot", captureBeyondViewport=whole)
        Path(folder).mkdir(parents=True, exist_ok=True)
        (Path(folder) / f"{name}.png").write_bytes(base64.b64decode(shot["data"]))


@pytest.fixture(scope="session")
def _driver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is not installed")
    program, driver = _program("chromium", "google-chrome", "chrome"), _program("chromedriver")
    options = webdriver.ChromeOptions()
    options.binary_location = program
    for flag in (*_FLAGS, f"--user-data-dir={tmp_path_factory.mktemp('chromium')}"):
        options.add_argument(flag)
    if hasattr(os, "geteuid") and os.geteuid() == 0:
        options.add_argument("--no-sandbox")  # Chromium refuses to start as root with one
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    service = webdriver.ChromeService(executable_path=driver)
    browser = webdriver.Chrome(options=options, service=service)
    yield browser
    browser.quit()


@pytest.fixture
def browser(_driver: Any) -> Browser:
    """A headless Chromium, shared by the tests of a process; ``open`` resets it."""
    return Browser(_driver)
