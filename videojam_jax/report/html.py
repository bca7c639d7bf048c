"""Pieces of a web page that needs nothing beside itself."""

import base64
import html
import importlib.resources
from collections.abc import Iterable, Mapping, Sequence


def data_uri(content: bytes, kind: str) -> str:
    """The address of a file that is written out in the address.

    >>> data_uri(b"GIF89a", "image/gif")
    'data:image/gif;base64,R0lGODlh'
    """
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


def tile(gif: bytes, label: str, *, alt: str, width: int, height: int) -> str:
    """One animated clip with its label; page.js starts all of a page together."""
    return (
        f"<figure><img data-clip src='{data_uri(gif, 'image/gif')}' alt='{html.escape(alt)}' "
        f"width='{width}' height='{height}'><figcaption>{html.escape(label)}</figcaption></figure>"
    )


def headline(png: bytes, caption: str, *, alt: str, width: int) -> str:
    """The picture at the top, no wider than the page."""
    words = f"<figcaption>{html.escape(caption)}</figcaption>" if caption else ""
    return (
        f"<figure class='headline'><img src='{data_uri(png, 'image/png')}' "
        f"alt='{html.escape(alt)}' width='{width}'>{words}</figure>"
    )


def card(content: str, caption: str) -> str:
    """Things that belong together, over what they are."""
    words = f"<p>{html.escape(caption)}</p>" if caption else ""
    return f"<article><div class='tiles'>{content}</div>{words}</article>"


def section(title: str, content: str, text: str = "", *, anchor: str = "") -> str:
    """A titled stretch of the page; `contents` links to its anchor."""
    words = f"<p>{html.escape(text)}</p>" if text else ""
    return f"<section id='{anchor}'><h2>{html.escape(title)}</h2>{words}{content}</section>"


def titled(title: str, content: str, text: str = "") -> str:
    """A part of a section, under its own title if it has one."""
    heading = f"<h3>{html.escape(title)}</h3>" if title else ""
    words = f"<p>{html.escape(text)}</p>" if text else ""
    return f"{heading}{words}{content}"


def drawing(svg: str, caption: str) -> str:
    """A drawing that scrolls where the page is narrower, over what to see in it."""
    words = f"<figcaption>{html.escape(caption)}</figcaption>" if caption else ""
    return f"<figure class='drawing'><div class='wide'>{svg}</div>{words}</figure>"


def definitions(facts: Mapping[str, object]) -> str:
    """Names and values in two columns."""
    rows = "".join(
        f"<dt>{html.escape(name)}</dt><dd>{html.escape(str(value))}</dd>"
        for name, value in facts.items()
    )
    return f"<dl>{rows}</dl>" if rows else ""


def paragraphs(texts: Sequence[str]) -> str:
    """Each text as a paragraph."""
    return "".join(f"<p>{html.escape(text)}</p>" for text in texts)


def contents(titles: Mapping[str, str]) -> str:
    """Links to sections: from each anchor to its title."""
    links = (f"<a href='#{anchor}'>{html.escape(title)}</a>" for anchor, title in titles.items())
    return f"<nav>{''.join(links)}</nav>"


def page(title: str, parts: Iterable[str]) -> str:
    """The whole page: style and script are written into it."""
    here = importlib.resources.files(__package__)
    style = (here / "page.css").read_text(encoding="utf-8")
    script = (here / "page.js").read_text(encoding="utf-8")
    return (
        "<!doctype html>\n<html lang='en'>\n<head>\n<meta charset='utf-8'>\n"
        "<meta name='viewport' content='width=device-width, initial-scale=1'>\n"
        "<meta name='color-scheme' content='light dark'>\n"
        f"<title>{html.escape(title)}</title>\n<style>\n{style}</style>\n</head>\n<body>\n<main>\n"
        f"<h1>{html.escape(title)}</h1>\n" + "\n".join(parts) + "\n</main>\n"
        f"<script>\n{script}</script>\n</body>\n</html>\n"
    )
