"use strict";
// Draws what `to_html.page_runs` wrote: an array of runs. Everything a server said is set as text, never as HTML.
(() => {
  // Six hues after Okabe and Ito, told apart by most people with a colour vision deficiency; page.css has them lighter
  // for a dark page, at least 3:1 against either (WCAG 2.2, 1.4.11).
  const HUES = [1, 2, 3, 4, 5, 6].map(n => `--line-${n}`);
  const DASHES = [[], [6, 4], [2, 3], [10, 4, 2, 4]];
  const charts = [];
  const root = document.getElementById("report");

  const make = (parent, tag, text, name) => {
    const element = document.createElement(tag);
    if (text !== undefined) element.textContent = text;
    if (name) element.className = name;
    parent.append(element);
    return element;
  };
  const colour = name => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const count = n => Math.round(n).toLocaleString("en");
  const digits = n => n >= 99.95 ? count(n) : String(Number(n.toPrecision(3)));
  const time = ns => {
    if (ns === null || ns === undefined) return "–";
    for (const [limit, unit, size] of [[1e3, "ns", 1], [1e6, "µs", 1e3], [1e9, "ms", 1e6]])
      if (ns < limit) return `${digits(ns / size)} ${unit}`;
    return `${digits(ns / 1e9)} s`;
  };

  // One chart. `tables`: for each run [x, y, y…]; `lines`: the name of each y; `form` writes a value of y. Until a
  // pointer comes, the legend says `sum` of each line.
  const chart = (parent, title, note, runs, tables, lines, form, sum, { x = String, log = false, logX = false } = {}) => {
    const box = make(parent, "section", undefined, "chart");
    make(box, "h2", title);
    make(box, "p", note);
    const series = [{ label: "at", value: (_, v, __, i) => i === null ? "whole run" : v === null ? "–" : x(v) }];
    runs.forEach((run, r) => lines(run).forEach((name, l) => {
      const hue = HUES[(runs.length > 1 ? r : l) % HUES.length], all = sum(tables[r][l + 1]);
      series.push({
        label: runs.length > 1 ? `${run.name} ${name}` : name,
        stroke: () => colour(name === "wanted" && runs.length < 2 ? "--soft" : hue),
        dash: DASHES[runs.length > 1 ? l % DASHES.length : name === "wanted" ? 1 : Math.floor(l / HUES.length) % DASHES.length],
        width: 2, spanGaps: false, points: { show: tables[r][0].length < 3 },
        value: (_, v, __, i) => i === null ? all : v === null ? "–" : form(v),
      });
    }));
    const drawn = tables.filter(table => table[0].length);
    if (!drawn.length) { make(box, "p", "nothing was recorded"); return; }
    const axis = { stroke: () => colour("--soft"), grid: { stroke: () => colour("--line"), width: 1 }, ticks: { show: false } };
    const values = splits => splits.map(v => v === null ? "" : v);
    const plot = new uPlot({
      width: Math.max(box.clientWidth, 280), height: 260, series,
      scales: { x: { time: false, distr: logX ? 3 : 1 }, y: log ? { distr: 3 } : { range: (_, low, high) => [0, high * 1.05 || 1] } },
      axes: [
        { ...axis, values: (_, splits) => values(splits).map(v => v === "" ? "" : x(v)) },
        { ...axis, size: 76, values: (_, splits) => values(splits).map(v => v === "" ? "" : form(v)) },
      ],
      cursor: { drag: { x: true, y: false } },
    }, tables.length > 1 ? uPlot.join(tables) : tables[0], box);
    // A picture for those who cannot see it: its title, what it shows, and what the legend says of the whole run.
    const canvas = plot.root.querySelector("canvas");
    canvas.setAttribute("role", "img");
    canvas.setAttribute("aria-label", `${title}, ${note}: ` +
      series.slice(1).map(one => `${one.label} ${one.value(null, null, null, null)}`).join("; "));
    charts.push([plot, box]);
  };

  const table = (parent, title, head, rows, text = []) => {
    if (!rows.length) return;
    make(parent, "h2", title);
    const box = make(parent, "div", undefined, "table");
    const made = make(box, "table");
    const first = make(make(made, "thead"), "tr");
    head.forEach((cell, i) => make(first, "th", cell, text.includes(i) ? "text" : "").scope = "col");
    const body = make(made, "tbody");
    for (const [tone, ...cells] of rows) {
      const row = make(body, "tr", undefined, tone);
      cells.forEach((cell, i) => {
        const made = make(row, i ? "td" : "th", cell, text.includes(i) ? "text" : "");
        if (!i) made.scope = "row";
      });
    }
    box.setAttribute("role", "region");
    box.setAttribute("aria-label", title);
    box.hint = make(parent, "p", "more columns to the right: scroll the table sideways →", "hint");
    box.addEventListener("scroll", () => hint(box));
  };
  const hint = box => {
    const wide = box.scrollWidth > box.clientWidth + 1;
    box.hint.hidden = !wide;
    box.hint.style.visibility = box.scrollLeft + box.clientWidth >= box.scrollWidth - 1 ? "hidden" : "";
    if (wide) box.tabIndex = 0; else box.removeAttribute("tabindex");
  };
  const hints = () => document.querySelectorAll(".table").forEach(hint);

  const cards = (runs) => {
    const box = make(root, "div", undefined, "runs");
    runs.forEach((run, r) => {
      const card = make(box, "article", undefined, "run");
      card.style.setProperty("--mark", `var(${HUES[runs.length > 1 ? r % HUES.length : 0]})`);
      make(card, "p", `${run.name}, ${run.target}, ${run.started_at}`);
      if (run.verdict) make(card, "p", run.verdict[0], `verdict ${run.verdict[1]}`);
      const numbers = make(card, "div", undefined, "numbers");
      for (const [name, value] of [["accepted", run.rate], ...run.percentiles.map(([name, value]) => [`${run.latency} ${name}`, value])]) {
        const number = make(numbers, "p");
        make(number, "b", value);
        make(number, "span", name);
      }
      make(card, "p", run.outcomes, "outcomes");
      if (run.whole) make(card, "p", run.whole);
      make(card, "p", run.ended);
      const judged = !(run.verdict && run.verdict[0].startsWith("NOT VALID"));
      for (const one of run.thresholds) make(card, "p", `${one.passed ? "✓" : "✗"} ${one.text}`, one.passed ? judged ? "good" : "" : "bad");
      for (const caveat of run.caveats) make(card, "p", `⚠ ${caveat}`, "caveat");
      const facts = make(card, "dl");
      for (const [name, words] of run.facts) { make(facts, "dt", name); make(facts, "dd", words); }
    });
  };

  const draw = runs => {
    charts.splice(0).forEach(([plot]) => plot.destroy());
    root.replaceChildren();
    cards(runs);
    const box = make(root, "div", undefined, "charts");
    box.style.marginTop = "2rem";
    const seconds = v => `${digits(v)} s`;
    const column = (run, ...names) => [run.timeline.at_s, ...names.map(name => run.timeline[name])];
    const asked = run => run.timeline.wanted ? ["wanted"] : [];
    chart(box, "Rate", "messages a second, by when they started and ended", runs,
      runs.map(run => column(run, "accepted", "started", "unsuccessful", ...asked(run))), run => ["accepted", "started", "not accepted", ...asked(run)], digits, ys => ys.length ? `mean ${digits(ys.reduce((a, b) => a + b, 0) / ys.length)}` : "–", { x: seconds });
    chart(box, "Latency over time", "of accepted messages in each interval, high by at most 3.1 %", runs,
      runs.map(run => column(run, "p50_ns", "p99_ns")), run => ["p50", "p99"], time, ys => ys.some(y => y !== null) ? `up to ${time(Math.max(...ys))}` : "–", { x: seconds, log: true });
    const most = form => ys => ys.some(y => y !== null) ? `up to ${form(Math.max(...ys))}` : "–";
    const server = (title, note, key, form) => {
      const seen = runs.filter(run => run.server && run.server[key].names.length);
      if (seen.length) chart(box, title, note, seen, seen.map(run => [run.server.at_s, ...run.server[key].series]),
        run => run.server[key].names, form, most(form), { x: seconds });
    };
    const counted = runs.filter(run => run.undelivered);
    if (counted.length) chart(box, "Undelivered", "messages that the server accepted and that had not arrived at our own sink", counted,
      counted.map(run => run.undelivered), run => ["undelivered"], digits, most(digits), { x: seconds });
    server("Server: queue", "messages, as an observer saw them", "queue", digits);
    server("Server: load", "shares of all cores, and of the time in which some task waited", "load", v => `${digits(100 * v)}%`);
    const p90 = ys => ys[10] ? `p90 ${time(ys[10])}` : "too few for p90";  // to_html._STEPS points a nine
    const nines = v => v < 1.5 ? "min" : `p${Number((100 - 100 / v).toFixed(5))}`;
    chart(box, "Latency spectrum", "how much a share of messages does not exceed; high by at most 0.1 %", runs,
      runs.map(run => run.spectrum), run => [run.latency], time, p90, { x: nines, log: true, logX: true });
    chart(box, "Spectrum by phase", "of each stretch of time that was recorded", runs,
      runs.map(run => [run.phases.x, ...run.phases.series]), run => run.phases.names, time, p90, { x: nines, log: true, logX: true });
    const named = (run, cells) => runs.length > 1 ? [cells[0], `${run.name} ${cells[1]}`, ...cells.slice(2)] : cells;
    const rows = key => runs.flatMap(run => run[key].map(cells => named(run, cells)));
    table(root, "Latency", ["stretch of time", "count", "mean", "p50", "p90", "p95", "p99", "p99.9", "max"], rows("latencies"));
    table(root, "Commands", ["command", "count", "errors", "of count", "per second", "p50", "p90", "p99", "max"], rows("commands"));
    for (const run of runs) for (const one of run.sections)
      table(root, runs.length > 1 ? `${one.title} of ${run.name}` : one.title, one.head, one.rows);
    table(root, "Domains", ["domain", "wanted", "got", "started", "accepted", "p50", "p99"], rows("domains"));
    for (const run of runs.filter(run => run.server)) {
      const whose = runs.length > 1 ? ` of ${run.name}` : "";
      make(root, "h2", `Server${whose}`);
      for (const words of run.server.words) make(root, "p", words);
      const shape = run.server.shape;
      if (shape) { table(root, `Queue by domain and age${whose}`, shape.head, shape.rows); make(root, "p", shape.note, "hint"); }
    }
    table(root, "Replies and failures", ["at", "code", "enhanced", "count", "for example"], rows("replies"), [4]);
    table(root, "Generator", ["worker", "CPU", "woke late p99", "lateness p99", "sessions opened"], rows("workers"));
    hints();
    document.body.dataset.charts = String(charts.length);
  };

  const state = document.getElementById("state");
  const embedded = JSON.parse(document.getElementById("runs").textContent);
  const live = async () => {
    try {
      const answer = await fetch("runs.json", { cache: "no-store" });
      const runs = await answer.json();
      draw(runs);
      state.textContent = runs.every(run => run.complete) ? "the run is over" : "live";
      if (state.textContent === "live") setTimeout(live, 1000);
    } catch { state.textContent = "the run is over, or cannot be reached"; }
  };
  if (embedded === null) live(); else draw(embedded);
  addEventListener("resize", () => { hints(); charts.forEach(([plot, box]) => plot.setSize({ width: Math.max(box.clientWidth, 280), height: 260 })); });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => charts.forEach(([plot]) => plot.redraw(false, true)));
})();
