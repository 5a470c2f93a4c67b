// Shows what the selected method found: classes on the edges of the drawing, and the three lists beside it.
// The address says whose circuit is shown: #circuit=METHOD.
"use strict";
const { methods, carries } = JSON.parse(document.getElementById("data").textContent);
const box = document.querySelector(".circuit-box");
const select = box.querySelector("select");
const edges = [...box.querySelectorAll("svg.circuit .edge")];

function show() {
  const found = select ? methods[select.value] : { hits: [], misses: [], false_alarms: [] };
  const kind = new Map();
  for (const name of ["hits", "misses", "false_alarms"]) for (const edge of found[name]) kind.set(edge, name);
  const ignored = box.querySelector("input").checked;
  const busy = new Set();
  for (const path of edges) {
    const is = kind.get(path.dataset.edge);
    path.classList.toggle("hit", is === "hits");
    path.classList.toggle("miss", is === "misses");
    path.classList.toggle("shown", is === "false_alarms" || (ignored && path.classList.contains("ignored")));
    if (path.classList.contains("true") || path.classList.contains("shown"))
      for (const end of path.dataset.edge.split("->")) busy.add(end.replace(/\.[qkv]$/, ""));
  }
  for (const node of box.querySelectorAll("svg.circuit .node"))
    node.classList.toggle("idle", !busy.has(node.dataset.node));
  for (const list of box.querySelectorAll("[data-list]")) {
    const names = found[list.dataset.list];
    list.querySelector(".count").textContent = names.length;
    list.querySelector("ul").replaceChildren(...names.map(item));
  }
  box.querySelector(".ties").textContent = found.places
    ? `${found.tied} edges tie for the last ${found.places === 1 ? "place" : found.places + " places"}; none of them counts as found.`
    : "";
}

function item(edge) {
  const line = document.createElement("li");
  line.textContent = edge.replace("->", " → ");
  line.dataset.edge = edge;
  if (Object.hasOwn(carries, edge)) {
    const variables = document.createElement("span");
    variables.className = "carries";
    variables.textContent = "  " + carries[edge];
    line.append(variables);
  }
  return line;
}

// Pointing at a name in a list lights up its edge.
function highlight(edge) {
  for (const path of edges) path.classList.toggle("lit", edge !== undefined && path.dataset.edge === edge);
}

function follow() {
  const method = new URLSearchParams(location.hash.slice(1)).get("circuit");
  if (select && method !== null && Object.hasOwn(methods, method)) select.value = method;
  show();
  return method !== null;
}

box.querySelector(".controls").addEventListener("change", (event) => {
  if (event.target === select) location.replace("#" + new URLSearchParams({ circuit: select.value }));
  show();
});
const lists = box.querySelector(".lists");
lists.addEventListener("pointerover", (event) => highlight(event.target.closest("li")?.dataset.edge));
lists.addEventListener("pointerleave", () => highlight(undefined));
addEventListener("hashchange", follow);
if (follow()) document.getElementById("circuit").scrollIntoView();
