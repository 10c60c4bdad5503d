"""The report: sections of Markdown tables, and gates that are met or not.

Owns: how figures are written. Never: a figure.
"""

import math
import statistics
from dataclasses import dataclass, field


@dataclass
class Gate:
    """What has to hold, what was found. `met` is `None` where it could not be measured."""

    wanted: str
    found: str
    met: bool | None


@dataclass
class Report:
    """All that a run found."""

    lines: list[str] = field(default_factory=list)
    gates: list[Gate] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)

    def section(self, title, *paragraphs):
        self.lines += ["", f"## {title}"]
        for paragraph in paragraphs:
            self.note(paragraph)

    def note(self, paragraph):
        """A paragraph of the section."""
        self.lines += ["", paragraph]

    def table(self, head, rows):
        """A table; columns after the first stand right."""
        self.lines += ["", line(head), line(["---"] + ["--:"] * (len(head) - 1)), *map(line, rows)]

    def gate(self, wanted, found, met):
        self.gates.append(Gate(wanted, found, met))

    def error(self, what):
        """A wrong answer, or none."""
        self.wrong.append(what)

    def disagreement(self, what):
        """Two who count the same and do not agree: neither is to be believed."""
        self.wrong.append(" ".join(what.split()))

    def text(self, head):
        """The whole, under what `head` says of the machine and the versions."""
        words = {True: "yes", False: "**no**", None: "not measured"}
        gates = [line(["gate", "found", "met"]), line(["---", "---", "---"])]
        gates += [line([gate.wanted, gate.found, words[gate.met]]) for gate in self.gates]
        wrong = ["", "## Wrong, missing, or not agreed on", "", *(f"- {what}" for what in self.wrong)] if self.wrong else []
        return "\n".join([*head, "", "## Gates", "", *gates, *wrong, *self.lines]).rstrip() + "\n"


def line(cells):
    return "| " + " | ".join(str(cell).replace("|", "\\|").replace("\n", " ") for cell in cells) + " |"


def first_line(error):
    """What an error says, without its notes."""
    return str(error).strip().split("\n", maxsplit=1)[0]


def milliseconds(seconds):
    """Seconds as milliseconds, to three digits or a whole number."""
    value = seconds * 1000
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"


def count(number):
    return "–" if number is None else f"{number:,}"


def megabytes(number):
    return "–" if number is None else f"{number / 1e6:.1f}"


def ratio(number):
    return "–" if number is None else f"{number:.2f}"


def geometric_mean(numbers):
    return math.exp(statistics.fmean(map(math.log, numbers)))


def percentile(numbers, share):
    """The smallest number that at least `share` of all do not exceed."""
    ordered = sorted(numbers)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]
