"use strict";
// Word alignment, the same as the one that counts the errors, see asr/evaluation/alignment.py.
// METHODS has, for each method, the costs and the step back from the end of the cost matrix. Ties
// are decided in the same way.
const METHODS = {
  // As rapidfuzz, which jiwer uses: equal words at both ends are cut off first. Deletions are
  // preferred to insertions, and insertions to pairs of words.
  jiwer: {
    cut: true, pair: 1, gap: 1,
    step: (cost, i, j) => j === 0 || (i > 0 && cost[i][j] === cost[i - 1][j] + 1) ? "del"
      : i === 0 || cost[i][j - 1] === cost[i - 1][j - 1] - 1 ? "ins" : "pair",
  },
  // As NIST sclite: a substitution costs 4, a deletion or insertion 3. Pairs of words are preferred
  // to insertions, and insertions to deletions.
  sclite: {
    cut: false, pair: 4, gap: 3,
    step: (cost, i, j, same) => i > 0 && j > 0 && cost[i][j] === cost[i - 1][j - 1] + (same ? 0 : 4) ? "pair"
      : j > 0 && cost[i][j] === cost[i][j - 1] + 3 ? "ins" : "del",
  },
};

// Returns [kind, place in the reference, place in the hypothesis] for every place of the alignment.
function alignWords(ref, hyp, method) {
  const { cut } = METHODS[method];
  let head = 0;
  while (cut && head < ref.length && head < hyp.length && ref[head] === hyp[head]) head++;
  let tail = 0;
  while (cut && tail < ref.length - head && tail < hyp.length - head &&
         ref[ref.length - 1 - tail] === hyp[hyp.length - 1 - tail]) tail++;
  const pairs = [];
  for (let k = 0; k < head; k++) pairs.push(["ok", k, k]);
  pairs.push(...alignMiddle(ref, hyp, head, ref.length - tail, hyp.length - tail, METHODS[method]));
  for (let k = tail; k > 0; k--) pairs.push(["ok", ref.length - k, hyp.length - k]);
  return pairs;
}

function alignMiddle(ref, hyp, start, refEnd, hypEnd, { pair, gap, step }) {
  const rows = refEnd - start, columns = hypEnd - start;
  const same = (i, j) => ref[start + i - 1] === hyp[start + j - 1];
  const cost = Array.from({ length: rows + 1 }, (_, i) => new Int32Array(columns + 1).fill(gap * i));
  for (let j = 0; j <= columns; j++) cost[0][j] = gap * j;
  for (let i = 1; i <= rows; i++) {
    for (let j = 1; j <= columns; j++) {
      cost[i][j] = Math.min(cost[i - 1][j - 1] + (same(i, j) ? 0 : pair), cost[i - 1][j] + gap, cost[i][j - 1] + gap);
    }
  }
  const found = [];
  let i = rows, j = columns;
  while (i > 0 || j > 0) {
    const kind = step(cost, i, j, same(i, j));
    if (kind === "del") {
      i--;
      found.push(["del", start + i, null]);
    } else if (kind === "ins") {
      j--;
      found.push(["ins", start + i, start + j]);
    } else {
      found.push([same(i, j) ? "ok" : "sub", start + i - 1, start + j - 1]);
      i--;
      j--;
    }
  }
  return found.reverse();
}

function splitWords(text) {
  return text.split(/\s+/u).filter((word) => word);
}

// A system's word at each reference word, and the words that it inserts before each reference word
// and after the last. `sure` has each word's confidence in percent, or is null.
function slots(ref, { hyp, sure, method }) {
  const words = splitWords(hyp);
  const at = ref.map(() => null), before = Array.from({ length: ref.length + 1 }, () => []);
  for (const [kind, i, j] of alignWords(ref, words, method)) {
    const cell = [kind, j === null ? "" : words[j], j === null || !sure ? null : sure[j]];
    if (kind === "ins") before[i].push(cell);
    else at[i] = cell;
  }
  return { at, before };
}

const KINDS = {
  ok: "right",
  sub: "substituted",
  del: "deleted",
  ins: "inserted",
};

// A word, marked by its kind; the lower its confidence, the stronger the bar below it.
function wordNode(kind, word, sure) {
  const shown = kind === "del" ? "∗∗∗" : kind === "ins" ? "+" + word : word;
  const known = sure !== null && sure !== undefined;
  const facts = [...(kind === "ok" ? [] : [KINDS[kind]]), ...(known ? [`confidence ${(sure / 100).toFixed(2)}`] : [])];
  const attributes = { class: `w ${kind}${known ? " sure" : ""}` };
  if (facts.length) attributes.title = facts.join(", ");
  if (known) attributes.style = `--doubt:${(1 - sure / 99).toFixed(2)}`;
  return el("span", attributes, shown);
}

// A hypothesis in one line, its errors marked.
function markedLine(ref, hyp, method) {
  const marked = alignWords(ref, hyp, method).map(([kind, i, j]) => wordNode(kind, kind === "del" ? ref[i] : hyp[j]));
  return marked.flatMap((node, k) => (k ? [" ", node] : [node]));
}

// Pixels of one character of the monospaced text, and of the space around a word.
const CHARACTER = 8.2, AROUND = 10;

// The reference above the output of every system, in lines of at most `width` pixels; rows are
// {name, hyp, sure, method}.
function alignedBlock(ref, rows, width) {
  const aligned = rows.map((row) => slots(ref, row));
  const columns = [];
  for (let i = 0; i <= ref.length; i++) {
    const most = Math.max(0, ...aligned.map((a) => a.before[i].length));
    for (let k = 0; k < most; k++) {
      columns.push([null, ...aligned.map((a) => (k < a.before[i].length ? a.before[i][k] : null))]);
    }
    if (i < ref.length) columns.push([["ok", ref[i]], ...aligned.map((a) => a.at[i])]);
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
