"""Lets the tests here import `numbered_videos`, the maker of test videos beside them."""

import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
