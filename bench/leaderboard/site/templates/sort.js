// Tables of the class "sortable" sort by a click on the title of a column: one way, the other way, as they were.
"use strict";
for (const table of document.querySelectorAll("table.sortable")) {
  const titles = [...table.tHead.rows[0].cells];
  const places = [...table.tBodies].flatMap((body) => [...body.rows].map((row) => [row, body]));
  titles.forEach((title, column) => {
    if (places.every(([row]) => key(row.cells[column], isNumeric(title)) === null)) return;
    const button = document.createElement("button");
    button.className = "sort";
    if (title.querySelector("a")) button.setAttribute("aria-label", "Sort by " + title.textContent.trim());
    else button.append(...title.childNodes);
    title.append(button);
    button.addEventListener("click", () => sort(title, column));
  });

  function sort(title, column) {
    const [first, second] = isNumeric(title) ? ["descending", "ascending"] : ["ascending", "descending"];
    const before = title.getAttribute("aria-sort");
    const order = before === null ? first : before === first ? second : null;
    for (const other of titles) other.removeAttribute("aria-sort");
    table.classList.toggle("sorted", order !== null);
    if (order === null) {
      for (const [row, body] of places) body.append(row);
      return;
    }
    title.setAttribute("aria-sort", order);
    const sign = order === "ascending" ? 1 : -1;
    const keyed = places.map(([row]) => ({ row, key: key(row.cells[column], isNumeric(title)) }));
    keyed.sort((a, b) => (a.key === null) - (b.key === null) || (a.key === null ? 0 : sign * compare(a.key, b.key)));
    for (const { row } of keyed) table.tBodies[0].append(row);
  }
}

function isNumeric(title) {
  return title.classList.contains("num") || title.classList.contains("wide");
}

// What a cell is sorted by; null, which comes last, where nothing was measured.
function key(cell, numbers) {
  const text = cell === undefined || cell.colSpan > 1 ? "" : cell.textContent.trim();
  if (!numbers) return text || null;
  const number = parseFloat(text.replace("−", "-").replaceAll(",", ""));
  return Number.isNaN(number) ? null : number;
}

function compare(a, b) {
  return typeof a === "number" ? a - b : a.localeCompare(b, "en", { numeric: true });
}
