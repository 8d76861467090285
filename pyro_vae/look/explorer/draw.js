// What is drawn: heat maps, bells, images and bars. Nothing here computes a number of the page.
"use strict";

const INK = "#1a1a1a";
const GREY = "#767676";
const HEAT = 140; // points of a heat map in each direction

/** The context of a canvas, as large as it is shown, in CSS pixels, and empty. */
function clear(canvas) {
  const ratio = window.devicePixelRatio || 1;
  const { clientWidth: width, clientHeight: height } = canvas;
  canvas.width = Math.round(width * ratio);
  canvas.height = Math.round(height * ratio);
  const context = canvas.getContext("2d");
  context.setTransform(ratio, 0, 0, ratio, 0, 0);
  context.clearRect(0, 0, width, height);
  return context;
}

/** A square window of the plane on a canvas: from z to pixels and back. */
class View {
  constructor(canvas, centre, reach) {
    Object.assign(this, { canvas, centre, reach });
    this.unit = canvas.clientWidth / (2 * reach);
  }

  toPixel(z) {
    const half = this.canvas.clientWidth / 2;
    const [right, up] = [z[0] - this.centre[0], z[1] - this.centre[1]];
    return [half + right * this.unit, half - up * this.unit];
  }

  toPlane([x, y]) {
    const half = this.canvas.clientWidth / 2;
    return [this.centre[0] + (x - half) / this.unit, this.centre[1] - (y - half) / this.unit];
  }
}

/** A density on a plane: white where it is 0, the colour where it is highest. */
function drawHeat(view, logDensity, colour) {
  const context = clear(view.canvas);
  const logs = new Float64Array(HEAT * HEAT);
  const size = view.canvas.clientWidth;
  for (let y = 0; y < HEAT; y++) {
    for (let x = 0; x < HEAT; x++) {
      const pixel = [((x + 0.5) / HEAT) * size, ((y + 0.5) / HEAT) * size];
      logs[y * HEAT + x] = logDensity(view.toPlane(pixel));
    }
  }
  const most = logs.reduce((a, b) => Math.max(a, b), -Infinity);
  paste(context, HEAT, HEAT, size, size, true, (k) => mix(colour, Math.exp(logs[k] - most)));
  drawTicks(context, view);
  return context;
}

/** Between white and a colour, which is "#rrggbb". */
function mix(colour, share) {
  const channel = (from) => parseInt(colour.slice(from, from + 2), 16);
  return [1, 3, 5].map((from) => 255 + share * (channel(from) - 255));
}

const scratch = document.createElement("canvas");

/** Draw pixels, each [red, green, blue], scaled to a size. */
function paste(context, columns, rows, width, height, isSmooth, colour, left = 0, top = 0) {
  const image = new ImageData(columns, rows);
  for (let k = 0; k < columns * rows; k++) image.data.set([...colour(k), 255], 4 * k);
  scratch.width = columns;
  scratch.height = rows;
  scratch.getContext("2d").putImageData(image, 0, 0);
  context.imageSmoothingEnabled = isSmooth;
  context.drawImage(scratch, left, top, width, height);
}

/** Numbers along the left and the lower edge. */
function drawTicks(context, view) {
  const step = [0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10].find((s) => view.reach / s < 3.6) || 20;
  context.fillStyle = INK;
  context.font = "11px system-ui, sans-serif";
  const size = view.canvas.clientWidth;
  for (const d of [0, 1]) {
    const first = Math.ceil((view.centre[d] - view.reach * 0.8) / step);
    for (let i = first; i * step < view.centre[d] + view.reach * 0.95; i++) {
      const z = view.centre.slice();
      z[d] = i * step;
      const place = view.toPixel(z)[d];
      const text = String(+(i * step).toFixed(2)).replace("-", "−");
      context.textAlign = d ? "left" : "center";
      if (d) context.fillText(text, 8, place + 4);
      else context.fillText(text, place, size - 8);
      context.fillRect(d ? 0 : place - 0.5, d ? place - 0.5 : size - 5, d ? 5 : 1, d ? 1 : 5);
    }
  }
}

/** The ellipse of a bell, so many standard deviations wide. */
function drawEllipse(context, view, { loc, scale, correlation }, width, colour, lineWidth = 2) {
  const rest = Math.sqrt(1 - correlation * correlation);
  context.beginPath();
  for (let i = 0; i <= 60; i++) {
    const [u, v] = [Math.cos((i * Math.PI) / 30), Math.sin((i * Math.PI) / 30)];
    const z = [
      loc[0] + width * scale[0] * u,
      loc[1] + width * scale[1] * (correlation * u + rest * v),
    ];
    context.lineTo(...view.toPixel(z));
  }
  context.strokeStyle = colour;
  context.lineWidth = lineWidth;
  context.stroke();
}

/** Circles of the standard normal, one and two standard deviations wide. */
function drawPrior(context, view) {
  context.setLineDash([4, 4]);
  const bell = { loc: [0, 0], scale: [1, 1], correlation: 0 };
  for (const width of [1, 2]) drawEllipse(context, view, bell, width, INK, 1);
  context.setLineDash([]);
}

/** A cross that can be seen on any ground. */
function drawCross(context, view, z) {
  const [x, y] = view.toPixel(z);
  for (const [colour, width] of [["#ffffff", 5], [INK, 2]]) {
    context.strokeStyle = colour;
    context.lineWidth = width;
    context.beginPath();
    context.arc(x, y, 6, 0, 2 * Math.PI);
    for (const [right, up] of [[1, 0], [-1, 0], [0, 1], [0, -1]]) {
      context.moveTo(x + 6 * right, y + 6 * up);
      context.lineTo(x + 12 * right, y + 12 * up);
    }
    context.stroke();
  }
}

/** A handle to take hold of. */
function drawHandle(context, [x, y], colour, isRound) {
  context.beginPath();
  if (isRound) context.arc(x, y, 8, 0, 2 * Math.PI);
  else context.rect(x - 6, y - 6, 12, 12);
  context.fillStyle = colour;
  context.fill();
  context.strokeStyle = "#ffffff";
  context.lineWidth = 2;
  context.stroke();
}

/** Numbers in [0, 1] as an image, ink is 1, or as a line where they are none. */
function drawDatum(canvas, values, shape) {
  const context = clear(canvas);
  placeDatum(context, values, shape, 0, 0, canvas.clientWidth, canvas.clientHeight);
}

function placeDatum(context, values, shape, left, top, width, height) {
  if (shape.length === 1) {
    placeLine(context, values, left, top, width, height);
    return;
  }
  const [channels, rows, columns] = shape;
  const pixels = rows * columns;
  const colour =
    channels === 1
      ? (k) => Array(3).fill(255 * (1 - values[k]))
      : (k) => [0, 1, 2].map((c) => 255 * values[c * pixels + k]);
  const scale = Math.min(width / columns, height / rows);
  const [broad, tall] = [columns * scale, rows * scale];
  const [x, y] = [left + (width - broad) / 2, top + (height - tall) / 2];
  paste(context, columns, rows, broad, tall, false, colour, x, y);
}

function placeLine(context, values, left, top, width, height) {
  context.beginPath();
  values.forEach((value, i) => {
    const x = left + ((i + 0.5) / values.length) * width;
    context.lineTo(x, top + (0.95 - 0.9 * value) * height);
  });
  context.strokeStyle = INK;
  context.lineWidth = 1.5;
  context.stroke();
}

/** Decodings all over the plane, as small images. */
function drawMosaic(view, decode, shape, count) {
  const context = clear(view.canvas);
  const size = view.canvas.clientWidth / count;
  for (let row = 0; row < count; row++) {
    for (let column = 0; column < count; column++) {
      const z = view.toPlane([(column + 0.5) * size, (row + 0.5) * size]);
      placeDatum(context, decode(z), shape, column * size, row * size, size, size);
    }
  }
  return context;
}

/** The numerals of labels at the centres of bells, or dots where there are none. */
function drawCentres(context, view, bells, labels) {
  context.fillStyle = INK;
  context.font = "11px system-ui, sans-serif";
  context.textAlign = "center";
  bells.forEach(({ loc }, i) => {
    const [x, y] = view.toPixel(loc);
    if (labels) context.fillText(labels[i], x, y + 4);
    else context.fillRect(x - 1.5, y - 1.5, 3, 3);
  });
}

/** Data in a row, and with weights, each as a text below and as how dark the datum is. */
function drawRow(canvas, data, shape, weights) {
  const context = clear(canvas);
  const side = canvas.clientWidth / data.length;
  context.font = "11px system-ui, sans-serif";
  context.textAlign = "center";
  data.forEach((values, i) => {
    context.globalAlpha = weights ? 0.2 + (0.8 * weights[i]) / weights[0] : 1;
    placeDatum(context, values, shape, i * side + 1, 0, side - 2, side - 2);
    context.globalAlpha = 1;
    context.strokeStyle = "#bbbbbb";
    context.strokeRect(i * side + 1, 0.5, side - 2, side - 2);
    context.fillStyle = INK;
    const text = weights ? `${(100 * weights[i]).toFixed(0)} %` : "";
    context.fillText(text, (i + 0.5) * side, side + 11);
  });
}
