"""Samples of several rounds, medians and ratios; the same as a JSON document and as tables in Markdown."""

import json
import os
import statistics
from dataclasses import dataclass, field
from pathlib import Path

from processes import NotMeasured

SCHEMA = "llama-bench/1"
DIGITS = {"s": 3, "tokens/s": 1, "MB/s": 1, "GFLOP/s": 0}


@dataclass
class Row:
    """One thing that was measured: the figures of all rounds, and its median as a ratio to others'."""

    name: str
    unit: str
    rounds: list = field(default_factory=list)
    facts: dict = field(default_factory=dict)
    ratios: dict = field(default_factory=dict)
    reason: str = None  # why it is not measured

    @property
    def median(self):
        return statistics.median(self.rounds) if self.rounds else None

    def document(self):
        if not self.rounds:
            return {"name": self.name, "not_measured": self.reason}
        figures = {"name": self.name, "unit": self.unit, "median": self.median, "rounds": self.rounds, "ratios": self.ratios}
        return {**figures, **self.facts}

    def compare(self, other, name=None):
        """Notes the ratio of this row's median to another's, where both were measured."""
        if self.rounds and other.rounds:
            self.ratios[name or other.name] = self.median / other.median

    def outpace(self, other, name=None):
        """The same of times: how many times as fast this row is."""
        if self.rounds and other.rounds:
            self.ratios[name or other.name] = other.median / self.median


class Samples:
    """Rows that are filled round by round, in turns, so that whatever else the machine does falls on all of them."""

    def __init__(self, unit, say):
        self.unit, self.say = unit, say
        self.rows = {}

    def row(self, name):
        return self.rows.setdefault(name, Row(name, self.unit))

    def copy(self, name):
        """A row of the same figures that is compared with others."""
        row = self.row(name)
        return Row(row.name, row.unit, row.rounds, row.facts, reason=row.reason)

    def take(self, name, measure):
        """`measure()` gives a figure, and facts: numbers of which the largest stays. What once failed is not tried again."""
        row = self.row(name)
        if row.reason:
            return
        try:
            figure, facts = measure()
        except NotMeasured as why:
            row.rounds, row.reason = [], str(why)
            self.say(f"{name}: not measured: {why}")
            return
        row.rounds.append(figure)
        for key, value in facts.items():
            row.facts[key] = max(value, row.facts.get(key, value))
        self.say(f"{name}: {figure:.{DIGITS[self.unit]}f} {self.unit}")


@dataclass
class Table:
    section: str
    title: str
    meaning: str  # of the ratios
    rows: list

    def document(self):
        rows = [row.document() for row in self.rows]
        return {"section": self.section, "title": self.title, "ratios": self.meaning, "rows": rows}

    def markdown(self):
        against = list(dict.fromkeys(name for row in self.rows for name in row.ratios))
        memory = any("peak_rss_bytes" in row.facts for row in self.rows)
        heads = ["", "median", "least to most", *(f"to {name}" for name in against), *(["peak memory"] if memory else [])]
        lines = [heads, ["---", *["---:"] * (len(heads) - 1)]]
        for row in self.rows:
            if not row.rounds:
                lines.append([row.name, f"not measured: {row.reason}", *[""] * (len(heads) - 2)])
                continue
            least, median, most = (f"{value:.{DIGITS[row.unit]}f}" for value in (min(row.rounds), row.median, max(row.rounds)))
            cells = [row.name, f"{median} {row.unit}", f"{least} to {most}"]
            cells += [ratio(row.ratios[name]) if name in row.ratios else "" for name in against]
            if memory:
                cells.append(size(row.facts["peak_rss_bytes"]) if "peak_rss_bytes" in row.facts else "")
            lines.append(cells)
        text = "\n".join("| " + " | ".join(cells) + " |" for cells in lines)
        return f"### {self.title}\n\n{self.meaning}\n\n{text}\n"


def ratio(value):
    return f"{value:.2f} ×" if value < 9.995 else f"{value:.1f} ×"


def size(count):
    return f"{count / 1e9:.2f} GB" if count >= 999.5e6 else f"{count / 1e6:.0f} MB"


def write(path, document):
    """In one step: a run that is stopped leaves what it had measured, whole."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(path.name + ".partial")
    beside.write_text(json.dumps(document, indent=2, ensure_ascii=False) + "\n")
    os.replace(beside, path)
