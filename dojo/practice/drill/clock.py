"""The clock of a drill: working time, pauses, and the time that the computer slept."""

import time

from dojo.core import clock
from dojo.progress.sessions import Session, SessionLog

HEARTBEAT_S = 2.0  # between two records of the clock


class DrillClock:
    """Counts the seconds worked into `session.elapsed`, in phase "work" only, also while an editor is open.

    It is measured with a monotonic clock: suspending the computer or changing its time does not use up the drill. The
    time that the computer was suspended is recorded as a pause.
    """

    def __init__(self, session: Session, log: SessionLog) -> None:
        self.session, self.log = session, log
        self._last_now, self._last_monotonic = clock.now(), clock.monotonic()
        self._last_heartbeat = time.monotonic()

    def tick(self) -> bool:
        """Counts the time since the last tick. Returns True in the tick in which the time is up."""
        session, state = self.session, self.session.state
        now, monotonic = clock.now(), clock.monotonic()
        worked = max(0.0, monotonic - self._last_monotonic)
        slept = now - self._last_now - worked
        set_back = monotonic < self._last_monotonic
        self._last_now, self._last_monotonic = now, monotonic
        if state.phase != "work":
            return False
        session.elapsed += worked
        if slept > HEARTBEAT_S and not set_back:
            state.paused_s += slept
            self.log.add_event(session, "sleep", f"{slept:.0f}")
        if session.seconds_left <= 0:
            session.elapsed = session.minutes * 60
            self.log.add_event(session, "time")
            return True
        if time.monotonic() - self._last_heartbeat > HEARTBEAT_S:
            self._last_heartbeat = time.monotonic()
            state.last_seen = now
            self.log.save(session)
        return False

    def pause(self) -> None:
        self.session.state.last_seen = clock.now()
        self.session.state.phase = "paused"
        self.log.add_event(self.session, "pause")

    def resume(self) -> None:
        """Ends a pause, and counts it. A drill that was killed has paused since it was last seen."""
        state = self.session.state
        now = clock.now()
        if state.last_seen is not None:
            state.paused_s += max(0.0, now - state.last_seen)
            state.last_seen = None
        if state.phase == "paused":
            state.phase = "work"
        self._last_now, self._last_monotonic = now, clock.monotonic()
        self.log.add_event(self.session, "resume")


def clock_text(seconds: float) -> str:
    """`7:05`, and `1:02:03` from an hour on."""
    minutes, second = divmod(int(seconds + 0.5), 60)
    hour, minute = divmod(minutes, 60)
    return f"{hour}:{minute:02d}:{second:02d}" if hour else f"{minute}:{second:02d}"
