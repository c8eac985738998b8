"use strict";
// Makes elements, and formats numbers and colours. Every text of the data becomes a text node, never
// markup.

function el(tag, attributes, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes || {})) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else node.setAttribute(name, value === true ? "" : value);
  }
  add(node, children);
  return node;
}

function add(node, children) {
  for (const child of [children].flat(Infinity)) {
    if (child === null || child === undefined || child === false) continue;
    node.append(child instanceof Node ? child : document.createTextNode(String(child)));
  }
}

function replace(node, ...children) {
  node.replaceChildren();
  add(node, children);
}

function readJson(id) {
  return JSON.parse(document.getElementById(id).textContent);
}

const NONE = "–";

function percent(rate, digits = 2) {
  return rate === null || rate === undefined ? NONE : (100 * rate).toFixed(digits);
}

function signed(rate) {
  if (rate === null || rate === undefined) return "";
  return (rate > 0 ? "+" : rate < 0 ? "−" : "") + percent(Math.abs(rate));
}

function range(low, high, show = percent) {
  return low === null || low === undefined ? NONE : `${show(low)} to ${show(high)}`;
}

function pValue(p, test) {
  if (p === null || p === undefined) return "";
  return (p < 0.001 ? "<0.001" : p.toFixed(3)) + (test === "permutation" ? " (exact)" : "");
}

function count(number) {
  return number.toLocaleString("en-GB");
}

function score(value) {
  if (value === null || value === undefined) return "−∞";
  return Number.isInteger(value) ? String(value).replace("-", "−") : value.toFixed(2).replace("-", "−");
}

function significant(value, digits = 3) {
  return String(Number(value.toPrecision(digits))).replace("-", "−");
}

function weightsText(weights) {
  const pairs = Object.entries(weights || {}).filter(([name]) => name !== "acoustic");
  return pairs.map(([name, value]) => `${name} ${significant(value)}`).join(", ");
}

function wordErrors(row) {
  return row.substitutions + row.deletions + row.insertions;
}

// The colours of Okabe and Ito, which people with any colour vision can distinguish; lighter colours
// for the dark theme.
const LIGHT = ["#0072b2", "#d55e00", "#00805f", "#b3558f", "#a86f00", "#3a8fc4", "#6b5b95", "#555555"];
const DARK = ["#56b4e9", "#ff9149", "#2fc79a", "#e28fc3", "#f0b429", "#8ccbf2", "#b0a1dc", "#bbbbbb"];
const DASHES = ["solid", "dash", "dot", "dashdot"];
const SYMBOLS = ["circle", "square", "diamond", "triangle-up", "cross", "x", "star", "pentagon"];

let printing = false;

function isDark() {
  if (printing) return false;
  const chosen = document.documentElement.dataset.theme;
  if (chosen) return chosen === "dark";
  return window.matchMedia("(prefers-color-scheme: dark)").matches;
}

function colour(number) {
  const colours = isDark() ? DARK : LIGHT;
  return colours[number % colours.length];
}

function dash(number) {
  return DASHES[Math.floor(number / LIGHT.length) % DASHES.length];
}

function select(label, options, chosen, onchange) {
  const box = el("select", { onchange: () => onchange(box.value) });
  for (const option of options) {
    const [value, text] = Array.isArray(option) ? option : [option, option];
    box.append(el("option", { value }, text));
  }
  box.value = chosen;
  return el("label", {}, label, " ", box);
}

function table(heads, rows, attributes) {
  // A head is a text or [text, class]; a cell is a text, a node or an array of both.
  const classes = heads.map((head) => (Array.isArray(head) ? head[1] : ""));
  const cells = (tag, row) =>
    row.map((cell, i) => el(tag, { class: classes[i], scope: tag === "th" && "col" }, cell));
  const names = heads.map((head) => (Array.isArray(head) ? head[0] : head));
  const body = rows.map((row) => {
    const [first, ...others] = cells("td", row.cells || row);
    return el("tr", { class: row.class }, first, others);
  });
  return el("div", { class: "scroll" },
    el("table", attributes, el("thead", {}, el("tr", {}, cells("th", names))), el("tbody", {}, body)));
}

function card(title, note, ...children) {
  return el("div", { class: "card" }, el("h3", {}, title), note && el("p", { class: "note" }, note), children);
}
