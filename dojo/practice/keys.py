"""What a terminal sends, as keys: pasted text is none, and neither is a command that was meant for the shell."""

import re

KEY_NAMES = {
    "\r": "enter",
    "\n": "enter",
    " ": "space",
    "\x1b": "escape",
    "\x04": "q",
    "\x1b[A": "up",
    "\x1b[B": "down",
    "\x1b[5~": "page up",
    "\x1b[6~": "page down",
    "\x1bOA": "up",
    "\x1bOB": "down",
    **dict.fromkeys(("\x1b[H", "\x1bOH", "\x1b[1~", "\x1b[7~"), "home"),
    **dict.fromkeys(("\x1b[F", "\x1bOF", "\x1b[4~", "\x1b[8~"), "end"),
}
# Control sequences (arrows), SS3 sequences (F1), Alt with a key, one character.
KEY_SEQUENCE = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]|\x1bO.|\x1b[^\x1b]|.", re.DOTALL)
PASTE_BEGIN, PASTE_END = "\x1b[200~", "\x1b[201~"
MAX_TYPED = 3  # characters that arrive at once; where more do, they were pasted, or meant for another window
PASTE_GAP_S = 0.05  # a paste goes on while its parts arrive so soon one after another
PASTE_TIMEOUT_S = 1.0  # after which a paste without an end mark has ended
TYPING_GAP_S = 0.7  # a word goes on while its letters arrive so soon one after another


def keys_in(text: str) -> list[str]:
    """The keys in `text`, which a terminal sent; several may arrive at once. Unknown sequences are left out."""
    return [KEY_NAMES.get(part, part) for part in KEY_SEQUENCE.findall(text) if part in KEY_NAMES or len(part) == 1]


class KeyReader:
    """Tells the keys that were pressed from pasted text, which is left out: it decides nothing."""

    def __init__(self) -> None:
        self._unfinished: tuple[str, float] | None = None  # the end of a paste without its end mark, and its time
        self._last_burst = -PASTE_GAP_S  # when text arrived that was pasted into a terminal without such marks

    def keys(self, text: str, now: float) -> list[str]:
        """The keys in `text`, which has arrived at the time `now`."""
        if self._unfinished and now - self._unfinished[1] < PASTE_TIMEOUT_S:
            text = PASTE_BEGIN + self._unfinished[0] + text
        self._unfinished = None
        typed = ""
        while PASTE_BEGIN in text:
            before, _, rest = text.partition(PASTE_BEGIN)
            pasted, end, text = rest.partition(PASTE_END)
            typed += before
            if not end:
                self._unfinished = pasted[-len(PASTE_END) :], now
        typed += text
        characters = sum(len(part) == 1 for part in KEY_SEQUENCE.findall(typed))
        if characters > MAX_TYPED or (characters and now - self._last_burst < PASTE_GAP_S):
            self._last_burst = now
            return []
        return keys_in(typed)


class TypingGuard:
    """Tells a key from a word after a page was left with q.

    Whoever takes the page for a program of its own types a command for the shell next. So a letter waits until no other
    has followed it: alone it is a key, else it begins a word, which does nothing. The first key ends the watch.
    """

    def __init__(self) -> None:
        self.on = False
        self.typing = False  # a word is being typed
        self._waits = ""  # the letter that may turn out to be a key
        self._last = 0.0  # when the last letter arrived

    def begin(self) -> None:
        """Watches what comes next."""
        self.on, self.typing, self._waits = True, False, ""

    def stops(self, key: str, now: float) -> bool:
        """Whether `key` is no key yet, or none at all. Arrows always are keys, and so is a q after the q that waits."""
        waited, self._waits = self._waits, ""
        leaves = key == waited == "q"
        if not self.on or leaves or (len(key) > 1 and key not in ("space", "enter")):
            self.on = self.on and not leaves
            self.typing = False
            return False
        self.typing = now - self._last < TYPING_GAP_S and (self.typing or bool(waited))
        self._waits, self._last = "" if self.typing else key, now
        return True

    def seconds_left(self, now: float) -> float | None:
        """Seconds until the letter that waits is a key; None if none waits."""
        return max(0.0, self._last + TYPING_GAP_S - now) if self._waits else None

    def released(self, now: float) -> str:
        """The letter that has waited long enough; empty if there is none."""
        if self.seconds_left(now) != 0.0:
            return ""
        key, self._waits, self.on = self._waits, "", False
        return key
