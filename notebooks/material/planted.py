"""A kata with one of its named mistakes in it: what `mistakes.toml` says people get wrong, to be looked at."""

import sys
from types import ModuleType

from dojo.core.mistakes import load_mistakes
from dojo.core.paths import find_checkout


def planted(kata: str, mistake: str) -> tuple[ModuleType, str]:
    """The reference of `kata` with the mistake of this name planted, as a module, and what the mistake is, in words."""
    checkout = find_checkout()
    named = {each.name: each for each in load_mistakes(checkout.mistakes(kata)).named}
    source = named[mistake].apply(checkout.reference(kata).read_text(encoding="utf-8"))
    name = f"planted_{kata}_{mistake.replace(' ', '_')}"
    module = sys.modules[name] = ModuleType(name)
    exec(compile(source, name, "exec"), module.__dict__)
    return module, named[mistake].says
