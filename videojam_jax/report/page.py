"""A report: what a run made and measured, on one page.

`write_report` takes sections of tables, figures and clips and writes three files that say
the same: `NAME.html` (everything, in one file, without a network), `NAME.md` (the words and
the tables) and `NAME.json` (all numbers), and the headline picture as `NAME.png`.
"""

import dataclasses
import json
import pathlib
from collections.abc import Mapping, Sequence

import cv2
import numpy as np
from jaxtyping import UInt8

from videojam_jax.data.video_file import gif_bytes
from videojam_jax.files import cannot_write, write_whole
from videojam_jax.report import html, pictures, table
from videojam_jax.report.figures import Figure
from videojam_jax.report.table import QuantityTable

# Small clips are enlarged by a whole number, to about this many pixels.
TILE = 128
# Large ones are made smaller until a row fits the page, but no smaller than a tile.
ROW = 1120
# A page of more sections than this begins with links to them.
CONTENTS_FROM = 5
# To be said where flow is shown.
FLOW_COLOURS = (
    "In the flow, hue is the direction and brightness the speed; what stands still is black."
)


@dataclasses.dataclass(frozen=True)
class Headline:
    """The picture at the top: labelled clips, drawn as strips of frames."""

    strips: Sequence[tuple[str, UInt8[np.ndarray, "_t _h _w 3"]]]
    caption: str = ""


@dataclasses.dataclass(frozen=True)
class ClipGrid:
    """Clips side by side, one row for each prompt.

    Attributes:
      title: heading of this part; may be empty where a section has only this.
      labels: what each clip of a row is ("real", "VideoJAM", "its flow").
      rows: `(caption, clips)`, as many clips as labels; None leaves one out.
      fps: frames a second of all of them.
    """

    title: str
    labels: Sequence[str]
    rows: Sequence[tuple[str, Sequence[UInt8[np.ndarray, "_t _h _w 3"] | None]]]
    fps: float


# A string is a paragraph, a mapping names and values in two columns.
Part = QuantityTable | Figure | ClipGrid | str | Mapping[str, object]


@dataclasses.dataclass(frozen=True)
class Section:
    """A titled stretch of the page; one without parts is left out.

    Attributes:
      text: a sentence or two under the title.
      parts: in their order on the page.
    """

    title: str
    text: str = ""
    parts: Sequence[Part] = ()


def write_report(
    path: pathlib.Path,
    *,
    title: str,
    headline: Headline | None = None,
    sections: Sequence[Section] = (),
) -> list[pathlib.Path]:
    """Writes the report and names what it wrote.

    Args:
      path: `.../NAME.html`; its folder is made if need be.
      headline: the first thing to see.
      sections: what else there is, in its order.

    Returns:
      The files: HTML, Markdown, JSON, and PNG where there is a headline.

    Raises:
      UserError: a file cannot be written; none is left half-written.
    """
    sections = [section for section in sections if section.parts]
    files: dict[str, bytes] = {}
    parts = []
    if headline is not None:
        picture = pictures.film_strips(headline.strips)
        files[".png"] = pictures.png_bytes(picture)
        labels = ", ".join(label for label, _ in headline.strips)
        parts.append(
            html.headline(files[".png"], headline.caption, alt=labels, width=picture.shape[1])
        )
    anchors = {f"part-{i}": section for i, section in enumerate(sections, start=1)}
    if len(sections) > CONTENTS_FROM:
        parts.append(html.contents({anchor: s.title for anchor, s in anchors.items()}))
    for anchor, section in anchors.items():
        content = "".join(map(_html, section.parts))
        parts.append(html.section(section.title, content, section.text, anchor=anchor))
    files[".html"] = html.page(title, parts).encode()
    files[".md"] = f"# {title}\n{''.join(map(_markdown, sections))}".encode()
    content = {"title": title, **_json(sections)}
    files[".json"] = (json.dumps(content, indent=2, ensure_ascii=False) + "\n").encode()
    with cannot_write(path):
        path.parent.mkdir(parents=True, exist_ok=True)
    # The page goes last: where it stands, the others do too.
    order = [".png", ".json", ".md", ".html"]
    for suffix in order:
        if suffix in files:
            write_whole(path.with_suffix(suffix), files[suffix])
    return [path.with_suffix(suffix) for suffix in reversed(order) if suffix in files]


def _html(part: Part) -> str:
    match part:
        case QuantityTable():
            return html.titled(part.title, table.to_html(part), part.text)
        case Figure():
            return html.drawing(part.svg, part.caption)
        case ClipGrid():
            return html.titled(part.title, _cards(part))
        case str():
            return html.paragraphs([part])
        case _:
            return html.definitions(part)


def _markdown(section: Section) -> str:
    """The words and tables of a section; empty where it has only pictures."""
    blocks = []
    for part in section.parts:
        match part:
            case QuantityTable():
                heading = [f"### {part.title}"] if part.title else []
                blocks += [*heading, *filter(None, [part.text]), table.to_markdown(part).rstrip()]
            case Figure() if part.caption:
                blocks.append(f"*{part.caption}*")
            case str():
                blocks.append(part)
            case Mapping():
                blocks.append("\n".join(f"- {name}: {value}" for name, value in part.items()))
    if not blocks:
        return ""
    return "".join(
        f"\n{block}\n" for block in [f"## {section.title}", *filter(None, [section.text]), *blocks]
    )


def _json(sections: Sequence[Section]) -> dict[str, object]:
    """The numbers of all tables, and of all figures that say theirs; the facts and the words."""
    measured, figures, facts, notes = [], [], {}, []
    for section in sections:
        where = {"section": section.title}
        for part in section.parts:
            match part:
                case QuantityTable():
                    measured += [where | quantity for quantity in table.to_json(part)]
                case Figure() if part.numbers:
                    figures.append(where | {"caption": part.caption, "panels": list(part.numbers)})
                case str():
                    notes.append(part)
                case Mapping():
                    facts |= {name: str(value) for name, value in part.items()}
    return {"measured": measured, "figures": figures, "facts": facts, "notes": notes}


def _cards(grid: ClipGrid) -> str:
    """Every row of a grid as a card."""
    cards = []
    largest = max(TILE, ROW // max(1, len(grid.labels)))
    for caption, clips in grid.rows:
        tiles = []
        for label, clip in zip(grid.labels, clips, strict=True):
            if clip is None:
                continue
            shown = _at_most(clip, largest)
            _, height, width, _ = shown.shape
            scale = max(1, TILE // max(height, width))
            tiles.append(
                html.tile(
                    gif_bytes(shown, grid.fps),
                    label,
                    alt=f"{label}: {caption}",
                    width=scale * width,
                    height=scale * height,
                )
            )
        cards.append(html.card("".join(tiles), caption))
    return f"<div class='cards'>{''.join(cards)}</div>" if cards else ""


def _at_most(
    clip: UInt8[np.ndarray, "t h w 3"], size: int
) -> UInt8[np.ndarray, "t height width 3"]:
    """The clip, made smaller where its longer side has more than `size` pixels."""
    height, width = clip.shape[1:3]
    if max(height, width) <= size:
        return clip
    scale = size / max(height, width)
    shape = (max(1, round(scale * width)), max(1, round(scale * height)))
    return np.stack([cv2.resize(image, shape, interpolation=cv2.INTER_AREA) for image in clip])
