// Attention: a small map of every head, and a large one of the chosen head.

async function draw_maps() {
  const bytes = await inflated(DATA.maps), size = DATA.small, paint = ink();
  const all = [];
  for (let layer = 0; layer < N_LAYERS; layer++) for (let head = 0; head < N_HEADS; head++) all.push([layer, head]);
  const by = $("order").value, score = ([layer, head]) => DATA.scores[by][layer][head] ?? -1;
  if (by) all.sort((a, b) => score(b) - score(a));
  $("maps").classList.toggle("ordered", Boolean(by));
  $("maps").style.gridTemplateColumns = `repeat(${N_HEADS}, minmax(1.6rem, 1fr))`;
  $("maps").replaceChildren(...all.map(([layer, head]) => {
    const told = `layer ${layer}, head ${head}${by ? `, ${by} ${number(score([layer, head]))}` : ""}`;
    const canvas = el("canvas", { role: "option", id: `head-${layer}-${head}`, "data-layer": layer, "data-head": head, title: told, "aria-label": told });
    const from = (layer * N_HEADS + head) * size * size;
    paint(canvas, size, (row, column) => bytes[from + row * size + column]);
    return canvas;
  }));
  mark_head();
}

function mark_head() {
  for (const canvas of $("maps").children) {
    const picked = canvas.id === `head-${STATE.layer}-${STATE.head}`;
    canvas.classList.toggle("picked", picked);
    canvas.setAttribute("aria-selected", picked);
  }
  $("maps").setAttribute("aria-activedescendant", `head-${STATE.layer}-${STATE.head}`);
}

async function choose_head(layer, head) {
  Object.assign(STATE, { layer, head });
  mark_head();
  const scores = Object.entries(DATA.scores).map(([name, values]) => `${name} ${number(values[layer][head])}`).join(", ");
  $("map-title").textContent = `Layer ${layer}, head ${head}. On repeated random tokens: ${scores}.`;
  $("map").setAttribute("aria-label", `Attention map of layer ${layer}, head ${head}`);
  await draw_map();
  if ($("shade").value === "attention") shade_text();
}

async function draw_map() {
  const map = await attention(STATE.layer, STATE.head);
  ink()($("map"), N_TOKENS, (query, key) => (key > query ? 0 : map[(query * (query + 1)) / 2 + key]));
  mark_map();
}

function mark_map() {  // the strongest keys of the chosen token, in words
  attention(STATE.layer, STATE.head).then((map) => {
    const keys = DATA.tokens.map((_, key) => [weight(map, STATE.at, key), key]).sort((a, b) => b[0] - a[0]).slice(0, 3).filter(([found]) => found > 0.005);
    tell_map([`Token ${STATE.at}, `, shown(DATA.tokens[STATE.at]), ", looks at ", ...keys.flatMap(([found, key], at) => [at ? ", " : "", shown(DATA.tokens[key]), ` (${key}) ${percent(found)}`]), "."]);
  });
}

const tell_map = (parts) => $("map-told").replaceChildren(...parts);

function place_of(event, canvas, n) {  // row and column below the pointer
  const box = canvas.getBoundingClientRect();
  return [(event.clientY - box.top) / box.height, (event.clientX - box.left) / box.width].map((share) => Math.max(0, Math.min(n - 1, Math.floor(share * n))));
}

async function hover_map(event) {
  const [query, key] = place_of(event, $("map"), N_TOKENS), map = await attention(STATE.layer, STATE.head);
  if (key > query) return tell_map(["A token does not see what comes after it."]);
  tell_map([shown(DATA.tokens[query]), ` (${query}) looks at `, shown(DATA.tokens[key]), ` (${key}) with ${percent(weight(map, query, key))}`]);
}
