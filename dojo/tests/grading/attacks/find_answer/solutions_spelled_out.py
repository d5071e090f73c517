"""The same without disguise, which the policy sees.

reason: ModuleNotFoundError
policy: `solutions.noise_schedules` may not be imported: it holds the answers
"""

from solutions.noise_schedules import *  # noqa: F403
