/* The plots of report.html. Reads the JSON in #run-data; everything else on the page works without this file. */
(function () {
  "use strict";
  document.documentElement.classList.add("js");
  const source = document.getElementById("run-data");
  if (!source) return;
  const run = JSON.parse(source.textContent);
  const TYPES = { f8: Float64Array, f4: Float32Array, u4: Uint32Array, u2: Uint16Array, u1: Uint8Array };
  const charts = [], timeCharts = [], hidden = new Set();
  const rarestLast = run.classes.map((_, i) => i).sort((a, b) => run.classes[b].count - run.classes[a].count);
  const shapes = Array.from(document.querySelectorAll("[data-shape]"), (path) => new Path2D(path.getAttribute("d")));
  let theme = {};

  function unpack(packed) {
    const raw = atob(packed.base64), bytes = new Uint8Array(raw.length);
    for (let i = 0; i < raw.length; i++) bytes[i] = raw.charCodeAt(i);
    return new TYPES[packed.type](bytes.buffer);
  }
  function readTheme() {
    const style = getComputedStyle(document.documentElement), css = (name) => style.getPropertyValue(name).trim();
    theme = {
      ink: css("--ink"), soft: css("--soft"), grid: css("--grid"), fault: css("--fault"), outage: css("--outage"),
      undo: css("--undo"), failed: css("--failed"), bad: css("--bad"), passed: css("--passed"), link: css("--link"),
      left: parseFloat(css("--gutter-left")), right: parseFloat(css("--gutter-right")),
      classes: run.classes.map((c) => css("--class-" + c.slot)),
    };
  }
  function ms(value) {
    if (!(value > 0)) return "0 ms";
    const text = (v) => String(+v.toPrecision(3));
    return value >= 1000 ? text(value / 1000) + " s" : value >= 1 ? text(value) + " ms" : text(value * 1000) + " µs";
  }
  const seconds = (value) => +value.toFixed(3) + " s";
  const count = (value) => Math.round(value).toLocaleString("en");
  const font = () => 12 * devicePixelRatio + "px system-ui, sans-serif";

  /* First index in sorted `list` that is not below `value`. */
  function lowerBound(list, value) {
    let low = 0, high = list.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (list[middle] < value) low = middle + 1; else high = middle;
    }
    return low;
  }

  /* uPlot keeps axes, zoom and cursor; `draw` paints inside them. */
  function chart(id, options) {
    const box = document.getElementById(id);
    if (!box) return null;
    const tip = document.createElement("div");
    tip.className = "tip";
    const axis = (extra) => Object.assign({
      stroke: () => theme.soft, grid: { stroke: () => theme.grid, width: 1 }, ticks: { show: false }, font: "12px system-ui, sans-serif",
    }, extra);
    const time = options.x === undefined;
    const x = options.x || { range: [run.from, run.to], values: (u, splits) => splits.map((s) => +s.toFixed(6) + " s") };
    const plot = new uPlot({
      width: box.clientWidth, height: options.height, padding: [10, theme.right, 0, 0], legend: { show: false },
      cursor: { points: { show: false }, drag: { x: true, y: false, dist: 4 }, sync: time ? { key: "run" } : undefined },
      scales: {
        x: { time: false, distr: x.log ? 3 : 1, auto: false, min: x.range[0], max: x.range[1] },
        y: { distr: options.y.log ? 3 : 1, range: options.y.range },
      },
      axes: [
        axis({ size: 30, gap: 4, values: x.values, space: 60, splits: x.splits, filter: x.filter }),
        axis({ size: theme.left, gap: 6, values: options.y.values, splits: options.y.splits, filter: options.y.filter, space: 30 }),
      ],
      series: [{}, { paths: () => null, points: { show: false } }],
      hooks: {
        drawClear: time ? [shade] : [],
        draw: [(u) => {
          const context = u.ctx;
          context.save();
          context.beginPath();
          context.rect(u.bbox.left, u.bbox.top, u.bbox.width, u.bbox.height);
          context.clip();
          options.draw(u, context);
          context.restore();
        }],
        setScale: [(u, key) => { if (time && key === "x") follow(u.scales.x.min, u.scales.x.max); }],
        setCursor: [(u) => hover(u, tip, options.hover)],
      },
    }, [x.range, [1, 1]], box);
    if (time) plot.over.addEventListener("dblclick", () => show(run.from, run.to));
    else plot.over.addEventListener("dblclick", () => plot.setScale("x", { min: x.range[0], max: x.range[1] }));
    plot.over.addEventListener("mouseleave", () => { tip.style.display = "none"; });
    box.appendChild(tip);
    charts.push({ plot, box, height: options.height });
    if (time) timeCharts.push(plot);
    return plot;
  }

  function shade(u) {
    const { ctx } = u, { left, top, width, height } = u.bbox;
    ctx.save();
    ctx.beginPath();
    ctx.rect(left, top, width, height);
    ctx.clip();
    for (const band of run.bands) {
      const a = u.valToPos(band.from, "x", true), b = u.valToPos(band.to, "x", true);
      if (band.kind === "fault" || band.kind === "outage") {
        ctx.fillStyle = theme[band.kind];
        ctx.fillRect(a, top, Math.max(b - a, devicePixelRatio), height);
      } else {
        ctx.strokeStyle = band.kind === "undo" ? theme.undo : theme.grid;
        ctx.lineWidth = (band.kind === "undo" ? 2 : 1) * devicePixelRatio;
        ctx.setLineDash(band.kind === "undo" ? [] : [3 * devicePixelRatio, 3 * devicePixelRatio]);
        ctx.beginPath();
        ctx.moveTo(a, top);
        ctx.lineTo(a, top + height);
        ctx.stroke();
      }
    }
    ctx.restore();
  }

  function hover(u, tip, describe) {
    const { left, top } = u.cursor;
    if (left < 0 || !u.over.matches(":hover")) { tip.style.display = "none"; return; }
    const text = describe(u, left, top);
    if (!text) { tip.style.display = "none"; return; }
    tip.textContent = text;
    tip.style.display = "block";
    const x = left + u.over.offsetLeft, room = u.root.clientWidth;
    tip.style.left = Math.max(4, x + 14 + tip.offsetWidth > room ? x - tip.offsetWidth - 14 : x + 14) + "px";
    tip.style.top = Math.max(0, Math.min(top + u.over.offsetTop + 12, u.root.clientHeight - tip.offsetHeight)) + "px";
  }

  /* One time axis: what one plot shows, all plots and tracks show. */
  let following = false;
  function follow(min, max) {
    if (following || min == null || max == null) return;
    following = true;
    for (const plot of timeCharts) if (plot.scales.x.min !== min || plot.scales.x.max !== max) plot.setScale("x", { min, max });
    for (const svg of document.querySelectorAll("svg[data-time]")) {
      svg.setAttribute("viewBox", min + " 0 " + (max - min) + " " + svg.dataset.time);
    }
    for (const axis of document.querySelectorAll(".axis[data-follow]")) ticks(axis, min, max);
    following = false;
  }
  function ticks(axis, min, max) {
    const about = Math.max(2, Math.min(8, Math.floor(axis.clientWidth / 70))), rough = (max - min) / about;
    const power = Math.pow(10, Math.floor(Math.log10(rough)));
    const step = [1, 2, 5, 10].find((f) => f * power >= rough) * power;
    axis.replaceChildren();
    for (let i = Math.ceil(min / step - 1e-9); i * step <= max + step * 1e-6; i++) {
      const label = document.createElement("span");
      label.textContent = +(i * step).toFixed(6) + " s";
      label.style.left = ((i * step - min) / (max - min)) * 100 + "%";
      axis.appendChild(label);
    }
  }
  function show(min, max) {
    const a = Math.max(run.from, min), b = Math.min(run.to, max);
    if (b > a && timeCharts.length) timeCharts[0].setScale("x", { min: a, max: b });
  }

  /* 1: latency by scheduled time */
  const L = run.latency, t = unpack(L.t), y = unpack(L.ms), cls = unpack(L.class), arrival = unpack(L.arrival);
  const name = (column) => ({ names: column.names, code: unpack(column.code) });
  const pod = name(L.pod), error = name(L.error), connection = name(L.connection);
  const lineT = unpack(L.quantile_t), p50 = unpack(L.p50), p99 = unpack(L.p99);
  const C = L.cells && { time: unpack(L.cells.time), latency: unpack(L.cells.latency), class: unpack(L.cells.class), count: unpack(L.cells.count) };
  const neverSent = y.some(Number.isNaN) || (C && C.latency.includes(120));
  const top = L.high * (neverSent ? 1.9 : 1), unsent = L.high * 1.35;
  const rowsOf = run.classes.map(() => []);
  cls.forEach((c, i) => rowsOf[c].push(i));

  function cellBox(i) {
    const g = L.cells, row = C.latency[i], step = Math.log(g.high / g.low) / 120, never = row === 120;
    return {
      from: g.from + ((g.to - g.from) * C.time[i]) / 600, to: g.from + ((g.to - g.from) * (C.time[i] + 1)) / 600,
      low: never ? L.high * 1.1 : g.low * Math.exp(step * row), high: never ? top : g.low * Math.exp(step * (row + 1)),
    };
  }
  function drawLatency(u, ctx) {
    const dpr = devicePixelRatio, X = (v) => u.valToPos(v, "x", true), Y = (v) => u.valToPos(v, "y", true);
    const { min, max } = u.scales.x;
    ctx.font = font();
    ctx.textAlign = "right";
    ctx.textBaseline = "bottom";
    for (const limit of L.limits) {
      if (limit.ms > top) continue;
      ctx.strokeStyle = theme.soft;
      ctx.setLineDash([6 * dpr, 4 * dpr]);
      ctx.lineWidth = dpr;
      ctx.beginPath();
      ctx.moveTo(u.bbox.left, Y(limit.ms));
      ctx.lineTo(u.bbox.left + u.bbox.width, Y(limit.ms));
      ctx.stroke();
    }
    ctx.setLineDash([]);
    if (C) {
      const most = Math.log1p(C.count.reduce((a, b) => Math.max(a, b), 1));
      for (const c of rarestLast) {
        if (hidden.has(c)) continue;
        ctx.fillStyle = theme.classes[c];
        for (let i = 0; i < C.count.length; i++) {
          if (C.class[i] !== c) continue;
          const box = cellBox(i);
          if (box.to < min || box.from > max) continue;
          ctx.globalAlpha = (c === 0 ? 0.12 : 0.45) + (c === 0 ? 0.6 : 0.55) * (Math.log1p(C.count[i]) / most);
          const a = X(box.from), b = Y(box.high);
          ctx.fillRect(a, b, Math.max(X(box.to) - a, (c ? 2 : 1) * dpr), Math.max(Y(box.low) - b, (c ? 2 : 1) * dpr));
        }
      }
      ctx.globalAlpha = 1;
    }
    const crowd = lowerBound(t, max) - lowerBound(t, min), size = (crowd > 4000 ? 1.7 : crowd > 1500 ? 2.4 : 3.4) * dpr;
    const scale = dpr * (u.bbox.width / dpr < 500 ? 0.62 : 0.78);
    for (const c of rarestLast) {
      if (hidden.has(c)) continue;
      ctx.fillStyle = theme.classes[c];
      const rows = rowsOf[c], shape = shapes[run.classes[c].slot];
      if (c === 0) ctx.globalAlpha = rows.length > 4000 ? 0.55 : 0.75;
      for (const i of rows) {
        if (t[i] < min || t[i] > max) continue;
        const a = X(t[i]), b = Y(Number.isNaN(y[i]) ? unsent : Math.max(y[i], L.low));
        if (c === 0) {
          ctx.fillRect(a - size / 2, b - size / 2, size, size);
        } else {
          ctx.setTransform(scale, 0, 0, scale, a, b);
          ctx.fill(shape);
        }
      }
      ctx.setTransform(1, 0, 0, 1, 0, 0);
      ctx.globalAlpha = 1;
    }
    for (const [values, dash] of [[p50, []], [p99, [4, 3]]]) {
      ctx.strokeStyle = theme.ink;
      ctx.globalAlpha = 0.75;
      ctx.lineWidth = 1.3 * dpr;
      ctx.setLineDash(dash.map((d) => d * dpr));
      ctx.beginPath();
      let pen = false;
      values.forEach((v, i) => {
        if (Number.isNaN(v)) { pen = false; return; }
        ctx[pen ? "lineTo" : "moveTo"](X(lineT[i]), Y(Math.max(v, L.low)));
        pen = true;
      });
      ctx.stroke();
    }
    ctx.setLineDash([]);
    ctx.globalAlpha = 1;
    ctx.fillStyle = theme.soft;
    for (const limit of L.limits) {
      if (limit.ms > top) continue;
      const above = Y(limit.ms) - u.bbox.top > 16 * dpr; // else there is no room over the line
      ctx.textBaseline = above ? "bottom" : "top";
      ctx.fillText(limit.label, u.bbox.left + u.bbox.width - 4 * dpr, Y(limit.ms) + (above ? -2 : 3) * dpr);
    }
    ctx.textBaseline = "bottom";
    if (neverSent) ctx.fillText("never sent", u.bbox.left + u.bbox.width - 4 * dpr, Y(unsent) - 2 * dpr);
  }
  function nearest(u, left, cursorTop) {
    const reach = 26, a = lowerBound(t, u.posToVal(left - reach, "x")), b = lowerBound(t, u.posToVal(left + reach, "x"));
    let best = -1, least = reach * reach;
    for (let i = a; i < b; i++) {
      if (hidden.has(cls[i])) continue;
      const dx = u.valToPos(t[i], "x") - left, dy = u.valToPos(Number.isNaN(y[i]) ? unsent : Math.max(y[i], L.low), "y") - cursorTop;
      const distance = (dx * dx + dy * dy) * (cls[i] ? 0.4 : 1); // a bad one is what the reader is after
      if (distance < least) { least = distance; best = i; }
    }
    return best;
  }
  function describeLatency(u, left, cursorTop) {
    const i = nearest(u, left, cursorTop);
    if (i >= 0) {
      const lines = [run.classes[cls[i]].name + (Number.isNaN(y[i]) ? ", never sent" : " after " + ms(y[i])), "request " + arrival[i] + ", scheduled at " + seconds(t[i])];
      if (connection.code[i]) lines.push(connection.names[connection.code[i] - 1] + " connection");
      if (pod.code[i]) lines.push("answered by " + pod.names[pod.code[i] - 1]);
      if (error.code[i]) lines.push(error.names[error.code[i] - 1]);
      return lines.join("\n");
    }
    if (!C) return "";
    const at = u.posToVal(left, "x"), value = u.posToVal(cursorTop, "y"), lines = [];
    for (let k = 0; k < C.count.length; k++) {
      const box = cellBox(k);
      if (!hidden.has(C.class[k]) && at >= box.from && at < box.to && value >= box.low && value < box.high) {
        lines.push(count(C.count[k]) + " " + run.classes[C.class[k]].name + ", " + ms(box.low) + " to " + ms(box.high));
      }
    }
    return lines.join("\n");
  }

  /* 2: offered and answered per second */
  const R = run.rate, offered = unpack(R.offered), answered = R.by_class.map(unpack);
  function drawRate(u, ctx) {
    const dpr = devicePixelRatio, X = (v) => u.valToPos(v, "x", true), Y = (v) => u.valToPos(v, "y", true);
    for (let i = 0; i < offered.length; i++) {
      const a = X(R.from + i * R.width), b = X(R.from + (i + 1) * R.width), gap = b - a > 6 * dpr ? dpr : 0;
      let floor = 0;
      for (const c of rarestLast) {
        const value = hidden.has(c) ? 0 : answered[c][i];
        if (!value) continue;
        ctx.fillStyle = theme.classes[c];
        const upper = Y(floor + value), lower = Y(floor);
        ctx.fillRect(a, c ? Math.min(upper, lower - 2 * dpr) : upper, b - a - gap, Math.max(lower - upper, c ? 2 * dpr : 0));
        floor += value;
      }
    }
    ctx.strokeStyle = theme.ink;
    ctx.lineWidth = 1.5 * dpr;
    ctx.beginPath();
    offered.forEach((v, i) => {
      ctx[i ? "lineTo" : "moveTo"](X(R.from + i * R.width), Y(v));
      ctx.lineTo(X(R.from + (i + 1) * R.width), Y(v));
    });
    ctx.stroke();
  }
  function describeRate(u, left) {
    const i = Math.floor((u.posToVal(left, "x") - R.from) / R.width);
    if (i < 0 || i >= offered.length) return "";
    const lines = [seconds(R.from + i * R.width) + " to " + seconds(R.from + (i + 1) * R.width), "offered " + count(offered[i]) + "/s"];
    run.classes.forEach((c, k) => { if (answered[k][i]) lines.push(c.name + " " + +answered[k][i].toPrecision(3) + "/s"); });
    return lines.join("\n");
  }

  /* 3: what is left of what may be lost */
  function drawBudget(B, time, left) {
    return (u, ctx) => {
      const dpr = devicePixelRatio, X = (v) => u.valToPos(v, "x", true), Y = (v) => u.valToPos(v, "y", true), zero = Y(0);
      for (const sign of [1, -1]) {
        ctx.save();
        ctx.beginPath();
        if (sign > 0) ctx.rect(u.bbox.left, u.bbox.top, u.bbox.width, zero - u.bbox.top);
        else ctx.rect(u.bbox.left, zero, u.bbox.width, u.bbox.top + u.bbox.height - zero);
        ctx.clip();
        ctx.beginPath();
        ctx.moveTo(X(run.from), zero);
        ctx.lineTo(X(run.from), Y(B.limit));
        left.forEach((v, i) => {
          ctx.lineTo(X(i ? time[i - 1] : run.from), Y(v));
          ctx.lineTo(X(time[i]), Y(v));
        });
        ctx.lineTo(X(run.to), zero);
        ctx.fillStyle = sign > 0 ? theme.classes[0] : theme.bad;
        ctx.globalAlpha = sign > 0 ? 0.35 : 0.5;
        ctx.fill();
        ctx.globalAlpha = 1;
        ctx.strokeStyle = sign > 0 ? theme.link : theme.bad;
        ctx.lineWidth = 1.5 * dpr;
        ctx.stroke();
        ctx.restore();
      }
      ctx.strokeStyle = theme.ink;
      ctx.lineWidth = dpr;
      ctx.beginPath();
      ctx.moveTo(u.bbox.left, zero);
      ctx.lineTo(u.bbox.left + u.bbox.width, zero);
      ctx.stroke();
    };
  }

  /* 4: ECDF; the y axis is stretched towards 100 %, where the tail is */
  const stretch = (share, n) => -Math.log10(Math.max(1 - share, 0.5 / n));
  function drawEcdf(curves) {
    const dashes = [[], [], [2, 3]];
    return (u, ctx) => {
      const dpr = devicePixelRatio, X = (v) => u.valToPos(v, "x", true), Y = (v) => u.valToPos(v, "y", true);
      curves.forEach((curve, k) => {
        ctx.strokeStyle = ecdfColour(k, curves.length);
        ctx.lineWidth = (k === 1 ? 2.4 : 1.8) * dpr;
        ctx.setLineDash(dashes[k].map((d) => d * dpr));
        ctx.beginPath();
        let before = 0;
        curve.ms.forEach((v, i) => {
          const at = X(Math.max(v, 1e-3));
          if (i) ctx.lineTo(at, Y(before)); else ctx.moveTo(at, Y(0));
          before = stretch(curve.share[i], curve.n);
          ctx.lineTo(at, Y(before));
        });
        ctx.lineTo(u.bbox.left + u.bbox.width, Y(before));
        ctx.stroke();
      });
      ctx.setLineDash([]);
    };
  }
  const ecdfColour = (k, n) => (n > 1 && k === 1 ? theme.bad : k === 2 ? theme.ink : theme.link);

  function start() {
    readTheme();
    const decades = (low, high) => {
      const all = [], factors = high / low < 200 ? [1, 2, 5] : [1];
      for (let power = Math.floor(Math.log10(low)); power <= Math.ceil(Math.log10(high)); power++) {
        for (const factor of factors) {
          const v = factor * Math.pow(10, power);
          if (v >= low * 0.999 && v <= high * 1.001) all.push(v);
        }
      }
      return all;
    };
    const narrow = window.innerWidth < 760;
    chart("plot-latency", {
      height: narrow ? 300 : 380, draw: drawLatency, hover: describeLatency,
      y: { log: true, range: [L.low, top], splits: () => decades(L.low, L.high), filter: (u, splits) => splits, values: (u, splits) => splits.map(ms) },
    });
    chart("plot-rate", {
      height: 190, draw: drawRate, hover: describeRate,
      y: { range: [0, R.highest * 1.12 || 1], values: (u, splits) => splits.map((s) => +s.toPrecision(4)) },
    });
    if (run.budget) {
      const B = run.budget, time = unpack(B.t), left = unpack(B.left), least = Math.min(0, left.reduce((a, b) => Math.min(a, b), 0));
      const pad = (B.limit - least) * 0.08 || 1;
      chart("plot-budget", {
        height: 150, draw: drawBudget(B, time, left),
        y: { range: [least - (least < 0 || !B.limit ? pad : 0), B.limit + pad], values: (u, splits) => splits.map((s) => +s.toPrecision(4) + (B.unit === "s" ? " s" : "")) },
        hover: (u, x) => {
          const v = left[Math.min(lowerBound(time, u.posToVal(x, "x")), left.length - 1)];
          return +v.toPrecision(3) + " " + B.unit + " left of " + +B.limit.toPrecision(4) + " " + B.unit;
        },
      });
    }
    const curves = run.ecdf.map((c) => ({ name: c.name, n: c.n, ms: unpack(c.ms), share: unpack(c.share) }));
    if (curves.length) {
      const most = Math.max(...curves.map((c) => stretch(c.share[c.share.length - 1], c.n)), 1);
      const marks = [[0, "0 %"], [-Math.log10(0.5), "50 %"], [1, "90 %"], [2, "99 %"], [3, "99.9 %"], [4, "99.99 %"], [5, "99.999 %"], [6, "99.9999 %"]];
      chart("plot-ecdf", {
        height: 240, draw: drawEcdf(curves),
        x: { log: true, range: [L.low, L.high], splits: () => decades(L.low, L.high), filter: (u, splits) => splits, values: (u, splits) => splits.map(ms) },
        y: { range: [0, most * 1.05], splits: () => marks.map((m) => m[0]).filter((v) => v <= most * 1.05), values: (u, splits) => splits.map((s) => marks.find((m) => m[0] === s)[1]) },
        hover: (u, x) => {
          const at = u.posToVal(x, "x");
          return ["answered within " + ms(at)].concat(curves.map((c) => {
            const i = lowerBound(c.ms, at * 1.0000001);
            return c.name + " " + +((i ? c.share[i - 1] : 0) * 100).toFixed(3) + " %";
          })).join("\n");
        },
      });
      document.querySelectorAll("[data-ecdf]").forEach((swatch) => {
        const paint = () => { swatch.style.background = ecdfColour(+swatch.dataset.ecdf, curves.length); };
        paint();
        repaint.push(paint);
      });
    }
    follow(run.from, run.to);
    new ResizeObserver(resize).observe(document.querySelector("main"));
  }
  const repaint = [];
  function resize() {
    for (const c of charts) if (c.box.clientWidth && c.box.clientWidth !== c.plot.width) c.plot.setSize({ width: c.box.clientWidth, height: c.height });
    for (const axis of document.querySelectorAll(".axis[data-follow]")) if (timeCharts.length) ticks(axis, timeCharts[0].scales.x.min, timeCharts[0].scales.x.max);
  }
  function refresh() {
    readTheme();
    for (const paint of repaint) paint();
    for (const c of charts) c.plot.redraw(false, true);
  }
  for (const query of ["(prefers-color-scheme: dark)", "print"]) matchMedia(query).addEventListener("change", () => { resize(); refresh(); });
  addEventListener("beforeprint", () => {
    document.querySelectorAll("details").forEach((d) => { d.dataset.was = d.open ? "open" : ""; d.open = true; });
    for (const c of charts) c.plot.setSize({ width: 680, height: c.height });
    refresh();
  });
  addEventListener("afterprint", () => {
    document.querySelectorAll("details").forEach((d) => { d.open = d.dataset.was === "open"; });
    resize();
    refresh();
  });
  document.addEventListener("click", (event) => {
    const zoom = event.target.closest("[data-zoom]");
    if (zoom) {
      const [a, b] = zoom.dataset.zoom.split(",").map(Number);
      show(a, b);
    }
    const toggle = event.target.closest("[data-class]");
    if (toggle) {
      const c = +toggle.dataset.class, off = toggle.getAttribute("aria-pressed") === "true";
      toggle.setAttribute("aria-pressed", String(!off));
      if (off) hidden.add(c); else hidden.delete(c);
      for (const item of charts) item.plot.redraw(false);
    }
    const copy = event.target.closest("[data-copy]");
    if (copy && navigator.clipboard) {
      navigator.clipboard.writeText(document.getElementById(copy.dataset.copy).textContent).then(() => { copy.textContent = "Copied"; });
    }
  });
  start();
})();
