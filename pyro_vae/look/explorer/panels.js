// The panels: what the reader holds, and what is drawn again where it changes.
"use strict";

const payload = JSON.parse(document.getElementById("payload").textContent);
const { shape, colours } = payload;
const PIXELS = shape.reduce((a, b) => a * b, 1);
const images = payload.images.map(unpack);
const planes = payload.pairs.map(readPlane);
const state = { pair: 0, image: 0, z: [0.5, 0.5], bell: null, ringWidth: 0.5, ringTurn: 135 };

const get = (id) => document.getElementById(id);
const write = (id, text) => (get(id).textContent = text);
const show = (number, digits = 2) => number.toFixed(digits).replace("-", "−");
const clamp = (number, low, high) => Math.min(Math.max(number, low), high);
const findPlane = () => planes[state.pair];

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
  const { grid, logPrior, log_likelihood: packed, posteriors } = findPlane();
  posteriors[state.image] ??= new Posterior(grid, logPrior, unpack(packed[state.image]));
  return posteriors[state.image];
}

/** The decoding at any z, between the four nearest that are kept. */
function decode(z) {
  const plane = findPlane();
  plane.pixels ??= unpack(plane.decoded);
  const [[i, s], [j, t]] = z.map((coordinate) => placeBetween(plane.decodings, coordinate));
  const mean = new Float32Array(PIXELS);
  for (const [a, b, weight] of [
    [i, j, (1 - s) * (1 - t)],
    [i, j + 1, (1 - s) * t],
    [i + 1, j, s * (1 - t)],
    [i + 1, j + 1, s * t],
  ]) {
    const start = (a * plane.decodings.size + b) * PIXELS;
    for (let k = 0; k < PIXELS; k++) mean[k] += weight * plane.pixels[start + k];
  }
  return mean;
}

function placeBetween(grid, coordinate) {
  const place = clamp((coordinate - grid.low) / grid.step, 0, grid.size - 1.001);
  return [Math.floor(place), place - Math.floor(place)];
}

/** Call back with z while a finger or a mouse is down, and with a step for the arrow keys. */
function letDrag(id, findView, hold, step) {
  const canvas = get(id);
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
  canvas.addEventListener("keydown", (event) => {
    const arrow = ARROWS[event.key];
    if (!arrow) return;
    event.preventDefault();
    step(arrow.map((part) => (part * findView().reach) / 50), event.shiftKey);
  });
}

const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] };

function letSlide(id, change) {
  get(id).addEventListener("input", (event) => change(Number(event.target.value)));
}

/** Set a slider, and the number beside it. */
function setSlider(id, value, shown) {
  get(id).value = value;
  write(`${id}-shown`, shown);
}

function viewPlane(id) {
  const { low, high } = findPlane();
  const middle = (low + high) / 2;
  return new View(get(id), [middle, middle], (high - low) / 2);
}

// 1. Which z could be behind this image?

function drawWhere() {
  const posterior = findPosterior();
  const densities = {
    prior: posterior.logPrior,
    likelihood: posterior.logLikelihood,
    posterior: (z) => posterior.logDensity(z),
  };
  for (const [name, logDensity] of Object.entries(densities)) {
    const view = viewPlane(name);
    drawCross(drawHeat(view, logDensity, colours[name]), view, state.z);
  }
  drawDatum(get("decoding"), decode(state.z), shape);
  drawDatum(get("chosen"), images[state.image], shape);
  writeWhere(posterior);
}

function writeWhere(posterior) {
  const [prior, likelihood] = [posterior.logPrior(state.z), posterior.logLikelihood(state.z)];
  write("log-prior", show(prior));
  write("log-likelihood", show(likelihood));
  write("log-joint", show(prior + likelihood));
  write("log-evidence", show(posterior.logEvidence));
  write("log-posterior", show(prior + likelihood - posterior.logEvidence));
  for (const d of [0, 1]) setSlider(`z${d}`, state.z[d], show(state.z[d]));
}

function moveZ(z) {
  const { low, high } = findPlane();
  state.z = z.map((part) => clamp(part, low, high));
  drawSoon(drawWhere, drawMany);
}

const stepZ = (by) => moveZ(state.z.map((part, d) => part + by[d]));

function startWhere() {
  for (const id of ["prior", "likelihood", "posterior"]) {
    letDrag(id, () => viewPlane(id), moveZ, stepZ);
  }
  for (const d of [0, 1]) letSlide(`z${d}`, (value) => moveZ(state.z.with(d, value)));
}

// 2. How good is a bell?

const [NARROW, WIDE] = [1e-6, 3]; // the least and the largest width
const APART = 20; // pixels between the centre and a handle, at least
const HANDLES = ["loc", "right", "up"];

/** A window on the posterior and the encoder's q, or on the whole plane. */
function viewBell() {
  if (get("whole").checked) return viewPlane("bell");

  const posterior = findPosterior();
  posterior.kept ??= posterior.moments();
  const shown = [posterior.kept, findPlane().bells[state.image]];
  const edges = [0, 1].map((d) => [
    Math.min(...shown.map(({ loc, scale }) => loc[d] - 4 * scale[d])),
    Math.max(...shown.map(({ loc, scale }) => loc[d] + 4 * scale[d])),
  ]);
  const centre = edges.map(([low, high]) => (low + high) / 2);
  return new View(get("bell"), centre, Math.max(...edges.map(([low, high]) => high - low)) / 2);
}

function drawBell() {
  const posterior = findPosterior();
  const view = viewBell();
  const context = drawHeat(view, (z) => posterior.logDensity(z), colours.posterior);
  for (const width of [1, 2]) drawEllipse(context, view, state.bell, width, colours.variational);
  HANDLES.forEach((name) => {
    drawHandle(context, placeHandle(name, view), colours.variational, name === "loc");
  });
  const terms = measureBell(posterior, state.bell);
  writeBell(terms);
  drawBars(terms);
}

/** The pixel of a handle: the centre, or one width away from it. */
function placeHandle(name, view) {
  const { loc, scale } = state.bell;
  const [x, y] = view.toPixel(loc);
  if (name === "right") return [x + Math.max(APART, scale[0] * view.unit), y];
  if (name === "up") return [x, y - Math.max(APART, scale[1] * view.unit)];
  return [x, y];
}

function writeBell(terms) {
  write("bell-log-evidence", show(terms.logEvidence));
  write("bell-elbo", show(terms.elbo));
  write("bell-elbo-again", show(terms.elbo));
  write("bell-gap", show(terms.gap));
  write("bell-reconstruction", show(terms.reconstruction));
  write("bell-cost", show(terms.cost));
  const { loc, scale, correlation } = state.bell;
  for (const d of [0, 1]) {
    setSlider(`loc${d}`, loc[d], show(loc[d]));
    setSlider(`scale${d}`, Math.log(scale[d]), String(+scale[d].toPrecision(2)));
  }
  setSlider("correlation", correlation, show(correlation));
}

const SPANS = [4, 8, 16, 32, 64, 128, 256, 512, 1024]; // nats that the bars show below log p(x)

/** Two bars: ELBO + gap is log p(x), and ELBO + cost is the reconstruction. */
function drawBars({ logEvidence, elbo, gap, reconstruction, cost }) {
  const span = SPANS.find((s) => s > 1.1 * gap && s / 2 > reconstruction - logEvidence) ?? 2048;
  const share = (from, to) => clamp((100 * (to - from)) / (1.5 * span), 0, 100);
  const start = logEvidence - span;
  const widths = {
    "bar-elbo": share(start, elbo),
    "bar-gap": share(Math.max(start, elbo), logEvidence),
    "bar-elbo-again": share(start, elbo),
    "bar-cost": share(Math.max(start, elbo), reconstruction),
  };
  for (const [id, width] of Object.entries(widths)) get(id).style.width = `${width}%`;
  get("bar-evidence").style.left = `${share(start, logEvidence)}%`;
  write("bar-start", show(start, 0));
  write("bar-end", show(logEvidence + span / 2, 0));
}

function setBell(bell) {
  const { low, high } = findPlane();
  state.bell = {
    loc: bell.loc.map((part) => clamp(part, low, high)),
    scale: bell.scale.map((part) => clamp(part, NARROW, WIDE)),
    correlation: clamp(bell.correlation, -0.95, 0.95),
  };
  drawSoon(drawBell);
}

const changeBell = (changes) => setBell({ ...state.bell, ...changes });

/** Take hold of the nearest handle. Elsewhere the bell comes to the finger. */
function holdBell(z, isFirst, pixel) {
  if (isFirst) state.held = findHandle(pixel);
  const { loc, scale } = state.bell;
  if (state.held === "loc") changeBell({ loc: z });
  else if (state.held === "right") changeBell({ scale: scale.with(0, Math.abs(z[0] - loc[0])) });
  else changeBell({ scale: scale.with(1, Math.abs(z[1] - loc[1])) });
}

function findHandle(pixel) {
  const view = viewBell();
  const distance = (name) => {
    const [x, y] = placeHandle(name, view);
    return Math.hypot(x - pixel[0], y - pixel[1]);
  };
  const nearest = HANDLES.reduce((a, b) => (distance(b) < distance(a) ? b : a));
  return distance(nearest) < 24 ? nearest : "loc";
}

/** The arrow keys move the centre, and with Shift they change the widths. */
function stepBell(by, isShift) {
  const { loc, scale } = state.bell;
  if (!isShift) changeBell({ loc: loc.map((part, d) => part + by[d]) });
  else changeBell({ scale: scale.map((part, d) => part * (1 + 0.1 * Math.sign(by[d]))) });
}

/** Whether the encoder's q may turn: a bell that is not upright. */
const mayTurn = () => findPlane().bells.some(({ correlation }) => correlation !== 0);

function findBestBell() {
  const posterior = findPosterior();
  const starts = [posterior.moments(), findPlane().bells[state.image]];
  posterior.best ??= findBest(posterior, starts, mayTurn());
  return posterior.best;
}

function startBell() {
  letDrag("bell", viewBell, holdBell, stepBell);
  for (const d of [0, 1]) {
    letSlide(`loc${d}`, (value) => changeBell({ loc: state.bell.loc.with(d, value) }));
    letSlide(`scale${d}`, (value) => {
      changeBell({ scale: state.bell.scale.with(d, Math.exp(value)) });
    });
    Object.assign(get(`scale${d}`), { min: Math.log(NARROW), max: Math.log(WIDE) });
  }
  letSlide("correlation", (value) => changeBell({ correlation: value }));
  get("set-encoder").addEventListener("click", () => setBell(findPlane().bells[state.image]));
  get("set-best").addEventListener("click", () => setBell(findBestBell()));
  get("set-prior").addEventListener("click", () => {
    setBell({ loc: [0, 0], scale: [1, 1], correlation: 0 });
  });
  get("whole").addEventListener("change", () => drawSoon(drawBell));
}

// 3. Which images lie at this z?

const SHOWN = 12; // images of q(x|z)
const ELLIPSES = 300; // bells whose ellipses or labels there is room for

function drawMany() {
  const { many } = findPlane();
  payload.unpacked ??= unpack(payload.many);
  const { weights, logDensity } = weighData(many, state.z);
  const view = viewPlane("many");
  const context = clear(view.canvas);
  drawPrior(context, view);
  drawCentres(context, view, many.slice(ELLIPSES));
  drawCentres(context, view, many.slice(0, ELLIPSES), payload.labels);
  drawTicks(context, view);
  drawCross(context, view, state.z);

  drawDatum(get("many-decoding"), decode(state.z), shape);
  drawDatum(get("many-mean"), averageData(payload.unpacked, weights, PIXELS), shape);
  const order = weights.map((_, i) => i).sort((a, b) => weights[b] - weights[a]);
  const first = order.slice(0, SHOWN);
  const data = first.map((i) => payload.unpacked.subarray(i * PIXELS, (i + 1) * PIXELS));
  drawRow(get("thumbnails"), data, shape, first.map((i) => weights[i]));
  writeMany(weights, order, logDensity);
}

function writeMany(weights, order, logDensity) {
  let carried = 0;
  const count = order.findIndex((i) => (carried += weights[i]) > 0.9) + 1;
  write("many-count", String(count));
  write("many-of", String(weights.length));
  write("many-aggregate", show(logDensity));
  write("many-first", show(100 * weights[order[0]], 1));
}

function startMany() {
  letDrag("many", () => viewPlane("many"), moveZ, stepZ);
}

// 4. Must neighbours decode alike?

const WALK = [-2, 2]; // z[0] at both ends, z[1] is half
const STEPS = 400;
const TILES = 21;

const findRings = () => new Rings(state.ringWidth, (state.ringTurn * Math.PI) / 180);

function drawRings() {
  if (!findPlane().is_round) return;
  const rings = findRings();
  const turnedDecode = (z) => decode(rings.move(z, -1));
  drawMosaic(viewMiddle("mosaic"), turnedDecode, shape, TILES);
  drawRow(get("walk-before"), walk(9).map(decode), shape);
  drawRow(get("walk-after"), walk(9).map(turnedDecode), shape);
  write("jump-before", show(findJump(decode, walk(STEPS)), 3));
  write("jump-after", show(findJump(turnedDecode, walk(STEPS)), 3));
  setSlider("ring-width", Math.log2(state.ringWidth), show(state.ringWidth));
  setSlider("ring-turn", state.ringTurn, `${state.ringTurn}°`);
  drawLater(drawTorn);
}

const viewMiddle = (id) => new View(get(id), [0, 0], 3);

function walk(count) {
  const [from, to] = WALK;
  return Array.from({ length: count }, (_, i) => [from + ((to - from) * i) / (count - 1), 0.5]);
}

function drawTorn() {
  const rings = findRings();
  const posterior = findPosterior();
  const model = scramble(posterior, rings);
  const bell = findBestBell();
  const single = findSingle(model, rings);
  const columns = {
    before: measureBell(posterior, bell),
    turned: measureTurned(model, bell, rings),
    single: measureBell(model, single),
  };
  for (const [name, terms] of Object.entries(columns)) {
    for (const [key, number] of Object.entries(terms)) write(`${name}-${key}`, show(number));
  }
  const view = viewMiddle("torn");
  const logDensity = (z) => model.logLikelihood(z) + model.logPrior(z);
  const context = drawHeat(view, logDensity, colours.posterior);
  for (const width of [1, 2]) drawEllipse(context, view, single, width, colours.variational);
}

/** The best single bell of the scrambled plane, from its peaks on and from where the best went. */
function findSingle(model, rings) {
  const logDensity = (z) => model.logLikelihood(z) + model.logPrior(z);
  const best = findBestBell();
  const starts = startAtPeaks(model.grid, logDensity, 0.4, 4);
  return findBest(model, [...starts, { ...best, loc: rings.move(best.loc) }], mayTurn());
}

function startRings() {
  letSlide("ring-width", (value) => {
    state.ringWidth = 2 ** value;
    drawSoon(drawRings);
  });
  letSlide("ring-turn", (value) => {
    state.ringTurn = value;
    drawSoon(drawRings);
  });
}

// 5. What does the weight of the cost do?

const ROWS = {
  log_evidence: "log p(x)",
  elbo: "= ELBO",
  gap: "+ gap, KL(q(z|x) ‖ p(z|x))",
  reconstruction: "reconstruction, E_q log p(x|z)",
  cost: "− cost, KL(q(z|x) ‖ p(z))",
};

function drawPairs() {
  planes.forEach((plane, i) => {
    const bells = plane.many.slice(0, ELLIPSES);
    const reach = 1.08 * Math.max(2.2, ...bells.flatMap(({ loc }) => loc.map(Math.abs)));
    const view = new View(get(`pair${i}`), [0, 0], reach);
    const context = clear(view.canvas);
    for (const bell of bells) drawEllipse(context, view, bell, 1, colours.variational, 0.6);
    drawPrior(context, view);
    drawCentres(context, view, bells, payload.labels);
    drawTicks(context, view);
  });
}

function startTable() {
  const table = get("means");
  const head = table.insertRow();
  head.append(document.createElement("th"));
  for (const { name } of planes) head.append(makeCell("th", name));
  for (const [key, label] of Object.entries(ROWS)) {
    const row = table.insertRow();
    row.append(makeCell("th", label));
    for (const { means } of planes) {
      const { value, stderr } = means[key];
      row.append(makeCell("td", show(value)));
      row.lastChild.title = `± ${stderr.toFixed(3)}`;
    }
  }
  const errors = planes.flatMap(({ means }) => Object.values(means).map(({ stderr }) => stderr));
  write("measured", String(payload.measured));
  write("largest-error", Math.max(...errors).toPrecision(1));
}

function makeCell(kind, text) {
  const cell = document.createElement(kind);
  cell.textContent = text;
  return cell;
}

function startFigures() {
  planes.forEach(({ name }, i) => {
    const figure = document.createElement("figure");
    const canvas = document.createElement("canvas");
    canvas.id = `pair${i}`;
    canvas.setAttribute("role", "img");
    canvas.setAttribute("aria-label", `q(z|x) of the data, ${name}`);
    figure.append(makeCell("figcaption", name), canvas);
    get("figures").append(figure);
  });
}

// The page

const waiting = new Set(); // to be drawn in the next frames
const unseen = new Set(); // to be drawn when their section comes on the screen
const sections = new Map([
  [drawWhere, "where"],
  [drawBell, "bells"],
  [drawMany, "data"],
  [drawRings, "rings"],
  [drawTorn, "rings"],
  [drawPairs, "compare"],
]);

/** Draw in the next frames, one panel in each, once however often it is asked for. */
function drawSoon(...draws) {
  for (const draw of draws) {
    if (!isSeen(sections.get(draw))) unseen.add(draw);
    else {
      if (!waiting.size) requestAnimationFrame(drawNext);
      waiting.add(draw);
    }
  }
}

function isSeen(id) {
  const { top, bottom } = get(id).getBoundingClientRect();
  return bottom > 0 && top < window.innerHeight;
}

function drawSeen() {
  const draws = [...unseen];
  unseen.clear();
  drawSoon(...draws);
}

/** Draw when the reader's hand has rested, because it takes long. */
function drawLater(draw) {
  clearTimeout(state.timer);
  state.timer = setTimeout(() => {
    state.timer = null;
    drawSoon(draw);
  }, 100);
}

function drawNext() {
  const [draw] = waiting;
  waiting.delete(draw);
  draw();
  document.documentElement.dataset.drawn ??= Math.round(performance.now());
  if (waiting.size) requestAnimationFrame(drawNext);
}

/** Another image or another pair. */
function choose() {
  const plane = findPlane();
  const limits = { min: plane.low, max: plane.high };
  for (const id of ["z0", "z1", "loc0", "loc1"]) Object.assign(get(id), limits);
  for (const id of ["rings", "set-prior"]) get(id).hidden = !plane.is_round;
  get("correlation").parentElement.hidden = !mayTurn();
  setBell(plane.bells[state.image]);
  drawSoon(drawWhere, drawBell, drawMany, drawRings);
}

/** Radio buttons, one for each of several things, of which one is chosen. */
function offer(id, name, things) {
  things.forEach(({ shown, isOut }, i) => {
    const label = document.createElement("label");
    const input = document.createElement("input");
    Object.assign(input, { type: "radio", name, value: i, checked: i === state[name] });
    input.disabled = Boolean(isOut);
    input.addEventListener("change", () => {
      state[name] = i;
      choose();
    });
    label.append(input, shown);
    get(id).append(label);
  });
}

function startImages() {
  const things = images.map((_, i) => {
    const shown = document.createElement("canvas");
    shown.setAttribute("role", "img");
    shown.setAttribute("aria-label", `image ${i + 1}`);
    return { shown };
  });
  offer("images", "image", things);
  things.forEach(({ shown }, i) => drawDatum(shown, images[i], shape));
}

function startPairs() {
  state.pair = planes.findIndex(({ is_fine: isFine }) => isFine);
  offer("pairs", "pair", planes.map((plane) => ({ shown: plane.name, isOut: !plane.is_fine })));
  const out = planes.filter((plane) => !plane.is_fine).map((plane) => plane.name);
  get("out").hidden = !out.length;
  write("out-names", out.join(", "));
}

function start() {
  startPairs();
  startTable();
  startFigures();
  const draws = [drawPairs];
  if (state.pair < 0) {
    for (const id of ["choices", "where", "bells", "data", "rings"]) get(id).hidden = true;
  } else {
    draws.unshift(drawWhere, drawBell, drawMany, drawRings);
    for (const begin of [startImages, startWhere, startBell, startMany, startRings]) begin();
    choose();
  }
  drawSoon(...draws);
  window.addEventListener("resize", () => drawSoon(...draws));
  window.addEventListener("scroll", drawSeen, { passive: true });
}

start();
