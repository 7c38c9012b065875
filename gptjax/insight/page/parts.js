// What a logit is made of, and what patching moves: tables of signed shares.

const MOST_PARTS = 16;

function terms(at) {  // [name, value] of every term of the logit after a token
  const { embedding, heads, attn_bias, mlp, norm_bias } = DATA.direct;
  const of_layer = (layer) => [...heads[layer][at].map((value, head) => [`layer ${layer}, head ${head}`, value]), [`layer ${layer}, attention's bias`, attn_bias[layer][at]], [`layer ${layer}, MLP`, mlp[layer][at]]];
  return [["embedding", embedding[at]], ...heads.flatMap((_, layer) => of_layer(layer)), ["last norm's bias", norm_bias[at]]];
}

function draw_parts() {
  const at = STATE.at, last = at === N_TOKENS - 1, asked = last ? DATA.answer : DATA.tokens[at + 1];
  $("parts-note").replaceChildren("The logit of ", shown(asked), last ? ", the answer after the last token, " : ` after token ${at} `, `is ${number(DATA.direct.total[at])}: the sum of what is written to the residual stream, each read along that logit with the scale of the last norm as it was. Blue speaks for the token, orange against it. The text's choice chooses the token.`);
  const found = terms(at), most = greatest(found.map(([, value]) => value));
  const ranked = [...found].sort((a, b) => Math.abs(b[1]) - Math.abs(a[1])).slice(0, MOST_PARTS);
  $("parts-table").tHead.replaceChildren(el("tr", {}, el("th", { scope: "col" }, `largest ${ranked.length} of ${found.length} terms`), el("th", { scope: "col" }, "logits")));
  $("parts-table").tBodies[0].replaceChildren(...ranked.map(([name, value]) => el("tr", {}, el("th", { scope: "row" }, name), signed(value, most))));
  const { heads, mlp } = DATA.direct;
  grid($("parts-grid"), heads.map((layer, at_layer) => [...layer[at], mlp[at_layer][at]]), [...heads[0][at].keys(), "MLP"]);
}

const signed = (value, most, attributes = {}) => el("td", { class: "number", style: `background: ${tint((value ?? 0) / most)}`, ...attributes }, known(value) ? String(Number(value.toPrecision(2))) : "");  // the browser's own spelling takes ten times as long

function grid(table, rows, columns) {
  const most = greatest(rows);
  table.tHead.replaceChildren(el("tr", {}, el("th", { scope: "col" }, "layer"), ...columns.map((name) => el("th", { scope: "col" }, String(name)))));
  table.tBodies[0].replaceChildren(...rows.map((row, layer) => el("tr", {}, el("th", { scope: "row" }, String(layer)), ...row.map((value) => signed(value, most)))));
}

function draw_patching() {
  const found = DATA.patches;
  $("patching").hidden = $("to-patching").hidden = !found;
  if (!found) return;
  const against = known(DATA.instead) ? [" rather than ", shown(DATA.instead)] : [];
  $("patching-note").replaceChildren("The corrupted text is run again and again, each time with one activation of this text put into it. A cell tells how far that moves the answer ", shown(DATA.answer), ...against, ` after the last token: 0 as in the corrupted run (${number(found.base)}), 1 as in this one (${number(found.source)}). Tokens that differ are marked.`);
  const columns = DATA.tokens.map((id, at) => (id === found.tokens[at] ? seen(word(id)) : `${seen(word(found.tokens[at]))} ⇐ ${seen(word(id))}`));
  grid($("patching-positions"), found.positions, columns);
  for (const row of $("patching-positions").rows) [...row.cells].slice(1).forEach((cell, at) => { cell.dataset.column = at; });
  grid($("patching-heads"), found.heads, [...found.heads[0].keys()]);
}
