// Two methods side by side. The address says which: #a=METHOD&b=METHOD&track=edges.
"use strict";
const { methods, cases, tracks } = JSON.parse(document.getElementById("data").textContent);
const [first, second, track] = ["first", "second", "track"].map((id) => document.getElementById(id));
const number = (v) => (v === null ? "–" : (Math.abs(v) < 0.005 ? 0 : v).toFixed(2).replace("-", "−"));

function option(value, text) {
  const made = document.createElement("option");
  made.value = value;
  made.textContent = text;
  return made;
}

function element(name, attributes = {}, text = "") {
  const made = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.textContent = text;
  return made;
}

// The mean difference a − b with its interval, [estimate, low, high], or null.
function pair(chosen, a, b) {
  if (a === b) return null;
  const found = chosen.pairs[Math.min(a, b)][Math.abs(a - b) - 1];
  if (!found || a < b) return found;
  const [estimate, low, high] = found;
  return [-estimate, high === null ? null : -high, low === null ? null : -low];
}

function summary(a, b, chosen) {
  const [x, y] = [methods[a].short, methods[b].short];
  const difference = pair(chosen, a, b);
  if (a === b) return [x, "Choose two different methods."];
  if (!difference) return [`${x} and ${y}`, "No case that counts has a result of both."];
  const [estimate, low, high] = difference;
  const words = low === null ? "" : `, 95 % interval ${number(low)} to ${number(high)}`;
  const apart = low !== null && (low > 0 || high < 0);
  const head = !apart ? `${x} and ${y} cannot be told apart`
    : estimate > 0 ? `${x} is better than ${y}` : `${y} is better than ${x}`;
  return [head, `Mean skill of ${x} − ${y}: ${number(estimate)}${words}. ${chosen.about}`];
}

function plot(rows, a, b) {
  const size = 420, from = 46, to = size - 14;
  const low = Math.min(0, ...rows.flatMap((r) => [r.x, r.y]).filter((v) => v !== null)) < -0.05 ? -1 : -0.05;
  const at = (v) => from + ((Math.max(v, low) - low) / (1.03 - low)) * (to - from);
  const up = (v) => size - at(v);
  const svg = element("svg", { class: "plot square", viewBox: `0 0 ${size} ${size}`, role: "img" });
  svg.setAttribute("aria-label", `Skill of ${methods[b].short} against skill of ${methods[a].short}, one dot per case; the table has the numbers.`);
  for (const tick of low < -0.5 ? [-1, -0.5, 0, 0.5, 1] : [0, 0.25, 0.5, 0.75, 1]) {
    svg.append(element("path", { class: "grid", d: `M${at(tick)} ${up(low)}V${up(1.03)}M${at(low)} ${up(tick)}H${at(1.03)}` }));
    svg.append(element("text", { class: "soft", x: at(tick), y: size - from + 18, "text-anchor": "middle" }, number(tick)));
    svg.append(element("text", { class: "soft", x: from - 6, y: up(tick), dy: "0.35em", "text-anchor": "end" }, number(tick)));
  }
  svg.append(element("path", { class: "floor", d: `M${at(low)} ${up(low)}L${at(1)} ${up(1)}` }));
  svg.append(element("text", { class: "soft", x: at(1.03), y: size - 8, "text-anchor": "end" }, methods[a].short));
  svg.append(element("text", { class: "soft", x: 8, y: 10 }, methods[b].short));
  const dots = Map.groupBy(rows.filter((r) => r.difference !== null), (r) => `${r.x.toFixed(2)} ${r.y.toFixed(2)} ${r.counts}`);
  for (const group of dots.values()) {
    const [{ x, y, counts, href }] = group;
    const r = 4 + 2 * Math.sqrt(group.length);
    const dot = element("circle", { class: counts ? "point best" : "point", cx: at(x), cy: up(y), r });
    dot.append(element("title", {}, `${number(x)} and ${number(y)}: ${group.slice(0, 12).map((g) => g.title).join(", ")}`));
    if (group.length > 1) {
      svg.append(dot);
      continue;
    }
    const link = element("a", { href, tabindex: "-1" });
    link.append(dot);
    svg.append(link);
  }
  return svg;
}

function cell(text, name = "td") {
  const made = document.createElement(name);
  made.textContent = text;
  made.className = name === "td" ? "num" : "stick";
  if (name === "th") made.scope = "row";
  return made;
}

function line(row) {
  const made = document.createElement("tr"), head = cell("", "th"), link = document.createElement("a");
  const variant = document.createElement("span");
  variant.className = "variant";
  variant.textContent = row.variant;
  link.textContent = row.program;
  link.href = row.href;
  head.append(link, row.counts ? "" : "†", variant);
  const values = [row.x, row.y, row.difference].map((v) => cell(number(v)));
  if (row.difference !== null && Math.abs(row.difference) >= 0.005) {
    values[2].classList.add("heat");
    values[2].classList.toggle("below", row.difference < 0);
    values[2].style.setProperty("--v", Math.min(1, Math.abs(row.difference)));
  }
  made.append(head, ...values);
  return made;
}

function show() {
  const chosen = tracks[track.value];
  const [a, b] = [first, second].map((s) => methods.findIndex((m) => m.name === s.value));
  const rows = cases.map((given, i) => {
    const [x, y] = [chosen.values[a][i], chosen.values[b][i]];
    const title = given.program + (given.variant && "/" + given.variant);
    return { ...given, title, counts: chosen.counts[i], x, y, difference: x === null || y === null ? null : x - y };
  });
  rows.sort((p, q) => (p.difference === null) - (q.difference === null) || q.difference - p.difference);
  const [head, detail] = summary(a, b, chosen);
  document.getElementById("summary").textContent = head;
  document.getElementById("detail").textContent = detail;
  document.getElementById("name-a").textContent = methods[a].short;
  document.getElementById("name-b").textContent = methods[b].short;
  document.getElementById("plot").replaceChildren(plot(rows, a, b));
  document.getElementById("cases").replaceChildren(...rows.map(line));
}

function follow() {
  const wanted = new URLSearchParams(location.hash.slice(1));
  const known = (name) => methods.some((m) => m.name === name);
  const entered = methods.filter((m) => !m.control);
  const fallback = [entered[0] ?? methods[0], entered.at(-1) ?? methods[0]];
  for (const [i, key] of ["a", "b"].entries())
    [first, second][i].value = known(wanted.get(key)) ? wanted.get(key) : fallback[i].name;
  track.value = Object.hasOwn(tracks, wanted.get("track") ?? "") ? wanted.get("track") : Object.keys(tracks)[0];
  show();
}

if (methods.length && cases.length) {
  for (const { name, short } of methods) {
    first.append(option(name, short));
    second.append(option(name, short));
  }
  for (const [name, { title }] of Object.entries(tracks)) track.append(option(name, title));
  for (const chosen of [first, second, track])
    chosen.addEventListener("change", () =>
      location.replace("#" + new URLSearchParams({ a: first.value, b: second.value, track: track.value })));
  addEventListener("hashchange", follow);
  follow();
}
