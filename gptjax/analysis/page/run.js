// What belongs to single runs: where their time went, what they wrote, and how two of them differ.

const MOST_BARS = 40;
const PARTS = [  // kinds of runs/clock.py, in the order of a process, and their colours
  ["start-up", ["start", "open", "compile", "restore"], "#9a6bd8"], ["updates", ["step"], "#3b82d6"], ["waiting for data", ["data"], "#d9730d"],
  ["evaluation", ["eval"], "#2a9d5c"], ["saves and samples", ["save", "sample"], "#1a9aa8"], ["end", ["end"], "#808690"],
];

function draw_timeline() {
  const all = STATE.shown.filter((run) => run.sessions.length), runs = all.slice(0, MOST_BARS);
  $("timeline").parentElement.hidden = !runs.length;
  if (!runs.length) return;
  const spans = runs.flatMap((run) => run.sessions.map((session, at) => {
    let base = session.began === null ? 0 : session.began;
    return PARTS.map(([, kinds]) => {
      const length = kinds.reduce((sum, kind) => sum + (session.seconds[kind] ?? 0), 0), from = base;
      base += length;
      return { run, at, from, length, session };
    });
  }));
  const end_s = Math.max(...spans.flat().map(({ from, length }) => from + length));
  const [unit_s, unit_name] = end_s > 7200 ? [3600, "hours"] : end_s > 300 ? [60, "minutes"] : [1, "seconds"];
  const traces = PARTS.map(([title, , colour], part) => {
    const own = spans.map((row) => row[part]).filter(({ length }) => length > 0);
    return {
      type: "bar", orientation: "h", name: title, marker: { color: colour }, y: own.map(({ run }) => String(run.at)), base: own.map(({ from }) => from / unit_s), x: own.map(({ length }) => length / unit_s),
      customdata: own.map(({ run, at, session, length }) => [plain(run.name), at + 1, run.sessions.length, session.first, session.last, number(Number((length / unit_s).toPrecision(3)))]),
      hovertemplate: `<b>%{customdata[0]}</b>, session %{customdata[1]} of %{customdata[2]}<br>steps %{customdata[3]:,} to %{customdata[4]:,}<br>${title} %{customdata[5]} ${unit_name}<extra></extra>`,
    };
  }).filter((trace) => trace.x.length);
  $("timeline").style.height = `${Math.max(200, 110 + 24 * runs.length)}px`;
  const made = layout(`${unit_name} since the run's first start`, "", {
    x: { rangemode: "tozero" }, y: { autorange: "reversed", type: "category", categoryarray: runs.map((run) => String(run.at)), tickvals: runs.map((run) => String(run.at)), ticktext: runs.map((run) => plain(short(run.name, 24))), showgrid: false },
    rest: { barmode: "overlay", showlegend: true, bargap: 0.35, legend: { orientation: "h", y: 1, yanchor: "bottom", x: 0, font: { size: 11 } }, margin: { l: 60, r: 15, t: 45, b: 50 } },
  });
  const some = all.length > MOST_BARS ? ` The first ${MOST_BARS} of ${all.length} runs are drawn; a filter chooses others.` : "";
  const shares = runs.map((run) => run.goodput).filter(known);
  const good = shares.length ? ` Goodput, the share of the time in updates that were kept: ${percent(Math.min(...shares))} to ${percent(Math.max(...shares))}.` : "";
  const rows = () => runs.map((run) => [run.name, percent(run.goodput), ...KINDS.map((kind) => (run.seconds ? run.seconds[kind] ?? 0 : null))]);
  show("timeline", traces, made, `Sessions of ${runs.length} runs. Within a session a kind of work is one bar, the sum of its time, not when it was done; a gap is time without a process.${good}${some}`, ["run", "goodput", ...KINDS.map((kind) => `${kind} (s)`)], rows);
}

const KINDS = [...new Set(RUNS.flatMap((run) => Object.keys(run.seconds ?? {})))];

function draw_samples() {
  const run = RUNS[Number($("sample-run").value)];
  $("samples-note").textContent = run.samples.length ? `${run.samples.length} of ${run.n_samples} texts, the newest first; texts of more than ${number(DATA.longest_sample)} characters are cut.` : "This run wrote no samples.";
  $("sample-list").replaceChildren(...[...run.samples].reverse().map(([step, prompt, text]) => {
    const after = text.startsWith(prompt) ? text.slice(prompt.length) : text;
    return el("li", {}, el("span", { class: "note" }, `after ${number(step)} updates`), el("pre", { tabindex: "0" }, el("b", {}, prompt), after));
  }));
}

function draw_differences() {
  const [one, other] = [RUNS[Number($("one").value)], RUNS[Number($("other").value)]];
  const rows = [];
  const compare = (part, key, a, b) => { if (written(a) !== written(b)) rows.push([part, key, written(a), written(b), typeof a === "number" && typeof b === "number" ? number(Number((b - a).toPrecision(4))) : ""]); };
  for (const key of KEYS) compare("config", key, setting(one, key), setting(other, key));
  for (const key of new Set([...Object.keys(one.environment), ...Object.keys(other.environment)])) compare("environment", key, one.environment[key], other.environment[key]);
  for (const [title, read] of COLUMNS) compare("run", title, read(one), read(other));
  for (const name of DATA.metrics) compare("final", name, final(one, name), final(other, name));
  $("compare-note").textContent = one === other ? "Choose two different runs." : rows.length ? `${rows.length} things differ. Whether a difference is more than the noise of a seed, gptjax analyze --diff says.` : "Nothing that was recorded differs.";
  $("differences").tHead.replaceChildren(el("tr", {}, ...["of", "what", one.name, other.name, "difference"].map((title) => el("th", { scope: "col" }, title))));
  $("differences").tBodies[0].replaceChildren(...rows.map(([part, key, ...cells]) => el("tr", {}, el("td", {}, part), el("th", { scope: "row" }, key), ...cells.map((text) => el("td", { class: "wide" }, text)))));
}
