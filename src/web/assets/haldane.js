// The page works without this. With it, what changes is replaced in place, and there are keys.
"use strict";

const live = document.getElementById("live");
const source = document.body.dataset.events;
const QUIET_MS = 25000;
let heard = Date.now();
let asking = false;
let again = false;

// A part that a person types into, or has opened a question in, stays as it is.
const busy = (part) =>
  part.contains(document.activeElement) && document.activeElement.matches("input") || part.querySelector("details.ask[open]") !== null;

const replace = (before, after) => {
  if (before.innerHTML === after.innerHTML || busy(before)) return;
  const open = [...before.querySelectorAll("details[open][id]")].map((one) => one.id);
  const focused = before.contains(document.activeElement) ? document.activeElement.getAttribute("href") : null;
  before.replaceChildren(...document.importNode(after, true).childNodes);
  for (const id of open) document.getElementById(id)?.setAttribute("open", "");
  if (focused !== null) before.querySelector(`a[href="${CSS.escape(focused)}"]`)?.focus();
  ready(before);
};

const refresh = async () => {
  if (asking) {
    again = true;
    return;
  }
  asking = true;
  try {
    const answer = await fetch(location.href, { cache: "no-store", credentials: "same-origin" });
    if (answer.status === 401 || answer.status === 403) return location.reload();
    if (!answer.ok && answer.status !== 404) throw new Error(String(answer.status));
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    for (const part of document.querySelectorAll("[data-live]")) {
      const news = page.getElementById(part.id);
      if (news) replace(part, news);
    }
    heard = Date.now();
  } catch {
    // The clock below says how old the page is.
  } finally {
    asking = false;
    if (again) {
      again = false;
      refresh();
    }
  }
};

const ready = (root) => {
  if (!navigator.clipboard) return;
  for (const button of root.querySelectorAll("button[data-copy]")) {
    button.hidden = false;
    button.addEventListener("click", async () => {
      await navigator.clipboard.writeText(button.dataset.copy);
      button.textContent = "Copied";
    });
  }
};

const tell = () => {
  const seconds = Math.round((Date.now() - heard) / 1000);
  const stale = Date.now() - heard > QUIET_MS;
  live.className = `live ${stale ? "off" : "on"}`;
  live.textContent = stale ? `stale ${seconds} s` : "live";
};

if (source && live) {
  const events = new EventSource(source);
  const news = () => {
    heard = Date.now();
    refresh();
  };
  events.addEventListener("changed", news);
  events.addEventListener("tick", news);
  events.addEventListener("error", () => {
    if (events.readyState === EventSource.CLOSED) setTimeout(() => location.reload(), 3000);
  });
  document.addEventListener("visibilitychange", () => {
    if (!document.hidden) refresh();
  });
  setInterval(tell, 1000);
  tell();
}

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.key === "Escape") {
    for (const one of document.querySelectorAll("details.ask[open]")) one.removeAttribute("open");
    if (document.activeElement instanceof HTMLInputElement) document.activeElement.blur();
    return;
  }
  if (document.activeElement?.matches("input, textarea, select")) return;
  const rows = [...document.querySelectorAll(".fleet .name a")];
  const at = rows.indexOf(document.activeElement);
  const act = {
    "/": () => document.querySelector("input[type=search]")?.focus(),
    j: () => rows[Math.min(at + 1, rows.length - 1)]?.focus(),
    k: () => rows[Math.max(at - 1, 0)]?.focus(),
    u: () => document.querySelector(".up a")?.click(),
    a: () => document.querySelector("a.danger")?.click(),
  }[event.key];
  if (act) {
    event.preventDefault();
    act();
  }
});

ready(document);
