"""The HTML of what the room shows; every value that comes from a kata, a test or a learner is escaped."""

from dojo.core.outcome import COMPARING
from dojo.core.pages import environment
from dojo.core.paths import Checkout
from dojo.practice.formulas import typeset
from dojo.practice.headless import facts
from dojo.practice.live_run import LiveRun


def render(template: str, **values: object) -> str:
    """The HTML of a template of this folder."""
    pages = environment()
    pages.filters["typeset"] = typeset
    return pages.get_template(f"room/pages/{template}.html.jinja").render(**values)


def render_verdict(checkout: Checkout, live_run: LiveRun, *, in_session: bool = False) -> tuple[str, str]:
    """The verdict, and the lights of the stages with the count. `in_session` leaves out what comes after practice."""
    known = facts(checkout, live_run)
    comparing = COMPARING.format(live_run.comparing) if live_run.comparing else ""
    values = {
        **known,
        "running": live_run.waiting,
        "comparing": comparing,
        "chosen": live_run.chosen + 1,
        "milliseconds": round(live_run.milliseconds),
        "in_session": in_session,
    }
    return render("verdict", **values), render("lights", **values)
