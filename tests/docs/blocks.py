"""Code blocks of a page, and what the comments before them ask for."""

import dataclasses
import re

FENCE = re.compile(r"^(?P<indent> *)(?P<fence>`{3,})(?P<language>\S*)[^`\n]*\n(?P<text>.*?)^(?P=indent)(?P=fence)\s*$", re.MULTILINE | re.DOTALL)
# The comments that stand directly before a fence, one a line.
COMMENTS = re.compile(r"(?:^ *<!--.*?--> *\n)+\Z", re.MULTILINE)
DIRECTIVE = re.compile(r"<!--\s*(run|expect|file|from|not run):\s*(.*?)\s*-->")
SERVERS = re.compile(r"^<!-- with: (.*?) -->$", re.MULTILINE)


@dataclasses.dataclass(frozen=True)
class Block:
    """`line` counts from 1. Each directive is None unless the page has it."""

    language: str
    text: str
    line: int
    run: str | None = None
    expect: str | None = None
    file: str | None = None
    source: str | None = None
    not_run: str | None = None


def servers(page):
    """What the page's blocks need: some of "node" and "redis"."""
    found = SERVERS.search(page)
    return [name.strip() for name in found[1].split(",")] if found else []


def blocks(page):
    for fence in FENCE.finditer(page):
        comments = COMMENTS.search(page, 0, fence.start())
        given = dict(DIRECTIVE.findall(comments[0])) if comments else {}
        indent = len(fence["indent"])
        text = "".join(line[indent:] if line[:indent].isspace() else line for line in fence["text"].splitlines(keepends=True))
        yield Block(
            fence["language"],
            text,
            page.count("\n", 0, fence.start()) + 1,
            run=given.get("run"),
            expect=given.get("expect"),
            file=given.get("file"),
            source=given.get("from"),
            not_run=given.get("not run"),
        )


def is_excerpt(text, source):
    """Whether `text` is some consecutive lines of `source`, whatever their indentation."""

    def lines(of):
        return [line.strip() for line in of.strip().splitlines()]

    wanted, there = lines(text), lines(source)
    return any(there[at : at + len(wanted)] == wanted for at in range(len(there) - len(wanted) + 1))
