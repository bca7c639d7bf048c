"""The page in a real browser: Chromium, without a screen, driven by the `playwright` package."""

import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from videojam_jax.measure.statistics import wilson
from videojam_jax.vote.questions import NAMES
from videojam_jax.vote.server import running
from videojam_jax.vote.table import results

pytestmark = pytest.mark.browser

ROOT = Path(__file__).resolve().parents[3]
NAMES_OF_CHROMIUM = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
OPTIONS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
]  # fmt: skip
READY = "body:not([aria-busy]) #clips[aria-busy=false], body:not([aria-busy]) #end:not([hidden])"


@pytest.fixture(scope="module")
def chromium():
    sync_api = pytest.importorskip("playwright.sync_api", reason="needs `pip install playwright`")
    path = next(filter(None, map(shutil.which, NAMES_OF_CHROMIUM)), None)
    if path is None:
        pytest.skip("needs Chromium (Debian: `apt-get install chromium`)")
    with sync_api.sync_playwright() as playwright:

        @contextlib.contextmanager
        def browser(profile):
            """A page of a browser that remembers nothing; it must not complain."""
            context = playwright.chromium.launch_persistent_context(
                profile, executable_path=path, headless=True, args=OPTIONS,
                viewport={"width": 1200, "height": 800},
            )  # fmt: skip
            context.set_default_timeout(20_000)
            page = context.new_page()
            page.errors, page.asked = [], []
            page.on("pageerror", lambda error: page.errors.append(str(error)))
            page.on("request", lambda request: page.asked.append(request.url))
            try:
                yield page
            finally:
                context.close()
            assert page.errors == []

        yield browser


def enter(page, address, name):
    page.goto(address)
    page.wait_for_selector("#welcome:not([hidden])")
    page.keyboard.type(name)  # the field has the focus
    page.keyboard.press("Enter")
    ready(page)


def ready(page):
    """Waits until the last action is confirmed and the clips are there."""
    page.wait_for_selector(READY, state="attached")


def press(page, key):
    page.keyboard.press(key)
    ready(page)


def current(page):
    """The question that is marked as the one to be answered."""
    return page.locator(".question.current").get_attribute("data-name")


def pressed(page):
    """From question to the side that is shown as chosen."""
    chosen = page.locator(".question button[aria-pressed=true]").all()
    return {
        button.locator("xpath=..").get_attribute("data-name"): button.get_attribute("data-side")
        for button in chosen
    }


SERVE = """
import sys
from pathlib import Path
from videojam_jax.vote.server import serve
serve(*map(Path, sys.argv[1:4]), names=("jam", "base"), port=int(sys.argv[4]),
      tell=lambda line: print(line, flush=True))
"""


@contextlib.contextmanager
def server_process(a, b, votes, port=0):
    """A server in a process of its own, killed with SIGKILL at the end; gives its address."""
    process = subprocess.Popen(
        [sys.executable, "-c", SERVE, a, b, votes, str(port)],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        for line in process.stdout:
            if found := re.search(r"http://\S+:(\d+)/", line):
                yield found[0], int(found[1])
                break
        else:
            pytest.fail("the server did not start")
    finally:
        process.kill()
        assert process.wait(timeout=20) == -signal.SIGKILL
        process.stdout.close()


class Voter:
    """Answers as a person does, and notes which model each answer was for, by the clip's bytes."""

    def __init__(self, page, folder_of_a):
        self.page = page
        self.of_a = {path.read_bytes() for path in folder_of_a.glob("*.mp4")}
        self.chosen = []  # (question, "a" or "b")

    def a_side(self):
        sides = []
        for side in ("left", "right"):
            address = self.page.locator(f"#{side} video").evaluate("clip => clip.src")
            if self.page.request.get(address).body() in self.of_a:
                sides.append(side)
        (side,) = sides  # A's clip is on one side, and on that alone
        return side

    def note(self, side):
        self.chosen.append((current(self.page), "a" if side == self.a_side() else "b"))

    def vote(self, key):
        self.note({"ArrowLeft": "left", "1": "left"}.get(key, "right"))
        press(self.page, key)

    def click(self, side):
        self.note(side)
        self.page.locator(f".question.current button[data-side={side}]").click()
        ready(self.page)

    def take_back(self):
        press(self.page, "Backspace")
        self.chosen.pop()


def test_two_raters_vote_by_keyboard_through_kills_and_the_table_counts_every_vote(
    chromium, tmp_path, vbench
):
    prompts = ["one", "two", "three", "four"]
    a = vbench(tmp_path / "a", prompts, shade=60)
    b = vbench(tmp_path / "b", prompts, shade=150)
    votes = tmp_path / "votes.sqlite"

    # Anna answers two pairs and a question, wavers once, and closes the browser; the server is
    # killed.
    with server_process(a, b, votes) as (address, port):
        with chromium(tmp_path / "profile 1") as page:
            enter(page, address, "Anna")
            assert page.locator("#place").inner_text() == "1 of 4"
            anna = Voter(page, a)
            for key in ("ArrowLeft", "2", "1"):
                anna.vote(key)
            anna.take_back()
            assert page.locator("#place").inner_text() == "1 of 4"
            assert (pressed(page), current(page)) == (
                {"text": "left", "quality": "right"}, "motion",
            )  # fmt: skip
            for key in ("ArrowRight", "ArrowRight", "ArrowLeft", "1", "2"):
                anna.vote(key)
            assert page.locator("#place").inner_text() == "3 of 4"

    with server_process(a, b, votes, port) as (address, _):
        with chromium(tmp_path / "profile 2") as page:
            enter(page, address, " anna ")  # another browser, and not quite the same spelling
            assert page.locator("#place").inner_text() == "3 of 4"
            assert (pressed(page), current(page)) == ({"text": "right"}, "quality")
            anna.page = page
            for key in ("1", "ArrowLeft", "2", "2", "2"):
                anna.vote(key)
            assert "You answered 4 of 4 pairs." in page.locator("#end").inner_text()
            assert len(anna.chosen) == 12
            page.keyboard.press("Tab")
            page.keyboard.press("Tab")
            page.keyboard.press("Enter")  # "Someone else"
            page.wait_for_selector("#welcome:not([hidden])")

    # Bela's page stays open while the server is killed.
    with contextlib.ExitStack() as first:
        address, port = first.enter_context(server_process(a, b, votes))
        with chromium(tmp_path / "profile 3") as page:
            enter(page, address, "Bela")
            bela = Voter(page, a)
            bela.vote("ArrowLeft")
            bela.click("right")
            bela.vote("2")
            press(page, "s")
            assert page.locator("#place").inner_text() == "3 of 4"
            for key in ("1", "1"):
                bela.vote(key)
            first.close()
            press(page, "2")
            assert "does not answer" in page.locator("#notice").inner_text()
            assert current(page) == "motion"  # not shown as given
            with server_process(a, b, votes, port):
                bela.vote("2")
                assert page.locator("#notice").is_hidden()
                assert page.locator("#place").inner_text() == "4 of 4"
                bela.vote("1")
                page.reload()  # the address knows who it is
                ready(page)
                assert (pressed(page), current(page)) == ({"text": "left"}, "quality")
                bela.vote("2")
            assert len(bela.chosen) == 8

    found = results(votes)
    assert found.names == ("jam", "base")
    assert [(r.name, r.complete, r.skipped) for r in found.raters] == [
        ("Anna", 4, 0), ("Bela", 2, 1),
    ]  # fmt: skip
    for name in NAMES:
        choices = [choice for voter in (anna, bela) for q, choice in voter.chosen if q == name]
        answers = found.questions[name]
        assert (answers.for_a, answers.votes) == (choices.count("a"), len(choices)), name
        assert answers.share == wilson(choices.count("a"), len(choices))
    assert sum(answers.votes for answers in found.questions.values()) == 20
    for rater, voter in zip(found.raters, (anna, bela), strict=True):
        for_a = {name: voter.chosen.count((name, "a")) for name in NAMES}
        assert rater.for_a == for_a


@pytest.fixture
def shown(chromium, started, tmp_path):
    """A page on which Anna has her first pair before her."""
    with started() as address, chromium(tmp_path / "profile") as page:
        enter(page, address, "Anna")
        yield page


def test_both_clips_play_together_again_and_again_and_large_with_square_pixels(shown):
    clips = shown.locator("video")
    assert clips.count() == 2
    # Half a second long: that they play at a time after several lengths shows that they loop.
    shown.evaluate(
        """() => {
          window.starts = [];
          for (const clip of document.querySelectorAll("video"))
            clip.addEventListener("play", () => starts.push([clip, performance.now()]));
        }"""
    )
    shown.wait_for_timeout(2_000)
    starts = shown.evaluate(
        "() => starts.map(([clip, time]) => [clip.closest('figure').id, time])"
    )
    assert len(starts) >= 4
    for (side, time), (other, same) in zip(starts[::2], starts[1::2], strict=False):
        assert {side, other} == {"left", "right"} and abs(time - same) < 50
    for clip in clips.all():
        width, crisp = clip.evaluate(
            "clip => [clip.getBoundingClientRect().width, getComputedStyle(clip).imageRendering]"
        )
        assert width >= 256 and width % 16 == 0 and crisp == "pixelated"
    shown.evaluate(
        """() => {
          const clips = [...document.querySelectorAll("video")];
          for (const clip of clips) clip.pause();
          const playing = (clip) => new Promise((done) => { clip.onplaying = () => done(true); });
          window.again = Promise.all(clips.map(playing));
        }"""
    )
    shown.keyboard.press("Space")
    assert shown.evaluate("() => again") == [True, True]


def test_page_asks_nothing_of_other_places_and_shows_no_name_of_a_folder_or_model(shown):
    assert shown.asked
    place = re.match(r"http://[^/]+/", shown.url)[0]
    assert all(address.startswith((place, "data:")) for address in shown.asked)
    for told in (shown.content(), shown.title(), *shown.asked):
        assert "secret" not in told and "disc_falls" not in told and "disc%20falls" not in told


def test_a_held_key_and_keys_with_a_modifier_answer_nothing_more(shown):
    shown.keyboard.down("2")
    for _ in range(5):
        shown.keyboard.down("2")  # as a keyboard repeats it
    shown.keyboard.up("2")
    shown.keyboard.press("Control+1")
    ready(shown)
    assert pressed(shown) == {"text": "right"}


def test_everything_can_be_reached_with_tab_and_its_focus_is_seen(shown):
    reached = []
    for _ in range(12):
        shown.keyboard.press("Tab")
        label, outline = shown.evaluate(
            """() => {
              const at = document.activeElement;
              if (at === document.body) return ["", ""];
              return [at.getAttribute("aria-label") || at.innerText.trim(),
                      getComputedStyle(at).outlineStyle];
            }"""
        )
        if not label:
            break  # past the last one
        assert outline == "solid", label
        reached.append(label)
        if label == "Which clip looks better? The right one":
            shown.keyboard.press("Space")
            ready(shown)
    assert {"Which clip follows the text better? The left one"} <= set(reached)
    assert [text for text in reached if "Skip this pair" in text]
    assert pressed(shown) == {"quality": "right"}


def undecodable(page):
    """From here on the browser gets mp4 files that it cannot play."""
    page.route(
        "**/*.mp4", lambda route: route.fulfill(status=200, body="none", content_type="video/mp4")
    )


def test_gifs_are_shown_where_the_browser_cannot_play_the_mp4_files(chromium, tmp_path, sampled):
    a, b = sampled(tmp_path / "a", ["one", "two"]), sampled(tmp_path / "b", ["one", "two"], shade=9)
    with (
        running(a, b, tmp_path / "votes.sqlite", tell=lambda line: None) as address,
        chromium(tmp_path / "profile") as page,
    ):
        undecodable(page)
        enter(page, address, "Anna")
        images = page.locator("#clips img")
        assert images.count() == 2
        for image in images.all():
            assert image.evaluate("image => [image.complete, image.naturalWidth]") == [True, 16]
        page.keyboard.press("Space")
        press(page, "1")
        assert pressed(page) == {"text": "left"}


def test_page_says_plainly_where_nothing_can_be_played_and_takes_no_answer(shown):
    undecodable(shown)
    shown.keyboard.press("s")  # on to a pair that has no gifs
    shown.wait_for_selector("#notice:not([hidden])")
    assert "cannot play the clips (mp4, H.264)" in shown.locator("#notice").inner_text()
    shown.keyboard.press("1")
    shown.wait_for_selector("body:not([aria-busy])")
    assert shown.locator(".question button:not([disabled])").count() == 0
    assert pressed(shown) == {}
