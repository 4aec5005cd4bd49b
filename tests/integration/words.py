"""The tables of server/README.md that tests hold against the code and against every answer."""

import pathlib
import re

README = pathlib.Path(__file__).resolve().parents[2] / "server" / "README.md"


def rows(title):
    """The cells of each row of all tables whose first column has that title."""
    tables = README.read_text(encoding="utf-8").split(f"\n| {title} |")[1:]
    assert tables, title
    for table in tables:
        for line in table.split("\n\n")[0].splitlines()[2:]:
            yield [cell.strip() for cell in line.strip("|").split("|")]


def names(title):
    found = [name for cells in rows(title) for name in re.findall(r"`([^`]+)`", cells[0])]
    assert len(found) == len(set(found)), f"{title}: something has two rows"
    return set(found)


def lacking(found, rows):
    """Of what was found, what has no row: neither of its own, nor of its beginning (`x-forwarded-*`)."""
    beginnings = tuple(row.removesuffix("-*") for row in rows if row.endswith("-*"))
    return {name for name in found - rows if not beginnings or not name.startswith(beginnings)}
