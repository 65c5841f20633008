"use strict";
(() => {
  const known = JSON.parse(document.getElementById("data").textContent);
  const at = (id) => document.getElementById(id);
  const n = known.labels.length;
  // Okabe & Ito's colours, which colour-blind readers tell apart, with a shape each
  const COLOURS = ["#0072b2", "#e69f00", "#009e73", "#cc79a7", "#d55e00", "#56b4e9", "#8a8a8a"];
  const SHAPES = ["circle", "square", "triangle", "diamond", "cross", "down", "plus"];
  const measures = Object.keys(known.measures);
  let measure = measures.includes("neighborhood") ? "neighborhood" : measures[0];
  let kept = null, hovered = null, classes = null;

  // make("li", {class: "x"}, "text", child): text is never read as HTML
  function make(tag, attributes = {}, ...children) {
    const one = document.createElement(tag);
    for (const [key, value] of Object.entries(attributes)) one.setAttribute(key, value);
    one.append(...children);
    return one;
  }
  const x = (i) => known.measures[measure][1][i];
  const y = (i) => known.alignment[i];
  const shown = (i) => x(i) !== null && y(i) !== null;
  const digits = (v) => (v === null || v === undefined ? "—" : v.toPrecision(3));
  const caption = (i) => (known.caption ? known.texts[known.caption][i] : "");
  const short = (text, most) => (text.length > most ? text.slice(0, most - 1) + "…" : text);
  const title = (i) => {
    const name = known.texts.label ? known.texts.label[i] : caption(i);
    return name && name !== known.labels[i] ? short(name, 60) : known.labels[i];
  };

  // The scatter
  const canvas = at("scatter"), pen = canvas.getContext("2d");
  let range = null;
  const style = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  function ends(value) {
    let low = Infinity, high = -Infinity;
    for (let i = 0; i < n; i++) if (shown(i)) { low = Math.min(low, value(i)); high = Math.max(high, value(i)); }
    if (low > high) return [0, 1];
    const room = (high - low || Math.abs(high) || 1) * 0.05;
    return [low - room, high + room];
  }
  function ticks(low, high) {
    const raw = (high - low) / 5, power = 10 ** Math.floor(Math.log10(raw));
    const step = [1, 2, 5, 10].map((f) => f * power).find((s) => s >= raw);
    const found = [];
    for (let t = Math.ceil(low / step) * step; t <= high; t += step) found.push(t);
    return [found, Math.max(0, -Math.floor(Math.log10(step) + 1e-9))];
  }
  const PAD = { left: 56, right: 14, top: 14, bottom: 46 };
  const px = (v) => PAD.left + (v - range.x[0]) / (range.x[1] - range.x[0]) * (canvas.clientWidth - PAD.left - PAD.right);
  const py = (v) => canvas.clientHeight - PAD.bottom - (v - range.y[0]) / (range.y[1] - range.y[0]) * (canvas.clientHeight - PAD.top - PAD.bottom);
  function shape(kind, cx, cy, r) {
    pen.beginPath();
    if (kind === "circle") pen.arc(cx, cy, r, 0, 2 * Math.PI);
    else if (kind === "square") pen.rect(cx - r * .9, cy - r * .9, 1.8 * r, 1.8 * r);
    else {
      const corners = {
        triangle: [[0, -1.2], [1.1, .8], [-1.1, .8]], down: [[0, 1.2], [1.1, -.8], [-1.1, -.8]],
        diamond: [[0, -1.3], [1.1, 0], [0, 1.3], [-1.1, 0]],
        cross: [[-1, -.6], [-.6, -1], [0, -.4], [.6, -1], [1, -.6], [.4, 0], [1, .6], [.6, 1], [0, .4], [-.6, 1], [-1, .6], [-.4, 0]],
        plus: [[-.35, -1.1], [.35, -1.1], [.35, -.35], [1.1, -.35], [1.1, .35], [.35, .35], [.35, 1.1], [-.35, 1.1], [-.35, .35], [-1.1, .35], [-1.1, -.35], [-.35, -.35]],
      }[kind];
      corners.forEach(([dx, dy], j) => pen[j ? "lineTo" : "moveTo"](cx + dx * r, cy + dy * r));
      pen.closePath();
    }
  }
  function draw() {
    const scale = window.devicePixelRatio || 1;
    canvas.width = canvas.clientWidth * scale;
    canvas.height = canvas.clientHeight * scale;
    pen.setTransform(scale, 0, 0, scale, 0, 0);
    pen.clearRect(0, 0, canvas.clientWidth, canvas.clientHeight);
    range = { x: ends(x), y: ends(y) };
    const ink = style("--ink"), soft = style("--soft"), line = style("--line");
    pen.font = "12px system-ui, sans-serif";
    pen.strokeStyle = line; pen.fillStyle = soft; pen.lineWidth = 1;
    pen.textAlign = "center";
    const [across, dx] = ticks(...range.x), [up, dy] = ticks(...range.y);
    for (const t of across) {
      pen.beginPath(); pen.moveTo(px(t), PAD.top); pen.lineTo(px(t), canvas.clientHeight - PAD.bottom); pen.stroke();
      pen.fillText(t.toFixed(dx), px(t), canvas.clientHeight - PAD.bottom + 16);
    }
    pen.textAlign = "right";
    for (const t of up) {
      pen.beginPath(); pen.moveTo(PAD.left, py(t)); pen.lineTo(canvas.clientWidth - PAD.right, py(t)); pen.stroke();
      pen.fillText(t.toFixed(dy), PAD.left - 6, py(t) + 4);
    }
    pen.fillStyle = ink; pen.textAlign = "center";
    pen.fillText(`${known.sides[0]} dispersion: ${known.measures[measure][0]}`, (canvas.clientWidth + PAD.left) / 2, canvas.clientHeight - 10);
    pen.save(); pen.translate(14, (canvas.clientHeight - PAD.bottom) / 2); pen.rotate(-Math.PI / 2);
    pen.fillText(`alignment with ${known.sides[1]}`, 0, 0); pen.restore();
    const r = n > 2000 ? 2 : n > 500 ? 2.8 : 4;
    pen.globalAlpha = 0.75;
    for (let i = 0; i < n; i++) {
      if (!shown(i)) continue;
      const c = classes ? classes.of[i] : -1;
      pen.fillStyle = c < 0 ? style("--dot") : COLOURS[c];
      shape(c < 0 ? "circle" : SHAPES[c], px(x(i)), py(y(i)), r);
      pen.fill();
    }
    pen.globalAlpha = 1;
    for (const [i, colour] of [[kept, style("--mark")], [hovered, ink]]) {
      if (i === null || !shown(i)) continue;
      pen.strokeStyle = colour; pen.lineWidth = 2.5;
      shape("circle", px(x(i)), py(y(i)), r + 4); pen.stroke();
    }
  }
  function nearest(event) {
    const box = canvas.getBoundingClientRect();
    const mx = event.clientX - box.left, my = event.clientY - box.top;
    let best = null, least = 24 * 24;
    for (let i = 0; i < n; i++) {
      if (!shown(i)) continue;
      const d = (px(x(i)) - mx) ** 2 + (py(y(i)) - my) ** 2;
      if (d < least) { least = d; best = i; }
    }
    return best;
  }
  canvas.addEventListener("pointermove", (event) => {
    const found = nearest(event);
    if (found === hovered) return;
    hovered = found;
    tell(hovered === null ? kept : hovered);
    draw();
  });
  canvas.addEventListener("pointerleave", () => { hovered = null; tell(kept); draw(); });
  canvas.addEventListener("click", (event) => { const found = nearest(event); if (found !== null) choose(found); });
  canvas.addEventListener("keydown", (event) => {
    const way = { ArrowRight: [x, 1], ArrowLeft: [x, -1], ArrowUp: [y, 1], ArrowDown: [y, -1] }[event.key];
    if (!way) return;
    event.preventDefault();
    const order = [...Array(n).keys()].filter(shown).sort((i, j) => way[0](i) - way[0](j) || i - j);
    const now = order.indexOf(kept);
    choose(order[now < 0 ? 0 : Math.min(order.length - 1, Math.max(0, now + way[1]))]);
  });
  function choose(i) { kept = i; hovered = null; tell(i); draw(); }

  // What is told of one stimulus
  function tell(i) {
    const card = at("card");
    card.replaceChildren();
    if (i === null || i === undefined) { card.append(make("p", {}, "Choose a stimulus.")); return; }
    const image = known.images[known.labels[i]];
    const top = make("div", { class: "top" }, make("h3", {}, title(i)));
    if (image) top.append(make("img", { src: image, alt: "" }));
    card.append(top);
    const list = make("dl");
    const row = (term, text) => list.append(make("dt", {}, term), make("dd", {}, text));
    row("stimulus", known.labels[i]);
    for (const [name, texts] of Object.entries(known.texts)) if (texts[i]) row(name, short(texts[i], 160));
    row("alignment", digits(y(i)));
    for (const name of measures) row(known.measures[name][0], digits(known.measures[name][1][i]));
    card.append(list);
    const models = Object.entries(known.residuals);
    if (models.length) {
      card.append(make("h4", {}, "Distance of each model from the consensus (1 = its mean)"));
      const most = Math.max(1, ...models.map(([, values]) => values[i] || 0));
      const bars = make("div", { class: "bars" });
      for (const [name, values] of models) {
        const bar = make("span", { class: "bar" });
        bar.style.width = `${100 * (values[i] || 0) / most}%`;
        bars.append(make("span", { class: "name", title: name }, name), make("span", {}, bar), make("span", {}, digits(values[i])));
      }
      card.append(bars);
    }
    for (const [side, lists] of Object.entries(known.neighbors)) {
      card.append(make("h4", {}, `Neighbours in ${side}, and how many of its models agree`));
      const near = make("ul", { class: "near" });
      for (const [one, share] of lists[i]) {
        const there = typeof one === "number", name = there ? title(one) : one;
        const button = make("button", { type: "button", title: name });
        const picture = known.images[there ? known.labels[one] : one];
        if (picture) button.append(make("img", { src: picture, alt: "" }));
        button.append(make("span", {}, short(name, 22)), make("span", {}, `${Math.round(100 * share)} %`));
        if (there) button.addEventListener("click", () => choose(one)); else button.disabled = true;
        near.append(make("li", {}, button));
      }
      card.append(near);
    }
  }

  // Controls
  for (const name of measures) at("measure").append(new Option(known.measures[name][0], name, false, name === measure));
  at("measure").addEventListener("change", (event) => { measure = event.target.value; draw(); });
  at("colour").append(new Option("none", ""));
  for (const [name, texts] of Object.entries(known.texts)) {
    const many = new Set(texts).size;
    if (many > 1 && many <= 40) at("colour").append(new Option(name, name));
  }
  function group(name) {
    classes = null;
    at("legend").replaceChildren();
    if (name) {
      const counts = new Map();
      for (const text of known.texts[name]) counts.set(text, (counts.get(text) || 0) + 1);
      const order = [...counts.keys()].sort((a, b) => counts.get(b) - counts.get(a));
      const last = COLOURS.length - 1;
      const whole = order.length <= COLOURS.length;
      const number = new Map(order.map((text, j) => [text, whole ? j : Math.min(j, last)]));
      classes = { of: known.texts[name].map((text) => number.get(text)) };
      for (let j = 0; j < Math.min(order.length, COLOURS.length); j++) {
        const item = make("li", {}, marker(j), whole || j < last ? short(order[j] || "(none)", 40) : `${order.length - last} others`);
        at("legend").append(item);
      }
    }
    draw();
  }
  function marker(j) {
    const space = "http://www.w3.org/2000/svg", picture = document.createElementNS(space, "svg");
    const one = document.createElementNS(space, SHAPES[j] === "circle" ? "circle" : "path");
    picture.setAttribute("viewBox", "-6 -6 12 12");
    picture.setAttribute("aria-hidden", "true");
    one.setAttribute("fill", COLOURS[j]);
    if (SHAPES[j] === "circle") one.setAttribute("r", 4.5);
    else one.setAttribute("d", {
      square: "M-4-4H4V4H-4Z", triangle: "M0-5L5 4H-5Z", down: "M0 5L5-4H-5Z", diamond: "M0-6L5 0 0 6-5 0Z",
      cross: "M-5-3L-3-5 0-2 3-5 5-3 2 0 5 3 3 5 0 2-3 5-5 3-2 0Z", plus: "M-2-5H2V-2H5V2H2V5H-2V2H-5V-2H-2Z",
    }[SHAPES[j]]);
    picture.append(one);
    return picture;
  }
  at("colour").addEventListener("change", (event) => group(event.target.value));
  for (let i = 0; i < n; i++) at("labels").append(new Option(title(i) === known.labels[i] ? "" : title(i), known.labels[i]));
  at("find").addEventListener("input", (event) => {
    const asked = event.target.value.trim().toLowerCase();
    if (!asked) return;
    const texts = (i) => [known.labels[i], title(i), caption(i)].map((text) => text.toLowerCase());
    const all = [...Array(n).keys()];
    const found = [(t) => t === asked, (t) => t.startsWith(asked), (t) => t.includes(asked)]
      .map((fits) => all.find((i) => texts(i).some(fits))).find((i) => i !== undefined);
    if (found !== undefined) choose(found);
  });

  // Tables: a button in the head of each column sorts by it
  const value = (text) => { const v = parseFloat(text.replace("−", "-")); return Number.isNaN(v) ? null : v; };
  function compare(a, b) {
    const [va, vb] = [value(a), value(b)];
    if (va !== null && vb !== null) return va - vb;
    if (va === null && vb === null) return a.localeCompare(b, undefined, { numeric: true });
    return va === null ? 1 : -1; // dashes last
  }
  for (const table of document.querySelectorAll("table.sortable")) {
    const heads = [...table.tHead.rows[0].cells], body = table.tBodies[0];
    heads.forEach((head, column) => {
      const button = make("button", { type: "button" }, head.textContent);
      head.replaceChildren(button);
      button.addEventListener("click", () => {
        const down = head.getAttribute("aria-sort") === "ascending";
        heads.forEach((other) => other.removeAttribute("aria-sort"));
        head.setAttribute("aria-sort", down ? "descending" : "ascending");
        const rows = [...body.rows];
        rows.sort((a, b) => compare(a.cells[column].textContent, b.cells[column].textContent) * (down ? -1 : 1));
        body.append(...rows);
      });
    });
  }

  // All stimuli, some at a time
  const SIZE = 20, pictures = Object.keys(known.images).length > 0;
  const columns = [
    ["stimulus", (i) => known.labels[i], true],
    ...Object.entries(known.texts).slice(0, 4).map(([name, texts]) => [name, (i) => texts[i], true]),
    ["alignment", y, false],
    ...measures.map((name) => [known.measures[name][0], (i) => known.measures[name][1][i], false]),
  ];
  let page = 0, column = columns.findIndex(([name]) => name === known.measures[measure][0]), down = false;
  let order = [...Array(n).keys()];
  function list() {
    const table = make("table"), head = make("tr"), body = make("tbody");
    if (pictures) head.append(make("th", { scope: "col" }, "image"));
    columns.forEach(([name, , text], j) => {
      const button = make("button", { type: "button" }, name);
      const cell = make("th", { scope: "col", class: text ? "text" : "" }, button);
      if (j === column) cell.setAttribute("aria-sort", down ? "descending" : "ascending");
      button.addEventListener("click", () => { down = j === column && !down; column = j; page = 0; sort(); list(); at("rows").querySelectorAll("thead button")[j].focus(); });
      head.append(cell);
    });
    for (const i of order.slice(page * SIZE, (page + 1) * SIZE)) {
      const row = make("tr");
      if (pictures) {
        const image = known.images[known.labels[i]];
        row.append(make("td", {}, image ? make("img", { src: image, alt: "" }) : ""));
      }
      columns.forEach(([, of, text], j) => {
        if (j === 0) {
          const button = make("button", { type: "button", title: "show in the explorer" }, known.labels[i]);
          button.addEventListener("click", () => { choose(i); at("explorer").scrollIntoView(); });
          row.append(make("td", { class: "text" }, button));
        } else row.append(make("td", { class: text ? "text" : "" }, text ? short(of(i), 120) : digits(of(i))));
      });
      body.append(row);
    }
    table.append(make("thead", {}, head), body);
    at("rows").replaceChildren(table);
    const pages = Math.ceil(n / SIZE);
    at("page").textContent = `${page + 1} of ${pages}`;
    at("before").disabled = page === 0;
    at("after").disabled = page >= pages - 1;
  }
  function sort() {
    const [, of, text] = columns[column];
    order.sort((i, j) => {
      const [a, b] = [of(i), of(j)];
      if (a === null || b === null) return (a === null) - (b === null);
      return (down ? -1 : 1) * (text ? a.localeCompare(b, undefined, { numeric: true }) : a - b);
    });
  }
  at("before").addEventListener("click", () => { page -= 1; list(); });
  at("after").addEventListener("click", () => { page += 1; list(); });

  at("copy").addEventListener("click", async () => {
    const text = at("methods-text").textContent;
    try { await navigator.clipboard.writeText(text); at("copied").textContent = "copied"; }
    catch { // a page that is opened as a file may not have the clipboard
      getSelection().selectAllChildren(at("methods-text"));
      at("copied").textContent = "selected: press Ctrl+C";
    }
  });

  const images = Object.keys(known.images).length;
  const parts = [n < known.total ? `${n} of ${known.total} stimuli are shown: those at even steps of the rank of dispersion.` : `${n} stimuli.`];
  if (images && images < n) parts.push(`Images of ${images}, those of lowest and highest dispersion first, to keep the file small.`);
  at("shown").textContent = parts.join(" ");
  new ResizeObserver(draw).observe(canvas);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
  sort(); list();
  choose([...Array(n).keys()].filter(shown).sort((i, j) => x(i) - x(j))[0] ?? null);
})();
