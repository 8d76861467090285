"""A page as a reader sees it, in headless Chromium, where that is at hand."""

import base64
import json
import re
import shutil
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch


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
    browser.set_script_timeout(120)  # for machines that do much else
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


def read_payload(page: str) -> dict:
    """What the script of the explorer reads."""
    return json.loads(re.search(r'id="payload">(.*?)</script>', page, re.DOTALL)[1])


def unpack(packed: dict) -> torch.Tensor:
    """The numbers of a packed array."""
    kept = np.frombuffer(base64.b64decode(packed["data"]), packed["kind"])
    return torch.from_numpy(packed["low"] + packed["step"] * kept.astype(np.float64))


def wait(browser) -> None:
    """Wait until the explorer has drawn what was asked for."""
    browser.execute_async_script(
        "const done = arguments[0];"
        "const look = () => waiting.size || state.timer ? setTimeout(look, 10) : done();"
        "look()"
    )


def choose(browser, name: str, number: int) -> None:
    """Choose one of the radio buttons of a name."""
    _set(browser, f"input[name={name}][value='{number}']", "change", checked=True)


def slide(browser, name: str, value: float) -> None:
    """Move a slider to a value."""
    _set(browser, f"#{name}", "input", value=value)


def _set(browser, selector: str, event: str, **properties) -> None:
    browser.execute_script(
        "const input = Object.assign(document.querySelector(arguments[0]), arguments[2]);"
        "input.dispatchEvent(new Event(arguments[1]));",
        selector,
        event,
        properties,
    )
    wait(browser)


def press(browser, name: str, *keys: str) -> None:
    """Press keys together, on the element of this id."""
    from selenium.webdriver import Keys

    browser.find_element("id", name).send_keys(*[getattr(Keys, key) for key in keys])
    wait(browser)


def drag(browser, name: str, start, way) -> None:
    """Press the mouse, move it and let go.

    Both are numbers of pixels to the right and down, the start from the middle of the element.
    """
    from selenium.webdriver import ActionChains

    bring(browser, name)
    element = browser.find_element("id", name)
    actions = ActionChains(browser, duration=50).move_to_element_with_offset(element, *start)
    actions.click_and_hold().move_by_offset(*way).release().perform()
    wait(browser)


def touch(browser, name: str, start, end) -> None:
    """Move a finger between two points, in pixels from the left upper corner of the element."""
    bring(browser, name)
    box = find_box(browser, name)
    for kind, at in (("touchStart", start), ("touchMove", end), ("touchEnd", None)):
        points = [] if at is None else [{"x": box["left"] + at[0], "y": box["top"] + at[1]}]
        browser.execute_cdp_cmd("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})
    wait(browser)


def find_box(browser, name: str) -> dict[str, float]:
    """Where an element is on the screen."""
    script = "return document.getElementById(arguments[0]).getBoundingClientRect().toJSON()"
    return browser.execute_script(script, name)


def bring(browser, name: str) -> None:
    """Scroll until the element of this id is on the screen, where it is drawn."""
    script = "document.getElementById(arguments[0]).scrollIntoView({block: 'center'}); drawSeen()"
    browser.execute_script(script, name)
    wait(browser)
