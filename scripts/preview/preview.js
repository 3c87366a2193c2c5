// Draw each figure into the panel that names it; a collapsed row's when the row is opened.
"use strict";
const figures = JSON.parse(document.getElementById("figures").textContent);
const settings = { displayModeBar: false, responsive: true, scrollZoom: false, doubleClick: false, showTips: false };

function draw(root) {
  for (const place of root.querySelectorAll("[data-figure]:not(.js-plotly-plot)")) {
    const figure = figures[Number(place.dataset.figure)];
    Plotly.newPlot(place, figure.data, figure.layout, settings);
  }
}

for (const row of document.querySelectorAll("details")) {
  if (row.open) draw(row);
  row.addEventListener("toggle", () => { if (row.open) draw(row); });
}
