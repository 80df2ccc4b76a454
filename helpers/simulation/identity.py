"""Who is behind an id in the simulated store: ids, browsers, addresses, countries."""

import numpy as np
import pandas as pd

from helpers.simulation.world import DAY

OFFICE = "203.0.113.10"
"""The address of the store's own office; nobody but staff has it."""

BROWSERS = (
    "Mozilla/5.0 (Windows NT 6.1; rv:8.0) Gecko/20100101 Firefox/8.0",
    "Mozilla/5.0 (Windows NT 6.1; WOW64) AppleWebKit/535.2 (KHTML, like Gecko) "
    "Chrome/15.0.874.121 Safari/535.2",
    "Mozilla/5.0 (compatible; MSIE 9.0; Windows NT 6.1; Trident/5.0)",
    "Mozilla/4.0 (compatible; MSIE 8.0; Windows NT 5.1; Trident/4.0)",
    "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_7_2) AppleWebKit/534.51.22 (KHTML, like Gecko) "
    "Version/5.1.1 Safari/534.51.22",
    "Mozilla/5.0 (iPad; CPU OS 5_0 like Mac OS X) AppleWebKit/534.46 (KHTML, like Gecko) "
    "Version/5.1 Mobile/9A334 Safari/7534.48.3",
    "Mozilla/5.0 (iPhone; CPU iPhone OS 5_0 like Mac OS X) AppleWebKit/534.46 (KHTML, like Gecko) "
    "Version/5.1 Mobile/9A334 Safari/7534.48.3",
    "Mozilla/5.0 (Linux; U; Android 2.3.6; en-gb; GT-I9100 Build/GINGERBREAD) AppleWebKit/533.1 "
    "(KHTML, like Gecko) Version/4.0 Mobile Safari/533.1",
    "Opera/9.80 (Windows NT 6.1; U; en) Presto/2.9.168 Version/11.52",
)
"""User agents of ordinary browsers of those years; disguised crawlers have them, too."""

CRAWLERS = (
    "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)",
    "Mozilla/5.0 (compatible; bingbot/2.0; +http://www.bing.com/bingbot.htm)",
    "facebookexternalhit/1.1 (+http://www.facebook.com/externalhit_uatext.php)",
    "python-requests/2.31.0",
    "Mozilla/5.0 (compatible; YandexBot/3.0; +http://yandex.com/bots)",
    "Scrapy/2.11.0 (+https://scrapy.org)",
    "Twitterbot/1.0",
    "Mozilla/5.0 (compatible; AhrefsBot/7.0; +http://ahrefs.com/robot/)",
    "Mozilla/5.0 (compatible; Baiduspider/2.0; +http://www.baidu.com/search/spider.html)",
    "curl/7.88.1",
    "Mozilla/5.0 (Slurp; +http://help.yahoo.com/help/us/ysearch/slurp)",
    "Mozilla/5.0 (compatible; SemrushBot/7; +http://www.semrush.com/bot.html)",
)
"""User agents of declared crawlers, dealt in turn."""

MAX_DEVICES = 3
NETWORKS = ("192.0.2.", "198.51.100.", "203.0.113.")


def new_ids(taken: pd.Index, rng: np.random.Generator, n: int) -> np.ndarray:
    """Ids that no customer has: whole numbers as text, which say nothing about their owner.

    Parameters
    ----------
    taken : Index of str
        Ids of the customers.
    n : int
        How many are needed.
    """
    pool = np.arange(100_000, 100_000 + 4 * (n + len(taken)) + 10).astype(str)
    free = pool[~np.isin(pool, taken.to_numpy(dtype=str))]
    return rng.permutation(free)[:n].astype(object)


def devices(users: pd.DataFrame, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """User agents and addresses of each user, object arrays of shape (n_users, MAX_DEVICES).

    Notes
    -----
    People have an own address, or share a gateway of their provider or of their company; so do
    some crawlers, which sit elsewhere in a data centre. Two thirds of the staff have the address
    of the office first, the others work at home.
    """
    shape = (len(users), MAX_DEVICES)
    kind = users["kind"].to_numpy()
    declared, disguised = kind == "declared crawler", kind == "disguised crawler"
    agent = np.array(BROWSERS, dtype=object)[rng.integers(len(BROWSERS), size=shape)]
    own = np.array(CRAWLERS, dtype=object)[np.arange(declared.sum()) % len(CRAWLERS)]
    agent[declared] = own[:, None]
    private = _join("10.", rng.integers(0, 256, size=(3, *shape)))
    last = rng.integers(20, 255, size=shape)  # the office is below
    shared = np.array(NETWORKS, dtype=object)[rng.integers(3, size=shape)] + last.astype(str)
    gateway = rng.random(shape) < np.where(declared, 1.0, np.where(disguised, 0.6, 0.15))[:, None]
    address = np.where(gateway, shared, private)
    in_office = (kind == "staff") & (rng.random(len(users)) < 2 / 3)
    address[in_office, 0] = OFFICE
    return agent, address


def device_of(user: np.ndarray, second: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Which device each event came from: one a user and day, mostly the first."""
    day = pd.factorize(user * 1_000_000 + second // DAY)[0]
    draw = rng.choice(MAX_DEVICES, size=day.max(initial=-1) + 1, p=[0.8, 0.15, 0.05])
    device: np.ndarray = draw[day]
    return device


def _join(prefix: str, parts: np.ndarray) -> np.ndarray:
    first, second, third = parts.astype(str).astype(object)
    joined: np.ndarray = prefix + first + "." + second + "." + third
    return joined
