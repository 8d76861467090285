// The mathematics: the plane, Bayes' rule on it, bells, rings, and q(x|z). Nothing here draws.
"use strict";

const LOG_2_PI = Math.log(2 * Math.PI);
const KINDS = { uint8: Uint8Array, uint16: Uint16Array, float32: Float32Array };
const REACH = 5; // standard deviations of a bell that its sums go to
const FINE = 0.5; // of a standard deviation, the widest step of its sums

/** The numbers of a packed array: low + step * what is kept. */
function unpack(packed) {
  const bytes = Uint8Array.from(atob(packed.data), (letter) => letter.charCodeAt(0));
  const kept = new KINDS[packed.kind](bytes.buffer);
  return Float32Array.from(kept, (number) => packed.low + packed.step * number);
}

/** log of the sum of exp, without overflow. */
function logSumExp(values) {
  let most = -Infinity;
  for (const value of values) most = Math.max(most, value);
  let sum = 0;
  for (const value of values) sum += Math.exp(value - most);
  return most + Math.log(sum);
}

/** A square of points. The first coordinate is the slowest. */
class Grid {
  constructor(low, high, size) {
    Object.assign(this, { low, high, size, step: (high - low) / (size - 1) });
    this.logCell = 2 * Math.log(this.step);
  }

  /** The point of a number of the grid. */
  place(k) {
    const places = [Math.floor(k / this.size), k % this.size];
    return places.map((place) => this.low + place * this.step);
  }

  /** The value at any z, by a cubic through the four nearest points in each direction. */
  sample(values, z) {
    const [i, across] = this.weigh(z[0]);
    const [j, along] = this.weigh(z[1]);
    let sum = 0;
    for (let a = 0; a < 4; a++) {
      const row = this.clamp(i + a - 1) * this.size;
      let line = 0;
      for (let b = 0; b < 4; b++) line += along[b] * values[row + this.clamp(j + b - 1)];
      sum += across[a] * line;
    }
    return sum;
  }

  /** The point below a coordinate, and the weights of the four around it. */
  weigh(coordinate) {
    const place = Math.min(Math.max((coordinate - this.low) / this.step, 0), this.size - 1);
    const below = Math.floor(place);
    const t = place - below;
    const weights = [
      (-t + 2 * t * t - t * t * t) / 2,
      (2 - 5 * t * t + 3 * t * t * t) / 2,
      (t + 4 * t * t - 3 * t * t * t) / 2,
      (-t * t + t * t * t) / 2,
    ];
    return [below, weights];
  }

  clamp(i) {
    return Math.min(Math.max(i, 0), this.size - 1);
  }
}

/** Bayes' rule for one image: log p(x|z) and log p(z) at any z, log p(x), and log p(z|x). */
class Posterior {
  constructor(grid, logPrior, logLikelihood) {
    this.grid = grid;
    this.logJoint = Float64Array.from(logLikelihood, (value, k) => value + logPrior[k]);
    this.logEvidence = logSumExp(this.logJoint) + grid.logCell;
    this.logPrior = (z) => grid.sample(logPrior, z);
    this.logLikelihood = (z) => grid.sample(logLikelihood, z);
  }

  /** log p(z|x), a density. */
  logDensity(z) {
    return this.logLikelihood(z) + this.logPrior(z) - this.logEvidence;
  }

  /** A bell with its mean and widths. */
  moments() {
    const logMass = this.grid.logCell - this.logEvidence;
    const weights = Array.from(this.logJoint, (value) => Math.exp(value + logMass));
    const average = (f) => weights.reduce((sum, w, k) => sum + w * f(this.grid.place(k)), 0);
    const loc = [0, 1].map((d) => average((z) => z[d]));
    const scale = [0, 1].map((d) => Math.sqrt(average((z) => (z[d] - loc[d]) ** 2)));
    return { loc, scale, correlation: 0 };
  }
}

/** log q(z) of a bell. */
function logBell({ loc, scale, correlation }, z) {
  const u = (z[0] - loc[0]) / scale[0];
  const v = (z[1] - loc[1]) / scale[1];
  const rest = 1 - correlation * correlation;
  const square = (u * u - 2 * correlation * u * v + v * v) / rest;
  return -square / 2 - Math.log(scale[0] * scale[1]) - Math.log(rest) / 2 - LOG_2_PI;
}

/** Points spread over a bell, with weights that sum to 1. */
function spread({ loc, scale, correlation }, widest) {
  const rest = Math.sqrt(1 - correlation * correlation);
  const count = scale.map((s) => Math.ceil((2 * REACH) / Math.min(FINE, widest / s)) + 1);
  const points = [];
  let mass = 0;
  for (let a = 0; a < count[0]; a++) {
    const u = REACH * ((2 * a) / (count[0] - 1) - 1);
    for (let b = 0; b < count[1]; b++) {
      const v = REACH * ((2 * b) / (count[1] - 1) - 1);
      const weight = Math.exp(-(u * u + v * v) / 2);
      const z = [loc[0] + scale[0] * u, loc[1] + scale[1] * (correlation * u + rest * v)];
      points.push({ z, weight });
      mass += weight;
    }
  }
  for (const point of points) point.weight /= mass;
  return points;
}

/** The terms of the ELBO of a bell. `model` has logLikelihood, logPrior, logEvidence and a grid. */
function measureBell(model, bell) {
  let reconstruction = 0;
  let cost = 0;
  for (const { z, weight } of spread(bell, model.grid.step)) {
    reconstruction += weight * model.logLikelihood(z);
    cost += weight * (logBell(bell, z) - model.logPrior(z));
  }
  return addUp(model, reconstruction, cost);
}

function addUp({ logEvidence }, reconstruction, cost) {
  const elbo = reconstruction - cost;
  return { logEvidence, elbo, gap: logEvidence - elbo, reconstruction, cost };
}

/** The bell of the highest ELBO, from several starts on. It turns only if it may. */
function findBest(model, starts, mayTurn) {
  const climbed = starts.map((start) => climb(model, start, mayTurn));
  return climbed.reduce((a, b) => (a.elbo > b.elbo ? a : b)).bell;
}

/** Try a step up and down in each number, and halve the steps where none helps. */
function climb(model, start, mayTurn) {
  const measure = (numbers) => measureBell(model, toBell(numbers)).elbo;
  let numbers = toNumbers(start);
  let elbo = measure(numbers);
  for (let step = 0.4; step > 0.004; ) {
    let isBetter = false;
    for (let d = 0; d < (mayTurn ? 5 : 4); d++) {
      for (const sign of [1, -1]) {
        const tried = numbers.slice();
        tried[d] += sign * step * (d < 2 ? Math.exp(numbers[d + 2]) : 1);
        const found = measure(tried);
        if (found > elbo) [numbers, elbo, isBetter] = [tried, found, true];
      }
    }
    if (!isBetter) step /= 2;
  }
  return { bell: toBell(numbers), elbo };
}

/** A bell as five numbers without limits. */
function toNumbers({ loc, scale, correlation }) {
  return [...loc, ...scale.map(Math.log), Math.atanh(correlation)];
}

function toBell(numbers) {
  const scale = numbers.slice(2, 4).map(Math.exp);
  return { loc: numbers.slice(0, 2), scale, correlation: Math.tanh(numbers[4]) };
}

/** Bells that start at the heaviest points of a density, which lie apart. */
function startAtPeaks(grid, logDensity, apart, count) {
  const points = Array.from({ length: grid.size ** 2 }, (_, k) => grid.place(k));
  const heavy = points.map((z) => [logDensity(z), z]).sort((a, b) => b[0] - a[0]);
  const chosen = [];
  for (const [, z] of heavy) {
    if (chosen.length === count) break;
    const isApart = (other) => Math.hypot(z[0] - other[0], z[1] - other[1]) > apart;
    if (chosen.every(isApart)) chosen.push(z);
  }
  return chosen.map((loc) => ({ loc, scale: [0.2, 0.2], correlation: 0 }));
}

/** Rings of the plane, each turned further than the one inside it. */
class Rings {
  constructor(width, turn) {
    Object.assign(this, { width, turn });
  }

  /** Where a point goes, or with sign -1 where it came from. */
  move(z, sign = 1) {
    const ring = Math.floor(Math.hypot(z[0], z[1]) / this.width + 1e-9);
    const angle = sign * this.turn * ring;
    const [c, s] = [Math.cos(angle), Math.sin(angle)];
    return [c * z[0] - s * z[1], s * z[0] + c * z[1]];
  }
}

const logStandardNormal = (z) => -(z[0] * z[0] + z[1] * z[1]) / 2 - LOG_2_PI;

/**
 * The pair with its rings turned: the decoder looks up where a point came from, the prior stays.
 * Its sum over the plane goes over the turned points, so the same numbers come in another order.
 */
function scramble(posterior, rings) {
  const { grid } = posterior;
  const logLikelihood = (z) => posterior.logLikelihood(rings.move(z, -1));
  const turned = Array.from(posterior.logJoint, (_, k) => rings.move(grid.place(k)));
  const logTerms = turned.map((z) => logLikelihood(z) + logStandardNormal(z));
  return {
    grid,
    logLikelihood,
    logPrior: logStandardNormal,
    logEvidence: logSumExp(logTerms) + grid.logCell,
  };
}

/** The terms of the ELBO where q is turned as the plane is: a bell cut into pieces. */
function measureTurned(model, bell, rings) {
  let reconstruction = 0;
  let cost = 0;
  for (const { z, weight } of spread(bell, model.grid.step)) {
    const turned = rings.move(z);
    reconstruction += weight * model.logLikelihood(turned);
    cost += weight * (logBell(bell, rings.move(turned, -1)) - model.logPrior(turned));
  }
  return addUp(model, reconstruction, cost);
}

/** q(x|z) at z: the weight of each datum, q(z|x) over their sum, and log q(z). */
function weighData(bells, z) {
  const logs = bells.map((bell) => logBell(bell, z));
  const total = logSumExp(logs);
  const weights = logs.map((log) => Math.exp(log - total));
  return { weights, logDensity: total - Math.log(bells.length) };
}

/** The bells of packed numbers. */
function readBells(packed) {
  const parts = [packed.loc, packed.scale, packed.correlation];
  const [loc, scale, correlation] = parts.map(unpack);
  return Array.from(correlation, (r, i) => ({
    loc: [loc[2 * i], loc[2 * i + 1]],
    scale: [scale[2 * i], scale[2 * i + 1]],
    correlation: r,
  }));
}

/** The mean of data [count, size], weighted. */
function averageData(values, weights, size) {
  const mean = new Float64Array(size);
  weights.forEach((weight, i) => {
    for (let k = 0; k < size; k++) mean[k] += weight * values[i * size + k];
  });
  return mean;
}

/** The largest change of a decoding at any step of a walk. */
function findJump(decode, walk) {
  const decodings = walk.map(decode);
  const changes = decodings.slice(1).map((values, i) => {
    const before = decodings[i];
    return values.reduce((sum, value, k) => sum + Math.abs(value - before[k]), 0) / values.length;
  });
  return Math.max(...changes);
}
