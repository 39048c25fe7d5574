"use strict";

/* The page itself: which run, value, layer, view and point are chosen, and what follows from it. */

const $ = (id) => document.getElementById(id);
const state = { run: 0, value: "", layer: "value", view: "", point: [0, 0] };

const current = () => report.runs[state.run];
const currentSurface = () => current().surface;
const currentValue = () => currentSurface().values.find((value) => value.name === state.value);

function start() {
  $("title").textContent = report.title;
  $("made").textContent = `made ${report.created} by evolq-landscape ${report.version}`;
  report.runs.forEach((run, index) => $("which").append(new Option(`${run.name} \u2013 ${run.title}`, index)));
  $("which").addEventListener("change", () => openRun(Number($("which").value)));
  $("previous").addEventListener("click", () => openRun((state.run + report.runs.length - 1) % report.runs.length));
  $("next").addEventListener("click", () => openRun((state.run + 1) % report.runs.length));
  for (const name of ["value", "layer", "view"]) {
    $(name).addEventListener("change", () => choose(name, $(name).value));
  }
  $("csv").addEventListener("click", downloadPoints);
  $("json").addEventListener("click", downloadJson);
  $("results-csv").addEventListener("click", downloadResults);
  $("to-centre").addEventListener("click", () => goTo(currentSurface().centre));
  $("to-best").addEventListener("click", () => goTo(currentValue().best || currentSurface().centre));
  $("plot").addEventListener("keydown", moveByKey);
  $("chooser").hidden = $("overview").hidden = report.runs.length < 2;
  if (report.runs.length > 1) drawOverview();
  window.addEventListener("hashchange", openFromAddress);
  openFromAddress();
}

function openFromAddress() {
  const found = /^#run-(\d+)$/.exec(location.hash);
  openRun(found && report.runs[found[1]] ? Number(found[1]) : 0);
}

function openRun(index) {
  const run = report.runs[index];
  state.run = index;
  $("which").value = index;
  if (report.runs.length > 1) history.replaceState(null, "", `#run-${index}`);
  $("run-title").textContent = run.title;
  $("run-subtitle").textContent = run.subtitle;
  $("run-status").textContent = statusWords(run);
  markOverview();
  for (const name of ["surface", "floor", "roughness", "points"]) $(`${name}-section`).hidden = !run.surface;
  $("search-section").hidden = !run.search;
  $("study-section").hidden = !run.studies.length;
  $("refinement").textContent = run.refinement ? run.refinement.words : "";
  if (run.surface) openSurface(run.surface);
  if (run.search) openSearch(run.search);
  openStudies(run.studies);
  fillSettings(run);
}

function statusWords(run) {
  const words = [run.name, run.status].filter(Boolean);
  if (run.created) words.push(`begun ${run.created}`);
  if (run.finished) words.push(`finished ${run.finished}`);
  if (run.seconds) words.push(`${general(Math.round(run.seconds))} s`);
  if (run.engine) words.push(`engine ${run.engine}`);
  return words.join(", ");
}

/* ---- surface ---- */

function openSurface(surface) {
  const names = surface.values.map((value) => value.name);
  if (!names.includes(state.value)) state.value = names[0];
  options($("value"), surface.values.map((value) => [value.name, value.short]), state.value);
  const views = viewsOf(surface);
  if (!(state.view in views)) state.view = Object.keys(views)[0];
  options($("view"), Object.entries(views), state.view);
  state.point = [surface.centre[0], surface.y ? surface.centre[1] : 0];
  const decimals = surface.values.map((value) => value.decimals);
  makeTable($("points-table"),
    [{ name: "d1", show: percent }, ...(surface.y ? [{ name: "d2", show: percent }] : []),
      ...surface.values.map((value, at) => ({ name: value.label, decimals: decimals[at] }))],
    pointRows(surface).map(([alpha, beta, ...values]) => [alpha, ...(surface.y ? [beta] : []),
      ...values.map((value, at) => value * surface.values[at].factor)]),
    { rows: 25 });
  showValue();
}

function choose(name, chosen) {
  state[name] = $(name).value = chosen;
  if (name === "value") showValue();
  else drawCurrent();
}

function showValue() {
  const value = currentValue(), layers = layersOf(value);
  if (!layers.includes(state.layer)) state.layer = "value";
  options($("layer"), layers.map((layer) => [layer, LAYERS[layer]]), state.layer);
  drawCurrent();
  showFloor(value);
  showRoughness(value);
}

function options(select, entries, chosen) {
  select.replaceChildren(...entries.map(([value, words]) => new Option(words, value, false, value === chosen)));
}

function drawCurrent() {
  const surface = currentSurface(), plot = $("plot");
  drawSurface(plot, surface, currentValue(), state.layer, state.view, state.point,
    current().refinement);
  plot.removeAllListeners("plotly_click");
  plot.on("plotly_click", (event) => {
    const { x, y } = event.points[0];
    const near = (axis, at) => axis.reduce((best, each, k) => (Math.abs(each - at) < Math.abs(axis[best] - at) ? k : best), 0);
    if (state.view === "line" || state.view === "cut1") goTo([near(surface.x, x), state.point[1]]);
    else if (state.view === "cut2") goTo([state.point[0], near(surface.y, x)]);
    else goTo([near(surface.x, x), near(surface.y, y)]);
  });
  $("readout").textContent = pointWords(surface, currentValue(), ...state.point).join("; ");
}

function goTo(point) {
  state.point = [point[0], point.length > 1 ? point[1] : 0];
  drawCurrent();
}

function moveByKey(event) {
  const surface = currentSurface(), [n, m] = gridShape(surface);
  const steps = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowDown: [0, -1], ArrowUp: [0, 1] };
  if (event.key === "Home") goTo(surface.centre);
  else if (event.key === "End") goTo(currentValue().best || surface.centre);
  else if (event.key in steps) {
    const [di, dj] = steps[event.key];
    const keep = (at, count) => Math.min(count - 1, Math.max(0, at));
    goTo([keep(state.point[0] + di, n), keep(state.point[1] + dj, m)]);
  } else return;
  event.preventDefault();
}

function showFloor(value) {
  const floor = value.floor;
  $("floor-words").textContent = floor ? `${value.short}: ${floor.words}.` : `${value.short}: ${value.no_floor}.`;
  $("floor-plot").hidden = !floor;
  if (!floor) return;
  const band = { type: "scatter", mode: "markers", x: floor.wavelength, y: floor.band_share.map((each) => Math.max(each, -0.5)),
    error_y: { type: "data", array: floor.band_error }, marker: { color: "#0072B2", size: 8 },
    hovertemplate: "wavelength %{x:.2~%}: share %{y:.2f} \u00b1 %{error_y.array:.2f}<extra></extra>" };
  const ticks = { tickvals: floor.wavelength, ticktext: floor.wavelength.map((each) => `${Number((100 * each).toPrecision(1))}%`) };
  const rule = (y) => ({ type: "line", xref: "paper", x0: 0, x1: 1, y0: y, y1: y, line: { color: "#888", dash: "dot" } });
  const layout = { font: FONT, margin: { t: 10, r: 20, b: 50, l: 70 }, shapes: [rule(0), rule(1)],
    xaxis: { type: "log", autorange: "reversed", title: { text: "wavelength (change of the scales)" }, ...ticks },
    yaxis: { title: { text: "share that replicates" }, range: [-0.6, 1.3], zeroline: false } };
  Plotly.react($("floor-plot"), [band], layout, PLOT);
}

function showRoughness(value) {
  $("roughness-section").hidden = value.roughness.length === 0;
  makeTable($("roughness-table"),
    [{ name: `measure of ${value.short}`, text: true, long: true }, { name: "value" }, { name: "low" }, { name: "high" },
      { name: "floor" }, { name: "unit", text: true }, { name: "rough", text: true }, { name: "note", text: true, long: true }],
    value.roughness.map((each) => [each.label, each.value, each.low, each.high, each.floor, each.unit, said(each.rough), each.note]));
  makeTable($("population-table"),
    [{ name: "squared measure", text: true, long: true }, { name: "measured" }, { name: "added by the images" },
      { name: "estimate" }, { name: "low" }, { name: "high" }, { name: "share" }, { name: "images needed" }, { name: "unit", text: true }],
    value.population.map((each) => [each.label, each.measured, each.sample_part, each.estimate, each.low, each.high,
      each.share, each.images_needed === null ? null : Math.ceil(each.images_needed), each.unit]));
}

/* ---- searches ---- */

function openSearch(search) {
  for (const name of ["convergence", "methods", "trajectories"]) {
    const place = $(name), figure = search.pictures[name];
    Plotly.purge(place);
    place.style.height = "";
    if (!figure) {
      const words = document.createElement("p");
      words.className = "missing";
      words.textContent = search.missing[name];
      place.replaceChildren(words);
      place.style.height = "auto";
      continue;
    }
    place.replaceChildren();
    draw(place, figure);
  }
  const text = new Set(["method"]);
  const columns = search.table.head.map((name, at) => ({ name, text: text.has(name), decimals: search.table.decimals[at] }));
  makeTable($("results-table"), columns, search.table.rows);
}

/* A figure as high as it was made; panels side by side keep their width, and scroll where the window is narrow. */
function draw(place, figure) {
  const panels = Object.keys(figure.layout).filter((key) => /^xaxis\d*$/.test(key)).length;
  place.style.height = `${figure.layout.height}px`;
  place.style.minWidth = panels > 1 ? `${320 * panels}px` : "";
  Plotly.newPlot(place, figure.data, { ...figure.layout, font: FONT }, PLOT);
}

/* ---- studies ---- */

function openStudies(studies) {
  const add = (place, tag, words, look = "") => {
    const made = document.createElement(tag);
    made.textContent = words;
    made.className = look;
    place.append(made);
    return made;
  };
  $("studies").querySelectorAll(".plot").forEach((place) => Plotly.purge(place));
  $("studies").replaceChildren();
  for (const study of studies) {
    if (study.title) add($("studies"), "p", `${study.name}: ${study.title}; ${study.subtitle}`, "small");
    for (const { title, figure } of study.pictures) {
      add($("studies"), "h4", title);
      const place = add(add($("studies"), "div", "", "wide"), "div", "", "plot");
      draw(place, figure);
    }
    for (const { title, head, rows } of study.tables) {
      const box = document.createElement("details");
      add(box, "summary", `Table: ${title}`);
      const place = add(box, "div", "", "wide");
      $("studies").append(box);
      makeTable(place, head.map((name, at) => ({ name, text: typeof rows[0][at] === "string" })), rows, { rows: 25 });
    }
  }
}

/* Whether a value lies above its floor, in the words of the terminal: noise alone is never proof of smoothness. */
const said = (rough) => (rough === null || rough === undefined ? null : rough ? "yes" : "not shown");

/* ---- all runs ---- */

const OVERVIEW = [
  ["run", (run) => run.name, { text: true }],
  ["network", (run) => run.model, { text: true }],
  ["bits", (run) => run.bits, { text: true }],
  ["shown", (run) => run.title.replace(/^[^:]*: /, ""), { text: true }],
  ["status", (run) => run.status, { text: true }],
  ["radius", (run) => run.overview.radius, {}],
  ["points", (run) => run.overview.points, {}],
  ["images", (run) => run.overview.images, {}],
  ["most flips (%)", (run) => run.overview.flips, { decimals: 1 }],
  ...["loss", "top1", "infonce"].flatMap((name) => {
    const short = { loss: "cross-entropy", top1: "top-1", infonce: "infoNCE" }[name];
    const decimals = { loss: 4, top1: 2, infonce: 5 }[name];
    return [
      [`${short}, centre`, (run) => run.overview[`${name}_centre`], { decimals }],
      [`${short}, sd over points`, (run) => run.overview[`${name}_spread`], { decimals }],
      [`${short}, replicates`, (run) => run.overview[`${name}_share`], { show: (share) => `${Math.max(0, Math.round(100 * share))}%` }],
      [`${short}, rough`, (run) => said(run.overview[`${name}_rough`]), {}],
    ];
  }),
];

function drawOverview() {
  const rows = report.runs.map((run) => OVERVIEW.map(([, get]) => get(run)));
  const used = OVERVIEW.map((_, at) => rows.some((row) => row[at] !== null && row[at] !== undefined && row[at] !== ""));
  const keep = (list) => list.filter((_, at) => used[at]);
  makeTable($("overview-table"), keep(OVERVIEW).map(([name, , look]) => ({ name, ...look })), rows.map(keep), {
    rows: 100,
    open: (index) => { openRun(index); $("run").focus(); $("run").scrollIntoView(); },
    filled: (table) => { linkFirst(table); markOverview(); },
  });
}

/* The first cell of a row holds a link, so that runs open by keyboard too. */
function linkFirst(table) {
  for (const row of table.tBodies[0].rows) {
    const cell = row.cells[0], link = document.createElement("a");
    link.href = `#run-${row.dataset.row}`;
    link.textContent = cell.textContent;
    cell.replaceChildren(link);
  }
}

function markOverview() {
  for (const row of document.querySelectorAll("#overview-table tr.link")) {
    row.classList.toggle("chosen", Number(row.dataset.row) === state.run);
  }
}

/* ---- settings ---- */

function fillSettings(run) {
  const words = (name) => ({ name, text: true, long: true });
  makeTable($("scheme-table"), [words("part"), words("setting")], run.scheme);
  makeTable($("quantized-table"), [words("tensors"), { name: "how many" }, words("of what")],
    run.quantized.map((each) => [each.pattern, each.count, each.kind]));
  makeTable($("settings-table"), [words("setting"), words("value")], run.settings);
  makeTable($("versions-table"), [words("library"), words("version")], run.versions);
  $("float-summary").textContent = run.float_parts.length
    ? `${run.float_parts.length} entries of what stays in floating point`
    : "This run does not say what stays in floating point";
  $("float-parts").replaceChildren(...run.float_parts.map((part) => {
    const item = document.createElement("li");
    item.textContent = part;
    return item;
  }));
  $("commands").textContent = [run.command, report.command].filter(Boolean).join("\n");
}

/* ---- downloads ---- */

function downloadPoints() {
  const surface = currentSurface();
  const head = ["alpha", "beta", ...surface.values.map((value) => value.name)];
  download(`${current().name}.csv`, "text/csv", csvText(head, pointRows(surface)));
}

function downloadJson() {
  const surface = currentSurface();
  const head = ["alpha", "beta", ...surface.values.map((value) => value.name)];
  const { name, title, subtitle, command, settings, versions } = current();
  const table = { columns: head, rows: pointRows(surface) };
  const record = { name, title, subtitle, command, settings: Object.fromEntries(settings), versions: Object.fromEntries(versions), table };
  download(`${current().name}.json`, "application/json", JSON.stringify(record, null, 1));
}

function downloadResults() {
  const { head, rows } = current().search.table;
  download(`${current().name}-results.csv`, "text/csv", csvText(head, rows));
}

start();
