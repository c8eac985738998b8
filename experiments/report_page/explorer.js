"use strict";
// The N-best explorer: a list of utterances, fast with thousands of them, and details of one.

const ROW = 52; // pixels of a row in the list

function explorerData(app, split) {
  return app.runs.flatMap((run, i) => {
    const j = run.splits.indexOf(split);
    if (j < 0) return [];
    const key = `explorer-${i}-${j}`;
    if (!app.parsed.has(key)) app.parsed.set(key, readJson(key));
    return [{ run, data: app.parsed.get(key) }];
  });
}

// The data of all systems of all runs on one split.
function openSplit(app, split) {
  const sources = explorerData(app, split).map(({ run, data }) => ({
    run, data, place: new Map(data.utts.map((utt, u) => [utt, u])),
  }));
  const systems = sources.flatMap((source) => source.data.systems.map((entry, k) => ({
    source, entry, index: k, name: systemName(app, source.run, entry.system), number: numbersOf(app)(entry.system),
  })));
  const utts = [...new Set(sources.flatMap((source) => source.data.utts))];
  return { sources, systems, utts, texts: new Map() };
}

function outputOf(system, utt) {
  const { data, place } = system.source, u = place.get(utt);
  if (u === undefined || system.entry.s[u] === null) return null;
  let hyp = system.entry.hyps ? system.entry.hyps[u] : null;
  if (typeof hyp === "number") hyp = data.systems[hyp].hyps[u];
  const [s, d, i] = [system.entry.s[u], system.entry.d[u], system.entry.i[u]];
  const digits = system.entry.sure && system.entry.sure[u];
  const sure = digits ? digits.match(/../g).map(Number) : null;
  return { hyp, sure, s, d, i, errors: s + d + i, rank: system.entry.rank[u], u };
}

function errorsOf(system, utt) {
  const u = system.source.place.get(utt), entry = system.entry;
  return u === undefined || entry.s[u] === null ? null : entry.s[u] + entry.d[u] + entry.i[u];
}

function referenceOf(open, utt) {
  for (const { data, place } of open.sources) {
    const u = place.get(utt);
    if (u !== undefined) return { ref: data.refs ? data.refs[u] : null, words: data.words[u], audio: data.audio ? data.audio[u] : null };
  }
  return null;
}

function searchText(open, utt) {
  if (!open.texts.has(utt)) {
    const hyps = open.systems.map((system) => outputOf(system, utt)).map((found) => (found && found.hyp) || "");
    open.texts.set(utt, [utt, referenceOf(open, utt).ref || "", ...new Set(hyps)].join("\n").toLowerCase());
  }
  return open.texts.get(utt);
}

const FILTERS = [["all", "all"], ["improved", "improved"], ["worsened", "worsened"], ["unchanged", "unchanged"], ["wrong", "still wrong"]];
const SORTS = [["gain", "most improved first"], ["loss", "most worsened first"], ["errors", "most errors first"], ["order", "as in the data"]];

function keep(filter, change, errors) {
  if (filter === "improved") return change < 0;
  if (filter === "worsened") return change > 0;
  if (filter === "unchanged") return change === 0;
  return filter === "wrong" ? errors > 0 : true;
}

function chosenUtterances(open, state) {
  const [a, b] = [open.systems[state.a], open.systems[state.b]];
  const text = state.text.trim().toLowerCase();
  const rows = [];
  open.utts.forEach((utt, order) => {
    const [before, after] = [errorsOf(a, utt), errorsOf(b, utt)];
    if (before === null || after === null) return;
    const change = after - before;
    if (keep(state.filter, change, after) && (!text || searchText(open, utt).includes(text))) rows.push({ utt, order, change, before, after });
  });
  const by = {
    gain: (x, y) => x.change - y.change, loss: (x, y) => y.change - x.change,
    errors: (x, y) => y.after - x.after, order: () => 0,
  };
  return rows.sort((x, y) => by[state.sort](x, y) || x.order - y.order);
}

function changeText(change) {
  if (change < 0) return `▼ ${-change} fewer`;
  return change > 0 ? `▲ ${change} more` : "= same";
}

// Only the rows in view are elements of the page; keys select another utterance.
function utteranceList(open, rows, state, choose) {
  const inner = el("div", { class: "rows", style: `height:${rows.length * ROW}px` });
  const box = el("div", { class: "list", tabindex: 0, role: "listbox", "aria-label": "Utterances" }, inner);
  const fill = () => {
    const from = Math.max(0, Math.floor(box.scrollTop / ROW) - 4);
    const to = Math.min(rows.length, from + Math.ceil((box.clientHeight || 600) / ROW) + 8);
    replace(inner, rows.slice(from, to).map((row, k) => el("div", {
      class: "row " + (row.change < 0 ? "better" : row.change > 0 ? "worse" : ""), role: "option",
      "aria-selected": String(row.utt === state.utt), style: `top:${(from + k) * ROW}px`,
      onclick: () => { choose(row.utt); fill(); },
    },
    el("div", { class: "row-top" }, el("span", { class: "utt" }, row.utt), el("span", { class: "change" }, `${row.before} → ${row.after}  ${changeText(row.change)}`)),
    el("div", { class: "row-text" }, referenceOf(open, row.utt).ref ?? `${referenceOf(open, row.utt).words} words`))));
  };
  const show = () => {
    const at = rows.findIndex((row) => row.utt === state.utt);
    if (at >= 0 && (at * ROW < box.scrollTop || (at + 1) * ROW > box.scrollTop + box.clientHeight)) box.scrollTop = Math.max(0, (at - 1) * ROW);
    fill();
  };
  box.addEventListener("scroll", fill, { passive: true });
  box.addEventListener("keydown", (event) => {
    const step = { ArrowDown: 1, ArrowUp: -1, PageDown: 8, PageUp: -8, Home: -rows.length, End: rows.length }[event.key];
    if (!step || !rows.length) return;
    event.preventDefault();
    const at = rows.findIndex((row) => row.utt === state.utt);
    choose(rows[Math.min(rows.length - 1, Math.max(0, at + step))].utt);
    show();
  });
  return { box, show };
}

function explorerSection(app, split) {
  const open = openSplit(app, split);
  if (!open.systems.length) return null;
  const state = app.explorer;
  if (state.split !== split) Object.assign(state, { split, a: 0, b: open.systems.length - 1, scored: null });
  const names = open.systems.map((system, k) => [String(k), system.name]);
  const left = el("div", { class: "left" }), detail = el("div", { class: "detail" });
  const choose = (utt) => {
    state.utt = utt;
    replace(detail, utt ? utteranceDetail(app, open, state, utt) : el("p", { class: "note" }, "No utterance matches."));
    drawNew();
  };
  const number = el("p", { class: "note", id: "matches", "aria-live": "polite" });
  const refresh = () => {
    const rows = chosenUtterances(open, state);
    const list = utteranceList(open, rows, state, choose);
    replace(number, `${count(rows.length)} of ${count(open.utts.length)} utterances`);
    replace(left, list.box);
    const kept = rows.some((row) => row.utt === state.utt);
    if (!kept) choose(rows.length ? rows[0].utt : null);
    else if (!detail.firstChild) choose(state.utt);
    list.show();
    requestAnimationFrame(list.show);
  };
  const set = (key) => (value) => { state[key] = key === "a" || key === "b" ? Number(value) : value; refresh(); };
  const search = el("input", { type: "search", id: "search", placeholder: "words or an utterance", value: state.text, oninput: () => set("text")(search.value) });
  const bar = el("div", { class: "bar", id: "filters" },
    select("From", names, String(state.a), set("a")), select("to", names, String(state.b), set("b")),
    select("Show", FILTERS, state.filter, set("filter")), select("Sort", SORTS, state.sort, set("sort")),
    el("label", {}, "Search ", search));
  app.afterShow.push(refresh);
  const anonymous = app.anonymous && el("p", { class: "missing" }, "Texts and audio are left out of this report.");
  return section("explorer", "N-best explorer", anonymous, bar, number, el("div", { class: "panes" }, left, detail));
}
