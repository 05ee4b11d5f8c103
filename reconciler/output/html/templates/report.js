
"use strict";
// Makes tables sortable, and long ones searchable, by what is typed and by the values of some columns. The page says the same without it.
for (const table of document.querySelectorAll("table")) {
  const PART = 100;
  const every = [...table.querySelectorAll("tbody tr")];
  if (every.length < 2) continue;
  const text = new Map(every.map((row) => [row, row.textContent.toLowerCase()]));
  const headers = [...table.querySelectorAll("thead th")];
  const isLong = table.classList.contains("records");
  const chosen = new Map();
  let order = every, wanted = "";

  const isShown = (row) =>
    (!wanted || text.get(row).includes(wanted)) &&
    [...chosen].every(([index, value]) => row.cells[index].textContent === value);

  const show = () => {
    const rows = wanted || chosen.size ? order.filter(isShown) : order;
    const size = isLong ? PART : Math.max(rows.length, 1);
    const parts = [...table.tBodies];
    for (let index = 0; index < Math.max(parts.length, Math.ceil(rows.length / size)); index++) {
      const part = parts[index] ?? table.createTBody();
      part.replaceChildren(...rows.slice(index * size, (index + 1) * size));
      part.hidden = !part.rows.length;
    }
    return rows.length;
  };

  const sort = (index) => {
    const down = headers[index].getAttribute("aria-sort") === "ascending";
    const isNumber = headers[index].classList.contains("right");
    const key = (row) => row.cells[index].textContent;
    const keys = new Map(every.map((row) => [row, isNumber ? Number(key(row).replaceAll(",", "")) || 0 : key(row)]));
    const compare = isNumber ? (a, b) => a - b : new Intl.Collator(undefined, { numeric: true }).compare;
    order = [...every].sort((a, b) => compare(keys.get(a), keys.get(b)));
    if (down) order.reverse();
    headers.forEach((header) => header.removeAttribute("aria-sort"));
    headers[index].setAttribute("aria-sort", down ? "descending" : "ascending");
    show();
  };

  const names = headers.map((header) => header.textContent);
  headers.forEach((header, index) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...header.childNodes);
    button.addEventListener("click", () => sort(index));
    header.append(button);
  });

  if (!isLong) continue;
  const box = document.createElement("div"), label = document.createElement("label");
  const input = document.createElement("input"), count = document.createElement("span");
  box.className = "filter";
  input.type = "search";
  input.autocomplete = "off";
  label.append("Filter ", input);
  count.className = "faint";
  count.setAttribute("role", "status");
  const tell = () => {
    const shown = show().toLocaleString("en"), all = every.length.toLocaleString("en");
    count.textContent = wanted || chosen.size ? `${shown} of ${all} rows` : "";
  };
  const facet = (index) => {
    const numbers = new Map();
    for (const row of every) {
      const value = row.cells[index].textContent;
      numbers.set(value, (numbers.get(value) ?? 0) + 1);
    }
    if (numbers.size < 2) return [];
    const values = [...numbers.keys()].sort(new Intl.Collator(undefined, { numeric: true }).compare);
    const select = document.createElement("select"), named = document.createElement("label");
    select.autocomplete = "off";
    select.append(new Option("all"));
    for (const value of values) select.append(new Option(`${value || `no ${names[index]}`} (${numbers.get(value).toLocaleString("en")})`));
    select.addEventListener("change", () => {
      if (select.selectedIndex) chosen.set(index, values[select.selectedIndex - 1]);
      else chosen.delete(index);
      tell();
    });
    named.append(`${names[index]} `, select);
    return [named];
  };
  const facets = headers.flatMap((header, index) => (header.classList.contains("facet") ? facet(index) : []));
  box.append(label, ...facets, count);
  table.before(box);
  input.addEventListener("input", () => {
    wanted = input.value.trim().toLowerCase();
    tell();
  });
}
