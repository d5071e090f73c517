"""Draws the README's picture of `kata watch`, from a real run of a kata with a planted mistake."""

import io
import tempfile
from pathlib import Path

from rich.console import Console
from rich.terminal_theme import TerminalTheme
from rich.text import Text

from dojo.core.catalog import load_catalog
from dojo.core.errors import UserError
from dojo.core.files import write
from dojo.core.mistakes import load_mistakes
from dojo.core.paths import Checkout
from dojo.engine.forkserver import ForkServer
from dojo.engine.messages import Diagnosed, Job, JobDied
from dojo.practice import screen
from dojo.practice.live_run import LiveRun
from dojo.practice.terminal import Terminal
from dojo.practice.watch import view

KATA, MISTAKE = "top_k_sampling", "multiplies by the temperature"
COLUMNS = 80
RUN_TIMEOUT_S = 120.0

THEME = TerminalTheme(  # dark, with enough contrast; the window's border sets it off from a page that is dark as well
    background=(22, 27, 34),
    foreground=(230, 237, 243),
    normal=[
        (72, 79, 88),  # black
        (255, 123, 114),  # red
        (86, 211, 100),  # green
        (227, 179, 65),  # yellow
        (121, 192, 255),  # blue
        (210, 168, 255),  # magenta
        (86, 212, 221),  # cyan
        (230, 237, 243),  # white
    ],
)
# rich's own format has fonts from the network; with this one the picture loads nothing.
SVG = """\
<svg width="{width}" height="{height}" viewBox="0 0 {width} {height}" xmlns="http://www.w3.org/2000/svg">
<style>
.{unique_id}-matrix {{ font: {char_height}px/{line_height}px ui-monospace, "SF Mono", Menlo, Consolas, "DejaVu Sans Mono", monospace }}
.{unique_id}-title {{ font: 15px system-ui, -apple-system, "Segoe UI", Helvetica, Arial, sans-serif }}
{styles}
</style>
<defs>
<clipPath id="{unique_id}-clip-terminal"><rect x="0" y="0" width="{terminal_width}" height="{terminal_height}"/></clipPath>
{lines}
</defs>
{chrome}
<g class="{unique_id}-matrix" transform="translate({terminal_x}, {terminal_y})" clip-path="url(#{unique_id}-clip-terminal)">
{backgrounds}{matrix}
</g>
</svg>
"""


class _OffscreenTerminal(Terminal):
    """A terminal of 80 columns that only lays out lines."""

    def __init__(self) -> None:
        self.console = Console(
            file=io.StringIO(),
            width=COLUMNS,
            force_terminal=True,
            color_system="standard",
            highlight=False,
            _environ={},
        )


def draw_picture(checkout: Checkout, check: bool) -> list[str]:
    """Draws docs/pictures/watch.svg; returns a sentence about it.

    With `check`, draws nothing and returns a sentence if the picture would be another now.
    """
    file = checkout.root / "docs" / "pictures" / "watch.svg"
    svg = to_svg(watch_screen(checkout))
    if not check:
        file.parent.mkdir(parents=True, exist_ok=True)
        write(file, svg)
        return [f"{checkout.shown(file)} drawn."]
    if file.is_file() and file.read_text(encoding="utf-8") == svg:
        return []
    return [f"{checkout.shown(file)} is not what the code draws now; draw it with `kata dev notebooks --pictures`."]


def watch_screen(checkout: Checkout) -> list[str]:
    """Returns the lines, with ANSI codes, that `kata watch` shows for KATA with MISTAKE in it; without the run's time."""
    catalog = load_catalog(checkout)
    live = run_mistake(checkout, LiveRun(catalog[KATA]))
    terminal = _OffscreenTerminal()
    top = view.header(terminal, checkout, live, 0, len(catalog.katas))
    body = screen.verdict(terminal, checkout.shown(checkout.answer(KATA)), live, missing=False, step_key="f")
    bottom = [line for line in view.footer(terminal, live, [], "fork") if "verdict in" not in line]
    return [*top, *body, "", *bottom, ""]


def run_mistake(checkout: Checkout, live: LiveRun) -> LiveRun:
    """Runs the tests on the reference with MISTAKE applied, as `kata watch` runs them; returns `live` after the run."""
    mistake = next(m for m in load_mistakes(checkout.mistakes(KATA)).named if m.name == MISTAKE)
    with tempfile.TemporaryDirectory(prefix="kata-picture-") as folder, ForkServer(checkout) as forkserver:
        target = Path(folder).resolve()
        write(target / f"{KATA}.py", mistake.apply(checkout.reference(KATA).read_text(encoding="utf-8")))
        live.start(1, 0.0)
        forkserver.submit(Job(1, KATA, target, seconds=RUN_TIMEOUT_S))
        while messages := forkserver.messages(RUN_TIMEOUT_S):
            for message in messages:
                live.apply(message, 0.0)
                if isinstance(message, JobDied):
                    raise UserError(f"{KATA}: the run {message.why}; nothing was drawn.")
                if isinstance(message, Diagnosed):
                    return live
    raise UserError(f"{KATA}: the run took too long; nothing was drawn. Try again on a quieter machine.")


def to_svg(lines: list[str]) -> str:
    """Draws a terminal window with these lines of ANSI text."""
    console = Console(file=io.StringIO(), width=COLUMNS, record=True, force_terminal=True, _environ={})
    for line in lines:
        console.print(Text.from_ansi(line), no_wrap=True, overflow="crop")
    return console.export_svg(title="kata watch", theme=THEME, code_format=SVG, unique_id="watch")
