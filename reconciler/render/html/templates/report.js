
"use strict";
// Makes tables sortable, and long ones searchable. The page says the same without it.
for (const table of document.querySelectorAll("table")) {
  const PART = 100;
  const every = [...table.querySelectorAll("tbody tr")];
  if (every.length < 2) continue;
  const text = new Map(every.map((row) => [row, row.textContent.toLowerCase()]));
  const headers = [...table.querySelectorAll("thead th")];
  const isLong = table.classList.contains("records");
  let order = every, wanted = "";

  const show = () => {
    const rows = wanted ? order.filter((row) => text.get(row).includes(wanted)) : order;
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
  label.append("Filter ", input);
  count.className = "faint";
  count.setAttribute("role", "status");
  box.append(label, count);
  table.before(box);
  input.addEventListener("input", () => {
    wanted = input.value.trim().toLowerCase();
    const shown = show();
    count.textContent = wanted ? `${shown.toLocaleString("en")} of ${every.length.toLocaleString("en")} rows` : "";
  });
}
