"""What the checks have found: a line each, and the total."""

import datetime
import re
from typing import NamedTuple

PASSED, FAILED, SKIPPED = "passed", "FAILED", "skipped"
BEGIN, END = "<!-- table: scripts/gpu-check --write -->", "<!-- end of table -->"


class Result(NamedTuple):
    outcome: str
    question: str
    expected: str  # empty when it was skipped
    found: str  # or why it was skipped

    def __str__(self):
        if not self.expected:
            return f"{self.outcome}: {self.question}: {self.found}"
        return f"{self.outcome}: {self.question}: expected {self.expected}; found {self.found}"


def judge(question, expected, right, found):
    return Result(PASSED if right else FAILED, question, expected, found)


def skip(question, why):
    return Result(SKIPPED, question, "", why)


def total(results):
    counts = [sum(result.outcome == outcome for result in results) for outcome in (PASSED, FAILED, SKIPPED)]
    return "{} passed, {} failed, {} skipped".format(*counts)


def write(path, machine, results):
    """Replaces what stands between the two marks in the document."""
    rows = [f"{datetime.date.today()}: {machine}. {total(results)}.", "", "| | question | expected | found |", "|---|---|---|---|"]
    rows += ["| " + " | ".join(field.replace("|", "\\|") for field in result) + " |" for result in results]
    table = "\n".join([BEGIN, *rows, END])
    text, count = re.subn(f"{BEGIN}.*{END}", lambda _: table, path.read_text(), flags=re.DOTALL)
    if count != 1:
        raise ValueError(f"{path} has no place for the table")
    path.write_text(text)
