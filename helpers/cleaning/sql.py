"""Names and texts, quoted for SQL."""


def identifier(name: str) -> str:
    """Quote the name of a column or table.

    Examples
    --------
    >>> print(identifier('the "best" item'))
    "the ""best"" item"
    """
    return '"' + name.replace('"', '""') + '"'


def literal(text: str) -> str:
    """Quote a text.

    Examples
    --------
    >>> print(literal("it's"))
    'it''s'
    """
    return "'" + text.replace("'", "''") + "'"
