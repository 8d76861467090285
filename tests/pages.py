"""A page as a reader sees it, in headless Chromium, where that is at hand."""

import shutil
from contextlib import contextmanager
from pathlib import Path

import pytest


@contextmanager
def opened(path: Path, width: int = 1200, height: int = 900):
    """The page in a browser. Without Chromium and its driver the test is skipped."""
    webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is not installed")
    service = pytest.importorskip("selenium.webdriver.chrome.service")
    driver = shutil.which("chromedriver")
    if driver is None or shutil.which("chromium") is None:
        pytest.skip("chromium and chromedriver are not installed; Debian has them as packages")

    options = webdriver.ChromeOptions()
    for option in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"):
        options.add_argument(option)
    options.binary_location = shutil.which("chromium")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    browser = webdriver.Chrome(options=options, service=service.Service(driver))
    try:
        resize(browser, width, height)
        browser.get(path.as_uri())
        yield browser
    finally:
        browser.quit()


def resize(browser, width: int, height: int) -> None:
    """Show the page on a screen of this size. A narrow one is a telephone's."""
    screen = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", screen)


def read_number(browser, name: str) -> float:
    """The number in the element of this id."""
    text = browser.execute_script("return document.getElementById(arguments[0]).textContent", name)
    return float(text.replace("−", "-"))


def wait_frames(browser) -> None:
    """Wait until what was asked for is drawn."""
    browser.execute_async_script(
        "const done = arguments[0]; requestAnimationFrame(() => requestAnimationFrame(done))"
    )
