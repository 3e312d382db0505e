// What forms gain where there is JavaScript: proposals beyond those of the page, and help for who publishes.
"use strict";

// proposeMore fetches proposals for what is typed.
function proposeMore() {
  for (const input of document.querySelectorAll("input[data-propose]")) {
    let timer, request;
    const show = async () => {
      request?.abort();
      request = new AbortController();
      const url = new URL(input.dataset.propose, location.href);
      url.searchParams.set("search", input.value);
      url.searchParams.set("limit", 50);
      try {
        const reply = await fetch(url, { headers: { Accept: "application/json" }, signal: request.signal });
        if (!reply.ok) return;
        const { items } = await reply.json();
        input.list.replaceChildren(...items.map(item => {
          const option = document.createElement("option");
          option.value = item.username ?? item.name;
          return option;
        }));
      } catch { /* another one is under way, or those that are there have to do */ }
    };
    input.addEventListener("input", () => {
      clearTimeout(timer);
      timer = setTimeout(show, 150);
    });
  }
}

// proposeType proposes the MIME type of what is typed, and Ctrl+Enter publishes it.
function proposeType() {
  const payload = document.getElementById("publish-payload");
  const type = document.getElementById("publish-mime_type");
  if (!payload || !type) return;
  const looksLike = text => {
    if (/^\s*[[{]/.test(text)) {
      try {
        JSON.parse(text);
        return "application/json";
      } catch { /* no JSON */ }
    }
    return /^\s*<[?!a-z]/i.test(text) && /[>]\s*$/.test(text) ? "application/xml" : "";
  };
  const note = document.createElement("p");
  note.className = "hint likeness"; // whose place is kept, so that nothing moves below who is about to press a button
  note.setAttribute("role", "status");
  const use = document.createElement("button");
  use.type = "button";
  use.className = "button small";
  use.id = "use-type";
  payload.after(note);
  let timer;
  const show = () => {
    const like = type.value || payload.value.length > 1 << 20 ? "" : looksLike(payload.value);
    if ((note.dataset.like ?? "") === like) return;
    note.dataset.like = like;
    note.replaceChildren();
    if (!like) return;
    use.textContent = `Use ${like}`;
    note.append(`Looks like ${like === "application/json" ? "JSON" : "XML"}: `, use);
  };
  use.addEventListener("click", () => {
    type.value = note.dataset.like;
    type.dispatchEvent(new Event("input", { bubbles: true }));
    type.focus();
  });
  for (const field of [payload, type]) {
    field.addEventListener("input", () => {
      clearTimeout(timer);
      timer = setTimeout(show, 150);
    });
  }
  payload.form.addEventListener("keydown", event => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) payload.form.requestSubmit();
  });
  show();
}

proposeMore();
proposeType();
