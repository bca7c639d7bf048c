import json
import math
import re
import xml.etree.ElementTree

import numpy as np
import pytest

from videojam_jax.errors import UserError
from videojam_jax.measure.statistics import Estimate
from videojam_jax.report import curves, pictures, table
from videojam_jax.report.curves import LoggedRun
from videojam_jax.report.figures import Curves, Line, draw
from videojam_jax.report.page import ClipGrid, Headline, Section, write_report
from videojam_jax.report.table import Mark, Quantity, QuantityTable


def moving_square(frames=6, height=32, width=48):
    """A bright square that goes to the right over a smooth ground."""
    y, x = np.mgrid[:height, :width]
    ground = np.stack([90 + 2 * x, 90 + 2 * y, np.full_like(x, 120)], axis=-1)
    video = np.repeat(ground[None], frames, axis=0).astype(np.uint8)
    for i, frame in enumerate(video):
        frame[8:20, 2 + 3 * i : 14 + 3 * i] = (230, 40, 30)
    return video


def run_rows(steps=200, motion=True):
    rows = []
    for step in range(0, steps, 2):
        row = {"step": step, "loss": 2.0, "appearance_loss": 1 / (1 + step)}
        rows.append(row | ({"motion_loss": 2 / (1 + step)} if motion else {}))
    return rows


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    path = tmp_path_factory.mktemp("report") / "out" / "report.html"
    video = moving_square()
    measured = [
        Quantity("with a body", {"untrained": 0.0, "VideoJAM": 0.84}, "%", "seen | counted"),
        Quantity("speed", {"untrained": math.nan, "VideoJAM": 1.5}, "px/frame"),
    ]
    losses = [LoggedRun("base", run_rows(motion=False)), LoggedRun("VideoJAM", run_rows())]
    grid = ClipGrid("", ["real", "VideoJAM"], [("a red square", [video, None])], fps=8.0)
    files = write_report(
        path,
        title="A <small> report",
        headline=Headline([("real", video), ("VideoJAM", video[::-1])], "two strips"),
        sections=[
            Section("Measured", parts=[QuantityTable("", measured)]),
            Section("Losses", parts=curves.draw(losses)),
            Section("Clips", parts=[grid]),
            Section("How this was made", parts=[{"config": "configs/quickstart.py"}]),
            Section("Notes", parts=["It's <done>."]),
        ],
    )
    return path, files


def test_report_writes_html_markdown_json_and_headline_and_nothing_else(written):
    path, files = written
    assert files == [path.with_suffix(suffix) for suffix in (".html", ".md", ".json", ".png")]
    assert sorted(path.parent.iterdir()) == sorted(files)


def test_page_refers_to_nothing_outside_itself(written):
    text = written[0].read_text(encoding="utf-8")
    # Names of XML vocabularies are not addresses that anything is fetched from.
    names = r'xmlns(:\w+)?="[^"]*"|<metadata>.*?</metadata>'
    text = re.sub(names, "", text, flags=re.DOTALL)
    addresses = re.findall(r"""(?:src|href)\s*=\s*["']([^"']*)""", text)
    assert addresses
    assert all(address.startswith(("data:", "#")) for address in addresses)
    assert not re.search(r"https?://|@import|url\((?!#)", text)


def test_page_escapes_what_it_is_given(written):
    text = written[0].read_text(encoding="utf-8")
    assert "A &lt;small&gt; report" in text and "&lt;done&gt;" in text
    assert "<small> report" not in text and "<done>" not in text


def test_page_leaves_out_a_clip_that_is_none(written):
    assert written[0].read_text(encoding="utf-8").count("<img data-clip") == 1


def test_markdown_and_json_say_what_the_page_says(written):
    path, _ = written
    markdown = path.with_suffix(".md").read_text(encoding="utf-8")
    assert "| measured | untrained | VideoJAM |" in markdown
    assert "| with a body | 0 % | 84 % |" in markdown
    content = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
    assert content["measured"][0]["values"] == {"untrained": 0.0, "VideoJAM": 0.84}
    assert content["measured"][1]["values"] == {"untrained": None, "VideoJAM": 1.5}
    assert ">84 %<" in path.read_text(encoding="utf-8")


def test_same_report_has_the_same_bytes(tmp_path):
    for name in "ab":
        losses = Section("Losses", parts=curves.draw([LoggedRun("run", run_rows())]))
        write_report(tmp_path / f"{name}.html", title="t", sections=[losses])
    assert (tmp_path / "a.html").read_bytes() == (tmp_path / "b.html").read_bytes()


def test_report_of_nothing_is_a_page_with_a_title(tmp_path):
    files = write_report(tmp_path / "empty.html", title="Nothing yet")
    assert [file.suffix for file in files] == [".html", ".md", ".json"]
    assert "<section" not in files[0].read_text(encoding="utf-8")


def test_folder_that_is_a_file_is_an_error_that_names_it(tmp_path):
    (tmp_path / "taken").write_text("")
    with pytest.raises(UserError, match="taken"):
        write_report(tmp_path / "taken" / "report.html", title="t")


def test_failed_write_leaves_the_old_report_and_no_rest(tmp_path, monkeypatch):
    path = tmp_path / "report.html"
    write_report(path, title="old")
    before = sorted(tmp_path.iterdir())
    # /dev/full refuses every byte as a full disk does.
    full = "videojam_jax.files.open"
    monkeypatch.setattr(full, lambda path, mode: open("/dev/full", "wb"), raising=False)
    with pytest.raises(UserError, match="No space left"):
        write_report(path, title="new")
    assert sorted(tmp_path.iterdir()) == before
    assert "old" in path.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    "frames,height,width", [(16, 64, 64), (16, 32, 32), (3, 16, 24), (1, 8, 8), (4, 256, 256)]
)
def test_film_strips_fit_the_width_and_enlarge_by_whole_numbers(frames, height, width):
    video = moving_square(frames, height, width)
    picture = pictures.film_strips([("real", video), ("VideoJAM", video)], width=1152)
    assert picture.shape[1] <= 1152
    scale = (picture.shape[0] + 4 - 2 * 4) / (2 * height)
    assert scale == round(scale) >= 1
    # The last frame ends at the right edge, pixel by pixel.
    last = video[-1].repeat(int(scale), axis=0).repeat(int(scale), axis=1)
    corner = picture[: last.shape[0], -last.shape[1] :]
    np.testing.assert_array_equal(corner[..., :3], last)
    assert (corner[..., 3] == 255).all()


def test_metrics_of_a_killed_and_resumed_run_read_as_one_run(tmp_path):
    path = tmp_path / "metrics.jsonl"
    rows = [{"step": 10, "loss": 3.0}, {"step": 20, "loss": 2.0}, {"step": 20, "loss": 2.5}]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows) + '{"step": 30, "lo')
    assert curves.read_metrics(path) == [rows[0], rows[2]]


def test_broken_line_within_the_metrics_is_an_error_with_its_number(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"step": 1}\nnonsense\n{"step": 3}\n')
    with pytest.raises(UserError, match="line 2"):
        curves.read_metrics(path)
    with pytest.raises(UserError, match="absent.jsonl"):
        curves.read_metrics(tmp_path / "absent.jsonl")


def test_smoothing_keeps_a_constant_and_the_length():
    for n, width in [(1, 1), (5, 9), (40, 7), (3, 0)]:
        np.testing.assert_allclose(curves.smooth(np.full(n, 2.5), width), np.full(n, 2.5))


def test_drawing_is_an_svg_with_a_panel_for_each_part_of_the_loss():
    rows = run_rows()
    rows[5]["appearance_loss"] = math.nan
    runs = [LoggedRun("base", run_rows(motion=False)), LoggedRun("VideoJAM", rows)]
    (figure,) = curves.draw(runs)
    svg = figure.svg
    xml.etree.ElementTree.fromstring(svg)
    assert "Appearance loss" in svg and "Motion loss" in svg
    assert "VideoJAM" in svg and "base" in svg
    assert "currentColor" in svg and curves.TEXT_COLOUR not in svg


def test_panel_without_values_is_left_out():
    (figure,) = curves.draw([LoggedRun("base", run_rows(motion=False))])
    assert "Appearance loss" in figure.svg and "Motion loss" not in figure.svg
    assert curves.draw([LoggedRun("base", [])]) == []


def test_table_has_a_dash_where_nothing_was_measured():
    rows = [Quantity("a", {"x": 1}), Quantity("b", {"y": 12_000, "z": "n/a"})]
    assert table.models(rows) == ["x", "y", "z"]
    assert "| b | – | 12,000 | n/a |" in table.to_markdown(QuantityTable("", rows))


@pytest.mark.parametrize(
    "interval,unit,shown",
    [
        ((0.756, 0.704, 0.818), "%", "76 % [70, 82]"),
        ((0.756, 0.751, 0.761), "%", "75.6 % [75.1, 76.1]"),
        ((1.52314, 1.4602, 1.5811), "px", "1.52 [1.46, 1.58]"),
        ((12345.6, 11000.0, 13700.0), "", "12,346 [11,000, 13,700]"),
        ((-0.001, -0.06, 0.058), "", "0.00 [-0.06, 0.06]"),
        ((0.5, 0.5, 0.5), "%", "50 % [50, 50]"),
        ((0.5, math.nan, math.nan), "%", "50 %"),
        ((math.nan, math.nan, math.nan), "%", "–"),
    ],
)
def test_interval_is_shown_to_the_digits_that_it_knows(interval, unit, shown):
    assert table.show(Estimate(*interval, 8), unit) == shown


def test_mark_follows_which_way_is_better_and_needs_an_interval_without_zero():
    above, below = Estimate(0.2, 0.1, 0.3, 8), Estimate(-0.2, -0.3, -0.1, 8)
    across, unknown = Estimate(0.2, -0.1, 0.5, 8), Estimate(0.2, math.nan, math.nan, 8)
    assert [table.mark(above, b) for b in (1, -1, 0)] == ["better", "worse", "more"]
    assert [table.mark(below, b) for b in (1, -1, 0)] == ["worse", "better", "less"]
    assert {table.mark(i, b) for i in (across, unknown) for b in (1, -1, 0)} == {"undecided"}


QUANTITIES = [
    Quantity(
        "permanence | bodies",
        {"VideoJAM": Estimate(0.9, 0.83, 0.94, 128), "DiT": Estimate(0.45, 0.36, 0.53, 128)},
        "%",
        "frames <with> every body",
        {"DiT": Mark.WORSE},
    ),
    Quantity("speed", {"VideoJAM": Estimate(2.0, math.nan, math.nan, 1)}, "px/frame"),
]


def test_table_with_models_as_rows_is_the_other_one_transposed():
    def cells(models_as_rows):
        markdown = table.to_markdown(QuantityTable("", QUANTITIES, models_as_rows=models_as_rows))
        lines = [line for line in markdown.splitlines() if line.startswith("| ")]
        rows = [re.split(r" (?<!\\)\| ", line.strip("| ")) for line in lines]
        return [row for row in rows if row[0] != "---"]

    upright, turned = cells(False), cells(True)
    assert upright[0][1:] == [row[0] for row in turned[1:]] == ["VideoJAM", "DiT"]
    assert [row[0] for row in upright[1:]] == turned[0][-2:]
    assert [row[1:] for row in upright[1:]] == [
        list(column) for column in zip(*[row[1:] for row in turned[1:]], strict=True)
    ]


def test_intervals_and_marks_are_in_words_on_the_page_in_markdown_and_in_json():
    shown = QuantityTable("Rules", QUANTITIES, reference="VideoJAM", models_as_rows=True)
    page, markdown = table.to_html(shown), table.to_markdown(shown)
    assert "90 % <small title='of 128 values'>[83, 94]</small>" in page
    assert "▼ worse" in page and "Compared with VideoJAM: ▼ worse." in page
    assert "frames &lt;with&gt; every body" in page and "<with>" not in page
    assert "| DiT | 45 % [36, 53] ▼ | – |" in markdown
    assert "- Compared with VideoJAM: ▼ worse." in markdown
    assert "- In brackets: 95 % confidence interval." in markdown
    permanence, speed = table.to_json(shown)
    assert permanence["values"]["DiT"] == {"mean": 0.45, "low": 0.36, "high": 0.53, "count": 128}
    assert permanence["marks"] == {"DiT": "worse"} and permanence["reference"] == "VideoJAM"
    assert speed["values"]["VideoJAM"] == {"mean": 2.0, "low": None, "high": None, "count": 1}
    json.dumps([permanence, speed], allow_nan=False)


@pytest.fixture(scope="module")
def long_report(tmp_path_factory):
    video = moving_square(4, 300, 200)
    figure = draw([Curves("Loss", [Line("base", [0, 1], [2.0, math.nan])], "t")], "What to see.")
    rules = QuantityTable("Table 3", QUANTITIES, "As there.")
    sections = [
        Section("Rules", "Of sampling.", [rules, "Between."]),
        Section("Curves", "", [figure]),
        Section("Nothing"),
        Section("Clips", "", [ClipGrid("Large", list("abcde"), [("x", [video] * 5)], fps=8.0)]),
        Section("Facts", "", [{"config": "<c>"}]),
        Section("How this was made", "", [{"seed": 3}]),
        Section("Notes", "", ["Last."]),
    ]
    path = tmp_path_factory.mktemp("long") / "report.html"
    write_report(path, title="All", sections=sections)
    return path


def test_sections_stand_in_their_order_and_are_linked_from_the_top(long_report):
    text = long_report.read_text(encoding="utf-8")
    titles = re.findall(r"<section id='([^']+)'><h2>([^<]+)", text)
    assert [title for _, title in titles] == [
        "Rules", "Curves", "Clips", "Facts", "How this was made", "Notes",
    ]  # fmt: skip
    links = re.findall(r"<a href='#([^']+)'>([^<]+)", text)
    assert links == titles
    order = ["Of sampling.", "Table 3", "As there.", "Between.", "What to see.", "Large", "Last."]
    places = [text.index(words) for words in order]
    assert places == sorted(places)


def test_markdown_and_json_have_every_table_and_the_numbers_of_every_figure(long_report):
    markdown = long_report.with_suffix(".md").read_text(encoding="utf-8")
    assert "\n## Rules\n\nOf sampling.\n\n### Table 3\n\nAs there.\n\n| measured |" in markdown
    assert "\n\nBetween.\n" in markdown and "*What to see.*" in markdown
    assert "## Clips" not in markdown and "- config: <c>" in markdown
    content = json.loads(long_report.with_suffix(".json").read_text(encoding="utf-8"))
    assert [(q["section"], q["table"]) for q in content["measured"]] == [("Rules", "Table 3")] * 2
    (figure,) = content["figures"]
    assert figure["caption"] == "What to see."
    assert figure["panels"][0]["lines"] == [{"name": "base", "x": [0, 1], "mean": [2.0, None]}]
    assert content["facts"] == {"config": "<c>", "seed": "3"}
    assert content["notes"] == ["Between.", "Last."]


def test_large_clips_are_made_smaller_until_a_row_fits_the_page(long_report):
    sizes = re.findall(r"width='(\d+)' height='(\d+)'", long_report.read_text(encoding="utf-8"))
    assert sizes == [("149", "224")] * 5


def test_short_report_has_no_list_of_contents(written):
    assert "<nav>" not in written[0].read_text(encoding="utf-8")
