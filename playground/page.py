"""A page in the gallery's style: one HTML file that needs nothing but itself.

There is no script in it, and its content policy forbids the network.
"""

import base64
import html
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from playground.errors import UserError
from playground.run import atomic_path


def write_html(
    out: Path | str,
    title: str,
    sections: str,
    contents: str = "",
    commands: Sequence[str] = (),
) -> None:
    """Write HTML sections as a page in the gallery's style to `out` (.html), aside and renamed.

    `contents` is HTML too, above the sections. UserError when the page cannot be written.
    """
    out = checked(out)
    shell = f"<pre><code>{escaped(chr(10).join(commands))}</code></pre>" if commands else ""
    page = PAGE.format(
        title=escaped(title), style=STYLE, contents=contents, commands=shell, sections=sections
    )
    with atomic_path(out) as aside:
        aside.write_text(page, encoding="utf-8", errors="backslashreplace")  # names of files


def checked(out: Path | str) -> Path:
    """The page's path; UserError for another suffix than .html."""
    if Path(out).suffix.lower() not in (".html", ".htm"):
        raise UserError(f"The page is written as .html, not {Path(out).name!r}.")
    return Path(out)


def escaped(value: Any) -> str:
    """Safe as text and inside quotes."""
    return html.escape(str(value), quote=True)


def inside(data: bytes, kind: str) -> str:
    """A file of a MIME type as a link to itself."""
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"


def slider(before: bytes, after: bytes, name: str, kind: str = "image/png") -> str:
    """Two pictures of one shape, the first over the second's left part; its corner can be dragged.

    `name` is said to who cannot see them; `kind` is the MIME type of both.
    """
    over, under = (
        f'<img alt="{escaped(name)}, {when}" src="{inside(data, kind)}">'
        for when, data in (("before", before), ("after", after))
    )
    return f'<div class="slider" title="drag the corner">{under}<div>{over}</div></div>'


STYLE = """
:root{color-scheme:light dark;--page:#fbfaf8;--card:#fff;--ink:#1d1f24;--soft:#5c626e;
--rule:#dedbd5;--line:#b4560c;--other:#2f6690;--c2:#35762f;--c3:#8e4585;--c4:#7d6200;--c5:#b03052;
--c6:#2b747b;--c7:#5c626e}
@media(prefers-color-scheme:dark){:root{--page:#141519;--card:#1d1f25;--ink:#e6e7ea;--soft:#a2a8b4;
--rule:#343842;--line:#f09a4a;--other:#7fb2d9;--c2:#86c67c;--c3:#d59acb;--c4:#d9bd4a;--c5:#f08aa6;
--c6:#7cc7cf;--c7:#a2a8b4}}
*{box-sizing:border-box}
body{margin:0 auto;max-width:1180px;padding:1.5rem 1rem 4rem;background:var(--page);
color:var(--ink);font:16px/1.5 system-ui,sans-serif}
h1{font-size:1.8rem;line-height:1.2;margin:.5rem 0 1rem}
h2{font-size:1.35rem;margin:2.5rem 0 0;padding-top:1rem;border-top:1px solid var(--rule)}
h3{font-size:1.05rem;margin:1.5rem 0 .5rem}
h1,h2,td,th,figcaption{overflow-wrap:anywhere}
p{color:var(--soft);margin:.25rem 0}
nav a{margin-right:1rem}
a{color:var(--line)}
.grid{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(340px,100%),1fr));gap:1rem;
align-items:start}
.pictures{display:flex;flex-wrap:wrap;gap:1rem;align-items:start}
.pictures figcaption{width:0;min-width:100%}
figure{margin:0;padding:.75rem;background:var(--card);border:1px solid var(--rule);
border-radius:8px}
figcaption{color:var(--soft);font-size:.9rem}
figcaption b{color:var(--ink)}
img,video{display:block;max-width:100%;height:auto;margin:0 auto .5rem}
video{background:#000}
svg{display:block;width:100%;height:auto;overflow:visible}
svg text{fill:var(--soft);font:11px system-ui,sans-serif}
.rule{stroke:var(--rule);stroke-width:1}
.line{fill:none;stroke:var(--line);stroke-width:1.8;stroke-linejoin:round}
.band{fill:var(--line);opacity:.2}
.dot{fill:var(--line)}
.second .line{stroke:var(--other)}
.second .band,.second .dot{fill:var(--other)}
.first{fill:var(--line)}
.other{fill:var(--other)}
.colour-0{color:var(--line)}
.colour-1{color:var(--other)}
.colour-2{color:var(--c2)}
.colour-3{color:var(--c3)}
.colour-4{color:var(--c4)}
.colour-5{color:var(--c5)}
.colour-6{color:var(--c6)}
.colour-7{color:var(--c7)}
[class^=colour] .line{stroke:currentColor}
[class^=colour] .band,[class^=colour] .dot{fill:currentColor}
[class^=colour].dashed .line{stroke-width:1.4;stroke-dasharray:5 3}
[class^=colour].dashed .dot{opacity:.5}
.level{stroke:currentColor;stroke-width:1.4;stroke-dasharray:1.5 4}
figcaption .first{color:var(--line)}
figcaption .other{color:var(--other)}
.slider{position:relative;width:fit-content;max-width:100%;margin:0 auto .5rem}
.slider img{margin:0}
.slider div{position:absolute;inset:0 auto 0 0;width:50%;min-width:16px;max-width:100%;
overflow:hidden;resize:horizontal;border-right:2px solid #fff}
.slider div img{height:100%;width:auto;max-width:none}
pre{background:var(--card);border:1px solid var(--rule);border-radius:8px;padding:.75rem;
overflow-x:auto}
details{margin-top:1rem}
summary{cursor:pointer;font-weight:600}
.wide{overflow-x:auto}
table{border-collapse:collapse;font-size:.9rem;margin-top:.5rem}
th,td{text-align:left;vertical-align:top;padding:.2rem .9rem .2rem 0;
border-bottom:1px solid var(--rule)}
th[scope=row]{font-weight:400;color:var(--soft)}
td{font-variant-numeric:tabular-nums}
"""

PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy"
 content="default-src 'none'; img-src data:; media-src data:; style-src 'unsafe-inline'">
<title>{title}</title>
<style>{style}</style>
</head>
<body>
<header><h1>{title}</h1>{contents}{commands}</header>
<main>
{sections}
</main>
</body>
</html>
"""
