"""Ticks of a log axis that can be read, however much or little of it is in view."""

from bokeh.models import CustomJSTicker, CustomJSTickFormatter
from bokeh.plotting import figure

__all__ = ["log_ticks"]

TICKS = """
const {start: low, end: high} = cb_data
if (!(low > 0 && high > low)) return []
const decades = Math.log10(high / low), first = Math.floor(Math.log10(low)), last = Math.ceil(Math.log10(high))
const multiples = (digits, by = 1) => {
  const found = []
  for (let k = by * Math.floor(first / by); k <= last; k += by) for (const d of digits) found.push(Number(`${d}e${k}`))
  return found.filter((tick) => tick >= low && tick <= high)
}
"""
MAJOR_TICKS = f"""{TICKS}
if (decades >= 3) return multiples([1], Math.ceil(decades / 8))
for (const digits of [[1, 2, 5], [1, 1.2, 1.5, 2, 3, 5, 7]]) {{
  const ticks = multiples(digits)
  if (ticks.length >= 3) return ticks
}}
const least = (high - low) / 6, scale = 10 ** Math.floor(Math.log10(least))
const step = scale * [1, 2, 5, 10].find((factor) => factor * scale >= least)
const even = []
for (let n = Math.ceil(low / step); n * step <= high; n += 1) even.push(Number((n * step).toPrecision(12)))
return even
"""
MINOR_TICKS = f"""{TICKS}
return decades > 9 ? [] : multiples([1, 2, 3, 4, 5, 6, 7, 8, 9])
"""
TICK_LABEL = """
const digits = (power) => String(power).replaceAll(/./g, (c) => "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"["-0123456789".indexOf(c)])
const value = Number(tick.toPrecision(6)), wide = ticks.length > 1 && ticks[ticks.length - 1] >= 999 * ticks[0]
if (!wide && value >= 1e-4 && value < 1e5) return String(value)
const [factor, power] = value.toExponential().split("e")
return (factor === "1" ? "" : `${factor}·`) + `10${digits(Number(power))}`
"""


def log_ticks(plot: figure) -> None:
    """Ticks for a log y axis by what of it is in view, chosen anew in the browser when data or zoom change that.

    Of three decades and more powers of ten; of less 1, 2, 5 × 10^k, or finer where fewer than three of them are seen.
    """
    plot.yaxis.ticker = CustomJSTicker(major_code=MAJOR_TICKS, minor_code=MINOR_TICKS)
    plot.yaxis.formatter = CustomJSTickFormatter(code=TICK_LABEL)
