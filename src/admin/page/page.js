// The live page: asks for /state.json each second and draws what has changed since.
//
// Whatever clients may have chosen (keys, names, commands) is put in place as text only (textContent), never as markup.
"use strict";

const PERIOD_MS = 1000;
const SAMPLES_MAX = 180;
const KINDS = {
  entries: "Keys and small values", large_values: "Large values", tables: "Tables", slab_room: "Room in slabs", clients: "Clients",
  server: "Server", scripts: "Scripts", replication: "Replication", journal: "To be appended",
};
const at = (id) => document.getElementById(id);
const history = [];
let last = null;
let failures = 0;

// ---- numbers for people

function count(number) {
  if (number < 10_000) return number < 100 && !Number.isInteger(number) ? number.toFixed(1) : Math.round(number).toLocaleString("en");
  const units = ["k", "M", "G", "T"];
  let unit = -1;
  do { number /= 1000; unit++; } while (number >= 999.5 && unit + 1 < units.length);
  return trim(number) + " " + units[unit];
}

function bytes(number) {
  if (number < 1024) return Math.round(number) + " B";
  const units = ["KiB", "MiB", "GiB", "TiB"];
  let unit = -1;
  do { number /= 1024; unit++; } while (number >= 1023.5 && unit + 1 < units.length);
  return number.toPrecision(number < 1000 ? 3 : 4) + " " + units[unit];
}

function micros(us) {
  if (us === null) return "–";
  if (us < 1000) return (us < 10 && !Number.isInteger(us) ? us.toFixed(1) : Math.round(us)) + " µs";
  return us < 1e6 ? trim(us / 1000) + " ms" : trim(us / 1e6) + " s";
}

const trim = (number) => String(Number(number.toPrecision(3)));

function duration(s) {
  if (s < 60) return Math.round(s) + " s";
  if (s < 3600) return Math.floor(s / 60) + " min";
  if (s < 86400) return Math.floor(s / 3600) + " h " + Math.floor((s % 3600) / 60) + " min";
  return Math.floor(s / 86400) + " d " + Math.floor((s % 86400) / 3600) + " h";
}

const percent = (share) => (share * 100).toFixed(share > 0 && share < 0.0995 ? 1 : 0) + " %";
const ago = (now_s, then_s) => (then_s ? duration(Math.max(0, now_s - then_s)) + " ago" : "never");

// ---- pieces of the page

function say(id, text) {
  const element = at(id);
  if (element.textContent !== text) element.textContent = text;
}

function make(tag, className, text) {
  const element = document.createElement(tag);
  if (className) element.className = className;
  if (text !== undefined) element.textContent = text;
  return element;
}

// Columns are [title, class, value of a row].
function fill(id, columns, rows, empty) {
  const body = document.createDocumentFragment();
  if (rows.length === 0) {
    const row = make("tr");
    row.append(make("td", "empty", empty));
    body.append(row);
  } else {
    if (columns.some(([title]) => title)) {
      const head = make("tr");
      for (const [title, className] of columns) head.append(make("th", className, title));
      body.append(head);
    }
    for (const one of rows) {
      const row = make("tr");
      for (const [, className, value] of columns) {
        const cell = make("td", className);
        const shown = value(one);
        if (shown instanceof Node) cell.append(shown);
        else { cell.textContent = shown; cell.title = shown; }
        row.append(cell);
      }
      body.append(row);
    }
  }
  at(id).replaceChildren(body);
}

function facts(id, pairs) {
  const body = document.createDocumentFragment();
  for (const [name, value, isBad] of pairs) body.append(make("dt", "", name), make("dd", isBad ? "bad" : "", value));
  at(id).replaceChildren(body);
}

// Keys may hold anything: what cannot be seen is shown as its code.
function visible(text) {
  return text.replace(/[\u0000-\u001f\u007f-\u009f\u200b-\u200f\u2028-\u202e\u2066-\u2069]/g, (character) =>
    "\\x" + character.codePointAt(0).toString(16).padStart(2, "0"));
}

// ---- charts

function color(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
}

// A canvas as sharp as the screen, in CSS pixels.
function prepare(id) {
  const canvas = at(id);
  const scale = window.devicePixelRatio || 1;
  const { clientWidth: width, clientHeight: height } = canvas;
  if (canvas.width !== Math.round(width * scale) || canvas.height !== Math.round(height * scale)) {
    canvas.width = Math.round(width * scale);
    canvas.height = Math.round(height * scale);
  }
  const pen = canvas.getContext("2d");
  pen.setTransform(scale, 0, 0, scale, 0, 0);
  pen.clearRect(0, 0, width, height);
  pen.font = "11px system-ui, sans-serif";
  return { pen, width, height };
}

const MARGIN = { left: 46, right: 2, top: 6, bottom: 20 };

function timeAxis(pen, width, height) {
  const plot = width - MARGIN.left - MARGIN.right;
  pen.fillStyle = color("--muted");
  pen.textBaseline = "alphabetic";
  const steps = plot < 420 ? [180, 120, 60, 0] : [180, 150, 120, 90, 60, 30, 0];
  for (const seconds of steps) {
    const x = MARGIN.left + plot * (1 - seconds / SAMPLES_MAX);
    pen.textAlign = seconds === 0 ? "right" : seconds === 180 ? "left" : "center";
    pen.fillText(seconds === 0 ? "now" : "−" + seconds + " s", x, height - 5);
  }
}

// The least of a few round numbers times a power of ten that is no less.
function roundUp(number) {
  const power = 10 ** Math.floor(Math.log10(Math.max(number, 1)));
  return [1, 1.2, 1.6, 2, 3, 4, 6, 8, 10].map((factor) => factor * power).find((round) => round >= number);
}

function drawRate() {
  const { pen, width, height } = prepare("rate");
  const [plotWidth, plotHeight] = [width - MARGIN.left - MARGIN.right, height - MARGIN.top - MARGIN.bottom];
  const top = roundUp(Math.max(10, ...history.map((sample) => sample.rate)) * 1.05);
  const x = (index) => MARGIN.left + plotWidth * (1 - (history.length - 1 - index) / SAMPLES_MAX);
  const y = (rate) => MARGIN.top + plotHeight * (1 - rate / top);
  pen.textAlign = "right";
  pen.textBaseline = "middle";
  for (const share of [0, 0.25, 0.5, 0.75, 1]) {
    const level = MARGIN.top + plotHeight * (1 - share);
    pen.fillStyle = color("--muted");
    pen.fillText(count(top * share), MARGIN.left - 8, Math.max(level, 6));
    pen.fillStyle = color("--line");
    pen.fillRect(MARGIN.left, Math.round(level), plotWidth, 1);
  }
  timeAxis(pen, width, height);
  if (history.length < 2) return;
  pen.beginPath();
  history.forEach((sample, index) => pen.lineTo(x(index), y(sample.rate)));
  pen.lineWidth = 1.75;
  pen.lineJoin = "round";
  pen.strokeStyle = color("--c1");
  pen.stroke();
  pen.lineTo(x(history.length - 1), y(0));
  pen.lineTo(x(0), y(0));
  pen.closePath();
  pen.globalAlpha = 0.12;
  pen.fillStyle = color("--c1");
  pen.fill();
  pen.globalAlpha = 1;
}

// Colours between those of the style sheet, from few to many.
function heatScale() {
  const stops = [0, 1, 2, 3].map((step) => {
    const hex = color("--heat-" + step);
    return [1, 3, 5].map((start) => parseInt(hex.slice(start, start + 2), 16));
  });
  return (share) => {
    const place = Math.min(share, 0.999) * (stops.length - 1);
    const [from, to, part] = [stops[Math.floor(place)], stops[Math.floor(place) + 1], place % 1];
    return "rgb(" + from.map((value, index) => Math.round(value + (to[index] - value) * part)).join(" ") + ")";
  };
}

function drawHeat(bounds) {
  const { pen, width, height } = prepare("heat");
  const [plotWidth, plotHeight] = [width - MARGIN.left - MARGIN.right, height - MARGIN.top - MARGIN.bottom];
  const rows = bounds.length + 1;
  const [cellWidth, cellHeight] = [plotWidth / SAMPLES_MAX, plotHeight / rows];
  const scale = heatScale();
  pen.fillStyle = scale(0);
  pen.fillRect(MARGIN.left, MARGIN.top, plotWidth, plotHeight);
  history.forEach((sample, index) => {
    const total = sample.latency.reduce((sum, number) => sum + number, 0);
    if (total === 0) return;
    const left = MARGIN.left + plotWidth - (history.length - index) * cellWidth;
    sample.latency.forEach((number, row) => {
      if (number === 0) return;
      // The logarithm of the share: one in a million is seen, too.
      const share = Math.max(0.22, 1 + Math.log10(number / total) / 6);
      pen.fillStyle = scale(share);
      pen.fillRect(left, MARGIN.top + plotHeight - (row + 1) * cellHeight, cellWidth + 0.5, cellHeight + 0.5);
    });
  });
  pen.textAlign = "right";
  pen.textBaseline = "middle";
  pen.fillStyle = color("--muted");
  bounds.forEach((us, row) => {
    if (![1, 8, 64, 1000, 8000, 64000, 1000000].includes(us)) return;
    pen.fillText(micros(us), MARGIN.left - 8, MARGIN.top + plotHeight - (row + 1) * cellHeight);
  });
  timeAxis(pen, width, height);
}

// ---- what a state says

// The duration that so many percent do not exceed: the upper end of its row.
function percentile(latency, bounds, share) {
  const total = latency.reduce((sum, number) => sum + number, 0);
  if (total === 0) return null;
  let seen = 0;
  for (let row = 0; row < latency.length; row++) {
    const before = seen;
    seen += latency[row];
    if (seen >= total * share) {
      const [low, high] = [row === 0 ? 0 : bounds[row - 1], bounds[row] ?? 2 * bounds.at(-1)];
      // Within a row, as if evenly spread.
      return low + ((high - low) * (total * share - before)) / latency[row];
    }
  }
  return null;
}

// What was counted since the state before, each second; all of it after CONFIG RESETSTAT.
function since(now, before, seconds) {
  const grown = (after, earlier) => Math.max(0, after >= earlier ? after - earlier : after);
  const totals = {};
  for (const [name, value] of Object.entries(now.totals)) totals[name] = grown(value, before.totals[name]) / seconds;
  const known = new Map(before.commands.map((command) => [command.name, command]));
  const commands = now.commands.map((command) => {
    const earlier = known.get(command.name) ?? { calls: 0, us: 0, failed: 0 };
    return {
      name: command.name,
      rate: grown(command.calls, earlier.calls) / seconds,
      us: grown(command.us, earlier.us) / seconds,
      failed: grown(command.failed, earlier.failed) / seconds,
    };
  });
  const workers = now.workers.map((worker, number) => ({
    ...worker,
    rate: grown(worker.commands, before.workers[number].commands) / seconds,
    refusals: grown(worker.refused, before.workers[number].refused) / Math.max(1, grown(worker.leases, before.workers[number].leases)),
  }));
  const latency = now.latency.map((number, row) => grown(number, before.latency[row]));
  return { totals, commands, workers, latency, rate: totals.total_commands_processed };
}

function showFigures(state, change) {
  const { server, memory, clients } = state;
  if (change) {
    say("f-rate", count(change.rate));
    say("f-p50", micros(percentile(change.latency, state.bounds_us, 0.5)));
    say("f-p99", micros(percentile(change.latency, state.bounds_us, 0.99)));
    say("rate-note", bytes(change.totals.total_net_input_bytes) + "/s in, " + bytes(change.totals.total_net_output_bytes) + "/s out");
  }
  const { keyspace_hits: hits, keyspace_misses: misses } = state.totals;
  say("f-hits", hits + misses ? percent(hits / (hits + misses)) : "–");
  say("f-memory", bytes(memory.used));
  say("f-memory-of", server.maxmemory ? percent(memory.used / server.maxmemory) + " of " + bytes(server.maxmemory) : bytes(memory.rss) + " resident");
  say("f-keys", count(server.keys));
  say("f-keys-of", count(server.expires) + " with a deadline");
  say("f-clients", count(clients.count));
  say("f-clients-of", clients.blocked ? count(clients.blocked) + " blocked" : "of " + count(server.maxclients));
}

function showWorkers(state, workers) {
  const rows = workers.map((worker, number) => {
    const bar = make("div", worker.active ? "bar" : "bar off");
    const track = make("div", "track");
    for (const [className, share] of [["fill c1", worker.ran], ["fill c4", worker.waited]]) {
      const part = make("div", className);
      part.style.width = Math.min(100, share * 100) + "%";
      track.append(part);
    }
    const note = worker.rate === undefined ? "" : count(worker.rate) + "/s";
    bar.append(make("span", "", String(number)), track, make("span", "", percent(worker.ran + worker.waited) + (note && " · " + note)));
    bar.title = worker.connections + " connections" + (worker.refusals === undefined ? "" : ", " + percent(worker.refusals) + " of leases refused");
    return bar;
  });
  at("workers").replaceChildren(...rows);
  say("workers-note", state.server.active_workers + " of " + state.server.workers + " active, " + state.server.multiplexing_api);
}

function showMemory(memory) {
  const kinds = memory.kinds.map((kind, index) => ({ ...kind, className: "c" + (index + 1) })).filter((kind) => kind.bytes > 0);
  const total = kinds.reduce((sum, kind) => sum + kind.bytes, 0);
  const parts = kinds.map((kind) => {
    const part = make("div", "fill " + kind.className);
    part.style.flexGrow = String(kind.bytes / total);
    part.title = KINDS[kind.kind] ?? kind.kind;
    return part;
  });
  at("memory-bar").replaceChildren(...parts);
  kinds.sort((one, other) => other.bytes - one.bytes);
  const name = (kind) => make("span", "key " + kind.className, KINDS[kind.kind] ?? kind.kind);
  fill("memory", [["", "w", name], ["", "n", (kind) => bytes(kind.bytes)], ["", "n", (kind) => percent(kind.bytes / total)]], kinds, "");
  say("memory-note", bytes(memory.rss) + " resident, at most " + bytes(memory.peak) + " used");
}

function showCommands(commands) {
  const busy = commands.filter((command) => command.rate > 0).sort((one, other) => other.us - one.us).slice(0, 10);
  const total = busy.reduce((sum, command) => sum + command.us, 0) || 1;
  fill("commands", [
    ["Command", "w", (command) => visible(command.name).toUpperCase().replace("|", " ")],
    ["per s", "n", (command) => count(command.rate)],
    ["mean", "n", (command) => micros(command.us / command.rate)],
    ["failed", "n", (command) => (command.failed ? count(command.failed) + "/s" : "")],
    ["time", "n", (command) => percent(command.us / total)],
  ], busy, "No commands in the last second.");
}

function showKeys(keys) {
  const db = (key) => (key.db ? "db" + key.db + " " : "");
  fill("hot", [
    ["Key", "w k", (key) => db(key) + visible(key.key)],
    ["of commands", "n", (key) => percent(key.share)],
  ], keys.hot.filter((key) => key.share >= 0.001).slice(0, 10), "No key stands out yet.");
  fill("big", [
    ["Key", "w k", (key) => db(key) + visible(key.key)],
    ["type", "n", (key) => key.type],
    ["size", "n", (key) => bytes(key.bytes)],
  ], keys.big.slice(0, 10), "No keys yet.");
  say("big-note", "of " + count(keys.sampled) + " looked at");
}

function showPersistence(state) {
  const saved = state.persistence;
  const now_s = state.time_us / 1e6;
  const loads = state.server.loading === 1;
  const [done, total] = loads ? [saved.loading_loaded_bytes, saved.loading_total_bytes] : [saved.done, saved.total];
  at("progress").hidden = !(saved.running || loads);
  at("progress").firstElementChild.style.width = percent(done / Math.max(1, total)).replace(" ", "");
  const rows = [];
  if (loads) rows.push(["Loading", bytes(done) + " of " + bytes(total)]);
  if (saved.running) rows.push(["Running", saved.purpose + ": " + count(done) + " of " + count(total) + " keys"]);
  rows.push(["Last saved", ago(now_s, saved.rdb_last_save_time)]);
  rows.push(["Changes since", count(saved.rdb_changes_since_last_save)]);
  if (saved.rdb_last_bgsave_status !== "ok") rows.push(["Last snapshot", "failed", true]);
  rows.push(["Append-only file", saved.aof_enabled ? bytes(saved.aof_current_size) : "off"]);
  if (saved.aof_enabled) {
    rows.push(["To be appended", bytes(saved.aof_buffer_length)]);
    if (saved.aof_last_write_status !== "ok") rows.push(["Last write to it", "failed", true]);
  }
  rows.push(["Last backup", ago(now_s, saved.last_backup_time)]);
  if (saved.last_backup_status !== "ok") rows.push(["Last backup", "failed", true]);
  facts("persistence", rows);
}

function showReplication({ role, offset, backlog, primary, replicas }) {
  say("role", role);
  const rows = [["Offset", offset.toLocaleString("en")]];
  if (primary) {
    rows.unshift(["Link to the primary", primary.up ? "up" : "down", !primary.up], ["Primary", primary.host + ":" + primary.port]);
    if (primary.sync_total) rows.push(["Received", bytes(primary.sync_read) + " of " + bytes(primary.sync_total)]);
  } else {
    rows.push(["Backlog", backlog ? bytes(backlog) : "none"], ["Replicas", String(replicas.length)]);
  }
  facts("replication", rows);
  at("replicas").hidden = replicas.length === 0;
  fill("replicas", [
    ["Replica", "w", (replica) => replica.ip + ":" + replica.port],
    ["state", "n", (replica) => replica.state],
    ["behind", "n", (replica) => bytes(Math.max(0, offset - replica.offset))],
    ["silent", "n", (replica) => replica.lag_s + " s"],
  ], replicas, "");
}

function showLists(state) {
  const now_s = state.time_us / 1e6;
  fill("slow", [
    ["When", "n", (entry) => ago(now_s, entry.time_s)],
    ["took", "n", (entry) => micros(entry.us)],
    ["Command", "w k", (entry) => visible(entry.words)],
    ["Client", "", (entry) => (entry.name ? visible(entry.name) + " " : "") + entry.address],
  ], state.slow.slice(0, 12), "No slow commands.");
  fill("clients", [
    ["Client", "w", (client) => client.address + (client.name ? " " + visible(client.name) : "")],
    ["worker", "n", (client) => String(client.worker)],
    ["last command", "n", (client) => client.command],
    ["flags", "n", (client) => client.flags || "–"],
    ["age", "n", (client) => duration(client.age_s)],
    ["idle", "n", (client) => duration(client.idle_s)],
    ["memory", "n", (client) => bytes(client.bytes)],
  ], state.clients.largest.slice(0, 12), "No clients.");
}

function show(state) {
  const { server } = state;
  const place = server.tcp_port ? "port " + server.tcp_port : "no TCP port";
  say("about", state.replication.role + " · " + place + " · up " + duration(server.uptime_in_seconds));
  status(state.unready === "", state.unready || "ready");
  const seconds = last && last.server.run_id === server.run_id ? (state.time_us - last.time_us) / 1e6 : 0;
  let change = null;
  if (seconds > 0) {
    change = since(state, last, seconds);
    history.push(change);
    if (history.length > SAMPLES_MAX) history.shift();
  } else {
    history.length = 0;
  }
  last = state;
  showFigures(state, change);
  drawRate();
  drawHeat(state.bounds_us);
  showWorkers(state, change ? change.workers : state.workers);
  showMemory(state.memory);
  showCommands(change ? change.commands : []);
  showKeys(state.keys);
  showPersistence(state);
  showReplication(state.replication);
  showLists(state);
  say("foot", "Torc " + server.torc_version + ", compatible with Redis " + server.redis_version + " · process " + server.process_id + " · " + server.os);
}

function status(isGood, text) {
  at("status").className = "status " + (isGood ? "good" : "bad");
  say("status-text", text);
}

async function tick() {
  try {
    const response = await fetch("/state.json", { cache: "no-store" });
    if (!response.ok) throw new Error(response.status + " " + response.statusText);
    show(await response.json());
    failures = 0;
  } catch (error) {
    failures++;
    status(false, "no answer: " + error.message);
  }
  // Who does not answer is asked less often; who is not looked at, not at all.
  setTimeout(tick, Math.min(PERIOD_MS * 2 ** failures, 15_000));
}

document.addEventListener("visibilitychange", () => { if (!document.hidden) last = null; });
window.addEventListener("resize", () => { if (last) { drawRate(); drawHeat(last.bounds_us); } });
window.matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => { if (last) { drawRate(); drawHeat(last.bounds_us); } });
tick();
