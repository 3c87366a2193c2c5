// Draw each figure into the panel that names it.
"use strict";
const figures = JSON.parse(document.getElementById("figures").textContent);
const settings = { displayModeBar: false, responsive: true, scrollZoom: false, doubleClick: false, showTips: false };

for (const place of document.querySelectorAll("[data-figure]")) {
  const figure = figures[Number(place.dataset.figure)];
  Plotly.newPlot(place, figure.data, figure.layout, settings);
}
