"use strict";
// The figures of a report as charts to read values from. All numbers come from the page's own
// JSON (report/explore.py); nothing is loaded. Without this script the drawn figures remain.
(() => {
  const data = JSON.parse(document.getElementById("slaw-data").textContent);
  const SVG = "http://www.w3.org/2000/svg";
  const NEAR = 30; // pixels within which a mark answers the pointer
  const BOX = 420; // pixels of width from which a box beside the mark has room
  const DRAG = 8; // pixels from which a press becomes a frame
  const chosen = { convention: data.convention, law: data.best_law };
  const charts = [];

  const make = (name, attributes, parent, words) => {
    const element = document.createElementNS(SVG, name);
    return finish(element, attributes, parent, words);
  };
  const html = (name, attributes, parent, words) =>
    finish(document.createElement(name), attributes, parent, words);
  const finish = (element, attributes, parent, words) => {
    for (const [key, value] of Object.entries(attributes || {})) {
      if (value !== undefined && value !== null) element.setAttribute(key, value);
    }
    if (words !== undefined) element.textContent = words;
    if (parent) parent.append(element);
    return element;
  };

  // ---- numbers as people write them
  const trimmed = (value, digits) => String(Number(value.toPrecision(digits)));
  const count = (value) => {
    for (const [suffix, scale] of [["T", 1e12], ["B", 1e9], ["M", 1e6], ["K", 1e3]]) {
      if (Number(value.toPrecision(3)) >= scale) return trimmed(value / scale, 3) + suffix;
    }
    return trimmed(value, 3);
  };
  const raised = (power) => [...String(power)].map((c) => "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"["-0123456789".indexOf(c)]).join("");
  const flops = (value, digits = 3) => {
    const [mantissa, power] = value.toExponential(digits - 1).split("e");
    const ten = "10" + raised(Number(power));
    return Number(mantissa) === 1 ? ten : `${Number(mantissa)}×${ten}`;
  };
  const whole = (value) =>
    Number.isInteger(value) ? value.toLocaleString("en-US") : count(value);
  const percent = (value) => `${value < 0 ? "−" : "+"}${Math.abs(value).toFixed(2)}%`;
  const WORDS = {
    count, flops, percent,
    loss: (value) => value.toFixed(4),
    ratio: (value) => value.toFixed(3),
    nats: (value) => `${value < 0 ? "−" : "+"}${Math.abs(value).toFixed(4)}`,
  };
  const TICKS = {
    count, flops: (value) => flops(value, 2), percent: (value) => `${trimmed(value, 6).replace("-", "−")}%`,
    loss: (value) => trimmed(value, 6), ratio: (value) => trimmed(value, 4),
    nats: (value) => trimmed(value, 4),
  };

  const fit = () => (data.fits[chosen.convention] || {})[chosen.law];
  const residual = (row) => {
    const law = fit();
    if (!law || !law.predicted_nats) return null;
    return 100 * (data.points[row].loss_nats / law.predicted_nats[row] - 1);
  };
  // a size by its name and its count, as in the drawn figures' legends
  const counts = (name) => Object.hasOwn(data.sizes || {}, name) && data.sizes[name][chosen.convention];
  const valueOf = (row, what) => {
    const run = data.points[row];
    if (what === "tokens") return run.tokens;
    if (what === "loss") return run.loss_nats;
    if (what === "residual") return residual(row);
    return run[what][chosen.convention];
  };
  const describe = (row) => {
    const run = data.points[row], law = fit();
    const lines = [
      ["params", `${whole(run.params[chosen.convention])} (${data.conventions[chosen.convention]})`],
      ["tokens", whole(run.tokens)],
      ["FLOPs", flops(run.flops[chosen.convention])],
      ["loss", `${run.loss_nats.toFixed(4)} ${data.loss_unit}`],
    ];
    if (law && law.predicted_nats) {
      lines.push(["law", `${law.predicted_nats[row].toFixed(4)} ${data.loss_unit}`]);
      lines.push(["residual", percent(residual(row))]);
    }
    return { title: run.run_id, lines };
  };

  // ---- axes
  const steps = (low, high, most) => {
    const rough = (high - low) / most, power = 10 ** Math.floor(Math.log10(rough));
    const step = [1, 2, 2.5, 5, 10].map((m) => m * power).find((s) => s >= rough * 0.999);
    const found = [];
    for (let i = Math.ceil(low / step - 1e-9); i * step <= high * (1 + 1e-12); i++) found.push(i * step);
    return found;
  };
  const decades = (low, high, most) => {
    for (const marks of [[1, 2, 3, 5, 7], [1, 2, 5], [1, 3], [1]]) {
      const found = [];
      for (let p = Math.floor(Math.log10(low)); p <= Math.ceil(Math.log10(high)); p++) {
        for (const m of marks) {
          const value = m * 10 ** p;
          if (value >= low * 0.9999 && value <= high * 1.0001) found.push(value);
        }
      }
      if (found.length <= most && found.length >= 2) return found;
      if (marks.length === 1 && found.length > most) {
        const every = Math.ceil(found.length / most);
        return found.filter((_, i) => i % every === 0);
      }
    }
    return steps(low, high, most);
  };
  const SHAPES = {
    circle: (r) => `M${-r} 0a${r} ${r} 0 1 0 ${2 * r} 0a${r} ${r} 0 1 0 ${-2 * r} 0Z`,
    square: (r) => `M${-r} ${-r}h${2 * r}v${2 * r}h${-2 * r}Z`,
    up: (r) => `M0 ${-1.2 * r}L${1.15 * r} ${0.9 * r}H${-1.15 * r}Z`,
    down: (r) => `M0 ${1.2 * r}L${1.15 * r} ${-0.9 * r}H${-1.15 * r}Z`,
    diamond: (r) => `M0 ${-1.35 * r}L${1.35 * r} 0L0 ${1.35 * r}L${-1.35 * r} 0Z`,
    plus: (r) => { const t = 0.45 * r, o = 1.25 * r; return `M${-t} ${-o}h${2 * t}v${o - t}h${o - t}v${2 * t}h${t - o}v${o - t}h${-2 * t}v${t - o}h${t - o}v${-2 * t}h${o - t}Z`; },
    cross: (r) => `M${-r} ${-r}L0 ${-0.4 * r}L${r} ${-r}L${0.4 * r} 0L${r} ${r}L0 ${0.4 * r}L${-r} ${r}L${-0.4 * r} 0Z`,
    star: (r) => { let path = ""; for (let i = 0; i < 10; i++) { const d = i % 2 ? 0.75 * r : 1.8 * r, a = (i * Math.PI) / 5; path += `${i ? "L" : "M"}${(d * Math.sin(a)).toFixed(2)} ${(-d * Math.cos(a)).toFixed(2)}`; } return path + "Z"; },
  };

  class Chart {
    constructor(home, spec, number) {
      Object.assign(this, { spec, number, hidden: new Set(), view: null, at: null });
      this.box = html("div", { class: "live" }, home);
      const bar = html("div", { class: "bar" }, this.box);
      html("strong", {}, bar, spec.title);
      const tools = html("span", { class: "tools", role: "group", "aria-label": `Zoom: ${spec.title}` }, bar);
      const button = (words, label, act) => {
        html("button", { type: "button", "aria-label": label, title: label }, tools, words).addEventListener("click", act);
      };
      button("+", "Zoom in", () => this.zoom(0.6));
      button("−", "Zoom out", () => this.zoom(1 / 0.6));
      button("Reset", "Show everything again", () => this.reset());
      this.svg = make("svg", {
        tabindex: 0, role: "application", "aria-roledescription": "interactive chart",
        "aria-label": `${spec.title}. Left and right go from mark to mark, up and down from series to series, plus and minus zoom, 0 shows everything.`,
      }, this.box);
      this.tip = html("div", { class: "tip", "aria-hidden": "true", hidden: "" }, this.box);
      this.readout = html("output", { class: "readout", "aria-live": "polite" }, this.box);
      this.legend = html("div", { class: "legend", role: "group", "aria-label": "Series: press to hide or show" }, this.box);
      this.listen();
      this.width = 0;
      new ResizeObserver(() => {
        const width = Math.round(this.svg.clientWidth);
        if (width && width !== this.width) { this.width = width; this.draw(); }
      }).observe(this.svg);
    }

    get layers() {
      const view = (this.spec.views[chosen.convention] || {})[chosen.law] || [];
      return [...view, ...this.spec.layers].filter((layer) => !layer.only || layer.only === chosen.convention);
    }

    // Every mark that can be read: in data coordinates, with its words.
    marks() {
      const found = [];
      for (const layer of this.layers) {
        if (this.hidden.has(layer.legend || layer.name)) continue;
        if (layer.kind === "runs") layer.runs.forEach((row, i) => {
          const x = valueOf(row, layer.x), y = valueOf(row, layer.y);
          if (x !== null && y !== null) found.push({ x, y, layer, i, row });
        });
        else layer.x.forEach((x, i) => { if (layer.y[i] !== null) found.push({ x, y: layer.y[i], layer, i }); });
      }
      return found;
    }

    words(mark) {
      if (mark.row !== undefined) return describe(mark.row);
      const { x, y } = this.spec, layer = mark.layer;
      const lines = [[x.short || "x", WORDS[x.words](mark.x)]];
      if (!layer.range_only) lines.push([y.short || (y.words === "loss" ? "loss" : "y"), WORDS[y.words](mark.y)]);
      if (layer.low) lines.push(["interval", `${WORDS[y.words](layer.low[mark.i])} to ${WORDS[y.words](layer.high[mark.i])}`]);
      for (const [name, values] of Object.entries(layer.notes || {})) lines.push([name, values[mark.i]]);
      return { title: layer.titles ? layer.titles[mark.i] : layer.name, lines };
    }

    scale(axis) { return axis.log ? Math.log10 : (value) => value; }

    whole() {
      const { x, y, strip, headroom, zero, floor } = this.spec, marks = this.marks();
      const range = (axis, values) => {
        const scaled = values.filter((v) => v !== null).map(this.scale(axis));
        let low = Math.min(...scaled), high = Math.max(...scaled);
        const pad = 0.04 * (high - low) || 0.05;
        return [low - pad, high + pad];
      };
      const ys = marks.map((m) => m.y).filter((v) => !headroom || v <= headroom);
      for (const { layer, i } of marks) if (layer.low && !y.log) ys.push(layer.low[i], layer.high[i]);
      if (strip) ys.push(strip.low, strip.high);
      if (zero) ys.push(0);
      if (floor !== undefined) {
        // a published law far above all else would press the runs into the bottom
        const own = marks.filter((m) => !m.layer.dashed).flatMap((m) => [m.y, m.layer.high ? m.layer.high[m.i] : m.y]);
        return [...range(x, marks.map((m) => m.x)), floor, 1.06 * Math.max(...own, floor + 0.1)];
      }
      let xs = marks.map((m) => m.x);
      if (headroom) xs = xs.filter((v) => v >= Math.max(...xs) / 100);
      return [...range(x, xs.length ? xs : [1, 10]), ...range(y, ys.length ? ys : [1, 10])];
    }

    draw() {
      const { spec, svg } = this, width = this.width || 480;
      const height = Math.round(Math.min(420, Math.max(280, 0.62 * width)));
      const left = spec.y.words === "percent" ? 70 : 58, right = 10, top = 8, bottom = 42;
      this.area = { left, top, width: width - left - right, height: height - top - bottom };
      svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
      svg.setAttribute("height", height);
      svg.replaceChildren();
      const [x0, x1, y0, y1] = this.view || this.whole();
      this.domain = [x0, x1, y0, y1];
      const fx = this.scale(spec.x), fy = this.scale(spec.y), area = this.area;
      this.px = (value) => left + ((fx(value) - x0) / (x1 - x0)) * area.width;
      this.py = (value) => top + area.height - ((fy(value) - y0) / (y1 - y0)) * area.height;
      this.axes(height);
      const clip = make("clipPath", { id: `clip-${this.number}` }, svg);
      make("rect", { x: left, y: top, width: area.width, height: area.height }, clip);
      const plot = make("g", { "clip-path": `url(#clip-${this.number})` }, svg);
      if (spec.strip) {
        const high = this.py(spec.strip.high);
        make("rect", { class: "strip", x: left, y: high, width: area.width, height: this.py(spec.strip.low) - high }, plot);
      }
      if (spec.zero) make("line", { class: "axis", x1: left, x2: left + area.width, y1: this.py(0), y2: this.py(0) }, plot);
      for (const layer of this.layers) if (!this.hidden.has(layer.legend || layer.name)) this.paint(layer, plot);
      this.frame = make("rect", { class: "frame", visibility: "hidden" }, svg);
      this.ring = make("circle", { class: "ring", r: 8, visibility: "hidden" }, svg);
      if (this.at) this.show(this.at, false);
      this.entries();
    }

    axes(height) {
      const { spec, svg, area } = this, [x0, x1, y0, y1] = this.domain;
      const back = (axis, value) => (axis.log ? 10 ** value : value);
      const ticks = (axis, low, high, most) =>
        axis.log && ((axis.words !== "loss" && axis.words !== "ratio") || high - low > 1.5)
          ? decades(back(axis, low), back(axis, high), most)
          : steps(back(axis, low), back(axis, high), most);
      const grid = make("g", { class: "grid", "aria-hidden": "true" }, svg);
      for (const value of ticks(spec.x, x0, x1, Math.max(3, Math.floor(area.width / 72)))) {
        const at = this.px(value);
        make("line", { x1: at, x2: at, y1: area.top, y2: area.top + area.height }, grid);
        make("text", { x: at, y: area.top + area.height + 16, "text-anchor": "middle" }, grid, TICKS[spec.x.words](value));
      }
      for (const value of ticks(spec.y, y0, y1, 8)) {
        const at = this.py(value);
        make("line", { x1: area.left, x2: area.left + area.width, y1: at, y2: at }, grid);
        make("text", { x: area.left - 6, y: at + 4, "text-anchor": "end" }, grid, TICKS[spec.y.words](value));
      }
      const named = (axis) => (axis.labels || {})[chosen.convention] || axis.label;
      make("text", { class: "label", x: area.left + area.width / 2, y: height - 6, "text-anchor": "middle" }, grid, named(spec.x));
      const middle = area.top + area.height / 2;
      make("text", { class: "label", x: 13, y: middle, transform: `rotate(-90 13 ${middle})`, "text-anchor": "middle" }, grid, named(spec.y));
    }

    paint(layer, plot) {
      if (layer.kind === "line") {
        const at = (x, y) => `${this.px(x).toFixed(1)} ${this.py(y).toFixed(1)}`;
        const rows = layer.x.map((_, i) => i).filter((i) => layer.y[i] !== null);
        const path = (ends) => rows.map((i) => at(layer.x[i], ends[i]));
        if (layer.low) {
          const around = [...path(layer.low), ...path(layer.high).reverse()];
          make("path", { d: `M${around.join("L")}Z`, fill: layer.colour, opacity: 0.16 }, plot);
        }
        if (!layer.range_only) make("path", {
          d: `M${path(layer.y).join("L")}`, fill: "none", stroke: layer.colour,
          "stroke-width": layer.faint ? 0.9 : 1.6, opacity: layer.faint ? 0.5 : 1,
          "stroke-dasharray": layer.dashed ? "6 4" : null,
        }, plot);
        return;
      }
      const draw = (x, y, i) => {
        if (x === null || y === null) return;
        const colour = layer.colours ? layer.colours[i] : layer.colour;
        const noise = layer.y === "loss" ? data.seed_noise_log : null;
        const ends = layer.low ? [layer.low[i], layer.high[i]] : noise ? [y * (1 - noise), y * (1 + noise)] : null;
        if (ends) {
          const at = this.px(x).toFixed(1);
          make("path", { d: `M${at} ${this.py(ends[0]).toFixed(1)}V${this.py(ends[1]).toFixed(1)}`, stroke: colour, "stroke-width": 1.4 }, plot);
        }
        make("path", {
          d: SHAPES[layer.marker || "circle"](4.2), transform: `translate(${this.px(x).toFixed(1)} ${this.py(y).toFixed(1)})`,
          fill: layer.hollow ? "var(--paper)" : colour, stroke: layer.hollow ? colour : "var(--paper)", "stroke-width": layer.hollow ? 1.5 : 0.7,
        }, plot);
      };
      if (layer.kind === "runs") layer.runs.forEach((row, i) => draw(valueOf(row, layer.x), valueOf(row, layer.y), i));
      else layer.x.forEach((x, i) => draw(x, layer.y[i], i));
    }

    entries() {
      const groups = new Map();
      for (const layer of this.layers) {
        const name = layer.legend || layer.name, held = groups.get(name) || {};
        const colour = held.colour || (layer.colours ? "var(--ink)" : layer.colour);
        groups.set(name, { colour, marker: layer.marker || held.marker, line: layer.kind === "line" || held.line, dashed: layer.dashed || held.dashed, band: layer.range_only });
      }
      const had = document.activeElement, focused = this.legend.contains(had) ? had.dataset.name : null;
      this.legend.replaceChildren();
      if ([...groups.keys()].some(counts)) html("span", { class: "entry" }, this.legend, `size and its ${data.conventions[chosen.convention]} parameters`);
      for (const [name, look] of groups) {
        const button = html("button", { type: "button", "aria-pressed": String(!this.hidden.has(name)), "data-name": name }, this.legend);
        const icon = make("svg", { viewBox: "0 0 26 12", width: 26, height: 12, "aria-hidden": "true" }, button);
        if (look.line) make("path", { d: "M1 6H25", stroke: look.colour, "stroke-width": look.band ? 9 : 2, "stroke-opacity": look.band ? 0.3 : null, "stroke-dasharray": look.dashed ? "6 4" : null }, icon);
        if (look.marker) make("path", { d: SHAPES[look.marker](4), transform: "translate(13 6)", fill: look.colour }, icon);
        html("span", {}, button, counts(name) ? `${name}: ${count(counts(name))}` : name);
        button.addEventListener("click", () => {
          if (!this.hidden.delete(name)) this.hidden.add(name);
          this.leave();
          this.draw();
        });
        if (name === focused) button.focus();
      }
      if (this.spec.strip) {
        const entry = html("span", { class: "entry" }, this.legend);
        const icon = make("svg", { viewBox: "0 0 26 12", width: 26, height: 12, "aria-hidden": "true" }, entry);
        make("rect", { class: "strip", x: 1, y: 1, width: 24, height: 10 }, icon);
        html("span", {}, entry, this.spec.strip.name);
      }
    }

    // ---- reading
    nearest(x, y) {
      let best = null, least = Infinity;
      for (const mark of this.marks()) {
        const dx = this.px(mark.x) - x, dy = this.py(mark.y) - y;
        // a run beats a curve's point that is a little nearer
        const far = Math.hypot(dx, dy) + (mark.layer.kind === "line" ? 9 : 0);
        if (far < least) [best, least] = [mark, far];
      }
      return least <= NEAR ? best : null;
    }

    show(mark, aloud = true) {
      this.at = mark;
      const x = this.px(mark.x), y = this.py(mark.y), { title, lines } = this.words(mark);
      for (const [name, value] of [["cx", x], ["cy", y], ["visibility", "visible"]]) this.ring.setAttribute(name, value);
      this.tip.replaceChildren();
      html("strong", {}, this.tip, title);
      for (const [name, value] of lines) {
        const line = html("div", {}, this.tip);
        html("span", {}, line, name);
        html("b", {}, line, value);
      }
      const room = this.svg.clientWidth;
      this.tip.hidden = room < BOX; // it would cover what it names: the line below says it
      const wide = this.tip.offsetWidth;
      const beside = x + 14 + wide <= room ? x + 14 : Math.max(0, x - 14 - wide);
      this.tip.style.left = `${Math.min(beside, Math.max(0, room - wide))}px`;
      this.tip.style.top = `${this.top() + Math.max(0, y - this.tip.offsetHeight - 10)}px`;
      if (aloud) this.readout.textContent = `${title}: ${lines.map((line) => line.join(" ")).join(", ")}`;
    }

    // An svg element has no offsetTop.
    top() { return this.svg.getBoundingClientRect().top - this.box.getBoundingClientRect().top; }

    leave() {
      this.at = null;
      this.tip.hidden = true;
      if (this.ring) this.ring.setAttribute("visibility", "hidden");
    }

    step(along, across) {
      const marks = this.marks();
      if (!marks.length) return;
      const layers = [...new Set(marks.map((m) => m.layer))];
      const preferred = layers.find((l) => l.kind !== "line") || layers[0];
      const here = this.at ? layers.indexOf(this.at.layer) : -1;
      const layer = here < 0 ? preferred : layers[(here + across + layers.length) % layers.length];
      const row = marks.filter((m) => m.layer === layer).sort((a, b) => a.x - b.x || a.i - b.i);
      let place = 0;
      if (this.at && layer === this.at.layer) {
        place = row.findIndex((m) => m.i === this.at.i) + along;
      } else if (this.at) {
        const gaps = row.map((m) => Math.abs(this.px(m.x) - this.px(this.at.x)));
        place = gaps.indexOf(Math.min(...gaps));
      }
      this.show(row[(place + row.length) % row.length]);
    }

    // ---- zooming
    zoom(factor) {
      const [x0, x1, y0, y1] = this.domain;
      let [cx, cy] = [(x0 + x1) / 2, (y0 + y1) / 2];
      if (this.at && factor < 1) [cx, cy] = [this.scale(this.spec.x)(this.at.x), this.scale(this.spec.y)(this.at.y)];
      const dx = (factor * (x1 - x0)) / 2, dy = (factor * (y1 - y0)) / 2;
      this.look([cx - dx, cx + dx, cy - dy, cy + dy]);
    }

    look(view) {
      const all = this.whole();
      const wider = view[1] - view[0] >= all[1] - all[0] && view[3] - view[2] >= all[3] - all[2];
      this.view = wider ? null : view;
      this.draw();
    }

    reset() { this.view = null; this.leave(); this.readout.textContent = ""; this.draw(); }

    listen() {
      const { svg } = this;
      let from = null;
      const place = (event) => {
        const box = svg.getBoundingClientRect();
        return [event.clientX - box.left, event.clientY - box.top];
      };
      svg.addEventListener("pointerdown", (event) => {
        if (event.pointerType !== "mouse") { const mark = this.nearest(...place(event)); if (mark) this.show(mark); return; }
        if (event.button === 0) { from = place(event); svg.setPointerCapture(event.pointerId); }
      });
      svg.addEventListener("pointermove", (event) => {
        if (event.pointerType !== "mouse") return;
        const [x, y] = place(event);
        if (from) return this.stretch(from, [x, y]);
        const mark = this.nearest(x, y);
        if (!mark) this.leave();
        else if (!this.at || mark.layer !== this.at.layer || mark.i !== this.at.i) this.show(mark);
      });
      svg.addEventListener("pointerup", (event) => {
        if (!from) return;
        const to = place(event), start = from;
        from = null;
        this.frame.setAttribute("visibility", "hidden");
        if (Math.abs(to[0] - start[0]) >= DRAG && Math.abs(to[1] - start[1]) >= DRAG) this.enclose(start, to);
      });
      svg.addEventListener("pointercancel", () => { from = null; this.frame.setAttribute("visibility", "hidden"); });
      svg.addEventListener("pointerleave", (event) => { if (event.pointerType === "mouse" && !from && document.activeElement !== svg) this.leave(); });
      svg.addEventListener("dblclick", () => this.reset());
      svg.addEventListener("keydown", (event) => this.press(event));
    }

    press(event) {
      if (event.ctrlKey || event.metaKey || event.altKey) return;
      const acts = {
        ArrowRight: () => this.step(1, 0), ArrowLeft: () => this.step(-1, 0),
        ArrowUp: () => this.step(0, -1), ArrowDown: () => this.step(0, 1),
        "+": () => this.zoom(0.6), "=": () => this.zoom(0.6), "-": () => this.zoom(1 / 0.6),
        0: () => this.reset(), Escape: () => this.leave(),
      };
      const act = acts[event.key];
      if (act) { event.preventDefault(); act(); }
    }

    stretch(a, b) {
      this.tip.hidden = true;
      const [x, y] = [Math.min(a[0], b[0]), Math.min(a[1], b[1])];
      const sizes = { x, y, width: Math.abs(a[0] - b[0]), height: Math.abs(a[1] - b[1]), visibility: "visible" };
      for (const [name, value] of Object.entries(sizes)) this.frame.setAttribute(name, value);
    }

    enclose(a, b) {
      const [x0, x1, y0, y1] = this.domain, { left, top, width, height } = this.area;
      const share = (value, start, size) => Math.min(1, Math.max(0, (value - start) / size));
      const xs = [a[0], b[0]].map((v) => x0 + share(v, left, width) * (x1 - x0)).sort((p, q) => p - q);
      const ys = [a[1], b[1]].map((v) => y1 - share(v, top, height) * (y1 - y0)).sort((p, q) => p - q);
      this.look([xs[0], xs[1], ys[0], ys[1]]);
    }
  }

  // ---- the choice of convention and law
  const figure = (value) => {
    const size = Math.abs(value);
    return size && (size < 1e-3 || size >= 1e5) ? value.toExponential(3).replace("e+", "e") : trimmed(value, 4);
  };
  const tell = () => {
    const law = fit(), output = document.getElementById("chosen");
    const params = Object.entries(law.params).map(([name, value]) => {
      const ends = law.intervals[name];
      return `${name} = ${figure(value)}` + (ends ? ` [${ends.map((end) => (end === null ? "no bound" : figure(end))).join(", ")}]` : "");
    });
    let words = `${chosen.law}, parameters: ${data.conventions[chosen.convention]}. ${law.status}`;
    if (params.length) words += `: ${params.join("; ")}`;
    if (law.rms_log_residual !== null) words += `. Rms residual ${(100 * law.rms_log_residual).toFixed(2)}% of loss`;
    if (law.exponent !== null) words += `. Best size grows as compute to the ${law.exponent.toFixed(3)}`;
    if (chosen.convention !== data.convention) words += ". Intervals and bands only as fitted, with " + data.conventions[data.convention];
    output.textContent = `${words}.`;
  };

  for (const home of document.querySelectorAll("figure[data-chart]")) {
    const specs = data.charts[home.dataset.chart] || [];
    const drawn = specs.filter((spec) => spec.layers.length || Object.keys(spec.views).length);
    if (!drawn.length) continue;
    const place = html("div", { class: "charts" });
    home.prepend(place);
    for (const spec of drawn) charts.push(new Chart(place, spec, charts.length));
    home.classList.add("on");
    if (drawn.length > 1 || drawn[0].wide) home.classList.add("wide");
  }
  const form = document.getElementById("choose");
  if (form && fit()) {
    form.hidden = false;
    form.addEventListener("change", (event) => {
      chosen[event.target.name] = event.target.value;
      for (const chart of charts) { chart.view = null; chart.leave(); chart.draw(); }
      tell();
    });
    form.addEventListener("submit", (event) => event.preventDefault());
    tell();
  }
})();
