"""What a category is called: text, whatever a config or a request gives it as."""

import math
from typing import Any


def category_text(value: Any) -> str:
    """Return a category's text: text as it is, whole numbers as digits, booleans as `true` and `false`.

    Raise ValueError for anything else; a float is nobody's category, as 0.1 has more than one text.
    """
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, str):
        return value
    raise ValueError("a category is text, a whole number, true or false: quote it to have it taken as text")


def value_text(value: Any, largest: float = math.inf) -> str:
    """Return the text of a category among values: as `category_text`, but 4.0 is `4`, up to the largest such number.

    A whole number in a column with gaps is a float for pandas, and for JSON made of it.
    """
    whole = isinstance(value, float) and value.is_integer() and abs(value) <= largest
    return category_text(int(value) if whole else value)
