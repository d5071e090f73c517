"""A checkout of its own: references, probes and a grader that agree with its wrong answer.

reason: there is no linear_betas in the file
"""

FILES = {
    "solutions/noise_schedules.py": "x = 1\n",
    "tests/noise_schedules/probe.py": "def cases(rng):\n    yield from ()\n\n\ndef run(kata, case):\n    return {}\n",
    "dojo/__init__.py": "",
    "dojo/testing/probes.py": "def same(a, b):\n    return True\n",
    "dojo/grading/scoring/score.py": "def judge(*_):\n    return 10\n",
    "katas/catalog.toml": "",
}


def build(folder):
    (folder / "katas" / "noise_schedules.py").write_text("x = 1\n")
    for name, text in FILES.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
