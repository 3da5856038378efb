"use strict";
const specs = JSON.parse(document.getElementById("specs").textContent);
const methods = JSON.parse(document.getElementById("methods-data").textContent); // name, colour, dash, file, formula
const views = {};
const options = { renderer: "svg", actions: { export: true, source: false, compiled: false, editor: false } };

const waiting = [];
function draw(element) {
  const name = element.dataset.spec;
  const done = vegaEmbed(element, specs[name], options).then(({ view }) => {
    views[name] = view;
    const svg = element.querySelector("svg.marks, svg");
    const words = specs[name].description || name;
    if (svg) { svg.setAttribute("role", "img"); svg.setAttribute("aria-label", words); }
    for (const one of element.querySelectorAll("[role=graphics-document], [role=graphics-symbol], [role=graphics-object]")) {
      if (one !== svg) { one.removeAttribute("role"); one.removeAttribute("aria-roledescription"); one.removeAttribute("aria-label"); }
    }
    const summary = element.querySelector("details > summary");
    if (summary) { summary.setAttribute("aria-label", "Save the chart: " + words); }
    apply(name);
  });
  waiting.push(done);
}

// The selector of methods: every chart, map and row follows it
const pressed = new Set(methods.map(method => method.name));
function names() { return methods.map(method => method.name).filter(name => pressed.has(name)); }
function signal(view, name, value) {
  try { view.signal(name, value).runAsync(); } catch (error) { /* the chart has no such signal */ }
}
function apply(name) {
  signal(views[name], "shown", names());
  signal(views[name], "labels", window.innerWidth >= 700);
  const images = document.querySelector("[name=images]:checked");
  if (images) { signal(views[name], "images", images.value); }
}
function follow() {
  for (const button of document.querySelectorAll("#selector [data-method]")) {
    button.setAttribute("aria-pressed", pressed.has(button.dataset.method));
  }
  for (const element of document.querySelectorAll("[data-of]")) {
    element.hidden = !element.dataset.of.split("\u001f").some(name => pressed.has(name));
  }
  Object.keys(views).forEach(apply);
}
document.querySelector("#selector").addEventListener("click", event => {
  const button = event.target.closest("button");
  if (!button) { return; }
  const name = button.dataset.method;
  if (name === undefined) {
    if (button.dataset.all === "yes") { methods.forEach(method => pressed.add(method.name)); } else { pressed.clear(); }
  } else if (pressed.has(name)) { pressed.delete(name); } else { pressed.add(name); }
  follow();
});
document.querySelector("#selector").addEventListener("change", follow);

// The results: sorted by the column whose heading is clicked
for (const heading of document.querySelectorAll("#results-table th")) {
  heading.querySelector("button").addEventListener("click", () => {
    const body = document.querySelector("#results-table tbody");
    const place = heading.cellIndex;
    const down = heading.getAttribute("aria-sort") === "ascending";
    for (const other of heading.parentNode.children) { other.setAttribute("aria-sort", "none"); }
    heading.setAttribute("aria-sort", down ? "descending" : "ascending");
    const value = row => row.cells[place].dataset.value === undefined ? row.cells[place].textContent.trim() : Number(row.cells[place].dataset.value);
    const rows = [...body.rows].sort((a, b) => {
      const [x, y] = [value(a), value(b)];
      if (Number.isNaN(x) || Number.isNaN(y)) { return Number.isNaN(x) - Number.isNaN(y); }
      return (typeof x === "number" ? x - y : x.localeCompare(y)) * (down ? -1 : 1);
    });
    body.append(...rows);
  });
}

// Behind each chart: what it shows, as a table, made when it is opened
function rowsOf(spec) {
  const found = [];
  const visit = part => {
    if (Array.isArray(part.data && part.data.values)) { found.push(...part.data.values); }
    if (part.data && part.data.name && spec.datasets && spec.datasets[part.data.name]) { found.push(...spec.datasets[part.data.name]); }
    (part.layer || part.concat || []).forEach(visit);
  };
  visit(spec);
  return found.filter(row => Object.keys(row).length > 2);
}
const WORDS = { v: "test images", t: "training images", vs: "std, test", ts: "std, training", a: "from epoch", b: "to epoch",
                r: "log10 of the ratio", f: "share", signal: "RMS of the signal", says: "blocks" };
document.addEventListener("toggle", event => {
  const details = event.target;
  if (!details.matches || !details.matches("details.data") || !details.open || details.dataset.made) { return; }
  details.dataset.made = "yes";
  const rows = rowsOf(specs[details.dataset.for]);
  const columns = [...new Set(rows.flatMap(row => Object.keys(row)))].filter(name => name !== "e" && name !== "y");
  const table = document.createElement("table");
  const head = table.createTHead().insertRow();
  for (const name of columns) {
    const cell = document.createElement("th");
    cell.scope = "col"; cell.textContent = WORDS[name] || name; head.append(cell);
  }
  const body = table.createTBody();
  for (const row of rows) {
    const line = body.insertRow();
    for (const name of columns) { line.insertCell().textContent = row[name] === undefined || row[name] === null ? "" : row[name]; }
  }
  const scroll = document.createElement("div");
  scroll.className = "scroll"; scroll.tabIndex = 0; scroll.setAttribute("role", "region");
  scroll.setAttribute("aria-label", "Data of the chart"); scroll.append(table); details.append(scroll);
}, true);

// For a class: the baseline beside one method, at one epoch
const choice = document.getElementById("story-method"), slider = document.getElementById("story-epoch");
function storyData() {
  const method = methods.find(one => one.name === choice.value);
  const two = methods.filter(one => one.name === "baseline" || one === method);
  const points = spec => spec ? rowsOf(spec).filter(row => row.v !== undefined) : [];
  const cells = two.flatMap(one => rowsOf(specs["gradient-" + one.file]).map(cell => ({ ...cell, method: one.name })));
  const curve = [...points(specs.accuracy).filter(row => two.some(one => one.name === row.method)), ...points(specs["trainings-" + method.file])];
  const last = Math.max(...cells.filter(cell => cell.method === method.name).map(cell => cell.b));
  return { method, last, data: { "story-curve": ["curve", curve], "story-profile": ["cells", cells], "story-map": ["cells", cells] } };
}
function setStory() {
  if (!choice) { return; }
  const { method, last, data } = storyData();
  slider.max = last;
  if (Number(slider.value) > last) { slider.value = last; }
  document.getElementById("story-now").textContent = slider.value;
  const formula = document.getElementById("formula-" + method.file);
  document.getElementById("story-formula").replaceChildren(...(formula ? [...formula.cloneNode(true).childNodes] : []));
  for (const [name, [source, rows]] of Object.entries(data)) {
    views[name].signal("at", Number(slider.value));
    views[name].data(source, rows);
    views[name].runAsync();
  }
}
if (choice) {
  for (const [name, [source, rows]] of Object.entries(storyData().data)) { specs[name].datasets = { [source]: rows }; }
  choice.addEventListener("change", setStory);
  slider.addEventListener("input", setStory);
}

// Last: all is defined
for (const element of document.querySelectorAll("[data-spec]")) { draw(element); }
Promise.all(waiting).then(() => { document.documentElement.dataset.drawn = "yes"; setStory(); });
