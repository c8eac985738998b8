"use strict";
// All details of one utterance in the explorer.

function utteranceDetail(app, open, state, utt) {
  const { ref, words, audio } = referenceOf(open, utt);
  const outputs = open.systems.map((system) => ({ system, output: outputOf(system, utt) })).filter(({ output }) => output);
  const parts = [el("h3", { class: "utt-name" }, utt, el("span", { class: "note" }, ` ${words} words`))];
  if (audio) parts.push(el("audio", { controls: true, preload: "none", src: audio }));
  parts.push(outputBlock(app, ref, outputs));
  parts.push(...listBlocks(app, open, state, utt, ref));
  parts.push(...tokenBlocks(app, open, utt));
  return parts;
}

function outputBlock(app, ref, outputs) {
  const errors = outputs.map(({ system, output }) => [system.name, `${output.errors}`, `${output.s} / ${output.d} / ${output.i}`, output.rank ?? NONE]);
  const counts = table(["system", ["errors", "n"], ["S / D / I", "n"], ["rank", "n"]], errors, { class: "counts" });
  if (ref === null) return card("Errors of every system", null, counts);
  const holder = el("div", { class: "aligned-holder" });
  const rows = outputs.map(({ system, output }) => ({ name: system.name, hyp: output.hyp, sure: output.sure, method: system.source.run.alignment }));
  // A reference with alternatives is aligned by Python only: there the texts have no marks.
  const words = splitWords(ref);
  const known = rows.every((row, k) => alignWords(words, splitWords(row.hyp), row.method).filter(([kind]) => kind !== "ok").length === outputs[k].output.errors);
  if (!known) {
    const texts = table(["", "text"], [["reference", ref], ...rows.map((row) => [row.name, row.hyp])]);
    return card("Reference and outputs", "The reference has alternatives, so the errors are counted but not marked.", texts, counts);
  }
  const fit = () => {
    const narrow = holder.clientWidth < 480, longest = Math.max(9, ...rows.map((row) => row.name.length));
    const label = 8.4 * Math.min(narrow ? 15 : 24, longest) + 12;
    holder.style.setProperty("--label", `${label}px`);
    replace(holder, alignedBlock(words, rows, holder.clientWidth - label - 4));
  };
  app.onWidth.set(holder, fit);
  requestAnimationFrame(() => fit());
  const legend = el("p", { class: "note legend" }, "Errors: ", wordNode("sub", "substituted"), " ", wordNode("del", ""), " deleted ", wordNode("ins", "inserted"),
    rows.some((row) => row.sure) && [" The stronger the bar below a word, the lower its confidence: ", ...[90, 50, 10].flatMap((sure) => [wordNode("ok", `${sure}\u00a0%`, sure), " "])]);
  return card("Reference and outputs", null, legend, holder, el("details", {}, el("summary", {}, "Counts"), counts));
}

// The hypotheses of one N-best list, in the order of a system's total scores.
function hypothesesOf(system, utt) {
  const { data, place } = system.source, u = place.get(utt);
  const lists = data.lists.find((entry) => entry.lists === system.entry.lists);
  if (!lists || u === undefined) return null;
  const columns = Object.keys(lists.scores), weights = system.entry.weights;
  const rows = [];
  for (let k = lists.start[u]; k < lists.start[u + 1]; k++) {
    const scores = Object.fromEntries(columns.map((name) => [name, lists.scores[name][k]]));
    const parts = Object.entries(weights || {}).map(([name, weight]) => [name, weight === 0 ? 0 : scores[name] === null || scores[name] === undefined ? null : weight * scores[name]]);
    const total = weights ? (parts.some(([, x]) => x === null) ? -Infinity : parts.reduce((sum, [, x]) => sum + x, 0)) : null;
    rows.push({ rank: lists.rank[k], errors: lists.errors[k], text: lists.text ? lists.text[k] : null, counted: (lists.counted || [])[k] ?? (lists.text ? lists.text[k] : null), scores, parts: Object.fromEntries(parts), total });
  }
  if (weights) rows.sort((x, y) => y.total - x.total || x.rank - y.rank);
  return { rows, columns: columns.filter((name) => worthShowing(rows, name, weights)), weights, lists };
}

// Columns of zeros are not shown, nor are numbers of tokens without a weight.
function worthShowing(rows, name, weights) {
  if (weights && weights[name]) return true;
  return !name.endsWith(".tokens") && rows.some((row) => row.scores[name] !== 0);
}

function listBlocks(app, open, state, utt, ref) {
  const withLists = open.systems.filter((system) => {
    const found = hypothesesOf(system, utt);
    return found && found.rows.length > 0;
  });
  const missing = open.sources.filter((source) => !source.data.lists.length).map((source) =>
    el("p", { class: "missing" }, (app.runs.length > 1 ? `${source.run.name}: ` : "") + "No hypotheses to show: hypotheses.parquet is missing, or has no hypotheses of this split."));
  if (!withLists.length) return missing;
  const weighted = withLists.filter((system) => system.entry.weights);
  if (!withLists.some((system) => system.name === state.scored)) state.scored = (weighted[weighted.length - 1] || withLists[withLists.length - 1]).name;
  const holder = el("div", {});
  const show = () => {
    const system = withLists.find((s) => s.name === state.scored);
    replace(holder, hypothesisView(open, state, system, utt, ref));
    drawNew();
  };
  show();
  const bar = el("p", { class: "bar" },
    select("Scored as", withLists.map((s) => s.name), state.scored, (name) => { state.scored = name; show(); }),
    select("Bars", [["difference", "difference from the winner"], ["share", "share of the total"]], state.bars, (value) => { state.bars = value; show(); }));
  return [card("Hypotheses", null, bar, holder), ...missing];
}

function hypothesisView(open, state, system, utt, ref) {
  const { rows, columns, weights, lists } = hypothesesOf(system, utt);
  const choosers = new Map();
  for (const other of open.systems) {
    const output = outputOf(other, utt);
    if (other.source !== system.source || other.entry.lists !== system.entry.lists || !output || output.rank === null) continue;
    const row = rows.find((r) => r.rank === output.rank && r.errors === output.errors);
    if (row) choosers.set(row, [...(choosers.get(row) || []), other.name]);
  }
  const fewest = Math.min(...rows.map((row) => row.errors));
  const words = ref === null ? null : splitWords(ref);
  const heads = [["rank", "n"], ["errors", "n"], words ? "hypothesis" : "chosen by", ...(weights ? [["total", "n"]] : []), ...columns.map((name) => [name, "n"])];
  const chips = (row) => (choosers.get(row) || []).map((name) => el("span", { class: "chip" }, name));
  const cells = rows.map((row) => ({
    class: choosers.has(row) ? "chosen" : null,
    cells: [row.rank, `${row.errors}${row.errors === fewest ? " ◎" : ""}`,
      ...(words ? [[hypothesisText(words, row, system.source.run.alignment), chips(row)]] : [chips(row)]),
      ...(weights ? [score(row.total === -Infinity ? null : row.total)] : []),
      ...columns.map((name) => score(row.scores[name]))],
  }));
  const note = `${weights ? `Weights: ${weightsText(weights)}. ` : "This system chooses rank 1. "}The columns show scores without weights, in natural logarithms; ◎ marks the fewest errors in the list.` +
    (lists.left_out ? ` Ranks above ${lists.limit} are shown only if a system chose them or they have the fewest errors.` : "");
  const best = rows[0];
  const bars = weights && best.total > -Infinity ? sharePlot(rows, best, state.bars, choosers) : null;
  return [bars, el("p", { class: "note" }, note), table(heads, cells, { class: "hyps" })];
}

// A hypothesis with its errors marked. In older results, which lack normalised texts, the errors may
// not be known; then the text has no marks.
function hypothesisText(ref, row, method) {
  const words = splitWords(row.counted), wrong = alignWords(ref, words, method).filter(([kind]) => kind !== "ok").length;
  const title = row.text === row.counted ? null : `text from the first pass: ${row.text}`;
  return el("span", { class: "hyp", ...(title && { title }) }, wrong === row.errors ? markedLine(ref, words, method) : row.text);
}

// Weighted scores of every hypothesis, stacked: the difference from the winner, or the scores.
function sharePlot(rows, best, mode, choosers) {
  const shown = rows.filter((row) => row.total > -Infinity);
  const names = Object.keys(best.parts);
  const part = (row, name) => row.parts[name] - (mode === "difference" ? best.parts[name] : 0);
  const make = () => {
    const labels = shown.map((row) => `rank ${row.rank}, ${row.errors} wrong${choosers.has(row) ? " ◂" : ""}`);
    const bars = names.map((name, k) => ({
      type: "bar", orientation: "h", name: plain(name), y: labels, x: shown.map((row) => part(row, name)),
      marker: { color: colour(k), pattern: { shape: ["", "/", ".", "x", "\\", "-"][k % 6], fillmode: "overlay", fgcolor: isDark() ? "#000000" : "#ffffff", fgopacity: 0.55, size: 7, solidity: 0.25 } },
      hovertemplate: `${plain(name)} %{x:+.2f}<extra>%{y}</extra>`,
    }));
    const total = {
      type: "scatter", mode: "markers", name: "total", y: labels, x: shown.map((row) => names.reduce((sum, name) => sum + part(row, name), 0)),
      marker: { symbol: "diamond", size: 8, color: isDark() ? "#ffffff" : "#111111" }, hovertemplate: "total %{x:+.2f}<extra>%{y}</extra>",
    };
    return {
      data: [...bars, total],
      layout: {
        barmode: "relative", bargap: 0.3,
        xaxis: { title: { text: mode === "difference" ? "weight · (score − winner's score), natural log" : "weight · score, natural log" }, zeroline: true },
        yaxis: { autorange: "reversed", type: "category" },
      },
    };
  };
  return plot(make, 110 + 21 * shown.length, "Weighted scores of every hypothesis");
}

function tokenBlocks(app, open, utt) {
  const blocks = open.sources.flatMap((source) => {
    const u = source.place.get(utt), found = source.data.tokens ? source.data.tokens[String(u)] : null;
    if (!found) return [];
    return [...new Set(found.map(([column]) => column))].map((column) =>
      card(`Tokens by ${app.runs.length > 1 ? `${source.run.name}: ` : ""}${column}`,
        "Natural-log probability of each token given those before it; the darker, the less expected.",
        found.filter((entry) => entry[0] === column).map(([, text, pieces, logprobs]) => tokenLine(source, u, text, pieces, logprobs))));
  });
  return blocks;
}

function tokenLine(source, u, text, pieces, logprobs) {
  const same = (hyp) => hyp !== null && splitWords(hyp).join(" ").toLowerCase() === splitWords(text).join(" ").toLowerCase();
  const choosers = source.data.systems.filter((entry) => {
    const hyp = entry.hyps[u];
    return same(typeof hyp === "number" ? source.data.systems[hyp].hyps[u] : hyp);
  }).map((entry) => entry.system);
  const sum = logprobs.reduce((total, x) => total + (x ?? -Infinity), 0);
  const groups = [];
  pieces.forEach((piece, k) => {
    if (!groups.length || /^\s/u.test(piece)) groups.push([]);
    const depth = Math.min(1, (logprobs[k] === null ? 10 : -logprobs[k]) / 10);
    groups[groups.length - 1].push(el("span", { class: "token", style: `--depth:${depth.toFixed(3)}` },
      el("span", { class: "piece" }, piece.trim() || "␣"), el("span", { class: "logprob" }, score(logprobs[k]))));
  });
  return el("div", { class: "tokens" },
    el("p", { class: "note" }, choosers.map((name) => el("span", { class: "chip" }, name)), ` sum ${score(Number.isFinite(sum) ? sum : null)}`),
    el("div", {}, groups.map((group) => el("span", { class: "word" }, group))));
}
