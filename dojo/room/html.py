"""The HTML of what the room shows; every value that comes from a kata, a test or a learner is escaped."""

from dojo.core import outcome
from dojo.core.paths import Checkout
from dojo.practice import html
from dojo.practice.headless import facts
from dojo.practice.live_run import LiveRun


def render(template: str, **values: object) -> str:
    """The HTML of a template of this folder."""
    return html.render(f"room/pages/{template}", **values)


def render_verdict(checkout: Checkout, live_run: LiveRun) -> tuple[str, str]:
    """The verdict, and the lights of the stages with the count."""
    known = facts(checkout, live_run)
    comparing = outcome.comparing(live_run.comparing) if live_run.comparing else ""
    values = {
        **known,
        "running": live_run.waiting,
        "comparing": comparing,
        "chosen": live_run.chosen + 1,
    }
    return render("verdict", **values), render("lights", **values)
