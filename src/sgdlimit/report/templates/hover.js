// Values of the curves under the pointer, or chosen with the arrow keys, beside the point they belong to.
"use strict";
document.documentElement.classList.add("script");

const HINT = "Arrow left and right walk along a curve, up and down change the curve, Page Up and Page Down the panel.";

const shown = (value) => {
  const size = Math.abs(value);
  return size && (size < 1e-3 || size >= 1e5)
    ? value.toExponential(2).replace(/e([+-])(\d+)/, (_, sign, power) => `·10^${sign === "-" ? "−" : ""}${power}`)
    : String(Number(value.toPrecision(4))).replace("-", "−");
};

// Share of an axis at a value; an axis is its label, whether it is logarithmic, and its limits.
const share = ([, log, low, high], value) =>
  log ? Math.log(value / low) / Math.log(high / low) : (value - low) / (high - low);

for (const card of document.querySelectorAll(".card")) {
  const source = card.querySelector("script");
  const picture = card.querySelector(".picture");
  if (!source) continue;
  let panels = null;
  let place = null; // panel, curve, point

  const make = (name) => {
    const part = document.createElement("div");
    part.className = name;
    part.setAttribute("aria-hidden", "true");
    picture.append(part);
    return part;
  };
  const [across, along, dot, reading] = ["across", "along", "dot", "reading"].map(make);
  const spoken = document.createElement("div");
  spoken.className = "spoken";
  spoken.setAttribute("aria-live", "polite");
  card.append(spoken);
  card.tabIndex = 0;
  card.setAttribute("role", "application");
  card.setAttribute("aria-roledescription", "figure that can be read point by point");
  card.setAttribute("aria-label", `${card.dataset.label}. ${HINT}`);

  const read = () => {
    if (panels) return;
    panels = JSON.parse(source.textContent).map(([title, box, x, y, curves]) => ({
      title, box, x, y,
      curves: curves.map(([name, at, values]) => ({
        name,
        points: values.map((value, k) => ({ x: at[k], y: value,
          left: box[0] + box[2] * share(x, at[k]), top: box[1] + box[3] * (1 - share(y, value)) })),
      })),
    }));
  };

  const show = (aloud) => {
    const panel = panels[place[0]];
    const curve = panel.curves[place[1]];
    const point = curve.points[place[2]];
    const percent = (part) => `${100 * part}%`;
    const [left, top, width, height] = panel.box;
    Object.assign(across.style, { left: percent(left), top: percent(point.top), width: percent(width) });
    Object.assign(along.style, { left: percent(point.left), top: percent(top), height: percent(height) });
    Object.assign(dot.style, { left: percent(point.left), top: percent(point.top) });
    const values = [`${panel.x[0]}: ${shown(point.x)}`, `${panel.y[0] || "value"}: ${shown(point.y)}`];
    const name = document.createElement("b");
    name.textContent = curve.name;
    reading.replaceChildren(name, ...values.flatMap((text, k) => (k ? [document.createElement("br"), text] : [text])));
    const right = point.left > 0.5;
    const low = point.top > 0.5;
    Object.assign(reading.style, {
      left: right ? "auto" : `calc(${percent(point.left)} + 12px)`,
      right: right ? `calc(${percent(1 - point.left)} + 12px)` : "auto",
      top: low ? "auto" : `calc(${percent(point.top)} + 12px)`,
      bottom: low ? `calc(${percent(1 - point.top)} + 12px)` : "auto",
    });
    picture.classList.add("live");
    if (aloud) spoken.textContent = [panel.title, curve.name, ...values].filter(Boolean).join(", ");
  };

  const hide = () => picture.classList.remove("live");

  const follow = (event) => {
    read();
    const frame = picture.getBoundingClientRect();
    const left = (event.clientX - frame.left) / frame.width;
    const top = (event.clientY - frame.top) / frame.height;
    // Insets come last and lie on top.
    const inside = ({ box }) => left >= box[0] && left <= box[0] + box[2] && top >= box[1] && top <= box[1] + box[3];
    const here = panels.findLastIndex(inside);
    if (here < 0) return hide();
    let nearest = Infinity;
    panels[here].curves.forEach((curve, c) => curve.points.forEach((point, p) => {
      const away = Math.hypot((point.left - left) * frame.width, (point.top - top) * frame.height);
      if (away < nearest) {
        nearest = away;
        place = [here, c, p];
      }
    }));
    show(false);
  };

  const step = (key) => {
    let [a, c, p] = place ?? [0, 0, -1];
    const turn = (value, count) => (value + count) % count;
    const at = place ? panels[a].curves[c].points[p].x : panels[0].x[2];
    if (key === "PageDown" || key === "PageUp") {
      a = turn(a + (key === "PageDown" ? 1 : -1), panels.length);
      [c, p] = [0, 0];
    } else if (key === "ArrowDown" || key === "ArrowUp") {
      c = turn(c + (key === "ArrowDown" ? 1 : -1), panels[a].curves.length);
      const gaps = panels[a].curves[c].points.map(({ x }) => Math.abs(x - at));
      p = gaps.indexOf(Math.min(...gaps));
    } else {
      const last = panels[a].curves[c].points.length - 1;
      p = { ArrowLeft: Math.max(p - 1, 0), ArrowRight: Math.min(p + 1, last), Home: 0, End: last }[key];
    }
    place = [a, c, p];
    show(true);
  };

  picture.addEventListener("pointermove", follow);
  picture.addEventListener("pointerdown", follow);
  picture.addEventListener("pointerleave", (event) => { if (event.pointerType === "mouse") hide(); });
  card.addEventListener("blur", hide);
  card.addEventListener("keydown", (event) => {
    if (event.key === "Escape") return hide();
    if (!/^(Arrow(Left|Right|Up|Down)|Page(Up|Down)|Home|End)$/.test(event.key)) return undefined;
    if (event.ctrlKey || event.metaKey || event.altKey) return undefined;
    event.preventDefault();
    read();
    return step(event.key);
  });
}
