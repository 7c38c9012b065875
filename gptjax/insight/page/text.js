// The text, token by token, and what is told of the one that is chosen.

const SHADES = {
  surprise: "Surprise: minus the log-probability of a token, in nats, given those before it. The first token is foretold by nothing.",
  attention: "The weights of one head from the chosen token, which is underlined, to those before it.",
  gradient: "The embedding of each token times the gradient of the answer there: blue speaks for it, orange against it, to first order.",
};
const surprise = (at) => (at ? DATA.next.at(-1)[at - 1] : null);

function draw_text() {
  $("tokens").replaceChildren(...DATA.tokens.map((id, at) => {
    const lines = word(id).split("\n"), token = el("span", { role: "option", id: `token-${at}`, "data-at": at });
    if (!word(id).trim()) token.append(el("span", { class: "sign" }, seen(word(id))), word(id).includes("\n") ? "\n".repeat(lines.length - 1) : "");
    else token.append(word(id));
    return token;
  }));
}

async function shade_text() {
  const by = $("shade").value, tokens = [...$("tokens").children];
  $("shade-note").textContent = SHADES[by];
  const shares = await shares_of(by);
  tokens.forEach((token, at) => {
    token.style.background = tint(shares[at]);
    token.setAttribute("aria-label", `${seen(word(DATA.tokens[at]))}, ${at ? `${number(surprise(at))} nats` : "the first"}`);
  });
}

async function shares_of(by) {
  if (by === "surprise") return DATA.tokens.map((_, at) => (at ? Math.min(1, surprise(at) / 10) : null));
  if (by === "gradient") return DATA.gradient.map((value) => (value ?? 0) / greatest(DATA.gradient));
  const map = await attention(STATE.layer, STATE.head);
  return DATA.tokens.map((_, key) => Math.sqrt(weight(map, STATE.at, key)));
}

function choose(at) {
  STATE.at = Math.max(0, Math.min(N_TOKENS - 1, at));
  for (const one of document.querySelectorAll("#tokens .picked, #lens-table .picked, #patching-positions .picked")) one.classList.remove("picked");
  const token = $(`token-${STATE.at}`);
  token.classList.add("picked");
  for (const other of $("tokens").children) other.setAttribute("aria-selected", other === token);
  $("tokens").setAttribute("aria-activedescendant", token.id);
  for (const cell of document.querySelectorAll(`[data-column="${STATE.at}"]`)) cell.classList.add("picked");
  if ($("shade").value === "attention") shade_text();
  tell(STATE.at, N_LAYERS);
  draw_parts();
  mark_map();
}

function tell(at, reading) {  // what a reading of the lens says after a token
  const likely = DATA.likely[reading][at], nats = DATA.nats[reading][at], comes = DATA.tokens[at + 1];
  const list = likely.flatMap((id, rank) => [rank ? ", " : "", shown(id), ` ${percent(chance(nats[rank]))}`]);
  const from = reading === N_LAYERS ? "the model expects" : `before layer ${reading} the lens reads`;
  const line = el("p", { class: "line" }, `Token ${at}, `, shown(DATA.tokens[at]), at ? `, came with ${number(surprise(at))} nats. After it ${from} ` : `, is the first. After it ${from} `, ...list, ".");
  const after = comes === undefined ? [] : [" What comes is ", shown(comes), `, with ${number(DATA.next[reading][at])} nats.`];
  const more = reading === N_LAYERS ? [] : [` ${number(DATA.kl[reading][at])} nats from the model; the stream is ${number(DATA.norms[reading][at])} long.`];
  line.append(...after, ...more);
  $("told").replaceChildren(line);
}
