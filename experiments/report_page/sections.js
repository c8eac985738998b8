"use strict";
// All sections except the explorer. Each function makes one section, or null if it has no data.

function systemName(app, run, label) {
  return app.runs.length > 1 ? `${run.name}: ${label}` : label;
}

// A system's number decides its colour and mark in all plots; systems of several runs with the same
// name have the same number.
function numbersOf(app) {
  const labels = [...new Set(app.runs.flatMap((run) => run.labels))];
  return (label) => labels.indexOf(label);
}

function allSplits(app) {
  return [...new Set(app.runs.flatMap((run) => run.splits))];
}

// The short name is shown in the navigation.
function section(id, title, ...children) {
  const short = { systems: "Systems", explorer: "Explorer", nbest: "N-best", weights: "Weights", sweep: "Sweep", tags: "Tags",
    confusions: "Confusions", trust: "Confidence", time: "Time", provenance: "Provenance" }[id];
  return el("section", { id, "data-short": short }, el("h2", {}, title), children);
}

// One part for each run that has the split, side by side.
function sideBySide(app, split, make) {
  const parts = app.runs.filter((run) => run.splits.includes(split)).map((run) => [run, make(run)]);
  const shown = parts.filter(([, part]) => part && part.length !== 0);
  if (!shown.length) return null;
  if (app.runs.length === 1) return shown[0][1];
  return el("div", { class: "runs" }, shown.map(([run, part]) => el("div", { class: "run" }, el("h3", { class: "run-name" }, run.name), part)));
}

function systemsSection(app) {
  const blocks = allSplits(app).map((split) => {
    const rows = app.runs.flatMap((run) => run.systems.filter((row) => row.split === split).map((row) => ({
      ...row, run, number: numbersOf(app)(row.label), name: systemName(app, run, row.label),
    })));
    const sizes = [...new Set(rows.map((row) => `${count(row.utterances)} utterances, ${count(row.ref_words)} words`))];
    const dev = app.runs.some((run) => run.dev.includes(split));
    const note = sizes.join("; ") + (dev ? ". Weights were tuned on this split, so the error rates of tuned systems are probably lower here than on new data." : "");
    return card(split, note, systemTable(app, rows), intervalPlot(rows));
  });
  const drawn = [...new Set(app.runs.map((run) => (run.meta.config || {}).intervals || "utterances"))].join(" or ");
  const first = app.runs.map((run) => run.baseline || run.systems[0].system);
  const notes = [...new Set(app.runs.map((run) => run.note).filter((note) => note))];
  return section("systems", "Systems",
    el("p", { class: "note" },
      `Word error rates in per cent. Intervals: 95 %, bootstrap over ${drawn}. Δ and p: comparison with `,
      [...new Set(first)].join(", "), app.runs.length > 1 ? " of the same run" : "",
      "; p is from the matched-pairs test (MAPSSWE), or where it is marked as exact, from all signs of the same differences; it is adjusted for several systems (Holm). Gap: share of the difference in errors between rank 1 and the oracle that the system removes."),
    notes.map((note) => el("p", { class: "note" }, note)),
    el("div", { class: "stack" }, blocks));
}

function systemTable(app, rows) {
  const best = Math.min(...rows.map((row) => row.wer ?? Infinity));
  const heads = ["system", ["WER %", "n"], ["95 % interval", "n"], ["Δ WER", "n"], ["interval of Δ", "n"], ["p", "n"],
    ["S / D / I", "n"], ["CER %", "n"], ["SER %", "n"], ["oracle %", "n"], ["gap %", "n"], ["seconds", "n"], "weights"];
  return table(heads, rows.map((row) => ({
    class: row.wer === best ? "best" : null,
    cells: [
      el("span", {}, el("i", { class: "dot", style: `--dot:${LIGHT[row.number % 8]};--dot-dark:${DARK[row.number % 8]}` }), row.name),
      percent(row.wer), range(row.wer_low, row.wer_high), signed(row.delta_wer),
      row.delta_wer === null ? "" : range(row.delta_low, row.delta_high, (x) => signed(x) || "0.00"), pValue(row.p_value, row.p_test),
      `${count(row.substitutions)} / ${count(row.deletions)} / ${count(row.insertions)}`,
      percent(row.cer), percent(row.ser), percent(row.oracle_wer), share(row.gap_recovered), row.seconds ? row.seconds.toFixed(1) : NONE,
      [weightsText(row.weights ? JSON.parse(row.weights) : null), row.choice].filter((part) => part).join("; "),
    ],
  })), { class: "systems" });
}

// Older results lack some columns.
function share(value) {
  return value === null || value === undefined ? NONE : (100 * value).toFixed(0).replace("-", "−");
}

function trustSection(app, split) {
  const body = sideBySide(app, split, (run) => {
    const found = run.reliability[split];
    if (!found.length) return null;
    const heads = ["system", ["normalised cross-entropy", "n"], ["calibration error", "n"]];
    const rows = found.map((entry) => [entry.system, entry.nce === null ? NONE : entry.nce.toFixed(3), entry.ece.toFixed(3)]);
    return card("Reliability", "For words grouped by confidence: mean confidence, and share of the words that are right. On the dotted line the two are equal: of words with confidence 0.8, 80 % are right.",
      reliabilityPlot(found, numbersOf(app)), el("details", {}, el("summary", {}, "Numbers"), table(heads, rows)));
  });
  return body && section("trust", "Confidence of words", body);
}

function listsSection(app, split) {
  const body = sideBySide(app, split, (run) => {
    const curves = run.curves[split];
    if (!curves.by_n.length && !curves.oracle.some((curve) => curve.n.length > 1)) return null;
    return card("Word error rate against N", "Each system chooses among the first N hypotheses of its lists; the oracle always takes the best of them.",
      byNPlot(curves, numbersOf(app)));
  });
  return body && section("nbest", "N-best lists", body);
}

function weightsSection(app, split) {
  const body = sideBySide(app, split, (run) => {
    const curves = run.curves[split];
    const systems = [...new Set(curves.weights.map((found) => found.system))];
    if (!systems.length) return null;
    const holder = el("div", {});
    const show = (system) => {
      replace(holder,
        el("div", { class: "grid three" }, curves.weights.filter((w) => w.system === system).map((w) => card(w.column, null, weightPlot(w, curves)))),
        el("div", { class: "grid" }, curves.maps.filter((m) => m.system === system).map((m) => card(m.columns.join(" and "), null, mapPlot(m, curves)))));
      drawNew();
    };
    const chosen = systems[systems.length - 1];
    show(chosen);
    return [el("p", { class: "bar" }, select("System", systems, chosen, show)), holder];
  });
  return body && section("weights", "Weights",
    el("p", { class: "note" }, `Word error rate on ${split} when one or two weights change and the others keep their tuned values (marked).`), body);
}

function sweepSection(app, split) {
  const body = sideBySide(app, split, (run) => run.sweep.flatMap((key) => {
    const others = run.sweep.filter((other) => other !== key);
    const lines = new Map();
    for (const row of run.systems.filter((r) => r.split === split && r[key] !== null && r[key] !== undefined)) {
      const point = others.filter((o) => row[o] !== null && row[o] !== undefined).map((o) => `${o.split(".").pop()}=${row[o]}`);
      const name = row.system + (point.length ? ` [${point.join(", ")}]` : "");
      if (!lines.has(name)) lines.set(name, []);
      lines.get(name).push({ x: row[key], wer: row.wer, wer_low: row.wer_low, wer_high: row.wer_high });
    }
    const shown = [...lines].map(([name, points]) => ({ name, points: points.sort((a, b) => (a.x < b.x ? -1 : a.x > b.x ? 1 : 0)) }));
    const path = key.replace(/^sweep\./, "");
    const title = path.endsWith("beam_width") ? "Word error rate against beam width" : `Word error rate against ${path}`;
    return shown.length ? [card(title, null, sweepPlot(path, shown))] : [];
  }));
  return body && section("sweep", "Sweep", body);
}

function groupsSection(app, split) {
  const body = sideBySide(app, split, (run) => {
    const groups = run.groups[split];
    if (!groups.length) return null;
    const cards = groups.map((group) => {
      const first = group.systems[0];
      const alike = group.systems.every((s) => s.utterances.every((n, k) => n === first.utterances[k]));
      const rate = (s, k) => (s.words[k] ? percent(s.errors[k] / s.words[k]) : NONE);
      // If the systems have different utterances in a group, each cell shows their number.
      const heads = [group.tag, ...(alike ? [["utterances", "n"], ["words", "n"]] : []), ...group.systems.map((s) => [`${s.system} %`, "n"])];
      const rows = group.values.map((value, k) => [value, ...(alike ? [count(first.utterances[k]), count(first.words[k])] : []),
        ...group.systems.map((s) => (alike ? rate(s, k) : `${rate(s, k)} (${count(s.utterances[k])})`))]);
      const left = group.left_out ? `${group.left_out} smaller groups are not shown.` : null;
      return card(`By ${group.tag}`, left, groupPlot(group, numbersOf(app)),
        el("details", {}, el("summary", {}, "Numbers"), table(heads, rows)));
    });
    return el("div", { class: "grid" }, cards);
  });
  return body && section("tags", "Errors by tag", el("p", { class: "note" }, `On ${split}; bars are 95 % intervals, bootstrap over utterances.`), body);
}

function confusionsSection(app, split) {
  const body = sideBySide(app, split, (run) => {
    const found = run.confusions[split];
    if (!found.length) return null;
    const holder = el("div", {});
    const show = (system) => {
      const entry = found.find((e) => e.system === system);
      const pairs = entry.substitutions.map(([ref, hyp, n]) => [ref, hyp, count(n)]);
      const single = (rows) => rows.map(([word, n]) => [word, count(n)]);
      replace(holder, el("div", { class: "grid three" },
        card("Substituted", null, table(["reference", "recognised as", ["times", "n"]], pairs)),
        card("Deleted", null, table(["reference", ["times", "n"]], single(entry.deletions))),
        card("Inserted", null, table(["hypothesis", ["times", "n"]], single(entry.insertions)))));
    };
    const last = found[found.length - 1].system;
    show(last);
    return [el("p", { class: "bar" }, select("System", found.map((e) => e.system), last, show)), holder];
  });
  return body && section("confusions", "Most frequent confusions", body);
}

function secondsSection(app) {
  const parts = app.runs.filter((run) => Object.values(run.meta.stage_seconds || {}).some((s) => Object.keys(s).length));
  if (!parts.length) return null;
  const cards = parts.map((run) => {
    const audio = run.splits.map((split) => [split, run.systems.find((row) => row.split === split).audio_seconds]).filter(([, s]) => s);
    const note = audio.length ? `Audio: ${audio.map(([split, s]) => `${split} ${s.toFixed(0)} s`).join(", ")}.` : "Wall time when each stage last ran.";
    return card(app.runs.length > 1 ? run.name : "Seconds of each stage", note, secondsPlot(run.meta.stage_seconds));
  });
  return section("time", "Time per stage", el("div", { class: cards.length > 1 ? "grid" : null }, cards));
}

function fact(value) {
  if (value === null) return NONE;
  return typeof value === "number" && !Number.isInteger(value) ? significant(value, 6) : String(value);
}

function flat(value, path = "") {
  if (value === null || typeof value !== "object") return [[path, fact(value)]];
  const entries = Array.isArray(value) ? [...value.entries()] : Object.entries(value);
  if (!entries.length) return [[path, Array.isArray(value) ? "[]" : "{}"]];
  if (Array.isArray(value) && value.every((part) => part === null || typeof part !== "object")) return [[path, value.join(", ")]];
  return entries.flatMap(([key, part]) => flat(part, path ? `${path}.${key}` : String(key)));
}

function signatureNodes(signature) {
  if (!signature) return null;
  const lines = typeof signature === "object" ? flat(signature) : [["", String(signature)]];
  return lines.map(([name, text]) => el("p", { class: "signature" }, name && el("b", {}, name, " "), el("code", {}, text)));
}

function provenanceSection(app) {
  const pairs = (rows) => table(["", ""], rows, { class: "pairs" });
  const cards = app.runs.map((run) => {
    const meta = run.meta;
    const shown = new Set(["signature", "signatures", "versions", "config", "inputs", "stage_seconds", "schema", "tuned"]);
    const facts = flat(Object.fromEntries(Object.entries(meta).filter(([key]) => !shown.has(key))));
    const block = (title, value) => value && Object.keys(value).length > 0 && el("div", {}, el("h4", {}, title), pairs(flat(value)));
    const config = meta.config && el("details", {}, el("summary", {}, "Resolved config"), pairs(flat(meta.config)));
    return card(run.name, null, signatureNodes(meta.signature || meta.signatures), tunedTable(meta.tuned, run.dev),
      el("div", { class: "grid facts" }, facts.length > 0 && el("div", {}, el("h4", {}, "Run"), pairs(facts)),
        block("Versions", meta.versions), block("Inputs, by hash", meta.inputs)), config);
  });
  return section("provenance", "How the numbers were made", el("div", { class: cards.length > 1 ? "runs" : null }, cards));
}

function tunedTable(tuned, dev) {
  const rows = Object.entries(tuned || {}).filter(([, found]) => found && found.weights).map(([name, found]) =>
    [name, weightsText(found.weights), fact(found.baseline ?? null), fact(found.errors ?? null)]);
  if (!rows.length) return null;
  return el("div", {}, el("h4", {}, `Weights tuned on ${dev.join(" + ") || "dev"}`),
    table(["system", "weights", ["errors before", "n"], ["errors after", "n"]], rows, { class: "tuned" }));
}
