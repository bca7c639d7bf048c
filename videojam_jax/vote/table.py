"""What the votes say: a table as in the paper, with how far it can be trusted."""

import dataclasses
import json
import math
from collections import Counter, defaultdict
from pathlib import Path

from videojam_jax.files import write_whole
from videojam_jax.measure.statistics import Estimate, wilson
from videojam_jax.report import markdown
from videojam_jax.report.table import without_nan
from videojam_jax.vote.questions import NAMES
from videojam_jax.vote.raters import RaterAgreement, rater_agreement
from videojam_jax.vote.store import read_votes


@dataclasses.dataclass(frozen=True)
class Answers:
    """The answers to one question.

    Attributes:
      for_a, votes: how many chose A, and how many there are.
      share: of votes for A, with Wilson's interval.
      left: share of votes for the left clip; far from one half, someone has a habit.
      agreement: of the raters.
    """

    for_a: int
    votes: int
    share: Estimate
    left: float
    agreement: RaterAgreement


@dataclasses.dataclass(frozen=True)
class Rater:
    """What one rater did.

    Attributes:
      name: as it was given.
      complete: pairs of which all questions are answered.
      skipped: pairs that were skipped.
      for_a, votes: for each question, answers for A and answers.
      left: share of this rater's answers for the left clip; NaN without answers.
    """

    name: str
    complete: int
    skipped: int
    for_a: dict[str, int]
    votes: dict[str, int]
    left: float


@dataclasses.dataclass(frozen=True)
class Results:
    """All that a votes file says.

    Attributes:
      names: of A and B.
      pairs: how many there are to compare.
      seed: of sides and orders.
      questions: from a question's name to its answers.
      raters: in the order in which they came.
    """

    names: tuple[str, str]
    pairs: int
    seed: int
    questions: dict[str, Answers]
    raters: tuple[Rater, ...]

    @property
    def skipped(self) -> int:
        """Pairs that were skipped, counted for each rater."""
        return sum(rater.skipped for rater in self.raters)


def results(votes: Path) -> Results:
    """Counts the votes of a file; one that is being voted into may be read as well.

    Raises:
      UserError: there is no such file, or it is no votes file.
    """
    record = read_votes(Path(votes))
    questions = {}
    for name in NAMES:
        given = [vote for vote in record.votes if vote.question == name]
        by_pair = defaultdict(list)
        for vote in given:
            by_pair[vote.pair].append(vote.choice)
        for_a = sum(vote.choice == "a" for vote in given)
        questions[name] = Answers(
            for_a,
            len(given),
            wilson(for_a, len(given)),
            _share_left(given),
            rater_agreement(by_pair.values()),
        )
    skips = Counter(rater for rater, _ in record.skipped)
    raters = []
    for key, name in record.raters.items():
        given = [vote for vote in record.votes if vote.rater == key]
        answered = Counter(vote.pair for vote in given)
        raters.append(
            Rater(
                name,
                complete=sum(count == len(NAMES) for count in answered.values()),
                skipped=skips[key],
                for_a={q: sum(v.question == q and v.choice == "a" for v in given) for q in NAMES},
                votes={q: sum(v.question == q for v in given) for q in NAMES},
                left=_share_left(given),
            )
        )
    return Results(record.names, len(record.keys), record.seed, questions, tuple(raters))


def _share_left(votes) -> float:
    left = sum((vote.choice == "a") == (vote.a_side == "left") for vote in votes)
    return left / len(votes) if votes else math.nan


NOTES = (
    "for A: share of votes for A, each a choice between two clips without a draw. 50 % is chance.",
    "95 %: Wilson's interval, which takes votes as independent. Those of several raters on one "
    "pair are not, so that with several raters the interval is narrower than it should be.",
    "agree: share of the pairs with two or more votes on which all of them are the same.",
    "alpha: Krippendorff's, for unordered answers with missing ones: 1 where all agree, 0 where "
    "they agree as by chance; – where nothing can be said.",
    "left: share of votes for the left clip, where A stood in a random half of the cases.",
)


def to_markdown(found: Results) -> str:
    """The table of questions, the table of raters, and what their columns mean."""
    a, b = (_cell(name) for name in found.names)
    title = (
        f"**{a}** (A) against **{b}** (B): {found.pairs} pairs, {len(found.raters)} raters, "
        f"{found.skipped} skipped\n"
    )
    questions = []
    for name, answers in found.questions.items():
        of = answers.agreement
        share = answers.share
        interval = f"{100 * share.low:.1f} – {100 * share.high:.1f} %" if answers.votes else "–"
        questions.append([
            name, _percent(share.mean), interval, str(answers.votes), _percent(of.unanimous),
            str(of.pairs), "–" if math.isnan(of.alpha) else f"{of.alpha:.2f}",
            _percent(answers.left),
        ])  # fmt: skip
    raters = []
    for rater in found.raters:
        counts = [f"{rater.for_a[name]} of {rater.votes[name]}" for name in NAMES]
        ends = [_percent(rater.left), f"{rater.complete} of {found.pairs}", str(rater.skipped)]
        raters.append([_cell(rater.name), *counts, *ends])
    columns = ["question", "for A", "95 %", "votes", "agree", "of pairs", "alpha", "left"]
    blocks = [title, markdown.table(columns, questions)]
    if raters:
        columns = ["rater", *(f"{name}: for A" for name in NAMES), "left", "complete", "skipped"]
        blocks.append(markdown.table(columns, raters))
    return "\n".join([*blocks, "".join(f"- {note}\n" for note in NOTES)])


def to_json(found: Results) -> dict:
    """The same as JSON values; shares are from 0 to 1, and null where there is no vote."""
    content = dataclasses.asdict(found) | {"skipped": found.skipped, "notes": list(NOTES)}
    return without_nan(content)


def write_json(path: Path, found: Results) -> Path:
    """Writes the numbers whole.

    Raises:
      UserError: the file cannot be written.
    """
    return write_whole(path, json.dumps(to_json(found), indent=2, ensure_ascii=False) + "\n")


def _percent(share: float) -> str:
    """With a decimal, as the paper has it."""
    return "–" if math.isnan(share) else f"{100 * share:.1f} %"


def _cell(text: str) -> str:
    """Text in a table, which escapes what parts its columns: a rater's name is anything."""
    return "".join(f"\\{letter}" if letter in "\\*_`<>[]#~" else letter for letter in text)
