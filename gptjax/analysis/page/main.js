// The page, put together: what is chosen at first, who listens to what, and one picture after another.

const DRAWS = [draw_loss, draw_sweep, () => draw_series("grad-norm", "grad/norm", true), () => draw_series("update-norm", "update/norm", true), () => draw_series("throughput", "perf/tokens_per_s", false), draw_timeline];
let turn = 0;

function draw_pictures() {  // each in a turn of its own, so that the page answers between them
  const mine = ++turn;
  document.body.dataset.drawn = "";
  const next = (at) => {
    if (mine !== turn) return;
    if (at === DRAWS.length) {
      document.body.dataset.drawn = "yes";
      return;
    }
    DRAWS[at]();
    setTimeout(() => next(at + 1));
  };
  next(0);
}

function about() {
  const many = `${RUNS.length} ${RUNS.length === 1 ? "run" : "runs"}`;
  const ranked = RUNS.map((run) => [final(run, metric()), run]).filter(([value]) => known(value)).sort(([a], [b]) => a - b);
  const lowest = ranked.length ? `; lowest final ${metric()}: ${number(ranked[0][0])} (${ranked[0][1].name})` : "";
  document.title = `${RUNS.length === 1 ? RUNS[0].name : many} - gptjax analyze`;
  document.querySelector("h1").textContent = RUNS.length === 1 ? RUNS[0].name : many;
  $("about").textContent = `Read by gptjax analyze on ${DATA.written}${lowest}. ${DATA.remark}`;
  $("thinned").textContent = `Of a curve with more than ${number(DATA.points)} logged values, the least and the greatest of each of ${number(DATA.points / 2)} equal parts are drawn as raw, so no spike is lost; smoothed curves are means over all logged values around a step, drawn at ${number(DATA.points / 2)} steps. Values that are not finite are gaps. Raw values stand behind smoothed ones for up to ${MOST_RAW} runs.`;
}

function chosen_at_first() {
  options($("metric"), DATA.metrics.map((name) => [name, name]), DATA.metric);
  const can_flops = RUNS.some((run) => known(run.flops_per_token));
  options($("along"), Object.entries(ALONG).filter(([key]) => key !== "flops" || can_flops).map(([key, [title]]) => [key, title]), DATA.by_tokens ? "tokens" : "step");
  options($("smoothing"), [["raw", "none"], ["0", "some (a fiftieth of the run)"], ["1", "much (a tenth of the run)"]], "0");
  options($("colour"), [["run", "run"], ["final", "final value"], ...KEYS.map((key) => [key, key])], RUNS.length > MOST_RAW ? CELL[0] ?? "final" : "run");
  const named = RUNS.map((run) => [String(run.at), run.name]);
  for (const id of ["sample-run", "one", "other"]) options($(id), named, id === "other" && RUNS.length > 1 ? "1" : "0");
  STATE.sort = { column: `final ${metric()}`, up: true };
  $("samples").hidden = !RUNS.some((run) => run.samples.length);
  $("compare").hidden = RUNS.length < 2;
  document.querySelector('nav [href="#samples"]').hidden = $("samples").hidden;
  document.querySelector('nav [href="#compare"]').hidden = $("compare").hidden;
}

function listen() {
  let waiting = 0;
  $("filter").addEventListener("input", () => { clearTimeout(waiting); waiting = setTimeout(filter, 150); });
  $("metric").addEventListener("change", () => {
    STATE.sort = { column: `final ${metric()}`, up: true };
    draw_table();
    draw_pictures();
  });
  for (const id of ["along", "smoothing", "raw", "bands", "log-x", "log-y"]) $(id).addEventListener("change", draw_curves);
  $("colour").addEventListener("change", () => { draw_table(); draw_curves(); });
  $("whole").addEventListener("click", () => Plotly.relayout($("loss"), { "xaxis.autorange": true, "yaxis.autorange": true }));
  $("basin-key").addEventListener("change", draw_sweep);
  $("sample-run").addEventListener("change", draw_samples);
  for (const id of ["one", "other"]) $(id).addEventListener("change", draw_differences);
  window.addEventListener("hashchange", follow);
  $("trouble-list").addEventListener("click", (event) => {  // a link that is pressed again leads there again
    const link = event.target.closest("a");
    if (link && link.getAttribute("href") === location.hash) follow();
  });
  document.addEventListener("keydown", (event) => { if (event.key === "Escape" && STATE.picked && event.target.id !== "filter") pick(null); });
  window.addEventListener("beforeprint", () => {
    pictures((picture) => Plotly.relayout(picture, { width: PRINTED }));
    document.querySelectorAll(".scroll > table").forEach((table) => table.classList.toggle("tight", table.scrollWidth > PRINTED));
  });
  window.addEventListener("afterprint", () => pictures((picture) => Plotly.relayout(picture, { width: null, autosize: true })));
}

const PRINTED = 1000;  // pixels, of the 273 mm across a page
const pictures = (change) => document.querySelectorAll(".picture.js-plotly-plot").forEach((picture) => { if (picture.offsetParent) change(picture); });

chosen_at_first();
about();
listen();
draw_common();
draw_samples();
draw_differences();
filter();
follow();
