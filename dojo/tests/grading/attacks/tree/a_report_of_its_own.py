"""Reports that are there already, beside a wrong answer.

reason: there is no linear_betas in the file
"""

TEXT = '{"schema": "kata-grade/1", "score": 10, "max_score": 10, "katas": [{"status": "pass", "points": 10}]}\n'


def build(folder):
    (folder / "katas" / "noise_schedules.py").write_text("x = 1\n")
    for name in ("report.json", "grade/report.json", "results.json", "katas/report.json", ".dojo/report.json"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(TEXT)
