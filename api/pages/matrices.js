// Matrices of a safetensors file: read, drawn, their singular values.
import { h, number } from "./elements.js";

const COLOURS = { negative: [0, 114, 178], positive: [230, 159, 0] }; // of figures/style.py: blue and orange
const CELL = 12;
const SWEEPS = 40;

/** Name → {rows, columns, values} of a file with float64 matrices. */
export function readMatrices(buffer) {
  const headerSize = Number(new DataView(buffer).getBigUint64(0, true));
  const { __metadata__, ...tensors } = JSON.parse(new TextDecoder().decode(new Uint8Array(buffer, 8, headerSize)));
  const matrices = new Map();
  for (const [name, { dtype, shape, data_offsets: [from, to] }] of Object.entries(tensors)) {
    if (dtype !== "F64" || shape.length !== 2) continue;
    // A copy: the file need not begin its numbers at a multiple of eight.
    const values = new Float64Array(buffer.slice(8 + headerSize + from, 8 + headerSize + to));
    matrices.set(name, { rows: shape[0], columns: shape[1], values });
  }
  return matrices;
}

/** Largest first, by one-sided Jacobi rotations: exact enough, and short. */
export function singularValues({ rows, columns, values }) {
  const vectors = rows >= columns
    ? Array.from({ length: columns }, (_, column) => Float64Array.from({ length: rows }, (_, row) => values[row * columns + column]))
    : Array.from({ length: rows }, (_, row) => values.slice(row * columns, (row + 1) * columns));
  const dot = (a, b) => a.reduce((sum, entry, index) => sum + entry * b[index], 0);
  for (let sweep = 0, turned = true; turned && sweep < SWEEPS; sweep++) {
    turned = false;
    for (let i = 0; i < vectors.length; i++) {
      for (let j = i + 1; j < vectors.length; j++) turned = orthogonalize(vectors[i], vectors[j], dot) || turned;
    }
  }
  return vectors.map((vector) => Math.sqrt(dot(vector, vector))).sort((a, b) => b - a);
}

function orthogonalize(a, b, dot) {
  const [aa, bb, ab] = [dot(a, a), dot(b, b), dot(a, b)];
  if (Math.abs(ab) <= 1e-15 * Math.sqrt(aa * bb) || ab === 0) return false;
  const zeta = (bb - aa) / (2 * ab);
  const t = (zeta < 0 ? -1 : 1) / (Math.abs(zeta) + Math.hypot(1, zeta));
  const c = 1 / Math.hypot(1, t);
  for (let index = 0; index < a.length; index++) {
    const [x, y] = [a[index], b[index]];
    a[index] = c * (x - t * y);
    b[index] = c * (t * x + y);
  }
  return true;
}

/** A heat map: blue below 0, orange above, the ground at 0. */
export function heatMap(name, matrix) {
  const { rows, columns, values } = matrix;
  const largest = values.reduce((most, entry) => Math.max(most, Math.abs(entry)), 0);
  const canvas = h("canvas", { width: columns, height: rows, role: "img", "aria-label": `${name}: ${rows} rows, ${columns} columns, entries from ${number(-largest)} to ${number(largest)}` });
  canvas.style.width = `${columns * CELL}px`;
  canvas.style.height = `${rows * CELL}px`;
  const context = canvas.getContext("2d");
  const image = context.createImageData(columns, rows);
  values.forEach((entry, index) => {
    const [red, green, blue] = entry < 0 ? COLOURS.negative : COLOURS.positive;
    image.data.set([red, green, blue, largest ? Math.round((255 * Math.abs(entry)) / largest) : 0], 4 * index);
  });
  context.putImageData(image, 0, 0);
  canvas.addEventListener("mousemove", (event) => {
    const column = Math.floor((event.offsetX / canvas.clientWidth) * columns);
    const row = Math.floor((event.offsetY / canvas.clientHeight) * rows);
    const entry = values[row * columns + column];
    canvas.title = entry === undefined ? "" : `row ${row + 1}, column ${column + 1}: ${number(entry)}`;
  });
  return canvas;
}
