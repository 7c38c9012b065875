// What the page knows, how it is spelled and coloured.
const N_TOKENS = DATA.tokens.length, N_LAYERS = DATA.attention.length, N_HEADS = DATA.heads;
const STATE = { at: N_TOKENS - 1, layer: 0, head: 0 };

const word = (id) => DATA.words[id];
const seen = (text) => text.replaceAll(" ", "·").replaceAll("\n", "↵").replaceAll("\t", "→") || "∅";  // of a token on its own
const shown = (id) => el("code", {}, seen(word(id)));
const number = (value, digits = 3) => (known(value) ? Number(value.toPrecision(digits)).toLocaleString("en", { maximumSignificantDigits: digits }) : "");
const chance = (nats) => Math.exp(-nats);
const percent = (p) => (p >= 0.9995 ? "100%" : p >= 0.1 ? `${(100 * p).toFixed(0)}%` : p >= 0.001 ? `${(100 * p).toFixed(1)}%` : "<0.1%");

// A share of -1 to 1 as a colour that lies on the ground of either theme.
const tint = (share) => (known(share) && share ? `color-mix(in srgb, var(${share > 0 ? "--more" : "--less"}) ${(Math.min(1, Math.abs(share)) * 72).toFixed(1)}%, transparent)` : "");
const greatest = (values) => values.flat(9).reduce((most, value) => Math.max(most, Math.abs(value ?? 0)), 0) || 1;

async function inflated(text) {  // the bytes that were deflated and spelled in base64
  const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

const MAPS = new Map();
async function attention(layer, head) {  // weights of a map, row by row, each up to its query
  const key = layer * N_HEADS + head;
  if (!MAPS.has(key)) MAPS.set(key, inflated(DATA.attention[layer][head]));
  return MAPS.get(key);
}
const weight = (map, query, key) => (key > query ? 0 : (map[(query * (query + 1)) / 2 + key] / 255) ** 2);

function ink() {  // a painter of bytes as this theme's colour, each as opaque as it is large
  const probe = el("span", { style: "color: var(--more)" });
  document.body.append(probe);
  const [red, green, blue] = getComputedStyle(probe).color.match(/[\d.]+/g).map(Number);
  probe.remove();
  const colour = (blue << 16) | (green << 8) | red;
  return (canvas, size, byte) => {
    const image = new ImageData(size, size), pixels = new Uint32Array(image.data.buffer);
    for (let row = 0, at = 0; row < size; row++) for (let column = 0; column < size; column++, at++) pixels[at] = (byte(row, column) << 24) | colour;
    canvas.width = canvas.height = size;
    canvas.getContext("2d").putImageData(image, 0, 0);
  };
}
