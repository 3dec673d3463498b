"use strict";
// Polls /data.json and draws it. Everything from the folder stays text: nodes and attributes are
// made one by one, never from a string of HTML.
(() => {
  const NS = "http://www.w3.org/2000/svg";
  const $ = (id) => document.getElementById(id);
  // Ordered by lightness, so that any colour vision can tell them apart; dark mode has its own.
  const RAMPS = {
    light: ["#440154", "#3b4a89", "#26788e", "#1f9d7a", "#5f9e1e", "#a87b00"],
    dark: ["#c39be8", "#8fb1f2", "#4fc3d9", "#4fd6a0", "#a6dd4f", "#fde725"],
  };
  const dark = matchMedia("(prefers-color-scheme:dark)");
  let shown = null;
  let last = null;

  function node(name, attributes, ...children) {
    const made = document.createElementNS(NS, name);
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    made.append(...children);
    return made;
  }
  function html(name, className, ...children) {
    const made = document.createElement(name);
    if (className) made.className = className;
    made.append(...children);
    return made;
  }
  function say(id, text) {
    if ($(id).textContent !== text) $(id).textContent = text;
  }
  function fill(id, rows) {
    const key = JSON.stringify(rows);
    if ($(id).dataset.key === key) return; // nothing changed: keep the user's selection
    $(id).dataset.key = key;
    $(id).replaceChildren(...rows.map((cells) => {
      const line = html("tr", "");
      cells.forEach((cell, i) => {
        const made = html(i ? "td" : "th", "", cell);
        if (!i) made.scope = "row";
        line.append(made);
      });
      return line;
    }));
  }

  function heads(columns) {
    const key = JSON.stringify(columns);
    if ($("runs-head").dataset.key === key) return;
    $("runs-head").dataset.key = key;
    $("runs-head").replaceChildren(...columns.map((words) => {
      const made = html("th", "", words);
      made.scope = "col";
      return made;
    }));
  }
  // New metrics become choices; what is chosen stays.
  function choose(choices) {
    const key = JSON.stringify(choices);
    const list = $("shown");
    if (list.dataset.key === key) return;
    list.dataset.key = key;
    const chosen = list.value;
    list.replaceChildren(...[["", "validation loss"], ...choices].map(([name, words]) => {
      const made = html("option", "", words);
      made.value = name;
      return made;
    }));
    list.value = choices.some(([name]) => name === chosen) ? chosen : "";
  }

  function mix(one, two, share) {
    const part = (code, i) => parseInt(code.slice(i, i + 2), 16);
    const blend = (i) => Math.round(part(one, i) * (1 - share) + part(two, i) * share);
    return `rgb(${blend(1)},${blend(3)},${blend(5)})`;
  }
  function colours(sizes) {
    const ramp = RAMPS[dark.matches ? "dark" : "light"];
    return new Map(sizes.map((size, i) => {
      const place = sizes.length > 1 ? (i / (sizes.length - 1)) * (ramp.length - 1) : 0;
      const low = Math.min(Math.floor(place), ramp.length - 2);
      return [size, mix(ramp[low], ramp[low + 1], place - low)];
    }));
  }
  function count(value) {
    for (const [suffix, scale] of [["T", 1e12], ["B", 1e9], ["M", 1e6], ["K", 1e3]]) {
      if (Number(value.toPrecision(3)) >= scale) return Number((value / scale).toPrecision(3)) + suffix;
    }
    return String(Number(value.toPrecision(3)));
  }
  function power(value) {
    const [digits, exponent] = value.toExponential(1).split("e");
    const raised = String(Number(exponent)).replace(/./g, (c) => "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"["-0123456789".indexOf(c)]);
    return Number(digits) === 1 ? `10${raised}` : `${Number(digits)}×10${raised}`;
  }

  // Ticks of a logarithmic axis of `length`: the finest choice whose ticks are at least `room` apart.
  function ticks(low, high, length, room) {
    const far = (a, b) => length * Math.log(b / a) / Math.log(high / low) >= room;
    const made = (steps) => {
      const found = [];
      for (let e = Math.floor(Math.log10(low)); e <= Math.ceil(Math.log10(high)); e++) {
        for (const step of steps) {
          const value = Number((step * 10 ** e).toPrecision(6));
          if (value >= low && value <= high) found.push(value);
        }
      }
      return found;
    };
    const fine = (step) => Array.from({ length: Math.round(9 / step) }, (_, i) => 1 + i * step);
    const choices = [fine(0.05), fine(0.1), fine(0.2), fine(0.5), fine(1), [1, 2, 5], [1, 3], [1]];
    return choices.map(made).find((found) => found.every((v, i) => !i || far(found[i - 1], v))) || made([1]).filter((_, i) => i % 2 === 0);
  }

  // Round numbers from `low` to `high`, at most about `most`.
  function steps(low, high, most) {
    const rough = (high - low) / most;
    const power10 = 10 ** Math.floor(Math.log10(rough));
    const step = [1, 2, 2.5, 5, 10].map((m) => m * power10).find((s) => s >= rough * 0.999);
    const values = [];
    for (let i = Math.ceil(low / step - 1e-9); i * step <= high + 1e-9 * step; i++) values.push(Number((i * step).toPrecision(6)));
    return values;
  }
  const figure = (value) => Number(value.toPrecision(5)).toString();

  // A chart with a logarithmic x axis; the y axis is logarithmic where `what.yLog` is true and all
  // values are above 0. `what` has lines, points, band, frontier and the axes' labels; a
  // point {x, y, colour, words} can be pointed at, or reached with the arrow keys.
  function chart(host, what) {
    const width = Math.max(host.clientWidth, 280);
    const height = Math.round(Math.min(420, Math.max(260, width * 0.62)));
    const [left, right, top, bottom] = [52, 12, 10, 44];
    const inner = [width - left - right, height - top - bottom];
    const every = [...what.lines.flatMap((l) => l.points), ...what.points.map((p) => [p.x, p.y]),
      ...(what.frontier || [])];
    if (!every.length) {
      host.replaceChildren(html("p", "faint", what.empty));
      host.dataset.points = "0";
      return;
    }
    const range = (i) => {
      const values = every.map((p) => p[i]);
      const [low, high] = [Math.min(...values), Math.max(...values)];
      const pad = Math.max((high / low) ** 0.04, 1.01);
      return [low / pad, high * pad];
    };
    const yLog = what.yLog && every.every((p) => p[1] > 0);
    const [[x0, x1], [y0, y1]] = [range(0), yLog ? range(1) : evenRange(every.map((p) => p[1]))];
    const px = (x) => left + inner[0] * Math.log(x / x0) / Math.log(x1 / x0);
    const py = (y) => top + inner[1] * (1 - (yLog ? Math.log(y / y0) / Math.log(y1 / y0) : (y - y0) / (y1 - y0)));
    const path = (points) => points.map(([x, y], i) => `${i ? "L" : "M"}${px(x).toFixed(1)},${py(y).toFixed(1)}`).join("");
    const picture = node("svg", { viewBox: `0 0 ${width} ${height}`, tabindex: "0", role: "img",
      "aria-label": `${what.label}; arrow keys read out its points` });
    for (const tick of ticks(x0, x1, inner[0], 62)) {
      picture.append(node("line", { class: "grid", x1: px(tick), x2: px(tick), y1: top, y2: top + inner[1] }),
        node("text", { x: px(tick), y: height - 26, "text-anchor": "middle" }, what.xTick(tick)));
    }
    for (const tick of yLog ? ticks(y0, y1, inner[1], 20) : steps(y0, y1, Math.max(2, inner[1] / 40))) {
      picture.append(node("line", { class: "grid", x1: left, x2: width - right, y1: py(tick), y2: py(tick) }),
        node("text", { x: left - 6, y: py(tick) + 4, "text-anchor": "end" }, String(tick)));
    }
    picture.append(
      node("text", { x: left + inner[0] / 2, y: height - 6, "text-anchor": "middle" }, what.xWords),
      node("text", { x: 12, y: top + inner[1] / 2, "text-anchor": "middle",
        transform: `rotate(-90 12 ${top + inner[1] / 2})` }, what.yWords),
      node("path", { class: "axis", fill: "none", d: `M${left},${top}V${top + inner[1]}H${width - right}` }));
    const clip = `clip-${host.id}`;
    picture.append(node("clipPath", { id: clip }, node("rect", { x: left, y: top, width: inner[0], height: inner[1] })));
    const plot = node("g", { "clip-path": `url(#${clip})` });
    picture.append(plot);
    if (what.band) plot.append(node("path", { class: "band", d: path(what.band) + "Z" }));
    if (what.frontier && what.frontier.length) plot.append(node("path", { class: "frontier", d: path(what.frontier) }));
    for (const line of what.lines) {
      plot.append(node("path", { class: `curve${line.dashed ? " trunk" : ""}`, stroke: line.colour, d: path(line.points) }));
    }
    for (const p of what.points) {
      if (p.within) continue; // on its curve: it can be pointed at, but hides no line
      plot.append(node("circle", { cx: px(p.x), cy: py(p.y), r: 4,
        fill: p.hollow ? "none" : p.colour, stroke: p.colour }));
    }
    const near = node("circle", { class: "near", r: 7, visibility: "hidden" });
    picture.append(near);
    const readout = html("p", "readout faint", "Point at the figure, or reach it with Tab and use the arrow keys.");
    readout.setAttribute("aria-live", "polite");
    follow(host, picture, near, readout, what.points.map((p) => ({ ...p, cx: px(p.x), cy: py(p.y) })), width);
    const focused = host.contains(document.activeElement) && document.activeElement.tagName === "svg";
    host.replaceChildren(picture, legend(what.legend), readout);
    host.dataset.points = String(what.points.length);
    if (focused) picture.focus({ preventScroll: true });
  }

  function evenRange(values) {
    const [low, high] = [Math.min(...values), Math.max(...values)];
    const pad = 0.04 * (high - low) || 0.05 * Math.abs(high) || 1;
    return [low - pad, high + pad];
  }

  function follow(host, picture, near, readout, points, width) {
    const tell = (index) => {
      const p = points[index];
      host.dataset.at = p.words;
      near.setAttribute("cx", p.cx);
      near.setAttribute("cy", p.cy);
      near.setAttribute("visibility", "visible");
      readout.textContent = p.words;
    };
    const before = points.findIndex((p) => p.words === host.dataset.at);
    if (before >= 0) tell(before);
    picture.addEventListener("pointermove", (event) => {
      const box = picture.getBoundingClientRect();
      const scale = width / box.width;
      const at = [(event.clientX - box.left) * scale, (event.clientY - box.top) * scale];
      let best = -1;
      let least = 40 ** 2;
      points.forEach((p, i) => {
        const away = (p.cx - at[0]) ** 2 + (p.cy - at[1]) ** 2;
        if (away < least) [best, least] = [i, away];
      });
      if (best >= 0) tell(best);
    });
    picture.addEventListener("keydown", (event) => {
      const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
      if (!step || !points.length) return;
      event.preventDefault();
      const now = points.findIndex((p) => p.words === host.dataset.at);
      tell((now + step + points.length) % points.length);
    });
  }

  function legend(entries) {
    const chip = (e) => node("svg", { viewBox: "0 0 22 12", "aria-hidden": "true" }, e.band
      ? node("rect", { class: "band", x: 0, y: 1, width: 22, height: 10 })
      : e.hollow ? node("circle", { cx: 11, cy: 6, r: 4, fill: "none", stroke: "currentColor" })
        : node("path", { class: e.frontier ? "frontier" : "curve", stroke: e.colour || "", d: "M0,6H22" }));
    return html("ul", "legend", ...entries.map((e) => html("li", "", chip(e), e.words)));
  }

  // Lines have the colour of their layer where a measure has several, else of their size.
  function groupsOf(data) {
    const byLayer = data.shown.layers.length > 0;
    const names = byLayer ? data.shown.layers : data.sizes;
    const of = (one) => byLayer ? one.layer : one.params;
    const known = colours(names);
    return {
      // a loss is always drawn in logarithms, layers where they differ in their order
      yLog: (values) => data.shown.metric === null
        || byLayer && Math.min(...values) > 0 && Math.max(...values) >= 10 * Math.min(...values),
      colour: (one) => known.get(of(one)),
      legend: (drawn) => {
        const there = new Set(drawn.map(of));
        return names.filter((name) => there.has(name))
          .map((name) => ({ colour: known.get(name), words: byLayer ? `layer ${name}` : `${count(name)} params` }));
      },
    };
  }

  function valueWords(data, value) {
    const { metric, unit } = data.shown;
    return `${metric === null ? value.toFixed(4) : `${metric} ${figure(value)}`}${unit && ` ${unit}`}`;
  }

  function drawCurves(data) {
    const groups = groupsOf(data);
    const byFlops = $("curves-x").value === "flops";
    const along = (c, tokens) => byFlops ? 6 * c.params * tokens : tokens;
    const drawn = data.curves.filter((c) => c.kind !== "trunk" || $("trunks").checked);
    const lines = drawn.map((c) => ({ colour: groups.colour(c), dashed: c.kind === "trunk",
      points: c.points.map(([tokens, value]) => [along(c, tokens), value]) }));
    const points = drawn.flatMap((c) => c.points.map(([tokens, value], i) => ({
      x: along(c, tokens), y: value, colour: groups.colour(c), within: i < c.points.length - 1,
      hollow: c.state !== "done",
      words: `${c.label} (${c.state}): ${valueWords(data, value)} at ${count(tokens)} tokens, ${power(6 * c.params * tokens)} FLOPs`,
    })));
    chart($("curves"), { lines, points, label: `${data.shown.label} of every run`, yWords: data.shown.label,
      yLog: groups.yLog(points.map((p) => p.y)),
      xTick: byFlops ? power : count, xWords: byFlops ? "training compute, 6 N D (FLOPs)" : "training tokens",
      empty: "No run has been evaluated yet.",
      legend: groups.legend(drawn) });
  }

  function drawLaw(data) {
    const groups = groupsOf(data);
    const used = new Set(data.law.run_ids || []);
    // the law is one of the loss
    const frontier = data.shown.metric === null ? data.law.frontier || [] : [];
    const points = data.points.map((p) => ({ x: p.flops_6nd, y: p.value, params: p.params, layer: p.layer, colour: groups.colour(p),
      hollow: frontier.length > 0 && !used.has(p.run_id),
      words: `${p.label}: ${valueWords(data, p.value)}, ${count(p.params)} params, ${count(p.tokens)} tokens, ${power(p.flops_6nd)} FLOPs` }));
    points.sort((a, b) => a.x - b.x);
    const banded = frontier.filter((f) => f.low_nats !== null && f.high_nats !== null);
    const legend = groups.legend(points);
    if (frontier.length) legend.push({ frontier: true, words: "the law at the compute-optimal split of params and tokens" });
    if (banded.length) legend.push({ band: true, words: "90% interval of a new run there" });
    if (points.some((p) => p.hollow)) legend.push({ hollow: true, words: "not in the fit (yet)" });
    chart($("frontier"), { lines: [], points, legend,
      frontier: frontier.map((f) => [f.flops, f.loss_nats]),
      band: banded.length ? [...banded.map((f) => [f.flops, f.low_nats]), ...banded.map((f) => [f.flops, f.high_nats]).reverse()] : null,
      label: `${data.shown.label} at the end of every run against compute${frontier.length ? ", and the law" : ""}`,
      yWords: data.shown.label, yLog: groups.yLog(points.map((p) => p.y)),
      xTick: power, xWords: "training compute, 6 N D, matmul params (FLOPs)", empty: "No run has ended yet." });
  }

  function show(data) {
    for (const id of ["headline", "phase", "counts", "arms", "device", "host", "law"]) say(id, data.words[id]);
    say("name", data.name);
    say("sweep", data.sweep);
    say("read", data.read_at);
    const more = [[data.rows_left_out, "runs"], [data.metrics_left_out, "metrics"]]
      .filter(([number]) => number).map(([number, what]) => `${number} more ${what}`).join(" and ");
    say("more", more ? `and ${more}; slaw status lists all` : "");
    $("bar").value = data.flops_done_frac;
    document.title = `${Math.round(100 * data.flops_done_frac)}% ${data.name}: slaw monitor`;
    heads(data.columns);
    choose(data.choices);
    fill("runs", data.rows);
    fill("law-params", data.words.law_params);
    $("law-params").closest(".scroll").hidden = !data.words.law_params.length;
    const warnings = data.warnings.map((w) => html("li", "", `${w.time.slice(11, 19)} ${w.label}: ${w.text}`));
    $("warnings").replaceChildren(...(warnings.length ? warnings : [html("li", "", "none")]));
    draw(data);
    shown = data;
  }
  function draw(data) {
    const key = JSON.stringify([data.curves, data.points, data.law, data.sizes, data.shown, $("curves-x").value,
      $("trunks").checked, dark.matches, $("curves").clientWidth]);
    if (key === last) return;
    last = key;
    drawCurves(data);
    drawLaw(data);
  }

  async function load() {
    let wait = 2;
    try {
      const metric = $("shown").value;
      const query = metric ? `?metric=${encodeURIComponent(metric)}` : "";
      const answer = await fetch(`/data.json${query}`, { cache: "no-store" });
      if (!answer.ok) throw new Error(String(answer.status));
      const data = await answer.json();
      wait = data.interval_seconds;
      if (metric !== $("shown").value) return wait; // another was chosen meanwhile
      $("lost").hidden = true;
      show(data);
    } catch (problem) {
      $("lost").hidden = false;
      say("lost", `slaw monitor does not answer (${problem.message}); this page shows ${$("read").textContent}`);
    }
    return wait;
  }
  async function poll() {
    setTimeout(poll, 1000 * await load());
  }
  const again = () => { if (shown) draw(shown); };
  for (const tools of document.querySelectorAll(".needs-script")) tools.hidden = false;
  $("curves-x").addEventListener("change", again);
  $("trunks").addEventListener("change", again);
  $("shown").addEventListener("change", load);
  dark.addEventListener("change", again);
  addEventListener("resize", again);
  poll();
})();
