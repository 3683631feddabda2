// Starts the components of NHS.UK frontend, and adds what a page can do without: keys, time that runs, a word before a session ends.
// A file of its own, so that the content security policy needs no inline script.
import { initAll } from "./nhsuk-frontend-10.6.1.min.js";

document.body.classList.add("js-enabled", "nhsuk-frontend-supported");
initAll();

// Keys: a letter or digit does what the button, link or choice does that bears it; never while somebody types, and not once turned off.
const KEYS_OFF = "console-keys-off";
const isTyping = (element) => element.matches("input:not([type=radio]):not([type=checkbox]), textarea, select, [contenteditable]");
const areKeysOff = () => { try { return localStorage.getItem(KEYS_OFF) === "yes"; } catch { return false; } };

function showKeys() {
  document.body.classList.toggle("console-no-keys", areKeysOff());
  const box = document.getElementById("console-keys");
  if (box) box.checked = !areKeysOff();
}

function act(element) {
  const form = element.closest("form");
  if (element.matches("summary")) {
    const details = element.parentElement;
    for (const other of document.querySelectorAll("details[data-one][open]")) if (other !== details) other.open = false;
    details.open = true;
    (details.querySelector("input:not([type=hidden]), textarea, select") ?? element).focus();
  } else if (element.matches("input[type=radio]") && "submit" in (element.closest("[data-submit]")?.dataset ?? {})) {
    element.checked = true;
    // Another reason than those that are listed has to be told.
    if (element.value === "other") form.querySelector("textarea")?.focus();
    else form.requestSubmit();
  } else if (element.matches("input, textarea, select")) {
    element.focus();
    if (element.type === "radio" || element.type === "checkbox") element.click();
  } else {
    element.focus();
    element.click();
  }
}

if (document.querySelector("[data-key]")) {
  showKeys();
  document.getElementById("console-keys")?.addEventListener("change", (event) => {
    try { localStorage.setItem(KEYS_OFF, event.target.checked ? "no" : "yes"); } catch { /* then they stay as they are */ }
    showKeys();
  });
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.repeat || areKeysOff()) return;
    if (document.querySelector("dialog[open]")) return;
    if (event.key === "Escape") {
      const open = document.querySelector("details[data-one][open]");
      if (open) { open.open = false; open.querySelector("summary").focus(); }
      else if (isTyping(event.target)) event.target.blur();
      return;
    }
    if (isTyping(event.target)) return;
    const wanted = event.key.toLowerCase();
    const inside = document.querySelector("details[data-one][open]");
    const found = inside?.querySelector(`[data-key="${CSS.escape(wanted)}"]:not(summary)`)
      ?? [...document.querySelectorAll(`[data-key="${CSS.escape(wanted)}"]`)].find((one) => one.checkVisibility());
    if (!found || found.disabled) return;
    event.preventDefault();
    act(found);
  });
}

// One open panel at a time, where panels are alternatives.
for (const details of document.querySelectorAll("details[data-one]")) {
  details.addEventListener("toggle", () => {
    if (!details.open) return;
    for (const other of document.querySelectorAll("details[data-one][open]")) if (other !== details) other.open = false;
  });
}

// Nobody sends a form twice by a double click.
for (const form of document.querySelectorAll("form[method=post]")) {
  form.addEventListener("submit", (event) => {
    if (form.dataset.sent) event.preventDefault();
    form.dataset.sent = "yes";
    setTimeout(() => delete form.dataset.sent, 5000);
  });
}

for (const button of document.querySelectorAll("[data-print]")) {
  button.hidden = false;
  button.addEventListener("click", () => window.print());
}

// Time that runs: how long something is still held. The server's clock counts; the page only tells.
for (const clock of document.querySelectorAll("[data-seconds-left]")) {
  const end = performance.now() + 1000 * Number(clock.dataset.secondsLeft);
  const said = document.getElementById(clock.dataset.says);
  const words = clock.querySelector("[data-left]");
  let told = "";
  const tick = () => {
    const left = Math.max(0, Math.round((end - performance.now()) / 1000));
    const minutes = Math.floor(left / 60), seconds = String(left % 60).padStart(2, "0");
    if (words) words.textContent = left ? `${minutes}:${seconds}` : "0:00";
    clock.classList.toggle("console-lease--short", left < 300);
    const now = left === 0 ? clock.dataset.over : left <= 60 ? clock.dataset.last : left <= 300 ? clock.dataset.short : "";
    if (said && now && now !== told) { told = now; said.textContent = now; }
    if (left > 0) setTimeout(tick, 1000);
  };
  tick();
}

// A session that is about to end: a word two minutes before, and when it is over what was typed stays, out of sight.
const idle = Number(document.body.dataset.idleSeconds ?? 0);
const dialog = document.getElementById("console-idle");
if (idle && dialog) {
  const warnAfter = Math.max(idle - 120, idle / 2);
  let began = Date.now(), lastUse = Date.now();
  const main = document.getElementById("maincontent");
  const words = document.getElementById("console-idle-words");
  const over = dialog.querySelector(".console-idle-over");
  const stay = async () => {
    const answer = await fetch("/sign-in/stay", { headers: { Accept: "application/json" } }).catch(() => null);
    if (!answer?.ok) return end();
    began = Date.now();
    main.hidden = false;
    if (dialog.open) dialog.close();
  };
  const end = () => {
    main.hidden = true;
    words.hidden = true;
    over.hidden = false;
    if (!dialog.open) dialog.showModal();
  };
  document.getElementById("console-stay").addEventListener("click", stay);
  dialog.addEventListener("cancel", (event) => { event.preventDefault(); stay(); });
  for (const use of ["keydown", "pointerdown"]) document.addEventListener(use, () => { lastUse = Date.now(); });
  setInterval(() => {
    const passed = (Date.now() - began) / 1000;
    if (passed >= idle) return main.hidden || end();
    // Whoever types a long comment is there: the server is told.
    if (passed > warnAfter && lastUse > began + 1000 * warnAfter / 2 && !dialog.open) return void stay();
    if (passed > warnAfter && !dialog.open) { words.hidden = false; over.hidden = true; dialog.showModal(); }
  }, 5000);
}
