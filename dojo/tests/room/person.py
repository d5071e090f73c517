"""What a person does in the room, through a real browser."""

import json
import re
import time
from collections.abc import Callable
from typing import Any

from selenium.common.exceptions import StaleElementReferenceException, WebDriverException
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from dojo.tests.room.rooms import RunningRoom

PATIENCE_S = 40
STEADY_S = 0.1  # for which something stands still before it is clicked
EDITOR = ".cm-content"


class Person:
    """One browser window."""

    def __init__(self, chrome: Any, room: RunningRoom) -> None:
        self.chrome, self.room = chrome, room

    def look(self, width: int, height: int = 900, *, dark: bool = False) -> None:
        """Gives the window a size, and says which colours its owner likes."""
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        self.chrome.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        colours = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
        self.chrome.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": colours})

    def enter(self, path: str = "/") -> None:
        """Opens a page, with the secret, and waits until it works."""
        self.chrome.get(f"{self.room.base}{path}{'&' if '?' in path else '?'}secret={self.room.secret}")
        self.wait_until_it_works()

    def wait_until_it_works(self) -> None:
        # NiceGUI handles no click before its websocket stands.
        self.until(
            lambda: self.chrome.execute_script(
                "return window.did_handshake === true || window.socket?.connected === true"
            )
        )

    def until(self, true: Callable[[], Any], what: str = "") -> Any:
        """Waits until `true()`; returns its value."""
        end = time.monotonic() + PATIENCE_S
        while time.monotonic() < end:
            try:
                if value := true():
                    return value
            except (StaleElementReferenceException, WebDriverException):
                pass
            time.sleep(0.05)
        raise AssertionError(
            f"{what or 'This'} did not come. The page says:\n{self.page}\nThe room says:\n{self.room.log.read_text()}"
        )

    @property
    def page(self) -> str:
        return str(self.chrome.find_element(By.TAG_NAME, "body").text)

    def reads(self, text: str, where: str = "body") -> None:
        """Waits until `text` stands there."""
        self.until(lambda: text in self.chrome.find_element(By.CSS_SELECTOR, where).text, repr(text))

    def does_not_read(self, text: str) -> None:
        self.until(lambda: text not in self.page, f"a page without {text!r}")

    def click(self, text: str) -> None:
        """Clicks the button or link of this text, once it stays where it is: a verdict that comes moves what is below."""
        path = f"//*[self::button or self::a or self::summary][normalize-space()='{text}']"
        self.until(lambda: self._clicked(path), f"the button {text!r}")

    def _clicked(self, path: str) -> bool:
        for element in self.chrome.find_elements(By.XPATH, path):
            if element.is_displayed() and element.is_enabled():
                before = element.rect
                time.sleep(STEADY_S)
                if element.rect != before:
                    return False
                element.click()
                return True
        return False

    def write(self, text: str) -> None:
        """Replaces what stands in the editor, as pasting does."""
        self.until(lambda: self.chrome.find_element(By.CSS_SELECTOR, EDITOR), "the editor").click()
        focused = self.chrome.switch_to.active_element
        focused.send_keys(Keys.CONTROL, "a")
        self.chrome.execute_cdp_cmd("Input.insertText", {"text": text})

    @property
    def written(self) -> str:
        """What stands in the editor, once there is one."""
        script = "return window.kata?.id && getElement(kata.id)?.editor ? [kata.text()] : null"
        return str(self.until(lambda: self.chrome.execute_script(script), "the editor")[0])

    def press(self, *keys: str) -> None:
        self.chrome.switch_to.active_element.send_keys(*keys)

    @property
    def focused(self) -> str:
        """The text, or else the role, of what has the focus."""
        script = "const e = document.activeElement; return e.innerText?.trim().slice(0, 60) || e.getAttribute('role') || e.tagName"
        return str(self.chrome.execute_script(script))

    def errors(self) -> list[str]:
        """What the browser complained about."""
        return [entry["message"] for entry in self.chrome.get_log("browser") if entry["level"] == "SEVERE"]

    def foreign_requests(self) -> list[str]:
        """The addresses that the page fetched from somewhere else."""
        script = "return JSON.stringify(performance.getEntriesByType('resource').map(e => e.name))"
        names = json.loads(self.chrome.execute_script(script))
        return [
            name for name in names if not re.match(rf"(http|ws)://127\.0\.0\.1:{self.room.port}/|data:|blob:", name)
        ]
