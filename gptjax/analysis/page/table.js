// The table of runs, the list of trouble, and the links that lead to a run or to a step of it.

function columns() {  // [title, number of a run, how it is written, numeric]
  const name = metric();
  const own = KEYS.map((key) => [key, (run) => setting(run, key), written, numeric(key)]);
  const rest = {
    status: [written, false], step: [number, true], tokens: [number, true], flops: [(value) => (known(value) ? value.toExponential(3) : ""), true], "tokens/s": [number, true],
    mfu: [percent, true], goodput: [percent, true], trouble: [number, true],
  };
  return [
    ["name", (run) => run.name, written, false],
    [`final ${name}`, (run) => final(run, name), four, true],
    ...(RUNS.some((run) => known(best(run, name))) ? [[`best ${name}`, (run) => best(run, name), four, true]] : []),
    ...own,
    ...COLUMNS.filter(([, read]) => RUNS.some((run) => known(read(run)))).map(([title, read]) => [title, read, ...rest[title]]),
  ];
}

function sorted_runs() {
  const { column, up } = STATE.sort;
  const chosen = columns().find(([title]) => title === column);
  if (!chosen) return STATE.shown;
  const values = new Map(STATE.shown.map((run) => [run, chosen[1](run)]));
  const order = (a, b) => {
    const [one, other] = [values.get(a), values.get(b)];
    return known(one) && known(other) && !up ? compared(other, one) : compared(one, other);
  };
  return [...STATE.shown].sort(order);
}

function draw_table() {
  const heads = columns();
  const { column, up } = STATE.sort;
  const head = heads.map(([title, , , is_number]) => {
    const sort = title === column ? (up ? "ascending" : "descending") : "none";
    const press = () => {
      STATE.sort = { column: title, up: title === column ? !STATE.sort.up : true };
      draw_table();
      [...$("table").tHead.querySelectorAll("button")].find((button) => button.textContent === title).focus();
    };
    return el("th", { scope: "col", "aria-sort": sort, class: is_number ? "number" : null }, el("button", { type: "button", onclick: press }, title));
  });
  $("table").tHead.replaceChildren(el("tr", {}, ...head));
  const colour = colouring();
  const rows = sorted_runs().map((run) => {
    const pressed = run === STATE.picked;
    const press = () => { pick(pressed ? null : run); row_button(run).focus(); };
    const name = el("button", { type: "button", "aria-pressed": pressed, title: run.path, onclick: press }, run.name);
    const cells = heads.slice(1).map(([, read, write, is_number]) => {
      const text = write(read(run));
      return el("td", { class: is_number ? "number" : null, title: text.length > 40 ? text : null }, text);
    });
    return el("tr", { id: `row-${run.at}`, class: pressed ? "picked" : null }, el("th", { scope: "row" }, dot(colour(run)[0]), name), ...cells);
  });
  $("table").tBodies[0].replaceChildren(...rows);
}

const row_button = (run) => $(`row-${run.at}`).querySelector("button");

function draw_common() {
  const keys = Object.keys(DATA.common);
  if (!keys.length || $("common").childElementCount) return;
  const rows = keys.map((key) => el("tr", {}, el("th", { scope: "row" }, key), el("td", { class: "wide" }, written(DATA.common[key]))));
  const table = el("table", {}, el("caption", { class: "unseen" }, "Config keys that all runs share"), el("tbody", {}, ...rows));
  $("common").append(el("details", {}, el("summary", {}, `${keys.length} keys in which no run differs`), el("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "Keys in which no run differs" }, table)));
}

function filter() {
  const [runs, wrong] = filtered($("filter").value);
  STATE.shown = runs;
  $("filter").setAttribute("aria-invalid", wrong ? "true" : "false");
  $("found").className = wrong ? "note wrong" : "note";
  $("found").textContent = wrong || `${runs.length} of ${RUNS.length} runs are shown.`;
  draw_table();
  draw_trouble();
  draw_pictures();
}

function pick(run, step = null) {
  STATE.picked = run;
  STATE.mark = step;
  draw_table();
  draw_curves();
  if (run) {
    $("sample-run").value = String(run.at);
    draw_samples();
  }
}

function draw_trouble() {
  const all = STATE.shown.flatMap((run) => run.trouble.map(([step, kind, text]) => ({ run, step, kind, text })));
  $("trouble-none").textContent = all.length ? `${all.length} findings in ${new Set(all.map(({ run }) => run)).size} of ${STATE.shown.length} runs; a link marks the step in the curves.` : "Nothing looks wrong in the runs that are shown.";
  $("trouble-list").replaceChildren(...all.map(({ run, step, kind, text }) => el(
    "li", {}, el("span", { class: "kind" }, kind), el("a", { href: `#run-${run.at}@${step}` }, `${run.name}, step ${number(step)}`), `: ${text}`,
  )));
}

function follow() {  // #run-3 or #run-3@1200
  const parts = location.hash.match(/^#run-(\d+)(?:@(\d+))?$/);
  if (!parts || !RUNS[Number(parts[1])]) return;
  const run = RUNS[Number(parts[1])];
  if (!STATE.shown.includes(run)) {
    $("filter").value = "";
    filter();
  }
  pick(run, parts[2] === undefined ? null : Number(parts[2]));
  $("curves").scrollIntoView();
}
