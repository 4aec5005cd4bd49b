
"use strict";
/* The page asks for one JSON again and again and writes it down. Whatever a tenant, a provider or a log
 * says is set as text, never as markup. */
(function () {
  const base = location.pathname.replace(/\/+$/, "");
  const EVERY_MS = 2000, PATIENCE_MS = 10000, SLOWEST_MS = 15000;
  let csrf = "", timer = 0, fails = 0, paused = false, lastGood = null, asking = false, triedOpen = false;

  const $ = (id) => document.getElementById(id);
  function text(node, value) {
    value = value === null || value === undefined ? "" : String(value);
    if (node.textContent !== value) node.textContent = value;
  }
  function make(tag, className, value) {
    const node = document.createElement(tag);
    if (className) node.className = className;
    if (value !== undefined) node.textContent = value;
    return node;
  }
  function setClass(node, name) { if (node.className !== name) node.className = name; }

  /* --- words --- */

  function count(n) {
    if (n < 10000) return String(n);
    for (const [size, unit] of [[1e12, "T"], [1e9, "G"], [1e6, "M"], [1e3, "k"]])
      if (n >= size) return (n / size).toFixed(n / size < 10 ? 2 : n / size < 100 ? 1 : 0) + " " + unit;
    return String(n);
  }
  function bytes(n) {
    for (const [size, unit] of [[1 << 30, "GiB"], [1 << 20, "MiB"], [1 << 10, "KiB"]])
      if (n >= size) return (n / size).toFixed(1) + " " + unit;
    return n + " B";
  }
  function span(s) {
    s = Math.max(0, Math.round(s));
    if (s < 90) return s + " s";
    if (s < 5400) return Math.round(s / 60) + " min";
    if (s < 172800) return Math.floor(s / 3600) + " h " + Math.round(s % 3600 / 60) + " min";
    return Math.round(s / 86400) + " days";
  }
  function clock(ms) { return new Date(ms).toLocaleTimeString([], { hour12: false }); }
  function when(ms, nowMs) {
    return Math.abs(ms - nowMs) < 18 * 3600000 ? clock(ms) : new Date(ms).toLocaleDateString([], { day: "numeric", month: "short" }) + ", " + clock(ms);
  }
  function whole(n, one, many) { return n + " " + (n === 1 ? one : many); }
  const words = (name) => String(name).replace(/_/g, " ");

  /* --- lists that keep their elements, so that focus and a reader's place stay --- */

  function keyed(parent, rows, keyOf, build, update) {
    const known = new Map();
    for (const node of parent.children) known.set(node.dataset.key, node);
    const used = new Set();
    let at = parent.firstElementChild;
    for (const row of rows) {
      let key = String(keyOf(row));
      while (used.has(key)) key += "+";
      used.add(key);
      let node = known.get(key);
      if (!node) {
        node = build(row);
        node.dataset.key = key;
      }
      if (node === at) at = at.nextElementSibling;
      else parent.insertBefore(node, at);
      update(node, row);
    }
    for (const [key, node] of known) if (!used.has(key)) node.remove();
  }
  /* Rows of a table; a cell is a text, or a function that fills its element. */
  function table(body, rows, keyOf, cellsOf) {
    const labels = [...body.parentElement.querySelectorAll("th")].map((th) => th.textContent);
    keyed(body, rows, keyOf, () => {
      const tr = make("tr");
      tr.setAttribute("role", "row");
      for (const label of labels) {
        const td = make("td");
        td.setAttribute("role", "cell");
        td.dataset.label = label;
        td.append(make("div"));
        tr.append(td);
      }
      return tr;
    }, (tr, row) => {
      cellsOf(row).forEach((cell, i) => {
        const box = tr.children[i].firstElementChild;
        if (typeof cell === "function") cell(box);
        else text(box, cell);
      });
    });
  }
  /* Parts of a bar: [class, value] of a whole. */
  function bar(node, whole, parts, label) {
    node.setAttribute("role", "img");
    node.setAttribute("aria-label", label);
    while (node.children.length < parts.length) node.append(make("i"));
    parts.forEach(([name, value], i) => {
      setClass(node.children[i], name);
      node.children[i].style.width = (whole > 0 ? Math.min(100, 100 * value / whole) : 0) + "%";
    });
  }
  function child(node, name, tag) {
    let found = node.querySelector(":scope > ." + name);
    if (!found) node.append(found = make(tag || "div", name));
    return found;
  }
  function facts(node, rows) {
    const list = child(node, "facts", "dl");
    while (list.children.length > 2 * rows.length) list.lastChild.remove();
    rows.forEach(([name, value, className], i) => {
      if (list.children.length <= 2 * i) list.append(make("dt"), make("dd"));
      text(list.children[2 * i], name);
      text(list.children[2 * i + 1], value);
      setClass(list.children[2 * i + 1], className || "");
    });
  }

  /* --- what a person does --- */

  /* @param acts  [text, whole name, path, question, what is said when it is done] */
  function actions(node, acts) {
    const box = child(node, "acts");
    keyed(box, acts, (a) => a[0], () => Object.assign(make("button"), { type: "button" }), (button, a) => {
      text(button, a[0]);
      button.setAttribute("aria-label", a[1]);
      button.onclick = () => act(button, a);
    });
  }
  async function act(button, [, , path, question, good]) {
    if (!confirm(question)) return;
    button.disabled = true;
    try {
      const answer = await call("POST", path, { "x-tranche-csrf": csrf });
      text($("done"), answer.ok ? good : `It was not done: ${await messageOf(answer)}`);
    } catch (e) {
      text($("done"), "Whether it was done is not known: the gateway did not answer. Look at the state before you try again.");
    }
    button.disabled = false;
    if (!paused) refresh();
  }
  const cancelActs = (id, over) => !id || over ? [] : [["Cancel", `Cancel batch ${id}`, `/batches/${encodeURIComponent(id)}/cancel`,
    `Cancel batch ${id}? What is done of it is kept and paid for.`, `Batch ${id} is being cancelled.`]];
  const workerActs = (w, s) => w.role !== "worker" || w.draining || w.generation !== s.generation ? [] : [["Drain", `Drain worker ${w.row}, pid ${w.pid}`,
    `/workers/${w.pid}/drain`, `Drain worker ${w.row} (pid ${w.pid})? Another one takes its place; it finishes what it has, for as long as shutdown_grace says.`,
    `Worker ${w.row} (pid ${w.pid}) drains; another one takes its place.`]];
  function deploymentActs(d) {
    const path = `/deployments/${encodeURIComponent(d.id)}`, name = nameOf(d);
    if (d.breakers.some((b) => b.state !== "closed"))
      return [["Bring back", `Bring back ${name}`, path + "/restore", `Send new work to ${name} again at once?`, `${name} is in service again.`]];
    return [["Cool down", `Cool down ${name}`, path + "/cool",
      `Send no new uploads and batches to ${name} for 15 minutes? What runs there goes on; a group without any other deployment still uses it.`, `${name} gets no new work for 15 minutes.`]];
  }

  /* --- what is wrong --- */

  const REASONS = {
    auth: "its key was refused", rate_limit: "the provider asked for less", timeout: "it answered too slowly",
    connect: "it could not be connected to", broken: "the connection broke", server_error: "it answered with errors",
    bad_answer: "its answers could not be read", cancelled: "an operator said so"
  };
  const ADVICE = {
    auth: "Check its key and what the key may do; it is checked again every minute.",
    rate_limit: "Ask the provider for a higher quota, or send less; it is checked again every minute.",
    connect: "Check its api_base, the name service and the way there; it is checked again every minute."
  };
  const adviceFor = (problem) => ADVICE[Object.keys(ADVICE).find((name) => problem.includes(name))] || "See what the provider says of its service; it is checked again every minute.";
  const nameOf = (d) => `${d.model} at ${d.account}`;
  const reason = (b) => REASONS[b.reason] || words(b.reason || "unknown");
  const used = (q) => q.enqueued + q.elsewhere + q.foreign;

  function problemsOf(s) {
    const out = [];
    const add = (level, what, todo) => out.push({ level, what, todo });
    const rows = s.deployments.rows, sick = rows.filter((d) => d.problem);
    for (const w of s.workers)
      if (w.beat_age_ms > 10000)
        add("error", `The process ${w.role} (pid ${w.pid}) has not moved for ${span(w.beat_age_ms / 1000)}.`,
          "It is ended by itself after 30 s; look into the log for what it did last.");
    if (rows.length > 0 && s.deployments.troubled === s.deployments.total)
      add("error", "No deployment takes all kinds of calls now.", "Look at the reasons below: new work waits or is refused until one is back.");
    if (s.reload_failed)
      add("error", `The last reload was refused${s.reload_error ? `: ${s.reload_error}` : ""}${s.reload_file ? ` (${s.reload_file}${s.reload_line ? ":" + s.reload_line : ""})` : ""}; the configuration before it goes on serving.`,
        "Run “tranche check” on the file, mend what it names, and send SIGHUP again.");
    if (s.keys_problem) add("error", `New keys are not in use: ${s.keys_problem}`, "Mend the keys file; it is read again by itself.");
    if (s.database && !s.database.up)
      add("error", `The database does not answer${s.database.problem ? ": " + s.database.problem : "."}`,
        "Bring it back. Polls and downloads go on; limits of tenants hold by this node's share meanwhile.");
    for (const d of sick) add("warning", `${nameOf(d)} failed its last check: ${d.problem}.`, adviceFor(d.problem));
    for (const d of rows.filter((r) => !r.problem)) {
      const open = d.breakers.filter((b) => !b.admits);
      if (open.length > 0)
        add("warning", `${nameOf(d)} is cooling down for ${open.map((b) => b.operation).join(", ")}: ${reason(open[0])}.`,
          `It is tried again by itself in ${span(Math.max(...open.map((b) => b.for_s)))}; “Bring back” ends that at once.`);
    }
    for (const d of rows)
      if (d.quota && d.quota.limit > 0 && used(d.quota) >= d.quota.limit)
        add("warning", `${nameOf(d)} is full: ${count(used(d.quota))} of ${count(d.quota.limit)} tokens are enqueued.`,
          "New batches go elsewhere or are answered 429 until some have ended; a higher quota at the provider makes room.");
    if (s.deployments.troubled > rows.filter((d) => d.problem || d.breakers.some((b) => !b.admits)).length)
      add("warning", `${s.deployments.troubled} deployments are in trouble, more than are shown.`, "/metrics has all of them.");
    if (s.ledger.orphans > 0)
      add("warning", `What became of ${whole(s.ledger.orphans, "create is", "creates are")} not known yet.`,
        "Nothing: they are looked for among the provider's batches, and given up after 5 minutes.");
    for (const name of ["open", "latest"])
      if (s.batches[name] && s.batches[name].failed) {
        add("warning", "The journal could not be read; what is shown of batches is old.", "See whether the keeper's process and the database run.");
        break;
      }
    if (s.spool_limit > 0 && s.spool_bytes > 0.9 * s.spool_limit)
      add("warning", `The spool is nearly full: ${bytes(s.spool_bytes)} of ${bytes(s.spool_limit)}.`, "Uploads are answered 507 beyond that: raise tranche_settings.spool_limit.");
    if (s.entrance_warning) add("warning", s.entrance_warning.replace(/[.]?$/, "."), "The log says at the start how to end that.");
    if (s.log_lines_lost > 0) add("warning", `${whole(s.log_lines_lost, "line of the log was", "lines of the log were")} lost: the reader is too slow.`, "Give the log a faster reader, or more room.");
    return out.sort((a, b) => (a.level === "error" ? 0 : 1) - (b.level === "error" ? 0 : 1));
  }
  function showProblems(s) {
    const problems = problemsOf(s), first = problems[0];
    setClass($("problems"), first ? first.level : "");
    text($("headline"), first ? first.what : "Nothing is wrong.");
    text($("advice"), first ? first.todo : `${whole(s.deployments.total, "deployment", "deployments")}, all in service.`);
    keyed($("more-problems"), problems.slice(1, 20), (p) => p.what, () => make("li"), (li, p) => text(li, `${p.what} ${p.todo}`));
    document.title = (first ? (first.level === "error" ? "(!) " : "(?) ") : "") + "tranche";
  }

  /* --- sections --- */

  const LIMIT_FROM = {
    unknown: "not known yet", configuration: "from the configuration", header: "told by the provider", refusal: "named by a refusal, believed for an hour"
  };
  function showDeployment(li, d) {
    const open = d.breakers.filter((b) => !b.admits), q = d.quota;
    setClass(li, d.problem ? "bad" : open.length > 0 ? "warn" : "calm");
    text(child(li, "name", "h3"), nameOf(d));
    text(child(li, "sub", "p"), `${d.group ? `group ${d.group}, ` : ""}id ${d.id}`);
    const track = child(li, "bar");
    track.hidden = !q || q.limit === 0; /* a part of what is not known is no bar */
    if (!track.hidden) {
      bar(track, Math.max(q.limit, used(q) + q.expected), [["enqueued", q.enqueued], ["elsewhere", q.elsewhere + q.foreign], ["expected", q.expected]],
        `${count(q.enqueued)} tokens enqueued, ${count(q.elsewhere + q.foreign)} of others, ${count(q.expected)} expected, limit ${q.limit > 0 ? count(q.limit) : "not known"}`);
    }
    const rows = [];
    if (q) {
      rows.push(["Tokens", q.limit > 0 ? `${count(used(q))} of ${count(q.limit)} enqueued, ${count(Math.max(0, q.limit - used(q)))} free` : `${count(used(q))} enqueued`]);
      if (q.expected > 0) rows.push(["Expected", `${count(q.expected)} of files without a batch yet`]);
      rows.push(["Limit", LIMIT_FROM[q.limit_from] || q.limit_from]);
      rows.push(["Drains", q.drain_rate > 0 ? `${count(Math.round(q.drain_rate * 3600))} tokens an hour` : "not known yet"]);
      rows.push(["Batches", `${q.batches}${q.batches > 0 ? ", the oldest for " + span(q.oldest_s) : ""}${q.orphans > 0 ? `, ${q.orphans} of unknown outcome` : ""}`]);
      if (q.full_for_s > 0) rows.push(["Refuses", `jobs of ${count(q.full_tokens)} tokens and more, for ${span(q.full_for_s)}`, "warn"]);
    } else {
      rows.push(["Tokens", "counted with another row of this deployment"]);
    }
    const held = d.files !== undefined || d.expiring_files !== undefined;
    if (held) rows.push(["Files", `${(d.files || 0) + (d.expiring_files || 0)} in its account`]);
    for (const b of d.breakers)
      if (b.state !== "closed" || !b.admits)
        rows.push([`Breaker, ${b.operation}`, b.admits ? "about to be tried again" : `${b.state} for ${span(b.for_s)}: ${reason(b)}`, b.admits ? "" : "warn"]);
    if (d.breakers.every((b) => b.state === "closed")) rows.push(["Breakers", "closed: all kinds of calls are admitted", "good"]);
    if (d.latency_ms > 0) rows.push(["Latency", `${d.latency_ms} ms for uploads and creates`]);
    if (d.in_flight > 0) rows.push(["In flight", whole(d.in_flight, "call", "calls")]);
    if (d.problem) rows.push(["Check", d.problem, "bad"]);
    facts(li, rows);
    actions(li, deploymentActs(d));
  }
  function showDeployments(s) {
    const d = s.deployments;
    keyed($("deployments"), d.rows, (r) => r.id, () => make("li"), showDeployment);
    text($("deployments-note"), d.total > d.rows.length ? `${d.total - d.rows.length} more are not shown; those in trouble come first. /metrics has all.` : "");
  }

  function progressOf(counts) {
    return (box) => {
      const done = counts ? counts.completed + counts.failed : 0, total = counts ? counts.total : 0;
      const track = child(box, "bar"), label = child(box, "label", "span");
      track.hidden = !(total > 0);
      if (total > 0)
        bar(track, total, [["enqueued", counts.completed], ["expected", counts.failed]], `${counts.completed} completed, ${counts.failed} failed, of ${total}`);
      text(label, total > 0 ? `${Math.floor(100 * done / total)} % · ${count(done)} of ${count(total)}${counts.failed > 0 ? `, ${count(counts.failed)} failed` : ""}` : "not known yet");
    };
  }
  const idCell = (id, more) => (box) => { text(child(box, "id", "code"), id); text(child(box, "note", "span"), more ? " " + more : ""); };
  function expected(b, now) {
    if (b.finished_at) return `ended ${span(now - b.finished_at)} ago`;
    if (b.expected_at) return `${when(b.expected_at * 1000, now * 1000)} (in ${span(b.expected_at - now)})`;
    return b.expires_at ? `not known; at the latest ${when(b.expires_at * 1000, now * 1000)}` : "not known";
  }
  function placeOf(s, id) {
    const row = s.deployments.rows.find((d) => d.id === id);
    return row ? nameOf(row) : id || "a deployment that is not configured any more";
  }
  function journalPlace(s, b) {
    if (b.moving) return `leaves ${placeOf(s, b.deployment)} for another deployment`;
    return placeOf(s, b.deployment) + (b.moved_from ? `, moved from ${placeOf(s, b.moved_from)}` : b.moves ? ", moved here" : "");
  }
  function showJournal(s) {
    const open = s.batches.open && s.batches.open.list, latest = s.batches.latest && s.batches.latest.list;
    const running = open ? open.data : [], ended = (latest ? latest.data : []).filter((b) => b.finished_at);
    const states = new Map();
    for (const b of running.filter((r) => !r.finished_at)) states.set(b.status, (states.get(b.status) || 0) + 1);
    for (const b of ended) states.set(b.status + " lately", (states.get(b.status + " lately") || 0) + 1);
    const rows = running.filter((b) => !b.finished_at).concat(ended);
    showStates(states);
    text($("batches-note"), !open ? "The journal is being asked." :
      `From the journal, ${s.batches.open.age_s} s ago.${open.has_more ? " Only the newest 100 that are not over are shown." : ""}${rows.length === 0 ? " There are none." : ""}`);
    table($("batches"), rows, (b) => b.id, (b) => [
      idCell(b.id, b.model || ""), words(b.status) + (b.error_code ? `: ${b.error_code}` : ""), progressOf(b.request_counts), expected(b, s.now),
      journalPlace(s, b), b.owner, (box) => actions(box, cancelActs(b.id, b.finished_at || b.status === "cancelling"))]);
    $("ledger-box").hidden = true;
    $("batches-box").hidden = rows.length === 0;
  }
  function showLedger(s) {
    const l = s.ledger;
    showStates(l.total > 0 ? new Map([["not over", l.total - l.orphans], ["of unknown outcome", l.orphans]].filter((x) => x[1] > 0)) : new Map());
    text($("batches-note"), "There is no journal (tranche_settings.database), so this is the ledger of this node: batches that it made or saw. How far they are and when they end, their providers alone know." +
      (l.total > l.batches.length ? ` ${l.total - l.batches.length} more are not shown.` : "") + (l.total === 0 ? " There are none." : ""));
    table($("ledger"), l.batches, (b) => b.id || b.age_s + "/" + b.tokens, (b) => [
      idCell(b.id || "no id yet", ""), b.orphan ? "of unknown outcome: it is looked for" : `not over, begun ${span(b.age_s)} ago`,
      count(b.tokens), placeOf(s, b.deployment), (box) => actions(box, cancelActs(b.id, false))]);
    $("ledger-box").hidden = l.batches.length === 0;
    $("batches-box").hidden = true;
  }
  function showStates(states) {
    keyed($("states"), [...states], (x) => x[0], () => make("li"), (li, x) => text(li, `${x[1]} ${words(x[0])}`));
  }

  /* --- plots --- */

  const SVG = "http://www.w3.org/2000/svg";
  function shape(name, attributes, value) {
    const node = document.createElementNS(SVG, name);
    for (const key in attributes) node.setAttribute(key, attributes[key]);
    if (value !== undefined) node.textContent = value;
    return node;
  }
  function nice(max) {
    const step = Math.pow(10, Math.floor(Math.log10(max)));
    return [1, 2, 5, 10].map((n) => n * step).find((n) => n >= max);
  }
  function plot(box, lines, label, digits) {
    if (!lines.some((l) => l.points.length > 0)) {
      box.replaceChildren(make("p", "note", "No whole minute with requests yet."));
      return;
    }
    const W = 600, H = 150, left = 44, bottom = 20, top = 8;
    const max = nice(Math.max(0.1, ...lines.flatMap((l) => l.points.map((p) => p[1]))));
    const x = (ago) => left + (60 - ago) / 59 * (W - left - 8), y = (v) => H - bottom - v / max * (H - bottom - top);
    const svg = shape("svg", { viewBox: `0 0 ${W} ${H}`, role: "img", "aria-label": label, preserveAspectRatio: "none" });
    for (const part of [0, 0.5, 1]) {
      svg.append(shape("line", { class: "grid", x1: left, x2: W - 8, y1: y(part * max), y2: y(part * max) }));
      svg.append(shape("text", { x: left - 6, y: y(part * max) + 4, "text-anchor": "end" }, (part * max).toFixed(digits(max))));
    }
    for (const [ago, name] of [[60, "60 min ago"], [30, "30"], [1, "now"]])
      svg.append(shape("text", { x: x(ago), y: H - 5, "text-anchor": ago === 60 ? "start" : ago === 1 ? "end" : "middle" }, name));
    for (const line of lines) {
      let path = "", before = null;
      for (const [ago, v] of line.points) {
        path += (before === null || before - ago > 1 ? "M" : "L") + x(ago).toFixed(1) + " " + y(v).toFixed(1);
        if (before === null || before - ago > 1) path += "h.1";
        before = ago;
      }
      svg.append(shape("path", { class: line.name, d: path, "stroke-linecap": "round" }));
    }
    box.replaceChildren(svg);
  }
  function showTraffic(s) {
    const full = s.minutes.filter((m) => m[0] >= 1 && m[0] <= 60).sort((a, b) => b[0] - a[0]);
    const current = s.minutes.find((m) => m[0] === 0), rates = [];
    const perMinute = new Map(full.map((m) => [m[0], m]));
    const since = Math.min(60, Math.floor((s.uptime_s - s.second_of_minute) / 60));
    for (let ago = since; ago >= 1; ago--) rates.push([ago, perMinute.has(ago) ? perMinute.get(ago)[1] / 60 : 0]);
    const last = full.length ? full[full.length - 1] : current;
    const peak = Math.max(0, ...rates.map((r) => r[1]));
    text($("rate-now"), current ? `${whole(current[1], "request", "requests")} in this minute` : "none in this minute");
    text($("latency-now"), last ? `p50 (line) ${last[3].toFixed(1)} · p99 (dashed) ${last[4].toFixed(1)}` : "");
    plot($("rate"), [{ name: "first", points: rates }], `Requests a second in the last hour; the most was ${peak.toFixed(1)}`, (max) => max < 2 ? 2 : max < 20 ? 1 : 0);
    plot($("latency"), [{ name: "first", points: full.map((m) => [m[0], m[3]]) }, { name: "second", points: full.map((m) => [m[0], m[4]]) }],
      last ? `Latency in the last hour: half of the requests took ${last[3].toFixed(1)} ms at most (line), 99 of 100 took ${last[4].toFixed(1)} ms (dashed)` : "Latency: no requests yet",
      (max) => max < 2 ? 1 : 0);
  }

  function showErrors(s) {
    const accounts = new Map();
    for (const d of s.deployments.rows) {
      const a = accounts.get(d.account) || { name: d.account, calls: 0, failed: 0, how: {}, last: null };
      a.calls += d.requests;
      for (const o in d.failures) { a.failed += d.failures[o]; a.how[o] = (a.how[o] || 0) + d.failures[o]; }
      if (d.last_error && (!a.last || d.last_error.age_s < a.last.age_s)) a.last = d.last_error;
      accounts.set(d.account, a);
    }
    table($("errors"), [...accounts.values()].sort((a, b) => b.failed - a.failed), (a) => a.name, (a) => [
      a.name, count(a.calls), count(a.failed), Object.keys(a.how).map((o) => `${words(o)} ${count(a.how[o])}`).join(", ") || "none",
      a.last ? `${words(a.last.outcome)}${a.last.status ? `, status ${a.last.status}` : ""}, ${span(a.last.age_s)} ago` : "never"]);
    text($("errors-note"), "Counted since this node's shared memory was made, which outlives reloads and upgrades." +
      (s.deployments.total > s.deployments.rows.length ? " Of the deployments that are shown." : ""));
  }
  function showWorkers(s) {
    text($("workers-note"), `${whole(s.restarts, "process was", "processes were")} replaced after an unplanned end. ` +
      `${whole(s.connections, "connection", "connections")} of clients. Spool: ${bytes(s.spool_bytes)} of ${s.spool_limit > 0 ? bytes(s.spool_limit) : "no limit"} on disk.`);
    table($("workers"), s.workers, (w) => w.row + "/" + w.pid, (w) => [
      w.role === "worker" ? `worker ${w.row}` : w.role, w.pid, span(w.uptime_s), w.role === "worker" ? w.connections : "none", w.role === "worker" ? count(w.requests) : "none",
      bytes(w.spool_bytes), w.draining ? "draining" : w.generation === s.generation ? "serves" : `of generation ${w.generation}`,
      (box) => actions(box, workerActs(w, s))]);
  }
  function showTenants(s) {
    const t = s.tenants;
    $("tenants-section").hidden = t.keys === 0;
    table($("tenants"), t.rows, (r) => r.kind + r.name, (r) => [
      `${r.kind} ${r.name || "without a name"}`, (box) => {
        const track = child(box, "bar");
        track.hidden = !(r.token_limit > 0);
        if (r.token_limit > 0) bar(track, r.token_limit, [["enqueued", r.tokens]], `${count(r.tokens)} of ${count(r.token_limit)} tokens`);
        text(child(box, "label", "span"), count(r.tokens) + (r.token_limit !== undefined ? ` of ${count(r.token_limit)}` : ""));
      }, r.batches + (r.batch_limit !== undefined ? ` of ${r.batch_limit}` : "")]);
    text($("tenants-note"), `${whole(t.keys, "key is", "keys are")} known; those whose batches are unfinished are shown.`);
  }
  function showEvents(s) {
    keyed($("events"), s.events.slice(0, 20), (e) => e.at_ms + e.who + e.text, () => {
      const li = make("li");
      li.append(make("time"), make("span", "level"), make("span", "who"), make("span", "text"));
      return li;
    }, (li, e) => {
      const [time, level, who, what] = li.children;
      time.dateTime = new Date(e.at_ms).toISOString();
      text(time, clock(e.at_ms));
      text(level, e.level);
      setClass(level, "level " + (e.level === "error" ? "bad" : e.level === "warn" ? "warn" : ""));
      text(who, e.who);
      text(what, e.text);
    });
  }
  function show(s) {
    text($("version"), s.version);
    text($("about"), `generation ${s.generation} · up for ${span(s.uptime_s)}`);
    showProblems(s);
    showDeployments(s);
    if (s.journal) showJournal(s); else showLedger(s);
    showTraffic(s);
    showErrors(s);
    showWorkers(s);
    showTenants(s);
    showEvents(s);
  }

  /* --- asking --- */

  function call(method, path, headers) {
    const stop = new AbortController(), late = setTimeout(() => stop.abort(), PATIENCE_MS);
    return fetch(base + path, { method, headers: headers || {}, credentials: "same-origin", cache: "no-store", redirect: "error", signal: stop.signal })
      .finally(() => clearTimeout(late));
  }
  async function messageOf(answer) {
    try { return (await answer.json()).error.message; } catch (e) { return `The gateway answered with status ${answer.status}.`; }
  }
  function showApp(yes) {
    const was = !$("app").hidden;
    $("app").hidden = !yes;
    $("login").hidden = yes;
    if (!yes) { csrf = ""; if (was || document.activeElement === document.body) $("key").focus(); }
  }
  function told(good, why) {
    setClass($("pulse"), "dot" + (paused ? " paused" : good ? "" : " late"));
    $("app").dataset.asked = good ? String(lastGood) : "";
    if (paused) text($("refreshed"), `Paused. Shown is the state of ${clock(lastGood)}.`);
    else if (good) text($("refreshed"), "Refreshes by itself");
    else text($("refreshed"), `Cannot refresh: ${why} Shown is ${lastGood ? "the state of " + clock(lastGood) : "nothing yet"}; it is tried again by itself.`);
  }
  function later() {
    clearTimeout(timer);
    if (!paused && !document.hidden && !$("app").hidden)
      timer = setTimeout(refresh, Math.min(SLOWEST_MS, EVERY_MS * Math.pow(2, Math.min(fails, 4))));
  }
  async function refresh() {
    if (asking) return;
    asking = true;
    try {
      const answer = await call("GET", "/state");
      if (answer.status === 401 || answer.status === 403) {
        if (triedOpen || !await logIn("")) showApp(false);
        triedOpen = true;
        return;
      }
      if (!answer.ok) throw new Error(await messageOf(answer));
      csrf = answer.headers.get("x-tranche-csrf") || "";
      const state = await answer.json();
      showApp(true);
      show(state);
      lastGood = Date.now();
      fails = 0;
      told(true);
    } catch (e) {
      fails++;
      if ($("login").hidden) $("app").hidden = false;
      told(false, e.name === "AbortError" ? "the gateway does not answer." : e instanceof TypeError ? "the gateway cannot be reached." : e.message);
    } finally {
      asking = false;
      later();
    }
  }
  /* Without a key where none is asked for. */
  async function logIn(key) {
    const answer = await call("POST", "/login", key ? { Authorization: "Bearer " + key } : {});
    if (answer.ok) { setTimeout(refresh, 0); return true; }
    if (key) text($("login-error"), answer.status === 401 ? "This key is not known here." : await messageOf(answer));
    return false;
  }

  $("login-form").addEventListener("submit", async (event) => {
    const key = $("key").value.trim();
    event.preventDefault();
    text($("login-error"), "");
    try {
      if (await logIn(key)) $("key").value = "";
    } catch (e) {
      text($("login-error"), "The gateway cannot be reached.");
    }
  });
  $("logout").addEventListener("click", async () => {
    try { await call("POST", "/logout", { "x-tranche-csrf": csrf }); } catch (e) { /* its cookie ends by itself */ }
    triedOpen = true;
    showApp(false);
  });
  $("pause").addEventListener("click", () => {
    paused = !paused;
    $("pause").setAttribute("aria-pressed", String(paused));
    if (paused) { clearTimeout(timer); told(true); } else refresh();
  });
  document.addEventListener("visibilitychange", () => { if (!document.hidden && !paused && !$("app").hidden) refresh(); });
  refresh();
})();
