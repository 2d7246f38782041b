"""The grid of jobs: message size x sessions at once x connection per message or reused."""

from dataclasses import dataclass

SIZES = (1024, 10240, 102400)
SESSIONS = (1, 20, 100, 500)


@dataclass(frozen=True)
class Cell:
    size: int
    sessions: int
    reuse: bool

    def name(self):
        return f"{self.size // 1024} KB, {self.sessions} sessions, {'reused' if self.reuse else 'new'}"


def full():
    return [Cell(size, sessions, reuse) for reuse in (True, False) for size in SIZES for sessions in SESSIONS]


def quick():
    return [Cell(1024, 100, True), Cell(10240, 100, True)]


def parse(text):
    """ "1:100:reuse,10:20:new" (KB, sessions, connections) """
    cells = []
    for part in text.split(","):
        size, sessions, connections = part.split(":")
        if connections not in ("reuse", "new"):
            raise ValueError(f'"{part}": want KB:SESSIONS:reuse or KB:SESSIONS:new')
        cells.append(Cell(int(size) * 1024, int(sessions), connections == "reuse"))
    return cells
