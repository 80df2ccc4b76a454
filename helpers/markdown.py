"""Text from the data inside generated Markdown."""

import re


def escape(text: str) -> str:
    r"""Text that Markdown shows as it is, whatever a shop's titles contain.

    Parameters
    ----------
    text : str
        A title, a file name, or any other text that is not ours.

    Returns
    -------
    str

    Examples
    --------
    >>> print(escape("Gift card $5 *new*"))
    Gift card \$5 \*new\*
    """
    return re.sub(r"([\\`*_{}\[\]<>$|#])", r"\\\1", text)
