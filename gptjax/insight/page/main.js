// The page, put together: who listens to what, and one picture after another.

function about() {
  const nats = DATA.next.at(-1), mean = nats.reduce((a, b) => a + b, 0) / nats.length;
  document.title = `${DATA.name} - gptjax inspect`;
  document.querySelector("h1").textContent = `Inside ${DATA.name}`;
  $("about").textContent = `${N_TOKENS} tokens, ${number(mean, 4)} nats a token; ${N_LAYERS} layers of ${N_HEADS} heads.`;
  $("order").replaceChildren(el("option", { value: "" }, "layer and head"), ...Object.keys(DATA.scores).map((name) => el("option", { value: name }, `${name} score`)));
}

function strongest() {  // the head that is shown first: of the highest induction score, where there is one
  let found = [0, 0], most = -1;
  DATA.scores.induction.forEach((layer, at) => layer.forEach((score, head) => { if ((score ?? -1) > most) [found, most] = [[at, head], score ?? -1]; }));
  return found;
}

function listen() {
  $("shade").addEventListener("change", shade_text);
  $("order").addEventListener("change", draw_maps);
  $("lens-shade").addEventListener("change", () => { draw_lens(); choose(STATE.at); });
  $("tokens").addEventListener("click", (event) => { const token = event.target.closest("[data-at]"); if (token) choose(Number(token.dataset.at)); });
  $("tokens").addEventListener("mouseover", (event) => { const token = event.target.closest("[data-at]"); if (token) tell(Number(token.dataset.at), N_LAYERS); });
  $("tokens").addEventListener("mouseleave", () => tell(STATE.at, N_LAYERS));
  moved($("tokens"), { ArrowLeft: -1, ArrowUp: -1, ArrowRight: 1, ArrowDown: 1, Home: -Infinity, End: Infinity }, (by) => {
    choose(STATE.at + by);
    $(`token-${STATE.at}`).scrollIntoView({ block: "nearest" });
  });
  $("maps").addEventListener("click", (event) => { const map = event.target.closest("canvas"); if (map) choose_head(Number(map.dataset.layer), Number(map.dataset.head)); });
  moved($("maps"), { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -1e3, ArrowDown: 1e3 }, (by) => {
    const all = [...$("maps").children], wide = $("order").value ? 8 : N_HEADS;
    const step = Math.abs(by) > 1 ? Math.sign(by) * wide : by, next = all[all.findIndex((map) => map.classList.contains("picked")) + step];
    if (!next) return;
    choose_head(Number(next.dataset.layer), Number(next.dataset.head));
    next.scrollIntoView({ block: "nearest" });
  });
  $("map").addEventListener("mousemove", hover_map);
  $("map").addEventListener("mouseleave", mark_map);
  $("map").addEventListener("click", (event) => choose(place_of(event, $("map"), N_TOKENS)[0]));
  $("lens-table").addEventListener("mouseover", hover_lens);
  $("lens-table").addEventListener("mouseleave", () => tell(STATE.at, N_LAYERS));
  $("lens-table").addEventListener("click", (event) => { const cell = event.target.closest("[data-column]"); if (cell) choose(Number(cell.dataset.column)); });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => { draw_maps(); draw_map(); });
}

function moved(element, steps, by) {
  element.addEventListener("keydown", (event) => {
    if (!(event.key in steps)) return;
    event.preventDefault();
    by(steps[event.key]);
  });
}

async function start() {
  about();
  listen();
  draw_text();
  draw_lens();
  draw_patching();
  choose(STATE.at);
  await shade_text();
  await draw_maps();
  await choose_head(...strongest());
  document.body.dataset.drawn = "yes";
}

start();
