// The logit lens: a row for each reading of the residual stream, a column for each token.

function draw_lens() {
  const head = el("tr", {}, el("th", { scope: "col" }, "reading"), ...DATA.tokens.map((id, at) => el("th", { scope: "col", "data-column": at }, seen(word(id)))));
  const rows = [];
  for (let reading = N_LAYERS; reading >= 0; reading--) {
    const title = reading === N_LAYERS ? "model" : `before ${reading}`;
    rows.push(el("tr", {}, el("th", { scope: "row" }, title), ...DATA.tokens.map((_, at) => lens_cell(reading, at))));
  }
  $("lens-table").tHead.replaceChildren(head);
  $("lens-table").tBodies[0].replaceChildren(...rows);
}

function lens_cell(reading, at) {
  const by = $("lens-shade").value, likeliest = DATA.likely[reading][at][0];
  const next = at < N_TOKENS - 1 ? DATA.next[reading][at] : null;
  const [text, share] = {
    likeliest: () => [seen(word(likeliest)), chance(DATA.nats[reading][at][0])],
    next: () => (known(next) ? [number(next), chance(next)] : ["", 0]),
    kl: () => [number(DATA.kl[reading][at]), -Math.min(1, DATA.kl[reading][at] / 10)],
  }[by]();
  return el("td", { "data-column": at, "data-reading": reading, style: `background: ${tint(share)}` }, text);
}

function hover_lens(event) {
  const cell = event.target.closest("td");
  if (cell) tell(Number(cell.dataset.column), Number(cell.dataset.reading));
}
