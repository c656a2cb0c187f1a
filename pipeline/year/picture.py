"""The year as a picture: a file of its own, coloured by the style sheet of the pages."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import jinja2

from pipeline import figures
from pipeline.beside import replacing
from pipeline.year.regret import SIMULATED, Regret
from pipeline.year.world import Events

STYLE = Path(__file__).parent.parent / "style.css.j2"
SPACE = 'xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink"'
OWN = "svg { background:var(--paper) } text { paint-order:stroke; stroke:var(--paper); stroke-width:3px }"


def picture(found: Sequence[Regret], main: str, events: Events) -> str:
    """An SVG document; the policy named `main` is bold."""
    told = {
        events.worse_month: "flash gets worse",
        events.price_month: f"pro costs {events.price_factor:.2f} times as much",
        events.mix_month: "the traffic shifts",
    }
    drawn = figures.year({each.policy: each.monthly for each in found}, main, told)
    style = jinja2.Template(STYLE.read_text(encoding="utf-8"), autoescape=True).render()
    drawn = drawn.replace("<desc>", f"<desc>{SIMULATED} ", 1)
    return drawn.replace("<svg ", f"<svg {SPACE} ", 1).replace("<desc>", f"<style>{style}{OWN}</style><desc>", 1)


def write(path: Path, found: Sequence[Regret], main: str, events: Events) -> None:
    """Write it, whole or not at all."""
    with replacing(path) as partial:
        partial.write_text(picture(found, main, events), encoding="utf-8")
