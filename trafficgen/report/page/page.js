"use strict";
// Draws what `to_html.page_runs` wrote: an array of runs. Everything a server said is set as text, never as HTML.
(() => {
  // Okabe and Ito's colours, told apart by most people with a colour vision deficiency; yellow is too pale for lines.
  const COLOURS = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00"];
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

  // One chart. `tables`: for each run [x, y, y…]; `lines`: the name of each y; `form` writes a value of y.
  const chart = (parent, title, note, runs, tables, lines, form, { x = String, log = false, logX = false } = {}) => {
    const box = make(parent, "section", undefined, "chart");
    make(box, "h3", title);
    make(box, "p", note);
    const series = [{ label: "at", value: (_, v) => v === null ? "–" : x(v) }];
    runs.forEach((run, r) => lines(run).forEach((name, l) => series.push({
      label: runs.length > 1 ? `${run.name} ${name}` : name,
      stroke: COLOURS[(runs.length > 1 ? r : l) % COLOURS.length],
      dash: runs.length > 1 ? DASHES[l % DASHES.length] : [],
      width: 2, spanGaps: false, points: { show: tables[r][0].length < 3 },
      value: (_, v) => v === null ? "–" : form(v),
    })));
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
    charts.push([plot, box]);
  };

  const table = (parent, title, head, rows, text = []) => {
    if (!rows.length) return;
    make(parent, "h2", title);
    const made = make(make(parent, "div", undefined, "table"), "table");
    const first = make(make(made, "thead"), "tr");
    head.forEach((cell, i) => make(first, "th", cell, text.includes(i) ? "text" : ""));
    const body = make(made, "tbody");
    for (const [tone, ...cells] of rows) {
      const row = make(body, "tr", undefined, tone);
      cells.forEach((cell, i) => make(row, "td", String(cell), text.includes(i) ? "text" : ""));
    }
  };

  const cards = (runs) => {
    const box = make(root, "div", undefined, "runs");
    runs.forEach((run, r) => {
      const card = make(box, "article", undefined, "run");
      card.style.setProperty("--mark", COLOURS[runs.length > 1 ? r % COLOURS.length : 0]);
      make(card, "p", `${run.name}, ${run.target}, ${run.started_at}`);
      make(card, "p", `${digits(run.rate)} messages/s`, "rate");
      if (run.verdict) make(card, "p", run.verdict[0], `verdict ${run.verdict[1]}`);
      make(card, "p", run.outcomes);
      make(card, "p", run.ended);
      const judged = !(run.verdict && run.verdict[0].startsWith("NOT VALID"));
      for (const one of run.thresholds) make(card, "p", `${one.passed ? "✓" : "✗"} ${one.text}`, judged ? one.passed ? "good" : "bad" : "");
      for (const caveat of run.caveats) make(card, "p", `⚠ ${caveat}`, "caveat");
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
    chart(box, "Rate", "messages a second, by when they started and ended", runs,
      runs.map(run => column(run, "accepted", "started", "unsuccessful")), () => ["accepted", "started", "not accepted"], digits, { x: seconds });
    chart(box, "Latency over time", "of accepted messages in each interval, high by at most 3.1 %", runs,
      runs.map(run => column(run, "p50_ns", "p99_ns")), run => ["p50", "p99"], time, { x: seconds, log: true });
    const nines = v => v < 1.5 ? "min" : `p${Number((100 - 100 / v).toFixed(5))}`;
    chart(box, "Latency spectrum", "how much a share of messages does not exceed; high by at most 0.1 %", runs,
      runs.map(run => run.spectrum), run => [run.latency], time, { x: nines, log: true, logX: true });
    chart(box, "Spectrum by phase", "of each stretch of time that was recorded", runs,
      runs.map(run => [run.phases.x, ...run.phases.series]), run => run.phases.names, time, { x: nines, log: true, logX: true });
    const named = (run, cells) => runs.length > 1 ? [cells[0], `${run.name} ${cells[1]}`, ...cells.slice(2)] : cells;
    const rows = key => runs.flatMap(run => run[key].map(cells => named(run, cells)));
    table(root, "Latency", ["", "count", "mean", "p50", "p90", "p95", "p99", "p99.9", "max"],
      rows("latencies").map(([tone, name, n, ...ns]) => [tone, name, count(n), ...ns.map(time)]));
    table(root, "Domains", ["", "wanted", "got", "started", "accepted", "p50", "p99"],
      rows("domains").map(([tone, name, wanted, got, started, accepted, p50, p99]) => [tone, name, wanted, got, count(started), count(accepted), time(p50), time(p99)]));
    table(root, "Replies and failures", ["", "code", "enhanced", "count", "for example"],
      rows("replies").map(([tone, phase, code, enhanced, n, example]) => [tone, phase, code, enhanced, count(n), example]), [4]);
    table(root, "Generator", ["", "CPU", "loop lag p99", "lateness p99", "sessions opened"],
      rows("workers").map(([tone, name, cpu, lag, late, opened]) => [tone, name, cpu, time(lag), time(late), count(opened)]));
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
  addEventListener("resize", () => charts.forEach(([plot, box]) => plot.setSize({ width: Math.max(box.clientWidth, 280), height: 260 })));
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => charts.forEach(([plot]) => plot.redraw(false, true)));
})();
