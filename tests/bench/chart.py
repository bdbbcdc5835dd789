"""The table as a picture: each row's measured value as a share of its target, as an SVG without any library."""

from collections.abc import Sequence
from dataclasses import dataclass
from xml.sax.saxutils import escape

from tests.bench.targets import Row

_LEFT, _WIDTH, _RIGHT, _LINE, _TOP = 480, 420, 150, 30, 78
_FILL = {"hoped for": "#2e8b57", "met": "#5b9bd5", "missed": "#d9534f"}
_CUT = '<text x="{x}" y="{y}" fill="white" font-weight="bold">»</text>'
_SHOWN_MOST = 4.0
"""Times the target; a longer bar is cut off there."""


@dataclass(frozen=True, slots=True)
class Bar:
    """A row with what was measured."""

    row: Row
    low: float
    median: float
    high: float


def draw(bars: Sequence[Bar], subtitle: str) -> str:
    """Give the chart as SVG."""
    widest = min(max([1.3, *(bar.high / bar.row.target for bar in bars)]), _SHOWN_MOST)
    height = _TOP + _LINE * len(bars) + 40
    width = _LEFT + _WIDTH + _RIGHT

    def x(share: float) -> float:
        return round(_LEFT + _WIDTH * min(share, widest) / widest, 1)

    bottom = _TOP + _LINE * len(bars)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}"'
        ' font-family="system-ui, sans-serif" font-size="13">',
        f'<rect width="{width}" height="{height}" fill="white"/>',
        '<text x="16" y="26" font-size="17" font-weight="bold">Measured, as a share of the target</text>',
        f'<text x="16" y="46" fill="#666">{escape(subtitle)}</text>',
    ]
    for place, bar in enumerate(bars):
        top = _TOP + _LINE * place
        target, middle = bar.row.target, top + 11
        fill = _FILL[bar.row.state(bar.median)]
        parts += [
            f'<text x="{_LEFT - 10}" y="{top + 15}" text-anchor="end">{escape(bar.row.title)}</text>',
            f'<rect x="{_LEFT}" y="{top + 2}" width="{x(bar.median / target) - _LEFT:.1f}" height="18" fill="{fill}"/>',
            *([_CUT.format(x=_LEFT + _WIDTH - 14, y=top + 15)] if bar.median / target > widest else []),
            f'<path d="M{x(bar.low / target)} {middle}H{x(bar.high / target)}" stroke="#222" stroke-width="1.5"/>',
            f'<path d="M{x(bar.row.hope / target)} {top}v22" stroke="#888" stroke-dasharray="3 2"/>',
            f'<text x="{_LEFT + _WIDTH + 10}" y="{top + 15}">{shown(bar.median, bar.row)}'
            f' <tspan fill="#888">of {shown(target, bar.row)}</tspan></text>',
        ]
    parts += [
        f'<path d="M{x(1)} {_TOP - 6}V{bottom}" stroke="#222" stroke-width="2"/>',
        f'<text x="{x(1)}" y="{_TOP - 10}" text-anchor="middle">target</text>',
        f'<text x="16" y="{bottom + 26}" fill="#666">Shorter is better. Line: lowest to highest round; dashed: what is'
        " hoped for. Green: as hoped, blue: within the target, red: beyond it.</text>",
        "</svg>\n",
    ]
    return "\n".join(parts)


def shown(value: float, row: Row) -> str:
    """Give a value with its unit."""
    if row.unit == "x":
        return f"{value:.2f} x"
    return f"{value:.1f} {row.unit}"
