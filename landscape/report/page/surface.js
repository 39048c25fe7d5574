"use strict";

/* The picture of a surface: which numbers a layer shows, how a view draws them, and the words of one point. */

const PLOT = { displaylogo: false, showSendToCloud: false, plotlyServerURL: "", responsive: true };
const FONT = { family: 'system-ui, "Segoe UI", Arial, sans-serif', size: 12, color: "#1d2b3a" };
const TICKS = ".4~%";
const SIGNED = ["#053061", "#2166ac", "#4393c3", "#92c5de", "#d1e5f0", "#f7f7f7", "#fddbc7", "#f4a582", "#d6604d",
  "#b2182b", "#67001f"].map((colour, at) => [at / 10, colour]);
const LAYERS = {
  value: "value",
  change: "change from the centre",
  width: "half width of the interval",
  noise: "noise (half-split difference / 2)",
  replicating: "part that replicates",
};

function layersOf(value) {
  const there = ["value", "change"];
  if (value.low) there.push("width");
  if (value.floor) there.push("noise", "replicating");
  return there;
}

function viewsOf(surface) {
  return surface.y
    ? { map: "heat map", contour: "contours", raised: "3D surface", cut1: "cut along d1", cut2: "cut along d2" }
    : { line: "curve" };
}

/* Numbers of a layer, in the order of the grid: point (i, j) at i * m + j. */
function layerNumbers(value, layer) {
  const z = unpack(value.z);
  if (layer === "value") return z;
  if (layer === "change") return z.map((each) => (value.centre === null ? NaN : each - value.centre));
  if (layer === "noise" || layer === "replicating") return unpack(value.floor[layer]);
  const low = unpack(value.low), high = unpack(value.high);
  return low.map((each, at) => (high[at] - each) / 2);
}

function layerLabel(value, layer) {
  if (layer === "value") return value.label;
  if (layer === "change") return value.change;
  const unit = value.unit === "%" ? "points" : value.unit;
  return `${value.short}: ${LAYERS[layer]}${unit ? ` (${unit})` : ""}`;
}

function pointWords(surface, value, i, j) {
  const m = gridShape(surface)[1], at = i * m + j;
  const z = unpack(value.z)[at];
  const place = `d1 ${percent(surface.x[i])}${surface.y ? `, d2 ${percent(surface.y[j])}` : ""}`;
  const lines = [place, `${value.label}: ${Number.isFinite(z) ? fixed(z, value.decimals) : "no finite value"}`];
  const isCentre = i === surface.centre[0] && (!surface.y || j === surface.centre[1]);
  if (isCentre) lines.push("the calibrated network");
  if (!isCentre && value.centre !== null && Number.isFinite(z)) {
    lines.push(`minus the centre: ${fixed(z - value.centre, value.decimals, true)}`);
    if (value.low) {
      const [low, high] = [unpack(value.low)[at], unpack(value.high)[at]];
      if (Number.isFinite(low)) {
        const ends = [low, high].map((end) => fixed(end, value.decimals, true)).join(" to ");
        lines.push(`${100 * surface.level}% interval of that: ${ends}`);
      }
    }
  }
  return lines;
}

function escapeHtml(text) {
  return String(text).replace(/[&<>"']/g, (sign) => `&#${sign.charCodeAt(0)};`);
}

function hoverText(surface, value, layer, i, j) {
  const lines = pointWords(surface, value, i, j);
  if (layer !== "value" && layer !== "change") {
    const number = layerNumbers(value, layer)[i * gridShape(surface)[1] + j];
    lines.push(`${LAYERS[layer]}: ${fixed(number, value.decimals, layer !== "width")}`);
  }
  return lines.map(escapeHtml).join("<br>");
}

function gridOf(surface, make) {
  return surface.y.map((_, j) => surface.x.map((__, i) => make(i, j)));
}

const finiteOr = (number) => (Number.isFinite(number) ? number : null);

function drawSurface(place, surface, value, layer, view, chosen, levels = null) {
  const figure = surface.y && !view.startsWith("cut")
    ? gridFigure(surface, value, layer, view, chosen, place.clientWidth < NARROW)
    : lineFigure(surface, value, layer, view, chosen);
  if (levels) figure.data.push(...levelTicks(surface, levels, view));
  figure.layout.font = FONT;
  figure.layout.margin = { t: 20, r: 20, b: 50, l: 70, ...figure.layout.margin };
  figure.layout.modebar = { remove: ["sendChartToCloud"] };
  place.setAttribute("aria-label", `${layerLabel(value, layer)}, ${viewsOf(surface)[view]}`);
  return Plotly.react(place, figure.data, figure.layout, PLOT);
}

/* Borders of cells centred on the points of an axis: their first and their last. */
function cellEnds(axis) {
  const n = axis.length;
  if (n === 1) return [axis[0] - 0.005, axis[0] + 0.005];
  return [axis[0] - (axis[1] - axis[0]) / 2, axis[n - 1] + (axis[n - 1] - axis[n - 2]) / 2];
}

const NARROW = 520; // pixels; the colour bar lies below the map then

function gridFigure(surface, value, layer, view, chosen, narrow) {
  const numbers = layerNumbers(value, layer), m = surface.y.length;
  const z = gridOf(surface, (i, j) => finiteOr(numbers[i * m + j]));
  const text = gridOf(surface, (i, j) => hoverText(surface, value, layer, i, j));
  const look = { x: surface.x, y: surface.y, z, hovertemplate: "%{text}<extra></extra>", text };
  const bar = { title: { text: escapeHtml(layerLabel(value, layer)), side: narrow ? "bottom" : "right" }, thickness: 14,
    minexponent: 7, ...(narrow ? { orientation: "h", y: -0.3, yanchor: "top", nticks: 4 } : {}) };
  Object.assign(look, colours(value, layer, numbers), { colorbar: bar });
  const marks = markers(surface, value, view === "raised" ? z : null, chosen);
  const title = (words) => ({ title: { text: escapeHtml(words), font: { size: narrow ? 11 : 13 } }, tickformat: TICKS,
    zeroline: false, showgrid: false });
  if (view === "raised") {
    const axis = (words) => ({ title: { text: escapeHtml(words), font: { size: 11 } }, tickformat: TICKS });
    const scene = { xaxis: axis(surface.x_label), yaxis: axis(surface.y_label),
      zaxis: { title: { text: escapeHtml(layerLabel(value, layer)), font: { size: 11 } }, minexponent: 7 },
      aspectmode: "cube", camera: { eye: { x: 1.5, y: 1.5, z: 1.1 } } };
    return { data: [{ type: "surface", ...look }, ...marks], layout: { scene, showlegend: false, uirevision: "3d" } };
  }
  const stairs = view === "contour" && value.levels > 0 && ["value", "change"].includes(layer);
  const kind = view === "contour" && !stairs
    ? { type: "contour", ncontours: 14, contours: { showlabels: true, labelfont: { size: 10, color: "white" } },
      line: { smoothing: 0 } }
    : { type: "heatmap", hoverongaps: false };
  const axes = { xaxis: { ...title(surface.x_label), constrain: "domain", range: cellEnds(surface.x) },
    yaxis: { ...title(surface.y_label), scaleanchor: "x", constrain: "domain", range: cellEnds(surface.y) } };
  const note = { text: `${value.levels} distinct values: cells in place of contour lines`, showarrow: false, xref: "paper",
    yref: "paper", x: 0, y: 1, xanchor: "left", yanchor: "bottom" };
  const layout = { ...axes, plot_bgcolor: "#dddddd", showlegend: false, annotations: stairs ? [note] : [],
    margin: narrow ? { b: 110 } : {} };
  return { data: [{ ...kind, ...look }, ...marks], layout };
}

function colours(value, layer, numbers) {
  if (layer === "value") return { colorscale: value.name === "top1" ? "Cividis" : "Viridis" };
  if (layer === "width") return { colorscale: "Greys", reversescale: false };
  const finite = Array.from(numbers).filter(Number.isFinite).map(Math.abs);
  const others = layer === "change" ? finite : ["measured", "noise", "replicating"]
    .flatMap((name) => Array.from(unpack(value.floor[name]), Math.abs));
  const most = others.reduce((a, b) => Math.max(a, b), 0) || 1;
  const limits = { zmin: -most, zmax: most, cmin: -most, cmax: most };
  return { colorscale: SIGNED, reversescale: false, ...limits };
}

function markers(surface, value, raised, chosen) {
  const spots = [
    [surface.centre, "cross", "white", 12, "centre"],
    [value.best, "star", "#D55E00", 13, "best"],
    [chosen, "circle-open", "black", 15, "chosen"],
  ];
  return spots.filter(([spot]) => spot).map(([[i, j], symbol, color, size, name]) => {
    const line = { color: "black", width: symbol === "circle-open" ? 2 : 1 };
    const common = { x: [surface.x[i]], y: [surface.y[j]], mode: "markers", name, hoverinfo: "skip" };
    if (!raised) return { type: "scatter", ...common, cliponaxis: false, marker: { symbol, color, size, line } };
    const flat = { symbol: symbol === "star" ? "diamond" : symbol.replace("-open", ""), size: 5, color, line };
    return { type: "scatter3d", ...common, z: [raised[j][i]], marker: flat };
  });
}

/* A line, or the cut of a grid through the chosen point. */
function lineFigure(surface, value, layer, view, chosen) {
  const m = gridShape(surface)[1];
  const second = view === "cut2";
  const axis = second ? surface.y : surface.x;
  const spot = (k) => (second ? [chosen[0], k] : [k, surface.y ? chosen[1] : 0]);
  const at = (k) => spot(k)[0] * m + spot(k)[1];
  const all = axis.map((_, k) => k);
  const numbers = layerNumbers(value, layer);
  const text = all.map((k) => hoverText(surface, value, layer, ...spot(k)));
  const data = [];
  if (value.low && (layer === "value" || layer === "change")) {
    const shift = layer === "value" ? value.centre : 0;
    const edge = (packed) => all.map((k) => finiteOr(unpack(packed)[at(k)] + shift));
    const none = { type: "scatter", x: axis, mode: "lines", line: { width: 0 }, hoverinfo: "skip", showlegend: false };
    data.push({ ...none, y: edge(value.low) });
    data.push({ ...none, y: edge(value.high), fill: "tonexty", fillcolor: "rgba(0, 114, 178, 0.2)", showlegend: true,
      name: `${100 * surface.level}% interval of the difference to the centre` });
  }
  data.push({ type: "scatter", x: axis, y: all.map((k) => finiteOr(numbers[at(k)])), mode: "lines+markers",
    marker: { size: 5 }, line: { color: "#0072B2" }, text, hovertemplate: "%{text}<extra></extra>",
    name: escapeHtml(layerLabel(value, layer)) });
  const k = second ? chosen[1] : chosen[0];
  data.push({ type: "scatter", x: [axis[k]], y: [finiteOr(numbers[at(k)])], mode: "markers", hoverinfo: "skip",
    marker: { symbol: "circle-open", size: 14, color: "black", line: { width: 2 } }, showlegend: false });
  const shapes = layer === "value" && value.float !== null && inRange(value.float, numbers)
    ? [{ type: "line", xref: "paper", x0: 0, x1: 1, y0: value.float, y1: value.float,
        line: { color: "#009E73", dash: "dash" }, label: { text: "float network", textposition: "end" } }]
    : [];
  const words = escapeHtml(second ? surface.y_label : surface.x_label);
  const layout = { xaxis: { title: { text: words }, tickformat: TICKS, zeroline: false }, shapes,
    yaxis: { title: { text: escapeHtml(layerLabel(value, layer)) }, zeroline: false },
    legend: { orientation: "h", y: 1.08 }, hovermode: "closest" };
  return { data, layout };
}

/* A tick for every grid line that a refinement added, at the border of a map; the finer, the fainter. */
function levelTicks(surface, levels, view) {
  if (view !== "map" && view !== "contour") return [];
  const ticks = (axis, of, symbol, place) => {
    const added = axis.map((_, k) => k).filter((k) => of[k] > 0);
    const look = { symbol, size: 9, color: added.map((k) => of[k]), colorscale: [[0, "#000000"], [1, "#999999"]],
      cmin: 1, cmax: 4, line: { width: 1.5 } };
    return { type: "scatter", mode: "markers", showlegend: false, marker: look, ...place(added),
      text: added.map((k) => `grid line ${percent(axis[k])}, added in level ${of[k]}`),
      hovertemplate: "%{text}<extra></extra>" };
  };
  const { x, y } = surface;
  return [ticks(x, levels.x, "line-ns-open", (added) => ({ x: added.map((k) => x[k]), y: added.map(() => y[0]) })),
    ticks(y, levels.y, "line-ew-open", (added) => ({ x: added.map(() => x[0]), y: added.map((k) => y[k]) }))];
}

function inRange(level, numbers) {
  const finite = Array.from(numbers).filter(Number.isFinite);
  return finite.some((each) => each >= level) && finite.some((each) => each <= level);
}
