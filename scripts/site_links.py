"""Lets the site link to files of the repository outside docs/, as its pages do on GitHub: copies of those files go into the site.

A link to a folder outside docs/ loses its target in the site, which has no page for it.
"""

import os
import pathlib
import re
import shutil

LINK = re.compile(r"(?<!!)\[([^\]]*)\]\(([^)\s#]+)(#[^)\s]*)?\)")

_copied = {}


def on_pre_build(config):
    _copied.clear()


def on_page_markdown(markdown, page, config, files):
    docs = pathlib.Path(config.docs_dir)
    root = docs.parent
    folder = (docs / page.file.src_uri).parent

    def replaced(link):
        text, target, _ = link.groups()
        path = pathlib.Path(os.path.normpath(folder / target))
        if "://" in target or path.is_relative_to(docs) or not path.is_relative_to(root):
            return link[0]
        if path.is_dir():
            return text
        if not path.is_file():
            return link[0]  # the build reports it
        # Markdown and code alike as plain text, which every browser shows.
        name = "files/" + path.relative_to(root).as_posix() + ".txt"
        _copied[name] = path
        depth = len(pathlib.PurePosixPath(page.url).parts)
        return f"[{text}](<{'../' * depth}{name}>){{target=_blank}}"

    return LINK.sub(replaced, markdown)


def on_post_build(config):
    for name, path in _copied.items():
        target = pathlib.Path(config.site_dir) / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, target)
