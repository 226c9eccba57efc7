// The page: what is chosen, what is in view, and all that is drawn from it.
"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const at = (id) => document.getElementById(id);
  const CONFIG = { displaylogo: false, responsive: true, scrollZoom: true, doubleClick: false, modeBarButtonsToRemove: ["select2d", "lasso2d", "autoScale2d", "resetScale2d", "zoomIn2d", "zoomOut2d"] };
  const STILL = { displayModeBar: false, responsive: true };
  let file = null, view = null, waiting = false;

  function element(name, text, more) {
    const made = Object.assign(document.createElement(name), more || {});
    if (text !== undefined) made.textContent = text;
    return made;
  }

  function choices(select, names) {
    for (const [value, name] of names) select.append(element("option", name, { value }));
  }

  // Numbers to the right. A cell may be an element.
  function table(into, heads, rows, nothing) {
    into.replaceChildren();
    if (!rows.length) return into.append(element("p", nothing || "Nothing.", { className: "nothing" }));
    const made = element("table"), head = made.createTHead().insertRow(), body = made.createTBody();
    for (const name of heads) head.append(element("th", name, { scope: "col" }));
    for (const row of rows) {
      const line = body.insertRow();
      for (const value of row) {
        const cell = line.insertCell();
        if (typeof value === "number") cell.className = "number";
        cell.append(value instanceof Node ? value : String(value));
      }
    }
    into.append(made);
  }

  function nameOf(one) { return one.path || `inode ${one.ino} of device ${one.dev}`; }

  // Those that no event has can't be chosen away.
  function chosenModes() {
    const modes = data.modes.map(() => true);
    for (const box of document.querySelectorAll("#modes input")) modes[Number(box.value)] = box.checked;
    return modes;
  }

  // The rows that are chosen.
  function chosen() {
    const modes = chosenModes(), program = at("program").value, kind = at("kind").value;
    return file.rows.filter((row) => modes[row[3]] && (kind === "" || row[4] === Number(kind))
      && (program === "" || row[5] === Number(program) || row[6] === Number(program) + 1));
  }

  function drawMap() {
    const rows = chosen(), { counts, seen } = grid(data, file, rows, view);
    const traces = [heat(data, file, view, counts), ...marks(data, file, view, seen, at("letters").checked)];
    Plotly.react(at("map"), traces, mapLayout(view), CONFIG);
    const total = seen.reduce((sum, row) => sum + row[7], 0);
    at("view").textContent = `In view: bytes ${bytes(view.from)} to ${bytes(view.to)}, ${duration(view.start)} to ${duration(view.end)} after the first event; ${total} events`;
    const groups = new Map();
    for (const row of seen) {
      const key = [row[4], row[3], row[5], row[6]].join();
      groups.set(key, (groups.get(key) || 0) + row[7]);
    }
    const most = [...groups].sort((a, b) => b[1] - a[1]).slice(0, 8).map(([key, count]) => {
      const [kind, mode, program, other] = key.split(",").map(Number);
      return [data.kinds[kind], data.programs[program], data.modes[mode], other ? data.programs[other - 1] : "", count];
    });
    table(at("in-view"), ["Event", "Who", "Mode", "Met", "Times"], most, "Nothing is chosen and in view.");
    at("map").setAttribute("aria-label", `Map of ${nameOf(file)}: bytes across, time down. ${total} events in view`);
  }

  function drawMatrix() {
    const pairs = new Map();
    for (const row of chosen()) {
      if (!row[6]) continue;
      const key = `${row[5]},${row[3]},${row[6] - 1}`;
      pairs.set(key, (pairs.get(key) || 0) + row[7]);
    }
    const all = [...pairs].sort((a, b) => b[1] - a[1]).map(([key, count]) => {
      const [program, mode, other] = key.split(",").map(Number);
      return [mode ? `${data.programs[program]} (${data.modes[mode]})` : data.programs[program], data.programs[other], count];
    });
    const names = (n) => [...new Set(all.slice(0, 200).map((pair) => pair[n]))];
    const who = names(0), whom = names(1);
    const counts = new Map(all.map(([a, b, n]) => [`${a}\n${b}`, n]));
    const z = who.map((a) => whom.map((b) => counts.get(`${a}\n${b}`) || null));
    bars("matrix", who.length, [{ type: "heatmap", z, x: whom.map(plain), y: who.map(plain), text: z, texttemplate: "%{text}", showscale: false,
      colorscale: [[0, colour("--panel")], [1, colour("--accent")]], zmin: 0, xgap: 2, ygap: 2, hovertemplate: "%{y} met %{x}: %{z}<extra></extra>" }],
    { xaxis: { title: { text: "was in the way" }, type: "category" }, yaxis: { autorange: "reversed", type: "category" } }, "Nobody met anybody.");
    table(at("matrix-table"), ["Who", "Met", "Times"], all.slice(0, 40), "Nobody met anybody.");
  }

  // `lines`: how many there are across.
  function bars(id, lines, traces, more, nothing) {
    const into = at(id);
    if (!lines) {
      Plotly.purge(into);
      return into.replaceChildren(element("p", nothing, { className: "nothing" }));
    }
    if (into.firstElementChild && into.firstElementChild.className === "nothing") into.replaceChildren();
    Plotly.react(into, traces, frame({ height: Math.min(420, 100 + 34 * lines), showlegend: false, ...more }), STILL);
  }

  function bar(names, counts) {
    return [{ type: "bar", orientation: "h", y: names.map(plain), x: counts, text: counts.map(String), textposition: "auto", marker: { color: colour("--accent") }, hovertemplate: "%{y}: %{x}<extra></extra>" }];
  }

  function drawRest() {
    const sideways = { yaxis: { autorange: "reversed", type: "category" } };
    const until = (n) => (n > 2 ** 63 ? "the end" : bytes(n));
    const ranges = file.ranges.map((one) => [`${bytes(one.first)} to ${until(one.last)}`, one.count]);
    bars("ranges", ranges.length, bar(ranges.map((r) => r[0]), ranges.map((r) => r[1])), sideways, "No bytes were named.");
    table(at("ranges-table"), ["Bytes", "Events"], ranges);
    const waits = file.wait_times.map((count, n) => [`${duration(2 ** n)} to ${duration(2 ** (n + 1))}`, count]);
    const first = waits.findIndex((one) => one[1]);
    const some = first < 0 ? [] : waits.slice(first);
    at("waits-about").textContent = file.waits.count
      ? `${file.waits.count} waits, ${duration(file.waits.total_seconds * 1e9)} in all, ${duration(file.waits.longest_seconds * 1e9)} at most` : "";
    bars("waits", some.length, bar(some.map((w) => w[0]), some.map((w) => w[1])), sideways, "Nobody waited.");
    table(at("waits-table"), ["Took", "Waits"], some);
    const why = file.fallbacks.map((one) => [one.what, one.count]);
    bars("fallbacks", why.length, bar(why.map((w) => w[0]), why.map((w) => w[1])), sideways, "No direct request went through the page cache.");
    table(at("fallbacks-table"), ["Reason", "Times"], why);
  }

  function about() {
    const counts = file.counts.map((one) => `${one.count} ${one.what}`).join(", ");
    const left = file.left_out ? ` (${file.left_out} events of so many programs are not in the map)` : "";
    at("about").textContent = `${file.mixed ? "MIXED  " : ""}${nameOf(file)}: ${counts}${left}. A cell is ${bytes(file.place_step)} by ${duration(file.time_step)} at its finest.`;
  }

  function draw() {
    if (!file) return;
    drawMap();
    drawMatrix();
    drawRest();
    about();
  }

  // Together, once, when the browser is about to paint.
  function soon() {
    if (waiting) return;
    waiting = true;
    requestAnimationFrame(() => { waiting = false; drawMap(); });
  }

  function look(next) {
    const all = whole(file);
    const width = Math.min(all.to - all.from, Math.max(next.to - next.from, Math.min(file.place_step, 512)));
    const height = Math.min(all.end - all.start, Math.max(next.end - next.start, Math.min(file.time_step, 1000)));
    const from = Math.min(Math.max(next.from, all.from), all.to - width);
    const start = Math.min(Math.max(next.start, all.start), all.end - height);
    view = { from, to: from + width, start, end: start + height };
    soon();
  }

  function step(what) {
    const w = view.to - view.from, h = view.end - view.start;
    const zoom = (by) => look({ from: view.from + w * by, to: view.to - w * by, start: view.start + h * by, end: view.end - h * by });
    const move = (x, y) => look({ from: view.from + w * x, to: view.to + w * x, start: view.start + h * y, end: view.end + h * y });
    ({ in: () => zoom(0.25), out: () => zoom(-0.5), left: () => move(-0.25, 0), right: () => move(0.25, 0),
      up: () => move(0, -0.25), down: () => move(0, 0.25), whole: () => look(whole(file)) })[what]();
  }

  function zoomed(change) {
    const get = (axis, n) => { const list = change[`${axis}.range`]; return list ? Number(list[n]) : Number(change[`${axis}.range[${n}]`]); };
    const x = [get("xaxis", 0), get("xaxis", 1)], y = [get("yaxis", 1), get("yaxis", 0)];
    const next = { ...view };
    if (x.every(Number.isFinite)) [next.from, next.to] = x;
    if (y.every(Number.isFinite)) [next.start, next.end] = y;
    if (next.from !== view.from || next.to !== view.to || next.start !== view.start || next.end !== view.end) look(next);
  }

  function choose(number) {
    at("file").value = String(number);
    file = data.files[number];
    view = whole(file);
    draw();
  }

  function colours() {
    const asked = at("theme").value, system = matchMedia("(prefers-color-scheme: dark)").matches;
    const dark = asked === "dark" || (asked === "" && system && !matchMedia("print").matches);
    document.documentElement.toggleAttribute("data-dark", dark);
    draw();
  }

  function begin() {
    choices(at("file"), data.files.map((one, n) => [n, nameOf(one)]));
    choices(at("program"), [["", "all"], ...data.programs.map((name, n) => [n, name])]);
    const there = new Set(data.files.flatMap((one) => one.counts.map((count) => count.what)));
    choices(at("kind"), [["", "everything"], ...data.kinds.map((name, n) => [n, name]).filter(([, name]) => there.has(name))]);
    const used = new Set(data.files.flatMap((one) => one.rows.map((row) => row[3])));
    data.modes.forEach((name, n) => {
      if (!used.has(n)) return;
      const label = element("label"), swatch = element("span", undefined, { className: "swatch" });
      swatch.style.background = `var(${MODE_COLOURS[n]})`;
      label.append(element("input", undefined, { type: "checkbox", defaultChecked: true, value: String(n) }), swatch, `${MODE_LETTERS[n]} ${name}`);
      at("modes").append(label);
    });
    table(at("files"), ["File", "Mixed", "What happened"], data.files.map((one, n) => {
      const button = element("button", nameOf(one), { type: "button" });
      button.addEventListener("click", () => { choose(n); at("map").focus(); });
      return [button, one.mixed ? "mixed" : "", one.counts.map((count) => `${count.count} ${count.what}`).join(", ")];
    }), "No file was used in two modes.");
    if (data.files_left_out) at("files").append(element("p", `and ${data.files_left_out} more: pagefence report --json has all`));
    table(at("others"), ["Event", "Program", "File", "Why", "Done", "What to do", "Times"],
      data.others.map((one) => [one.event, one.program, one.file, one.reason, one.done, one.hint, one.count]));
    if (data.others_left_out) at("others").append(element("p", `and ${data.others_left_out} more: pagefence report --json has all`));
    const m = data.missing, missing = m.overwritten + m.not_finished + m.never_written + m.cut_off;
    at("counts").textContent = `${data.events} events in ${data.rings} rings` + (missing ? `; ${missing} events are missing: ${m.overwritten} overwritten, ${m.not_finished} not finished, ${m.never_written} never written, ${m.cut_off} cut off` : "; none is missing");
  }

  function listen() {
    at("file").addEventListener("change", () => choose(Number(at("file").value)));
    for (const id of ["program", "kind", "modes", "letters"]) at(id).addEventListener("change", draw);
    at("filters").addEventListener("submit", (event) => event.preventDefault());
    at("filters").addEventListener("reset", () => setTimeout(() => choose(0)));
    for (const button of document.querySelectorAll("[data-do]")) button.addEventListener("click", () => step(button.dataset.do));
    const keys = { "+": "in", "=": "in", "-": "out", ArrowLeft: "left", ArrowRight: "right", ArrowUp: "up", ArrowDown: "down", 0: "whole" };
    at("map").addEventListener("keydown", (event) => {
      if (!keys[event.key] || event.ctrlKey || event.metaKey || event.altKey) return;
      event.preventDefault();
      step(keys[event.key]);
    });
    at("map").on("plotly_relayout", zoomed);
    at("map").on("plotly_doubleclick", () => step("whole"));
  }

  try { at("theme").value = localStorage.getItem("pagefence-theme") || ""; } catch (nowhere) { /* a file may have no storage */ }
  at("theme").addEventListener("change", () => {
    try { localStorage.setItem("pagefence-theme", at("theme").value); } catch (nowhere) { /* it lasts as long as the page */ }
    colours();
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", colours);
  matchMedia("print").addEventListener("change", colours);
  begin();
  colours();
  if (data.files.length) {
    choose(0);
    listen();
  } else {
    document.querySelectorAll("#filters, .pair, section:has(#map)").forEach((one) => one.remove());
  }
  document.documentElement.dataset.ready = String(Math.round(performance.now()));
})();
