"""Lets the site link to files of the repository outside docs/, as its pages do on GitHub: copies of those files are part of the site.

A link to a folder outside docs/ loses its target in the site, which has no page for it.
"""

import os
import pathlib
import re

from mkdocs.structure.files import File

LINK = re.compile(r"(?<!!)\[([^\]]*)\]\(([^)\s#]+)(#[^)\s]*)?\)")


def outside(target, page, config):
    """The file or folder of the repository that a page's link leads to, or None if it is part of the site or of another one."""
    docs = pathlib.Path(config.docs_dir)
    path = pathlib.Path(os.path.normpath((docs / page.src_uri).parent / target))
    if "://" in target or path.is_relative_to(docs) or not path.is_relative_to(docs.parent):
        return None
    return path if path.exists() else None  # a broken link is reported by the build


def copy_of(path, config):
    """As plain text, code and Markdown alike: every browser shows that."""
    return f"files/{path.relative_to(pathlib.Path(config.docs_dir).parent).as_posix()}.txt"


def on_files(files, config):
    for page in files.documentation_pages():
        for _, target, _ in LINK.findall(page.content_string):
            path = outside(target, page, config)
            if path and path.is_file() and not files.get_file_from_path(copy_of(path, config)):
                files.append(File.generated(config, copy_of(path, config), abs_src_path=str(path)))
    return files


def on_page_markdown(markdown, page, config, files):
    def replaced(link):
        text, target, _ = link.groups()
        path = outside(target, page.file, config)
        if path is None:
            return link[0]
        if path.is_dir():
            return text
        relative = os.path.relpath(copy_of(path, config), os.path.dirname(page.file.src_uri))
        return f"[{text}]({relative})"

    return LINK.sub(replaced, markdown)
