// The search of every page, as one types: "/" or Ctrl-K leads there, arrows choose, Enter goes, Escape closes.
"use strict";

class Search {
  constructor(field) {
    this.field = field;
    this.active = -1;
    this.form = field.form;
    this.list = document.createElement("ul");
    this.list.id = "found";
    this.list.setAttribute("role", "listbox");
    this.list.setAttribute("aria-label", "Found");
    this.list.hidden = true;
    this.status = document.createElement("span");
    this.status.className = "hide";
    this.status.setAttribute("role", "status");
    this.form.append(this.list, this.status);
    for (const [name, value] of Object.entries({ role: "combobox", "aria-autocomplete": "list", "aria-expanded": "false", "aria-controls": "found" })) field.setAttribute(name, value);
    field.addEventListener("input", () => {
      clearTimeout(this.timer);
      this.timer = setTimeout(() => this.look(), 120);
    });
    field.addEventListener("keydown", event => this.key(event));
    this.form.addEventListener("submit", event => {
      if (this.active < 0) return;
      event.preventDefault();
      this.list.children[this.active].click();
    });
    field.addEventListener("blur", () => this.close());
    field.addEventListener("focus", () => { if (field.value.trim()) this.look(); });
    this.list.addEventListener("mousedown", event => event.preventDefault()); // which would take the focus from the field
    document.addEventListener("keydown", event => this.shortcut(event));
  }

  shortcut(event) {
    const slash = event.key === "/" && !event.ctrlKey && !event.metaKey && !event.altKey && !event.target.closest?.("input, textarea, select, [contenteditable]");
    const k = event.key.toLowerCase() === "k" && (event.ctrlKey || event.metaKey) && !event.altKey && !event.shiftKey;
    if (!slash && !k) return;
    event.preventDefault();
    this.field.focus();
    this.field.select();
  }

  async look() {
    const text = this.field.value.trim();
    this.request?.abort();
    if (!text) return this.close();
    this.request = new AbortController();
    try {
      const reply = await fetch(`${this.form.action}?${new URLSearchParams({ q: text })}`, { headers: { Accept: "application/json" }, signal: this.request.signal });
      if (reply.ok) this.show(await reply.json());
    } catch { /* another text is looked for, or the form still works */ }
  }

  show(found) {
    this.list.replaceChildren(...found.map((hit, i) => {
      const option = document.createElement("li");
      option.id = `found-${i}`;
      option.setAttribute("role", "option");
      option.dataset.url = hit.url;
      for (const [tag, text] of [["small", hit.kind], ["b", hit.name], ["small", hit.detail ?? ""]]) {
        const part = document.createElement(tag);
        part.textContent = text;
        option.append(part, " ");
      }
      option.addEventListener("click", event => {
        if (event.ctrlKey || event.metaKey) open(hit.url);
        else location.assign(hit.url);
      });
      return option;
    }));
    this.choose(found.findIndex(hit => hit.url === this.chosen)); // which stays so while one types on
    this.status.textContent = found.length ? `${found.length} found` : "Nothing found";
    if (document.activeElement === this.field && found.length) {
      this.list.hidden = false;
      this.field.setAttribute("aria-expanded", "true");
    } else this.close();
  }

  close() {
    this.list.hidden = true;
    this.choose(-1);
    this.field.setAttribute("aria-expanded", "false");
  }

  choose(i) {
    const options = [...this.list.children];
    this.active = i;
    this.chosen = options[i]?.dataset.url;
    options.forEach((option, k) => option.setAttribute("aria-selected", String(k === i)));
    if (i < 0) this.field.removeAttribute("aria-activedescendant");
    else this.field.setAttribute("aria-activedescendant", options[i].id);
    options[i]?.scrollIntoView({ block: "nearest" });
  }

  key(event) {
    const options = [...this.list.children];
    const open = !this.list.hidden;
    if (event.key === "Escape" && open) {
      event.preventDefault(); // which would empty the field
      this.close();
    } else if (event.key === "Escape") {
      this.field.blur();
    } else if ((event.key === "ArrowDown" || event.key === "ArrowUp") && open) {
      event.preventDefault();
      const n = options.length;
      this.choose(event.key === "ArrowDown" ? (this.active + 1) % n : (this.active <= 0 ? n : this.active) - 1);
    }
  }
}

const searchAll = document.getElementById("search-all");
if (searchAll) new Search(searchAll);
