// The map of a file: bytes across, time down. Rows are put into the cells of what is in view, anew for each view: so a
// closer look shows more, down to the steps of the data.
"use strict";

const COLUMNS = 160, LINES = 100;
// Marks lie further apart than cells: each is to be seen.
const MARKS_ACROSS = 40, MARKS_DOWN = 18;
const MODE_COLOURS = ["--none", "--br", "--bw", "--dr", "--dw", "--la", "--an"];
const MODE_LETTERS = ["·", "r", "w", "R", "W", "L", "?"];
// The shape says what happened, also without colour. What isn't here has none.
const SHAPES = {
  collision: "x", invalidate_failed: "star", deadlock: "hexagram", lock_timeout: "diamond", wait: "circle-open",
  fallback: "triangle-down-open", nested: "square-open", mixed: "cross-thin-open", reaped: "hash-open",
};

function colour(name) { return getComputedStyle(document.documentElement).getPropertyValue(name).trim(); }

// What plotly.js would take for markup.
function plain(text) { return String(text).replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;"); }

function bytes(n) {
  const units = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];
  let at = 0;
  while (Math.abs(n) >= 1024 && at < units.length - 1) { n /= 1024; at += 1; }
  return `${Number(n.toFixed(n < 10 ? 2 : 1))} ${units[at]}`;
}

function duration(ns) {
  for (const [unit, size] of [["s", 1e9], ["ms", 1e6], ["µs", 1e3]]) {
    if (Math.abs(ns) >= size) return `${Number((ns / size).toPrecision(3))} ${unit}`;
  }
  return `${Math.round(ns)} ns`;
}

// What a whole view is: a step at least, and none of no width.
function whole(file) {
  const from = Number(file.place);
  return { from, to: from + file.places * file.place_step, start: file.time, end: file.time + file.times * file.time_step };
}

// Where a row lies in a view, in cells of so many; null: outside.
function cells(file, row, view, columns, lines) {
  const place = Number(file.place);
  const width = (view.to - view.from) / columns, height = (view.end - view.start) / lines;
  const left = (place + row[0] * file.place_step - view.from) / width;
  const right = (place + (row[1] + 1) * file.place_step - view.from) / width;
  const top = (file.time + row[2] * file.time_step - view.start) / height;
  const bottom = (file.time + (row[2] + 1) * file.time_step - view.start) / height;
  if (right <= 0 || left >= columns || bottom <= 0 || top >= lines) return null;
  const last = (edge, first, most) => Math.min(most - 1, Math.max(first, Math.ceil(edge - 1e-9) - 1));
  const x = Math.max(0, Math.floor(left)), y = Math.max(0, Math.floor(top));
  return { x, y, right: last(right, x, columns), bottom: last(bottom, y, lines) };
}

// Which mode each cell has most of, and what happened in it.
function grid(data, file, rows, view) {
  const counts = new Map(), seen = [];
  for (const row of rows) {
    const at = cells(file, row, view, COLUMNS, LINES);
    if (!at) continue;
    seen.push(row);
    for (let y = at.y; y <= at.bottom; y++) {
      for (let x = at.x; x <= at.right; x++) {
        const key = y * COLUMNS + x;
        let cell = counts.get(key);
        if (!cell) counts.set(key, cell = { modes: new Array(7).fill(0), kinds: new Map(), met: new Map() });
        cell.modes[row[3]] += row[7];
        cell.kinds.set(row[4], (cell.kinds.get(row[4]) || 0) + row[7]);
        const who = row[6] ? `${data.programs[row[5]]} met ${data.programs[row[6] - 1]}` : data.programs[row[5]];
        cell.met.set(who, (cell.met.get(who) || 0) + row[7]);
      }
    }
  }
  return { counts, seen };
}

function says(data, cell, place, time) {
  const most = (map, name) => [...map].sort((a, b) => b[1] - a[1]).slice(0, 4).map(([key, n]) => `${n} ${plain(name(key))}`).join(", ");
  const modes = new Map(cell.modes.map((n, mode) => [mode, n]).filter(([, n]) => n));
  return `${place}<br>${time}<br>${most(cell.kinds, (k) => data.kinds[k])}<br>${most(modes, (m) => data.modes[m])}<br>${most(cell.met, (who) => who)}`;
}

function heat(data, file, view, counts) {
  const width = (view.to - view.from) / COLUMNS, height = (view.end - view.start) / LINES;
  const z = Array.from({ length: LINES }, () => new Array(COLUMNS).fill(null));
  const text = Array.from({ length: LINES }, () => new Array(COLUMNS).fill(""));
  for (const [key, cell] of counts) {
    const x = key % COLUMNS, y = (key - x) / COLUMNS;
    z[y][x] = cell.modes.indexOf(Math.max(...cell.modes));
    const from = view.from + x * width, start = view.start + y * height;
    text[y][x] = says(data, cell, `${bytes(Math.round(from))} to ${bytes(Math.round(from + width))}`, `${duration(start)} to ${duration(start + height)}`);
  }
  const scale = MODE_COLOURS.flatMap((name, n) => [[n / 7, colour(name)], [(n + 1) / 7, colour(name)]]);
  return {
    type: "heatmap", z, text, hoverinfo: "text", hoverongaps: false, zmin: -0.5, zmax: 6.5, colorscale: scale, showscale: false,
    x0: view.from + width / 2, dx: width, y0: view.start + height / 2, dy: height, showlegend: false,
  };
}

// A mark for each kind that has a shape, where there is something of it; letters for modes where they are asked for.
function marks(data, file, view, rows, letters) {
  const kinds = new Map(), modes = new Map();
  const add = (map, name, key, n) => {
    if (!map.has(name)) map.set(name, new Map());
    map.get(name).set(key, (map.get(name).get(key) || 0) + n);
  };
  for (const row of rows) {
    const at = cells(file, row, view, MARKS_ACROSS, MARKS_DOWN);
    if (!at) continue;
    const y = Math.floor((at.y + at.bottom) / 2);
    add(kinds, data.kinds[row[4]], y * MARKS_ACROSS + Math.floor((at.x + at.right) / 2), row[7]);
    if (letters) for (let x = at.x; x <= at.right; x++) add(modes, row[3], y * MARKS_ACROSS + x, row[7]);
  }
  const x = (key) => view.from + ((key % MARKS_ACROSS) + 0.5) * (view.to - view.from) / MARKS_ACROSS;
  const y = (key) => view.start + (Math.floor(key / MARKS_ACROSS) + 0.5) * (view.end - view.start) / MARKS_DOWN;
  const traces = Object.keys(SHAPES).filter((kind) => kinds.has(kind)).map((kind) => {
    const keys = [...kinds.get(kind).keys()];
    const total = rows.reduce((sum, row) => sum + (data.kinds[row[4]] === kind ? row[7] : 0), 0);
    return {
      type: "scatter", mode: "markers", name: `${kind} (${total})`, x: keys.map(x), y: keys.map(y), hoverinfo: "skip", meta: kind,
      marker: { symbol: SHAPES[kind], size: 9, color: colour("--ink"),
        line: { width: 1, color: colour(/open$/.test(SHAPES[kind]) ? "--ink" : "--ground") } },
    };
  });
  for (const [mode, keys] of modes) {
    const all = [...keys.keys()];
    traces.push({ type: "scatter", mode: "text", showlegend: false, hoverinfo: "skip", x: all.map(x), y: all.map(y),
      text: all.map(() => MODE_LETTERS[mode]), textfont: { size: 11, color: colour("--ink") } });
  }
  return traces;
}

// Round numbers of bytes: powers of two.
function ticks(view) {
  const step = 2 ** Math.max(0, Math.ceil(Math.log2((view.to - view.from) / 8)));
  const vals = [];
  for (let at = Math.ceil(view.from / step) * step; at <= view.to && vals.length < 20; at += step) vals.push(at);
  return { tickvals: vals, ticktext: vals.map(bytes) };
}

function timeTicks(view) {
  let step = 10 ** Math.floor(Math.log10((view.end - view.start) / 5));
  if ((view.end - view.start) / step > 12) step *= 2;
  const vals = [];
  for (let at = Math.ceil(view.start / step) * step; at <= view.end && vals.length < 40; at += step) vals.push(at);
  return { tickvals: vals, ticktext: vals.map((at) => duration(at)) };
}

function frame(more) {
  const axis = { gridcolor: colour("--line"), zeroline: false, linecolor: colour("--line"), automargin: true };
  return {
    paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: colour("--ground"), font: { color: colour("--ink"), size: 12 },
    margin: { l: 60, r: 20, t: 10, b: 40 }, hoverlabel: { align: "left" },
    modebar: { bgcolor: "rgba(0,0,0,0)", color: colour("--soft"), activecolor: colour("--accent") }, ...more,
    xaxis: { ...axis, ...(more.xaxis || {}) }, yaxis: { ...axis, ...(more.yaxis || {}) },
  };
}

function mapLayout(view) {
  return frame({
    dragmode: "zoom", showlegend: true, legend: { orientation: "h", y: 1.02, yanchor: "bottom" }, margin: { l: 70, r: 20, t: 40, b: 45 },
    xaxis: { range: [view.from, view.to], title: { text: "bytes of the file" }, ...ticks(view) },
    yaxis: { range: [view.end, view.start], title: { text: "time", standoff: 12 }, ...timeTicks(view) },
  });
}
