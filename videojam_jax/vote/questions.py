"""What raters are asked of each pair: the three questions of the paper."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Question:
    """One question.

    Attributes:
      name: in the votes and in tables.
      asks: what the rater reads.
      hint: what is to be looked at, and what is not.
    """

    name: str
    asks: str
    hint: str


QUESTIONS = (
    Question("text", "Which clip follows the text better?", "What is shown, and what it does."),
    Question(
        "quality", "Which clip looks better?", "The picture: sharp, clean, pleasant to look at."
    ),
    Question(
        "motion",
        "Which clip moves better?",
        "Coherent and physically plausible, even where the picture is less pretty.",
    ),
)
NAMES = tuple(question.name for question in QUESTIONS)
