"""The report's pictures as inline SVG: laid out by matplotlib, coloured and lettered by the page's style sheet.

A unit of the drawing is a CSS pixel. Every colour is written as a CSS variable (`--ink`, `--router`, ...), so
the page decides what it is in light, in dark and on paper.
"""

from __future__ import annotations

import io
import re
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from itertools import pairwise
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullLocator

from pipeline.findings import Coefficient, LearningPoint, Policy, Reliability, Target
from pipeline.metrics import FLASH, PRO, Estimate, Reals

SERIES = tuple(f"series-{number}" for number in range(1, 6))
# Placeholders that survive matplotlib and are swapped for variables of the style sheet afterwards.
VARIABLES = ("ink", "muted", "rule", "paper", "router", "flash", "pro", *SERIES)
COLOURS = {name: f"#0000{number:02x}" for number, name in enumerate(VARIABLES, start=1)}
NAMES = {colour: name for name, colour in COLOURS.items()}
MARKERS = {"flash": "o", "pro": "s"}
WITHOUT_DATA = ("random", "oracle")
SAMPLES = 401
TEXT_SIZE = 12.0
LETTER = 0.54  # mean width of a letter of a sans-serif face, as a share of its size
STYLE: Any = (
    {"svg.fonttype": "none", "svg.hashsalt": "tier-router", "font.size": TEXT_SIZE, "text.parse_math": False}
    | {"axes.spines.top": False, "axes.spines.right": False, "axes.axisbelow": True, "axes.facecolor": "none"}
    | {"xtick.major.size": 0, "ytick.major.size": 0, "grid.linewidth": 0.8, "text.color": COLOURS["ink"]}
    | dict.fromkeys(("axes.labelcolor", "xtick.labelcolor", "ytick.labelcolor"), COLOURS["muted"])
    | dict.fromkeys(("axes.edgecolor", "grid.color"), COLOURS["rule"])
)


@dataclass(frozen=True, slots=True)
class Label:
    """A text that belongs to a line or a dot: `anchors`, [K, 2] in drawing units, are where it may attach."""

    text: str
    colour: str
    anchors: Reals
    bold: bool = False


@dataclass(frozen=True, slots=True)
class Costed:
    """What the curve picture shows.

    Attributes:
        policies: every line and dot, the router's, always-flash's and always-pro's among them.
        marks: other operating points, by the number that a table gives them.
        certified_rate: least share sent to pro under a certified rule; 1 where there is none but always-pro.
        ends: mean cost of a request at flash and at pro, for curves that do not know their costs.
        unit: of costs.
    """

    policies: Sequence[Policy]
    marks: Mapping[int, Target]
    certified_rate: float
    ends: tuple[float, float]
    unit: str

    def named(self, name: str) -> Policy | None:
        """The policy of that name, if it is there."""
        return next((policy for policy in self.policies if policy.name == name), None)

    def line(self, policy: Policy) -> Reals:
        """The policy as points (cost, accuracy), [K, 2], by growing pro rate; one point where it has no curve."""
        constants = [self.named(name) for name in ("always_flash", "always_pro")]
        if policy.name == "random" and policy.curve is None and None not in constants:
            first, last = (_spot(constant.metrics) for constant in constants if constant)
            return first + np.linspace(0, 1, SAMPLES)[:, None] * (last - first)
        if policy.curve is None:
            return _spot(policy.metrics)
        rates, curve = np.linspace(0, 1, SAMPLES), policy.curve
        paid = self.ends[FLASH] + curve.pro_rate * (self.ends[PRO] - self.ends[FLASH])
        cost = paid if curve.cost is None else curve.cost
        return np.column_stack([np.interp(rates, curve.pro_rate, column) for column in (cost, curve.accuracy)])


@mpl.rc_context(STYLE)
def cost_curve(shown: Costed, width: int) -> str:
    """Accuracy over cost: every policy by name, the served point, others by number, and what is certified beneath."""
    figure, axes = _axes(width, max(440, round(0.58 * width)), left=48, right=60, bottom=48, top=30)
    lines = [shown.line(policy) for policy in shown.policies]
    reach = [_reach([line[:, axis] for line in lines], margin) for axis, margin in ((0, 0.025), (1, 0.06))]
    axes.set(xlim=reach[0], ylim=reach[1], xlabel=_wrapped(f"cost, {shown.unit}", width))
    axes.annotate("accuracy", (0, 1), (-44, 12), "axes fraction", "offset points", color=COLOURS["muted"])
    axes.grid(axis="y")
    axes.yaxis.set_major_locator(MaxNLocator(7))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda accuracy, _: _percent(accuracy)))
    axes.xaxis.set_major_locator(MaxNLocator(8 if width > 600 else 5))
    _quality_axis(axes, shown.named("always_pro"))
    router = next(policy for policy in shown.policies if policy.name == "router")
    labels = [_draw_operating_point(axes, router), *_draw_marks(axes, shown.marks)]
    labels += _draw_certified(axes, shown.line(router), shown.certified_rate)
    for policy, line, colour in zip(shown.policies, lines, _palette(shown.policies), strict=True):
        labels.append(_draw(axes, policy, line, colour))
    _place(figure, axes, labels)
    return _svg(figure, f"curve-{width}", "Accuracy against cost", _story(shown, lines))


def _story(shown: Costed, lines: Sequence[Reals]) -> str:
    """The picture in words."""
    told = [
        f"{policy.label}: {line[:, 1].mean():.3f} correct on average"
        for policy, line in zip(shown.policies, lines, strict=True)
    ]
    for number, target in shown.marks.items():
        accuracy, cost = (target.metrics[name].value for name in ("accuracy", "cost"))
        told.append(f"point {number}, {target.label}: {accuracy:.3f} correct at {cost:.3g}")
    if shown.certified_rate < 1:
        told.append(f"certified from {_percent(shown.certified_rate)} to pro on")
    return "; ".join(told)


@mpl.rc_context(STYLE)
def reliability(tier: str, heads: Mapping[str, Reliability]) -> str:
    """Observed over predicted success of one tier's head, on the axes that suit all heads."""
    figure, axes = _axes(340, 320, left=52, right=12, bottom=48, top=10)
    reach = _reach([values for head in heads.values() for values in (head.predicted, head.low, head.high)], 0.04)
    head = heads[tier]
    axes.set(xlim=reach, ylim=reach, xlabel="predicted P(correct)", ylabel="share observed correct")
    axes.grid()
    axes.locator_params(nbins=6)
    axes.plot(reach, reach, color=COLOURS["muted"], linewidth=1, dashes=(4, 3))
    axes.vlines(head.predicted, head.low, head.high, color=COLOURS[tier], linewidth=1.6, alpha=0.55)
    axes.scatter(head.predicted, head.observed, 34, color=COLOURS[tier], marker=MARKERS[tier], zorder=3)
    pairs = zip(head.predicted, head.observed, head.rows, strict=True)
    story = "; ".join(f"predicted {p:.2f}, observed {o:.2f} ({n:.0f} rows)" for p, o, n in pairs)
    return _svg(figure, f"reliability-{tier}", f"Reliability of the {tier} head", story)


@mpl.rc_context(STYLE)
def coefficients(rows: Sequence[Coefficient]) -> str:
    """Weights of both heads with their intervals, the strongest feature on top and idle ones last."""
    rows = sorted(rows, key=lambda row: (row.idle, -max(abs(row.flash.value), abs(row.pro.value))))
    figure, axes = _axes(480, 60 + 30 * len(rows), left=128, right=12, bottom=46, top=8)
    active = [estimate for row in rows if not row.idle for estimate in (row.flash, row.pro)]
    reach = _reach([np.array([-0.05, 0.05]), *map(_ends, active)], 0.06)
    axes.set(xlim=reach, ylim=(len(rows) - 0.4, -0.6), xlabel="log-odds of a correct answer per standard deviation")
    axes.set_yticks(range(len(rows)), [row.feature for row in rows], color=COLOURS["ink"])
    axes.spines["left"].set_visible(False)
    axes.grid(axis="x")
    axes.axvline(0, color=COLOURS["muted"], linewidth=1)
    for place, row in enumerate(rows):
        if row.idle:
            axes.text(
                0, place, "\N{NO-BREAK SPACE} idle: constant in these traces", va="center", color=COLOURS["muted"]
            )
            continue
        for tier, estimate, shift in (("flash", row.flash, -0.15), ("pro", row.pro, 0.15)):
            axes.hlines(place + shift, estimate.low, estimate.high, color=COLOURS[tier], linewidth=1.8)
            axes.scatter([estimate.value], [place + shift], 32, color=COLOURS[tier], marker=MARKERS[tier], zorder=3)
    story = "; ".join(f"{row.feature}: {'idle' if row.idle else f'flash {row.flash}, pro {row.pro}'}" for row in rows)
    return _svg(figure, "coefficients", "Coefficients of both heads", story)


@mpl.rc_context(STYLE)
def learning(points: Sequence[LearningPoint]) -> str:
    """APGR over the number of labels, on a log axis, beside chance."""
    figure, axes = _axes(480, 290, left=52, right=20, bottom=48, top=12)
    counts = np.array([point.labels for point in points], float)
    readable = [count for count, following in pairwise([*counts, np.inf]) if following / count > 1.25]
    reach = _reach([np.array([0.5]), *(_ends(point.apgr) for point in points)], 0.1)
    axes.set(xscale="log", xlim=(counts.min() / 1.12, counts.max() * 1.12), ylim=reach)
    axes.xaxis.set_major_locator(FixedLocator(readable))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_locator(MaxNLocator(6))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda count, _: f"{count:,.0f}"))
    axes.grid(axis="y")
    axes.set(xlabel="labelled traces fitted on (log scale)", ylabel="APGR on the test part")
    axes.axhline(0.5, color=COLOURS["muted"], linewidth=1, dashes=(4, 3))
    axes.text(counts.max() * 1.12, 0.5, "chance", ha="right", va="bottom", color=COLOURS["muted"])
    lows, values, highs = np.array([_ends(point.apgr) for point in points]).T
    axes.vlines(counts, lows, highs, color=COLOURS["router"], linewidth=1.8, alpha=0.55)
    axes.plot(counts, values, color=COLOURS["router"], marker="o", markersize=6, linewidth=1.8)
    story = "; ".join(f"{point.labels} labels: {point.apgr}" for point in points)
    return _svg(figure, "learning", "APGR against the number of labels", story)


@mpl.rc_context(STYLE)
def year(lines: Mapping[str, Reals], main: str, events: Mapping[int, str]) -> str:
    """Regret over twelve months: a line for each policy, the main one bold, and what happened in which month."""
    figure, axes = _axes(760, 440, left=52, right=20, bottom=48, top=56)
    months = np.arange(1, 1 + max(map(len, lines.values())))
    axes.set(xlim=(0.7, months[-1] + 0.3), ylim=_reach([np.zeros(1), *lines.values()], 0.08))
    axes.set(xlabel="month", ylabel="cost above the best router, USD per 1,000 requests")
    axes.xaxis.set_major_locator(FixedLocator(months.tolist()))
    axes.grid(axis="y")
    axes.axhline(0, color=COLOURS["muted"], linewidth=1)
    for place, (month, told) in enumerate(sorted(events.items())):
        axes.axvline(month - 0.5, color=COLOURS["muted"], linewidth=1, dashes=(4, 3))
        axes.annotate(
            told, (month - 0.5, 1), (0, 6 + 16 * (place % 3)), ("data", "axes fraction"), "offset points",
            color=COLOURS["muted"], ha="center",
        )  # fmt: skip
    labels, others = [], [name for name in lines if name != main]
    for name, values in lines.items():
        colour, width = ("router", 3.0) if name == main else (SERIES[others.index(name) % len(SERIES)], 1.4)
        axes.plot(months, values, color=COLOURS[colour], linewidth=width, marker="o", markersize=4)
        fine = np.linspace(1, months[-1], SAMPLES)
        points = np.column_stack([fine, np.interp(fine, months, values)])
        labels.append(Label(name, colour, axes.transData.transform(points), name == main))
    _place(figure, axes, labels)
    story = "; ".join(f"{name}: {values.mean():.2f} a month on average" for name, values in lines.items())
    return _svg(figure, "year", "Regret by month", story)


def _axes(width: int, height: int, *, left: int, right: int, bottom: int, top: int) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(width / 72, height / 72), dpi=72, facecolor="none")
    box = left / width, bottom / height, (width - left - right) / width, (height - bottom - top) / height
    return figure, figure.add_axes(box)


def _percent(share: float) -> str:
    return f"{100 * share:.3g}\N{NO-BREAK SPACE}%"


def _ends(estimate: Estimate) -> Reals:
    return np.array([estimate.low, estimate.value, estimate.high])


def _reach(values: Sequence[Reals], margin: float) -> tuple[float, float]:
    """Limits around the finite values, with a margin as a share of their span."""
    low, high = float(np.nanmin(np.concatenate(values))), float(np.nanmax(np.concatenate(values)))
    room = margin * (high - low) or margin
    return low - room, high + room


def _spot(metrics: Mapping[str, Estimate]) -> Reals:
    return np.array([[metrics["cost"].value, metrics["accuracy"].value]])


def _wrapped(text: str, width: int) -> str:
    """The text with a line break where the width of the drawing asks for one."""
    return textwrap.fill(text, round(width / (TEXT_SIZE * LETTER)) - 12)


def _palette(policies: Sequence[Policy]) -> list[str]:
    """A colour name per policy: the router's own, grey for what needs no data, the rest in turn."""
    fixed = {"router": "router"} | dict.fromkeys(WITHOUT_DATA, "muted")
    others = [policy.name for policy in policies if policy.curve is not None and policy.name not in fixed]
    fixed |= {name: SERIES[place % len(SERIES)] for place, name in enumerate(others)}
    return [fixed.get(policy.name, "ink") for policy in policies]


def _draw(axes: Axes, policy: Policy, line: Reals, colour: str) -> Label:
    mine = policy.name == "router"
    if len(line) == 1:
        axes.scatter(line[:, 0], line[:, 1], s=40, color=COLOURS[colour], zorder=4)
    else:
        dashes = (1.5, 2.5) if policy.name in WITHOUT_DATA else (None, None)
        axes.plot(*line.T, color=COLOURS[colour], linewidth=3 if mine else 1.4, dashes=dashes, zorder=3 if mine else 2)
    return Label(policy.label, colour, axes.transData.transform(line), mine)


def _draw_operating_point(axes: Axes, router: Policy) -> Label:
    accuracy, rate = router.metrics["accuracy"], router.metrics["pro_rate"].value
    spot = _spot(router.metrics)
    axes.vlines(spot[:, 0], accuracy.low, accuracy.high, color=COLOURS["router"], linewidth=1.4, zorder=5)
    axes.scatter(spot[:, 0], spot[:, 1], s=120, color=COLOURS["router"], marker="D", zorder=6)
    text = f"served point\n{_percent(rate)} to pro, {_percent(accuracy.value)} correct"
    return Label(text, "router", axes.transData.transform(spot), bold=True)


def _draw_marks(axes: Axes, marks: Mapping[int, Target]) -> list[Label]:
    """Rings where the targets are; those at one place share a label."""
    places: dict[tuple[float, float], list[int]] = {}
    for number, target in marks.items():
        ((cost, accuracy),) = _spot(target.metrics).tolist()
        places.setdefault((cost, accuracy), []).append(number)
    for cost, accuracy in places:
        axes.scatter(
            cost, accuracy, s=46, facecolor=COLOURS["paper"], edgecolor=COLOURS["router"], linewidth=1.8, zorder=5
        )
    return [
        Label(", ".join(map(str, numbers)), "router", axes.transData.transform([spot]), bold=True)
        for spot, numbers in places.items()
    ]


def _draw_certified(axes: Axes, line: Reals, rate: float) -> list[Label]:
    """A band under the router's line, as far from always-pro as a rule is certified."""
    if rate >= 1 or len(line) == 1:
        return []
    covered = line[np.linspace(0, 1, SAMPLES) >= rate]
    axes.plot(*covered.T, color=COLOURS["router"], linewidth=17, alpha=0.28, solid_capstyle="butt", zorder=1)
    return [Label("certified", "router", axes.transData.transform(covered))]


def _quality_axis(axes: Axes, pro: Policy | None) -> None:
    """Accuracy relative to always-pro, at the right edge."""
    ceiling = pro.metrics["accuracy"].value if pro else 0.0
    if not ceiling:
        return
    axes.annotate("quality", (1, 1), (56, 12), "axes fraction", "offset points", color=COLOURS["muted"], ha="right")
    right = axes.secondary_yaxis(
        "right", functions=(lambda value: np.divide(value, ceiling), lambda share: np.multiply(share, ceiling))
    )
    right.yaxis.set_major_locator(MaxNLocator(7))
    right.yaxis.set_major_formatter(FuncFormatter(lambda share, _: _percent(share)))


def _place(figure: Figure, axes: Axes, labels: Sequence[Label]) -> None:
    """Write each label near its line where it covers least: lines, margins and the labels before it fill a raster."""
    points = np.concatenate([label.anchors for label in labels])
    size = np.rint(72 * figure.get_size_inches()).astype(int)
    left, bottom, right, top = np.rint(axes.bbox.extents).astype(int)
    held = np.full(size, 9.0)
    held[left:right, bottom:top] = 0
    held += np.histogram2d(points[:, 0], points[:, 1], bins=[np.arange(end + 1) for end in size])[0]
    for label in labels:
        anchors, boxes = _candidates(label)
        sums = np.pad(held, [(1, 0), (1, 0)]).cumsum(0).cumsum(1)
        inside = np.clip(boxes, 0, np.tile(size, 2))
        west, south, east, north = inside.astype(int).T
        gaps = np.maximum(np.maximum(boxes[:, :2] - anchors, anchors - boxes[:, 2:]), 0).sum(1)
        covered = sums[east, north] - sums[west, north] - sums[east, south] + sums[west, south]
        best = (covered + 0.15 * gaps + 100 * np.abs(boxes - inside).sum(1)).argmin()
        held[west[best] : east[best], south[best] : north[best]] += 1
        _write(axes, label, anchors[best], boxes[best])


def _candidates(label: Label) -> tuple[Reals, Reals]:
    """Anchors [C, 2] and boxes (left, bottom, right, top) of the label around them [C, 4]."""
    lines = label.text.split("\n")
    half = TEXT_SIZE / 2 * np.array([max(map(len, lines)) * LETTER * (1.08 if label.bold else 1), 1.25 * len(lines)])
    steps = half[1] + np.array([5, 15, 28, 44, 62])
    away = np.array([(x, y) for x in (-half[0] - 9, 0, half[0] + 9) for y in (*-steps, 0, *steps) if x or y])
    count = len(label.anchors)
    inner = label.anchors[count // 10 : count - count // 10 : max(count // 25, 1)]
    anchors = np.repeat(inner, len(away), axis=0)
    centres = anchors + np.tile(away, (len(inner), 1))
    return anchors, np.hstack([centres - half, centres + half])


def _write(axes: Axes, label: Label, anchor: Reals, box: Reals) -> None:
    """Write the label in the middle of its box, with a hairline to its anchor where they stand apart."""
    back = axes.transData.inverted()
    nearest = np.clip(anchor, box[:2], box[2:])
    if np.abs(nearest - anchor).max() > 10:
        axes.plot(*back.transform([nearest, anchor]).T, color=COLOURS[label.colour], linewidth=0.8, zorder=2)
    x, y = back.transform((box[:2] + box[2:]) / 2)
    weight = "bold" if label.bold else "normal"
    axes.text(x, y, label.text, color=COLOURS[label.colour], ha="center", va="center", weight=weight, zorder=6)


def _svg(figure: Figure, name: str, title: str, description: str) -> str:
    """The figure as an SVG element whose ids start with its name, so that many can share a page."""
    buffer = io.StringIO()
    FigureCanvasSVG(figure).print_svg(buffer, metadata=dict.fromkeys(("Date", "Creator", "Format", "Type")))  # type: ignore[no-untyped-call]
    width, height = figure.get_size_inches() * 72
    head = f'<svg viewBox="0 0 {width:.0f} {height:.0f}" style="max-width:{1.15 * width:.0f}px" role="img" aria-label='
    head += f'"{escape(title)}"><desc>{escape(description)}</desc>'
    text = re.sub(r"^.*?<svg[^>]*>", lambda _: head, buffer.getvalue(), count=1, flags=re.DOTALL)
    text = re.sub(r"<defs>\s*<style.*?</style>\s*</defs>", "", text, count=1, flags=re.DOTALL)
    text = re.sub(r'(\bid="|href="#|url\(#)', rf"\g<1>{name}-", text)
    text = re.sub(r'font: (\w+ )?([\d.]+px) [^;"]*', r"font: \1\2 var(--face)", text)
    return re.sub(r"#0000[0-9a-f]{2}\b", lambda match: f"var(--{NAMES.get(match[0], 'ink')})", text)
