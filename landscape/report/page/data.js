"use strict";

/* The data of the page: arrays unpacked when first asked for, tables for download. */

const report = JSON.parse(document.getElementById("data").textContent);

function unpack(packed) {
  if (!packed) return null;
  if (!packed.array) {
    const bytes = Uint8Array.from(atob(packed.data), (letter) => letter.charCodeAt(0));
    packed.array = packed.type === "f8" ? new Float64Array(bytes.buffer) : new Float32Array(bytes.buffer);
  }
  return packed.array;
}

function percent(coordinate) {
  const shown = Number((100 * coordinate).toPrecision(6));
  return shown === 0 ? "0%" : `${shown > 0 ? "+" : "\u2212"}${Math.abs(shown)}%`;
}

function gridShape(surface) {
  return [surface.x.length, surface.y ? surface.y.length : 1];
}

/* Every point as [alpha, beta, values in the units of the command `landscape table`], all digits. */
function pointRows(surface) {
  const [n, m] = gridShape(surface);
  const columns = surface.values.map((value) => unpack(value.z));
  const rows = [];
  for (let i = 0; i < n; i++) {
    for (let j = 0; j < m; j++) {
      const values = columns.map((z, at) => z[i * m + j] / surface.values[at].factor);
      rows.push([surface.x[i], surface.y ? surface.y[j] : null, ...values]);
    }
  }
  return rows;
}

function csvText(head, rows) {
  const cell = (value) => {
    if (value === null || value === undefined || Number.isNaN(value)) return "";
    const text = String(value);
    return /[",\n\r]/.test(text) ? `"${text.replace(/"/g, '""')}"` : text;
  };
  return [head, ...rows].map((row) => row.map(cell).join(",")).join("\n") + "\n";
}

function download(name, type, text) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([text], { type }));
  link.download = name.replace(/[^\w.-]+/g, "_");
  document.body.append(link);
  link.click();
  link.remove();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
}
