// Curves over training: the loss, the norms and the throughput, one line a run.

const FONT = 'system-ui, -apple-system, "Segoe UI", "Noto Sans", sans-serif';
const CONFIG = {  // plotly's own choice has a button that sends a chart to its makers
  responsive: true, displaylogo: false, showSendToCloud: false, plotlyServerURL: "", toImageButtonOptions: { format: "svg" },
  modeBarButtons: [["toImage", "zoom2d", "pan2d", "zoomIn2d", "zoomOut2d", "resetScale2d"]],
};
const MOST_RAW = 12, MOST_LEGEND = 10, MOST_MARKS = 60;

function layout(x, y, more = {}) {
  const axis = (title, extra) => ({ title: { text: plain(title), standoff: 8 }, automargin: true, zeroline: false, exponentformat: "SI", ...extra });
  return {
    font: { family: FONT, size: 12 }, paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", hovermode: "closest",
    margin: { l: 60, r: 15, t: 15, b: 50 }, legend: { orientation: "h", y: -0.22, x: 0, font: { size: 11 } }, showlegend: false,
    hoverlabel: { align: "left", namelength: -1, font: { family: FONT, size: 12 } }, xaxis: axis(x, more.x), yaxis: axis(y, more.y), ...more.rest,
  };
}

function show(id, traces, made, summary, head, rows) {
  const picture = $(id);
  picture.setAttribute("role", "img");
  picture.setAttribute("aria-label", summary);
  Plotly.react(picture, traces, made, CONFIG);
  const caption = picture.parentElement.querySelector("figcaption");
  const table = el("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "Numbers of this picture" });
  const details = el("details", {}, el("summary", {}, "Numbers of this picture"), table);
  details.addEventListener("toggle", () => { if (details.open && !table.childElementCount) table.append(numbers(head, rows())); });
  caption.replaceChildren(el("span", {}, summary), details);
}

function numbers(head, rows) {
  const cells = (row) => row.map((value, at) => (at ? el("td", { class: "number" }, written(value)) : el("th", { scope: "row" }, written(value))));
  return el("table", {}, el("thead", {}, el("tr", {}, ...head.map((title, at) => el("th", { scope: "col", class: at ? "number" : null }, title)))), el("tbody", {}, ...rows.map((row) => el("tr", {}, ...cells(row)))));
}

function points(run, name, which) {  // [steps, values]: "raw", or the number of a smoothing
  const curve = run.curves[name];
  return which === "raw" ? curve.raw : [curve.at, curve.means[Number(which)]];
}

const drawn = (name) => STATE.shown.filter((run) => name in run.curves);

function styled(runs, colour) {  // runs that look alike are one trace, which draws and answers faster; the picked one comes last, alone
  const groups = new Map();
  for (const run of runs) {
    const [shade, dash] = colour(run), picked = run === STATE.picked;
    const of = `${shade} ${dash} ${picked}`;
    if (!groups.has(of)) groups.set(of, { shade, dash, picked, runs: [] });
    groups.get(of).runs.push(run);
  }
  return [...groups.values()].sort((a, b) => a.picked - b.picked);
}

const told_of = new Map();

function hint(run) {  // its name and how its config differs, for the pointer
  if (!told_of.has(run)) told_of.set(run, [`<b>${plain(run.name)}</b>`, ...told(run).map(plain)].join("<br>"));
  return told_of.get(run);
}

function line({ shade, dash, picked, runs }, name, which, more = {}) {
  const x = [], y = [], customdata = [], text = [];
  for (const run of runs) {
    const [steps, values] = points(run, name, which), hinted = hint(run);
    steps.forEach((step, at) => { x.push(place(run, step)); y.push(values[at]); customdata.push(step); text.push(hinted); });
    if (run !== runs.at(-1)) { x.push(null); y.push(null); customdata.push(null); text.push(""); }
  }
  const few = runs.some((run) => points(run, name, which)[0].length < 3);
  return {
    type: "scatter", mode: few ? "lines+markers" : "lines", name: plain(short(runs[0].name)), x, y, customdata, text, connectgaps: false, ids_of: runs.map((run) => run.at),
    line: { color: shade, width: picked ? 3 : 1.5, dash }, marker: { color: shade, size: 5 }, opacity: STATE.picked && !picked ? 0.25 : 1,
    hovertemplate: `%{text}<br>${plain(name)} %{y:.5~g} after %{customdata:,} updates<extra></extra>`, ...more,
  };
}

const behind = (group, name) => line(group, name, "raw", { line: { color: group.shade, width: 1 }, opacity: STATE.picked && !group.picked ? 0.08 : 0.28, hoverinfo: "skip", hovertemplate: null, showlegend: false });

function bands(runs, name, which, colour) {  // the mean and the range over the seeds of a cell
  return [...grouped(runs).values()].flatMap((seeds) => {
    if (seeds.length < 2) return styled(seeds, colour).map((group) => line(group, name, which));
    const curves = seeds.map((run) => {
      const [steps, values] = points(run, name, which);
      return [steps.map((step) => place(run, step)), values];
    });
    const low = Math.max(...curves.map(([xs]) => xs[0])), high = Math.min(...curves.map(([xs]) => xs.at(-1)));
    if (!(high > low)) return [];
    const x = Array.from({ length: 200 }, (_, at) => low + ((high - low) * at) / 199);
    const rows = x.map((at) => curves.map(([xs, ys]) => between(xs, ys, at)));
    const whole = (row, of) => (row.every(known) ? of(row) : null);
    const shade = colour(seeds[0])[0];
    const edge = { type: "scatter", mode: "lines", x, line: { width: 0 }, hoverinfo: "skip", showlegend: false };
    const label = plain(short(CELL.map((key) => `${key.split(".").at(-1)}=${written(setting(seeds[0], key))}`).join(" ") || "all", 60));
    return [
      { ...edge, y: rows.map((row) => whole(row, (all) => Math.min(...all))) },
      { ...edge, y: rows.map((row) => whole(row, (all) => Math.max(...all))), fill: "tonexty", fillcolor: shade.startsWith("#") ? `${shade}44` : shade.replace("rgb", "rgba").replace(")", ",0.27)") },
      { type: "scatter", mode: "lines", x, y: rows.map((row) => whole(row, (all) => all.reduce((a, b) => a + b) / all.length)), name: label, line: { color: shade, width: 2 }, meta: [label], hovertemplate: `<b>%{meta[0]}</b><br>mean of ${seeds.length} seeds %{y:.5~g}<extra></extra>` },
    ];
  });
}

function grouped(runs) {
  const cells = new Map();
  for (const run of runs) cells.set(cell_of(run), [...(cells.get(cell_of(run)) ?? []), run]);
  return cells;
}

function marks(runs, name) {  // where trouble was found in this metric; behind its last finite value if it became none
  const found = runs.flatMap((run) => run.trouble.filter(([, kind, text]) => ["spike", "not finite"].includes(kind) && text.includes(name)).map((one) => [run, ...one])).slice(0, MOST_MARKS);
  const at = found.map(([run, step]) => {
    const [steps, values] = run.curves[name].raw, finite = steps.map((_, place) => place).filter((place) => known(values[place]));
    return between(finite.map((place) => steps[place]), finite.map((place) => values[place]), step);
  });
  return {
    type: "scatter", mode: "markers", name: "trouble", x: found.map(([run, step]) => place(run, step)), y: at, showlegend: false,
    marker: { symbol: "x", size: 9, color: "#d6456b" },
    customdata: found.map(([run, , kind, text]) => plain(`${run.name}: ${kind}: ${text}`)), hovertemplate: "%{customdata}<extra></extra>",
  };
}

function draw_loss() {
  const name = metric(), which = $("smoothing").value, runs = drawn(name), colour = colouring(), groups = styled(runs, colour);
  const raw = $("raw").checked && which !== "raw" && runs.length <= MOST_RAW && !$("bands").checked ? groups.map((group) => behind(group, name)) : [];
  const lines = $("bands").checked ? bands(runs, name, which, colour) : groups.map((group) => line(group, name, which));
  const traces = [...raw, ...lines, marks($("bands").checked ? [] : runs, name)];
  const shapes = STATE.picked && STATE.mark !== null ? [{ type: "line", yref: "paper", y0: 0, y1: 1, x0: place(STATE.picked, STATE.mark), x1: place(STATE.picked, STATE.mark), line: { color: "#d6456b", width: 1.5, dash: "dot" } }] : [];
  draw_key();
  const n_lines = lines.filter((trace) => trace.showlegend !== false).length, named = $("bands").checked || $("colour").value === "run";
  const made = layout(ALONG[along()][0], unit(name), {
    x: { type: $("log-x").checked ? "log" : "linear" }, y: { type: $("log-y").checked ? "log" : "linear" },
    rest: { shapes, showlegend: named && n_lines > 1 && n_lines <= MOST_LEGEND, uirevision: [name, along(), $("log-x").checked, $("log-y").checked].join() },
  });
  show("loss", traces, made, said_of_curves(runs, name), ["run", ...TENTHS.map((part) => `${100 * part}% of the run`)], () => table_of(runs, name));
}

const unit = (name) => (/nll$/.test(name) ? `${name} (nats a token)` : name);
const TENTHS = [0.1, 0.25, 0.5, 0.75, 1];
const table_of = (runs, name) => runs.map((run) => {
  const [steps, values] = points(run, name, "0");
  return [run.name, ...TENTHS.map((part) => between(steps, values, steps[0] + (steps.at(-1) - steps[0]) * part))];
});

function said_of_curves(runs, name) {
  const ends = runs.map((run) => [final(run, name), run]).filter(([value]) => known(value)).sort(([a], [b]) => a - b);
  if (!ends.length) return `No run that is shown has a finite ${name}.`;
  const [[low, first], [high, last]] = [ends[0], ends.at(-1)];
  const range = ends.length > 1 ? `end between ${number(low)} (${first.name}) and ${number(high)} (${last.name})` : `ends at ${number(low)}`;
  return `${name} of ${runs.length} ${runs.length === 1 ? "run" : "runs"} against ${ALONG[along()][0]}: ${range}.`;
}

function draw_series(id, name, log) {
  const runs = drawn(name);
  $(id).parentElement.hidden = !runs.length;
  if (!runs.length) return;
  const traces = styled(runs, colouring()).map((group) => line(group, name, "0"));
  const made = layout(ALONG[along()][0], name, { y: { type: log ? "log" : "linear", rangemode: log ? "normal" : "tozero" } });
  show(id, traces, made, said_of_curves(runs, name), ["run", ...TENTHS.map((part) => `${100 * part}% of the run`)], () => table_of(runs, name));
}

function draw_curves() {
  draw_loss();
  draw_series("grad-norm", "grad/norm", true);
  draw_series("update-norm", "update/norm", true);
  draw_series("throughput", "perf/tokens_per_s", false);
}
