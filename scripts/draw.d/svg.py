"""Turns a drawing in letters into SVG on standard output. The arguments: its name, its file.

Lines are - and |, they meet in +, and end in < > ^ v; closed boxes are filled. Everything else is text. A letter is
a part of a line only where it touches one, so that --inetd and a word with a v in it stay words.
"""

import sys
from xml.sax.saxutils import escape

WIDE, HIGH = 9, 18
"""Of one letter, in pixels."""

# Greys that can be read on white and on black, for who shows neither scheme.
STYLE = """
text { font: 14px ui-monospace, "DejaVu Sans Mono", Menlo, Consolas, monospace; fill: #7a8591; white-space: pre }
.name { font-weight: 700; fill: #2f81c9 }
.line { fill: none; stroke: #7d8590; stroke-width: 1.5 }
.tip { fill: #7d8590 }
.box { fill: #7d8590; fill-opacity: 0.1 }
@media (prefers-color-scheme: light) { text { fill: #32383f } .name { fill: #0b5cad } }
@media (prefers-color-scheme: dark) { text { fill: #c9d1d9 } .name { fill: #6cb6ff } }
"""

LEFT, RIGHT, UP, DOWN = (-1, 0), (1, 0), (0, -1), (0, 1)
TIPS = {"<": RIGHT, ">": LEFT, "^": DOWN, "v": UP}
"""Where the line of a tip comes from."""


class Drawing:
    def __init__(self, text):
        self.rows = text.rstrip("\n").split("\n")
        self.high = len(self.rows)
        self.wide = max(len(row) for row in self.rows)
        self.lines = {}
        for y in range(self.high):
            for x in range(self.wide):
                self.look_at(x, y)

    def at(self, x, y):
        return self.rows[y][x] if 0 <= y < self.high and 0 <= x < len(self.rows[y]) else " "

    def look_at(self, x, y):
        """Notes towards which neighbours there is a line in this place."""
        letter = self.at(x, y)
        if letter == "-" and self.is_rule(x, y):
            self.lines[x, y] = {LEFT, RIGHT}
        elif letter == "|":
            self.lines[x, y] = {UP, DOWN}
        elif letter == "+":
            self.lines[x, y] = {way for way in (LEFT, RIGHT, UP, DOWN) if self.meets(x, y, way)}
        elif letter in TIPS and self.is_tip(x, y, letter):
            self.lines[x, y] = {TIPS[letter]}

    def is_rule(self, x, y):
        """Whether the dashes around this one begin or end in something that a line can end in."""
        left, right = x, x
        while self.at(left - 1, y) == "-":
            left -= 1
        while self.at(right + 1, y) == "-":
            right += 1
        return self.at(left - 1, y) in "+|<" and self.at(right + 1, y) in "+|>"

    def is_tip(self, x, y, letter):
        alone = not (self.at(x - 1, y).isalnum() or self.at(x + 1, y).isalnum())
        across, down = TIPS[letter]
        before = self.at(x + across, y + down)
        return before in ("-+" if across else "|+^v") and (alone or across)

    def meets(self, x, y, way):
        across, down = way
        other = self.at(x + across, y + down)
        return other in ("-+<>" if across else "|+^v")

    def boxes(self):
        """Left, top, right and bottom of every closed rectangle with nothing but its own corners in its corners."""
        corners = [place for place, ways in self.lines.items() if self.at(*place) == "+" and {RIGHT, DOWN} <= ways]
        for left, top in corners:
            for right in range(left + 1, self.wide):
                if self.at(right, top) not in "-+" or (right, top) not in self.lines:
                    break
                if self.at(right, top) == "+" and {LEFT, DOWN} <= self.lines[right, top]:
                    bottom = self.bottom(left, top, right)
                    if bottom:
                        yield left, top, right, bottom
                    break

    def bottom(self, left, top, right):
        for y in range(top + 1, self.high):
            if self.at(left, y) == "+" and self.at(right, y) == "+":
                rule = all((x, y) in self.lines and self.at(x, y) in "-+" for x in range(left, right + 1))
                return y if rule else None
            if self.at(left, y) not in "|+>" or self.at(right, y) not in "|+<":
                return None
        return None

    def strokes(self):
        """The lines, each as long as it goes: two points in half letters."""
        for way, step in ((RIGHT, LEFT), (DOWN, UP)):
            halves = set()
            for (x, y), ways in self.lines.items():
                place = (2 * x, 2 * y)
                if way in ways:
                    halves.add(place)
                if step in ways:
                    halves.add((place[0] - way[0], place[1] - way[1]))
            for start in sorted(halves):
                if (start[0] - way[0], start[1] - way[1]) in halves:
                    continue
                end = start
                while end in halves:
                    end = (end[0] + way[0], end[1] + way[1])
                yield start, end

    def words(self):
        """Every run of text with where it begins; two blanks or a line end it."""
        for y, row in enumerate(self.rows):
            x = 0
            while x < len(row):
                if row[x] == " " or (x, y) in self.lines:
                    x += 1
                    continue
                end = x
                while end < len(row) and (end, y) not in self.lines and row[end : end + 2].strip():
                    end += 1
                yield x, y, row[x:end].rstrip()
                x = end


def svg(name, drawing):
    wide, high = (drawing.wide + 1) * WIDE, (drawing.high + 1) * HIGH
    boxes = sorted(set(drawing.boxes()))
    titles = {(left + 2, top + 1) for left, top, _, _ in boxes}
    yield (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{wide}" height="{high}" '
        f'viewBox="0 0 {wide} {high}" role="img" aria-label="{escape(name)}">'
    )
    yield f"<style>{STYLE}</style>"
    for left, top, right, bottom in boxes:
        x, y = middle(2 * left, 2 * top)
        yield f'<rect class="box" x="{x:g}" y="{y:g}" width="{(right - left) * WIDE}" height="{(bottom - top) * HIGH}" rx="3"/>'
    for start, end in drawing.strokes():
        (x1, y1), (x2, y2) = middle(*start), middle(*end)
        yield f'<path class="line" d="M{x1:g} {y1:g}L{x2:g} {y2:g}"/>'
    for (x, y), ways in drawing.lines.items():
        if drawing.at(x, y) in TIPS:
            yield tip(x, y, TIPS[drawing.at(x, y)])
    for x, y, text in drawing.words():
        kind = ' class="name"' if (x, y) in titles and " " not in text else ""
        left, base = (x + 0.5) * WIDE, (y + 1) * HIGH + 5
        yield f'<text{kind} x="{left:g}" y="{base:g}" textLength="{len(text) * WIDE}">{escape(text)}</text>'
    yield "</svg>"


def middle(half_x, half_y):
    """The middle of a letter; its place is counted in half letters."""
    return (half_x / 2 + 1) * WIDE, (half_y / 2 + 1) * HIGH


def tip(x, y, line):
    """A triangle that looks away from its line."""
    (mx, my), (across, down) = middle(2 * x, 2 * y), (-line[0], -line[1])
    points = [
        (mx + across * 6, my + down * 6),
        (mx - across * 5 + down * 4.5, my - down * 5 + across * 4.5),
        (mx - across * 5 - down * 4.5, my - down * 5 - across * 4.5),
    ]
    return '<path class="tip" d="M{}Z"/>'.format("L".join(f"{px:g} {py:g}" for px, py in points))


if __name__ == "__main__":
    with open(sys.argv[2], encoding="utf-8") as drawing:
        print(*svg(sys.argv[1], Drawing(drawing.read())), sep="\n")
