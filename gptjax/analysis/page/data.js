// What the page knows: the runs, which of them are shown, and how numbers are written.
const RUNS = DATA.runs;
RUNS.forEach((run, at) => { run.at = at; });
const STATE = { shown: RUNS, picked: null, mark: null, sort: { column: null, up: true } };

function options(select, pairs, chosen) {
  select.replaceChildren(...pairs.map(([value, text]) => {
    const made = el("option", { value }, text);
    made.selected = value === chosen;
    return made;
  }));
}

// Numbers -------------------------------------------------------------------------------------------------------------

function number(value) {
  if (!known(value)) return "";
  if (typeof value !== "number") return String(value);
  const size = Math.abs(value);
  if (Number.isInteger(value) && size < 1e11) return value.toLocaleString("en");
  if (size >= 1000 && size < 1e6) return value.toLocaleString("en", { maximumSignificantDigits: 5 });
  return size !== 0 && (size < 1e-3 || size >= 1e6) ? value.toExponential(3).replace(/\.?0+e/, "e").replace("e+", "e") : String(Number(value.toPrecision(5)));
}

const four = (value) => (known(value) && Math.abs(value) >= 1e-3 && Math.abs(value) < 1000 ? value.toFixed(4) : number(value));  // aligned in a column
const percent = (value) => (known(value) ? `${(100 * value).toFixed(1)}%` : "");

function written(value) {
  if (!known(value)) return "";
  if (Array.isArray(value)) return value.map(written).join(", ") || "(none)";
  return value === "" ? "(empty)" : number(value);
}

// Plotly reads a little markup in its texts, so what it is given has none.
const plain = (text) => String(text).replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;");
const short = (text, n = 36) => (text.length > n ? `${text.slice(0, n / 2)}…${text.slice(1 - n / 2)}` : text);

// Values of a run -----------------------------------------------------------------------------------------------------

const setting = (run, key) => (key in run.config ? run.config[key] : key in DATA.common ? DATA.common[key] : null);
const final = (run, metric) => run.final[metric] ?? null;
const best = (run, metric) => run.best[metric] ?? null;
const metric = () => $("metric").value;

function compared(a, b) {  // unknown values last, numbers before words
  if (!known(a) || !known(b)) return known(a) ? -1 : known(b) ? 1 : 0;
  if (typeof a === "number" && typeof b === "number") return a - b;
  return String(a).localeCompare(String(b), "en", { numeric: true });
}

const KEYS = DATA.keys;
const CELL = KEYS.filter((key) => key !== "seed");  // what makes runs seeds of one
const cell_of = (run) => JSON.stringify(CELL.map((key) => setting(run, key)));
const numeric = (key) => RUNS.every((run) => !known(setting(run, key)) || typeof setting(run, key) === "number");

function told(run, most = 8) {  // its config, in so far as it differs, a line each
  const lines = KEYS.slice(0, most).map((key) => `${key} = ${short(written(setting(run, key)))}`);
  return KEYS.length > most ? [...lines, `... and ${KEYS.length - most} more`] : lines;
}

// Where along ---------------------------------------------------------------------------------------------------------

function between(xs, ys, at) {  // linear, and the nearest value outside
  let low = 0, high = xs.length - 1;
  if (!xs.length) return null;
  if (at <= xs[0]) return ys[0];
  if (at >= xs[high]) return ys[high];
  while (high - low > 1) {
    const middle = (low + high) >> 1;
    if (xs[middle] <= at) low = middle; else high = middle;
  }
  if (!known(ys[low]) || !known(ys[high])) return null;
  return ys[low] + ((ys[high] - ys[low]) * (at - xs[low])) / (xs[high] - xs[low]);
}

function longest_s() {
  return Math.max(0, ...RUNS.map((run) => run.clock[2].at(-1) ?? 0));
}

const UNIT = longest_s() > 7200 ? [3600, "hours"] : longest_s() > 300 ? [60, "minutes"] : [1, "seconds"];
const ALONG = {
  step: ["updates", (run, step) => step],
  tokens: ["tokens", (run, step) => between(run.clock[0], run.clock[1], step)],
  flops: ["training FLOPs (by formula)", (run, step) => {
    const tokens = between(run.clock[0], run.clock[1], step);
    return known(tokens) && known(run.flops_per_token) ? tokens * run.flops_per_token : null;
  }],
  time: [`${UNIT[1]} since the first start`, (run, step) => {
    const time = between(run.clock[0], run.clock[2], step);
    return known(time) ? time / UNIT[0] : null;
  }],
};
const along = () => $("along").value;
const place = (run, step) => ALONG[along()][1](run, step);

// The filter ----------------------------------------------------------------------------------------------------------

const COLUMNS = [
  ["status", (run) => run.status], ["step", (run) => run.step], ["tokens", (run) => run.tokens],
  ["flops", (run) => run.flops],
  ["tokens/s", (run) => run.tokens_per_s], ["mfu", (run) => run.mfu], ["goodput", (run) => run.goodput],
  ["trouble", (run) => run.trouble.length],
];

function reader(name) {  // a function of a run; null where nothing is called so
  const column = [["name", (run) => run.name], ...COLUMNS].find(([key]) => key === name.toLowerCase());
  if (column) return column[1];
  const all = [...KEYS, ...Object.keys(DATA.common)];
  const key = all.find((one) => one === name) ?? all.find((one) => one.endsWith(`.${name}`));
  if (key) return (run) => setting(run, key);
  return DATA.metrics.includes(name) ? (run) => final(run, name) : null;
}

const TESTS = {
  ">=": (a, b) => a >= b, "<=": (a, b) => a <= b, "!=": (a, b) => a !== b, "=": (a, b) => a === b,
  ">": (a, b) => a > b, "<": (a, b) => a < b,
};

function term(word) {  // [function of a run, null] or [null, what is wrong]
  const parts = word.match(/^([\w./-]+?)(>=|<=|!=|=|>|<|~)(.*)$/);
  if (!parts) return [(run) => run.name.toLowerCase().includes(word.toLowerCase()), null];
  const [, name, test, text] = parts, read = reader(name);
  if (!read) return [null, `there is no ${name}`];
  if (test === "~") {
    try {
      const pattern = new RegExp(text, "i");
      return [(run) => pattern.test(written(read(run))), null];
    } catch {
      return [null, `${text} is no regular expression`];
    }
  }
  const wanted = text !== "" && !Number.isNaN(Number(text)) ? Number(text) : text;
  return [(run) => {
    const value = read(run);
    if (!known(value)) return false;
    return typeof value === "number" && typeof wanted === "number" ? TESTS[test](value, wanted) : TESTS[test](String(value).toLowerCase(), String(wanted).toLowerCase());
  }, null];
}

function filtered(text) {  // [runs, what is wrong]
  const terms = text.split(/\s+/).filter(Boolean).map(term);
  const wrong = terms.map(([, what]) => what).filter(Boolean);
  return wrong.length ? [RUNS, wrong.join("; ")] : [RUNS.filter((run) => terms.every(([holds]) => holds(run))), ""];
}

// Colours -------------------------------------------------------------------------------------------------------------
// Each stands out by 3:1 from both grounds, light and dark.

const PALETTE = ["#3b82d6", "#d9730d", "#2a9d5c", "#d6456b", "#9a6bd8", "#1a9aa8", "#a9743a", "#808690"];
const DASHES = ["solid", "dash", "dot", "dashdot"];
const ENDS = [[47, 127, 214], [141, 135, 148], [217, 115, 13]];  // blue over grey to orange: for numbers

function mixed(share) {
  const [low, high] = share < 0.5 ? [ENDS[0], ENDS[1]] : [ENDS[1], ENDS[2]];
  const part = 2 * share - (share < 0.5 ? 0 : 1);
  return `rgb(${low.map((from, at) => Math.round(from + (high[at] - from) * part)).join(",")})`;
}

function shades() {  // the values that colours stand for, and whether they are numbers in order; null for one a run
  const key = $("colour").value;
  if (key === "run") return null;
  const read = key === "final" ? (run) => final(run, metric()) : (run) => setting(run, key);
  const value = (run) => (Array.isArray(read(run)) ? written(read(run)) : read(run));
  const values = [...new Set(RUNS.map(value).filter(known))].sort(compared);
  return { title: key === "final" ? `final ${metric()}` : key, value, values, ordered: values.length > 2 && values.every((one) => typeof one === "number") };
}

function shade(of, rank) {  // [colour, dash]
  if (rank < 0) return ["#808690", "dot"];
  if (of.ordered) return [mixed(rank / (of.values.length - 1)), "solid"];
  return [PALETTE[rank % PALETTE.length], DASHES[Math.floor(rank / PALETTE.length) % DASHES.length]];
}

function colouring() {  // run -> [colour, dash]
  const of = shades();
  if (!of) return (run) => [PALETTE[run.at % PALETTE.length], DASHES[Math.floor(run.at / PALETTE.length) % DASHES.length]];
  return (run) => shade(of, of.values.indexOf(of.value(run)));
}

function dot(colour) {
  const made = el("span", { class: "swatch", "aria-hidden": "true" });
  made.style.background = colour;
  return made;
}

function draw_key() {  // what the colours mean, in words
  const of = shades();
  $("colours").hidden = !of;
  if (!of) return;
  const some = of.values.length <= 8 ? of.values : [of.values[0], of.values[of.values.length >> 1], of.values.at(-1)];
  $("colours").replaceChildren(el("span", {}, `${of.title}${some === of.values ? "" : ", among others"}: `), ...some.map((value) => el("span", { class: "key" }, dot(shade(of, of.values.indexOf(value))[0]), written(value))));
}
