"""The command line of the project: ``python -m helpers --help``."""

# What a command needs is imported when it runs, so that help and errors come at once.
import argparse
import difflib
import os
import shlex
import signal
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

DATASETS = ("movielens-100k", "movielens-1m", "online-retail", "store-simulated", "million-song")

EXTRA = ("fastapi", "prometheus_client", "redis", "streamlit", "uvicorn")
"""What the extra ``serve`` brings."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command: 0 if all went well, 1 if something was wrong, 130 after Ctrl-C."""
    parser = _parser()
    options = parser.parse_args(_words(parser, sys.argv[1:] if arguments is None else arguments))
    try:
        return int(options.command(options) or 0)
    except (KeyboardInterrupt, RuntimeError) as error:  # the latter is DuckDB's, after Ctrl-C
        if isinstance(error, RuntimeError) and str(error) != "Query interrupted":
            raise
        print("interrupted; run the same command again to go on", file=sys.stderr)
        return 130
    except ModuleNotFoundError as error:
        if error.name not in EXTRA or options.traceback:
            raise
        how = 'run `make`, or pip install "helpers[serve]"'
        print(f"error: {error.name} is not installed: {how}", file=sys.stderr)
        return 1
    except (ValueError, OSError) as error:
        if options.traceback:
            raise
        print(f"error: {error}", file=sys.stderr)
        return 1


def _words(parser: argparse.ArgumentParser, arguments: Sequence[str]) -> list[str]:
    """The arguments, with what `make tidy OPTIONS=...` passes as one text split into its words."""
    words = []
    for argument in arguments:
        text = argument.removeprefix("--options=")
        try:
            words += [argument] if text == argument else shlex.split(text)
        except ValueError as error:
            parser.error(f"OPTIONS={text}: {error}")
    return words


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m helpers", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="command")

    def add(function: object, what: str) -> argparse.ArgumentParser:
        name = getattr(function, "__name__", "").strip("_")
        command = commands.add_parser(name, help=what)
        command.add_argument("--traceback", action="store_true", help="show where an error arose")
        command.set_defaults(command=function)
        return command

    run = add(_run, "execute the notebooks on a data set, write its reports")
    names = ", ".join(DATASETS)
    dashboard = add(_dashboard, "show the recommendations in a browser; builds them if need be")
    serve = add(_serve, "answer requests for recommendations; builds them if need be")
    back = add(_rollback, "serve the version before the current one again")
    lists = add(_publish, "bring a file of lists into a folder that is or will be served")
    lists.add_argument("lists", help="recommendations.parquet: a file, a folder, s3://, gs://")
    lists.add_argument("--to", type=Path, required=True, help="folder of the table")
    run.add_argument("--settings", default="", help='parameters: "factors=64 seed=1"')
    run.add_argument("--notebooks", default="", help='only these: "1 2 3"')
    serve.epilog = "Clients have to send the key in the variable API_KEY, if it is set."
    for command, port in ((serve, 3000), (dashboard, 8501)):
        command.add_argument("--host", default="127.0.0.1", help="to listen on (%(default)s)")
        command.add_argument("--port", type=int, default=port, help="(%(default)s)")
    for command in (serve, dashboard, back):
        command.add_argument("--to", type=Path, help="folder of the table, of any origin")
    space = add(_space, "write a folder that can be pushed to a Hugging Face Space")
    space.add_argument("--to", type=Path, required=True, help="that folder, new or empty")
    report = add(_report, "render executed notebooks again, without running them")
    report.add_argument("--dataset", default="", help="of a run; else the committed notebooks")
    report.add_argument("--settings", default="", help="of that run")
    data = add(_datasets, "list the data sets, or fetch those named")
    data.add_argument("names", nargs="*", metavar="name")
    made = add(_synthesize, "write a log as large as the Million Song data, for load tests")
    made.add_argument("--rows", type=int, default=48_373_586, help="(%(default)s)")
    made.add_argument("--seed", type=int, default=0, help="(%(default)s)")
    made.add_argument("--to", type=Path, required=True, help="the Parquet file")
    save = add(_notebooks, "execute the notebooks and save them in place")
    save.add_argument("numbers", nargs="*", type=int, metavar="number")

    new = add(_refresh, "one day's work: fetch new rows, fit, compare, publish a new version")
    new.add_argument("--source", required=True, help="files, folder, pattern or SQLAlchemy URL")
    new.add_argument("--query", default="", help="SQL with :since, for a database")
    new.add_argument("--window", default="", help="folder, s3://, gs:// or az:// of the days")
    new.add_argument("--to", type=Path, help="folder of the served table")
    new.add_argument("--days", type=int, default=365, help="of the window (%(default)s)")
    new.add_argument("--late", type=int, default=2, help="days fetched again (%(default)s)")
    new.add_argument("--allow-fewer", action="store_true", help="take days with fewer rows")
    new.add_argument("--force", action="store_true", help="go on where a check fails")

    clean = add(_clean, "clean a log, and say what was removed and why")
    clean.add_argument("log", nargs="+", help="files, folders or patterns")
    clean.add_argument("--to", type=Path, required=True, help="folder for the results")
    clean.add_argument("--rules", type=Path, metavar="file", help="settings of the rules, as TOML")
    for name, metavar, what in (
        ("set", "name=value", "one such setting: earliest=2024-01-01, views_in_hour=500"),
        ("without", "rule", "a rule not to apply"),
        ("event", "name=event", '"wishlist=cart"'),
    ):
        clean.add_argument(f"--{name}", action="append", default=[], metavar=metavar, help=what)
    clean.add_argument("--memory", default="1GB", help="for the engine (%(default)s)")
    clean.add_argument("--zone", default="UTC", help="of times that have none (%(default)s)")
    clean.add_argument(
        "--day-first", action=argparse.BooleanOptionalAction, help="how 3/4/2024 is meant"
    )
    for option, of, default, what in (
        ("dataset", (run, serve, dashboard, back), DATASETS[0], f"path, or one of {names}"),
        ("columns", (run, serve, dashboard, new, clean), "", '"user=visitor,item=sku,..."'),
        ("items", (run, serve, dashboard, new), "", "file: ids, titles and genres of items"),
        ("redis", (serve, lists, new), "", "redis://host:6379/0, for the lists"),
    ):
        for command in of:
            command.add_argument(f"--{option}", default=default, help=what)
    return parser


def _run(options: argparse.Namespace) -> bool:
    settings = _pairs(shlex.split(options.settings))
    numbers = _numbers(options.notebooks)
    _check_data(options)
    from helpers import portfolio

    outcome = portfolio.run(
        options.dataset,
        columns=options.columns,
        items=options.items,
        settings=settings,
        numbers=numbers,
    )
    for sentence in outcome.skipped:
        print(f"skipped: {sentence}")
    for sentence in outcome.failed:
        print(f"failed: {sentence}", file=sys.stderr)
    print(outcome.index)
    from helpers import production

    folder = outcome.index.parent
    log = (options.dataset, options.columns, options.items, Path("data/processed", folder.name))
    aggregate: Any = settings.get("aggregate", "sum")
    try:
        made = production.load_and_fit(*log, aggregate)
        print(production.write_lists(made, folder))
    except ValueError as error:
        print(f"skipped: the lists of recommendations: {error}")
    return bool(outcome.failed)


def _serve(options: argparse.Namespace) -> None:
    _check_data(options)
    import uvicorn

    from helpers.serving import api, build

    folder = build.serving_table(options.dataset, options.columns, options.items, options.to)
    _into_redis(folder, options.redis)
    app = api.create_app(folder, options.redis or None, os.environ.get("API_KEY"))
    with suppress(KeyboardInterrupt):
        uvicorn.run(app, host=options.host, port=options.port, access_log=False)


def _rollback(options: argparse.Namespace) -> None:
    from helpers import datasets
    from helpers.serving import table

    folder = options.to or Path("data", "serving", datasets.slug(options.dataset))
    print(f"{folder}: version {table.rollback(folder)}")


def _publish(options: argparse.Namespace) -> None:
    from helpers.serving import table

    version = table.publish(options.lists, options.to)
    print(f"{options.to}: version {version}, lists without a model")
    _into_redis(options.to, options.redis)


def _dashboard(options: argparse.Namespace) -> None:
    _check_data(options)
    from helpers.serving import build, dashboard

    folder = build.serving_table(options.dataset, options.columns, options.items, options.to)
    dashboard.launch(folder, options.host, options.port)


def _space(options: argparse.Namespace) -> None:
    from helpers.serving import space

    space.write(options.to)
    print(f"{options.to}: push it to a Space of the Docker kind")


def _into_redis(folder: Path, url: str) -> None:
    if url:
        from helpers.serving import redis, table

        try:
            redis.publish(table.Store(folder).table, url)
        except table.ServingError as error:
            print(f"{error}; answers come from the file until then", file=sys.stderr)


def _check_data(options: argparse.Namespace) -> None:
    """Refuse what is no data set, no file of items or no port, before anything is imported."""
    if not 0 < getattr(options, "port", 1) < 65_536:
        raise ValueError(f"--port is {options.port}, expected 1 to 65535")
    _check_dataset(options.dataset)
    given = {"COLUMNS": options.columns, "ITEMS": options.items}
    for name in (name for name, text in given.items() if text and options.dataset in DATASETS):
        raise ValueError(
            f"{name}={given[name]} is for your own files; leave it out, or give DATASET"
        )
    if options.items and not Path(options.items).exists():
        raise ValueError(f"ITEMS={options.items}: there is no such file")


def _check_dataset(text: str) -> None:
    """Refuse what is no data set before anything is imported."""
    if text in DATASETS or Path(text).exists() or any(sign in text for sign in "*?["):
        return
    near = difflib.get_close_matches(text, DATASETS, n=1)
    meant = f"; did you mean {near[0]!r}?" if near else ""
    raise ValueError(f"{text!r} is neither a file nor one of {', '.join(DATASETS)}{meant}")


def _numbers(text: str) -> list[int]:
    words = text.replace(",", " ").split()
    if wrong := [word for word in words if not word.isdecimal()]:
        raise ValueError(f'NOTEBOOKS={text}: {wrong[0]!r} is no number; say "1 2 3"')
    return [int(word) for word in words]


def _pairs(texts: Sequence[str]) -> dict[str, str]:
    pairs = {}
    for text in texts:
        name, sign, value = text.partition("=")
        if not sign:
            raise ValueError(f"the setting {text!r} has not the form name=value")
        pairs[name.strip()] = value.strip()
    return pairs


def _report(options: argparse.Namespace) -> None:
    from helpers import portfolio

    print(portfolio.render(options.dataset, _pairs(shlex.split(options.settings))))


def _notebooks(options: argparse.Namespace) -> None:
    from helpers import portfolio

    portfolio.save_notebooks(options.numbers)


def _datasets(options: argparse.Namespace) -> None:
    for name in options.names:
        _check_dataset(name)
    from helpers import datasets

    for name in options.names or DATASETS:
        if options.names:
            datasets.load(name)
        print(f"{name}: {datasets.describe(name)}")


def _synthesize(options: argparse.Namespace) -> None:
    from helpers.datasets.million_song import synthesize

    synthesize(options.to, options.rows, options.seed)


def _refresh(options: argparse.Namespace) -> bool:
    from helpers.cleaning.columns import ROLES, parse_columns
    from helpers.serving import refresh
    from helpers.serving.window import Window

    name, data = refresh.slug(options.source), Path("data")
    folder = options.to or data / "serving" / name
    record = refresh.refresh(
        options.source,
        folder,
        Window(options.window or data / "window" / name),
        data / "processed" / name / "best_parameters.json",
        query=options.query,
        columns=parse_columns(options.columns, ROLES),
        items=options.items,
        keep=options.days,
        late=options.late,
        allow_fewer=options.allow_fewer,
        force=options.force,
    )
    changed = len(record["days changed"])
    print(f"{record['rows read']:,} rows read; {changed} days changed, now {record['window']}")
    print("; ".join([record["decision"], *record["reasons"]]))
    if (folder / "current").is_file():
        _into_redis(folder, options.redis)
    return bool(record["decision"] == "not published")


def _clean(options: argparse.Namespace) -> None:
    from helpers import cleaning
    from helpers.cleaning.columns import parse_columns

    rules = cleaning.Rules.read(options.rules, _pairs(options.set))
    cleaned = cleaning.clean(
        options.log,
        parse_columns(options.columns, cleaning.ROLES),
        replace(rules, without=[*rules.without, *options.without]),
        options.to,
        events=_pairs(options.event),
        zone=options.zone,
        memory=options.memory,
        day_first=options.day_first,
    )
    for finding in cleaned.report.findings:
        print(f"{finding.level}: {finding.message}")
    steps = cleaned.report.waterfall
    for step, removed in steps.loc[steps["removed"] > 0, "removed"].items():
        print(f"{removed:>12,} {step}")
    print(f"{cleaned.report.n_kept:>12,} of {cleaned.report.n_rows:,} rows kept")
    print(f"results: {options.to / 'clean.parquet'}, and beside it what was removed and why")


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # clean up as after Ctrl-C
    sys.exit(main())
