"""The dashboard: Streamlit over the table that the API serves."""

import sqlite3
import sys
from collections.abc import Sequence
from pathlib import Path

import pandas as pd
import streamlit as st
from streamlit.web import cli

from helpers.serving.table import ServingError, Store, Table, User

N = 10
"""Items of each list."""

SUGGESTED = 5_000
"""Users and items that can be chosen from a menu, at most; any other user's id can be typed."""


def launch(folder: Path, host: str, port: int) -> None:
    """Serve the dashboard until it is stopped.

    Parameters
    ----------
    folder : Path
        Of the table.
    host : str
        Address to listen on.
    port : int

    Notes
    -----
    Streamlit's statistics are off, and so is its welcome, for which it asks a host on the network
    for this machine's address.
    """
    options = {
        "server.address": host,
        "server.port": port,
        "server.headless": "true",
        "server.fileWatcherType": "none",
        "browser.gatherUsageStats": "false",
        "client.showErrorDetails": "none",
        "client.toolbarMode": "minimal",
        "logger.hideWelcomeMessage": "true",
    }
    print(f"dashboard: http://{host}:{port}", flush=True)
    flags = [f"--{name}={value}" for name, value in options.items()]
    cli.main(["run", *flags, __file__, "--", str(folder)])


def page(folder: str) -> None:
    """Draw the page. Titles and ids come from logs: they go where Streamlit reads no Markdown."""
    st.set_page_config(page_title="Recommendations", layout="wide")
    try:
        table = _store(folder).table
    except (ServingError, OSError, sqlite3.Error) as error:
        st.error("Nothing can be served:")
        st.text(str(error))
        return
    st.title("Recommendations")
    choices = _choices(table.version, table)
    user = _user(table, choices)
    left, right = st.columns([3, 2])
    left.subheader("Recommended")
    _recommended(left, table, user)
    right.subheader("Popular list")
    popular = table.recommend(None, N, exclude=user.seen if user else ())
    _frame(right, table, popular.items, {"Share of users": popular.scores})
    left, right = st.columns([3, 2])
    left.subheader("History")
    seen = sorted(zip(user.weights, user.seen, strict=True), reverse=True) if user else []
    _frame(left, table, [place for _, place in seen], {"Weight": [weight for weight, _ in seen]})
    right.subheader("Similar items")
    item = right.selectbox("Item", list(choices), format_func=choices.__getitem__)
    similar = table.similar(table.places[item], N)
    _frame(right, table, similar.items, {"Cosine of the factors": similar.scores})
    _card(table)


@st.cache_resource
def _store(folder: str) -> Store:
    return Store(folder)


@st.cache_resource(max_entries=1)
def _choices(version: str, _table: Table) -> dict[str, str]:
    """The most popular items: their ids, and titles that differ."""
    items = pd.DataFrame({"id": _table.item_ids, "title": _table.titles, "n": _table.n_users})
    items = items.nlargest(SUGGESTED, "n")
    twice = items["title"].duplicated(keep=False) & (items["title"] != items["id"])
    items["title"] += (" (" + items["id"] + ")").where(twice, "")
    return dict(zip(items["id"], items["title"], strict=True))


def _user(table: Table, choices: dict[str, str]) -> User | None:
    """Who gets the list, as chosen in the sidebar."""
    side = st.sidebar
    if side.radio("Recommend for", ["a user", "a few items"]) == "a user":
        hint = "Choose a user, or type an id."
        known = table.user_ids(SUGGESTED)
        user_id = side.selectbox("User id", known, help=hint, accept_new_options=True)
        user = table.user(user_id) if user_id else None
        if user is None:
            side.info("The model does not know this user, so the list is the popular one.")
        return user
    basket = side.multiselect("Items", list(choices), format_func=choices.__getitem__)
    if not basket:
        side.info("Choose items: the model then finds factors for somebody who has them.")
        return None
    return table.fold_in([table.places[item] for item in basket])


def _recommended(place: st.delta_generator.DeltaGenerator, table: Table, user: User | None) -> None:
    answer = table.recommend(user, N)
    reasons = ["popular"] * len(answer.items)
    if user is not None:
        for rank, item in enumerate(answer.items[: len(answer.items) - answer.n_filled]):
            parts = table.explain(user, item, 3)[1]
            reasons[rank] = " · ".join(table.titles[each] for each, part in parts if part > 0)
    _frame(place, table, answer.items, {"Score": answer.scores, "Because of": reasons})


def _frame(
    place: st.delta_generator.DeltaGenerator,
    table: Table,
    items: Sequence[int],
    columns: dict[str, Sequence[object]],
) -> None:
    """A table of items; its cells are drawn as they are."""
    titles = pd.Series([table.titles[item] for item in items], dtype=object)
    place.dataframe(pd.DataFrame({"Title": titles, **columns}), hide_index=True)


def _card(table: Table) -> None:
    """The model card: how good the lists are, beside the popular one, and where they come from."""
    st.subheader("Model card")
    left, right = st.columns([3, 2])
    rows: dict[str, dict[str, str]] = {}
    for name, found in table.facts["metrics"].items():
        metric, _, model = name.partition(", ")
        interval = "{value:.3f} [{low:.3f}, {high:.3f}]".format(**found)
        rows.setdefault(metric, {})[f"{model}, with 95 % interval"] = interval
    left.dataframe(pd.DataFrame.from_dict(rows, orient="index"))
    facts = {name: value for name, value in table.facts.items() if name != "metrics"}
    facts["settings"] = ", ".join(f"{name} = {value}" for name, value in facts["settings"].items())
    right.dataframe(
        pd.DataFrame({"Fact": facts.keys(), "Value": map(str, facts.values())}), hide_index=True
    )


if __name__ == "__main__":
    page(sys.argv[1])
