// What lists gain where there is JavaScript: they filter while one types, and rows are chosen all at once.
"use strict";

// chosen tells how many rows are, below the list: what can be done to them is there where some are.
function chosen() {
  const bar = document.querySelector(".bulk");
  if (!bar) return;
  const boxes = [...document.querySelectorAll("#bulk td.pick input")];
  const n = boxes.filter(box => box.checked).length;
  bar.hidden = n === 0;
  bar.querySelector("[data-chosen]").textContent = `${n} selected`;
  const all = document.getElementById("pick-all");
  all.checked = n === boxes.length;
  all.indeterminate = n > 0 && n < boxes.length;
}

// pickRows puts a box into the head of a list that chooses all rows of the page.
function pickRows() {
  const head = document.querySelector("#bulk th.pick");
  if (!head) return;
  const all = document.createElement("input");
  all.type = "checkbox";
  all.id = "pick-all";
  all.setAttribute("aria-label", "Select all of this page");
  all.addEventListener("change", () => {
    for (const box of document.querySelectorAll("#bulk td.pick input")) box.checked = all.checked;
    chosen();
  });
  head.replaceChildren(all);
  document.getElementById("bulk").addEventListener("change", chosen);
  chosen();
}

// filterList shows what is looked for while it is typed. Of several replies the last one counts, and the address is that of
// what is shown.
function filterList() {
  const field = document.getElementById("search");
  if (!field || !document.getElementById("list")) return;
  const form = field.form;
  let timer, request, shown = field.value;
  const show = async () => {
    if (field.value === shown) return;
    shown = field.value;
    request?.abort();
    request = new AbortController();
    const query = new URLSearchParams(new FormData(form));
    if (!field.value) query.delete("search");
    const url = `${location.pathname}?${query}`;
    try {
      const reply = await fetch(url, { headers: { Accept: "text/html" }, signal: request.signal, redirect: "error" });
      if (!reply.ok) return;
      const page = new DOMParser().parseFromString(await reply.text(), "text/html");
      const list = page.getElementById("list");
      if (!list) return location.assign(url); // all are gone
      document.getElementById("list").replaceWith(list);
      history.replaceState(history.state, "", url);
      live?.follow(page.getElementById("live"));
      showTimes(list);
      scrollables();
      pickRows();
    } catch { /* another one is under way, or the button is left */ }
  };
  field.addEventListener("input", () => {
    clearTimeout(timer);
    timer = setTimeout(show, 150);
  });
}

pickRows();
filterList();
