// What a sweep says: the basin of a key, and all keys beside each other.

const MOST_AXES = 8;

const varied = () => KEYS.filter((key) => new Set(STATE.shown.map((run) => written(setting(run, key)))).size > 1);

function draw_sweep() {
  const keys = varied(), runs = STATE.shown.filter((run) => known(final(run, metric())));
  $("sweep-none").hidden = keys.length > 0 && runs.length > 1;
  $("sweep-pictures").hidden = !$("sweep-none").hidden;
  if (!$("sweep-none").hidden) return;
  const numbers = keys.filter((key) => numeric(key) && key !== "seed");
  const chosen = [$("basin-key").value, "optim.peak_lr", numbers[0]].find((key) => numbers.includes(key));
  options($("basin-key"), numbers.map((key) => [key, key]), chosen);
  $("basins").parentElement.hidden = $("basin-key").closest(".controls").hidden = !chosen;
  if (chosen) draw_basins(runs, chosen);
  draw_parallel(runs, keys);
}

function wide(values) {  // whether numbers are read best on a logarithm
  const low = Math.min(...values), high = Math.max(...values);
  return low > 0 && high / low >= 4;
}

function draw_basins(all, key) {
  const ended = all.filter((run) => ["done", "unknown"].includes(run.status)), runs = ended.length > 1 ? ended : all;
  const name = metric(), others = CELL.filter((one) => one !== key), lines = new Map();
  for (const run of runs) {
    const of = others.map((one) => `${one.split(".").at(-1)}=${written(setting(run, one))}`).join(" ") || "all runs";
    if (!lines.has(of)) lines.set(of, new Map());
    const points = lines.get(of), at = setting(run, key);
    if (known(at)) points.set(at, [...(points.get(at) ?? []), run]);
  }
  const rows = [];
  const traces = [...lines].map(([of, points], n) => {
    const xs = [...points.keys()].sort((a, b) => a - b), values = xs.map((x) => points.get(x).map((run) => final(run, name)));
    const mean = values.map((all) => all.reduce((a, b) => a + b) / all.length);
    xs.forEach((x, at) => rows.push([of, x, mean[at], Math.min(...values[at]), Math.max(...values[at]), values[at].length]));
    return {
      type: "scatter", mode: "lines+markers", x: xs, y: mean, name: plain(short(of, 50)), line: { color: PALETTE[n % PALETTE.length], width: 1.5, dash: DASHES[Math.floor(n / PALETTE.length) % DASHES.length] },
      marker: { size: 7 }, error_y: { type: "data", symmetric: false, array: values.map((all, at) => Math.max(...all) - mean[at]), arrayminus: values.map((all, at) => mean[at] - Math.min(...all)), thickness: 1, width: 3, visible: values.some((all) => all.length > 1) },
      meta: [plain(of), plain(key)], customdata: xs.map((x) => points.get(x).map((run) => plain(short(run.name))).slice(0, 4).join(", ")),
      hovertemplate: `<b>%{meta[0]}</b><br>%{meta[1]} = %{x}<br>%{y:.5~g}<br>%{customdata}<extra></extra>`,
    };
  });
  const lowest = rows.filter((row) => Number.isFinite(row[2])).sort((a, b) => a[2] - b[2])[0];
  const at = [...new Set(rows.map((row) => row[1]))].sort((a, b) => a - b), log = wide(at);
  const ticks = at.length <= 10 ? { tickvals: at, ticktext: at.map(number) } : { exponentformat: "power" };
  const made = layout(key, `final ${name}`, { x: { type: log ? "log" : "linear", ...ticks }, rest: { showlegend: traces.length > 1 && traces.length <= MOST_LEGEND } });
  const seeds = rows.some((row) => row[5] > 1) ? "; means over runs that differ in the seed alone, with bars from the least to the greatest" : "";
  const left_out = all.length - runs.length ? `; ${all.length - runs.length} runs that are not done are left out` : "";
  const legend = traces.length > MOST_LEGEND ? `; ${traces.length} lines, which the pointer names` : "";
  show("basins", traces, made, `Final ${name} along ${key}: lowest, ${number(lowest[2])}, at ${number(lowest[1])} (${short(lowest[0], 80)})${seeds}${left_out}${legend}.`, ["runs", key, "mean", "least", "greatest", "n"], () => rows);
}

function scale(values) {  // [value -> 0..1, [[0..1, text]]]
  const there = values.filter(known);
  if (there.length && there.every((value) => typeof value === "number")) {
    const low = Math.min(...there), high = Math.max(...there), log = wide(there), of = log ? Math.log : (value) => value;
    const at = (value) => (known(value) ? (high > low ? (of(value) - of(low)) / (of(high) - of(low)) : 0.5) : null);
    const distinct = [...new Set(there)].sort((a, b) => a - b);
    const even = Array.from({ length: 5 }, (_, n) => (log ? low * (high / low) ** (n / 4) : low + ((high - low) * n) / 4));
    return [at, (distinct.length <= 6 ? distinct : even).map((value) => [at(value), number(Number(value.toPrecision(4)))])];
  }
  const names = [...new Set(values.map(written))].sort();
  const at = (value) => (names.length > 1 ? names.indexOf(written(value)) / (names.length - 1) : 0.5);
  return [at, names.slice(0, 12).map((name) => [names.length > 1 ? names.indexOf(name) / (names.length - 1) : 0.5, short(name, 18)])];
}

function draw_parallel(runs, keys) {
  const name = metric(), chosen = keys.slice(0, MOST_AXES), read = [...chosen.map((key) => (run) => setting(run, key)), (run) => final(run, name)];
  const scales = read.map((of) => scale(runs.map(of))), titles = [...chosen, `final ${name}`];
  const ranks = scales.at(-1)[0], x = titles.map((_, at) => at);
  const order = [...runs].sort((a, b) => final(b, name) - final(a, name));
  const shade = (run) => mixed(Math.round(12 * (ranks(final(run, name)) ?? 0.5)) / 12);
  const lines = styled(order, (run) => [shade(run), "solid"]).map((group) => {
    const all = group.runs.flatMap((run) => [...read.map((of, at) => [at, scales[at][0](of(run)), run]), [null, null, run]]);
    return {
      type: "scatter", mode: "lines+markers", x: all.map(([at]) => at), y: all.map(([, y]) => y), connectgaps: false, line: { color: group.shade, width: group.picked ? 3 : 1.2 }, marker: { size: 4 },
      opacity: runs.length > 60 ? 0.6 : 0.9, text: all.map(([, , run]) => hint(run)), customdata: all.map(([, , run]) => final(run, name)), hovertemplate: `%{text}<br>final ${plain(name)} = %{customdata:.5~g}<extra></extra>`,
    };
  });
  const ticks = scales.flatMap(([, marks], at) => marks.map(([y, text]) => [at, y, text]));
  const labels = { type: "scatter", mode: "text", x: ticks.map(([at]) => at + 0.03), y: ticks.map(([, y]) => y), text: ticks.map(([, , text]) => plain(text)), textposition: "middle right", textfont: { size: 11 }, hoverinfo: "skip" };
  const axes = x.map((at) => ({ type: "line", x0: at, x1: at, y0: 0, y1: 1, line: { color: "#808690", width: 1 }, layer: "below" }));
  const roomy = $("parallel").clientWidth / titles.length > 120;
  const made = layout("", "", {
    x: { tickvals: x, ticktext: titles.map((title) => plain(short(roomy ? title : title.split(".").at(-1), 22))), range: [-0.15, titles.length - 0.55], showgrid: false, fixedrange: true, side: "top" },
    y: { visible: false, range: [-0.06, 1.06], fixedrange: true }, rest: { shapes: axes, margin: { l: 25, r: 10, t: 50, b: 15 } },
  });
  const more = keys.length > MOST_AXES ? ` The first ${MOST_AXES} of ${keys.length} keys are drawn.` : "";
  const rows = () => order.map((run) => [run.name, ...read.map((of) => of(run))]).reverse();
  show("parallel", [...lines, labels], made, `${runs.length} runs, one line each, from key to key to the final ${name}; blue is the lowest ${name}, orange the highest.${more}`, ["run", ...titles], rows);
}
