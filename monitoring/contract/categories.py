"""What a category is called: text, whatever a config or a request gives it as."""

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
