"use strict";
// Shows the sections, and updates them when the split, the theme or the width changes.

const app = {
  ...readJson("data"),
  parsed: new Map(), // the explorer's data, once read
  onWidth: new Map(), // what to do when the width changes, by element
  afterShow: [],
  explorer: { split: null, a: 0, b: 0, filter: "all", sort: "gain", text: "", utt: null, scored: null, bars: "difference" },
};

function showSplit(split) {
  const y = window.scrollY;
  app.afterShow.length = 0;
  app.onWidth.clear();
  const sections = [
    systemsSection(app), explorerSection(app, split), listsSection(app, split), weightsSection(app, split),
    sweepSection(app, split), groupsSection(app, split), confusionsSection(app, split), trustSection(app, split), secondsSection(app), provenanceSection(app),
  ].filter((part) => part);
  replace(document.getElementById("main"), app.runs.flatMap((run) => run.missing.map((text) =>
    el("p", { class: "missing" }, app.runs.length > 1 ? `${run.name}: ${text}` : text))), sections);
  replace(document.getElementById("nav"), sections.map((part) => el("a", { href: `#${part.id}` }, part.dataset.short)));
  app.afterShow.forEach((action) => action());
  drawAll();
  window.scrollTo(0, y);
}

function fitWidth() {
  for (const [holder, action] of app.onWidth) {
    if (holder.isConnected) action();
    else app.onWidth.delete(holder);
  }
}

function start() {
  const splits = allSplits(app);
  const box = document.getElementById("split");
  for (const split of splits) box.append(el("option", { value: split }, split));
  const dev = new Set(app.runs.flatMap((run) => run.dev));
  const first = [...splits].reverse().find((split) => !dev.has(split)) || splits[splits.length - 1];
  box.value = first;
  box.addEventListener("change", () => showSplit(box.value));
  document.getElementById("split-control").hidden = splits.length < 2;
  document.getElementById("theme").addEventListener("click", () => {
    document.documentElement.dataset.theme = isDark() ? "light" : "dark";
    drawAll();
  });
  window.matchMedia("(prefers-color-scheme: dark)").addEventListener("change", drawAll);
  let waiting = null;
  window.addEventListener("resize", () => {
    clearTimeout(waiting);
    waiting = setTimeout(fitWidth, 120);
  });
  const paper = (on) => {
    printing = on;
    document.documentElement.classList.toggle("paper", on);
    fitWidth();
    drawAll();
  };
  window.addEventListener("beforeprint", () => paper(true));
  window.addEventListener("afterprint", () => paper(false));
  showSplit(first);
  document.documentElement.dataset.ready = "yes";
}

start();
