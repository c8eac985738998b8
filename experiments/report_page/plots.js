"use strict";
// Plots made with plotly. Labels are escaped, because plotly interprets some HTML in texts.

const drawn = []; // plots, to draw them again when the colours or the width change

function plain(text) {
  return String(text).replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;");
}

// make() returns {data, layout}; it is called again when the colours change.
function plot(make, height, label) {
  const holder = el("div", { class: "plot", role: "img", "aria-label": label, style: `height:${height}px` });
  drawn.push({ holder, make, height });
  return holder;
}

function drawAll() {
  for (let k = drawn.length - 1; k >= 0; k--) {
    if (!drawn[k].holder.isConnected) {
      Plotly.purge(drawn[k].holder);
      drawn.splice(k, 1);
    }
  }
  for (const entry of drawn) draw(entry);
}

function drawNew() {
  for (const entry of drawn) if (!entry.done && entry.holder.isConnected) draw(entry);
}

function plotConfig() {
  return {
    responsive: true,
    displaylogo: false,
    // On a touch screen the buttons would always be visible and cover part of the plot.
    displayModeBar: window.matchMedia("(hover: hover)").matches ? "hover" : false,
    showSendToCloud: false, // the button that uploads a chart, which newer versions show by default
    plotlyServerURL: "",
    modeBarButtonsToRemove: ["select2d", "lasso2d", "autoScale2d"],
    toImageButtonOptions: { format: "svg" },
  };
}

function draw(entry) {
  entry.done = true;
  const { data, layout } = entry.make();
  const whole = merged(baseLayout(entry.height), layout);
  if (printing) whole.width = entry.holder.clientWidth; // responsive plots use the width of the window
  Plotly.react(entry.holder, data, whole, plotConfig());
}

function merged(base, more) {
  const found = { ...base };
  for (const [key, value] of Object.entries(more)) {
    const nested = value && typeof value === "object" && !Array.isArray(value) && found[key];
    found[key] = nested ? merged(found[key], value) : value;
  }
  return found;
}

function baseLayout(height) {
  const ink = isDark() ? "#e4e6ea" : "#1d2129";
  const axis = {
    gridcolor: isDark() ? "#363b45" : "#e3e6eb",
    zerolinecolor: isDark() ? "#596070" : "#aab0bb",
    linecolor: isDark() ? "#596070" : "#aab0bb",
    automargin: true,
    title: { standoff: 8, font: { size: 13 } },
  };
  return {
    height,
    font: { family: "system-ui, sans-serif", size: 12.5, color: ink },
    paper_bgcolor: "rgba(0,0,0,0)",
    plot_bgcolor: "rgba(0,0,0,0)",
    margin: { l: 50, r: 12, t: 30, b: 40 },
    xaxis: axis,
    yaxis: axis,
    legend: { orientation: "h", x: 0, y: 1.02, yanchor: "bottom", traceorder: "normal", font: { size: 12 } },
    hoverlabel: { font: { size: 12.5 } },
    modebar: { bgcolor: "rgba(0,0,0,0)", color: isDark() ? "#8b93a1" : "#8a919c", activecolor: ink },
    hovermode: "closest",
  };
}

function times100(rate) {
  return rate === null || rate === undefined ? null : 100 * rate;
}

// Word error rates with their intervals; a hollow mark shows the oracle.
function intervalPlot(rows) {
  const make = () => {
    const names = rows.map((row) => plain(row.name));
    const wer = rows.map((row) => times100(row.wer));
    const known = (row) => row.wer_low !== null && row.wer_low !== undefined;
    return {
      data: [
        {
          type: "scatter", mode: "markers", name: "WER and its 95 % interval", x: wer, y: names,
          marker: { size: 10, color: rows.map((row) => colour(row.number)) },
          error_x: {
            type: "data", symmetric: false, thickness: 2, width: 5, color: isDark() ? "#c9ced8" : "#444b57",
            array: rows.map((row) => (known(row) ? 100 * (row.wer_high - row.wer) : 0)),
            arrayminus: rows.map((row) => (known(row) ? 100 * (row.wer - row.wer_low) : 0)),
          },
          hovertemplate: "%{y}: %{x:.2f} %<extra></extra>",
        },
        {
          type: "scatter", mode: "markers", name: "oracle of its lists",
          x: rows.map((row) => times100(row.oracle_wer)), y: names,
          marker: { size: 9, symbol: "triangle-up-open", color: isDark() ? "#c9ced8" : "#444b57", line: { width: 1.5 } },
          hovertemplate: "oracle of %{y}: %{x:.2f} %<extra></extra>",
        },
      ],
      layout: {
        xaxis: { title: { text: "word error rate, %" } },
        yaxis: { autorange: "reversed", type: "category" },
      },
    };
  };
  return plot(make, 96 + 30 * rows.length, "Word error rates with intervals");
}

function byNPlot(curves, numbers) {
  const rate = (errors) => errors.map((e) => (100 * e) / curves.words);
  const make = () => ({
    data: [
      ...curves.by_n.map((curve) => ({
        type: "scatter", mode: "lines+markers", name: plain(curve.system), x: curve.n, y: rate(curve.errors),
        line: { color: colour(numbers(curve.system)), dash: dash(numbers(curve.system)), width: 2 },
        marker: { size: 6, symbol: SYMBOLS[numbers(curve.system) % SYMBOLS.length] },
        hovertemplate: "%{y:.2f} % with the first %{x}<extra>%{fullData.name}</extra>",
      })),
      ...curves.oracle.filter((curve) => curve.n.length > 1).map((curve, k) => ({
        type: "scatter", mode: "lines", name: `oracle of ${plain(curve.lists)}`, x: curve.n, y: rate(curve.errors),
        line: { color: isDark() ? "#c9ced8" : "#555c68", dash: ["dash", "dot", "dashdot"][k % 3], width: 2 },
        hovertemplate: "%{y:.2f} % with the first %{x}<extra>%{fullData.name}</extra>",
      })),
    ],
    layout: {
      xaxis: { title: { text: "N, hypotheses that are considered" }, rangemode: "tozero" },
      yaxis: { title: { text: "word error rate, %" } },
    },
  });
  return plot(make, 380, "Word error rate against N");
}

function weightPlot(found, curves) {
  const rate = (errors) => errors.map((e) => (100 * e) / curves.words);
  const make = () => ({
    data: [
      {
        type: "scatter", mode: "lines", x: found.x, y: rate(found.errors), name: plain(found.column),
        line: { color: colour(0), width: 2 },
        hovertemplate: "weight %{x:.4g}: %{y:.2f} %<extra></extra>",
      },
      {
        type: "scatter", mode: "markers", name: "tuned", x: [found.tuned],
        y: [(100 * found.errors[found.x.indexOf(found.tuned)]) / curves.words],
        marker: { size: 11, symbol: "diamond", color: colour(1) },
        hovertemplate: "tuned %{x:.4g}: %{y:.2f} %<extra></extra>",
      },
    ],
    layout: {
      xaxis: { title: { text: `weight of ${plain(found.column)}` } },
      yaxis: { title: { text: "WER, %" } },
      showlegend: false,
    },
  });
  return plot(make, 250, `Word error rate against the weight of ${found.column}`);
}

function mapPlot(found, curves) {
  const make = () => ({
    data: [
      {
        type: "heatmap", x: found.x, y: found.y,
        z: found.errors.map((row) => row.map((e) => (100 * e) / curves.words)),
        colorscale: "Viridis", reversescale: true, zsmooth: false,
        colorbar: { title: { text: "WER, %", side: "right", font: { size: 12 } }, thickness: 12, outlinewidth: 0 },
        hovertemplate: `${plain(found.columns[0])} %{x:.4g}, ${plain(found.columns[1])} %{y:.4g}: %{z:.2f} %<extra></extra>`,
      },
      {
        type: "scatter", mode: "markers", x: [found.tuned[0]], y: [found.tuned[1]], name: "tuned",
        marker: { size: 13, symbol: "x", color: "#ff3b1f", line: { color: "#ffffff", width: 1.5 } },
        hovertemplate: "tuned: %{x:.4g}, %{y:.4g}<extra></extra>",
      },
    ],
    layout: {
      xaxis: { title: { text: `weight of ${plain(found.columns[0])}` }, showgrid: false, zeroline: false },
      yaxis: { title: { text: `weight of ${plain(found.columns[1])}` }, showgrid: false, zeroline: false },
      showlegend: false,
    },
  });
  return plot(make, 330, `Word error rate over the weights of ${found.columns.join(" and ")}`);
}

function sweepPlot(key, lines) {
  const numeric = lines.every((line) => line.points.every((p) => typeof p.x === "number"));
  const make = () => ({
    data: lines.map((line, k) => ({
      type: "scatter", mode: "lines+markers", name: plain(line.name),
      x: line.points.map((p) => (numeric ? p.x : plain(p.x))), y: line.points.map((p) => times100(p.wer)),
      error_y: {
        type: "data", symmetric: false, thickness: 1, width: 3,
        array: line.points.map((p) => 100 * ((p.wer_high ?? p.wer) - p.wer)),
        arrayminus: line.points.map((p) => 100 * (p.wer - (p.wer_low ?? p.wer))),
      },
      line: { color: colour(k), dash: dash(k), width: 2 },
      marker: { size: 8, symbol: SYMBOLS[k % SYMBOLS.length] },
      hovertemplate: "%{x}: %{y:.2f} %<extra>%{fullData.name}</extra>",
    })),
    layout: {
      xaxis: { title: { text: plain(key) }, type: numeric ? undefined : "category" },
      yaxis: { title: { text: "word error rate, %" } },
    },
  });
  return plot(make, 360, `Word error rate against ${key}`);
}

function groupPlot(group, numbers) {
  const rate = (errors, words) => (words ? (100 * errors) / words : null);
  const make = () => ({
    data: group.systems.map((entry) => {
      const wer = entry.errors.map((e, k) => rate(e, entry.words[k]));
      const number = numbers(entry.system);
      return {
        type: "scatter", mode: "markers", name: plain(entry.system), x: group.values.map(plain), y: wer,
        error_y: {
          type: "data", symmetric: false, thickness: 1.4, width: 3,
          array: wer.map((w, k) => (entry.high[k] === null || w === null ? 0 : 100 * entry.high[k] - w)),
          arrayminus: wer.map((w, k) => (entry.low[k] === null || w === null ? 0 : w - 100 * entry.low[k])),
        },
        marker: { color: colour(number), size: 9, symbol: SYMBOLS[number % SYMBOLS.length] },
        customdata: group.values.map((_, k) => [entry.utterances[k], entry.words[k]]),
        hovertemplate: "%{x}: %{y:.2f} % (%{customdata[0]} utterances, %{customdata[1]} words)<extra>%{fullData.name}</extra>",
      };
    }),
    layout: {
      scattermode: "group", scattergap: 0.35,
      xaxis: { type: "category" },
      yaxis: { title: { text: "word error rate, %" }, rangemode: "tozero" },
    },
  });
  return plot(make, 320 + 8 * group.systems.length, `Word error rate by ${group.tag}`);
}

function reliabilityPlot(found, numbers) {
  const make = () => ({
    data: [
      {
        type: "scatter", mode: "lines", name: "as they say", x: [0, 1], y: [0, 1], hoverinfo: "skip",
        line: { color: isDark() ? "#c9ced8" : "#555c68", dash: "dot", width: 1.5 },
      },
      ...found.map((entry) => ({
        type: "scatter", mode: "lines+markers", name: plain(entry.system), x: entry.confidence, y: entry.right, customdata: entry.words,
        line: { color: colour(numbers(entry.system)), dash: dash(numbers(entry.system)), width: 2 },
        marker: { size: 7, symbol: SYMBOLS[numbers(entry.system) % SYMBOLS.length] },
        hovertemplate: "confidence %{x:.2f}: %{y:.2f} right, of %{customdata} words<extra>%{fullData.name}</extra>",
      })),
    ],
    layout: {
      xaxis: { title: { text: "mean confidence" }, range: [-0.02, 1.02] },
      yaxis: { title: { text: "share of words that are right" }, range: [-0.02, 1.04] },
    },
  });
  return plot(make, 380, "Reliability of word confidences");
}

function secondsPlot(stages) {
  // stages: {split: {stage: seconds}}
  const splits = Object.keys(stages);
  const names = [...new Set(splits.flatMap((split) => Object.keys(stages[split])))];
  const make = () => ({
    data: splits.map((split, k) => ({
      type: "bar", orientation: "h", name: plain(split), y: names.map(plain),
      x: names.map((name) => stages[split][name] ?? 0), marker: { color: colour(k) },
      hovertemplate: "%{y}: %{x:.2f} s<extra>%{fullData.name}</extra>",
    })),
    layout: {
      barmode: "stack",
      xaxis: { title: { text: "seconds" } },
      yaxis: { autorange: "reversed", type: "category" },
    },
  });
  return plot(make, 130 + 26 * names.length, "Seconds of each stage");
}
