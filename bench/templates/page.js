// Shows what the selected method found: classes on the edges of the drawing, and the three lists beside it.
"use strict";
const data = JSON.parse(document.getElementById("data").textContent);

function show(box) {
  const select = box.querySelector("select");
  const { methods, carries } = data[box.dataset.case];
  const found = select ? methods[select.value] : { hits: [], misses: [], false_alarms: [] };
  const kind = new Map();
  for (const name of ["hits", "misses", "false_alarms"]) for (const edge of found[name]) kind.set(edge, name);
  const ignored = box.querySelector("input").checked;
  for (const path of box.querySelectorAll("svg.circuit .edge")) {
    const is = kind.get(path.dataset.edge);
    path.classList.toggle("hit", is === "hits");
    path.classList.toggle("miss", is === "misses");
    path.classList.toggle("shown", is === "false_alarms" || (ignored && path.classList.contains("ignored")));
  }
  const busy = new Set();
  for (const path of box.querySelectorAll("svg.circuit .edge.true, svg.circuit .edge.shown"))
    for (const end of path.dataset.edge.split("->")) busy.add(end.replace(/\.[qkv]$/, ""));
  for (const node of box.querySelectorAll("svg.circuit .node"))
    node.classList.toggle("idle", !busy.has(node.dataset.node));
  for (const list of box.querySelectorAll("[data-list]")) {
    const edges = found[list.dataset.list];
    list.querySelector(".count").textContent = edges.length;
    list.querySelector("ul").replaceChildren(
      ...edges.map((edge) => {
        const item = document.createElement("li");
        item.textContent = edge.replace("->", " → ");
        item.dataset.edge = edge;
        if (carries[edge]) {
          const variables = document.createElement("span");
          variables.className = "carries";
          variables.textContent = "  " + carries[edge];
          item.append(variables);
        }
        return item;
      }),
    );
  }
  box.querySelector(".ties").textContent = found.places
    ? `${found.tied} edges tie for the last ${found.places === 1 ? "place" : found.places + " places"}; none of them counts as found.`
    : "";
}

// Pointing at a name in a list lights up its edge.
function highlight(box, edge) {
  for (const path of box.querySelectorAll("svg.circuit .edge"))
    path.classList.toggle("lit", edge !== undefined && path.dataset.edge === edge);
}

for (const box of document.querySelectorAll(".circuit-box")) {
  box.querySelector(".controls").addEventListener("change", () => show(box));
  const lists = box.querySelector(".lists");
  lists.addEventListener("pointerover", (event) => highlight(box, event.target.closest("li")?.dataset.edge));
  lists.addEventListener("pointerleave", () => highlight(box, undefined));
  show(box);
}
