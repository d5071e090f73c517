"""A real browser for the tests of what a person looks at."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "chrome"))), None)
DRIVER = shutil.which("chromedriver")
FLAGS = """--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking
    --disable-component-update --disable-sync --hide-scrollbars"""

CONTRAST = """
const luminance = c => { const [r, g, b] = c.map(v => (v /= 255) <= .04045 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4);
    return .2126 * r + .7152 * g + .0722 * b; };
const colour = text => { const n = text.match(/[\\d.]+/g).map(Number); return n.length > 3 && n[3] === 0 ? null : n.slice(0, 3); };
const behind = e => { for (; e; e = e.parentElement) { const c = colour(getComputedStyle(e).backgroundColor); if (c) return c; }
    return [255, 255, 255]; };
const ratios = [];
const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
while (walker.nextNode()) {
    const e = walker.currentNode.parentElement, text = walker.currentNode.data.trim();
    if (!text || ['title', 'desc', 'STYLE'].includes(e.tagName) || !e.getClientRects().length) continue;
    let front, back = behind(e);
    if (e.tagName === 'text') {
        front = colour(getComputedStyle(e).fill);
        const box = e.parentElement.querySelector(':scope > rect');
        const fill = box && e.parentElement.tagName === 'g' ? getComputedStyle(box).fill : 'none';
        if (fill !== 'none') back = colour(fill);
    } else front = colour(getComputedStyle(e).color);
    const [a, b] = [luminance(front), luminance(back)].sort((x, y) => y - x);
    ratios.push([(a + .05) / (b + .05), text]);
}
return ratios.sort((x, y) => x[0] - y[0]);
"""


@contextmanager
def headless_chromium(profile: Path) -> Iterator[Any]:
    """A headless Chromium, driven by selenium; nothing is ever downloaded for it. Skips the test where there is none."""
    if not (CHROMIUM and DRIVER):
        pytest.skip("no chromium with chromedriver on this machine")
    webdriver = pytest.importorskip("selenium.webdriver")
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    for flag in [*FLAGS.split(), f"--user-data-dir={profile}"]:
        options.add_argument(flag)
    service = webdriver.ChromeService(DRIVER)  # with a path, selenium does not download a driver
    chrome = webdriver.Chrome(options=options, service=service)
    try:
        yield chrome
    finally:
        chrome.quit()
