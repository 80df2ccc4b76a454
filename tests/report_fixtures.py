"""Executed notebooks made for the tests of the reports."""

import base64
import io
from functools import cache
from pathlib import Path

import nbformat
import pandas as pd
from matplotlib.figure import Figure
from nbformat import NotebookNode, v4

PROSE = r"""# {number}. Fixture pages: does *everything* show?

**You will learn** three things:

- how `user_items` holds $n_u$ users, with prices such as `$5 and $6` left alone;
- why $\lambda\lVert x_u\rVert^2$ is added, and what $Y^\top C_u Y$ costs;
- where [the next notebook](02_second.ipynb#A-table) and [the first](./01_first.ipynb) go on.

Inputs: [the data](../data/README.md). Elsewhere: [implicit](https://github.com/benfred/implicit).

## A formula: $\lambda$ & friends

The loss, with *emphasis_around_* it and $x_u$ and $y_i$ in one line:

$$
\mathcal{{L}} = \sum_{{u,i}} c_{{ui}} \left(p_{{ui}} - x_u^\top y_i\right)^2
  + \lambda\left(\sum_u \lVert x_u\rVert^2 + \sum_i \lVert y_i\rVert^2\right)
$$

$$
\begin{{align*}}
Y^\top C_u Y &= Y^\top Y + Y^\top (C_u - I) Y \\
x_u &= \left(Y^\top C_u Y + \lambda I\right)^{{-1}} Y^\top C_u\, p_u
\end{{align*}}
$$

The matrix $A = \begin{{pmatrix}} 1 & 0 \\ 0 & 2 \end{{pmatrix}}$ is small.

```python
price = "$x$"  # a dollar, not a formula: $$
```

> A quotation that says what to look at.
"""

TABLE = r"""## A table

Every row is a film, and $k$ is `10`:

| model | nDCG@10 | note |
|---|---|---|
| popularity | 0.05 | $\alpha = 1$ |
| ALS | 0.31 | tuned |
"""


def code(source: str, *outputs: NotebookNode, tags: tuple[str, ...] = ()) -> NotebookNode:
    """An executed code cell."""
    return v4.new_code_cell(
        source, execution_count=1, outputs=list(outputs), metadata={"tags": list(tags)}
    )


@cache
def png(size: tuple[float, float] = (7, 4), dpi: int = 120) -> str:
    """A small bar chart as base64."""
    figure = Figure(figsize=size, dpi=dpi, layout="constrained")
    axes = figure.subplots()
    axes.bar(range(60), [1000 / (rank + 5) for rank in range(60)], color="#0173b2")
    axes.set(title="A few films get most of the clicks", xlabel="films", ylabel="clicks per film")
    axes.spines[["top", "right"]].set_visible(False)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", metadata={"Software": None})
    return base64.b64encode(buffer.getvalue()).decode()


def figure_output(data: str, alt: str | None) -> NotebookNode:
    """What `plots.show` leaves in a notebook."""
    metadata = {"image/png": {"alt": alt}} if alt is not None else {}
    return v4.new_output(
        "display_data", data={"image/png": data, "text/plain": "<Figure>"}, metadata=metadata
    )


def table_output() -> NotebookNode:
    """A DataFrame with a named index, as Jupyter shows it."""
    frame = pd.DataFrame(
        {
            "title": ["Star Wars (1977)", "12 Angry Men (1957)", "Contact (1997)"],
            "watches": [583, 125, 509],
            "share": [0.62, 0.13, 0.54],
            "interval": ["0.60 to 0.64", "0.11 to 0.15", "0.52 to 0.56"],
            "first seen": ["1997-09-20", "1997-09-22", "1997-09-20"],
        },
        index=pd.Index([1, 2, 3], name="rank"),
    )
    html = frame._repr_html_()
    return v4.new_output(
        "execute_result",
        data={"text/html": html, "text/plain": frame.to_string()},
        execution_count=1,
    )


def notebook(number: int = 1) -> NotebookNode:
    """One of everything that a report has to show."""
    cells = [
        v4.new_markdown_cell(PROSE.format(number=number)),
        code(
            "import numpy as np\n\nfrom helpers import datasets  # the package of this project\n\n"
            "def price(amount: float = 5.0) -> str:\n"
            '    return f"costs $x$ {amount:.2f} & <b>more</b>" if amount else None'
        ),
        code(
            "answer = reporting.answer_slot()",
            v4.new_output(
                "display_data",
                data={"text/markdown": "Of $\\frac{1}{2}$ *everything*.", "text/plain": "x"},
            ),
            tags=("answer", "hide-input", "nbval-ignore-output"),
        ),
        v4.new_markdown_cell("The parameters, which a run may change:"),
        code('dataset: str = "movielens-100k"  # name or path', tags=("parameters",)),
        code('# Parameters\ndataset = "events.csv"', tags=("injected-parameters",)),
        v4.new_markdown_cell(TABLE),
        code("films.head(3)", table_output()),
        v4.new_markdown_cell("The most watched film has **583** watches.\n\n## Again\n\nMore."),
        code(
            'print("943 users & 1,682 items")',
            v4.new_output("stream", name="stdout", text="943 users & more\n<b>not bold</b>\n"),
        ),
        v4.new_markdown_cell("## The figure\n\nA few films hold most of the clicks:"),
        code(
            'plots.show(plots.long_tail(counts), alt="Clicks per film fall steeply")',
            figure_output(png(), 'Clicks per film fall steeply, "long tail" & all'),
            tags=("headline-figure",),
        ),
        code(
            'display(Markdown(f"..."))',
            v4.new_output(
                "display_data",
                data={
                    "text/markdown": "Of **943** users, $\\frac{1}{2}$ saw *Star Wars*.",
                    "text/plain": "<Markdown>",
                },
            ),
            tags=("hide-input",),
        ),
        v4.new_markdown_cell("## What we found\n\nEnough.\n\n## Limits\n\nNone."),
    ]
    return v4.new_notebook(cells=cells, metadata={"language_info": {"name": "python"}})


def save(path: Path, content: NotebookNode) -> Path:
    """Write a notebook and give its path back."""
    nbformat.write(content, path)
    return path
