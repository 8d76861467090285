// The panels: what the reader holds, and what is drawn again where it changes.
"use strict";

const payload = JSON.parse(document.getElementById("payload").textContent);
const get = (id) => document.getElementById(id);
const write = (id, text) => (get(id).textContent = text);
const nats = (number) => number.toFixed(2).replace("-", "−");

const state = { pair: 0, image: 0, z: [0.5, 0.5] };
const planes = payload.pairs.map(readPlane);

/** A pair as the panels use it. What takes time is computed when it is first asked for. */
function readPlane(packed) {
  const grid = new Grid(packed.low, packed.high, packed.size);
  const decodings = new Grid(packed.low, packed.high, packed.decoded_size);
  const plane = { ...packed, grid, decodings, many: readBells(packed.many), posteriors: [] };
  if (packed.is_fine) {
    plane.bells = readBells(packed.bells);
    plane.logPrior = unpack(packed.log_prior);
  }
  return plane;
}

function findPosterior() {
  const plane = planes[state.pair];
  const kept = plane.posteriors;
  kept[state.image] ??= new Posterior(
    plane.grid,
    plane.logPrior,
    unpack(plane.log_likelihood[state.image]),
  );
  return kept[state.image];
}

/** The decoding at any z, between the four nearest that are kept. */
function decode(plane, z) {
  plane.pixels ??= unpack(plane.decoded);
  const grid = plane.decodings;
  const count = payload.shape.reduce((a, b) => a * b, 1);
  const [i, s] = place(grid, z[0]);
  const [j, t] = place(grid, z[1]);
  const corners = [
    [i, j, (1 - s) * (1 - t)],
    [i, j + 1, (1 - s) * t],
    [i + 1, j, s * (1 - t)],
    [i + 1, j + 1, s * t],
  ];
  const mean = new Float32Array(count);
  for (const [a, b, weight] of corners) {
    const start = (a * grid.size + b) * count;
    for (let k = 0; k < count; k++) mean[k] += weight * plane.pixels[start + k];
  }
  return mean;
}

function place(grid, coordinate) {
  const exact = Math.min(Math.max((coordinate - grid.low) / grid.step, 0), grid.size - 1.001);
  return [Math.floor(exact), exact - Math.floor(exact)];
}

/** Call back with z while a finger or a mouse is down, and for the keys of arrows. */
function letDrag(canvas, findView, hold) {
  const tell = (event, isFirst) => {
    const box = canvas.getBoundingClientRect();
    const pixel = [event.clientX - box.left, event.clientY - box.top];
    hold(findView().toPlane(pixel), isFirst, pixel);
  };
  canvas.addEventListener("pointerdown", (event) => {
    canvas.setPointerCapture(event.pointerId);
    tell(event, true);
  });
  canvas.addEventListener("pointermove", (event) => {
    if (canvas.hasPointerCapture(event.pointerId)) tell(event, false);
  });
}

const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] };

function letStep(canvas, findView, step) {
  canvas.addEventListener("keydown", (event) => {
    const arrow = ARROWS[event.key];
    if (!arrow) return;
    event.preventDefault();
    const length = findView().reach / 50;
    step(arrow.map((part) => part * length), event.shiftKey);
  });
}

const wholePlane = (canvas) => {
  const { low, high } = planes[state.pair];
  return new View(canvas, [(low + high) / 2, (low + high) / 2], (high - low) / 2);
};

// 1. Which z could be behind this image?

function drawWhere() {
  const plane = planes[state.pair];
  const posterior = findPosterior();
  const densities = {
    prior: [posterior.logPrior, GREY],
    likelihood: [posterior.logLikelihood, INK],
    posterior: [(z) => posterior.logDensity(z), BLUE],
  };
  for (const [name, [logDensity, colour]] of Object.entries(densities)) {
    const view = wholePlane(get(name));
    drawCross(drawHeat(view, logDensity, colour), view, state.z);
  }
  drawDatum(get("decoding"), decode(plane, state.z), payload.shape);
  drawDatum(get("chosen"), payload.unpacked[state.image], payload.shape);
  writeWhere(posterior);
}

function writeWhere(posterior) {
  const [prior, likelihood] = [posterior.logPrior(state.z), posterior.logLikelihood(state.z)];
  write("log-prior", nats(prior));
  write("log-likelihood", nats(likelihood));
  write("log-joint", nats(prior + likelihood));
  write("log-evidence", nats(posterior.logEvidence));
  write("log-posterior", nats(prior + likelihood - posterior.logEvidence));
  for (const d of [0, 1]) {
    get(`z${d}`).value = state.z[d];
    write(`z${d}-shown`, nats(state.z[d]));
  }
}

function moveZ(z) {
  const { low, high } = planes[state.pair];
  state.z = z.map((part) => Math.min(Math.max(part, low), high));
  drawSoon(drawWhere);
}

function startWhere() {
  for (const name of ["prior", "likelihood", "posterior"]) {
    const canvas = get(name);
    const findView = () => wholePlane(canvas);
    letDrag(canvas, findView, moveZ);
    letStep(canvas, findView, (by) => moveZ(state.z.map((part, d) => part + by[d])));
  }
  for (const d of [0, 1]) {
    get(`z${d}`).addEventListener("input", (event) => {
      const z = state.z.slice();
      z[d] = Number(event.target.value);
      moveZ(z);
    });
  }
}

// the page

const waiting = new Set();

/** Draw once in the next frame, however often it is asked for. */
function drawSoon(draw) {
  if (!waiting.size) requestAnimationFrame(drawWaiting);
  waiting.add(draw);
}

function drawWaiting() {
  const draws = [...waiting];
  waiting.clear();
  for (const draw of draws) draw();
  document.documentElement.dataset.drawn ??= Math.round(performance.now());
}

const DRAWN = [drawWhere];

function drawAll() {
  const { low, high } = planes[state.pair];
  for (const d of [0, 1]) Object.assign(get(`z${d}`), { min: low, max: high });
  DRAWN.forEach(drawSoon);
}

/** Radio buttons, one for each of several things, of which one is chosen. */
function offer(id, name, things, choose) {
  things.forEach((thing, i) => {
    const label = document.createElement("label");
    const input = document.createElement("input");
    Object.assign(input, { type: "radio", name, value: i, checked: i === state[name] });
    input.disabled = Boolean(thing.isOut);
    input.addEventListener("change", () => {
      state[name] = i;
      choose();
    });
    label.append(input, thing.shown);
    get(id).append(label);
  });
}

function startImages() {
  payload.unpacked = payload.images.map((packed) => unpack(packed));
  const things = payload.unpacked.map((values, i) => {
    const shown = document.createElement("canvas");
    shown.setAttribute("aria-label", payload.names[i]);
    return { shown, values };
  });
  offer("images", "image", things, drawAll);
  for (const { shown, values } of things) drawDatum(shown, values, payload.shape);
}

function startPairs() {
  const things = planes.map((plane) => ({ shown: plane.name, isOut: !plane.is_fine }));
  state.pair = Math.max(0, planes.findIndex((plane) => plane.is_fine));
  offer("pairs", "pair", things, drawAll);
}

function start() {
  startPairs();
  startImages();
  startWhere();
  window.addEventListener("resize", drawAll);
  drawAll();
}

start();
