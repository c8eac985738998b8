"use strict";
// Word alignment: the one that the errors were counted with (rapidfuzz's Levenshtein, which jiwer
// uses too), ties broken alike: what both ends share is cut off; from the end, deletions come first,
// then insertions, then pairs of words.

function alignWords(ref, hyp) {
  let head = 0;
  while (head < ref.length && head < hyp.length && ref[head] === hyp[head]) head++;
  let tail = 0;
  while (tail < ref.length - head && tail < hyp.length - head &&
         ref[ref.length - 1 - tail] === hyp[hyp.length - 1 - tail]) tail++;
  const pairs = [];
  for (let k = 0; k < head; k++) pairs.push(["ok", k, k]);
  pairs.push(...alignMiddle(ref, hyp, head, ref.length - tail, hyp.length - tail));
  for (let k = tail; k > 0; k--) pairs.push(["ok", ref.length - k, hyp.length - k]);
  return pairs;
}

function alignMiddle(ref, hyp, start, refEnd, hypEnd) {
  const rows = refEnd - start, columns = hypEnd - start;
  const cost = Array.from({ length: rows + 1 }, (_, i) => new Int32Array(columns + 1).fill(i));
  for (let j = 0; j <= columns; j++) cost[0][j] = j;
  for (let i = 1; i <= rows; i++) {
    for (let j = 1; j <= columns; j++) {
      const same = ref[start + i - 1] === hyp[start + j - 1];
      cost[i][j] = Math.min(cost[i - 1][j - 1] + (same ? 0 : 1), cost[i - 1][j] + 1, cost[i][j - 1] + 1);
    }
  }
  const found = [];
  let i = rows, j = columns;
  while (i > 0 || j > 0) {
    if (j === 0 || (i > 0 && cost[i][j] === cost[i - 1][j] + 1)) {
      i--;
      found.push(["del", start + i, null]);
    } else if (i === 0 || cost[i][j - 1] === cost[i - 1][j - 1] - 1) {
      j--;
      found.push(["ins", start + i, start + j]);
    } else {
      i--;
      j--;
      const same = ref[start + i] === hyp[start + j];
      found.push([same ? "ok" : "sub", start + i, start + j]);
    }
  }
  return found.reverse();
}

function splitWords(text) {
  return text.split(/\s+/u).filter((word) => word);
}

// What a system says at each reference word, and what it inserts before it (and after the last).
function slots(ref, hyp) {
  const at = ref.map(() => null), before = Array.from({ length: ref.length + 1 }, () => []);
  for (const [kind, i, j] of alignWords(ref, hyp)) {
    if (kind === "ins") before[i].push(hyp[j]);
    else at[i] = { kind, word: kind === "del" ? "" : hyp[j] };
  }
  return { at, before };
}

const KINDS = {
  ok: "right",
  sub: "substituted",
  del: "deleted",
  ins: "inserted",
};

function wordNode(kind, word) {
  const shown = kind === "del" ? "∗∗∗" : kind === "ins" ? "+" + word : word;
  if (kind === "ok") return el("span", { class: "w ok" }, shown);
  return el("span", { class: `w ${kind}`, title: KINDS[kind] }, shown);
}

// A hypothesis in one line, its errors marked.
function markedLine(ref, hyp) {
  const marked = alignWords(ref, hyp).map(([kind, i, j]) => wordNode(kind, kind === "del" ? ref[i] : hyp[j]));
  return marked.flatMap((node, k) => (k ? [" ", node] : [node]));
}

// Pixels of one character of the monospaced text, and of what stands around a word.
const CHARACTER = 8.2, AROUND = 10;

// The reference above every system's output, broken into lines of a width in pixels; rows are
// {name, hyp}.
function alignedBlock(ref, rows, width) {
  const aligned = rows.map((row) => slots(ref, splitWords(row.hyp)));
  const columns = [];
  for (let i = 0; i <= ref.length; i++) {
    const most = Math.max(0, ...aligned.map((a) => a.before[i].length));
    for (let k = 0; k < most; k++) {
      columns.push([null, ...aligned.map((a) => (k < a.before[i].length ? ["ins", a.before[i][k]] : null))]);
    }
    if (i < ref.length) columns.push([["ok", ref[i]], ...aligned.map((a) => [a.at[i].kind, a.at[i].word])]);
  }
  const names = ["reference", ...rows.map((row) => row.name)];
  const size = (column) => AROUND + CHARACTER * Math.max(...column.map((cell) => {
    if (!cell) return 0;
    return cell[0] === "del" ? 3 : [...cell[1]].length + (cell[0] === "ins" ? 1 : 0);
  }));
  const lines = [[]];
  let used = 0;
  for (const column of columns) {
    if (used && used + size(column) > width) {
      lines.push([]);
      used = 0;
    }
    lines[lines.length - 1].push(column);
    used += size(column);
  }
  return el("div", { class: "aligned" }, lines.map((line) =>
    el("table", { class: "line" }, el("tbody", {}, names.map((name, r) =>
      el("tr", { class: r ? null : "ref" },
        el("th", { scope: "row", title: name }, name),
        line.map((column) => el("td", {}, column[r] && wordNode(...column[r])))))))));
}
