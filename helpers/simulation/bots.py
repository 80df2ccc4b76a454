"""The crawlers of the simulated store: several sorts, each account with its own habits.

Every sort is a function of the world and a generator that returns the clicks of one account as
three arrays: item, event, second. Habits (pace, jitter, hours, order of pages, number of runs) are
drawn anew for each account, so that no single threshold describes a sort.
"""

from collections.abc import Callable

import numpy as np
import pandas as pd

from helpers.simulation.people import Part
from helpers.simulation.world import CART, DAY, DAYTIME, REMOVE, VIEW, World, clicks

Trace = tuple[np.ndarray, np.ndarray, np.ndarray]
MOST_CLICKS = 2500
"""Of one account, so that a long log does not drown in crawlers."""


def fast_sweep(world: World, rng: np.random.Generator) -> Trace:
    """Some runs through the catalogue, a page every one to four seconds, nearly regular."""
    runs = int(rng.integers(1, 6))
    pages = rng.integers(120, 700, size=runs)
    gaps = _steady(rng, int(pages.sum()), rng.uniform(0.8, 4.0), rng.uniform(0.05, 0.6))
    begin = rng.integers(world.start, world.end, size=runs)
    second = np.concatenate(
        [
            start + np.cumsum(part)
            for start, part in zip(begin, np.split(gaps, np.cumsum(pages)[:-1]), strict=True)
        ]
    )
    return _pages(world, rng, len(second)), _views(second), second


def slow_crawl(world: World, rng: np.random.Generator) -> Trace:
    """One page every few minutes, day and night, with jitter; a third of them sleep like people."""
    mean = rng.uniform(90, 900)
    days = min(rng.uniform(3, 25), world.days)
    n = max(int(min(days * DAY / mean, MOST_CLICKS)), 2)
    jitter = [
        rng.uniform(0.3, 1.7, n),
        rng.exponential(1.0, n),
        rng.lognormal(-0.2, rng.uniform(0.3, 0.9), n),
    ][int(rng.integers(3))]
    second = _begin(world, rng, days) + np.cumsum(np.maximum(mean * jitter, 1.0))
    hour = second % DAY / 3600
    if rng.random() < 1 / 3:
        second = second[(hour > rng.uniform(5, 8)) & (hour < rng.uniform(21, 24))]
    return _pages(world, rng, len(second)), _views(second), second


def price_scraper(world: World, rng: np.random.Generator) -> Trace:
    """The same items at the same times of the day, for weeks."""
    watched = np.unique(world.popular(rng, int(rng.integers(15, 90))))
    if rng.random() < 0.5:
        watched = rng.permutation(watched)
    every = int(rng.choice([1, 1, 1, 2, 7]))
    times = rng.uniform(0, DAY, int(rng.integers(1, 5)))
    days = np.arange(rng.integers(world.days), world.days)[::every]
    weekdays_only = rng.random() < 0.3
    if weekdays_only:
        days = days[(world.start // DAY + days + 3) % 7 < 5]
    moments = (days[:, None] * DAY + times).ravel()
    moments = moments[rng.random(len(moments)) > 0.05]
    moments = moments[: int(MOST_CLICKS * rng.uniform(0.2, 1) / len(watched)) + 1]
    begin = world.start + moments + rng.normal(0, rng.uniform(10, 400), len(moments))
    gap = _steady(rng, len(begin) * len(watched), rng.uniform(1.5, 14), rng.uniform(0.1, 0.7))
    second = begin[:, None] + np.cumsum(gap.reshape(len(begin), len(watched)), axis=1)
    item = np.tile(watched, (len(begin), 1))
    if rng.random() < 0.4:
        item = rng.permuted(item, axis=1)
    seen = rng.random(item.shape) > 0.03
    return item[seen], _views(second[seen]), second[seen]


def cart_hoarder(world: World, rng: np.random.Generator) -> Trace:
    """Fills carts with the same sought-after items, again and again, and never pays."""
    wanted = np.unique(world.popular(rng, int(rng.integers(8, 60))))
    days = min(rng.uniform(1, 10), world.days)
    every = rng.uniform(15, 120) * 60
    most = MOST_CLICKS * rng.uniform(0.2, 1) / len(wanted)
    rounds = max(int(min(days * DAY / every, most)), 1)
    begin = _begin(world, rng, days) + every * (np.arange(rounds) + rng.uniform(0, 0.4, rounds))
    if rng.random() < 0.4:
        hour = begin % DAY / 3600
        begin = begin[(hour > 7) & (hour < 23)]
    gap = _steady(rng, len(begin) * len(wanted), rng.uniform(1.5, 20), rng.uniform(0.1, 0.8))
    second = begin[:, None] + np.cumsum(gap.reshape(len(begin), len(wanted)), axis=1)
    taken = rng.random(second.shape) < rng.uniform(0.4, 1.0)
    item, second = np.tile(wanted, (len(begin), 1))[taken], second[taken]
    seen = rng.random(len(item)) < rng.uniform(0, 0.6)
    dropped = rng.random(len(item)) < rng.choice([0.0, 0.5])
    return (
        np.r_[item, item[seen], item[dropped]],
        np.repeat([CART, VIEW, REMOVE], [len(item), seen.sum(), dropped.sum()]),
        np.r_[second, second[seen] - 1, second[dropped] + every * 0.3],
    )


def mimic(world: World, rng: np.random.Generator) -> Trace:
    """Imitates a person: sessions in day-time, lognormal gaps; but tireless and without taste."""
    days = min(int(rng.integers(5, 21)), world.days)
    first = rng.integers(world.days - days + 1)
    day = np.repeat(np.arange(first, first + days), rng.integers(2, 7, size=days))
    start = world.starts(rng, day, DAYTIME)
    length = int(rng.integers(12, 41))
    gap = rng.lognormal(np.log(rng.uniform(7, 22)), rng.uniform(0.5, 1.0), (len(day), length))
    second = (start[:, None] + np.cumsum(gap, axis=1)).ravel()
    item = _pages(world, rng, len(second))
    carted = rng.random(len(item)) < rng.choice([0.0, 0.01])
    event = np.repeat([VIEW, CART], [len(item), carted.sum()])
    return np.r_[item, item[carted]], event, np.r_[second, second[carted] + 9]


def rotating_sweep(world: World, rng: np.random.Generator) -> Trace:
    """A slice of the catalogue in one to three bursts: one of many accounts, used in turn."""
    pages = int(rng.integers(40, 150))
    bursts = int(rng.integers(1, 4))
    gap = _steady(rng, pages * bursts, rng.uniform(1.5, 7), rng.uniform(0.15, 0.6))
    begin = rng.integers(world.start, world.end, size=bursts)
    second = (begin[:, None] + np.cumsum(gap.reshape(bursts, pages), axis=1)).ravel()
    first = rng.integers(world.n_items)
    return np.tile((first + np.arange(pages)) % world.n_items, bursts), _views(second), second


def link_preview(world: World, rng: np.random.Generator) -> Trace:
    """A declared crawler that opens single pages which somebody shared: hardly any clicks."""
    n = int(rng.integers(2, 25))
    second = rng.integers(world.start, world.end, size=n).astype(np.float64)
    return world.popular(rng, n), _views(second), second


Sort = Callable[[World, np.random.Generator], Trace]
DISGUISED: dict[str, Sort] = {
    "fast sweep": fast_sweep,
    "slow crawl": slow_crawl,
    "price scraper": price_scraper,
    "cart hoarder": cart_hoarder,
    "mimic": mimic,
    "rotating sweep": rotating_sweep,
}
"""Sorts with the user agent of an ordinary browser, dealt to the accounts in turn."""

DECLARED: dict[str, Sort] = {
    "fast sweep": fast_sweep,
    "slow crawl": slow_crawl,
    "link preview": link_preview,
    "price scraper": price_scraper,
}
"""Sorts that say in their user agent what they are."""


def crawlers(world: World, rng: np.random.Generator, n: int, sorts: dict[str, Sort]) -> Part:
    """The clicks of ``n`` accounts, their sorts dealt in turn.

    Returns
    -------
    Part
        Without orders. Clicks outside the days of the log are left out.
    """
    names = np.array([list(sorts)[i % len(sorts)] for i in range(n)], dtype=object)
    frames = [clicks(0, *(np.zeros(0, np.int64),) * 3)]
    for user, (name, child) in enumerate(zip(names, rng.spawn(n), strict=True)):
        frames.append(_inside(world, child, user, sorts[name]))
    orders = pd.DataFrame({"user": np.zeros(0, np.int64)})
    return Part(pd.concat(frames), names, orders)


def _inside(world: World, rng: np.random.Generator, user: int, sort: Sort) -> pd.DataFrame:
    """The clicks within the days of the log; a short log may need another draw to have any."""
    for draw in [sort] * 20 + [link_preview]:
        item, event, second = draw(world, rng)
        frame = clicks(user, item, event, np.floor(second))
        frame = frame[frame["second"].between(world.start, world.end - 1)]
        if len(frame):
            break
    return frame


def _steady(rng: np.random.Generator, n: int, mean: float, variation: float) -> np.ndarray:
    """Gaps of a machine: gamma distributed, ``variation`` is deviation over mean."""
    return rng.gamma(variation**-2, mean * variation**2, n)


def _begin(world: World, rng: np.random.Generator, days: float) -> float:
    return world.start + rng.uniform(0, max(world.days - days, 0.01)) * DAY


def _pages(world: World, rng: np.random.Generator, n: int) -> np.ndarray:
    """Pages without repetition, from a random place: as the sitemap lists them, or shuffled."""
    order = np.arange(world.n_items) if rng.random() < 0.5 else rng.permutation(world.n_items)
    pages: np.ndarray = order[(rng.integers(world.n_items) + np.arange(n)) % world.n_items]
    return pages


def _views(second: np.ndarray) -> np.ndarray:
    return np.full(len(second), VIEW)
