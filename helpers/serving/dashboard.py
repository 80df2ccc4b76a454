"""The dashboard: Streamlit over the table that the API serves."""

import sys
from collections.abc import Sequence
from pathlib import Path

import pandas as pd
import streamlit as st
from streamlit.web import cli

from helpers.serving.table import Store, Table, User

# No docstrings: Streamlit would draw them.
N = 10  # items of a list
SUGGESTED = 5_000  # users and items in a menu, at most; the id of any user can be typed


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
        assert table.model  # lists alone have none, and say so
    except (ValueError, OSError) as error:
        st.error("Nothing can be served:")
        st.text(str(error))
        return
    choices = _choices(table.version, table)
    user = _user(table, choices)
    st.title("Recommendations")
    left, right = st.columns([5, 3])
    with left:
        _recommended(table, user)
        _card(table)
    with right:
        st.subheader("Popular list")
        popular = table.recommend(None, N, exclude=user.seen if user else ())
        _show(table, popular.items, {"Share of users": popular.scores})
        st.subheader("Similar items")
        item = st.selectbox("Item", list(choices), format_func=choices.__getitem__)
        similar = table.similar(table.places[item], N)
        _show(table, similar.items, {"Cosine": similar.scores})


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
    """Who gets the list, as chosen in the sidebar, and what they have."""
    with st.sidebar:
        if st.radio("Recommend for", ["a user", "a few items"]) == "a few items":
            basket = st.multiselect("Items", list(choices), format_func=choices.__getitem__)
            st.caption("The model finds the factors of somebody who has these items.")
            return table.fold_in([table.places[item] for item in basket]) if basket else None
        known = table.user_ids(SUGGESTED)
        user_id = st.selectbox("User id (any can be typed)", known, accept_new_options=True)
        user = table.user(user_id) if user_id else None
        if user is None:
            st.info("The model does not know this user: the list is the popular one.")
            return None
        st.subheader("History")
        weights, seen = zip(*sorted(zip(user.weights, user.seen, strict=True))[::-1], strict=True)
        _show(table, seen, {"Weight": weights})
        return user


def _recommended(table: Table, user: User | None) -> None:
    st.subheader("From the model")
    answer = table.recommend(user, N)
    reasons = ["popular"] * len(answer.items)
    if user is not None:
        for rank, item in enumerate(answer.items[: len(answer.items) - answer.n_filled]):
            parts = table.explain(user, item, 2)[1]
            reasons[rank] = " · ".join(table.titles[each] for each, part in parts if part > 0)
    _show(table, answer.items, {"Score": answer.scores, "Because of": reasons})


def _show(table: Table, items: Sequence[int], columns: dict[str, Sequence[object]]) -> None:
    """Items and what belongs to them; the cells are drawn as they are."""
    titles = pd.Series([table.titles[item] for item in items], dtype=object)
    number = st.column_config.NumberColumn(width="small", format="%.2f")
    config = dict.fromkeys(columns, number) | {"Because of": st.column_config.Column(width=280)}
    frame = pd.DataFrame({"Title": titles, **columns})
    st.dataframe(frame, hide_index=True, row_height=28, column_config=config)


def _card(table: Table) -> None:
    """The model card: how good the lists are, beside the popular one, and where they come from."""
    st.subheader("Model card")
    rows: dict[str, dict[str, str]] = {}
    for name, found in table.facts["metrics"].items():
        metric, _, model = name.partition(", ")
        interval = "{value:.3f} [{low:.3f}, {high:.3f}]".format(**found)
        rows.setdefault(metric, {"Metric": metric})[f"{model} [95 % interval]"] = interval
    if rows:
        st.dataframe(pd.DataFrame(rows.values()), hide_index=True, row_height=28)
    settings = ", ".join(f"{name} = {value}" for name, value in table.facts["settings"].items())
    facts = pd.Series({**table.facts, "settings": settings}).drop("metrics").astype(str)
    names = facts.index.str.replace("_", " ")
    card = pd.DataFrame({"Fact": names, "Value": facts.to_numpy()})
    st.dataframe(card, hide_index=True, row_height=28, height="content")


if __name__ == "__main__":
    page(sys.argv[1])
