"use strict";

/* Tables that sort. A column is {name, text: true for words, decimals, show(value)}; a row is an array of values. */

function makeTable(place, columns, rows, options = {}) {
  const state = { column: null, down: false, shown: options.rows || 200 };
  const table = document.createElement("table");
  const head = table.createTHead().insertRow();
  const body = table.createTBody();
  columns.forEach((column, index) => {
    const cell = document.createElement("th");
    cell.scope = "col";
    if (column.text) cell.className = "text";
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = column.name;
    button.addEventListener("click", () => {
      state.down = state.column === index ? !state.down : false;
      state.column = index;
      [...head.cells].forEach((each) => each.removeAttribute("aria-sort"));
      cell.setAttribute("aria-sort", state.down ? "descending" : "ascending");
      fill();
    });
    cell.append(button);
    head.append(cell);
  });
  const more = document.createElement("button");
  more.type = "button";
  more.addEventListener("click", () => { state.shown = Infinity; fill(); });

  function order() {
    const indices = rows.map((_, index) => index);
    if (state.column === null) return indices;
    const key = (index) => rows[index][state.column];
    const sign = state.down ? -1 : 1;
    return indices.sort((a, b) => compare(key(a), key(b), sign) || a - b);
  }

  function fill() {
    body.replaceChildren();
    for (const index of order().slice(0, state.shown)) {
      const row = body.insertRow();
      columns.forEach((column, at) => {
        const cell = row.insertCell();
        cell.textContent = showCell(column, rows[index][at]);
        if (column.text) cell.className = column.long ? "text long" : "text";
      });
      if (options.open) {
        row.className = "link";
        row.dataset.row = index;
        row.addEventListener("click", () => options.open(index));
      }
    }
    more.hidden = rows.length <= state.shown;
    more.textContent = `Show all ${rows.length} rows`;
    if (options.filled) options.filled(table);
  }
  if (rows.length === 0) {
    place.textContent = "nothing is stored about this";
    return table;
  }
  fill();
  place.replaceChildren(table, more);
  return table;
}

/* What is missing comes last, whichever way is sorted. */
function compare(a, b, sign) {
  const none = (value) => value === null || value === undefined || Number.isNaN(value);
  if (none(a) || none(b)) return none(a) - none(b);
  if (typeof a === "string" || typeof b === "string") {
    return sign * String(a).localeCompare(String(b), undefined, { numeric: true });
  }
  return sign * (a < b ? -1 : a > b ? 1 : 0);
}

function showCell(column, value) {
  if (value === null || value === undefined || Number.isNaN(value)) return "\u2013";
  if (column.show) return column.show(value);
  if (typeof value === "boolean") return value ? "yes" : "no";
  if (typeof value !== "number") return String(value);
  return (column.decimals ?? null) === null ? general(value) : fixed(value, column.decimals);
}

function fixed(number, decimals, signed = false) {
  if (!Number.isFinite(number)) return Number.isNaN(number) ? "no value" : number > 0 ? "\u221e" : "\u2212\u221e";
  const text = number.toFixed(decimals);
  return (signed && number >= 0 ? "+" : "") + text.replace("-", "\u2212");
}

function general(number) {
  if (!Number.isFinite(number)) return fixed(number, 0);
  if (Number.isInteger(number)) return number.toLocaleString("en").replace("-", "\u2212");
  const small = Math.abs(number) < 1e-3 && number !== 0;
  return (small ? number.toExponential(2) : String(Number(number.toPrecision(4)))).replace(/-/g, "\u2212");
}
