"""The report: its values, hostile names in it, and its looks in a real browser."""

import re
import shutil
from html.parser import HTMLParser
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from dojo.cli import main
from dojo.core import humanize
from dojo.core.catalog import load_catalog
from dojo.core.errors import UserError
from dojo.progress.report import MARK, render_page, write_report
from dojo.progress.report.data import gather
from dojo.progress.report.svg import Span
from dojo.tests.browser import CONTRAST, headless_chromium
from dojo.tests.checkouts import REPOSITORY, add_kata
from dojo.tests.progress.made_up_history import NOON, Past, rich

SECTIONS = ["due", "progress", "attempts", "stages", "mistakes", "log"]
NOW = NOON + 70 * 86400


@pytest.fixture
def past(checkout):
    """A made-up history that begins on Monday, 9 March 2026 at noon."""
    return Past(checkout)


def words(text):
    return re.findall("[A-Za-z]{3,}", text)


def page_of(checkout, now):
    return gather(checkout, load_catalog(checkout), now)


class Strict(HTMLParser):
    """Every element that is opened is closed, in order."""

    VOID = ("meta", "link", "br", "wbr")

    def __init__(self):
        super().__init__()
        self.open, self.ids, self.tags = [], [], []

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        self.ids += [value for name, value in attributes if name == "id"]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def parsed(html):
    parser = Strict()
    parser.feed(html)
    assert parser.open == []
    assert len(parser.ids) == len(set(parser.ids))
    return parser


# What is in it


def test_without_history_the_page_says_what_to_do(checkout):
    """Three commands, and no empty pictures."""
    html = render_page(page_of(checkout, NOW))
    ids = parsed(html).ids
    assert "start" in ids
    assert "progress" in ids
    assert not {"due", "attempts", "stages", "mistakes", "log"} & set(ids)
    for command in ("kata show tiny", "kata watch tiny", "kata report --open"):
        assert f"<code>{command}</code>" in html


def test_in_chinese_only_names_and_commands_stay(checkout, past, monkeypatch):
    """And the page says what language it is in."""
    english = render_page(page_of(checkout, past.solve("tiny").wait(days=1).now))
    monkeypatch.setenv("KATA_LANG", "zh")
    html = render_page(page_of(checkout, past.now))
    assert '<html lang="en">' in english
    assert '<html lang="zh">' in html
    shown = re.sub("<style>.*?</style>|<code>.*?</code>|<[^>]+>", " ", html, flags=re.DOTALL)
    kata = load_catalog(checkout)["tiny"]
    known = {*words(kata.title), *words(kata.track), "tiny", "test", "bug"}
    assert {word for word in words(shown) if word.isascii()} <= known


def test_the_first_failing_run_is_enough_for_a_page(checkout, past):
    """No division by zero, and every section is there."""
    past.run("tiny", "pf", "ff")
    ids = parsed(render_page(page_of(checkout, past.now))).ids
    assert [name for name in ids if name in SECTIONS] == SECTIONS


def test_the_page_counts_attempts_days_minutes_and_what_is_due(checkout, past):
    """The first sentence of the page."""
    past.solve("tiny").wait(days=3).event("tiny", "reset").wait(minutes=1).run("tiny", "pf", "ff").session("tiny", 40)
    page = page_of(checkout, past.wait(days=9).now)
    assert (page.solved, len(page.attempts), page.days, round(page.seconds / 60)) == (1, 3, 2, 4 + 1 + 20)
    assert [due.kata.name for due in page.due] == ["tiny"]
    assert page.tracks[0].katas[0].words == "solved, taken again"
    assert "kata again tiny" in render_page(page)


def test_only_mistakes_of_several_attempts_come_back(checkout, past):
    """All runs of an attempt count once; the common beginning of the sentence is left out."""
    for name in ("squares", "moves down", "moves down"):
        past.event("tiny", "reset").wait(minutes=1).run("tiny", "pf", "ff", named=[name]).run(
            "tiny", "pf", "ff", named=[name]
        )
        past.wait(days=1)
    page = page_of(checkout, past.now)
    assert [(m.name, m.clause, m.attempts, m.of) for m in page.recurring] == [("moves down", "Moves down.", 2, 3)]
    assert page.once == 1


def test_stage_times_compare_what_came_equally_far(checkout, past):
    """An attempt that ended at stage 1 was not faster."""
    past.solve("tiny", 6).wait(days=1)
    past.event("tiny", "reset").solve("tiny", 4).wait(days=1).event("tiny", "reset").wait(minutes=1).run(
        "tiny", "pp", "ff"
    )
    (practised,) = page_of(checkout, past.now).practised
    assert [round(max(attempt.stages.values()) / 60) for attempt in practised.timed] == [6, 4]


def test_a_kata_that_left_the_catalogue_keeps_its_attempts(checkout, past):
    """And is no longer due."""
    past.solve("gone")
    page = page_of(checkout, past.now)
    assert [practised.name for practised in page.practised] == ["gone"]
    assert page.schedule == ()
    parsed(render_page(page))


def test_the_calendar_puts_what_is_overdue_on_today(checkout, past):
    """Whole weeks from this Monday on."""
    past.solve("tiny").wait(days=10)
    calendar = page_of(checkout, past.now).calendar
    today = humanize.local(past.now).date()
    assert len(calendar) == 35
    assert calendar[0].day.weekday() == 0
    assert [day.day for day in calendar if day.due] == [today]


@pytest.mark.parametrize("days", [0, 1, 13, 40, 400, 4000])
def test_a_time_line_has_a_few_dates_whatever_it_spans(checkout, past, days):
    """One day or ten years; everything lies on it."""
    past.solve("tiny").wait(days=days)
    page = page_of(checkout, past.now)
    span = Span(page.attempts, past.now)
    assert len(span.ticks) <= 5
    assert 0 <= span.at(page.attempts[0].started) <= 100
    assert 0 <= span.at(past.now) <= 100


def test_names_with_html_in_them_stay_text(checkout):
    """In titles, tracks, sentences of mistakes, everywhere."""
    evil = "<script>alert(1)</script> & \"<b>'"
    text = checkout.description("tiny").read_text()
    toml = evil.replace('"', '\\"')
    for old in ("tiny in two functions", "numbers", "How would you double?"):
        text = text.replace(old, toml)
    checkout.description("tiny").write_text(text)
    checkout.catalog.write_text(checkout.catalog.read_text().replace("numbers", toml))
    past = Past(checkout).event("tiny", "show").wait(minutes=1)
    for _ in range(2):
        past.run("tiny", "pp", "ff", named=[evil]).run(evil, "pf").wait(days=1).event("tiny", "reset")
    past.solve("tiny")
    html = render_page(page_of(checkout, past.now))
    assert {tag for tag, _ in parsed(html).tags} & {"script", "b"} == set()
    assert "&lt;script&gt;" in html


def test_pictures_tables_and_sections_are_labelled(checkout, past):
    """Each picture has a title and a description, each table its heads, each section its heading."""
    past.solve("tiny").wait(days=1).event("tiny", "reset").solve("tiny")
    tags = parsed(render_page(page_of(checkout, past.now))).tags
    pictures = [attributes for tag, attributes in tags if tag == "svg" and attributes.get("role") == "img"]
    assert len(pictures) >= 6
    assert all({"aria-labelledby", "aria-describedby"} <= attributes.keys() for attributes in pictures)
    assert all("aria-labelledby" in attributes for tag, attributes in tags if tag == "section")
    assert all("scope" in attributes for tag, attributes in tags if tag == "th")


# The file


def test_the_command_writes_one_file_and_says_where(checkout, past):
    """In .dojo/ by default, replacing an older report."""
    past.solve("tiny")
    for _ in range(2):
        result = CliRunner().invoke(main.main, ["report"])
        assert result.output == "Written: .dojo/report.html\nTo look at it: kata report --open\n"
    assert CliRunner().invoke(main.main, ["report", "-o", "mine.html"]).exit_code == 0
    html = (checkout.root / "mine.html").read_text()
    assert MARK in html
    assert not any(word in html for word in ("http:", "https:", "//cdn", "@import", "url("))


def test_a_file_that_is_no_report_is_left_alone(checkout, catalog):
    """Nothing that a person wrote is overwritten."""
    file = checkout.root / "notes.html"
    file.write_text("mine")
    with pytest.raises(UserError, match="is no report"):
        write_report(checkout, catalog, NOW, file)
    assert file.read_text() == "mine"
    with pytest.raises(UserError, match="There is no folder"):
        write_report(checkout, catalog, NOW, checkout.root / "no" / "where.html")


def test_open_starts_the_browser_with_the_file(checkout, monkeypatch):
    """And says the address where none can be started."""
    opened = []
    monkeypatch.setattr(click, "launch", lambda address: opened.append(address) or len(opened) - 1)
    assert "No browser" not in CliRunner().invoke(main.main, ["report", "--open"]).output
    assert opened == [(checkout.state / "report.html").as_uri()]
    assert f"Open this in one: {opened[0]}" in CliRunner().invoke(main.main, ["report", "--open"]).output


# In a real browser


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    """A headless Chromium that can reach no network."""
    with headless_chromium(tmp_path_factory.mktemp("profile")) as chrome:
        chrome.execute_cdp_cmd("Network.enable", {})
        offline = {"offline": True, "latency": 0, "downloadThroughput": 0, "uploadThroughput": 0}
        chrome.execute_cdp_cmd("Network.emulateNetworkConditions", offline)
        yield chrome


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    """The report of ten diligent weeks with the real catalogue."""
    from dojo.core.paths import Checkout

    root = tmp_path_factory.mktemp("rich") / "checkout"
    (root / "katas").mkdir(parents=True)
    shutil.copy(REPOSITORY / "katas" / "catalog.toml", root / "katas")
    for file in (*REPOSITORY.glob("tests/*/kata.toml"), *REPOSITORY.glob("tests/*/mistakes.toml")):
        (root / file.relative_to(REPOSITORY)).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(file, root / file.relative_to(REPOSITORY))
    checkout = Checkout(root.resolve())
    catalog = load_catalog(checkout)
    rich(checkout, catalog, NOW)
    return write_report(checkout, catalog, NOW)


def show(browser, file: Path, width: int, height: int, scheme: str = "light") -> None:
    size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    features = [{"name": "prefers-color-scheme", "value": scheme}]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
    browser.get(file.as_uri())


def unfold(browser) -> None:
    browser.execute_script("for (const e of document.querySelectorAll('details')) e.open = true")


def test_it_opens_from_a_file_without_network_and_without_complaint(browser, report):
    """One file, every section, and not one request beyond it."""
    show(browser, report, 1280, 900)
    assert browser.execute_script("return performance.getEntriesByType('resource').map(e => e.name)") == []
    sections = browser.execute_script("return [...document.querySelectorAll('main > section')].map(e => e.id)")
    assert sections == SECTIONS
    targets = browser.execute_script(
        "return [...document.querySelectorAll('nav a')].map(e => document.querySelector(e.getAttribute('href')).offsetHeight)"
    )
    assert len(targets) == len(SECTIONS)
    assert min(targets) > 80
    assert browser.get_log("browser") == []


@pytest.mark.parametrize("width", [320, 360, 740, 768, 1000, 1280])
def test_nothing_sticks_out_at_the_side(browser, report, width):
    """On a phone and on a desk, with every table unfolded."""
    show(browser, report, width, 800)
    unfold(browser)
    assert browser.execute_script("return document.documentElement.scrollWidth") <= width
    wide = browser.execute_script(
        "return [...document.querySelectorAll('main *')].filter(e => e.getBoundingClientRect().right > innerWidth + 1)"
        ".map(e => e.outerHTML.slice(0, 80))"
    )
    assert wide == []


def test_names_without_a_space_do_not_stick_out_either(browser, checkout):
    """Whatever a kata is called."""
    add_kata(checkout, "x" * 90)
    Past(checkout, NOW - 86400).solve("x" * 90).event("x" * 90, "reset").wait(minutes=1).run(
        "x" * 90, "pf", named=["y" * 200]
    )
    show(browser, write_report(checkout, load_catalog(checkout), NOW), 360, 800)
    unfold(browser)
    assert browser.execute_script("return document.documentElement.scrollWidth") <= 360


@pytest.mark.parametrize("width", [360, 1280])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_all_text_can_be_read(browser, report, scheme, width):
    """A contrast of 4.5 to 1 at least, as WCAG asks, of every text against what lies behind it."""
    show(browser, report, width, 900, scheme)
    unfold(browser)
    measured = browser.execute_script(CONTRAST)
    assert len(measured) > 300
    assert [(round(ratio, 2), text) for ratio, text in measured if ratio < 4.5] == []


def test_dark_and_light_follow_the_reader(browser, report):
    """As the system is set."""
    colours = {}
    for scheme in ("light", "dark"):
        show(browser, report, 1280, 900, scheme)
        colours[scheme] = browser.execute_script(
            "const s = getComputedStyle(document.body); return [s.backgroundColor, s.color].map(c => +c.match(/\\d+/)[0])"
        )
    assert colours["light"][0] > 200 > 100 > colours["light"][1]
    assert colours["dark"][1] > 200 > 100 > colours["dark"][0]


def test_the_keyboard_reaches_every_link_and_table(browser, report):
    """In the order of the page, with a visible focus."""
    from selenium.webdriver.common.keys import Keys

    show(browser, report, 1280, 900)
    reachable = browser.execute_script("return document.querySelectorAll('a, summary').length")
    assert reachable >= len(SECTIONS) + 4
    browser.find_element("tag name", "body").send_keys(Keys.TAB)
    focused = "return [document.activeElement.textContent, getComputedStyle(document.activeElement).outlineStyle]"
    assert browser.execute_script(focused) == ["Due", "solid"]
    places = []
    for _ in range(reachable - 1):
        browser.switch_to.active_element.send_keys(Keys.TAB)
        places.append(browser.execute_script("return document.activeElement.getBoundingClientRect().top + scrollY"))
    assert places == sorted(places)


def test_it_prints_on_a_few_pages(browser, report):
    """White paper, and no navigation on it."""
    show(browser, report, 1280, 900, "dark")
    media = {"media": "print", "features": [{"name": "prefers-color-scheme", "value": "dark"}]}
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", media)
    style = "return getComputedStyle(document.querySelector(arguments[0]))[arguments[1]]"
    assert browser.execute_script(style, "body", "backgroundColor") == "rgb(255, 255, 255)"
    assert browser.execute_script(style, "nav", "display") == "none"
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": ""})
