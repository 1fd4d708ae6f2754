"use strict";
// Draws the timeline of one run. All times are microseconds after its start. Nothing from the data becomes markup: text is
// put into text nodes, and classes are chosen from fixed names.
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const chart = document.getElementById("chart"), tip = document.getElementById("tip"), where = document.getElementById("where");
  const LEFT = 128, RIGHT = 14, AXIS = 34, MARKS = 4, SVG = "http://www.w3.org/2000/svg";
  const ENDINGS = ["done", "refused", "nobody knows"], ENDING_CLASS = ["ok", "fail", "info"];
  const word = (number) => (number === null || number === undefined ? "" : data.words[number]);
  const seconds = (us, digits = 3) => (us / 1e6).toFixed(digits) + " s";
  const termClass = (term) => (term ? "t" + (term % 8) : "nobody");
  const short = (id) => String(id).slice(0, 8);
  const nodeName = (node) => (node ? "node " + node : "");

  // Operations by number, and what is drawn of each.
  const operations = data.operations.map((row) => ({
    n: row[0], client: row[1], op: word(row[2]), from: row[3], until: row[4], ending: row[5], index: row[6], node: row[7],
    why: word(row[8]), lease: word(row[9]), asked: row[10], attempts: row[11],
  }));
  const byNumber = new Map(operations.map((one) => [one.n, one]));
  const clients = [...new Set(operations.map((one) => one.client))].sort((a, b) => a - b);

  const view = { from: 0, until: data.end };
  let finding = null;          // the finding that is shown
  let hits = [];               // what the pointer may be over: [x0, x1, y0, y1, () => text]
  let paths, labels, over;     // what is drawn: area paths by class, texts, and what lies above all

  // ---- the places of everything, from top to bottom; they do not depend on the view

  /** Puts spans into as few rows as can be, none over another. */
  function packed(spans, gap) {
    const ends = [];
    for (const span of [...spans].sort((a, b) => a.from - b.from)) {
      let row = ends.findIndex((end) => end + gap <= span.from);
      if (row < 0) row = ends.push(0) - 1;
      ends[row] = Math.max(span.until, span.from);
      span.row = row;
    }
    return Math.max(1, ends.length);
  }

  const lanes = [];
  let height = AXIS;
  function lane(title, size, draw, inset = 6) {
    lanes.push({ title, top: height + inset, size, draw });
    height += size + inset * 2;
  }
  const spanned = (faults) => faults.map((fault) => ({ ...fault, until: Math.max(fault.until, fault.from) }));
  const harm = spanned(data.faults.filter((fault) => !fault.cloud)), cloudy = spanned(data.faults.filter((fault) => fault.cloud));
  const gap = data.end / 400;
  const rows = data.reservations.map((one) => {
    const calls = one.calls.map((call) => call[0]), spans = one.open.flat();
    const first = Math.min(one.start, one.staging ? one.staging[0] : one.start, ...spans.slice(0, 1), ...calls.slice(0, 1));
    const last = Math.max(one.end ?? data.end, one.start, ...spans.slice(-1), ...calls.slice(-1));
    return { one, from: first, until: Math.min(last, data.end) };
  });
  if (data.findings.length) lane("finding", MARKS * 12, () => {}, 3);
  data.nodes.forEach((node) => lane("node " + node.id, 20, (top) => drawNode(node, top), 3));
  const harmRows = packed(harm, gap), cloudRows = packed(cloudy, gap), reservedRows = packed(rows, gap / 2);
  if (harm.length) lane("faults", harmRows * 14, (top) => harm.forEach((fault) => drawFault(fault, top, "fault")));
  if (cloudy.length) lane("cloud faults", cloudRows * 14, (top) => cloudy.forEach((fault) => drawFault(fault, top, "cloud")));
  lane("latency", 54, drawLatency);
  clients.forEach((client) => lane("client " + client, 12, (top) => drawClient(client, top), 2));
  if (data.calls.length) lane("other calls", 10, (top) => drawCalls(data.calls, top, 10));
  if (rows.length) lane("reservations", reservedRows * 15, (top) => rows.forEach((row) => drawReserved(row, top)));

  // ---- drawing

  let width = 1200;
  const x = (us) => LEFT + ((us - view.from) / (view.until - view.from)) * (width - LEFT - RIGHT);
  const time = (px) => view.from + ((px - LEFT) / (width - LEFT - RIGHT)) * (view.until - view.from);
  const visible = (from, until) => until >= view.from && from <= view.until;

  function element(name, attributes, text) {
    const made = document.createElementNS(SVG, name);
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    if (text !== undefined) made.textContent = text;
    return made;
  }
  /** A bar in a path with all others of its class; at least `least` wide. Gives its edges. */
  function bar(name, from, until, top, size, least = 1.5) {
    const x0 = Math.max(LEFT, x(from)), x1 = Math.min(width - RIGHT, Math.max(x(until), x(from) + least));
    if (x1 <= x0) return null;
    paths[name] = (paths[name] || "") + `M${x0.toFixed(1)} ${top}H${x1.toFixed(1)}v${size}H${x0.toFixed(1)}z`;
    return [x0, x1];
  }
  function text(name, px, py, value) {
    labels.push(element("text", { class: name, x: px.toFixed(1), y: py.toFixed(1) }, value));
  }
  /** A text on a bar, cut to what fits. */
  function fitted(name, edges, py, value, wide = 6.2) {
    const room = Math.floor((edges[1] - edges[0] - 8) / wide);
    if (room < 3) return;
    text(name, edges[0] + 4, py, value.length <= room ? value : value.slice(0, room - 1) + "…");
  }
  const hit = (edges, top, size, tell) => edges && hits.push([edges[0], edges[1], top, top + size, tell]);

  function drawNode(node, top) {
    for (const [from, until, state, term] of node.spans) {
      if (!visible(from, until)) continue;
      const leads = state === "leader";
      const edges = bar(leads ? termClass(term) : state, from, until, top + (leads ? 0 : 4), leads ? 20 : 12);
      if (!edges) continue;
      if (leads) fitted("onbar", edges, top + 14, "term " + term);
      else if (state === "down" || state === "paused") fitted("small onbar", edges, top + 13.5, state);
      hit(edges, top, 20, () => `node ${node.id}: ${state}, term ${term}\n${seconds(from)} to ${seconds(until)}`);
    }
    for (const [at, who, what, told] of data.incidents) {
      const sign = { start: "ok", ended: "bad", leads: "elected" }[what];
      if (who !== node.id || !visible(at, at) || !sign) continue;
      hit(bar(sign, at, at, top, 20, 2), top, 20, () => `node ${who} ${what}: ${told}\n${seconds(at)}`);
    }
  }
  function drawFault(fault, top, name) {
    if (!visible(fault.from, fault.until)) return;
    const y = top + fault.row * 14;
    const edges = bar(fault.name.startsWith("left out") ? "skipped" : name, fault.from, fault.until, y, 12, 3);
    if (!edges) return;
    fitted("small onbar", edges, y + 9.5, fault.name + (fault.node ? " " + fault.node : ""), 5.6);
    hit(edges, y, 12, () => [fault.name, nodeName(fault.node), fault.text, `${seconds(fault.from)} to ${seconds(fault.until)}`]
      .filter(Boolean).join("\n"));
  }
  /** How long answers took, on a logarithmic scale from 1 ms to 100 s; red ground where nobody was answered. */
  function drawLatency(top) {
    const y = (us) => top + 54 - (54 * Math.min(5, Math.max(0, Math.log10(Math.max(us, 1) / 1e3)))) / 5;
    for (const [label, us] of [["1 ms", 1e3], ["0.1 s", 1e5], ["10 s", 1e7]]) {
      labels.push(element("path", { class: "grid", d: `M${LEFT} ${y(us).toFixed(1)}H${width - RIGHT}` }));
      labels.push(element("text", { class: "soft small", x: LEFT - 6, y: (y(us) + 3).toFixed(1), "text-anchor": "end" }, label));
    }
    for (const [from, until] of data.unavailable) {
      if (!visible(from, until)) continue;
      hit(bar("un", from, until, top, 54), top, 54, () => `nobody was answered\n${seconds(from)} to ${seconds(until)}`);
    }
    for (const one of operations) {
      if (!visible(one.until, one.until)) continue;
      const at = y(one.until - one.from) - 1.5;
      hit(bar(ENDING_CLASS[one.ending], one.until, one.until, at, 3, 3), at - 1, 5, () => told(one));
    }
  }
  function told(one) {
    const lines = [`operation ${one.n}: ${one.op}${one.asked ? " " + one.asked : ""}`];
    lines.push(`client ${one.client}, answered by node ${one.node}: ${ENDINGS[one.ending]}${one.why ? " (" + one.why + ")" : ""}`);
    if (one.index !== null) lines.push("at index " + one.index);
    if (one.lease) lines.push("lease " + one.lease);
    lines.push(`${seconds(one.from)} to ${seconds(one.until)}, ${((one.until - one.from) / 1e3).toFixed(1)} ms`);
    for (const [node, from, until, why] of one.attempts) {
      lines.push(`  node ${node} ${seconds(from)} to ${seconds(until)}: ${why === null ? "done" : word(why)}`);
    }
    return lines.join("\n");
  }
  function drawClient(client, top) {
    let last = -1;
    for (const one of operations) {
      if (one.client !== client || !visible(one.from, one.until)) continue;
      const edges = bar(ENDING_CLASS[one.ending], one.from, one.until, top, 12, 2);
      if (!edges) continue;
      // What the finding names is labelled by it.
      const named = finding !== null && data.findings[finding].operations.includes(one.n);
      const label = named ? "" : one.op + (one.index === null ? "" : " @" + one.index);
      // The label stands beside a short bar where there is room for it.
      if (!label) last = Math.max(last, edges[1] + 90);
      else if (edges[1] - edges[0] > label.length * 6 + 8) fitted("small onbar", edges, top + 9.5, label, 5.6);
      else if (edges[0] > last && view.until - view.from < 45e6) {
        text("small", edges[1] + 2, top + 10, label);
        last = edges[1] + label.length * 5.6 + 6;
      }
      hit([edges[0], Math.max(edges[1], edges[0] + 4)], top, 12, () => told(one));
    }
  }
  function drawCalls(calls, top, size) {
    const seen = new Set();
    for (const [at, term, node, status, what, fault, line] of calls) {
      if (!visible(at, at)) continue;
      const key = Math.round(x(at)) * 16 + (term % 8);
      if (seen.has(key)) continue;
      seen.add(key);
      hit(bar(termClass(term), at, at, top, size, 2), top, size, () =>
        [`line ${line}: ${word(what)} -> ${status}`, `node ${node}, ${term ? "term " + term : "never seen to lead"}, ${seconds(at)}`,
          fault === null ? "" : "fault: " + word(fault)].filter(Boolean).join("\n"));
    }
  }
  /** What was booked below, what was open above it, the calls as ticks. */
  function drawReserved(row, top) {
    if (!visible(row.from, row.until)) return;
    const { one } = row, y = top + row.row * 15;
    const until = Math.min(one.end ?? data.end, data.end);
    const tell = () => {
      const lines = [`${one.name}: ${one.amount} servers`, `booked ${seconds(one.start, 0)} to ${one.end === null ? "open" : seconds(one.end, 0)}`];
      if (one.staging) lines.push(`staging ${seconds(one.staging[0], 0)} to ${seconds(one.staging[1], 0)}`);
      for (const [from, to] of one.open) lines.push(`open in the cloud ${seconds(from)} to ${seconds(to)}`);
      for (const [at, status] of one.statuses.slice(-8)) lines.push(`${seconds(at)} ${status}`);
      if (one.removed !== null) lines.push(`${seconds(one.removed)} removed`);
      lines.push(`lease ${one.lease}`, `reservation ${one.id}`);
      return lines.join("\n");
    };
    const late = one.removed !== null && one.removed < one.start;
    const planned = bar(late ? "skipped" : "planned", one.start, until, y, 9, 2);
    hit(planned, y, 9, tell);
    if (one.staging) hit(bar("staging", one.staging[0], one.staging[1], y, 9, 2), y, 9, tell);
    for (const [from, to] of one.open) {
      if (visible(from, to)) hit(bar("open", from, to, y + 9, 4, 2), y, 13, tell);
    }
    if (planned && view.until - view.from < 240e6) fitted("small", planned, y + 8.5, `${one.name} ×${one.amount}`, 5.6);
    if (view.until - view.from < 900e6) drawCalls(one.calls, y - 1, 14);
  }

  function drawAxis() {
    const span = view.until - view.from;
    const steps = [1e3, 2e3, 5e3, 1e4, 2e4, 5e4, 1e5, 2e5, 5e5, 1e6, 2e6, 5e6, 1e7, 3e7, 6e7, 1.2e8, 3e8, 6e8, 1.8e9, 3.6e9];
    const step = steps.find((one) => (one / span) * (width - LEFT) > 80) || 3.6e9;
    const digits = step >= 1e6 ? 0 : step >= 1e5 ? 1 : step >= 1e4 ? 2 : 3;
    for (let at = Math.ceil(view.from / step) * step; at <= view.until; at += step) {
      labels.unshift(element("path", { class: "grid", d: `M${x(at).toFixed(1)} ${AXIS - 4}V${height}` }));
      text("soft", x(at) + 3, AXIS - 6, seconds(at, digits));
    }
    let last = 0;
    for (const [at, said] of data.phases) {
      if (!visible(at, at)) continue;
      labels.push(element("path", { class: "phase", d: `M${x(at).toFixed(1)} 2V${height}` }));
      if (x(at) < last) continue;
      const room = Math.floor((width - RIGHT - x(at)) / 6);
      if (room > 6) text("small title", x(at) + 3, 11, said.slice(0, room));
      last = x(at) + said.length * 6 + 8;
    }
  }

  /** Whether the indices of two operations tell another order than their times, or one index stands for two changes. */
  function outOfOrder(first, second) {
    const writes = (one) => ["create", "update", "claim", "delete"].includes(one.op) && one.ending === 0;
    if (first.index === null || second.index === null) return false;
    if (first.index === second.index && writes(first) && writes(second)) return true;
    return first.until <= second.from && (first.index > second.index || (first.index === second.index && writes(second)));
  }

  /** The instants of the finding, its operations, and a red link where their order and their indices disagree. */
  function drawFinding() {
    const focus = data.findings[finding];
    if (!focus) return;
    if (focus.view) over.push(element("path", { class: "shade", d: rectangle(x(focus.view[0]), x(focus.view[1]), AXIS, height - AXIS) }));
    // Each mark in the first line that has room for it; the instant itself is always there.
    const ends = Array(MARKS).fill(-1e9);
    for (const [at, said] of focus.marks) {
      if (!visible(at, at)) continue;
      const px = x(at), wide = said.length * 6 + 12, left = px + wide > width - RIGHT;
      over.push(element("path", { class: "instant", d: `M${px.toFixed(1)} ${AXIS - 2}V${height}` }));
      const line = ends.findIndex((end) => end < (left ? px - wide : px));
      if (line < 0) continue;
      ends[line] = left ? px : px + wide;
      const place = { class: "mark small", x: (px + (left ? -4 : 4)).toFixed(1), y: AXIS + 13 + line * 12, "text-anchor": left ? "end" : "start" };
      over.push(element("text", place, said));
    }
    const placed = [];
    for (const number of focus.operations) {
      const one = byNumber.get(number), row = one && lanes.find((each) => each.title === "client " + one.client);
      if (!row || !visible(one.from, one.until)) continue;
      const x0 = Math.max(LEFT, x(one.from)), x1 = Math.max(x(one.until), x0 + 3);
      over.push(element("path", { class: "chosen", d: rectangle(x0 - 2, x1 + 2, row.top - 2, 16) }));
      placed.push({ one, x0, x1, y: row.top + 6 });
    }
    for (let i = 0; i < placed.length; i++) {
      for (let j = i + 1; j < placed.length; j++) {
        let [a, b] = [placed[i], placed[j]];
        if (a.one.until > b.one.until) [a, b] = [b, a];
        if (!outOfOrder(a.one, b.one)) continue;
        const bend = Math.max(24, Math.abs(b.x0 - a.x1) / 3);
        // Within one row the link goes over the row, from end to beginning.
        const same = a.y === b.y, high = a.y - 8, to = (b.x0 + b.x1) / 2, from = same ? Math.max(a.x0 + 4, a.x1 - 40) : a.x1;
        const line = same ? `M${from} ${high}C${from} ${high - 26} ${to} ${high - 26} ${to} ${high}`
          : `M${from} ${a.y}C${from + bend} ${a.y} ${b.x0 - bend} ${b.y} ${b.x0} ${b.y}`;
        over.push(element("path", { class: "link", d: line }));
        over.push(element("path", { class: "f-bad", d: same ? `M${to} ${high + 1}l-4 -7h8z` : `M${b.x0} ${b.y}l-7 -4v8z` }));
      }
    }
    placed.sort((a, b) => b.x1 - a.x1).forEach(({ one, x1, y }, at) => {
      const said = `#${one.n} ${one.op}${one.index === null ? "" : " @" + one.index}`;
      // Beside its bar, or inside it where the next one is too near.
      const near = placed.some((other, after) => after < at && other.y === y && other.x0 < x1 + said.length * 7 + 12);
      over.push(element("text", { class: "mark", x: (near ? x1 - 6 : x1 + 6).toFixed(1), y: y + 4, "text-anchor": near ? "end" : "start" }, said));
    });
    for (const row of rows) {
      if (!focus.ids.includes(row.one.id) && !focus.ids.includes(row.one.lease)) continue;
      if (!visible(row.from, row.until)) continue;
      const top = lanes.find((each) => each.title === "reservations").top + row.row * 15;
      over.push(element("path", { class: "chosen", d: rectangle(Math.max(LEFT, x(row.from)) - 1, Math.min(width - RIGHT, x(row.until)) + 1, top - 1, 14) }));
    }
    for (const node of focus.nodes) {
      const row = lanes.find((each) => each.title === "node " + node);
      if (row) over.push(element("path", { class: "chosen", d: rectangle(2, LEFT - 46, row.top, 20) }));
    }
  }
  const rectangle = (x0, x1, top, size) => `M${x0.toFixed(1)} ${top}H${x1.toFixed(1)}v${size}H${x0.toFixed(1)}z`;

  function draw() {
    width = Math.max(600, chart.clientWidth);
    [paths, labels, over, hits] = [{}, [], [], []];
    chart.setAttribute("height", height + 8);
    chart.setAttribute("viewBox", `0 0 ${width} ${height + 8}`);
    const page = document.createDocumentFragment();
    lanes.forEach((one, at) => {
      if (at % 2 === 0) page.append(element("path", { class: "band", d: rectangle(0, width, one.top - 2, one.size + 4) }));
    });
    for (const one of lanes) one.draw(one.top);
    drawAxis();
    drawFinding();
    // Large things first, small ones above them.
    const order = ["un", "follower", "learner", "candidate", "paused", "down", "skipped", "fault", "cloud", "planned", "staging", "open"];
    const names = Object.keys(paths).sort((a, b) => (order.indexOf(a) + 100) % 100 - ((order.indexOf(b) + 100) % 100));
    const grid = labels.filter((one) => one.getAttribute("class") === "grid");
    page.append(...grid);
    for (const name of names) page.append(element("path", { class: "f-" + name, d: paths[name] }));
    page.append(...labels.filter((one) => one.getAttribute("class") !== "grid"));
    for (const one of lanes) page.append(element("text", { class: "title", x: 10, y: one.top + Math.min(one.size, 20) / 2 + 4 }, one.title));
    page.append(...over);
    chart.replaceChildren(page);
    where.textContent = `${seconds(view.from, 2)} to ${seconds(view.until, 2)}`;
    listEvents();
  }
  let waiting = false;
  function redraw() {
    if (waiting) return;
    waiting = true;
    requestAnimationFrame(() => {
      waiting = false;
      draw();
    });
  }

  // ---- the list below: what happened in the stretch in view

  const EVENTS_MAX = 250;
  function listEvents() {
    const focus = data.findings[finding], list = [];
    const add = (at, who, what, kind = "") => visible(at, at) && list.push({ at, who, what, kind });
    for (const [at, said] of data.phases) add(at, "run", "phase: " + said);
    for (const [at, node, what, said] of data.incidents) add(at, nodeName(node) || "run", `${what} ${said}`);
    for (const fault of data.faults) {
      add(fault.from, nodeName(fault.node) || (fault.cloud ? "cloud" : "links"), `fault: ${fault.name} ${fault.text}`);
      if (fault.until > fault.from) add(fault.until, nodeName(fault.node) || (fault.cloud ? "cloud" : "links"), `over: ${fault.name}`);
    }
    for (const one of operations) {
      const named = focus && focus.operations.includes(one.n) ? "named" : "";
      add(one.from, "client " + one.client, `#${one.n} ${one.op} ${one.asked || short(one.lease)}`, named);
      const at = one.index === null ? "" : " at index " + one.index;
      add(one.until, "client " + one.client, `#${one.n} ${one.op} ${ENDINGS[one.ending]}${one.why ? " (" + one.why + ")" : ""}${at}, from node ${one.node}`, named);
    }
    const call = (name) => ([at, term, node, status, what, fault, line]) =>
      add(at, "node " + node, `line ${line}: ${word(what)} -> ${status}${name}${fault === null ? "" : ", fault " + word(fault)}${term ? ", term " + term : ""}`);
    data.calls.forEach(call(""));
    for (const one of data.reservations) {
      one.calls.forEach(call(` for ${one.name}`));
      one.statuses.forEach(([at, status]) => add(at, "ledger", `${one.name} is ${status}`));
      if (one.removed !== null) add(one.removed, "ledger", `${one.name} is removed`);
    }
    if (focus) for (const [at, said] of focus.marks) add(at, focus.check, said, "finding");
    list.sort((a, b) => a.at - b.at);
    const note = document.getElementById("events-note"), body = document.querySelector("#events tbody");
    let shown = list;
    if (list.length > EVENTS_MAX) {
      const middle = focus && focus.marks.length ? focus.marks[focus.marks.length - 1][0] : view.from;
      const near = visible(middle, middle) ? list.findIndex((one) => one.at >= middle) : 0;
      const first = Math.max(0, Math.min(near - Math.floor(EVENTS_MAX * 0.6), list.length - EVENTS_MAX));
      shown = list.slice(first, first + EVENTS_MAX);
      note.textContent = `${list.length} events; these are ${EVENTS_MAX} of them${near ? " around the finding" : ""}. Zoom in for the others.`;
    } else note.textContent = `${list.length} events`;
    body.replaceChildren(...shown.map((one) => {
      const line = document.createElement("tr");
      line.className = one.kind;
      [seconds(one.at), one.who, one.what].forEach((value, at) => {
        const cell = line.insertCell();
        cell.textContent = value;
        if (at === 1) cell.className = "who";
      });
      return line;
    }));
  }

  // ---- moving about

  function show(from, until) {
    const whole = data.end * 1.01, span = Math.min(whole, Math.max(500, until - from));
    view.from = Math.max(0, Math.min(from, whole - span));
    view.until = view.from + span;
    redraw();
  }
  const zoom = (by, around) => {
    const at = around ?? (view.from + view.until) / 2;
    show(at - (at - view.from) * by, at + (view.until - at) * by);
  };
  const move = (part) => {
    const by = (view.until - view.from) * part;
    show(view.from + by, view.until + by);
  };
  function choose(number, go = true) {
    finding = number;
    document.querySelectorAll("[data-finding]").forEach((one) => one.classList.toggle("chosen", Number(one.dataset.finding) === number));
    const focus = data.findings[number];
    if (go) focus && focus.view ? show(focus.view[0], focus.view[1]) : show(0, data.end);
    redraw();
  }
  function press(key) {
    if (key === "ArrowLeft") move(-0.2);
    else if (key === "ArrowRight") move(0.2);
    else if (key === "+" || key === "=") zoom(0.6);
    else if (key === "-") zoom(1 / 0.6);
    else if (key === "0") show(0, data.end);
    else if (key === "v" && data.findings.length) choose(finding === null ? 0 : (finding + 1) % data.findings.length);
    else return false;
    return true;
  }
  document.addEventListener("keydown", (event) => {
    if (!event.ctrlKey && !event.metaKey && !event.altKey && press(event.key)) event.preventDefault();
  });
  document.querySelectorAll("[data-key]").forEach((button) => {
    if (button.dataset.key === "v" && !data.findings.length) button.hidden = true;
    button.addEventListener("click", () => press(button.dataset.key));
  });
  document.querySelectorAll("[data-finding]").forEach((button) => {
    button.addEventListener("click", () => choose(Number(button.dataset.finding)));
  });
  chart.addEventListener("wheel", (event) => {
    event.preventDefault();
    if (event.shiftKey || Math.abs(event.deltaX) > Math.abs(event.deltaY)) move((event.deltaX || event.deltaY) / 1000);
    else zoom(Math.exp(event.deltaY / 400), time(event.offsetX));
  }, { passive: false });
  let held = null;
  chart.addEventListener("pointerdown", (event) => {
    held = { x: event.clientX, from: view.from, until: view.until };
    chart.setPointerCapture(event.pointerId);
    chart.classList.add("held");
  });
  chart.addEventListener("pointerup", () => {
    held = null;
    chart.classList.remove("held");
  });
  chart.addEventListener("pointermove", (event) => {
    if (held) {
      const by = ((event.clientX - held.x) / (width - LEFT - RIGHT)) * (held.until - held.from);
      show(held.from - by, held.until - by);
      tip.hidden = true;
      return;
    }
    const place = chart.getBoundingClientRect(), px = event.clientX - place.left, py = event.clientY - place.top;
    let under = null;
    // What was drawn last lies above.
    for (let at = hits.length - 1; at >= 0 && !under; at--) {
      const [x0, x1, y0, y1, tell] = hits[at];
      if (px >= x0 - 1 && px <= x1 + 1 && py >= y0 && py <= y1) under = tell;
    }
    tip.hidden = !under;
    if (!under) return;
    tip.textContent = under();
    const box = chart.parentElement.getBoundingClientRect();
    tip.style.left = Math.min(event.clientX - box.left + 14, box.width - tip.offsetWidth - 4) + "px";
    tip.style.top = event.clientY - box.top + 16 + "px";
  });
  chart.addEventListener("pointerleave", () => (tip.hidden = true));
  window.addEventListener("resize", redraw);

  for (const [name, said] of [["t0", "leads (a colour a term)"], ["follower", "follows"], ["candidate", "stands for election"], ["elected", "elected"],
    ["paused", "held still"], ["down", "down"], ["fault", "fault"], ["cloud", "fault of the cloud"], ["ok", "done; a node starts"], ["fail", "refused"],
    ["info", "nobody knows"], ["un", "nobody was answered"], ["planned", "booked"], ["staging", "staging"], ["open", "open in the cloud"],
    ["skipped", "left out, or deleted before its start"], ["t2", "call, in the colour of its term"], ["bad", "broken; a node ends by itself"]]) {
    const item = document.createElement("span"), box = element("svg", { viewBox: "0 0 14 11" });
    box.append(element("path", { class: "f-" + name, d: "M0 0H14V11H0z" }));
    item.append(box, said);
    document.getElementById("legend").append(item);
  }

  /** `#t=100-160` opens these seconds, `#f=2` a finding. */
  function follow() {
    const seen = /t=([\d.]+)-([\d.]+)/.exec(location.hash), found = /f=(\d+)/.exec(location.hash);
    if (found && data.findings[Number(found[1])]) choose(Number(found[1]), !seen);
    else if (data.findings.length && finding === null) choose(0, !seen);
    if (seen) show(Number(seen[1]) * 1e6, Number(seen[2]) * 1e6);
  }
  window.addEventListener("hashchange", follow);
  follow();
  draw();
})();
