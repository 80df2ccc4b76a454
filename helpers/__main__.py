"""The command line of the project: ``python -m helpers --help``."""

import argparse
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from helpers import cleaning, datasets, logs, notebooks, portfolio, readme
from helpers.fetch import DatasetError


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command.

    Parameters
    ----------
    arguments : sequence of str, optional
        The words after the program's name; by default those of the process.

    Returns
    -------
    int
        0 if all went well, 1 if something was wrong, 130 after Ctrl-C.
    """
    options = _parser().parse_args(arguments)
    try:
        return int(options.command(options))
    except KeyboardInterrupt:
        print("interrupted; run the same command again to go on", file=sys.stderr)
        return 130
    except (DatasetError, portfolio.PortfolioError, ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m helpers", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="command")

    run = commands.add_parser("run", help="execute the notebooks on a data set, write its reports")
    run.add_argument("--dataset", default=datasets.DEFAULT, help="name or path (%(default)s)")
    run.add_argument("--columns", default="", help='of a path: "user=visitor,item=sku,..."')
    run.add_argument(
        "--set", action="append", default=[], metavar="name=value", help="a notebooks' parameter"
    )
    run.add_argument(
        "--settings", default="", help="several of them in one text, quoted as in a shell"
    )
    run.set_defaults(command=_run)

    report = commands.add_parser("report", help="render the committed notebooks into reports/")
    report.set_defaults(command=lambda options: _written(portfolio.render()))

    data = commands.add_parser("datasets", help="list the data sets, or fetch those named")
    data.add_argument("names", nargs="*", metavar="name")
    data.set_defaults(command=_datasets)

    clean = commands.add_parser("clean", help="clean a log, and say what was removed and why")
    clean.add_argument("log", nargs="+", help="files, folders or patterns")
    clean.add_argument("--to", type=Path, required=True, help="folder for the results")
    clean.add_argument("--columns", default="", help='"user=visitor,item=sku,..."')
    clean.add_argument(
        "--without", action="append", default=[], metavar="rule", help="a rule not to apply"
    )
    clean.add_argument("--earliest", metavar="date", help="first moment to keep")
    clean.add_argument("--latest", metavar="date", help="last moment to keep")
    clean.add_argument(
        "--service-items", metavar="pattern", help="regular expression for ids of no products"
    )
    clean.add_argument(
        "--cancelled-orders", metavar="pattern", help="for the start of cancelled orders' ids"
    )
    for name in ("user", "address"):
        clean.add_argument(
            f"--staff-{name}", action="append", default=[], metavar=name, help="of the store's own"
        )
    clean.add_argument(
        "--event", action="append", default=[], metavar="name=event", help='"wishlist=cart"'
    )
    clean.add_argument("--zone", default="UTC", help="of times that have none (%(default)s)")
    clean.add_argument(
        "--day-first", action=argparse.BooleanOptionalAction, help="how 3/4/2024 is meant"
    )
    clean.set_defaults(command=_clean)

    save = commands.add_parser("notebooks", help="execute the notebooks and save them in place")
    save.set_defaults(command=lambda options: _written(portfolio.save_notebooks()))

    check = commands.add_parser("check", help="the hygiene of the notebooks and of the README")
    check.add_argument("root", nargs="?", type=Path, default=Path())
    check.set_defaults(command=_check)

    table = commands.add_parser("readme", help="write the README's generated tables")
    table.add_argument("--check", action="store_true", help="change nothing, fail when stale")
    table.set_defaults(command=_readme)
    return parser


def _run(options: argparse.Namespace) -> int:
    parameters = _pairs([*options.set, *shlex.split(options.settings)])
    return _written(portfolio.run(options.dataset, options.columns, parameters))


def _pairs(texts: Sequence[str]) -> dict[str, str]:
    pairs = {}
    for text in texts:
        name, sign, value = text.partition("=")
        if not sign:
            raise ValueError(f"the setting {text!r} has not the form name=value")
        pairs[name.strip()] = value.strip()
    return pairs


def _written(reports: Path) -> int:
    print(f"reports: {reports / 'index.html'}")
    return 0


def _datasets(options: argparse.Namespace) -> int:
    for name in options.names or datasets.names():
        if options.names:
            datasets.load(name)
        print(f"{name}: {datasets.describe(name)}")
    return 0


def _clean(options: argparse.Namespace) -> int:
    given = {
        name: getattr(options, name)
        for name in ("earliest", "latest", "service_items", "cancelled_orders")
        if getattr(options, name) is not None
    }
    cleaned = cleaning.clean(
        options.log,
        logs.parse_columns(options.columns, cleaning.ROLES),
        cleaning.Rules(
            without=options.without,
            staff_users=options.staff_user,
            staff_addresses=options.staff_address,
            **given,
        ),
        options.to,
        events=_pairs(options.event),
        zone=options.zone,
        day_first=options.day_first,
    )
    for finding in cleaned.report.findings:
        print(f"{finding.level}: {finding.message}")
    steps = cleaned.report.waterfall
    for step, removed in steps.loc[steps["removed"] > 0, "removed"].items():
        print(f"{removed:>12,} {step}")
    print(f"{cleaned.report.n_kept:>12,} of {cleaned.report.n_rows:,} rows kept")
    print(f"results: {options.to / 'clean.parquet'}, and beside it what was removed and why")
    return 0


def _check(options: argparse.Namespace) -> int:
    paths = notebooks.paths(options.root / "notebooks")
    found = [str(finding) for path in paths for finding in notebooks.check(path)]
    found += readme.update(options.root, check=True)
    print("\n".join(found) if found else f"{len(paths)} notebooks and the README are in order")
    return bool(found)


def _readme(options: argparse.Namespace) -> int:
    stale = readme.update(check=options.check)
    print("\n".join(stale) if stale and options.check else "README.md is up to date")
    return bool(stale) and options.check


if __name__ == "__main__":
    sys.exit(main())
