// What the pages gain where there is JavaScript. Without it, all of them work, but for charts and live figures.
"use strict";

// Times: in the zone of whoever looks, UTC on hover.
const pad = n => String(n).padStart(2, "0");

function localTime(t) {
  return `${t.getFullYear()}-${pad(t.getMonth() + 1)}-${pad(t.getDate())} ${clock(t)}`;
}

function clock(t) {
  return `${pad(t.getHours())}:${pad(t.getMinutes())}:${pad(t.getSeconds())}`;
}

// duration writes seconds in their two largest units, as the server does.
function duration(s) {
  const two = (big, bigUnit, small, smallUnit) => {
    const rest = Math.floor(s % big / small);
    return `${Math.floor(s / big)}${bigUnit}` + (rest ? `${rest}${smallUnit}` : "");
  };
  if (s < 60) return `${s}s`;
  if (s < 3600) return two(60, "m", 1, "s");
  if (s < 86400) return two(3600, "h", 60, "m");
  return two(86400, "d", 3600, "h");
}

// skew is how far the server's clock is ahead of ours, in milliseconds.
const skew = (() => {
  const now = Date.parse(document.documentElement.dataset.now);
  return isNaN(now) ? 0 : now - Date.now();
})();

function ago(t) {
  const s = Math.trunc((Date.now() + skew - t) / 1000);
  if (s > 0) return duration(s) + " ago";
  return s < 0 ? "in " + duration(-s) : "now";
}

function showTimes(root) {
  for (const el of root.querySelectorAll("time[datetime]")) {
    const t = new Date(el.dateTime);
    if (!isNaN(t)) el.textContent = "ago" in el.dataset ? ago(t) : localTime(t);
  }
}

function keepTimes() {
  showTimes(document);
  setInterval(() => {
    for (const el of document.querySelectorAll("time[data-ago]")) {
      const text = ago(new Date(el.dateTime));
      if (el.textContent !== text) el.textContent = text;
    }
  }, 5000);
}

// What is typed as a time is in the zone of whoever types: a hidden field says which. Without a script it is in UTC.
function showZone() {
  const zone = Intl.DateTimeFormat().resolvedOptions().timeZone;
  for (const input of document.querySelectorAll("input[type=datetime-local]")) {
    const offset = input.form.elements[input.name + "_offset"];
    const label = document.querySelector(`label[for="${input.id}"]`);
    label.textContent = label.textContent.replace("(UTC)", `(${zone})`);
    const shown = new Date(Date.parse(input.value + "Z") - offset.value * 60_000);
    if (!isNaN(shown)) input.value = localTime(shown).slice(0, 16).replace(" ", "T");
    const set = () => {
      const t = new Date(input.value);
      offset.value = isNaN(t) ? "" : -t.getTimezoneOffset();
    };
    input.addEventListener("input", set);
    input.form.addEventListener("submit", set);
    set();
  }
}

// Copying.
async function copy(text) {
  if (navigator.clipboard) return navigator.clipboard.writeText(text);
  const area = document.createElement("textarea"); // without TLS there is no clipboard
  area.value = text;
  area.className = "hide";
  document.body.append(area);
  area.select();
  const done = document.execCommand("copy");
  area.remove();
  if (!done) throw new Error("not copied");
}

function addCopyButtons() {
  for (const el of document.querySelectorAll(".code, .copy")) {
    const button = document.createElement("button");
    button.type = "button";
    button.className = "button small copier";
    button.textContent = "Copy";
    button.setAttribute("aria-live", "polite");
    button.addEventListener("click", async () => {
      try {
        await copy(el.dataset.copy ?? el.textContent.replace(/\n$/, ""));
        button.textContent = "Copied";
      } catch {
        button.textContent = "Not copied";
      }
      setTimeout(() => { button.textContent = "Copy"; }, 2000);
    });
    if (el.matches("pre")) {
      const around = document.createElement("div");
      around.className = "copying";
      el.replaceWith(around);
      around.append(el, button);
    } else {
      el.after(" ", button);
    }
  }
}

// Forms that destroy: the name first.
function guardForms() {
  for (const input of document.querySelectorAll("form input[name=confirm]")) {
    const hint = document.getElementById(input.id + "-hint");
    const button = input.form.querySelector("button:not([type=button])");
    if (!hint || !button) continue;
    const check = () => { button.disabled = input.value.trim() !== hint.textContent.trim(); };
    input.addEventListener("input", check);
    check();
  }
  // A second click is not a second message.
  for (const form of document.querySelectorAll("form[method=post]")) {
    form.addEventListener("submit", event => {
      if (form.dataset.sent) event.preventDefault();
      else if (!event.defaultPrevented) {
        form.dataset.sent = "yes";
        setTimeout(() => busy(form, true, event.submitter)); // a button that is disabled at once would not be sent
      }
    });
  }
  addEventListener("pageshow", () => {
    for (const form of document.querySelectorAll("form[data-sent]")) {
      delete form.dataset.sent;
      busy(form, false);
      form.querySelector("[name=confirm]")?.dispatchEvent(new Event("input"));
    }
  });
}

// busy shows that a form is on its way, by the button that sent it.
function busy(form, on, sender) {
  form.setAttribute("aria-busy", on);
  for (const button of form.querySelectorAll("button:not([type=button])")) {
    button.disabled = on;
    if (button === sender) button.append("…");
    else if (!on && button.lastChild.data === "…") button.lastChild.remove();
  }
}

// What was changed in a form is kept in this tab until the server has done it: through the end of a session, a server that is
// away, and Back. Secrets are not, and neither are the forms that destroy.
const drafts = {
  prefix: "pipit-draft ",
  key: form => drafts.prefix + form.id + " " + new URL(form.action).pathname,
  forms: () => [...document.querySelectorAll("body:not(.outside) form.form[id][method=post]:not(:has([name=confirm]))")],
  fields: form => [...form.elements].filter(el => el.name && (el.matches("textarea, select") || /^(text|number|search|url|checkbox|datetime-local)$/.test(el.type))
    && !("secret" in el.dataset) && !/secret|password|sub_key|headers/.test(el.name)),
  value: el => el.type === "checkbox" ? el.checked : el.value,
  initial: el => el.type === "checkbox" ? el.defaultChecked : el.options ? [...el.options].find(o => o.defaultSelected)?.value ?? el.options[0]?.value : el.defaultValue,
  refused: form => form.querySelector("[aria-invalid], .notice") !== null,
  all: () => Object.keys(sessionStorage).filter(k => k.startsWith(drafts.prefix)),
};

function saveDraft(form, sent) {
  const draft = { sent, values: drafts.refused(form) ? JSON.parse(sessionStorage.getItem(drafts.key(form)))?.values ?? {} : {} };
  for (const el of drafts.fields(form)) {
    if (drafts.value(el) !== drafts.initial(el)) draft.values[el.name] = drafts.value(el);
  }
  if (Object.keys(draft.values).length) sessionStorage.setItem(drafts.key(form), JSON.stringify(draft));
  else sessionStorage.removeItem(drafts.key(form));
}

function restoreDraft(form) {
  const draft = JSON.parse(sessionStorage.getItem(drafts.key(form)));
  if (!draft || drafts.refused(form)) return; // the page itself has what was typed
  const changed = drafts.fields(form).filter(el => el.name in draft.values && drafts.value(el) !== draft.values[el.name]);
  for (const el of changed) {
    if (el.type === "checkbox") el.checked = draft.values[el.name];
    else el.value = draft.values[el.name];
  }
  if (!changed.length) return;
  for (const el of changed) for (let d = el.closest("details"); d; d = d.parentElement.closest("details")) d.open = true;
  const note = document.createElement("p");
  note.className = "hint restored";
  note.setAttribute("role", "status");
  note.textContent = "What you typed before is here again, and not sent yet. ";
  const discard = document.createElement("button");
  discard.type = "button";
  discard.className = "button small";
  discard.textContent = "Discard it";
  discard.addEventListener("click", () => {
    sessionStorage.removeItem(drafts.key(form));
    form.reset();
    note.remove();
  });
  note.append(discard);
  form.prepend(note);
}

function keepDrafts() {
  try {
    if (document.querySelector("[data-done]")) {
      for (const key of drafts.all()) if (JSON.parse(sessionStorage.getItem(key)).sent) sessionStorage.removeItem(key);
    }
    const kept = document.getElementById("kept");
    if (kept) kept.hidden = !drafts.all().length;
    for (const form of drafts.forms()) {
      restoreDraft(form);
      const save = sent => { try { saveDraft(form, sent); } catch { /* more than the browser keeps */ } };
      form.addEventListener("input", () => save(false));
      form.addEventListener("submit", () => save(true));
    }
    document.querySelector('form[action$="/admin/logout"]')?.addEventListener("submit", () => drafts.all().forEach(k => sessionStorage.removeItem(k)));
  } catch { /* there is no storage, and nothing is kept */ }
}

// Passwords can be looked at while they are typed.
function revealPasswords() {
  for (const input of document.querySelectorAll("input[type=password]")) {
    const button = document.createElement("button");
    button.type = "button";
    button.className = "button small quiet peek";
    const show = shown => {
      input.type = shown ? "text" : "password";
      button.textContent = shown ? "Hide" : "Show";
      button.setAttribute("aria-label", shown ? "Hide the password" : "Show the password");
    };
    show(false);
    button.addEventListener("click", () => show(input.type === "password"));
    input.form.addEventListener("submit", () => show(false)); // so that browsers do not keep it as a text
    const around = document.createElement("span");
    around.className = "peeking";
    const focused = document.activeElement === input;
    input.replaceWith(around);
    around.append(input, button);
    if (focused) input.focus();
  }
}

// The scheme: the system's until another is chosen.
function themeButton() {
  const button = document.getElementById("theme");
  if (!button) return;
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const root = document.documentElement;
  const isDark = () => root.dataset.theme ? root.dataset.theme === "dark" : dark.matches;
  const label = () => { button.querySelector(".label").textContent = isDark() ? "Light theme" : "Dark theme"; };
  const changed = () => {
    label();
    for (const c of charts) c.build();
  };
  button.addEventListener("click", () => {
    const theme = isDark() ? "light" : "dark";
    root.dataset.theme = theme;
    try { localStorage.setItem("pipit-theme", theme); } catch { /* for this page, then */ }
    changed();
  });
  dark.addEventListener("change", changed);
  label();
  button.hidden = false;
}

// What scrolls can be scrolled by keyboard.
function scrollables() {
  const mark = () => {
    for (const el of document.querySelectorAll(".table, .code, #menu")) {
      if (el.scrollWidth > el.clientWidth && !el.hasAttribute("tabindex")) el.tabIndex = 0;
    }
  };
  mark();
  addEventListener("resize", mark);
  const current = document.querySelector("#menu [aria-current]");
  if (current) current.parentElement.parentElement.parentElement.scrollLeft = current.offsetLeft - 60;
}

// Charts.
const charts = [];
const kinds = {
  rates: [["Published", "published", "key-1"], ["Delivered", "delivered", "key-2"], ["Acknowledged", "acked", "key-3"]],
  flow: [["Delivered", "delivered", "key-2"], ["Acknowledged", "acked", "key-3"]],
  backlog: [["Backlog", "backlog", "key-2"]],
};
const spans = { hour: 3600, day: 86400 };

function number(v) {
  if (v == null) return "–";
  if (v === 0) return "0";
  return v < 10 ? String(+v.toFixed(2)) : Math.round(v).toLocaleString("en");
}

function short(v) {
  for (const [n, unit] of [[1e9, "G"], [1e6, "M"], [1e3, "k"]]) {
    if (v >= n) return +(v / n).toFixed(2) + unit;
  }
  return String(+v.toFixed(2));
}

class Chart {
  constructor(figure) {
    this.figure = figure;
    this.plot = figure.querySelector(".plot");
    this.range = figure.dataset.range;
    this.series = kinds[figure.dataset.kind];
    this.data = null;
    new ResizeObserver(() => this.resize()).observe(this.plot);
  }

  // load shows a history. Its last step is under way, and drawn where it is now.
  async load() {
    const url = new URL(this.figure.dataset.chart, location.href);
    url.searchParams.set("range", this.range);
    const h = await fetchHistory(url.href);
    const start = Date.parse(h.start) / 1000;
    this.step = h.step;
    this.ends = h.published.map((_, i) => start + (i + 1) * h.step);
    this.starts = h.starts.map(at => Date.parse(at) / 1000);
    this.data = [this.times(), ...this.series.map(([, key]) => h[key].slice())];
    this.build();
  }

  times() {
    const now = (Date.now() + skew) / 1000;
    return this.ends.map(end => Math.min(end, now));
  }

  // add brings the step that is under way to what it is, or adds it where it is a new one.
  add(s) {
    if (!this.data || !s || s.end < this.ends.at(-1)) return;
    const isNew = s.end > (this.ends.at(-1) ?? 0);
    if (isNew) {
      this.ends.push(s.end);
      this.data.forEach(d => d.push(0));
    }
    this.series.forEach(([, key], i) => { this.data[i + 1][this.ends.length - 1] = s[key]; });
    while (this.ends[0] < s.end - spans[this.range] - this.step) {
      this.ends.shift();
      this.data.forEach(d => d.shift());
    }
    this.data[0] = this.times();
    const shown = this.none && this.series.some(([, key]) => s[key]);
    if (shown || isNew && this.ends.length === 2) this.build(); // no points from then on
    else this.chart?.setData(this.data);
    this.describe();
  }

  colour(name) {
    const el = document.createElement("i");
    el.className = name;
    this.figure.append(el);
    const colour = getComputedStyle(el).color;
    el.remove();
    return colour;
  }

  // bounds are the whole range, or as much of it as there is something of.
  bounds() {
    const end = Math.max(Date.now() + skew, (this.data[0].at(-1) ?? 0) * 1000) / 1000;
    const first = (this.ends[0] ?? end) - this.step;
    return [Math.max(end - spans[this.range], Math.min(first, end - 10 * this.step)), end];
  }

  // marks draws when the server was started.
  marks(u) {
    const [from, to] = this.bounds();
    const { ctx, bbox } = u;
    ctx.save();
    ctx.strokeStyle = ctx.fillStyle = this.colour("key-axis");
    ctx.font = `${11 * devicePixelRatio}px system-ui, sans-serif`;
    ctx.setLineDash([3 * devicePixelRatio, 3 * devicePixelRatio]);
    for (const at of this.starts.filter(at => at >= from && at <= to)) {
      const x = u.valToPos(at, "x", true);
      const text = `started ${clock(new Date(at * 1000)).slice(0, 5)}`;
      ctx.textAlign = x > bbox.left + bbox.width / 2 ? "right" : "left";
      ctx.beginPath();
      ctx.moveTo(x, bbox.top);
      ctx.lineTo(x, bbox.top + bbox.height);
      ctx.stroke();
      ctx.fillText(` ${text} `, x, bbox.top + 11 * devicePixelRatio);
    }
    ctx.restore();
  }

  build() {
    if (!this.data || typeof uPlot !== "function") return;
    this.chart?.destroy();
    this.chart = null;
    this.plot.replaceChildren();
    const zero = this.data.slice(1).every(d => d.every(v => !v));
    this.none = zero;
    const axis = { stroke: this.colour("key-axis"), font: "12px system-ui, sans-serif", ticks: { show: false } };
    const grid = { stroke: this.colour("key-grid"), width: 1 };
    const day = this.range === "day";
    this.chart = new uPlot({
      width: this.width(),
      height: 210,
      cursor: { y: false, drag: { x: false, y: false }, sync: { key: this.range } },
      scales: {
        x: { range: () => this.bounds() },
        y: { range: (_, min, max) => [0, Math.max(1, (max || 0) * 1.08)] },
      },
      axes: [
        { ...axis, grid: { show: false }, size: 30, space: 70, values: (_, ts) => ts.map(t => clock(new Date(t * 1000)).slice(0, 5)), incrs: day ? [3600, 7200, 10800, 14400, 21600] : [300, 600, 900, 1200, 1800] },
        { ...axis, grid, size: 48, space: 36, values: (_, vs) => vs.map(short) },
      ],
      series: [
        { label: "Time", class: "when", value: (_, t) => t == null ? "–" : (day ? localTime(new Date(t * 1000)).slice(5, 16) : clock(new Date(t * 1000))) },
        ...this.series.map(([label, , key]) => {
          const stroke = this.colour(key);
          return { label, stroke, width: 1.75, fill: this.series.length === 1 ? this.colour("key-fill") : undefined, points: { show: this.data[0].length < 2, size: 6 }, value: (u, v, i, at) => number(at == null ? u.data[i].at(-1) : v) };
        }),
      ],
      legend: { live: true, mount: (u, el) => this.legend(el) },
      hooks: { draw: [u => this.marks(u)], setLegend: [u => this.latest(u)] },
    }, this.data, this.plot);
    if (this.none) {
      const p = document.createElement("p");
      p.className = "none";
      p.textContent = "Nothing in this time";
      this.plot.append(p);
    }
    const canvas = this.plot.querySelector("canvas");
    canvas.setAttribute("role", "img");
    this.describe();
  }

  // legend stands in the caption, with the latest values where no others are pointed at.
  legend(el) {
    this.figure.querySelector(".u-legend")?.remove();
    this.figure.querySelector("figcaption").append(el);
  }

  latest(u) { this.figure.classList.toggle("pointed", u.cursor.idx != null); }

  // describe says in words what the chart shows.
  describe() {
    const title = this.figure.querySelector("figcaption > span").textContent;
    const words = this.series.map(([label], i) => {
      const d = this.data[i + 1];
      return `${label.toLowerCase()} now ${number(d.at(-1) ?? 0)}, at most ${number(Math.max(0, ...d))}`;
    });
    this.plot.querySelector("canvas")?.setAttribute("aria-label", `${title} in the last ${this.range}: ${words.join("; ")}`);
  }

  width() { return Math.max(200, Math.floor(this.plot.clientWidth)); }

  resize() {
    if (this.chart && this.chart.width !== this.width()) this.chart.setSize({ width: this.width(), height: 210 });
  }
}

// fetchHistory fetches what several charts of a page show once for all of them.
const histories = new Map();
function fetchHistory(url) {
  if (!histories.has(url)) {
    const fetched = fetch(url, { headers: { Accept: "application/json" } }).then(reply => {
      if (!reply.ok) throw new Error(reply.statusText);
      return reply.json();
    }).finally(() => histories.delete(url));
    histories.set(url, fetched);
  }
  return histories.get(url);
}

async function loadCharts() {
  await Promise.all(charts.map(c => c.load().catch(() => {
    if (!c.data) c.plot.querySelector(".none").textContent = "The chart could not be loaded";
  })));
}

// keepPlace makes a change of the page that leaves where it is what somebody reads who has scrolled.
function keepPlace(change) {
  const seen = scrollY > 0 ? [...document.querySelectorAll("main :is(h2, tr, .card, .table, .stats, .chart)")].find(el => el.checkVisibility() && el.getBoundingClientRect().top >= 0) : null;
  const top = seen?.getBoundingClientRect().top;
  change();
  if (seen) scrollBy(0, seen.getBoundingClientRect().top - top);
}

// inUse tells whether an element has the focus, or text in it is selected: that stays as it is.
function inUse(el) {
  const selection = getSelection();
  return el.contains(document.activeElement) || !selection.isCollapsed && selection.containsNode(el, true);
}

// showPart brings a part of the page to what the server makes of it now, as far as that is another one.
function showPart(el, html) {
  const within = document.createRange();
  within.selectNodeContents(el); // a cell is one within a row alone
  const fresh = within.createContextualFragment(html);
  showTimes(fresh);
  const old = [...el.children], made = [...fresh.children];
  if (made.some(child => child.dataset.key)) return showKeyed(el, old, made);
  if (old.length !== made.length) {
    if (!inUse(el)) el.replaceChildren(fresh);
    return;
  }
  made.forEach((child, i) => { if (!child.isEqualNode(old[i]) && !inUse(old[i])) old[i].replaceWith(child); });
}

// showKeyed is showPart of rows that never change, but come and go: those that stay are left alone, with what is unfolded in them.
function showKeyed(el, old, made) {
  const there = new Map(old.map(child => [child.dataset.key, child]));
  let next = null;
  for (const child of made.reverse()) {
    const same = there.get(child.dataset.key);
    there.delete(child.dataset.key);
    if (!same) el.insertBefore(child, next);
    next = same ?? child;
  }
  for (const child of there.values()) if (!inUse(child)) child.remove();
}

// needs shows how much needs attention: in the side bar, in the title and in the icon of the page.
function needs(n) {
  const mark = document.getElementById("needs");
  if (!mark) return;
  mark.hidden = n === 0;
  document.getElementById("needs-number").textContent = n;
  const title = document.title.replace(/^\(\d+\) /, "");
  if (document.title !== (n ? `(${n}) ${title}` : title)) document.title = n ? `(${n}) ${title}` : title;
  const icon = document.getElementById("favicon");
  const href = icon.href.replace(/favicon(-alert)?\.svg/, n ? "favicon-alert.svg" : "favicon.svg");
  if (icon.href !== href) icon.href = href;
}

// Live figures.
class Live {
  constructor(root) {
    this.url = root.dataset.live;
    this.state = document.getElementById("live");
    this.at = new Date(this.state.querySelector("time").dateTime);
    if (!document.hidden) this.open(); // a browser has few connections to one server, and each stream is one
    document.addEventListener("visibilitychange", () => {
      clearTimeout(this.hiding);
      if (document.hidden) this.hiding = setTimeout(() => this.close(), 3000);
      else if (!this.source) {
        this.open();
        if (charts.length) loadCharts();
      }
    });
    addEventListener("pagehide", () => this.close());
    addEventListener("pageshow", event => { if (event.persisted) this.open(); });
  }

  open() {
    this.close();
    this.source = new EventSource(this.url);
    this.source.addEventListener("message", event => this.show(JSON.parse(event.data)));
    this.source.addEventListener("error", () => {
      this.say(false, this.source.readyState === EventSource.CLOSED ? "reload the page to go on" : "trying again");
      if (this.source.readyState === EventSource.CLOSED) this.gone();
    });
  }

  // follow goes on with the stream of another page, whose list is shown now.
  follow(root) {
    if (!root || root.dataset.live === this.url) return;
    this.url = root.dataset.live;
    if (this.source) this.open();
  }

  close() {
    this.source?.close();
    this.source = null;
  }

  say(on, why) {
    const text = on ? "Live" : `Not live: as of ${clock(this.at)}, ${why}`;
    this.state.classList.toggle("on", on);
    if (this.state.textContent !== text) this.state.textContent = text;
  }

  show(frame) {
    this.at = new Date(frame.time);
    this.say(true);
    for (const [id, text] of Object.entries(frame.tiles ?? {})) {
      for (const el of document.querySelectorAll(`[data-tile="${CSS.escape(id)}"]`)) {
        if (el.matches("meter")) el.value = Number(text);
        else if (el.textContent !== text) el.textContent = text;
      }
    }
    if (frame.rows) this.attention(frame);
    else needs(frame.number);
    if (frame.parts) keepPlace(() => {
      for (const [name, html] of Object.entries(frame.parts)) {
        for (const el of document.querySelectorAll(`[data-part="${CSS.escape(name)}"]`)) showPart(el, html);
      }
    });
    for (const c of charts) c.add(frame[c.range]);
  }

  // attention shows what needs it. What is below stays where it is for who has scrolled, and the card does not shrink.
  attention(frame) {
    needs(frame.number);
    for (const id of ["tile-size", "tile-disk"]) document.getElementById(id)?.classList.toggle("low", frame.low);
    const list = frame.rows;
    const seen = JSON.stringify(list);
    if (seen === this.seen) return;
    this.seen = seen;
    const below = document.getElementById("rates");
    const top = below.getBoundingClientRect().top;
    const card = document.getElementById("attention");
    card.style.minHeight = `${card.offsetHeight}px`;
    const template = document.getElementById("attention-row");
    const focus = document.activeElement?.closest("#attention a")?.getAttribute("href");
    const rows = list.map(n => {
      const li = template.content.firstElementChild.cloneNode(true);
      li.classList.toggle("bad", Boolean(n.bad));
      li.querySelectorAll(".icon")[n.bad ? 1 : 0].remove();
      li.querySelector(".text").setAttribute("href", n.link);
      li.querySelector("span").textContent = n.text;
      const more = li.querySelector(".what");
      if (n.more) {
        more.setAttribute("href", n.more_link);
        more.textContent = n.more;
      } else more.remove();
      return li;
    });
    const urgent = document.getElementById("attention-urgent"), bad = list.filter(n => n.bad).length;
    urgent.hidden = bad === 0;
    urgent.querySelector("span").textContent = bad;
    const rest = rows.splice(5);
    document.getElementById("attention-list").replaceChildren(...rows);
    document.getElementById("attention-fold").replaceChildren(...rest);
    document.getElementById("attention-rest").textContent = rest.length;
    document.getElementById("attention-more").hidden = rest.length === 0;
    document.getElementById("attention-none").hidden = list.length > 0;
    if (focus) document.querySelector(`#attention a[href="${CSS.escape(focus)}"]`)?.focus({ preventScroll: true });
    if (scrollY > 0) scrollBy(0, below.getBoundingClientRect().top - top);
  }

  // gone says why the stream has ended for good.
  async gone() {
    const reply = await fetch(this.url, { method: "HEAD", headers: { Accept: "text/html" }, redirect: "manual" }).catch(() => null);
    if (reply?.status === 404) this.state.textContent = "Not live: what is shown here was deleted";
    if (reply?.type !== "opaqueredirect") return;
    const link = document.createElement("a");
    link.href = location.href; // where signing in leads back to
    link.textContent = "Sign in again";
    this.state.classList.add("out");
    this.state.replaceChildren("You were signed out. ", link);
  }
}

// A line that tells how far something is, until it is there.
function awaitFirst() {
  const line = document.querySelector("[data-await]");
  if (!line) return;
  const source = new EventSource(line.dataset.await);
  source.addEventListener("message", event => {
    const state = JSON.parse(event.data);
    if (line.textContent !== state.text) line.textContent = state.text;
    line.classList.toggle("on", state.done);
    if (state.done) source.close();
  });
  addEventListener("pagehide", () => source.close());
}

keepTimes();
awaitFirst();
showZone();
addCopyButtons();
keepDrafts();
guardForms();
revealPasswords();
scrollables();
for (const figure of document.querySelectorAll(".chart[data-chart]")) charts.push(new Chart(figure));
themeButton();
if (charts.length) loadCharts();
const liveRoot = document.querySelector("[data-live]");
const live = liveRoot ? new Live(liveRoot) : null;
